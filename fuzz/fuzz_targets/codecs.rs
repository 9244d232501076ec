//! A datagram's payload of either format is refused, or survives another way through the tunnel.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sim::fuzz::run_codecs(data);
});
