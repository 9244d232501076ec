//! Who is answered for, with what, how long, and who is not.

use core::net::Ipv4Addr;
use std::vec::Vec;

use super::*;
use crate::plan::{Isolation, SwitchPlan};
use crate::testing::{frame, mac, millis, secs, switch, three_ports};

fn answering() -> SwitchPlan {
    let mut plan = three_ports();
    plan.domains[0].answers = true;
    plan
}

const fn v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)
}

/// An ARP packet of station `from`, which has the address `sender`.
fn arp(dst: Mac, operation: Operation, from: u8, sender: Ipv4Addr, target: Ipv4Addr) -> FrameBuf {
    let repr = arp::Repr::EthernetIpv4 {
        operation,
        source_hardware_addr: mac(from).into(),
        source_protocol_addr: sender,
        target_hardware_addr: Mac::default().into(),
        target_protocol_addr: target,
    };
    let mut octets = [0; arp::PACKET_LEN];
    repr.emit(&mut arp::Packet::new_unchecked(&mut octets[..]));
    frame(dst, mac(from), &[], ETHERTYPE_ARP, &octets)
}

fn asks(from: u8, target: u8) -> FrameBuf {
    arp(Mac::BROADCAST, Operation::Request, from, v4(from), v4(target))
}

/// Neighbour discovery of station `from`.
fn nd(dst: Mac, from: u8, src: Ipv6Addr, to: Ipv6Addr, repr: NdRepr<'_>) -> FrameBuf {
    let repr = Repr::Ndisc(repr);
    let mut packet = std::vec![0; IPV6_LEN + repr.buffer_len()];
    packet[0] = 0x60;
    packet[5] = u8::try_from(repr.buffer_len()).unwrap();
    (packet[6], packet[7]) = (PROTOCOL_ICMPV6, HOP_LIMIT);
    packet[8..24].copy_from_slice(&src.octets());
    packet[24..40].copy_from_slice(&to.octets());
    let mut message = icmpv6::Packet::new_unchecked(&mut packet[IPV6_LEN..]);
    repr.emit(&src, &to, &mut message, &ChecksumCapabilities::default());
    frame(dst, mac(from), &[], ETHERTYPE_IPV6, &packet)
}

fn solicits(from: u8, src: Ipv6Addr, target: u16) -> FrameBuf {
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, target);
    let mac_of_sender = arp::EthernetAddress::from(mac(from));
    let lladdr = (!src.is_unspecified()).then(|| mac_of_sender.into());
    let [a, b] = target.to_be_bytes();
    nd(
        Mac([0x33, 0x33, 0xff, 0, a, b]),
        from,
        src,
        group,
        NdRepr::NeighborSolicit { target_addr: v6(target), lladdr },
    )
}

fn advertises(from: u8, flags: NeighborFlags, asker: u8) -> FrameBuf {
    let lladdr = Some(arp::EthernetAddress::from(mac(from)).into());
    let own = v6(u16::from(from));
    nd(
        mac(asker),
        from,
        own,
        v6(u16::from(asker)),
        NdRepr::NeighborAdvert { flags, target_addr: own, lladdr },
    )
}

/// The frame's way through the rooms that matter here; the answer, if there is one.
fn comes(switch: &mut Switch, now: Instant, port: u16, mut frame: FrameBuf) -> Option<Vec<u8>> {
    let admitted = switch.admit(now, PortId(port), &mut frame).unwrap();
    switch.learn(now, &admitted);
    switch.overhear(now, &admitted, &frame);
    let answered = switch.answer(now, &admitted, &mut frame);
    answered.map(|_| frame.bytes().to_vec())
}

#[test]
fn who_has_spoken_is_answered_for() {
    let mut switch = switch(&answering());
    assert_eq!(comes(&mut switch, secs(1), 1, asks(2, 9)), None, "nobody knows station 9");
    let reply = arp(mac(1), Operation::Reply, 2, v4(2), v4(1));
    let mut expected = reply.bytes().to_vec();
    expected[32..38].copy_from_slice(&mac(1).0);
    assert_eq!(comes(&mut switch, secs(2), 0, asks(1, 2)), Some(expected));
    assert_eq!(switch.bindings_count(), 2);
    // And the other way round: the question has told who asks.
    assert!(comes(&mut switch, secs(2), 1, asks(2, 1)).is_some());
}

