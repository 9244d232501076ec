//! The corridor end to end, with frames written by hand. What each room decides is tested in its own crate.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use encap::{Encapsulation, Endpoint, Format, TunnelPlan, UnderlayId, UnderlayPlan, Vni};
use vrouter::fib::{Fib, Route, Target};
use vrouter::nat::SessionFilter;
use vrouter::{AclAction, AclEnd, AclRule, Gateway};
use vswitch::{DomainPlan, Guards, Isolation, Membership, PortPlan, ReservedForward, Storm, SwitchPlan};
use wire::offload::{Gso, NEEDS_CSUM, VNET_HDR_LEN};
use wire::{DomainId, DropReason, Ecn, FlowHash, FrameBuf, Instant, Mac, Offload, PortId, UnicastMac, Vid};

use crate::{Event, Gossip, Node, Notice, Outbox, Plan, PlanError};

fn port(id: u16, memberships: &[(u16, Option<u16>)]) -> PortPlan {
    let membership = |(domain, vid): &(u16, Option<u16>)| Membership {
        domain: DomainId(*domain),
        vid: vid.map(|vid| Vid::new(vid).unwrap()),
    };
    PortPlan {
        id: PortId(id),
        serial: 0,
        memberships: memberships.iter().map(membership).collect(),
        mtu: 1500,
        stations_max: 100,
        isolation: Isolation::Open,
        horizon: None,
        mac: None,
        addresses: Vec::new(),
        guards: Guards::default(),
        storm: Storm::default(),
    }
}

fn domain(id: u16) -> DomainPlan {
    DomainPlan {
        id: DomainId(id),
        ageing: Duration::from_secs(300),
        stations_max: 100,
        reserved_forward: ReservedForward::default(),
        answers: false,
    }
}

/// Ports 0 and 1 untagged in domain 0; port 2 a trunk with domain 0 as VLAN 10.
fn plan() -> Plan {
    let ports = alloc::vec![port(0, &[(0, None)]), port(1, &[(0, None)]), port(2, &[(0, Some(10))])];
    let plan = Plan {
        switch: SwitchPlan { domains: alloc::vec![domain(0)], ports, statics: Vec::new() },
        ..Plan::default()
    };
    plan.check().unwrap();
    plan
}

fn node() -> (Node, Outbox) {
    let (mut node, mut out) = (Node::new(1), Outbox::default());
    node.handle(Instant::ZERO, Event::Configure(Arc::new(plan())), &mut out);
    (node, out)
}

fn arrives(node: &mut Node, out: &mut Outbox, at: u16, bytes: &[u8]) {
    let mut frame = out.pool.take();
    assert!(frame.fill(bytes));
    node.handle(Instant::ZERO, Event::Frame { port: PortId(at), frame }, out);
    assert!(node.counters().balance(), "{:?}", node.counters());
}

fn sent(out: &mut Outbox) -> Vec<(u16, Vec<u8>)> {
    let sends = out.sends().to_vec();
    let sent = sends.iter().map(|send| (send.port.0, out.frame(*send).bytes().to_vec())).collect();
    out.clear_sends();
    sent
}

fn frame(dst: u8, src: u8) -> Vec<u8> {
    let mut frame = alloc::vec![2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 0x88, 0xb5];
    frame.extend_from_slice(b"payload");
    frame
}

fn tagged(vid: u8, dst: u8, src: u8) -> Vec<u8> {
    let mut frame = frame(dst, src);
    frame.splice(12..12, [0x81, 0x00, 0, vid]);
    frame
}

#[test]
fn a_flood_shares_one_buffer_and_copies_for_the_tag() {
    let (mut node, mut out) = node();
    arrives(&mut node, &mut out, 0, &frame(2, 1));
    assert_eq!(sent(&mut out), [(1, frame(2, 1)), (2, tagged(10, 2, 1))]);
    assert_eq!(node.counters().flood_copies, 1);
    assert_eq!(
        out.notices,
        [Notice::StationLearned {
            domain: DomainId(0),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            port: PortId(0)
        }]
    );
}

#[test]
fn a_tag_is_taken_off_and_put_on_at_the_edges() {
    let (mut node, mut out) = node();
    arrives(&mut node, &mut out, 2, &tagged(10, 9, 3));
    assert_eq!(sent(&mut out), [(0, frame(9, 3)), (1, frame(9, 3))]);
    arrives(&mut node, &mut out, 0, &frame(3, 1));
    assert_eq!(sent(&mut out), [(2, tagged(10, 3, 1))]);
}

