//! The overlay: this host's share of the addresses and the others'.

use std::collections::BTreeSet;
use std::net::IpAddr;

use encap::Format;

use super::{Findings, PEERS_MAX, mac_fault, no_host, overlapped, unknown};
use crate::derive;
use crate::etcd::EtcdEndpoint;
use crate::report::At;
use crate::spec::{Backend, Document, EtcdSpec, NetworkSpec, OverlaySpec, PeerSpec, Registry, VxlanSpec};

/// The smallest underlay. Less is refused.
const UNDERLAY_MTU_MIN: u16 = 1280;
/// Servers of one cluster. More are refused; etcd's own advice is seven at most.
const ENDPOINTS_MAX: usize = 32;
/// Octets of a prefix. A longer one is refused.
const PREFIX_LEN_MAX: usize = 1_024;

pub(super) fn check(document: &Document, findings: &mut Findings) {
    let Some(overlay) = &document.overlay else { return };
    let at = At::top("overlay");
    overlay_end(document, overlay, &at, findings);
    names(document, overlay, findings);
    shared_end(document, overlay, &at, findings);
    registry(document, overlay, &at, findings);
    findings.too_many(&at.key("peer"), "peers", overlay.peer.len(), PEERS_MAX);
    peers(document, overlay, &at, findings);
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
    findings.add_if(&at.key("local_v6"), second_end_fault(overlay));
    findings.add_if(&at.key("underlay_mtu"), underlay_mtu_fault(overlay.underlay_mtu));
    if let Some(mac) = overlay.mac {
        findings.add_if(&at.key("mac"), mac_fault(mac));
    }
}

fn second_end_fault(overlay: &OverlaySpec) -> Option<String> {
    let local_v6 = overlay.local_v6?;
    if overlay.local.is_ipv6() {
        return Some(format!("local is {}, of IPv6 already; drop local_v6", overlay.local));
    }
    if no_host(local_v6.into()) {
        return Some(format!("{local_v6} is no address of this host's; give the one to send from"));
    }
    let is_flannels_udp = overlay.registry == Registry::Etcd && overlay.backend == Backend::Udp;
    is_flannels_udp.then(|| {
        "flannel's backend \"udp\" carries IPv4 alone; drop local_v6, or choose \"vxlan\" or \"host-gw\""
            .to_owned()
    })
}

/// Where subnets are leased from, and what flannel's keys can say of us.
fn registry(document: &Document, overlay: &OverlaySpec, at: &At, findings: &mut Findings) {
    let etcd_at = at.key("etcd");
    if overlay.registry == Registry::Static {
        if overlay.etcd.is_some() {
            let why = "[overlay.etcd] needs registry = \"etcd\"; add that, or drop the table";
            findings.add(&etcd_at, why);
        }
        return;
    }
    if !overlay.local.is_ipv4() {
        let why = "a host's name in etcd is its IPv4 address, as with flannel; give one";
        findings.add(&at.key("local"), why);
    }
    if let Some(network) = document.network.get(&overlay.network) {
        let why = families_fault(overlay, network);
        findings.add_if(&At::top("network").key(&overlay.network).key("subnet"), why);
    }
    let is_of_uplink = |address: IpAddr| {
        document.uplink.iter().flat_map(|uplink| &uplink.address).any(|cidr| cidr.address() == address)
    };
    let outside =
        derive::ends(overlay).zip(["local", "local_v6"]).filter(|(end, _)| !is_of_uplink(end.address));
    for (end, key) in outside.filter(|_| overlay.backend == Backend::HostGw) {
        let why = format!(
            "{} is what other hosts send to with backend \"host-gw\", and no address of the uplink; give one of [uplink]",
            end.address
        );
        findings.add(&at.key(key), why);
    }
    etcd(&overlay.etcd.clone().unwrap_or_default(), &etcd_at, findings);
}

/// A lease is of an IPv4 subnet, or of that and one of IPv6 (flannel's keys know nothing else).
fn families_fault(overlay: &OverlaySpec, network: &NetworkSpec) -> Option<String> {
    let routed = |v4: bool| derive::routed_subnets(network).any(|subnet| subnet.address().is_ipv4() == v4);
    let v6 = network.subnet.iter().find(|subnet| subnet.address().is_ipv6());
    match (overlay.local_v6, v6) {
        (None, Some(v6)) => Some(format!(
            "{v6} is for hosts that reach each other over IPv6, too; add local_v6 to [overlay], or drop it"
        )),
        (Some(_), _) if !(routed(true) && routed(false)) => Some(
            "with local_v6 a lease is of a subnet of each family; give both with a gateway each, or neither"
                .to_owned(),
        ),
        (Some(_) | None, _) => None,
    }
}

