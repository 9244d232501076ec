//! Tests of the table: against a linear scan, and of what its doc promises.

use std::format;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use wire::Rng;

use super::trie::{ROOT_BITS_MAX, ROOT_BITS_MIN, Trie};
use super::*;

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn hop(address: &str) -> NextHop {
    NextHop { domain: DomainId(1), address: ip(address) }
}

fn route(prefix: &str, target: Target) -> Route {
    Route { prefix: cidr(prefix), target }
}

fn hops(count: u8) -> Vec<NextHop> {
    (1..=count).map(|number| NextHop { domain: DomainId(0), address: [10, 0, 0, number].into() }).collect()
}

/// The obviously right table.
#[derive(Clone, Default)]
struct SlowFib {
    routes: Vec<Route>,
}

impl SlowFib {
    fn explain(&self, dst: IpAddr) -> Option<&Route> {
        let matching = self.routes.iter().filter(|route| route.prefix.contains(dst));
        matching.max_by_key(|route| route.prefix.prefix_len())
    }

    /// Adds a route, or gives the prefix another target.
    fn set(&mut self, route: Route) {
        self.remove(route.prefix);
        self.routes.push(route);
    }

    fn remove(&mut self, prefix: Cidr) {
        self.routes.retain(|route| route.prefix != prefix);
    }

    /// Just before a prefix, its first address, one within, its last, and the one after it.
    fn addresses_near_prefixes(&self, rng: &mut Rng) -> Vec<IpAddr> {
        let mut near = Vec::new();
        for Route { prefix, .. } in &self.routes {
            near.extend(match prefix.address() {
                IpAddr::V4(first) => {
                    let first = first.to_bits();
                    let host = u32::MAX.checked_shr(u32::from(prefix.prefix_len())).unwrap_or(0);
                    let within = first | u32::try_from(rng.next_u64() >> 32).unwrap() & host;
                    [first.wrapping_sub(1), first, within, first | host, (first | host).wrapping_add(1)]
                        .map(|bits| IpAddr::V4(bits.into()))
                }
                IpAddr::V6(first) => {
                    let first = first.to_bits();
                    let host = u128::MAX.checked_shr(u32::from(prefix.prefix_len())).unwrap_or(0);
                    let within = first | wide(rng) & host;
                    [first.wrapping_sub(1), first, within, first | host, (first | host).wrapping_add(1)]
                        .map(|bits| IpAddr::V6(bits.into()))
                }
            });
        }
        near
    }
}

fn wide(rng: &mut Rng) -> u128 {
    u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())
}

fn random_target(rng: &mut Rng, is_ipv4: bool) -> Target {
    let domain = DomainId(u16::try_from(rng.below(4)).unwrap());
    let address = |number: u64| -> IpAddr {
        let number = u8::try_from(number).unwrap();
        if is_ipv4 { [10, 0, 0, number].into() } else { [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)].into() }
    };
    match rng.below(6) {
        0 => Target::Connected(domain),
        1 => Target::Blackhole,
        2 => Target::Unreachable,
        3 => Target::Prohibit,
        4 => Target::Via(vec![NextHop { domain, address: address(1 + rng.below(3)) }]),
        _ => {
            let first = 1 + rng.below(100);
            let len = 1 + rng.below(NEXT_HOPS_MAX as u64);
            Target::Via(
                (first..first + len).map(|number| NextHop { domain, address: address(number) }).collect(),
            )
        }
    }
}

/// Any length from 0 to the whole address; addresses from few bits, so that prefixes nest, touch and meet again.
fn random_route(rng: &mut Rng) -> Route {
    let is_ipv4 = rng.chance(1, 2);
    let (whole, seed) = if is_ipv4 { (32, rng.below(6)) } else { (128, rng.below(6)) };
    let prefix_len = u8::try_from(rng.below(whole + 1)).unwrap();
    // One of six patterns, cut anywhere, its last bit perhaps turned over.
    let pattern =
        wide(&mut Rng::seeded(seed)) ^ if rng.chance(1, 4) { wide(rng) >> rng.below(128) } else { 0 };
    let turned = if prefix_len == 0 || rng.chance(1, 2) { 0 } else { 1 << (128 - u32::from(prefix_len)) };
    let bits = pattern ^ turned;
    let address =
        if is_ipv4 { IpAddr::V4(u32::try_from(bits >> 96).unwrap().into()) } else { IpAddr::V6(bits.into()) };
    let prefix = Cidr::new(address, prefix_len).unwrap().network();
    Route { prefix, target: random_target(rng, is_ipv4) }
}

