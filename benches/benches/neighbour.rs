//! Neighbours: the look-up that every routed packet costs, and what an upper layer's confirmation costs.
//!
//! Next hops are drawn evenly. No allocation happens in the timed part: that is asserted before it is timed.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vrouter::{Gateway, Made, Neighbours, Resolution, RouterPlan, Turn};
use wire::ethernet::EthernetHeader;
use wire::{Cidr, DomainId, FrameBuf, FramePool, Instant, Mac, PortId, Rng, UnicastMac};

const DOMAIN: DomainId = DomainId(1);
const PORT: PortId = PortId(0);
const GATEWAY: Mac = Mac([0x02, 0x42, 10, 0, 0, 1]);
/// Next hops looked up in turn: more than the branch predictor learns by heart.
const DRAWN: usize = 1 << 14;

fn v4(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))
}

fn v6(number: u32) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits((0xfd << 120) + u128::from(number)))
}

fn plan() -> RouterPlan {
    let subnets = ["10.0.0.0/8", "fd00::/64"].map(|text| text.parse::<Cidr>().expect("it is a prefix"));
    let gateway = Gateway::of_network(
        DOMAIN,
        UnicastMac::new(GATEWAY).expect("it is a station's"),
        vec![v4(1), v6(1)],
        subnets.to_vec(),
    );
    RouterPlan { gateways: vec![gateway], ..RouterPlan::default() }
}

/// A neighbour asks us, so that it is known.
fn introduce(neighbours: &mut Neighbours, turn: &mut Turn, number: u32, is_ipv4: bool) {
    let mac = Mac::from_bits(0x0242_0000_0000 + u64::from(number));
    let mut frame = turn.buffer();
    let [_, b, c, d] = number.to_be_bytes();
    if is_ipv4 {
        let head = [&[0xff; 6][..], &mac.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac.0, &[10, b, c, d]].concat();
        assert!(frame.fill(&[&head[..], &[0; 6], &[10, 0, 0, 1]].concat()));
        let header = EthernetHeader::parse(frame.bytes()).expect("it has an Ethernet header");
        neighbours.hear_arp(turn, DOMAIN, &header, &mut frame).expect("it is a question for us");
    } else {
        let address = v6(number);
        let parked = neighbours.resolve(turn, PORT, DOMAIN, address, &mut frame);
        assert_eq!(parked, Ok(Resolution::Parked));
        let IpAddr::V6(address) = address else { unreachable!("v6() makes them") };
        let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
        message.extend(address.octets());
        message.extend([2, 1]);
        message.extend(mac.0);
        let ours = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x42, 10, 0xff, 0xfe, 0, 0, 1];
        let head = [&GATEWAY.0[..], &mac.0, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]].concat();
        assert!(frame.fill(&[&head[..], &address.octets(), &ours, &message].concat()));
        frame.offload.flags = wire::offload::DATA_VALID; // Its checksum is vouched for.
        let header = EthernetHeader::parse(frame.bytes()).expect("it has an Ethernet header");
        let packet = vrouter::Packet::parse(&frame).expect("it is a packet");
        neighbours.hear_nd(turn, DOMAIN, &header, &packet, &mut frame).expect("it is an answer");
    }
    turn.made.frames.clear();
    turn.pool.put(frame);
}

fn resolve(c: &mut Criterion) {
    let mut group = c.benchmark_group("neighbour");
    group.throughput(Throughput::Elements(DRAWN as u64));
    for (family, is_ipv4) in [("IPv4", true), ("IPv6", false)] {
        for count in [10, 10_000] {
            let (mut pool, mut made) = (FramePool::default(), Made::default());
            let mut turn = Turn { now: Instant::ZERO, pool: &mut pool, made: &mut made, links: None };
            let mut neighbours = Neighbours::new(7);
            neighbours.configure(&mut turn, &plan());
            for number in 2..2 + count {
                turn.now = turn.now + Duration::from_millis(1); // Questions and answers are limited.
                introduce(&mut neighbours, &mut turn, number, is_ipv4);
            }
            let mut rng = Rng::seeded(1);
            let hops: Vec<IpAddr> = (0..DRAWN)
                .map(|_| 2 + u32::try_from(rng.below(u64::from(count))).expect("it is below a u32"))
                .map(if is_ipv4 { v4 } else { v6 })
                .collect();
            let mut frame = turn.buffer();
            let all = |turn: &mut Turn, neighbours: &mut Neighbours, frame: &mut FrameBuf| {
                let mut is_known = |hop: &IpAddr| {
                    let resolved = neighbours.resolve(turn, PORT, DOMAIN, *hop, frame);
                    matches!(black_box(resolved), Ok(Resolution::Known(_)))
                };
                assert_eq!(hops.iter().filter(|hop| is_known(hop)).count(), DRAWN);
            };
            all(&mut turn, &mut neighbours, &mut frame); // Stale ones become used.
            let allocated = allocation_counter::measure(|| all(&mut turn, &mut neighbours, &mut frame));
            assert_eq!(allocated.count_total, 0);
            group.bench_function(BenchmarkId::new(format!("resolve {family}"), count), |b| {
                b.iter(|| all(&mut turn, &mut neighbours, &mut frame));
            });
            for &hop in &hops {
                neighbours.confirm(turn.now, DOMAIN, hop);
            }
            group.bench_function(BenchmarkId::new(format!("confirm {family}"), count), |b| {
                b.iter(|| hops.iter().for_each(|&hop| neighbours.confirm(black_box(turn.now), DOMAIN, hop)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, resolve);
criterion_main!(benches);
