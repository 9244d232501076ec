//! Static entries of the address table: they may not contradict each other, the gateways or the ports.

use std::collections::{BTreeMap, BTreeSet};

use wire::Mac;

use super::{Findings, mac_fault, unknown};
use crate::derive;
use crate::report::At;
use crate::spec::{Document, StationSpec};

pub(super) fn check(document: &Document, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    let mut owners = BTreeMap::new();
    for (name, port) in &document.port {
        let mac = derive::port_mac(name, port);
        owners.extend(derive::memberships(port).map(|(_, network)| ((network, mac), name.as_str())));
    }
    let tunnels: BTreeMap<String, &str> =
        derive::remotes(document).map(|remote| (remote.port, remote.network)).collect();
    for (index, station) in document.station.iter().enumerate() {
        let at = At::top("station").index(index);
        findings.add_if(&at.key("mac"), mac_fault(station.mac));
        if !seen.insert((&station.network, station.mac)) {
            let (mac, network) = (station.mac, &station.network);
            findings.add(
                &at.key("mac"),
                format!("station {mac} of network {network:?} is listed twice; drop one"),
            );
        }
        place(document, station, &owners, &tunnels, &at, findings);
    }
}

/// Where it is said to live; `owners` are the MAC addresses that ports have, `tunnels` the networks of remote ends.
fn place(
    document: &Document,
    station: &StationSpec,
    owners: &BTreeMap<(&str, Mac), &str>,
    tunnels: &BTreeMap<String, &str>,
    at: &At,
    findings: &mut Findings,
) {
    let StationSpec { network, mac, port } = station;
    let Some(network_spec) = document.network.get(network) else {
        return findings.add(&at.key("network"), unknown("network", network, document.network.keys()));
    };
    let is_member = match (document.port.get(port), tunnels.get(port)) {
        (Some(port_spec), _) => derive::memberships(port_spec).any(|(_, member)| member == network),
        (None, Some(tunnel_network)) => tunnel_network == network,
        (None, None) => {
            return findings.add(&at.key("port"), unknown("port", port, document.port.keys()));
        }
    };
    if !is_member {
        let why = format!("port {port:?} is not on network {network:?}; name one that is");
        findings.add(&at.key("port"), why);
    }
    if !network_spec.gateway.is_empty() && derive::gateway_mac(network, network_spec) == *mac {
        let why = format!(
            "MAC address {mac} is the gateway's in network {network:?}; it lives behind no port, so drop the station"
        );
        findings.add(&at.key("mac"), why);
    }
    if let Some(owner) = owners.get(&(network.as_str(), *mac)).filter(|owner| *owner != port) {
        findings.add(
            &at.key("mac"),
            format!("MAC address {mac} is port {owner:?}'s in network {network:?} already; name that port or drop the station"),
        );
    }
}
