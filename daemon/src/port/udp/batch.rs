//! What leaves by one call: pieces gathered into messages.
//!
//! Pieces to one place join one message as long as they are equally long; a shorter one ends it. Within a place messages,
//! and pieces in them, keep their order. Limits: [`PIECES_MAX`], [`SEGMENTS_MAX`] and [`PAYLOAD_MAX`] of a message, after
//! which the next begins, and [`OPEN_MAX`].

use std::net::SocketAddr;
use std::ops::Range;

use wire::Ecn;

use crate::sys::datagram::{Message, PAYLOAD_MAX, SEGMENTS_MAX};

/// Pieces of one batch. When it is full it is sent.
pub(super) const PIECES_MAX: usize = 256;
/// Messages that a further piece may join, the newest. One whose message is older begins another.
const OPEN_MAX: usize = 16;

/// What the datagrams of one message have in common, beside their length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the socket that they leave by.
    pub(super) socket: usize,
    pub(super) to: SocketAddr,
    pub(super) ecn: Ecn,
}

/// A piece: headers that were written for it, and data that lie elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Number of the payload that it is a piece of.
    pub(super) payload: usize,
    /// Where in the payload its data are.
    pub(super) data: Range<usize>,
    head: Range<usize>,
    /// Number of its run, in the order in which they were begun.
    run: usize,
}

/// One message.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) place: Place,
    pub(super) count: usize,
    /// In the order in which they were begun.
    number: usize,
    /// Octets of the first piece, and so of all but the last.
    segment: usize,
    len: usize,
    /// The last piece was a shorter one.
    is_ended: bool,
    /// Where in the batch's order its items start.
    start: usize,
}

impl Run {
    /// As the system call wants it; its pieces are these slices.
    pub(super) fn message(&self, pieces: Range<usize>) -> Message {
        let segment = if self.count > 1 { self.segment } else { 0 };
        let segment = u16::try_from(segment).expect("a datagram has fewer octets than 2^16");
        Message { to: self.place.to, tos: self.place.ecn.bits(), segment, pieces }
    }

    fn takes(&self, place: Place, len: usize, segments_max: usize) -> bool {
        self.place == place
            && !self.is_ended
            && len <= self.segment
            && self.count < segments_max
            && self.len + len <= PAYLOAD_MAX
    }
}

/// The pieces of one call. Its memory is used again for the next.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    heads: Vec<u8>,
    runs: Vec<Run>,
    /// Numbers of items, run by run.
    order: Vec<usize>,
    segments_max: usize,
}

impl Batch {
    /// An empty one. Unless it `joins`, every piece is a message.
    pub(super) fn new(joins: bool) -> Self {
        let mut batch = Self::default();
        batch.set_joins(joins);
        batch
    }

    pub(super) fn set_joins(&mut self, joins: bool) {
        self.segments_max = if joins { SEGMENTS_MAX } else { 1 };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() == PIECES_MAX
    }

    /// Adds a piece: a copy of `head`, and what lies at `data` of the payload of this number.
    pub(super) fn add(&mut self, place: Place, payload: usize, head: &[u8], data: Range<usize>) {
        let head_at = self.heads.len();
        self.heads.extend_from_slice(head);
        let len = head.len() + data.len();
        let open = self.runs.iter().rposition(|run| run.place == place);
        let is_recent = |at: &usize| self.runs.len() - at <= OPEN_MAX;
        let run = match open.filter(is_recent) {
            Some(at) if self.runs[at].takes(place, len, self.segments_max) => {
                let run = &mut self.runs[at];
                run.is_ended = len < run.segment;
                run.count += 1;
                run.len += len;
                at
            }
            Some(_) | None => {
                let number = self.runs.len();
                self.runs.push(Run {
                    place,
                    count: 1,
                    number,
                    segment: len,
                    len,
                    is_ended: len == 0,
                    start: 0,
                });
                number
            }
        };
        self.items.push(Item { payload, data, head: head_at..self.heads.len(), run });
    }

