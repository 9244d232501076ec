//! What happens at the limits, what a plan's change ends, and what people see and end themselves.

use super::requirements::publish;
use super::*;

/// TCP from a host of 172.16/16 to 192.0.2.9:80.
fn numbered(host: u16, l4_port: u16) -> Flow {
    let [high, low] = host.to_be_bytes();
    tcp(&std::format!("172.16.{high}.{low}:{l4_port}"), "192.0.2.9:80")
}

#[test]
fn a_full_table_lets_the_oldest_unanswered_yield_and_tells_once() {
    let mut plan = plan();
    plan.nat.sessions_max = 16;
    let mut bench = Bench::new(&plan);
    // Half of them are answered; of the others, one is IPv6's and the oldest.
    let v6 = tcp("[fd00::2]:4000", "[2001:db8:9::9]:80");
    bench.out(v6);
    for host in 2..17 {
        let sent = bench.out(numbered(host, 4_000));
        if host > 9 {
            bench.follow(sent.reversed(), SYN | ACK);
            bench.follow(numbered(host, 4_000), ACK);
        }
    }
    assert!(bench.notices.is_empty());
    bench.out(numbered(17, 4_000));
    assert_eq!((bench.state(&v6), bench.state(&numbered(2, 4_000)).is_some()), (None, true));
    for host in 18..26 {
        bench.out(numbered(host, 4_000));
        assert_eq!(bench.state(&numbered(host - 16, 4_000)), None, "oldest first");
    }
    let established =
        |bench: &Bench| bench.sessions().iter().filter(|info| info.state == State::Established).count();
    assert_eq!((bench.sessions().len(), established(&bench)), (16, 7));
    assert_eq!(bench.notices, [Notice::SessionsFull]);
    assert_eq!(bench.all.stats().evicted, 9);

    // All answered: the new one is refused.
    for info in bench.sessions() {
        bench.follow(info.reply, SYN | ACK);
        bench.follow(info.original, ACK);
    }
    let late = numbered(99, 4_000);
    assert_eq!(bench.open(&late, SYN, &masquerade(&late, OUTSIDE)), Err(DropReason::SessionsMax));
    assert_eq!(bench.all.stats().refused_max, 1);
    bench.pass(7_441);
    bench.out(late);
    for host in 100..116 {
        bench.out(numbered(host, 4_000));
    }
    assert_eq!(bench.notices.len(), 2, "once per episode");
}

#[test]
fn a_hosts_share_is_its_own_trouble() {
    let mut plan = plan();
    plan.nat.sessions_per_host_max = 4;
    let mut bench = Bench::new(&plan);
    bench.out(numbered(3, 1));
    for l4_port in 5_000..5_100 {
        bench.out(numbered(2, l4_port));
    }
    assert_eq!(bench.sessions().len(), 5);
    assert!(bench.state(&numbered(3, 1)).is_some() && bench.state(&numbered(2, 5_095)).is_none());
    for info in bench.sessions() {
        bench.follow(info.reply, SYN | ACK);
        bench.follow(info.original, ACK);
    }
    let late = numbered(2, 6_000);
    assert_eq!(bench.open(&late, SYN, &masquerade(&late, OUTSIDE)), Err(DropReason::SessionsMax));
    assert_eq!(bench.open(&late, SYN, &masquerade(&late, OUTSIDE)), Err(DropReason::SessionsMax));
    assert_eq!((bench.all.stats().refused_share, bench.all.stats().refused_max), (2, 0));
    bench.out(numbered(3, 2));
    let inside = address("172.16.0.2");
    assert_eq!(bench.notices, [Notice::ShareFull { inside }], "once per episode");
}

#[test]
fn connections_that_are_over_yield() {
    let mut plan = plan();
    (plan.nat.sessions_max, plan.nat.sessions_per_host_max) = (60, 40);
    let mut bench = Bench::new(&plan);
    let live = numbered(2, 999);
    let sent = bench.out(live);
    bench.follow(sent.reversed(), SYN | ACK);
    bench.follow(live, ACK);
    // Ten times as many short connections as one host may have, closed by both sides, or reset by either.
    for l4_port in 1_000..1_400 {
        let flow = numbered(2, l4_port);
        let back = bench.out(flow).reversed();
        bench.follow(back, SYN | ACK);
        bench.follow(flow, ACK);
        match l4_port % 3 {
            0 => {
                bench.follow(flow, FIN | ACK);
                bench.follow(back, FIN | ACK);
            }
            1 => drop(bench.follow(flow, RST)),
            _ => drop(bench.follow(back, RST)),
        }
    }
    assert_eq!(bench.state(&live), Some(State::Established));
    assert_eq!((bench.sessions().len(), bench.all.stats().refused_share), (40, 0));
}

