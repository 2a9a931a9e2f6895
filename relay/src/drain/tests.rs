//! Orders, epochs and what survives a restart.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::counters::Counters;
use crate::metrics::{Metrics, Source};

/// A relay that serves this many allocations, without workers; and its counters.
pub(crate) fn fixture(allocations: u64) -> (Arc<DrainControl>, Arc<Counters>) {
    let (control, counters) = launching(allocations, None);
    assert_eq!(control.launched(), Phase::Ready);
    (control, counters)
}

fn launching(allocations: u64, directory: Option<&Path>) -> (Arc<DrainControl>, Arc<Counters>) {
    made(allocations, directory, Vec::new())
}

fn with_workers(outboxes: Vec<Outbox>) -> (Arc<DrainControl>, Arc<Counters>) {
    made(0, None, outboxes)
}

fn made(
    allocations: u64,
    directory: Option<&Path>,
    outboxes: Vec<Outbox>,
) -> (Arc<DrainControl>, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    counters.allocations.set(allocations);
    let control = DrainControl::new(DrainParts {
        phase: Arc::new(SharedPhase::launching()),
        totals: Totals::new(vec![Arc::clone(&counters)]),
        outboxes,
        clock: Clock::start(),
        stop_after: Duration::from_millis(5_400_500),
        state_directory: directory,
    });
    (Arc::new(control), counters)
}

fn order(epoch: u64) -> DrainOrder {
    DrainOrder {
        deadline: 4_102_444_800,
        reason: "scale in".to_owned(),
        epoch,
    }
}

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("taciturn-drain-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("drain.json")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_drain_is_begun_and_undone() {
    let (control, counters) = fixture(3);
    counters.active.set(2);
    control.begin(order(7), DrainSource::Operator).unwrap();
    assert_eq!(control.phase(), Phase::Draining);
    let status = control.status().unwrap();
    assert_eq!(status.allocations_remaining, 3);
    assert_eq!(status.idle_allocations, 1);
    assert!(!status.deadline_passed && !status.stopping && !status.survives_restart);
    assert!(
        control
            .status_line()
            .starts_with("draining: 3 allocations left, ")
    );
    counters.allocations.set(0);
    assert_eq!(control.phase(), Phase::Drained);
    control.cancel(None).unwrap();
    assert_eq!(control.phase(), Phase::Ready);
    assert_eq!(control.status(), None);
    assert_eq!(control.status_line(), "ready: 0 allocations");
}

#[test]
fn an_older_epoch_neither_begins_nor_ends_a_drain() {
    let (control, _) = fixture(1);
    control.begin(order(7), DrainSource::Operator).unwrap();
    let older = DrainRefused::OlderEpoch { given: 6, seen: 7 };
    assert_eq!(control.begin(order(6), DrainSource::Operator), Err(older));
    assert_eq!(control.cancel(Some(6)), Err(older));
    assert_eq!(control.phase(), Phase::Draining);
    assert_eq!(
        older.to_string(),
        "epoch 6 is older than 7, which has been seen already"
    );
    // The same epoch changes what it has ordered, and the highest counts after the drain has ended as well.
    let later = DrainOrder {
        deadline: 4_102_444_801,
        ..order(7)
    };
    control.begin(later.clone(), DrainSource::Operator).unwrap();
    assert_eq!(control.current().unwrap().order, later);
    control.cancel(Some(9)).unwrap();
    assert_eq!(
        control.begin(order(8), DrainSource::Operator),
        Err(DrainRefused::OlderEpoch { given: 8, seen: 9 })
    );
    assert_eq!(control.phase(), Phase::Ready);
}

#[test]
fn an_order_that_makes_no_sense_is_refused() {
    let (control, _) = fixture(1);
    let refused = |order| control.begin(order, DrainSource::Operator).unwrap_err();
    let past = control.clock.unix().as_secs();
    assert_eq!(
        refused(DrainOrder {
            deadline: past,
            ..order(1)
        }),
        DrainRefused::DeadlineInPast
    );
    assert_eq!(
        refused(DrainOrder {
            deadline: 4_102_444_800_000,
            ..order(1)
        }),
        DrainRefused::DeadlineFar
    );
    assert_eq!(
        refused(DrainOrder {
            reason: "x".repeat(257),
            ..order(1)
        }),
        DrainRefused::LongReason
    );
    for hostile in [
        "two\nlines",
        "\x1b[2J",
        "\u{9b}2J",
        "\u{202e}desrever",
        "two\u{2028}lines",
    ] {
        let order = DrainOrder {
            reason: hostile.to_owned(),
            ..order(1)
        };
        assert_eq!(
            refused(order),
            DrainRefused::ControlCharacters,
            "{hostile:?}"
        );
    }
    assert_eq!(control.phase(), Phase::Ready);
    let (launching, _) = launching(0, None);
    assert_eq!(
        launching.begin(order(1), DrainSource::Operator),
        Err(DrainRefused::NotServing)
    );
}

