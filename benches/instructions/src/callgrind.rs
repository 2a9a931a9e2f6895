//! Runs the cases under callgrind and reads what it counted.
//!
//! Counting is off but inside one function, and each return from it writes a file with what was counted since the last:
//! one process for all cases, exact to the instruction.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::count::COUNTED;

/// What the cases took.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The processor that they saw.
    pub(crate) processor: String,
    /// Instructions an operation, by case.
    pub(crate) instructions: BTreeMap<String, u64>,
}

/// Runs this program's cases.
pub(crate) fn measure() -> anyhow::Result<Measured> {
    let directory = Scratch::new()?;
    let out = directory.0.join("counted");
    let program = std::env::current_exe().context("finding this program")?;
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(format!("--log-file={}", directory.0.join("log").display()))
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--dump-after={COUNTED}"))
        .arg(program)
        .arg("cases")
        // Environment variables move the stack, and settings of the allocator would be counted.
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .output()
        .context("running valgrind; it is in the Debian package of that name")?;
    anyhow::ensure!(
        output.status.success(),
        "the cases failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8(output.stdout).context("names of cases")?;
    let mut lines = text.lines();
    let processor = lines.next().context("the cases said nothing")?.to_owned();
    let mut instructions = BTreeMap::new();
    for (index, line) in lines.enumerate() {
        let (operations, name) = line
            .split_once(' ')
            .with_context(|| format!("no case: `{line}`"))?;
        let counted = counted(&out.with_extension(format!("{}", index + 1)))?;
        let each = each(counted, operations.parse()?);
        let before = instructions.insert(name.to_owned(), each);
        anyhow::ensure!(before.is_none(), "two cases are named `{name}`");
    }
    Ok(Measured {
        processor,
        instructions,
    })
}

/// Rounded to whole instructions.
fn each(counted: u64, operations: u64) -> u64 {
    (counted + operations / 2) / operations.max(1)
}

fn counted(path: &Path) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading {}: callgrind counted too little", path.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.with_context(|| format!("no total in {}", path.display()))?;
    Ok(total.trim().parse()?)
}

/// A directory beside this program, gone when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let name = format!("instructions-{}", std::process::id());
        let path = program.with_file_name(name);
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind lies in the build's own directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
