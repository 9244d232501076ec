//! The switch: which domain a frame belongs to, who may say what, where stations live, and where frames go.
//!
//! Three rooms of the corridor are here, each a method of [`Switch`] (of the last one, two), called once per frame and in this
//! order:
//!
//! ```text
//!  admit    well formed? which domain (port, VLAN)? may this port say that? rate?      → Admitted or a DropReason
//!  learn    the source lives behind this port                                          → what changed
//!  answer   does it ask for a station that is known? (only where the plan says so)  → an answer, or nothing
//!  forward  the destination of the frame's *current* domain                            → one port, many, or a DropReason
//! ```
//!
//! Inside the corridor a frame is untagged; `admit` takes its tag off and `deliver` (in `node`) puts the egress
//! port's tag on. Everything a frame needs was compiled into a [`SwitchPlan`] beforehand; the only state is the
//! forwarding database ([`fdb`]), the storm buckets and the few stations that have moved lately.
//!
//! All three take 29 ns a frame with 10 or 1,000 stations on 100 access ports and 60 to 75 ns with 100,000 drawn evenly
//! (`cargo bench -p benches --bench fdb`, AMD EPYC Zen 5, one core, other work running). Looking a burst's stations up
//! beforehand, so that the memory serves them side by side, made a sixth of difference and is not done.
//!
//! Not here: spanning tree, multicast snooping (multicasts are flooded), provider bridging (802.1ad), link aggregation,
//! SNAP (a guard does not look into it; Linux hosts read no IP from it).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod admit;
mod answer;
pub mod fdb;
mod flap;
mod forward;
mod guard;
mod learn;
pub mod plan;
mod storm;
mod switch;
#[cfg(test)]
mod testing;

pub use admit::Admitted;
pub use answer::{BINDING_AGE, BINDINGS_MAX, BINDINGS_PER_PORT_MAX};
pub use flap::{FLAP_MOVES, FLAP_WINDOW, FLAPS_MAX};
pub use forward::{Egress, Forward};
pub use learn::{Learned, STATIONS_MAX};
pub use plan::{
    DomainPlan, Guards, Horizon, Isolation, Membership, PortPlan, ReservedForward, StaticStation, Storm,
    SwitchPlan,
};
pub use switch::{Station, Switch};
