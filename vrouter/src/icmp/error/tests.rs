//! Errors octet by octet, about what there is none, and how often.

use super::*;
use crate::samples::{Sample, assert_sound, frame};
use crate::turn::{MADE_MAX, Made};
use core::time::Duration;
use std::vec::Vec;
use wire::offload::{Gso, NEEDS_CSUM};
use wire::{FramePool, Offload};

const V4: (&str, &str) = ("172.16.0.9", "198.51.100.7");
const V6: (&str, &str) = ("fd00::9", "2001:db8::7");

/// The error that a router at 172.16.0.1 and fd00::1, MAC 02:00:00:00:00:01, makes about the frame.
fn error_about(kind: ErrorKind, bytes: &[u8], offload: Offload) -> Option<Vec<u8>> {
    let frame = frame(bytes, offload);
    let packet = Packet::parse(&frame).unwrap();
    let address = if packet.src.is_ipv4() { "172.16.0.1" } else { "fd00::1" };
    let from = Sender {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        address: address.parse().unwrap(),
        to_mac: Mac([2, 0, 0, 0, 0, 9]),
    };
    let (mut pool, mut made) = (FramePool::default(), Made::default());
    let mut turn = Turn { now: Instant::ZERO, pool: &mut pool, made: &mut made, links: None };
    let error = error(&mut turn, kind, &packet, frame.bytes(), from)?;
    assert_eq!(error.offload, Offload::NONE);
    assert_sound(error.bytes());
    Some(error.bytes().to_vec())
}

fn udp(ends: (&str, &str), len: usize) -> Sample {
    Sample::udp(ends.0, ends.1, [5_000, 33_434], &std::vec![0x77; len])
}

/// Time exceeded about a datagram of two octets with TTL 1; all checksums computed by other means.
#[rustfmt::skip]
const TTL_V4: [u8; 72] = [
    2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0,
    0x45, 0xc0, 0, 58, 0, 0, 0x40, 0, 64, 1, 0xe1, 0xd8, 172, 16, 0, 1, 172, 16, 0, 9,
    11, 0, 0xcb, 0x6f, 0, 0, 0, 0,
    0x45, 0, 0, 30, 0x12, 0x34, 0, 0, 1, 17, 0xd1, 0x47, 172, 16, 0, 9, 198, 51, 100, 7,
    0x13, 0x88, 0x82, 0x9a, 0, 10, 0x1b, 0xec, 0x77, 0x77,
];

#[test]
fn an_error_is_written_octet_by_octet() {
    let about = Sample { ttl: 1, ..udp(V4, 2) }.bytes();
    let padded = [&about[..], &[0; 16]].concat();
    let error = error_about(ErrorKind::TtlExpired, &padded, Offload::NONE).unwrap();
    assert_eq!(error, TTL_V4, "{error:02x?}");
    assert_eq!(error[42..], about[14..], "the quote is the packet as it came in, without padding");
}

