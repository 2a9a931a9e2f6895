//! The trail: every byte counts, and neither a crash nor a full disk loses a line in silence.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::clock::Clock;

/// A directory of this test's own, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("taciturn-audit-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn trail(&self) -> PathBuf {
        self.0.join("audit.jsonl")
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> Audit {
    Audit::open(path, "test", Clock::start()).unwrap()
}

/// A trail of a few lines, as bytes.
fn small() -> Vec<u8> {
    let scratch = Scratch::new();
    let audit = open(&scratch.trail());
    audit
        .append("start", &json!({ "version": "0.1.0" }))
        .unwrap();
    audit
        .append(
            "decision",
            &json!({ "words": "a \"quoted\" word, a line\nend and ,\"hash\":\"" }),
        )
        .unwrap();
    audit.append("stop", &json!({})).unwrap();
    fs::read(scratch.trail()).unwrap()
}

fn judged(bytes: &[u8]) -> Result<Verified, Box<Fault>> {
    verify(bytes, None).unwrap()
}

fn kinds(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| line::read(line).unwrap().kind)
        .collect()
}

#[test]
fn what_is_written_is_whole_and_says_its_head() {
    let scratch = Scratch::new();
    let audit = open(&scratch.trail());
    audit.append("start", &json!({ "a": 1 })).unwrap();
    let bytes = fs::read(scratch.trail()).unwrap();
    let verified = judged(&bytes).unwrap();
    assert_eq!(verified.head, audit.state().head);
    assert_eq!((verified.head.seq, verified.remarks.len()), (2, 0));
    assert_eq!(kinds(&bytes), ["begin", "start"]);
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("{\"seq\":1,\"time\":\"20"), "{text}");
    assert_eq!(judged(b"").unwrap(), Verified::default());
}

/// Every other byte at every place is found, in its line or in the one after it.
#[test]
fn no_byte_can_be_changed() {
    let trail = small();
    let lines_before = |at: usize| trail[..at].iter().filter(|byte| **byte == b'\n').count();
    for at in 0..trail.len() {
        let mut changed = trail.clone();
        for other in [b'0', b'"', b'\n', 0, 0xff, trail[at] ^ 1, trail[at] ^ 0x20] {
            if other == trail[at] {
                continue;
            }
            changed[at] = other;
            let fault = judged(&changed).unwrap_err();
            let line = u64::try_from(lines_before(at)).unwrap() + 1;
            assert_eq!(fault.line, line, "byte {at} made {other}: {}", fault.words);
        }
    }
}

#[test]
fn no_line_can_be_left_out_put_in_or_moved() {
    let trail = small();
    let lines: Vec<&[u8]> = trail.split_inclusive(|byte| *byte == b'\n').collect();
    for left_out in 0..lines.len() - 1 {
        let mut rest = lines.clone();
        rest.remove(left_out);
        let fault = judged(&rest.concat()).unwrap_err();
        assert_eq!(fault.line, u64::try_from(left_out).unwrap() + 1);
        assert!(!fault.torn);
    }
    for (from, to) in [(0, 1), (1, 2), (2, 3), (0, 3)] {
        let mut moved = lines.clone();
        moved.swap(from, to);
        assert!(judged(&moved.concat()).is_err(), "{from} {to}");
        let mut twice = lines.clone();
        twice.insert(to, lines[from]);
        assert!(judged(&twice.concat()).is_err(), "{from} {to}");
    }
    // A line that is right by itself, of a trail that is right by itself.
    let other = small();
    let foreign: Vec<&[u8]> = other.split_inclusive(|byte| *byte == b'\n').collect();
    let mut mixed = lines.clone();
    mixed[3] = foreign[3];
    let same = lines[2] == foreign[2];
    assert_eq!(judged(&mixed.concat()).is_ok(), same);
}

/// What a chain by itself cannot show, a head that was kept elsewhere can.
#[test]
fn lines_that_were_taken_from_the_end_are_missed_by_who_knows_a_head() {
    let trail = small();
    let whole = judged(&trail).unwrap();
    let shorter = trail.len()
        - trail
            .split_inclusive(|b| *b == b'\n')
            .next_back()
            .unwrap()
            .len();
    let cut = judged(&trail[..shorter]).unwrap();
    assert_eq!(cut.head.seq + 1, whole.head.seq);

    let asked = |bytes: &[u8], head: &str| verify(bytes, Some(head)).unwrap().unwrap().known;
    assert_eq!(asked(&trail, &whole.head.hash), Some(4));
    assert_eq!(asked(&trail, &cut.head.hash.to_uppercase()), Some(3));
    assert_eq!(asked(&trail[..shorter], &whole.head.hash), None);
}

