//! What is reached from outside: published L4 ports, and stations that have an outside address to themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::network::reserved;
use super::{Findings, family, no_host, unknown};
use crate::derive;
use crate::ends::Inside;
use crate::report::At;
use crate::spec::{Document, NetworkSpec, OneToOneSpec, PublishSpec};

pub(super) fn check(document: &Document, findings: &mut Findings) {
    for (index, publish) in document.publish.iter().enumerate() {
        let at = At::top("publish").index(index);
        published(document, publish, &at, findings);
        let v4 = publish.listen.address.is_ipv4();
        findings.add_if(&at.key("to"), station(document, &publish.to.port, v4).err());
    }
    same_listens(document, findings);
    let (mut outsides, mut insides) = (BTreeMap::new(), BTreeMap::new());
    for (index, pair) in document.one_to_one.iter().enumerate() {
        let at = At::top("one_to_one").index(index);
        outside(document, pair, &at, findings);
        if let Some(earlier) = outsides.insert(pair.outside, &pair.inside) {
            let why = format!("{} stands for {earlier} already; choose another address", pair.outside);
            findings.add(&at.key("outside"), why);
        }
        match inside(document, pair) {
            Err(why) => findings.add(&at.key("inside"), why),
            Ok(station) => {
                if let Some(earlier) = insides.insert(station, pair.outside) {
                    let why = format!("{station} has {earlier} already; a station has one address outside");
                    findings.add(&at.key("inside"), why);
                }
            }
        }
    }
}

fn published(document: &Document, publish: &PublishSpec, at: &At, findings: &mut Findings) {
    let PublishSpec { listen, to, .. } = publish;
    let (listened, passed) = (listen.l4_ports.count(), to.l4_ports.count());
    if listened != passed {
        let why = format!("{listened} L4 ports are passed to {passed}; runs must be of equal length");
        findings.add(&at.key("to"), why);
    }
    if !listen.address.is_unspecified() && !derive::is_own(document, listen.address) {
        let any = if listen.address.is_ipv4() { "0.0.0.0" } else { "[::]" };
        let why = format!(
            "{} is neither a gateway nor the uplink's address; use one of them or {any}",
            listen.address
        );
        findings.add(&at.key("listen"), why);
    }
}

/// The address of one family of a port's station, or why connections cannot be passed to it.
fn station(document: &Document, name: &str, v4: bool) -> Result<IpAddr, String> {
    let Some(port) = document.port.get(name) else {
        return Err(unknown("port", name, document.port.keys()));
    };
    let family = if v4 { "IPv4" } else { "IPv6" };
    let Some(address) = derive::station_address(port, v4) else {
        return Err(format!(
            "port {name:?} has no {family} address that connections could be passed to; add one"
        ));
    };
    let network = port.network.as_ref().and_then(|network| document.network.get_key_value(network));
    match network.filter(|(_, spec)| !spec.gateway.iter().any(|gateway| gateway.is_ipv4() == v4)) {
        Some((network, _)) => {
            Err(format!("network {network:?} of port {name:?} has no {family} gateway; add one"))
        }
        None => Ok(address),
    }
}

fn outside(document: &Document, pair: &OneToOneSpec, at: &At, findings: &mut Findings) {
    let outside = pair.outside;
    let uplink: Vec<IpAddr> =
        document.uplink.iter().flat_map(|uplink| uplink.address.iter().map(|cidr| cidr.address())).collect();
    if !uplink.contains(&outside) {
        let remedy = if uplink.is_empty() { "add [uplink]" } else { "add it to the uplink's address" };
        findings.add(&at.key("outside"), format!("{outside} is no address of the uplink; {remedy}"));
    }
    // What comes to it without a connection is the station's: it cannot stand for others too.
    let is_shown = uplink.iter().find(|address| address.is_ipv4() == outside.is_ipv4()) == Some(&outside);
    let masquerades = |network: &NetworkSpec| match outside {
        IpAddr::V4(_) => network.masquerade,
        IpAddr::V6(_) => network.masquerade_v6,
    };
    if let Some((network, _)) = document.network.iter().find(|(_, spec)| is_shown && masquerades(spec)) {
        let why = format!(
            "{outside} is what network {network:?} is masqueraded as, the uplink's first address; choose a further one"
        );
        findings.add(&at.key("outside"), why);
    }
}

/// The station that has the outside address to itself, or why there is none.
fn inside(document: &Document, pair: &OneToOneSpec) -> Result<IpAddr, String> {
    let OneToOneSpec { outside, inside } = pair;
    let v4 = outside.is_ipv4();
    let address = match inside {
        Inside::Port(name) => return station(document, name, v4),
        Inside::Address(address) => *address,
    };
    if address.is_ipv4() != v4 {
        return Err(format!(
            "{address} is not of the family of {outside}; translate {} to {0}",
            family(*outside)
        ));
    }
    if derive::is_own(document, address) {
        return Err(format!("{address} is the router's own; name a station"));
    }
    let mut subnets = document.network.values().flat_map(derive::routed_subnets);
    let Some(subnet) = subnets.find(|subnet| subnet.contains(address)) else {
        return Err(format!("{address} is in no network that has an {} gateway", family(address)));
    };
    let fault =
        if no_host(address) { Some(format!("{address} is no station's")) } else { reserved(subnet, address) };
    fault.map_or(Ok(address), Err)
}

/// Entries that listen at one L4 port. Sorted by their first, an entry clashes only with the one before it that
/// reaches furthest: at its own address, or where one of the two listens at all addresses.
fn same_listens(document: &Document, findings: &mut Findings) {
    let mut order: Vec<usize> = (0..document.publish.len()).collect();
    order.sort_by_key(|index| (document.publish[*index].listen.l4_ports, *index));
    // By protocol and family, then by address: the entry that reaches furthest, and at any address at all.
    let mut furthest: BTreeMap<(bool, bool, Option<IpAddr>), usize> = BTreeMap::new();
    for index in order {
        let PublishSpec { listen, proto, .. } = &document.publish[index];
        let of = |address| (*proto == crate::Proto::Tcp, listen.address.is_ipv4(), address);
        let anywhere = Some(listen.address).filter(|address| !address.is_unspecified());
        let rivals = match anywhere {
            Some(_) => vec![of(anywhere), of(Some(unspecified(listen.address)))],
            None => vec![of(None)],
        };
        let reaches = |at: &usize| document.publish[*at].listen.l4_ports.last();
        let clash = rivals
            .iter()
            .filter_map(|rival| furthest.get(rival))
            .find(|at| reaches(at) >= listen.l4_ports.first());
        if let Some(&other) = clash {
            let (first, second) = (index.min(other), index.max(other));
            let why = format!(
                "{} is published already, by {} to {}; choose other L4 ports",
                document.publish[second].listen, document.publish[first].listen, document.publish[first].to
            );
            findings.add(&At::top("publish").index(second).key("listen"), why);
        }
        for key in [of(None), of(Some(listen.address))] {
            let held = furthest.entry(key).or_insert(index);
            if reaches(&index) > reaches(held) {
                *held = index;
            }
        }
    }
}

/// 0.0.0.0 or ::, as the address's family has it.
fn unspecified(address: IpAddr) -> IpAddr {
    derive::default_prefix(address.is_ipv4()).address()
}
