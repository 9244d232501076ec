//! Tests of the guards: what each lets pass, what it refuses, and the ways around it that are closed.

use std::vec;
use std::vec::Vec;

use wire::DropReason::*;
use wire::UnicastMac;
use wire::headers::{
    EXTENSIONS_MAX, PROTOCOL_AUTHENTICATION, PROTOCOL_DESTINATION_OPTIONS, PROTOCOL_FRAGMENT,
    PROTOCOL_HOP_BY_HOP, PROTOCOL_ROUTING,
};

use super::*;
use crate::plan::Storm;
use crate::storm::Buckets;
use crate::testing::{frame, mac, secs};

const OWN4: [u8; 4] = [10, 0, 0, 1];
const OWN6: &str = "2001:db8::1";
const OTHER6: &str = "2001:db8::2";
const LINK_LOCAL: &str = "fe80::1";
const UNSPECIFIED: &str = "::";
const OFF: Guards = Guards { mac: false, arp: false, nd: false, ra: false, dhcp: false };

/// The station is `mac(1)` with [`OWN4`] and [`OWN6`].
fn watch(guards: Guards) -> Watch {
    Watch {
        guards,
        mac: UnicastMac::new(mac(1)),
        addresses: vec![IpAddr::from(OWN4), OWN6.parse().unwrap()],
        storm: Buckets::new(secs(0), Storm::default()),
    }
}

fn check_from(guards: Guards, src: Mac, ethertype: u16, packet: &[u8]) -> Result<(), DropReason> {
    let frame = frame(Mac::BROADCAST, src, &[], ethertype, packet);
    let header = EthernetHeader::parse(frame.bytes()).unwrap();
    let verdict = check(&watch(guards), &header, frame.bytes());
    assert_eq!(check(&watch(OFF), &header, frame.bytes()), Ok(()), "guards that are off refuse nothing");
    verdict
}

fn check6(guards: Guards, packet: &[u8]) -> Result<(), DropReason> {
    check_from(guards, mac(1), ETHERTYPE_IPV6, packet)
}

#[test]
fn only_the_bound_address_may_be_the_source() {
    let guards = Guards { mac: true, ..OFF };
    assert_eq!(check_from(guards, mac(1), 0x88b5, &[]), Ok(()));
    assert_eq!(check_from(guards, mac(2), 0x88b5, &[]), Err(SpoofedMac));
}

fn arp(operation: u8, sender_mac: Mac, sender: [u8; 4]) -> Vec<u8> {
    let target = [&[0; 6][..], &[10, 0, 0, 9]].concat();
    [&[0, 1, 8, 0, 6, 4, 0, operation], &sender_mac.0[..], &sender[..], &target].concat()
}

#[test]
fn arp_speaks_for_the_ports_addresses_and_tells_the_truth_about_its_mac() {
    let guards = Guards { arp: true, ..OFF };
    let check = |packet: &[u8]| check_from(guards, mac(1), ETHERTYPE_ARP, packet);
    let refused = Err(SpoofedArp);
    for operation in [1, 2] {
        assert_eq!(check(&arp(operation, mac(1), OWN4)), Ok(()));
        assert_eq!(check(&arp(operation, mac(1), [10, 0, 0, 9])), refused);
        assert_eq!(check(&arp(operation, mac(2), OWN4)), refused);
    }
    assert_eq!(check(&arp(1, mac(1), [0; 4])), Ok(()), "a probe");
    assert_eq!(check(&arp(2, mac(1), [0; 4])), refused, "a reply is no probe");
    for len in 0..28 {
        assert_eq!(check(&arp(1, mac(1), OWN4)[..len]), refused, "{len} octets");
    }
    for at in 0..6 {
        let mut packet = arp(1, mac(1), OWN4);
        packet[at] ^= 0x40;
        assert_eq!(check(&packet), refused, "octet {at} changed");
    }
    let padded = [arp(1, mac(1), OWN4), vec![0; 18]].concat();
    assert_eq!(check(&padded), Ok(()));
    assert_eq!(check_from(guards, mac(1), ETHERTYPE_IPV4, &arp(2, mac(2), [0; 4])), Ok(()), "no ARP");
}

/// An IPv4 packet with options of `options_len` octets around UDP.
fn udp4(options_len: usize, fragment: u16, src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options_len;
    let total = u16::try_from(header_len + 8 + payload.len()).unwrap();
    let mut packet = vec![0; header_len];
    packet[0] = 0x40 | u8::try_from(header_len / 4).unwrap();
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[9] = PROTOCOL_UDP;
    packet.extend([src.to_be_bytes(), dst.to_be_bytes(), [0; 2], [0; 2]].concat());
    packet.extend(payload);
    packet
}