#[test]
fn what_one_source_withdraws_leaves_the_others_orders() {
    let (control, _) = fixture(1);
    control.begin(order(7), DrainSource::Operator).unwrap();
    control
        .begin_now(DrainSource::Metadata, "terminated")
        .unwrap();
    let shown = control.current().unwrap();
    assert_eq!(shown.source, DrainSource::Metadata);
    assert_eq!(shown.order.epoch, 7);
    // Of the configured time, no part of a second is lost.
    assert_eq!(shown.order.deadline, shown.started + 5401);
    control.withdraw(DrainSource::Signal);
    control.withdraw(DrainSource::Metadata);
    assert_eq!(control.current().unwrap().source, DrainSource::Operator);
    control.begin_now(DrainSource::Signal, "SIGTERM").unwrap();
    assert!(control.is_stopping());
    // What ends the process is what counts, whatever is ordered after it.
    control.begin(order(8), DrainSource::Operator).unwrap();
    assert_eq!(control.current().unwrap().source, DrainSource::Signal);
    control.cancel(None).unwrap();
    assert!(!control.is_stopping());
    assert_eq!(control.phase(), Phase::Ready);
}

#[test]
fn the_figures_follow_the_drain() {
    let (control, _) = fixture(2);
    let shown = |control: &Arc<DrainControl>| {
        let source: Box<dyn Source> = Box::new(Arc::clone(control));
        Metrics::new(vec![source]).unwrap().encode().unwrap()
    };
    let before = shown(&control);
    assert!(before.contains("taciturn_relay_drain_deadline_timestamp_seconds 0\n"));
    assert!(before.contains("taciturn_relay_drain_remaining_allocations 0\n"));
    control.begin(order(1), DrainSource::Operator).unwrap();
    // A change is no second drain.
    control.begin(order(2), DrainSource::Operator).unwrap();
    let during = shown(&control);
    assert!(during.contains("taciturn_relay_drain_deadline_timestamp_seconds 4102444800\n"));
    assert!(during.contains("taciturn_relay_drain_remaining_allocations 2\n"));
    assert!(during.contains("taciturn_relay_drain_deadline_passed 0\n"));
    assert!(during.contains("taciturn_relay_drains_total{source=\"operator\"} 1\n"));
    assert!(during.contains("taciturn_relay_drains_total{source=\"signal\"} 0\n"));
}

#[test]
fn orders_and_epochs_survive_a_restart_but_a_stop_does_not() {
    let directory = Directory::new();
    let (control, _) = launching(1, Some(&directory.0));
    assert_eq!(control.at_start(), None);
    control.launched();
    control.begin(order(7), DrainSource::Operator).unwrap();
    assert!(control.status().unwrap().survives_restart);
    control.begin_now(DrainSource::Signal, "SIGTERM").unwrap();
    let first = control.status().unwrap();
    assert!(first.stopping && !first.survives_restart);

    let (control, _) = launching(0, Some(&directory.0));
    assert!(control.at_start().is_some());
    assert_eq!(control.launched(), Phase::Draining);
    let again = control.current().unwrap();
    assert_eq!(
        (again.source, again.order),
        (DrainSource::Operator, order(7))
    );
    assert!(!control.is_stopping());
    control.cancel(Some(8)).unwrap();

    let (control, _) = launching(0, Some(&directory.0));
    assert_eq!(control.launched(), Phase::Ready);
    assert_eq!(
        control.begin(order(7), DrainSource::Operator),
        Err(DrainRefused::OlderEpoch { given: 7, seen: 8 })
    );
}

