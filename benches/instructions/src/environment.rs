//! What a count depends on beside our code: compiler, C library, callgrind and the processor that it shows.

use std::process::Command;

use anyhow::Context;

/// Names and versions, each as the program itself says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Environment {
    /// `rustc --version`.
    pub(crate) rustc: String,
    /// `valgrind --version`.
    pub(crate) valgrind: String,
    /// The C library, whose `memcpy` and `malloc` are in the counts.
    pub(crate) libc: String,
    /// Architecture, and the extensions by which library code chooses its way.
    pub(crate) processor: String,
}

impl Environment {
    /// This one. `processor` is what the cases saw under callgrind.
    pub(crate) fn here(processor: String) -> anyhow::Result<Self> {
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        Ok(Self {
            rustc: first_line(&rustc, "--version")?,
            valgrind: first_line("valgrind", "--version")?,
            libc: first_line("getconf", "GNU_LIBC_VERSION")?,
            processor,
        })
    }

    /// What is different in `other`, in words.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = [
            (&self.rustc, &other.rustc),
            (&self.valgrind, &other.valgrind),
            (&self.libc, &other.libc),
            (&self.processor, &other.processor),
        ];
        let differing = pairs.into_iter().filter(|(ours, theirs)| ours != theirs);
        differing
            .map(|(ours, theirs)| format!("recorded with {ours}, this is {theirs}"))
            .collect()
    }
}

/// The processor that this process sees. Callgrind's has neither AVX-512 nor SHA instructions, whatever the machine has.
pub(crate) fn processor() -> String {
    let arch = std::env::consts::ARCH;
    #[cfg(target_arch = "x86_64")]
    let extensions = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("sha", std::arch::is_x86_feature_detected!("sha")),
        ("avx512", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let extensions: [(&str, bool); 0] = [];
    let has = extensions.iter().filter(|(_, has)| *has);
    let has: String = has.map(|(name, _)| format!(" {name}")).collect();
    format!("{arch}{has}")
}

fn first_line(program: &str, argument: &str) -> anyhow::Result<String> {
    let output = Command::new(program)
        .arg(argument)
        .output()
        .with_context(|| format!("running {program} {argument}; is it installed?"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default().trim();
    anyhow::ensure!(!line.is_empty(), "{program} {argument} says nothing");
    Ok(line.to_owned())
}
