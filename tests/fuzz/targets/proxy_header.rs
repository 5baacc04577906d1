//! Any bytes as the header of the PROXY protocol.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::proxy::fuzzing::proxy_header(bytes));
