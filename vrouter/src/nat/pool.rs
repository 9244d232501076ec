//! The L4 ports (or echo identifiers) of one outside address for one protocol: which are free, and whose the others are.
//!
//! A wish is met when that number is free (RFC 4787 REQ-3: preserved, never shared). Otherwise a free one is searched
//! from a random start, 64 at a time: at most twice 1,024 words, and none if the pool is used up. Numbers below 1,024 are
//! given only for numbers below 1,024 and first of all to them (REQ-3a); UDP keeps its parity while it can (REQ-4). Number
//! 0 is never given: of an echo's ends it marks the one that answers. Published numbers are reserved: nobody gets them, who has one keeps it.
//!
//! 272 KiB each, of which the system maps what is used.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use wire::Rng;

use super::slab::NONE;
use crate::plan::Protocol;

const WORDS: usize = 1024;
/// Even numbers.
const EVEN: u64 = 0x5555_5555_5555_5555;
/// The last well-known number (RFC 6335 §6).
const WELL_KNOWN_MAX: u16 = 1023;

/// The numbers of a protocol at an address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pool {
    protocol: Protocol,
    #[serde(with = "wire::array::boxed")]
    used: Box<[u64; WORDS]>,
    #[serde(with = "wire::array::boxed")]
    reserved: Box<[u64; WORDS]>,
    /// The mapping's place + 1; 0: nobody's.
    owners: Vec<u32>,
    in_use: u32,
    /// Whether people have been told that it is used up, and it has not recovered since.
    pub(super) is_told: bool,
}

impl Pool {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            used: Box::new([0; WORDS]),
            reserved: Box::new([0; WORDS]),
            owners: vec![0; usize::from(u16::MAX) + 1],
            in_use: 0,
            is_told: false,
        }
    }

    /// Numbers given out.
    pub(super) const fn in_use(&self) -> u32 {
        self.in_use
    }

    /// The place of the mapping that has `number`.
    pub(super) fn owner(&self, number: u16) -> Option<u32> {
        self.owners[usize::from(number)].checked_sub(1)
    }

    /// Chooses a free number, as like `wanted` as can be.
    pub(super) fn choose(&self, rng: &mut Rng, wanted: u16) -> Option<u16> {
        if self.is_free(wanted) {
            return Some(wanted);
        }
        if self.protocol == Protocol::Echo {
            return self.search(rng, &(1..=u16::MAX), u64::MAX);
        }
        let parity = match self.protocol {
            Protocol::Udp if wanted.is_multiple_of(2) => EVEN,
            Protocol::Udp => !EVEN,
            Protocol::Tcp | Protocol::Echo => u64::MAX,
        };
        let ranges = [1..=WELL_KNOWN_MAX, WELL_KNOWN_MAX + 1..=u16::MAX];
        for range in &ranges[usize::from(wanted > WELL_KNOWN_MAX)..] {
            let alike = self.search(rng, range, parity);
            let found =
                if parity == u64::MAX { alike } else { alike.or_else(|| self.search(rng, range, u64::MAX)) };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Whether `number`, once it is given back, may be given for `wanted`.
    pub(super) fn suits(&self, number: u16, wanted: u16) -> bool {
        let is_reserved = self.reserved[usize::from(number) / 64] & 1 << (number % 64) != 0;
        let is_near = wanted <= WELL_KNOWN_MAX || number > WELL_KNOWN_MAX;
        !is_reserved && (is_near || self.protocol == Protocol::Echo)
    }

    /// Gives `number` to a mapping.
    pub(super) fn take(&mut self, number: u16, place: u32) {
        debug_assert_ne!(place, NONE);
        self.owners[usize::from(number)] = place + 1;
        set(&mut self.used, number);
        self.in_use += 1;
    }

    /// Forgets that people have been told, once an eighth is free again.
    pub(super) const fn recover(&mut self) {
        if self.in_use < (u16::MAX as u32 + 1) / 8 * 7 {
            self.is_told = false;
        }
    }

    /// Takes it back.
    pub(super) fn give_back(&mut self, number: u16) {
        self.owners[usize::from(number)] = 0;
        self.used[usize::from(number) / 64] &= !(1 << (number % 64));
        self.in_use -= 1;
    }

    /// Reserves these numbers and no others.
    pub(super) fn reserve(&mut self, ranges: impl Iterator<Item = (u16, u16)>) {
        self.reserved.fill(0);
        for (first, last) in ranges {
            for number in first..=last {
                set(&mut self.reserved, number);
            }
        }
    }

    fn is_free(&self, number: u16) -> bool {
        let (word, bit) = (usize::from(number) / 64, 1 << (number % 64));
        (self.used[word] | self.reserved[word]) & bit == 0 && number != 0
    }

    /// A free number of the range whose bit is in `like`, the first one from a random start.
    fn search(&self, rng: &mut Rng, range: &RangeInclusive<u16>, like: u64) -> Option<u16> {
        let (first, last) = (*range.start(), *range.end());
        let offset = rng.below(u64::from(last - first) + 1);
        let start = first + u16::try_from(offset).expect("it is below the range's length");
        let before = || if start == first { None } else { self.first_free(first, start - 1, like) };
        self.first_free(start, last, like).or_else(before)
    }

    fn first_free(&self, first: u16, last: u16, like: u64) -> Option<u16> {
        let (from, to) = (usize::from(first) / 64, usize::from(last) / 64);
        for word in from..=to {
            let mut free = !(self.used[word] | self.reserved[word]) & like;
            if word == from {
                free &= u64::MAX << (first % 64);
            }
            if word == to {
                free &= u64::MAX >> (63 - last % 64);
            }
            if free != 0 {
                return u16::try_from(word * 64 + free.trailing_zeros() as usize).ok();
            }
        }
        None
    }
}

fn set(bits: &mut [u64; WORDS], number: u16) {
    bits[usize::from(number) / 64] |= 1 << (number % 64);
}
