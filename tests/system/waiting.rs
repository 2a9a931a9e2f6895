//! Where workers run and how they wait (`pin-workers`, `busy-poll`, `coalesce`): no packet may go missing for it.
//!
//! Not responsible for when a worker looks for more to do, which is a judgement of its own, tested with the relay; nor for
//! how much time that saves.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity};

use crate::calls::{Call, Canaries};
use crate::client::{Over, receive_from};
use crate::running::{Running, Setup, eventually};

/// The CPUs that each worker may run on, by its number, as the kernel lists them.
fn cpus_of_workers(relay: &Running) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", relay.pid())).unwrap();
    let mut workers: Vec<(usize, String)> = tasks
        .filter_map(|task| {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let field = |name: &str| {
                let mut lines = status.lines();
                lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
            };
            let number = field("Name:")?.strip_prefix("worker-")?.parse().ok()?;
            Some((number, field("Cpus_allowed_list:")?))
        })
        .collect();
    workers.sort();
    workers.into_iter().map(|(_, cpus)| cpus).collect()
}

/// Of this process, and so of a relay that it starts.
fn usable_cpus() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap();
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

fn spun_seconds(relay: &Running) -> f64 {
    let (_, text) = relay.http("GET", "/metrics");
    text.lines()
        .filter(|line| line.starts_with("taciturn_relay_worker_spun_seconds_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

#[test]
fn pinned_workers_take_the_usable_cpus_in_turn() {
    let usable = usable_cpus();
    let workers = usable.len().min(200) + 1;
    let mut setup = Setup::on_loopback(workers);
    setup.top = "pin-workers = true".to_owned();
    let relay = setup.start();
    eventually("the workers on their CPUs", || {
        let expected = usable.iter().cycle().take(workers);
        cpus_of_workers(&relay) == expected.map(ToString::to_string).collect::<Vec<_>>()
    });
    let shares = usable.len() < workers;
    assert_eq!(relay.log().contains("more workers than CPUs"), shares);
}

#[test]
fn workers_that_are_not_pinned_may_run_wherever_the_process_may() {
    let relay = Setup::on_loopback(2).start();
    let status = fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    let mut lines = status.lines();
    let all = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    assert_eq!(cpus_of_workers(&relay), [all.unwrap().trim(); 2]);
}

/// More workers than most machines that run this have CPUs, each pinned or not, sleeping or looking for more to do.
#[test]
fn calls_over_every_transport_are_whole_on_any_number_of_workers() {
    for (workers, top) in [
        (1, "busy-poll = \"1ms\""),
        (2, "pin-workers = true\nbusy-poll = \"100us\""),
        (5, ""),
        (5, "pin-workers = true"),
        (5, "busy-poll = \"1ms\""),
    ] {
        let mut setup = Setup::on_loopback(workers);
        setup.top = top.to_owned();
        let relay = setup.start();
        let mut calls: Vec<Call> = (0..24)
            .map(|number| Call::open(&relay, Over::ALL[number % 3], &format!("user-{number}")))
            .collect();
        for _ in 0..20 {
            for call in &mut calls {
                call.exchange();
            }
        }
    }
}

#[test]
fn a_reload_changes_how_workers_wait_and_calls_go_on() {
    let relay = Setup::on_loopback(2).start();
    let file = relay.directory().join("relay.toml");
    let asleep = fs::read_to_string(file).unwrap();
    let awake = format!("busy-poll = \"1ms\"\n{asleep}");
    let canaries = Canaries::start(&relay);
    assert!(spun_seconds(&relay) == 0.0);
    relay.rewrite("relay.toml", &awake);
    eventually("workers that look for more to do", || {
        spun_seconds(&relay) > 0.0
    });
    relay.rewrite("relay.toml", &asleep);
    let reloads = "taciturn_relay_config_reloads_total{outcome=\"applied\"}";
    eventually("the second reload", || relay.metric(reloads) == 2);
    eventually("workers that sleep", || {
        let before = spun_seconds(&relay);
        std::thread::sleep(std::time::Duration::from_millis(50));
        spun_seconds(&relay) <= before
    });
    canaries.finish();
}

fn pauses(relay: &Running) -> u64 {
    relay.metric("taciturn_relay_worker_pauses_total")
}

/// Sends bursts until the worker has let packets gather, or for so many of them, and sees each payload arrive in its turn.
fn bursts(relay: &Running, call: &mut Call, most: u32) {
    const BURST: u32 = 100;
    const CHANNEL: u16 = 0x4ABC;
    for burst in 0..most {
        for number in 0..BURST {
            let payload = [burst.to_be_bytes(), number.to_be_bytes()].concat();
            call.client.send_channel(CHANNEL, &payload);
        }
        for number in 0..BURST {
            let expected = [burst.to_be_bytes(), number.to_be_bytes()].concat();
            assert_eq!(receive_from(&call.peer), (expected, call.relayed));
        }
        if burst % 20 == 19 && pauses(relay) > 0 {
            return;
        }
    }
}

#[test]
fn packets_that_gather_all_arrive_and_in_their_order() {
    for over in Over::ALL {
        let mut setup = Setup::on_loopback(1);
        setup.top = "coalesce = \"500us\"".to_owned();
        let relay = setup.start();
        let mut call = Call::open(&relay, over, "user");
        bursts(&relay, &mut call, 2000);
        assert!(pauses(&relay) > 0, "nothing gathered over {over:?}");
        call.exchange();
    }
}

#[test]
fn nothing_gathers_where_that_is_switched_off() {
    let mut setup = Setup::on_loopback(1);
    setup.top = "coalesce = \"0us\"".to_owned();
    let relay = setup.start();
    let mut call = Call::open(&relay, Over::Udp, "user");
    bursts(&relay, &mut call, 100);
    assert_eq!(pauses(&relay), 0);
}
