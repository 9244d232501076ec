//! The router as a whole: packets in, packets out, each written as one line.

use alloc::sync::Arc;
use core::net::IpAddr;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use wire::ethernet::EthernetHeader;
use wire::headers::Fragment;
use wire::{Cidr, DomainId, FrameBuf, FramePool, Instant, Mac, Offload, PortId, UnicastMac};

use crate::fib::{Fib, NextHop, Route, Target};
use crate::icmp::quote::parse_quote;
use crate::samples::{Sample, assert_sound, frame};
use crate::{
    AclAction, AclEnd, AclRule, Gateway, Links, Made, NetworkPolicy, OneToOne, Packet, Protocol, Publish,
    Routed, Router, RouterPlan, Side, Turn,
};

mod edges;
mod overlay;

pub(crate) const A: DomainId = DomainId(1);
pub(crate) const B: DomainId = DomainId(2);
/// An internal network.
pub(crate) const I: DomainId = DomainId(3);
pub(crate) const UP: DomainId = DomainId(9);
const SYN: u8 = 2;
const SYN_ACK: u8 = 18;
const ACK: u8 = 16;

/// Two masquerading networks, an internal one and an uplink, all neighbours known.
pub(crate) struct World {
    pub(crate) router: Router,
    /// It sees all that the first one sees, and has no short way: whatever happens must happen to both.
    pub(crate) twin: Router,
    pub(crate) now: Instant,
    pub(crate) plan: RouterPlan,
    /// Stations that take less than their network says.
    narrow: Narrow,
}

/// Stations and their MTU.
#[derive(Debug, Default)]
struct Narrow(Vec<(IpAddr, u16)>);

impl Links for Narrow {
    fn mtu(&self, _: DomainId, station: Mac) -> Option<u16> {
        self.0.iter().find(|(address, _)| mac_of(*address) == station).map(|&(_, mtu)| mtu)
    }
}

fn mac_of(address: IpAddr) -> Mac {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            Mac([2, 0x42, a, b, c, d])
        }
        IpAddr::V6(address) => Mac([2, 0x66, 0, 0, address.octets()[1], address.octets()[15]]),
    }
}

fn gateway_mac(domain: DomainId) -> Mac {
    Mac([2, 0, 0, 0, 0xff, u8::try_from(domain.0).unwrap()])
}

fn gateway(domain: DomainId, addresses: &[&str], side: Side) -> Gateway {
    let cidrs: Vec<Cidr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    Gateway {
        domain,
        mac: UnicastMac::new(gateway_mac(domain)).unwrap(),
        addresses: cidrs.iter().map(|cidr| cidr.address()).collect(),
        subnets: cidrs.iter().map(|cidr| cidr.network()).collect(),
        mtu: 1500,
        side,
    }
}

pub(crate) fn plan() -> RouterPlan {
    let masquerade = NetworkPolicy { masquerade_v4: true, ..NetworkPolicy::default() };
    let internal = NetworkPolicy { internal: true, ..masquerade };
    let gateways = Vec::from([
        gateway(A, &["172.16.0.1/16", "fd16::1/64"], Side::Network(masquerade)),
        gateway(B, &["172.17.0.1/16", "fd17::1/64"], Side::Network(masquerade)),
        gateway(I, &["172.18.0.1/16"], Side::Network(internal)),
        gateway(UP, &["192.168.9.7/24", "fd09::7/64"], Side::Uplink),
    ]);
    let to = |text: &str, target| Route { prefix: text.parse().unwrap(), target };
    let via = |text: &str| Target::Via(Vec::from([NextHop { domain: UP, address: text.parse().unwrap() }]));
    let mut routes: Vec<Route> = gateways
        .iter()
        .flat_map(|gateway| {
            gateway.subnets.iter().map(|&prefix| Route { prefix, target: Target::Connected(gateway.domain) })
        })
        .collect();
    routes.extend([
        to("0.0.0.0/0", via("192.168.9.1")),
        to("::/0", via("fd09::1")),
        to("10.1.0.0/16", Target::Blackhole),
        to("10.2.0.0/16", Target::Unreachable),
        to("10.3.0.0/16", Target::Prohibit),
    ]);
    RouterPlan { gateways, fib: Arc::new(Fib::build(&routes).unwrap()), ..RouterPlan::default() }
}