fn random_address(rng: &mut Rng) -> IpAddr {
    let bits = wide(rng);
    if rng.chance(1, 2) {
        IpAddr::V4(u32::try_from(bits >> 96).unwrap().into())
    } else {
        IpAddr::V6(bits.into())
    }
}

#[track_caller]
fn check_agrees(fast: &Fib, slow: &SlowFib, dst: IpAddr, note: &str) {
    let expected = slow.explain(dst);
    let found = fast.lookup(dst).map(Resolved::to_target);
    assert_eq!(found.as_ref(), expected.map(|route| &route.target), "dst={dst} {note}");
    assert_eq!(fast.explain(dst).as_ref(), expected, "dst={dst} {note}");
}

#[test]
fn fib_agrees_with_the_slow_model() {
    for seed in 0..8 {
        let mut rng = Rng::seeded(0x5eed + seed);
        let mut slow = SlowFib::default();
        for step in 0..60 {
            let note = format!("seed {seed} step {step}");
            for _ in 0..rng.below(12) {
                // Some seeds fill the table, others keep it small.
                if slow.routes.is_empty() || rng.chance(4 + seed, 12) {
                    slow.set(random_route(&mut rng));
                } else {
                    let index = usize::try_from(rng.below(slow.routes.len() as u64)).unwrap();
                    slow.routes.swap_remove(index);
                }
            }
            let fast = Fib::build(&slow.routes).unwrap();
            assert_eq!(fast.len(), slow.routes.len(), "{note}");
            let mut asked = slow.addresses_near_prefixes(&mut rng);
            asked.extend((0..20).map(|_| random_address(&mut rng)));
            asked.extend(
                ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"].map(ip),
            );
            for dst in asked {
                check_agrees(&fast, &slow, dst, &note);
            }
        }
    }
}

/// So many prefixes in one /16 and in one /48 that nodes, lists and children of all kinds stand below each other.
#[test]
fn crowded_prefixes_agree_with_the_slow_model() {
    for targets in [3, 500] {
        let mut rng = Rng::seeded(targets);
        let mut slow = SlowFib::default();
        for number in 0..1_200 {
            let is_ipv4 = number % 2 == 0;
            let bits = wide(&mut rng) & wide(&mut rng); // Few bits set, so that prefixes lie close together.
            let (address, shortest): (IpAddr, u64) = if is_ipv4 {
                (Ipv4Addr::from_bits(0x0a07_0000 | u32::try_from(bits >> 112).unwrap()).into(), 16)
            } else {
                (Ipv6Addr::from_bits(0x2001_0db8 << 96 | bits >> 48).into(), 48)
            };
            let longest = if is_ipv4 { 32 } else { 128 };
            let prefix_len = u8::try_from(shortest + rng.below(longest - shortest + 1)).unwrap();
            let prefix = Cidr::new(address, prefix_len).unwrap().network();
            let domain = DomainId(u16::try_from(rng.below(targets)).unwrap());
            slow.set(Route { prefix, target: Target::Connected(domain) });
        }
        let fast = Fib::build(&slow.routes).unwrap();
        for dst in slow.addresses_near_prefixes(&mut rng) {
            check_agrees(&fast, &slow, dst, "");
        }
    }
}