#[test]
fn every_kind_has_its_type_code_and_word() {
    for (kind, v4, v6) in [
        (ErrorKind::TtlExpired, [11, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]),
        (ErrorKind::ReassemblyTimeout, [11, 1, 0, 0, 0, 0], [3, 1, 0, 0, 0, 0]),
        (ErrorKind::NetUnreachable, [3, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
        (ErrorKind::HostUnreachable, [3, 1, 0, 0, 0, 0], [1, 3, 0, 0, 0, 0]),
        (ErrorKind::L4PortUnreachable, [3, 3, 0, 0, 0, 0], [1, 4, 0, 0, 0, 0]),
        (ErrorKind::ProtocolUnreachable, [3, 2, 0, 0, 0, 0], [4, 1, 0, 0, 0, 6]),
        (ErrorKind::AdminProhibited, [3, 13, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]),
        (ErrorKind::TooBig { mtu: 1_400 }, [3, 4, 0, 0, 0x05, 0x78], [2, 0, 0, 0, 0x05, 0x78]),
        (ErrorKind::TooBig { mtu: 900 }, [3, 4, 0, 0, 0x03, 0x84], [2, 0, 0, 0, 0x05, 0]),
    ] {
        for (ends, l4, expected) in [(V4, 34, v4), (V6, 54, v6)] {
            let about = udp(ends, 100).bytes();
            let error = error_about(kind, &about, Offload::NONE).unwrap();
            let said = [&error[l4..l4 + 2], &error[l4 + 4..l4 + 8]].concat();
            assert_eq!(said, expected, "{kind:?}");
            assert_eq!(error[..12], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1]);
            assert_eq!(error[l4 + 8..], about[14..]);
        }
    }
    let error = error_about(ErrorKind::TtlExpired, &udp(V6, 0).bytes(), Offload::NONE).unwrap();
    assert_eq!(error[14..22], [0x6c, 0, 0, 0, 0, 56, 58, 64], "class CS6, flow label 0, hop limit 64");
}

#[test]
fn an_unknown_protocol_is_pointed_at_behind_extensions() {
    let mut about = udp(V6, 0).bytes();
    about[20] = 51; // Authentication of 16 octets, then destination options, then UDP.
    about[19] += 24;
    let extensions = [60, 2].into_iter().chain([0; 14]).chain([17, 0, 1, 4, 0, 0, 0, 0]);
    about.splice(54..54, extensions);
    let error = error_about(ErrorKind::ProtocolUnreachable, &about, Offload::NONE).unwrap();
    assert_eq!(error[54..62], [4, 1, error[56], error[57], 0, 0, 0, 56]);
}

#[test]
fn a_quote_fills_the_message_and_no_more() {
    for len in [0, 1, 519, 520, 521, 1_183, 1_184, 1_185, 1_400, 65_400] {
        let error = error_about(ErrorKind::NetUnreachable, &udp(V4, len).bytes(), Offload::NONE).unwrap();
        assert_eq!(error.len() - 14, (56 + len).min(576), "v4 len={len}");
        let error = error_about(ErrorKind::NetUnreachable, &udp(V6, len).bytes(), Offload::NONE).unwrap();
        assert_eq!(error.len() - 14, (96 + len).min(1_280), "v6 len={len}");
    }
    // A super-segment with an unfinished checksum is quoted as it is.
    let mut about = Sample::tcp(V4.0, V4.1, [5_000, 80], 0x10, &[], &[0x77; 20_000]).bytes();
    about[50..52].copy_from_slice(&[0x12, 0x34]);
    let offload = Offload {
        flags: NEEDS_CSUM,
        gso: Gso::TcpV4,
        gso_size: 1_448,
        csum_start: 34,
        csum_offset: 16,
        ..Offload::NONE
    };
    let error = error_about(ErrorKind::TooBig { mtu: 1_400 }, &about, offload).unwrap();
    assert_eq!(error[42..], about[14..14 + 548]);
}

#[test]
fn errors_never_breed_errors() {
    let too_big = ErrorKind::TooBig { mtu: 1_300 };
    let icmp = |kind: u8| Sample::icmp(V4.0, V4.1, kind, 0, &[0; 32]).bytes();
    let icmp6 = |kind: u8| Sample::icmp(V6.0, V6.1, kind, 0, &[0; 64]).bytes();
    let group_mac = |mut bytes: Vec<u8>| {
        bytes[0] |= 1;
        bytes
    };
    let mut table: Vec<(&str, Vec<u8>, [bool; 2])> = Vec::from([
        ("UDP", udp(V4, 9).bytes(), [true; 2]),
        ("UDP over v6", udp(V6, 9).bytes(), [true; 2]),
        ("a first fragment", udp(V4, 99).piece(0, 16).bytes(), [true; 2]),
        ("a v6 first fragment", udp(V6, 99).piece(0, 16).bytes(), [true; 2]),
        ("a later fragment", udp(V4, 99).piece(16, 16).bytes(), [false; 2]),
        ("a v6 later fragment", udp(V6, 99).piece(16, 16).bytes(), [false; 2]),
        ("a last fragment", udp(V4, 99).piece(104, 16).bytes(), [false; 2]),
        ("to a group's MAC", group_mac(udp(V4, 9).bytes()), [false; 2]),
        ("to a group's MAC over v6", group_mac(udp(V6, 9).bytes()), [false, true]),
        ("ICMP without a type", Sample::new(V4.0, V4.1, 1, Vec::new()).bytes(), [false; 2]),
        ("ICMPv6 without a type", Sample::new(V6.0, V6.1, 58, Vec::new()).bytes(), [false; 2]),
        ("a cut echo request", Sample::new(V4.0, V4.1, 1, Vec::from([8])).bytes(), [true; 2]),
        ("ESP", Sample::new(V4.0, V4.1, 50, std::vec![1; 20]).bytes(), [true; 2]),
    ]);
    for kind in 0..=255 {
        let is_query = matches!(kind, 0 | 1 | 2 | 6..=10 | 13..=18);
        table.push(("ICMP", icmp(kind), [is_query; 2]));
        table.push(("ICMPv6", icmp6(kind), [kind >= 128 && kind != 137; 2]));
    }
    for (dst, expected) in [
        ("224.0.0.1", [false; 2]),
        ("239.255.255.250", [false; 2]),
        ("255.255.255.255", [false; 2]),
        ("240.0.0.1", [true; 2]),
    ] {
        table.push((dst, udp((V4.0, dst), 9).bytes(), expected));
    }
    table.push(("ff0e::1", udp((V6.0, "ff0e::1"), 9).bytes(), [false, true]));
    for src in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.9", "240.0.0.1", "255.255.255.255"] {
        table.push((src, udp((src, V4.1), 9).bytes(), [false; 2]));
    }
    for src in ["::", "::1", "ff02::1"] {
        table.push((src, udp((src, V6.1), 9).bytes(), [false; 2]));
    }
    for (what, about, [others, big]) in table {
        for (kind, expected) in [
            (ErrorKind::TtlExpired, others),
            (ErrorKind::NetUnreachable, others),
            (ErrorKind::L4PortUnreachable, others),
            (ErrorKind::ProtocolUnreachable, others),
            (too_big, big),
        ] {
            let error = error_about(kind, &about, Offload::NONE);
            assert_eq!(error.is_some(), expected, "{kind:?} about {what}: {about:02x?}");
            // No error is ever made about what we have said ourselves.
            let about_itself = error.and_then(|error| error_about(kind, &error, Offload::NONE));
            assert_eq!(about_itself, None, "{kind:?} about an error about {what}");
        }
    }
}

