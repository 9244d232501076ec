//! Plans by choice: few ports, domains and VLANs, small limits, every feature.

use std::net::IpAddr;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use encap::{Encapsulation, Endpoint, Format, TunnelPlan, UnderlayId, UnderlayPlan, Vni};
use node::Plan;
use vrouter::Gateway;
use vswitch::{
    DomainPlan, Guards, Horizon, Isolation, Membership, PortPlan, ReservedForward, StaticStation, Storm,
};
use wire::segment::Egress;
use wire::{Cidr, DomainId, PortId, UnicastMac, Vid};

use crate::craft::station;

/// The MAC that gateways answer with.
pub(super) const GATEWAY: u8 = 0xfe;
/// The networks of tunnels.
const VNI: u32 = 42;

/// A plan that passes its check: what contradicts the rest is left out.
pub(super) fn any(choices: &mut Unstructured<'_>, generation: u32) -> Result<Plan> {
    let mut plan = Plan::default();
    for id in 0..choices.int_in_range(1..=3_u16)? {
        plan.switch.domains.push(domain(choices, id)?);
    }
    for id in 0..choices.int_in_range(1..=8_u16)? {
        let port = port(choices, id, plan.switch.domains.len(), generation)?;
        add(&mut plan, |plan| plan.switch.ports.push(port.clone()));
    }
    for _ in 0..choices.int_in_range(0..=2_u8)? {
        let fixed = StaticStation {
            domain: DomainId(choices.int_in_range(0..=2)?),
            mac: some_station(choices)?,
            port: PortId(choices.int_in_range(0..=7)?),
        };
        add(&mut plan, |plan| plan.switch.statics.push(fixed));
    }
    for id in 0..3 {
        if choices.arbitrary()? {
            let gateway = Gateway::of_network(DomainId(id), unicast(GATEWAY), addresses(GATEWAY), Vec::new());
            add(&mut plan, |plan| plan.router.gateways.push(gateway.clone()));
        }
    }
    if choices.ratio(1, 2)? {
        tunnels(choices, &mut plan)?;
    }
    Ok(plan)
}

/// The far end of tunnels with this number.
pub(super) fn far_end(number: u8, l4_port: u16) -> Endpoint {
    Endpoint { address: IpAddr::from([192, 0, 2, number]), l4_port }
}

/// Two underlays, one of each format, and a few tunnels through them.
fn tunnels(choices: &mut Unstructured<'_>, plan: &mut Plan) -> Result<()> {
    for (id, format) in [(0, Format::Vxlan), (1, Format::BareIp)] {
        let takes = if choices.ratio(1, 4)? { Egress::ALL } else { Egress::NONE };
        let local = far_end(1, 4789 + id);
        plan.underlays.push(UnderlayPlan { id: UnderlayId(id), local, format, takes });
    }
    for _ in 0..choices.int_in_range(1..=3_u8)? {
        let port = PortId(choices.int_in_range(0..=7)?);
        let remote = far_end(choices.int_in_range(2..=4)?, 4789);
        let is_bare = choices.ratio(1, 4)?;
        let encapsulation = if is_bare {
            Encapsulation::BareIp { local: unicast(GATEWAY), remote: some_station(choices)? }
        } else {
            Encapsulation::Vxlan(Vni::new(VNI).expect("it has 24 bits"))
        };
        let sources = if choices.ratio(1, 4)? {
            addresses(0).iter().map(|net| prefix(*net)).collect()
        } else {
            Vec::new()
        };
        let inner_dst = if choices.ratio(1, 6)? { Some(some_station(choices)?) } else { None };
        let underlay = UnderlayId(u16::from(is_bare));
        let tunnel = TunnelPlan { port, underlay, remote, encapsulation, sources, inner_dst };
        add(plan, |plan| plan.tunnels.push(tunnel.clone()));
    }
    Ok(())
}

/// The network of eight stations that the address begins.
fn prefix(address: IpAddr) -> Cidr {
    Cidr::new(address, if address.is_ipv4() { 29 } else { 125 }).expect("it is no longer than the address")
}

/// Changes the plan, unless that makes it contradictory.
fn add(plan: &mut Plan, change: impl Fn(&mut Plan)) {
    let mut changed = plan.clone();
    change(&mut changed);
    if changed.check().is_ok() {
        *plan = changed;
    }
}

fn domain(choices: &mut Unstructured<'_>, id: u16) -> Result<DomainPlan> {
    Ok(DomainPlan {
        id: DomainId(id),
        ageing: Duration::from_secs(*choices.choose(&[300, 10, 1, 0])?),
        stations_max: choices.int_in_range(1..=6)?,
        reserved_forward: ReservedForward(*choices.choose(&[0, 1 << 14, u16::MAX])?),
        answers: id == 1,
    })
}

fn port(choices: &mut Unstructured<'_>, id: u16, domains: usize, generation: u32) -> Result<PortPlan> {
    let mut memberships = Vec::new();
    for domain in 0..domains {
        let vid = match choices.int_in_range(0..=5_u16)? {
            0 => continue,
            1..=3 => None,
            number => Vid::new(number * 10 + u16::try_from(domain).expect("there are three")),
        };
        let is_second = vid.is_none() && memberships.iter().any(|known: &Membership| known.vid.is_none());
        if !is_second {
            let domain = DomainId(u16::try_from(domain).expect("there are three"));
            memberships.push(Membership { domain, vid });
        }
    }
    let number = u8::try_from(id + 1).expect("there are eight");
    let isolation = if choices.ratio(1, 4)? { Isolation::Isolated } else { Isolation::Open };
    let horizon = if choices.ratio(1, 3)? { Some(Horizon(choices.int_in_range(0..=1)?)) } else { None };
    let guards: u8 = if choices.ratio(1, 4)? { choices.arbitrary()? } else { 0 };
    Ok(PortPlan {
        id: PortId(id),
        // Some ports stay who they are from plan to plan.
        serial: if choices.ratio(1, 4)? { generation } else { 0 },
        memberships,
        mtu: *choices.choose(&[1500, 1500, 9000, 68, 65_535])?,
        stations_max: choices.int_in_range(1..=4)?,
        isolation,
        horizon,
        mac: Some(unicast(number)),
        addresses: addresses(number),
        guards: Guards {
            mac: guards & 1 != 0,
            arp: guards & 2 != 0,
            nd: guards & 4 != 0,
            ra: guards & 8 != 0,
            dhcp: guards & 16 != 0,
        },
        storm: Storm { broadcast: rate(choices)?, multicast: rate(choices)?, unknown: rate(choices)? },
    })
}

fn rate(choices: &mut Unstructured<'_>) -> Result<Option<u32>> {
    Ok(if choices.ratio(1, 8)? { Some(*choices.choose(&[0, 1, 3, u32::MAX])?) } else { None })
}

/// The addresses of the station with this number.
pub(super) fn addresses(number: u8) -> Vec<IpAddr> {
    vec![IpAddr::from([10, 0, 0, number]), IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)])]
}

fn some_station(choices: &mut Unstructured<'_>) -> Result<UnicastMac> {
    Ok(unicast(choices.int_in_range(1..=8)?))
}

fn unicast(number: u8) -> UnicastMac {
    UnicastMac::new(station(number)).expect("stations are unicast")
}
