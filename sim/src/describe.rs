//! Frames, notices and counters in words, for people and for files that are compared.

use std::fmt::Write as _;

use config::Compiled;
use node::{Counters, Notice, PortCounters, RouterNotice};
use wire::ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader};
use wire::headers::{PROTOCOL_ICMPV4, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};
use wire::{DomainId, DropReason, Headers, Instant, PortId};

/// Seconds and nanoseconds since the epoch of the captures.
pub(crate) fn time(at: Instant) -> String {
    format!("{}.{:09}", at.as_nanos() / 1_000_000_000, at.as_nanos() % 1_000_000_000)
}

/// A frame in a line: addresses, tag, protocol.
pub fn frame(bytes: &[u8]) -> String {
    let Some(header) = EthernetHeader::parse(bytes) else {
        return format!("{} octets, no frame", bytes.len());
    };
    let mut text = format!("{} octets, {} > {}", bytes.len(), header.src, header.dst);
    if let Some(tag) = header.tag {
        let _ = write!(text, ", VLAN {} priority {}", tag.0 & 0x0fff, tag.0 >> 13);
    }
    match header.ethertype {
        ETHERTYPE_ARP => text.push_str(", ARP"),
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => match Headers::parse(bytes) {
            Ok(headers) => text.push_str(&packet(bytes, &headers)),
            Err(error) => {
                let _ = write!(text, ", IP that cannot be read ({error:?})");
            }
        },
        other => {
            let _ = write!(text, ", type {other:#06x}");
        }
    }
    text
}

fn packet(bytes: &[u8], headers: &Headers) -> String {
    let protocol = match headers.protocol {
        PROTOCOL_ICMPV4 | PROTOCOL_ICMPV6 => "ICMP".to_owned(),
        PROTOCOL_TCP => "TCP".to_owned(),
        PROTOCOL_UDP => "UDP".to_owned(),
        other => format!("protocol {other}"),
    };
    let mut text = String::new();
    if let (Some(src), Some(dst)) = (headers.src(bytes), headers.dst(bytes)) {
        let _ = write!(text, ", {src} > {dst}, {protocol}");
    }
    if let Some(l4_ports) = headers.l4_ports {
        let _ = write!(text, " {} > {}", l4_ports.src, l4_ports.dst);
    }
    text
}

/// A notice in a line.
pub(crate) fn notice(notice: Notice, compiled: &Compiled) -> String {
    let port = |id: PortId| compiled.port_name(id).map_or_else(|| id.0.to_string(), str::to_owned);
    let network = |id: DomainId| compiled.network_name(id).map_or_else(|| id.0.to_string(), str::to_owned);
    match notice {
        Notice::StationLearned { domain, mac, port: at } => {
            format!("station-learned network={} mac={mac} port={}", network(domain), port(at))
        }
        Notice::StationMoved { domain, mac, from, to } => {
            format!("station-moved network={} mac={mac} from={} to={}", network(domain), port(from), port(to))
        }
        Notice::StationFlapping { domain, mac, port: at } => {
            format!("station-flapping network={} mac={mac} port={}", network(domain), port(at))
        }
        Notice::DomainFull { domain } => format!("network-full network={}", network(domain)),
        Notice::PortFull { port: at } => format!("port-full port={}", port(at)),
        Notice::Router(notice) => router_notice(notice, network),
    }
}

fn router_notice(notice: RouterNotice, network: impl Fn(DomainId) -> String) -> String {
    match notice {
        RouterNotice::AddressConflict { domain, address, mac } => {
            format!("address-conflict network={} address={address} mac={mac}", network(domain))
        }
        RouterNotice::NeighbourMoved { domain, address, from, to } => {
            format!("neighbour-moved network={} address={address} from={from} to={to}", network(domain))
        }
        RouterNotice::NeighboursFull { domain } => format!("neighbours-full network={}", network(domain)),
        RouterNotice::SessionsFull => "sessions-full".to_owned(),
        RouterNotice::ShareFull { inside } => format!("share-full inside={inside}"),
        RouterNotice::L4PortsExhausted { outside } => format!("l4-ports-exhausted outside={outside}"),
        RouterNotice::AclLogged { rule, src, dst, dst_l4_port } => {
            format!("acl-logged rule={rule} src={src} dst={dst} l4-port={dst_l4_port}")
        }
    }
}

/// Every counter that is not zero, a line each, sorted by name.
pub(crate) fn counters(counters: &Counters, compiled: &Compiled) -> String {
    let mut lines = node_counters(counters);
    for (reason, count) in DropReason::ALL.iter().zip(counters.drops()) {
        lines.push((format!("drop.{}", reason.id()), count));
    }
    for (name, port) in &compiled.ports {
        if let Some(seen) = counters.ports.get(port.id.index()) {
            lines.extend(port_counters(&format!("port.{name}"), seen));
        }
    }
    for underlay in &compiled.plan.underlays {
        if let Some(seen) = counters.underlays.get(underlay.id.index()) {
            lines.extend(port_counters(&format!("underlay.{}", underlay.local), seen));
        }
    }
    lines.retain(|(_, count)| *count > 0);
    lines.sort();
    lines.iter().map(|(name, count)| format!("{name} {count}\n")).collect()
}

fn node_counters(counters: &Counters) -> Vec<(String, u64)> {
    // Each by name, so that a counter that is added has to be told here too.
    let Counters {
        ports: _,
        gone: _,
        underlays: _,
        received,
        forwarded,
        consumed,
        parked,
        dropped,
        originated,
        answered,
        flood_copies,
        stations_learned,
        stations_moved,
        stations_aged,
        stations_refused_domain,
        stations_refused_port,
        notices_suppressed,
    } = counters;
    [
        ("received", received),
        ("forwarded", forwarded),
        ("consumed", consumed),
        ("parked", parked),
        ("dropped", dropped),
        ("originated", originated),
        ("answered", answered),
        ("flood_copies", flood_copies),
        ("stations_learned", stations_learned),
        ("stations_moved", stations_moved),
        ("stations_aged", stations_aged),
        ("stations_refused_domain", stations_refused_domain),
        ("stations_refused_port", stations_refused_port),
        ("notices_suppressed", notices_suppressed),
    ]
    .map(|(name, count)| (format!("node.{name}"), *count))
    .to_vec()
}

fn port_counters(at: &str, seen: &PortCounters) -> Vec<(String, u64)> {
    let PortCounters { rx_frames, rx_bytes, tx_frames, tx_bytes, drops, heard: _ } = seen;
    let mut lines: Vec<(String, u64)> =
        [("rx_frames", rx_frames), ("rx_bytes", rx_bytes), ("tx_frames", tx_frames), ("tx_bytes", tx_bytes)]
            .map(|(name, count)| (format!("{at}.{name}"), *count))
            .to_vec();
    lines.extend(drops.iter().map(|(reason, count)| (format!("{at}.drop.{}", reason.id()), count)));
    lines
}