#[test]
fn a_drop_returns_its_buffer_and_is_counted_where_it_entered() {
    let (mut node, mut out) = node();
    arrives(&mut node, &mut out, 1, &frame(2, 1)[..13]);
    assert!(sent(&mut out).is_empty());
    assert_eq!(node.counters().ports[1].drops.of(DropReason::Runt), 1);
    assert_eq!((node.counters().dropped, out.pool.spare_count()), (1, 1));
}

#[test]
fn a_warm_corridor_takes_no_new_buffers() {
    let (mut node, mut out) = node();
    arrives(&mut node, &mut out, 0, &frame(2, 1));
    sent(&mut out);
    let warm = out.pool.spare_count();
    for _ in 0..1000 {
        arrives(&mut node, &mut out, 0, &frame(2, 1));
        sent(&mut out);
        assert_eq!(out.pool.spare_count(), warm);
    }
}

#[test]
fn a_lone_node_does_not_gossip_and_a_replica_does() {
    let (mut node, mut out) = node();
    arrives(&mut node, &mut out, 0, &frame(2, 1));
    assert!(out.gossip.is_empty());

    let (mut replica, mut other) = (Node::new(1).with_replicas(0), Node::new(1).with_replicas(1));
    let plan = Arc::new(plan());
    replica.handle(Instant::ZERO, Event::Configure(Arc::clone(&plan)), &mut out);
    other.handle(Instant::ZERO, Event::Configure(plan), &mut out);
    out.clear_sends();
    arrives(&mut replica, &mut out, 0, &frame(2, 1));
    out.clear_sends();
    let gossip: Vec<Gossip> = out.gossip.drain(..).collect();
    assert_eq!(gossip.len(), 1);
    other.handle(Instant::ZERO, Event::Gossip(gossip[0]), &mut out);
    arrives(&mut other, &mut out, 1, &frame(1, 2));
    assert_eq!(sent(&mut out), [(0, frame(1, 2))], "the other replica knows where station 1 lives");
}

#[test]
fn what_the_router_may_have_to_hear_belongs_to_the_first_replica() {
    let gateway = Mac([2, 0, 0, 0, 0, 0xfe]);
    let mut plan = plan();
    let addresses = [[10, 0, 0, 254].into()].to_vec();
    let mac = UnicastMac::new(gateway).unwrap();
    plan.router.gateways = [Gateway::of_network(DomainId(0), mac, addresses, Vec::new())].to_vec();
    let (mut node, mut out) = (Node::new(1).with_replicas(1), Outbox::default());
    node.handle(Instant::ZERO, Event::Configure(Arc::new(plan)), &mut out);
    // UDP from 10.0.0.1 to 10.0.0.2, whose flow is the second replica's.
    let packet = |dst: Mac, l4_port: u16| {
        let l3 = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&dst.0[..], &[2, 0, 0, 0, 0, 1, 8, 0], &l3, &l4_port.to_be_bytes(), &[0, 9, 0, 8, 0, 0]].concat()
    };
    let others = |l4_port: &u16| FlowHash::of(&packet(gateway, *l4_port)).owner(2) == 1;
    let l4_port = (1..).find(others).unwrap();
    assert_eq!(node.owner(&packet(Mac([2, 0, 0, 0, 0, 2]), l4_port), 2), 1);
    assert_eq!(node.owner(&packet(gateway, l4_port), 2), 0);
    assert_eq!(node.owner(&packet(Mac::BROADCAST, l4_port), 2), 0);
    assert_eq!(node.owner(&[], 2), 0);
    // So the second replica's router has nothing to say, even where it is asked.
    let l2 = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
    let question = [&l2[..], &[2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 254]].concat();
    arrives(&mut node, &mut out, 0, &question);
    assert_eq!((node.counters().consumed, node.counters().originated), (0, 0));
}

