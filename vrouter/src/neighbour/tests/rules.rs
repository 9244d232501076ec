//! Who is believed, what a plan changes, and how we stand by our addresses.

use super::*;
use NeighbourState::{Incomplete, Reachable, Stale};

#[test]
fn entries_are_created_by_questions_to_us_from_the_subnets_alone() {
    let asks = |from, address, target| arp(Mac::BROADCAST, 1, (mac(from), address), (Mac::default(), target));
    let solicits = |src: &str, named: u8| {
        let group = Mac([0x33, 0x33, 0xff, 0, 0, 1]);
        nd(group, mac(9), (src, "ff02::1:ff00:1"), [135, 0, 0], "fd00::1", Some((1, mac(named))))
    };
    let bridged = change(&asks(9, "172.16.0.9", "172.16.0.1"), 6, &mac(5).0);
    for (what, frame, created) in [
        ("a question", asks(9, "172.16.0.9", "172.16.0.1"), true),
        ("a question for another", asks(9, "172.16.0.9", "172.16.0.8"), false),
        ("from another network", asks(9, "10.0.0.9", "172.16.0.1"), false),
        ("from the broadcast address", asks(9, "172.16.255.255", "172.16.0.1"), false),
        ("from the network's address", asks(9, "172.16.0.0", "172.16.0.1"), false),
        ("a probe", asks(9, "0.0.0.0", "172.16.0.1"), false),
        ("our own, come back", asks(1, "172.16.0.9", "172.16.0.1"), false),
        ("a question on behalf of another", bridged, false),
        ("a solicitation", solicits("fd00::9", 9), true),
        ("a solicitation from the link", solicits("fe80::9", 9), true),
        ("a solicitation from elsewhere", solicits("fd01::9", 9), false),
        ("a solicitation on behalf of another", solicits("fd00::9", 8), false),
        ("a solicitation that names a group", solicits("fd00::9", 0), true),
    ] {
        let mut frame = frame;
        if what.ends_with("a group") {
            frame = seal(&change(&frame, 80, &[3]));
        }
        let mut world = World::new();
        world.hear(&frame).unwrap();
        let is_group = what.ends_with("a group");
        assert_eq!(!world.neighbours.list(ms(0)).is_empty(), created && !is_group, "{what}");
    }
}

#[test]
fn a_malformed_message_that_concerns_us_is_refused_and_teaches_nothing() {
    let answer = Says::Answer(9).frame(false);
    for (what, frame) in [
        ("a router was in between", change(&answer, 21, &[254])),
        ("a wrong checksum", change(&answer, 57, &[0])),
        ("a code", seal(&change(&answer, 55, &[1]))),
        ("an option without length", seal(&change(&answer, 79, &[0]))),
        ("an option past the end", seal(&change(&answer, 79, &[2]))),
        ("from a group", seal(&change(&answer, 22, &[0xff]))),
        ("solicited, to a group", seal(&change(&answer, 38, &[0xff]))),
    ] {
        let mut world = World::new();
        assert_eq!(world.packet(7, ip("fd00::9")), Ok(Resolution::Parked));
        assert_eq!(world.hear(&frame), Err(DropReason::MalformedIp), "{what}");
        assert_eq!(world.state(ip("fd00::9")), Some(Incomplete), "{what}");
    }
    let mut world = World::new();
    let damaged = change(&Says::Answer(9).frame(false), 57, &[0]);
    assert_eq!(world.hear(&damaged), Ok(Heard::Consumed), "it is about nobody we know");
    let arp = change(&Says::Answer(9).frame(true), 15, &[6]);
    assert_eq!(world.hear(&arp), Err(DropReason::MalformedArp));
    assert_eq!(world.hear(&change(&arp, 0, &[0xff; 6])), Ok(Heard::Pass));
}

