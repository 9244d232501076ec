//! Super-segments and unfinished checksums between ordinary ports: they pass whole.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sim::craft::{TCP, UDP, ip, says, station, tagged, tcp, udp, unfinish, virtio};
use wire::Offload;
use wire::offload::{DATA_VALID, Gso, NEEDS_CSUM, VNET_HDR_LEN};

use super::{LAN, from_to, to_all};
use crate::case::Case;

const V4: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))];
const V6: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
];

/// An access port and a trunk of one network.
const MIXED: &str = "[network.lan]\n\n[port.c1]\nnetwork = \"lan\"\n\n[port.c5]\ntrunk = { 10 = \"lan\" }\n";

/// A super-segment from station 1 to station 2: header and frame. `gso_size` 0: an ordinary frame with an unfinished
/// checksum.
pub(super) fn segments(
    [src, dst]: [IpAddr; 2],
    protocol: u8,
    data_len: u16,
    gso_size: u16,
) -> ([u8; VNET_HDR_LEN], Vec<u8>) {
    let data: Vec<u8> = (0..data_len).map(|at| at.to_be_bytes()[1]).collect();
    let l4 = if protocol == TCP { tcp((src, 1), (dst, 2), &data) } else { udp((src, 1), (dst, 2), &data) };
    let mut frame = ip(from_to(1, 2), src, dst, protocol, &l4);
    let (csum_start, csum_offset) = unfinish(&mut frame, src, dst, protocol);
    let gso = match (gso_size, protocol, src) {
        (0, _, _) => Gso::None,
        (_, UDP, _) => Gso::UdpL4,
        (_, _, IpAddr::V4(_)) => Gso::TcpV4,
        (_, _, IpAddr::V6(_)) => Gso::TcpV6,
    };
    let l4_header_len = if protocol == TCP { 20 } else { 8 };
    let hdr_len = if gso == Gso::None { 0 } else { csum_start + l4_header_len };
    let offload = Offload { flags: NEEDS_CSUM, gso, ecn: false, hdr_len, gso_size, csum_start, csum_offset };
    (virtio(offload), frame)
}

/// The same frame tagged, its positions four octets later.
fn tagged_segments(
    (mut header, frame): ([u8; VNET_HDR_LEN], Vec<u8>),
    tci: u16,
) -> ([u8; VNET_HDR_LEN], Vec<u8>) {
    header[2] += 4; // hdr_len and csum_start are small.
    header[6] += 4;
    (header, tagged(tci, &frame))
}

pub(crate) fn cases() -> Vec<Case> {
    let [tso4, tso6, uso4] =
        [segments(V4, TCP, 4_000, 1_448), segments(V6, TCP, 4_000, 1_428), segments(V4, UDP, 4_000, 1_400)];
    let whole = segments(V4, TCP, 60_000, 1_448);
    let over = segments(V4, TCP, 4_000, 1_461);
    let fits = segments(V4, TCP, 4_000, 1_460);
    let checksum_only = segments(V4, UDP, 100, 0);
    let vouched = virtio(Offload { flags: DATA_VALID, ..Offload::NONE });
    let mut back = tagged_segments(segments(V4, TCP, 4_000, 1_448), 0x600a);
    back.1[..12].copy_from_slice(&[station(1).0, station(5).0].concat());
    vec![
        Case::new(
            "offload-passes-whole",
            "Super-segments (TCP over IPv4 and IPv6, UDP, 60,000 octets of TCP), an unfinished checksum and a vouched-for \
             one pass as they came, header and payload.",
            LAN,
        )
        .send("c2", says(to_all(2), "here I am"))
        .send_virtio("c1", tso4.0, &tso4.1)
        .send_virtio("c1", tso6.0, &tso6.1)
        .send_virtio("c1", uso4.0, &uso4.1)
        .send_virtio("c1", whole.0, &whole.1)
        .send_virtio("c1", checksum_only.0, &checksum_only.1)
        .send_virtio("c1", vouched, &says(from_to(1, 2), "vouched for")),
        Case::new(
            "offload-and-tag",
            "A tag that goes on moves header length and checksum start by four octets, and one that comes off moves \
             them back.",
            MIXED,
        )
        .send_virtio("c1", tso4.0, &tso4.1)
        .send_virtio("c5", back.0, &back.1)
        .send_virtio("c1", tso6.0, &tso6.1)
        .send_virtio("c1", checksum_only.0, &checksum_only.1),
        Case::new(
            "offload-over-mtu",
            "What counts is the size of the segments: a super-segment of 4,000 octets whose segments fill the MTU \
             passes, with segments one octet longer it is dropped.",
            LAN,
        )
        .send_virtio("c1", over.0, &over.1)
        .send_virtio("c1", fits.0, &fits.1),
    ]
}
