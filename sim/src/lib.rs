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
//! - [`compare`] finds the first difference between two such outcomes.
//! - [`craft`] writes frames for tests and goldens, [`fuzz`] turns octets into a history.
//!
//! No socket is opened here and no clock is read: time is what captures say.
#![forbid(unsafe_code)]

pub mod capture;
pub mod compare;
pub mod craft;
mod describe;
mod driver;
mod entrance;
pub mod fuzz;
mod laws;
pub mod replay;
#[cfg(test)]
mod testing;

pub use driver::{Departure, Driver};
pub use replay::{Outcome, Replay, ReplayError};
