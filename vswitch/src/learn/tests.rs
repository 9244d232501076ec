//! Tests of learning: moves, limits, floods, refreshes; and that results do not depend on when the sweep runs.

use core::time::Duration;
use std::vec;
use std::vec::Vec;

use wire::Rng;

use super::*;
use crate::testing::{heard, mac, millis, secs, station, switch, three_ports, trunk};

fn moved(from: u16, flapping: bool) -> Learned {
    Learned::Moved { from: PortId(from), flapping }
}

/// The `number`-th address of a flood.
fn invented(number: u64) -> Mac {
    Mac::from_bits(0x02ff_0000_0000 + number)
}

#[test]
fn a_station_is_new_then_known_then_moves() {
    let mut switch = switch(&three_ports());
    assert_eq!(switch.learn(secs(0), &heard(0, 1, mac(1))), Learned::New);
    assert_eq!(switch.learn(millis(999), &heard(0, 1, mac(1))), Learned::Known);
    assert_eq!(switch.learn(secs(1), &heard(1, 1, mac(1))), moved(0, false));
    assert_eq!((switch.stations_of_port(PortId(0)), switch.stations_of_port(PortId(1))), (0, 1));
    assert_eq!(switch.learn(secs(302), &heard(2, 1, mac(1))), Learned::New, "it had been forgotten");
    assert_eq!((switch.stations_of_port(PortId(1)), switch.stations_of_port(PortId(2))), (0, 1));
    assert_eq!(switch.expire(secs(302)), 1);
}

#[test]
fn domains_have_their_own_stations() {
    let mut switch = switch(&trunk());
    assert_eq!(switch.learn(secs(0), &heard(1, 1, mac(1))), Learned::New);
    assert_eq!(switch.learn(secs(0), &heard(1, 2, mac(1))), Learned::New);
    assert_eq!(switch.learn(secs(0), &heard(2, 2, mac(1))), moved(1, false));
    assert_eq!(switch.learn(secs(0), &heard(1, 1, mac(1))), Learned::Known);
}

#[test]
fn time_that_goes_back_ages_nobody() {
    let mut switch = switch(&three_ports());
    switch.learn(secs(1_000), &heard(0, 1, mac(1)));
    assert_eq!(switch.learn(secs(1), &heard(0, 1, mac(1))), Learned::Known);
    assert_eq!(switch.learn(secs(1_000), &heard(0, 1, mac(1))), Learned::Known);
}

#[test]
fn a_talking_station_is_refreshed_every_other_second() {
    let mut switch = switch(&three_ports());
    switch.learn(secs(0), &heard(0, 1, mac(1)));
    let refreshed =
        (1..=9).filter(|&second| switch.learn(secs(second), &heard(0, 1, mac(1))) == Learned::Refreshed);
    assert_eq!(refreshed.collect::<Vec<_>>(), [2, 4, 6, 8]);
}

#[test]
fn the_fifth_move_in_ten_seconds_is_flapping() {
    let mut switch = switch(&three_ports());
    switch.learn(secs(0), &heard(0, 1, mac(1)));
    for (second, to) in [(1, 1), (2, 0), (3, 1), (4, 0)] {
        assert_eq!(switch.learn(secs(second), &heard(to, 1, mac(1))), moved(1 - to, false));
    }
    assert_eq!(switch.learn(secs(5), &heard(1, 1, mac(1))), moved(0, true));
}

#[test]
fn a_static_station_does_not_move_and_counts_towards_no_limit() {
    let mut plan = three_ports();
    plan.statics = vec![station(1, 1, 0)];
    plan.domains[0].stations_max = 1;
    plan.ports[0].stations_max = 1;
    let mut switch = switch(&plan);
    assert_eq!(switch.learn(secs(0), &heard(0, 1, mac(1))), Learned::Known);
    assert_eq!(switch.learn(secs(0), &heard(1, 1, mac(1))), Learned::Static);
    assert_eq!(switch.learn(secs(0), &heard(0, 1, mac(2))), Learned::New);
    assert_eq!(switch.learn_from_replica(secs(0), DomainId(1), mac(1), PortId(2)), Learned::Static);
    let (stations, _) = switch.stations(secs(0), 0, 10);
    assert!(stations.iter().all(|station| station.port == PortId(0)));
}

