//! The time-limited switch under which the log names clients and users in full.
//!
//! Responsible for when it is on, and for the form in which names that come from the network are written. Not responsible
//! for what is logged (`events`).

use core::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use taciturn_protocol::time::UnixTime;

/// Bytes of a name that are written; the rest is left out.
const LONGEST_NAME: usize = 128;

/// Whether full names are logged, and until when. Shared.
#[derive(Debug, Default)]
pub struct Forensics {
    /// Seconds since 1970-01-01 UTC; 0: off.
    until: AtomicU64,
}

impl Forensics {
    /// Whether full names are logged at this time.
    pub fn is_on(&self, now: UnixTime) -> bool {
        now.as_secs() < self.until.load(Ordering::Relaxed)
    }

    /// When it turns itself off; `None` when it is off.
    pub fn until(&self, now: UnixTime) -> Option<UnixTime> {
        let until = UnixTime::from_secs(self.until.load(Ordering::Relaxed));
        (now < until).then_some(until)
    }

    /// Follows the configuration: on until then, or off when that is past or nothing.
    pub fn set(&self, until: Option<UnixTime>) {
        let seconds = until.map_or(0, UnixTime::as_secs);
        self.until.store(seconds, Ordering::Relaxed);
    }

    /// Turns off what is over, and says whether it did so now. A clock that is set back does not turn it on again.
    pub fn expire(&self, now: UnixTime) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0
            && until <= now.as_secs()
            && self
                .until
                .compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// A name from the network in a form that is safe in any log: ASCII letters, digits and a few signs stand for
/// themselves, every other byte is written `\xNN`, and what is beyond 128 bytes is replaced by its count.
///
/// So a name can neither end a line, move a terminal's cursor, turn the direction of writing, nor be taken for a format,
/// a lookup, a quotation or another field.
#[derive(Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

/// Whether this character, though no control character, breaks a line or turns the direction of writing (Unicode TR 9, UAX 14):
/// a line of a log or of a terminal with it in reads as something that it does not say.
pub(crate) const fn turns_or_breaks_lines(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let shown = self.0.get(..LONGEST_NAME).unwrap_or(self.0);
        for &byte in shown {
            if byte.is_ascii_alphanumeric() || b"-_.:@+/".contains(&byte) {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, "...({more} more)"),
        }
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> UnixTime {
        UnixTime::from_secs(seconds)
    }

    #[test]
    fn forensics_are_off_until_asked_for_and_end_by_themselves_for_good() {
        let forensics = Forensics::default();
        assert!(!forensics.is_on(at(0)));
        assert!(!forensics.expire(at(100)));
        forensics.set(Some(at(100)));
        assert!(forensics.is_on(at(99)));
        assert_eq!(forensics.until(at(99)), Some(at(100)));
        assert!(!forensics.expire(at(99)));
        assert!(!forensics.is_on(at(100)), "the time itself is past it");
        assert_eq!(forensics.until(at(100)), None);
        assert!(forensics.expire(at(100)));
        assert!(!forensics.expire(at(101)), "it ends once");
        assert!(!forensics.is_on(at(50)), "the clock was set back");
        forensics.set(Some(at(200)));
        forensics.set(None);
        assert!(!forensics.is_on(at(101)));
    }

    /// hostile user names are escaped and cut, byte by byte.
    #[test]
    fn a_hostile_name_is_one_harmless_word() {
        let shown = |name: &[u8]| Escaped(name).to_string();
        assert_eq!(shown(b"1700000000:alice@clinic"), "1700000000:alice@clinic");
        assert_eq!(shown(b"a\r\nb"), "a\\x0d\\x0ab");
        assert_eq!(shown(b"\x1b[31m"), "\\x1b\\x5b31m");
        assert_eq!(shown(b"%n%s"), "\\x25n\\x25s");
        assert_eq!(shown(b"a\0b"), "a\\x00b");
        assert_eq!(shown("\u{202e}".as_bytes()), "\\xe2\\x80\\xae");
        assert_eq!(shown(b"\xff\xfe"), "\\xff\\xfe");
        assert_eq!(shown(b"${jndi:x}"), "\\x24\\x7bjndi:x\\x7d");
        assert_eq!(shown(b"{\"a\": 1}"), "\\x7b\\x22a\\x22:\\x201\\x7d");
        assert_eq!(shown(b"user=bob\\"), "user\\x3dbob\\x5c");
        let long = shown(&[b'x'; 508]);
        assert_eq!(long, format!("{}...(380 more)", "x".repeat(128)));
    }
}
