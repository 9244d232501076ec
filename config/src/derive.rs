//! What follows from a specification that does not say it: default MAC addresses, interface names, MTUs.
//!
//! The checks and the compiler ask the same functions, so that what was checked is what is compiled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use encap::Format;
use wire::{Cidr, Mac, Vid};

use crate::spec::{
    Backend, Document, NetworkSpec, OverlaySpec, PeerSpec, PortSpec, UplinkKind, UplinkSpec, VxlanSpec,
};

/// Longest interface name in octets (Linux' IFNAMSIZ without its final zero). A longer one is refused, a port's name that
/// stands for it too.
pub(crate) const IFNAME_LEN_MAX: usize = 15;

/// What the domain of an overlay's tunnels is called. No network may have the name beside one.
pub const OVERLAY: &str = "overlay";

/// The same for the second end of an overlay that has one of each family. Each end has an MTU and peers of its own.
pub const OVERLAY_V6: &str = "overlay-v6";

/// What the uplink's domain and port are called. No network and no port of the user's may have the name.
pub const UPLINK: &str = "uplink";

/// The port's MAC address: as given, or 02:42 and its first IPv4 address (as Docker does), or derived from its name.
/// The last is the same on every host, so ports of one stretched network need different names or given addresses.
pub(crate) fn port_mac(name: &str, port: &PortSpec) -> Mac {
    port.mac.unwrap_or_else(|| {
        let addresses = port.address.given().iter().map(|cidr| cidr.address());
        first_v4(addresses).map_or_else(|| mac_of_name(name, "port"), mac_of_v4)
    })
}

/// The MAC address the router answers with in a network: 02:42 and its IPv4 address there, or derived from the name.
pub(crate) fn gateway_mac(name: &str, network: &NetworkSpec) -> Mac {
    first_v4(network.gateway.iter().copied()).map_or_else(|| mac_of_name(name, "gateway"), mac_of_v4)
}

/// The MAC address the router answers with at its uplink: as given, or 02:42 and its IPv4 address there, or 06 and octets
/// that are the same for every uplink without one.
pub(crate) fn uplink_mac(uplink: &UplinkSpec) -> Mac {
    uplink.mac.unwrap_or_else(|| {
        first_v4(uplink.address.iter().map(|cidr| cidr.address()))
            .map_or_else(|| mac_of_name(UPLINK, "gateway"), mac_of_v4)
    })
}

/// The MAC address of the host's end of an uplink to the host.
pub(crate) fn uplink_host_mac(uplink: &UplinkSpec) -> Mac {
    first_v4(uplink.host_address.iter().map(|cidr| cidr.address()))
        .map_or_else(|| mac_of_name(UPLINK, "host"), mac_of_v4)
}

/// The next routers of the default routes, at most one of each family: the given ones, or the host.
pub(crate) fn uplink_gateways(uplink: &UplinkSpec) -> Vec<IpAddr> {
    let hosts: Vec<IpAddr> = uplink.host_address.iter().map(|cidr| cidr.address()).collect();
    let candidates = match uplink.kind {
        UplinkKind::Nic => &uplink.gateway,
        UplinkKind::Host => &hosts,
    };
    [true, false]
        .into_iter()
        .filter_map(|v4| candidates.iter().copied().find(|address| address.is_ipv4() == v4))
        .collect()
}

/// The prefixes that the router routes for the network: those of each family in which it has an address there.
pub(crate) fn routed_subnets(network: &NetworkSpec) -> impl Iterator<Item = Cidr> {
    let has_gateway =
        |subnet: &Cidr| network.gateway.iter().any(|gateway| gateway.is_ipv4() == subnet.address().is_ipv4());
    network.subnet.iter().copied().filter(has_gateway)
}

/// The prefix of the default route.
pub(crate) fn default_prefix(v4: bool) -> Cidr {
    let any = if v4 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    Cidr::new(any, 0).expect("every address has as many bits")
}

/// Where a neighbour of the router's has this address: a network or the uplink.
pub(crate) fn domain_of(document: &Document, address: IpAddr) -> Option<&str> {
    let mut networks = document.network.iter();
    let network =
        networks.find(|(_, network)| routed_subnets(network).any(|subnet| subnet.contains(address)));
    let uplink = document.uplink.iter().flat_map(|uplink| &uplink.address);
    network
        .map(|(name, _)| name.as_str())
        .or_else(|| uplink.into_iter().any(|cidr| cidr.contains(address)).then_some(UPLINK))
}

/// Whether the address is the router's own.
pub(crate) fn is_own(document: &Document, address: IpAddr) -> bool {
    let gateways = document.network.values().flat_map(|network| network.gateway.iter().copied());
    let uplink = document.uplink.iter().flat_map(|uplink| uplink.address.iter().map(|cidr| cidr.address()));
    gateways.chain(uplink).any(|own| own == address)
}

/// Whether the router advertises itself in the network: as said, or whether there is something to advertise.
pub(crate) fn advertise(network: &NetworkSpec) -> bool {
    network.advertise.unwrap_or_else(|| can_advertise(network))
}

