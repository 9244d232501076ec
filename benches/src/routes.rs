//! Routing tables of the Internet's size and shape, and how fast they are looked up.
//!
//! Prefixes are drawn by chance, no two alike, in no order. Lengths follow [`LENGTHS_V4`] and [`LENGTHS_V6`], which
//! are roughly the shares that the Internet's tables have. IPv4 networks lie anywhere from 1.0.0.0 to
//! 223.255.255.255, so that at a million routes nearly every part of the table is in use; IPv6 ones lie in the
//! registries' blocks, half of the longer ones within a shorter one. The first is the default route. Each goes through
//! one of [`NEIGHBOURS`] next hops, drawn evenly, which leaves next to nothing to be merged.
//!
//! Destinations are so many that the processor does not learn them by heart. *Anywhere* means the whole address space of IPv4 and
//! 2000::/3 of IPv6, *routed* an even choice of the routes but the default one
//! and then of an address within. Look-ups end with the next
//! hop in hand. They do not depend on each other, as those for the packets of a burst do not. They are timed in parts,
//! of which the middle one counts, so that who else uses the processor does not.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use vrouter::fib::{Fib, NextHop, Resolved, Route, Target};
use wire::{Cidr, DomainId, Rng};

/// Distinct next hops.
pub const NEIGHBOURS: u64 = 64;
/// Destinations.
pub const DRAWN: usize = 1 << 20;
/// Destinations that are timed together.
pub const PART: usize = 1 << 14;
/// Prefix lengths and their shares among 1,000 IPv4 routes.
pub const LENGTHS_V4: [(u8, u64); 16] = [
    (24, 605),
    (23, 100),
    (22, 115),
    (21, 50),
    (20, 45),
    (19, 27),
    (18, 15),
    (17, 9),
    (16, 14),
    (15, 3),
    (14, 3),
    (13, 1),
    (12, 1),
    (25, 2),
    (28, 4),
    (32, 6),
];
/// Prefix lengths and their shares among 100 IPv6 routes.
pub const LENGTHS_V6: [(u8, u64); 12] = [
    (32, 12),
    (29, 2),
    (34, 2),
    (36, 5),
    (40, 9),
    (42, 3),
    (44, 12),
    (45, 2),
    (46, 4),
    (47, 3),
    (48, 45),
    (64, 1),
];
/// What the registries have given out from, as the first 12 bits.
const BLOCKS_V6: [u128; 8] = [0x200, 0x240, 0x260, 0x261, 0x280, 0x2a0, 0x2a1, 0x2c0];

/// So many IPv4 routes.
pub fn routes_v4(count: usize, seed: u64) -> Vec<Route> {
    let mut rng = Rng::seeded(seed);
    let default = route(Ipv4Addr::UNSPECIFIED.into(), 0, &mut rng);
    distinct(default, count, || {
        let prefix_len = length(&mut rng, &LENGTHS_V4);
        let address = Ipv4Addr::from_bits(low_32(rng.next_u64() >> 32));
        let is_unicast = (1..224).contains(&address.octets()[0]);
        is_unicast.then(|| route(IpAddr::V4(address), prefix_len, &mut rng))
    })
}

/// So many IPv6 routes.
pub fn routes_v6(count: usize, seed: u64) -> Vec<Route> {
    let mut rng = Rng::seeded(seed);
    let mut shorter: Vec<(u128, u8)> = Vec::new();
    let default = route(Ipv6Addr::UNSPECIFIED.into(), 0, &mut rng);
    distinct(default, count, || {
        let prefix_len = length(&mut rng, &LENGTHS_V6);
        let chance = wide(&mut rng);
        let block = BLOCKS_V6[index(rng.below(BLOCKS_V6.len() as u64))] << 116 | chance >> 12;
        let bits = if prefix_len > 36 && !shorter.is_empty() && rng.chance(1, 2) {
            let (around, len) = shorter[index(rng.below(shorter.len() as u64))];
            around >> (128 - len) << (128 - len) | chance >> len
        } else {
            block
        };
        if prefix_len <= 36 {
            shorter.push((bits, prefix_len));
        }
        Some(route(IpAddr::V6(bits.into()), prefix_len, &mut rng))
    })
}