pub(crate) fn publish(id: u32, l4_port: u16, to: &str, to_l4_port: u16) -> Publish {
    Publish {
        id,
        listen: None,
        protocol: Protocol::Tcp,
        l4_port_first: l4_port,
        l4_port_last: l4_port,
        to: to.parse().unwrap(),
        to_l4_port_first: to_l4_port,
    }
}

impl World {
    pub(crate) fn new(plan: RouterPlan) -> Self {
        plan.check().unwrap();
        let mut twin = Router::new(0x5eed);
        twin.has_shortcut = false;
        let mut world = Self {
            router: Router::new(0x5eed),
            twin,
            now: Instant::from_secs(1),
            plan,
            narrow: Narrow::default(),
        };
        world.configure();
        for (domain, stations) in [
            (A, &["172.16.0.2", "172.16.0.3", "fd16::2"][..]),
            (B, &["172.17.0.2", "fd17::2"]),
            (I, &["172.18.0.2"]),
            (UP, &["192.168.9.1", "fd09::1", "192.168.9.66"]),
        ] {
            stations.iter().for_each(|station| world.introduce(domain, station.parse().unwrap()));
        }
        world
    }

    fn configure(&mut self) {
        let plan = self.plan.clone();
        self.turn(|router, turn| router.configure(turn, &plan));
    }

    pub(crate) fn turn<T>(&mut self, mut act: impl FnMut(&mut Router, &mut Turn) -> T) -> (T, Made) {
        let (now, narrow) = (self.now, &self.narrow);
        let mut one = |router: &mut Router| {
            let (mut pool, mut made) = (FramePool::default(), Made::default());
            let links = (!narrow.0.is_empty()).then_some(narrow as &dyn Links);
            let done = act(router, &mut Turn { now, pool: &mut pool, made: &mut made, links });
            (done, made)
        };
        let [first, second] = [&mut self.router, &mut self.twin].map(&mut one);
        assert_eq!(told(&first.1), told(&second.1), "both ways make the same");
        assert_eq!(self.router.next_deadline(), self.twin.next_deadline(), "and wait for the same");
        first
    }

    /// The station asks for the gateway's MAC, and is known from then on.
    fn introduce(&mut self, domain: DomainId, station: IpAddr) {
        let own = self.plan.gateways.iter().find(|gateway| gateway.domain == domain).unwrap();
        let target = *own.addresses.iter().find(|own| own.is_ipv4() == station.is_ipv4()).unwrap();
        let mac = mac_of(station);
        let bytes = match (station, target) {
            (IpAddr::V4(sender), IpAddr::V4(target)) => [
                &[0xff; 6][..],
                &mac.0,
                &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
                &mac.0,
                &sender.octets(),
                &[0; 6],
                &target.octets(),
            ]
            .concat(),
            (IpAddr::V6(_), IpAddr::V6(target)) => {
                let rest = [&[0; 4][..], &target.octets(), &[1, 1], &mac.0].concat();
                let mut sample = Sample::icmp(&station.to_string(), &target.to_string(), 135, 0, &rest);
                sample.ttl = 255;
                self.addressed(domain, &sample)
            }
            other => panic!("{other:?}"),
        };
        let (routed, ..) = self.hand(domain, &bytes, Offload::NONE);
        assert_eq!(routed, "answer", "{station}");
    }

