//! Plans and frames by choice for the router: two networks and an uplink, few addresses and L4 ports, small tables.
//!
//! Ports 0 and 1 are network 0's, ports 2 and 3 network 1's, port 4 is the uplink. Station *n* of domain *d* has
//! 10.0.*d*.*n* and fd00:*d*::*n*; whoever is outside has 198.51.100.*n* and 2001:db8::*n*.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use node::Plan;
use vrouter::fib::{Fib, NextHop, Route, Target};
use vrouter::nat::SessionFilter;
use vrouter::{
    AclAction, AclEnd, AclRule, Filtering, Gateway, NatPlan, NetworkPolicy, OneToOne, Protocol, Publish,
    RouterPlan, Side,
};
use vswitch::{DomainPlan, Guards, Isolation, Membership, PortPlan, ReservedForward, Storm, SwitchPlan};
use wire::offload::VNET_HDR_LEN;
use wire::{Cidr, DomainId, Mac, Offload, PortId, UnicastMac};

use super::frame::{damage, datagram};
use crate::capture::{Link, Packet};
use crate::craft::{self, ICMP, ICMPV6, TCP, UDP, station};

/// The uplink's domain.
const UPLINK: u16 = 2;
/// The number of the router's own address in each domain.
const ROUTER: u8 = 0xfe;
/// The outside address that may be one station's as a whole.
const PAIRED: u8 = 0xfd;
const L4_PORTS: [u16; 5] = [53, 80, 5_000, 8_080, 8_081];

/// A plan that passes its check.
pub(super) fn plan(choices: &mut Unstructured<'_>, generation: u32) -> Result<Plan> {
    let domain = |id| DomainPlan {
        id: DomainId(id),
        ageing: Duration::from_secs(300),
        stations_max: 100,
        reserved_forward: ReservedForward::default(),
        answers: false,
    };
    let router = router(choices)?;
    let switch = SwitchPlan {
        domains: (0..=UPLINK).map(domain).collect(),
        ports: (0..5).map(|id| port(id, generation)).collect(),
        statics: Vec::new(),
    };
    let plan = Plan { switch, router, ..Plan::default() };
    plan.check().expect("the choices leave no contradiction");
    Ok(plan)
}

fn port(id: u16, serial: u32) -> PortPlan {
    PortPlan {
        id: PortId(id),
        serial: if id == 1 { serial } else { 0 },
        memberships: vec![Membership { domain: DomainId(id / 2), vid: None }],
        mtu: 1_500,
        stations_max: 100,
        isolation: Isolation::Open,
        horizon: None,
        mac: None,
        addresses: Vec::new(),
        guards: Guards::default(),
        storm: Storm::default(),
    }
}

fn router(choices: &mut Unstructured<'_>) -> Result<RouterPlan> {
    let mut gateways = Vec::new();
    for domain in 0..=UPLINK {
        gateways.push(gateway(choices, domain)?);
    }
    let mut publishes = Vec::new();
    if choices.arbitrary()? {
        let protocol = if choices.arbitrary()? { Protocol::Tcp } else { Protocol::Udp };
        publishes.push(Publish {
            id: choices.int_in_range(0..=1)?,
            listen: if choices.arbitrary()? { None } else { Some(v4(0, ROUTER)) },
            protocol,
            l4_port_first: 8_080,
            l4_port_last: 8_081,
            to: v4(1, 1),
            to_l4_port_first: 80,
        });
    }
    let one_to_one = if choices.arbitrary()? {
        vec![OneToOne { outside: v4(u8::try_from(UPLINK).expect("it is 2"), PAIRED), inside: v4(0, 2) }]
    } else {
        Vec::new()
    };
    let acl = if choices.ratio(1, 3)? { acl(choices)? } else { Vec::new() };
    let routes = routes(choices, &gateways)?;
    let fib = Arc::new(Fib::build(&routes).expect("no prefix stands twice"));
    Ok(RouterPlan { gateways, fib, nat: nat(choices)?, publishes, one_to_one, acl, ..RouterPlan::default() })
}

