//! Real devices in real namespaces: the shell against the kernel it runs on.
//!
//! Needs root and /dev/net/tun; without them every test says that it was skipped, and why. Every test has namespaces of
//! its own, without names, so tests do not meet and leave nothing.

mod support;
mod tap;
