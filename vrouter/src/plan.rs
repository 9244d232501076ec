//! What the router is to do: where it stands, which way packets go, whom it translates, what it refuses.
//!
//! A plan is made outside, checked once and then frozen; [`crate::Router::configure`] swaps it whole.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use wire::{Cidr, DomainId, UnicastMac};

use crate::fib::Fib;

/// Addresses a gateway may own in one domain. More are refused when the plan is checked.
pub const GATEWAY_ADDRESSES_MAX: usize = 16;
/// Prefixes that a network's stations may live in, a gateway. More are refused when the plan is checked.
pub const SUBNETS_MAX: usize = 16;
/// Publish entries, each a range of L4 ports. More are refused when the plan is checked.
pub const PUBLISHES_MAX: usize = 65_536;
/// Pairs of addresses that stand for each other. More are refused when the plan is checked.
pub const ONE_TO_ONE_MAX: usize = 4_096;
/// Rules of the access list. More are refused when the plan is checked: each first packet reads the list in order.
pub const ACL_RULES_MAX: usize = 1_024;
/// Other ends of an overlay. More are refused when the plan is checked.
pub const OVERLAY_ENDS_MAX: usize = 8_192;
/// Connections that a plan may ask room for. More are refused when the plan is checked.
pub const SESSIONS_MAX: u32 = 4_194_304;

/// All that a router obeys.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RouterPlan {
    /// At most one a domain; at most one of them an uplink.
    pub gateways: Vec<Gateway>,
    /// Which way a packet goes: connected, static, default.
    pub fib: Arc<Fib>,
    /// What lies behind the uplink and is an overlay's all the same, because its hosts are neighbours there: packets from
    /// and to its prefixes are neither translated nor refused for coming unasked. Only whether it has a route counts.
    pub direct: Arc<Fib>,
    /// How connections are translated and remembered.
    pub nat: NatPlan,
    /// L4 ports of the router that lead to a station. No two overlap.
    pub publishes: Vec<Publish>,
    /// Addresses of the router that are one station's as a whole.
    pub one_to_one: Vec<OneToOne>,
    /// Read in order for the first packet of a connection; the first `Allow` or `Deny` that matches decides, and a
    /// connection that none matches is allowed.
    pub acl: Vec<AclRule>,
}

/// The router's presence in one domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Where.
    pub domain: DomainId,
    /// The MAC address it answers with.
    pub mac: UnicastMac,
    /// The addresses it owns. For IPv6 it also answers at the link-local address that belongs to its MAC.
    pub addresses: Vec<IpAddr>,
    /// Where the stations of the domain live. For a network: the only sources that it routes from here.
    pub subnets: Vec<Cidr>,
    /// Longest packet that may leave here, in L3 octets.
    pub mtu: u16,
    /// What lies behind.
    pub side: Side,
}

/// What lies behind a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// A network of ours.
    Network(NetworkPolicy),
    /// The way to everybody else. Nothing comes in from here unasked, but for what is published.
    Uplink,
    /// Other hosts with networks of their own, behind tunnels. Their packets are not translated and may come unasked, but
    /// are for our networks alone.
    Overlay(OverlayPolicy),
}

/// What the router knows of an overlay. Nobody there is asked for addresses, and nothing is announced.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OverlayPolicy {
    /// The other ends: which MAC address has each next hop, in the order of addresses.
    pub ends: Arc<[(IpAddr, UnicastMac)]>,
    /// The addresses that the router reports errors from, at most one of each family.
    pub speakers: Vec<IpAddr>,
}

impl OverlayPolicy {
    /// The MAC address of the other end that is this next hop.
    pub fn end(&self, next_hop: IpAddr) -> Option<UnicastMac> {
        let found = self.ends.binary_search_by_key(&next_hop, |&(address, _)| address);
        found.ok().map(|index| self.ends[index].1)
    }

