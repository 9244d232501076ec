//! Tests of the table: against a slow model, and of the properties its doc promises.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::*;

fn mac(bits: u64) -> Mac {
    Mac::from_bits(bits)
}

fn tick(secs: u64) -> Tick {
    Tick::of(Instant::from_secs(secs))
}

/// Adds a station that is told by its number alone.
fn add(fdb: &mut Fdb, number: u64) {
    assert!(fdb.insert(fdb.hash(DomainId(0), mac(number)), Place::fixed(PortId(0))));
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn id(number: u64) -> u16 {
    u16::try_from(number).unwrap()
}

/// What the table must equal: a map that is obviously right.
type Slow = BTreeMap<(DomainId, Mac), Place>;

/// The layout's invariants: sorted, nobody left of home, no gap between a station and its home, a last empty slot.
fn check(fdb: &Fdb, slow: &Slow, note: &str) {
    assert_eq!(fdb.count(), slow.len(), "{note}");
    let mut free = 0;
    let mut found = Slow::new();
    for (at, slot) in fdb.slots.iter().enumerate().filter(|(_, slot)| slot.hash != EMPTY.hash) {
        assert_eq!(at, fdb.home(slot.hash).max(free), "{note}: slot {at} is not where order puts it");
        free = at + 1;
        found.insert(fdb.name(slot.hash), slot.place);
    }
    assert!(free < fdb.slots.len(), "{note}: no last empty slot");
    assert_eq!(&found, slow, "{note}");
}

#[test]
fn the_table_agrees_with_the_slow_model() {
    for seed in 0..8 {
        let mut rng = Rng::seeded(0x5eed + seed);
        let (mut fast, mut slow) = (Fdb::new(seed), Slow::new());
        for step in 0..6_000 {
            // Few enough names that they meet again; some seeds fill the table, others keep it small.
            let name = (DomainId(id(rng.below(3))), mac(rng.below(200 << seed)));
            let place = Place::learned(PortId(id(rng.below(9))), tick(step));
            let hash = fast.hash(name.0, name.1);
            let found = fast.find(hash);
            assert_eq!(found.map(|(_, place)| place), slow.get(&name).copied(), "seed {seed} step {step}");
            match (rng.below(100), found) {
                (0..60, Some((index, _))) => {
                    fast.set(index, place);
                    slow.insert(name, place);
                }
                (0..60, None) => {
                    assert!(fast.insert(hash, place));
                    slow.insert(name, place);
                }
                (60..99, Some((index, _))) => {
                    fast.remove(index);
                    slow.remove(&name);
                }
                (60..99, None) => {}
                _ => {
                    let port = PortId(id(rng.below(9)));
                    fast.retain(|_, _, place| place.port() != port);
                    slow.retain(|_, place| place.port() != port);
                }
            }
            if step % 64 == 0 {
                check(&fast, &slow, &std::format!("seed {seed} step {step}"));
            }
        }
        check(&fast, &slow, &std::format!("seed {seed} at the end"));
    }
}

#[test]
fn the_hash_is_a_name() {
    let fdb = Fdb::new(7);
    for (domain, bits) in [(0, 0), (0, 1), (4095, 0xffff_ffff_ffff), (17, 0x0242_ac10_0002)] {
        let name = (DomainId(domain), mac(bits));
        assert_eq!(fdb.name(fdb.hash(name.0, name.1)), name);
    }
    assert_ne!(fdb.hash(DomainId(1), mac(2)), Fdb::new(8).hash(DomainId(1), mac(2)));
}

#[test]
fn no_station_has_the_hash_of_an_empty_slot() {
    for seed in 0..500 {
        let mix = Mix::seeded(seed);
        assert!(mix.unmix(EMPTY.hash) >> 48 >= DOMAINS_MAX as u64, "seed {seed}");
        assert_eq!(mix.mix(mix.unmix(EMPTY.hash)), EMPTY.hash);
    }
}

/// The longest way from home, in slots.
fn displacement_max(fdb: &Fdb) -> usize {
    let occupied = fdb.slots.iter().enumerate().filter(|(_, slot)| slot.hash != EMPTY.hash);
    occupied.map(|(at, slot)| at - fdb.home(slot.hash)).max().unwrap_or(0)
}

#[test]
fn addresses_in_any_pattern_spread_and_fit_in_32_octets_each() {
    const STATIONS: u64 = 100_000;
    let mut rng = Rng::seeded(1);
    let random: Vec<u64> = (0..STATIONS).map(|_| rng.below(1 << 48)).collect();
    type Pattern<'a> = &'a dyn Fn(u64) -> (u16, u64);
    let patterns: [(&str, Pattern<'_>); 5] = [
        ("random", &|n| (0, random[index(n)])),
        ("consecutive", &|n| (0, 0x0242_0000_0000 + n)),
        ("vendor parts", &|n| (0, 0x02 << 40 | n << 24)),
        ("one octet in six domains", &|n| (id(n >> 14), n << 16 & 0xffff_ffff_0000)),
        ("low octets swapped", &|n| (0, (n << 32 | n >> 8) & 0xffff_ffff_ffff)),
    ];
    for (pattern, station) in patterns {
        let mut fdb = Fdb::new(42);
        for n in 0..STATIONS {
            let (domain, bits) = station(n);
            let hash = fdb.hash(DomainId(domain), mac(bits));
            if fdb.find(hash).is_none() {
                assert!(fdb.insert(hash, Place::fixed(PortId(1))));
            }
        }
        let farthest = displacement_max(&fdb);
        assert!(farthest < Fdb::OVERFLOW / 2, "{pattern}: {farthest} slots from home");
        assert!(fdb.memory() <= 32 * index(STATIONS), "{pattern}: {} octets", fdb.memory());
    }
}

#[test]
fn crowding_one_home_ends_in_a_refusal_not_in_growth() {
    let mut fdb = Fdb::new(0);
    // Hashes that all have the last home however large the table: only somebody who knows the seed could find them.
    let hash = |n: u64| Hash(u64::MAX - 1 - n);
    let admitted = (0..10_000).take_while(|&n| fdb.insert(hash(n), Place::fixed(PortId(1)))).count() as u64;
    assert_eq!(admitted, 1 + Fdb::OVERFLOW as u64, "the last home and the overflow");
    assert!(fdb.home_bits <= 12, "{}", fdb.home_bits);
    assert!((0..admitted).all(|n| fdb.find(hash(n)).is_some()));
    assert!(fdb.find(hash(admitted)).is_none());
    assert!(fdb.insert(fdb.hash(DomainId(0), mac(1)), Place::fixed(PortId(1))), "others are not concerned");
}

#[test]
fn the_layout_does_not_depend_on_history() {
    let hashes = |fdb: &Fdb| fdb.slots.iter().map(|slot| slot.hash).collect::<Vec<_>>();
    let (mut forwards, mut backwards) = (Fdb::new(3), Fdb::new(3));

    (0..1_000).for_each(|n| add(&mut forwards, n));
    (0..1_500).rev().for_each(|n| add(&mut backwards, n));
    backwards.retain(|_, mac, _| mac.to_bits() < 1_000);
    assert_eq!(hashes(&forwards), hashes(&backwards));
}

#[test]
fn a_listing_goes_on_where_it_stopped() {
    let mut fdb = Fdb::new(9);
    for n in 0..100 {
        add(&mut fdb, n);
    }
    let first: Vec<_> = fdb.iter_from(Hash::FIRST).map(|(hash, _)| hash).take(40).collect();
    let next = fdb.iter_from(Hash::FIRST).nth(40).unwrap().0;
    // Growing moves every station; the listing does not notice.
    for n in 100..1_000 {
        add(&mut fdb, n);
    }
    let rest = fdb.iter_from(next).map(|(hash, _)| fdb.name(hash).1);
    let listed = first.iter().map(|&hash| fdb.name(hash).1).chain(rest);
    assert_eq!(listed.filter(|mac| mac.to_bits() < 100).count(), 100);
}

#[test]
fn a_place_keeps_its_parts() {
    let end = Tick::of(Instant::from_nanos(u64::MAX));
    let learned = Place::learned(PortId(4095), end);
    assert_eq!((learned.port(), learned.seen(), learned.is_static()), (PortId(4095), end, false));
    let fixed = Place::fixed(PortId(65_535));
    assert_eq!((fixed.port(), fixed.seen(), fixed.is_static()), (PortId(65_535), tick(0), true));
    assert_eq!(size_of::<Slot>(), 16);
}
