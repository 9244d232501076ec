//! Which interface leads to the other hosts, and which address of it they know us by.
//!
//! The order is flanneld's: each `-iface` (an address, then a name), each `-iface-regex` (addresses first, then names),
//! `-iface-can-reach`, the owner of `-public-ip`, the interface of the default route. The first that is found counts, and the error says
//! what there was to choose from. Of several addresses the one that counts is global rather than link-local, permanent
//! rather than dynamic; temporary and deprecated ones never are.
//!
//! [`choose`] is pure: it gets what there is as [`Facts`], which [`look`] collects.
//!
//! Source: flannel pkg/ipmatch/match.go, pkg/ip/iface.go.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::flags::Options;
use super::host::raw;

/// What there is to choose from.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) interfaces: Vec<Interface>,
    /// The interface of the first default route of each family.
    pub(super) default_v4: Option<u32>,
    pub(super) default_v6: Option<u32>,
    /// Which way `iface-can-reach` goes: the interface, and the address that packets would have.
    pub(super) reach: Option<(u32, Option<IpAddr>)>,
}

/// An interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mtu: u32,
    pub(super) addresses: Vec<Address>,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) address: IpAddr,
    pub(super) is_permanent: bool,
    /// Deprecated, temporary, or not yet or no longer its own.
    pub(super) is_unfit: bool,
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct External {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mtu: u16,
    /// Where we listen.
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Option<Ipv6Addr>,
    /// Where others reach us.
    pub(super) public_v4: Ipv4Addr,
    pub(super) public_v6: Option<Ipv6Addr>,
}

/// The interface and addresses, or why there is none. `needs_v6`: the network has IPv6.
pub(super) fn choose(facts: &Facts, options: &Options, needs_v6: bool) -> Result<External, String> {
    let (interface, given) = find(facts, options, needs_v6)?;
    let name = &interface.name;
    let given_v4 =
        given.and_then(|address| if let IpAddr::V4(address) = address { Some(address) } else { None });
    let given_v6 =
        given.and_then(|address| if let IpAddr::V6(address) = address { Some(address) } else { None });
    let v4 = given_v4
        .or_else(|| best_v4(interface))
        .ok_or_else(|| format!("failed to find IPv4 address for interface {name}"))?;
    let v6 = if needs_v6 {
        let found = given_v6.or_else(|| best_v6(interface));
        Some(found.ok_or_else(|| format!("failed to find IPv6 address for interface {name}"))?)
    } else {
        None
    };
    let mtu = u16::try_from(interface.mtu.min(65_535)).expect("it is no more than 65,535");
    if mtu == 0 {
        return Err(format!("failed to determine MTU for {v4} interface {name}"));
    }
    let public_v4 = options.public_ip.unwrap_or(v4);
    let public_v6 = v6.map(|v6| options.public_ipv6.unwrap_or(v6));
    Ok(External { index: interface.index, name: name.clone(), mtu, v4, v6, public_v4, public_v6 })
}

/// An interface, and its address if that was asked for.
fn find<'a>(
    facts: &'a Facts,
    options: &Options,
    needs_v6: bool,
) -> Result<(&'a Interface, Option<IpAddr>), String> {
    let owner = |address: IpAddr| {
        let owns = |interface: &&Interface| interface.addresses.iter().any(|each| each.address == address);
        facts.interfaces.iter().find(owns).map(|interface| (interface, Some(address)))
    };
    let of_index = |index: u32| facts.interfaces.iter().find(|interface| interface.index == index);
    let has_any =
        !options.iface.is_empty() || !options.iface_regex.is_empty() || options.iface_can_reach.is_some();
    let found = options
        .iface
        .iter()
        .find_map(|word| match word.parse::<IpAddr>() {
            Ok(address) => owner(address),
            Err(_) => {
                facts.interfaces.iter().find(|interface| interface.name == *word).map(|each| (each, None))
            }
        })
        .or_else(|| options.iface_regex.iter().find_map(|regex| matching(facts, regex)))
        .or_else(|| facts.reach.and_then(|(index, source)| Some((of_index(index)?, source))));
    if let Some(found) = found {
        return Ok(found);
    }
    if has_any {
        return Err(format!(
            "failed to find an interface to match the options given; there are {}",
            list(facts)
        ));
    }
    if let Some(public) = options.public_ip {
        return owner(public.into()).ok_or_else(|| {
            format!(
                "no interface has the public IP {public}; behind a NAT, say which with -iface. There are {}",
                list(facts)
            )
        });
    }
    let default = facts.default_v4.or(facts.default_v6.filter(|_| needs_v6)).and_then(of_index);
    default.map(|interface| (interface, None)).ok_or_else(|| {
        format!("unable to find default route; say which interface with -iface. There are {}", list(facts))
    })
}

fn matching<'a>(facts: &'a Facts, regex: &regex::Regex) -> Option<(&'a Interface, Option<IpAddr>)> {
    let by_address = facts.interfaces.iter().find_map(|interface| {
        let fits = |each: &&Address| regex.is_match(&each.address.to_string());
        interface.addresses.iter().find(fits).map(|each| (interface, Some(each.address)))
    });
    let by_name = || facts.interfaces.iter().find(|interface| regex.is_match(&interface.name));
    by_address.or_else(|| by_name().map(|interface| (interface, None)))
}

