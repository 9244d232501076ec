//! Whose a datagram is, what is refused, and that what leaves comes in at the other end.

use super::*;
use crate::plan::{PlanError, UNDERLAYS_MAX, check};
use crate::tests::buffer;
use core::net::{Ipv4Addr, Ipv6Addr};
use proptest::prelude::*;
use std::vec;
use wire::offload::{DATA_VALID, NEEDS_CSUM};
use wire::{Mac, UnicastMac};

/// From 10.0.2.9, UDP, congestion-aware.
const PACKET: [u8; 28] =
    [0x45, 2, 0, 28, 0, 0, 0, 0, 64, 17, 0x62, 0xbf, 10, 0, 2, 9, 10, 0, 1, 9, 0, 7, 0, 7, 0, 8, 0, 0];

fn frame() -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00][..], &PACKET].concat()
}

fn end(last: u8, l4_port: u16) -> Endpoint {
    Endpoint { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), l4_port }
}

fn end6(last: u16, l4_port: u16) -> Endpoint {
    Endpoint { address: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)), l4_port }
}

fn underlay(id: u16, local: Endpoint, format: Format) -> UnderlayPlan {
    UnderlayPlan { id: UnderlayId(id), local, format, takes: Egress::NONE }
}

/// Underlay 0 is VXLAN over IPv4, 1 over IPv6, 2 bare.
fn underlays() -> Vec<UnderlayPlan> {
    vec![
        underlay(0, end(1, 4789), Format::Vxlan),
        underlay(1, end6(1, 4789), Format::Vxlan),
        underlay(2, end(1, 8285), Format::BareIp),
    ]
}

fn vxlan_to(port: u16, underlay: u16, remote: Endpoint, number: u32) -> TunnelPlan {
    let encapsulation = Encapsulation::Vxlan(Vni::new(number).unwrap());
    TunnelPlan {
        port: PortId(port),
        underlay: UnderlayId(underlay),
        remote,
        encapsulation,
        sources: Vec::new(),
        inner_dst: None,
    }
}

fn bare_to(port: u16, remote: Endpoint) -> TunnelPlan {
    let mac = |last| UnicastMac::new(Mac([2, 0, 0, 0, 0, last])).unwrap();
    let encapsulation = Encapsulation::BareIp { local: mac(1), remote: mac(2) };
    TunnelPlan { encapsulation, ..vxlan_to(port, 2, remote, 0) }
}

fn tunnels(plans: &[TunnelPlan]) -> Tunnels {
    assert_eq!(check(&underlays(), plans), Ok(()));
    let mut tunnels = Tunnels::new();
    tunnels.configure(&underlays(), plans);
    tunnels
}

/// What enters, and through which port.
fn admit(
    tunnels: &Tunnels,
    underlay: u16,
    from: Endpoint,
    payload: &[u8],
) -> Result<(u16, Vec<u8>), (Option<u16>, DropReason)> {
    let mut datagram = buffer(payload);
    match tunnels.admit(UnderlayId(underlay), from, Ecn::NotEct, &mut datagram) {
        Ok(port) => Ok((port.0, datagram.bytes().to_vec())),
        Err(Refused { port, reason }) => Err((port.map(|port| port.0), reason)),
    }
}

fn deliver(tunnels: &Tunnels, port: u16, bytes: &[u8]) -> Result<(Carrier, Vec<u8>), DropReason> {
    let mut frame = buffer(bytes);
    frame.offload.flags = DATA_VALID;
    let carrier = tunnels.deliver(tunnels.way(PortId(port)).unwrap(), &mut frame)?;
    assert_eq!(frame.offload, Offload::NONE);
    Ok((carrier, frame.bytes().to_vec()))
}