#[test]
fn dhcp_clients_ask_and_servers_do_not_answer() {
    const REQUEST: &[u8] = &[1, 1, 6, 0];
    const REPLY: &[u8] = &[2, 1, 6, 0];
    const FIRST_FRAGMENT: u16 = 0x2000;
    let guards = Guards { dhcp: true, ..OFF };
    let refused = Err(RogueDhcp);
    let cases = [
        (udp4(0, 0, 68, 67, REQUEST), Ok(()), "a client asks"),
        (udp4(0, 0, 67, 68, REPLY), refused, "a server answers"),
        (udp4(40, 0, 67, 68, REPLY), refused, "behind options"),
        (udp4(0, 0, 4000, 68, REPLY), refused, "from another L4 port, which clients do not mind"),
        (udp4(0, FIRST_FRAGMENT, 67, 68, &[]), refused, "the shortest first fragment"),
        (udp4(0, 0, 4000, 67, REPLY), refused, "to a relay"),
        (udp4(0, FIRST_FRAGMENT, 4000, 67, &[]), refused, "perhaps to a relay"),
        (udp4(0, 1, 67, 68, REPLY), Ok(()), "a later fragment has no L4 ports"),
        (udp4(0, 0, 4000, 53, REPLY), Ok(()), "something else"),
    ];
    for (packet, expected, what) in cases {
        assert_eq!(check_from(guards, mac(1), ETHERTYPE_IPV4, &packet), expected, "{what}");
    }
    let mut tcp = udp4(0, 0, 67, 68, &[0x50; 30]);
    tcp[9] = 6;
    assert_eq!(check_from(guards, mac(1), ETHERTYPE_IPV4, &tcp), Ok(()));
}

/// An IPv6 packet around `rest`, which begins with the header `next`.
fn ipv6(src: &str, next: u8, rest: &[u8]) -> Vec<u8> {
    let src: Ipv6Addr = src.parse().unwrap();
    let dst: Ipv6Addr = "ff02::1".parse().unwrap();
    let len = u16::try_from(rest.len()).unwrap();
    let start = [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[next, 255]].concat();
    [&start[..], &src.octets(), &dst.octets(), rest].concat()
}

/// Puts extension headers of 8 octets (authentication: 16) before a message, outermost first.
fn extended(src: &str, kinds: &[u8], protocol: u8, message: &[u8]) -> Vec<u8> {
    let mut rest = message.to_vec();
    let mut next = protocol;
    for &kind in kinds.iter().rev() {
        let is_authentication = kind == PROTOCOL_AUTHENTICATION;
        let mut header = vec![next, if is_authentication { 2 } else { 0 }, 0, 0, 0, 0, 0, 0];
        header.resize(if is_authentication { 16 } else { 8 }, 0);
        rest = [header, rest].concat();
        next = kind;
    }
    ipv6(src, next, &rest)
}

/// A packet whose first fragment header has the offset (in units of 8) and the flag given.
fn fragment(src: &str, offset: u16, more: bool, protocol: u8, message: &[u8]) -> Vec<u8> {
    let mut packet = extended(src, &[PROTOCOL_FRAGMENT], protocol, message);
    packet[42..44].copy_from_slice(&(offset << 3 | u16::from(more)).to_be_bytes());
    packet
}

#[test]
fn dhcpv6_servers_do_not_answer() {
    let guards = Guards { dhcp: true, ..OFF };
    let udp = |src: u16, dst: u16| [src.to_be_bytes(), dst.to_be_bytes(), [0, 8], [0; 2]].concat();
    let cases = [
        ((546, 547), Ok(())),
        ((547, 546), Err(RogueDhcp)),
        ((4000, 546), Err(RogueDhcp)),
        ((53, 53), Ok(())),
    ];
    for ((src, dst), expected) in cases {
        assert_eq!(check6(guards, &ipv6(LINK_LOCAL, PROTOCOL_UDP, &udp(src, dst))), expected);
        let behind = extended(LINK_LOCAL, &[PROTOCOL_DESTINATION_OPTIONS], PROTOCOL_UDP, &udp(src, dst));
        assert_eq!(check6(guards, &behind), expected);
        let first = fragment(LINK_LOCAL, 0, true, PROTOCOL_UDP, &udp(src, dst));
        assert_eq!(check6(guards, &first), expected);
    }
}

/// A neighbour discovery message: a target if it has one, and options of one MAC each.
fn nd(kind: u8, target: Option<&str>, options: &[(u8, Mac)]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.iter().flat_map(|target| target.parse::<Ipv6Addr>().unwrap().octets()));
    message.extend(options.iter().flat_map(|(kind, mac)| [&[*kind, 1], &mac.0[..]].concat()));
    message
}