fn etcd(etcd: &EtcdSpec, at: &At, findings: &mut Findings) {
    findings.too_many(&at.key("endpoints"), "endpoints", etcd.endpoints.len(), ENDPOINTS_MAX);
    if etcd.endpoints.is_empty() {
        findings
            .add(&at.key("endpoints"), "endpoints is empty; name a server, as in \"http://127.0.0.1:2379\"");
    }
    let mut needs_ca = None;
    for (index, url) in etcd.endpoints.iter().enumerate() {
        let at = at.key("endpoints").index(index);
        match url.parse::<EtcdEndpoint>() {
            Ok(endpoint) if endpoint.is_tls() => needs_ca = Some(at),
            Ok(_) => {}
            Err(error) => findings.add(&at, error.to_string()),
        }
    }
    if let Some(at) = needs_ca.filter(|_| etcd.cafile.is_none()) {
        let why = "https:// needs cafile, the authorities' certificates; add it";
        findings.add(&at, why);
    }
    if etcd.prefix.trim_end_matches('/').is_empty() || etcd.prefix.len() > PREFIX_LEN_MAX {
        let why = format!(
            "prefix {:?} does not name a folder of keys; use 1 to {PREFIX_LEN_MAX} octets, as in \"/coreos.com/network\"",
            etcd.prefix
        );
        findings.add(&at.key("prefix"), why);
    }
    let pairs = [
        ("certfile", &etcd.certfile, "keyfile", &etcd.keyfile),
        ("username", &etcd.username, "password_file", &etcd.password_file),
    ];
    for (one, has_one, other, has_other) in pairs {
        match (has_one, has_other) {
            (Some(_), None) => findings.add(&at.key(one), format!("{one} needs {other}; add it")),
            (None, Some(_)) => findings.add(&at.key(other), format!("{other} needs {one}; add it")),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    if !(1..24 * 60).contains(&etcd.renew_margin) {
        let why = format!("renew_margin is {}; choose 1 to 1439 minutes", etcd.renew_margin);
        findings.add(&at.key("renew_margin"), why);
    }
}

/// The overlay's own domain and ports have names too.
fn names(document: &Document, overlay: &OverlaySpec, findings: &mut Findings) {
    let own = derive::ends(overlay).filter(|_| derive::overlay_format(overlay).is_some());
    for end in own.filter(|end| document.network.contains_key(end.domain)) {
        let why =
            format!("{:?} is what the overlay's own network is called; choose another name", end.domain);
        findings.add(&At::top("network").key(end.domain), why);
    }
    for derive::Peer { port, .. } in derive::tunnelled(document) {
        if document.port.contains_key(&port) {
            let why = format!("port {port:?} has the name of a peer's port of the overlay; choose another");
            findings.add(&At::top("port").key(port), why);
        }
    }
}

/// A socket has datagrams of one format, and of one VNI for one purpose.
fn shared_end(document: &Document, overlay: &OverlaySpec, at: &At, findings: &mut Findings) {
    let l4_port = derive::overlay_l4_port(overlay);
    let shares = |vxlan: &VxlanSpec| {
        vxlan.port == l4_port && derive::ends(overlay).any(|end| end.address == vxlan.local)
    };
    let Some((network, shared)) = derive::tunnels(document).find(|(_, vxlan)| shares(vxlan)) else { return };
    match derive::overlay_format(overlay) {
        Some(Format::BareIp) => {
            let why = format!(
                "network {network:?} has its tunnel at {} port {l4_port}; choose another port",
                shared.local
            );
            findings.add(&at.key("port"), why);
        }
        Some(Format::Vxlan)
            if derive::tunnels(document).any(|(_, other)| shares(other) && other.vni == overlay.vni) =>
        {
            let why =
                format!("vni {} is a network's at the same address and port; choose another", overlay.vni);
            findings.add(&at.key("vni"), why);
        }
        Some(Format::Vxlan) | None => {}
    }
}

/// What no underlay has: the smallest lets IPv6 into a tunnel over IPv4, as its standard asks (RFC 8200 §5).
pub(super) fn underlay_mtu_fault(mtu: Option<u16>) -> Option<String> {
    let mtu = mtu?;
    (mtu < UNDERLAY_MTU_MIN).then(|| format!("underlay_mtu is {mtu}; choose {UNDERLAY_MTU_MIN} to 65535"))
}

fn peers(document: &Document, overlay: &OverlaySpec, at: &At, findings: &mut Findings) {
    // MAC addresses of the two families are never in one domain.
    let mut macs: BTreeSet<_> = overlay.mac.iter().map(|&mac| (overlay.local.is_ipv4(), mac)).collect();
    let mut endpoints: BTreeSet<_> = derive::ends(overlay).map(|end| end.address).collect();
    for (index, peer) in overlay.peer.iter().enumerate() {
        let at = at.key("peer").index(index);
        peer_subnet(document, overlay, index, &at, findings);
        if no_host(peer.endpoint) || derive::end_towards(overlay, peer.endpoint).is_none() {
            let why = format!(
                "{} is no address of another host of local's family; give the one it receives at",
                peer.endpoint
            );
            findings.add(&at.key("endpoint"), why);
        } else if !endpoints.insert(peer.endpoint) {
            findings.add(
                &at.key("endpoint"),
                format!("{} is local or another peer's already; choose another", peer.endpoint),
            );
        }
        if overlay.backend == Backend::HostGw && !derive::is_on_uplink(document, peer.endpoint) {
            let why = format!(
                "{} is no neighbour on the uplink, as backend \"host-gw\" needs; choose another backend",
                peer.endpoint
            );
            findings.add(&at.key("endpoint"), why);
        }
        match peer.mac {
            Some(mac) if !macs.insert((peer.endpoint.is_ipv4(), mac)) => {
                findings.add(
                    &at.key("mac"),
                    format!("MAC address {mac} is ours or another peer's already; choose another"),
                );
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
        findings
            .add(&at, format!("{subnet} is a station's address in its network; write {}", subnet.network()));
    }
    if let Some((other, network)) = overlapped(document, subnet) {
        findings.add(
            &at,
            format!("{subnet} overlaps {other} of network {network:?}, which is this host's; choose another"),
        );
    }
    if let Some(other) = overlay.peer[..index].iter().find(|other| other.subnet.overlaps(subnet)) {
        findings.add(
            &at,
            format!("{subnet} overlaps {} of the peer at {}; choose another", other.subnet, other.endpoint),
        );
    }
}
