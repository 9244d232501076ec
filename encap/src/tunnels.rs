//! The tunnel table: which ports are tunnels, and whose a datagram is.
//!
//! Out: indexed by port. An ordinary port costs one look that always goes the same way.
//!
//! In: a datagram belongs to the tunnel with its underlay, its VNI and its source address, found by one look into a hash
//! table. Whatever has no tunnel is refused under a name, before anything of what is inside is believed. The hash has a
//! fixed key: an attacker who chooses where to look cannot choose what is in the table.
//!
//! Limits: [`crate::plan::UNDERLAYS_MAX`] underlays and one tunnel a port, as the plan is checked to have.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;

use hashbrown::HashTable;
use wire::segment::Egress;
use wire::{Cidr, DropReason, Ecn, FlowHash, FrameBuf, Offload, PortId, UnicastMac, ethernet};

use crate::injection::Ends;
use crate::plan::{Encapsulation, Endpoint, Format, TunnelPlan, UnderlayId, UnderlayPlan};
use crate::vxlan::{self, Vni};
use crate::{bare, ecn, nesting};

/// The tunnels of a node.
#[derive(Clone, Debug, Default)]
pub struct Tunnels {
    /// By [`UnderlayId`].
    underlays: Vec<Option<UnderlayPlan>>,
    /// By [`PortId`]; ports past the end are ordinary.
    ways: Vec<Option<Box<Way>>>,
    peers: HashTable<Peer>,
    /// The networks that each underlay carries, sorted.
    vnis: Vec<(UnderlayId, Vni)>,
    ends: Ends,
}

/// A tunnel, as what leaves needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The socket.
    pub underlay: UnderlayId,
    /// Where the datagrams go.
    pub remote: Endpoint,
    /// What stands in front.
    pub encapsulation: Encapsulation,
    /// What the socket finishes itself.
    pub takes: Egress,
    /// Where packets that come in may be from; empty: anywhere.
    sources: Box<[Cidr]>,
    /// Whom frames that come in have to be for.
    inner_dst: Option<UnicastMac>,
}

/// A tunnel, as what comes in is found.
#[derive(Clone, Copy, Debug)]
struct Peer {
    name: Name,
    port: PortId,
}

/// What tells the tunnels of a node apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    underlay: UnderlayId,
    /// `None` where packets are bare.
    vni: Option<Vni>,
    address: IpAddr,
}

/// What the outer header of a datagram has to say, beside where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Carrier {
    /// The inner conversation: datagrams of one hash keep their order and may have one outer source L4 port.
    pub flow: FlowHash,
    /// The outer traffic class: DSCP 0, and the ECN bits.
    pub ecn: Ecn,
}

/// A datagram that is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose it is, if that can be told.
    pub port: Option<PortId>,
    /// Why.
    pub reason: DropReason,
}

impl Tunnels {
    /// No tunnels.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on these are the tunnels, and all other ports are ordinary. The plan has been checked
    /// ([`crate::plan::check`]).
    pub fn configure(&mut self, underlays: &[UnderlayPlan], tunnels: &[TunnelPlan]) {
        *self = Self::default();
        for &plan in underlays {
            put(&mut self.underlays, plan.id.index(), plan);
        }
        for plan in tunnels {
            let Some(underlay) = self.underlay(plan.underlay) else { continue };
            let way = Way {
                underlay: plan.underlay,
                remote: plan.remote,
                encapsulation: plan.encapsulation,
                takes: underlay.takes,
                sources: plan.sources.as_slice().into(),
                inner_dst: plan.inner_dst,
            };
            put(&mut self.ways, plan.port.index(), Box::new(way));
            let vni = plan.encapsulation.vni();
            self.vnis.extend(vni.map(|vni| (plan.underlay, vni)));
            let name = Name { underlay: plan.underlay, vni, address: plan.remote.address };
            self.peers.insert_unique(name.hash(), Peer { name, port: plan.port }, |peer| peer.name.hash());
        }
        self.vnis.sort_unstable();
        self.vnis.dedup();
        self.ends = Ends::new(underlays, tunnels);
    }

    /// The underlay with this id.
    #[inline]
    pub fn underlay(&self, id: UnderlayId) -> Option<&UnderlayPlan> {
        self.underlays.get(id.index())?.as_ref()
    }

    /// Where frames of the port go; `None` for an ordinary port.
    #[inline]
    pub fn way(&self, port: PortId) -> Option<&Way> {
        self.ways.get(port.index())?.as_deref()
    }

    /// Whether frames of this port travel inside a tunnel.
    #[inline]
    pub fn is_tunnel(&self, port: PortId) -> bool {
        self.way(port).is_some()
    }

