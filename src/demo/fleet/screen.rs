//! The demo on a terminal: a line for each event, and one below that shows how it stands.
//!
//! Responsible for how it looks, on a terminal and in a file. Not responsible for what there is to tell (`story`).

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use super::story::{Event, Relay};
use super::tally::Tally;

/// Where nobody can go back in a line, the standing is told this often.
const SELDOM: Duration = Duration::from_millis(9_500);
/// Lines are not longer than this.
const WIDTH: usize = 112;
/// Where the reasons begin.
const INDENT: usize = 49;

/// Standard output.
#[derive(Debug)]
pub(crate) struct Screen {
    is_terminal: bool,
    told: Option<Duration>,
}

impl Screen {
    /// The standard output of this process.
    pub(crate) fn open() -> Self {
        Self {
            is_terminal: io::stdout().is_terminal(),
            told: None,
        }
    }

    /// Writes lines above the standing.
    pub(crate) fn write(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.is_terminal {
            write!(out, "\r\x1b[K")?;
        }
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Writes an event.
    pub(crate) fn event(&self, elapsed: Duration, event: &Event) -> io::Result<()> {
        self.write(&line(elapsed, event))
    }

    /// Shows how it stands.
    ///
    /// Where nobody can go back in a line this is one of its own, and seldom.
    pub(crate) fn standing(
        &mut self,
        elapsed: Duration,
        relays: &[Relay],
        tally: &Tally,
    ) -> io::Result<()> {
        let text = standing(elapsed, relays, tally);
        if self.is_terminal {
            let mut out = io::stdout().lock();
            write!(out, "\r\x1b[K\x1b[1m{text}\x1b[0m")?;
            return out.flush();
        }
        if self
            .told
            .is_some_and(|told| elapsed.saturating_sub(told) < SELDOM)
        {
            return Ok(());
        }
        self.told = Some(elapsed);
        self.write(&text)
    }
}

fn clock(elapsed: Duration) -> String {
    format!(
        "{:>3}:{:02}",
        elapsed.as_secs() / 60,
        elapsed.as_secs() % 60
    )
}

fn line(elapsed: Duration, event: &Event) -> String {
    let Event {
        verb,
        relay,
        zone,
        words,
    } = event;
    let begin = format!("{}  {verb:<8} {relay:<22} {zone:<8} ", clock(elapsed));
    wrapped(begin, words)
}

/// Breaks a text between words; what follows stands below the first of them.
fn wrapped(begin: String, words: &str) -> String {
    let mut text = begin;
    let mut column = text.chars().count();
    for (index, word) in words.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > WIDTH {
            text += &format!("\n{:INDENT$}", "");
            column = INDENT;
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text += word;
        column += length;
    }
    text
}

fn standing(elapsed: Duration, relays: &[Relay], tally: &Tally) -> String {
    let draining = relays
        .iter()
        .filter(|relay| relay.state == "draining")
        .count();
    let mut text = format!(
        "{}  calls {}   relays {}",
        clock(elapsed),
        tally.live(),
        relays.len()
    );
    if draining > 0 {
        text += &format!(" ({draining} draining)");
    }
    if tally.turned_away > 0 {
        text += &format!("   turned away: {}", tally.turned_away);
    }
    text + &format!("   cut: {}", tally.cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_broken_between_words_below_its_beginning() {
        let event = Event {
            verb: "drain",
            relay: "local-3-1-7322c8fd".to_owned(),
            zone: "demo-c".to_owned(),
            words: "word ".repeat(40).trim_end().to_owned(),
        };
        let text = line(Duration::from_secs(67), &event);
        assert!(
            text.starts_with("  1:07  drain    local-3-1-7322c8fd     demo-c   word word"),
            "{text}"
        );
        assert!(text.lines().count() > 1);
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        assert!(
            text.lines()
                .skip(1)
                .all(|line| line.starts_with(&" ".repeat(INDENT)))
        );
    }

    #[test]
    fn the_standing_says_how_many_calls_were_cut() {
        let mut tally = Tally::default();
        let relay = std::net::IpAddr::from([127, 40, 1, 1]);
        tally.begin(relay);
        assert_eq!(
            standing(Duration::from_secs(5), &[], &tally),
            "  0:05  calls 1   relays 0   cut: 0"
        );
        tally.end(relay, super::super::tally::Ending::Silent);
        assert_eq!(
            standing(Duration::from_secs(600), &[], &tally),
            " 10:00  calls 0   relays 0   cut: 1"
        );
    }
}
