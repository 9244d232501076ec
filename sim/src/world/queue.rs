//! What is going to happen, in order of time; at one time, in the order in which it was decided.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use wire::Instant;

/// Events on their way, at most. Then the world ends with a finding: frames multiply faster than they die.
pub(super) const EVENTS_MAX: usize = 2_000_000;

/// Where a frame has been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trail {
    /// How many switches it has passed, or what it was made from.
    pub(super) hops: u32,
    /// The host that has sent it; none once a router has made another of it.
    pub(super) origin: Option<usize>,
    /// How often switches had been configured when it was sent.
    pub(super) generation: u32,
    /// How many wires have flipped a bit of it.
    pub(super) flips: u32,
}

/// Where a frame arrives at a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// At a port, through this end of this cable.
    Port(usize, usize),
    /// At the interface of the switch's own host.
    Socket,
}

/// Something happens at a place.
#[derive(Debug)]
pub(super) enum Event {
    /// A frame arrives at a host.
    AtHost { host: usize, frame: Vec<u8>, trail: Trail },
    /// A frame arrives at a switch.
    AtNode { node: usize, door: Door, frame: Vec<u8>, trail: Trail },
    /// A frame arrives at the network that joins the switches' own hosts.
    AtUnderlay { frame: Vec<u8>, trail: Trail },
    /// A host has something to do.
    HostDue(usize),
    /// A switch has something to do.
    NodeDue(usize),
    /// A change of the script, by its number.
    Change(usize),
    /// What should work is looked at.
    Judge,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    number: u64,
    event: Event,
}

/// The order of events.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Entry>,
    number: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.number += 1;
        self.heap.push(Entry { at, number: self.number, event });
    }

    pub(super) fn pop(&mut self) -> Option<(Instant, Event)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }

    /// The next event and its time.
    pub(super) fn peek(&self) -> Option<(Instant, &Event)> {
        self.heap.peek().map(|entry| (entry.at, &entry.event))
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}

/// The heap gives its greatest first, which is the earliest.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_were_decided() {
        let mut queue = Queue::default();
        for (nanos, node) in [(5, 0), (3, 1), (5, 2), (3, 3), (4, 4)] {
            queue.push(Instant::from_nanos(nanos), Event::NodeDue(node));
        }
        let mut order = Vec::new();
        while let Some((_, Event::NodeDue(node))) = queue.pop() {
            order.push(node);
        }
        assert_eq!(order, [1, 3, 4, 0, 2]);
    }
}
