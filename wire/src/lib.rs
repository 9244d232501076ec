//! What every room knows: addresses, header views, checksums, offload metadata, frame buffers and time.
//!
//! Nothing here decides anything. A module is a noun: it reads and writes bytes, refuses what is malformed, and
//! never panics on input. There is no clock, no randomness of its own, no I/O; the compiler sees to it (`no_std`).
//!
//! Words used everywhere: a *frame* is L2, a *packet* is L3, a *datagram* is a tunnel's UDP carrier, a *port* is a
//! switch port, and the number in a TCP or UDP header is always an *L4 port*.
//!
//! A frame's way through the modules: [`frame`] holds it with its [`offload`] metadata, [`ethernet`] reads L2, [`headers`]
//! finds L3 and L4, [`flow`] says whose it is, the views ([`arp`], [`ipv4`], [`ipv6`], [`icmpv4`], [`icmpv6`],
//! [`tcp`], [`udp`]) read and write fields, [`checksum`] keeps sums true, [`segment`] and [`coalesce`] fit it to a port.
//!
//! Not here: tags behind the first (802.1ad), IPv6 jumbograms, IPv4 fragment reassembly, SCTP checksums, fragmentation
//! offload for UDP (UFO), and tunnel offloads: the last octets of the virtio header are written as zeros.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod addr;
pub mod arp;
pub mod array;
pub mod bucket;
pub mod checksum;
pub mod cidr;
pub mod coalesce;
pub mod drop;
pub mod ecn;
pub mod ethernet;
mod field;
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
pub use ecn::Ecn;
pub use flow::FlowHash;
pub use frame::{FrameBuf, FramePool};
pub use headers::{HeaderError, Headers};
pub use offload::Offload;
pub use rng::Rng;
pub use time::Instant;
