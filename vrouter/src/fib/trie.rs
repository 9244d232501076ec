//! The trie: from an address to its answer in few dependent reads of little memory.
//!
//! ```text
//!  nodes     root: 2^r of them, one for each value of an address's first r bits │ those below, as they were met
//!  node      64 bits: in which of its slots a new run begins │ 32: where among the codes its runs start
//!            or, with the first bit zero: a short list       │ 32: where among the codes its parts start
//!  codes     16 bits each: an answer, or from `CHILD` on which of the children that its stretch of codes has
//!  children  for each stretch of 256 codes the number of its first child; the others follow
//!  starts    of the short lists: addresses from which on the next part's answer holds
//! ```
//!
//! A node decides by the next six bits. Neighbouring slots with one answer are a run and stored once; which run a slot
//! is in is how many begin up to it: a population count. So a look-up of an IPv4 address in a table of the Internet's
//! size reads one node of the root and one code, whose places do not depend on a branch: the processor overlaps the
//! look-ups of several packets. Longer prefixes go on at a child. Where at most [`LIST_MAX`] points are left, the
//! child is a short list that ends the walk however many bits remain: IPv6 would otherwise walk them in sixes.
//!
//! The root grows with the table, from [`ROOT_BITS_MIN`] to [`ROOT_BITS_MAX`] bits.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::ops::Range;

use super::FibError;
use super::target::Code;

/// Nodes of one family's trie, the root's included, of twelve octets each. What needs more is refused.
pub const NODES_MAX: usize = 1 << 24;

pub(super) const ROOT_BITS_MIN: u32 = 6;
pub(super) const ROOT_BITS_MAX: u32 = 18;
/// Address bits that a node decides by.
const STRIDE: u32 = 6;
const SLOTS: usize = 1 << STRIDE;
/// Points of a short list.
const LIST_MAX: usize = 8;
/// The first code that is a child's.
const CHILD: u16 = Code::END;
/// Codes that count their children together: as many as there are codes for children.
const STRETCH: usize = 256;

/// An address as a number.
pub(super) trait Key: Copy + Ord + fmt::Debug {
    const PREFIX_LEN_MAX: u8;
    const ZERO: Self;

    /// The first `count` bits as a number; `count` is not zero.
    fn top(self, count: u32) -> usize;
    /// What is left when so many bits are taken from the front; zeros follow.
    fn after(self, count: u32) -> Self;
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

/// From this address to the next point's, or to the end, the answer is this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point<K> {
    pub(super) from: K,
    pub(super) code: Code,
}

/// A node or a short list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Node {
    /// Bits for the slots in which a run begins, low half and high half; slot 0 always begins one. Of a short list
    /// twice the number of starts, and where they are.
    begins: [u32; 2],
    /// Where its codes start.
    codes: u32,
}

/// The trie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trie<K> {
    root_bits: u32,
    nodes: Vec<Node>,
    codes: Vec<u16>,
    children: Vec<u32>,
    /// Those of the short lists, and [`LIST_MAX`] more, so that so many can be read from any place.
    starts: Vec<K>,
}

impl<K> Default for Trie<K> {
    fn default() -> Self {
        let (nodes, codes, children, starts) = Default::default();
        Self { root_bits: ROOT_BITS_MIN, nodes, codes, children, starts }
    }
}

impl<K: Key> Trie<K> {
    /// The answer for an address.
    #[inline]
    pub(super) fn find(&self, key: K) -> Code {
        let Some(&node) = self.nodes.get(key.top(self.root_bits)) else {
            return Code::NONE; // There is not even a root.
        };
        let rest = key.after(self.root_bits);
        let at = node.run(rest.top(STRIDE));
        let code = self.codes[at];
        if code < CHILD { Code(code) } else { self.find_below(at, code, rest.after(STRIDE)) }
    }

    /// The answer below the child that stands at `at` among the codes; `rest` are the bits that it decides by.
    fn find_below(&self, mut at: usize, mut code: u16, mut rest: K) -> Code {
        while code >= CHILD {
            let node = self.nodes[self.children[at / STRETCH] as usize + usize::from(code - CHILD)];
            if let Some((len, starts)) = node.list() {
                let starts: &[K; LIST_MAX] =
                    self.starts[starts..].first_chunk().expect("there are LIST_MAX more");
                // Without a branch, for the lengths are as chance has it.
                let past = starts.iter().enumerate().map(|(index, &start)| (index < len) & (start <= rest));
                let part = past.map(usize::from).sum::<usize>();
                return Code(self.codes[node.codes as usize + part]);
            }
            at = node.run(rest.top(STRIDE));
            code = self.codes[at];
            rest = rest.after(STRIDE);
        }
        Code(code)
    }

