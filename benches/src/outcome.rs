//! What a comparison found: every figure of every round, and what they say together.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::generate::Spans;
use crate::machine::Machine;
use crate::metric::Metric;
use crate::stats::{self, Summary};
use crate::subject::Subject;

/// A whole comparison. Serialised as it is, it is the JSON report.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Where and when.
    pub machine: Machine,
    /// What was typed.
    pub command: String,
    /// How it was measured.
    pub method: Method,
    /// Who took part.
    pub entrants: Vec<Entrant>,
    /// Who did not, and why.
    pub absent: Vec<Absent>,
    /// Every measurement, in the order made.
    pub runs: Vec<Run>,
    /// What needs no opponent.
    pub alone: Alone,
}

/// How figures were made.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Method {
    /// Rounds, the subjects alternating within each.
    pub rounds: usize,
    /// Of the throughput workloads.
    pub throughput: Spans,
    /// Of the round-trip workloads.
    pub round_trip: Spans,
    /// Requests a second at the fixed rate.
    pub rate: u32,
    /// Hostile frames a second.
    pub flood_rate: u32,
}

/// A subject that took part.
#[derive(Clone, Debug, Serialize)]
pub struct Entrant {
    /// Which.
    pub subject: Subject,
    /// Which one of it.
    pub version: String,
}

/// A subject that did not.
#[derive(Clone, Debug, Serialize)]
pub struct Absent {
    /// Which.
    pub subject: Subject,
    /// Why.
    pub reason: String,
}

/// One subject in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Counted from 0.
    pub round: usize,
    /// Which.
    pub subject: Subject,
    /// What it reached.
    pub figures: BTreeMap<Metric, f64>,
    /// What helps to understand a figure: offered frames, retransmissions, processor time.
    pub asides: BTreeMap<String, f64>,
    /// Workloads that came to nothing.
    pub failures: Vec<String>,
}

/// Figures of our own that are compared with a bound, not with a peer.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Alone {
    /// 100 idle ports: processor time of the whole process, as a share of one core.
    pub idle_share: Option<f64>,
    /// 100 idle ports: resident memory, MiB.
    pub idle_mib: Option<f64>,
    /// 64-byte L2 forwarding in memory, 10 stations, millions of frames a second.
    pub corridor_10_mfps: Option<f64>,
    /// The same with 100,000 stations.
    pub corridor_100k_mfps: Option<f64>,
    /// Octets of memory per learned station.
    pub fdb_octets_per_entry: Option<f64>,
    /// 64-byte packets from network to network in memory, 100,000 flows, millions a second.
    pub routed_mpps: Option<f64>,
    /// The same masqueraded to the uplink, the connections established.
    pub nat_mpps: Option<f64>,
    /// Connections opened through NAT in memory, millions a second.
    pub nat_new_mcps: Option<f64>,
    /// Octets of memory per NAT session when there are a million.
    pub nat_octets_per_session: Option<f64>,
    /// The rate of masqueraded packets with a million sessions, against that with 1,000.
    pub nat_million_ratio: Option<f64>,
    /// A published range of 50,000 L4 ports: milliseconds to check and apply the plan.
    pub publish_ms: Option<f64>,
    /// Its memory, MiB.
    pub publish_mib: Option<f64>,
    /// The work of innocent packets in memory under the worst flood, 99th percentile, against that without.
    pub flood_work_ratio: Option<f64>,
    /// What the costliest flood's frames take each, nanoseconds.
    pub flood_hostile_ns: Option<f64>,
    /// The 99th percentile of wakes that forget a million connections, microseconds.
    pub flood_wake_us: Option<f64>,
    /// 1,000,000 IPv4 routes: millions of look-ups a second, destinations anywhere.
    pub fib_anywhere_mlps: Option<f64>,
    /// The same, destinations within the routed prefixes.
    pub fib_routed_mlps: Option<f64>,
    /// Seconds to build that table.
    pub fib_build_s: Option<f64>,
}

impl Outcome {
    /// A subject's figures, one place a round.
    pub fn series(&self, subject: Subject, metric: Metric) -> Vec<Option<f64>> {
        let mut series = vec![None; self.method.rounds];
        for run in self.runs.iter().filter(|run| run.subject == subject) {
            series[run.round] = run.figures.get(&metric).copied();
        }
        series
    }

