//! Whether a well-typed document makes sense: every fault, found before anything is compiled.
//!
//! The same checks serve a file, where the place of a finding becomes a line, and an edit of the control API, where it
//! names the object. Everything that the rooms' own plan checks would refuse is refused here, with a place; the rest is
//! what only a configuration can know: names, namespaces, addresses in their subnets. One file for each kind of thing.

mod acl;
mod nat;
mod network;
mod overlay;
mod port;
mod publish;
mod route;
mod station;
mod uplink;

use std::collections::BTreeSet;

use wire::{Cidr, Mac, UnicastMac};

use crate::derive::{self, IFNAME_LEN_MAX};
use crate::explain;
use crate::report::{At, Finding};
use crate::spec::Document;

/// Worker threads. More are refused.
pub const WORKERS_MAX: u8 = 16;
/// Microseconds that an idle worker may spin. More are refused: it would only burn.
pub const SPIN_US_MAX: u16 = 200;
/// Longest name of a port or network in octets. Longer ones are refused.
pub const NAME_LEN_MAX: usize = 63;
/// What `stations_max` may be at most: as many as one node learns ([`vswitch::STATIONS_MAX`]). More are refused.
pub const STATIONS_LIMIT_MAX: u32 = 851_968;
const _: () = assert!(STATIONS_LIMIT_MAX as usize == vswitch::STATIONS_MAX);
/// Entries of `[[publish]]`. Further ones are refused.
pub const PUBLISH_MAX: usize = vrouter::plan::PUBLISHES_MAX;
/// Entries of `[[route]]`. Further ones are refused.
pub const ROUTES_MAX: usize = 32_768;
/// Seconds of silence that a connection may be remembered for. More are refused.
pub const TIMEOUT_MAX: u32 = 1_000_000;
/// Other ends of one tunnel, and other hosts of an overlay. Further ones are refused.
pub const PEERS_MAX: usize = 4_096;

pub(crate) use nat::advice as nat_advice;

/// Everything that is wrong with `document`.
pub(crate) fn validate(document: &Document) -> Vec<Finding> {
    let mut findings = Findings::default();
    process(document, &mut findings);
    network::check(document, &mut findings);
    port::check(document, &mut findings);
    station::check(document, &mut findings);
    uplink::check(document, &mut findings);
    route::check(document, &mut findings);
    publish::check(document, &mut findings);
    acl::check(document, &mut findings);
    nat::check(&document.nat, &mut findings);
    overlay::check(document, &mut findings);
    findings.0
}

/// What has been found so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, at: &At, message: impl Into<String>) {
        self.0.push(Finding { at: at.clone(), message: message.into() });
    }

    /// Adds a message if there is one.
    fn add_if(&mut self, at: &At, message: Option<String>) {
        if let Some(message) = message {
            self.add(at, message);
        }
    }

    fn too_many(&mut self, at: &At, what: &str, count: usize, count_max: usize) {
        if count > count_max {
            self.add(at, format!("{count} {what} are more than the {count_max} that are allowed; drop some"));
        }
    }
}

