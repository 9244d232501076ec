//! Guards: what a port may not say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sim::craft::{
    Addresses, Arp, ICMPV6, UDP, arp, arp_question, icmpv6, ip, neighbour, says, station, tagged, udp,
};
use wire::Mac;

use super::{from_to, to_all};
use crate::case::Case;

const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const OTHER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Port c1 guarded thus; station 1 with its addresses lives behind it.
fn guarded(guard: &str) -> String {
    format!(
        r#"[network.lan]
subnet = ["10.0.0.0/24", "fd00::/64"]

[port.c1]
network = "lan"
mac = "02:00:00:00:00:01"
address = ["10.0.0.1/24", "fd00::1/64"]
guard = {guard}

[port.c2]
network = "lan"
"#
    )
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![honest()];
    cases.extend(spoofed());
    cases.extend(rogue());
    cases
}

/// To all nodes of the link.
fn to_nodes(src: u8) -> Addresses {
    (Mac([0x33, 0x33, 0, 0, 0, 1]), station(src))
}

fn nd(src: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    ip(to_nodes(1), src.into(), ALL_NODES.into(), ICMPV6, &icmpv6(src.into(), ALL_NODES.into(), message))
}

fn datagram(src: (IpAddr, u16), dst: (IpAddr, u16), data: &[u8]) -> Vec<u8> {
    ip(to_all(1), src.0, dst.0, UDP, &udp(src, dst, data))
}

fn honest() -> Case {
    let unset = Ipv4Addr::UNSPECIFIED;
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let answer = Arp { operation: 2, sender: (station(1), V4), target: (station(2), OTHER_V4) };
    Case::new(
        "guard-lets-honest-traffic-pass",
        "With every guard on, a station may ask and answer for its own addresses, probe for one, solicit routers, ask \
         for DHCP, and talk.",
        guarded("\"all\""),
    )
    .send("c1", arp_question((station(1), V4), OTHER_V4))
    .send("c1", arp_question((station(1), unset), V4))
    .send("c1", arp(from_to(1, 2), answer))
    .send("c1", nd(V6, &neighbour(135, OTHER_V6, station(1))))
    .send("c1", nd(V6, &neighbour(136, V6, station(1))))
    .send("c1", nd(link_local, &neighbour(136, link_local, station(1))))
    .send("c1", nd(Ipv6Addr::UNSPECIFIED, &neighbour(135, V6, station(1))[..24]))
    .send("c1", nd(link_local, &[133, 0, 0, 0, 0, 0, 0, 0]))
    .send("c1", datagram((unset.into(), 68), (Ipv4Addr::BROADCAST.into(), 67), &[1; 8]))
    .send("c1", datagram((link_local.into(), 546), (ALL_NODES.into(), 547), &[1; 8]))
    .send("c1", datagram((V4.into(), 1000), (OTHER_V4.into(), 53), b"dns"))
    .send("c1", says(to_all(1), "neither IP nor ARP"))
}

fn spoofed() -> Vec<Case> {
    let claim = |mac: Mac, address: Ipv4Addr| arp_question((mac, address), V4);
    let lie = Arp { operation: 2, sender: (station(9), V4), target: (station(2), OTHER_V4) };
    let mut cut = arp_question((station(1), V4), OTHER_V4);
    cut.truncate(14 + 27);
    vec![
        Case::new(
            "drop-admit-spoofed-mac",
            "A guarded port speaks with its own MAC address or not at all.",
            guarded("[\"mac\"]"),
        )
        .send("c1", says(to_all(9), "I am station 9"))
        .send("c1", tagged(0, &says(to_all(9), "behind a priority tag, too")))
        .send("c1", says(to_all(1), "I am station 1")),
        Case::new(
            "drop-admit-spoofed-arp",
            "ARP for another address, for the own address at another MAC, and ARP that cannot be read are dropped.",
            guarded("[\"arp\"]"),
        )
        .send("c1", claim(station(1), OTHER_V4))
        .send("c1", arp(from_to(1, 2), lie))
        .send("c1", cut)
        .send("c1", claim(station(1), V4)),
        Case::new(
            "drop-admit-spoofed-nd",
            "Neighbour discovery for another address, from another address, with another MAC address in its option, or \
             with options that cannot be read is dropped.",
            guarded("[\"nd\"]"),
        )
        .send("c1", nd(V6, &neighbour(136, OTHER_V6, station(1))))
        .send("c1", nd(OTHER_V6, &neighbour(135, V6, station(1))))
        .send("c1", nd(V6, &neighbour(136, V6, station(9))))
        .send("c1", nd(V6, &[&neighbour(136, V6, station(1))[..24], &[2, 0, 0, 0, 0, 0, 0, 0]].concat()))
        .send("c1", nd(V6, &neighbour(136, V6, station(1)))),
    ]
}

/// A router advertisement with nothing in it.
const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];

fn rogue() -> Vec<Case> {
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    // RFC 7113: the advertisement hides behind a destination options header.
    let options = [58, 0, 1, 4, 0, 0, 0, 0];
    let message = icmpv6(router.into(), ALL_NODES.into(), &ADVERTISEMENT);
    let hidden = ip(to_nodes(1), router.into(), ALL_NODES.into(), 60, &[&options[..], &message].concat());
    let redirect = [&[137, 0, 0, 0, 0, 0, 0, 0][..], &OTHER_V6.octets(), &V6.octets()].concat();
    vec![
        Case::new(
            "drop-admit-rogue-ra",
            "A port with the `ra` guard is no router: its advertisements are dropped, hidden behind an extension header \
             or not, and so are redirects.",
            guarded("[\"ra\"]"),
        )
        .send("c1", nd(router, &ADVERTISEMENT))
        .send("c1", hidden)
        .send("c1", nd(router, &redirect))
        .send("c1", nd(V6, &neighbour(136, OTHER_V6, station(1)))),
        Case::new(
            "drop-admit-rogue-dhcp",
            "A port with the `dhcp` guard serves neither DHCP nor DHCPv6; asking is allowed.",
            guarded("[\"dhcp\"]"),
        )
        .send("c1", datagram((V4.into(), 67), (Ipv4Addr::BROADCAST.into(), 68), &[2; 8]))
        .send("c1", datagram((V4.into(), 67), (OTHER_V4.into(), 67), &[2; 8]))
        .send("c1", datagram((router.into(), 547), (ALL_NODES.into(), 546), &[2; 8]))
        .send("c1", datagram((V4.into(), 68), (Ipv4Addr::BROADCAST.into(), 67), &[1; 8])),
    ]
}
