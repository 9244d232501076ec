//! What we send, octet by octet (checksums computed by other means), and when.

use super::*;

/// Who has 172.16.0.9? Tell 172.16.0.1.
const ARP_QUESTION: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1,
    0xac, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 0xac, 0x10, 0, 9,
];
/// 172.16.0.1 is ours.
const ARP_ANNOUNCEMENT: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1,
    0xac, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 0xac, 0x10, 0, 1,
];
/// Who has fd00::9? To its solicited-node group, from the link-local address.
const SOLICITATION: [u8; 86] = [
    0x33, 0x33, 0xff, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0x20, 0x3a, 0xff, 0xfe, 0x80,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 9,
    0x87, 0, 0x7d, 9, 0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 1, 2, 0, 0, 0, 0, 1,
];
/// The same to where it was.
const UNICAST_SOLICITATION: [u8; 86] = [
    2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0x20, 0x3a, 0xff, 0xfe, 0x80, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0x87, 0, 0x7e,
    0x0d, 0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 1, 2, 0, 0, 0, 0, 1,
];
/// fd00::1 is ours: router, override.
const ANNOUNCEMENT: [u8; 86] = [
    0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0x20, 0x3a, 0xff, 0xfd, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x88, 0, 0xda,
    0x9a, 0xa0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1, 2, 0, 0, 0, 0, 1,
];
/// A router for 1,800 s, hop limit 64, MTU 1,500, fd00::/64 on the link and for addresses.
const ROUTER: [u8; 118] = [
    0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0x40, 0x3a, 0xff, 0xfe, 0x80, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x86, 0,
    0x1f, 0xa2, 0x40, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1, 5, 1, 0, 0, 0, 0, 5, 0xdc, 3,
    4, 0x40, 0xc0, 0, 0x27, 0x8d, 0, 0, 9, 0x3a, 0x80, 0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0,
];

#[test]
fn questions_to_all_and_to_one() {
    let unicast_arp = change(&ARP_QUESTION, 0, &mac(9).0);
    for (address, to_all, to_one) in [
        ("172.16.0.9", &ARP_QUESTION[..], &unicast_arp[..]),
        ("fd00::9", &SOLICITATION[..], &UNICAST_SOLICITATION[..]),
    ] {
        let mut world = World::new();
        assert_eq!(world.packet(7, ip(address)), Ok(Resolution::Parked));
        assert_eq!(world.sent(), [to_all]);
        world.hear(&Says::Question(9).frame(ip(address).is_ipv4())).unwrap();
        world.sent();
        world.until(ms(5_000));
        assert_eq!(world.sent(), [to_one]);
    }
}

#[test]
fn an_arp_question_is_from_the_address_in_the_targets_subnet() {
    for (addresses, target, sender) in [
        (&["10.0.0.1", "172.16.0.1"][..], "172.16.0.9", "172.16.0.1"),
        (&["10.0.0.1", "172.16.0.1"], "192.168.0.9", "10.0.0.1"),
        (&["fd00::1"], "172.16.0.9", "0.0.0.0"),
    ] {
        let mut world = World::new();
        world.configure(&[Gateway { addresses: addresses.iter().copied().map(ip).collect(), ..gateway() }]);
        world.sent();
        assert_eq!(world.packet(7, ip(target)), Ok(Resolution::Parked));
        let question = world.sent().remove(0);
        assert_eq!(IpAddr::from(<[u8; 4]>::try_from(&question[28..32]).unwrap()), ip(sender), "{target}");
    }
}

#[test]
fn a_question_for_us_is_answered_as_it_comes() {
    let mut world = World::new();
    let (heard, reply) = world.hear_with(&Says::Question(9).frame(true), Offload::NONE);
    assert_eq!(heard, Ok(Heard::Answer));
    assert_eq!(reply, arp(mac(9), 2, (OUR_MAC, "172.16.0.1"), (mac(9), "172.16.0.9")));
    let (heard, advertisement) = world.hear_with(&Says::Question(9).frame(false), Offload::NONE);
    assert_eq!(heard, Ok(Heard::Answer));
    let ips = ("fd00::1", "fd00::9");
    assert_eq!(advertisement, nd(mac(9), OUR_MAC, ips, [136, 0, 0xe0], "fd00::1", Some((2, OUR_MAC))));

    let group = Mac([0x33, 0x33, 0xff, 0, 0, 1]);
    let probe = nd(group, mac(9), ("::", "ff02::1:ff00:1"), [135, 0, 0], "fd00::1", None);
    assert_eq!(world.hear_with(&probe, Offload::NONE), (Ok(Heard::Answer), ANNOUNCEMENT.to_vec()));
    let probe = arp(Mac::BROADCAST, 1, (mac(9), "0.0.0.0"), (Mac::default(), "172.16.0.1"));
    let reply = arp(mac(9), 2, (OUR_MAC, "172.16.0.1"), (mac(9), "0.0.0.0"));
    assert_eq!(world.hear_with(&probe, Offload::NONE), (Ok(Heard::Answer), reply));
}