#[test]
fn what_forged_packets_have_opened_yields() {
    let mut plan = plan();
    plan.nat.sessions_max = 16;
    let by_tcp = publish(7, 80, 80, "172.16.0.9", 80);
    plan.publishes = Vec::from([by_tcp, Publish { id: 8, protocol: Protocol::Udp, ..by_tcp }]);
    let mut bench = Bench::new(&plan);
    let innocent = udp("172.16.0.2:4000", "192.0.2.9:53");
    let answer = bench.out(innocent).reversed();
    bench.follow(answer, 0);
    bench.follow(innocent, 0);
    assert_eq!(bench.state(&innocent), Some(State::Assured));
    for forged in 0..100 {
        // One datagram whose answer goes to somebody else; a handshake in the dark, which the station resets.
        let ask = udp(&std::format!("198.51.100.{forged}:7"), "203.0.113.1:80");
        let asked = come_in(&mut bench, ask).unwrap();
        bench.follow(asked.reversed(), 0);
        let knock = tcp(&std::format!("198.51.100.{forged}:7"), "203.0.113.1:80");
        let knocked = come_in(&mut bench, knock).unwrap();
        bench.follow(knocked.reversed(), SYN | ACK);
        bench.follow(knock, ACK);
        bench.follow(knocked.reversed(), RST);
    }
    let late = bench.out(numbered(3, 4_000)).reversed();
    assert!(bench.follow(late, SYN | ACK).is_some());
    assert_eq!(bench.state(&innocent), Some(State::Assured));
    assert_eq!(bench.all.stats().refused_max, 0);
}

#[test]
fn a_later_fragment_of_tcp_opens_nothing_from_outside() {
    let mut plan = plan();
    plan.publishes = Vec::from([publish(7, 80, 80, "172.16.0.9", 80)]);
    let mut bench = Bench::new(&plan);
    let knock = tcp("192.0.2.9:1", "203.0.113.1:80");
    let (dst, origin) = bench.all.published(&knock).unwrap();
    let wish = Wish { dst: Some(dst), src: SourceNat::Keep, origin, inside: knock.src.address };
    let opened = bench.with_turn(|all, turn| all.open(turn, &knock, None, &wish));
    assert_eq!(opened, Err(DropReason::Unsolicited));
    assert!(bench.open(&knock, SYN, &wish).is_ok());
}

#[test]
fn every_number_of_a_pool_is_given_and_none_twice() {
    let mut bench = Bench::new(&plan());
    let mut given = std::collections::BTreeSet::new();
    for number in 0..64_512 {
        let (host, l4_port) = (number / 1_000, 10_000 + number % 1_000);
        let source = bench.out(udp(&std::format!("172.16.1.{host}:{l4_port}"), "192.0.2.9:53")).src;
        assert!(source.l4_port >= 1_024 && given.insert(source.l4_port), "{source:?}");
    }
}

#[test]
fn exhausted_l4_ports_are_told_once_and_unanswered_ones_yield() {
    let mut plan = plan();
    plan.publishes = Vec::from([publish(7, 2, 65_500, "172.16.9.9", 2)]);
    let mut bench = Bench::new(&plan);
    for l4_port in 65_501..=65_535 {
        let sent = bench.out(numbered(2, l4_port));
        assert_eq!(sent.src.l4_port, l4_port);
        if l4_port > 65_501 {
            bench.follow(sent.reversed(), SYN | ACK);
            bench.follow(numbered(2, l4_port), ACK);
        }
    }
    // One is unanswered: it yields. Number 1 is only for the well-known.
    assert_eq!(bench.out(numbered(3, 4_000)).src.l4_port, 65_501);
    assert_eq!(bench.state(&numbered(2, 65_501)), None);
    assert_eq!(bench.out(numbered(3, 80)).src.l4_port, 1);
    let sent = bench.sessions().iter().find(|info| info.original == numbered(3, 4_000)).unwrap().reply;
    bench.follow(sent, SYN | ACK);
    bench.follow(numbered(3, 4_000), ACK);
    for _ in 0..3 {
        let late = numbered(4, 4_000);
        let refused = bench.open(&late, SYN, &masquerade(&late, OUTSIDE));
        assert_eq!(refused, Err(DropReason::L4PortsExhausted));
    }
    let outside = address(OUTSIDE);
    assert_eq!(bench.notices, [Notice::L4PortsExhausted { outside }]);
    let in_use = L4PortsInUse { outside, protocol: Protocol::Tcp, in_use: 36 };
    assert_eq!((bench.all.stats().l4_ports, bench.all.stats().refused_l4_ports), (Vec::from([in_use]), 3));
    // Existing mappings go on serving.
    let again = tcp("172.16.0.2:65535", "198.51.100.7:80");
    assert_eq!(bench.out(again).src.l4_port, 65_535);
}

