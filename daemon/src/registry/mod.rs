//! The registry: which hosts there are, which subnet each has, and how it is reached; kept in etcd as flannel keeps it.
//!
//! ```text
//!   pure, time as an argument                          the operating system
//!   network   the document PREFIX/config               etcd      requests and watches over HTTP
//!   lease     a key and its value                      session   asks what the pure part wants asked,
//!   pool      which subnets there are and are free               and tells what came of it
//!   acquire   how a subnet is got
//!   tenure    how it is kept
//!   roster    which peers follow from all leases
//! ```
//!
//! One registry serves both `tapestry flanneld` and `[overlay] registry = "etcd"`, and hosts that run flanneld use the
//! same keys. What the registry says is never believed beyond what it can mean: see [`roster`] for what is refused.
//! etcd may be away for as long as it likes; the peers that were known last stay until it says otherwise.

pub mod acquire;
pub mod etcd;
mod json;
pub mod lease;
#[cfg(test)]
mod model;
pub mod network;
pub mod pool;
pub mod roster;
pub mod session;
pub mod tenure;
