//! How far a test goes: short beside all others, or as long as the published figures were taken with; and not at all, where the
//! machine lacks what it needs.
//!
//! Not responsible for what is measured, nor for the build that is measured: `running` takes it from `TACITURN_BIN`.

/// Whether `TACITURN_LONG=1` asks for the long form, alone on the machine and with a release build.
pub(crate) fn is_long() -> bool {
    std::env::var_os("TACITURN_LONG").is_some_and(|value| value == "1")
}

/// Says that a test is not run, for want of this. Fails where nothing may be missing: in CI (`CI=true`), and in the long form, as
/// what it shows is published.
pub(crate) fn not_run(test: &str, want: &str) {
    let in_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(!in_ci && !is_long(), "{test} needs {want}");
    eprintln!("not run for want of {want}: {test}");
}

/// How many, in the form that was asked for.
pub(crate) fn scale(short: u64, long: u64) -> u64 {
    if is_long() { long } else { short }
}
