//! The trie: from an address to its answer in few dependent reads of little memory.
//!
//! ```text
//!  nodes     root: 2^r of them, one for each value of an address's first r bits │ those below, as they were met
//!  node      64 bits: in which of its slots a new run begins │ 32: where among the codes its runs start
//!  list      a zero bit, how many starts, where they are     │ 32: the same; in a node's place
//!  codes     8 or 16 bits each: an answer, or which of the children that its stretch of codes has
//!  children  for each stretch of codes the number of its first child; the others follow
//!  starts    of the lists: 32 bits each
//! ```
//!
//! A node decides by the next six bits. Neighbouring slots with one answer are a run and stored once; which run a slot
//! is in is how many begin up to it: a population count. So a look-up of an IPv4 address in a table of the Internet's
//! size reads one node of the root and one code, whose places do not depend on a branch, and the processor overlaps the
//! look-ups of several packets. Longer prefixes go on at a child.
//!
//! A list decides by the next 32 bits: it is a node of 2^32 slots with few runs, and has the first slot of each but the
//! first written down. Below the root every node that can be a list is one; IPv6 would else walk in sixes through bits
//! that tell nothing apart. The bits past an address's end are zeros.
//!
//! What is slow is memory that is not in the processor's nearest cache, so everything is small: codes have 8 bits if
//! the targets are few. The root grows with the table, to four or more nodes a point, from 12 KiB ([`ROOT_BITS_MIN`])
//! to 3 MiB ([`ROOT_BITS_MAX`]).

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::mem;
use core::net::IpAddr;
use core::ops::Range;

use serde::{Deserialize, Serialize};

use super::FibError;
use super::target::Code;

/// Nodes of one family's trie, the root's included, of twelve octets each. What needs more is refused.
pub const NODES_MAX: usize = 1 << 24;

pub(super) const ROOT_BITS_MIN: u32 = 10;
pub(super) const ROOT_BITS_MAX: u32 = 18;
/// Address bits that a node decides by.
const STRIDE: u32 = 6;
const SLOTS: usize = 1 << STRIDE;
/// Address bits that a list decides by.
const LIST_STRIDE: u32 = 32;
/// Starts of a list.
const LIST_MAX: usize = 16;
const _: () = assert!(usize::BITS > LIST_STRIDE, "the slots of a list are counted");

/// An address as a number.
pub(super) trait Key: Copy + Ord + fmt::Debug {
    const PREFIX_LEN_MAX: u8;
    const ZERO: Self;

    /// The first `count` bits as a number; `count` is not zero.
    fn top(self, count: u32) -> usize;
    /// What is left when so many bits are taken from the front; zeros follow.
    fn after(self, count: u32) -> Self;
    /// The same for fewer bits than there are.
    fn after_some(self, count: u32) -> Self;
    /// The first 32 bits.
    fn first_32(self) -> u32;
    /// The first address of the prefix around it.
    fn first(self, prefix_len: u8) -> Self;
    /// The last address of the prefix around it.
    fn last(self, prefix_len: u8) -> Self;
    /// The next address.
    fn next(self) -> Option<Self>;
    fn address(self) -> IpAddr;
}

impl Key for u32 {
    const PREFIX_LEN_MAX: u8 = 32;
    const ZERO: Self = 0;

    #[inline]
    fn top(self, count: u32) -> usize {
        (self >> (Self::BITS - count)) as usize
    }

    #[inline]
    fn after(self, count: u32) -> Self {
        self.checked_shl(count).unwrap_or(0)
    }

    #[inline]
    fn after_some(self, count: u32) -> Self {
        self.wrapping_shl(count)
    }

    #[inline]
    fn first_32(self) -> u32 {
        self
    }

    fn first(self, prefix_len: u8) -> Self {
        self & !Self::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0)
    }

    fn last(self, prefix_len: u8) -> Self {
        self | Self::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn address(self) -> IpAddr {
        IpAddr::V4(self.into())
    }
}

impl Key for u128 {
    const PREFIX_LEN_MAX: u8 = 128;
    const ZERO: Self = 0;

    #[inline]
    fn top(self, count: u32) -> usize {
        (self >> (Self::BITS - count)) as usize
    }