    /// The inner frame of a datagram, as far as it stands there; `None` where packets are bare, or nothing is inside.
    pub fn inner<'a>(&self, underlay: UnderlayId, datagram: &'a [u8]) -> Option<&'a [u8]> {
        match self.underlay(underlay)?.format {
            Format::Vxlan => datagram.get(vxlan::HEADER_LEN..),
            Format::BareIp => None,
        }
    }

    /// Where the datagrams of all tunnels come from and go to.
    #[inline]
    pub fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Through which port a datagram from this end would enter, if it is somebody's.
    pub fn port_of(&self, underlay: UnderlayId, from: Endpoint, datagram: &[u8]) -> Option<PortId> {
        let vni = match self.underlay(underlay)?.format {
            Format::Vxlan => Some(vxlan::read(datagram).ok()?),
            Format::BareIp => None,
        };
        self.find(Name { underlay, vni, address: from.address })
    }

    /// Makes a frame of the datagram that has come to `underlay` from `from`, and says through which port it enters.
    /// `outer` is what the datagram's own header says of congestion.
    ///
    /// # Errors
    /// `forward.no-port` without the underlay, `admit.encap-truncated`, `admit.encap-flags`, `admit.unknown-vni`,
    /// `admit.unlisted-peer`, `admit.vnet-csum` if what the shell says of the datagram does not fit what is inside,
    /// `admit.inner-mac`, `admit.inner-source`, `admit.encap-ecn`.
    #[inline]
    pub fn admit(
        &self,
        underlay: UnderlayId,
        from: Endpoint,
        outer: Ecn,
        datagram: &mut FrameBuf,
    ) -> Result<PortId, Refused> {
        let nobodys = |reason| Refused { port: None, reason };
        let plan = self.underlay(underlay).ok_or(nobodys(DropReason::NoPort))?;
        let vni = match plan.format {
            Format::Vxlan => Some(vxlan::read(datagram.bytes()).map_err(nobodys)?),
            Format::BareIp => None,
        };
        let name = Name { underlay, vni, address: from.address };
        let Some(port) = self.find(name) else { return Err(nobodys(self.why_nobodys(name))) };
        let refused = |reason| Refused { port: Some(port), reason };
        let way = self.way(port).ok_or(nobodys(DropReason::NoPort))?;
        match way.encapsulation {
            Encapsulation::Vxlan(_) => vxlan::pop(datagram).map_err(refused)?,
            Encapsulation::BareIp { local, remote } => {
                bare::dress(datagram, local, remote).map_err(refused)?;
            }
        }
        way.admits_inner(datagram.bytes()).map_err(refused)?;
        ecn::combine(outer, datagram.bytes_mut()).map_err(refused)?;
        Ok(port)
    }

    /// Makes datagrams' payload of what leaves through `port`, which is a tunnel, and says what their outer header is
    /// to say.
    ///
    /// The caller has finished what the underlay does not take.
    ///
    /// # Errors
    /// `deliver.nested-tunnel` for what has [`nesting::NESTING_MAX`] tunnels inside already; `deliver.no-headroom`;
    /// `deliver.not-ip` for what a tunnel of bare packets cannot carry.
    #[inline]
    pub fn deliver(&self, way: &Way, frame: &mut FrameBuf) -> Result<Carrier, DropReason> {
        assert!(way.takes.takes(frame.offload), "offloads are finished before a frame enters a tunnel");
        if nesting::is_too_deep(frame.bytes()) {
            return Err(DropReason::NestedTunnel);
        }
        let flow = FlowHash::of(frame.bytes());
        if !frame.offload.needs_checksum() {
            frame.offload = Offload::NONE; // What vouched for the inner checksum says nothing of the datagram.
        }
        match way.encapsulation {
            Encapsulation::Vxlan(vni) => {
                let ecn = Ecn::of_frame(frame.bytes()).unwrap_or_default();
                vxlan::push(frame, vni)?;
                Ok(Carrier { flow, ecn })
            }
            // Flannel's ends do not look at the outer header (RFC 6040 §4.1, compatibility mode).
            Encapsulation::BareIp { .. } => {
                bare::strip(frame)?;
                Ok(Carrier { flow, ecn: Ecn::NotEct })
            }
        }
    }

    #[inline]
    fn find(&self, name: Name) -> Option<PortId> {
        self.peers.find(name.hash(), |peer| peer.name == name).map(|peer| peer.port)
    }

    #[cold]
    fn why_nobodys(&self, name: Name) -> DropReason {
        let carries = |vni| self.vnis.binary_search(&(name.underlay, vni)).is_ok();
        if name.vni.is_none_or(carries) { DropReason::UnlistedPeer } else { DropReason::UnknownVni }
    }
}

impl Way {
    /// Whether the frame inside is for whom, and its packet from where, the peer's are. What is not IP is from nowhere, and
    /// none of a routed peer's business.
    #[inline]
    fn admits_inner(&self, frame: &[u8]) -> Result<(), DropReason> {
        if let Some(inner_dst) = self.inner_dst
            && frame.first_chunk() != Some(&inner_dst.mac().0)
        {
            return Err(DropReason::InnerMac);
        }
        if self.sources.is_empty() {
            return Ok(());
        }
        let src = match ethernet::EthernetHeader::parse(frame).ok_or(DropReason::Runt)?.ethertype {
            ethernet::ETHERTYPE_IPV4 => address::<4>(frame, 12).map(IpAddr::from),
            ethernet::ETHERTYPE_IPV6 => address::<16>(frame, 8).map(IpAddr::from),
            _ => None,
        };
        let is_theirs = src.is_some_and(|src| self.sources.iter().any(|subnet| subnet.contains(src)));
        if is_theirs { Ok(()) } else { Err(DropReason::InnerSource) }
    }
}

fn address<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(ethernet::HEADER_LEN + at..)?.first_chunk().copied()
}

impl Name {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
    fn hash(self) -> u64 {
        const FACTOR: u64 = wire::flow::MULTIPLIER;
        let address = match self.address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        let number = self.vni.map_or(u32::MAX, Vni::number);
        let words =
            [u64::from(number) << 16 | u64::from(self.underlay.0), (address >> 64) as u64, address as u64];
        words.into_iter().fold(0, |hash, word| {
            let product = u128::from(hash ^ word ^ FACTOR) * u128::from(FACTOR);
            product as u64 ^ (product >> 64) as u64
        })
    }
}

fn put<T>(table: &mut Vec<Option<T>>, index: usize, value: T) {
    if table.len() <= index {
        table.resize_with(index + 1, || None);
    }
    table[index] = Some(value);
}

#[cfg(test)]
mod tests;