/// A crash at any byte of the last line: the line is kept beside the trail, the trail says so and goes on.
#[test]
fn a_torn_line_is_set_aside_and_told_of() {
    let trail = small();
    let last = trail
        .split_inclusive(|b| *b == b'\n')
        .next_back()
        .unwrap()
        .len();
    for cut in 1..last {
        let scratch = Scratch::new();
        let torn = &trail[..trail.len() - cut];
        fs::write(scratch.trail(), torn).unwrap();
        assert!(judged(torn).unwrap_err().torn, "{cut}");
        let audit = open(&scratch.trail());
        audit.append("start", &json!({})).unwrap();
        let bytes = fs::read(scratch.trail()).unwrap();
        let verified = judged(&bytes).unwrap();
        assert_eq!(verified.remarks, [4], "{cut}");
        assert_eq!(kinds(&bytes)[3..], ["torn-line", "start"]);
        let names = scratch.names();
        assert_eq!(names.len(), 2, "{names:?}");
        let kept = fs::read(scratch.0.join(&names[1])).unwrap();
        assert_eq!(kept, torn[trail.len() - last..], "{cut}");
    }
}

/// A trail that does not hold is kept as it is, and the new one says where, and up to where the old one is good.
#[test]
fn a_broken_trail_is_kept_and_a_new_one_refers_to_it() {
    let scratch = Scratch::new();
    let mut trail = small();
    let second = trail.iter().position(|byte| *byte == b'\n').unwrap() + 10;
    trail[second] ^= 1;
    fs::write(scratch.trail(), &trail).unwrap();
    drop(open(&scratch.trail()));
    let bytes = fs::read(scratch.trail()).unwrap();
    let verified = judged(&bytes).unwrap();
    assert_eq!((verified.head.seq, verified.remarks), (1, vec![1]));
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        text.contains("\"before\":{") && text.contains("\"line\":2"),
        "{text}"
    );
    let aside = scratch
        .names()
        .into_iter()
        .find(|name| name.contains("broken"));
    assert_eq!(fs::read(scratch.0.join(aside.unwrap())).unwrap(), trail);
}

#[test]
fn a_restart_goes_on_where_the_trail_ended() {
    let scratch = Scratch::new();
    for start in 1..=3_u64 {
        let audit = open(&scratch.trail());
        audit.append("start", &json!({})).unwrap();
        assert_eq!(audit.state().head.seq, start + 1);
    }
    let bytes = fs::read(scratch.trail()).unwrap();
    assert_eq!(kinds(&bytes), ["begin", "start", "start", "start"]);
    assert!(judged(&bytes).is_ok());
}

/// A disk that takes nothing for a while: lines wait in their order, and each failure is counted.
#[test]
fn what_cannot_be_written_waits_and_is_written_later() {
    let scratch = Scratch::new();
    let directory = scratch.0.join("mounted");
    fs::create_dir(&directory).unwrap();
    let path = directory.join("audit.jsonl");
    let audit = open(&path);
    let before = audit.state().head;

    let away = scratch.0.join("away");
    let break_file = || {
        // As if the disk had gone: the open file is given up after the first failure, and there is none to open.
        audit.ledger_for_test(|ledger| ledger.lose_file());
        fs::rename(&directory, &away).unwrap();
    };
    break_file();
    for number in 0..3 {
        assert!(audit.append("decision", &json!({ "n": number })).is_err());
    }
    let state = audit.state();
    assert_eq!((state.waiting, state.failures), (3, 3));
    assert!(state.fault.unwrap().contains("audit.jsonl"));
    assert_eq!(state.head, before);

    fs::rename(&away, &directory).unwrap();
    audit.retry().unwrap();
    let state = audit.state();
    assert_eq!((state.waiting, state.lost, state.fault), (0, 0, None));
    let bytes = fs::read(&path).unwrap();
    assert_eq!(judged(&bytes).unwrap().head, state.head);
    assert_eq!(kinds(&bytes).len(), 4);
}

