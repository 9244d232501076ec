//! Quotes that are true, quotes that lie, and octets that are anything.

use super::*;
use crate::icmp::error::{ErrorKind, Sender, error};
use crate::samples::{Sample, frame};
use crate::turn::{Made, Turn};
use proptest::prelude::*;
use std::vec::Vec;
use wire::offload::{DATA_VALID, Gso, NEEDS_CSUM};
use wire::{FramePool, Instant, Mac};

const V4: (&str, &str) = ("172.16.0.9", "198.51.100.7");
const V6: (&str, &str) = ("fd00::9", "2001:db8::7");

/// What is read of a frame.
fn parse(bytes: &[u8], offload: Offload) -> Result<Option<Quote>, DropReason> {
    let frame = frame(bytes, offload);
    parse_quote(&Packet::parse(&frame)?, frame.bytes(), offload)
}

/// An error of a router on the way about the packet, to its sender.
fn about(sample: &Sample, kind: ErrorKind) -> Vec<u8> {
    let frame = frame(&sample.bytes(), Offload::NONE);
    let (mut pool, mut made) = (FramePool::default(), Made::default());
    let mut turn = Turn { now: Instant::ZERO, pool: &mut pool, made: &mut made, links: None };
    let address = if sample.src.is_ipv4() { "203.0.113.1" } else { "2001:db8:1::1" };
    let (mac, to_mac) = (Mac([2, 0, 0, 0, 0, 9]), Mac([2, 0, 0, 0, 0, 1]));
    let from = Sender { mac, address: address.parse().unwrap(), to_mac };
    let packet = Packet::parse(&frame).unwrap();
    error(&mut turn, kind, &packet, frame.bytes(), from).unwrap().bytes().to_vec()
}

/// An ICMP error with these octets after the eight of its header.
fn carrying(v6: bool, kind: u8, rest: [u8; 4], quote: &[u8]) -> Vec<u8> {
    let (src, dst) = if v6 { ("2001:db8:1::1", V6.0) } else { ("203.0.113.1", V4.0) };
    Sample::icmp(src, dst, kind, 0, &[&rest, quote].concat()).bytes()
}

/// The quoted packet's octets, with its IPv4 header's checksum made right after a change.
fn change(sample: &Sample, at: usize, octets: &[u8]) -> Vec<u8> {
    let mut packet = sample.bytes().split_off(14);
    packet[at..at + octets.len()].copy_from_slice(octets);
    if sample.src.is_ipv4() {
        wire::ipv4::fill_checksum(&mut packet);
    }
    packet
}

#[test]
fn a_quote_tells_its_flow_and_where_it_lies() {
    let echo = |ends: (&str, &str), kind| Sample::icmp(ends.0, ends.1, kind, 0, &[0x12, 0x34, 0, 1, 9]);
    let udp = |ends: (&str, &str)| Sample::udp(ends.0, ends.1, [5_000, 53], &[1; 30]);
    let tcp = |ends: (&str, &str)| Sample::tcp(ends.0, ends.1, [5_000, 80], 2, &[2, 4, 5, 0xb4], &[]);
    for (sample, protocol, numbers, places, checksum_at) in [
        (udp(V4), Protocol::Udp, [5_000, 53], [Some(0), Some(2)], 6),
        (udp(V6), Protocol::Udp, [5_000, 53], [Some(0), Some(2)], 6),
        (tcp(V4), Protocol::Tcp, [5_000, 80], [Some(0), Some(2)], 16),
        (tcp(V6), Protocol::Tcp, [5_000, 80], [Some(0), Some(2)], 16),
        (echo(V4, 8), Protocol::Echo, [0x1234, 0], [Some(4), None], 2),
        (echo(V4, 0), Protocol::Echo, [0, 0x1234], [None, Some(4)], 2),
        (echo(V6, 128), Protocol::Echo, [0x1234, 0], [Some(4), None], 2),
        (echo(V6, 129), Protocol::Echo, [0, 0x1234], [None, Some(4)], 2),
        (udp(V6).piece(0, 16), Protocol::Udp, [5_000, 53], [Some(0), Some(2)], 6),
    ] {
        for kind in [ErrorKind::TtlExpired, ErrorKind::L4PortUnreachable, ErrorKind::TooBig { mtu: 1_300 }] {
            let bytes = about(&sample, kind);
            let quote = parse(&bytes, Offload::NONE).unwrap().unwrap();
            let l3 = if sample.src.is_ipv4() { 42 } else { 62 };
            assert_eq!((quote.l3, quote.end), (l3, bytes.len()));
            assert_eq!(quote.l4, bytes.len() - sample.l4.len());
            assert_eq!(quote.flow.protocol, protocol);
            assert_eq!(quote.flow.src, Endpoint { address: sample.src, l4_port: numbers[0] });
            assert_eq!(quote.flow.dst, Endpoint { address: sample.dst, l4_port: numbers[1] });
            assert_eq!([quote.src_l4_port, quote.dst_l4_port], places.map(|at| at.map(|at| quote.l4 + at)));
            assert_eq!(quote.l4_checksum, Some(quote.l4 + checksum_at));
            let frame = frame(&sample.bytes(), Offload::NONE);
            let own = Packet::parse(&frame).unwrap().flow(frame.bytes());
            assert_eq!(own, Some(quote.flow), "the quote's flow is the packet's own");
        }
    }
}