    pub(crate) fn addressed(&self, domain: DomainId, sample: &Sample) -> Vec<u8> {
        let mut bytes = sample.bytes();
        bytes[..6].copy_from_slice(&gateway_mac(domain).0);
        bytes[6..12].copy_from_slice(&mac_of(sample.src).0);
        bytes
    }

    pub(crate) fn hand(
        &mut self,
        domain: DomainId,
        bytes: &[u8],
        offload: Offload,
    ) -> (String, Vec<String>, FrameBuf) {
        let header = EthernetHeader::parse(bytes).unwrap();
        let mut outcomes = Vec::new();
        let ((), made) = self.turn(|router, turn| {
            let mut frame = frame(bytes, offload);
            let routed = router.route(turn, PortId(0), domain, &header, &mut frame);
            outcomes.push((routed, frame));
        });
        let (by_walk, walked) = outcomes.pop().unwrap();
        let (routed, frame) = outcomes.pop().unwrap();
        assert_eq!(routed, by_walk, "both ways lead to one end");
        if !matches!(routed, Ok(Routed::Parked)) {
            assert_eq!(frame.bytes(), walked.bytes(), "and leave the same frame");
            assert_eq!(frame.offload, walked.offload);
        }
        let course = match routed {
            Ok(Routed::Forward(egress)) => show(egress, &frame),
            Ok(Routed::Answer) => "answer".to_owned(),
            Ok(Routed::Pass) => "pass".to_owned(),
            Ok(Routed::Consumed) => "consumed".to_owned(),
            Ok(Routed::Parked) => "parked".to_owned(),
            Err(reason) => reason.id().to_owned(),
        };
        (course, told(&made), frame)
    }

    /// What becomes of the packet, and what the router makes beside it.
    pub(crate) fn send(&mut self, domain: DomainId, sample: &Sample) -> String {
        let bytes = self.addressed(domain, sample);
        let (course, made, _) = self.hand(domain, &bytes, Offload::NONE);
        [&[course][..], &made].concat().join(" + ")
    }
}

use std::borrow::ToOwned;

fn told(made: &Made) -> Vec<String> {
    let frames = made.frames.iter().map(|(domain, frame)| show(*domain, frame));
    let drops = made.drops.iter().map(|(_, reason)| reason.id().to_owned());
    frames.chain(drops).collect()
}

/// A packet that leaves, as a line; its Ethernet header and its checksums are right.
fn show(domain: DomainId, frame: &FrameBuf) -> String {
    let bytes = frame.bytes();
    assert_eq!(bytes[6..12], gateway_mac(domain).0, "it comes from the gateway");
    if bytes[12..14] == [8, 6] {
        let target: [u8; 4] = bytes[38..42].try_into().unwrap();
        return format!("{} who has {}?", domain.0, IpAddr::from(target));
    }
    let packet = Packet::parse(frame).unwrap();
    let has_checksum = matches!(packet.headers.protocol, 1 | 6 | 17 | 58);
    if has_checksum && packet.headers.fragment == Fragment::Whole && frame.offload == Offload::NONE {
        assert_sound(bytes);
    }
    let about = parse_quote(&packet, bytes, frame.offload).unwrap().map(|quote| {
        let ends = [quote.flow.src, quote.flow.dst].map(|end| format!("{}:{}", end.address, end.l4_port));
        format!(" about {} > {}", ends[0], ends[1])
    });
    let what = match (packet.flow(bytes), packet.icmp_type(bytes)) {
        (Some(flow), _) => format!(
            "{:?} {}:{} > {}:{}",
            flow.protocol, flow.src.address, flow.src.l4_port, flow.dst.address, flow.dst.l4_port
        ),
        (None, Some(kind)) => {
            format!("icmp {kind}/{} {} > {}", packet.l4(bytes)[1], packet.src, packet.dst)
        }
        (None, None) => format!("{} {} > {}", packet.headers.protocol, packet.src, packet.dst),
    };
    format!("{} {what} ttl {}{}", domain.0, packet.hop_limit, about.unwrap_or_default())
}