#[test]
fn a_conflict_is_told_and_defended_once_in_ten_seconds() {
    let claims = [
        ("172.16.0.1", arp(Mac::BROADCAST, 1, (mac(6), "172.16.0.1"), (Mac::default(), "172.16.0.1"))),
        (
            "fd00::1",
            nd(
                Mac([0x33, 0x33, 0, 0, 0, 1]),
                mac(6),
                ("fd00::1", "ff02::1"),
                [136, 0, 0x20],
                "fd00::1",
                None,
            ),
        ),
    ];
    for (address, claim) in claims {
        let mut world = World::new();
        let told = [Notice::AddressConflict { domain: DOMAIN, address: ip(address), mac: mac(6) }];
        for (at, expected) in [(0, 1), (1, 0), (9_999, 0), (10_000, 1)] {
            world.until(ms(at));
            assert_eq!(world.hear(&claim), Ok(Heard::Pass), "the others hear it too");
            assert_eq!(world.notices(), told[..expected], "{address} at {at} ms");
            let defence = world.sent();
            assert_eq!(defence.len(), expected, "{address} at {at} ms");
            assert!(defence.iter().all(|frame| frame[6..12] == OUR_MAC.0 && frame[0] & 1 == 1));
        }
        assert!(world.neighbours.list(world.now).is_empty(), "nobody else has our address");
        assert_eq!(world.neighbours.stats().conflicts, 2);
        let ours = change(&change(&claim, 6, &OUR_MAC.0), 22, &OUR_MAC.0);
        world.until(ms(60_000));
        if ip(address).is_ipv4() {
            assert_eq!(world.hear(&ours), Ok(Heard::Pass));
            assert!(world.notices().is_empty(), "we do not quarrel with ourselves");
        }
    }
}

#[test]
fn a_neighbour_that_moves_is_told_of() {
    for address in ["172.16.0.9", "fd00::9"].map(ip) {
        let mut world = World::new();
        world.hear(&Says::Question(9).frame(address.is_ipv4())).unwrap();
        world.until(ms(2_000));
        world.hear(&Says::Announcement(8).frame(address.is_ipv4())).unwrap();
        let moved = Notice::NeighbourMoved { domain: DOMAIN, address, from: mac(9), to: mac(8) };
        assert_eq!(world.notices(), [moved]);
    }
}

#[test]
fn packets_that_waited_leave_in_order() {
    for (address, station) in [("172.16.0.9", true), ("fd00::9", false)] {
        let mut world = World::new();
        for port in 1..=3 {
            assert_eq!(world.packet(port, ip(address)), Ok(Resolution::Parked));
        }
        world.sent();
        assert_eq!(world.hear(&Says::Answer(9).frame(station)), Ok(Heard::Consumed));
        let expected: Vec<Vec<u8>> =
            (1..=3).map(|port| [&mac(9).0[..], &OUR_MAC.0, &[8, 0, 0, port]].concat()).collect();
        assert_eq!(world.sent(), expected);
        assert_eq!(world.neighbours.stats().parked, 0);
        assert_eq!(world.info(ip(address)).unwrap().idle, Some(Duration::ZERO));
    }
}

#[test]
fn what_is_given_up_is_handed_over() {
    let mut world = World::new();
    for port in 1..=3 {
        assert_eq!(world.packet(port, ip("fd00::9")), Ok(Resolution::Parked));
    }
    world.until(ms(3_000));
    let failed: Vec<_> = world.neighbours.take_failed().map(|(port, domain, _)| (port, domain)).collect();
    assert_eq!(failed, [1, 2, 3].map(|port| (PortId(port), DOMAIN)));
    assert_eq!(world.made.drops, [], "who takes them ends them");
    assert_eq!(world.neighbours.take_failed().count(), 0);
}

