//! What the controller reads: its configuration, what relays say of themselves, tickets, signed snapshots, trails.
//!
//! Responsible for: nothing is believed beyond its bounds, nothing is believed that was not signed here, and what is written is read
//! again. Not responsible for its HTTP API ([`crate::controller_api`]).

use std::io;
use std::path::Path;
use std::sync::LazyLock;

use taciturn_controller::config::{self, FileRead};
use taciturn_controller::credentials::{Payload, SnapshotError, SnapshotKey, SnapshotRelay};
use taciturn_controller::self_test::{Ticket, TicketId, TicketKey};
use taciturn_controller::{audit, durations, observe};
use taciturn_protocol::time::UnixTime;

use crate::bytes::Bytes;

/// What is in every file that a configuration names.
const PLANTED: &[u8] = b"planted-secret-0123456789abcdef-planted";
const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

fn read(_: &Path) -> io::Result<FileRead> {
    Ok(FileRead {
        bytes: PLANTED.to_vec(),
        open_to_others: false,
    })
}

/// A text as `controller.toml`.
pub fn configuration(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let origin = Path::new("/etc/taciturn/controller.toml");
    match config::parse(text, origin, &mut read) {
        Ok(config) => {
            let shown = format!("{config:?}");
            assert!(!shown.contains("planted-secret"), "a secret is shown");
            assert!(config.needs_restart(&config).is_empty());
        }
        Err(errors) => {
            let errors = errors.as_slice();
            assert!(!errors.is_empty(), "refused without a reason");
            assert!(errors.len() <= text.len() + 50, "{} errors", errors.len());
            let lines = text.lines().count().max(1);
            for error in errors {
                assert!(error.line <= lines + 1, "line {} of {lines}", error.line);
                let words = error.to_string();
                assert!(words.len() <= 1000 + 2 * text.len());
                assert!(!words.contains("planted-secret"), "a secret is shown");
            }
        }
    }
}

/// A relay's status, as whatever answers at its address says it.
pub fn relay_status(input: &[u8]) {
    let Ok(report) = observe::report(input) else {
        return;
    };
    let is_number = |number: Option<f64>| number.is_none_or(|n| n.is_finite() && n >= 0.0);
    for loads in [&report.load, &report.capacity] {
        assert!(is_number(loads.packets) && is_number(loads.bits) && is_number(loads.core));
        assert!(is_number(loads.allocations) && is_number(loads.ports));
    }
    assert!(is_number(report.utilisation));
    let mut texts = vec![&report.boot_id, &report.version];
    texts.extend(&report.not_ready_because);
    if let Some(drain) = &report.drain {
        texts.extend([&drain.source, &drain.reason]);
        assert!(drain.deadline.as_secs() < 1 << 40);
    }
    assert!(report.not_ready_because.len() <= 16);
    for text in texts {
        // What is cut may be replaced by spaces, which are no longer than what they replace.
        assert!(text.len() <= 256 && !text.chars().any(char::is_control));
    }
    let endpoints = &report.endpoints;
    let most = endpoints.addresses.len().max(endpoints.tls_names.len());
    assert!(most.max(endpoints.listeners.len()) <= 16);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    for name in &endpoints.tls_names {
        assert!(name.chars().all(is_plain) || name.starts_with("*."));
    }
}

static TICKETS: LazyLock<TicketKey> = LazyLock::new(|| TicketKey::new([7; TicketKey::BYTES]));
static SNAPSHOTS: LazyLock<SnapshotKey> = LazyLock::new(|| SnapshotKey::of(PLANTED));

/// A ticket and a snapshot as strangers write them; and ours, with a byte changed.
pub fn signed(input: &[u8]) {
    let mut input = Bytes(input);
    let ticket = Ticket {
        id: TicketId(input.array()),
        expires: UnixTime::from_secs(input.u64()),
        uses: input.u16(),
    };
    let (place, bits) = (usize::from(input.u16()), input.u8());
    let (later, ttl) = (u64::from(input.u16()), input.u64());

    let mut text = TICKETS.seal(&ticket).into_bytes();
    assert_eq!(TICKETS.open(&text), Some(ticket));
    let at = place % text.len();
    text[at] ^= bits;
    assert!(
        bits == 0 || TICKETS.open(&text).is_none(),
        "changed at {at}"
    );
    assert!(TICKETS.open(input.0).is_none(), "not sealed here");

    let payload = Payload {
        format: Payload::FORMAT.to_owned(),
        fleet: "fuzz".to_owned(),
        iat: NOW.as_secs(),
        exp: NOW.as_secs() + 600,
        ttl,
        relays: vec![SnapshotRelay {
            id: "i-1".to_owned(),
            zone: "az1".to_owned(),
            region: "a".to_owned(),
            urls: vec!["turn:192.0.2.1".to_owned()],
            weight: 1000,
        }],
    };
    let text = SNAPSHOTS.sign("2026-11", &payload);
    let wanted = if later < 600 {
        Ok(payload)
    } else {
        Err(SnapshotError::Expired)
    };
    assert_eq!(SNAPSHOTS.verify(&text, NOW.plus_secs(later)), wanted);
    let mut changed = text.into_bytes();
    let at = place % changed.len();
    changed[at] ^= bits & 0x7F;
    if let Ok(changed) = String::from_utf8(changed)
        && bits & 0x7F != 0
    {
        let judged = SNAPSHOTS.verify(&changed, NOW);
        assert!(judged.is_err(), "changed at {at}: {changed}");
    }
    if let Ok(text) = str::from_utf8(input.0) {
        assert!(SNAPSHOTS.verify(text, NOW).is_err(), "not signed here");
        let _named = SnapshotKey::named_in(text);
    }
}

/// An audit trail that somebody has had in hands.
pub fn trail(input: &[u8]) {
    let judged = audit::verify(input, None).expect("memory can be read");
    let read = match &judged {
        Ok(verified) => verified,
        Err(fault) => {
            assert!(fault.line > fault.before.head.seq && !fault.words.is_empty());
            assert!(fault.at == fault.before.bytes && fault.at <= input.len() as u64);
            assert!(!fault.torn || fault.last);
            &fault.before
        }
    };
    assert!(read.bytes <= input.len() as u64);
    if judged.is_ok() {
        assert_eq!(read.bytes, input.len() as u64);
    }
}

/// A duration as configurations have it.
pub fn duration(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    match durations::parse(text) {
        Ok(read) => {
            let written = durations::words(read);
            assert_eq!(durations::parse(&written), Ok(read), "{text}, {written}");
            assert!(text.starts_with(|c: char| c.is_ascii_digit()));
        }
        Err(words) => assert!(words.len() <= 200 + text.len()),
    }
}
