//! Tests of forwarding: who receives, and why nobody does.

use std::vec;
use std::vec::Vec;

use wire::DropReason::*;

use super::*;
use crate::plan::{Horizon, Isolation, SwitchPlan};
use crate::testing::{domain, heard, mac, millis, port, secs, station, switch, three_ports, trunk};

const GROUP: Mac = Mac([1, 0, 0x5e, 0, 0, 1]);

/// The ports that receive, or why there are none; `forward` and `receivers` must agree.
fn forward(
    switch: &mut Switch,
    domain: u16,
    dst: Mac,
    ingress: Option<u16>,
) -> Result<Vec<(u16, u16)>, DropReason> {
    let (domain, ingress) = (DomainId(domain), ingress.map(PortId));
    let seen = |egress: Egress| (egress.port.0, egress.vid.map_or(0, Vid::number));
    let receivers: Vec<_> = switch.receivers(domain, ingress).map(seen).collect();
    match switch.forward(secs(1), domain, dst, ingress)? {
        Forward::One(egress) => Ok(vec![seen(egress)]),
        Forward::Many => {
            assert!(!receivers.is_empty(), "a flood reaches somebody");
            Ok(receivers)
        }
    }
}

#[test]
fn unknown_stations_and_groups_are_flooded_known_stations_are_not() {
    let mut switch = switch(&trunk());
    for dst in [mac(9), Mac::BROADCAST, GROUP] {
        assert_eq!(forward(&mut switch, 1, dst, Some(0)), Ok(vec![(1, 0)]));
        assert_eq!(forward(&mut switch, 2, dst, Some(2)), Ok(vec![(1, 20)]));
        assert_eq!(forward(&mut switch, 2, dst, Some(1)), Ok(vec![(2, 0)]));
        assert_eq!(forward(&mut switch, 2, dst, None), Ok(vec![(1, 20), (2, 0)]));
    }
    switch.learn(secs(0), &heard(1, 2, mac(9)));
    assert_eq!(forward(&mut switch, 2, mac(9), Some(2)), Ok(vec![(1, 20)]));
    assert_eq!(forward(&mut switch, 2, mac(9), None), Ok(vec![(1, 20)]));
    assert_eq!(forward(&mut switch, 2, mac(9), Some(1)), Err(SamePort));
    // The other domain has not heard of it.
    assert_eq!(forward(&mut switch, 1, mac(9), None), Ok(vec![(0, 0), (1, 0)]));
}

#[test]
fn an_egress_carries_the_ports_mtu() {
    let mut plan = three_ports();
    plan.ports[2].mtu = 9000;
    let mut switch = switch(&plan);
    switch.learn(secs(0), &heard(2, 1, mac(9)));
    let egress = Egress { port: PortId(2), vid: None, mtu: 9000 };
    assert_eq!(switch.forward(secs(0), DomainId(1), mac(9), None), Ok(Forward::One(egress)));
    assert_eq!(switch.receivers(DomainId(1), None).map(|egress| egress.mtu).max(), Some(9000));
}

#[test]
fn receivers_come_in_the_order_of_their_ids() {
    let ports = [7, 3, 300, 0, 5].map(|id| port(id, &[(1, 0)]));
    let plan = SwitchPlan { domains: vec![domain(1)], ports: ports.into(), statics: vec![] };
    let mut switch = switch(&plan);
    assert_eq!(forward(&mut switch, 1, GROUP, Some(5)), Ok(vec![(0, 0), (3, 0), (7, 0), (300, 0)]));
}

#[test]
fn isolated_ports_hear_open_ports_and_the_router_only() {
    let mut plan = three_ports();
    plan.ports[0].isolation = Isolation::Isolated;
    plan.ports[1].isolation = Isolation::Isolated;
    let mut switch = switch(&plan);
    for id in 0..3 {
        switch.learn(secs(0), &heard(u16::from(id), 1, mac(id)));
    }
    assert_eq!(forward(&mut switch, 1, GROUP, Some(0)), Ok(vec![(2, 0)]));
    assert_eq!(forward(&mut switch, 1, GROUP, Some(2)), Ok(vec![(0, 0), (1, 0)]));
    assert_eq!(forward(&mut switch, 1, GROUP, None), Ok(vec![(0, 0), (1, 0), (2, 0)]));
    assert_eq!(forward(&mut switch, 1, mac(1), Some(0)), Err(Isolated));
    assert_eq!(forward(&mut switch, 1, mac(2), Some(0)), Ok(vec![(2, 0)]));
    assert_eq!(forward(&mut switch, 1, mac(1), Some(2)), Ok(vec![(1, 0)]));
    assert_eq!(forward(&mut switch, 1, mac(1), None), Ok(vec![(1, 0)]));
    assert_eq!(forward(&mut switch, 1, mac(0), Some(0)), Err(SamePort));
}

