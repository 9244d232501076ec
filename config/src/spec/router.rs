//! What the router is told: the uplink, routes, published L4 ports, translations, the access list.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use wire::{Cidr, Mac};

use crate::ends::{AclEnd, Inside};
use crate::publish::{L4Ports, Listen, Target};
use crate::text;

/// `[uplink]`: where the router sends what belongs to no network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct UplinkSpec {
    /// What it is.
    pub kind: UplinkKind,
    /// The interface in the switch's namespace.
    pub ifname: String,
    /// The router's addresses on it.
    #[serde(default, with = "text::list", skip_serializing_if = "Vec::is_empty")]
    pub address: Vec<Cidr>,
    /// The next routers, at most one of each family (`kind = "nic"`).
    #[serde(default, with = "text::list", skip_serializing_if = "Vec::is_empty")]
    pub gateway: Vec<IpAddr>,
    /// The router's MAC address on it; default: 02:42 and the IPv4 address.
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The host's addresses on it (`kind = "host"`).
    #[serde(default, with = "text::list", skip_serializing_if = "Vec::is_empty")]
    pub host_address: Vec<Cidr>,
    /// Longest packet (L3 octets), 68 (with IPv6 1280) to 65535; default 1500. A smaller one of the interface holds.
    #[serde(default = "uplink_mtu")]
    pub mtu: u16,
}

fn uplink_mtu() -> u16 {
    1500
}

/// What an uplink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UplinkKind {
    /// An existing interface, used raw with an address of the router's own.
    Nic,
    /// A TAP whose other end is the host's own stack.
    Host,
}

/// `[[publish]]`: connections to an L4 port of the router are passed to a port's station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct PublishSpec {
    /// Where, as `ADDRESS:L4-PORT` or `ADDRESS:FIRST-LAST`.
    #[serde(with = "text::one")]
    pub listen: Listen,
    /// For which protocol; default TCP.
    #[serde(default)]
    pub proto: Proto,
    /// To whom, as `PORT:L4-PORT` or `PORT:FIRST-LAST`.
    #[serde(with = "text::one")]
    pub to: Target,
}

/// A protocol with L4 ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// `[[route]]`: where packets to a prefix go; either [`RouteSpec::via`] or [`RouteSpec::kind`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct RouteSpec {
    /// The destinations.
    #[serde(with = "text::one")]
    pub to: Cidr,
    /// The next routers, 1 to 16; with several each flow keeps to one.
    #[serde(default, with = "text::list", skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<IpAddr>,
    /// What becomes of packets that go nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<RouteKind>,
}

/// What becomes of packets that a route sends nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Dropped without a word.
    Blackhole,
    /// Refused: the host is unreachable.
    Unreachable,
    /// Refused: administratively prohibited.
    Prohibit,
}

/// `[[one_to_one]]`: an address of the uplink stands for one station, both ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct OneToOneSpec {
    /// The address of the uplink.
    #[serde(with = "text::one")]
    pub outside: IpAddr,
    /// The station: a port, whose first address of the family it is, or an address.
    #[serde(with = "text::one")]
    pub inside: Inside,
}

/// `[[acl]]`: a rule for connections; replies belong to their connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct AclSpec {
    /// What a match means.
    pub action: AclAction,
    /// Who begins the connection; default anyone.
    #[serde(default, with = "text::one")]
    pub from: AclEnd,
    /// Whom it is for, behind what is published; default anyone.
    #[serde(default, with = "text::one")]
    pub to: AclEnd,
    /// Its protocol; default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proto: Option<AclProto>,
    /// L4 ports of whom it is for; default any.
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    pub l4_ports: Option<L4Ports>,
}

/// What a match of a rule means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AclAction {
    /// The connection may be.
    Allow,
    /// It may not.
    Deny,
    /// It is told as an event; the list goes on.
    Log,
}

/// A protocol that a rule may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AclProto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Echo of ICMP and ICMPv6.
    Icmp,
}

/// `[nat]`: how connections are translated and remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct NatSpec {
    /// Whose packets a translated station's L4 port lets in; default: only those of whom it talked to, L4 port included.
    pub filtering: Filtering,
    /// Connections remembered at most, 1 to 4,194,304; default 262,144.
    pub sessions_max: u32,
    /// Of these, connections that one station begins; default 65,536.
    pub sessions_per_host_max: u32,
    /// Whether TCP is told the longest segment that the path lets through; default yes.
    pub mss_clamp: bool,
    /// Seconds of silence after which a connection is forgotten.
    pub timeouts: TimeoutsSpec,
}

/// Whose packets a translated station's L4 port lets in (RFC 4787 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Anybody's.
    EndpointIndependent,
    /// Those of addresses that it talked to.
    AddressDependent,
    /// Those of addresses and L4 ports that it talked to.
    #[default]
    AddressAndPortDependent,
}

/// `[nat.timeouts]`: seconds of silence after which a connection is forgotten, each 1 to 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct TimeoutsSpec {
    /// TCP, established; default 7,440.
    pub tcp_established: u32,
    /// TCP, half-open or closing; default 240.
    pub tcp_transitory: u32,
    /// UDP that has been answered; default 300.
    pub udp: u32,
    /// UDP without an answer yet; default 120.
    pub udp_unanswered: u32,
    /// ICMP echo; default 60.
    pub icmp: u32,
}

impl NatSpec {
    /// Whether nothing differs from the defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for NatSpec {
    fn default() -> Self {
        let vrouter::NatPlan { sessions_max, sessions_per_host_max, mss_clamp, .. } =
            vrouter::NatPlan::default();
        Self {
            filtering: Filtering::default(),
            sessions_max,
            sessions_per_host_max,
            mss_clamp,
            timeouts: TimeoutsSpec::default(),
        }
    }
}

impl Default for TimeoutsSpec {
    fn default() -> Self {
        Self { tcp_established: 7_440, tcp_transitory: 240, udp: 300, udp_unanswered: 120, icmp: 60 }
    }
}
