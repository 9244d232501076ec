//! Tunnel headers: VXLAN on and off, which are pointer moves and eight octets.

use criterion::{Criterion, criterion_group, criterion_main};
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

criterion_group!(benches, vxlan_header);
criterion_main!(benches);
