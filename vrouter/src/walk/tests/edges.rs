//! Where rules meet: sources that nobody has, a list that comes late, two behind one address, a narrow link.

use core::time::Duration;

use super::*;
use crate::Filtering;

#[test]
fn sources_that_no_station_has_go_nowhere() {
    let mut published = plan();
    published.publishes = Vec::from([publish(1, 8080, "172.17.0.2", 80), publish(2, 8080, "fd17::2", 80)]);
    let mut world = World::new(published);
    let outside = |src| tcp((src, 4000), ("192.168.9.7", 8080), SYN);
    let gateway = crate::interface::link_local(gateway_mac(A)).to_string();
    for (domain, sample) in [
        (UP, outside("240.1.2.3")),
        (UP, outside("0.1.2.3")),
        (UP, outside("192.168.9.255")),
        (UP, outside("192.168.9.0")),
        (A, udp(("172.16.255.255", 5), ("172.17.0.2", 7))),
        (A, with_ttl(udp(("172.16.0.0", 5), ("172.17.0.2", 7)), 1)),
        // A link-local source stays on its link, whomever it asks for what.
        (A, udp(("fe80::2", 5), ("fd17::2", 7))),
        (A, udp(("fe80::2", 5), ("2001:db8::1", 7))),
        (A, tcp(("fe80::2", 5), (&gateway, 8080), SYN)),
    ] {
        assert_eq!(world.send(domain, &sample), "route.martian-source", "{sample:?}");
    }
    assert_eq!(world.send(A, &ping("fe80::2", &gateway, 128)), "answer");
    assert_eq!(world.router.connections().stats().sessions, 0);
}

#[test]
fn the_first_access_rule_leaves_open_connections_alone() {
    let mut world = World::new(plan());
    let (one, other) = (("172.16.0.2", 4000), ("172.17.0.2", 80));
    let segment = |flags| tcp(one, other, flags);
    let ahead = "2 Tcp 172.16.0.2:4000 > 172.17.0.2:80 ttl 63";
    let back = "1 Tcp 172.17.0.2:80 > 172.16.0.2:4000 ttl 63";
    check(
        &mut world,
        &[(A, segment(SYN), ahead), (B, tcp(other, one, SYN_ACK), back), (A, segment(ACK), ahead)],
    );
    let deny = |from, to| AclRule {
        action: AclAction::Deny,
        from: AclEnd::Domain(from),
        to: AclEnd::Domain(to),
        protocol: None,
        l4_ports: None,
    };
    world.plan.acl = Vec::from([deny(A, B), deny(B, A)]);
    world.configure();
    let refused =
        "route.acl-denied + 1 icmp 3/13 172.16.0.1 > 172.16.0.2 ttl 64 about 172.16.0.2:4001 > 172.17.0.2:80";
    check(
        &mut world,
        &[
            (B, tcp(other, one, ACK), back),
            (A, segment(ACK), ahead),
            (A, tcp(("172.16.0.2", 4001), other, SYN), refused),
        ],
    );
    // Who was silent for the transitory timeout is judged as new; who was not is remembered.
    world.now = world.now + Duration::from_secs(240);
    check(
        &mut world,
        &[(A, tcp(("172.16.0.2", 4001), other, ACK), refused), (B, tcp(other, one, ACK), back)],
    );
}

#[test]
fn who_is_reached_by_a_mapping_sees_the_askers_mapping() {
    let mut open = plan();
    open.nat.filtering = Filtering::EndpointIndependent;
    let mut world = World::new(open);
    check(
        &mut world,
        &[
            (A, udp(("172.16.0.2", 5000), ("8.8.8.8", 53)), "9 Udp 192.168.9.7:5000 > 8.8.8.8:53 ttl 63"),
            (A, udp(("172.16.0.3", 5001), ("8.8.8.8", 53)), "9 Udp 192.168.9.7:5001 > 8.8.8.8:53 ttl 63"),
            (
                A,
                udp(("172.16.0.2", 5000), ("192.168.9.7", 5001)),
                "1 Udp 192.168.9.7:5000 > 172.16.0.3:5001 ttl 63",
            ),
            (
                A,
                udp(("172.16.0.3", 5001), ("192.168.9.7", 5000)),
                "1 Udp 192.168.9.7:5001 > 172.16.0.2:5000 ttl 63",
            ),
            (
                B,
                udp(("172.17.0.2", 7), ("192.168.9.7", 5000)),
                "1 Udp 192.168.9.7:7 > 172.16.0.2:5000 ttl 63",
            ),
        ],
    );
}

#[test]
fn a_station_that_takes_less_than_its_network_is_told_of() {
    let mut world = World::new(plan());
    world.narrow = Narrow(Vec::from(
        [("172.17.0.2", 1_000), ("fd17::2", 1_300)].map(|(at, mtu)| (at.parse().unwrap(), mtu)),
    ));
    let long = |src, dst, len| Sample::udp(src, dst, [5, 7], &std::vec![7; len]);
    let fixed = |sample| Sample { dont_fragment: true, ..sample };
    check(
        &mut world,
        &[
            (A, fixed(long("172.16.0.2", "172.17.0.2", 972)), "2 Udp 172.16.0.2:5 > 172.17.0.2:7 ttl 63"),
            (
                A,
                fixed(long("172.16.0.2", "172.17.0.2", 973)),
                "route.over-mtu + 1 icmp 3/4 172.16.0.1 > 172.16.0.2 ttl 64 about 172.16.0.2:5 > 172.17.0.2:7",
            ),
            (A, long("fd16::2", "fd17::2", 1_252), "2 Udp fd16::2:5 > fd17::2:7 ttl 63"),
            (
                A,
                long("fd16::2", "fd17::2", 1_253),
                "route.over-mtu + 1 icmp 2/0 fd16::1 > fd16::2 ttl 64 about fd16::2:5 > fd17::2:7",
            ),
        ],
    );
    let (course, made, _) =
        world.hand(A, &world.addressed(A, &long("172.16.0.2", "172.17.0.2", 1_400)), Offload::NONE);
    assert!(course.starts_with("2 ") && made.len() == 1, "in two fragments: {course} {made:?}");
}
