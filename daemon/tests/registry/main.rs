//! The registry against Debian's etcd, and against servers that are none.
//!
//! Every test starts an etcd of its own on a loopback address of its own, so tests do not meet; `etcdctl` is the
//! independent witness. Without the two programs every test that needs them says that it was skipped.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod away;
mod etcd;
mod leases;
mod nonsense;
