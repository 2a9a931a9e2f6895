//! libFuzzer's door to [`taciturn_fuzz::controller::trail`]; run by `scripts/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| taciturn_fuzz::watch::watched(
    taciturn_fuzz::controller::trail,
    input
));