#[test]
fn a_short_quote_has_what_it_has() {
    let packet = Sample::tcp(V4.0, V4.1, [5_000, 80], 2, &[], &[]).bytes().split_off(14);
    for (len, has_checksum) in [(28, false), (37, false), (38, true), (40, true)] {
        let quote = parse(&carrying(false, 11, [0; 4], &packet[..len]), Offload::NONE).unwrap().unwrap();
        assert_eq!((quote.end - quote.l3, quote.l4_checksum.is_some()), (len, has_checksum));
    }
    // Padding and extensions behind the packet are not of it (RFC 4884 §5.1).
    let padded = [&packet[..], &[0; 88]].concat();
    let extended = [&padded[..], &[0x20, 0, 0, 0, 0, 8, 1, 1, 0, 0, 0, 1]].concat();
    for (rest, quoted) in [([0, 32, 0, 0], &extended), ([0; 4], &padded), ([0; 4], &extended)] {
        let quote = parse(&carrying(false, 11, rest, quoted), Offload::NONE).unwrap().unwrap();
        assert_eq!(quote.end - quote.l3, 40);
    }
    let whole = Sample::udp(V4.0, V4.1, [1, 2], &[7; 300]).bytes().split_off(14);
    let quote = parse(&carrying(false, 3, [0, 32, 5, 0], &whole), Offload::NONE).unwrap().unwrap();
    assert_eq!(quote.end - quote.l3, 128);
    let whole = Sample::udp(V6.0, V6.1, [1, 2], &[7; 300]).bytes().split_off(14);
    let quote = parse(&carrying(true, 1, [16, 0, 0, 0], &whole), Offload::NONE).unwrap().unwrap();
    assert_eq!(quote.end - quote.l3, 128);
    // In version 6 the word of "too big" is all MTU.
    let quote = parse(&carrying(true, 2, [0, 0, 5, 0xdc], &whole), Offload::NONE).unwrap().unwrap();
    assert_eq!(quote.end - quote.l3, 348);
}

#[test]
fn what_is_no_error_has_no_quote() {
    let packet = Sample::udp(V4.0, V4.1, [1, 2], &[]).bytes().split_off(14);
    let packet6 = Sample::udp(V6.0, V6.1, [1, 2], &[]).bytes().split_off(14);
    for kind in (0..=255).filter(|kind| ![3, 11, 12].contains(kind)) {
        assert_eq!(parse(&carrying(false, kind, [0; 4], &packet), Offload::NONE), Ok(None), "{kind}");
    }
    for kind in (0..=255).filter(|kind| ![1, 2, 3, 4].contains(kind)) {
        assert_eq!(parse(&carrying(true, kind, [0; 4], &packet6), Offload::NONE), Ok(None), "v6 {kind}");
    }
    let flowless = |sample: Sample| Ok::<_, DropReason>(sample.bytes().split_off(14));
    for packet in [
        flowless(Sample::new(V4.0, V4.1, 47, std::vec![0; 20])),
        flowless(Sample::icmp(V4.0, V4.1, 13, 0, &[0; 16])),
    ] {
        assert_eq!(parse(&carrying(false, 11, [0; 4], &packet.unwrap()), Offload::NONE), Ok(None));
    }
    assert_eq!(parse(&Sample::udp(V4.0, V4.1, [1, 2], &[]).bytes(), Offload::NONE), Ok(None));
    let short = Sample::new(V4.0, V4.1, 1, Vec::from([3, 0, 0, 0, 0, 0, 0]));
    assert_eq!(parse(&short.bytes(), Offload::NONE), Ok(None));
}

