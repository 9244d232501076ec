//! The router's part of what the control socket speaks: routes, published L4 ports, access rules, connections,
//! neighbours.

use std::net::IpAddr;

use config::{AclSpec, Listen, Proto, PublishSpec, RouteSpec};
use serde::{Deserialize, Serialize};
use wire::Cidr;

use super::ApiError;

/// What the control socket may ask of the router. As with [`super::Operations`], calls block and may come at once.
pub trait RouterOperations: Send + Sync + 'static {
    /// Every route, connected and default ones among them, by prefix.
    fn routes(&self) -> Result<Vec<RouteInfo>, ApiError>;
    /// Which way packets to `to` go, and whether those from `from` may.
    fn explain_route(&self, to: IpAddr, from: Option<IpAddr>) -> Result<RouteAnswer, ApiError>;
    /// Adds a route. [`super::ErrorKind::Conflict`] if there is one to the same prefix.
    fn add_route(&self, route: RouteSpec) -> Result<(), ApiError>;
    /// Removes a route that was added or configured. [`super::ErrorKind::NotFound`] if there is none.
    fn remove_route(&self, to: Cidr) -> Result<(), ApiError>;

    /// What is published, in the order of the configuration.
    fn publishes(&self) -> Result<Vec<PublishInfo>, ApiError>;
    /// Publishes more.
    fn add_publish(&self, publish: PublishSpec) -> Result<(), ApiError>;
    /// Publishes no more what listens there, and ends its connections.
    fn remove_publish(&self, listen: Listen, proto: Proto) -> Result<(), ApiError>;

    /// The access rules in their order.
    fn acl(&self) -> Result<Vec<AclInfo>, ApiError>;
    /// Adds an access rule behind `position` others; behind all without.
    fn add_acl(&self, position: Option<usize>, rule: AclSpec) -> Result<(), ApiError>;
    /// Removes the access rule that stands behind `position` others.
    fn remove_acl(&self, position: usize) -> Result<(), ApiError>;

    /// The connections that match.
    fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionInfo>, ApiError>;
    /// Ends the connections that match.
    fn kill_sessions(&self, filter: &SessionFilter) -> Result<Ended, ApiError>;
    /// Sums over all connections.
    fn nat(&self) -> Result<NatInfo, ApiError>;

    /// The neighbours that match.
    fn neighbours(&self, filter: &NeighbourFilter) -> Result<Vec<NeighbourInfo>, ApiError>;
    /// Forgets the neighbours that match; who is needed is asked for again.
    fn flush_neighbours(&self, filter: &NeighbourFilter) -> Result<Ended, ApiError>;
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteInfo {
    /// The destinations, `10.0.0.0/8`.
    pub to: String,
    /// What becomes of packets to them: `connected`, `via`, `blackhole`, `unreachable` or `prohibit`.
    pub kind: String,
    /// The next routers, of kind `via`.
    pub via: Vec<NextHopInfo>,
    /// The network of the neighbours, of kind `connected`; `uplink` for the uplink's.
    pub network: Option<String>,
    /// Why it is there: `connected`, `uplink` (its gateway) or `static`.
    pub source: String,
}

/// A next router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHopInfo {
    /// Its address.
    pub address: String,
    /// The network it is in; `uplink` for the uplink's.
    pub network: String,
}

/// Which way packets to one destination go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteAnswer {
    /// The destination.
    pub to: String,
    /// Where the packets come from, if that was given.
    pub from: Option<String>,
    /// The network in which the destination is the router's own address.
    pub own: Option<String>,
    /// The route that they follow, which is the one with the longest prefix; none if there is none.
    pub route: Option<RouteInfo>,
    /// Whom they are handed to: the destination itself, or one of the next routers as the flow chooses.
    pub hops: Vec<HopInfo>,
    /// Whether packets get through as far as this says: `false` without a way, or if [`RouteAnswer::denied`].
    pub reachable: bool,
    /// Why packets from [`RouteAnswer::from`] may not go this way, by the name of the drop reason.
    pub denied: Option<String>,
    /// What is worth knowing beside that, a sentence each.
    pub notes: Vec<String>,
}

