//! Networks that continue behind a tunnel. The tunnel's port carries what stands in a UDP datagram's payload; captures
//! of the underlay hold whole datagrams.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sim::craft::{Addresses, TCP, UDP, arp_question, icmpv6, ip, neighbour, says, station, udp, virtio};
use wire::offload::{NEEDS_CSUM, VNET_HDR_LEN};
use wire::{Mac, Offload};

use super::offload::segments;
use super::{from_to, to_all};
use crate::case::Case;

const V4: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))];
/// The tunnel of network `lan`.
const TUNNEL: &str = "lan.vxlan.192.0.2.2";
/// What comes to its socket, whoever sends it.
const UNDERLAY: &str = "192.0.2.1:4789";

const STRETCHED: &str = r#"[network.lan]

[network.lan.vxlan]
vni = 42
local = "192.0.2.1"
remotes = ["192.0.2.2"]
underlay_mtu = 1600

[port.c1]
network = "lan"

[port.c3]
network = "lan"
"#;

/// A VXLAN header of network 42 in front of a frame.
fn vxlan(frame: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0, 0, 0, 42, 0][..], frame].concat()
}

/// A datagram to the tunnel's socket on the host's own wire, with this traffic class.
fn outer(from: u8, traffic_class: u8, payload: &[u8]) -> Vec<u8> {
    let [src, dst] = [from, 1].map(|last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
    let mut frame =
        ip((station(0xa1), station(from)), src, dst, UDP, &udp((src, 50_000), (dst, 4789), payload));
    frame[15] = traffic_class;
    frame[24..26].fill(0); // Nobody looks at the outer checksums: the host's stack has.
    frame
}

/// A virtio header that leaves a checksum to be finished.
fn checksum_at(csum_start: u16) -> [u8; VNET_HDR_LEN] {
    virtio(Offload { flags: NEEDS_CSUM, csum_start, csum_offset: 5, ..Offload::NONE })
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = refused();
    cases.extend(carried());
    cases.extend(known());
    cases
}

/// The same frame for station 2 alone.
fn to_one(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&station(2).0);
    frame
}

/// Station 1 asks for fd00::2 (135), or station 2 says that it has that (136).
fn discovery(addresses: Addresses, kind: u8) -> Vec<u8> {
    let [one, two] = [1, 2].map(|last| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
    let (src, dst) = match kind {
        135 => (one, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2)),
        _ => (two, one),
    };
    let message = neighbour(kind, two, addresses.1);
    ip(addresses, src.into(), dst.into(), 58, &icmpv6(src.into(), dst.into(), &message))
}

fn known() -> Vec<Case> {
    vec![
        Case::new(
            "vxlan-arp-suppression",
            "With `arp_suppression` a station that has spoken is answered for, on either side of the tunnel; who is unknown is \
             looked for everywhere, and a unicast question goes to whom it is for.",
            STRETCHED.replace("remotes", "arp_suppression = true\nremotes"),
        )
        .send(TUNNEL, vxlan(&arp_question((station(2), Ipv4Addr::new(10, 0, 0, 2)), Ipv4Addr::new(10, 0, 0, 9))))
        .send("c1", arp_question((station(1), Ipv4Addr::new(10, 0, 0, 1)), Ipv4Addr::new(10, 0, 0, 2)))
        .send(TUNNEL, vxlan(&arp_question((station(2), Ipv4Addr::new(10, 0, 0, 2)), Ipv4Addr::new(10, 0, 0, 1))))
        .send("c3", arp_question((station(3), Ipv4Addr::new(10, 0, 0, 3)), Ipv4Addr::new(10, 0, 0, 9)))
        .send("c1", to_one(arp_question((station(1), Ipv4Addr::new(10, 0, 0, 1)), Ipv4Addr::new(10, 0, 0, 2)))),
        Case::new(
            "vxlan-nd-suppression",
            "The same for IPv6: an advertisement teaches, with its flags.",
            STRETCHED.replace("remotes", "arp_suppression = true\nremotes"),
        )
        .send("c1", says(to_all(1), "station 1 is here"))
        .send(TUNNEL, vxlan(&discovery(from_to(2, 1), 136)))
        .send("c1", discovery((Mac([0x33, 0x33, 0xff, 0, 0, 2]), station(1)), 135)),
        Case::new(
            "vxlan-sources",
            "A remote end with `sources` sends packets from there and nothing else.",
            STRETCHED.replace("remotes", "sources = { \"192.0.2.2\" = [\"10.0.0.2/32\"] }\nremotes"),
        )
        .send(TUNNEL, vxlan(&packet(0)))
        .send(TUNNEL, vxlan(&ip(from_to(2, 1), V4[0], V4[1], UDP, &udp((V4[0], 7), (V4[1], 7), b"from elsewhere"))))
        .send(TUNNEL, vxlan(&arp_question((station(2), Ipv4Addr::new(10, 0, 0, 2)), Ipv4Addr::new(10, 0, 0, 1)))),
    ]
}