#[test]
fn a_datagram_enters_through_the_port_of_its_sender_and_network() {
    let tunnels = tunnels(&[
        vxlan_to(3, 0, end(2, 4789), 42),
        vxlan_to(4, 0, end(2, 4789), 43),
        vxlan_to(5, 0, end(3, 4789), 42),
        vxlan_to(6, 1, end6(2, 4789), 42),
        bare_to(7, end(2, 8285)),
    ]);
    for port in 3..7 {
        let (carrier, payload) = deliver(&tunnels, port, &frame()).unwrap();
        assert_eq!(carrier, Carrier { flow: FlowHash::of(&frame()), ecn: Ecn::Ect0 });
        let way = tunnels.way(PortId(port)).unwrap();
        // From whatever L4 port.
        let from = Endpoint { l4_port: 50_000, ..way.remote };
        assert_eq!(admit(&tunnels, way.underlay.0, from, &payload), Ok((port, frame())));
    }
    let (carrier, payload) = deliver(&tunnels, 7, &frame()).unwrap();
    assert_eq!((carrier.ecn, &payload[..]), (Ecn::NotEct, &PACKET[..]));
    assert_eq!(admit(&tunnels, 2, end(2, 8285), &payload), Ok((7, frame())));
    assert!(!tunnels.is_tunnel(PortId(0)) && !tunnels.is_tunnel(PortId(u16::MAX)));
}

