//! One run of a command: a question on its standard input, an answer on its standard output.
//!
//! Responsible for bounds: time, the size of what it says, and that nothing of its process group is left when it is killed. Not
//! responsible for what the answer means (`answer`).

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command as Program};
use tokio::time::timeout;

/// The longest answer.
const LONGEST: u64 = 4 << 20;
/// What is kept of its standard error, for the message when it fails.
const WORDS: usize = 300;

/// What came of it.
#[derive(Debug)]
pub(super) enum Run {
    /// It could not be started: nothing has happened.
    NotStarted(String),
    /// It ended by itself.
    Ended {
        /// With exit code 0.
        success: bool,
        /// What it said.
        output: Vec<u8>,
        /// How it ended and what it complained of, in words.
        words: String,
    },
    /// It was killed, as it took too long or said too much: it may have done anything.
    Killed(String),
}

/// A command that can be run.
#[derive(Debug)]
pub(super) struct Command<'a> {
    program: &'a str,
    arguments: &'a [String],
    patience: Duration,
}

impl<'a> Command<'a> {
    /// `None` without a program.
    pub(super) fn new(words: &'a [String], patience: Duration) -> Option<Self> {
        let (program, arguments) = words.split_first()?;
        Some(Self {
            program,
            arguments,
            patience,
        })
    }

    /// Runs it to its end, or kills it and all of its process group.
    pub(super) async fn run(&self, question: &str) -> Run {
        let spawned = Program::new(self.program)
            .args(self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) => {
                return Run::NotStarted(format!("{} cannot be started: {error}", self.program));
            }
        };
        let mut group = Group { child };
        let Ok(run) = timeout(self.patience, self.converse(&mut group.child, question)).await
        else {
            return Run::Killed(format!(
                "{} had not ended after {}",
                self.program,
                crate::durations::words(self.patience)
            ));
        };
        run
    }

    async fn converse(&self, child: &mut Child, question: &str) -> Run {
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let ask = async {
            if let Some(mut stdin) = stdin {
                // A command that does not want to know closes its end, which is its affair.
                let _ = stdin.write_all(question.as_bytes()).await;
                let _ = stdin.write_all(b"\n").await;
            }
        };
        let ((), output, complaint) = tokio::join!(ask, read(stdout, LONGEST), complaint(stderr));
        let Some(output) = output else {
            return Run::Killed(format!("{} says more than {LONGEST} bytes", self.program));
        };
        // Its number is its own until it is waited for, so that the group could be killed until here.
        match child.wait().await {
            Ok(status) => Run::Ended {
                success: status.success(),
                output,
                words: format!("{} ended with {status}{complaint}", self.program),
            },
            Err(error) => Run::Killed(format!("{} cannot be waited for: {error}", self.program)),
        }
    }
}

/// All of it; `None` when it is longer than `longest`.
async fn read(source: Option<impl AsyncRead + Unpin>, longest: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = source?.take(longest + 1).read_to_end(&mut bytes).await;
    let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= longest);
    (read.is_ok() && fits).then_some(bytes)
}

/// The beginning of what it complains of, as one line; the rest is read, so that it is not held up, and dropped.
async fn complaint(source: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut source) = source else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = source.read(&mut piece).await {
        let room = WORDS.saturating_sub(kept.len());
        kept.extend(piece.iter().take(length.min(room)));
    }
    let text = String::from_utf8_lossy(&kept);
    let line: String = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.is_empty() {
        line
    } else {
        format!(": {line}")
    }
}

/// A command with everything that it has started; killed when this is dropped before the command has been waited for.
struct Group {
    child: Child,
}

impl Drop for Group {
    fn drop(&mut self) {
        // `id` is there as long as nobody has waited for it: until then nobody else can have that number.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have ended this very moment.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