fn distinct(first: Route, count: usize, mut draw: impl FnMut() -> Option<Route>) -> Vec<Route> {
    let (mut routes, mut known) = (vec![first], HashSet::with_capacity(count));
    while routes.len() < count {
        routes.extend(draw().filter(|route| known.insert(route.prefix)));
    }
    routes
}

fn length(rng: &mut Rng, lengths: &[(u8, u64)]) -> u8 {
    let mut left = rng.below(lengths.iter().map(|&(_, share)| share).sum());
    for &(prefix_len, share) in lengths {
        if left < share {
            return prefix_len;
        }
        left -= share;
    }
    unreachable!("less than the sum of the shares")
}

fn route(address: IpAddr, prefix_len: u8, rng: &mut Rng) -> Route {
    let prefix = Cidr::new(address, prefix_len).expect("the length fits the family").network();
    let neighbour = u16::try_from(rng.below(NEIGHBOURS)).expect("few neighbours");
    let address = match address {
        IpAddr::V4(_) => Ipv4Addr::from_bits(0xc0a8_0001 + u32::from(neighbour)).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits((0xfe80 << 112) + 1 + u128::from(neighbour)).into(),
    };
    Route { prefix, target: Target::Via(vec![NextHop { domain: DomainId(neighbour), address }]) }
}

/// IPv4 destinations, anywhere.
pub fn anywhere_v4(seed: u64) -> Vec<Ipv4Addr> {
    let mut rng = Rng::seeded(seed);
    (0..DRAWN).map(|_| Ipv4Addr::from_bits(low_32(rng.next_u64() >> 32))).collect()
}

/// IPv6 destinations in 2000::/3.
pub fn anywhere_v6(seed: u64) -> Vec<Ipv6Addr> {
    let mut rng = Rng::seeded(seed);
    (0..DRAWN).map(|_| Ipv6Addr::from_bits(1 << 125 | wide(&mut rng) >> 3)).collect()
}

/// IPv4 destinations of `routes`, none of them of IPv6.
pub fn routed_v4(routes: &[Route], seed: u64) -> Vec<Ipv4Addr> {
    let mut rng = Rng::seeded(seed);
    let mut draw = || match within(routes, &mut rng) {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!("all routes are of IPv4"),
    };
    (0..DRAWN).map(|_| draw()).collect()
}

/// IPv6 destinations of `routes`, none of them of IPv4.
pub fn routed_v6(routes: &[Route], seed: u64) -> Vec<Ipv6Addr> {
    let mut rng = Rng::seeded(seed);
    let mut draw = || match within(routes, &mut rng) {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => unreachable!("all routes are of IPv6"),
    };
    (0..DRAWN).map(|_| draw()).collect()
}

fn within(routes: &[Route], rng: &mut Rng) -> IpAddr {
    let prefix = routes[1 + index(rng.below(routes.len() as u64 - 1))].prefix;
    let host_bits = match prefix.address() {
        IpAddr::V4(_) => 32 - prefix.prefix_len(),
        IpAddr::V6(_) => 128 - prefix.prefix_len(),
    };
    let host = wide(rng).checked_shr(128 - u32::from(host_bits)).unwrap_or(0);
    prefix.nth(host).expect("it has so many addresses")
}

/// Looks all of them up, and adds the next hops' domains together.
#[inline(never)]
pub fn look_up_v4(fib: &Fib, destinations: &[Ipv4Addr]) -> u64 {
    destinations.iter().map(|&dst| domain(fib.lookup_v4(dst))).sum()
}

/// The same for IPv6.
#[inline(never)]
pub fn look_up_v6(fib: &Fib, destinations: &[Ipv6Addr]) -> u64 {
    destinations.iter().map(|&dst| domain(fib.lookup_v6(dst))).sum()
}

/// The first next hop's domain, counted from 1; 0 if there is none.
pub fn domain(found: Option<Resolved<'_>>) -> u64 {
    match found {
        Some(Resolved::Via(hops)) => u64::from(hops.as_slice()[0].domain.0) + 1,
        Some(Resolved::Connected(_) | Resolved::Blackhole | Resolved::Unreachable | Resolved::Prohibit)
        | None => 0,
    }
}

