//! The season on the disk: lines that are appended, and read once at the start.
//!
//! Responsible for losing nothing but the forecast's floor when the file is lost, torn or cannot be written. Not responsible
//! for what the lines mean ([`Season`]).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
    pub(super) fn open(state_directory: Option<&Path>) -> Self {
        let mut season = Season::default();
        let file = state_directory.map(|directory| directory.join(NAME));
        if let Some(path) = &file {
            match read(path) {
                Ok(lines) => {
                    let bad = season.read_lines(&lines);
                    if bad > 0 {
                        tracing::warn!(file = %path.display(), bad, "lines of the season cannot be read; they are left out");
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
    pub(super) fn append(&mut self) {
        let lines = self.season.write_lines();
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

fn read(path: &Path) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_season_that_cannot_be_read_or_written_is_lived_without() {
        let directory = std::env::temp_dir().join(format!("season-{}", std::process::id()));
        std::fs::create_dir_all(directory.join(NAME)).unwrap();
        let mut kept = SeasonFile::open(Some(&directory));
        assert_eq!(kept.season, Season::default());
        kept.append();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(SeasonFile::open(Some(&directory)).season, Season::default());
    }
}
