//! Any routes, and a request that looks for its own.

#![no_main]

#[path = "../checks/routes.rs"]
mod routes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| routes::check(bytes));
