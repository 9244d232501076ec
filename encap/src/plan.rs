//! Which sockets there are, and which tunnel ends speak through them: what shell and node have to agree about.
//!
//! An *underlay* is one UDP socket of this host: a local address and L4 port, over which datagrams of one [`Format`]
//! travel. A *tunnel* is one remote end and one network: it is a switch port of its own. All tunnels of one network
//! share an underlay, and so do tunnels of several networks that differ in their VNI.
//!
//! The shell opens a socket for each [`UnderlayPlan`], bound to `local` (IPv6 sockets with `IPV6_V6ONLY`). What it
//! receives becomes a `node::Event::Datagram` with the payload alone; what the node sends through a tunnel's port is a
//! payload for [`TunnelPlan::remote`], finished unless [`UnderlayPlan::takes`] says that the socket finishes it.
//!
//! The outer header is the shell's: source `local`, TTL 64 ([`OUTER_TTL`]), the traffic class that the node says, don't
//! fragment. The outer source L4 port should follow from the inner flow's hash where a socket allows that; no receiver
//! may depend on it.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use wire::segment::Egress;
use wire::{Cidr, PortId, UnicastMac};

use crate::vxlan::{self, Vni};

/// Underlays of one node. A further one is refused when the plan is checked.
pub const UNDERLAYS_MAX: usize = 64;
/// TTL or hop limit of datagrams. The inner one is neither copied nor restored: a tunnel is one hop to what is inside,
/// which is why a packet's own TTL sinks only where it is routed (RFC 2003 §3.1; Linux' default for VXLAN too).
pub const OUTER_TTL: u8 = 64;

/// A UDP socket of this host, by its place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnderlayId(pub u16);

impl UnderlayId {
    /// As an index into tables.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One end of a datagram's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its address. Never an IPv4-mapped one: the shell opens IPv6 sockets for IPv6 alone.
    pub address: IpAddr,
    /// Its UDP port.
    pub l4_port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}:{}", self.l4_port),
            IpAddr::V6(address) => write!(f, "[{address}]:{}", self.l4_port),
        }
    }
}

/// What stands in the datagrams of an underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// A VXLAN header and an Ethernet frame (RFC 7348).
    Vxlan,
    /// An IP packet, nothing before it: flannel's UDP backend.
    BareIp,
}

/// A socket to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderlayPlan {
    /// Its id; below [`UNDERLAYS_MAX`].
    pub id: UnderlayId,
    /// What it is bound to; no two underlays are bound alike.
    pub local: Endpoint,
    /// What its datagrams carry.
    pub format: Format,
    /// What the shell finishes itself: [`Egress::NONE`] unless it has said otherwise. Of an inner frame that may leave
    /// unfinished the offload metadata counts from the payload's first octet, tunnel header included.
    pub takes: Egress,
}

/// A remote end: one switch port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelPlan {
    /// The switch port.
    pub port: PortId,
    /// The socket it speaks through.
    pub underlay: UnderlayId,
    /// Where its datagrams go. They are known by their source *address*, whatever L4 port they come from.
    pub remote: Endpoint,
    /// What stands in front of the packet.
    pub encapsulation: Encapsulation,
    /// Where the packets inside may come from; empty: from anywhere.
    pub sources: Vec<Cidr>,
    /// The only MAC address that frames inside may be for; `None`: any.
    pub inner_dst: Option<UnicastMac>,
}

/// How the frames of a tunnel travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encapsulation {
    /// Behind a VXLAN header with this network identifier.
    Vxlan(Vni),
    /// Without their Ethernet header, which is made up again at the other end. No two tunnels of one underlay may have
    /// one remote address then.
    BareIp {
        /// Our end: the destination of what comes in.
        local: UnicastMac,
        /// The other end: the source of what comes in.
        remote: UnicastMac,
    },
}

impl Encapsulation {
    /// The format of the underlays that carry it.
    pub const fn format(self) -> Format {
        match self {
            Self::Vxlan(_) => Format::Vxlan,
            Self::BareIp { .. } => Format::BareIp,
        }
    }

    /// Octets in front of the inner frame or packet.
    pub const fn header_len(self) -> usize {
        match self {
            Self::Vxlan(_) => vxlan::HEADER_LEN,
            Self::BareIp { .. } => 0,
        }
    }

    pub(crate) const fn vni(self) -> Option<Vni> {
        match self {
            Self::Vxlan(vni) => Some(vni),
            Self::BareIp { .. } => None,
        }
    }
}

/// Octets that a datagram has beside the inner *packet*: what an inner MTU is smaller by than the underlay's. For VXLAN
/// 50 over IPv4 and 70 over IPv6, for bare packets 28 and 48.
pub const fn overhead(format: Format, v4: bool) -> u16 {
    let outer = if v4 { 20 + 8 } else { 40 + 8 };
    match format {
        Format::Vxlan => outer + 8 + 14,
        Format::BareIp => outer,
    }
}

/// Why underlays and tunnels were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// More than [`UNDERLAYS_MAX`] underlays, an id at or above it, or two with one id or one local end.
    Underlay(UnderlayId),
    /// The tunnel of this port speaks through an underlay that is not there, of another format or address family; has
    /// no L4 port to send to; or shares its port, or remote address and VNI, with an earlier tunnel.
    Tunnel(PortId),
}

/// Whether underlays and tunnels agree with each other.
///
/// # Errors
/// The first contradiction found.
pub fn check(underlays: &[UnderlayPlan], tunnels: &[TunnelPlan]) -> Result<(), PlanError> {
    for (at, underlay) in underlays.iter().enumerate() {
        let is_second = underlays[..at]
            .iter()
            .any(|earlier| earlier.id == underlay.id || earlier.local == underlay.local);
        if is_second || underlay.id.index() >= UNDERLAYS_MAX || underlay.local.l4_port == 0 {
            return Err(PlanError::Underlay(underlay.id));
        }
    }
    let mut ports: Vec<PortId> = Vec::with_capacity(tunnels.len());
    let mut names = Vec::with_capacity(tunnels.len());
    for tunnel in tunnels {
        let refused = Err(PlanError::Tunnel(tunnel.port));
        let Some(underlay) = underlays.iter().find(|known| known.id == tunnel.underlay) else {
            return refused;
        };
        let is_of_family = underlay.local.address.is_ipv4() == tunnel.remote.address.is_ipv4();
        if underlay.format != tunnel.encapsulation.format() || !is_of_family || tunnel.remote.l4_port == 0 {
            return refused;
        }
        ports.push(tunnel.port);
        names.push((tunnel.underlay, tunnel.encapsulation.vni(), tunnel.remote.address, tunnel.port));
    }
    ports.sort_unstable();
    if let Some(twice) = ports.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(PlanError::Tunnel(twice[0]));
    }
    names.sort_unstable();
    let same = |pair: &&[_]| {
        let [(a, b, c, _), (d, e, f, _)] = pair else { return false };
        (a, b, c) == (d, e, f)
    };
    match names.windows(2).find(same) {
        Some(twice) => Err(PlanError::Tunnel(twice[1].3)),
        None => Ok(()),
    }
}
