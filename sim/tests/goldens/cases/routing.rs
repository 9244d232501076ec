//! Packets from network to network, and why some go no further.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use sim::craft::{
    Addresses, ICMP, TCP, UDP, arp_question, echo_request, icmpv6, ip, neighbour, station, tcp, udp,
};
use wire::Mac;

use crate::case::Case;

/// Two networks and an uplink. Station *n* of `a` has 10.0.0.*n*, of `b` 10.0.1.*n*; the router has .254.
pub(super) const ROUTED: &str = r#"[network.a]
subnet = ["10.0.0.0/24", "fd00::/64"]
gateway = ["10.0.0.254", "fd00::fe"]
advertise = false

[network.b]
subnet = ["10.0.1.0/24", "fd01::/64"]
gateway = ["10.0.1.254", "fd01::fe"]
advertise = false

[port.a1]
network = "a"
mac = "02:00:00:00:00:01"

[port.b2]
network = "b"
mac = "02:00:00:00:00:02"

[uplink]
kind = "nic"
ifname = "eth0"
address = ["192.0.2.7/24"]
gateway = ["192.0.2.1"]
"#;

pub(super) const A1: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(super) const B2: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
pub(super) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
pub(super) const UPLINK: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
/// The next router behind the uplink, station 9.
pub(super) const NEXT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GATEWAY_A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
const GATEWAY_B: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 254);
pub(super) const MAC_A: Mac = Mac([2, 0x42, 10, 0, 0, 254]);
const MAC_B: Mac = Mac([2, 0x42, 10, 0, 1, 254]);
const MAC_UP: Mac = Mac([2, 0x42, 192, 0, 2, 7]);
const A1_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const B2_V6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 2);

pub(super) const FROM_A1: Addresses = (MAC_A, station(1));
pub(super) const FROM_B2: Addresses = (MAC_B, station(2));
pub(super) const FROM_UP: Addresses = (MAC_UP, station(9));

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = passed();
    cases.extend(whose());
    cases.extend(where_to());
    cases.extend(policy());
    cases.extend(pieces());
    cases.extend(neighbours());
    cases
}

/// The stations ask for their gateway's MAC address, which makes them known to it.
pub(super) fn introduced(name: &'static str, shows: &'static str, toml: impl Into<String>) -> Case {
    Case::new(name, shows, toml)
        .send("a1", arp_question((station(1), A1), GATEWAY_A))
        .send("b2", arp_question((station(2), B2), GATEWAY_B))
        .send("uplink", arp_question((station(9), NEXT), UPLINK))
}

/// A UDP packet.
pub(super) fn says(link: Addresses, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Vec<u8> {
    let (from, to) = ((IpAddr::from(src.0), src.1), (IpAddr::from(dst.0), dst.1));
    ip(link, from.0, to.0, UDP, &udp(from, to, b"hello"))
}

/// A TCP segment with these flags.
pub(super) fn segment(link: Addresses, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), flags: u8) -> Vec<u8> {
    let (from, to) = ((IpAddr::from(src.0), src.1), (IpAddr::from(dst.0), dst.1));
    let mut frame = ip(link, from.0, to.0, TCP, &tcp(from, to, b""));
    let old = u16::from_be_bytes([frame[46], frame[47]]);
    frame[47] = flags;
    let new = u16::from_be_bytes([frame[46], frame[47]]);
    let checksum = u16::from_be_bytes([frame[50], frame[51]]);
    // RFC 1624 equation 3.
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).expect("two folds leave 16 bits");
    frame[50..52].copy_from_slice(&(!sum).to_be_bytes());
    frame
}

/// The IPv4 frame with other octets in its header, whose checksum is made right again.
pub(super) fn altered(mut frame: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for &(at, octet) in changes {
        frame[14 + at] = octet;
    }
    frame[24..26].fill(0);
    let header_len = usize::from(frame[14] & 15) * 4;
    let words = frame[14..14 + header_len].chunks(2);
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).expect("two folds leave 16 bits");
    frame[24..26].copy_from_slice(&(!sum).to_be_bytes());
    frame
}

/// A piece of a UDP packet from station a1: octets of its L4 part from `offset`, and whether more follow.
fn piece(dst: Ipv4Addr, id: u8, offset: u8, len: usize, more: bool) -> Vec<u8> {
    let (from, to) = ((IpAddr::from(A1), 5), (IpAddr::from(dst), 7));
    let l4 = udp(from, to, &[0x77; 1000]);
    let frame = ip(FROM_A1, from.0, to.0, UDP, &l4[usize::from(offset)..usize::from(offset) + len]);
    altered(frame, &[(5, id), (6, if more { 0x20 } else { 0 }), (7, offset / 8)])
}

