//! Any bytes as an upstream's answer, head and body.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::proxy::fuzzing::answer(bytes));
