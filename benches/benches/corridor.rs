//! The whole corridor: 64-byte frames through the node in bursts, nothing allocated once warm.

use std::time::Duration;

use benches::corridor::{BURST, Corridor, allocations_once_warm, octets_per_station};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn forward(c: &mut Criterion) {
    println!("{:.1} octets per station at 100,000", octets_per_station());
    let mut group = c.benchmark_group("corridor");
    group.throughput(Throughput::Elements(BURST as u64));
    for stations in [10, 1_000, 100_000] {
        let mut corridor = Corridor::warm(stations);
        assert_eq!(allocations_once_warm(&mut corridor), 0, "a warm corridor allocates nothing");
        group.bench_function(BenchmarkId::new("64-byte burst", stations), |b| {
            b.iter_custom(|bursts| (0..bursts).map(|_| corridor.pass()).sum::<Duration>());
        });
    }
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
