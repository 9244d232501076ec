//! The forwarding table: IPv4 and IPv6, small and of the Internet's size, beside a flat table and a map for each length.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use benches::routes::{
    anywhere_v4, anywhere_v6, build, look_up_v4, look_up_v6, routed_v4, routed_v6, routes_v4, routes_v6,
    time_each,
};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vrouter::fib::{Fib, Resolved, Route, Target};

/// Sizes of tables: a host with containers, a site, a region, the Internet.
const COUNTS_V4: [usize; 4] = [50, 1_000, 100_000, 1_000_000];
const COUNTS_V6: [usize; 3] = [50, 1_000, 200_000];

fn time<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    destinations: &[T],
    look_up: impl Fn(&[T]) -> u64,
) {
    group.bench_function(id, |b| {
        b.iter_custom(|iterations| time_each(destinations, 64, &look_up).mul_f64(iterations as f64));
    });
}

fn tell(family: &str, fib: &Fib, spent: Duration) {
    println!(
        "{family}, {} routes: built in {:.1} ms, look-ups read {} KiB of {} KiB",
        fib.len(),
        spent.as_secs_f64() * 1e3,
        fib.lookup_memory() / 1024,
        fib.memory() / 1024
    );
}

fn ipv4(c: &mut Criterion) {
    let mut group = c.benchmark_group("IPv4");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    for count in COUNTS_V4 {
        let routes = routes_v4(count, 1);
        let (fib, spent) = build(&routes);
        tell("IPv4", &fib, spent);
        for (where_to, destinations) in [("anywhere", anywhere_v4(2)), ("routed", routed_v4(&routes, 3))] {
            let id = |table| BenchmarkId::new(format!("{table}, {where_to}"), count);
            time(&mut group, id("fib"), &destinations, |part| look_up_v4(&fib, part));
            if count < 1_000_000 {
                continue;
            }
            let (flat, maps) = (Flat::of(&fib), Maps::of(&fib));
            let expected = look_up_v4(&fib, &destinations);
            assert_eq!(flat.look_up(&destinations), expected, "the tables agree");
            assert_eq!(maps.look_up(&destinations), expected, "the tables agree");
            time(&mut group, id("DIR-24-8"), &destinations, |part| flat.look_up(part));
            time(&mut group, id("map for each length"), &destinations, |part| maps.look_up(part));
        }
    }
    group.finish();
}

fn ipv6(c: &mut Criterion) {
    let mut group = c.benchmark_group("IPv6");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    for count in COUNTS_V6 {
        let routes = routes_v6(count, 1);
        let (fib, spent) = build(&routes);
        tell("IPv6", &fib, spent);
        for (where_to, destinations) in [("anywhere", anywhere_v6(2)), ("routed", routed_v6(&routes, 3))] {
            for &dst in &destinations[..1_000] {
                let explained = fib.explain(dst.into()).map(|route| route.target);
                assert_eq!(fib.lookup_v6(dst).map(Resolved::to_target), explained, "{dst}");
            }
            let id = BenchmarkId::new(format!("fib, {where_to}"), count);
            time(&mut group, id, &destinations, |part| look_up_v6(&fib, part));
        }
    }
    group.finish();
}

/// DIR-24-8 (Gupta, Lin, McKeown, "Routing lookups in hardware at memory access speeds", 1998): an answer for each
/// /24, and 256 of them for those with longer prefixes. Answers are domains, counted from 1.
struct Flat {
    by_24: Vec<u16>,
    below: Vec<u16>,
}

impl Flat {
    const BELOW: u16 = 1 << 15;

    fn of(fib: &Fib) -> Self {
        let mut flat = Self { by_24: vec![0; 1 << 24], below: Vec::new() };
        let mut routes: Vec<_> = fib.routes().collect();
        routes.sort_by_key(|route| route.prefix.prefix_len());
        for route in &routes {
            let (first, prefix_len, answer) = parts(route);
            if prefix_len <= 24 {
                let first = index(first >> 8);
                flat.by_24[first..first + (1 << (24 - prefix_len))].fill(answer);
            } else {
                let first = flat.open(index(first >> 8)) + index(first & 0xff);
                flat.below[first..first + (1 << (32 - prefix_len))].fill(answer);
            }
        }
        flat
    }

    /// Where the answers for single addresses of a /24 start.
    fn open(&mut self, net: usize) -> usize {
        let answer = self.by_24[net];
        if answer & Self::BELOW != 0 {
            return usize::from(answer & !Self::BELOW) << 8;
        }
        let first = self.below.len();
        self.below.resize(first + 256, answer);
        self.by_24[net] = Self::BELOW | u16::try_from(first >> 8).expect("few long prefixes");
        first
    }

    #[inline(never)]
    fn look_up(&self, destinations: &[Ipv4Addr]) -> u64 {
        let find = |dst: &Ipv4Addr| {
            let bits = dst.to_bits();
            let answer = self.by_24[index(bits >> 8)];
            let below = || self.below[usize::from(answer & !Self::BELOW) << 8 | index(bits & 0xff)];
            u64::from(if answer & Self::BELOW == 0 { answer } else { below() })
        };
        destinations.iter().map(find).sum()
    }
}

/// One hash table for each prefix length, the longest asked first.
struct Maps(Vec<(u32, HashMap<u32, u16>)>);

impl Maps {
    fn of(fib: &Fib) -> Self {
        let mut maps: Vec<_> = (0..=32).rev().map(|prefix_len| (prefix_len, HashMap::new())).collect();
        for route in fib.routes() {
            let (first, prefix_len, answer) = parts(&route);
            maps[index(32 - prefix_len)].1.insert(first, answer);
        }
        maps.retain(|(_, map)| !map.is_empty());
        Self(maps)
    }

    #[inline(never)]
    fn look_up(&self, destinations: &[Ipv4Addr]) -> u64 {
        let find = |dst: &Ipv4Addr| {
            let mut found = self.0.iter().filter_map(|(prefix_len, map)| {
                let host = u32::MAX.checked_shr(*prefix_len).unwrap_or(0);
                map.get(&(dst.to_bits() & !host))
            });
            found.next().map_or(0, |&answer| u64::from(answer))
        };
        destinations.iter().map(find).sum()
    }
}

/// First address, length, and the next hop's domain counted from 1.
fn parts(route: &Route) -> (u32, u32, u16) {
    let (IpAddr::V4(first), Target::Via(hops)) = (route.prefix.address(), &route.target) else {
        unreachable!("all routes are of IPv4 and go through next hops");
    };
    (first.to_bits(), route.prefix.prefix_len().into(), hops[0].domain.0 + 1)
}

fn index(number: u32) -> usize {
    number as usize
}

criterion_group!(benches, ipv4, ipv6);
criterion_main!(benches);
