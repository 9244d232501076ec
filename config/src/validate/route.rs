//! Routes: each to one prefix, through next routers that the router can reach, or nowhere.

use std::collections::BTreeMap;
use std::net::IpAddr;

use vrouter::fib::NEXT_HOPS_MAX;
use wire::Cidr;

use super::network::reserved;
use super::{Findings, family, no_host};
use crate::derive;
use crate::report::At;
use crate::spec::{Document, RouteSpec};

pub(super) fn check(document: &Document, findings: &mut Findings) {
    let mut owners = connected(document);
    for (index, route) in document.route.iter().enumerate() {
        let at = At::top("route").index(index);
        destination(route.to, &at.key("to"), findings);
        if let Some(owner) = owners.insert(route.to, format!("route[{index}]")) {
            let why = format!("{} has a route already, by {owner}; drop one", route.to);
            findings.add(&at.key("to"), why);
        }
        way(document, route, &at, findings);
    }
}

/// The prefixes that have a route without being told, and whence.
fn connected(document: &Document) -> BTreeMap<Cidr, String> {
    let networks = document.network.iter().flat_map(|(name, network)| {
        derive::routed_subnets(network).map(move |subnet| (subnet, format!("network {name:?}")))
    });
    let uplink = document.uplink.iter().flat_map(|uplink| {
        let subnets = uplink.address.iter().map(|cidr| (cidr.network(), "the uplink's address".to_owned()));
        let defaults = derive::uplink_gateways(uplink).into_iter().map(|gateway| {
            (derive::default_prefix(gateway.is_ipv4()), format!("the uplink's gateway {gateway}"))
        });
        subnets.chain(defaults)
    });
    networks.chain(uplink).collect()
}

fn destination(to: Cidr, at: &At, findings: &mut Findings) {
    let address = to.address();
    if !to.is_network() {
        findings.add(at, format!("{to} has host bits set; did you mean {}?", to.network()));
    } else if address.is_multicast() || address.is_loopback() {
        findings.add(at, format!("packets to {to} are never routed; drop the route"));
    }
}

/// Where the packets go.
fn way(document: &Document, route: &RouteSpec, at: &At, findings: &mut Findings) {
    match (route.via.is_empty(), route.kind) {
        (true, None) => {
            findings.add(
                at,
                "a route needs via = [ … ] or kind = \"blackhole\", \"unreachable\" or \"prohibit\"",
            );
        }
        (false, Some(_)) => {
            findings.add(&at.key("kind"), "kind contradicts via, by which packets go somewhere; drop one");
        }
        (true, Some(_)) | (false, None) => {}
    }
    findings.too_many(&at.key("via"), "next hops", route.via.len(), NEXT_HOPS_MAX);
    for (index, hop) in route.via.iter().enumerate() {
        let fault = if route.via[..index].contains(hop) {
            Some(format!("next hop {hop} is listed twice; drop one"))
        } else {
            next_hop_fault(document, route.to, *hop)
        };
        findings.add_if(&at.key("via").index(index), fault);
    }
}

/// Why the router cannot hand packets to `hop`.
fn next_hop_fault(document: &Document, to: Cidr, hop: IpAddr) -> Option<String> {
    if hop.is_ipv4() != to.address().is_ipv4() {
        return Some(format!("next hop {hop} is not of the family of {to}"));
    }
    if derive::is_own(document, hop) {
        return Some(format!("next hop {hop} is the router's own address; name the next router"));
    }
    if no_host(hop) {
        return Some(format!("next hop {hop} is no router's address"));
    }
    let networks = document.network.iter();
    let subnets =
        networks.flat_map(|(name, network)| network.subnet.iter().map(move |subnet| (name, *subnet)));
    let uplink = document.uplink.iter().flat_map(|uplink| uplink.address.iter().copied());
    let mut near = subnets.filter(|(_, subnet)| subnet.contains(hop));
    if derive::domain_of(document, hop).is_none() {
        return Some(match near.next() {
            Some((name, _)) => {
                let family = family(hop);
                format!("next hop {hop} cannot be reached: network {name:?} has no {family} gateway; add one")
            }
            None => format!(
                "next hop {hop} cannot be reached: it is in no network's subnet and not the uplink's neighbour"
            ),
        });
    }
    let subnet = near.map(|(_, subnet)| subnet).chain(uplink).find(|subnet| subnet.contains(hop))?;
    reserved(subnet, hop)
}
