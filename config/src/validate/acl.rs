//! The access list: each rule must be able to match something, and be there once.

use wire::Cidr;

use super::{Findings, unknown};
use crate::ends::{AclEnd, Prefix};
use crate::report::At;
use crate::spec::{AclProto, AclSpec, Document};

pub(super) fn check(document: &Document, findings: &mut Findings) {
    for (index, rule) in document.acl.iter().enumerate() {
        let at = At::top("acl").index(index);
        let from = end(document, &rule.from, &at.key("from"), findings);
        let to = end(document, &rule.to, &at.key("to"), findings);
        if let (Some(from), Some(to)) = (from, to)
            && !from
                .iter()
                .any(|one| to.iter().any(|other| one.address().is_ipv4() == other.address().is_ipv4()))
        {
            let why = format!("no connection goes from {} to {}: the families differ", rule.from, rule.to);
            findings.add(&at.key("to"), why);
        }
        l4_ports(rule, &at, findings);
        if let Some(earlier) = document.acl[..index].iter().position(|earlier| earlier == rule) {
            findings.add(
                &at,
                format!("the rule is the same as acl[{earlier}], which decides before it; drop one"),
            );
        }
    }
}

fn l4_ports(rule: &AclSpec, at: &At, findings: &mut Findings) {
    match (rule.l4_ports, rule.proto) {
        (None, _) | (Some(_), Some(AclProto::Tcp | AclProto::Udp)) => {}
        (Some(_), Some(AclProto::Icmp)) => {
            findings.add(&at.key("l4_ports"), "ICMP has no L4 ports; drop l4_ports or choose another proto");
        }
        (Some(_), None) => {
            findings.add(
                &at.key("l4_ports"),
                "l4_ports needs a protocol that has some; add proto = \"tcp\" or \"udp\"",
            );
        }
    }
}

/// The addresses that the end means, if it means addresses and is right.
fn end(document: &Document, end: &AclEnd, at: &At, findings: &mut Findings) -> Option<Vec<Cidr>> {
    match end {
        AclEnd::Anyone => {}
        AclEnd::Uplink if document.uplink.is_none() => findings.add(at, "there is no uplink; add [uplink]"),
        AclEnd::Uplink => {}
        AclEnd::Network(name) => match document.network.get(name) {
            None => findings.add(at, unknown("network", name, document.network.keys())),
            Some(network) if network.gateway.is_empty() => {
                let why = format!("network {name:?} has no gateway, so nothing of it is routed; add one");
                findings.add(at, why);
            }
            Some(_) => {}
        },
        AclEnd::Port(name) => match document.port.get(name) {
            None => findings.add(at, unknown("port", name, document.port.keys())),
            Some(port) if port.address.given().is_empty() => {
                let why = format!("port {name:?} has no address to know its station by; add address = [ … ]");
                findings.add(at, why);
            }
            Some(port) => return Some(port.address.given().to_vec()),
        },
        AclEnd::Prefix(Prefix(prefix)) if !prefix.is_network() => {
            findings.add(at, format!("{prefix} has host bits set; did you mean {}?", prefix.network()));
        }
        AclEnd::Prefix(Prefix(prefix)) => return Some(vec![*prefix]),
    }
    None
}
