//! What RFC 4787 (UDP), 5382 (TCP), 5508 (ICMP) and 7857 (updates to them) require, requirement by requirement.

use super::*;

#[test]
fn rfc_4787_req_1_mapping_is_endpoint_independent() {
    for (inside, others) in [
        ("172.16.0.2:4000", ["192.0.2.9:53", "192.0.2.9:54", "198.51.100.7:53"]),
        ("[fd00::2]:4000", ["[2001:db8:9::9]:53", "[2001:db8:9::9]:54", "[2001:db8:7::7]:53"]),
    ] {
        let mut bench = Bench::new(&plan());
        let sources = others.map(|other| bench.out(udp(inside, other)).src);
        assert_eq!(sources, [sources[0]; 3]);
        assert_eq!(bench.all.stats().mappings, 1);
        for (other, source) in others.into_iter().zip(sources) {
            let back = Flow { protocol: Protocol::Udp, src: end(other), dst: source };
            assert_eq!(bench.follow(back, 0), Some(udp(other, inside)));
        }
    }
}

#[test]
fn rfc_4787_req_2_an_inside_host_keeps_its_outside_address() {
    let mut bench = Bench::new(&plan());
    for l4_port in 4_000..4_100 {
        let source = bench.out(udp(&std::format!("172.16.0.2:{l4_port}"), "192.0.2.9:53")).src;
        assert_eq!(source.address, address(OUTSIDE));
    }
}

#[test]
fn rfc_4787_req_3_l4_ports_are_preserved_and_never_shared() {
    let mut bench = Bench::new(&plan());
    let first = bench.out(udp("172.16.0.2:4000", "192.0.2.9:53")).src;
    assert_eq!(first, end("203.0.113.1:4000"));
    let second = bench.out(udp("172.16.0.3:4000", "192.0.2.9:53")).src;
    assert_ne!(second.l4_port, 4_000);
    assert!(second.l4_port >= 1_024);
    // The protocols do not meet.
    assert_eq!(bench.out(tcp("172.16.0.3:4000", "192.0.2.9:53")).src.l4_port, 4_000);
}

#[test]
fn rfc_4787_req_3a_well_known_l4_ports_stay_among_themselves() {
    let mut bench = Bench::new(&plan());
    assert_eq!(bench.out(udp("172.16.0.2:500", "192.0.2.9:500")).src.l4_port, 500);
    for host in 3..200 {
        let source = bench.out(udp(&std::format!("172.16.0.{host}:500"), "192.0.2.9:500")).src;
        assert!((1..1_024).contains(&source.l4_port), "{source:?}");
    }
}

#[test]
fn rfc_4787_req_4_udp_keeps_its_parity() {
    let mut bench = Bench::new(&plan());
    for host in 2..100 {
        for l4_port in [4_000, 4_001, 501] {
            let source = bench.out(udp(&std::format!("172.16.0.{host}:{l4_port}"), "192.0.2.9:53")).src;
            assert_eq!(source.l4_port % 2, l4_port % 2);
        }
    }
}

#[test]
fn rfc_4787_req_5_a_mapping_lives_for_its_timeout() {
    let mut bench = Bench::new(&plan());
    let out = udp("172.16.0.2:4000", "192.0.2.9:53");
    let back = bench.out(out).reversed();
    // Unanswered: two minutes.
    bench.pass(120);
    assert_eq!(bench.sessions().len(), 1);
    bench.pass(1);
    assert_eq!((bench.sessions().len(), bench.all.stats().mappings), (0, 0));
    assert_eq!(bench.follow(back, 0), None);
    // Answered: five.
    bench.out(out);
    assert_eq!(bench.follow(back, 0), Some(out.reversed()));
    bench.pass(300);
    assert_eq!(bench.sessions()[0].state, State::Answered);
    bench.pass(1);
    assert_eq!((bench.sessions().len(), bench.all.stats().expired), (0, 2));
}