#[test]
fn strangers_are_refused_under_a_name() {
    let mut narrow = vxlan_to(5, 0, end(4, 4789), 42);
    narrow.sources = vec!["10.0.3.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
    let mut wide = vxlan_to(6, 0, end(5, 4789), 42);
    wide.sources = vec!["10.0.2.0/24".parse().unwrap()];
    let inner_dst = UnicastMac::new(Mac([2, 0, 0, 0, 0, 9]));
    let other = TunnelPlan { inner_dst, ..vxlan_to(8, 0, end(6, 4789), 42) };
    let tunnels =
        tunnels(&[vxlan_to(3, 0, end(2, 4789), 42), vxlan_to(4, 1, end6(2, 4789), 44), narrow, wide, other]);
    let of = |number: u8| [&[8, 0, 0, 0, 0, 0, number, 0][..], &frame()].concat();
    let mut arp = of(42);
    arp[21] = 6;
    for (underlay, from, payload, refused) in [
        (9, end(2, 1), of(42), (None, DropReason::NoPort)),
        (0, end(2, 1), of(43), (None, DropReason::UnknownVni)),
        (0, end(2, 1), of(44), (None, DropReason::UnknownVni)), // The other underlay's.
        (0, end(3, 1), of(42), (None, DropReason::UnlistedPeer)),
        (1, end6(3, 1), of(44), (None, DropReason::UnlistedPeer)),
        (2, end(2, 1), PACKET.to_vec(), (None, DropReason::UnlistedPeer)),
        (0, end(2, 1), of(42)[..7].to_vec(), (None, DropReason::EncapTruncated)),
        (0, end(2, 1), vec![0; 60], (None, DropReason::EncapFlags)),
        (0, end(4, 1), of(42), (Some(5), DropReason::InnerSource)),
        (0, end(4, 1), of(42)[..40].to_vec(), (Some(5), DropReason::InnerSource)),
        (0, end(4, 1), of(42)[..30].to_vec(), (Some(5), DropReason::InnerSource)),
        (0, end(5, 1), of(42)[..21].to_vec(), (Some(6), DropReason::Runt)),
        (0, end(5, 1), arp, (Some(6), DropReason::InnerSource)),
        (0, end(6, 1), of(42), (Some(8), DropReason::InnerMac)),
        (0, end(6, 1), of(42)[..12].to_vec(), (Some(8), DropReason::InnerMac)),
    ] {
        assert_eq!(admit(&tunnels, underlay, from, &payload), Err(refused), "{payload:02x?}");
    }
    assert_eq!(admit(&tunnels, 0, end(5, 1), &of(42)), Ok((6, frame())));
}

#[test]
fn congestion_outside_shows_inside() {
    let tunnels = tunnels(&[vxlan_to(3, 0, end(2, 4789), 42)]);
    let (_, payload) = deliver(&tunnels, 3, &frame()).unwrap();
    let mut datagram = buffer(&payload);
    assert_eq!(tunnels.admit(UnderlayId(0), end(2, 1), Ecn::Ce, &mut datagram), Ok(PortId(3)));
    assert_eq!(Ecn::of_frame(datagram.bytes()), Some(Ecn::Ce));
    let mut deaf = payload;
    deaf[8 + 15] = 0;
    let mut datagram = buffer(&deaf);
    let refused = Err(Refused { port: Some(PortId(3)), reason: DropReason::EncapEcn });
    assert_eq!(tunnels.admit(UnderlayId(0), end(2, 1), Ecn::Ce, &mut datagram), refused);
}

#[test]
fn a_tunnel_of_bare_packets_carries_nothing_else() {
    let tunnels = tunnels(&[bare_to(7, end(2, 8285))]);
    let mut arp = frame();
    arp[13] = 6;
    assert_eq!(deliver(&tunnels, 7, &arp), Err(DropReason::NotIp));
    let refused = |payload: &[u8]| admit(&tunnels, 2, end(2, 8285), payload).unwrap_err();
    assert_eq!(refused(&PACKET[..27]), (Some(7), DropReason::EncapTruncated));
    assert_eq!(refused(&[0x15; 60]), (Some(7), DropReason::EncapFlags));
}

#[test]
fn a_new_plan_replaces_the_old_one() {
    let mut tunnels = tunnels(&[vxlan_to(7, 0, end(2, 4789), 42)]);
    tunnels.configure(&underlays(), &[vxlan_to(1, 0, end(3, 4789), 42)]);
    assert_eq!(tunnels.way(PortId(7)), None);
    let payload = [&[8, 0, 0, 0, 0, 0, 42, 0][..], &frame()].concat();
    assert_eq!(admit(&tunnels, 0, end(2, 1), &payload), Err((None, DropReason::UnlistedPeer)));
    assert_eq!(admit(&tunnels, 0, end(3, 1), &payload), Ok((1, frame())));
}

#[test]
#[should_panic(expected = "offloads are finished")]
fn an_unfinished_frame_never_enters_a_tunnel_that_takes_none() {
    let mut frame = buffer(&frame());
    frame.offload.flags = NEEDS_CSUM;
    let tunnels = tunnels(&[vxlan_to(3, 0, end(2, 4789), 42)]);
    let _ = tunnels.deliver(tunnels.way(PortId(3)).unwrap(), &mut frame);
}

#[test]
fn contradictions_are_refused() {
    let refused = |id| Err(PlanError::Underlay(UnderlayId(id)));
    let past_the_end = u16::try_from(UNDERLAYS_MAX).unwrap();
    for (second, verdict) in [
        (underlay(1, end(1, 4790), Format::Vxlan), Ok(())),
        (underlay(0, end(1, 4790), Format::Vxlan), refused(0)),
        (underlay(1, end(1, 4789), Format::BareIp), refused(1)),
        (underlay(1, end(1, 0), Format::Vxlan), refused(1)),
        (underlay(past_the_end, end(1, 4790), Format::Vxlan), refused(past_the_end)),
    ] {
        assert_eq!(check(&[underlay(0, end(1, 4789), Format::Vxlan), second], &[]), verdict);
    }
    let refused = Err(PlanError::Tunnel(PortId(4)));
    for (second, verdict) in [
        (vxlan_to(4, 0, end(2, 4789), 43), Ok(())),
        (vxlan_to(4, 0, end(3, 4789), 42), Ok(())),
        (vxlan_to(4, 0, end(2, 4790), 42), refused), // Its datagrams come from the same address.
        (vxlan_to(4, 0, end6(2, 4789), 43), refused),
        (vxlan_to(4, 2, end(2, 4789), 42), refused),
        (vxlan_to(4, 9, end(2, 4789), 42), refused),
        (vxlan_to(4, 0, end(2, 0), 43), refused),
        (bare_to(4, end(2, 8285)), Ok(())),
        (vxlan_to(3, 0, end(3, 4789), 42), Err(PlanError::Tunnel(PortId(3)))),
    ] {
        let verdict_is = check(&underlays(), &[vxlan_to(3, 0, end(2, 4789), 42), second.clone()]);
        assert_eq!(verdict_is, verdict, "{second:?}");
    }
}

proptest! {
    #[test]
    fn any_datagram_is_admitted_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        underlay in 0..3_u16,
        outer in 0..4_u8,
    ) {
        let mut narrow = vxlan_to(3, 0, end(2, 4789), 0);
        narrow.sources = vec!["10.0.0.0/8".parse().unwrap()];
        let tunnels = tunnels(&[narrow, vxlan_to(4, 1, end6(2, 4789), 0), bare_to(7, end(2, 8285))]);
        let from = if underlay == 1 { end6(2, 1) } else { end(2, 1) };
        let mut datagram = buffer(&bytes);
        if tunnels.admit(UnderlayId(underlay), from, Ecn::of(outer), &mut datagram).is_ok() {
            prop_assert!(datagram.len() <= bytes.len() + ethernet::HEADER_LEN);
        }
    }
}