/// Sends each packet in turn and compares what becomes of it.
fn check(world: &mut World, steps: &[(DomainId, Sample, &str)]) {
    for (index, (domain, sample, expected)) in steps.iter().enumerate() {
        let found = world.send(*domain, sample);
        assert_eq!(found, *expected, "step {index}: {sample:?}");
    }
}

fn udp(src: (&str, u16), dst: (&str, u16)) -> Sample {
    Sample::udp(src.0, dst.0, [src.1, dst.1], b"data")
}

fn tcp(src: (&str, u16), dst: (&str, u16), flags: u8) -> Sample {
    Sample::tcp(src.0, dst.0, [src.1, dst.1], flags, &[], &[])
}

fn ping(src: &str, dst: &str, kind: u8) -> Sample {
    Sample::icmp(src, dst, kind, 0, &[0x12, 0x34, 0, 1, 1, 2, 3, 4])
}

fn with_ttl(sample: Sample, ttl: u8) -> Sample {
    Sample { ttl, ..sample }
}

#[test]
fn between_networks_packets_are_routed_without_memory() {
    let mut world = World::new(plan());
    check(
        &mut world,
        &[
            (A, udp(("172.16.0.2", 5), ("172.17.0.2", 7)), "2 Udp 172.16.0.2:5 > 172.17.0.2:7 ttl 63"),
            (B, udp(("172.17.0.2", 7), ("172.16.0.2", 5)), "1 Udp 172.17.0.2:7 > 172.16.0.2:5 ttl 63"),
            (A, udp(("fd16::2", 5), ("fd17::2", 7)), "2 Udp fd16::2:5 > fd17::2:7 ttl 63"),
            (A, ping("172.16.0.2", "172.17.0.2", 8), "2 Echo 172.16.0.2:4660 > 172.17.0.2:0 ttl 63"),
            (A, ping("172.16.0.2", "172.17.0.1", 8), "answer"),
            (A, ping("172.16.0.2", "192.168.9.7", 8), "answer"),
            (A, udp(("172.16.0.2", 5), ("172.16.0.3", 7)), "1 Udp 172.16.0.2:5 > 172.16.0.3:7 ttl 63"),
        ],
    );
    assert_eq!(world.router.connections().stats().sessions, 0);
}

#[test]
fn traceroute_sees_the_gateway_and_the_station() {
    let mut world = World::new(plan());
    let probe = |ttl| with_ttl(udp(("172.16.0.2", 5), ("172.17.0.2", 33434)), ttl);
    let probe6 = |ttl| with_ttl(udp(("fd16::2", 5), ("fd17::2", 33434)), ttl);
    let quote = probe(1).bytes()[14..].to_vec();
    let port_unreachable = Sample::icmp("172.17.0.2", "172.16.0.2", 3, 3, &[&[0; 4][..], &quote].concat());
    check(
        &mut world,
        &[
            (
                A,
                probe(1),
                "route.ttl-expired + 1 icmp 11/0 172.16.0.1 > 172.16.0.2 ttl 64 about 172.16.0.2:5 > 172.17.0.2:33434",
            ),
            (
                A,
                probe6(1),
                "route.ttl-expired + 1 icmp 3/0 fd16::1 > fd16::2 ttl 64 about fd16::2:5 > fd17::2:33434",
            ),
            (A, probe(2), "2 Udp 172.16.0.2:5 > 172.17.0.2:33434 ttl 1"),
            (
                B,
                port_unreachable,
                "1 icmp 3/3 172.17.0.2 > 172.16.0.2 ttl 63 about 172.16.0.2:5 > 172.17.0.2:33434",
            ),
        ],
    );
}

