//! The walk against written frames, and against etherparse as an oracle.

use super::*;
use etherparse::{IpHeaders, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use std::vec::Vec;

/// Ethernet, tag 10, IPv4 with four octets of options, TCP with four, payload "hi", two octets of padding.
const TAGGED_TCP4: [u8; 70] = [
    0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x81, 0x00, 0x00, 0x0a, 0x08, 0x00, // L2
    0x46, 0, 0, 50, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 1, // L3
    0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x60, 0x10, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, // L4
    b'h', b'i', 0, 0,
];

#[test]
fn positions_are_where_the_headers_are() {
    let headers = Headers::parse(&TAGGED_TCP4).unwrap();
    let expected = Headers {
        family: Family::V4,
        l3: 18,
        l4: 42,
        payload: 66,
        end: 68,
        protocol: PROTOCOL_TCP,
        fragment: Fragment::Whole,
        routed: false,
        l4_ports: Some(L4Ports { src: 0x1234, dst: 80 }),
    };
    assert_eq!(headers, expected);
    assert!(headers.has_l3_options());
    assert_eq!(headers.src(&TAGGED_TCP4), Some("10.0.0.1".parse().unwrap()));
    assert_eq!(headers.dst(&TAGGED_TCP4), Some("10.0.0.2".parse().unwrap()));
    assert_eq!(headers.dst(&TAGGED_TCP4[..30]), None);
}

#[test]
fn lengths_that_lie_have_names() {
    let with = |at: usize, octet: u8| {
        let mut frame = TAGGED_TCP4;
        frame[at] = octet;
        Headers::parse(&frame)
    };
    assert_eq!(with(18, 0x66), Err(HeaderError::Malformed)); // Version 6 under IPv4's ethertype.
    assert_eq!(with(18, 0x44), Err(HeaderError::Malformed)); // Header shorter than its fixed part.
    assert_eq!(with(21, 20), Err(HeaderError::Malformed)); // Packet shorter than its header.
    assert_eq!(with(21, 53), Err(HeaderError::Truncated)); // Packet longer than the frame.
    assert_eq!(with(54, 0x40), Err(HeaderError::Malformed)); // TCP header shorter than its fixed part.
    assert_eq!(with(54, 0x70), Err(HeaderError::Truncated)); // TCP header longer than the packet.
    assert_eq!(with(17, 0x06), Err(HeaderError::NotIp));
    assert_eq!(Headers::parse(&TAGGED_TCP4[..17]), Err(HeaderError::NotIp));
}

#[test]
fn fragments_are_told_apart() {
    let with = |flags: u8, offset: u8| {
        let mut frame = TAGGED_TCP4;
        (frame[24], frame[25]) = (flags, offset);
        Headers::parse(&frame).unwrap()
    };
    assert_eq!(with(0x20, 0).fragment, Fragment::First);
    assert!(with(0x20, 0).l4_ports.is_some());
    for later in [with(0x20, 1), with(0, 1)] {
        assert_eq!((later.fragment, later.l4_ports, later.payload), (Fragment::Later, None, later.l4));
    }
}

/// Ethernet and IPv6 with the given chain of extension headers, each `(number, octets behind its first one)`.
fn ipv6(chain: &[(u8, Vec<u8>)], last: u8, l4: &[u8]) -> Vec<u8> {
    let mut packet = std::vec![0; 54];
    packet[12..14].copy_from_slice(&[0x86, 0xdd]);
    packet[14] = 0x60;
    packet[20] = chain.first().map_or(last, |&(number, _)| number);
    for (index, (_, rest)) in chain.iter().enumerate() {
        packet.push(chain.get(index + 1).map_or(last, |&(number, _)| number));
        packet.extend_from_slice(rest);
    }
    packet.extend_from_slice(l4);
    let len = u16::try_from(packet.len() - 54).unwrap();
    packet[18..20].copy_from_slice(&len.to_be_bytes());
    packet
}

fn options(count: usize) -> Vec<(u8, Vec<u8>)> {
    std::vec![(PROTOCOL_DESTINATION_OPTIONS, std::vec![0; 7]); count]
}

#[test]
fn extension_headers_are_walked_to_a_limit() {
    let udp = [0, 53, 0, 53, 0, 8, 0, 0];
    let most = Headers::parse(&ipv6(&options(EXTENSIONS_MAX), PROTOCOL_UDP, &udp)).unwrap();
    assert_eq!((most.protocol, most.l4), (PROTOCOL_UDP, 54 + 8 * EXTENSIONS_MAX));
    let more = ipv6(&options(EXTENSIONS_MAX + 1), PROTOCOL_UDP, &udp);
    assert_eq!(Headers::parse(&more), Err(HeaderError::ExtensionsMax));
    let late =
        ipv6(&[options(1), std::vec![(PROTOCOL_HOP_BY_HOP, std::vec![0; 7])]].concat(), PROTOCOL_UDP, &udp);
    assert_eq!(Headers::parse(&late), Err(HeaderError::Malformed));
    let routed = ipv6(&[(PROTOCOL_ROUTING, std::vec![0; 7])], PROTOCOL_UDP, &udp);
    let headers = Headers::parse(&routed).unwrap();
    assert!(headers.routed && headers.pseudo_sum(&routed, 8).is_none());
}

#[test]
fn a_fragment_header_ends_the_walk_when_it_is_a_later_one() {
    let fragment = |field: u8| std::vec![(PROTOCOL_FRAGMENT, std::vec![0, 0, field, 0, 0, 0, 0])];
    let udp = [0, 53, 0, 53, 0, 8, 0, 0];
    for (field, expected, has_ports) in [
        (0, Fragment::Whole, true),
        (1, Fragment::First, true),
        (8, Fragment::Later, false),
        (9, Fragment::Later, false),
    ] {
        let headers = Headers::parse(&ipv6(&fragment(field), PROTOCOL_UDP, &udp)).unwrap();
        assert_eq!((headers.fragment, headers.l4_ports.is_some()), (expected, has_ports), "{field}");
    }
    // A later fragment's octets are payload, whatever number its header announces.
    let chain = [fragment(8), options(1)].concat();
    assert_eq!(
        Headers::parse(&ipv6(&chain, PROTOCOL_UDP, &udp)).unwrap().protocol,
        PROTOCOL_DESTINATION_OPTIONS
    );
}

#[test]
fn a_first_fragment_holds_every_header_and_one_fragment_header() {
    use HeaderError::{FragmentTiny, Malformed, Truncated};
    let fragment = |field: u8| std::vec![(PROTOCOL_FRAGMENT, std::vec![0, 0, field, 0, 0, 0, 0])];
    let long = std::vec![(PROTOCOL_DESTINATION_OPTIONS, std::vec![1, 0, 0, 0, 0, 0, 0])];
    let (tcp, udp) = ([0x50; 20], [0, 53, 0, 53, 0, 8, 0, 0]);
    for (what, chain, last, l4, expected) in [
        ("whole headers", fragment(1), PROTOCOL_TCP, &tcp[..], Ok(Fragment::First)),
        ("half a TCP header", fragment(1), PROTOCOL_TCP, &tcp[..16], Err(FragmentTiny)),
        ("no UDP header", fragment(1), PROTOCOL_UDP, &[], Err(FragmentTiny)),
        ("options cut short", [fragment(1), long.clone()].concat(), PROTOCOL_UDP, &[], Err(FragmentTiny)),
        ("no options", fragment(1), PROTOCOL_DESTINATION_OPTIONS, &[], Err(FragmentTiny)),
        ("half a TCP header, all there is", fragment(0), PROTOCOL_TCP, &tcp[..16], Err(Truncated)),
        ("cut options before", [long, fragment(1)].concat(), PROTOCOL_UDP, &[], Err(Truncated)),
        ("twice first", [fragment(1), fragment(1)].concat(), PROTOCOL_UDP, &udp, Err(Malformed)),
        ("whole, then first", [fragment(0), fragment(1)].concat(), PROTOCOL_UDP, &udp, Err(Malformed)),
        ("first, then whole", [fragment(1), fragment(0)].concat(), PROTOCOL_UDP, &udp, Err(Malformed)),
        ("first, then later", [fragment(1), fragment(8)].concat(), PROTOCOL_UDP, &udp, Err(Malformed)),
    ] {
        let headers = Headers::parse(&ipv6(&chain, last, l4));
        assert_eq!(headers.map(|headers| headers.fragment), expected, "{what}");
    }
}

/// What etherparse makes of the same octets must be what the walk says.
fn agree_with_etherparse(frame: &[u8]) {
    let ours = Headers::parse(frame);
    let theirs = SlicedPacket::from_ethernet(frame);
    let Ok(theirs) = theirs else { return }; // It also checks what we leave to others, such as the UDP length.
    let ours = match ours {
        Ok(ours) => ours,
        Err(HeaderError::NotIp) => return, // It looks behind more kinds of tags.
        Err(error) => {
            let cut_first_fragment = theirs.is_ip_payload_fragmented() && error != HeaderError::ExtensionsMax;
            // A payload length of 0 announces a jumbogram (RFC 2675); they take the frame's length for it.
            let jumbogram =
                matches!(&theirs.net, Some(NetSlice::Ipv6(ip)) if ip.header().payload_length() == 0);
            let is_fragment = |it: &etherparse::Ipv6ExtensionSlice<'_>| {
                matches!(it, etherparse::Ipv6ExtensionSlice::Fragment(_))
            };
            let twice_in_pieces = matches!(&theirs.net, Some(NetSlice::Ipv6(ip))
                if ip.extensions().clone().into_iter().filter(is_fragment).count() > 1);
            assert!(
                cut_first_fragment || jumbogram || twice_in_pieces,
                "we refuse what they accept: {error:?}"
            );
            return;
        }
    };
    let at = |part: &[u8]| part.as_ptr().addr() - frame.as_ptr().addr();
    let ip = match theirs.net.expect("we found IP") {
        NetSlice::Ipv4(ip) => {
            assert_eq!(ours.src(frame), Some(ip.header().source_addr().into()));
            assert_eq!(ours.dst(frame), Some(ip.header().destination_addr().into()));
            assert_eq!(ours.l3, at(ip.header().slice()));
            ip.payload().clone()
        }
        NetSlice::Ipv6(ip) => {
            assert_eq!(ours.src(frame), Some(ip.header().source_addr().into()));
            assert_eq!(ours.l3, at(ip.header().slice()));
            ip.payload().clone()
        }
        NetSlice::Arp(_) => panic!("we took ARP for IP"),
    };
    assert_eq!(ours.fragment != Fragment::Whole, ip.fragmented);
    if ours.family == Family::V6 || ours.protocol != PROTOCOL_AUTHENTICATION {
        // Over IPv4 etherparse takes the authentication header for an extension, which guards need not.
        assert_eq!(ours.protocol, ip.ip_number.0);
        assert_eq!((ours.l4, ours.end), (at(ip.payload), at(ip.payload) + ip.payload.len()));
    }
    if ip.fragmented {
        return;
    }
    match theirs.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            assert_eq!(ours.l4_ports, Some(L4Ports { src: tcp.source_port(), dst: tcp.destination_port() }));
            assert_eq!(ours.payload, at(tcp.payload()));
        }
        Some(TransportSlice::Udp(udp)) => {
            assert_eq!(ours.l4_ports, Some(L4Ports { src: udp.source_port(), dst: udp.destination_port() }));
            assert_eq!(ours.payload, at(udp.payload()));
        }
        Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_)) | None => {
            assert_eq!(ours.l4_ports, None);
        }
    }
}

