//! A node lives through any history of plans, frames, time, flushes and gossip, and keeps its laws.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sim::fuzz::run(data);
});
