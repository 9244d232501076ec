//! The workloads, made by threads of this process that have entered the endpoints' namespaces: no iperf3, no netperf,
//! so that a run needs nothing but Rust and root, and all subjects are asked exactly the same.

pub mod bulk;
pub mod flood;
pub mod frames;
pub mod round_trip;
mod sender;

use std::time::Duration;

/// How long each workload runs.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Spans {
    /// Before anything is counted: TCP windows open, caches and adaptive spinning settle.
    #[serde(serialize_with = "seconds")]
    pub warm_up: Duration,
    /// What is counted.
    #[serde(serialize_with = "seconds")]
    pub measured: Duration,
}

fn seconds<S: serde::Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(span.as_secs_f64())
}
