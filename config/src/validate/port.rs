//! Ports: which networks, on which wire, in which namespace, and what nobody else may have too.

use std::collections::BTreeMap;
use std::net::IpAddr;

use wire::{Cidr, Mac};

use super::network::{mtu_fault, reserved, stations_fault};
use super::{Findings, family, ifname_fault, mac_fault, name_fault, no_host, unknown};
use crate::Addresses;
use crate::derive;
use crate::report::At;
use crate::share;
use crate::spec::{Document, Guard, PortSpec};

pub(super) fn check(document: &Document, findings: &mut Findings) {
    for (name, port) in &document.port {
        let at = At::top("port").key(name);
        findings.add_if(&at, name_fault(name));
        networks(document, name, port, &at, findings);
        vlans(port, &at, findings);
        device(name, port, &at, findings);
        tun(document, name, port, &at, findings);
        addresses(document, port, &at, findings);
        limits(document, port, &at, findings);
        guards(name, port, &at, findings);
    }
    tunnel_names(document, findings);
    same_interfaces(document, findings);
    same_addresses(document, findings);
    same_macs(document, findings);
}

fn networks(document: &Document, name: &str, port: &PortSpec, at: &At, findings: &mut Findings) {
    if port.network.is_none() && port.trunk.is_empty() {
        findings
            .add(at, format!("port {name:?} belongs to no network; add network = \"…\" or trunk = {{ … }}"));
    }
    let mut keys = BTreeMap::new();
    let own = port.network.iter().map(|network| ("network".to_owned(), at.key("network"), network));
    let trunk =
        port.trunk.iter().map(|(vid, network)| (format!("trunk.{vid}"), at.key("trunk").key(vid), network));
    for (key, at, network) in own.chain(trunk) {
        if !document.network.contains_key(network) {
            findings.add(&at, unknown("network", network, document.network.keys()));
        } else if let Some(other) = keys.insert(network, key) {
            findings
                .add(&at, format!("network {network:?} is on the port's wire already, by {other}; drop one"));
        }
    }
}

fn vlans(port: &PortSpec, at: &At, findings: &mut Findings) {
    if port.vlan > 4094 {
        findings.add(&at.key("vlan"), format!("vlan is {}; choose 1 to 4094, or 0 for no tag", port.vlan));
    }
    if port.vlan != 0 && port.network.is_none() {
        findings.add(&at.key("vlan"), format!("vlan {} tags network, which is absent; name one", port.vlan));
    }
    for vid in port.trunk.keys() {
        let at = at.key("trunk").key(vid);
        if *vid == 0 {
            findings.add(
                &at,
                "trunk has VLAN 0; name the untagged network of a trunk by the key network instead",
            );
        } else if *vid > 4094 {
            findings.add(&at, format!("trunk has VLAN {vid}; choose 1 to 4094"));
        } else if *vid == port.vlan {
            findings.add(&at, format!("VLAN {vid} is the port's already, by vlan; choose another"));
        }
    }
}

fn device(name: &str, port: &PortSpec, at: &At, findings: &mut Findings) {
    match &port.ifname {
        Some(ifname) => findings.add_if(&at.key("ifname"), ifname_fault(ifname)),
        None if name_fault(name).is_some() => {} // One name, one fault.
        None => {
            let fault = ifname_fault(name).map(|fault| format!("{fault}, by ifname = \"…\""));
            findings.add_if(at, fault);
        }
    }
    if let Some(netns) = &port.netns {
        let path = netns.starts_with('/');
        let name =
            !netns.is_empty() && !netns.contains('/') && netns != "." && netns != ".." && netns.len() <= 255;
        if netns.contains('\0') || !path && !name {
            let why = format!(
                "netns {netns:?} is neither a name nor an absolute path; write one like ns1 or /run/netns/ns1"
            );
            findings.add(&at.key("netns"), why);
        }
    }
    if let Some(mac) = port.mac {
        findings.add_if(&at.key("mac"), mac_fault(mac));
    }
}

