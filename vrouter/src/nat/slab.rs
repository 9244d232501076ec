//! A slab: entries that never move, found by a small number, in chunks so that growing copies nothing.
//!
//! Places are given out lowest first as the slab grows, and the last one given back is the first reused, so the same
//! history gives the same places. Memory is kept once taken: it is bounded by what the slab's owner admits.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// No place at all.
pub(super) const NONE: u32 = u32::MAX;

const CHUNK: usize = 1024;

/// What a slab holds. An entry that is not in use links to the next such one.
pub(super) trait Entry: Clone {
    /// What a place holds before its first use.
    const VACANT: Self;

    /// Where an unused entry keeps the place of the next unused one.
    fn next_vacant(&mut self) -> &mut u32;
}

/// The slab.
#[derive(Clone, Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Box<[T; CHUNK]>>,
    vacant: u32,
    /// Places ever used.
    top: u32,
    count: u32,
}

/// The places that were ever used, in order.
impl<T: Entry + Serialize> Serialize for Slab<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries: Vec<&T> = (0..self.top).map(|place| self.at(place)).collect();
        (self.vacant, self.count, entries).serialize(serializer)
    }
}

impl<'de, T: Entry + Deserialize<'de>> Deserialize<'de> for Slab<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (vacant, count, entries): (u32, u32, Vec<T>) = Deserialize::deserialize(deserializer)?;
        let mut slab = Self::new();
        for entry in entries {
            slab.insert(entry);
        }
        Ok(Self { vacant, count, ..slab })
    }
}

impl<T: Entry> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), vacant: NONE, top: 0, count: 0 }
    }

    /// Entries in use.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Every place in use is below this.
    pub(super) const fn top(&self) -> u32 {
        self.top
    }

    pub(super) fn insert(&mut self, entry: T) -> u32 {
        self.count += 1;
        let mut place = self.vacant;
        if place == NONE {
            place = self.top;
            self.top += 1;
            if place as usize / CHUNK == self.chunks.len() {
                self.grow();
            }
        } else {
            self.vacant = *self.at_mut(place).next_vacant();
        }
        *self.at_mut(place) = entry;
        place
    }

    /// Gives the place back. The entry's octets stay but for the link.
    pub(super) fn remove(&mut self, place: u32) {
        self.count -= 1;
        let next = core::mem::replace(&mut self.vacant, place);
        *self.at_mut(place).next_vacant() = next;
    }

    #[inline]
    pub(super) fn at(&self, place: u32) -> &T {
        &self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    #[inline]
    pub(super) fn at_mut(&mut self, place: u32) -> &mut T {
        &mut self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    #[cold]
    fn grow(&mut self) {
        let chunk = vec![T::VACANT; CHUNK].into_boxed_slice();
        let chunk = <Box<[T; CHUNK]>>::try_from(chunk).ok().expect("it was made with this length");
        self.chunks.push(chunk);
    }
}