#[test]
fn a_flood_that_reaches_nobody_says_why() {
    let mut plan = three_ports();
    plan.ports.iter_mut().for_each(|port| port.isolation = Isolation::Isolated);
    let mut isolated = switch(&plan);
    assert_eq!(forward(&mut isolated, 1, GROUP, Some(0)), Err(Isolated));
    assert_eq!(forward(&mut isolated, 1, mac(9), Some(0)), Err(Isolated));
    plan.ports.truncate(1);
    let mut alone = switch(&plan);
    assert_eq!(forward(&mut alone, 1, GROUP, Some(0)), Err(NoReceiver));
    assert_eq!(forward(&mut alone, 1, GROUP, None), Ok(vec![(0, 0)]));
    plan.ports.clear();
    let mut empty = switch(&plan);
    assert_eq!(forward(&mut empty, 1, GROUP, None), Err(NoReceiver));
    assert_eq!(forward(&mut empty, 4095, GROUP, None), Err(NoReceiver));
}

#[test]
fn frames_to_unknown_stations_have_their_own_bucket() {
    let mut plan = three_ports();
    plan.ports[0].storm.unknown = Some(2);
    plan.statics = vec![station(1, 8, 1)];
    let mut switch = switch(&plan);
    let mut at = |now, dst, ingress| switch.forward(now, DomainId(1), dst, ingress).map(|_| ());
    let tries = [(); 3].map(|()| at(secs(1), mac(9), Some(PortId(0))));
    assert_eq!(tries, [Ok(()), Ok(()), Err(StormUnknown)]);
    assert_eq!(at(millis(1_499), mac(9), Some(PortId(0))), Err(StormUnknown));
    assert_eq!(at(millis(1_500), mac(9), Some(PortId(0))), Ok(()));
    // Neither known stations, nor groups, nor other ports, nor the router are concerned.
    for (dst, ingress) in [(mac(8), Some(0)), (GROUP, Some(0)), (mac(9), Some(1)), (mac(9), None)] {
        assert!((0..50).all(|_| at(secs(1), dst, ingress.map(PortId)).is_ok()), "{dst} from {ingress:?}");
    }
}

#[test]
fn a_station_that_is_too_old_is_unknown_whether_swept_or_not() {
    let mut switch = switch(&three_ports());
    switch.learn(secs(0), &heard(1, 1, mac(9)));
    let mut at = |now| switch.forward(now, DomainId(1), mac(9), Some(PortId(0)));
    let egress = Egress { port: PortId(1), vid: None, mtu: 1500 };
    assert_eq!(at(secs(300)), Ok(Forward::One(egress)));
    assert_eq!(at(secs(301)), Ok(Forward::Many));
}

#[test]
fn ends_of_one_tunnel_never_hear_each_other() {
    let mut plan = three_ports();
    plan.ports[1].horizon = Some(Horizon(7));
    plan.ports[2].horizon = Some(Horizon(7));
    let mut one = switch(&plan);
    for dst in [mac(9), Mac::BROADCAST] {
        assert_eq!(forward(&mut one, 1, dst, Some(0)), Ok(vec![(1, 0), (2, 0)]));
        assert_eq!(forward(&mut one, 1, dst, Some(1)), Ok(vec![(0, 0)]));
        assert_eq!(forward(&mut one, 1, dst, None), Ok(vec![(0, 0), (1, 0), (2, 0)]));
    }
    one.learn(secs(1), &heard(2, 1, mac(8)));
    assert_eq!(forward(&mut one, 1, mac(8), Some(1)), Err(SplitHorizon));
    assert_eq!(forward(&mut one, 1, mac(8), Some(0)), Ok(vec![(2, 0)]));

    plan.ports[2].horizon = Some(Horizon(8));
    assert_eq!(forward(&mut switch(&plan), 1, mac(9), Some(1)), Ok(vec![(0, 0), (2, 0)]));
    plan.ports[2].horizon = Some(Horizon(7));
    plan.ports[0].horizon = Some(Horizon(7));
    assert_eq!(forward(&mut switch(&plan), 1, mac(9), Some(1)), Err(SplitHorizon));
}