/// A TUN device carries packets: there is nothing behind it that switching could tell apart.
fn tun(document: &Document, name: &str, port: &PortSpec, at: &At, findings: &mut Findings) {
    if !port.tun {
        return;
    }
    let at = at.key("tun");
    if port.vlan != 0 || !port.trunk.is_empty() {
        findings.add(&at, "packets have no VLAN tag; drop vlan and trunk, or tun");
    }
    if document.workers != 1 {
        findings.add(&at, "a TUN device has one queue; choose workers = 1, or drop tun");
    }
    let Some(network) = &port.network else { return };
    if document.network.get(network).is_some_and(|spec| spec.gateway.is_empty()) {
        let why = format!("network {network:?} has no gateway, so no packet of it goes anywhere; add one");
        findings.add(&at, why);
    }
    let shares = |other: &PortSpec| derive::memberships(other).any(|(_, its)| its == network);
    if let Some((other, _)) = document.port.iter().find(|(other, spec)| *other != name && shares(spec)) {
        let why = format!(
            "port {other:?} is in network {network:?}, too, which a TUN device has to itself; move one"
        );
        findings.add(&at, why);
    }
}

fn addresses(document: &Document, port: &PortSpec, at: &At, findings: &mut Findings) {
    let at = at.key("address");
    let Some(network) = &port.network else {
        if !port.address.is_empty() {
            findings.add(
                &at,
                "address needs a network to be of; add network = \"…\", the untagged one of a trunk",
            );
        }
        return;
    };
    let Some(spec) = document.network.get(network) else { return };
    let given = match &port.address {
        Addresses::Given(given) => given,
        Addresses::Auto if spec.subnet.is_empty() => {
            let why = format!(
                "address = \"auto\" needs a subnet in network {network:?}; add one or give an address"
            );
            return findings.add(&at, why);
        }
        Addresses::Auto => {
            let larger = if spec.ip_range.is_empty() { "subnet" } else { "ip_range" };
            let why = format!("network {network:?} has no free address left; give it a larger {larger}");
            return findings.add(&at, why);
        }
    };
    for (index, cidr) in given.iter().enumerate() {
        findings.add_if(&at.index(index), address_fault(*cidr, network, &spec.subnet));
    }
}

/// Why a station of the network cannot have the address.
fn address_fault(cidr: Cidr, network: &str, subnets: &[Cidr]) -> Option<String> {
    let address = cidr.address();
    if no_host(address) {
        return Some(format!("{address} is no address that a station can have; choose another"));
    }
    if subnets.is_empty() || share::is_stand_in(subnets) {
        return None; // With a subnet that is yet to be leased no address may be given: `share::fault` says so.
    }
    let Some(subnet) = subnets.iter().find(|subnet| subnet.address().is_ipv4() == address.is_ipv4()) else {
        return Some(format!(
            "{cidr} is outside network {network:?}, which has no {} subnet; add one or drop the address",
            family(address)
        ));
    };
    if !subnet.contains(address) {
        return Some(format!(
            "{cidr} is outside {subnet}, the subnet of network {network:?}; choose one inside"
        ));
    }
    if cidr.prefix_len() != subnet.prefix_len() {
        let len = subnet.prefix_len();
        return Some(format!(
            "{cidr} has another prefix length than {subnet}, its network; write {address}/{len}"
        ));
    }
    reserved(*subnet, address)
}

fn limits(document: &Document, port: &PortSpec, at: &At, findings: &mut Findings) {
    if let Some(mtu) = port.mtu {
        let v6 = port.address.given().iter().any(|cidr| cidr.address().is_ipv6());
        let network_mtu = derive::networks_mtu(document, port);
        findings.add_if(&at.key("mtu"), mtu_fault(mtu, v6));
        if mtu > network_mtu {
            let why = format!(
                "mtu {mtu} is larger than the network's {network_mtu}, so its long packets would be lost; choose one up to that"
            );
            findings.add(&at.key("mtu"), why);
        }
    }
    if let Some(stations_max) = port.stations_max {
        findings.add_if(&at.key("stations_max"), stations_fault(stations_max));
    }
    let storm = [
        ("broadcast", port.storm.broadcast),
        ("multicast", port.storm.multicast),
        ("unknown", port.storm.unknown),
    ];
    for (key, _) in storm.into_iter().filter(|(_, limit)| *limit == Some(0)) {
        let why = format!(
            "storm.{key} is 0, by which nothing would pass; choose at least 1 frame/s or leave it out"
        );
        findings.add(&at.key("storm").key(key), why);
    }
}