    /// What they say together.
    pub fn summary(&self, subject: Subject, metric: Metric) -> Option<Summary> {
        Summary::of(&self.series(subject, metric).into_iter().flatten().collect::<Vec<_>>())
    }

    /// How one subject stands to another, round by round.
    pub fn ratio(&self, subject: Subject, against: Subject, metric: Metric) -> Option<Summary> {
        stats::ratio(&self.series(subject, metric), &self.series(against, metric))
    }

    /// What an aside says over all rounds.
    pub fn aside(&self, subject: Subject, name: &str) -> Option<Summary> {
        let values =
            self.runs.iter().filter(|run| run.subject == subject).filter_map(|run| run.asides.get(name));
        Summary::of(&values.copied().collect::<Vec<_>>())
    }

    /// The metrics that somebody has a figure for.
    pub fn metrics(&self) -> impl Iterator<Item = Metric> {
        Metric::ALL.into_iter().filter(|metric| self.runs.iter().any(|run| run.figures.contains_key(metric)))
    }
}

#[cfg(test)]
pub(crate) mod example {
    use std::time::Duration;

    use super::*;

    /// Two rounds of ours, the limit and the bridge; the bridge has no figure in the second.
    pub(crate) fn outcome() -> Outcome {
        let span = Spans { warm_up: Duration::from_millis(500), measured: Duration::from_secs(3) };
        let run = |round, subject, gbit, kfps, p50| Run {
            round,
            subject,
            figures: [(Metric::Bulk1, gbit), (Metric::Frames64, kfps), (Metric::ClosedP50, p50)].into(),
            asides: [("offered kframes/s".to_owned(), kfps * 2.0)].into(),
            failures: Vec::new(),
        };
        let mut bridge = run(1, Subject::Bridge, 0.0, 0.0, 0.0);
        bridge.figures.clear();
        bridge.failures.push("bulk: the endpoints cannot reach each other".to_owned());
        Outcome {
            machine: Machine {
                kernel: "Linux 6.18.0 x86_64".to_owned(),
                processor: "Example (family 1 model 1)".to_owned(),
                processors: 2,
                memory_gib: 24,
                virtual_machine: true,
                date: "2026-01-02T03:04:05Z".to_owned(),
            },
            command: "compare --repeat 2".to_owned(),
            method: Method { rounds: 2, throughput: span, round_trip: span, rate: 5_000, flood_rate: 50_000 },
            entrants: [Subject::Tapestry, Subject::CopyLoop, Subject::Bridge]
                .map(|subject| Entrant { subject, version: "1.0 <beta>".to_owned() })
                .into(),
            absent: vec![Absent { subject: Subject::Vde, reason: "vde_switch is not installed".to_owned() }],
            runs: vec![
                run(0, Subject::Tapestry, 16.0, 600.0, 10.0),
                run(0, Subject::CopyLoop, 16.0, 600.0, 40.0),
                run(0, Subject::Bridge, 20.0, 400.0, 8.0),
                run(1, Subject::Tapestry, 18.0, 620.0, 12.0),
                run(1, Subject::CopyLoop, 20.0, 620.0, 40.0),
                bridge,
            ],
            alone: Alone { idle_share: Some(0.002), idle_mib: Some(30.0), ..Alone::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_keeps_the_place_of_a_missing_round() {
        let outcome = example::outcome();
        assert_eq!(outcome.series(Subject::Bridge, Metric::Bulk1), [Some(20.0), None]);
        assert_eq!(outcome.summary(Subject::Bridge, Metric::Bulk1).unwrap().count, 1);
        assert_eq!(outcome.summary(Subject::Vde, Metric::Bulk1), None);
    }

    #[test]
    fn a_ratio_uses_rounds_that_both_have() {
        let outcome = example::outcome();
        assert_eq!(outcome.ratio(Subject::Tapestry, Subject::Bridge, Metric::Bulk1).unwrap().median, 0.8);
        let against_limit = outcome.ratio(Subject::Tapestry, Subject::CopyLoop, Metric::Bulk1).unwrap();
        assert_eq!((against_limit.min, against_limit.max), (0.9, 1.0));
    }

    #[test]
    fn only_measured_metrics_are_listed() {
        let metrics: Vec<_> = example::outcome().metrics().collect();
        assert_eq!(metrics, [Metric::Bulk1, Metric::Frames64, Metric::ClosedP50]);
    }
}
