//! The sessions' clock: lists through the sessions' links, and a wheel of them that says who is due.
//!
//! Time counts in ticks of a second. A slot of the wheel lists the sessions to look at in one tick; a session that was
//! used meanwhile moves on to the tick in which it will be due then. So using a session writes one number, and each
//! is looked at once per timeout or once per turn of the wheel ([`SLOTS`] ticks), whichever is shorter.

use alloc::boxed::Box;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use wire::Instant;

use super::slab::{Entry, NONE, Slab};

/// Slots of the wheel: a turn is 17 minutes.
const SLOTS: u32 = 1024;

/// A second since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Tick(pub(super) u32);

impl Tick {
    /// The last one, in 68 years. There the clock stands, and nothing is due any more; half of the numbers stay free
    /// for what would be due later.
    const LAST: u32 = u32::MAX / 2;

    /// The second that `now` lies in.
    #[inline]
    pub(super) fn of(now: Instant) -> Self {
        Self(u32::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX).min(Self::LAST))
    }

    /// Whether the clock ever gets there.
    pub(super) const fn comes(self) -> bool {
        self.0 <= Self::LAST
    }

    /// When it begins.
    pub(super) const fn instant(self) -> Instant {
        Instant::from_secs(self.0 as u64)
    }

    /// The first tick by whose beginning `timeout` has passed whenever in this one it began.
    #[inline]
    pub(super) const fn after(self, timeout: Ticks) -> Self {
        Self(self.0.saturating_add(timeout.0))
    }
}

/// A span in ticks, rounded so that it is never shorter than what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Ticks(u32);

impl Ticks {
    pub(super) fn covering(span: Duration) -> Self {
        let secs = span.as_secs().saturating_add(u64::from(span.subsec_nanos() != 0)).saturating_add(1);
        Self(u32::try_from(secs).unwrap_or(u32::MAX))
    }
}

/// Which of a session's links a list goes through.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chain {
    /// A slot of the wheel.
    Due,
    /// Sessions of a protocol that yield.
    Yielding,
    /// Sessions of a host that yield.
    YieldingOfHost,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Link {
    previous: u32,
    next: u32,
}

/// A session's place in the lists.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Links {
    chains: [Link; 3],
    looked_at: Tick,
}

impl Links {
    /// The tick in whose slot of the wheel the session is.
    pub(super) const fn looked_at(&self) -> Tick {
        self.looked_at
    }
}

impl Entry for Links {
    const VACANT: Self = Self { chains: [Link { previous: NONE, next: NONE }; 3], looked_at: Tick(0) };

    fn next_vacant(&mut self) -> &mut u32 {
        &mut self.chains[0].next
    }
}

/// A list of sessions: first in, first out, with removal from the middle.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct List {
    head: u32,
    tail: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { head: NONE, tail: NONE };

    /// The one that has been in it longest.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// The one that came after `place`.
    pub(super) fn after(links: &Slab<Links>, chain: Chain, place: u32) -> Option<u32> {
        let next = links.at(place).chains[chain as usize].next;
        (next != NONE).then_some(next)
    }

    pub(super) fn push(&mut self, links: &mut Slab<Links>, chain: Chain, place: u32) {
        links.at_mut(place).chains[chain as usize] = Link { previous: self.tail, next: NONE };
        if self.tail == NONE {
            self.head = place;
        } else {
            links.at_mut(self.tail).chains[chain as usize].next = place;
        }
        self.tail = place;
    }

    /// Takes a session out that is in the list.
    pub(super) fn remove(&mut self, links: &mut Slab<Links>, chain: Chain, place: u32) {
        let Link { previous, next } = links.at(place).chains[chain as usize];
        if previous == NONE {
            self.head = next;
        } else {
            links.at_mut(previous).chains[chain as usize].next = next;
        }
        if next == NONE {
            self.tail = previous;
        } else {
            links.at_mut(next).chains[chain as usize].previous = previous;
        }
    }
}

