//! The clock: read once per batch, handed down as an argument.

use rustix::time::{ClockId, clock_gettime};
use wire::Instant;

/// Time since boot, not counting suspension (CLOCK_MONOTONIC).
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    let (secs, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    Instant::from_nanos(secs.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    #[test]
    fn time_does_not_run_backwards() {
        let earlier = super::now();
        assert!(super::now() >= earlier);
        assert!(earlier > wire::Instant::ZERO);
    }
}