#[test]
fn masquerade_hides_a_network_behind_the_uplink() {
    let mut world = World::new(plan());
    let quote = with_ttl(udp(("192.168.9.7", 5), ("8.8.8.8", 53)), 1).bytes()[14..].to_vec();
    let ttl_expired = Sample::icmp("9.9.9.9", "192.168.9.7", 11, 0, &[&[0; 4][..], &quote].concat());
    let lie = Sample::icmp("9.9.9.9", "192.168.9.7", 11, 0, &[&[0; 4][..], &quote[..27]].concat());
    let mut other = quote.clone();
    other[21] = 6; // Another L4 port, of no connection.
    let unknown = Sample::icmp("9.9.9.9", "192.168.9.7", 11, 0, &[&[0; 4][..], &other].concat());
    check(
        &mut world,
        &[
            (A, udp(("172.16.0.2", 5), ("8.8.8.8", 53)), "9 Udp 192.168.9.7:5 > 8.8.8.8:53 ttl 63"),
            (UP, udp(("8.8.8.8", 53), ("192.168.9.7", 5)), "1 Udp 8.8.8.8:53 > 172.16.0.2:5 ttl 63"),
            (UP, ttl_expired, "1 icmp 11/0 9.9.9.9 > 172.16.0.2 ttl 63 about 172.16.0.2:5 > 8.8.8.8:53"),
            (UP, lie, "route.bad-quote"),
            (UP, unknown, "route.bad-quote"),
            (UP, udp(("8.8.8.8", 54), ("192.168.9.7", 5)), "route.unsolicited"),
            (UP, udp(("8.8.4.4", 53), ("192.168.9.7", 5)), "route.unsolicited"),
            (UP, udp(("8.8.8.8", 53), ("172.16.0.2", 5)), "route.unsolicited"),
            (A, ping("172.16.0.2", "8.8.8.8", 8), "9 Echo 192.168.9.7:4660 > 8.8.8.8:0 ttl 63"),
            (UP, ping("8.8.8.8", "192.168.9.7", 0), "1 Echo 8.8.8.8:0 > 172.16.0.2:4660 ttl 63"),
            (A, tcp(("172.16.0.2", 9), ("8.8.8.8", 80), SYN), "9 Tcp 192.168.9.7:9 > 8.8.8.8:80 ttl 63"),
            (UP, tcp(("8.8.8.8", 80), ("192.168.9.7", 9), SYN_ACK), "1 Tcp 8.8.8.8:80 > 172.16.0.2:9 ttl 63"),
            (UP, tcp(("8.8.8.8", 81), ("192.168.9.7", 9), SYN_ACK), "route.unsolicited"),
            // IPv6 is routed, not translated, and asked for nothing from outside either.
            (A, udp(("fd16::2", 5), ("2001:db8::1", 53)), "9 Udp fd16::2:5 > 2001:db8::1:53 ttl 63"),
            (UP, udp(("2001:db8::1", 53), ("fd16::2", 5)), "1 Udp 2001:db8::1:53 > fd16::2:5 ttl 63"),
            (UP, udp(("2001:db8::1", 54), ("fd16::2", 5)), "route.unsolicited"),
        ],
    );
}

