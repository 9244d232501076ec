//! One turn of the router: the time it is, where buffers come from, and what it makes beside the frame in its hand.
//!
//! What the router makes (ARP requests, ICMP errors, released packets) are frames of their own that leave forwards. They
//! are collected here and the node sends them after the walk that caused them, in the order in which they were made.

use alloc::vec::Vec;
use core::net::IpAddr;

use wire::{DomainId, DropReason, FrameBuf, FramePool, Instant, Mac, PortId};

use crate::note::Note;

/// Frames that one turn makes at most. At it the router makes no more: errors are left out, parked packets wait for the
/// next turn.
pub const MADE_MAX: usize = 256;

/// What one turn may use and fill.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The time.
    pub now: Instant,
    /// Spare buffers.
    pub pool: &'a mut FramePool,
    /// What the turn makes.
    pub made: &'a mut Made,
    /// Asked what stations take, where some take less than their network; `None` where all take the same.
    pub links: Option<&'a dyn Links>,
}

/// What is behind the router's interfaces, as far as it has to know.
pub trait Links: core::fmt::Debug {
    /// Longest packet, in octets from the IP header on, that reaches a station; `None` if nobody knows where it lives.
    fn mtu(&self, domain: DomainId, station: Mac) -> Option<u16>;
}

/// What the router has made.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// Frames to forward in a domain, untagged, complete from the destination address on.
    pub frames: Vec<(DomainId, FrameBuf)>,
    /// Frames that were parked and go no further: the port they came in through, and why. Their walk has ended already.
    pub drops: Vec<(PortId, DropReason)>,
    /// What a person may want to know. The node limits their rate.
    pub notices: Vec<Notice>,
    /// What was decided on the way, if somebody traces it.
    pub notes: Option<Vec<Note>>,
}

impl Made {
    /// Whether there is nothing to send, count or tell.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.drops.is_empty() && self.notices.is_empty()
    }
}

impl Turn<'_> {
    /// Longest packet that reaches a station, if that is less than its network says.
    pub(crate) fn narrow(&self, domain: DomainId, station: impl FnOnce() -> Option<Mac>) -> Option<u16> {
        self.links?.mtu(domain, station()?)
    }

    /// Whether the turn may make another frame.
    pub fn has_room(&self) -> bool {
        self.made.frames.len() < MADE_MAX
    }

    /// An empty buffer.
    pub fn buffer(&mut self) -> FrameBuf {
        self.pool.take()
    }

    /// Sends a frame in a domain.
    pub fn send(&mut self, domain: DomainId, frame: FrameBuf) {
        self.made.frames.push((domain, frame));
    }

    /// Ends a parked frame.
    pub fn drop_parked(&mut self, port: PortId, reason: DropReason, frame: FrameBuf) {
        self.made.drops.push((port, reason));
        self.pool.put(frame);
    }

    /// Takes note of a decision, if somebody traces the packet.
    #[inline]
    pub fn note(&mut self, note: impl FnOnce() -> Note) {
        if let Some(notes) = &mut self.made.notes {
            notes.push(note());
        }
    }

    /// Tells people.
    pub fn notice(&mut self, notice: Notice) {
        self.made.notices.push(notice);
    }
}

/// Something that a person may want to know about the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A station uses an address of the router's.
    AddressConflict {
        /// In this domain.
        domain: DomainId,
        /// The address.
        address: IpAddr,
        /// Who uses it too.
        mac: Mac,
    },
    /// A neighbour's MAC address changed.
    NeighbourMoved {
        /// In this domain.
        domain: DomainId,
        /// Whose.
        address: IpAddr,
        /// What it was.
        from: Mac,
        /// What it is.
        to: Mac,
    },
    /// The neighbour table of a domain is full.
    NeighboursFull {
        /// Which.
        domain: DomainId,
    },
    /// No more connections fit the table.
    SessionsFull,
    /// No more connections fit the share of one host.
    ShareFull {
        /// Which host.
        inside: IpAddr,
    },
    /// An outside address has no L4 port left for another connection.
    L4PortsExhausted {
        /// Which address.
        outside: IpAddr,
    },
    /// An access rule with [`crate::AclAction::Log`] matched.
    AclLogged {
        /// Its place in the list.
        rule: u16,
        /// Who begins the connection.
        src: IpAddr,
        /// Whom it is for.
        dst: IpAddr,
        /// At which L4 port; 0 without one.
        dst_l4_port: u16,
    },
}
