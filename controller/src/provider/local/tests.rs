//! The provider on real processes that stand for relays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, getpgid};

use super::processes::Stat;
use super::*;

/// A directory of its own, and everything ended that was started in it.
struct Lab {
    directory: PathBuf,
}

impl Lab {
    /// `life` is what the stand-in for a relay does.
    fn new(life: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("taciturn-local-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).expect("a directory");
        let program = directory.join("relay");
        fs::write(&program, format!("#!/bin/sh\n{life}\n")).expect("a program");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its rights");
        Self { directory }
    }

    fn settings(&self) -> config::Local {
        config::Local {
            zones: vec![zone("a"), zone("b")],
            network: [127, 0],
            program: Some(self.directory.join("relay")),
            directory: None,
            relay_config: String::new(),
            boot_time: Duration::ZERO,
            image: "v1".to_owned(),
            per_zone: 2,
            metadata_port: None,
        }
    }

    fn provider(&self) -> Local {
        self.provider_of(self.settings())
    }

    fn provider_of(&self, settings: config::Local) -> Local {
        let zones = settings.zones.iter().cloned().collect();
        Local::new(settings, &self.directory, zones).expect("a provider")
    }

    fn instance_directory(&self, id: &InstanceId) -> PathBuf {
        self.directory.join("relays/instances").join(id.as_str())
    }

    fn processes(&self) -> Vec<Process> {
        let directory = Directory::open(&self.directory.join("relays")).expect("the directory");
        let stored = directory.instances().unwrap_or_default();
        stored.iter().filter_map(Process::of).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for process in self.processes() {
            process.signal(Signal::KILL);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Ends when it is asked to.
const OBEDIENT: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

fn zone(name: &str) -> ZoneId {
    ZoneId::try_from(name).expect("a zone")
}

fn order(zone_name: &str, count: u32, token: &str) -> LaunchOrder {
    LaunchOrder {
        zone: zone(zone_name),
        count,
        token: LaunchToken::try_from(token).expect("a token"),
    }
}

fn only(listing: &Listing) -> &Instance {
    assert_eq!(listing.instances.len(), 1, "{listing:?}");
    &listing.instances[0]
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not come about");
}

#[tokio::test]
async fn what_is_launched_is_listed_with_its_zone_address_and_token() {
    let lab = Lab::new(OBEDIENT);
    let local = lab.provider();
    // Before anything is launched: credentials are minted with it from the start.
    let secret = fs::read(local.secret_file()).expect("a secret");
    assert_eq!(local.list().await.expect("a list").instances, []);
    let ids = local.launch(&order("b", 2, "t-1")).await.expect("a launch");
    assert_eq!(fs::read(local.secret_file()).expect("a secret"), secret);
    let listing = local.list().await.expect("a list");
    assert!(listing.complete);
    assert_eq!(listing.group.max, Some(4));
    assert_eq!(listing.launched[&order("b", 2, "t-1").token], ids);
    for (instance, address) in listing.instances.iter().zip(["127.0.2.1", "127.0.2.2"]) {
        assert!(ids.contains(&instance.id));
        assert_eq!(instance.zone, zone("b"));
        assert_eq!(instance.lifecycle, Lifecycle::InService);
        assert!(!instance.unhealthy);
        let admin = instance.admin.expect("an address");
        assert_eq!(admin.to_string(), format!("{address}:9641"));
        let file = lab.instance_directory(&instance.id).join("relay.toml");
        let file = fs::read_to_string(file).expect("a configuration");
        let file: toml::Table = toml::from_str(&file).expect("toml");
        assert_eq!(file["sovereignty"]["zone-id"].as_str(), Some("b"));
        assert_eq!(
            file["listener"][0]["address"].as_str(),
            Some(format!("{address}:3478").as_str())
        );
    }
    let secret = fs::metadata(local.secret_file()).expect("a secret");
    assert_eq!(secret.permissions().mode() & 0o777, 0o600);
    assert_eq!(secret.len(), 64);
}

/// scaling rules, "launch accepted, response lost": the same token is the same launch, whoever asks.
#[tokio::test]
async fn a_token_launches_once_even_after_what_it_launched_has_ended() {
    let lab = Lab::new(OBEDIENT);
    let (one, other) = (lab.provider(), lab.provider());
    let asked = order("a", 2, "t-1");
    let (first, second) = tokio::join!(one.launch(&asked), other.launch(&asked));
    let ids = first.expect("a launch");
    assert_eq!(second.expect("the same launch"), ids);
    assert_eq!(lab.processes().len(), 2);
    for id in &ids {
        assert_eq!(one.terminate(id).await, Ok(Ended::Ending));
    }
    assert_eq!(other.launch(&asked).await.expect("known"), ids);
    assert_eq!(lab.processes().len(), 0);
    let listing = other.list().await.expect("a list");
    assert_eq!(listing.instances, []);
    assert_eq!(listing.launched[&asked.token], ids);
}

#[tokio::test]
async fn another_controller_finds_the_relays_and_ends_them_once() {
    let lab = Lab::new(OBEDIENT);
    let ids = lab
        .provider()
        .launch(&order("a", 1, "t-1"))
        .await
        .expect("a launch");
    let process = lab.processes().remove(0);
    let group = getpgid(Pid::from_raw(process.run.pid)).expect("it lives");
    assert_eq!(
        Some(group),
        Pid::from_raw(process.run.pid),
        "a group of its own"
    );
    let successor = lab.provider();
    assert_eq!(only(&successor.list().await.expect("a list")).id, ids[0]);
    assert_eq!(successor.terminate(&ids[0]).await, Ok(Ended::Ending));
    assert_eq!(successor.terminate(&ids[0]).await, Ok(Ended::Already));
    assert!(!process.lives());
    let pid = process.run.pid;
    eventually("its reaping", async || {
        Stat::of(pid).is_none_or(|stat| stat.started != process.run.started)
    })
    .await;
    let unknown = InstanceId::try_from("../../etc").expect("an id");
    assert_eq!(successor.terminate(&unknown).await, Ok(Ended::Already));
}

#[tokio::test]
async fn a_relay_that_does_not_end_is_killed() {
    let lab = Lab::new("trap '' TERM; while :; do sleep 0.05; done");
    let local = lab.provider();
    let ids = local.launch(&order("a", 1, "t-1")).await.expect("a launch");
    let process = lab.processes().remove(0);
    // The shell has to come as far as its trap.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(local.terminate(&ids[0]).await, Ok(Ended::Ending));
    assert!(!process.lives());
    assert_eq!(local.list().await.expect("a list").instances, []);
}

/// The number of a relay that has died may be another program's by now.
#[tokio::test]
async fn a_process_that_is_not_provably_the_relay_is_left_alone() {
    let lab = Lab::new(OBEDIENT);
    let local = lab.provider();
    let ids = local.launch(&order("a", 1, "t-1")).await.expect("a launch");
    let process = lab.processes().remove(0);
    process.end(GRACE).await;
    let mut stranger = std::process::Command::new("/bin/sleep")
        .arg("60")
        .spawn()
        .expect("a program");
    let pid = i32::try_from(stranger.id()).expect("a number");
    let started = Stat::of(pid).expect("it lives").started;
    for started in [started, process.run.started] {
        let run = serde_json::json!({ "pid": pid, "started": started }).to_string();
        fs::write(lab.instance_directory(&ids[0]).join("run.json"), run).expect("a file");
        assert!(only(&local.list().await.expect("a list")).unhealthy);
    }
    assert_eq!(local.terminate(&ids[0]).await, Ok(Ended::Already));
    assert_eq!(stranger.try_wait().expect("it is ours"), None, "it lives");
    stranger.kill().expect("it is ours");
    stranger.wait().expect("it is ours");
}

#[tokio::test]
async fn a_relay_that_died_is_listed_as_unhealthy_until_it_is_ended() {
    let lab = Lab::new(OBEDIENT);
    let local = lab.provider();
    let ids = local.launch(&order("a", 1, "t-1")).await.expect("a launch");
    lab.processes().remove(0).signal(Signal::KILL);
    eventually("its end", async || {
        only(&local.list().await.expect("a list")).unhealthy
    })
    .await;
    assert_eq!(local.terminate(&ids[0]).await, Ok(Ended::Already));
    assert_eq!(local.list().await.expect("a list").instances, []);
    assert!(
        lab.directory
            .join("relays/ended")
            .join(ids[0].as_str())
            .exists()
    );
}

#[tokio::test]
async fn a_relay_that_somebody_starts_again_is_the_same_instance() {
    let lab = Lab::new(OBEDIENT);
    let local = lab.provider();
    let ids = local.launch(&order("a", 1, "t-1")).await.expect("a launch");
    lab.processes().remove(0).end(GRACE).await;
    let mut again = std::process::Command::new(lab.directory.join("relay"))
        .args(["relay", "--config"])
        .arg(fs::canonicalize(lab.instance_directory(&ids[0]).join("relay.toml")).expect("a file"))
        .spawn()
        .expect("a program");
    eventually("its return", async || {
        !only(&local.list().await.expect("a list")).unhealthy
    })
    .await;
    assert_eq!(local.terminate(&ids[0]).await, Ok(Ended::Ending));
    assert!(
        again
            .wait()
            .expect("it is ours")
            .code()
            .is_some_and(|code| code == 0)
    );
}

#[tokio::test]
async fn a_relay_boots_before_it_serves_without_a_controller() {
    let lab = Lab::new(OBEDIENT);
    let settings = config::Local {
        boot_time: Duration::from_secs(2),
        ..lab.settings()
    };
    let ids = {
        let local = lab.provider_of(settings.clone());
        let ids = local.launch(&order("a", 1, "t-1")).await.expect("a launch");
        assert_eq!(
            only(&local.list().await.expect("a list")).lifecycle,
            Lifecycle::Pending
        );
        ids
    };
    let local = lab.provider_of(settings);
    let command_line = || {
        let pid = lab.processes()[0].run.pid;
        fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it lives")
    };
    assert!(command_line().contains("sleep"));
    eventually("the relay", async || !command_line().contains("sleep")).await;
    eventually("its service", async || {
        only(&local.list().await.expect("a list")).lifecycle == Lifecycle::InService
    })
    .await;
    assert_eq!(local.terminate(&ids[0]).await, Ok(Ended::Ending));
}

#[tokio::test]
async fn a_zone_has_so_much_room_and_no_more() {
    let lab = Lab::new(OBEDIENT);
    let local = lab.provider();
    let three = local
        .launch(&order("a", 3, "t-1"))
        .await
        .expect("what there is room for");
    assert_eq!(three.len(), 2);
    let full = local.launch(&order("a", 1, "t-2")).await;
    assert!(
        matches!(full, Err(ProviderError::NoCapacity(_))),
        "{full:?}"
    );
    let elsewhere = local.launch(&order("c", 1, "t-3")).await;
    assert!(
        matches!(elsewhere, Err(ProviderError::Refused(_))),
        "{elsewhere:?}"
    );
    assert_eq!(local.terminate(&three[0]).await, Ok(Ended::Ending));
    let again = local
        .launch(&order("a", 1, "t-4"))
        .await
        .expect("room again");
    assert!(!three.contains(&again[0]), "an id is never used twice");
}

/// The controller was killed after it had written the instance and before it had started the process.
#[tokio::test]
async fn a_launch_that_was_cut_off_is_completed_by_its_token_and_cleared_by_another() {
    let lab = Lab::new(OBEDIENT);
    let local = lab.provider();
    let cut = |token: &str| {
        let directory = &local.shared.directory;
        let record = Record {
            id: directory::fresh_id(0, 1).expect("an id"),
            zone: zone("a"),
            address: Ipv4Addr::new(127, 0, 1, 1),
            token: order("a", 1, token).token,
            image: String::new(),
            launched: SinceBoot::now(),
            boot: Duration::ZERO,
        };
        directory.write(&record, "").expect("a directory");
        record.id
    };
    let id = cut("t-1");
    let listing = local.list().await.expect("a list");
    assert_eq!((listing.instances.len(), listing.launched.len()), (0, 0));
    assert_eq!(
        local.launch(&order("a", 1, "t-1")).await,
        Ok(vec![id.clone()])
    );
    assert_eq!(only(&local.list().await.expect("a list")).id, id);
    assert_eq!(local.terminate(&id).await, Ok(Ended::Ending));

    let id = cut("t-2");
    let other = local.launch(&order("a", 1, "t-3")).await.expect("a launch");
    assert_eq!(only(&local.list().await.expect("a list")).id, other[0]);
    assert!(!lab.instance_directory(&id).exists());
}

/// The controller was killed after a relay had ended and before it had put it aside.
#[tokio::test]
async fn an_end_that_nobody_wrote_down_leaves_room_for_another() {
    let lab = Lab::new(OBEDIENT);
    let local = lab.provider();
    let ids = local.launch(&order("a", 1, "t-1")).await.expect("a launch");
    let now = serde_json::to_string(&SinceBoot::now()).expect("json");
    fs::write(lab.instance_directory(&ids[0]).join("ending"), now).expect("a file");
    lab.processes().remove(0).end(GRACE).await;
    let listing = local.list().await.expect("a list");
    assert_eq!((listing.instances.len(), listing.launched.len()), (0, 1));
    let two = local
        .launch(&order("a", 2, "t-2"))
        .await
        .expect("room for two");
    assert_eq!(two.len(), 2);
    assert_eq!(local.launch(&order("a", 1, "t-1")).await, Ok(ids));
}

/// The controller was killed after it had asked for the end and before that had come about.
#[tokio::test]
async fn an_end_that_was_asked_for_is_not_asked_for_again_until_it_is_overdue() {
    let lab = Lab::new(OBEDIENT);
    let local = lab.provider();
    let ids = local.launch(&order("a", 1, "t-1")).await.expect("a launch");
    let mark = lab.instance_directory(&ids[0]).join("ending");
    let now = serde_json::to_value(SinceBoot::now()).expect("json");
    fs::write(&mark, now.to_string()).expect("a file");
    assert_eq!(
        only(&local.list().await.expect("a list")).lifecycle,
        Lifecycle::Terminating
    );
    assert_eq!(local.terminate(&ids[0]).await, Ok(Ended::Already));
    assert_eq!(lab.processes().len(), 1);
    let mut before = now;
    let then = before["milliseconds"].as_u64().expect("a number") - 20_000;
    before["milliseconds"] = then.into();
    fs::write(&mark, before.to_string()).expect("a file");
    let overdue = only(&local.list().await.expect("a list")).clone();
    assert_eq!(
        (overdue.lifecycle, overdue.unhealthy),
        (Lifecycle::InService, true)
    );
    assert_eq!(local.terminate(&ids[0]).await, Ok(Ended::Ending));
    assert_eq!(lab.processes().len(), 0);
}

#[tokio::test]
async fn what_is_damaged_on_the_disk_makes_the_list_fail_and_ends_nothing() {
    let lab = Lab::new(OBEDIENT);
    let local = lab.provider();
    let ids = local.launch(&order("a", 1, "t-1")).await.expect("a launch");
    let record = lab.instance_directory(&ids[0]).join("instance.json");
    let whole = fs::read(&record).expect("a file");
    for damaged in [&whole[..whole.len() / 2], b"", b"{}", b"\xff"] {
        fs::write(&record, damaged).expect("a file");
        let list = local.list().await;
        assert!(matches!(list, Err(ProviderError::Failed(_))), "{list:?}");
        let end = local.terminate(&ids[0]).await;
        assert!(matches!(end, Err(ProviderError::Failed(_))), "{end:?}");
    }
    fs::remove_file(&record).expect("a file");
    let list = local.list().await;
    assert!(
        matches!(&list, Err(ProviderError::Failed(why)) if why.contains("instance.json")),
        "{list:?}"
    );
    fs::write(&record, &whole).expect("a file");
    assert_eq!(lab.processes().len(), 1);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_failure_that_leaves_nothing() {
    let lab = Lab::new(OBEDIENT);
    let local = lab.provider_of(config::Local {
        program: Some(lab.directory.join("nothing")),
        ..lab.settings()
    });
    let launched = local.launch(&order("a", 1, "t-1")).await;
    assert!(
        matches!(launched, Err(ProviderError::Failed(_))),
        "{launched:?}"
    );
    let listing = local.list().await.expect("a list");
    assert_eq!((listing.instances.len(), listing.launched.len()), (0, 0));
}

#[tokio::test]
async fn a_directory_that_another_controller_holds_is_waited_for_but_not_for_ever() {
    let lab = Lab::new(OBEDIENT);
    let local = lab.provider();
    let held = local.shared.directory.lock().expect("the lock");
    let launched = local.launch(&order("a", 1, "t-1")).await;
    assert!(
        matches!(&launched, Err(ProviderError::Failed(why)) if why.contains("locked")),
        "{launched:?}"
    );
    assert!(local.list().await.is_ok());
    drop(held);
    assert!(local.launch(&order("a", 1, "t-1")).await.is_ok());
}
