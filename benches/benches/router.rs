//! The route room: frames that are not for it, which is nearly all, and a question that it answers.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use vrouter::{Gateway, Made, Routed, Router, RouterPlan, Turn};
use wire::ethernet::EthernetHeader;
use wire::{DomainId, FrameBuf, FramePool, Instant, Mac, PortId, UnicastMac};

const DOMAIN: DomainId = DomainId(1);
const PORT: PortId = PortId(0);
const GATEWAY: Mac = Mac([0x02, 0x42, 10, 0, 0, 1]);
const ASKER: Mac = Mac([0x02, 0x42, 10, 0, 0, 2]);

fn route(c: &mut Criterion) {
    let mut router = Router::new(0);
    let (mut pool, mut made) = (FramePool::default(), Made::default());
    let mut turn = Turn { now: Instant::ZERO, pool: &mut pool, made: &mut made, links: None };
    let plan = RouterPlan {
        gateways: vec![Gateway::of_network(
            DOMAIN,
            UnicastMac::new(GATEWAY).expect("it is a station's"),
            vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))],
            Vec::new(),
        )],
        ..RouterPlan::default()
    };
    router.configure(&mut turn, &plan);
    let mut frame = FramePool::default().take();
    let mut group = c.benchmark_group("route");
    let passing = [&[0x02, 0x42, 10, 0, 0, 9][..], &ASKER.0, &[0x08, 0x00], &[0; 46]].concat();
    group.bench_function("pass by", |b| {
        let header = filled(&mut frame, &passing);
        b.iter(|| assert_eq!(router.route(&mut turn, PORT, DOMAIN, &header, &mut frame), Ok(Routed::Pass)));
    });
    let question = arp_question();
    // The bucket earns one answer in each 100 µs.
    group.bench_function("answer ARP", |b| {
        b.iter(|| {
            let header = filled(&mut frame, &question);
            turn.now = turn.now + Duration::from_micros(200);
            assert_eq!(router.route(&mut turn, PORT, DOMAIN, &header, &mut frame), Ok(Routed::Answer));
            assert_eq!(frame.bytes()[..6], ASKER.0, "the answer goes to the asker");
        });
    });
    group.finish();
}

fn filled(frame: &mut FrameBuf, bytes: &[u8]) -> EthernetHeader {
    assert!(frame.fill(bytes), "it is a short frame");
    EthernetHeader::parse(frame.bytes()).expect("it has an Ethernet header")
}

fn arp_question() -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &ASKER.0, &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    frame.extend(ASKER.0);
    frame.extend([10, 0, 0, 2]);
    frame.extend([0; 6]);
    frame.extend([10, 0, 0, 1]);
    frame
}

criterion_group!(benches, route);
criterion_main!(benches);