    #[inline]
    fn after(self, count: u32) -> Self {
        self.checked_shl(count).unwrap_or(0)
    }

    #[inline]
    fn after_some(self, count: u32) -> Self {
        self.wrapping_shl(count)
    }

    #[inline]
    fn first_32(self) -> u32 {
        u32::try_from(self >> 96).expect("32 bits are left")
    }

    fn first(self, prefix_len: u8) -> Self {
        self & !Self::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0)
    }

    fn last(self, prefix_len: u8) -> Self {
        self | Self::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn address(self) -> IpAddr {
        IpAddr::V6(self.into())
    }
}

/// How a code is stored: the values from `CHILD` on mean children.
pub(super) trait Cell: Copy + PartialEq + fmt::Debug {
    const CHILD: u16;
    /// Codes that count their children together: as many as there are values for children.
    const STRETCH: usize;

    fn new(value: u16) -> Self;
    fn value(self) -> u16;
}

impl Cell for u8 {
    const CHILD: u16 = 0xc0;
    const STRETCH: usize = 0x40;

    fn new(value: u16) -> Self {
        Self::try_from(value).expect("who has so many targets takes 16 bits")
    }

    #[inline]
    fn value(self) -> u16 {
        self.into()
    }
}

impl Cell for u16 {
    const CHILD: u16 = Code::END;
    const STRETCH: usize = 0x100;

    fn new(value: u16) -> Self {
        value
    }

    #[inline]
    fn value(self) -> u16 {
        self
    }
}

/// From this address to the next point's, or to the end, the answer is this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Point<K> {
    pub(super) from: K,
    pub(super) code: Code,
}

/// A node or a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Node {
    /// Bits for the slots in which a run begins, low half and high half; slot 0 always begins one. Of a list
    /// twice the number of starts, and where they are.
    begins: [u32; 2],
    /// The place before its codes.
    codes: u32,
}

/// The trie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trie<K, C> {
    root_bits: u32,
    nodes: Vec<Node>,
    codes: Vec<C>,
    children: Vec<u32>,
    /// Those of the lists, and [`LIST_MAX`] more, so that so many can be read from any place.
    starts: Vec<u32>,
    of: PhantomData<K>,
}

impl<K, C> Default for Trie<K, C> {
    fn default() -> Self {
        let (nodes, codes, children, starts) = Default::default();
        Self { root_bits: ROOT_BITS_MIN, nodes, codes, children, starts, of: PhantomData }
    }
}

impl<K: Key, C: Cell> Trie<K, C> {
    /// The answer for an address.
    #[inline]
    pub(super) fn find(&self, key: K) -> Code {
        let Some(&node) = self.nodes.get(key.top(self.root_bits)) else {
            return Code::NONE; // There is not even a root.
        };
        let rest = key.after_some(self.root_bits);
        let at = node.run(rest.top(STRIDE));
        let value = self.codes[at].value();
        if value < C::CHILD { Code(value) } else { self.find_below(at, value, rest.after_some(STRIDE)) }
    }

    /// The answer below the child that stands at `at` among the codes; `rest` are the bits that it decides by.
    #[inline(never)]
    fn find_below(&self, mut at: usize, mut value: u16, mut rest: K) -> Code {
        while value >= C::CHILD {
            let first = self.children[at / C::STRETCH] as usize;
            let node = self.nodes[first + usize::from(value - C::CHILD)];
            (at, rest) = match node.list() {
                Some((starts, len)) => {
                    let starts =
                        self.starts[starts..].first_chunk().expect("LIST_MAX more follow the last list");
                    (node.part(starts, len, rest.first_32()), rest.after(LIST_STRIDE))
                }
                None => (node.run(rest.top(STRIDE)), rest.after(STRIDE)),
            };
            value = self.codes[at].value();
        }
        Code(value)
    }

