//! Networks: subnets, gateways, limits, and the tunnel that stretches one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use wire::Cidr;

use super::overlay::underlay_mtu_fault;
use super::{Findings, PEERS_MAX, STATIONS_LIMIT_MAX, family, name_fault, no_host};
use crate::derive;
use crate::ends::Prefix;
use crate::report::At;
use crate::spec::{Document, NetworkSpec, VxlanSpec};

/// Longest time a station may be remembered, in seconds (IEEE 802.1Q-2018 table 8-6). More is refused; 0 is for ever.
const AGEING_MAX: u32 = 1_000_000;
/// Smallest MTU of a network with IPv4 (RFC 791 §3.2).
const MTU_MIN: u16 = 68;
/// Smallest MTU of a network with IPv6 (RFC 8200 §5).
const MTU_MIN_V6: u16 = 1280;

/// Ranges that automatic addresses of one network are taken from. Further ones are refused.
const IP_RANGES_MAX: usize = 16;
/// Addresses and prefixes of one network that are not given out. Further ones are refused.
const RESERVED_MAX: usize = 1_024;

pub(super) fn check(document: &Document, findings: &mut Findings) {
    for (name, network) in &document.network {
        let at = At::top("network").key(name);
        findings.add_if(&at, name_fault(name));
        subnets(network, &at, findings);
        gateways(name, network, &at, findings);
        exits(network, &at, findings);
        pools(network, &at, findings);
        limits(network, &at, findings);
        if let Some(vxlan) = &network.vxlan {
            tunnel(vxlan, &at.key("vxlan"), findings);
        }
    }
    overlaps(document, findings);
    same_tunnels(document, findings);
}

/// Why `mtu` will not do where there are addresses of IPv6, or are none.
pub(super) fn mtu_fault(mtu: u16, v6: bool) -> Option<String> {
    let (mtu_min, why) = if v6 { (MTU_MIN_V6, " with IPv6") } else { (MTU_MIN, "") };
    (mtu < mtu_min).then(|| format!("mtu is {mtu}; choose {mtu_min} to 65535{why}"))
}

/// Why `stations_max` will not do.
pub(super) fn stations_fault(stations_max: u32) -> Option<String> {
    (!(1..=STATIONS_LIMIT_MAX).contains(&stations_max))
        .then(|| format!("stations_max is {stations_max}; choose 1 to {STATIONS_LIMIT_MAX}"))
}

fn subnets(network: &NetworkSpec, at: &At, findings: &mut Findings) {
    for (index, subnet) in network.subnet.iter().enumerate() {
        let at = at.key("subnet").index(index);
        if no_host(subnet.address()) || subnet.prefix_len() == 0 {
            findings.add(&at, format!("no station can have an address of {subnet}; choose another subnet"));
        } else if !subnet.is_network() {
            let network = subnet.network();
            findings.add(&at, format!("{subnet} is a station's address in its network; write {network}"));
        }
        let family = family(subnet.address());
        if network.subnet[..index].iter().any(|other| other.address().is_ipv4() == subnet.address().is_ipv4())
        {
            findings.add(
                &at,
                format!("a second {family} subnet; a network has at most one of each family, so drop one"),
            );
        }
    }
}

fn gateways(name: &str, network: &NetworkSpec, at: &At, findings: &mut Findings) {
    for (index, gateway) in network.gateway.iter().enumerate() {
        let at = at.key("gateway").index(index);
        let family = family(*gateway);
        if network.gateway[..index].iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
            findings.add(
                &at,
                format!("a second {family} gateway; a network has at most one of each family, so drop one"),
            );
        }
        let subnet = network.subnet.iter().find(|subnet| subnet.address().is_ipv4() == gateway.is_ipv4());
        match subnet {
            None => {
                findings.add(
                    &at,
                    format!("gateway {gateway} needs an {family} subnet in network {name:?}; add one"),
                );
            }
            Some(subnet) if !subnet.contains(*gateway) => {
                findings.add(
                    &at,
                    format!(
                        "gateway {gateway} is outside {subnet}, the subnet of network {name:?}; choose one inside"
                    ),
                );
            }
            Some(_) if no_host(*gateway) => {
                findings.add(&at, format!("{gateway} is no address that a router can have; choose another"));
            }
            Some(subnet) => findings.add_if(&at, reserved(*subnet, *gateway)),
        }
    }
}