/// A well-formed frame by etherparse's own builder.
fn built(v6: bool, tagged: bool, tcp: bool, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
    let ip = if v6 {
        IpHeaders::Ipv6(
            etherparse::Ipv6Header {
                source: [1; 16],
                destination: [2; 16],
                hop_limit: 64,
                ..Default::default()
            },
            etherparse::Ipv6Extensions::default(),
        )
    } else {
        IpHeaders::Ipv4(
            etherparse::Ipv4Header {
                source: [10, 0, 0, 1],
                destination: [10, 0, 0, 2],
                ..Default::default()
            },
            etherparse::Ipv4Extensions::default(),
        )
    };
    let builder = if tagged {
        let tag = etherparse::SingleVlanHeader {
            vlan_id: etherparse::VlanId::try_new(10).unwrap(),
            ..Default::default()
        };
        builder.vlan(etherparse::VlanHeader::Single(tag)).ip(ip)
    } else {
        builder.ip(ip)
    };
    let mut frame = Vec::new();
    if tcp {
        builder.tcp(0x1234, 80, 7, 1000).write(&mut frame, payload).unwrap();
    } else {
        builder.udp(0x1234, 80).write(&mut frame, payload).unwrap();
    }
    frame
}

#[test]
fn well_formed_frames_are_parsed_by_both() {
    for case in 0..8 {
        let frame = built(case & 1 != 0, case & 2 != 0, case & 4 != 0, b"payload");
        assert!(Headers::parse(&frame).is_ok() && SlicedPacket::from_ethernet(&frame).is_ok(), "{case}");
        agree_with_etherparse(&frame);
    }
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Headers::parse(&bytes);
    }

    #[test]
    fn damaged_frames_agree_with_etherparse(
        case in 0_u8..8, payload in proptest::collection::vec(any::<u8>(), 0..64),
        damage in proptest::collection::vec((12_usize..100, any::<u8>()), 0..4), cut in 0_usize..20,
    ) {
        let mut frame = built(case & 1 != 0, case & 2 != 0, case & 4 != 0, &payload);
        for (at, octet) in damage {
            if let Some(hit) = frame.get_mut(at) {
                *hit = octet;
            }
        }
        frame.truncate(frame.len() - cut);
        agree_with_etherparse(&frame);
    }

    #[test]
    fn extension_chains_agree_with_etherparse(
        kinds in proptest::collection::vec((0_usize..6, 0_u8..3), 0..7), tail in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let numbers = [
            PROTOCOL_HOP_BY_HOP, PROTOCOL_ROUTING, PROTOCOL_DESTINATION_OPTIONS, PROTOCOL_FRAGMENT,
            PROTOCOL_AUTHENTICATION, PROTOCOL_UDP,
        ];
        let chain: Vec<(u8, Vec<u8>)> = kinds.iter().map(|&(kind, len)| {
            let octets = match numbers[kind] {
                PROTOCOL_FRAGMENT => 7,
                PROTOCOL_AUTHENTICATION => 4 * usize::from(len) + 7,
                _ => 8 * usize::from(len) + 7,
            };
            let mut rest = std::vec![0; octets];
            rest[0] = len;
            (numbers[kind], rest)
        }).collect();
        agree_with_etherparse(&ipv6(&chain, PROTOCOL_TCP, &tail));
    }
}
