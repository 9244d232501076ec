//! Notes: what the router decided about a packet, decision by decision, for whoever traces it.
//!
//! A note is taken where the decision is made, by the very code that makes it. Nobody listens on the packet path:
//! [`Made::notes`](crate::Made::notes) is `None` there, and a note costs one look at that. Notes are facts without
//! judgement; what ended the walk is its [`DropReason`](wire::DropReason), which no note repeats.
//!
//! Limit: a walk makes a dozen notes at most, and two for each fragment that it sets free.

use core::net::IpAddr;

use wire::{DomainId, Mac};

use crate::icmp::error::ErrorKind;
use crate::nat::{Origin, SessionId, SourceNat};
use crate::packet::{Endpoint, Flow};
use crate::plan::AclAction;

/// One decision of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The packet belongs to a connection that is remembered, and becomes this.
    Followed {
        /// Which.
        session: SessionId,
        /// As the packet came.
        flow: Flow,
        /// What its source becomes.
        src: Endpoint,
        /// What its destination becomes.
        dst: Endpoint,
    },
    /// It is addressed to the router, which passes it on.
    Invited {
        /// To this station.
        target: Endpoint,
        /// Because of this.
        origin: Origin,
    },
    /// It is addressed to the router itself.
    Own,
    /// It is an ICMP error about a packet of a remembered connection.
    Quoted {
        /// Who had sent what it quotes.
        about: Endpoint,
    },
    /// The forwarding table says where this address is.
    Way {
        /// The address.
        dst: IpAddr,
        /// Where.
        egress: DomainId,
        /// Whose MAC address the packet needs there: the destination itself if it lives there.
        next_hop: IpAddr,
    },
    /// The connection would join these two sides.
    Sides {
        /// Where it begins.
        from: DomainId,
        /// Where it leads.
        to: DomainId,
    },
    /// A rule of the access list matched.
    Acl {
        /// Its place in the list.
        rule: u16,
        /// What it says.
        action: AclAction,
    },
    /// No rule of the access list, which has so many, decided: the connection may be.
    AclPassed {
        /// How many.
        rules: u16,
    },
    /// A new connection is remembered.
    Opened {
        /// How its source is translated.
        source: SourceNat,
        /// Why it may be.
        origin: Origin,
        /// What its source becomes.
        src: Endpoint,
        /// What its destination becomes.
        dst: Endpoint,
    },
    /// It leaves in several pieces.
    Fragmented {
        /// Longest packet of the way out.
        mtu: u16,
    },
    /// Its next hop's MAC address is known.
    Resolved {
        /// Of whom.
        next_hop: IpAddr,
        /// The address.
        mac: Mac,
    },
    /// Its next hop's MAC address is being asked for.
    Unresolved {
        /// Whose.
        next_hop: IpAddr,
    },
    /// Its sender is told that it goes no further.
    Told(ErrorKind),
}