#[test]
fn a_plan_forgets_whom_it_does_not_allow() {
    let mut world = World::new();
    for address in ["172.16.0.9", "172.16.1.9", "fd00::9"] {
        assert_eq!(world.packet(7, ip(address)), Ok(Resolution::Parked));
    }
    world.hear(&Says::Answer(9).frame(true)).unwrap();
    world.made.drops.clear();

    let subnets = ["172.16.0.0/24", "fd00::/64"].map(|text| text.parse::<Cidr>().unwrap()).to_vec();
    let smaller = Gateway { subnets, ..gateway() };
    world.configure(core::slice::from_ref(&smaller));
    let left: Vec<_> =
        world.neighbours.list(ms(0)).into_iter().map(|info| (info.address, info.state)).collect();
    assert_eq!(left, [(ip("172.16.0.9"), Reachable), (ip("fd00::9"), Incomplete)]);
    assert_eq!(world.made.drops, [(PortId(7), DropReason::NeighbourUnreachable)]);

    let ours = Gateway { addresses: ["172.16.0.9", "fd00::1"].map(ip).to_vec(), ..smaller.clone() };
    world.configure(core::slice::from_ref(&ours));
    assert_eq!(world.state(ip("172.16.0.9")), None, "it is our own now");

    let moved = Gateway { mac: UnicastMac::new(mac(0x77)).unwrap(), ..ours };
    world.configure(core::slice::from_ref(&moved));
    world.sent();
    let ips = ("fd00::9", "fe80::ff:fe00:77");
    world.hear(&nd(mac(0x77), mac(9), ips, [136, 0, 0x60], "fd00::9", Some((2, mac(9))))).unwrap();
    let released = world.sent();
    assert_eq!(released, [[&mac(9).0[..], &mac(0x77).0, &[8, 0, 0, 7]].concat()], "from the MAC of today");

    world.made.drops.clear();
    assert_eq!(world.packet(6, ip("fd00::8")), Ok(Resolution::Parked));
    world.configure(&[]);
    assert!(world.neighbours.list(ms(0)).is_empty());
    assert_eq!(world.made.drops, [(PortId(6), DropReason::NeighbourUnreachable)]);
    assert_eq!(world.packet(7, ip("fd00::9")), Err(DropReason::NeighbourUnreachable));
    assert_eq!(world.hear(&Says::Question(9).frame(true)), Ok(Heard::Pass));
    assert_eq!(world.hear(&Says::Question(9).frame(false)), Ok(Heard::Pass));
}

#[test]
fn people_may_list_and_forget() {
    let mut world = World::new();
    world.hear(&Says::Question(9).frame(true)).unwrap();
    world.hear(&Says::Question(9).frame(false)).unwrap();
    assert_eq!(world.packet(7, ip("172.16.0.8")), Ok(Resolution::Parked));
    world.until(ms(500));
    let listed = |page: &[NeighbourInfo]| page.iter().map(|info| info.address).collect::<Vec<_>>();
    let (page, next) = world.neighbours.page(world.now, Some(DOMAIN), None, 2);
    assert_eq!(listed(&page), ["172.16.0.8", "172.16.0.9"].map(ip));
    let expected = NeighbourInfo {
        domain: DOMAIN,
        address: ip("172.16.0.8"),
        mac: None,
        state: Incomplete,
        age: Duration::from_millis(500),
        idle: None,
        parked: 1,
    };
    assert_eq!(page[0], expected);
    assert_eq!((page[1].state, page[1].mac), (Stale, Some(mac(9))));
    let (page, end) = world.neighbours.page(world.now, None, next, 2);
    assert_eq!((listed(&page), end), (Vec::from([ip("fd00::9")]), None));
    assert!(world.neighbours.page(world.now, Some(DomainId(2)), None, 9).0.is_empty());

    assert_eq!(world.neighbours.forget(Some(DomainId(2)), None), 0);
    assert_eq!(world.neighbours.forget(None, Some(ip("172.16.0.8"))), 0, "it is being asked for");
    assert_eq!(world.neighbours.forget(Some(DOMAIN), Some(ip("172.16.0.9"))), 1);
    assert_eq!(world.neighbours.forget(None, None), 1);
    assert_eq!(listed(&world.neighbours.list(world.now)), [ip("172.16.0.8")]);
    let stats = world.neighbours.stats();
    assert_eq!((stats.known, stats.unresolved, stats.parked, stats.asked), (0, 1, 1, 1));
}