/// Whether stations could configure themselves from an advertisement (RFC 4862 §5.5.3 wants a /64).
pub(crate) fn can_advertise(network: &NetworkSpec) -> bool {
    routed_subnets(network).any(|subnet| subnet.address().is_ipv6() && subnet.prefix_len() == 64)
}

/// The first address of one family of a port's station.
pub(crate) fn station_address(port: &PortSpec, v4: bool) -> Option<IpAddr> {
    port.address.given().iter().map(|cidr| cidr.address()).find(|address| address.is_ipv4() == v4)
}

fn first_v4(addresses: impl IntoIterator<Item = IpAddr>) -> Option<Ipv4Addr> {
    addresses.into_iter().find_map(|address| match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    })
}

fn mac_of_v4(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([0x02, 0x42, a, b, c, d])
}

/// Locally administered and unicast, and never 02:42 like those made from IPv4 addresses: 06 and 40 bits of FNV-1a.
fn mac_of_name(name: &str, role: &str) -> Mac {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for octet in role.bytes().chain([0]).chain(name.bytes()) {
        hash = (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
    }
    let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
    Mac([0x06, a, b, c, d, e])
}

/// What the port's device is called.
pub(crate) fn ifname<'a>(name: &'a str, port: &'a PortSpec) -> &'a str {
    port.ifname.as_deref().unwrap_or(name)
}

/// The networks that a port names, each with its tag there (0: untagged) and the key that names it.
pub(crate) fn memberships(port: &PortSpec) -> impl Iterator<Item = (u16, &str)> {
    let own = port.network.iter().map(|network| (port.vlan, network.as_str()));
    own.chain(port.trunk.iter().map(|(vid, network)| (*vid, network.as_str())))
}

/// The tag as the switch wants it. Numbers that are no VLAN have been refused.
pub(crate) fn vid(vlan: u16) -> Option<Vid> {
    Vid::new(vlan)
}

/// The port's MTU: as given, or the largest of its networks'.
pub(crate) fn port_mtu(document: &Document, port: &PortSpec) -> u16 {
    port.mtu.unwrap_or_else(|| networks_mtu(document, port))
}

/// The largest MTU of the port's networks; 1500 if it has none.
pub(crate) fn networks_mtu(document: &Document, port: &PortSpec) -> u16 {
    let networks = memberships(port).filter_map(|(_, network)| document.network.get(network));
    networks.map(|network| network.mtu).max().unwrap_or(1500)
}

/// Whether the port may talk to open ports only.
pub(crate) fn isolated(document: &Document, port: &PortSpec) -> bool {
    port.isolated.unwrap_or_else(|| {
        memberships(port).filter_map(|(_, network)| document.network.get(network)).any(|network| !network.icc)
    })
}

/// The tunnels of a document: the network and what was written.
pub(crate) fn tunnels(document: &Document) -> impl Iterator<Item = (&str, &VxlanSpec)> {
    document.network.iter().filter_map(|(name, network)| Some((name.as_str(), network.vxlan.as_ref()?)))
}

/// A remote end of a stretched network.
pub(crate) struct Remote<'a> {
    /// What the port that it becomes is called.
    pub(crate) port: String,
    pub(crate) network: &'a str,
    pub(crate) vxlan: &'a VxlanSpec,
    pub(crate) address: IpAddr,
}

/// The remote ends of a document's stretched networks.
pub(crate) fn remotes(document: &Document) -> impl Iterator<Item = Remote<'_>> {
    tunnels(document).flat_map(|(network, vxlan)| {
        vxlan.remotes.iter().map(move |&address| Remote {
            port: format!("{network}.vxlan.{address}"),
            network,
            vxlan,
            address,
        })
    })
}

/// An end of this host's in the overlay.
#[derive(Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) overlay: &'a OverlaySpec,
    /// What datagrams are sent from.
    pub(crate) address: IpAddr,
    /// What its domain is called.
    pub(crate) domain: &'static str,
}

impl End<'_> {
    /// Its MAC address: as given, or one that follows from the address.
    pub(crate) fn mac(&self) -> Mac {
        let given = self.overlay.mac.filter(|_| self.address == self.overlay.local);
        given.unwrap_or_else(|| end_mac(self.address))
    }

    /// The longest packet that fits a datagram, as far as the configuration says.
    pub(crate) fn mtu(&self, format: Format) -> u16 {
        configured_mtu(self.overlay.underlay_mtu, format, self.address)
    }
}

/// The ends of this host's: one, or one of each family.
pub(crate) fn ends(overlay: &OverlaySpec) -> impl Iterator<Item = End<'_>> {
    let first = End { overlay, address: overlay.local, domain: OVERLAY };
    let second = overlay.local_v6.map(|v6| End { overlay, address: v6.into(), domain: OVERLAY_V6 });
    std::iter::once(first).chain(second)
}

