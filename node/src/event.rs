//! What comes in and what goes out beside frames.

use alloc::sync::Arc;
use core::net::IpAddr;

use encap::{Endpoint, UnderlayId};
use vrouter::nat::SessionFilter;
use wire::{DomainId, Ecn, FrameBuf, Mac, PortId};

use crate::plan::Plan;

/// Everything that comes from outside. The recorder sits between receive and [`crate::Node::handle`], so a list of
/// these with their times is a complete recording.
#[derive(Debug)]
pub enum Event {
    /// A frame arrived at a port, with the virtio header in front as the device gave it.
    Frame {
        /// Where.
        port: PortId,
        /// What.
        frame: FrameBuf,
    },
    /// A UDP datagram arrived at a tunnel's socket. Which port it enters through follows from underlay, sender and what
    /// is inside; refusals are counted there, or at the underlay if it is nobody's.
    Datagram {
        /// Which socket.
        underlay: UnderlayId,
        /// Who sent it, as its IP and UDP headers say.
        from: Endpoint,
        /// What its IP header says of congestion.
        ecn: Ecn,
        /// Its payload. There is no virtio header; [`FrameBuf::offload`] is what the shell knows of the payload, counted
        /// from the payload's first octet ([`wire::Offload::NONE`] if nothing). Datagrams that were joined are one
        /// whose inner frame is a super-segment.
        frame: FrameBuf,
    },
    /// The named deadline has come, or the shell wants time to pass.
    Wake,
    /// From now on this plan holds. It has been checked ([`Plan::check`]).
    Configure(Arc<Plan>),
    /// Forget learned stations.
    Flush(Flush),
    /// End the router's connections that match.
    KillSessions(SessionFilter),
    /// Forget the router's neighbours that match every given criterion.
    FlushNeighbours {
        /// Of this domain.
        domain: Option<DomainId>,
        /// With this address.
        address: Option<IpAddr>,
    },
    /// What another worker's replica has learned.
    Gossip(Gossip),
}

/// Which learned stations to forget: those that match every given criterion. Static stations stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flush {
    /// Of this domain.
    pub domain: Option<DomainId>,
    /// Behind this port.
    pub port: Option<PortId>,
    /// With this address.
    pub mac: Option<Mac>,
}

/// What replicas of one node tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gossip {
    /// A station was learned, has moved, or is still alive.
    Station {
        /// Its domain.
        domain: DomainId,
        /// Its address.
        mac: Mac,
        /// Where it lives.
        port: PortId,
    },
}

/// Something a person may want to know, as it happens. Rate limited by the node, never one per frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A new station was learned.
    StationLearned {
        /// Its domain.
        domain: DomainId,
        /// Its address.
        mac: Mac,
        /// Where.
        port: PortId,
    },
    /// A station appeared behind another port.
    StationMoved {
        /// Its domain.
        domain: DomainId,
        /// Its address.
        mac: Mac,
        /// Where it was.
        from: PortId,
        /// Where it is.
        to: PortId,
    },
    /// A station keeps moving between ports: a loop, or two stations with one address.
    StationFlapping {
        /// Its domain.
        domain: DomainId,
        /// Its address.
        mac: Mac,
        /// Where it was last.
        port: PortId,
    },
    /// The domain remembers as many stations as it may; new ones are flooded to.
    DomainFull {
        /// Which.
        domain: DomainId,
    },
    /// The router noticed something.
    Router(vrouter::Notice),
    /// The port has as many stations as it may; new ones are flooded to.
    PortFull {
        /// Which.
        port: PortId,
    },
}
