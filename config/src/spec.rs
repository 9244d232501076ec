//! What a person may write: one type for each table of the file, and the same types as JSON in the control API.
//!
//! A [`Document`] is well typed and otherwise unchecked; [`crate::Config`] is one that has passed every check. Keys
//! are the field names, absent keys have the defaults stated here, unknown keys are errors.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use wire::{Cidr, Mac};

use crate::address::Addresses;
use crate::ends::Prefix;
use crate::text;

mod router;

pub use router::{
    AclAction, AclProto, AclSpec, Filtering, NatSpec, OneToOneSpec, Proto, PublishSpec, RouteKind, RouteSpec,
    TimeoutsSpec, UplinkKind, UplinkSpec,
};

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Document {
    /// Worker threads, 1 to 16; default 1.
    pub workers: u8,
    /// How long a worker that has nothing to do spins before it blocks, in microseconds, 0 to 200; default 20.
    pub spin_us: u16,
    /// Whether small frames of one flow that wait together become a super-segment (generic receive offload); default true.
    pub gro: bool,
    /// Whether super-segments leave VXLAN tunnels whole, cut by the kernel as late as it can (UDP-tunnel GSO, Linux 6.17);
    /// default false: cut here, and sent by sockets.
    pub tunnel_gso: bool,
    /// Broadcast domains by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub network: BTreeMap<String, NetworkSpec>,
    /// Switch ports by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub port: BTreeMap<String, PortSpec>,
    /// Stations whose place is given, not learned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub station: Vec<StationSpec>,
    /// Where the router sends what belongs to no network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<UplinkSpec>,
    /// Routes beside those to the networks and the uplink.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<RouteSpec>,
    /// Published L4 ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<PublishSpec>,
    /// Addresses of the uplink that are one station's as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub one_to_one: Vec<OneToOneSpec>,
    /// Which connections may be; the first rule that allows or denies one decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub acl: Vec<AclSpec>,
    /// How connections are translated and remembered.
    #[serde(skip_serializing_if = "NatSpec::is_default")]
    pub nat: NatSpec,
    /// A subnet for each host, routed through a tunnel (flannel's model).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<OverlaySpec>,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            workers: 1,
            spin_us: 20,
            gro: true,
            tunnel_gso: false,
            network: BTreeMap::new(),
            port: BTreeMap::new(),
            station: Vec::new(),
            uplink: None,
            route: Vec::new(),
            publish: Vec::new(),
            one_to_one: Vec::new(),
            acl: Vec::new(),
            nat: NatSpec::default(),
            overlay: None,
        }
    }
}

/// `[network.NAME]`: a broadcast domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct NetworkSpec {
    /// Its prefixes, at most one of each address family.
    #[serde(with = "text::list", skip_serializing_if = "Vec::is_empty")]
    pub subnet: Vec<Cidr>,
    /// The router's addresses here, at most one of each family; none: a pure L2 network.
    #[serde(with = "text::list", skip_serializing_if = "Vec::is_empty")]
    pub gateway: Vec<IpAddr>,
    /// The part of the subnets that automatic addresses are taken from; default: all of each subnet.
    #[serde(with = "text::list", skip_serializing_if = "Vec::is_empty")]
    pub ip_range: Vec<Cidr>,
    /// Addresses that are never given out automatically.
    #[serde(with = "text::list", skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Prefix>,
    /// Whether IPv4 packets that leave through the uplink get its address; default no.
    pub masquerade: bool,
    /// Whether IPv6 packets do; default no.
    pub masquerade_v6: bool,
    /// Longest packet (L3 octets), 68 (with IPv6 1280) to 65535; default 1500.
    pub mtu: u16,
    /// Whether packets may never leave through the uplink; default no.
    pub internal: bool,
    /// Whether packets may never be routed to or from another isolated network; default no.
    pub isolated: bool,
    /// Whether the router advertises itself and its IPv6 prefix; default: whether it has an IPv6 gateway in a /64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<bool>,
    /// Whether the network's ports may talk to each other; default yes.
    pub icc: bool,
    /// Seconds that a silent station is remembered, up to 1,000,000, 0: for ever; default 300.
    pub ageing: u32,
    /// Stations learned at most, 1 to 851,968; default 65,536.
    pub stations_max: u32,
    /// Numbers *n* whose group addresses 01:80:c2:00:00:0*n* are flooded like others, 0 to 15; default none.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub reserved_forward: BTreeSet<u8>,
    /// Stretches the network over VXLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vxlan: Option<VxlanSpec>,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            subnet: Vec::new(),
            gateway: Vec::new(),
            ip_range: Vec::new(),
            reserved: Vec::new(),
            masquerade: false,
            masquerade_v6: false,
            mtu: 1500,
            internal: false,
            isolated: false,
            advertise: None,
            icc: true,
            ageing: 300,
            stations_max: vswitch::plan::DOMAIN_STATIONS_DEFAULT,
            reserved_forward: BTreeSet::new(),
            vxlan: None,
        }
    }
}