#[test]
fn ipv6_is_answered_from_advertisements_with_their_flags() {
    let mut switch = switch(&answering());
    for (seconds, flags, said) in [
        (1, NeighborFlags::SOLICITED | NeighborFlags::OVERRIDE, 0x40),
        (2, NeighborFlags::ROUTER | NeighborFlags::SOLICITED, 0xc0),
    ] {
        assert_eq!(comes(&mut switch, secs(seconds), 1, advertises(2, flags, 1)), None);
        let answer = comes(&mut switch, secs(seconds), 0, solicits(1, v6(1), 2)).unwrap();
        assert_eq!(answer[..12], [mac(1).0, mac(2).0].concat());
        let message = icmpv6::Packet::new_checked(&answer[54..]).unwrap();
        let read = Repr::parse(&v6(2), &v6(1), &message, &ChecksumCapabilities::default()).unwrap();
        assert!(
            matches!(read, Repr::Ndisc(NdRepr::NeighborAdvert { target_addr, .. }) if target_addr == v6(2))
        );
        assert_eq!(answer[58], said);
    }
    assert_eq!(comes(&mut switch, secs(3), 0, solicits(1, Ipv6Addr::UNSPECIFIED, 2)), None, "a probe");
    assert_eq!(comes(&mut switch, secs(3), 1, solicits(2, v6(2), 1)), None, "a solicitation tells nothing");
}

#[test]
fn what_is_not_answered() {
    let broadcast = Mac::BROADCAST;
    for (what, port, question) in [
        ("from the station's own port", 1, asks(3, 2)),
        ("unicast", 0, arp(mac(2), Operation::Request, 1, v4(1), v4(2))),
        ("a probe", 0, arp(broadcast, Operation::Request, 1, Ipv4Addr::UNSPECIFIED, v4(2))),
        ("an announcement", 0, arp(broadcast, Operation::Request, 1, v4(2), v4(2))),
        ("a reply", 0, arp(broadcast, Operation::Reply, 1, v4(1), v4(2))),
    ] {
        let mut switch = switch(&answering());
        comes(&mut switch, secs(1), 1, asks(2, 9));
        assert_eq!(comes(&mut switch, secs(1), port, question), None, "{what}");
    }
    let mut unasked = switch(&three_ports());
    comes(&mut unasked, secs(1), 1, asks(2, 9));
    assert_eq!(comes(&mut unasked, secs(1), 0, asks(1, 2)), None, "the plan does not want it");
    assert_eq!(unasked.bindings_count(), 0);
}

#[test]
fn a_binding_holds_as_long_as_its_station_and_its_way() {
    let mut switch = switch(&answering());
    comes(&mut switch, secs(1), 1, asks(2, 9));
    assert!(comes(&mut switch, secs(300), 0, asks(1, 2)).is_some());
    assert_eq!(comes(&mut switch, secs(302), 0, asks(1, 2)), None, "too long ago");
    // The station moves: what it said elsewhere does not hold until it says it again.
    comes(&mut switch, secs(303), 1, asks(2, 9));
    let mut moved = frame(mac(9), mac(2), &[], 0x88b5, b"from another port");
    let admitted = switch.admit(secs(304), PortId(2), &mut moved).unwrap();
    switch.learn(secs(304), &admitted);
    assert_eq!(comes(&mut switch, secs(304), 0, asks(1, 2)), None);
    comes(&mut switch, secs(305), 2, asks(2, 9));
    assert!(comes(&mut switch, secs(305), 0, asks(1, 2)).is_some());
    // Another plan: between isolated ports there is no way; a port that is another one has said nothing.
    let mut plan = answering();
    plan.ports[0].isolation = Isolation::Isolated;
    plan.ports[2].isolation = Isolation::Isolated;
    switch.configure(secs(306), &plan);
    assert_eq!(comes(&mut switch, secs(306), 0, asks(1, 2)), None);
    switch.configure(secs(306), &answering());
    assert!(comes(&mut switch, secs(306), 0, asks(1, 2)).is_some());
    let mut plan = answering();
    plan.ports[2].serial += 1;
    switch.configure(secs(307), &plan);
    assert_eq!(switch.bindings_count(), 1, "station 1's");
}

#[test]
fn a_port_fills_its_own_share() {
    let mut switch = switch(&answering());
    comes(&mut switch, secs(1), 0, asks(1, 9));
    let invents = |switch: &mut Switch, now: Instant, number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        let question = arp(Mac::BROADCAST, Operation::Request, 2, Ipv4Addr::new(11, a, b, c), v4(9));
        comes(switch, now, 1, question);
    };
    for number in 0..BINDINGS_PER_PORT_MAX + 10 {
        invents(&mut switch, millis(1_500), number);
    }
    assert_eq!(switch.bindings_count(), 1 + BINDINGS_PER_PORT_MAX as usize);
    comes(&mut switch, secs(2), 2, asks(3, 9));
    assert!(comes(&mut switch, secs(2), 0, asks(1, 3)).is_some(), "there is room for others");
    invents(&mut switch, secs(400), BINDINGS_PER_PORT_MAX + 10);
    assert_eq!(switch.bindings_count(), 1, "what is too old makes room");
}