#[test]
fn what_is_published_is_reached_from_everywhere() {
    let mut with_publish = plan();
    with_publish.publishes = Vec::from([publish(1, 8080, "172.17.0.2", 80)]);
    let mut world = World::new(with_publish);
    let web = ("172.17.0.2", 80);
    let outside = ("192.168.9.66", 4000);
    let hosts = ("172.16.0.2", 4000);
    let quote = tcp(outside, web, SYN).bytes()[14..].to_vec();
    let refusal = Sample::icmp("172.17.0.2", "192.168.9.66", 3, 3, &[&[0; 4][..], &quote].concat());
    check(
        &mut world,
        &[
            (UP, tcp(outside, ("192.168.9.7", 8080), SYN), "2 Tcp 192.168.9.66:4000 > 172.17.0.2:80 ttl 63"),
            (B, tcp(web, outside, SYN_ACK), "9 Tcp 192.168.9.7:8080 > 192.168.9.66:4000 ttl 63"),
            (
                B,
                refusal,
                "9 icmp 3/3 192.168.9.7 > 192.168.9.66 ttl 63 about 192.168.9.66:4000 > 192.168.9.7:8080",
            ),
            (UP, tcp(outside, ("192.168.9.7", 80), SYN), "route.unsolicited"),
            // At any address of the router, from another network with the source kept.
            (A, tcp(hosts, ("172.16.0.1", 8080), SYN), "2 Tcp 172.16.0.2:4000 > 172.17.0.2:80 ttl 63"),
            (B, tcp(web, hosts, SYN_ACK), "1 Tcp 172.16.0.1:8080 > 172.16.0.2:4000 ttl 63"),
            // From its own network it must see the gateway, or it would answer past the router.
            (
                B,
                tcp(("172.17.0.2", 4000), ("192.168.9.7", 8080), SYN),
                "2 Tcp 172.17.0.1:4000 > 172.17.0.2:80 ttl 63",
            ),
            (B, tcp(web, ("172.17.0.1", 4000), SYN_ACK), "2 Tcp 192.168.9.7:8080 > 172.17.0.2:4000 ttl 63"),
            (
                A,
                tcp(hosts, ("172.16.0.1", 81), SYN),
                "route.no-service + 1 icmp 3/3 172.16.0.1 > 172.16.0.2 ttl 64 about 172.16.0.2:4000 > 172.16.0.1:81",
            ),
        ],
    );
    world.plan.publishes.clear();
    world.configure();
    check(&mut world, &[(UP, tcp(outside, ("192.168.9.7", 8080), ACK), "route.unsolicited")]);
    assert_eq!(world.router.connections().stats().sessions, 0, "they end with what was published");
}

#[test]
fn policy_has_its_names() {
    let mut restricted = plan();
    let deny_telnet = AclRule {
        action: AclAction::Deny,
        from: AclEnd::Domain(A),
        to: AclEnd::Prefixes(Vec::from(["172.17.0.0/16".parse().unwrap()])),
        protocol: Some(Protocol::Tcp),
        l4_ports: Some((23, 23)),
    };
    restricted.acl = Vec::from([deny_telnet]);
    let mut world = World::new(restricted);
    let from = ("172.16.0.2", 4000);
    let told = |reason: &str, kind: &str, src: &str, gateway: &str, dst: &str| {
        format!(
            "{reason} + {} icmp {kind} {gateway} > {src} ttl 64 about {src}:4000 > {dst}",
            if src.starts_with("172.16") { 1 } else { 3 }
        )
    };
    for (domain, sample, expected) in [
        (
            A,
            tcp(from, ("172.17.0.2", 23), SYN),
            told("route.acl-denied", "3/13", "172.16.0.2", "172.16.0.1", "172.17.0.2:23"),
        ),
        (A, tcp(from, ("172.17.0.2", 22), SYN), "2 Tcp 172.16.0.2:4000 > 172.17.0.2:22 ttl 63".to_owned()),
        (
            I,
            tcp(("172.18.0.2", 4000), ("8.8.8.8", 80), SYN),
            told("route.internal", "3/13", "172.18.0.2", "172.18.0.1", "8.8.8.8:80"),
        ),
        (A, tcp(from, ("10.1.2.3", 80), SYN), "route.blackhole".to_owned()),
        (
            A,
            tcp(from, ("10.2.2.3", 80), SYN),
            told("route.unreachable", "3/1", "172.16.0.2", "172.16.0.1", "10.2.2.3:80"),
        ),
        (
            A,
            tcp(from, ("10.3.2.3", 80), SYN),
            told("route.prohibited", "3/13", "172.16.0.2", "172.16.0.1", "10.3.2.3:80"),
        ),
        (A, tcp(("172.17.0.9", 4000), ("8.8.8.8", 80), SYN), "route.spoofed-source".to_owned()),
        (A, tcp(("172.16.0.1", 4000), ("8.8.8.8", 80), SYN), "route.own-source".to_owned()),
        (A, tcp(("224.0.0.1", 4000), ("8.8.8.8", 80), SYN), "route.martian-source".to_owned()),
        (UP, tcp(("172.16.0.2", 4000), ("172.17.0.2", 80), SYN), "route.spoofed-source".to_owned()),
        (A, tcp(from, ("224.0.0.9", 80), SYN), "route.martian-destination".to_owned()),
        (A, tcp(from, ("172.17.255.255", 80), SYN), "route.martian-destination".to_owned()),
        (A, tcp(from, ("169.254.1.1", 80), SYN), "route.martian-destination".to_owned()),
    ] {
        assert_eq!(world.send(domain, &sample), expected, "{sample:?}");
    }
    assert_eq!(world.router.acl_hits(), [1]);
}