#[test]
fn what_is_over_is_over_before_it_is_swept() {
    let mut bench = Bench::new(&plan());
    let out = udp("172.16.0.2:4000", "192.0.2.9:53");
    let back = bench.out(out).reversed();
    bench.now = bench.now + Duration::from_secs(121); // Nobody woke.
    assert_eq!((bench.sessions().len(), bench.all.stats().sessions), (0, 1));
    assert_eq!((bench.follow(out, 0), bench.follow(back, 0)), (None, None));
    assert_eq!(bench.out(out).reversed(), back, "opened anew");
    assert_eq!((bench.all.stats().sessions, bench.all.stats().expired), (1, 1));
}

#[test]
fn rfc_4787_req_6_packets_of_both_directions_refresh() {
    let mut bench = Bench::new(&plan());
    let out = udp("172.16.0.2:4000", "192.0.2.9:53");
    let back = bench.out(out).reversed();
    for round in 0..20 {
        let packet = if round % 2 == 0 { back } else { out };
        assert!(bench.follow(packet, 0).is_some(), "{round}");
        bench.pass(299);
    }
    assert_eq!(bench.sessions()[0].packets, [11, 10]);
}

/// Whether an unknown flow from here is let in once 172.16.0.2:4000 has talked to 192.0.2.9:53.
fn lets_in(filtering: Filtering, from: &str) -> bool {
    let mut plan = plan();
    plan.nat.filtering = filtering;
    let mut bench = Bench::new(&plan);
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        bench.out(flow(protocol, "172.16.0.2:4000", "192.0.2.9:53"));
    }
    let mut come = |protocol| {
        let unknown = flow(protocol, from, "203.0.113.1:4000");
        assert_eq!(bench.follow(unknown, SYN), None);
        let came = come_in(&mut bench, unknown)?;
        assert_eq!(came, flow(protocol, from, "172.16.0.2:4000"));
        assert_eq!(bench.follow(came.reversed(), SYN | ACK), Some(unknown.reversed()));
        Some(())
    };
    let is_in = come(Protocol::Udp).is_some();
    assert_eq!(come(Protocol::Tcp).is_some(), is_in, "RFC 5382 REQ-3: alike");
    is_in
}

#[test]
fn rfc_4787_req_8_filtering_is_as_configured() {
    use Filtering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    let (other_port, stranger) = ("192.0.2.9:54", "198.51.100.7:53");
    for (filtering, from, expected) in [
        (EndpointIndependent, other_port, true),
        (EndpointIndependent, stranger, true),
        (AddressDependent, other_port, true),
        (AddressDependent, stranger, false),
        (AddressAndPortDependent, other_port, false),
        (AddressAndPortDependent, stranger, false),
    ] {
        assert_eq!(lets_in(filtering, from), expected, "{filtering:?} {from}");
    }
}

#[test]
fn filtering_may_change_while_mappings_live() {
    let mut plan = plan();
    let mut bench = Bench::new(&plan);
    bench.out(udp("172.16.0.2:4000", "192.0.2.9:53"));
    let knock = [udp("192.0.2.9:1", "203.0.113.1:4000"), udp("198.51.100.7:1", "203.0.113.1:4000")];
    for (filtering, expected) in [
        (Filtering::EndpointIndependent, [true, true]),
        (Filtering::AddressDependent, [true, false]),
        (Filtering::AddressAndPortDependent, [false, false]),
        (Filtering::AddressDependent, [true, false]),
    ] {
        plan.nat.filtering = filtering;
        bench.configure(&plan);
        assert_eq!(knock.map(|flow| bench.all.mapped(&flow).is_some()), expected, "{filtering:?}");
    }
    bench.pass(121);
    assert_eq!(bench.all.mapped(&knock[0]), None, "silence is remembered, too");
}

#[test]
fn a_connection_through_a_mapping_keeps_it() {
    let mut plan = plan();
    plan.nat.filtering = Filtering::EndpointIndependent;
    let mut bench = Bench::new(&plan);
    bench.out(udp("172.16.0.2:4000", "192.0.2.9:53"));
    bench.pass(100);
    let knock = udp("198.51.100.7:1", "203.0.113.1:4000");
    let came = come_in(&mut bench, knock).unwrap();
    bench.follow(came.reversed(), 0).unwrap();
    bench.pass(100);
    assert_eq!((bench.sessions().len(), bench.all.stats().mappings), (1, 1));
    assert_ne!(bench.out(udp("172.16.0.3:4000", "198.51.100.7:1")).src, knock.dst, "it is taken");
    assert_eq!(bench.out(udp("172.16.0.2:4000", "198.51.100.8:1")).src, knock.dst);
    bench.pass(301);
    assert_eq!((bench.sessions().len(), bench.all.stats().mappings), (0, 0));
}

