//! The L4 ports (or echo identifiers) of one outside address for one protocol: which are free, and whose the others are.
//!
//! A wish is met when that number is free (RFC 4787 REQ-3: preserved, never shared). Otherwise a free one is searched
//! from a random start, 4,096 at a time by what is noted of each 64, so a pool that is nearly used up is searched as fast
//! as another. Numbers below 1,024 are given only for numbers below 1,024 and first of all to them (REQ-3a); UDP keeps its
//! parity while it can (REQ-4). Number 0 is never given: of an echo's ends it marks the one that answers. Published
//! numbers are reserved: nobody gets them, who has one keeps it.
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
/// Words of one bit for each word.
const SUMMARY: usize = WORDS / 64;
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
    /// The words of `used` and `reserved` in which numbers are free: even ones, odd ones.
    room: [[u64; SUMMARY]; 2],
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
            room: [[u64::MAX; SUMMARY]; 2],
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
        self.note_room(usize::from(number) / 64);
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
        self.note_room(usize::from(number) / 64);
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
        (0..WORDS).for_each(|word| self.note_room(word));
    }

    fn free(&self, word: usize) -> u64 {
        !(self.used[word] | self.reserved[word])
    }

    /// Notes whether a word has room, after it has changed.
    fn note_room(&mut self, word: usize) {
        let free = self.free(word);
        for (room, like) in self.room.iter_mut().zip([EVEN, !EVEN]) {
            let (summary, bit) = (&mut room[word / 64], 1 << (word % 64));
            *summary = if free & like == 0 { *summary & !bit } else { *summary | bit };
        }
    }

    /// The first word from this one on in which a number like this is free.
    fn word_with_room(&self, from: usize, like: u64) -> Option<usize> {
        let [even, odd] = &self.room;
        let (is_even, is_odd) = (like & EVEN != 0, like & !EVEN != 0);
        (from / 64..SUMMARY).find_map(|at| {
            let seen = if at == from / 64 { u64::MAX << (from % 64) } else { u64::MAX };
            let with_room = (if is_even { even[at] } else { 0 } | if is_odd { odd[at] } else { 0 }) & seen;
            (with_room != 0).then(|| at * 64 + with_room.trailing_zeros() as usize)
        })
    }

    fn is_free(&self, number: u16) -> bool {
        self.free(usize::from(number) / 64) & 1 << (number % 64) != 0 && number != 0
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
        // Only the first word and the last can have room outside the range alone.
        let words = core::iter::successors(self.word_with_room(from, like), |word| {
            self.word_with_room(word + 1, like)
        });
        words.take_while(|&word| word <= to).find_map(|word| {
            let mut free = self.free(word) & like;
            if word == from {
                free &= u64::MAX << (first % 64);
            }
            if word == to {
                free &= u64::MAX >> (63 - last % 64);
            }
            (free != 0).then(|| u16::try_from(word * 64 + free.trailing_zeros() as usize).ok())?
        })
    }
}

fn set(bits: &mut [u64; WORDS], number: u16) {
    bits[usize::from(number) / 64] |= 1 << (number % 64);
}