#[test]
fn connections_end_and_neighbours_are_forgotten_by_events() {
    let gateway = UnicastMac::new(Mac([2, 0, 0, 0, 0, 0xfe])).unwrap();
    let subnet = "10.0.0.0/24".parse().unwrap();
    let own = [[10, 0, 0, 254].into()].to_vec();
    let mut plan = plan();
    plan.router.gateways = [Gateway::of_network(DomainId(0), gateway, own, [subnet].to_vec())].to_vec();
    let route = Route { prefix: subnet, target: Target::Connected(DomainId(0)) };
    plan.router.fib = Arc::new(Fib::build(&[route]).unwrap());
    // Under an access list connections are remembered.
    let (from, to) = (AclEnd::Anyone, AclEnd::Anyone);
    let rule = AclRule { action: AclAction::Allow, from, to, protocol: None, l4_ports: None };
    plan.router.acl = [rule].to_vec();
    plan.check().unwrap();
    let (mut node, mut out) = (Node::new(1), Outbox::default());
    node.handle(Instant::ZERO, Event::Configure(Arc::new(plan)), &mut out);
    let l2 = [2, 0, 0, 0, 0, 0xfe, 2, 0, 0, 0, 0, 1];
    let arp = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 254];
    let ip = [8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0x66, 0xcf, 10, 0, 0, 1, 10, 0, 0, 2];
    arrives(&mut node, &mut out, 0, &[&l2[..], &arp].concat());
    arrives(&mut node, &mut out, 0, &[&l2[..], &ip, &[0, 7, 0, 9, 0, 8, 0, 0]].concat());
    let known = |node: &Node| {
        (node.router().connections().stats().sessions, node.router().neighbours().stats().known)
    };
    assert_eq!(known(&node), (1, 1), "{:?}", node.counters());
    let elsewhere = SessionFilter { l4_port: Some(8), ..SessionFilter::default() };
    node.handle(Instant::ZERO, Event::KillSessions(elsewhere), &mut out);
    assert_eq!(known(&node), (1, 1));
    node.handle(Instant::ZERO, Event::KillSessions(SessionFilter::default()), &mut out);
    assert_eq!(known(&node), (0, 1));
    node.handle(Instant::ZERO, Event::FlushNeighbours { domain: None, address: None }, &mut out);
    assert_eq!(known(&node), (0, 0));
}

#[test]
fn a_port_that_takes_over_an_id_starts_at_zero_and_old_drops_stay_in_the_total() {
    let (mut node, mut out) = node();
    arrives(&mut node, &mut out, 1, &frame(2, 1)[..13]);
    let mut next = plan();
    next.switch.ports[1].serial = 1;
    node.handle(Instant::ZERO, Event::Configure(Arc::new(next)), &mut out);
    assert_eq!(node.counters().ports[1].rx_frames, 0);
    assert_eq!(node.counters().drops()[DropReason::Runt.index()], 1);
}

#[test]
fn notices_are_rate_limited() {
    let (mut node, mut out) = node();
    for turn in 0..1000_u16 {
        arrives(&mut node, &mut out, turn % 2, &frame(2, 1));
        sent(&mut out);
    }
    assert!(out.notices.len() <= 101, "{}", out.notices.len());
    assert!(node.counters().notices_suppressed > 0);
}

#[test]
fn a_super_segment_is_cut_for_a_tunnel_and_passes_whole_to_a_device() {
    let mut plan = plan();
    plan.switch.ports[2].memberships[0].vid = None;
    let plan = with_tunnel(plan, 2);
    plan.check().unwrap();
    let (mut node, mut out) = (Node::new(1), Outbox::default());
    node.handle(Instant::ZERO, Event::Configure(Arc::new(plan)), &mut out);

    let mut frame = out.pool.take();
    let len = super_segment(&mut frame, 1000, 2500);
    node.handle(Instant::ZERO, Event::Frame { port: PortId(0), frame }, &mut out);
    let sent = sent(&mut out);
    let lengths: Vec<(u16, usize)> = sent.iter().map(|(port, bytes)| (*port, bytes.len())).collect();
    assert_eq!(lengths, [(1, len), (2, 8 + 42 + 1000), (2, 8 + 42 + 1000), (2, 8 + 42 + 500)]);
    assert!(node.counters().balance());
}

/// The plan with a tunnel to 192.0.2.2 at this port.
fn with_tunnel(plan: Plan, port: u16) -> Plan {
    let end = |last: u8| Endpoint { address: [192, 0, 2, last].into(), l4_port: 4789 };
    let underlay = UnderlayPlan {
        id: UnderlayId(0),
        local: end(1),
        format: Format::Vxlan,
        takes: wire::segment::Egress::NONE,
    };
    let tunnel = TunnelPlan {
        port: PortId(port),
        underlay: UnderlayId(0),
        remote: end(2),
        encapsulation: Encapsulation::Vxlan(Vni::new(42).unwrap()),
        sources: Vec::new(),
        inner_dst: None,
    };
    Plan { underlays: alloc::vec![underlay], tunnels: alloc::vec![tunnel], ..plan }
}

