//! What the router of a later version obeys: the uplink, published L4 ports, the overlay. Checked for sense in this one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use wire::Cidr;

use super::network::reserved;
use super::{Findings, PEERS_MAX, family, ifname_fault, mac_fault, no_host, unknown};
use crate::report::At;
use crate::spec::{Backend, Document, OverlaySpec, PeerSpec, PublishSpec, UplinkKind, UplinkSpec};

pub(super) fn check(document: &Document, findings: &mut Findings) {
    if let Some(uplink) = &document.uplink {
        let at = At::top("uplink");
        uplink_addresses(document, uplink, &at, findings);
        uplink_kind(uplink, &at, findings);
    }
    for (index, publish) in document.publish.iter().enumerate() {
        let at = At::top("publish").index(index);
        published(document, publish, &at, findings);
        target(document, publish, &at, findings);
    }
    same_listens(document, findings);
    if let Some(overlay) = &document.overlay {
        let at = At::top("overlay");
        overlay_end(document, overlay, &at, findings);
        findings.too_many(&at.key("peer"), "peers", overlay.peer.len(), PEERS_MAX);
        peers(document, overlay, &at, findings);
    }
}

fn uplink_addresses(document: &Document, uplink: &UplinkSpec, at: &At, findings: &mut Findings) {
    if uplink.address.is_empty() {
        findings.add(at, "the uplink needs an address; add address = [ … ]");
    }
    for (index, cidr) in uplink.address.iter().enumerate() {
        let at = at.key("address").index(index);
        if no_host(cidr.address()) {
            findings.add(&at, format!("{} is no address that a host can have", cidr.address()));
            continue;
        }
        findings.add_if(&at, reserved(*cidr, cidr.address()));
        if let Some((subnet, network)) = overlapped(document, *cidr) {
            let why = format!(
                "the uplink's {} overlaps {subnet} of network {network:?}; choose another",
                cidr.network()
            );
            findings.add(&at, why);
        }
    }
}

fn uplink_kind(uplink: &UplinkSpec, at: &At, findings: &mut Findings) {
    findings.add_if(&at.key("ifname"), ifname_fault(&uplink.ifname));
    if let Some(mac) = uplink.mac {
        findings.add_if(&at.key("mac"), mac_fault(mac));
    }
    let near = |address: IpAddr| uplink.address.iter().find(|cidr| cidr.contains(address));
    let own = |address: IpAddr| uplink.address.iter().any(|cidr| cidr.address() == address);
    for (index, gateway) in uplink.gateway.iter().enumerate() {
        let at = at.key("gateway").index(index);
        match near(*gateway) {
            None => findings.add(
                &at,
                format!("gateway {gateway} is not in the network of one of the uplink's addresses"),
            ),
            Some(_) if own(*gateway) => {
                findings
                    .add(&at, format!("gateway {gateway} is the uplink's own address; name the next router"));
            }
            Some(cidr) => findings.add_if(&at, reserved(*cidr, *gateway)),
        }
        if uplink.gateway[..index].iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
            findings.add(
                &at,
                format!("a second {} gateway; the uplink has at most one of each family", family(*gateway)),
            );
        }
    }
    for (index, cidr) in uplink.host_address.iter().enumerate() {
        let at = at.key("host_address").index(index);
        match near(cidr.address()) {
            None => {
                findings.add(&at, format!("{cidr} is not in the network of one of the uplink's addresses"));
            }
            Some(_) if own(cidr.address()) => {
                findings.add(&at, format!("{} is the router's own; the host needs another", cidr.address()));
            }
            Some(near) => findings.add_if(&at, reserved(*near, cidr.address())),
        }
    }
    match uplink.kind {
        UplinkKind::Nic if !uplink.host_address.is_empty() => {
            findings.add(
                &at.key("host_address"),
                "host_address belongs to kind = \"host\"; drop it or change kind",
            );
        }
        UplinkKind::Host if uplink.host_address.is_empty() => {
            findings.add(at, "an uplink of kind \"host\" needs the host's end; add host_address = [ … ]");
        }
        UplinkKind::Host if !uplink.gateway.is_empty() => {
            findings.add(
                &at.key("gateway"),
                "gateway belongs to kind = \"nic\"; with \"host\" it is host_address",
            );
        }
        UplinkKind::Nic | UplinkKind::Host => {}
    }
}

/// The network's subnet that shares addresses with `cidr`.
fn overlapped(document: &Document, cidr: Cidr) -> Option<(Cidr, &str)> {
    document.network.iter().find_map(|(name, network)| {
        network.subnet.iter().find(|subnet| subnet.overlaps(cidr)).map(|subnet| (*subnet, name.as_str()))
    })
}

fn published(document: &Document, publish: &PublishSpec, at: &At, findings: &mut Findings) {
    let PublishSpec { listen, to, .. } = publish;
    let (listened, passed) = (listen.l4_ports.count(), to.l4_ports.count());
    if listened != passed {
        let why = format!("{listened} L4 ports are passed to {passed}; runs must be of equal length");
        findings.add(&at.key("to"), why);
    }
    let uplink = document.uplink.iter().flat_map(|uplink| uplink.address.iter().map(|cidr| cidr.address()));
    let mut own = document.network.values().flat_map(|network| network.gateway.iter().copied()).chain(uplink);
    if !listen.address.is_unspecified() && !own.any(|address| address == listen.address) {
        let any = if listen.address.is_ipv4() { "0.0.0.0" } else { "[::]" };
        let why = format!(
            "{} is neither a gateway nor the uplink's address; use one of them or {any}",
            listen.address
        );
        findings.add(&at.key("listen"), why);
    }
}