#[test]
fn a_file_that_makes_no_sense_is_put_aside() {
    let valid = "{\"version\":1,\"epoch\":7,\"orders\":[]}";
    for text in [
        "",
        "{",
        "null",
        "\0\0\0\0",
        "{\"version\":2,\"epoch\":7,\"orders\":[]}",
        "{\"version\":1,\"epoch\":-7,\"orders\":[]}",
        "{\"version\":1,\"epoch\":7,\"orders\":[{}]}",
        &format!("{valid}{}", " ".repeat(20_000)),
        "{\"version\":1,\"epoch\":7,\"orders\":[{\"source\":\"operator\",\"started\":1,\"deadline\":4102444800,\"epoch\":7,\
         \"reason\":\"\\u001b[2J\"}]}",
    ] {
        let directory = Directory::new();
        fs::write(directory.file(), text).unwrap();
        let (control, _) = launching(0, Some(&directory.0));
        assert_eq!(control.launched(), Phase::Ready, "{text}");
        assert!(!directory.file().exists());
        let aside = directory.0.join("drain.json.unreadable");
        assert_eq!(fs::read_to_string(aside).unwrap(), text);
        // And what is ordered next is kept.
        control.begin(order(1), DrainSource::Operator).unwrap();
        assert!(control.status().unwrap().survives_restart);
    }
    let directory = Directory::new();
    fs::write(directory.file(), valid).unwrap();
    let (control, _) = launching(0, Some(&directory.0));
    control.launched();
    assert!(control.begin(order(6), DrainSource::Operator).is_err());
}

#[test]
fn a_name_that_is_no_file_is_not_followed() {
    let directory = Directory::new();
    fs::write(
        directory.0.join("other"),
        "{\"version\":1,\"epoch\":7,\"orders\":[]}",
    )
    .unwrap();
    std::os::unix::fs::symlink(directory.0.join("other"), directory.file()).unwrap();
    let (control, _) = launching(0, Some(&directory.0));
    control.launched();
    control.begin(order(1), DrainSource::Operator).unwrap();
    assert!(directory.file().symlink_metadata().unwrap().is_file());

    let directory = Directory::new();
    fs::create_dir(directory.file()).unwrap();
    let (control, _) = launching(0, Some(&directory.0));
    assert_eq!(control.launched(), Phase::Ready);
}

#[test]
fn an_order_is_written_to_no_file_but_its_own() {
    let directory = Directory::new();
    let (other, unfinished) = (
        directory.0.join("other"),
        directory.0.join("drain.json.new"),
    );
    fs::write(&other, "somebody's").unwrap();
    std::os::unix::fs::symlink(&other, &unfinished).unwrap();
    let (control, _) = launching(1, Some(&directory.0));
    control.launched();
    control.begin(order(1), DrainSource::Operator).unwrap();
    assert_eq!(fs::read_to_string(other).unwrap(), "somebody's");
    assert!(directory.file().symlink_metadata().unwrap().is_file());
    assert!(control.status().unwrap().survives_restart);

    // What a crash has left behind is in nobody's way.
    fs::write(&unfinished, "half an or").unwrap();
    control.begin(order(2), DrainSource::Operator).unwrap();
    assert!(control.status().unwrap().survives_restart);
    assert!(!unfinished.exists());
}

#[test]
fn an_order_that_cannot_be_kept_is_obeyed_all_the_same() {
    let gone = Directory::new();
    let (control, _) = launching(1, Some(&gone.0.join("not-there")));
    control.launched();
    control.begin(order(1), DrainSource::Operator).unwrap();
    assert_eq!(control.phase(), Phase::Draining);
    assert!(!control.status().unwrap().survives_restart);
}

/// What `ended` does within the time in which it looks several times.
async fn looks(control: &DrainControl) -> Option<Ending> {
    tokio::time::timeout(Duration::from_millis(350), control.ended())
        .await
        .ok()
}

#[tokio::test]
async fn an_end_that_is_reached_cannot_be_undone_any_more() {
    let (control, _) = fixture(0);
    control.begin_now(DrainSource::Signal, "SIGTERM").unwrap();
    assert_eq!(control.ended().await, Ending::Drained);
    assert_eq!(control.cancel(None), Err(DrainRefused::Ending));
    let late = control.begin(order(1), DrainSource::Operator);
    assert_eq!(late, Err(DrainRefused::Ending));
}

