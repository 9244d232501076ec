//! How fast it is, and against what.
//!
//! Two kinds of answer, kept apart:
//! - *Side by side* (`cargo compare`): [`comparison`] takes every [`subject`] in turn, round after round, puts it
//!   between the two endpoints of a [`site`], and has the generators of [`generate`] use it. [`outcome`] holds all
//!   figures, [`stats`] sums them up, [`threshold`] holds them to what was promised, [`report`] writes them down.
//! - *In memory* (`cargo bench -p benches`): criterion benchmarks of each room, with the tables of [`routes`] and the
//!   tunnels of [`peers`], and, by [`corridor`], of all together, where no kernel takes part. These two never stand in one chart.
//!
//! Needs root and /dev/net/tun for the first kind. Everything a comparison makes lives in namespaces without names
//! and in children that end with it. Limits: one path at a time, MTU 1500, IPv4, one direction of bulk transfer.

pub mod alone;
pub mod comparison;
pub mod connections;
pub mod corridor;
pub mod counters;
pub mod flooded;
pub mod generate;
pub mod interrupt;
pub mod machine;
pub mod metric;
pub mod outcome;
pub mod peers;
pub mod report;
pub mod routed;
pub mod routes;
pub mod site;
pub mod stats;
pub mod subject;
pub mod threshold;
