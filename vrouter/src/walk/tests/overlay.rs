//! Overlays: whose packets pass, untranslated, and whose do not.

use super::*;
use crate::plan::OverlayPolicy;

const OV: DomainId = DomainId(5);
/// A pod of a host behind a tunnel.
const POD: &str = "10.244.2.9";
/// A pod of a host that is a neighbour on the uplink.
const NEAR_POD: &str = "10.244.3.9";

fn world() -> World {
    let mut plan = plan();
    let end = UnicastMac::new(Mac([0x0e, 0x2a, 0, 0, 0, 2])).unwrap();
    let overlay = OverlayPolicy {
        ends: Arc::new([("10.244.2.0".parse().unwrap(), end)]),
        speakers: ["172.16.0.1", "fd16::1"].map(|text| text.parse().unwrap()).to_vec(),
    };
    let gateway = gateway(OV, &[], Side::Overlay(overlay));
    plan.gateways.push(Gateway { mtu: 1450, ..gateway });
    let via = |prefix: &str, domain, address: &str| Route {
        prefix: prefix.parse().unwrap(),
        target: Target::Via(Vec::from([NextHop { domain, address: address.parse().unwrap() }])),
    };
    let mut routes: Vec<Route> = plan.fib.routes().collect();
    routes.extend([
        via("10.244.2.0/24", OV, "10.244.2.0"),
        via("10.244.4.0/24", OV, "10.244.4.0"),
        via("10.244.3.0/24", UP, "192.168.9.66"),
    ]);
    plan.fib = Arc::new(Fib::build(&routes).unwrap());
    let near = Route { prefix: "10.244.3.0/24".parse().unwrap(), target: Target::Unreachable };
    plan.direct = Arc::new(Fib::build(&[near]).unwrap());
    World::new(plan)
}

#[test]
fn an_overlay_s_hosts_meet_our_networks_untranslated() {
    check(
        &mut world(),
        &[
            (A, udp(("172.16.0.2", 7), (POD, 7)), "5 Udp 172.16.0.2:7 > 10.244.2.9:7 ttl 63"),
            (I, udp(("172.18.0.2", 7), (POD, 7)), "5 Udp 172.18.0.2:7 > 10.244.2.9:7 ttl 63"),
            (OV, udp((POD, 9), ("172.16.0.2", 9)), "1 Udp 10.244.2.9:9 > 172.16.0.2:9 ttl 63"),
            (A, udp(("172.16.0.2", 7), (NEAR_POD, 7)), "9 Udp 172.16.0.2:7 > 10.244.3.9:7 ttl 63"),
            (UP, udp((NEAR_POD, 9), ("172.16.0.2", 9)), "1 Udp 10.244.3.9:9 > 172.16.0.2:9 ttl 63"),
        ],
    );
}

#[test]
fn and_nobody_else_through_us() {
    let transit = "route.overlay-transit + ";
    check(
        &mut world(),
        &[
            (
                OV,
                udp((POD, 7), ("8.8.8.8", 7)),
                &format!(
                    "{transit}5 icmp 3/13 172.16.0.1 > 10.244.2.9 ttl 64 about 10.244.2.9:7 > 8.8.8.8:7"
                ),
            ),
            (
                OV,
                udp((POD, 7), ("10.244.2.10", 7)),
                &format!(
                    "{transit}5 icmp 3/13 172.16.0.1 > 10.244.2.9 ttl 64 about 10.244.2.9:7 > 10.244.2.10:7"
                ),
            ),
            (
                UP,
                udp((NEAR_POD, 7), (POD, 7)),
                &format!(
                    "{transit}9 icmp 3/13 192.168.9.7 > 10.244.3.9 ttl 64 about 10.244.3.9:7 > 10.244.2.9:7"
                ),
            ),
            (UP, udp(("8.8.8.8", 7), (POD, 7)), "route.unsolicited"),
            (UP, udp((POD, 7), ("172.16.0.2", 7)), "route.spoofed-source"),
            (OV, udp((NEAR_POD, 7), ("172.16.0.2", 7)), "route.spoofed-source"),
        ],
    );
}

#[test]
fn an_end_that_is_not_listed_is_not_asked_for() {
    let unreachable = "route.neighbour-unreachable + 1 icmp 3/1 172.16.0.1 > 172.16.0.2 ttl 64 about 172.16.0.2:7 > 10.244.4.9:7";
    check(&mut world(), &[(A, udp(("172.16.0.2", 7), ("10.244.4.9", 7)), unreachable)]);
}

#[test]
fn a_packet_too_big_for_the_tunnel_is_reported() {
    let sized = |len: usize| {
        let sample = Sample::udp("172.16.0.2", POD, [7, 7], &std::vec![0; len - 28]);
        Sample { dont_fragment: true, ..sample }
    };
    let too_big =
        "route.over-mtu + 1 icmp 3/4 172.16.0.1 > 172.16.0.2 ttl 64 about 172.16.0.2:7 > 10.244.2.9:7";
    let fits = "5 Udp 172.16.0.2:7 > 10.244.2.9:7 ttl 63";
    check(&mut world(), &[(A, sized(1_451), too_big), (A, sized(1_450), fits)]);
}

#[test]
fn ends_are_listed_once_and_in_order() {
    let mac = UnicastMac::new(Mac([2, 0, 0, 0, 0, 2])).unwrap();
    let ends = |texts: &[&str]| {
        let ends = texts.iter().map(|text| (text.parse().unwrap(), mac)).collect();
        let overlay = OverlayPolicy { ends, speakers: Vec::new() };
        let gateways = Vec::from([gateway(OV, &[], Side::Overlay(overlay))]);
        RouterPlan { gateways, ..RouterPlan::default() }.check()
    };
    assert_eq!(ends(&["10.0.0.0", "10.0.1.0", "fd00::"]), Ok(()));
    for texts in [["10.0.1.0", "10.0.0.0"], ["10.0.0.0", "10.0.0.0"]] {
        assert_eq!(ends(&texts), Err(crate::PlanError::OverlayEnds(OV)));
    }
}
