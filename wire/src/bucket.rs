//! Token bucket: how often something may happen, in integers and with the time as an argument.
//!
//! A bucket holds at most `burst` tokens and earns `rate` per second. It counts in billionths of a token, so that a
//! nanosecond earns a whole number of them and nothing is lost to rounding at any rate. It saturates instead of
//! overflowing. Time that stands still or goes back earns nothing.

use serde::{Deserialize, Serialize};

use crate::time::Instant;

const NANOS: u128 = 1_000_000_000;

/// A bucket of tokens, full at first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBucket {
    rate: u64,
    burst: u64,
    /// Billionths of a token; at most `burst` tokens.
    credit: u128,
    refilled_at: Instant,
}

impl TokenBucket {
    /// A full bucket. A rate of 0 never refills it; a burst of 0 grants nothing.
    pub const fn new(rate_per_second: u64, burst: u64, now: Instant) -> Self {
        Self { rate: rate_per_second, burst, credit: burst as u128 * NANOS, refilled_at: now }
    }

    /// Takes one token if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let granted = self.credit >= NANOS;
        if granted {
            self.credit -= NANOS;
        }
        granted
    }

    fn refill(&mut self, now: Instant) {
        let elapsed_ns = now.as_nanos().saturating_sub(self.refilled_at.as_nanos());
        // One nanosecond at `rate` tokens per second earns `rate` billionths of a token.
        let earned = u128::from(elapsed_ns) * u128::from(self.rate);
        self.credit = self.credit.saturating_add(earned).min(u128::from(self.burst) * NANOS);
        self.refilled_at = self.refilled_at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn grants_the_burst_then_the_rate() {
        let mut bucket = TokenBucket::new(10, 3, ms(0));
        assert_eq!([(); 4].map(|()| bucket.take(ms(0))), [true, true, true, false]);
        assert!(!bucket.take(ms(99)));
        assert!(bucket.take(ms(100)));
        assert!(!bucket.take(ms(100)));
        // A long pause fills it to the burst and no further.
        assert_eq!([(); 4].map(|()| bucket.take(ms(60_000))), [true, true, true, false]);
    }

    #[test]
    fn the_remainder_is_kept() {
        // 3 per second asked every millisecond: a third of a second does not fall on one, the sum must.
        let mut bucket = TokenBucket::new(3, 2, ms(0));
        assert!(bucket.take(ms(0)) && bucket.take(ms(0)));
        let granted = (1..=100_000).filter(|&millis| bucket.take(ms(millis))).count();
        assert_eq!(granted, 300);
    }

    #[test]
    fn time_going_back_earns_nothing() {
        let mut bucket = TokenBucket::new(1, 1, ms(5_000));
        assert!(bucket.take(ms(5_000)));
        assert!(!bucket.take(ms(0)));
        assert!(!bucket.take(ms(5_999)));
        assert!(bucket.take(ms(6_000)));
    }

    #[test]
    fn extremes_do_not_overflow() {
        let end = Instant::from_nanos(u64::MAX);
        let mut bucket = TokenBucket::new(u64::MAX, u64::MAX, Instant::ZERO);
        assert!(bucket.take(Instant::ZERO));
        assert!(bucket.take(end));
        assert_eq!(bucket.credit, u128::from(u64::MAX - 1) * NANOS);
        assert!(!TokenBucket::new(u64::MAX, 0, Instant::ZERO).take(end));
        let mut once = TokenBucket::new(0, 1, Instant::ZERO);
        assert!(once.take(Instant::ZERO) && !once.take(end));
    }
}