#[test]
fn rfc_4787_req_9_hairpinning_hides_the_asker() {
    // Published, and asked by a neighbour: the answer must come through the router.
    let mut plan = plan();
    plan.publishes = Vec::from([publish(7, 80, 80, "172.16.0.9", 8_080)]);
    let mut bench = Bench::new(&plan);
    let ask = |host| tcp(&std::format!("172.16.0.{host}:4000"), "203.0.113.1:80");
    let mut seen = Vec::new();
    for host in [2, 3] {
        let (dst, origin) = bench.all.published(&ask(host)).unwrap();
        assert_eq!((dst, origin), (end("172.16.0.9:8080"), Origin::Publish(7)));
        let src = SourceNat::Hairpin(address("172.16.0.1"));
        let wish = Wish { dst: Some(dst), src, origin, inside: ask(host).src.address };
        let became = became(ask(host), &bench.open(&ask(host), SYN, &wish).unwrap());
        assert_eq!((became.src.address, became.dst), (address("172.16.0.1"), dst));
        assert_eq!(bench.follow(became.reversed(), SYN | ACK), Some(ask(host).reversed()));
        seen.push(became.src.l4_port);
    }
    assert!(seen[0] == 4_000 && seen[1] != 4_000, "{seen:?}");
    assert_eq!(bench.all.mapped(&tcp("192.0.2.9:1", "172.16.0.1:4000")), None, "a private mapping");
}

#[test]
fn rfc_4787_req_12_and_5382_req_10_icmp_errors_end_and_prolong_nothing() {
    let mut bench = Bench::new(&plan());
    let out = tcp("172.16.0.2:4000", "192.0.2.9:80");
    let sent = bench.out(out);
    bench.pass(200);
    // What we sent is quoted to us: for the station it is what the station sent.
    let quoted = bench.all.quoted(&sent).unwrap();
    assert_eq!((quoted.src, quoted.dst, quoted.direction), (out.src, out.dst, Direction::Reply));
    // A host inside complains about an answer: outside it is the answer as it was.
    let quoted = bench.all.quoted(&out.reversed()).unwrap();
    assert_eq!((quoted.src, quoted.dst), (sent.dst, sent.src));
    assert_eq!(quoted.direction, Direction::Original);
    assert_eq!(bench.all.quoted(&sent.reversed()), None, "no such packet ever left here");
    assert_eq!(bench.all.quoted(&udp("172.16.0.2:4000", "192.0.2.9:80")), None);
    assert_eq!(bench.state(&out), Some(State::SynSent));
    bench.pass(41);
    assert_eq!(bench.state(&out), None, "four minutes after its last packet");
}

/// Opens a TCP connection from inside and shakes hands.
fn established(bench: &mut Bench) -> (Flow, Flow) {
    let out = tcp("172.16.0.2:4000", "192.0.2.9:80");
    let back = bench.out(out).reversed();
    assert!(bench.follow(back, SYN | ACK).is_some() && bench.follow(out, ACK).is_some());
    assert_eq!(bench.state(&out), Some(State::Established));
    (out, back)
}

#[test]
fn rfc_5382_req_2_simultaneous_open_gets_through() {
    let mut bench = Bench::new(&plan());
    let out = tcp("172.16.0.2:4000", "192.0.2.9:80");
    let back = bench.out(out).reversed();
    for (packet, flags, state) in [
        (back, SYN, State::SynReceived),
        (out, SYN | ACK, State::SynReceived),
        (back, SYN | ACK, State::SynReceived),
        (out, ACK, State::Established),
    ] {
        assert!(bench.follow(packet, flags).is_some());
        assert_eq!(bench.state(&out), Some(state), "{flags:#x}");
    }
}

