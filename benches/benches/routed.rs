//! The router in memory: 64-byte packets through the node in bursts, nothing allocated once warm; connections opened; floods.

use std::time::Duration;

use benches::corridor::BURST;
use benches::flooded::{Flood, Flooded, aftermath};
use benches::routed::{Opener, Routed, Way, million, publish};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn route(c: &mut Criterion) {
    let (took, octets) = publish();
    println!("a published range of 50,000 L4 ports: {took:?} to configure, {octets} octets at most");
    let mut group = c.benchmark_group("routed");
    group.throughput(Throughput::Elements(BURST as u64));
    for (name, way, flows) in [
        ("network to network", Way::Between, 100_000),
        ("masqueraded", Way::Out, 1_000),
        ("masqueraded", Way::Out, 100_000),
    ] {
        let mut routed = Routed::warm(way, flows);
        assert_eq!(routed.allocations(), 0, "a warm router allocates nothing");
        group.bench_function(BenchmarkId::new(name, flows), |b| {
            b.iter_custom(|bursts| (0..bursts).map(|_| routed.pass()).sum::<Duration>());
        });
    }
    let (octets, mut routed) = million();
    println!("{octets:.1} octets per session at 1,000,000");
    group.bench_function(BenchmarkId::new("masqueraded", 1_000_000), |b| {
        b.iter_custom(|bursts| (0..bursts).map(|_| routed.pass()).sum::<Duration>());
    });
    drop(routed);
    let mut opener = Opener::warm();
    group.throughput(Throughput::Elements(u64::from(Opener::CONNECTIONS))).sample_size(10);
    group.bench_function("new connections", |b| {
        b.iter_custom(|rounds| (0..rounds).map(|_| opener.round()).sum::<Duration>());
    });
    group.finish();
}

fn flood(c: &mut Criterion) {
    println!("p99 of wakes that forget a million connections: {:?}", aftermath());
    let mut group = c.benchmark_group("flooded");
    group.throughput(Throughput::Elements(BURST as u64));
    for flood in Flood::ALL {
        let cost = Flooded::cost(flood);
        println!("{flood:?}: {cost:?}");
        let mut flooded = Flooded::full(flood);
        group.bench_function(BenchmarkId::new("hostile frames", format!("{flood:?}")), |b| {
            b.iter_custom(|bursts| (0..bursts).map(|_| flooded.hostile()).sum::<Duration>());
        });
    }
    group.finish();
}

criterion_group!(benches, route, flood);
criterion_main!(benches);
