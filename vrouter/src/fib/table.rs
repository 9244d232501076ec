//! The routes of one family, twice: as a sorted list, which explains, and as a trie, which answers.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use wire::Cidr;

use super::FibError;
use super::target::Code;
use super::trie::{Cell, Key, Point, Trie};

/// A route: its prefix's first address and length, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry<K> {
    pub(super) first: K,
    pub(super) prefix_len: u8,
    pub(super) code: Code,
}

/// The routes of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table<K> {
    /// By address, then length.
    entries: Vec<Entry<K>>,
    trie: AnyTrie<K>,
}

/// Codes of 8 bits if they will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum AnyTrie<K> {
    Narrow(Trie<K, u8>),
    Wide(Trie<K, u16>),
}

impl<K: Key> Default for Table<K> {
    fn default() -> Self {
        Self { entries: Vec::new(), trie: AnyTrie::Narrow(Trie::default()) }
    }
}

impl<K: Key> Table<K> {
    /// Of these routes, in any order.
    ///
    /// # Errors
    /// [`FibError::PrefixTwice`], [`FibError::TooScattered`].
    pub(super) fn build(mut entries: Vec<Entry<K>>) -> Result<Self, FibError> {
        entries.sort_unstable_by_key(|entry| (entry.first, entry.prefix_len));
        entries.shrink_to_fit();
        let is_twice =
            |pair: &&[Entry<K>]| pair[0].first == pair[1].first && pair[0].prefix_len == pair[1].prefix_len;
        if let Some(pair) = entries.windows(2).find(is_twice) {
            let prefix = Cidr::new(pair[0].first.address(), pair[0].prefix_len);
            return Err(FibError::PrefixTwice(prefix.expect("it was made from a prefix")));
        }
        if entries.is_empty() {
            return Ok(Self::default());
        }
        let points = points(&entries);
        let is_narrow = points.iter().all(|point| point.code.0 < u8::CHILD);
        let trie = if is_narrow {
            AnyTrie::Narrow(Trie::build(&points)?)
        } else {
            AnyTrie::Wide(Trie::build(&points)?)
        };
        Ok(Self { entries, trie })
    }

    /// The answer for an address.
    #[inline]
    pub(super) fn find(&self, key: K) -> Code {
        match &self.trie {
            AnyTrie::Narrow(trie) => trie.find(key),
            AnyTrie::Wide(trie) => trie.find(key),
        }
    }

    /// The route with the longest prefix that contains the address.
    pub(super) fn longest(&self, key: K) -> Option<&Entry<K>> {
        (0..=K::PREFIX_LEN_MAX).rev().find_map(|prefix_len| {
            let name = (key.first(prefix_len), prefix_len);
            let found = self.entries.binary_search_by_key(&name, |entry| (entry.first, entry.prefix_len));
            found.ok().map(|index| &self.entries[index])
        })
    }

    /// The routes, by address, then length.
    pub(super) fn entries(&self) -> &[Entry<K>] {
        &self.entries
    }

    /// Octets that the list takes.
    pub(super) fn entries_memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<K>>()
    }

    /// Octets that the trie takes.
    pub(super) fn trie_memory(&self) -> usize {
        match &self.trie {
            AnyTrie::Narrow(trie) => trie.memory(),
            AnyTrie::Wide(trie) => trie.memory(),
        }
    }
}

/// Sweeps along the line of all addresses and notes where the answer changes.
///
/// Prefixes are nested or disjoint, and sorted an outer one comes before those in it. So the prefixes around the
/// sweep's place are a stack, and its top has the answer.
pub(super) fn points<K: Key>(entries: &[Entry<K>]) -> Vec<Point<K>> {
    let mut points = Vec::with_capacity(2 * entries.len() + 1);
    points.push(Point { from: K::ZERO, code: Code::NONE });
    // Last address and answer of each prefix around.
    let mut around: Vec<(K, Code)> = Vec::with_capacity(usize::from(K::PREFIX_LEN_MAX) + 1);
    for entry in entries {
        while let Some(&(last, _)) = around.last()
            && last < entry.first
        {
            around.pop();
            leave(&mut points, last, &around);
        }
        mark(&mut points, entry.first, entry.code);
        around.push((entry.first.last(entry.prefix_len), entry.code));
    }
    while let Some((last, _)) = around.pop() {
        leave(&mut points, last, &around);
    }
    points
}

/// The sweep passes the `last` address of a prefix; `around` are those that it is still in.
fn leave<K: Key>(points: &mut Vec<Point<K>>, last: K, around: &[(K, Code)]) {
    if let Some(from) = last.next() {
        mark(points, from, around.last().map_or(Code::NONE, |&(_, code)| code));
    }
}

/// From here on the answer is this, whatever was said of here before.
fn mark<K: Key>(points: &mut Vec<Point<K>>, from: K, code: Code) {
    points.pop_if(|point| point.from == from);
    if points.last().is_none_or(|point| point.code != code) {
        points.push(Point { from, code });
    }
}
