//! Worlds: switches, hosts and wires under virtual time, from one file and one seed.
//!
//! ```text
//!  host ─▶ Link ─▶ node (Driver, laws) ─▶ Link ─▶ node ─▶ … ─▶ host
//!    ▲ roles: ping, UDP, bulk, request, churn                    │ what arrived, and when
//!    └───────────────────────────────────────────────────────────┘ ─▶ checkers, report, captures
//! ```
//!
//! [`check`] reads a [`Topology`] from TOML; [`World::run`] lets it live. There is one queue of events, ordered by time
//! and then by the order in which they were decided, and one seed, from which every link, host and switch has a stream
//! of its own. So the same file and seed give the same octets, whatever the machine, the build or the batch.
//!
//! A switch is the live [`node::Node`] with the plan that the live daemon would compile, held to its
//! [laws](crate::laws) after each event. The checkers of the world ([`judge`]) see what no single switch can: that no
//! frame goes round in a ring, that none reaches a host of another segment, that translations are bijective, that tables
//! keep their limits, and that after the last change everything works again in time.
//!
//! Time is virtual and nothing here reads a clock. What has no limit in the world it models has one here: events under
//! way ([`queue::EVENTS_MAX`]), events at one instant, findings. A world that breaks a law ends there.

mod cast;
mod host;
mod judge;
mod many;
mod outcome;
mod passage;
mod quantity;
mod queue;
mod report;
mod rings;
mod role;
mod roster;
mod run;
mod spec;
mod stations;
mod stats;
mod topology;
mod underlay;

pub use judge::Finding;
pub use outcome::WorldError;
pub use quantity::{Percent, Rate, Size, Span};
pub use report::{FlowReport, LinkReport, NodeReport, Report};
pub use run::{Options, Progress, World};
pub use spec::{
    ActionSpec, BurstSpec, Expect, FaultSpec, FlapSpec, FlowKind, FlowSpec, HostSpec, LinkSpec, NodeSpec,
    WorldSpec,
};
pub use topology::{
    ACTIONS_MAX, Action, CablePlan, End, FLOWS_MAX, FlowPlan, HOSTS_MAX, HostPlan, LINKS_MAX, NODES_MAX,
    NodePlan, Topology, check,
};