    /// Orders runs by socket, and items by run. Nothing can be added until [`Batch::clear`].
    pub(super) fn lay_out(&mut self) {
        let mut start = 0;
        for run in &mut self.runs {
            run.start = start;
            start += run.count;
        }
        self.order.resize(self.items.len(), 0);
        for (number, item) in self.items.iter().enumerate() {
            let run = &mut self.runs[item.run];
            self.order[run.start] = number;
            run.start += 1; // Its end, when all have their place.
        }
        for run in &mut self.runs {
            run.start -= run.count;
        }
        self.runs.sort_unstable_by_key(|run| (run.place.socket, run.number));
    }

    /// In the order in which they are to be sent, one socket's after another's.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The pieces of a run in order.
    pub(super) fn items(&self, run: &Run) -> impl Iterator<Item = &Item> {
        self.order[run.start..run.start + run.count].iter().map(|&number| &self.items[number])
    }

    /// The headers that were written for the piece.
    pub(super) fn head(&self, item: &Item) -> &[u8] {
        &self.heads[item.head.clone()]
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.heads.clear();
        self.runs.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(socket: usize, host: u8) -> Place {
        Place { socket, to: SocketAddr::from(([192, 0, 2, host], 4789)), ecn: Ecn::NotEct }
    }

    /// Gathers pieces of these lengths and shows the messages: socket, host, segment, payload numbers.
    fn gathered(joins: bool, pieces: &[(Place, usize)]) -> Vec<(usize, u8, u16, Vec<usize>)> {
        let mut batch = Batch::new(joins);
        for (number, &(place, len)) in pieces.iter().enumerate() {
            batch.add(place, number, &[], 0..len);
        }
        batch.lay_out();
        let runs = batch.runs().iter();
        runs.map(|run| {
            let SocketAddr::V4(to) = run.place.to else { panic!("all are IPv4") };
            let payloads = batch.items(run).map(|item| item.payload).collect();
            (run.place.socket, to.ip().octets()[3], run.message(0..0).segment, payloads)
        })
        .collect()
    }

    #[test]
    fn equal_lengths_join_and_a_shorter_one_ends_it() {
        let one = place(0, 1);
        let lens = [100, 100, 60, 60, 100, 100, 120];
        let messages = gathered(true, &lens.map(|len| (one, len)));
        let expected =
            [(0, 1, 100, vec![0, 1, 2]), (0, 1, 0, vec![3]), (0, 1, 100, vec![4, 5]), (0, 1, 0, vec![6])];
        assert_eq!(messages, expected);
        assert_eq!(gathered(false, &[(one, 100); 2]), [(0, 1, 0, vec![0]), (0, 1, 0, vec![1])]);
    }

    #[test]
    fn places_are_told_apart_and_sockets_come_one_after_another() {
        let marked = Place { ecn: Ecn::Ce, ..place(1, 1) };
        let pieces = [place(2, 1), place(1, 1), place(2, 2), marked, place(2, 1), place(1, 1)];
        let messages = gathered(true, &pieces.map(|place| (place, 50)));
        let expected =
            [(1, 1, 50, vec![1, 5]), (1, 1, 0, vec![3]), (2, 1, 50, vec![0, 4]), (2, 2, 0, vec![2])];
        assert_eq!(messages, expected);
    }

    #[test]
    fn a_message_has_an_end() {
        let one = place(0, 1);
        let counts = |lens: &[usize]| -> Vec<usize> {
            let pieces: Vec<_> = lens.iter().map(|&len| (one, len)).collect();
            gathered(true, &pieces).into_iter().map(|(_, _, _, payloads)| payloads.len()).collect()
        };
        assert_eq!(counts(&[10; 130]), [SEGMENTS_MAX, SEGMENTS_MAX, 2]);
        assert_eq!(counts(&[1_472; 50]), [44, 6], "{PAYLOAD_MAX} octets");
        assert_eq!(counts(&[0, 0]), [1, 1]);
    }

    #[test]
    fn what_is_long_ago_is_not_looked_for() {
        let hosts: Vec<u8> = (0..20).chain([0, 19]).collect();
        let pieces: Vec<_> = hosts.iter().map(|&host| (place(0, host), 10)).collect();
        let messages = gathered(true, &pieces);
        assert_eq!(messages.len(), 21);
        assert_eq!(messages[0], (0, 0, 0, vec![0]));
        assert_eq!(messages[19], (0, 19, 10, vec![19, 21]));
        assert_eq!(messages[20], (0, 0, 0, vec![20]));
    }
}
