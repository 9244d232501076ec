//! The forwarding database beside tables one would otherwise take, and the switch's rooms together.
//!
//! Stations are drawn evenly, so nearly every look-up at 100,000 stations misses the processor's first caches: the
//! worst case.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::time::{Duration, Instant as WallClock};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vswitch::fdb::{Fdb, Name, Place, Tick};
use vswitch::{
    DomainPlan, Forward, Guards, Isolation, Membership, PortPlan, ReservedForward, Storm, Switch, SwitchPlan,
};
use wire::{DomainId, FrameBuf, FramePool, Instant, Mac, PortId, Rng};

const DOMAIN: DomainId = DomainId(1);
/// Names looked up in turn: more than the branch predictor learns by heart.
const DRAWN: usize = 1 << 16;
const BURST: usize = 64;

fn mac(number: u64) -> Mac {
    Mac::from_bits(0x0242_0000_0000 + number)
}

fn name(number: u64) -> Name {
    Name::new(DOMAIN, mac(number))
}

fn place() -> Place {
    Place::learned(PortId(0), Tick::of(Instant::ZERO))
}

fn draw(stations: u64, seed: u64) -> Vec<u64> {
    let mut rng = Rng::seeded(seed);
    (0..DRAWN).map(|_| rng.below(stations)).collect()
}

fn table(stations: u64) -> Fdb {
    let mut fdb = Fdb::new(7);
    for number in 0..stations {
        assert!(!fdb.set(name(number), place()));
    }
    fdb
}

fn find(c: &mut Criterion) {
    let mut group = c.benchmark_group("find");
    group.throughput(Throughput::Elements(DRAWN as u64));
    for stations in [10, 1_000, 100_000] {
        let fdb = table(stations);
        let places = (0..stations).map(|number| (name(number), place()));
        let map: HashMap<Name, Place> = places.clone().collect();
        let tree: BTreeMap<Name, Place> = places.collect();
        for (what, first) in [("hit", 0), ("miss", stations)] {
            let names: Vec<_> = draw(stations, 1).iter().map(|number| name(first + number)).collect();
            let found = if first == 0 { DRAWN } else { 0 };
            let id = |table| BenchmarkId::new(format!("{table} {what}"), stations);
            group.bench_function(id("fdb"), |b| {
                let find = |name: &&Name| fdb.find(**name).is_some();
                b.iter(|| assert_eq!(names.iter().filter(find).count(), found));
            });
            group.bench_function(id("std HashMap"), |b| {
                let find = |name: &&Name| map.contains_key(name);
                b.iter(|| assert_eq!(names.iter().filter(find).count(), found));
            });
            group.bench_function(id("BTreeMap"), |b| {
                let find = |name: &&Name| tree.contains_key(name);
                b.iter(|| assert_eq!(names.iter().filter(find).count(), found));
            });
        }
    }
    group.finish();
}

fn change(c: &mut Criterion) {
    const STATIONS: u64 = 100_000;
    let mut group = c.benchmark_group("change");
    let fdb = table(STATIONS);
    println!("{} octets per station at {STATIONS}", fdb.memory() as u64 / STATIONS);
    group.bench_function("remove and set", |b| {
        let (mut fdb, numbers) = (fdb.clone(), draw(STATIONS, 3));
        let mut turn = numbers.iter().cycle();
        b.iter(|| {
            let name = name(*turn.next().expect("it never ends"));
            assert!(fdb.remove(name));
            assert!(!fdb.set(name, place()));
        });
    });
    group.bench_function("sweep of 100,000", |b| {
        let mut fdb = fdb.clone();
        b.iter(|| fdb.retain(|_, place| black_box(!place.is_static())));
    });
    // Seven eighths of 131,072 and of 524,288: the next station doubles the table.
    for full in [114_688, 458_752] {
        let fdb = table(full);
        group.bench_function(BenchmarkId::new("growth", full), |b| {
            let set = |fdb: &mut Fdb| fdb.set(name(full), place());
            b.iter_batched_ref(|| fdb.clone(), set, BatchSize::PerIteration);
        });
    }
    group.bench_function("page of 1,000 of 100,000", |b| {
        b.iter(|| assert_eq!(fdb.page(name(0), 1_000, |_, _| true).0.len(), 1_000));
    });
    group.finish();
}