#[test]
fn what_is_not_for_us_passes_and_what_is_for_our_mac_alone_ends() {
    let mut world = World::new();
    let asks = |dst, target| arp(dst, 1, (mac(9), "172.16.0.9"), (Mac::default(), target));
    assert_eq!(world.hear(&asks(Mac::BROADCAST, "172.16.0.8")), Ok(Heard::Pass));
    assert_eq!(world.hear(&asks(OUR_MAC, "172.16.0.8")), Err(DropReason::NoService));
    assert_eq!(world.hear(&asks(OUR_MAC, "172.16.0.1")), Ok(Heard::Answer));
    let group = Mac([0x33, 0x33, 0xff, 0, 0, 8]);
    let other = nd(group, mac(9), ("fd00::9", "ff02::1:ff00:8"), [135, 0, 0], "fd00::8", None);
    assert_eq!(world.hear(&other), Ok(Heard::Pass));
    let router = nd(Mac([0x33, 0x33, 0, 0, 0, 1]), mac(9), ("fe80::9", "ff02::1"), [134, 0, 0], "", None);
    assert_eq!(world.hear(&router), Ok(Heard::Pass), "another router's advertisement");
    let redirect = nd(OUR_MAC, mac(9), ("fe80::9", "fd00::1"), [137, 0, 0], "fd00::7", None);
    assert_eq!(world.hear(&redirect), Ok(Heard::Pass));
    let solicits = nd(Mac([0x33, 0x33, 0, 0, 0, 2]), mac(9), ("fe80::9", "ff02::2"), [133, 0, 0], "", None);
    assert_eq!(world.hear(&solicits), Ok(Heard::Pass), "nothing is advertised here");
    assert_eq!(world.sent(), Vec::<Vec<u8>>::new());
}

#[test]
fn new_addresses_are_announced_twice() {
    let mut world = World::of(&[gateway()]);
    let link_local = |frame: &Vec<u8>| frame[22..24] == [0xfe, 0x80] && frame[54] == 136;
    let sent = world.sent();
    assert_eq!(sent[..2], [ARP_ANNOUNCEMENT.to_vec(), ANNOUNCEMENT.to_vec()]);
    assert!(sent.len() == 3 && link_local(&sent[2]));
    assert_eq!(world.neighbours.next_deadline(), Some((ms(2_000), "address announcement")));
    world.until(ms(2_000));
    assert_eq!(world.sent(), sent);
    world.configure(&[gateway()]);
    world.until(ms(60_000));
    assert_eq!(world.sent(), Vec::<Vec<u8>>::new(), "nothing is new");

    let more = Gateway { addresses: ["172.16.0.1", "172.16.0.2", "fd00::1"].map(ip).to_vec(), ..gateway() };
    world.configure(core::slice::from_ref(&more));
    let second = change(&change(&ARP_ANNOUNCEMENT, 31, &[2]), 41, &[2]);
    assert_eq!(world.sent(), [&second[..]]);
    world.configure(&[gateway()]);
    world.until(ms(90_000));
    assert_eq!(world.sent(), Vec::<Vec<u8>>::new(), "it is not ours any more");

    world.configure(&[Gateway { mac: UnicastMac::new(mac(0x77)).unwrap(), ..gateway() }]);
    let sent = world.sent();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|frame| frame[6..12] == mac(0x77).0));
}

#[test]
fn a_network_without_ipv6_hears_no_announcement_of_it() {
    let subnets = Vec::from(["172.16.0.0/16".parse().unwrap()]);
    let mut world = World::of(&[Gateway { addresses: Vec::from([ip("172.16.0.1")]), subnets, ..gateway() }]);
    assert_eq!(world.sent(), [&ARP_ANNOUNCEMENT[..]]);
}

/// The router advertisements among what was sent.
fn advertisements(world: &mut World) -> Vec<Vec<u8>> {
    let sent = world.sent();
    sent.into_iter().filter(|frame| frame[12..14] == [0x86, 0xdd] && frame[54] == 134).collect()
}

#[test]
fn a_router_is_advertised_thrice_soon_and_then_seldom() {
    let mut world = World::of(&[advertising()]);
    assert_eq!(advertisements(&mut world), [&ROUTER[..]]);
    world.until(ms(16_000));
    assert_eq!(advertisements(&mut world).len(), 1);
    world.until(ms(32_000));
    assert_eq!(advertisements(&mut world), [&ROUTER[..]]);
    let mut last = 32_000;
    for _ in 0..20 {
        let (at, what) = world.neighbours.next_deadline().unwrap();
        assert_eq!(what, "router advertisement");
        let wait = at.as_nanos() / 1_000_000 - last;
        assert!((198_000..=600_000).contains(&wait), "{wait}");
        world.until(at);
        assert_eq!(advertisements(&mut world).len(), 1);
        last = at.as_nanos() / 1_000_000;
    }
}