/// The end from which another host's is reached, if there is one of its family.
pub(crate) fn end_towards(overlay: &OverlaySpec, endpoint: IpAddr) -> Option<End<'_>> {
    ends(overlay).find(|end| end.address.is_ipv4() == endpoint.is_ipv4())
}

/// Another host of the overlay that is reached through a tunnel.
pub(crate) struct Peer<'a> {
    /// What the port that it becomes is called.
    pub(crate) port: String,
    /// Our end of the tunnel.
    pub(crate) end: End<'a>,
    pub(crate) spec: &'a PeerSpec,
}

/// The overlay's hosts that are reached through tunnels.
pub(crate) fn tunnelled(document: &Document) -> impl Iterator<Item = Peer<'_>> {
    peers(document)
        .filter(|(overlay, spec)| !is_direct(document, overlay, spec))
        // One of a family that we have no end of is refused, under its own name.
        .filter_map(|(overlay, spec)| Some((end_towards(overlay, spec.endpoint)?, spec)))
        .map(|(end, spec)| Peer { port: format!("{OVERLAY}.{}", spec.endpoint), end, spec })
}

/// Those that are reached through the uplink, as its neighbours.
pub(crate) fn direct(document: &Document) -> impl Iterator<Item = &PeerSpec> {
    let is_direct = |(overlay, spec): &(&OverlaySpec, &PeerSpec)| is_direct(document, overlay, spec);
    peers(document).filter(is_direct).map(|(_, spec)| spec)
}

fn peers(document: &Document) -> impl Iterator<Item = (&OverlaySpec, &PeerSpec)> {
    document.overlay.iter().flat_map(|overlay| overlay.peer.iter().map(move |peer| (overlay, peer)))
}

fn is_direct(document: &Document, overlay: &OverlaySpec, peer: &PeerSpec) -> bool {
    let is_of_family = peer.subnet.address().is_ipv4() == peer.endpoint.is_ipv4();
    overlay.backend == Backend::HostGw
        || overlay.direct_routing && is_of_family && is_on_uplink(document, peer.endpoint)
}

/// Whether the address is a neighbour's on the uplink.
pub(crate) fn is_on_uplink(document: &Document, address: IpAddr) -> bool {
    let mut own = document.uplink.iter().flat_map(|uplink| &uplink.address);
    own.any(|cidr| cidr.contains(address))
}

/// What the overlay's datagrams carry; `None` without any.
pub(crate) fn overlay_format(overlay: &OverlaySpec) -> Option<Format> {
    match overlay.backend {
        Backend::Vxlan => Some(Format::Vxlan),
        Backend::Udp => Some(Format::BareIp),
        Backend::HostGw => None,
    }
}

/// The UDP port of the overlay's tunnel ends: as given, or flannel's.
pub(crate) fn overlay_l4_port(overlay: &OverlaySpec) -> u16 {
    overlay.port.unwrap_or(match overlay.backend {
        Backend::Udp => 8285,
        Backend::Vxlan | Backend::HostGw => 8472,
    })
}

/// The MAC address of a peer's tunnel end: as given, or one that follows from its address.
pub(crate) fn peer_mac(peer: &PeerSpec) -> Mac {
    peer.mac.unwrap_or_else(|| end_mac(peer.endpoint))
}

fn end_mac(address: IpAddr) -> Mac {
    mac_of_name(&address.to_string(), "vtep")
}

/// What the hosts' network is taken to carry where nobody says: Ethernet's.
const UNDERLAY_MTU_DEFAULT: u16 = 1500;

/// The longest packet that fits a datagram of a configuration's underlay.
pub(crate) fn configured_mtu(underlay: Option<u16>, format: Format, local: IpAddr) -> u16 {
    inner_mtu(underlay.unwrap_or(UNDERLAY_MTU_DEFAULT), format, local)
}

/// The longest packet that fits a datagram.
pub(crate) fn inner_mtu(underlay: u16, format: Format, local: IpAddr) -> u16 {
    underlay.saturating_sub(encap::plan::overhead(format, local.is_ipv4()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Addresses;

    #[test]
    fn default_macs_are_docker_s_or_follow_from_the_name() {
        let with = |addresses: &[&str]| PortSpec {
            address: Addresses::Given(addresses.iter().map(|text| text.parse().unwrap()).collect()),
            ..PortSpec::default()
        };
        let port = with(&["fd00::2/64", "172.16.0.2/16"]);
        assert_eq!(port_mac("c1", &port), Mac([0x02, 0x42, 172, 16, 0, 2]));

        let named = port_mac("c1", &with(&["fd00::2/64"]));
        assert_eq!(named, port_mac("c1", &with(&[])), "it follows from nothing but the name");
        assert_eq!(named.0[0], 0x06);
        assert_ne!(named, port_mac("c2", &with(&[])));
        assert_ne!(named, gateway_mac("c1", &NetworkSpec::default()));

        let given = PortSpec { mac: Some(Mac([2, 0, 0, 0, 0, 9])), ..port };
        assert_eq!(port_mac("c1", &given), Mac([2, 0, 0, 0, 0, 9]));
    }
}