fn target(document: &Document, publish: &PublishSpec, at: &At, findings: &mut Findings) {
    let at = at.key("to");
    let name = &publish.to.port;
    let Some(port) = document.port.get(name) else {
        return findings.add(&at, unknown("port", name, document.port.keys()));
    };
    let v4 = publish.listen.address.is_ipv4();
    let family = family(publish.listen.address);
    if !port.address.given().iter().any(|cidr| cidr.address().is_ipv4() == v4) {
        findings
            .add(&at, format!("port {name:?} has no {family} address that connections could be passed to"));
    }
    let network = port.network.as_ref().and_then(|network| document.network.get_key_value(network));
    if let Some((network, _)) =
        network.filter(|(_, spec)| !spec.gateway.iter().any(|gateway| gateway.is_ipv4() == v4))
    {
        findings.add(&at, format!("network {network:?} of port {name:?} has no {family} gateway; add one"));
    }
}

fn same_listens(document: &Document, findings: &mut Findings) {
    let mut order: Vec<usize> = (0..document.publish.len()).collect();
    order.sort_by_key(|index| document.publish[*index].listen.l4_ports);
    for (position, index) in order.iter().enumerate() {
        let publish = &document.publish[*index];
        let last = publish.listen.l4_ports.last();
        let later = order[position + 1..]
            .iter()
            .take_while(|other| document.publish[**other].listen.l4_ports.first() <= last);
        let clash = |other: &&usize| {
            let other = &document.publish[**other];
            other.proto == publish.proto && other.listen.overlaps(publish.listen)
        };
        if let Some(other) = later.copied().find(|other| clash(&other)) {
            let (first, second) = (*index.min(&other), *index.max(&other));
            let why = format!(
                "{} is published already, by {} to {}; choose other L4 ports",
                document.publish[second].listen, document.publish[first].listen, document.publish[first].to
            );
            findings.add(&At::top("publish").index(second).key("listen"), why);
        }
    }
}

fn overlay_end(document: &Document, overlay: &OverlaySpec, at: &At, findings: &mut Findings) {
    match document.network.get(&overlay.network) {
        None => {
            let why = unknown("network", &overlay.network, document.network.keys());
            findings.add(&at.key("network"), why);
        }
        Some(network) if network.subnet.is_empty() || network.gateway.is_empty() => {
            let why = format!(
                "network {:?} needs a subnet and a gateway to be routed to other hosts",
                overlay.network
            );
            findings.add(&at.key("network"), why);
        }
        Some(_) => {}
    }
    if encap::Vni::new(overlay.vni).is_none() {
        findings.add(&at.key("vni"), format!("vni is {}; choose 0 to 16777215", overlay.vni));
    }
    if overlay.port == Some(0) {
        findings.add(&at.key("port"), "port is 0; leave it out or choose 1 to 65535");
    }
    if no_host(overlay.local) {
        findings.add(
            &at.key("local"),
            format!("{} is no address of this host's; give the one to send from", overlay.local),
        );
    }
    if let Some(mac) = overlay.mac {
        findings.add_if(&at.key("mac"), mac_fault(mac));
    }
}

fn peers(document: &Document, overlay: &OverlaySpec, at: &At, findings: &mut Findings) {
    let mut macs: BTreeSet<_> = overlay.mac.into_iter().collect();
    let mut endpoints = BTreeSet::from([overlay.local]);
    for (index, peer) in overlay.peer.iter().enumerate() {
        let at = at.key("peer").index(index);
        peer_subnet(document, overlay, index, &at, findings);
        if no_host(peer.endpoint) || peer.endpoint.is_ipv4() != overlay.local.is_ipv4() {
            let why = format!(
                "{} is no address of another host of local's family; give the one it receives at",
                peer.endpoint
            );
            findings.add(&at.key("endpoint"), why);
        } else if !endpoints.insert(peer.endpoint) {
            findings
                .add(&at.key("endpoint"), format!("{} is local or another peer's already", peer.endpoint));
        }
        match peer.mac {
            Some(mac) if !macs.insert(mac) => {
                findings.add(&at.key("mac"), format!("MAC address {mac} is ours or another peer's already"));
            }
            Some(mac) => findings.add_if(&at.key("mac"), mac_fault(mac)),
            None if overlay.backend == Backend::Vxlan => {
                findings.add(&at, "a peer of a VXLAN overlay needs its MAC address; add mac = \"…\"");
            }
            None => {}
        }
    }
}

fn peer_subnet(document: &Document, overlay: &OverlaySpec, index: usize, at: &At, findings: &mut Findings) {
    let PeerSpec { subnet, .. } = overlay.peer[index];
    let at = at.key("subnet");
    if no_host(subnet.address()) || subnet.prefix_len() == 0 {
        findings.add(&at, format!("no station can have an address of {subnet}; give the peer's share"));
    } else if !subnet.is_network() {
        findings.add(
            &at,
            format!("{subnet} is a station's address in its network; the subnet is {}", subnet.network()),
        );
    }
    if let Some((other, network)) = overlapped(document, subnet) {
        findings.add(&at, format!("{subnet} overlaps {other} of network {network:?}, which is this host's"));
    }
    if let Some(other) = overlay.peer[..index].iter().find(|other| other.subnet.overlaps(subnet)) {
        findings.add(&at, format!("{subnet} overlaps {} of the peer at {}", other.subnet, other.endpoint));
    }
}
