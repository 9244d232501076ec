//! Hosts and flows of a checked world: what is not written follows from the port that a host is behind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use config::Device;
use wire::{Cidr, Mac};

use super::spec::{FlowKind, FlowSpec, HostSpec};
use super::topology::{FlowPlan, HostPlan};

/// L4 ports of flows that do not name theirs count from here.
const L4_PORT_DEFAULT: u16 = 5_000;
/// Data of a packet that is not cut to pieces, in octets.
const PACKET_SIZE_MAX: u64 = 1_400;
/// A question or answer.
const MESSAGE_SIZE_MAX: u64 = 60_000;
/// The shortest question: its number and its time.
pub(super) const SIZE_MIN: u64 = 16;

/// The host `name`; what is not given is as `device` says, behind which it stands.
pub(super) fn host(number: usize, name: &str, spec: &HostSpec, device: Option<&Device>) -> HostPlan {
    let [high, low] = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    let mac = spec.mac.or(device.map(|device| device.mac.mac())).unwrap_or(Mac([2, 0, 0, 0, high, low]));
    let or_device = |given: &[Cidr]| match device {
        Some(device) if given.is_empty() => device.addresses.clone(),
        Some(_) | None => given.to_vec(),
    };
    let gateways = match device {
        Some(device) if spec.gateway.is_empty() => &device.gateways,
        Some(_) | None => &spec.gateway,
    };
    let mut routes: Vec<(Cidr, IpAddr)> = gateways.iter().map(|&via| (everywhere(via), via)).collect();
    routes.extend(device.iter().flat_map(|device| device.routes.iter().copied()));
    let mut addresses = or_device(&spec.address);
    if addresses.iter().any(|own| own.address().is_ipv6()) {
        addresses.push(link_local(mac)); // Every IPv6 station has one (RFC 4291 §2.1).
    }
    let mtu = spec.mtu.or(device.map(|device| device.mtu)).unwrap_or(1_500);
    HostPlan { name: name.to_owned(), mac, addresses, routes, mtu }
}

/// RFC 4291 appendix A.
fn link_local(Mac([a, b, c, d, e, f]): Mac) -> Cidr {
    let pair = |high, low| u16::from_be_bytes([high, low]);
    let address = [0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f)];
    Cidr::new(Ipv6Addr::from(address).into(), 64).expect("an IPv6 address has more bits")
}

fn everywhere(family_of: IpAddr) -> Cidr {
    let any = match family_of {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Cidr::new(any, 0).expect("every address has as many bits")
}

/// The flow `number`, or the key that is wrong and why.
pub(super) fn flow(
    number: usize,
    spec: &FlowSpec,
    hosts: &[HostPlan],
) -> Result<FlowPlan, (&'static str, String)> {
    let find = |name: &str| hosts.iter().position(|host| host.name == name);
    let from = find(&spec.from).ok_or_else(|| ("from", format!("there is no host {:?}", spec.from)))?;
    times(spec)?;
    sizes(spec)?;
    let (to, to_host) = match spec.to.parse::<IpAddr>() {
        Ok(address) => (address, None),
        Err(_) => {
            let host = find(&spec.to)
                .ok_or_else(|| ("to", format!("there is no host {:?}, and it is no address", spec.to)))?;
            if host == from {
                return Err(("to", "a host does not need the network to speak to itself".to_owned()));
            }
            (meet(&hosts[from], &hosts[host])?, Some(host))
        }
    };
    if !hosts[from].addresses.iter().any(|own| own.address().is_ipv4() == to.is_ipv4()) {
        return Err(("to", format!("{} has no address of the family of {to}", spec.from)));
    }
    let index = u16::try_from(number).unwrap_or(u16::MAX);
    let l4_port = spec.l4_port.unwrap_or(L4_PORT_DEFAULT.saturating_add(index));
    let served_by = match &spec.served_by {
        None => to_host.map(|host| (host, l4_port)),
        Some(text) => {
            let (name, port) = match text.split_once(':') {
                None => (text.as_str(), Some(l4_port)),
                Some((name, port)) => (name, port.parse().ok().filter(|&port| port > 0)),
            };
            let (Some(host), Some(port)) = (find(name), port) else {
                return Err(("served_by", format!("{text:?} is neither a host nor HOST:L4-PORT")));
            };
            Some((host, port))
        }
    };
    Ok(FlowPlan { spec: spec.clone(), from, to, l4_port, served_by })
}

/// The address under which `from` finds `to`.
fn meet(from: &HostPlan, to: &HostPlan) -> Result<IpAddr, (&'static str, String)> {
    let families = |host: &HostPlan, v4: bool| host.addresses.iter().any(|own| own.address().is_ipv4() == v4);
    let meets = |address: &IpAddr| families(from, address.is_ipv4());
    let found = to.addresses.iter().map(|own| own.address()).find(meets);
    found.ok_or_else(|| ("to", format!("{} and {} have no address family in common", from.name, to.name)))
}

fn times(spec: &FlowSpec) -> Result<(), (&'static str, String)> {
    if spec.stop.is_some_and(|stop| stop <= spec.start) {
        return Err(("stop", "the flow ends before it begins".to_owned()));
    }
    match (spec.kind, spec.every) {
        (FlowKind::Bulk, Some(_)) => Err(("every", "bulk goes as fast as TCP lets it".to_owned())),
        (_, Some(every)) if every.0 < Duration::from_micros(10) => {
            Err(("every", "the shortest time from one to the next is 10us".to_owned()))
        }
        (_, _) => Ok(()),
    }
}

fn sizes(spec: &FlowSpec) -> Result<(), (&'static str, String)> {
    let is_packet = matches!(spec.kind, FlowKind::Ping | FlowKind::Udp);
    let most = if is_packet { PACKET_SIZE_MAX } else { MESSAGE_SIZE_MAX };
    if spec.size.is_some_and(|size| !(SIZE_MIN..=most).contains(&size.0)) {
        return Err(("size", format!("the data has {SIZE_MIN} to {most} octets")));
    }
    let is_asked = matches!(spec.kind, FlowKind::Request | FlowKind::Churn);
    if spec.answer.is_some_and(|answer| !is_asked || !(1..=MESSAGE_SIZE_MAX).contains(&answer.0)) {
        return Err(("answer", format!("request and churn have answers, of 1 to {MESSAGE_SIZE_MAX} octets")));
    }
    if spec.bytes.is_some() && spec.kind != FlowKind::Bulk {
        return Err(("bytes", "bulk alone knows how much it sends".to_owned()));
    }
    Ok(())
}