/// Why an address of `subnet` is no host's.
pub(super) fn reserved(subnet: Cidr, address: IpAddr) -> Option<String> {
    if subnet.contains_host(address) {
        return None;
    }
    let what = match address {
        IpAddr::V4(v4) if subnet.broadcast() == Some(v4) => "broadcast address",
        IpAddr::V4(_) => "network address",
        IpAddr::V6(_) => "anycast address",
    };
    Some(format!("{address} is the {what} of {}; no host may have it, choose another", subnet.network()))
}

/// What leaves the network and how, and what the router says of itself.
fn exits(network: &NetworkSpec, at: &At, findings: &mut Findings) {
    let keys = [("masquerade", network.masquerade, true), ("masquerade_v6", network.masquerade_v6, false)];
    for (key, _, v4) in keys.into_iter().filter(|(_, asked, _)| *asked) {
        let at = at.key(key);
        if network.gateway.is_empty() {
            let why = format!(
                "{key} needs a gateway, without which nothing leaves the network; add one or drop {key}"
            );
            findings.add(&at, why);
        } else if !network.gateway.iter().any(|gateway| gateway.is_ipv4() == v4) {
            let family = if v4 { "IPv4" } else { "IPv6" };
            findings
                .add(&at, format!("{key} translates {family}, of which the network has no gateway; add one"));
        }
        if network.internal {
            let why = format!(
                "{key} contradicts internal = true, by which nothing leaves through the uplink; drop one"
            );
            findings.add(&at, why);
        }
    }
    if network.advertise == Some(true) && !derive::can_advertise(network) {
        let why =
            "advertise needs an IPv6 subnet of length 64 and an IPv6 gateway; add them or drop advertise";
        findings.add(&at.key("advertise"), why);
    }
}

/// What automatic addresses are taken from.
fn pools(network: &NetworkSpec, at: &At, findings: &mut Findings) {
    findings.too_many(&at.key("ip_range"), "ranges", network.ip_range.len(), IP_RANGES_MAX);
    findings.too_many(&at.key("reserved"), "reserved prefixes", network.reserved.len(), RESERVED_MAX);
    let subnet_of = |prefix: &Cidr| {
        let within =
            |subnet: &&Cidr| subnet.contains(prefix.address()) && prefix.prefix_len() >= subnet.prefix_len();
        network.subnet.iter().find(within)
    };
    for (index, range) in network.ip_range.iter().enumerate() {
        let at = at.key("ip_range").index(index);
        if !range.is_network() {
            findings.add(&at, format!("{range} has host bits set; did you mean {}?", range.network()));
        } else if subnet_of(range).is_none() {
            findings.add(&at, format!("{range} is not in a subnet of the network; choose a part of one"));
        }
    }
    for (index, Prefix(prefix)) in network.reserved.iter().enumerate() {
        let at = at.key("reserved").index(index);
        if !prefix.is_network() {
            findings.add(&at, format!("{prefix} has host bits set; did you mean {}?", prefix.network()));
        } else if subnet_of(prefix).is_none() {
            findings.add(&at, format!("{} is not in a subnet of the network; drop it", Prefix(*prefix)));
        }
    }
}

fn limits(network: &NetworkSpec, at: &At, findings: &mut Findings) {
    let v6 = network.subnet.iter().any(|subnet| subnet.address().is_ipv6());
    findings.add_if(&at.key("mtu"), mtu_fault(network.mtu, v6));
    if network.ageing > AGEING_MAX {
        let ageing = network.ageing;
        let why = format!("ageing is {ageing} seconds; choose 1 to {AGEING_MAX}, or 0 for ever");
        findings.add(&at.key("ageing"), why);
    }
    findings.add_if(&at.key("stations_max"), stations_fault(network.stations_max));
    for bit in network.reserved_forward.iter().filter(|bit| **bit > 15) {
        let why = format!(
            "reserved_forward has {bit}; choose 0 to 15, the last digit of the reserved addresses 01:80:c2:00:00:0n"
        );
        findings.add(&at.key("reserved_forward"), why);
    }
}

