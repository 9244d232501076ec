//! Virtual reassembly: later fragments go the way of their first (RFC 4787 REQ-14, RFC 8900).
//!
//! Only the first fragment of a packet has an L4 header, and policy and translation go by that. So the first's flow is
//! remembered for the pieces that follow, under the packet's name: domain, source, destination, identification and,
//! in version 4, protocol. Pieces are passed on one by one and never put together; the receiver does that.
//!
//! ```text
//!  first           flow remembered, passes; pieces that waited for it are released
//!  later, known    passes with the first's flow
//!  later, unknown  parked, until the first comes or the time is over
//!  the last gap is filled, or the time is over: forgotten
//! ```
//!
//! What passes is what a strict reassembler would accept. Refused: pieces that overlap or contradict each other about
//! where the packet ends, or that lie past 65,535 octets, and with them all that follows of the packet
//! (RFC 5722, for version 4 too); an exact copy of a piece, alone (RFC 8200 §4.5); a first without its L4 header and a TCP
//! piece that would write into it (RFC 1858, RFC 3128); pieces that are empty, or are not the last and no multiple of
//! eight octets. A parked piece is judged when it is released.
//!
//! Clock: [`FRAGMENT_TIMEOUT`] from a packet's first piece that is seen, whatever follows. RFC 791 proposes 15 s and
//! Linux waits 30, for hosts that have paid for the octets. Here nothing but numbers is kept, and a wrong match costs
//! more: the 16 bits of identification come round after 5 s at 13,000 packets a second (RFC 4963). 5 s is longer than
//! any reordering.
//!
//! Limits, so that a million half packets cost what a thousand do, and a step each:
//! - [`DATAGRAMS_MAX`] packets in pieces; the oldest gives way. Of them [`DATAGRAMS_PER_SOURCE_MAX`] of one source, whose
//!   own oldest gives way, so that one source cannot push out the others.
//! - [`PIECES_MAX`] pieces a packet; further ones are refused.
//! - [`PARKED_MAX`] parked pieces; the packet that waits longest gives way. Of them [`PARKED_PER_SOURCE_MAX`] of one
//!   source and [`PARKED_PER_DATAGRAM_MAX`] of one packet; further ones are refused.
//!
//! All of these are `route.fragment-limit`. Not done: reassembly of what is sent to the router itself, and new
//! identifications for translated packets: two hosts behind one address that talk to a third may happen to use the same
//! one at the same time (RFC 6864 §5.3), whose receiver then drops both by their checksums.

mod piece;
mod table;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use wire::headers::Fragment;
use wire::{DomainId, DropReason, FrameBuf, Instant, PortId};

use self::piece::{Fault, Piece};
use self::table::{At, Name, State, Table};
use crate::packet::{Flow, Packet};
use crate::turn::Turn;

/// How long a packet in pieces is remembered.
pub const FRAGMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Packets in pieces that are remembered. At it the oldest is forgotten.
pub const DATAGRAMS_MAX: usize = 1_024;
/// Packets in pieces of one source in one domain. At it the source's oldest is forgotten.
pub const DATAGRAMS_PER_SOURCE_MAX: usize = 64;
/// Pieces of one packet: 65,535 octets take 45 through an MTU of 1,500. Further ones are refused.
pub const PIECES_MAX: usize = 64;
/// Pieces that wait for their first, a buffer of 64 KiB each. At it the packet that has waited longest is forgotten.
pub const PARKED_MAX: usize = 128;
/// Pieces of one source that wait. Further ones are refused.
pub const PARKED_PER_SOURCE_MAX: usize = 32;
/// Pieces of one packet that wait. Further ones are refused.
pub const PARKED_PER_DATAGRAM_MAX: usize = 16;

/// What a frame is to those that go by flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// No fragment, or the first: the packet's own flow holds.
    Whole,
    /// A later one of a packet of this flow; `None` if its protocol has none.
    Later(Option<Flow>),
    /// A later one whose first has not come. It has been kept, and an empty buffer is in its place.
    Parked,
}

/// The packets that are in pieces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fragments {
    table: Table,
    /// By place; the table knows whose they are.
    parked: Vec<Option<Parked>>,
    free: Vec<u8>,
    released: VecDeque<Parked>,
}

/// A piece that waits, with its ingress.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Parked {
    port: PortId,
    domain: DomainId,
    frame: FrameBuf,
}

impl Fragments {
    /// Nothing in pieces. The seed keys the hash.
    pub fn new(seed: u64) -> Self {
        Self {
            table: Table::new(seed),
            parked: (0..PARKED_MAX).map(|_| None).collect(),
            free: (0..PARKED_MAX).rev().filter_map(|place| u8::try_from(place).ok()).collect(),
            released: VecDeque::with_capacity(PARKED_MAX),
        }
    }

    /// Packets in pieces that are remembered.
    pub fn datagram_count(&self) -> usize {
        self.table.count()
    }

    /// Pieces that wait for their first, or to be taken with [`Fragments::released`].
    pub fn parked_count(&self) -> usize {
        PARKED_MAX - self.free.len() + self.released.len()
    }

