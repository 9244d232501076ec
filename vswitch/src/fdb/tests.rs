//! Tests of the table: against a slow model, and of the properties its doc promises.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::*;

fn name(domain: u16, bits: u64) -> Name {
    Name::new(DomainId(domain), Mac::from_bits(bits))
}

fn tick(secs: u64) -> Tick {
    Tick::of(Instant::from_secs(secs))
}

fn id(number: u64) -> u16 {
    u16::try_from(number).unwrap()
}

/// Every station, ordered by name.
fn all(fdb: &Fdb) -> Vec<(Name, Place)> {
    let (stations, next) = fdb.page(Name::from_number(0), usize::MAX, |_, _| true);
    assert_eq!(next, None);
    stations
}

#[test]
fn the_table_agrees_with_the_slow_model() {
    for seed in 0..8 {
        let mut rng = Rng::seeded(0x5eed + seed);
        let (mut fast, mut slow) = (Fdb::new(seed), BTreeMap::new());
        for step in 0..6_000 {
            // Few enough names that they meet again; some seeds fill the table, others keep it small.
            let name = name(id(rng.below(3)), rng.below(200 << seed));
            let place = Place::learned(PortId(id(rng.below(9))), tick(step));
            let note = std::format!("seed {seed} step {step}");
            assert_eq!(fast.find(name), slow.get(&name).copied(), "{note}");
            match rng.below(100) {
                0..60 => assert_eq!(fast.set(name, place), slow.insert(name, place).is_some(), "{note}"),
                60..99 => assert_eq!(fast.remove(name), slow.remove(&name).is_some(), "{note}"),
                _ => {
                    let port = place.port();
                    fast.retain(|_, place| place.port() != port);
                    slow.retain(|_, place| place.port() != port);
                    fast.shrink();
                }
            }
            assert_eq!(fast.count(), slow.len(), "{note}");
            if step % 64 == 0 {
                let model: Vec<_> = slow.iter().map(|(&name, &place)| (name, place)).collect();
                assert_eq!(all(&fast), model, "{note}");
                let (first, max) = (self::name(1, rng.below(200 << seed)), 5);
                let mut from_first = slow.range(first..).map(|(&name, &place)| (name, place));
                let page: Vec<_> = from_first.by_ref().take(max).collect();
                let next = from_first.next().map(|(name, _)| name);
                assert_eq!(fast.page(first, max, |_, _| true), (page, next), "{note}");
            }
        }
    }
}

/// Stations whose addresses follow a pattern.
type Pattern<'a> = &'a dyn Fn(u64) -> Name;

#[test]
fn addresses_in_any_pattern_spread() {
    const STATIONS: u64 = 100_000;
    // Tags (upper seven bits) and slots (lower bits) of a table with 128 groups, as hashbrown takes them.
    const CELLS: usize = 128 * 128;
    let patterns: [(&str, Pattern<'_>); 4] = [
        ("consecutive", &|n| name(0, 0x0242_0000_0000 + n)),
        ("vendor parts", &|n| name(0, 0x02 << 40 | n << 24)),
        ("one octet in six domains", &|n| name(id(n >> 14), n << 16 & 0xffff_ffff_0000)),
        ("low octets swapped", &|n| name(0, (n << 32 | n >> 8) & 0xffff_ffff_ffff)),
    ];
    for (pattern, station) in patterns {
        for seed in 0..20 {
            let key = Key::seeded(seed);
            let mut cells = std::vec![0_u32; CELLS];
            for number in 0..STATIONS {
                let hash = key.hash(station(number));
                let cell = (hash >> 57) << 7 | hash & 127;
                cells[usize::try_from(cell).unwrap()] += 1;
            }
            // Six each if spread by chance, where more than 30 would be one in a hundred million.
            let fullest = cells.iter().max().unwrap();
            assert!(*fullest <= 40, "{pattern}, seed {seed}: {fullest} in one cell");
        }
    }
}

#[test]
fn hundred_thousand_stations_take_32_octets_each_however_they_come_and_go() {
    const STATIONS: u64 = 100_000;
    let mut fdb = Fdb::new(42);
    let place = Place::fixed(PortId(0));
    for number in 0..1_000_000 {
        fdb.set(name(0, number), place);
        if number >= STATIONS {
            assert!(fdb.remove(name(0, number - STATIONS)));
        }
        assert!(fdb.memory() as u64 <= 32 * STATIONS, "{} octets at {number}", fdb.memory());
    }
    assert_eq!(fdb.count() as u64, STATIONS);
}

#[test]
fn memory_comes_back_when_stations_go() {
    let mut fdb = Fdb::new(42);
    let small = fdb.memory();
    for number in 0..100_000 {
        fdb.set(name(0, number), Place::fixed(PortId(0)));
    }
    fdb.retain(|name, _| name.mac().to_bits() < 20);
    fdb.shrink();
    assert_eq!(fdb.memory(), small);
    assert!((0..20).all(|number| fdb.find(name(0, number)).is_some()));
}

#[test]
fn a_page_goes_on_where_the_last_one_stopped() {
    let mut fdb = Fdb::new(9);
    let set = |fdb: &mut Fdb, number| fdb.set(name(0, number), Place::fixed(PortId(0)));
    for number in 0..100 {
        set(&mut fdb, number * 2);
    }
    let (first, next) = fdb.page(Name::from_number(0), 40, |_, _| true);
    assert_eq!(next, Some(name(0, 80)));
    // Growing moves every station, and some are new; who was there is listed once.
    for number in 0..1_000 {
        set(&mut fdb, number * 2 + 1);
    }
    let (rest, end) = fdb.page(next.unwrap(), 10_000, |_, _| true);
    let numbers = first.iter().chain(&rest).map(|(name, _)| name.mac().to_bits());
    assert_eq!(numbers.filter(|number| number % 2 == 0).count(), 100);
    assert_eq!(end, None);
}

#[test]
fn parts_are_kept() {
    let end = Tick::of(Instant::from_nanos(u64::MAX));
    let learned = Place::learned(PortId(4095), end);
    assert_eq!((learned.port(), learned.seen(), learned.is_static()), (PortId(4095), end, false));
    let fixed = Place::fixed(PortId(65_535));
    assert_eq!((fixed.port(), fixed.seen(), fixed.is_static()), (PortId(65_535), tick(0), true));
    let station = name(65_535, 0xffff_ffff_fffe);
    assert_eq!((station.domain(), station.mac()), (DomainId(65_535), Mac([255, 255, 255, 255, 255, 254])));
    assert_eq!(size_of::<Slot>(), 16);
}
