//! A session: what is remembered of one connection. 64 octets for IPv4, one cache line; 128 for IPv6.

use serde::{Deserialize, Serialize};

use super::address::{Address, Tuple};
use super::clock::Tick;
use super::mapping::UNMAPPED;
use super::slab::Entry;
use super::state::{Spans, State};
use super::{Direction, Origin};
use crate::plan::Protocol;

/// What is remembered of one connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[repr(align(64))]
pub(super) struct Session<A> {
    /// The endpoints of its packets as they arrive, by [`Direction`].
    pub(super) tuples: [Tuple<A>; 2],
    /// Packets, by [`Direction`].
    pub(super) packets: [u64; 2],
    /// When it was used last, or began to end.
    pub(super) used: Tick,
    /// Tells the session from earlier and later ones in its place, and which of two began first.
    pub(super) serial: u32,
    /// What its source L4 port outside belongs to, or [`UNMAPPED`].
    pub(super) mapping: u32,
    /// Whose share it counts to.
    pub(super) host: u32,
    publish: u32,
    origin: OriginKind,
    pub(super) protocol: Protocol,
    pub(super) state: State,
    /// Whether the place is in use.
    pub(super) is_open: bool,
}

/// [`Origin`] without the entry's number.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum OriginKind {
    Plain,
    Publish,
    OneToOne,
    Mapping,
}

impl<A: Address> Session<A> {
    pub(super) const fn new(protocol: Protocol, tuples: [Tuple<A>; 2], state: State, origin: Origin) -> Self {
        let (origin, publish) = match origin {
            Origin::Plain => (OriginKind::Plain, 0),
            Origin::Publish(id) => (OriginKind::Publish, id),
            Origin::OneToOne => (OriginKind::OneToOne, 0),
            Origin::Mapping => (OriginKind::Mapping, 0),
        };
        Self {
            tuples,
            packets: [0; 2],
            used: Tick(0),
            serial: 0,
            mapping: UNMAPPED,
            host: 0,
            publish,
            origin,
            protocol,
            state,
            is_open: true,
        }
    }

    /// Why it exists.
    pub(super) const fn origin(&self) -> Origin {
        match self.origin {
            OriginKind::Plain => Origin::Plain,
            OriginKind::Publish => Origin::Publish(self.publish),
            OriginKind::OneToOne => Origin::OneToOne,
            OriginKind::Mapping => Origin::Mapping,
        }
    }

    /// The tuple of the packets of a direction.
    #[inline]
    pub(super) const fn tuple(&self, direction: Direction) -> &Tuple<A> {
        &self.tuples[direction as usize]
    }

    pub(super) fn is_translated(&self) -> bool {
        self.tuples[0] != self.tuples[1].reversed()
    }

    /// When it ends unless it is used.
    #[inline]
    pub(super) const fn due(&self, spans: &Spans) -> Tick {
        self.used.after(spans.of(self.protocol, self.state))
    }
}

impl<A: Address> Entry for Session<A> {
    const VACANT: Self = Self {
        is_open: false,
        ..Self::new(Protocol::Tcp, [Tuple::VACANT; 2], State::Unanswered, Origin::Plain)
    };

    fn next_vacant(&mut self) -> &mut u32 {
        &mut self.host
    }
}