#[test]
fn nobody_announces_a_router_however_it_is_wrapped() {
    use PROTOCOL_AUTHENTICATION as AUTHENTICATION;
    use PROTOCOL_DESTINATION_OPTIONS as OPTIONS;
    let guards = Guards { ra: true, ..OFF };
    let many = [OPTIONS; EXTENSIONS_MAX];
    let chains: [&[u8]; 7] = [
        &[],
        &[PROTOCOL_HOP_BY_HOP],
        &[OPTIONS],
        &[PROTOCOL_HOP_BY_HOP, OPTIONS, PROTOCOL_ROUTING, AUTHENTICATION, OPTIONS],
        &[PROTOCOL_FRAGMENT],
        &many,
        &[many.as_slice(), &[OPTIONS]].concat(),
    ];
    for kind in [ROUTER_ADVERTISEMENT, REDIRECT] {
        for chain in chains {
            let packet = extended(LINK_LOCAL, chain, PROTOCOL_ICMPV6, &nd(kind, None, &[]));
            assert_eq!(check6(guards, &packet), Err(RogueRa), "{kind} behind {chain:?}");
            // The chain cut off at any octet hides the message, in a packet that claims to be whole or not.
            for len in 40..packet.len() - 8 {
                assert_eq!(
                    check6(guards, &packet[..len]),
                    Err(RogueRa),
                    "{kind} behind {chain:?} cut at {len}"
                );
            }
        }
        let first = fragment(LINK_LOCAL, 0, true, PROTOCOL_ICMPV6, &nd(kind, None, &[]));
        assert_eq!(check6(guards, &first), Err(RogueRa));
        // The first fragment ends in the middle of the chain (RFC 7113 §2.2, figure 3).
        let split = fragment(LINK_LOCAL, 0, true, OPTIONS, &[PROTOCOL_ICMPV6, 3, 0, 0, 0, 0, 0, 0]);
        assert_eq!(check6(guards, &split), Err(RogueRa));
        let empty = fragment(LINK_LOCAL, 0, true, PROTOCOL_ICMPV6, &[]);
        assert_eq!(check6(guards, &empty), Err(RogueRa));
        let later = fragment(LINK_LOCAL, 1, false, PROTOCOL_ICMPV6, &nd(kind, None, &[]));
        assert_eq!(check6(guards, &later), Ok(()), "nothing is reassembled without a first fragment");
    }
    for harmless in [ROUTER_SOLICITATION, NEIGHBOUR_SOLICITATION, 128] {
        let packet = extended(LINK_LOCAL, &[OPTIONS], PROTOCOL_ICMPV6, &nd(harmless, Some(OTHER6), &[]));
        assert_eq!(check6(guards, &packet), Ok(()));
    }
    let tcp = [&[0x12, 0x34, 0, 80][..], &[0; 8], &[0x50], &[0; 7]].concat();
    assert_eq!(check6(guards, &extended(OWN6, &[OPTIONS], 6, &tcp)), Ok(()));
    assert_eq!(check6(guards, &ipv6(OWN6, 59, &[])), Ok(()), "no next header");
}