    fn is_sound(&self) -> bool {
        self.ends.len() <= OVERLAY_ENDS_MAX && self.ends.windows(2).all(|pair| pair[0].0 < pair[1].0)
    }
}

/// What the router does for a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkPolicy {
    /// IPv4 packets that leave through the uplink get its address.
    pub masquerade_v4: bool,
    /// IPv6 packets likewise.
    pub masquerade_v6: bool,
    /// Its packets never leave through the uplink, nor do any come from there.
    pub internal: bool,
    /// It is not routed to other isolated networks. What is published is reached all the same.
    pub isolated: bool,
    /// Its stations may not talk to each other, so nothing is routed back into it either but what is published.
    pub separate_stations: bool,
    /// The router advertises its IPv6 prefixes and itself (RFC 4861 §6.2), so that stations configure themselves.
    pub advertise: bool,
    /// Whatever is reached there stands behind this one station, as behind the other end of a TUN device: nobody is asked
    /// for addresses, and nothing is announced.
    pub sole: Option<UnicastMac>,
}

/// How connections are translated and remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatPlan {
    /// Which packets from outside a mapping lets in (RFC 4787 §5).
    pub filtering: Filtering,
    /// Connections remembered at most, 1 to [`SESSIONS_MAX`]. At it, one that is over or that nobody has confirmed
    /// yields to a new one; if there is none the new packet is dropped as `route.sessions-max`.
    pub sessions_max: u32,
    /// Connections of one inside address at most, so that a scan cannot use up the table. At it likewise, among its own.
    pub sessions_per_host_max: u32,
    /// Whether the MSS option of TCP is lowered to what the path's MTU lets through (RFC 4459 §3.2).
    pub mss_clamp: bool,
    /// How long silence lasts before a connection is forgotten.
    pub timeouts: Timeouts,
}

/// Which packets from outside a mapping lets in (RFC 4787 §5). The mapping itself is always endpoint-independent
/// (RFC 4787 REQ-1): one inside address and L4 port has one outside L4 port, whoever it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Filtering {
    /// From anybody.
    EndpointIndependent,
    /// From any L4 port of an address that was talked to.
    AddressDependent,
    /// Only from whom was talked to.
    #[default]
    AddressAndPortDependent,
}

/// How long silence lasts before a connection is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// TCP, established (RFC 5382 REQ-5: at least 2 h 4 min).
    pub tcp_established: Duration,
    /// TCP, half-open or closing (RFC 5382 REQ-5: at least 4 min).
    pub tcp_transitory: Duration,
    /// UDP that has been answered (RFC 4787 REQ-5: at least 2 min, 5 min recommended).
    pub udp: Duration,
    /// UDP without an answer yet.
    pub udp_unanswered: Duration,
    /// ICMP echo (RFC 5508 REQ-1: at least 60 s).
    pub icmp: Duration,
}

/// An L4 protocol that has connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Echo of ICMP or ICMPv6; its identifier stands for the L4 port of who asks, 0 for that of who answers.
    Echo,
}

/// A run of L4 ports of the router leads to as many of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Differs from that of every other entry, and stays while the entry does: its connections end with it.
    pub id: u32,
    /// At this address of the router; `None`: at each of the target's family.
    pub listen: Option<IpAddr>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The first L4 port, not 0.
    pub l4_port_first: u16,
    /// The last, not below the first.
    pub l4_port_last: u16,
    /// The station.
    pub to: IpAddr,
    /// Its L4 port that the first one leads to.
    pub to_l4_port_first: u16,
}

/// An outside address that is one station's as a whole, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneToOne {
    /// An address of the router on its uplink.
    pub outside: IpAddr,
    /// The station, of the same family.
    pub inside: IpAddr,
}

