//! A link that is not perfect: for each frame whether, when and in which state it arrives.
//!
//! [`Link`] is one direction of a wire. It is a function of time, a frame's length and its seed, keeps no frame and
//! owns no timer: whoever holds the frames asks [`Link::offer`] and delivers at the times that come back. The simulator
//! does that with virtual time; a live port can do it with real time and the same numbers.
//!
//! ```text
//!  offer ─▶ up? ─▶ lost? ─▶ queue and rate ─▶ delay + jitter ─▶ reordered? ─▶ duplicated? corrupted? ─▶ arrivals
//! ```
//!
//! - A frame takes `bits / rate` to go out and waits for the ones before it. What waits is at most `queue` octets;
//!   a frame beyond that is lost, and the newest is the one.
//! - Frames keep their order, whatever the jitter, but for those that are held back by chance (`reorder`).
//! - Loss by chance is even ([`Faults::loss`]) or in bursts ([`Burst`], Gilbert and Elliott's two states).
//! - A flapping link is down at the beginning of each period.
//! - Corruption flips one bit, as a frame check sequence would not have noticed.
//!
//! Chance is drawn in one order whatever the faults are, so that two runs that differ in one fault differ in nothing
//! else. Probabilities are parts of a million; there are no floats. The clock must not go back.

#[cfg(test)]
mod tests;

use std::time::Duration;

use wire::{Instant, Rng};

/// Octets that wait at most, if nobody says otherwise.
pub const QUEUE_DEFAULT: u64 = 256 * 1024;
/// Frames are this many octets longer on a wire: preamble, check sequence and gap (IEEE 802.3 §3.1.1, §4.4.2).
const OVERHEAD: u64 = 24;

/// A probability in parts of a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Share(u32);

/// What a link does to frames. The default is a perfect link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Whether anything passes.
    pub up: bool,
    /// When it is down although it is up.
    pub flap: Option<Flap>,
    /// Bits per second; `None`: frames take no time to go out.
    pub rate: Option<u64>,
    /// Octets that wait to go out, at most. Of no meaning without a rate.
    pub queue: u64,
    /// From going out to arriving.
    pub delay: Duration,
    /// At most this much more, all equally likely.
    pub jitter: Duration,
    /// How many frames are lost, each on its own.
    pub loss: Share,
    /// How frames are lost in bursts.
    pub burst: Option<Burst>,
    /// How many arrive twice.
    pub duplicate: Share,
    /// How many are held back, so that later ones may overtake them.
    pub reorder: Share,
    /// For how long.
    pub reorder_by: Duration,
    /// How many arrive with one bit flipped.
    pub corrupt: Share,
}

/// Loss in bursts: a good state without loss, and a bad one. Each frame may change the state first (Gilbert 1960,
/// Elliott 1963).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// From good to bad.
    pub enter: Share,
    /// From bad to good.
    pub leave: Share,
    /// Lost in the bad state.
    pub loss: Share,
}

/// Going down again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flap {
    /// From one time to the next.
    pub every: Duration,
    /// How long each time, from the beginning of the period, the first of which begins with time itself.
    pub down: Duration,
}

/// One direction of a wire.
#[derive(Clone, Debug)]
pub struct Link {
    faults: Faults,
    rng: Rng,
    /// When what waits will have gone out.
    free_at: Instant,
    /// When the latest frame arrives that keeps the order.
    arrives_at: Instant,
    is_bad: bool,
    counts: LinkCounts,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Passage {
    /// It arrives once, twice or never.
    pub arrivals: [Option<Arrival>; 2],
}

/// A frame arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// The bit that has been flipped, counted from the first octet's highest.
    pub flipped: Option<usize>,
}

/// What a link has done so far, in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize)]
pub struct LinkCounts {
    /// Offered.
    pub offered: u64,
    /// Lost because the link was down.
    pub down: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
    /// Arriving twice.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
    /// Arriving with a flipped bit.
    pub corrupted: u64,
}

impl Share {
    /// Never.
    pub const NONE: Self = Self(0);
    /// Always.
    pub const ALL: Self = Self(1_000_000);

    /// `millionths` of a million; `None` beyond all of it.
    pub const fn of_million(millionths: u32) -> Option<Self> {
        if millionths <= Self::ALL.0 { Some(Self(millionths)) } else { None }
    }

    /// Parts of a million.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    fn draw(self, rng: &mut Rng) -> bool {
        rng.chance(u64::from(self.0), u64::from(Self::ALL.0))
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            up: true,
            flap: None,
            rate: None,
            queue: QUEUE_DEFAULT,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Share::NONE,
            burst: None,
            duplicate: Share::NONE,
            reorder: Share::NONE,
            reorder_by: Duration::ZERO,
            corrupt: Share::NONE,
        }
    }
}