fn passed() -> Vec<Case> {
    let a1 = (IpAddr::from(A1_V6), 5);
    let b2 = (IpAddr::from(B2_V6), 7);
    let asks = |link: Addresses, src: Ipv6Addr, gateway: Ipv6Addr| {
        let message = icmpv6(src.into(), gateway.into(), &neighbour(135, gateway, link.1));
        ip(link, src.into(), gateway.into(), 58, &message)
    };
    let gateway = |of: u16| Ipv6Addr::new(of, 0, 0, 0, 0, 0, 0, 0xfe);
    vec![
        introduced(
            "route-between-networks",
            "Packets pass from network to network: the gateways' MAC addresses, one hop less, the octets otherwise kept.",
            ROUTED,
        )
        .send("a1", says(FROM_A1, (A1, 5), (B2, 7)))
        .send("b2", says(FROM_B2, (B2, 7), (A1, 5)))
        .send("a1", asks(FROM_A1, A1_V6, gateway(0xfd00)))
        .send("b2", asks(FROM_B2, B2_V6, gateway(0xfd01)))
        .send("a1", ip(FROM_A1, a1.0, b2.0, UDP, &udp(a1, b2, b"hello"))),
        introduced(
            "route-in-pieces",
            "A packet longer than the next network's MTU is cut if it may be; the pieces add up.",
            ROUTED.replace("[network.b]\n", "[network.b]\nmtu = 1300\n"),
        )
        .send("a1", {
            let (from, to) = ((IpAddr::from(A1), 5), (IpAddr::from(B2), 7));
            altered(ip(FROM_A1, from.0, to.0, UDP, &udp(from, to, &[0x33; 1400])), &[(6, 0)])
        }),
    ]
}

fn whose() -> Vec<Case> {
    let stranger = Ipv4Addr::new(10, 0, 9, 9);
    let group = Ipv4Addr::new(224, 0, 0, 5);
    let mut source_routed = says(FROM_A1, (A1, 5), (B2, 7));
    source_routed.splice(34..34, [131, 7, 4, 10, 0, 1, 9, 0]);
    vec![
        introduced(
            "drop-route-martian-source",
            "No packet comes from a group, and none from loopback.",
            ROUTED,
        )
        .send("a1", says(FROM_A1, (group, 5), (B2, 7)))
        .send("a1", says(FROM_A1, (Ipv4Addr::LOCALHOST, 5), (B2, 7))),
        introduced("drop-route-own-source", "Nobody but the router sends from the router's address.", ROUTED)
            .send("a1", says(FROM_A1, (GATEWAY_A, 5), (B2, 7))),
        introduced(
            "drop-route-spoofed-source",
            "A network's stations send from its addresses, and nobody outside does.",
            ROUTED,
        )
        .send("a1", says(FROM_A1, (stranger, 5), (B2, 7)))
        .send("a1", says(FROM_A1, (B2, 5), (B2, 7)))
        .send("uplink", says(FROM_UP, (A1, 5), (B2, 7))),
        introduced("drop-route-source-routed", "No packet chooses its own way.", ROUTED)
            .send("a1", altered(source_routed, &[(0, 0x47), (3, 41)])),
    ]
}

fn where_to() -> Vec<Case> {
    let to = |dst: [u8; 4]| says(FROM_A1, (A1, 5), (dst.into(), 7));
    let with = |route: &str| format!("{ROUTED}\n[[route]]\n{route}\n");
    let big = {
        let (from, to) = ((IpAddr::from(A1), 5), (IpAddr::from(B2), 7));
        ip(FROM_A1, from.0, to.0, UDP, &udp(from, to, &[0x33; 1400]))
    };
    vec![
        introduced(
            "drop-route-martian-destination",
            "Groups, link-local addresses and a network's broadcast address are reached through no router.",
            ROUTED,
        )
        .send("a1", to([224, 0, 0, 5]))
        .send("a1", to([169, 254, 1, 1]))
        .send("a1", to([240, 0, 0, 1]))
        .send("a1", to([10, 0, 1, 255])),
        Case::new(
            "drop-route-no-route",
            "Where no route leads the sender is told that the network is unreachable.",
            ROUTED.replace("gateway = [\"192.0.2.1\"]\n", ""),
        )
        .send("a1", to([203, 0, 113, 1])),
        introduced(
            "drop-route-blackhole",
            "A blackhole is silent.",
            with("to = \"203.0.113.0/24\"\nkind = \"blackhole\""),
        )
        .send("a1", to([203, 0, 113, 1])),
        introduced(
            "drop-route-unreachable",
            "The sender is told that the host is unreachable.",
            with("to = \"203.0.113.0/24\"\nkind = \"unreachable\""),
        )
        .send("a1", to([203, 0, 113, 1])),
        introduced(
            "drop-route-prohibited",
            "The sender is told that it is not allowed.",
            with("to = \"203.0.113.0/24\"\nkind = \"prohibit\""),
        )
        .send("a1", to([203, 0, 113, 1])),
        introduced("drop-route-ttl-expired", "The last hop's router says so, and quotes the packet.", ROUTED)
            .send("a1", altered(says(FROM_A1, (A1, 5), (B2, 7)), &[(8, 1)])),
        introduced(
            "drop-route-over-mtu",
            "A packet that may not be cut and does not fit is refused with the MTU that would.",
            ROUTED.replace("[network.b]\n", "[network.b]\nmtu = 1300\n"),
        )
        .send("a1", big),
    ]
}

