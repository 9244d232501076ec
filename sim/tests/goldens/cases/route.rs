//! The gateway's answers, and what it does not answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sim::craft::{
    ICMP, ICMPV6, UDP, arp_question, echo_request, icmpv6, ip, neighbour, says, station, tagged, udp,
};
use wire::Mac;

use super::{from_to, to_all};
use crate::case::Case;

const GATEWAY_MAC: Mac = Mac([2, 0x42, 10, 0, 0, 254]);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

/// A network with a gateway, two access ports, and a trunk.
const ROUTED: &str = r#"[network.lan]
subnet = ["10.0.0.0/24", "fd00::/64"]
gateway = ["10.0.0.254", "fd00::fe"]

[port.c1]
network = "lan"
mac = "02:00:00:00:00:01"

[port.c2]
network = "lan"
mac = "02:00:00:00:00:02"

[port.c5]
trunk = { 10 = "lan" }
mac = "02:00:00:00:00:05"
"#;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = answered();
    cases.extend(refused());
    cases
}

/// A packet of `protocol` from station 1 to the gateway's MAC.
fn packet(src: impl Into<IpAddr>, dst: impl Into<IpAddr>, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip((GATEWAY_MAC, station(1)), src.into(), dst.into(), protocol, payload)
}

fn ping() -> Vec<u8> {
    packet(V4, GATEWAY, ICMP, &echo_request(V4.into(), GATEWAY.into(), b"ping"))
}

fn ping6() -> Vec<u8> {
    packet(V6, GATEWAY_V6, ICMPV6, &echo_request(V6.into(), GATEWAY_V6.into(), b"ping"))
}

/// Station 1 asks for the gateway's MAC in the multicast group of its address.
fn solicitation() -> Vec<u8> {
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0xfe);
    let to_group = (Mac([0x33, 0x33, 0xff, 0, 0, 0xfe]), station(1));
    let message = icmpv6(V6.into(), group.into(), &neighbour(135, GATEWAY_V6, station(1)));
    ip(to_group, V6.into(), group.into(), ICMPV6, &message)
}

fn answered() -> Vec<Case> {
    vec![
        Case::new(
            "gateway-arp",
            "The gateway answers ARP for its own address, to the asker alone and with the asker's tag; questions about \
             others are flooded.",
            ROUTED,
        )
        .send("c1", arp_question((station(1), V4), GATEWAY))
        .send("c5", tagged(0x600a, &arp_question((station(5), Ipv4Addr::new(10, 0, 0, 5)), GATEWAY)))
        .send("c1", arp_question((station(1), V4), Ipv4Addr::new(10, 0, 0, 2))),
        Case::new("gateway-nd", "The gateway answers a neighbour solicitation for its own IPv6 address.", ROUTED)
            .send("c1", solicitation()),
        Case::new(
            "gateway-echo",
            "The gateway answers pings at its addresses, IPv4 and IPv6; pings between stations pass it by.",
            ROUTED,
        )
        .send("c1", ping())
        .send("c1", ping6())
        .send(
            "c1",
            ip(
                from_to(1, 2),
                V4.into(),
                GATEWAY.into(),
                ICMP,
                &echo_request(V4.into(), GATEWAY.into(), b"to another MAC"),
            ),
        ),
        Case::new(
            "gateway-answers-whom-it-cannot-learn",
            "In a full network the asker is not learned, and still gets its answer: it is flooded.",
            ROUTED.replace("[network.lan]\n", "[network.lan]\nstations_max = 1\n"),
        )
        .send("c2", says(to_all(2), "the one that is learned"))
        .send("c1", ping()),
    ]
}

fn refused() -> Vec<Case> {
    let to_gateway = |data: &[u8]| udp((V4.into(), 1000), (GATEWAY.into(), 53), data);
    let mut damaged = ping();
    damaged[14 + 10] ^= 1;
    let mut odd_arp = arp_question((station(1), V4), GATEWAY);
    odd_arp[..6].copy_from_slice(&GATEWAY_MAC.0);
    let cut_arp = odd_arp[..14 + 20].to_vec();
    odd_arp[14 + 4] = 8; // Hardware addresses of eight octets.
    vec![
        Case::new(
            "drop-route-malformed-arp",
            "ARP to the gateway's MAC that ends early or is not of Ethernet and IPv4 is dropped.",
            ROUTED,
        )
        .send("c1", cut_arp)
        .send("c1", odd_arp),
        Case::new(
            "drop-route-malformed-ip",
            "A ping to the gateway with a wrong header checksum, or that ends early, is dropped.",
            ROUTED,
        )
        .send("c1", damaged)
        .send("c1", &ping()[..14 + 19])
        .send("c1", &ping6()[..14 + 39]),
        Case::new(
            "drop-route-no-service",
            "The gateway's addresses answer echo and nothing else.",
            ROUTED,
        )
        .send("c1", packet(V4, GATEWAY, UDP, &to_gateway(b"dns?")))
        .send("c1", says((GATEWAY_MAC, station(1)), "neither ARP nor IP")),
        Case::new(
            "drop-route-answer-rate",
            "A flood of questions gets a burst of 256 answers and then one each 100 microseconds; stations are served on.",
            ROUTED,
        )
        .send_all("c1", (0..300).map(|_| arp_question((station(1), V4), GATEWAY)))
        .send("c2", says(from_to(2, 1), "served on")),
    ]
}