fn process(document: &Document, findings: &mut Findings) {
    let (workers, spin_us) = (document.workers, document.spin_us);
    if !(1..=WORKERS_MAX).contains(&workers) {
        findings.add(&At::top("workers"), format!("workers is {workers}; choose 1 to {WORKERS_MAX}"));
    }
    if spin_us > SPIN_US_MAX {
        findings.add(&At::top("spin_us"), format!("spin_us is {spin_us}; choose 0 to {SPIN_US_MAX}"));
    }
    let uplinks = usize::from(document.uplink.is_some());
    let tunnels = derive::remotes(document).count() + derive::tunnelled(document).count();
    let ports = document.port.len() + tunnels + uplinks;
    findings.too_many(&At::top("port"), "ports (tunnels among them)", ports, vswitch::plan::PORTS_MAX);
    let ends = || document.overlay.iter().flat_map(derive::ends);
    let networks = document.network.len() + uplinks + ends().count();
    findings.too_many(&At::top("network"), "networks", networks, vswitch::plan::DOMAINS_MAX);
    let overlay = ends().map(|end| (end.address, derive::overlay_l4_port(end.overlay)));
    let local_ends: BTreeSet<_> =
        derive::tunnels(document).map(|(_, vxlan)| (vxlan.local, vxlan.port)).chain(overlay).collect();
    let (underlays, underlays_max) = (local_ends.len(), encap::plan::UNDERLAYS_MAX);
    findings.too_many(&At::top("network"), "different local ends of tunnels", underlays, underlays_max);
    findings.too_many(&At::top("station"), "stations", document.station.len(), vswitch::plan::STATICS_MAX);
    findings.too_many(&At::top("publish"), "published entries", document.publish.len(), PUBLISH_MAX);
    findings.too_many(&At::top("route"), "routes", document.route.len(), ROUTES_MAX);
    let (pairs, pairs_max) = (document.one_to_one.len(), vrouter::plan::ONE_TO_ONE_MAX);
    findings.too_many(&At::top("one_to_one"), "one-to-one translations", pairs, pairs_max);
    let (rules, rules_max) = (document.acl.len(), vrouter::plan::ACL_RULES_MAX);
    findings.too_many(&At::top("acl"), "access rules", rules, rules_max);
}

/// Why `name` cannot name a port or network: names stand in commands, URLs and `NAME:L4-PORT`.
fn name_fault(name: &str) -> Option<String> {
    if name == derive::UPLINK {
        return Some(format!(
            "{name:?} is what the uplink's own network and port are called; choose another name"
        ));
    }
    let letters = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
    let begins = name.bytes().next().is_some_and(|octet| octet.is_ascii_alphanumeric());
    (!letters || !begins || name.len() > NAME_LEN_MAX).then(|| {
        format!(
            "{name:?} is not a name: use 1 to {NAME_LEN_MAX} letters, digits, \"-\", \"_\" and \".\", a letter or digit first"
        )
    })
}

/// Why `name` cannot name an interface (Linux' `dev_valid_name`, and no `%`, which asks the kernel to make a name).
fn ifname_fault(name: &str) -> Option<String> {
    let fault = if name.len() > IFNAME_LEN_MAX {
        format!("is {} octets long, and Linux allows {IFNAME_LEN_MAX}; choose a shorter one", name.len())
    } else if name.is_empty() || name == "." || name == ".." {
        "means something else to Linux; choose another".to_owned()
    } else if !name.bytes().all(|octet| octet.is_ascii_graphic() && !b"/:%".contains(&octet)) {
        "has a character that is not allowed: use printable ASCII other than space, \"/\", \":\" and \"%\""
            .to_owned()
    } else {
        return None;
    };
    Some(format!("interface name {name:?} {fault}"))
}

/// Why no station can have `mac`.
fn mac_fault(mac: Mac) -> Option<String> {
    match UnicastMac::new(mac) {
        Some(_) => None,
        None if mac.is_zero() => {
            Some(format!("MAC address {mac} is no station's; give another or leave it out"))
        }
        None => Some(format!("MAC address {mac} is a group's; a station's has an even first octet, like 02")),
    }
}

/// That there is no `name` among the `kind`s, with the nearest or all of them.
fn unknown<'a>(kind: &str, name: &str, names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    let hint = explain::hint(name, &names);
    match names.as_slice() {
        [] => format!("there is no {kind} {name:?}; none is defined: add [{kind}.{name}]"),
        few if hint.is_empty() && few.len() <= 8 => {
            format!("there is no {kind} {name:?}; there are: {}", few.join(", "))
        }
        _ => format!("there is no {kind} {name:?}{hint}"),
    }
}

/// The network's subnet that shares addresses with `cidr`.
fn overlapped(document: &Document, cidr: Cidr) -> Option<(Cidr, &str)> {
    document.network.iter().find_map(|(name, network)| {
        network.subnet.iter().find(|subnet| subnet.overlaps(cidr)).map(|subnet| (*subnet, name.as_str()))
    })
}

/// "IPv4" or "IPv6".
fn family(address: std::net::IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Whether no host can have the address anywhere.
fn no_host(address: std::net::IpAddr) -> bool {
    let broadcast = std::net::IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    address.is_unspecified() || address.is_multicast() || address.is_loopback() || address == broadcast
}
