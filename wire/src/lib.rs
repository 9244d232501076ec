//! What every room knows: addresses, header views, checksums, offload metadata, frame buffers and time.
//!
//! Nothing here decides anything. A module is a noun: it reads and writes bytes, refuses what is malformed, and
//! never panics on input. There is no clock, no randomness of its own, no I/O; the compiler sees to it (`no_std`).
//!
//! Words used everywhere: a *frame* is L2, a *packet* is L3, a *datagram* is a tunnel's UDP carrier, a *port* is a
//! switch port, and the number in a TCP or UDP header is always an *L4 port*.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod addr;
pub mod arp;
pub mod bucket;
pub mod checksum;
pub mod cidr;
pub mod coalesce;
pub mod drop;
pub mod ethernet;
pub mod flow;
pub mod frame;
pub mod headers;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod offload;
pub mod rng;
pub mod segment;
pub mod tcp;
pub mod time;
pub mod udp;

#[cfg(test)]
mod samples;

pub use addr::{DomainId, Mac, PortId, UnicastMac, Vid};
pub use bucket::TokenBucket;
pub use cidr::Cidr;
pub use coalesce::Coalescer;
pub use drop::DropReason;
pub use flow::FlowHash;
pub use frame::{FrameBuf, FramePool};
pub use headers::{HeaderError, Headers};
pub use offload::Offload;
pub use rng::Rng;
pub use time::Instant;