fn best_v4(interface: &Interface) -> Option<Ipv4Addr> {
    let fit =
        interface.addresses.iter().filter(|each| !each.is_unfit).filter_map(|each| match each.address {
            IpAddr::V4(address) => Some((address.is_link_local(), !each.is_permanent, address)),
            IpAddr::V6(_) => None,
        });
    fit.min_by_key(|&(is_local, is_dynamic, _)| (is_local, is_dynamic)).map(|(.., address)| address)
}

fn best_v6(interface: &Interface) -> Option<Ipv6Addr> {
    let fit =
        interface.addresses.iter().filter(|each| !each.is_unfit).filter_map(|each| match each.address {
            IpAddr::V6(address) => Some((address.is_unicast_link_local(), !each.is_permanent, address)),
            IpAddr::V4(_) => None,
        });
    fit.min_by_key(|&(is_local, is_dynamic, _)| (is_local, is_dynamic)).map(|(.., address)| address)
}

fn list(facts: &Facts) -> String {
    let mut text = String::new();
    for interface in &facts.interfaces {
        let separator = if text.is_empty() { "" } else { ", " };
        let addresses: Vec<String> =
            interface.addresses.iter().map(|each| each.address.to_string()).collect();
        write!(text, "{separator}{} ({})", interface.name, addresses.join(" "))
            .expect("a string takes everything");
    }
    text
}

/// Collects what there is in this thread's namespace.
///
/// # Errors
/// If netlink fails. That `reach` leads nowhere is none.
pub(super) async fn look(handle: &Handle, reach: Option<IpAddr>) -> io::Result<Facts> {
    let mut facts = Facts::default();
    let mut links = std::pin::pin!(handle.link().get().execute());
    while let Some(message) = links.try_next().await.map_err(raw)? {
        let mut interface =
            Interface { index: message.header.index, name: String::new(), mtu: 0, addresses: Vec::new() };
        for attribute in message.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                interface.name = name;
            } else if let LinkAttribute::Mtu(mtu) = attribute {
                interface.mtu = mtu;
            }
        }
        facts.interfaces.push(interface);
    }
    let mut addresses = std::pin::pin!(handle.address().get().execute());
    while let Some(message) = addresses.try_next().await.map_err(raw)? {
        let owner = facts.interfaces.iter_mut().find(|each| each.index == message.header.index);
        if let (Some(owner), Some(address)) = (owner, address(&message)) {
            owner.addresses.push(address);
        }
    }
    facts.default_v4 = default(handle, RouteMessageBuilder::<Ipv4Addr>::new().build()).await?;
    facts.default_v6 = default(handle, RouteMessageBuilder::<Ipv6Addr>::new().build()).await?;
    if let Some(reach) = reach {
        facts.reach = route_to(handle, reach).await?.map(|route| (route.interface, route.source));
    }
    Ok(facts)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "netlink's attributes, not ours")]
fn address(message: &AddressMessage) -> Option<Address> {
    let unfit = AddressFlags::Deprecated | AddressFlags::Tentative | AddressFlags::Dadfailed;
    let (mut local, mut any) = (None, None);
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => any = Some(*address),
            AddressAttribute::Flags(more) => flags |= *more,
            _ => {}
        }
    }
    let address = local.or(any)?;
    // The same bit means "secondary" of an IPv4 address and "temporary" of an IPv6 one.
    let is_temporary = address.is_ipv6() && flags.contains(AddressFlags::Secondary);
    let is_permanent = flags.contains(AddressFlags::Permanent);
    Some(Address { address, is_permanent, is_unfit: is_temporary || flags.intersects(unfit) })
}

/// The interface of the first default route.
async fn default(handle: &Handle, family: RouteMessage) -> io::Result<Option<u32>> {
    let mut routes = std::pin::pin!(handle.route().get(family).execute());
    let mut found = None;
    while let Some(route) = routes.try_next().await.map_err(raw)? {
        let is_default = route.header.destination_prefix_length == 0
            && route.header.kind == RouteType::Unicast
            && route.header.table == netlink_packet_route::route::RouteHeader::RT_TABLE_MAIN;
        if is_default && found.is_none() {
            found = way(&route).map(|way| way.interface);
        }
    }
    Ok(found)
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) interface: u32,
    pub(super) gateway: Option<IpAddr>,
    pub(super) source: Option<IpAddr>,
    /// Whether it ends here: the address is our own.
    pub(super) is_local: bool,
}

/// The way that the kernel's routes have for an address; `None` if there is none.
pub(super) async fn route_to(handle: &Handle, address: IpAddr) -> io::Result<Option<Way>> {
    let message = match address {
        IpAddr::V4(address) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).build(),
        IpAddr::V6(address) => {
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(address, 128).build()
        }
    };
    let mut routes = std::pin::pin!(handle.route().get(message).execute());
    match routes.try_next().await.map_err(raw) {
        Ok(route) => Ok(route.as_ref().and_then(way)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "netlink's attributes, not ours")]
fn way(route: &RouteMessage) -> Option<Way> {
    let ip = |address: &RouteAddress| match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    };
    let mut way = (None, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => way.0 = Some(*index),
            RouteAttribute::Gateway(address) => way.1 = ip(address),
            RouteAttribute::PrefSource(address) => way.2 = ip(address),
            RouteAttribute::MultiPath(hops) => {
                way.0 = way.0.or_else(|| hops.first().map(|hop| hop.interface_index));
            }
            _ => {}
        }
    }
    let is_local = route.header.kind == RouteType::Local;
    Some(Way { interface: way.0?, gateway: way.1, source: way.2, is_local })
}

#[cfg(test)]
#[path = "external/tests.rs"]
mod tests;
