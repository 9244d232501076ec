//! The node under a virtual clock: captures in, captures out, and the laws it must keep on the way.
//!
//! ```text
//!  capture ─┐                                     ┌─▶ capture of each port
//!  capture ─┼─ by time ─▶ Driver ─▶ Node ─▶ outbox┼─▶ counters.txt
//!  capture ─┘               │                     └─▶ events.txt
//!                           └─ laws, after every event
//! ```
//!
//! - [`capture`] reads pcap and pcapng and writes pcapng, one packet at a time whatever the file's size.
//! - [`Driver`] hands a node its events, wakes it at its named deadlines, and holds it to its laws.
//! - [`replay`] does that with captures as the events; it is `tapestry replay` and the runner of the goldens.
//! - [`recording`] keeps every event of a live run, and replays it to the same octets.
//! - [`compare`] finds the first difference between two such outcomes.
//! - [`world`] joins nodes, hosts and imperfect wires ([`link`]) under one queue of events and one seed.
//! - [`swarm`] draws small worlds by chance and makes those that fail smaller.
//! - [`trace`] says in words what a switch would do with a packet, and by which line of its configuration.
//! - [`craft`] writes frames for tests and goldens, [`fuzz`] turns octets into a history.
//!
//! No socket is opened here and no clock is read: time is what captures say, or what a world's queue holds next.
#![forbid(unsafe_code)]

pub mod capture;
pub mod compare;
pub mod craft;
mod describe;
mod driver;
mod entrance;
pub mod filter;
pub mod fuzz;
mod laws;
pub mod link;
pub mod recording;
pub mod replay;
pub mod swarm;
#[cfg(test)]
mod testing;
pub mod trace;
pub mod world;

pub use describe::frame as describe_frame;
pub use driver::{Departure, Driver};
pub use replay::{Outcome, Remarks, Replay, ReplayError};