fn gateway(choices: &mut Unstructured<'_>, domain: u16) -> Result<Gateway> {
    let number = u8::try_from(domain).expect("there are three");
    let bits: u8 = choices.arbitrary()?;
    let side = if domain == UPLINK {
        Side::Uplink
    } else {
        Side::Network(NetworkPolicy {
            masquerade_v4: bits & 1 == 0,
            masquerade_v6: bits & 2 != 0,
            internal: bits & 0x1c == 0x1c,
            isolated: bits & 0x60 == 0x60,
            separate_stations: bits & 0x90 == 0x90,
            advertise: bits & 8 != 0,
            sole: None,
        })
    };
    let mut addresses = vec![v4(number, ROUTER), v6(number, ROUTER)];
    if domain == UPLINK {
        addresses.push(v4(number, PAIRED));
    }
    Ok(Gateway {
        domain: DomainId(domain),
        mac: UnicastMac::new(mac_of_router(domain)).expect("it is no group"),
        addresses,
        subnets: vec![cidr(v4(number, 0), 24), cidr(v6(number, 0), 64)],
        mtu: *choices.choose(&[1_500, 1_500, 1_280, 576, 68])?,
        side,
    })
}

fn routes(choices: &mut Unstructured<'_>, gateways: &[Gateway]) -> Result<Vec<Route>> {
    let mut routes: Vec<Route> = gateways
        .iter()
        .flat_map(|gateway| {
            gateway.subnets.iter().map(|&prefix| Route { prefix, target: Target::Connected(gateway.domain) })
        })
        .collect();
    let hop = |address| NextHop { domain: DomainId(UPLINK), address };
    if choices.ratio(7, 8)? {
        let count = choices.int_in_range(1..=2_u8)?;
        let target = Target::Via((1..=count).map(|number| hop(v4(2, number))).collect());
        routes.push(Route { prefix: cidr(Ipv4Addr::UNSPECIFIED.into(), 0), target });
        let target = Target::Via(vec![hop(v6(2, 1))]);
        routes.push(Route { prefix: cidr(Ipv6Addr::UNSPECIFIED.into(), 0), target });
    }
    for (number, target) in [(7, Target::Blackhole), (8, Target::Unreachable), (9, Target::Prohibit)] {
        routes.push(Route { prefix: cidr(outside(false, number), 32), target });
    }
    Ok(routes)
}

fn nat(choices: &mut Unstructured<'_>) -> Result<NatPlan> {
    Ok(NatPlan {
        filtering: *choices.choose(&[
            Filtering::AddressAndPortDependent,
            Filtering::AddressDependent,
            Filtering::EndpointIndependent,
        ])?,
        sessions_max: *choices.choose(&[1_000, 8, 2, 1])?,
        sessions_per_host_max: *choices.choose(&[1_000, 2])?,
        mss_clamp: choices.arbitrary()?,
        ..NatPlan::default()
    })
}

fn acl(choices: &mut Unstructured<'_>) -> Result<Vec<AclRule>> {
    let mut rules = Vec::new();
    for _ in 0..choices.int_in_range(1..=3_u8)? {
        let from = AclEnd::Domain(DomainId(choices.int_in_range(0..=2)?));
        let to = AclEnd::Prefixes(vec![cidr(v4(choices.int_in_range(0..=2)?, 0), 24)]);
        let action = *choices.choose(&[AclAction::Deny, AclAction::Allow, AclAction::Log])?;
        rules.push(AclRule { action, from, to, protocol: None, l4_ports: None });
    }
    Ok(rules)
}

/// Connections that somebody may want to end: those of a protocol or of an address, or all.
pub(super) fn sessions(choices: &mut Unstructured<'_>) -> Result<SessionFilter> {
    let protocol =
        *choices.choose(&[None, Some(Protocol::Tcp), Some(Protocol::Udp), Some(Protocol::Echo)])?;
    let address = neighbour(choices)?.map(|address| cidr(address, if address.is_ipv4() { 32 } else { 128 }));
    Ok(SessionFilter { protocol, address, ..SessionFilter::default() })
}

/// A station's address inside, or none.
pub(super) fn neighbour(choices: &mut Unstructured<'_>) -> Result<Option<IpAddr>> {
    Ok(if choices.arbitrary()? {
        let (domain, number) = (choices.int_in_range(0..=2)?, choices.int_in_range(1..=3)?);
        Some(if choices.arbitrary()? { v4(domain, number) } else { v6(domain, number) })
    } else {
        None
    })
}