#[test]
fn every_size_of_the_root_gives_the_same_answers() {
    let mut rng = Rng::seeded(0x5eed);
    let mut slow = SlowFib::default();
    for _ in 0..300 {
        slow.set(random_route(&mut rng));
    }
    let fast = Fib::build(&slow.routes).unwrap();
    let asked = slow.addresses_near_prefixes(&mut rng);
    let (v4, v6) = (table::points(fast.v4.entries()), table::points(fast.v6.entries()));
    for root_bits in ROOT_BITS_MIN..=ROOT_BITS_MAX {
        let narrow = Trie::<_, u8>::with_root(&v4, root_bits, NODES_MAX).unwrap();
        let wide = Trie::<_, u16>::with_root(&v4, root_bits, NODES_MAX).unwrap();
        let narrow_v6 = Trie::<_, u8>::with_root(&v6, root_bits, NODES_MAX).unwrap();
        let wide_v6 = Trie::<_, u16>::with_root(&v6, root_bits, NODES_MAX).unwrap();
        for &dst in &asked {
            let codes = match dst {
                IpAddr::V4(dst) => [narrow.find(dst.to_bits()), wide.find(dst.to_bits())],
                IpAddr::V6(dst) => [narrow_v6.find(dst.to_bits()), wide_v6.find(dst.to_bits())],
            };
            for code in codes {
                assert_eq!(fast.targets.resolve(code), fast.lookup(dst), "dst={dst} root_bits={root_bits}");
            }
        }
    }
}

proptest! {
    /// Any prefixes whatsoever, most of them on a few /16.
    #[test]
    fn any_routes_are_answered_as_by_a_scan(
        prefixes in proptest::collection::vec((0..3_u32, any::<u32>(), 0..=32_u8, 0..5_u16), 0..40),
        asked in proptest::collection::vec((0..3_u32, any::<u32>()), 0..40),
    ) {
        let address = |net: u32, bits: u32| IpAddr::V4((net << 16 | bits & 0xffff | bits & 1 << 31).into());
        let mut slow = SlowFib::default();
        for (net, bits, prefix_len, domain) in prefixes {
            let prefix = Cidr::new(address(net, bits), prefix_len).unwrap().network();
            slow.set(Route { prefix, target: Target::Connected(DomainId(domain)) });
        }
        let fast = Fib::build(&slow.routes).unwrap();
        for (net, bits) in asked {
            check_agrees(&fast, &slow, address(net, bits), "");
        }
    }
}

#[test]
fn the_longest_prefix_wins_and_is_explained() {
    let routes = [
        route("0.0.0.0/0", Target::Via(vec![hop("192.0.2.1")])),
        route("10.0.0.0/8", Target::Blackhole),
        route("10.1.0.0/16", Target::Connected(DomainId(3))),
        route("10.1.2.0/24", Target::Prohibit),
        route("10.1.2.3/32", Target::Unreachable),
        route("fd00::/8", Target::Connected(DomainId(4))),
        route("fd00::7/128", Target::Blackhole),
    ];
    let fib = Fib::build(&routes).unwrap();
    for (dst, expected) in [
        ("9.255.255.255", Some(0)),
        ("10.0.0.0", Some(1)),
        ("10.1.0.0", Some(2)),
        ("10.1.1.255", Some(2)),
        ("10.1.2.0", Some(3)),
        ("10.1.2.2", Some(3)),
        ("10.1.2.3", Some(4)),
        ("10.1.2.4", Some(3)),
        ("10.1.3.0", Some(2)),
        ("10.2.0.0", Some(1)),
        ("11.0.0.0", Some(0)),
        ("255.255.255.255", Some(0)),
        ("fd00::6", Some(5)),
        ("fd00::7", Some(6)),
        ("fd00::8", Some(5)),
        ("fe00::", None),
        ("::", None),
        ("::ffff:10.1.2.3", None), // An IPv4-mapped address is IPv6.
    ] {
        let expected: Option<&Route> = expected.map(|index: usize| &routes[index]);
        assert_eq!(fib.explain(ip(dst)).as_ref(), expected, "{dst}");
        let found = fib.lookup(ip(dst)).map(Resolved::to_target);
        assert_eq!(found.as_ref(), expected.map(|route| &route.target), "{dst}");
    }
    assert_eq!(fib.routes().collect::<Vec<_>>(), routes);
}

#[test]
fn a_table_without_routes_answers_nothing() {
    let empty = Fib::default();
    assert_eq!(Fib::build(&[]).unwrap(), empty);
    assert!(empty.is_empty());
    assert_eq!((empty.len(), empty.memory(), empty.routes().count()), (0, 0, 0));
    for dst in ["0.0.0.0", "10.0.0.1", "255.255.255.255", "::", "fd00::1"] {
        assert_eq!((empty.lookup(ip(dst)), empty.explain(ip(dst))), (None, None), "{dst}");
    }
}

