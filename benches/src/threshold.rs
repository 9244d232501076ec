//! What must be reached, and whether it was.

use serde::Serialize;

use crate::metric::Metric;
use crate::outcome::{Alone, Outcome};
use crate::subject::Subject;

/// A promise: ours against somebody, or against a number.
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    what: What,
    bound: Bound,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// Ours in relation to another's, the median of the rounds' ratios.
    Ratio(Metric, Subject),
    /// The same, ours routing and masquerading.
    Routed(Metric, Subject),
    /// Ours, routing and masquerading, by itself: the median of the rounds.
    Itself(Metric),
    /// One of ours in relation to another subject's.
    Between(Metric, Subject, Subject),
    /// A figure that stands alone.
    Alone(&'static str, fn(&Alone) -> Option<f64>),
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

/// All promises. "×" is a ratio of medians of one run.
pub const THRESHOLDS: [Threshold; 42] = {
    use Bound::{AtLeast, AtMost, Below};
    use Metric::{
        Bulk1, Bulk4, ClosedP50, FloodHalfDatagrams, FloodScanInside, FloodScanOutside, FloodScanSubnets,
        FloodSynInside, FloodSynOutside, Frames64,
    };
    use Subject::{
        Bridge, CopyLoop, KernelVxlan, LinuxNat, OvsTap, Tapestry, TapestryRecorded, TapestryTunnelGso,
        TapestryUdp, TapestryVxlan, Vde,
    };
    const fn ratio(metric: Metric, against: Subject, bound: Bound) -> Threshold {
        Threshold { what: What::Ratio(metric, against), bound }
    }
    const fn routed(metric: Metric, against: Subject, bound: Bound) -> Threshold {
        Threshold { what: What::Routed(metric, against), bound }
    }
    const fn flood(metric: Metric) -> Threshold {
        Threshold { what: What::Itself(metric), bound: AtMost(2.0) }
    }
    const fn between(metric: Metric, ours: Subject, against: Subject, bound: Bound) -> Threshold {
        Threshold { what: What::Between(metric, ours, against), bound }
    }
    const fn alone(name: &'static str, of: fn(&Alone) -> Option<f64>, bound: Bound) -> Threshold {
        Threshold { what: What::Alone(name, of), bound }
    }
    [
        ratio(Bulk1, CopyLoop, AtLeast(0.95)),
        ratio(Bulk4, CopyLoop, AtLeast(0.95)),
        ratio(Bulk1, Bridge, AtLeast(0.85)),
        ratio(Bulk4, Bridge, AtLeast(0.85)),
        ratio(Frames64, CopyLoop, AtLeast(0.95)),
        ratio(Frames64, Bridge, AtLeast(1.35)),
        ratio(Frames64, OvsTap, AtLeast(1.4)),
        ratio(Frames64, Vde, AtLeast(3.5)),
        ratio(ClosedP50, CopyLoop, AtMost(0.6)),
        ratio(ClosedP50, Bridge, AtMost(2.5)),
        routed(Bulk1, Tapestry, AtLeast(0.95)),
        routed(Bulk4, Tapestry, AtLeast(0.95)),
        routed(Bulk1, LinuxNat, AtLeast(0.85)),
        routed(Frames64, LinuxNat, AtLeast(1.3)),
        flood(FloodSynInside),
        flood(FloodSynOutside),
        flood(FloodScanInside),
        flood(FloodScanOutside),
        flood(FloodHalfDatagrams),
        flood(FloodScanSubnets),
        between(Bulk1, TapestryVxlan, KernelVxlan, AtLeast(0.6)),
        between(Bulk1, TapestryTunnelGso, KernelVxlan, AtLeast(0.9)),
        between(Bulk1, TapestryUdp, TapestryVxlan, AtLeast(0.9)),
        between(Frames64, TapestryVxlan, KernelVxlan, AtLeast(0.8)),
        between(Bulk1, TapestryRecorded, Tapestry, AtLeast(0.85)),
        between(Frames64, TapestryRecorded, Tapestry, AtLeast(0.7)),
        alone("idle, 100 ports: share of a core, %", |alone| Some(alone.idle_share? * 100.0), Below(1.0)),
        alone("idle, 100 ports: memory, MiB", |alone| alone.idle_mib, Below(64.0)),
        alone("in memory, 10 stations: Mframes/s", |alone| alone.corridor_10_mfps, AtLeast(20.0)),
        alone("in memory, 100,000 stations: Mframes/s", |alone| alone.corridor_100k_mfps, AtLeast(10.0)),
        alone("memory per FDB entry, octets", |alone| alone.fdb_octets_per_entry, AtMost(32.0)),
        alone("in memory, routed, 100,000 flows: Mpackets/s", |alone| alone.routed_mpps, AtLeast(12.0)),
        alone("in memory, routed + NAT, 100,000 flows: Mpackets/s", |alone| alone.nat_mpps, AtLeast(8.0)),
        alone("in memory, new connections through NAT: M/s", |alone| alone.nat_new_mcps, AtLeast(1.0)),
        alone("memory per NAT session, octets", |alone| alone.nat_octets_per_session, AtMost(192.0)),
        alone("rate of 1,000,000 NAT sessions, against 1,000", |alone| alone.nat_million_ratio, AtLeast(0.4)),
        alone("published range of 50,000: ms to configure", |alone| alone.publish_ms, Below(10.0)),
        alone("published range of 50,000: memory, MiB", |alone| alone.publish_mib, Below(1.0)),
        alone(
            "in memory, innocent packets under the worst flood: p99, ×",
            |alone| alone.flood_work_ratio,
            AtMost(2.0),
        ),
        alone("1,000,000 IPv4 routes, anywhere: Mlook-ups/s", |alone| alone.fib_anywhere_mlps, AtLeast(60.0)),
        alone("1,000,000 IPv4 routes, routed: Mlook-ups/s", |alone| alone.fib_routed_mlps, AtLeast(60.0)),
        alone("1,000,000 IPv4 routes: build, s", |alone| alone.fib_build_s, Below(1.0)),
    ]
};

/// A promise with what was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// What was promised.
    pub what: String,
    /// How much.
    pub bound: String,
    /// What was measured; `None`: it was not.
    pub measured: Option<f64>,
    /// Whether the promise holds; `None`: unknown.
    pub holds: Option<bool>,
}