/// Time for each look-up: of the middle one of at least `parts` parts of [`PART`] destinations each.
///
/// # Panics
/// If a part's next hops do not add up to what they did in the first round.
pub fn time_each<T>(destinations: &[T], parts: usize, look_up: impl Fn(&[T]) -> u64) -> Duration {
    let expected: Vec<u64> = destinations.chunks(PART).map(&look_up).collect();
    let mut spent = Vec::with_capacity(parts);
    while spent.len() < parts {
        for (part, &expected) in destinations.chunks_exact(PART).zip(&expected) {
            let began = Instant::now();
            let found = look_up(part);
            spent.push(began.elapsed());
            assert_eq!(found, expected, "a look-up gives what it gave before");
        }
    }
    spent.sort_unstable();
    spent[spent.len() / 2].div_f64(PART as f64)
}

/// What [`measure_v4`] finds.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Millions of look-ups a second, destinations anywhere.
    pub anywhere_mlps: f64,
    /// The same, destinations routed.
    pub routed_mlps: f64,
    /// Seconds that building took, the middle one of three times.
    pub build_s: f64,
    /// Octets that look-ups read.
    pub lookup_octets: usize,
}

/// A table of so many IPv4 routes.
pub fn measure_v4(count: usize) -> Figures {
    const PARTS: usize = 200;
    let routes = routes_v4(count, 1);
    let (fib, build) = build(&routes);
    let mlps = |destinations: &[Ipv4Addr]| {
        1e-6 / time_each(destinations, PARTS, |part| look_up_v4(&fib, part)).as_secs_f64()
    };
    Figures {
        anywhere_mlps: mlps(&anywhere_v4(2)),
        routed_mlps: mlps(&routed_v4(&routes, 3)),
        build_s: build.as_secs_f64(),
        lookup_octets: fib.lookup_memory(),
    }
}

/// Builds three times; the middle time.
pub fn build(routes: &[Route]) -> (Fib, Duration) {
    let once = || {
        let began = Instant::now();
        let fib = Fib::build(routes).expect("they are good routes");
        (began.elapsed(), fib)
    };
    let mut built = [once(), once(), once()];
    built.sort_by_key(|&(spent, _)| spent);
    let [_, (spent, fib), _] = built;
    (fib, spent)
}

fn wide(rng: &mut Rng) -> u128 {
    u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())
}

fn low_32(bits: u64) -> u32 {
    u32::try_from(bits & 0xffff_ffff).expect("32 bits")
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("an index")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_the_shares_say_and_destinations_are_routed() {
        let (v4, v6) = (routes_v4(20_000, 1), routes_v6(20_000, 1));
        let share = |routes: &[Route], prefix_len| {
            let count = routes.iter().filter(|route| route.prefix.prefix_len() == prefix_len).count();
            count as f64 / routes.len() as f64
        };
        for (routes, prefix_len, expected) in
            [(&v4, 24, 0.605), (&v4, 22, 0.115), (&v6, 48, 0.45), (&v6, 44, 0.12)]
        {
            assert_eq!(routes.len(), 20_000);
            let share = share(routes, prefix_len);
            assert!((share - expected).abs() < 0.04, "/{prefix_len}: {share}");
        }
        let (v4_fib, v6_fib) = (Fib::build(&v4).unwrap(), Fib::build(&v6).unwrap());
        for dst in routed_v4(&v4, 2).into_iter().take(1_000) {
            let route = v4_fib.explain(dst.into()).unwrap();
            assert_ne!(route.prefix.prefix_len(), 0, "{dst}");
            assert_eq!(v4_fib.lookup_v4(dst).map(Resolved::to_target), Some(route.target), "{dst}");
        }
        for dst in routed_v6(&v6, 2).into_iter().take(1_000) {
            let route = v6_fib.explain(dst.into()).unwrap();
            assert_ne!(route.prefix.prefix_len(), 0, "{dst}");
            assert_eq!(v6_fib.lookup_v6(dst).map(Resolved::to_target), Some(route.target), "{dst}");
        }
    }

    #[test]
    fn a_tables_figures_are_there() {
        let figures = measure_v4(1_000);
        assert!(
            figures.anywhere_mlps > 0.0 && figures.routed_mlps > 0.0 && figures.build_s > 0.0,
            "{figures:?}"
        );
        assert!(figures.lookup_octets > 1_000, "{figures:?}");
    }
}