/// One line of the access list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclRule {
    /// What a match means.
    pub action: AclAction,
    /// Who begins the connection.
    pub from: AclEnd,
    /// Whom it is for, after DNAT.
    pub to: AclEnd,
    /// `None`: any, those without L4 ports too.
    pub protocol: Option<Protocol>,
    /// Destination L4 ports after DNAT, both ends included; `None`: any. Needs TCP or UDP.
    pub l4_ports: Option<(u16, u16)>,
}

/// What a match of an [`AclRule`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AclAction {
    /// The connection may be.
    Allow,
    /// It may not: dropped as `route.acl-denied`.
    Deny,
    /// It is noted ([`crate::Notice::AclLogged`]); the list goes on, and the verdict is as if this rule were absent.
    Log,
}

/// One end of a connection, as an [`AclRule`] names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AclEnd {
    /// Whoever.
    Anyone,
    /// Whoever is behind this gateway: a network, or the uplink.
    Domain(DomainId),
    /// Whoever has an address in one of these.
    Prefixes(Vec<Cidr>),
}

impl Default for NatPlan {
    fn default() -> Self {
        Self {
            filtering: Filtering::default(),
            sessions_max: 262_144,
            sessions_per_host_max: 65_536,
            mss_clamp: true,
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_established: Duration::from_secs(7_440),
            tcp_transitory: Duration::from_secs(240),
            udp: Duration::from_secs(300),
            udp_unanswered: Duration::from_secs(120),
            icmp: Duration::from_secs(60),
        }
    }
}

impl Gateway {
    /// A network's gateway with the policy of a plain one.
    pub fn of_network(domain: DomainId, mac: UnicastMac, addresses: Vec<IpAddr>, subnets: Vec<Cidr>) -> Self {
        Self { domain, mac, addresses, subnets, mtu: 1500, side: Side::Network(NetworkPolicy::default()) }
    }
}

impl RouterPlan {
    /// Looks for contradictions.
    ///
    /// # Errors
    /// The first one found, in the order of the plan.
    pub fn check(&self) -> Result<(), PlanError> {
        for (index, gateway) in self.gateways.iter().enumerate() {
            let earlier = &self.gateways[..index];
            if earlier.iter().any(|other| other.domain == gateway.domain) {
                return Err(PlanError::DomainTwice(gateway.domain));
            }
            if gateway.side == Side::Uplink && earlier.iter().any(|other| other.side == Side::Uplink) {
                return Err(PlanError::UplinkTwice(gateway.domain));
            }
            gateway.check()?;
            let owned = |address: &IpAddr| earlier.iter().any(|other| other.addresses.contains(address));
            if let Some(&address) = gateway.addresses.iter().find(|address| owned(address)) {
                return Err(PlanError::AddressTwice(gateway.domain, address));
            }
        }
        self.nat.check()?;
        self.check_publishes()?;
        self.check_one_to_one()?;
        if self.acl.len() > ACL_RULES_MAX {
            return Err(PlanError::TooManyAclRules);
        }
        match self.acl.iter().position(|rule| !rule.is_sound()) {
            Some(index) => Err(PlanError::AclRule(index)),
            None => Ok(()),
        }
    }

    fn owns(&self, address: IpAddr) -> bool {
        self.gateways.iter().any(|gateway| gateway.addresses.contains(&address))
    }

