//! The registry against Debian's etcd, and against servers that are none.
//!
//! Every test starts an etcd of its own on a loopback address of its own, so tests do not meet; `etcdctl` is the
//! independent witness. `tapestry flanneld` runs in namespaces that share one (as root). Without the programs every test that needs them says that it was skipped.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod away;
mod cluster;
mod docker;
mod etcd;
mod flanneld;
mod lan;
mod leases;
mod nonsense;
mod overlay;
mod packets;
mod tls;