#[test]
fn rfc_5382_req_5_timeouts_of_tcp() {
    let mut bench = Bench::new(&plan());
    let (out, back) = established(&mut bench);
    bench.pass(7_440);
    assert_eq!(bench.state(&out), Some(State::Established), "2 h 4 min");
    assert!(bench.follow(back, ACK).is_some());
    bench.pass(7_440);
    assert!(bench.state(&out).is_some());
    bench.pass(1);
    assert_eq!(bench.state(&out), None);
    // Half-open: four minutes.
    bench.out(out);
    bench.pass(240);
    assert!(bench.state(&out).is_some());
    bench.pass(1);
    assert_eq!(bench.state(&out), None);
}

#[test]
fn rfc_7857_2_1_both_fins_close_and_data_do_not_prolong() {
    let mut bench = Bench::new(&plan());
    let (out, back) = established(&mut bench);
    bench.follow(out, FIN | ACK);
    assert_eq!(bench.state(&out), Some(State::FinFromOrigin));
    bench.pass(7_000); // The other side still sends.
    bench.follow(back, ACK);
    bench.follow(back, FIN | ACK);
    assert_eq!(bench.state(&out), Some(State::Closing));
    bench.pass(239);
    assert!(bench.follow(out, ACK).is_some(), "the last ACK gets through");
    bench.pass(2);
    assert_eq!(bench.state(&out), None);
}

#[test]
fn a_syn_restarts_a_closing_connection() {
    let mut bench = Bench::new(&plan());
    let (out, back) = established(&mut bench);
    bench.follow(out, FIN | ACK);
    bench.follow(back, FIN | ACK);
    bench.pass(100);
    assert_eq!(bench.follow(out, SYN), Some(back.reversed()), "with the same L4 port");
    assert_eq!(bench.state(&out), Some(State::SynSent));
    bench.pass(240);
    assert!(bench.state(&out).is_some());
    bench.follow(back, SYN | ACK);
    bench.follow(out, ACK);
    bench.pass(7_440);
    assert_eq!(bench.state(&out), Some(State::Established));
    // Not so from outside.
    bench.follow(out, FIN | ACK);
    bench.follow(back, FIN | ACK);
    bench.follow(back, SYN);
    assert_eq!(bench.state(&out), Some(State::Closing));
}

#[test]
fn rfc_7857_2_2_a_reset_starts_the_transitory_timeout_and_kills_nobody() {
    let mut bench = Bench::new(&plan());
    let (out, back) = established(&mut bench);
    bench.follow(back, RST);
    assert_eq!(bench.state(&out), Some(State::ResetFromReply));
    // Forged: who is said to have reset it goes on talking.
    bench.follow(out, ACK);
    assert_eq!(bench.state(&out), Some(State::ResetFromReply), "that could be in flight");
    bench.follow(back, ACK);
    assert_eq!(bench.state(&out), Some(State::Established));
    bench.pass(7_440);
    assert!(bench.state(&out).is_some());
    // Real: whatever the other side still sends, it ends.
    bench.follow(out, RST | ACK);
    for _ in 0..24 {
        bench.pass(10);
        bench.follow(back, ACK);
    }
    bench.pass(1);
    assert_eq!(bench.state(&out), None);
}

#[test]
fn a_connection_older_than_the_table_is_picked_up_from_inside_alone() {
    let mut plan = plan();
    plan.publishes = Vec::from([publish(7, 80, 80, "172.16.0.9", 80)]);
    let mut bench = Bench::new(&plan);
    let out = tcp("172.16.0.2:4000", "192.0.2.9:80");
    let followed = bench.open(&out, ACK, &masquerade(&out, OUTSIDE)).unwrap();
    let back = became(out, &followed).reversed();
    assert_eq!(bench.state(&out), Some(State::Picked));
    bench.pass(240);
    assert!(bench.follow(back, ACK).is_some());
    assert_eq!(bench.state(&out), Some(State::Established));

    let knock = tcp("192.0.2.9:4000", "203.0.113.1:80");
    let (dst, origin) = bench.all.published(&knock).unwrap();
    let wish = Wish { dst: Some(dst), src: SourceNat::Keep, origin, inside: knock.src.address };
    for flags in [ACK, SYN | ACK, RST, SYN | RST, FIN, 0] {
        assert_eq!(bench.open(&knock, flags, &wish), Err(DropReason::Unsolicited), "{flags:#x}");
    }
    assert!(bench.open(&knock, SYN, &wish).is_ok());
}