    fn check_publishes(&self) -> Result<(), PlanError> {
        if self.publishes.len() > PUBLISHES_MAX {
            return Err(PlanError::TooManyPublishes);
        }
        if let Some(unsound) = self.publishes.iter().find(|publish| !publish.is_sound()) {
            return Err(PlanError::Publish(unsound.id));
        }
        if let Some(stray) =
            self.publishes.iter().find(|publish| publish.listen.is_some_and(|address| !self.owns(address)))
        {
            return Err(PlanError::PublishElsewhere(stray.id));
        }
        let mut ids: Vec<u32> = self.publishes.iter().map(|publish| publish.id).collect();
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(PlanError::PublishOverlap(twice[0], twice[1]));
        }
        // Entries for one address are disjoint runs once sorted; an entry for all addresses meets each of them.
        let mut sorted: Vec<&Publish> = self.publishes.iter().collect();
        sorted.sort_by_key(|publish| {
            (publish.protocol, publish.to.is_ipv4(), publish.listen, publish.l4_port_first)
        });
        let clash = |one: &Publish, other: &Publish| PlanError::PublishOverlap(one.id, other.id);
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0].listens_with(pair[1])) {
            return Err(clash(pair[0], pair[1]));
        }
        for specific in sorted.iter().filter(|publish| publish.listen.is_some()) {
            let all = (specific.protocol, specific.to.is_ipv4(), None, specific.l4_port_last);
            let after = sorted.partition_point(|publish| {
                (publish.protocol, publish.to.is_ipv4(), publish.listen, publish.l4_port_first) <= all
            });
            let below = after.checked_sub(1).map(|index| sorted[index]);
            if let Some(wide) = below.filter(|wide| wide.listens_with(specific)) {
                return Err(clash(wide, specific));
            }
        }
        Ok(())
    }

    fn check_one_to_one(&self) -> Result<(), PlanError> {
        if self.one_to_one.len() > ONE_TO_ONE_MAX {
            return Err(PlanError::TooManyOneToOne);
        }
        for (index, pair) in self.one_to_one.iter().enumerate() {
            let OneToOne { outside, inside } = *pair;
            let is_twice = self.one_to_one[..index]
                .iter()
                .any(|earlier| earlier.outside == outside || earlier.inside == inside);
            let is_sound = outside.is_ipv4() == inside.is_ipv4() && is_host(inside) && self.owns(outside);
            if is_twice || !is_sound || self.owns(inside) {
                return Err(PlanError::OneToOne(outside));
            }
        }
        Ok(())
    }
}

impl Gateway {
    fn check(&self) -> Result<(), PlanError> {
        if self.addresses.len() > GATEWAY_ADDRESSES_MAX || self.subnets.len() > SUBNETS_MAX {
            return Err(PlanError::TooManyAddresses(self.domain));
        }
        if matches!(&self.side, Side::Overlay(overlay) if !overlay.is_sound()) {
            return Err(PlanError::OverlayEnds(self.domain));
        }
        match self.addresses.iter().find(|&&address| !is_host(address)) {
            Some(&address) => Err(PlanError::NotAHostAddress(self.domain, address)),
            None => Ok(()),
        }
    }
}

impl NatPlan {
    const fn check(&self) -> Result<(), PlanError> {
        let is_sound = self.sessions_max >= 1 && self.sessions_max <= SESSIONS_MAX;
        if is_sound && self.sessions_per_host_max >= 1 { Ok(()) } else { Err(PlanError::SessionsMax) }
    }
}

impl Publish {
    /// The last L4 port of the target; beyond 65,535 if the entry is unsound.
    const fn last_target(&self) -> u32 {
        self.to_l4_port_first as u32 + (self.l4_port_last - self.l4_port_first) as u32
    }

    fn is_sound(&self) -> bool {
        self.protocol != Protocol::Echo
            && self.l4_port_first != 0
            && self.l4_port_first <= self.l4_port_last
            && self.to_l4_port_first != 0
            && self.last_target() <= u32::from(u16::MAX)
            && is_host(self.to)
            && self.listen.is_none_or(|address| address.is_ipv4() == self.to.is_ipv4())
    }

    /// Whether some connection could belong to both.
    fn listens_with(&self, other: &Self) -> bool {
        let meet = self.listen.is_none() || other.listen.is_none() || self.listen == other.listen;
        meet && self.protocol == other.protocol
            && self.to.is_ipv4() == other.to.is_ipv4()
            && self.l4_port_first <= other.l4_port_last
            && other.l4_port_first <= self.l4_port_last
    }
}

