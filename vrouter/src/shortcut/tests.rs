//! The short way against the walk: the same frames through both, and the same must come of them. Every test of the walk
//! compares them too; here frames are drawn by chance from few choices, so that connections meet again and again.

use core::time::Duration;
use std::format;
use std::string::String;
use std::vec::Vec;

use wire::ethernet::EthernetHeader;
use wire::offload::{DATA_VALID, NEEDS_CSUM};
use wire::{DomainId, FramePool, Offload, PortId, Rng};

use super::AHEAD_MAX;
use crate::router::Arrival;
use crate::samples::Sample;
use crate::walk::tests::{A, B, I, UP, World, plan, publish};
use crate::{AclAction, AclEnd, AclRule, Filtering, Made, OneToOne, RouterPlan, Side, Turn};

/// Where stations live, and strangers who claim to.
const STATIONS: [(DomainId, &str); 13] = [
    (A, "172.16.0.2"),
    (A, "172.16.0.3"),
    (A, "fd16::2"),
    (B, "172.17.0.2"),
    (B, "fd17::2"),
    (I, "172.18.0.2"),
    (UP, "192.168.9.1"),
    (UP, "192.168.9.66"),
    (UP, "198.51.100.8"),
    (UP, "fd09::1"),
    (UP, "2001:db8::8"),
    (A, "172.17.0.2"),
    (UP, "172.16.0.2"),
];

/// Where packets go that go to none of them.
const OTHERS: [&str; 14] = [
    "172.16.0.1",
    "172.17.0.1",
    "192.168.9.7",
    "172.17.255.255",
    "172.17.0.0",
    "172.17.3.3",
    "10.1.0.1",
    "10.2.0.1",
    "224.0.0.5",
    "127.0.0.1",
    "fd17::1",
    "fd09::7",
    "fe80::1",
    "fd17::",
];

fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[usize::try_from(rng.below(choices.len() as u64)).unwrap()]
}

/// A plan by chance: what may be, what is published, which list holds.
fn any_plan(rng: &mut Rng) -> RouterPlan {
    let mut plan = plan();
    for gateway in &mut plan.gateways {
        if let Side::Network(policy) = &mut gateway.side {
            policy.isolated = rng.chance(1, 4);
            policy.separate_stations = rng.chance(1, 4);
            policy.masquerade_v6 = rng.chance(1, 3);
        }
        gateway.mtu = pick(rng, &[1500, 1500, 1280, 600]);
    }
    if rng.chance(1, 3) {
        plan.publishes.push(publish(1, 8080, "172.17.0.2", 80));
    }
    if rng.chance(1, 4) {
        let (outside, inside) = ("192.168.9.7".parse().unwrap(), "172.16.0.3".parse().unwrap());
        plan.one_to_one.push(OneToOne { outside, inside });
    }
    if rng.chance(1, 4) {
        let action = pick(rng, &[AclAction::Allow, AclAction::Deny, AclAction::Log]);
        let rule =
            AclRule { from: AclEnd::Anyone, to: AclEnd::Anyone, protocol: None, l4_ports: None, action };
        plan.acl.push(rule);
    }
    plan.nat.filtering = pick(rng, &[Filtering::EndpointIndependent, Filtering::AddressAndPortDependent]);
    plan
}

/// A frame by chance to a gateway: mostly plain.
fn any_frame(rng: &mut Rng, world: &World) -> (DomainId, Vec<u8>, Offload) {
    let (domain, src) = pick(rng, &STATIONS);
    let dst = if rng.chance(1, 6) { pick(rng, &OTHERS) } else { pick(rng, &STATIONS).1 };
    let dst =
        if src.contains(':') == dst.contains(':') { dst } else { pick(rng, &["192.168.9.66", "fd09::1"]) };
    if src.contains(':') != dst.contains(':') {
        return any_frame(rng, world);
    }
    let l4_ports = [pick(rng, &[4000, 4001, 80, 8080]), pick(rng, &[4000, 4001, 80, 8080])];
    let data = std::vec![0xa5; pick(rng, &[0, 4, 4, 4, 700, 1400])];
    let mut sample = if rng.chance(1, 2) {
        Sample::udp(src, dst, l4_ports, &data)
    } else {
        let flags = pick(rng, &[2, 18, 16, 16, 16, 24, 17, 4]); // SYN, SYN and ACK, ACK, PSH, FIN, RST
        Sample::tcp(src, dst, l4_ports, flags, &[], &data)
    };
    sample.ttl = pick(rng, &[64, 64, 64, 64, 64, 64, 64, 2, 1, 0]);
    sample.dont_fragment = rng.chance(1, 2);
    let mut bytes = world.addressed(domain, &sample);
    let l4 = bytes.len() - sample.l4.len();
    let mut offload = Offload::NONE;
    if rng.chance(1, 4) {
        let (csum_start, csum_offset) =
            (u16::try_from(l4).unwrap(), if sample.protocol == 17 { 6 } else { 16 });
        offload = Offload { flags: NEEDS_CSUM, csum_start, csum_offset, ..Offload::NONE };
    }
    match rng.below(12) {
        0 => bytes.extend([0; 6]), // Padding.
        1 => bytes.truncate(bytes.len() - 1),
        2 => {
            let at = usize::try_from(rng.below(bytes.len() as u64 - 14)).unwrap() + 14;
            bytes[at] ^= 1 << rng.below(8);
        }
        3 if sample.protocol == 17 => bytes[l4 + 6..l4 + 8].fill(0), // No checksum.
        _ => return (domain, bytes, offload),
    }
    // Nobody is to look whether its sums are right.
    (domain, bytes, Offload { flags: DATA_VALID, ..Offload::NONE })
}