#[test]
fn unpublishing_ends_exactly_its_sessions() {
    let mut plan = plan();
    plan.publishes = Vec::from([publish(7, 80, 89, "172.16.0.9", 80), publish(8, 90, 99, "172.16.0.9", 90)]);
    let mut bench = Bench::new(&plan);
    bench.out(numbered(2, 4_000));
    for l4_port in 80..100 {
        come_in(&mut bench, tcp("192.0.2.9:1", &std::format!("203.0.113.1:{l4_port}"))).unwrap();
    }
    plan.publishes.remove(0);
    bench.configure(&plan);
    let origins: Vec<_> = bench.sessions().iter().map(|info| info.origin).collect();
    assert_eq!(origins.len(), 11);
    assert!(!origins.contains(&Origin::Publish(7)));
    // Another target under the same number ends them, too.
    plan.publishes[0].to_l4_port_first = 1_090;
    bench.configure(&plan);
    assert_eq!((bench.sessions().len(), bench.all.stats().ended), (1, 20));
}

#[test]
fn sessions_of_an_address_that_is_gone_end() {
    let mut plan = plan();
    let mut bench = Bench::new(&plan);
    let (one, other) = (numbered(2, 4_000), numbered(3, 4_000));
    bench.out(one);
    bench.open(&other, SYN, &masquerade(&other, "203.0.113.2")).unwrap();
    let between = udp("172.16.0.2:1", "172.17.0.2:1");
    bench.open(&between, 0, &keep(&between)).unwrap();
    plan.gateways[1].addresses.retain(|&address| address != super::address(OUTSIDE));
    bench.configure(&plan);
    assert_eq!((bench.state(&one), bench.sessions().len()), (None, 2));
    assert_eq!(bench.all.stats().l4_ports.len(), 1, "with its pools");
}

#[test]
fn published_l4_ports_are_nobodys_mapping() {
    let mut plan = plan();
    let mut bench = Bench::new(&plan);
    let early = bench.out(numbered(2, 8_000)).src;
    assert_eq!(early.l4_port, 8_000);
    plan.publishes = Vec::from([publish(7, 8_000, 8_999, "172.16.0.9", 80)]);
    bench.configure(&plan);
    assert!(bench.follow(numbered(2, 8_000), ACK).is_some(), "who has one keeps it");
    for l4_port in 8_001..8_010 {
        let source = bench.out(numbered(2, l4_port)).src;
        assert!(!(8_000..9_000).contains(&source.l4_port), "{source:?}");
    }
    plan.publishes.clear();
    bench.configure(&plan);
    assert_eq!(bench.out(numbered(2, 8_500)).src.l4_port, 8_500);
}

