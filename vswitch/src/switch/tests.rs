//! Tests of what happens beside the packet path: configuration, ageing, flushing, listing.

use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::Learned;
use crate::testing::{heard, mac, millis, secs, station, switch, three_ports, trunk};

/// Every station as domain, last octet, port.
fn list(switch: &Switch, now: Instant) -> BTreeSet<(u16, u8, u16)> {
    let (stations, rest) = switch.stations(now, 0, usize::MAX);
    assert_eq!(rest, None);
    stations.iter().map(|station| (station.domain.0, station.mac.0[5], station.port.0)).collect()
}

/// The trunk plan with a station of each domain behind each port that carries it.
fn populated() -> (Switch, SwitchPlan) {
    let plan = trunk();
    let mut switch = switch(&plan);
    for (port, domain, last) in [(0, 1, 10), (1, 1, 11), (1, 2, 21), (2, 2, 22)] {
        assert_eq!(switch.learn(secs(0), &heard(port, domain, mac(last))), Learned::New);
    }
    (switch, plan)
}

#[test]
fn a_new_plan_forgets_only_stations_whose_place_is_gone() {
    type Change = fn(&mut SwitchPlan);
    let cases: [(Change, &[u8]); 7] = [
        (|_| {}, &[10, 11, 21, 22]),
        (|plan| plan.ports[1].mtu = 9000, &[10, 11, 21, 22]),
        (|plan| plan.ports[1].serial = 1, &[10, 22]),
        (|plan| drop(plan.ports.pop()), &[10, 11, 21]),
        (|plan| plan.ports[1].memberships.truncate(1), &[10, 11, 22]),
        (|plan| plan.ports[1].memberships[1].vid = Vid::new(21), &[10, 11, 22]),
        (|plan| plan.ports[0].memberships[0].domain = DomainId(2), &[11, 21, 22]),
    ];
    for (number, (change, left)) in cases.into_iter().enumerate() {
        let (mut switch, mut plan) = populated();
        change(&mut plan);
        assert_eq!(plan.check(), Ok(()));
        switch.configure(secs(1), &plan);
        let listed: Vec<u8> = list(&switch, secs(1)).iter().map(|&(_, last, _)| last).collect();
        assert_eq!(listed, left, "case {number}");
        let by_port: u32 = (0..3).map(|port| switch.stations_of_port(PortId(port))).sum();
        let by_domain: u32 = [1, 2].map(|domain| switch.stations_of_domain(DomainId(domain))).iter().sum();
        assert_eq!(
            (by_port as usize, by_domain as usize, switch.learned),
            (left.len(), left.len(), left.len())
        );
    }
    // A domain that is gone for a while does not come back with its stations.
    let (mut switch, plan) = populated();
    let mut without = plan.clone();
    without.domains.truncate(1);
    without.ports.truncate(2);
    without.ports[1].memberships.truncate(1);
    switch.configure(secs(1), &without);
    switch.configure(secs(2), &plan);
    assert_eq!(list(&switch, secs(2)), BTreeSet::from([(1, 10, 0), (1, 11, 1)]));
}

#[test]
fn a_new_plan_keeps_the_level_of_storm_buckets_with_unchanged_rates() {
    let mut plan = three_ports();
    plan.ports[0].storm.broadcast = Some(1);
    let mut switch = switch(&plan);
    let admit = |switch: &mut Switch| {
        let mut frame = crate::testing::frame(Mac::BROADCAST, mac(1), &[], 0x88b5, &[]);
        switch.admit(secs(0), PortId(0), &mut frame).is_ok()
    };
    assert!(admit(&mut switch) && !admit(&mut switch));
    plan.ports[0].mtu = 9000;
    switch.configure(secs(0), &plan);
    assert!(!admit(&mut switch));
    plan.ports[0].storm.broadcast = Some(2);
    switch.configure(secs(0), &plan);
    assert!(admit(&mut switch) && admit(&mut switch) && !admit(&mut switch));
    plan.ports[0].serial = 1;
    switch.configure(secs(0), &plan);
    assert!(admit(&mut switch), "another port has another bucket");
}