    /// Octets that it takes.
    pub(super) fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + self.codes.capacity() * size_of::<C>()
            + (self.children.capacity() + self.starts.capacity()) * size_of::<u32>()
    }

    /// Of these points: in order, no two neighbours with one answer, the first from address zero on.
    ///
    /// # Errors
    /// [`FibError::TooScattered`].
    pub(super) fn build(points: &[Point<K>]) -> Result<Self, FibError> {
        let root_bits = points.len().next_power_of_two().trailing_zeros() + 2;
        Self::with_root(points, root_bits.clamp(ROOT_BITS_MIN, ROOT_BITS_MAX), NODES_MAX)
    }

    /// The same with a root of so many bits.
    ///
    /// # Errors
    /// [`FibError::TooScattered`] beyond `nodes_max` nodes.
    pub(super) fn with_root(points: &[Point<K>], root_bits: u32, nodes_max: usize) -> Result<Self, FibError> {
        let trie = Self { root_bits, ..Self::default() };
        let mut builder = Builder { points, trie, pending: Vec::new(), runs: Vec::new() };
        builder.root();
        while let Some(part) = builder.pending.pop() {
            if builder.trie.nodes.len() + SLOTS > nodes_max {
                return Err(FibError::TooScattered);
            }
            if part.depth == root_bits || !builder.list(&part) {
                builder.node(&part);
            }
        }
        Ok(builder.finish())
    }
}

impl Node {
    /// Where the code for a slot stands.
    #[inline]
    fn run(self, slot: usize) -> usize {
        let [low, high] = self.begins.map(u64::from);
        // Slot 0 always begins a run, so at least one does so up to any slot.
        let runs = ((high << 32 | low) << (SLOTS - 1 - slot)).count_ones();
        self.codes as usize + runs as usize
    }

    /// If it is a list: where its starts are, and how many.
    #[inline]
    fn list(self) -> Option<(usize, u32)> {
        let [twice_len, starts] = self.begins;
        (twice_len & 1 == 0).then_some((starts as usize, twice_len / 2))
    }

    /// Where the code for a slot of a list stands. `starts` are [`LIST_MAX`], of which the first `len` are the list's.
    /// All are compared at once; a search would wait for each comparison before it begins the next.
    #[inline]
    fn part(self, starts: &[u32; LIST_MAX], len: u32, slot: u32) -> usize {
        let passed =
            (0..).zip(starts).map(|(index, &start)| u32::from((index < len) & (start <= slot))).sum::<u32>();
        self.codes as usize + 1 + passed as usize
    }
}

/// A trie that is being built.
struct Builder<'a, K, C> {
    points: &'a [Point<K>],
    trie: Trie<K, C>,
    /// Nodes that have a place and are still to be written.
    pending: Vec<Part>,
    /// Those of the node that is being written.
    runs: Vec<Run>,
}

/// A part of the line of all addresses: what a node stands for.
struct Part {
    /// The node.
    node: usize,
    /// Which points lie in it.
    within: Range<usize>,
    /// The answer at its first address, unless a point is there.
    before: Code,
    /// How many bits all its addresses share.
    depth: u32,
}

/// Neighbouring slots with one answer, or a single slot with several.
struct Run {
    /// The first slot.
    slot: usize,
    /// The answer, at the slot's first address at least.
    code: Code,
    /// The points after the slot's first address; none if one answer serves the whole run.
    within: Range<usize>,
}

