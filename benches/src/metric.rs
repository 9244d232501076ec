//! What is measured: the workloads' figures, their units, and which way is better.

use serde::Serialize;

/// One figure of one subject in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Payload of one TCP stream, at the receiver.
    Bulk1,
    /// Payload of four TCP streams together, at the receivers.
    Bulk4,
    /// 64-byte frames that came out, while one core sent all it could.
    Frames64,
    /// Round trip of a 64-octet UDP request, the next sent when the last is answered: the median.
    ClosedP50,
    /// Its 99th percentile.
    ClosedP99,
    /// Its 99.9th percentile.
    ClosedP999,
    /// Round trip of requests sent by the clock, from when each was due: the median.
    PacedP50,
    /// Its 99th percentile.
    PacedP99,
    /// Its 99.9th percentile.
    PacedP999,
    /// Round trip in the closed loop under [`SynInside`](crate::generate::flood::Flood::SynInside): its 99th percentile
    /// against that without, as are the following.
    FloodSynInside,
    /// Under SYNs from outside to what is published.
    FloodSynOutside,
    /// Under a port scan from inside.
    FloodScanInside,
    /// Under a port scan from outside.
    FloodScanOutside,
    /// Under first fragments alone.
    FloodHalfDatagrams,
    /// Under a scan of the networks' addresses.
    FloodScanSubnets,
}

impl Metric {
    /// All of them, as reports list them.
    pub const ALL: [Self; 15] = [
        Self::Bulk1,
        Self::Bulk4,
        Self::Frames64,
        Self::ClosedP50,
        Self::ClosedP99,
        Self::ClosedP999,
        Self::PacedP50,
        Self::PacedP99,
        Self::PacedP999,
        Self::FloodSynInside,
        Self::FloodSynOutside,
        Self::FloodScanInside,
        Self::FloodScanOutside,
        Self::FloodHalfDatagrams,
        Self::FloodScanSubnets,
    ];

    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Bulk1 => "TCP bulk, 1 stream",
            Self::Bulk4 => "TCP bulk, 4 streams",
            Self::Frames64 => "64-byte frames",
            Self::ClosedP50 => "round trip, closed loop, p50",
            Self::ClosedP99 => "round trip, closed loop, p99",
            Self::ClosedP999 => "round trip, closed loop, p99.9",
            Self::PacedP50 => "round trip, fixed rate, p50",
            Self::PacedP99 => "round trip, fixed rate, p99",
            Self::PacedP999 => "round trip, fixed rate, p99.9",
            Self::FloodSynInside => "p99 under SYNs from inside, against without",
            Self::FloodSynOutside => "p99 under SYNs from outside, against without",
            Self::FloodScanInside => "p99 under a port scan from inside, against without",
            Self::FloodScanOutside => "p99 under a port scan from outside, against without",
            Self::FloodHalfDatagrams => "p99 under half datagrams, against without",
            Self::FloodScanSubnets => "p99 under a subnet scan, against without",
        }
    }

    /// Its unit.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Bulk1 | Self::Bulk4 => "Gbit/s",
            Self::Frames64 => "kframes/s",
            Self::ClosedP50
            | Self::ClosedP99
            | Self::ClosedP999
            | Self::PacedP50
            | Self::PacedP99
            | Self::PacedP999 => "µs",
            Self::FloodSynInside
            | Self::FloodSynOutside
            | Self::FloodScanInside
            | Self::FloodScanOutside
            | Self::FloodHalfDatagrams
            | Self::FloodScanSubnets => "×",
        }
    }

    /// Whether more is better; less is, of a time and of how much longer it becomes.
    pub fn more_is_better(self) -> bool {
        match self {
            Self::Bulk1 | Self::Bulk4 | Self::Frames64 => true,
            Self::ClosedP50
            | Self::ClosedP99
            | Self::ClosedP999
            | Self::PacedP50
            | Self::PacedP99
            | Self::PacedP999
            | Self::FloodSynInside
            | Self::FloodSynOutside
            | Self::FloodScanInside
            | Self::FloodScanOutside
            | Self::FloodHalfDatagrams
            | Self::FloodScanSubnets => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_listed_once_and_has_its_own_title() {
        let mut titles = Metric::ALL.map(Metric::title).to_vec();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), Metric::ALL.len());
    }

    #[test]
    fn times_are_better_when_smaller() {
        assert!(
            Metric::ALL.iter().all(|metric| metric.more_is_better() != ["µs", "×"].contains(&metric.unit()))
        );
    }
}
