//! Connections and their translation: packets of known ones, new ones, published ranges, and rewriting.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use benches::connections::{Crowd, Rush, octets_per_session, publish_range};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vrouter::nat::{decrement_hop_limit, rewrite};
use vrouter::{Endpoint, Packet};
use wire::FramePool;
use wire::offload::{NEEDS_CSUM, Offload};

fn follow(c: &mut Criterion) {
    let mut group = c.benchmark_group("follow");
    group.throughput(Throughput::Elements(Crowd::packets_per_pass()));
    for sessions in [1_000, 100_000, 1_000_000] {
        let mut crowd = Crowd::new(sessions);
        group.bench_function(BenchmarkId::from_parameter(sessions), |b| b.iter(|| crowd.pass()));
    }
    group.finish();
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    for sessions in [1_000, 100_000, 1_000_000] {
        group.throughput(Throughput::Elements(sessions as u64));
        group.sample_size(10);
        group.bench_function(BenchmarkId::from_parameter(sessions), |b| {
            b.iter_batched_ref(|| Rush::new(sessions), Rush::pass, BatchSize::PerIteration);
        });
    }
    group.finish();
    println!("{:.1} octets per session at 1,000,000", octets_per_session(1_000_000));
    let (took, octets) = publish_range();
    println!("publishing 50,000 L4 ports takes {took:?} and {octets} octets");
}

/// The frame of a TCP segment from 10.0.0.2:4000 to 192.0.2.9:80, finished and not.
fn rewriting(c: &mut Criterion) {
    let mut segment = [0; 54];
    segment[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0]);
    segment[16..18].copy_from_slice(&40_u16.to_be_bytes());
    segment[22..24].copy_from_slice(&[64, 6]);
    segment[26..34].copy_from_slice(&[10, 0, 0, 2, 192, 0, 2, 9]);
    segment[34..38].copy_from_slice(&[0x0f, 0xa0, 0, 80]);
    segment[46..48].copy_from_slice(&[0x50, 0x10]);
    assert!(wire::ipv4::fill_checksum(&mut segment[14..34]));
    let end = |address: [u8; 4], l4_port| Endpoint { address: IpAddr::V4(Ipv4Addr::from(address)), l4_port };
    let outside = [end([203, 0, 113, 1], 4_000), end([203, 0, 113, 2], 4_001)];
    let mut frame = FramePool::default().take();
    let mut group = c.benchmark_group("rewrite");
    let partial = Offload { flags: NEEDS_CSUM, csum_start: 34, csum_offset: 16, ..Offload::NONE };
    for (what, offload) in [("finished", Offload::NONE), ("partial", partial)] {
        assert!(frame.fill(&segment));
        frame.offload = offload;
        let packet = Packet::parse(&frame).expect("it is a packet");
        let mut turns = 0;
        group.bench_function(what, |b| {
            b.iter(|| {
                turns += 1;
                rewrite(&mut frame, black_box(&packet), outside[turns % 2], end([192, 0, 2, 9], 80));
            });
        });
        frame.offload = Offload::NONE;
        assert!(Packet::parse(&frame).is_ok(), "the header checksum is right after many rewrites");
    }
    group.bench_function("hop limit", |b| {
        let packet = Packet::parse(&frame).expect("it is a packet");
        b.iter(|| decrement_hop_limit(&mut frame, black_box(&packet)));
    });
    group.finish();
}

criterion_group!(benches, follow, open, rewriting);
criterion_main!(benches);