#[test]
fn a_range_is_one_entry_and_disjoint_ones_are_told_apart() {
    let mut plan = plan();
    let all = publish(1, 1_000, 51_000, "172.16.0.9", 2_000);
    let udp_only = Publish { protocol: Protocol::Udp, ..publish(2, 1_000, 1_000, "172.16.0.8", 1) };
    let here =
        Publish { listen: Some(address("203.0.113.2")), ..publish(3, 60_000, 60_001, "172.16.0.7", 7) };
    let v6 = publish(4, 1_000, 1_001, "fd00::9", 5);
    plan.publishes = Vec::from([all, udp_only, here, v6]);
    let bench = Bench::new(&plan);
    let to = |protocol, dst: &str| {
        let src = if dst.starts_with('[') { "[2001:db8:9::9]:1" } else { "192.0.2.9:1" };
        bench.all.published(&flow(protocol, src, dst)).map(|(to, _)| to)
    };
    for (protocol, dst, expected) in [
        (Protocol::Tcp, "203.0.113.1:999", None),
        (Protocol::Tcp, "203.0.113.1:1000", Some("172.16.0.9:2000")),
        (Protocol::Tcp, "203.0.113.2:51000", Some("172.16.0.9:52000")),
        (Protocol::Tcp, "203.0.113.1:51001", None),
        (Protocol::Udp, "203.0.113.1:1000", Some("172.16.0.8:1")),
        (Protocol::Udp, "203.0.113.1:1001", None),
        (Protocol::Tcp, "203.0.113.2:60001", Some("172.16.0.7:8")),
        (Protocol::Tcp, "203.0.113.1:60001", None),
        (Protocol::Tcp, "[2001:db8::1]:1001", Some("[fd00::9]:6")),
        (Protocol::Echo, "203.0.113.1:1000", None),
    ] {
        assert_eq!(to(protocol, dst), expected.map(end), "{protocol:?} {dst}");
    }
}

#[test]
fn shorter_timeouts_hold_for_sessions_that_exist() {
    let mut plan = plan();
    let mut bench = Bench::new(&plan);
    bench.out(udp("172.16.0.2:4000", "192.0.2.9:53"));
    plan.nat.timeouts.udp_unanswered = Duration::from_millis(9_500);
    bench.configure(&plan);
    assert_eq!(bench.sessions()[0].remaining, Duration::from_secs(11));
    assert_eq!(bench.all.next_deadline(), Some((Instant::from_secs(1_011), "nat.timeout")));
    bench.pass(11);
    assert_eq!((bench.all.stats().sessions, bench.all.next_deadline()), (0, None));
}

#[test]
fn who_comes_in_by_a_mapping_that_yields_to_him_is_refused() {
    let mut plan = plan();
    plan.nat.sessions_max = 1;
    plan.nat.filtering = Filtering::EndpointIndependent;
    let mut bench = Bench::new(&plan);
    bench.out(udp("172.16.0.2:4000", "198.51.100.7:53"));
    let knock = udp("198.51.100.8:9", "203.0.113.1:4000");
    let dst = bench.all.mapped(&knock);
    assert_eq!(dst, Some(end("172.16.0.2:4000")));
    // Room is made by the end of the only session, and with it of the mapping.
    let wish = Wish { dst, src: SourceNat::Keep, origin: Origin::Mapping, inside: knock.src.address };
    assert_eq!(bench.open(&knock, SYN, &wish), Err(DropReason::Unsolicited));
    for host in 20..25 {
        bench.out(udp("172.16.0.3:4000", &std::format!("198.51.100.{host}:53")));
        assert_eq!(bench.all.stats().l4_ports[0].in_use, 1);
    }
    bench.all.kill(&SessionFilter::default());
    let stats = bench.all.stats();
    assert_eq!((stats.sessions, stats.mappings, stats.l4_ports[0].in_use), (0, 0, 0));
}

#[test]
fn many_that_end_together_are_swept_in_portions() {
    let mut bench = Bench::new(&plan());
    for host in 0..2 {
        for l4_port in 10_000..12_000 {
            bench.out(numbered(2 + host, l4_port));
        }
    }
    bench.now = bench.now + Duration::from_secs(100_000);
    let mut wakes = 0;
    while bench.all.next_deadline().is_some_and(|(due, _)| due <= bench.now) {
        bench.with_turn(Connections::wake);
        wakes += 1;
    }
    assert_eq!((wakes, bench.all.stats().sessions), (4_000_usize.div_ceil(SWEPT_PER_WAKE_MAX), 0));
}

#[test]
fn listings_go_on_where_they_stopped() {
    let mut bench = Bench::new(&plan());
    for host in 2..12 {
        bench.out(numbered(host, 4_000));
        bench.out(tcp(&std::format!("[fd00::{host}]:1"), "[2001:db8:9::9]:80"));
    }
    let (mut listed, mut cursor) = (Vec::new(), Some(0));
    while let Some(from) = cursor {
        let (page, next) = bench.all.list(bench.now, from, 3);
        assert!(page.len() <= 3);
        listed.extend(page);
        cursor = next;
    }
    assert_eq!(listed, bench.sessions());
    assert_eq!(listed.len(), 20);
    assert_eq!(bench.all.list(bench.now, u64::MAX, 3), (Vec::new(), None));
}

