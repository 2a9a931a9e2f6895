//! The season on the disk: lines that are appended, and read once at the start.
//!
//! Responsible for losing nothing but the forecast's floor when the file is lost, torn or cannot be written. Not responsible
//! for what the lines mean ([`Season`]).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use taciturn_protocol::time::Now;

use crate::policy::Season;

/// The file in the state directory.
const NAME: &str = "season.log";
/// Longest file that is read: years of five-minute lines. The end of a longer one is what counts.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The season, and where it is kept.
#[derive(Debug, Default)]
pub(super) struct SeasonFile {
    pub(super) season: Season,
    file: Option<PathBuf>,
}

impl SeasonFile {
    /// Reads what is there.
    pub(super) fn open(state_directory: Option<&Path>, now: Now) -> Self {
        let mut season = Season::default();
        let file = state_directory.map(|directory| directory.join(NAME));
        if let Some(path) = &file {
            match read(path) {
                Ok(lines) => {
                    let bad = season.read_lines(now, &lines);
                    if bad > 0 {
                        tracing::warn!(file = %path.display(), bad, "lines of the season cannot be read; they are left out");
                    }
                    // What nobody asks for any more is left out, once it is most of the file.
                    let all = season.all_lines();
                    let long = lines.len() > 2 * all.len() + 1000;
                    if long && let Err(error) = replace(path, &all) {
                        tracing::warn!(file = %path.display(), %error, "the season's file cannot be shortened");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "the season cannot be read; the forecast begins anew");
                }
            }
        }
        Self { season, file }
    }

    /// Appends what is new.
    pub(super) fn append(&mut self, now: Now) {
        let lines = self.season.write_lines(now);
        let Some(path) = self.file.as_ref().filter(|_| !lines.is_empty()) else {
            return;
        };
        let mut text = lines.join("\n");
        text.push('\n');
        let written = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        if let Err(error) = written {
            tracing::warn!(file = %path.display(), %error, "the season cannot be written; the forecast would miss this time");
        }
    }
}

fn replace(path: &Path, lines: &[String]) -> io::Result<()> {
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    taciturn_plane::replace(path, text.as_bytes())
}

fn read(path: &Path) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use taciturn_protocol::time::{Instant, UnixTime};

    use super::*;
    use crate::fleet::Loads;

    fn at(seconds: u64) -> Now {
        Now {
            instant: Instant::from_nanos(seconds * 1_000_000_000),
            unix: UnixTime::from_secs(1_790_000_000 + seconds),
        }
    }

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn a_season_that_cannot_be_read_or_written_is_lived_without() {
        let directory = directory("season-hindered");
        fs::create_dir_all(directory.join(NAME)).unwrap();
        let mut kept = SeasonFile::open(Some(&directory), at(0));
        assert_eq!(kept.season, Season::default());
        let load = Loads {
            packets: Some(5.0),
            ..Loads::default()
        };
        kept.season.record(at(0), &load);
        kept.append(at(900));
        assert!(directory.join(NAME).is_dir(), "nothing was written");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_restart_finds_the_season_again_and_a_torn_line_costs_that_line() {
        let directory = directory("season-kept");
        let mut kept = SeasonFile::open(Some(&directory), at(0));
        let load = Loads {
            packets: Some(5.0),
            ..Loads::default()
        };
        for seconds in [0, 300, 600] {
            kept.season.record(at(seconds), &load);
        }
        kept.append(at(3600));
        let file = directory.join(NAME);
        let whole = fs::read_to_string(&file).unwrap();
        assert_eq!(whole.lines().count(), 3, "{whole}");
        let lines = |kept: &SeasonFile| kept.season.all_lines();
        assert_eq!(
            lines(&SeasonFile::open(Some(&directory), at(3600))),
            lines(&kept)
        );
        fs::write(&file, &whole[..whole.len() - 4]).unwrap();
        let torn = SeasonFile::open(Some(&directory), at(3600));
        assert_eq!(lines(&torn), lines(&kept)[..2]);
        // A long file is replaced by what is still asked for.
        fs::write(&file, "nonsense\n".repeat(1200) + &whole).unwrap();
        drop(SeasonFile::open(Some(&directory), at(3600)));
        assert_eq!(fs::read_to_string(&file).unwrap(), whole);
        fs::remove_dir_all(&directory).unwrap();
    }
}