#[test]
fn the_order_of_the_routes_does_not_matter() {
    let mut rng = Rng::seeded(3);
    let mut slow = SlowFib::default();
    for _ in 0..200 {
        slow.set(random_route(&mut rng));
    }
    let fib = Fib::build(&slow.routes).unwrap();
    slow.routes.reverse();
    assert_eq!(Fib::build(&slow.routes).unwrap(), fib);
    assert_eq!(Fib::build(&fib.routes().collect::<Vec<_>>()).unwrap(), fib);
    slow.routes.pop();
    assert_ne!(Fib::build(&slow.routes).unwrap(), fib);
}

#[test]
fn wrong_routes_are_refused_with_the_reason() {
    let via = |addresses: &[&str]| Target::Via(addresses.iter().map(|address| hop(address)).collect());
    let net = cidr("10.0.0.0/8");
    let beyond = Target::Via(hops(17));
    for (routes, expected) in [
        (vec![route("10.0.0.1/8", Target::Blackhole)], FibError::HostBits(cidr("10.0.0.1/8"))),
        (vec![route("fd00::1/64", Target::Blackhole)], FibError::HostBits(cidr("fd00::1/64"))),
        (
            vec![route("10.0.0.0/8", Target::Blackhole), route("10.0.0.0/8", Target::Prohibit)],
            FibError::PrefixTwice(net),
        ),
        (
            vec![
                route("::/0", Target::Blackhole),
                route("0.0.0.0/0", Target::Blackhole),
                route("::/0", via(&["fd00::1"])),
            ],
            FibError::PrefixTwice(cidr("::/0")),
        ),
        (vec![route("10.0.0.0/8", via(&[]))], FibError::NoNextHop(net)),
        (vec![route("10.0.0.0/8", beyond)], FibError::TooManyNextHops(net, 17)),
        (
            vec![route("10.0.0.0/8", via(&["192.0.2.1", "192.0.2.2", "192.0.2.1"]))],
            FibError::NextHopTwice(net, ip("192.0.2.1")),
        ),
        (vec![route("10.0.0.0/8", via(&["fd00::1"]))], FibError::OtherFamily(net, ip("fd00::1"))),
        (vec![route("::/0", via(&["192.0.2.1"]))], FibError::OtherFamily(cidr("::/0"), ip("192.0.2.1"))),
        (vec![route("10.0.0.0/8", via(&["224.0.0.1"]))], FibError::NotAHostAddress(net, ip("224.0.0.1"))),
        (vec![route("::/0", via(&["::"]))], FibError::NotAHostAddress(cidr("::/0"), ip("::"))),
    ] {
        assert_eq!(Fib::build(&routes), Err(expected), "{routes:?}");
        assert!(expected.to_string().len() > 20, "{expected}");
    }
    // The same prefix text in the two families is two prefixes, one address in two domains two hops.
    let other = NextHop { domain: DomainId(2), address: ip("192.0.2.1") };
    let good =
        [route("0.0.0.0/0", Target::Via(vec![hop("192.0.2.1"), other])), route("::/0", via(&["fe80::1"]))];
    assert!(Fib::build(&good).is_ok());
}

#[test]
fn limits_refuse_and_say_what_is_too_much() {
    let many = vec![route("10.0.0.0/8", Target::Blackhole); ROUTES_MAX + 1];
    assert_eq!(Fib::build(&many), Err(FibError::TooManyRoutes(ROUTES_MAX + 1)));
    drop(many);
    // As many different targets as there may be, and one more.
    let through = |number: u32| {
        let hop = NextHop { domain: DomainId(0), address: IpAddr::V4((0x0b00_0000 + number).into()) };
        let prefix = Cidr::new(IpAddr::V4((number << 8).into()), 24).unwrap();
        Route { prefix, target: Target::Via(vec![hop]) }
    };
    let count = u32::try_from(TARGETS_MAX).unwrap();
    let mut routes: Vec<_> = (0..count).map(through).collect();
    let fib = Fib::build(&routes).unwrap();
    for number in [0, 1, 255, 256, count - 1] {
        let dst = Ipv4Addr::from_bits(number << 8 | 9);
        assert_eq!(fib.lookup_v4(dst).map(Resolved::to_target), Some(through(number).target), "{dst}");
    }
    routes.push(through(count));
    assert_eq!(Fib::build(&routes), Err(FibError::TooManyTargets(TARGETS_MAX + 1)));
    // Nodes of the trie.
    let points = table::points(fib.v4.entries());
    assert_eq!(Trie::<_, u16>::with_root(&points, ROOT_BITS_MIN, 1 << 8), Err(FibError::TooScattered));
}