/// `[network.NAME.vxlan]`: the network continues behind a VXLAN tunnel (RFC 7348).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct VxlanSpec {
    /// Network identifier, 0 to 16,777,215.
    pub vni: u32,
    /// The UDP port of every tunnel end; default 4789.
    #[serde(default = "vxlan_port")]
    pub port: u16,
    /// This host's end.
    #[serde(with = "text::one")]
    pub local: IpAddr,
    /// The other ends.
    #[serde(default, with = "text::list", skip_serializing_if = "Vec::is_empty")]
    pub remotes: Vec<IpAddr>,
    /// Longest packet that the hosts' own network carries, 1280 to 65535; default: live, the MTU of the interface that has
    /// the local address, as it changes; otherwise 1500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underlay_mtu: Option<u16>,
    /// Whether questions for the MAC address of a station that is known (ARP, neighbour discovery) are answered in its name
    /// instead of being flooded to all remotes; default no.
    #[serde(default, skip_serializing_if = "is_false")]
    pub arp_suppression: bool,
    /// Where packets from a remote end may come from, by its address. What else it sends is dropped, frames without a packet
    /// too. From one without an entry anything may come.
    #[serde(default, with = "text::lists", skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<IpAddr, Vec<Cidr>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

fn vxlan_port() -> u16 {
    4789 // RFC 7348 §5.
}

/// `[port.NAME]`: a switch port. Live it is a TAP device.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct PortSpec {
    /// The network it belongs to: untagged, or with the tag [`PortSpec::vlan`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The namespace its device is moved to, by name or absolute path; absent: the switch's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// What its device is called there; default: the port's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
    /// The addresses of the station behind it.
    #[serde(skip_serializing_if = "Addresses::is_empty")]
    pub address: Addresses,
    /// The MAC address of its device; default: 02:42 and the IPv4 address, without one derived from the name.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The tag that [`PortSpec::network`] has on this port's wire; 0 (the default): none.
    pub vlan: u16,
    /// Further networks by their tag on this port's wire.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub trunk: BTreeMap<u16, String>,
    /// Longest packet (L3 octets); default: that of its networks, the largest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Stations learned at most, 1 to 851,968; default 4,096.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stations_max: Option<u32>,
    /// What the station may not do: a list, or "all".
    #[serde(deserialize_with = "crate::guard::deserialize", skip_serializing_if = "BTreeSet::is_empty")]
    pub guard: BTreeSet<Guard>,
    /// How often it may send what everybody hears.
    #[serde(skip_serializing_if = "StormSpec::is_unlimited")]
    pub storm: StormSpec,
    /// Whether its device is a TUN, which carries packets and no frames; default no. It is alone in its network then, of
    /// which everything stands behind it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tun: bool,
    /// Whether it may talk to no other isolated port; default: whether one of its networks has `icc = false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolated: Option<bool>,
}