/// A switch with 100 access ports and as many stations, told evenly to the ports.
fn switch(stations: u64) -> Switch {
    let port = |id| PortPlan {
        id: PortId(id),
        serial: 0,
        memberships: vec![Membership { domain: DOMAIN, vid: None }],
        mtu: 1500,
        stations_max: u32::MAX,
        isolation: Isolation::Open,
        horizon: None,
        mac: None,
        addresses: vec![],
        guards: Guards::default(),
        storm: Storm::default(),
    };
    let domain = DomainPlan {
        id: DOMAIN,
        ageing: Duration::from_secs(300),
        stations_max: u32::MAX,
        reserved_forward: ReservedForward::default(),
        answers: false,
    };
    let plan = SwitchPlan { domains: vec![domain], ports: (0..100).map(port).collect(), statics: vec![] };
    let mut switch = Switch::new(7);
    switch.configure(Instant::ZERO, &plan);
    let mut frame = FramePool::default().take();
    for number in 0..stations {
        address(&mut frame, number, number);
        let admitted = switch.admit(Instant::ZERO, port_of(number), &mut frame).expect("the frame is good");
        switch.learn(Instant::ZERO, &admitted);
    }
    switch
}

fn port_of(number: u64) -> PortId {
    PortId(u16::try_from(number % 100).expect("less than 100"))
}

fn address(frame: &mut FrameBuf, dst: u64, src: u64) {
    let mut bytes = [0x88; 60];
    bytes[0..6].copy_from_slice(&mac(dst).0);
    bytes[6..12].copy_from_slice(&mac(src).0);
    assert!(frame.fill(&bytes));
}

/// Admit, learn and forward, in bursts whose frames were written before the clock starts. The median burst counts for
/// all, so that who else uses the processor does not.
fn rooms(c: &mut Criterion) {
    let mut group = c.benchmark_group("rooms");
    group.throughput(Throughput::Elements(1));
    for stations in [10, 1_000, 100_000] {
        let mut switch = switch(stations);
        let mut pool = FramePool::default();
        let mut burst: Vec<_> = (0..BURST).map(|_| (PortId(0), pool.take())).collect();
        let (sources, destinations) = (draw(stations, 1), draw(stations, 2));
        let mut turn = sources.iter().zip(&destinations).cycle();
        let mut timed_burst = || {
            for (port, frame) in &mut burst {
                let (&src, &dst) = turn.next().expect("it never ends");
                *port = port_of(src);
                address(frame, dst, src);
            }
            let started = WallClock::now();
            for (port, frame) in &mut burst {
                black_box(walk(&mut switch, *port, frame));
            }
            started.elapsed()
        };
        group.bench_function(BenchmarkId::new("admit, learn, forward", stations), |b| {
            b.iter_custom(|iterations| {
                let bursts = iterations.div_ceil(BURST as u64).max(100);
                let mut spent: Vec<_> = (0..bursts).map(|_| timed_burst()).collect();
                spent.sort_unstable();
                let median = spent[spent.len() / 2];
                median.mul_f64(iterations as f64 / BURST as f64)
            });
        });
    }
    group.finish();
}

#[inline(never)]
fn walk(switch: &mut Switch, port: PortId, frame: &mut FrameBuf) -> Option<PortId> {
    let admitted = switch.admit(Instant::ZERO, port, frame).expect("the frame is good");
    switch.learn(Instant::ZERO, &admitted);
    match switch.forward(Instant::ZERO, admitted.domain, admitted.header.dst, Some(port)) {
        Ok(Forward::One(egress)) => Some(egress.port),
        Ok(Forward::Many) => unreachable!("every station has been learned"),
        Err(_) => None, // Both stations are behind one port.
    }
}

criterion_group!(benches, find, change, rooms);
criterion_main!(benches);
