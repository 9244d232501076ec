//! A router lives through any history of plans, packets and time; nothing comes in from its uplink unasked.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sim::fuzz::run_router(data);
});