#[test]
fn neighbour_discovery_speaks_for_the_ports_addresses_and_tells_the_truth_about_its_mac() {
    const SOURCE: u8 = OPTION_SOURCE_MAC;
    const TARGET: u8 = OPTION_TARGET_MAC;
    type Case<'a> = (u8, &'a str, Option<&'a str>, &'a [(u8, Mac)], bool);
    let cases: [Case<'_>; 16] = [
        (NEIGHBOUR_SOLICITATION, OWN6, Some(OTHER6), &[(SOURCE, mac(1))], true),
        (NEIGHBOUR_SOLICITATION, LINK_LOCAL, Some(OTHER6), &[(SOURCE, mac(1))], true),
        (NEIGHBOUR_SOLICITATION, UNSPECIFIED, Some(OTHER6), &[], true),
        (NEIGHBOUR_SOLICITATION, OTHER6, Some(OWN6), &[], false),
        (NEIGHBOUR_SOLICITATION, OWN6, Some(OTHER6), &[(SOURCE, mac(2))], false),
        (NEIGHBOUR_SOLICITATION, OWN6, Some(OTHER6), &[(SOURCE, mac(1)), (SOURCE, mac(2))], false),
        (NEIGHBOUR_SOLICITATION, OWN6, Some(OTHER6), &[(14, mac(2)), (SOURCE, mac(1))], true),
        (NEIGHBOUR_ADVERTISEMENT, OWN6, Some(OWN6), &[(TARGET, mac(1))], true),
        (NEIGHBOUR_ADVERTISEMENT, LINK_LOCAL, Some(OWN6), &[(TARGET, mac(1))], true),
        (NEIGHBOUR_ADVERTISEMENT, OWN6, Some(LINK_LOCAL), &[], true),
        (NEIGHBOUR_ADVERTISEMENT, OWN6, Some(OTHER6), &[(TARGET, mac(1))], false),
        (NEIGHBOUR_ADVERTISEMENT, OTHER6, Some(OWN6), &[(TARGET, mac(1))], false),
        (NEIGHBOUR_ADVERTISEMENT, UNSPECIFIED, Some(OWN6), &[], false),
        (NEIGHBOUR_ADVERTISEMENT, OWN6, Some(OWN6), &[(TARGET, mac(2))], false),
        (ROUTER_SOLICITATION, UNSPECIFIED, None, &[], true),
        (ROUTER_SOLICITATION, OTHER6, None, &[(SOURCE, mac(1))], false),
    ];
    let guards = Guards { nd: true, ..OFF };
    for (kind, src, target, options, is_honest) in cases {
        let message = nd(kind, target, options);
        let verdict = |packet: &[u8]| check6(guards, packet).err();
        let expected = if is_honest { None } else { Some(SpoofedNd) };
        let note = std::format!("{kind} from {src} for {target:?} with {options:?}");
        assert_eq!(verdict(&ipv6(src, PROTOCOL_ICMPV6, &message)), expected, "{note}");
        let chain = [PROTOCOL_HOP_BY_HOP, PROTOCOL_DESTINATION_OPTIONS];
        assert_eq!(verdict(&extended(src, &chain, PROTOCOL_ICMPV6, &message)), expected, "{note}");
        let first = fragment(src, 0, true, PROTOCOL_ICMPV6, &message);
        assert_eq!(verdict(&first), Some(SpoofedNd), "{note} in fragments");
        for len in 1..message.len().min(24) {
            if kind != ROUTER_SOLICITATION {
                assert_eq!(
                    verdict(&ipv6(src, PROTOCOL_ICMPV6, &message[..len])),
                    Some(SpoofedNd),
                    "{note} cut"
                );
            }
        }
    }
    let echo = ipv6(OTHER6, PROTOCOL_ICMPV6, &nd(128, None, &[]));
    assert_eq!(check6(guards, &echo), Ok(()), "only neighbour discovery is looked at");
}

#[test]
fn options_that_lie_about_their_length_are_refused() {
    let guards = Guards { nd: true, ..OFF };
    for words in [0, 2, 255] {
        let mut message = nd(NEIGHBOUR_SOLICITATION, Some(OTHER6), &[(OPTION_SOURCE_MAC, mac(1))]);
        message[25] = words;
        assert_eq!(check6(guards, &ipv6(OWN6, PROTOCOL_ICMPV6, &message)), Err(SpoofedNd), "{words}");
    }
}

#[test]
fn what_is_hidden_is_refused_under_the_first_guard_that_is_on() {
    let hidden = &ipv6(LINK_LOCAL, PROTOCOL_DESTINATION_OPTIONS, &[PROTOCOL_ICMPV6, 9, 0, 0, 0, 0, 0, 0]);
    assert_eq!(check6(Guards { ra: true, nd: true, dhcp: true, ..OFF }, hidden), Err(RogueRa));
    assert_eq!(check6(Guards { nd: true, dhcp: true, ..OFF }, hidden), Err(SpoofedNd));
    assert_eq!(check6(Guards { dhcp: true, ..OFF }, hidden), Err(RogueDhcp));
    assert_eq!(check6(Guards { mac: true, arp: true, ..OFF }, hidden), Ok(()));
}

#[test]
fn no_octets_make_a_guard_panic() {
    let mut rng = wire::Rng::seeded(0x5eed);
    let guards = Guards { arp: true, nd: true, ra: true, dhcp: true, ..OFF };
    let seeds = [
        (ETHERTYPE_ARP, arp(1, mac(1), OWN4)),
        (ETHERTYPE_IPV4, udp4(8, 0, 68, 67, &[1])),
        (
            ETHERTYPE_IPV6,
            extended(OWN6, &[0, 60, 43, 51], PROTOCOL_ICMPV6, &nd(135, Some(OWN6), &[(1, mac(1))])),
        ),
        (ETHERTYPE_IPV6, fragment(OWN6, 0, false, PROTOCOL_UDP, &[2, 34, 2, 35, 0, 8, 0, 0])),
    ];
    let mut passed = 0;
    for _ in 0..20_000 {
        let (ethertype, mut packet) = seeds[usize::try_from(rng.below(4)).unwrap()].clone();
        for _ in 0..rng.below(4) {
            let at = usize::try_from(rng.below(packet.len() as u64)).unwrap();
            packet[at] = rng.next_u64().to_be_bytes()[0];
        }
        packet.truncate(usize::try_from(rng.below(2 * packet.len() as u64)).unwrap());
        passed += u32::from(check_from(guards, mac(1), ethertype, &packet).is_ok());
    }
    assert!((2_000..18_000).contains(&passed), "{passed} passed: the test would show little");
}