/// A call that began because the drain was undone in time is not cut by the end that was just about to come.
#[tokio::test]
async fn a_stop_that_is_undone_while_workers_are_asked_does_not_end() {
    let (inbox, outbox) = crate::worker::Inbox::new().unwrap();
    let (control, _) = with_workers(vec![outbox]);
    control.launched();
    control.begin_now(DrainSource::Signal, "SIGTERM").unwrap();
    let asked = Arc::clone(&control);
    let ended = tokio::spawn(async move { asked.ended().await });
    let answer = loop {
        match inbox.message() {
            Some(Message::Load(answer)) => break answer,
            Some(_) => {}
            None => tokio::task::yield_now().await,
        }
    };
    control.cancel(None).unwrap();
    answer
        .send(taciturn_protocol::status::Load::default())
        .unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(350), ended).await;
    assert!(waited.is_err(), "{waited:?}");
    assert_eq!(control.phase(), Phase::Ready);
}

/// An Allocate that was granted before the drain, and waits for its relayed socket, is a call that begins.
#[tokio::test]
async fn a_stop_waits_for_what_is_about_to_be_allocated() {
    let (inbox, outbox) = crate::worker::Inbox::new().unwrap();
    let (control, _) = with_workers(vec![outbox]);
    control.launched();
    control.begin_now(DrainSource::Signal, "SIGTERM").unwrap();
    let worker = tokio::spawn(async move {
        loop {
            if let Some(Message::Load(answer)) = inbox.message() {
                let load = taciturn_protocol::status::Load {
                    pending: 1,
                    ..Default::default()
                };
                let _ = answer.send(load);
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(looks(&control).await, None);
    worker.abort();
}

/// A machine whose wall clock is put right while it stops: calls keep the time that they were given.
#[tokio::test]
async fn a_wall_clock_that_is_set_ends_no_stop() {
    let (control, _) = fixture(1);
    control.begin_now(DrainSource::Signal, "SIGTERM").unwrap();
    // As if the clock had been set past the deadline.
    control.lock().orders[0].order.deadline = 1;
    assert_eq!(looks(&control).await, None);
    control.set_stop_after(Duration::ZERO);
    control.cancel(None).unwrap();
    control.begin_now(DrainSource::Signal, "SIGTERM").unwrap();
    assert_eq!(control.ended().await, Ending::Deadline);
}

/// A supervisor cannot take its stop back: when its time for that is over it kills the process, calls or no calls.
#[tokio::test]
async fn after_a_stop_that_was_undone_the_supervisor_is_asked_for_time() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let name = format!("taciturn-drain-undone-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    let (control, _) = fixture(1);
    control.begin_now(DrainSource::Signal, "SIGTERM").unwrap();
    let supervisor = crate::supervisor::Supervisor::at(&name);
    let watching = tokio::spawn(Arc::clone(&control).watch(supervisor));
    let told = |what: &'static str| {
        let socket = socket.try_clone().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 1024];
            loop {
                let length = socket.recv(&mut buffer).unwrap();
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.starts_with(what) {
                    return text;
                }
                assert!(!text.starts_with("EXTEND"), "{text}");
            }
        })
    };
    assert!(told("STATUS=").await.unwrap().contains("draining"));
    control.cancel(None).unwrap();
    assert_eq!(
        told("EXTEND").await.unwrap(),
        "EXTEND_TIMEOUT_USEC=600000000\n"
    );
    watching.abort();
}

/// A stop that is undone in time cuts nobody, whatever the disk does.
#[test]
fn a_disk_that_hangs_holds_up_no_order() {
    let directory = Directory::new();
    let (control, _) = launching(1, Some(&directory.0));
    control.launched();
    control.begin_now(DrainSource::Signal, "SIGTERM").unwrap();
    let hangs = control.lock_store();
    let undoing = std::thread::spawn({
        let control = Arc::clone(&control);
        move || control.cancel(None)
    });
    let mut turns = 0;
    while control.is_stopping() {
        turns += 1;
        assert!(turns < 2000, "still stopping");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(
        !undoing.is_finished(),
        "nobody is told that it is on the disk"
    );
    drop(hangs);
    undoing.join().unwrap().unwrap();
    // What is on the disk is what was ordered last.
    control.begin(order(3), DrainSource::Operator).unwrap();
    assert!(control.status().unwrap().survives_restart);
    let (control, _) = launching(1, Some(&directory.0));
    assert_eq!(control.current().unwrap().order, order(3));
}