    /// Octets that it takes.
    pub(super) fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + self.codes.capacity() * size_of::<u16>()
            + self.children.capacity() * size_of::<u32>()
            + self.starts.capacity() * size_of::<K>()
    }

    /// Of these points: in order, no two neighbours with one answer, the first from address zero on.
    ///
    /// # Errors
    /// [`FibError::TooScattered`].
    pub(super) fn build(points: &[Point<K>]) -> Result<Self, FibError> {
        let root_bits = points.len().next_power_of_two().trailing_zeros();
        Self::with_root(points, root_bits.clamp(ROOT_BITS_MIN, ROOT_BITS_MAX), NODES_MAX)
    }

    /// The same with a root of so many bits.
    ///
    /// # Errors
    /// [`FibError::TooScattered`] beyond `nodes_max` nodes.
    pub(super) fn with_root(points: &[Point<K>], root_bits: u32, nodes_max: usize) -> Result<Self, FibError> {
        let trie = Self { root_bits, ..Self::default() };
        let mut builder = Builder { points, trie, pending: Vec::new() };
        let mut runs = Vec::with_capacity(SLOTS);
        builder.root(&mut runs);
        while let Some(part) = builder.pending.pop() {
            if builder.trie.nodes.len() + SLOTS > nodes_max {
                return Err(FibError::TooScattered);
            }
            if part.depth > root_bits && part.within.len() <= LIST_MAX {
                builder.list(&part);
            } else {
                builder.node(&part, &mut runs);
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
        self.codes as usize + runs as usize - 1
    }

    /// If it is a short list: how many starts, and where.
    fn list(self) -> Option<(usize, usize)> {
        let [twice_len, starts] = self.begins;
        (twice_len & 1 == 0).then_some((twice_len as usize / 2, starts as usize))
    }
}

/// A trie that is being built.
struct Builder<'a, K> {
    points: &'a [Point<K>],
    trie: Trie<K>,
    /// Nodes that have a place and are still to be written.
    pending: Vec<Part>,
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

impl<K: Key> Builder<'_, K> {
    fn root(&mut self, runs: &mut Vec<Run>) {
        let (bits, slots) = (self.trie.root_bits, 1 << self.trie.root_bits);
        let whole = Part { node: 0, within: 0..self.points.len(), before: Code::NONE, depth: 0 };
        split(self.points, &whole, bits, runs);
        self.trie.nodes.resize(slots, Node::default());
        for (index, run) in runs.iter().enumerate() {
            if run.within.is_empty() {
                // One code serves the nodes of all these slots.
                let end = runs.get(index + 1).map_or(slots, |next| next.slot);
                let codes = self.push_code(run.code.0);
                self.trie.nodes[run.slot..end].fill(Node { begins: [1, 0], codes });
            } else {
                let (within, before) = (run.within.clone(), run.code);
                self.pending.push(Part { node: run.slot, within, before, depth: bits });
            }
        }
    }

    fn node(&mut self, part: &Part, runs: &mut Vec<Run>) {
        split(self.points, part, STRIDE, runs);
        let begins = runs.iter().fold(0_u64, |begins, run| begins | 1 << run.slot);
        let begins = [begins & 0xffff_ffff, begins >> 32].map(|half| u32::try_from(half).expect("32 bits"));
        self.trie.nodes[part.node] = Node { begins, codes: index(self.trie.codes.len()) };
        for run in runs {
            if run.within.is_empty() {
                self.push_code(run.code.0);
            } else {
                let (within, before) = (run.within.clone(), run.code);
                let node = self.push_child();
                self.pending.push(Part { node, within, before, depth: part.depth + STRIDE });
            }
        }
    }

    /// A short list: one more code than starts.
    fn list(&mut self, part: &Part) {
        let points = &self.points[part.within.clone()];
        let begins = [index(points.len() * 2), index(self.trie.starts.len())];
        self.trie.starts.extend(points.iter().map(|point| point.from.after(part.depth)));
        let codes = self.push_code(part.before.0);
        for point in points {
            self.push_code(point.code.0);
        }
        self.trie.nodes[part.node] = Node { begins, codes };
    }

    /// Adds a code and says where it stands.
    fn push_code(&mut self, code: u16) -> u32 {
        let at = self.trie.codes.len();
        if at.is_multiple_of(STRETCH) {
            self.trie.children.push(index(self.trie.nodes.len()));
        }
        self.trie.codes.push(code);
        index(at)
    }

    /// Adds a node and the code for it. A stretch's children have numbers without gaps, for nodes are added only here.
    fn push_child(&mut self) -> usize {
        let node = self.trie.nodes.len();
        let at = self.push_code(CHILD) as usize;
        let number = node - self.trie.children[at / STRETCH] as usize;
        self.trie.codes[at] += u16::try_from(number).expect("one for each code of a stretch at most");
        self.trie.nodes.push(Node::default());
        node
    }

    fn finish(mut self) -> Trie<K> {
        self.trie.starts.resize(self.trie.starts.len() + LIST_MAX, K::ZERO);
        self.trie.nodes.shrink_to_fit();
        self.trie.codes.shrink_to_fit();
        self.trie.children.shrink_to_fit();
        self.trie.starts.shrink_to_fit();
        self.trie
    }
}

fn index(number: usize) -> u32 {
    u32::try_from(number).expect("NODES_MAX keeps all counts below 2^32")
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
