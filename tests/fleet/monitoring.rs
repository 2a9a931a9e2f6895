//! Relays that are not heard of, although they may well carry calls.
//!
//! Not responsible for a provider that fails (`faults`).

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::broker::relay_at;
use crate::controllers::Controller;
use crate::crowd::Crowd;
use crate::lab::{Lab, eventually};
use crate::running::{Running, loopback};
use crate::settings::Settings;

/// figures that are stale remove nothing.
/// scaling rules, chaos: metrics stale for one relay: it is not offered and not removed, and its calls go on afterwards.
#[test]
fn a_relay_that_stands_still_for_a_while_is_not_taken_for_dead() {
    let lab = Lab::new();
    let settings = Settings::local(&lab)
        .policy("stale-after", "\"3s\"")
        .policy("max", "4");
    let controller = Controller::start(&lab, &settings);
    eventually("one relay in each zone", || {
        controller.offered(&lab).len() == 3
    });
    let mut crowd = Crowd::default();
    crowd.grow_to(6, &controller.offered(&lab));
    let silent = lab.live().remove(0);
    silent.signal(Signal::STOP);
    eventually("an alarm", || {
        controller.alarms().contains(&"stale".to_owned())
    });
    assert!(!controller.offered(&lab).contains(&silent.address));
    let rounds = controller.rounds();
    eventually("more rounds", || controller.rounds() >= rounds + 4.0);
    assert_eq!(controller.acts("terminate"), 0);
    assert_eq!(controller.acts("drain"), 0);
    silent.signal(Signal::CONT);
    eventually("its return", || {
        controller.offered(&lab).contains(&silent.address)
    });
    crowd.await_more();
    crowd.finish();
    controller.assert_consistent(&lab);
}

/// figures that are repeated remove nothing.
/// scaling rules, chaos: metrics return 200 with a frozen sequence: the same sample again makes nothing fresher.
#[test]
fn a_relay_whose_status_never_changes_is_stale() {
    let lab = Lab::new();
    let relays: Vec<Running> = crate::lab::ZONES
        .iter()
        .map(|zone| relay_at(loopback(), zone).start())
        .collect();
    let frozen = Frozen::before(relays[0].listener("udp"));
    let mut provider = "[provider]\nkind = \"static\"\n".to_owned();
    for (index, relay) in relays.iter().enumerate() {
        let mut admin = relay.listener("udp");
        admin.set_port(9641);
        if index == 0 {
            admin = frozen.address;
        }
        provider += &format!(
            "[[provider.static.relay]]\nid = \"r-{index}\"\nzone-id = \"{}\"\nadmin = \"{admin}\"\n",
            crate::lab::ZONES[index]
        );
    }
    let settings = Settings::with(provider);
    let controller = Controller::start(&lab, &settings);
    eventually("all three", || controller.offered_ids().len() == 3);
    frozen.freeze.store(true, Ordering::Relaxed);
    eventually("two", || controller.offered_ids() == ["r-1", "r-2"]);
    assert!(controller.alarms().contains(&"stale".to_owned()));
    frozen.freeze.store(false, Ordering::Relaxed);
    eventually("all three again", || controller.offered_ids().len() == 3);
    assert_eq!(controller.acts("drain"), 0);
}

/// scaling rules, chaos: AZ loss at peak: the list shifts at once, others are launched elsewhere, nothing drains.
#[test]
fn the_loss_of_a_zone_at_the_peak_is_made_up_for_and_drains_nobody() {
    let lab = Lab::new();
    let settings = Settings::local(&lab)
        .policy("stale-after", "\"3s\"")
        .policy("max", "8");
    let controller = Controller::start(&lab, &settings);
    let mut crowd = Crowd::default();
    eventually("six relays", || {
        crowd.grow_to(28, &controller.offered(&lab));
        controller.offered(&lab).len() >= 6
    });
    let lost: Vec<_> = lab
        .live()
        .into_iter()
        .filter(|relay| relay.zone == "test-c")
        .collect();
    assert!(!lost.is_empty());
    for relay in &lost {
        relay.signal(Signal::KILL);
    }
    for relay in &lost {
        crowd.give_up(relay.address);
    }
    eventually("a list without them", || {
        let offered = controller.offered(&lab);
        lost.iter().all(|relay| !offered.contains(&relay.address))
    });
    eventually("six that serve", || {
        crowd.grow_to(28, &controller.offered(&lab));
        controller.offered(&lab).len() >= 6
    });
    crowd.await_more();
    assert_eq!(controller.acts("drain"), 0);
    crowd.finish();
    controller.assert_consistent(&lab);
}

/// An admin API in front of a relay's, which can be made to say the same for ever.
struct Frozen {
    address: SocketAddr,
    freeze: Arc<AtomicBool>,
}

impl Frozen {
    fn before(turn: SocketAddr) -> Self {
        let listener = TcpListener::bind((turn.ip(), 9642)).unwrap();
        let address = listener.local_addr().unwrap();
        let freeze = Arc::new(AtomicBool::new(false));
        let frozen = Arc::clone(&freeze);
        let mut admin = turn;
        admin.set_port(9641);
        thread::spawn(move || {
            let mut last = String::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut head = [0; 4096];
                let _ = std::io::Read::read(&mut stream, &mut head);
                if last.is_empty() || !frozen.load(Ordering::Relaxed) {
                    let asked = std::net::TcpStream::connect(admin).ok();
                    let answer = asked
                        .and_then(|relay| crate::running::exchange(relay, "GET", "/v1/status", ""));
                    if let Some((_, body)) = answer {
                        last = body;
                    }
                }
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{last}",
                    last.len()
                );
            }
        });
        Self { address, freeze }
    }
}
