//! Real devices in real namespaces: the shell against the kernel it runs on.
//!
//! Needs root and /dev/net/tun; without them every test says that it was skipped, and why. Every test has namespaces of
//! its own, without names, so tests do not meet and leave nothing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod adopt;
mod change;
mod daemon;
mod demo;
mod fault;
mod link;
mod namespace;
mod nic;
mod peer;
mod record;
mod stations;
mod steering;
mod support;
mod switch;
mod tap;
mod traffic;
mod tunnel;
mod uplink;
mod witness;
mod workers;