#[test]
fn rfc_5508_req_1_and_2_an_echo_is_mapped_by_its_identifier() {
    let mut bench = Bench::new(&plan());
    let ask = |host, id, other: &str| Flow {
        protocol: Protocol::Echo,
        src: end(&std::format!("172.16.0.{host}:{id}")),
        dst: end(&std::format!("{other}:0")),
    };
    let first = bench.out(ask(2, 7, "192.0.2.9"));
    assert_eq!((first.src, first.dst), (end("203.0.113.1:7"), end("192.0.2.9:0")));
    assert_eq!(bench.out(ask(2, 7, "198.51.100.7")).src, first.src, "endpoint-independent");
    let second = bench.out(ask(3, 7, "192.0.2.9"));
    assert_ne!(second.src.l4_port, 7);
    let third = bench.out(ask(4, 0, "192.0.2.9"));
    assert_ne!(third.src.l4_port, 0, "0 marks the end that answers");
    for (asked, sent) in
        [(ask(2, 7, "192.0.2.9"), first), (ask(3, 7, "192.0.2.9"), second), (ask(4, 0, "192.0.2.9"), third)]
    {
        assert_eq!(bench.follow(sent.reversed(), 0), Some(asked.reversed()));
    }
    bench.pass(60);
    assert_eq!(bench.sessions().len(), 4);
    bench.pass(1);
    assert_eq!(bench.sessions().len(), 0);
    // An answer that nobody asked for gets no mapping.
    let stray = flow(Protocol::Echo, "172.16.0.2:0", "192.0.2.9:9");
    assert_eq!(bench.open(&stray, 0, &masquerade(&stray, OUTSIDE)), Err(DropReason::NatProtocol));
}

#[test]
fn one_to_one_addresses_keep_their_l4_ports_both_ways() {
    let mut plan = plan();
    plan.one_to_one =
        Vec::from([OneToOne { outside: address("203.0.113.2"), inside: address("172.16.0.9") }]);
    plan.publishes =
        Vec::from([Publish { listen: Some(address("203.0.113.2")), ..publish(7, 80, 80, "172.16.0.5", 80) }]);
    let mut bench = Bench::new(&plan);
    let knock = udp("192.0.2.9:53", "203.0.113.2:4000");
    assert_eq!(come_in(&mut bench, knock), Some(udp("192.0.2.9:53", "172.16.0.9:4000")));
    assert_eq!(bench.all.published(&tcp("192.0.2.9:1", "203.0.113.2:80")).unwrap().0, end("172.16.0.5:80"));
    let out = udp("172.16.0.9:5000", "192.0.2.9:53");
    let outside = bench.all.one_to_one(out.src.address).unwrap();
    assert_eq!((outside, bench.all.one_to_one(address("172.16.0.8"))), (address("203.0.113.2"), None));
    let wish = Wish { src: SourceNat::Address(outside), ..keep(&out) };
    assert_eq!(became(out, &bench.open(&out, 0, &wish).unwrap()).src, end("203.0.113.2:5000"));
    // They end with the pair, and nothing else does.
    bench.out(udp("172.16.0.2:4000", "192.0.2.9:53"));
    plan.one_to_one.clear();
    bench.configure(&plan);
    assert_eq!(bench.sessions().len(), 1);
    assert_eq!(bench.all.stats().ended, 2);
}

/// TCP L4 ports of every address.
pub(super) fn publish(id: u32, first: u16, last: u16, to: &str, to_first: u16) -> Publish {
    Publish {
        id,
        listen: None,
        protocol: Protocol::Tcp,
        l4_port_first: first,
        l4_port_last: last,
        to: address(to),
        to_l4_port_first: to_first,
    }
}