/// What both routers have come to know, as far as anybody can ask.
fn known(world: &World) -> [String; 2] {
    [&world.router, &world.twin].map(|router| {
        let sessions = router.connections().list(world.now, 0, usize::MAX);
        let neighbours = router.neighbours().list(world.now);
        format!("{sessions:?} {neighbours:?} {:?}", router.connections().stats())
    })
}

#[test]
fn both_ways_agree_on_anything() {
    let mut forwarded = 0;
    for seed in 0..120 {
        let mut rng = Rng::seeded(seed);
        let mut world = World::new(any_plan(&mut rng));
        for step in 0..400 {
            let (domain, bytes, offload) = any_frame(&mut rng, &world);
            let (course, ..) = world.hand(domain, &bytes, offload); // Compares.
            forwarded += u32::from(course.contains(" ttl "));
            if step % 40 == 0 {
                let [found, by_walk] = known(&world);
                assert_eq!(found, by_walk, "seed {seed} step {step}: {course}");
            }
            if rng.chance(1, 60) {
                world.now = world.now + Duration::from_secs(pick(&mut rng, &[0, 1, 20, 40, 300]));
                world.turn(|router, turn| router.wake(turn));
            }
        }
    }
    assert!(forwarded > 5_000, "{forwarded} packets have left");
}

#[test]
fn plain_packets_take_the_short_way_and_no_others() {
    let datagram = |src, dst| Sample::udp(src, dst, [4000, 53], b"data");
    let segment = |src, dst, flags| Sample::tcp(src, dst, [4000, 80], flags, &[], b"data");
    let mut world = World::new(plan());
    let answer = Sample::udp("198.51.100.8", "192.168.9.7", [53, 4000], b"data");
    // The first packet to a neighbour that has only asked begins to watch it.
    for (domain, sample) in [
        (A, datagram("172.16.0.2", "198.51.100.8")),
        (A, segment("172.16.0.2", "198.51.100.8", 2)),
        (UP, answer.clone()),
        (A, datagram("172.16.0.2", "172.17.0.2")),
        (A, datagram("fd16::2", "fd17::2")),
    ] {
        world.send(domain, &sample);
    }
    let expired = Sample { ttl: 1, ..datagram("172.16.0.2", "172.17.0.2") };
    let with_options = Sample { options: Vec::from([1, 1, 1, 0]), ..datagram("172.16.0.2", "172.17.0.2") };
    for (domain, sample, is_plain) in [
        (A, datagram("172.16.0.2", "172.17.0.2"), true),
        (A, datagram("fd16::2", "fd17::2"), true),
        (A, segment("172.16.0.2", "172.17.0.2", 16), true),
        (A, datagram("172.16.0.2", "198.51.100.8"), true),
        (A, segment("172.16.0.2", "198.51.100.8", 16), true),
        (UP, answer, true),
        (A, segment("172.16.0.2", "172.17.0.2", 2), false),
        (A, datagram("172.16.0.3", "198.51.100.8"), false), // Of no connection yet.
        (A, datagram("172.16.0.2", "172.17.0.9"), false),   // A stranger among the neighbours.
        (A, datagram("172.16.0.2", "172.16.0.1"), false),   // To the router.
        (A, datagram("172.17.0.2", "172.17.0.2"), false),   // Spoofed.
        (A, Sample::icmp("172.16.0.2", "172.17.0.2", 8, 0, &[0; 4]), false),
        (A, expired, false),
        (A, with_options, false),
    ] {
        let bytes = world.addressed(domain, &sample);
        let header = EthernetHeader::parse(&bytes).unwrap();
        let mut frame = crate::samples::frame(&bytes, Offload::NONE);
        let arrival = Arrival { port: PortId(0), domain, header };
        let (mut pool, mut made) = (FramePool::default(), Made::default());
        let turn = Turn { now: world.now, pool: &mut pool, made: &mut made, links: None };
        let found = world.router.plain(&turn, &arrival, &mut frame);
        assert_eq!(found.is_some(), is_plain, "{sample:?}");
        assert_eq!(frame.bytes() != bytes, is_plain, "what it does not take it leaves alone: {sample:?}");
    }
}

#[test]
fn looking_ahead_bears_anything() {
    let mut world = World::new(plan());
    let mut l4_port = 1024;
    while !world.router.connections.are_many() {
        world.send(A, &Sample::udp("172.16.0.2", "198.51.100.8", [l4_port, 53], b"data"));
        l4_port += 1;
    }
    let known = world.addressed(A, &Sample::udp("172.16.0.2", "198.51.100.8", [2000, 53], b"data"));
    let v6 = world.addressed(A, &Sample::udp("fd16::2", "fd17::2", [2000, 53], b"data"));
    let mut frames: Vec<Vec<u8>> = (0..known.len()).map(|len| known[..len].to_vec()).collect();
    frames.extend((0..v6.len()).map(|len| v6[..len].to_vec()));
    frames.push(known);
    for frames in frames.chunks(AHEAD_MAX + 1) {
        world.router.look_ahead(frames.iter().map(Vec::as_slice));
    }
}
