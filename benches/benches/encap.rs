//! Tunnels: the VXLAN header on and off, which is pointer moves and eight octets; the same with the look-up of the peer
//! and the checks of what is inside; and what a peer costs in memory.

use benches::peers::{Tunnelled, octets_per_peer};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use encap::vxlan::{self, Vni};
use wire::FramePool;

fn vxlan_header(c: &mut Criterion) {
    let vni = Vni::new(42).expect("it has 24 bits");
    let inner = [0x5a; 60];
    let mut frame = FramePool::default().take();
    assert!(frame.fill(&inner), "it is a short frame");
    c.bench_function("VXLAN push and pop", |b| {
        b.iter(|| {
            assert_eq!(vxlan::push(&mut frame, vni), Ok(()));
            assert_eq!(vxlan::read(frame.bytes()), Ok(vni));
            assert_eq!(vxlan::pop(&mut frame), Ok(()));
        });
    });
    assert_eq!(frame.bytes(), inner, "what went in came out");
}

fn peers(c: &mut Criterion) {
    let mut group = c.benchmark_group("encapsulate and decapsulate");
    group.throughput(Throughput::Elements(Tunnelled::frames_per_pass()));
    for peers in [1, 1_000] {
        let mut tunnelled = Tunnelled::new(peers);
        group.bench_function(BenchmarkId::from_parameter(peers), |b| b.iter(|| tunnelled.pass()));
    }
    group.finish();
    println!("{:.0} octets per peer at 1,000, plan included", octets_per_peer());
}

criterion_group!(benches, vxlan_header, peers);
criterion_main!(benches);