/// Whom packets are handed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopInfo {
    /// Its address.
    pub address: String,
    /// The network it is in.
    pub network: String,
    /// What is known of it as a neighbour; absent: nothing yet.
    pub neighbour: Option<NeighbourInfo>,
}

/// One published entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishInfo {
    /// Where, `0.0.0.0:8080`.
    pub listen: String,
    /// `tcp` or `udp`.
    pub proto: String,
    /// To whom, `c1:80`.
    pub to: String,
    /// The station's address.
    pub address: String,
    /// How many connections it has at the moment.
    pub sessions: u64,
}

/// One access rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclInfo {
    /// How many rules come before it.
    pub position: usize,
    /// How many connections matched it since it is there.
    pub hits: u64,
    /// What it says.
    #[serde(flatten)]
    pub rule: AclSpec,
}

/// A new access rule, as the socket takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAcl {
    /// How many rules come before it; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// What it says.
    pub rule: AclSpec,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Its number; no other connection has it for a long time.
    pub id: u64,
    /// `tcp`, `udp` or `icmp`.
    pub proto: String,
    /// Who began it, `172.16.0.2:41000`; for `icmp` the identifier stands for the L4 port.
    pub src: String,
    /// Whom it was for.
    pub dst: String,
    /// Where answers come from, as they arrive.
    pub reply_src: String,
    /// Where answers go to, as they arrive.
    pub reply_dst: String,
    /// How far it has come.
    pub state: String,
    /// Why it may be: `plain`, `publish`, `one-to-one` or `mapping`.
    pub origin: String,
    /// How long it lives on without a packet, in milliseconds.
    pub remaining_ms: u64,
    /// Packets of who began it.
    pub packets: u64,
    /// Packets of the other side.
    pub reply_packets: u64,
}

/// Which connections: those that match every given criterion. Empty: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionFilter {
    /// With this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// `tcp`, `udp` or `icmp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proto: Option<config::AclProto>,
    /// With an end in here, before or after translation: an address or a prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// With this L4 port at an end, before or after translation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l4_port: Option<u16>,
}

/// How many were ended or forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How many.
    pub count: u64,
}

/// Sums over all connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatInfo {
    /// Connections that exist.
    pub sessions: u64,
    /// As many may.
    pub sessions_max: u64,
    /// Connections opened since the start.
    pub opened: u64,
    /// Connections forgotten after silence.
    pub expired: u64,
    /// Connections that were over or unconfirmed, and yielded to others.
    pub evicted: u64,
    /// Connections ended by hand or by a change.
    pub ended: u64,
    /// Connections refused because there was no room.
    pub refused_max: u64,
    /// Connections refused because their host's share was used up.
    pub refused_share: u64,
    /// Connections refused because no outside L4 port was left.
    pub refused_l4_ports: u64,
    /// Mappings of inside to outside L4 ports that exist.
    pub mappings: u64,
    /// What is used of each outside address.
    pub l4_ports: Vec<L4PortsInfo>,
}

/// What is used of one outside address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct L4PortsInfo {
    /// The address.
    pub outside: String,
    /// For which protocol.
    pub proto: String,
    /// L4 ports (or echo identifiers) in use, of 65,535.
    pub in_use: u64,
}

/// One neighbour of the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourInfo {
    /// The network it is in; `uplink` for the uplink's.
    pub network: String,
    /// Its address.
    pub address: String,
    /// Its MAC address, as far as it is known.
    pub mac: Option<String>,
    /// `incomplete`, `reachable`, `stale`, `delay`, `probe` or `failed` (RFC 4861 §7.3.2).
    pub state: String,
    /// How long ago it last proved that it is there, in milliseconds; if it never did, how long its state has lasted.
    pub age_ms: u64,
    /// Packets that wait for its MAC address.
    pub parked: u64,
}

/// Which neighbours: those that match every given criterion. Empty: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighbourFilter {
    /// Of this network; `uplink` for the uplink's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// With this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}
