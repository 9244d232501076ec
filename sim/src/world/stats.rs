//! What has come of a flow so far.

use hdrhistogram::Histogram;
use wire::Instant;

/// Longest latency that is told apart: one hour, in nanoseconds.
const LATENCY_MAX: u64 = 3_600_000_000_000;

/// What one flow has sent, received and waited for.
#[derive(Clone, Debug)]
pub(super) struct FlowStats {
    /// Packets, questions or connections begun.
    pub(super) sent: u64,
    /// Answers, datagrams or connections that have come to their end.
    pub(super) received: u64,
    /// Connections that broke or were refused.
    pub(super) failed: u64,
    /// Octets of data received.
    pub(super) bytes: u64,
    /// Datagrams or answers that came twice.
    pub(super) duplicated: u64,
    /// Datagrams behind a later one.
    pub(super) reordered: u64,
    /// Octets received that were not sent.
    pub(super) foreign: u64,
    /// From question to answer, or from one end to the other, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// When something arrived first.
    pub(super) first_at: Option<Instant>,
    /// When something arrived last.
    pub(super) last_at: Option<Instant>,
    /// When something arrived first after the last change of the world.
    pub(super) healed_at: Option<Instant>,
    /// When that last change is.
    heals_at: Instant,
}

impl FlowStats {
    pub(super) fn new(heals_at: Instant) -> Self {
        Self {
            sent: 0,
            received: 0,
            failed: 0,
            bytes: 0,
            duplicated: 0,
            reordered: 0,
            foreign: 0,
            latency: Histogram::new_with_max(LATENCY_MAX, 3).expect("the bounds are fixed and fit"),
            first_at: None,
            last_at: None,
            healed_at: None,
            heals_at,
        }
    }

    /// Data has arrived.
    pub(super) fn arrived(&mut self, now: Instant, bytes: usize) {
        self.bytes += bytes as u64;
        self.first_at.get_or_insert(now);
        self.last_at = Some(now);
        if now >= self.heals_at {
            self.healed_at.get_or_insert(now);
        }
    }

    /// What was sent at `since` has come to its end.
    pub(super) fn ended(&mut self, now: Instant, since: Instant) {
        self.received += 1;
        let nanos = u64::try_from(now.since(since).as_nanos()).unwrap_or(LATENCY_MAX);
        self.latency.saturating_record(nanos);
    }
}
