//! The corridor: every frame walks the same rooms in the same order, and the node is a function of its events.
//!
//! ```text
//!  event ─▶ ADMIT ─▶ LEARN ─▶ ROUTE ─▶ FORWARD ─▶ DELIVER ─▶ outbox
//!           encap    vswitch  vrouter  vswitch    encap, wire
//!           vswitch
//! ```
//!
//! Contract in one line: *handle one event, drain the outbox, repeat*. Time is an argument, chance is a seed, and
//! nothing else comes from outside, so the same plan, seed and events give the same bytes and counters on every
//! machine, for every batch size.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod counters;
mod event;
mod outbox;
mod plan;

pub use counters::{Counters, PortCounters};
pub use event::{Event, Flush, Gossip, Notice};
pub use outbox::{Outbox, Send};
pub use plan::{Plan, PlanError};