/// What a device delivers at `port`: mostly to the router, from somebody who may live there.
pub(super) fn frame(choices: &mut Unstructured<'_>, port: PortId) -> Result<Packet> {
    let domain = (port.0 / 2).min(UPLINK);
    let number = choices.int_in_range(1..=3)?;
    let to = if choices.ratio(1, 16)? { station(number) } else { mac_of_router(domain) };
    let link = (to, station(number));
    let (offload, mut bytes) = if choices.ratio(1, 6)? {
        (Offload::NONE, discovery(choices, domain, number)?)
    } else {
        packet(choices, domain, number, link)?
    };
    if choices.ratio(1, 8)? {
        damage(choices, &mut bytes)?;
    }
    bytes.splice(0..0, craft::virtio(offload));
    bytes.truncate(wire::frame::FRAME_MAX + VNET_HDR_LEN);
    Ok(Packet { link: Link::VirtioEthernet, bytes, ..Packet::empty() })
}

/// A station asks for the router's MAC address, or answers for its own.
fn discovery(choices: &mut Unstructured<'_>, domain: u16, number: u8) -> Result<Vec<u8>> {
    let at = u8::try_from(domain).expect("there are three");
    let own = station(number);
    if choices.arbitrary()? {
        let (IpAddr::V4(sender), IpAddr::V4(target)) = (v4(at, number), v4(at, ROUTER)) else {
            unreachable!("both are IPv4")
        };
        let operation = choices.int_in_range(1..=2)?;
        let arp = craft::Arp { operation, sender: (own, sender), target: (mac_of_router(domain), target) };
        let to = if operation == 1 { Mac::BROADCAST } else { mac_of_router(domain) };
        return Ok(craft::arp((to, own), arp));
    }
    let (IpAddr::V6(sender), IpAddr::V6(target)) = (v6(at, number), v6(at, ROUTER)) else {
        unreachable!("both are IPv6")
    };
    let (kind, about) = if choices.arbitrary()? { (135, target) } else { (136, sender) };
    let message = craft::icmpv6(sender.into(), target.into(), &craft::neighbour(kind, about, own));
    Ok(craft::ip((mac_of_router(domain), own), sender.into(), target.into(), ICMPV6, &message))
}

fn packet(
    choices: &mut Unstructured<'_>,
    domain: u16,
    number: u8,
    link: craft::Addresses,
) -> Result<(Offload, Vec<u8>)> {
    let is_v6 = choices.ratio(1, 3)?;
    let at = u8::try_from(domain).expect("there are three");
    let src = match choices.int_in_range(0..=15_u8)? {
        0 => somebody(choices, is_v6)?,
        _ if domain == UPLINK => outside(is_v6, choices.int_in_range(1..=3)?),
        _ if is_v6 => v6(at, number),
        _ => v4(at, number),
    };
    let dst = somebody(choices, is_v6)?;
    let (from, to) = ((src, l4_port(choices)?), (dst, l4_port(choices)?));
    let (offload, mut frame) = match choices.int_in_range(0..=9_u8)? {
        0 => (Offload::NONE, echo(choices, link, src, dst)?),
        1 => (Offload::NONE, error(choices, link, src, dst)?),
        2 => (Offload::NONE, craft::ip(link, src, dst, 47, &[0; 8])),
        3..=5 => datagram(choices, link, from, to, UDP)?,
        _ => {
            let (offload, mut frame) = datagram(choices, link, from, to, TCP)?;
            if let Some(flags) = frame.get_mut(if is_v6 { 67 } else { 47 }) {
                *flags = *choices.choose(&[2, 18, 16, 17, 4])?;
            }
            (offload, frame)
        }
    };
    alter(choices, &mut frame)?;
    Ok((offload, frame))
}

fn echo(choices: &mut Unstructured<'_>, link: craft::Addresses, src: IpAddr, dst: IpAddr) -> Result<Vec<u8>> {
    let mut message = craft::echo_request(src, dst, b"data");
    if choices.arbitrary()? {
        message[0] = if src.is_ipv4() { 0 } else { 129 };
        reseal(&mut message, src, dst);
    }
    Ok(craft::ip(link, src, dst, if src.is_ipv4() { ICMP } else { ICMPV6 }, &message))
}

