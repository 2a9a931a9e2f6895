//! Judging a trail: from its first line on, whether each follows from the one before it.
//!
//! Responsible for naming the first line that does not. Not responsible for mending anything.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::{Head, kind, line};

/// What is known of a trail that is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Its last line.
    pub head: Head,
    /// When its first line was written, as it says itself.
    pub first: Option<String>,
    /// When its last line was written, as it says itself.
    pub last: Option<String>,
    /// Bytes of all whole lines.
    pub bytes: u64,
    /// Lines that say that others are missing here (`gap`, `torn-line`), or that it follows another trail: their numbers.
    pub remarks: Vec<u64>,
    /// The line with the head that was asked for; `None`: there is none, or none was asked for.
    pub known: Option<u64>,
}

/// Why a trail is not whole. What comes before is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first line that is wrong, from 1.
    pub line: u64,
    /// Where it begins, in bytes.
    pub at: u64,
    /// What is wrong with it.
    pub words: String,
    /// It is the last, and ends without a line end: a crash while it was written does that.
    pub torn: bool,
    /// Nothing comes after it.
    pub last: bool,
    /// What comes before it.
    pub before: Verified,
}

/// Judges a trail. `known`: the hash of a line that was once seen in it.
///
/// # Errors
/// The trail cannot be read; in the inner result, the first line that is wrong.
pub fn verify(
    mut trail: impl BufRead,
    known: Option<&str>,
) -> io::Result<Result<Verified, Box<Fault>>> {
    let mut so_far = Verified::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        // One byte more than any line has, so that a file without line ends does not fill the memory.
        let most = u64::try_from(line::LONGEST)
            .unwrap_or(u64::MAX)
            .saturating_add(2);
        let read = (&mut trail).take(most).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(Ok(so_far));
        }
        let ended = line.pop_if(|last| *last == b'\n').is_some();
        let wrong = match judge(&line, &so_far.head) {
            Ok(found) if ended => {
                advance(&mut so_far, found, read, known);
                continue;
            }
            Ok(_) => "ends without a line end".to_owned(),
            Err(words) => words,
        };
        let last = trail.fill_buf()?.is_empty();
        return Ok(Err(Box::new(Fault {
            line: so_far.head.seq.saturating_add(1),
            at: so_far.bytes,
            words: wrong,
            torn: last && !ended,
            last,
            before: so_far,
        })));
    }
}

/// As [`verify()`], of a file.
///
/// # Errors
/// The file cannot be read; in the inner result, the first line that is wrong.
pub fn verify_file(path: &Path, known: Option<&str>) -> io::Result<Result<Verified, Box<Fault>>> {
    verify(BufReader::new(File::open(path)?), known)
}

fn judge(bytes: &[u8], head: &Head) -> Result<line::Line, String> {
    let found = line::read(bytes)?;
    let expected = head.seq.saturating_add(1);
    if found.seq != expected {
        return Err(format!(
            "has the number {}, where {expected} was to come: lines were left out, put in or moved",
            found.seq
        ));
    }
    if found.prev != head.hash {
        return Err(
            "does not follow from the line before it: lines were left out, put in, moved or written anew".to_owned(),
        );
    }
    Ok(found)
}

fn advance(so_far: &mut Verified, found: line::Line, read: usize, known: Option<&str>) {
    so_far.bytes = so_far
        .bytes
        .saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    let continues = found.kind == kind::BEGIN && found.body.get("before").is_some();
    if continues || [kind::GAP, kind::TORN_LINE].contains(&found.kind.as_str()) {
        so_far.remarks.push(found.seq);
    }
    if known.is_some_and(|known| known.eq_ignore_ascii_case(&found.hash)) {
        so_far.known = Some(found.seq);
    }
    if so_far.first.is_none() {
        so_far.first = Some(found.time.clone());
    }
    so_far.last = Some(found.time);
    so_far.head = Head {
        seq: found.seq,
        hash: found.hash,
    };
}