#[test]
fn static_stations_come_and_go_with_the_plan_alone() {
    let mut plan = three_ports();
    let mut switch = switch(&plan);
    switch.learn(secs(0), &heard(0, 1, mac(9)));
    plan.statics = vec![station(1, 9, 1), station(1, 8, 2)];
    switch.configure(secs(0), &plan);
    assert_eq!(list(&switch, secs(0)), BTreeSet::from([(1, 9, 1), (1, 8, 2)]));
    assert_eq!((switch.stations_of_domain(DomainId(1)), switch.stations_of_port(PortId(1))), (0, 0));
    assert_eq!(switch.next_deadline(), None, "static stations do not age");
    assert_eq!(switch.expire(secs(1_000_000)), 0);
    assert_eq!(switch.flush(None, None, None), 0);
    assert_eq!(switch.stations_count(), 2);
    plan.statics = vec![station(1, 8, 0)];
    switch.configure(secs(1), &plan);
    assert_eq!(list(&switch, secs(1)), BTreeSet::from([(1, 8, 0)]));
}

#[test]
fn a_silent_station_ages_after_its_domains_time_and_up_to_a_second() {
    let mut plan = trunk();
    plan.domains[0].ageing = Duration::from_millis(9_500);
    plan.domains[1].ageing = Duration::ZERO;
    let mut switch = switch(&plan);
    switch.learn(secs(0), &heard(2, 2, mac(22)));
    assert_eq!(switch.next_deadline(), None, "an ageing time of zero means for ever");
    switch.learn(millis(1_900), &heard(0, 1, mac(10)));
    switch.learn(millis(3_000), &heard(1, 1, mac(11)));
    assert_eq!(switch.next_deadline(), Some((secs(12), "stations age")));
    assert_eq!(switch.expire(millis(11_999)), 0);
    // 10.1 seconds of silence, at least the 9.5 asked for.
    assert_eq!(list(&switch, secs(12)), BTreeSet::from([(1, 11, 1), (2, 22, 2)]));
    assert_eq!(switch.expire(secs(12)), 1);
    assert_eq!(switch.next_deadline(), Some((secs(14), "stations age")));
    // It speaks again: the deadline was too early, and the sweep finds the next one.
    switch.learn(secs(13), &heard(1, 1, mac(11)));
    assert_eq!(switch.expire(secs(14)), 0);
    assert_eq!(switch.next_deadline(), Some((secs(24), "stations age")));
    assert_eq!(switch.expire(secs(24)), 1);
    assert_eq!(switch.next_deadline(), None);
    assert_eq!(list(&switch, secs(1_000_000)), BTreeSet::from([(2, 22, 2)]));
}

#[test]
fn a_shorter_ageing_time_holds_at_once() {
    let mut plan = three_ports();
    let mut switch = switch(&plan);
    switch.learn(secs(0), &heard(0, 1, mac(1)));
    switch.learn(secs(60), &heard(0, 1, mac(2)));
    plan.domains[0].ageing = Duration::from_secs(30);
    switch.configure(secs(70), &plan);
    assert_eq!(list(&switch, secs(70)), BTreeSet::from([(1, 2, 0)]));
    assert_eq!(switch.next_deadline(), Some((secs(91), "stations age")));
    assert_eq!(switch.expire(secs(70)), 1, "the one that configuring found is told here");
}

#[test]
fn flushing_forgets_what_matches_every_criterion() {
    let cases = [
        (None, None, None, 4),
        (Some(1), None, None, 2),
        (None, Some(1), None, 2),
        (Some(1), Some(1), None, 1),
        (None, None, Some(22), 1),
        (Some(1), None, Some(22), 0),
        (Some(7), None, None, 0),
    ];
    for (domain, port, last, gone) in cases {
        let (mut switch, _) = populated();
        let flushed = switch.flush(domain.map(DomainId), port.map(PortId), last.map(mac));
        assert_eq!((flushed, switch.stations_count()), (gone, 4 - gone), "{domain:?} {port:?} {last:?}");
        let left: u32 = (0..3).map(|port| switch.stations_of_port(PortId(port))).sum();
        assert_eq!(left as usize, switch.learned);
    }
}

#[test]
fn the_listing_comes_in_pages_and_tells_how_long_a_station_has_been_silent() {
    let mut plan = three_ports();
    plan.statics = vec![station(1, 250, 2)];
    let mut switch = switch(&plan);
    for last in 0..100 {
        switch.learn(secs(last.into()), &heard(0, 1, mac(last)));
    }
    let (mut cursor, mut listed) = (Some(0), Vec::new());
    while let Some(from) = cursor {
        let (page, next) = switch.stations(secs(100), from, 7);
        assert!(page.len() == 7 || next.is_none());
        listed.extend(page);
        cursor = next;
    }
    assert_eq!(listed.len(), 101);
    for station in listed {
        let last = station.mac.0[5];
        let idle = if station.is_static { 0 } else { 100 - u64::from(last) };
        assert_eq!(station.is_static, last == 250);
        assert_eq!(station.idle, Duration::from_secs(idle));
    }
}