/// Half a line that a failed write has left is cut off before the line is written again.
#[test]
fn half_a_line_is_never_followed_by_another() {
    let scratch = Scratch::new();
    let audit = open(&scratch.trail());
    let mut bytes = fs::read(scratch.trail()).unwrap();
    bytes.extend_from_slice(b"{\"seq\":2,\"ti");
    fs::write(scratch.trail(), bytes).unwrap();
    audit.ledger_for_test(|ledger| ledger.lose_file());
    audit.append("start", &json!({})).unwrap();
    let bytes = fs::read(scratch.trail()).unwrap();
    assert_eq!(kinds(&bytes), ["begin", "start"]);
}

#[test]
fn a_trail_that_was_cut_under_a_running_controller_is_not_written_over() {
    let scratch = Scratch::new();
    let audit = open(&scratch.trail());
    fs::write(scratch.trail(), "").unwrap();
    audit.ledger_for_test(|ledger| ledger.lose_file());
    let words = audit.append("start", &json!({})).unwrap_err();
    assert!(words.contains("somebody has cut it"), "{words}");
    assert_eq!(fs::read(scratch.trail()).unwrap(), b"");
}

/// Too many lines wait: the oldest are kept, and the trail says how many of the others it lacks.
#[test]
fn lines_that_were_given_up_are_told_of() {
    let scratch = Scratch::new();
    let directory = scratch.0.join("mounted");
    fs::create_dir(&directory).unwrap();
    let path = directory.join("audit.jsonl");
    let audit = open(&path);
    audit.ledger_for_test(|ledger| ledger.lose_file());
    let away = scratch.0.join("away");
    fs::rename(&directory, &away).unwrap();
    for number in 0..2050 {
        assert!(audit.append("decision", &json!({ "n": number })).is_err());
    }
    assert_eq!(audit.state().lost, 2);
    fs::rename(&away, &directory).unwrap();
    audit.retry().unwrap();
    let bytes = fs::read(&path).unwrap();
    let verified = judged(&bytes).unwrap();
    assert_eq!(verified.remarks, [verified.head.seq]);
    assert_eq!(kinds(&bytes).last().unwrap(), "gap");
    assert!(
        String::from_utf8(bytes)
            .unwrap()
            .contains("\"lines_lost\":2")
    );
}

#[test]
fn a_body_that_no_line_holds_is_left_out_and_its_size_is_told() {
    let scratch = Scratch::new();
    let audit = open(&scratch.trail());
    let long = "x".repeat(line::LONGEST);
    audit.append("decision", &json!({ "words": long })).unwrap();
    let bytes = fs::read(scratch.trail()).unwrap();
    assert!(judged(&bytes).is_ok());
    assert!(String::from_utf8(bytes).unwrap().contains("left_out_bytes"));
}

proptest! {
    /// Whatever stands in a file, it is judged, in bounded memory and without a panic.
    #[test]
    fn any_file_is_judged(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = verify(&bytes[..], Some("ab")).unwrap();
    }

    /// Whatever body is written, the line is one line and is read back.
    #[test]
    fn any_body_is_one_line(text in ".*", number in any::<i64>()) {
        let body = json!({ "text": text, "number": number });
        let (line, head) = line::write(&Head::default(), "2026-01-01T00:00:00Z", "decision", &body);
        prop_assert_eq!(line.matches('\n').count(), 1);
        let read = line::read(line.trim_end_matches('\n').as_bytes()).unwrap();
        prop_assert_eq!(read.body, body);
        prop_assert_eq!(read.hash, head.hash);
    }

    /// A trail that is cut anywhere is whole up to the last line end.
    #[test]
    fn a_cut_trail_is_whole_up_to_its_last_line(at in 0_usize..1000) {
        let trail = small();
        let cut = &trail[..at.min(trail.len())];
        let lines = u64::try_from(cut.iter().filter(|byte| **byte == b'\n').count()).unwrap();
        match judged(cut) {
            Ok(whole) => prop_assert_eq!(whole.head.seq, lines),
            Err(fault) => {
                prop_assert!(fault.torn);
                prop_assert_eq!(fault.before.head.seq, lines);
            }
        }
    }
}
