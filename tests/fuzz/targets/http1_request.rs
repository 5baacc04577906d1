//! Any bytes as a client's request, head and body.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::proxy::fuzzing::request(bytes));
