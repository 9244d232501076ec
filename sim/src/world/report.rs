//! What has come of a world, in numbers. The same world gives the same report, octet for octet.
//!
//! There are no floats and no real time in it. Latencies are nanoseconds, at three significant digits.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cast::{Cable, Seat};
use super::judge::{Finding, title};
use super::stats::FlowStats;
use super::topology::FlowPlan;
use crate::describe;
use crate::link::LinkCounts;

/// What has come of a world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Where its chance came from.
    pub seed: u64,
    /// How long it lived, in nanoseconds.
    pub lived_ns: u64,
    /// What happened in it.
    pub events: u64,
    /// Frames that arrived somewhere.
    pub frames: u64,
    /// A fingerprint of every frame that arrived: when, where and what (FNV-1a, 64 bits, as hexadecimal digits).
    pub digest: String,
    /// What is wrong. Nothing should be.
    pub findings: Vec<Finding>,
    /// Flows whose time to work had not come when the world ended.
    pub unchecked: u64,
    /// What hosts did, in the order of the file.
    pub flows: Vec<FlowReport>,
    /// Wires, in the order of the file.
    pub links: Vec<LinkReport>,
    /// Switches, by name.
    pub nodes: BTreeMap<String, NodeReport>,
}

/// What has come of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowReport {
    /// Which.
    pub flow: String,
    /// Packets, questions or connections begun.
    pub sent: u64,
    /// Answers, datagrams or transfers that have come to their end.
    pub received: u64,
    /// Connections that broke or were refused.
    pub failed: u64,
    /// Octets of data received.
    pub bytes: u64,
    /// Received bits per second, from the first octet to the last.
    pub bits_per_second: u64,
    /// What came twice.
    pub duplicated: u64,
    /// What came behind a later one.
    pub reordered: u64,
    /// When something arrived first, in nanoseconds.
    pub first_ns: Option<u64>,
    /// When something arrived last.
    pub last_ns: Option<u64>,
    /// How long questions waited for answers, or datagrams were under way.
    pub latency_ns: Option<LatencyReport>,
}

/// Percentiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LatencyReport {
    /// The least.
    pub min: u64,
    /// Half are not above.
    pub p50: u64,
    /// Nine tenths are not above.
    pub p90: u64,
    /// All but one in a hundred are not above.
    pub p99: u64,
    /// All but one in a thousand are not above.
    pub p999: u64,
    /// The most.
    pub max: u64,
}

/// What a wire has done, in frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkReport {
    /// Which.
    pub link: String,
    /// From its first end to its second.
    pub forth: LinkCounts,
    /// From its second end to its first.
    pub back: LinkCounts,
}

/// What a switch has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeReport {
    /// Every counter that is not zero.
    pub counters: BTreeMap<String, u64>,
    /// Frames that left through a port without a wire.
    pub unplugged: u64,
    /// Frames from the underlay that its host's stack dropped: broken, or for none of its sockets.
    pub astray: u64,
    /// What it has told.
    pub notices: u64,
    /// Of that, that a station moves back and forth.
    pub flaps: u64,
}

impl FlowReport {
    pub(super) fn of(number: usize, flow: &FlowPlan, stats: &FlowStats) -> Self {
        let took = stats.first_at.zip(stats.last_at).map(|(first, last)| last.since(first).as_nanos());
        let rate =
            took.filter(|nanos| *nanos > 0).map(|nanos| u128::from(stats.bytes) * 8_000_000_000 / nanos);
        let latency = &stats.latency;
        Self {
            flow: title(number, flow),
            sent: stats.sent,
            received: stats.received,
            failed: stats.failed,
            bytes: stats.bytes,
            bits_per_second: rate.map_or(0, |rate| u64::try_from(rate).unwrap_or(u64::MAX)),
            duplicated: stats.duplicated,
            reordered: stats.reordered,
            first_ns: stats.first_at.map(wire::Instant::as_nanos),
            last_ns: stats.last_at.map(wire::Instant::as_nanos),
            latency_ns: (!latency.is_empty()).then(|| LatencyReport {
                min: latency.min(),
                p50: latency.value_at_quantile(0.5),
                p90: latency.value_at_quantile(0.9),
                p99: latency.value_at_quantile(0.99),
                p999: latency.value_at_quantile(0.999),
                max: latency.max(),
            }),
        }
    }
}

impl LinkReport {
    pub(super) fn of(cable: &Cable) -> Self {
        let [forth, back] = cable.counts();
        Self { link: cable.plan.name.clone(), forth, back }
    }
}

impl NodeReport {
    pub(super) fn of(seat: &Seat) -> Self {
        let text = describe::counters(seat.driver.counters(), &seat.compiled);
        let line = |line: &str| {
            let (name, count) = line.rsplit_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        let counters = text.lines().filter_map(line).collect();
        Self {
            counters,
            unplugged: seat.unplugged,
            astray: seat.astray,
            notices: seat.notices,
            flaps: seat.flaps,
        }
    }
}