    /// Says whose a piece is, or keeps it. Afterwards the caller takes what it has released ([`Fragments::released`])
    /// and walks it from here on again. A packet that is no fragment is [`Pieces::Whole`].
    ///
    /// # Errors
    /// `route.fragment-overlap`, `route.fragment-tiny`, `route.fragment-limit` or `route.malformed-ip`, as said above.
    pub fn admit(
        &mut self,
        turn: &mut Turn,
        port: PortId,
        domain: DomainId,
        packet: &Packet,
        frame: &mut FrameBuf,
    ) -> Result<Pieces, DropReason> {
        if packet.headers.fragment == Fragment::Whole {
            return Ok(Pieces::Whole);
        }
        self.wake(turn); // What is over is over, even if nobody has looked at the clock since.
        let piece = Piece::read(packet, frame)?;
        let name = Name::new(domain, packet, piece.id);
        let at = match self.table.find(&name) {
            Some(at) => at,
            None => self.begin(turn, name),
        };
        let datagram = self.table.get_mut(at);
        let flow = match datagram.state {
            State::Refused => return Err(DropReason::FragmentOverlap),
            State::Waiting if piece.start > 0 => return self.park(turn, at, port, frame),
            State::Waiting => packet.flow(frame.bytes()),
            State::Known(flow) => flow,
        };
        datagram.map.add(piece).map_err(|fault| match fault {
            Fault::Copy => DropReason::FragmentOverlap,
            Fault::Limit => DropReason::FragmentLimit,
            Fault::Overlap => {
                datagram.state = State::Refused;
                DropReason::FragmentOverlap
            }
        })?;
        datagram.state = State::Known(flow);
        let is_complete = datagram.map.is_complete();
        if piece.start == 0 {
            self.release(at);
        }
        if is_complete {
            self.table.remove(at); // Nothing is parked of a packet whose first has come.
        }
        Ok(if piece.start == 0 { Pieces::Whole } else { Pieces::Later(flow) })
    }

    /// From now on only pieces of domains that are `kept` are remembered: another network may have the name of one that is
    /// gone. What was parked of those ends as `route.no-route`.
    pub fn configure(&mut self, turn: &mut Turn, is_kept: impl Fn(DomainId) -> bool) {
        let mut next = self.table.oldest();
        while let Some(at) = next {
            next = self.table.younger(at);
            if !is_kept(self.table.get(at).name.domain()) {
                self.forget(turn, at, DropReason::NoRoute);
            }
        }
    }

    /// The next piece whose first has come, with the port and the domain that it came in through: untouched, to be walked
    /// as if it had just come.
    pub fn released(&mut self) -> Option<(PortId, DomainId, FrameBuf)> {
        self.released.pop_front().map(|Parked { port, domain, frame }| (port, domain, frame))
    }

    /// Forgets what has waited too long. What was parked ends as `route.fragment-timeout`.
    pub fn wake(&mut self, turn: &mut Turn) {
        while let Some(at) = self.table.oldest() {
            if self.table.get(at).deadline > turn.now {
                return;
            }
            self.forget(turn, at, DropReason::FragmentTimeout);
        }
    }

    /// When the oldest packet's time is over.
    pub fn next_deadline(&self) -> Option<(Instant, &'static str)> {
        self.table.oldest().map(|at| (self.table.get(at).deadline, "fragments"))
    }

    /// Octets that the tables take; parked frames are not counted.
    pub fn memory(&self) -> usize {
        self.table.memory() + PARKED_MAX * 2 * size_of::<Parked>()
    }

    /// Enters a packet that is not known, at the cost of the oldest if there is no room.
    fn begin(&mut self, turn: &mut Turn, name: Name) -> At {
        let (count, own_oldest) = self.table.of_source(&name);
        let yields = if count >= DATAGRAMS_PER_SOURCE_MAX {
            own_oldest
        } else if self.table.count() >= DATAGRAMS_MAX {
            self.table.oldest()
        } else {
            None
        };
        if let Some(at) = yields {
            self.forget(turn, at, DropReason::FragmentLimit);
        }
        self.table.insert(name, turn.now + FRAGMENT_TIMEOUT)
    }

    /// Keeps a piece of a packet whose first has not come.
    fn park(
        &mut self,
        turn: &mut Turn,
        at: At,
        port: PortId,
        frame: &mut FrameBuf,
    ) -> Result<Pieces, DropReason> {
        let datagram = self.table.get(at);
        if datagram.parked().len() >= PARKED_PER_DATAGRAM_MAX
            || self.table.parked_of_source(&datagram.name) >= PARKED_PER_SOURCE_MAX
        {
            return Err(DropReason::FragmentLimit);
        }
        let domain = datagram.name.domain();
        if self.free.is_empty() {
            let oldest = self.table.oldest_waiting().filter(|&oldest| oldest != at);
            self.forget(turn, oldest.ok_or(DropReason::FragmentLimit)?, DropReason::FragmentLimit);
        }
        let place = self.free.pop().ok_or(DropReason::FragmentLimit)?;
        let frame = core::mem::replace(frame, turn.buffer());
        self.parked[usize::from(place)] = Some(Parked { port, domain, frame });
        self.table.park(at, place);
        Ok(Pieces::Parked)
    }

    /// Hands out what waited for a first that has come.
    fn release(&mut self, at: At) {
        for place in self.table.unpark(at) {
            self.released.extend(self.parked[usize::from(place)].take());
            self.free.push(place);
        }
    }

    /// Takes a packet out, and ends what was parked of it.
    fn forget(&mut self, turn: &mut Turn, at: At, reason: DropReason) {
        for place in self.table.unpark(at) {
            self.free.push(place);
            if let Some(Parked { port, frame, .. }) = self.parked[usize::from(place)].take() {
                turn.drop_parked(port, reason, frame);
            }
        }
        self.table.remove(at);
    }
}

#[cfg(test)]
mod tests;