#[test]
fn icmp_errors_about_nothing_known_are_under_the_access_list() {
    let mut restricted = plan();
    let deny = AclRule {
        action: AclAction::Deny,
        from: AclEnd::Domain(B),
        to: AclEnd::Domain(A),
        protocol: None,
        l4_ports: None,
    };
    restricted.acl = Vec::from([deny]);
    let mut world = World::new(restricted);
    let about = |l4_port| {
        let quote = udp(("172.16.0.2", l4_port), ("172.17.0.2", 7)).bytes()[14..].to_vec();
        Sample::icmp("172.17.0.2", "172.16.0.2", 3, 3, &[&[0; 4][..], &quote].concat())
    };
    check(
        &mut world,
        &[
            (A, udp(("172.16.0.2", 5), ("172.17.0.2", 7)), "2 Udp 172.16.0.2:5 > 172.17.0.2:7 ttl 63"),
            (B, about(5), "1 icmp 3/3 172.17.0.2 > 172.16.0.2 ttl 63 about 172.16.0.2:5 > 172.17.0.2:7"),
            (B, about(6), "route.acl-denied"),
        ],
    );
}

#[test]
fn pieces_of_a_network_that_is_gone_are_forgotten() {
    let mut world = World::new(plan());
    let whole = Sample::udp("172.16.0.2", "172.17.0.2", [5, 7], &[0; 100]);
    check(&mut world, &[(A, whole.clone().piece(32, 32), "parked")]);
    world.configure();
    assert_eq!(world.router.fragments.parked_count(), 1, "the same plan changes nothing");
    for gateway in &mut world.plan.gateways[..1] {
        gateway.addresses[0] = "172.20.0.1".parse().unwrap();
        gateway.subnets[0] = "172.20.0.0/16".parse().unwrap();
    }
    let plan = world.plan.clone();
    let ((), made) = world.turn(|router, turn| router.configure(turn, &plan));
    assert_eq!(world.router.fragments.datagram_count(), 0);
    assert!(made.drops.contains(&(PortId(0), wire::DropReason::NoRoute)), "{:?}", made.drops);
}

#[test]
fn isolated_networks_meet_only_at_what_is_published() {
    let mut isolated = plan();
    for gateway in &mut isolated.gateways[..2] {
        gateway.side = Side::Network(NetworkPolicy {
            isolated: true,
            separate_stations: true,
            ..NetworkPolicy::default()
        });
    }
    isolated.publishes = Vec::from([publish(1, 8080, "172.17.0.2", 80)]);
    let mut world = World::new(isolated);
    let from = ("172.16.0.2", 4000);
    let refused = |dst: &str| {
        format!("route.isolated + 1 icmp 3/13 172.16.0.1 > 172.16.0.2 ttl 64 about 172.16.0.2:4000 > {dst}")
    };
    assert_eq!(world.send(A, &tcp(from, ("172.17.0.2", 80), SYN)), refused("172.17.0.2:80"));
    assert_eq!(world.send(A, &tcp(from, ("172.16.0.3", 80), SYN)), refused("172.16.0.3:80"));
    check(
        &mut world,
        &[
            (A, tcp(from, ("172.16.0.1", 8080), SYN), "2 Tcp 172.16.0.2:4000 > 172.17.0.2:80 ttl 63"),
            (B, tcp(("172.17.0.2", 80), from, SYN_ACK), "1 Tcp 172.16.0.1:8080 > 172.16.0.2:4000 ttl 63"),
        ],
    );
}