fn guards(name: &str, port: &PortSpec, at: &At, findings: &mut Findings) {
    let at = at.key("guard");
    if port.guard.contains(&Guard::Mac) && port.mac.is_none() && !port.trunk.is_empty() {
        let why =
            format!("guard \"mac\" needs a MAC address on trunk {name:?}; add mac = \"…\" or drop the guard");
        findings.add(&at, why);
    }
    for (guard, key) in [(Guard::Arp, "arp"), (Guard::Nd, "nd")] {
        if port.guard.contains(&guard) && port.address.is_empty() {
            let why =
                format!("guard {key:?} needs to know the addresses of port {name:?}; add address = [ … ]");
            findings.add(&at, why);
        }
    }
}

fn tunnel_names(document: &Document, findings: &mut Findings) {
    for derive::Remote { port, network, .. } in derive::remotes(document) {
        if document.port.contains_key(&port) {
            let why =
                format!("port {port:?} has the name of the tunnel of network {network:?}; choose another");
            findings.add(&At::top("port").key(port), why);
        }
    }
}

/// One name for one interface of one namespace. Namespaces are told apart by name; that two names mean one is seen only
/// when they are opened.
fn same_interfaces(document: &Document, findings: &mut Findings) {
    let mut owners: BTreeMap<(Option<&str>, &str), String> = BTreeMap::new();
    if let Some(uplink) = &document.uplink {
        owners.insert((None, &uplink.ifname), "the uplink".to_owned());
    }
    for (name, port) in &document.port {
        let ifname = derive::ifname(name, port);
        let owner = format!("port {name:?}");
        if let Some(other) = owners.insert((port.netns.as_deref().map(namespace), ifname), owner) {
            let at = At::top("port").key(name);
            let at = if port.ifname.is_some() { at.key("ifname") } else { at };
            let place =
                port.netns.as_ref().map_or_else(String::new, |netns| format!(" in namespace {netns:?}"));
            findings
                .add(&at, format!("interface {ifname:?}{place} is {other}'s already; choose another ifname"));
        }
    }
}

/// The name of a namespace where `ip netns` keeps them, or the path elsewhere.
fn namespace(netns: &str) -> &str {
    let name = netns.strip_prefix("/run/netns/").or_else(|| netns.strip_prefix("/var/run/netns/"));
    name.unwrap_or(netns)
}

fn same_addresses(document: &Document, findings: &mut Findings) {
    let mut owners: BTreeMap<(&str, IpAddr), String> = BTreeMap::new();
    for (name, network) in &document.network {
        let gateways =
            network.gateway.iter().map(|gateway| ((name.as_str(), *gateway), "the gateway".to_owned()));
        owners.extend(gateways);
    }
    for (name, port) in &document.port {
        let Some(network) = &port.network else { continue };
        for (index, cidr) in port.address.given().iter().enumerate() {
            let owner = format!("port {name:?}");
            if let Some(other) = owners.insert((network, cidr.address()), owner) {
                let at = At::top("port").key(name).key("address").index(index);
                let why = format!("{} is {other}'s already; choose another address", cidr.address());
                findings.add(&at, why);
            }
        }
    }
}

fn same_macs(document: &Document, findings: &mut Findings) {
    let mut owners: BTreeMap<(&str, Mac), (String, bool)> = BTreeMap::new();
    for (name, network) in document.network.iter().filter(|(_, network)| !network.gateway.is_empty()) {
        owners.insert((name, derive::gateway_mac(name, network)), ("the gateway".to_owned(), false));
    }
    for (name, port) in &document.port {
        let (mac, given) = (derive::port_mac(name, port), port.mac.is_some());
        for (_, network) in derive::memberships(port) {
            let owner = (format!("port {name:?}"), given);
            let Some((other, other_given)) = owners.insert((network, mac), owner) else { continue };
            if !given && !other_given {
                break; // Both follow from one IPv4 address, which has been found already.
            }
            let at = At::top("port").key(name);
            let at = if given { at.key("mac") } else { at };
            let why =
                format!("MAC address {mac} is {other}'s in network {network:?} already; choose another");
            findings.add(&at, why);
            break; // Once for a trunk, not for each network.
        }
    }
}