#[test]
fn a_full_turn_and_another_version_say_nothing() {
    let frame = frame(&udp(V4, 9).bytes(), Offload::NONE);
    let packet = Packet::parse(&frame).unwrap();
    let (mut pool, mut made) = (FramePool::default(), Made::default());
    let mut turn = Turn { now: Instant::ZERO, pool: &mut pool, made: &mut made, links: None };
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let mut from = Sender { mac, address: "fd00::1".parse().unwrap(), to_mac: mac };
    assert!(error(&mut turn, ErrorKind::TtlExpired, &packet, frame.bytes(), from).is_none());
    from.address = "172.16.0.1".parse().unwrap();
    for _ in 0..MADE_MAX {
        let error = error(&mut turn, ErrorKind::TtlExpired, &packet, frame.bytes(), from).unwrap();
        turn.send(DomainId(1), error);
    }
    assert!(error(&mut turn, ErrorKind::TtlExpired, &packet, frame.bytes(), from).is_none());
}

#[test]
fn errors_are_limited_per_sender_per_domain_and_in_all() {
    let at = |millis| Instant::ZERO + Duration::from_millis(millis);
    let station = |n: u32| IpAddr::from(core::net::Ipv4Addr::from_bits(0xac10_0000 + n));
    let mut limit = ErrorLimit::new(0x5eed);
    let mut told = |millis, domain, stations: core::ops::Range<u32>, each: u32| {
        let asked = stations.flat_map(|n| (0..each).map(move |_| n));
        asked.filter(|&n| limit.take(at(millis), DomainId(domain), station(n))).count() as u64
    };
    // One sender gets its burst, then its rate; another of the domain is not kept from its own.
    assert_eq!(told(0, 1, 1..2, 1_000), ERRORS_PER_SENDER_BURST_MAX);
    assert_eq!(told(100, 1, 1..2, 1_000), ERRORS_PER_SENDER_MAX / 10);
    assert_eq!(told(100, 1, 2..3, 30), 30);
    // Many senders of one domain share the domain's; another domain has its own.
    assert_eq!(told(10_000, 1, 1_000..9_000, 1), ERRORS_PER_DOMAIN_BURST_MAX);
    assert_eq!(told(10_000, 2, 1_000..1_010, 10), 100);
    assert_eq!(told(10_100, 1, 1_000..9_000, 1), ERRORS_PER_DOMAIN_MAX / 10);
    // Many domains share what there is.
    let all: u64 = (100..200).map(|domain| told(20_000, domain, 0..8_000, 1)).sum();
    assert_eq!(all, ERRORS_BURST_MAX);
    // After a pause everybody is told again.
    assert_eq!(told(60_000, 1, 1..2, 1_000), ERRORS_PER_SENDER_BURST_MAX);
}