#[test]
fn lying_quotes_are_refused() {
    let udp = Sample::udp(V4.0, V4.1, [5_000, 53], &[1; 30]);
    let udp6 = Sample::udp(V6.0, V6.1, [5_000, 53], &[1; 30]);
    let (packet, packet6) = (udp.bytes().split_off(14), udp6.bytes().split_off(14));
    let mut stale = packet.clone();
    stale[8] -= 1;
    let error =
        |v6| if v6 { about(&udp6, ErrorKind::TtlExpired) } else { about(&udp, ErrorKind::TtlExpired) };
    // An error that says it went the other way, so that all else is right.
    let nested = |v6: bool| {
        let mut inner = error(v6).split_off(14);
        let (at, len) = if v6 { (8, 16) } else { (12, 4) };
        let (src, dst) = inner[at..at + 2 * len].split_at_mut(len);
        src.swap_with_slice(dst);
        inner
    };
    for (what, v6, rest, quote) in [
        ("nothing", false, [0; 4], Vec::new()),
        ("nothing of v6", true, [0; 4], Vec::new()),
        ("half a header", false, [0; 4], packet[..19].to_vec()),
        ("half a v6 header", true, [0; 4], packet6[..39].to_vec()),
        ("seven octets of L4", false, [0; 4], packet[..27].to_vec()),
        ("seven octets of v6 L4", true, [0; 4], packet6[..47].to_vec()),
        ("a length attribute of seven L4 octets", false, [0, 6, 0, 0], packet.clone()),
        ("a length attribute past the end", false, [0, 200, 0, 0], packet.clone()),
        ("a v6 length attribute past the end", true, [200, 0, 0, 0], packet6.clone()),
        ("v6 in v4", false, [0; 4], packet6.clone()),
        ("v4 in v6", true, [0; 4], packet.clone()),
        ("version 5", false, [0; 4], change(&udp, 0, &[0x55])),
        ("version 5 of v6", true, [0; 4], change(&udp6, 0, &[0x50])),
        ("a header of 16 octets", false, [0; 4], change(&udp, 0, &[0x44])),
        ("options past the end", false, [0; 4], change(&udp, 0, &[0x4f])[..28].to_vec()),
        ("a total length within the header", false, [0; 4], change(&udp, 2, &[0, 19])),
        ("a total length within the L4 header", false, [0; 4], change(&udp, 2, &[0, 27])),
        ("a v6 payload within the L4 header", true, [0; 4], change(&udp6, 4, &[0, 7])),
        ("a wrong header checksum", false, [0; 4], stale),
        ("a later fragment", false, [0; 4], change(&udp, 6, &[0, 1])),
        ("a v6 later fragment", true, [0; 4], udp6.piece(16, 16).bytes().split_off(14)),
        ("a v6 routing header", true, [0; 4], change(&udp6, 6, &[43])),
        (
            "options past the end of v6",
            true,
            [0; 4],
            [&change(&udp6, 6, &[60])[..40], &[17, 9, 0, 0]].concat(),
        ),
        ("another's packet", false, [0; 4], change(&udp, 15, &[8])),
        ("another's v6 packet", true, [0; 4], change(&udp6, 23, &[8])),
        ("an error", false, [0; 4], nested(false)),
        ("a v6 error", true, [0; 4], nested(true)),
    ] {
        let bytes = carrying(v6, if v6 { 1 } else { 3 }, rest, &quote);
        assert_eq!(parse(&bytes, Offload::NONE), Err(DropReason::BadQuote), "{what}");
    }
    // Ethernet padding is not quoted, whatever the length attribute says.
    let short = carrying(false, 3, [0, 12, 0, 0], &packet[..40]);
    let padded = [&short[..], &[0; 20]].concat();
    assert_eq!(parse(&padded, Offload::NONE), Err(DropReason::BadQuote), "a length attribute into padding");
    let pieces = Sample::icmp("203.0.113.1", V4.0, 3, 0, &[&[0; 4][..], &packet].concat()).piece(0, 40);
    assert_eq!(parse(&pieces.bytes(), Offload::NONE), Err(DropReason::BadQuote), "an error in pieces");
}