fn carried() -> Vec<Case> {
    let [tso, uso, checksum_only] =
        [segments(V4, TCP, 3_500, 1_448), segments(V4, UDP, 3_500, 1_400), segments(V4, UDP, 100, 0)];
    let mut lie = segments(V4, UDP, 3_000, 1_000);
    lie.0[1] = 1; // It claims to be TCP.
    assert_eq!(lie.0[0], NEEDS_CSUM);
    vec![
        Case::new(
            "vxlan-in-and-out",
            "Stations behind the tunnel are learned like others; frames to them leave behind a VXLAN header, and \
             floods reach tunnel and ports alike.",
            STRETCHED,
        )
        .send("c1", says(to_all(1), "to c3, and into the tunnel"))
        .send(TUNNEL, vxlan(&says(from_to(2, 1), "to c1 alone")))
        .send("c1", says(from_to(1, 2), "into the tunnel alone"))
        .send(TUNNEL, vxlan(&says(to_all(2), "to c1 and c3, not back"))),
        Case::new(
            "vxlan-finishes-offloads",
            "A tunnel takes no offloads: a super-segment enters it cut into segments with finished checksums, and \
             reaches an ordinary port whole.",
            STRETCHED,
        )
        .send(TUNNEL, vxlan(&says(from_to(2, 1), "station 2 is behind the tunnel")))
        .send_virtio("c1", tso.0, &tso.1)
        .send_virtio("c1", uso.0, &uso.1)
        .send_virtio("c1", checksum_only.0, &checksum_only.1),
        Case::new(
            "vxlan-flood-of-a-super-segment",
            "Flooded, a super-segment leaves whole through the ordinary port and in pieces through the tunnel.",
            STRETCHED,
        )
        .send_virtio("c1", tso.0, &tso.1),
        Case::new(
            "vxlan-lying-virtio-header",
            "What is said of the datagram's offloads and does not fit the frame inside ends the walk. Found by the \
             fuzzer.",
            STRETCHED,
        )
        .send_virtio(TUNNEL, checksum_at(20), &vxlan(&says(from_to(2, 1), "short"))),
        Case::new(
            "drop-deliver-nested-tunnel",
            "Frames with one or two tunnels inside enter another; one with three inside has gone round in circles.",
            STRETCHED,
        )
        .send("c1", nested(1))
        .send("c1", nested(2))
        .send("c1", nested(3)),
        Case::new(
            "drop-deliver-bad-super-segment",
            "A super-segment that has to be cut and is not of the kind that it claims to be is dropped.",
            STRETCHED,
        )
        .send(TUNNEL, vxlan(&says(from_to(2, 1), "station 2 is behind the tunnel")))
        .send_virtio("c1", lie.0, &lie.1),
    ]
}