/// Who is to be looked at when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Wheel {
    #[serde(with = "wire::array::boxed")]
    slots: Box<[List; SLOTS as usize]>,
    /// A bit for each slot that is not empty.
    #[serde(with = "wire::array::plain")]
    occupied: [u64; SLOTS as usize / 64],
    /// Slots up to this tick's are empty.
    done: Tick,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            slots: Box::new([List::EMPTY; SLOTS as usize]),
            occupied: [0; SLOTS as usize / 64],
            done: Tick(0),
        }
    }

    /// Puts a session, which is in no slot, where it is looked at when it is `due`, or a turn of the wheel ahead.
    pub(super) fn add(&mut self, links: &mut Slab<Links>, now: Tick, place: u32, due: Tick) {
        if self.first().is_none() {
            self.done = self.done.max(now);
        }
        let looked_at = due.0.clamp(self.done.0.saturating_add(1), self.done.0.saturating_add(SLOTS - 1));
        links.at_mut(place).looked_at = Tick(looked_at);
        let slot = (looked_at % SLOTS) as usize;
        self.slots[slot].push(links, Chain::Due, place);
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// Takes a session out of its slot.
    pub(super) fn remove(&mut self, links: &mut Slab<Links>, place: u32) {
        let slot = (links.at(place).looked_at.0 % SLOTS) as usize;
        self.slots[slot].remove(links, Chain::Due, place);
        if self.slots[slot].oldest().is_none() {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
    }

    /// When a session is to be looked at next.
    pub(super) fn first(&self) -> Option<Tick> {
        let start = self.done.0.wrapping_add(1) % SLOTS;
        let (word, bit) = ((start / 64) as usize, start % 64);
        let words = self.occupied.len();
        // The first word is read twice: its upper bits first, its lower ones last.
        for step in 0..=words {
            let mut bits = self.occupied[(word + step) % words];
            if step == 0 {
                bits &= u64::MAX << bit;
            } else if step == words {
                bits &= !(u64::MAX << bit);
            }
            if bits != 0 {
                let slot = (u32::try_from((word + step) % words).ok()?) * 64 + bits.trailing_zeros();
                let ahead = 1 + (slot + SLOTS - start) % SLOTS;
                return Some(Tick(self.done.0.saturating_add(ahead)));
            }
        }
        None
    }

    /// The next session to look at whose tick has come, if there is one.
    pub(super) fn next(&mut self, now: Tick) -> Option<u32> {
        match self.first() {
            Some(tick) if tick <= now => {
                self.done = Tick(tick.0 - 1);
                self.slots[(tick.0 % SLOTS) as usize].oldest()
            }
            Some(_) | None => {
                self.done = self.done.max(now);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;
    use wire::Rng;

    /// Takes out everybody whom the wheel has to show at `now`.
    fn shown(wheel: &mut Wheel, links: &mut Slab<Links>, now: u32) -> Vec<u32> {
        let mut shown = Vec::new();
        while let Some(place) = wheel.next(Tick(now)) {
            wheel.remove(links, place);
            shown.push(place);
        }
        shown
    }

    #[test]
    fn a_span_is_never_too_short() {
        let at = |nanos| Tick::of(Instant::from_nanos(nanos));
        for (timeout, began, over) in [
            (Duration::from_secs(60), 10_999_999_999, 71),
            (Duration::from_secs(60), 10_000_000_000, 71),
            (Duration::from_nanos(1), 10_999_999_999, 12),
            (Duration::ZERO, 10_000_000_000, 11),
            (Duration::MAX, 0, u32::MAX),
        ] {
            let due = at(began).after(Ticks::covering(timeout));
            assert_eq!(due, Tick(over), "{timeout:?}");
        }
        assert_eq!(Tick::of(Instant::from_nanos(u64::MAX)).instant(), Instant::from_secs(2_147_483_647));
    }

    #[test]
    fn everybody_is_shown_once_due_or_a_turn_ahead() {
        let (mut wheel, mut links) = (Wheel::new(), Slab::new());
        let start = 1_700_000_000; // Long after the epoch.
        for (offset, looked_at) in [(1, 1), (240, 240), (1_022, 1_022), (1_023, 1_023), (7_441, 1_023)] {
            let place = links.insert(Links::VACANT);
            wheel.add(&mut links, Tick(start), place, Tick(start + offset));
            assert_eq!(links.at(place).looked_at(), Tick(start + looked_at));
        }
        assert_eq!(wheel.first(), Some(Tick(start + 1)));
        assert_eq!(shown(&mut wheel, &mut links, start), []);
        assert_eq!(shown(&mut wheel, &mut links, start + 1), [0]);
        assert_eq!(shown(&mut wheel, &mut links, start + 1_022), [1, 2]);
        assert_eq!(wheel.first(), Some(Tick(start + 1_023)));
        assert_eq!(shown(&mut wheel, &mut links, start + 50_000), [3, 4]);
        assert_eq!(wheel.first(), None);
        // At the end of time everything is due.
        let place = links.insert(Links::VACANT);
        wheel.add(&mut links, Tick(u32::MAX), place, Tick(u32::MAX));
        assert_eq!(shown(&mut wheel, &mut links, u32::MAX), [place]);
    }

    #[test]
    fn the_wheel_agrees_with_a_list() {
        let mut rng = Rng::seeded(0x5eed);
        let (mut wheel, mut links, mut slow) = (Wheel::new(), Slab::new(), Vec::new());
        let mut now = 500;
        for step in 0..20_000 {
            match rng.below(10) {
                0..6 => {
                    let place = links.insert(Links::VACANT);
                    let due = now + 1 + u32::try_from(rng.below(1_000)).unwrap();
                    wheel.add(&mut links, Tick(now), place, Tick(due));
                    slow.push((due, place));
                }
                6..8 if !slow.is_empty() => {
                    let at = usize::try_from(rng.below(slow.len() as u64)).unwrap();
                    let (_, place) = slow.swap_remove(at);
                    wheel.remove(&mut links, place);
                    links.remove(place);
                }
                _ => {
                    now += u32::try_from(rng.below(40)).unwrap();
                    let mut expected: Vec<u32> =
                        slow.iter().filter(|(due, _)| *due <= now).map(|&(_, place)| place).collect();
                    slow.retain(|(due, _)| *due > now);
                    let mut found = shown(&mut wheel, &mut links, now);
                    found.iter().for_each(|&place| links.remove(place));
                    expected.sort_unstable();
                    found.sort_unstable();
                    assert_eq!(found, expected, "step {step}");
                }
            }
            let first = slow.iter().map(|&(due, _)| Tick(due)).min();
            assert_eq!(wheel.first(), first, "step {step}");
        }
    }
}
