//! A fleet that is upgraded under calls: relay after relay is started beside the one before, which is then drained and ends.
//!
//! Responsible for what the calls of the old relay lose, where newcomers end up, and when the old one ends. Not responsible for
//! every way to begin and undo a drain (`tests/system/drain.rs`), nor for who starts and ends hosts (`tests/fleet`).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::{Client, Over, peer_at};
use crate::flock::{Flock, Tally, mixed};
use crate::running::{Running, Setup, assert_stopped, eventually, loopback};
use crate::scale::{is_long, scale};
use crate::vitals::{record, status};

/// Longer than the test: no call is cut that ends in time.
const AMPLE: Duration = Duration::from_secs(3600);
pub(crate) const LISTENERS: [(&str, u16); 3] = [("udp", 3478), ("tcp", 3478), ("tls", 5349)];

/// A relay of the fleet, which sends its newcomers to `next` when it drains.
fn start(host: Ipv4Addr, next: Ipv4Addr, stop_after: Duration) -> Running {
    let alternates = LISTENERS[..2]
        .iter()
        .map(|(transport, port)| {
            format!("{{ transport = \"{transport}\", address = \"{next}:{port}\" }}")
        })
        .collect::<Vec<_>>()
        .join(", ");
    let mut setup = Setup {
        listeners: LISTENERS
            .map(|(transport, port)| (transport, format!("{host}:{port}")))
            .to_vec(),
        relayed: format!("addresses = [\"{host}\"]\nports = \"20000-29999\""),
        drain: format!(
            "stop-after = \"{}s\"\nalternates = [{alternates}]",
            stop_after.as_secs()
        ),
        ..Setup::on_loopback(2)
    };
    setup.limits += "\nconnections-per-source = 0";
    setup.start()
}

fn name(number: u64) -> String {
    format!("caller-{number}")
}

/// A client that knows of the old relay alone, which refuses it; it goes where it was sent, or, over TLS, where the next
/// answer of the signalling server would send it.
fn turned_away(old: &Running, new: &Running, number: u64) -> Client {
    let over = mixed(number);
    let server = new.listener(over.name());
    let mut client = Client::of(old, over, &name(number));
    let answer = client.try_allocate(|_| {});
    if over == Over::Tls {
        assert_eq!(answer.code(), 508);
    } else {
        assert_eq!(answer.code(), 300, "{over:?}");
        let servers = answer.attributes().alternate_servers();
        let servers: Vec<_> = servers.map(Result::unwrap).collect();
        assert_eq!(servers, [server], "{over:?}");
    }
    Client::at(new, over, server, &name(number))
}

/// Told by the admin API, as a controller does it, or by the signal of `systemctl stop`.
fn drain(relay: &Running, by_signal: bool) {
    if by_signal {
        relay.signal(Signal::TERM);
        eventually("the drain", || status(relay)["phase"] == "draining");
    } else {
        let order = r#"{"deadline": 4102444800, "reason": "upgrade", "epoch": 1}"#;
        assert_eq!(relay.http_with("POST", "/v1/drain", order).0, 200);
    }
}

/// The relay's last call has ended: so does the process, by itself or when it is told to, and nothing was cut.
fn over_and_done(mut relay: Running, by_signal: bool) {
    if !by_signal {
        eventually("the end of the drain", || {
            status(&relay)["phase"] == "drained"
        });
        relay.assert_alive();
        relay.signal(Signal::TERM);
    }
    assert_stopped(&relay.ended(), "drained", 0);
}

/// One relay in the place of another: the new one, with as many calls as the old one has, and what the old one's calls lost
/// until the new one's had been made.
fn succeed(
    old: &Running,
    flock: &mut Flock,
    (calls, peers): (u64, SocketAddr),
    by_signal: bool,
    new: impl FnOnce() -> Running,
) -> (Running, Flock, Tally) {
    let ((new, next), tally) = flock.beside(|| {
        let new = new();
        drain(old, by_signal);
        let ends = (0..calls).map(|number| (turned_away(old, &new, number), peer_at(peers)));
        let next = Flock::of(ends);
        (new, next)
    });
    (new, next, tally)
}

/// G-16, T-29: relays are replaced one after the other under calls over UDP, TCP and TLS, which lose nothing until they end;
/// newcomers are sent on with 300, or get 508, and nothing else. The old relay ends with its last call; one whose calls
/// do not end is stopped at its deadline, and no sooner.
#[test]
fn upgrades_cost_the_calls_in_progress_nothing() {
    let (upgrades, calls) = (scale(2, 20), scale(12, 1000));
    let patience = Duration::from_secs(scale(2, 30));
    let hosts: Vec<_> = (0..upgrades + 3).map(|_| loopback()).collect();
    // Thousands of ports: theirs alone, so that nothing comes that was meant for somebody before them.
    let peers = SocketAddr::from((loopback(), 0));
    let stop_after = |number| if number == upgrades { patience } else { AMPLE };
    let begin = |number: u64| {
        let at = usize::try_from(number).unwrap();
        start(hosts[at], hosts[at + 1], stop_after(number))
    };

    let mut relay = begin(0);
    let first = (0..calls).map(|number| {
        (
            Client::of(&relay, mixed(number), &name(number)),
            peer_at(peers),
        )
    });
    let mut flock = Flock::of(first);
    let mut all = Tally::default();
    for upgrade in 0..upgrades {
        let by_signal = upgrade % 2 == 1;
        let new = || begin(upgrade + 1);
        let (new, mut next, tally) = succeed(&relay, &mut flock, (calls, peers), by_signal, new);
        tally.assert_whole();
        let (ending, beside) = next.beside(|| {
            let ending = flock.disperse();
            over_and_done(relay, by_signal);
            ending
        });
        ending.assert_whole();
        beside.assert_whole();
        all = all.with(tally).with(ending).with(beside);
        (relay, flock) = (new, next);
    }

    let asked = Instant::now();
    let new = || begin(upgrades + 1);
    let (mut new, mut next, tally) = succeed(&relay, &mut flock, (calls, peers), true, new);
    all = all.with(tally);
    let almost = patience - Duration::from_secs(1);
    all = all.with(flock.sing(|| asked.elapsed() >= almost));
    let (took, beside) = next.beside(|| {
        assert_stopped(&relay.ended(), "deadline", calls);
        asked.elapsed()
    });
    all = all.with(beside).with(next.disperse());
    new.assert_alive();
    all.assert_whole();
    assert!(took >= patience, "{took:?} of {patience:?}");
    if is_long() {
        assert!(took <= patience + Duration::from_secs(2), "{took:?}");
    }
    record(
        "upgrades; calls in progress at each; newcomers refused with 300 or 508, and taken on by the next",
        format!("{upgrades}; {calls}; {}", (upgrades + 1) * calls),
    );
    record(
        "payloads of calls meanwhile, lost",
        format!("{} {}", all.sent, all.lost),
    );
    record(
        "requests of calls meanwhile, unanswered",
        format!("{} {}", all.requests, all.unanswered),
    );
    record(
        "one more, whose calls do not end: deadline, and end of the process after the signal",
        format!("{patience:?} {took:?}"),
    );
}