#[test]
fn a_full_domain_and_a_full_port_refuse_and_say_so_once() {
    let refused = |first| Learned::RefusedPort { first };
    let mut plan = three_ports();
    plan.domains[0].stations_max = 3;
    plan.ports[0].stations_max = 2;
    let mut switch = switch(&plan);
    let mut learn = |second, port, last| switch.learn(secs(second), &heard(port, 1, mac(last)));
    assert_eq!([1, 2].map(|last| learn(0, 0, last)), [Learned::New; 2]);
    assert_eq!([3, 4, 3].map(|last| learn(0, 0, last)), [true, false, false].map(refused));
    assert_eq!(learn(0, 1, 5), Learned::New);
    let refusals = [6, 7].map(|last| learn(0, 1, last));
    assert_eq!(refusals, [true, false].map(|first| Learned::RefusedDomain { first }));
    // Who is there stays, and may move where there is room, but not to the full port.
    assert_eq!(learn(0, 0, 5), refused(false));
    assert_eq!(learn(0, 1, 5), Learned::Known);
    assert_eq!(learn(1, 1, 2), moved(0, false));
    // There was room at the port in between: the next refusal is a first one again.
    assert_eq!(learn(1, 0, 5), moved(1, false));
    assert_eq!(learn(1, 0, 2), refused(true));
}

#[test]
fn a_flood_from_one_port_leaves_the_others_stations_and_flat_memory() {
    let mut plan = three_ports();
    plan.ports[0].stations_max = 1_000;
    let mut switch = switch(&plan);
    for last in 1..=250 {
        assert_eq!(switch.learn(secs(0), &heard(1, 1, mac(last))), Learned::New);
    }
    let mut memory = 0;
    for number in 0..100_000 {
        let learned = switch.learn(millis(number / 1_000), &heard(0, 1, invented(number)));
        if number < 1_000 {
            assert_eq!(learned, Learned::New);
            memory = switch.fdb.memory();
        } else {
            assert_eq!(learned, Learned::RefusedPort { first: number == 1_000 });
        }
    }
    assert_eq!(switch.fdb.memory(), memory);
    assert!((1..=250).all(|last| switch.learn(millis(100), &heard(1, 1, mac(last))) == Learned::Known));
}

#[test]
fn replicas_teach_what_fits_the_configuration() {
    let mut switch = switch(&trunk());
    let mut told =
        |domain, mac, port| switch.learn_from_replica(secs(0), DomainId(domain), mac, PortId(port));
    assert_eq!(told(1, mac(1), 0), Learned::New);
    assert_eq!(told(1, mac(1), 1), moved(0, false));
    for (domain, mac, port) in
        [(2, mac(2), 0), (1, mac(2), 9), (9, mac(2), 1), (1, Mac::BROADCAST, 0), (1, Mac([0; 6]), 0)]
    {
        assert_eq!(told(domain, mac, port), Learned::Known, "{domain} {mac} {port}");
    }
    assert_eq!(switch.stations_count(), 1);
}

/// Two switches live the same life; one is swept whenever it asks, the other never before the end.
#[test]
fn results_do_not_depend_on_when_the_sweep_runs() {
    for seed in 0..20 {
        let mut plan = trunk();
        plan.domains[0].ageing = Duration::from_secs(7);
        plan.domains[1].ageing = Duration::from_secs(20);
        plan.domains[0].stations_max = 12;
        plan.ports[1].stations_max = 9;
        plan.statics = vec![station(1, 3, 0)];
        let (mut swept, mut unswept) = (switch(&plan), switch(&plan));
        let mut rng = Rng::seeded(seed);
        let mut now = secs(0);
        let mut aged = [0, 0];
        for step in 0..3_000 {
            now = now + Duration::from_millis(rng.below(800));
            if swept.next_deadline().is_some_and(|(at, _)| at <= now) {
                aged[0] += swept.expire(now);
            }
            let memberships = [(0, 1), (1, 1), (1, 2), (2, 2)];
            let (port, domain) = memberships[usize::try_from(rng.below(4)).unwrap()];
            let source = heard(port, domain, mac(u8::try_from(1 + rng.below(24)).unwrap()));
            let note = std::format!("seed {seed} step {step} now {now:?} {source:?}");
            assert_eq!(swept.learn(now, &source), unswept.learn(now, &source), "{note}");
            let dst = mac(u8::try_from(1 + rng.below(24)).unwrap());
            let from = Some(PortId(port));
            let domain = DomainId(domain);
            let forwards = (swept.forward(now, domain, dst, from), unswept.forward(now, domain, dst, from));
            assert_eq!(forwards.0, forwards.1, "{note}");
            assert_eq!(swept.stations(now, 0, 99), unswept.stations(now, 0, 99), "{note}");
        }
        aged[0] += swept.expire(now);
        aged[1] += unswept.expire(now);
        assert_eq!(aged[0], aged[1], "seed {seed}");
        assert!(aged[0] > 100, "seed {seed}: the test would show nothing");
        assert_eq!(swept.next_deadline(), unswept.next_deadline(), "seed {seed}");
    }
}