impl<K: Key, C: Cell> Builder<'_, K, C> {
    fn root(&mut self) {
        let (bits, slots) = (self.trie.root_bits, 1 << self.trie.root_bits);
        let whole = Part { node: 0, within: 0..self.points.len(), before: Code::NONE, depth: 0 };
        split(self.points, &whole, bits, &mut self.runs);
        self.trie.nodes.resize(slots, Node::default());
        self.push_code(Code::NONE.0); // There is a place before the first node's codes.
        let runs = mem::take(&mut self.runs);
        for (index, run) in runs.iter().enumerate() {
            if run.within.is_empty() {
                // One code serves the nodes of all these slots.
                let end = runs.get(index + 1).map_or(slots, |next| next.slot);
                let codes = self.push_code(run.code.0) - 1;
                self.trie.nodes[run.slot..end].fill(Node { begins: [1, 0], codes });
            } else {
                let (within, before) = (run.within.clone(), run.code);
                self.pending.push(Part { node: run.slot, within, before, depth: bits });
            }
        }
    }

    fn node(&mut self, part: &Part) {
        split(self.points, part, STRIDE, &mut self.runs);
        let begins = self.runs.iter().fold(0_u64, |begins, run| begins | 1 << run.slot);
        let begins = [begins & 0xffff_ffff, begins >> 32].map(|half| u32::try_from(half).expect("32 bits"));
        self.trie.nodes[part.node] = Node { begins, codes: self.last_place() };
        self.push_runs(part.depth + STRIDE);
    }

    /// Writes a list if the runs are few enough; says whether.
    fn list(&mut self, part: &Part) -> bool {
        if part.within.len() > LIST_MAX {
            return false;
        }
        split(self.points, part, LIST_STRIDE, &mut self.runs);
        if self.runs.len() > LIST_MAX + 1 {
            return false;
        }
        let begins = [index(2 * (self.runs.len() - 1)), index(self.trie.starts.len())];
        self.trie.starts.extend(self.runs[1..].iter().map(|run| index(run.slot)));
        self.trie.nodes[part.node] = Node { begins, codes: self.last_place() };
        self.push_runs(part.depth + LIST_STRIDE);
        true
    }

    /// Adds a code for each run, and has nodes written for those that have several answers.
    fn push_runs(&mut self, depth: u32) {
        let runs = mem::take(&mut self.runs);
        for run in &runs {
            if run.within.is_empty() {
                self.push_code(run.code.0);
            } else {
                let node = self.push_child();
                self.pending.push(Part { node, within: run.within.clone(), before: run.code, depth });
            }
        }
        self.runs = runs;
    }

    /// Adds a code and says where it stands.
    fn push_code(&mut self, value: u16) -> u32 {
        let at = self.trie.codes.len();
        if at.is_multiple_of(C::STRETCH) {
            self.trie.children.push(index(self.trie.nodes.len()));
        }
        self.trie.codes.push(C::new(value));
        index(at)
    }

    /// Adds a node and the code for it. A stretch's children have numbers without gaps, for nodes are added only here.
    fn push_child(&mut self) -> usize {
        let node = self.trie.nodes.len();
        let at = self.push_code(C::CHILD) as usize;
        let number = node - self.trie.children[at / C::STRETCH] as usize;
        let number = u16::try_from(number).expect("a stretch has at most as many children as codes");
        self.trie.codes[at] = C::new(C::CHILD + number);
        self.trie.nodes.push(Node::default());
        node
    }

    fn last_place(&self) -> u32 {
        index(self.trie.codes.len() - 1)
    }

    fn finish(mut self) -> Trie<K, C> {
        self.trie.starts.resize(self.trie.starts.len() + LIST_MAX, 0);
        self.trie.nodes.shrink_to_fit();
        self.trie.codes.shrink_to_fit();
        self.trie.children.shrink_to_fit();
        self.trie.starts.shrink_to_fit();
        self.trie
    }
}

fn index(number: usize) -> u32 {
    u32::try_from(number).expect("slots have 32 bits, and NODES_MAX keeps all counts below 2^32")
}

/// The runs of the slots that the next `stride` bits tell apart, in order and without gaps.
fn split<K: Key>(points: &[Point<K>], part: &Part, stride: u32, runs: &mut Vec<Run>) {
    runs.clear();
    let (mut code, mut next, mut slot_next) = (part.before, part.within.start, 0);
    while next < part.within.end {
        let slot = points[next].from.after(part.depth).top(stride);
        if slot_next < slot {
            push(runs, Run { slot: slot_next, code, within: 0..0 });
        }
        if points[next].from.after(part.depth + stride) == K::ZERO {
            code = points[next].code; // The point is at the slot's first address.
            next += 1;
        }
        let is_here = |point: &&Point<K>| point.from.after(part.depth).top(stride) == slot;
        let end = next + points[next..part.within.end].iter().take_while(is_here).count();
        push(runs, Run { slot, code, within: next..end });
        if next < end {
            code = points[end - 1].code;
        }
        (next, slot_next) = (end, slot + 1);
    }
    if slot_next < 1 << stride {
        push(runs, Run { slot: slot_next, code, within: 0..0 });
    }
}

/// Adds a run, or lengthens the last one if both have the same single answer.
fn push(runs: &mut Vec<Run>, run: Run) {
    let is_same = |last: &Run| last.within.is_empty() && run.within.is_empty() && last.code == run.code;
    if !runs.last().is_some_and(is_same) {
        runs.push(run);
    }
}