fn policy() -> Vec<Case> {
    let acl = "\n[[acl]]\naction = \"deny\"\nfrom = \"network:a\"\nto = \"network:b\"\nproto = \"udp\"\nl4_ports = \"7\"\n";
    vec![
        introduced("drop-route-unsolicited", "Nothing comes in from the uplink unasked.", ROUTED)
            .send("uplink", says(FROM_UP, (OUTSIDE, 53), (A1, 5)))
            .send("uplink", says(FROM_UP, (OUTSIDE, 53), (UPLINK, 5)))
            .send("uplink", segment(FROM_UP, (OUTSIDE, 53), (UPLINK, 5), 2)),
        introduced(
            "drop-route-internal",
            "An internal network never meets the uplink; its stations are told.",
            ROUTED.replace("[network.a]\n", "[network.a]\ninternal = true\n"),
        )
        .send("a1", says(FROM_A1, (A1, 5), (OUTSIDE, 53)))
        .send("a1", says(FROM_A1, (A1, 5), (B2, 7))),
        introduced(
            "drop-route-isolated",
            "Two isolated networks are not routed to each other.",
            ROUTED.replace("advertise = false\n", "advertise = false\nisolated = true\n"),
        )
        .send("a1", says(FROM_A1, (A1, 5), (B2, 7)))
        .send("a1", says(FROM_A1, (A1, 5), (OUTSIDE, 53))),
        introduced(
            "drop-route-acl-denied",
            "The access list denies one L4 port, and no other.",
            format!("{ROUTED}{acl}"),
        )
        .send("a1", says(FROM_A1, (A1, 5), (B2, 7)))
        .send("a1", says(FROM_A1, (A1, 5), (B2, 8))),
    ]
}

fn pieces() -> Vec<Case> {
    vec![
        introduced(
            "route-fragments",
            "Fragments are routed like their first; one that is early waits for it.",
            ROUTED,
        )
        .send("a1", piece(B2, 1, 0, 240, true))
        .send("a1", piece(B2, 1, 240, 80, false))
        .send("a1", piece(B2, 2, 248, 80, true))
        .send("a1", piece(B2, 2, 0, 248, true)),
        introduced("drop-route-fragment-tiny", "A first fragment holds its L4 header.", ROUTED).send("a1", {
            let frame = ip(FROM_A1, A1.into(), B2.into(), UDP, &[0, 5, 0, 7]);
            altered(frame, &[(6, 0x20)])
        }),
        introduced("drop-route-fragment-overlap", "Fragments that overlap are no packet.", ROUTED)
            .send("a1", piece(B2, 1, 0, 64, true))
            .send("a1", piece(B2, 1, 32, 64, true)),
        introduced("drop-route-fragment-limit", "Only so many fragments wait for their first.", ROUTED)
            .send_all("a1", (1..=24).map(|at| piece(B2, 1, at * 8, 8, true))),
        introduced("drop-route-fragment-timeout", "A fragment does not wait for ever.", ROUTED)
            .send("a1", piece(B2, 1, 64, 8, true))
            .wait(Duration::from_secs(40))
            .send("a1", says(FROM_A1, (A1, 5), (B2, 7))),
    ]
}

/// A ping from station a1 to the `n`th IPv6 address of network `b` that nobody has.
fn scan(n: u16) -> Vec<u8> {
    let nobody = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 1, n);
    let message = echo_request(A1_V6.into(), nobody.into(), b"");
    ip(FROM_A1, A1_V6.into(), nobody.into(), 58, &message)
}

fn neighbours() -> Vec<Case> {
    let nobody = Ipv4Addr::new(10, 0, 1, 77);
    let ping = ip(FROM_A1, A1.into(), nobody.into(), ICMP, &echo_request(A1.into(), nobody.into(), b"?"));
    vec![
        introduced(
            "route-parked",
            "A packet waits for its next hop's MAC address and goes on when that is heard.",
            ROUTED,
        )
        .send("a1", says(FROM_A1, (A1, 5), (Ipv4Addr::new(10, 0, 1, 3), 7)))
        .send("b2", arp_question((station(3), Ipv4Addr::new(10, 0, 1, 3)), GATEWAY_B)),
        introduced(
            "drop-route-neighbour-unreachable",
            "The router asks three times; then the sender is told that the host is unreachable, and asking pauses.",
            ROUTED,
        )
        .send("a1", ping.clone())
        .wait(Duration::from_secs(4))
        .send("a1", ping.clone()),
        introduced(
            "drop-route-neighbours-max",
            "A scan of a subnet is bounded, and who is known stays known.",
            ROUTED,
        )
        .send_all("a1", (0..270_u16).map(scan))
        .send("a1", says(FROM_A1, (A1, 5), (B2, 7))),
        introduced("drop-route-neighbour-queue", "A newer packet takes the place of the oldest that waits.", ROUTED)
            .send_all("a1", (0..5).map(|n| says(FROM_A1, (A1, 5), (nobody, n)))),
    ]
}
