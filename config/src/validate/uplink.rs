//! The uplink: addresses of the router's own outside, next to those of others.

use std::collections::BTreeSet;
use std::net::IpAddr;

use wire::Cidr;

use super::network::{mtu_fault, reserved};
use super::{Findings, family, ifname_fault, mac_fault, no_host};
use crate::derive;
use crate::report::At;
use crate::spec::{Document, UplinkKind, UplinkSpec};

pub(super) fn check(document: &Document, findings: &mut Findings) {
    let Some(uplink) = &document.uplink else { return };
    let at = At::top("uplink");
    addresses(document, uplink, &at, findings);
    next_routers(uplink, &at, findings);
    host(uplink, &at, findings);
    findings.add_if(&at.key("ifname"), ifname_fault(&uplink.ifname));
    if let Some(mac) = uplink.mac {
        findings.add_if(&at.key("mac"), mac_fault(mac));
    }
    let v6 = uplink.address.iter().any(|cidr| cidr.address().is_ipv6());
    findings.add_if(&at.key("mtu"), mtu_fault(uplink.mtu, v6));
}

fn addresses(document: &Document, uplink: &UplinkSpec, at: &At, findings: &mut Findings) {
    if uplink.address.is_empty() {
        findings.add(at, "the uplink needs an address; add address = [ … ]");
    }
    let addresses_max = vrouter::plan::GATEWAY_ADDRESSES_MAX;
    findings.too_many(&at.key("address"), "addresses of the uplink", uplink.address.len(), addresses_max);
    let mut seen = BTreeSet::new();
    for (index, cidr) in uplink.address.iter().enumerate() {
        let at = at.key("address").index(index);
        if !seen.insert(cidr.address()) {
            findings.add(&at, format!("{} is listed twice; drop one", cidr.address()));
        }
        if cidr.prefix_len() == 0 {
            findings
                .add(&at, format!("{cidr} says that everybody is a neighbour; give its network's length"));
            continue;
        }
        if no_host(cidr.address()) {
            findings
                .add(&at, format!("{} is no address that a host can have; choose another", cidr.address()));
            continue;
        }
        findings.add_if(&at, reserved(*cidr, cidr.address()));
        if let Some((subnet, network)) = super::overlapped(document, *cidr) {
            let why = format!(
                "the uplink's {} overlaps {subnet} of network {network:?}; choose another",
                cidr.network()
            );
            findings.add(&at, why);
        }
    }
}

fn next_routers(uplink: &UplinkSpec, at: &At, findings: &mut Findings) {
    for (index, gateway) in uplink.gateway.iter().enumerate() {
        let at = at.key("gateway").index(index);
        match near(uplink, *gateway) {
            None => findings.add(
                &at,
                format!("gateway {gateway} is not in the network of one of the uplink's addresses; choose one that is"),
            ),
            Some(_) if own(uplink, *gateway) => {
                findings
                    .add(&at, format!("gateway {gateway} is the uplink's own address; name the next router"));
            }
            Some(cidr) => findings.add_if(&at, reserved(*cidr, *gateway)),
        }
        if uplink.gateway[..index].iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
            findings.add(
                &at,
                format!(
                    "a second {} gateway; the uplink has at most one of each family, so drop one",
                    family(*gateway)
                ),
            );
        }
    }
}

/// The address of the uplink in whose network `address` is.
fn near(uplink: &UplinkSpec, address: IpAddr) -> Option<&Cidr> {
    uplink.address.iter().find(|cidr| cidr.contains(address))
}

fn own(uplink: &UplinkSpec, address: IpAddr) -> bool {
    uplink.address.iter().any(|cidr| cidr.address() == address)
}

/// What the host's end needs, and what belongs to one kind only.
fn host(uplink: &UplinkSpec, at: &At, findings: &mut Findings) {
    for (index, cidr) in uplink.host_address.iter().enumerate() {
        let at = at.key("host_address").index(index);
        match near(uplink, cidr.address()) {
            None => {
                findings.add(
                    &at,
                    format!(
                        "{cidr} is not in the network of one of the uplink's addresses; choose one that is"
                    ),
                );
            }
            Some(_) if own(uplink, cidr.address()) => {
                findings.add(&at, format!("{} is the router's own; the host needs another", cidr.address()));
            }
            Some(near) => findings.add_if(&at, reserved(*near, cidr.address())),
        }
    }
    match uplink.kind {
        UplinkKind::Nic if !uplink.host_address.is_empty() => {
            findings.add(
                &at.key("host_address"),
                "host_address belongs to kind = \"host\"; drop it or change kind",
            );
        }
        UplinkKind::Host if uplink.host_address.is_empty() => {
            findings.add(at, "an uplink of kind \"host\" needs the host's end; add host_address = [ … ]");
        }
        UplinkKind::Host if !uplink.gateway.is_empty() => {
            findings.add(
                &at.key("gateway"),
                "gateway belongs to kind = \"nic\"; with \"host\" it is host_address",
            );
        }
        UplinkKind::Host if derive::uplink_mac(uplink) == derive::uplink_host_mac(uplink) => {
            findings.add(
                &at.key("mac"),
                "mac is the one that the host's end has; choose another or leave it out",
            );
        }
        UplinkKind::Nic | UplinkKind::Host => {}
    }
}
