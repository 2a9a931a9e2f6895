//! libFuzzer's door to [`taciturn_fuzz::operations::run`]; run by `scripts/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| taciturn_fuzz::watch::watched(
    taciturn_fuzz::operations::run,
    input
));