impl Faults {
    /// Whether every frame passes as it is.
    pub fn is_harmless(&self) -> bool {
        let burst = self.burst.filter(|burst| burst.enter != Share::NONE && burst.loss != Share::NONE);
        Self { burst, ..*self } == Self::default()
    }

    /// Whether nothing ever passes.
    pub fn loses_all(&self) -> bool {
        let forever = Burst { enter: Share::ALL, leave: Share::NONE, loss: Share::ALL };
        !self.up || self.loss == Share::ALL || self.burst == Some(forever)
    }

    /// Whether anything passes at this time.
    pub fn is_up(&self, now: Instant) -> bool {
        self.up && !self.flap.is_some_and(|flap| flap.is_down(now))
    }
}

impl Flap {
    fn is_down(self, now: Instant) -> bool {
        let into = u128::from(now.as_nanos()) % self.every.as_nanos().max(1);
        into < self.down.as_nanos()
    }
}

impl Link {
    /// A link whose chance follows from `seed` alone.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            faults,
            rng: Rng::seeded(seed),
            free_at: Instant::ZERO,
            arrives_at: Instant::ZERO,
            is_bad: false,
            counts: LinkCounts::default(),
        }
    }

    /// What the link does to frames.
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// From now on it does this. Frames on their way are not concerned.
    pub const fn set(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// What it has done so far.
    pub const fn counts(&self) -> &LinkCounts {
        &self.counts
    }

    /// A frame of `len` octets wants to pass at `now`.
    pub fn offer(&mut self, now: Instant, len: usize) -> Passage {
        let faults = self.faults;
        self.counts.offered += 1;
        // Drawn first and always, so that what one frame meets does not depend on what another fault did to it.
        let is_lost = faults.loss.draw(&mut self.rng) | self.is_lost_in_burst(faults.burst);
        let late_by = below(&mut self.rng, faults.jitter);
        let is_held_back = faults.reorder.draw(&mut self.rng);
        let is_doubled = faults.duplicate.draw(&mut self.rng);
        let is_corrupt = faults.corrupt.draw(&mut self.rng);
        let bit = usize::try_from(self.rng.below(len as u64 * 8)).expect("it is below the frame's length");

        if !faults.is_up(now) {
            self.counts.down += 1;
            return Passage::default();
        }
        if is_lost {
            self.counts.lost += 1;
            return Passage::default();
        }
        let Some(out_at) = self.go_out(now, len as u64) else {
            self.counts.overflowed += 1;
            return Passage::default();
        };
        let at = if is_held_back {
            self.counts.reordered += 1;
            out_at + faults.delay + late_by + faults.reorder_by
        } else {
            self.arrives_at = self.arrives_at.max(out_at + faults.delay + late_by);
            self.arrives_at
        };
        self.counts.corrupted += u64::from(is_corrupt);
        self.counts.duplicated += u64::from(is_doubled);
        let arrival = Arrival { at, flipped: is_corrupt.then_some(bit) };
        Passage { arrivals: [Some(arrival), is_doubled.then_some(arrival)] }
    }

    /// The frame waits and goes out; when its last bit has. `None` if the queue is full.
    fn go_out(&mut self, now: Instant, len: u64) -> Option<Instant> {
        let Some(rate) = self.faults.rate else { return Some(now) };
        let waiting = u128::from(self.free_at.since(now).as_secs()) * u128::from(rate) / 8
            + u128::from(self.free_at.since(now).subsec_nanos()) * u128::from(rate) / 8_000_000_000;
        // A frame that finds nobody waiting goes out whatever its length.
        if waiting > 0 && waiting + u128::from(len) > u128::from(self.faults.queue) {
            return None;
        }
        let nanos = u128::from(len + OVERHEAD) * 8_000_000_000 / u128::from(rate.max(1));
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.free_at = self.free_at.max(now) + takes;
        Some(self.free_at)
    }

    fn is_lost_in_burst(&mut self, burst: Option<Burst>) -> bool {
        let Burst { enter, leave, loss } =
            burst.unwrap_or(Burst { enter: Share::NONE, leave: Share::ALL, loss: Share::NONE });
        let changes = if self.is_bad { leave } else { enter }.draw(&mut self.rng);
        self.is_bad ^= changes;
        loss.draw(&mut self.rng) && self.is_bad
    }
}

fn below(rng: &mut Rng, limit: Duration) -> Duration {
    let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.below(nanos.saturating_add(1)))
}
