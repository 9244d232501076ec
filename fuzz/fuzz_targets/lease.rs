//! Any octets are a key, a lease and a network's configuration in etcd; see `registry::lease::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| tapestry::registry::lease::fuzz(octets));