/// An ICMP error about a datagram that `dst` may have sent.
fn error(
    choices: &mut Unstructured<'_>,
    link: craft::Addresses,
    src: IpAddr,
    dst: IpAddr,
) -> Result<Vec<u8>> {
    let to = (somebody(choices, src.is_ipv6())?, l4_port(choices)?);
    let from = (dst, l4_port(choices)?);
    let quoted = craft::ip(link, from.0, to.0, UDP, &craft::udp(from, to, b"data"));
    let kind = *choices.choose(if src.is_ipv4() { &[3, 11, 12][..] } else { &[1, 2, 3] })?;
    let mut message = [&[kind, 4, 0, 0, 0, 0, 2, 0][..], &quoted[14..]].concat();
    reseal(&mut message, src, dst);
    Ok(craft::ip(link, src, dst, if src.is_ipv4() { ICMP } else { ICMPV6 }, &message))
}

fn reseal(message: &mut Vec<u8>, src: IpAddr, dst: IpAddr) {
    *message = match src {
        IpAddr::V4(_) => craft::icmp(message),
        IpAddr::V6(_) => craft::icmpv6(src, dst, message),
    };
}

/// Another TTL, a fragment, or none that may be cut: IPv4 header fields, whose checksum stays right.
fn alter(choices: &mut Unstructured<'_>, frame: &mut Vec<u8>) -> Result<()> {
    if frame.get(12..14) != Some(&[8, 0]) {
        if choices.ratio(1, 8)? {
            frame[21] = choices.int_in_range(0..=2)?;
        }
        return Ok(());
    }
    let (flags, ttl) = match choices.int_in_range(0..=15_u8)? {
        0 => ([0x20, 0], 64), // The first of several.
        1 | 2 => ([0, choices.int_in_range(1..=8)?], 64),
        3 => ([0x20, choices.int_in_range(1..=8)?], 64),
        4 => ([0x40, 0], choices.int_in_range(0..=2)?),
        5 | 6 => ([0, 0], 64),
        _ => return Ok(()),
    };
    frame[19] = choices.int_in_range(0..=3)?;
    frame[20..22].copy_from_slice(&flags);
    frame[22] = ttl;
    craft::seal_ipv4(frame);
    if choices.ratio(1, 32)? {
        frame.splice(34..34, [131, 7, 4, 10, 0, 1, 9, 0]);
        frame[14] = 0x47;
        let len = u16::try_from(frame.len() - 14).unwrap_or(u16::MAX);
        frame[16..18].copy_from_slice(&len.to_be_bytes());
        craft::seal_ipv4(frame);
    }
    Ok(())
}

fn l4_port(choices: &mut Unstructured<'_>) -> Result<u16> {
    Ok(*choices.choose(&L4_PORTS)?)
}

/// A station, an address of the router, somebody outside, nobody, or no host at all.
fn somebody(choices: &mut Unstructured<'_>, is_v6: bool) -> Result<IpAddr> {
    let of = |domain, number| if is_v6 { v6(domain, number) } else { v4(domain, number) };
    Ok(match choices.int_in_range(0..=15_u8)? {
        0 if is_v6 => IpAddr::from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
        0 => IpAddr::from([224, 0, 0, 1]),
        1..=4 => of(choices.int_in_range(0..=1)?, choices.int_in_range(1..=3)?),
        5 | 6 => of(choices.int_in_range(0..=2)?, ROUTER),
        7 | 8 => of(2, ROUTER),
        9 => of(2, PAIRED),
        10 => of(choices.int_in_range(0..=2)?, choices.int_in_range(40..=60)?),
        _ => outside(is_v6, choices.int_in_range(1..=9)?),
    })
}

fn mac_of_router(domain: u16) -> Mac {
    Mac([2, 0, 0, 0, 0xff, u8::try_from(domain).expect("there are three")])
}

fn v4(domain: u8, number: u8) -> IpAddr {
    IpAddr::from([10, 0, domain, number])
}

fn v6(domain: u8, number: u8) -> IpAddr {
    IpAddr::from([0xfd00, u16::from(domain), 0, 0, 0, 0, 0, u16::from(number)])
}

fn outside(is_v6: bool, number: u8) -> IpAddr {
    if is_v6 {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)])
    } else {
        IpAddr::from([198, 51, 100, number])
    }
}

fn cidr(address: IpAddr, prefix_len: u8) -> Cidr {
    Cidr::new(address, prefix_len).expect("the prefix is no longer than the address").network()
}