#[test]
fn prefixes_are_on_the_link_and_those_of_64_bits_for_addresses() {
    let subnets = ["fd00:1::/48", "172.16.0.0/16", "fd00::/64"].map(|text| text.parse().unwrap()).to_vec();
    let mut world = World::of(&[Gateway { subnets, mtu: 9000, ..advertising() }]);
    let [frame] = &advertisements(&mut world)[..] else { panic!("one") };
    assert_eq!(frame[82..88], [0, 0, 0x23, 0x28, 3, 4], "MTU 9,000, then a prefix");
    assert_eq!(
        (frame[88..90].to_vec(), &frame[102..108]),
        (Vec::from([48, 0x80]), &[0xfd, 0, 0, 1, 0, 0][..])
    );
    assert_eq!((frame[120..122].to_vec(), frame.len()), (Vec::from([64, 0xc0]), 150));
    assert_eq!(crate::tests::icmp_sum(frame, 54), !0);

    for gateway in [
        gateway(),
        Gateway { side: Side::Uplink, ..advertising() },
        Gateway { subnets: Vec::from(["fd00::/48".parse().unwrap()]), ..advertising() },
    ] {
        let mut world = World::of(&[gateway]);
        world.until(ms(60_000));
        assert_eq!(advertisements(&mut world), Vec::<Vec<u8>>::new());
    }
}

/// A station solicits routers.
fn solicits(src: &str, option: Option<(u8, Mac)>) -> Vec<u8> {
    nd(Mac([0x33, 0x33, 0, 0, 0, 2]), mac(9), (src, "ff02::2"), [133, 0, 0], "", option)
}

#[test]
fn who_solicits_is_told_at_once_and_known() {
    let mut world = World::of(&[advertising()]);
    world.until(ms(60_000));
    world.sent();
    assert_eq!(world.hear(&solicits("fe80::9", Some((1, mac(9))))), Ok(Heard::Pass), "for other routers");
    let answers = advertisements(&mut world);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][..6], mac(9).0);
    let dst: [u8; 16] = answers[0][38..54].try_into().unwrap();
    assert_eq!(IpAddr::from(dst), ip("fe80::9"));
    assert_eq!(crate::tests::icmp_sum(&answers[0], 54), !0);
    assert_eq!(answers[0][58..], ROUTER[58..]);
    assert_eq!(world.state(ip("fe80::9")), Some(NeighbourState::Stale));

    let cases = [
        ("a router was in between", change(&solicits("fe80::9", None), 21, &[254])),
        ("a wrong checksum", change(&solicits("fe80::9", None), 57, &[0])),
        ("nobody names a MAC", solicits("::", Some((1, mac(9))))),
    ];
    for (what, frame) in cases {
        assert_eq!(world.hear(&frame), Err(DropReason::MalformedIp), "{what}");
    }
}

#[test]
fn who_solicits_without_an_address_makes_all_be_told_but_not_too_often() {
    let mut world = World::of(&[advertising()]);
    world.until(ms(60_000));
    world.sent();
    for _ in 0..3 {
        assert_eq!(world.hear(&solicits("::", None)), Ok(Heard::Pass));
    }
    assert_eq!(advertisements(&mut world), Vec::<Vec<u8>>::new());
    world.until(ms(60_500));
    assert_eq!(advertisements(&mut world), [&ROUTER[..]]);
    assert_eq!(world.hear(&solicits("::", None)), Ok(Heard::Pass));
    world.until(ms(63_000));
    assert_eq!(advertisements(&mut world), Vec::<Vec<u8>>::new(), "3 s after the last");
    world.until(ms(63_500));
    assert_eq!(advertisements(&mut world).len(), 1);
}

#[test]
fn a_gateway_that_leaves_says_so() {
    let renamed = Gateway { mac: UnicastMac::new(mac(0x77)).unwrap(), ..advertising() };
    for (what, after) in [
        ("gone", &[][..]),
        ("advertises no more", &[gateway()]),
        ("another MAC", core::slice::from_ref(&renamed)),
    ] {
        let mut world = World::of(&[advertising()]);
        world.until(ms(60_000));
        world.sent();
        world.configure(after);
        let sent = advertisements(&mut world);
        let last = &sent[0];
        assert_eq!((&last[6..12], &last[60..62]), (&OUR_MAC.0[..], &[0, 0][..]), "{what}");
        assert_eq!(sent.len() > 1, what == "another MAC", "{what}");
    }
}

#[test]
fn a_prefix_that_leaves_is_advertised_as_void_three_times() {
    let mut world = World::of(&[advertising()]);
    world.until(ms(60_000));
    world.sent();
    let subnets = ["fd00:2::/64", "172.16.0.0/16"].map(|text| text.parse().unwrap()).to_vec();
    world.configure(&[Gateway { subnets, ..advertising() }]);
    world.until(ms(92_000));
    let sent = advertisements(&mut world);
    assert_eq!(sent.len(), 3);
    for frame in &sent {
        assert_eq!(frame.len(), 150);
        assert_eq!(frame[102..108], [0xfd, 0, 0, 2, 0, 0]);
        assert_eq!(frame[120..130], [64, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0], "no lifetime");
        assert_eq!(frame[134..138], [0xfd, 0, 0, 0]);
    }
    world.until(ms(92_000 + 600_000));
    assert!(advertisements(&mut world).iter().all(|frame| frame.len() == 118));
}