#[test]
fn people_end_what_they_name() {
    let mut bench = Bench::new(&plan());
    let fill = |bench: &mut Bench| {
        bench.all.kill(&SessionFilter::default());
        for host in 2..6 {
            bench.out(numbered(host, 4_000));
            bench.out(udp(&std::format!("172.16.0.{host}:4000"), "192.0.2.9:53"));
        }
        bench.sessions()[3].id
    };
    let id = fill(&mut bench);
    let nothing = SessionFilter::default();
    for (filter, expected) in [
        (nothing, 8),
        (SessionFilter { protocol: Some(Protocol::Udp), ..nothing }, 4),
        (SessionFilter { address: Some("172.16.0.2/31".parse().unwrap()), ..nothing }, 4),
        (SessionFilter { address: Some("203.0.113.1/32".parse().unwrap()), ..nothing }, 8),
        (SessionFilter { l4_port: Some(53), ..nothing }, 4),
        (SessionFilter { publish: Some(1), ..nothing }, 0),
        (SessionFilter { l4_port: Some(53), protocol: Some(Protocol::Tcp), ..nothing }, 0),
        (SessionFilter { id: Some(id), ..nothing }, 0), // Another session has its place.
    ] {
        fill(&mut bench);
        assert_eq!(bench.all.kill(&filter), expected, "{filter:?}");
        assert_eq!(bench.sessions().len(), 8 - expected);
    }
    let id = fill(&mut bench);
    let this = SessionFilter { id: Some(id), ..nothing };
    assert_eq!((bench.all.kill(&this), bench.all.kill(&this)), (1, 0));
}

#[test]
fn clashes_are_refused_and_leave_nothing_behind() {
    let mut bench = Bench::new(&plan());
    // Routed to ourselves without translation, then through masquerade to the same end.
    let knock = udp("192.0.2.9:53", "203.0.113.1:4000");
    bench.open(&knock, 0, &keep(&knock)).unwrap();
    let out = udp("172.16.0.2:4000", "192.0.2.9:53");
    let clash = bench.open(&out, 0, &masquerade(&out, OUTSIDE));
    assert_eq!(clash, Err(DropReason::L4PortsExhausted));
    assert_eq!((bench.all.stats().mappings, bench.all.stats().l4_ports[0].in_use), (0, 0));
    // A packet from an endpoint to itself.
    let to_itself = udp("172.16.0.2:7", "172.16.0.2:7");
    bench.open(&to_itself, 0, &keep(&to_itself)).unwrap();
    assert!(bench.follow(to_itself, 0).is_some());
    // Families do not meet.
    let wish = Wish { dst: Some(end("[fd00::9]:1")), ..keep(&out) };
    assert_eq!(bench.open(&out, 0, &wish), Err(DropReason::NatProtocol));
    let mixed = Flow { protocol: Protocol::Udp, src: end("172.16.0.2:1"), dst: end("[fd00::9]:1") };
    assert_eq!(bench.open(&mixed, 0, &keep(&mixed)), Err(DropReason::NatProtocol));
    assert_eq!((bench.follow(mixed, 0), bench.all.quoted(&mixed)), (None, None));
    assert_eq!(bench.all.kill(&SessionFilter::default()), 2);
    assert_eq!(bench.all.next_deadline(), None);
}

#[test]
fn memory_is_as_the_doc_says() {
    use super::clock::Links;
    use super::hosts::Host;
    use super::mapping::Mapping;
    use super::session::Session;
    let v4 = [
        size_of::<Session<Ipv4Addr>>(),
        size_of::<Links>(),
        size_of::<Mapping<Ipv4Addr>>(),
        size_of::<Host<Ipv4Addr>>(),
    ];
    let v6 = [
        size_of::<Session<Ipv6Addr>>(),
        size_of::<Links>(),
        size_of::<Mapping<Ipv6Addr>>(),
        size_of::<Host<Ipv6Addr>>(),
    ];
    assert_eq!((v4, v6), ([64, 28, 20, 20], [128, 28, 44, 32]));
}