/// What a port's station may be kept from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Guard {
    /// Sending from another MAC address than the port's.
    Mac,
    /// Speaking in ARP for other addresses than the port's.
    Arp,
    /// Speaking in neighbour discovery for other addresses than the port's.
    Nd,
    /// Advertising itself as an IPv6 router.
    Ra,
    /// Answering as a DHCP server.
    Dhcp,
}

/// Frames per second of each kind that a port may send; absent: unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct StormSpec {
    /// To everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<u32>,
    /// To other groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multicast: Option<u32>,
    /// To stations that nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<u32>,
}

impl StormSpec {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// `[[station]]`: an entry of the address table that does not age or move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct StationSpec {
    /// Its network.
    pub network: String,
    /// Its address.
    #[serde(with = "text::one")]
    pub mac: Mac,
    /// The port it lives behind.
    pub port: String,
}

/// `[overlay]`: a subnet for each host, routed through a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct OverlaySpec {
    /// How packets travel between hosts.
    pub backend: Backend,
    /// VXLAN network identifier; default 1, as flannel's.
    #[serde(default = "overlay_vni")]
    pub vni: u32,
    /// The UDP port of every tunnel end; default as flannel's: 8472 for VXLAN, 8285 for UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// This host's end.
    #[serde(with = "text::one")]
    pub local: IpAddr,
    /// A second end of this host's, beside an IPv4 one: peers whose endpoints are of IPv6 are reached from there.
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    pub local_v6: Option<Ipv6Addr>,
    /// Longest packet that the hosts' own network carries, 1280 to 65535; default: live, the MTU of the interface that has
    /// the local address, as it changes; otherwise 1500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underlay_mtu: Option<u16>,
    /// Whether hosts that are neighbours on the uplink are reached without a tunnel; default no.
    #[serde(default)]
    pub direct_routing: bool,
    /// The MAC address of this host's tunnel end; default: one that follows from its address, as that of `local_v6` does.
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// How hosts learn of each other; default static.
    #[serde(default)]
    pub registry: Registry,
    /// Where flannel's keys are (`registry = "etcd"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdSpec>,
    /// The network whose subnet is this host's share. With `registry = "etcd"` it may be without one, which is leased
    /// then; its gateway is the first address.
    pub network: String,
    /// The other hosts. With `registry = "etcd"` those that hold until it answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<PeerSpec>,
}

fn overlay_vni() -> u32 {
    1
}

/// How an overlay's packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// Packets in UDP, nothing between.
    Udp,
    /// Frames in VXLAN.
    Vxlan,
    /// Routed by the hosts' common network, no tunnel.
    HostGw,
}

/// How an overlay's hosts learn of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registry {
    /// The `[[overlay.peer]]` entries.
    #[default]
    Static,
    /// flannel's keys in etcd.
    Etcd,
}

/// `[overlay.etcd]`: the cluster that hosts' subnets are leased from, by flannel's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct EtcdSpec {
    /// Its servers, `http://HOST:PORT` or `https://HOST:PORT`; default `http://127.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// What the keys begin with; default `/coreos.com/network`.
    pub prefix: String,
    /// Who we are, if it asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The file with the password on its first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// The certificates of authorities that servers' certificates are to be of, PEM; `https://` needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cafile: Option<String>,
    /// Our own certificate, PEM, if it asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certfile: Option<String>,
    /// Its key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyfile: Option<String>,
    /// How long before its end a lease is renewed, in minutes, 1 to 1439; default 60.
    pub renew_margin: u16,
}

impl Default for EtcdSpec {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            prefix: "/coreos.com/network".to_owned(),
            username: None,
            password_file: None,
            cafile: None,
            certfile: None,
            keyfile: None,
            renew_margin: 60,
        }
    }
}

/// `[[overlay.peer]]`: another host of the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct PeerSpec {
    /// Its share of the addresses.
    #[serde(with = "text::one")]
    pub subnet: Cidr,
    /// Its tunnel end.
    #[serde(with = "text::one")]
    pub endpoint: IpAddr,
    /// The MAC address of its tunnel end (`backend = "vxlan"`).
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}
