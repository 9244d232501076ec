//! Storm control: how often a port may say what everybody hears.
//!
//! Three kinds of frame reach every member of a domain: broadcast, multicast, and unicast to a station that has not
//! been learned. Each has a bucket of its own, so that an ARP storm does not silence a media stream. A bucket holds
//! one second's worth; a rate of 0 lets nothing through.

use serde::{Deserialize, Serialize};
use wire::{Instant, Mac, TokenBucket};

use crate::plan::Storm;

/// The buckets of one port; `None`: unlimited.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Buckets {
    rates: Storm,
    broadcast: Option<TokenBucket>,
    multicast: Option<TokenBucket>,
    unknown: Option<TokenBucket>,
}

impl Buckets {
    /// Full buckets.
    pub(crate) fn new(now: Instant, rates: Storm) -> Self {
        let bucket = |rate: Option<u32>| rate.map(|rate| TokenBucket::new(rate.into(), rate.into(), now));
        Self {
            rates,
            broadcast: bucket(rates.broadcast),
            multicast: bucket(rates.multicast),
            unknown: bucket(rates.unknown),
        }
    }

    /// What the buckets were made for.
    pub(crate) const fn rates(&self) -> Storm {
        self.rates
    }

    /// Whether a frame to the group address `dst` may pass.
    pub(crate) fn group(&mut self, now: Instant, dst: Mac) -> bool {
        take(if dst.is_broadcast() { &mut self.broadcast } else { &mut self.multicast }, now)
    }

    /// Whether a frame to an unknown station may pass.
    pub(crate) fn unknown(&mut self, now: Instant) -> bool {
        take(&mut self.unknown, now)
    }
}

fn take(bucket: &mut Option<TokenBucket>, now: Instant) -> bool {
    bucket.as_mut().is_none_or(|bucket| bucket.take(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Mac = Mac([1, 0, 0x5e, 0, 0, 1]);

    #[test]
    fn each_kind_has_its_own_bucket() {
        let at = Instant::from_secs;
        let mut buckets =
            Buckets::new(at(0), Storm { broadcast: Some(2), multicast: Some(1), unknown: None });
        let broadcasts = [(); 3].map(|()| buckets.group(at(0), Mac::BROADCAST));
        assert_eq!(broadcasts, [true, true, false]);
        assert_eq!([(); 2].map(|()| buckets.group(at(0), GROUP)), [true, false]);
        assert!((0..1_000).all(|_| buckets.unknown(at(0))));
        // A second later each has earned its rate and no more.
        assert_eq!([(); 3].map(|()| buckets.group(at(1), Mac::BROADCAST)), [true, true, false]);
        assert_eq!([(); 2].map(|()| buckets.group(at(1), GROUP)), [true, false]);
    }

    #[test]
    fn a_rate_of_zero_is_silence() {
        let silent = Storm { broadcast: Some(0), ..Storm::default() };
        let mut buckets = Buckets::new(Instant::ZERO, silent);
        assert!(!buckets.group(Instant::from_secs(100), Mac::BROADCAST));
    }
}