/// Prefixes are nested or disjoint, so in the order of their addresses a prefix overlaps an earlier one only if it lies
/// in the last one that reached furthest.
fn overlaps(document: &Document, findings: &mut Findings) {
    let mut subnets: Vec<(Cidr, &str, usize)> = Vec::new();
    for (name, network) in &document.network {
        let stated = network.subnet.iter().enumerate().filter(|(_, subnet)| subnet.prefix_len() > 0);
        subnets.extend(stated.map(|(index, subnet)| (subnet.network(), name.as_str(), index)));
    }
    subnets.sort();
    let mut outer: Option<(Cidr, &str, usize)> = None;
    for inner in subnets {
        match outer {
            Some(outer) if outer.0.overlaps(inner.0) => {
                // Named at the one that a reader meets later by name; within one network, both are of one family.
                let (first, second) =
                    if (outer.1, outer.2) < (inner.1, inner.2) { (outer, inner) } else { (inner, outer) };
                if first.1 != second.1 {
                    let why = format!(
                        "subnet {} overlaps {} of network {:?}; stations of the two could not be told apart, so choose another",
                        second.0, first.0, first.1
                    );
                    findings.add(&At::top("network").key(second.1).key("subnet").index(second.2), why);
                }
            }
            Some(_) | None => outer = Some(inner),
        }
    }
}

fn tunnel(vxlan: &VxlanSpec, at: &At, findings: &mut Findings) {
    if encap::Vni::new(vxlan.vni).is_none() {
        findings.add(&at.key("vni"), format!("vni is {}; choose 0 to 16777215", vxlan.vni));
    }
    if vxlan.port == 0 {
        findings.add(&at.key("port"), "port is 0; leave it out for 4789 or choose 1 to 65535");
    }
    if no_host(vxlan.local) {
        findings.add(
            &at.key("local"),
            format!("{} is no address of this host's; give the one to send from", vxlan.local),
        );
    }
    findings.add_if(&at.key("underlay_mtu"), underlay_mtu_fault(vxlan.underlay_mtu));
    findings.too_many(&at.key("remotes"), "remotes", vxlan.remotes.len(), PEERS_MAX);
    let mut seen = BTreeSet::new();
    for (index, remote) in vxlan.remotes.iter().enumerate() {
        let at = at.key("remotes").index(index);
        if no_host(*remote) {
            findings.add(&at, format!("{remote} is no address of another host; give the one it receives at"));
        } else if remote.is_ipv4() != vxlan.local.is_ipv4() {
            findings.add(
                &at,
                format!("{remote} is not of the family of local, {}; give one that is", vxlan.local),
            );
        } else if *remote == vxlan.local {
            findings.add(&at, format!("{remote} is local; remotes are the other ends, so drop it"));
        } else if !seen.insert(*remote) {
            findings.add(&at, format!("{remote} is listed twice; drop one"));
        }
    }
    for (remote, sources) in &vxlan.sources {
        let at = at.key("sources");
        if !vxlan.remotes.contains(remote) {
            findings.add(&at, format!("{remote} is none of remotes; drop it, or list it there"));
        } else if sources.is_empty() {
            findings.add(&at, format!("{remote} has no prefix and could send nothing; give one, or drop it"));
        }
    }
}

/// Frames of one VNI at one end belong to one network.
fn same_tunnels(document: &Document, findings: &mut Findings) {
    let mut ends = std::collections::BTreeMap::new();
    for (network, vxlan) in crate::derive::tunnels(document) {
        if let Some(other) = ends.insert((vxlan.vni, vxlan.local, vxlan.port), network) {
            let why = format!(
                "vni {} is network {other:?}'s at the same address and port; choose another",
                vxlan.vni
            );
            findings.add(&At::top("network").key(network).key("vxlan").key("vni"), why);
        }
    }
}