#[test]
fn behind_a_sole_station_nobody_is_asked_for() {
    let mut alone = plan();
    let sole = UnicastMac::new(Mac([6, 0, 0, 0, 0, 7]));
    for gateway in alone.gateways.iter_mut().filter(|gateway| gateway.domain == B) {
        gateway.side = Side::Network(NetworkPolicy { sole, ..NetworkPolicy::default() });
    }
    let mut world = World::new(plan());
    world.plan = alone;
    world.configure();
    let packet = udp(("172.16.0.2", 1), ("172.17.9.9", 2));
    check(&mut world, &[(A, packet, "2 Udp 172.16.0.2:1 > 172.17.9.9:2 ttl 63")]);
}

#[test]
fn an_address_that_is_one_stations_as_a_whole() {
    let mut paired = plan();
    let pair = |outside: &str, inside: &str| OneToOne {
        outside: outside.parse().unwrap(),
        inside: inside.parse().unwrap(),
    };
    paired.gateways[3].addresses.push("192.168.9.8".parse().unwrap());
    paired.one_to_one = Vec::from([pair("192.168.9.8", "172.16.0.2")]);
    let mut world = World::new(paired);
    let outside = ("192.168.9.66", 4000);
    check(
        &mut world,
        &[
            (UP, tcp(outside, ("192.168.9.8", 22), SYN), "1 Tcp 192.168.9.66:4000 > 172.16.0.2:22 ttl 63"),
            (A, tcp(("172.16.0.2", 22), outside, SYN_ACK), "9 Tcp 192.168.9.8:22 > 192.168.9.66:4000 ttl 63"),
            (A, udp(("172.16.0.2", 5), ("8.8.8.8", 53)), "9 Udp 192.168.9.8:5 > 8.8.8.8:53 ttl 63"),
            (
                A,
                Sample::new("172.16.0.2", "8.8.8.8", 47, Vec::from([0; 8])),
                "9 47 192.168.9.8 > 8.8.8.8 ttl 63",
            ),
            (
                UP,
                Sample::new("8.8.8.8", "192.168.9.8", 47, Vec::from([0; 8])),
                "1 47 8.8.8.8 > 172.16.0.2 ttl 63",
            ),
            (A, Sample::new("172.16.0.3", "8.8.8.8", 47, Vec::from([0; 8])), "route.nat-protocol"),
        ],
    );
}

#[test]
fn a_packet_waits_for_its_neighbour_and_its_sender_is_told_if_there_is_none() {
    let mut world = World::new(plan());
    assert_eq!(world.send(A, &udp(("172.16.0.2", 5), ("172.17.0.9", 7))), "parked + 2 who has 172.17.0.9?");
    let mut said = Vec::new();
    while let Some((at, _)) = world.router.next_deadline().filter(|(at, _)| *at < Instant::from_secs(20)) {
        world.now = at;
        let ((), made) = world.turn(|router, turn| router.wake(turn));
        said.extend(told(&made));
    }
    assert_eq!(
        said.iter()
            .filter(|line| !line.contains("who has") && !line.contains("icmp 136"))
            .collect::<Vec<_>>(),
        [
            "1 icmp 3/1 172.16.0.1 > 172.16.0.2 ttl 64 about 172.16.0.2:5 > 172.17.0.9:7",
            "route.neighbour-unreachable"
        ]
    );
}