/// A packet from station 2 to station 1 with these ECN bits.
fn packet(ecn: u8) -> Vec<u8> {
    let mut frame = ip(from_to(2, 1), V4[1], V4[0], UDP, &udp((V4[1], 7), (V4[0], 7), b"said"));
    let checksum = u16::from_be_bytes([frame[24], frame[25]]) - u16::from(ecn);
    frame[15] = ecn;
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// A frame with so many tunnels inside, from station 1 to station 2, which nobody knows.
fn nested(tunnels: usize) -> Vec<u8> {
    (0..tunnels).fold(says(from_to(1, 2), "inmost"), |frame, _| {
        ip(from_to(1, 2), V4[0], V4[1], UDP, &udp((V4[0], 9), (V4[1], 4789), &vxlan(&frame)))
    })
}

/// A datagram from station 1 to what has this address on the hosts' wire.
fn aimed(host: u8, l4_port: u16) -> Vec<u8> {
    let dst = IpAddr::V4(Ipv4Addr::new(192, 0, 2, host));
    ip(to_all(1), V4[0], dst, UDP, &udp((V4[0], 9), (dst, l4_port), b"as if from a host"))
}

fn refused() -> Vec<Case> {
    let frame = says(from_to(2, 1), "from afar");
    let mut other_vni = vxlan(&frame);
    other_vni[6] = 43;
    let mut no_flag = vxlan(&frame);
    no_flag[0] = 0;
    vec![
        Case::new(
            "drop-admit-unlisted-peer",
            "A datagram for the network from an address that is not one of its remotes is dropped, and counted at the \
             underlay.",
            STRETCHED,
        )
        .send(UNDERLAY, outer(2, 0, &vxlan(&frame)))
        .send(UNDERLAY, outer(3, 0, &vxlan(&frame))),
        Case::new(
            "drop-forward-split-horizon",
            "Between the ends of one tunnel nothing passes: they reach each other themselves. A flood from one reaches the \
             ordinary ports alone.",
            STRETCHED.replace("remotes = [", "remotes = [\"192.0.2.3\", "),
        )
        .send("lan.vxlan.192.0.2.3", vxlan(&says(to_all(3), "to c1 and c3")))
        .send(TUNNEL, vxlan(&says(from_to(2, 3), "nowhere"))),
        Case::new(
            "drop-admit-tunnel-injection",
            "Nobody inside sends a datagram to an end of our tunnels, the peer's or our own, from a port or through a tunnel; \
             another L4 port or TCP is free.",
            STRETCHED,
        )
        .send("c1", aimed(2, 4789))
        .send("c1", aimed(1, 4789))
        .send("c1", aimed(2, 4790))
        .send("c1", aimed(3, 4789))
        .send(TUNNEL, vxlan(&aimed(1, 4789))),
        Case::new(
            "drop-admit-encap-truncated",
            "A datagram that ends within the VXLAN header is dropped.",
            STRETCHED,
        )
        .send(TUNNEL, &vxlan(&frame)[..7]),
        Case::new(
            "drop-admit-encap-flags",
            "A VXLAN header without the flag that makes its VNI valid is dropped.",
            STRETCHED,
        )
        .send(TUNNEL, no_flag),
        Case::new("drop-admit-unknown-vni", "A datagram of another VNI is dropped.", STRETCHED)
            .send(TUNNEL, other_vni),
        Case::new(
            "drop-admit-encap-ecn",
            "A datagram that was marked for congestion passes the mark on to a packet that can carry it; one that cannot \
             is dropped (RFC 6040).",
            STRETCHED,
        )
        .send(UNDERLAY, outer(2, 3, &vxlan(&packet(2))))
        .send(UNDERLAY, outer(2, 1, &vxlan(&packet(2))))
        .send(UNDERLAY, outer(2, 3, &vxlan(&packet(0)))),
        Case::new(
            "vxlan-runt",
            "A datagram with a good VXLAN header and no whole frame behind it is dropped like any runt.",
            STRETCHED,
        )
        .send(TUNNEL, &vxlan(&frame)[..8 + 13]),
    ]
}