impl AclRule {
    fn is_sound(&self) -> bool {
        let has_l4_ports = matches!(self.protocol, Some(Protocol::Tcp | Protocol::Udp));
        self.l4_ports.is_none_or(|(first, last)| has_l4_ports && first <= last)
    }
}

/// Whether a station on a network may have this address.
pub(crate) fn is_host(address: IpAddr) -> bool {
    let is_broadcast = match address {
        IpAddr::V4(address) => address.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    !is_broadcast && !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
}

/// Why a plan was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// Two gateways in one domain.
    DomainTwice(DomainId),
    /// A second uplink.
    UplinkTwice(DomainId),
    /// More than [`GATEWAY_ADDRESSES_MAX`] addresses or [`SUBNETS_MAX`] subnets in one domain.
    TooManyAddresses(DomainId),
    /// The address is unspecified, loopback, multicast or broadcast.
    NotAHostAddress(DomainId, IpAddr),
    /// More than [`OVERLAY_ENDS_MAX`] other ends, or two with one address.
    OverlayEnds(DomainId),
    /// Another gateway owns the address too.
    AddressTwice(DomainId, IpAddr),
    /// No room for a connection, or for more than [`SESSIONS_MAX`].
    SessionsMax,
    /// More than [`PUBLISHES_MAX`].
    TooManyPublishes,
    /// The entry with this id contradicts itself: L4 ports, families, protocol or target.
    Publish(u32),
    /// The entry with this id listens at an address that the router does not own.
    PublishElsewhere(u32),
    /// The entries with these ids listen at one L4 port.
    PublishOverlap(u32, u32),
    /// More than [`ONE_TO_ONE_MAX`].
    TooManyOneToOne,
    /// The pair with this outside address: of two families, taken twice, or not the router's to give.
    OneToOne(IpAddr),
    /// More than [`ACL_RULES_MAX`].
    TooManyAclRules,
    /// The rule at this place asks for L4 ports without TCP or UDP, or for an empty run of them.
    AclRule(usize),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::DomainTwice(domain) => write!(f, "network {} has two gateways; give it one", domain.0),
            Self::UplinkTwice(domain) => write!(f, "network {} is a second uplink; keep one", domain.0),
            Self::TooManyAddresses(domain) => write!(
                f,
                "the gateway of network {} has more than {GATEWAY_ADDRESSES_MAX} addresses or {SUBNETS_MAX} \
                 subnets; remove some",
                domain.0
            ),
            Self::NotAHostAddress(domain, address) => write!(
                f,
                "the gateway of network {} cannot own {address}: it is no single host's address",
                domain.0
            ),
            Self::OverlayEnds(domain) => write!(
                f,
                "overlay {} has more than {OVERLAY_ENDS_MAX} other ends, or two with one address",
                domain.0
            ),
            Self::AddressTwice(domain, address) => {
                write!(f, "network {} and another one both give the router {address}", domain.0)
            }
            Self::SessionsMax => write!(f, "connections are limited to a number from 1 to {SESSIONS_MAX}"),
            Self::TooManyPublishes => write!(f, "more than {PUBLISHES_MAX} publish entries; remove some"),
            Self::Publish(id) => write!(f, "publish entry {id} contradicts itself"),
            Self::PublishElsewhere(id) => {
                write!(f, "publish entry {id} listens at an address that the router does not own")
            }
            Self::PublishOverlap(one, other) => {
                write!(f, "publish entries {one} and {other} listen at one L4 port")
            }
            Self::TooManyOneToOne => {
                write!(f, "more than {ONE_TO_ONE_MAX} one-to-one translations; remove some")
            }
            Self::OneToOne(outside) => {
                write!(f, "{outside} cannot stand for one station: see its family, its owner, its other uses")
            }
            Self::TooManyAclRules => write!(f, "more than {ACL_RULES_MAX} access rules; remove some"),
            Self::AclRule(index) => write!(f, "access rule {index} asks for L4 ports it cannot have"),
        }
    }
}

impl core::error::Error for PlanError {}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