impl Verdict {
    /// One word.
    pub fn word(&self) -> &'static str {
        match self.holds {
            Some(true) => "pass",
            Some(false) => "MISS",
            None => "not measured",
        }
    }
}

/// Holds an outcome to every promise.
pub fn verdicts(outcome: &Outcome) -> Vec<Verdict> {
    THRESHOLDS.iter().map(|threshold| threshold.verdict(outcome)).collect()
}

impl Threshold {
    fn verdict(&self, outcome: &Outcome) -> Verdict {
        let (what, measured, unit) = match self.what {
            What::Ratio(metric, against) => {
                let ratio = outcome.ratio(Subject::Tapestry, against, metric);
                (format!("{}, against {against}", metric.title()), ratio.map(|ratio| ratio.median), " ×")
            }
            What::Routed(metric, against) => {
                let ratio = outcome.ratio(Subject::TapestryNat, against, metric);
                let what = format!("{}, routed + masqueraded, against {against}", metric.title());
                (what, ratio.map(|ratio| ratio.median), " ×")
            }
            What::Itself(metric) => {
                let summary = outcome.summary(Subject::TapestryNat, metric);
                (
                    format!("routed + masqueraded: {}", metric.title()),
                    summary.map(|summary| summary.median),
                    " ×",
                )
            }
            What::Between(metric, ours, against) => {
                let ratio = outcome.ratio(ours, against, metric);
                let what = format!("{}, {ours} against {against}", metric.title());
                (what, ratio.map(|ratio| ratio.median), " ×")
            }
            What::Alone(name, of) => (name.to_owned(), of(&outcome.alone), ""),
        };
        let (bound, holds) = match self.bound {
            Bound::AtLeast(least) => (format!("≥ {least}{unit}"), measured.map(|measured| measured >= least)),
            Bound::AtMost(most) => (format!("≤ {most}{unit}"), measured.map(|measured| measured <= most)),
            Bound::Below(limit) => (format!("< {limit}{unit}"), measured.map(|measured| measured < limit)),
        };
        Verdict { what, bound, measured, holds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::example;

    fn verdict<'a>(verdicts: &'a [Verdict], what: &str) -> &'a Verdict {
        verdicts.iter().find(|verdict| verdict.what == what).unwrap_or_else(|| panic!("no promise {what:?}"))
    }

    #[test]
    fn promises_are_kept_missed_or_open() {
        let verdicts = verdicts(&example::outcome());
        let word = |what| verdict(&verdicts, what).word();
        assert_eq!(word("TCP bulk, 1 stream, against copyloop"), "pass", "0.95 is reached by 0.9 and 1.0");
        assert_eq!(word("TCP bulk, 1 stream, against bridge"), "MISS");
        assert_eq!(word("TCP bulk, 4 streams, against bridge"), "not measured");
        assert_eq!(word("round trip, closed loop, p50, against copyloop"), "pass");
        assert_eq!(word("idle, 100 ports: share of a core, %"), "pass");
        assert_eq!(word("memory per FDB entry, octets"), "not measured");
    }

    #[test]
    fn less_is_better_where_the_bound_is_above() {
        let mut outcome = example::outcome();
        outcome.alone.idle_mib = Some(64.0);
        outcome.alone.fdb_octets_per_entry = Some(32.0);
        let verdicts = verdicts(&outcome);
        assert_eq!(verdict(&verdicts, "idle, 100 ports: memory, MiB").holds, Some(false), "below, not at");
        assert_eq!(verdict(&verdicts, "memory per FDB entry, octets").holds, Some(true));
    }
}