#[test]
fn datagrams_are_counted_where_they_belong() {
    let mut plan = plan();
    plan.switch.ports[2].memberships[0].vid = None;
    let plan = with_tunnel(plan, 2);
    let (mut node, mut out) = (Node::new(1), Outbox::default());
    node.handle(Instant::ZERO, Event::Configure(Arc::new(plan)), &mut out);
    let mut arrives = |underlay: u16, last: u8, payload: &[u8]| {
        let mut datagram = out.pool.take();
        assert!(datagram.fill(payload));
        let from = Endpoint { address: [192, 0, 2, last].into(), l4_port: 50_000 };
        let event =
            Event::Datagram { underlay: UnderlayId(underlay), from, ecn: Ecn::NotEct, frame: datagram };
        node.handle(Instant::ZERO, event, &mut out);
        assert!(node.counters().balance(), "{:?}", node.counters());
        sent(&mut out)
    };
    let payload = [&[8, 0, 0, 0, 0, 0, 42, 0][..], &frame(9, 1)].concat();
    let flooded = arrives(0, 2, &payload);
    assert_eq!(flooded, [(0, frame(9, 1)), (1, frame(9, 1))]);
    assert_eq!(arrives(0, 3, &payload), []);
    assert_eq!(arrives(1, 2, &payload), []);

    // A frame cannot come in where there is no device.
    let mut bytes = out.pool.take();
    assert!(bytes.fill(&payload));
    node.handle(Instant::ZERO, Event::Frame { port: PortId(2), frame: bytes }, &mut out);
    assert_eq!(sent(&mut out), []);

    node.lost_at_underlay(UnderlayId(0), DropReason::Overrun, 3);
    let counters = node.counters();
    assert!(counters.balance());
    let (tunnel, underlay) = (&counters.ports[2], &counters.underlays[0]);
    assert_eq!((tunnel.rx_frames, tunnel.drops.of(DropReason::NoPort)), (2, 1));
    assert_eq!((underlay.rx_frames, underlay.drops.of(DropReason::UnlistedPeer)), (1, 1));
    assert_eq!(underlay.drops.of(DropReason::Overrun), 3);
    assert_eq!(counters.gone.drops.of(DropReason::NoPort), 1);
    assert_eq!(counters.drops()[DropReason::NoPort.index()], 2);
}

#[test]
fn a_datagram_s_owner_is_who_owns_what_is_inside() {
    let mut plan = plan();
    plan.switch.ports[2].memberships[0].vid = None;
    let (mut node, mut out) = (Node::new(1), Outbox::default());
    node.handle(Instant::ZERO, Event::Configure(Arc::new(with_tunnel(plan, 2))), &mut out);
    let mut buffer = out.pool.take();
    super_segment(&mut buffer, 100, 100);
    for l4_port in 0..16 {
        buffer.bytes_mut()[35] = l4_port;
        let payload = [&[8, 0, 0, 0, 0, 0, 42, 0][..], buffer.bytes()].concat();
        let owner = node.owner(buffer.bytes(), 4);
        assert_eq!(node.owner_of_datagram(UnderlayId(0), &payload, 4), owner);
    }
    assert_eq!(node.owner_of_datagram(UnderlayId(0), &[8, 0], 4), 0);
    assert_eq!(node.owner_of_datagram(UnderlayId(1), &[8; 60], 4), 0);
}

/// A UDP/IPv4 super-segment of `payload` octets in datagrams of `size`, as a container's stack makes it.
fn super_segment(frame: &mut FrameBuf, size: u16, payload: u16) -> usize {
    let mut bytes = self::frame(2, 1)[..12].to_vec();
    bytes.extend_from_slice(&[0x08, 0x00, 0x45, 0]);
    bytes.extend_from_slice(&(28 + payload).to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend_from_slice(&[0x10, 0, 0x20, 0]);
    bytes.extend_from_slice(&(8 + payload).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.resize(42 + usize::from(payload), 0x5a);
    let mut header = [0; VNET_HDR_LEN];
    let offload = Offload {
        flags: NEEDS_CSUM,
        gso: Gso::UdpL4,
        ecn: false,
        hdr_len: 42,
        gso_size: size,
        csum_start: 34,
        csum_offset: 6,
    };
    offload.emit(&mut header);
    let area = frame.receive_area();
    area[..VNET_HDR_LEN].copy_from_slice(&header);
    area[VNET_HDR_LEN..VNET_HDR_LEN + bytes.len()].copy_from_slice(&bytes);
    frame.received(VNET_HDR_LEN + bytes.len());
    bytes.len()
}

#[test]
fn a_tunnel_carries_one_domain_untagged() {
    let with = |port: u16| with_tunnel(plan(), port).check();
    assert_eq!(with(0), Ok(()));
    assert_eq!(with(2), Err(PlanError::Tunnel(PortId(2))), "a trunk");
    assert_eq!(with(9), Err(PlanError::Tunnel(PortId(9))), "nowhere");
}