#[test]
fn small_tables_are_small_and_equal_targets_share() {
    let target = Target::Via(hops(16));
    let net = |number: u32| Cidr::new(IpAddr::V4((0x0a00_0000 + (number << 8)).into()), 24).unwrap();
    let routes = |count| (0..count).map(|number| Route { prefix: net(number), target: target.clone() });
    let fib = |count| Fib::build(&routes(count).collect::<Vec<_>>()).unwrap();
    assert!(fib(50).memory() <= 16_384, "{}", fib(50).memory());
    assert_eq!(fib(1_000).target_count(), 1);
}

#[test]
fn flows_spread_evenly_over_all_next_hops_and_stay() {
    let mut rng = Rng::seeded(11);
    for count in 1..=16 {
        let fib = Fib::build(&[route("0.0.0.0/0", Target::Via(hops(count)))]).unwrap();
        let Some(Resolved::Via(hops)) = fib.lookup_v4(Ipv4Addr::LOCALHOST) else {
            panic!("it goes via next hops")
        };
        let mut load = vec![0_u32; usize::from(count)];
        let flows = 20_000 * u32::from(count);
        for _ in 0..flows {
            let hash = FlowHash(u32::try_from(rng.next_u64() >> 32).unwrap());
            let hop = hops.choose(hash);
            assert_eq!(hops.choose(hash), hop, "a flow keeps to its hop");
            load[hops.as_slice().iter().position(|other| *other == hop).unwrap()] += 1;
        }
        assert!(load.iter().all(|flows| flows.abs_diff(20_000) < 1_000), "{count}: {load:?}");
        for (hash, index) in [(0, 0), (u32::MAX, usize::from(count) - 1)] {
            assert_eq!(hops.choose(FlowHash(hash)), hops.as_slice()[index], "{count}");
        }
    }
}

/// With a modulus, two workers and two hops, each worker would know one hop only.
#[test]
fn each_workers_flows_use_all_next_hops() {
    let fib = Fib::build(&[route("0.0.0.0/0", Target::Via(hops(4)))]).unwrap();
    let Some(Resolved::Via(hops)) = fib.lookup_v4(Ipv4Addr::LOCALHOST) else {
        panic!("it goes via next hops")
    };
    for workers in [2, 4, 8] {
        let mut load = vec![[0_u32; 4]; workers];
        let mut frame = [0; 54];
        frame[12] = 0x08;
        frame[14] = 0x45;
        frame[23] = 17;
        for l4_port in 32_768_u16..65_535 {
            frame[34..36].copy_from_slice(&l4_port.to_be_bytes());
            let hash = FlowHash::of(&frame);
            let [.., number] = match hops.choose(hash).address {
                IpAddr::V4(address) => address.octets(),
                IpAddr::V6(_) => panic!("the hops are IPv4"),
            };
            load[hash.owner(workers)][usize::from(number) - 1] += 1;
        }
        let fair = 32_768 / 4 / u32::try_from(workers).unwrap();
        assert!(load.iter().flatten().all(|flows| flows.abs_diff(fair) < fair / 4), "{workers}: {load:?}");
    }
}

/// RFC 2992 §3: from a quarter to a half of the flows move when one of n hops goes; a modulus would move (n - 1) / n.
#[test]
fn losing_a_next_hop_moves_at_most_half_of_the_flows() {
    let mut rng = Rng::seeded(12);
    let eight = hops(8);
    for lost in 0..8 {
        let mut seven = eight.clone();
        seven.remove(lost);
        let moved = (0..10_000)
            .filter(|_| {
                let hash = FlowHash(u32::try_from(rng.next_u64() >> 32).unwrap());
                NextHops(&eight).choose(hash) != NextHops(&seven).choose(hash)
            })
            .count();
        assert!(moved < 5_200, "{moved} of 10,000 moved when hop {lost} went");
    }
}