#[test]
fn the_errors_own_checksum_counts_unless_offloaded() {
    for sample in
        [Sample::udp(V4.0, V4.1, [5_000, 53], &[1; 30]), Sample::udp(V6.0, V6.1, [5_000, 53], &[1; 30])]
    {
        let mut bytes = about(&sample, ErrorKind::TtlExpired);
        *bytes.last_mut().unwrap() ^= 1;
        let l4 = if sample.src.is_ipv4() { 34 } else { 54 };
        let partial = Offload { flags: NEEDS_CSUM, csum_start: l4, csum_offset: 2, ..Offload::NONE };
        let vouched = Offload { flags: DATA_VALID, ..Offload::NONE };
        let absurd = Offload { gso: Gso::UdpL4, gso_size: 9, ..partial };
        assert_eq!(parse(&bytes, Offload::NONE), Err(DropReason::MalformedIp));
        assert_eq!(parse(&bytes, absurd), Err(DropReason::MalformedIp));
        assert!(parse(&bytes, partial).unwrap().is_some());
        assert!(parse(&bytes, vouched).unwrap().is_some());
    }
}

/// What must hold of whatever is read.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(Some(quote)) = parse(bytes, Offload { flags: DATA_VALID, ..Offload::NONE }) else { return Ok(()) };
    prop_assert!(quote.l3 + quote.family.header_len() <= quote.l4);
    prop_assert!(quote.l4 + L4_LEN_MIN <= quote.end && quote.end <= bytes.len());
    for at in [quote.src_l4_port, quote.dst_l4_port, quote.l4_checksum].into_iter().flatten() {
        prop_assert!((quote.l4..quote.end - 1).contains(&at));
    }
    prop_assert!(quote.src_l4_port.is_some() || quote.dst_l4_port.is_some());
    let outer_dst = Packet::parse(&frame(bytes, Offload::NONE)).unwrap().dst;
    prop_assert_eq!(quote.flow.src.address, outer_dst);
    Ok(())
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused(
        v6 in any::<bool>(), kind in 0..16_u8, rest in any::<[u8; 4]>(),
        quote in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        check(&carrying(v6, kind, rest, &quote))?;
    }

    #[test]
    fn damaged_quotes_are_read_or_refused(
        v6 in any::<bool>(), is_piece in any::<bool>(), is_echo in any::<bool>(),
        damage in prop::collection::vec((0..80_usize, any::<u8>()), 0..4),
        attribute in prop::option::of(any::<u8>()), is_summed in any::<bool>(), cut in 0..100_usize,
    ) {
        let ends = if v6 { V6 } else { V4 };
        let kind = if v6 { 128 } else { 8 };
        let sample = if is_echo {
            Sample::icmp(ends.0, ends.1, kind, 0, &[7; 60])
        } else {
            Sample::udp(ends.0, ends.1, [5, 6], &[7; 60])
        };
        let sample = if is_piece { sample.piece(0, 40) } else { sample };
        let mut quote = sample.bytes().split_off(14);
        for (at, octet) in damage {
            if at < quote.len() {
                quote[at] = octet;
            }
        }
        if is_summed && !v6 {
            wire::ipv4::fill_checksum(&mut quote);
        }
        quote.truncate(cut.max(1));
        let octet = attribute.unwrap_or_default();
        check(&carrying(v6, if v6 { 3 } else { 11 }, [octet, octet, 0, 0], &quote))?;
    }
}
