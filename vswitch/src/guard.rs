//! Guards: what a port may not say, whoever listens.
//!
//! Each guard reads just enough of the packet to know whether it is one of the few that matter to it, and is built so
//! that nothing which a receiver would accept evades it:
//!
//! - ARP that cannot be read is refused: it cannot be vouched for.
//! - An IPv6 packet whose headers cannot be walked hides its message and is refused: a chain that is cut off, that
//!   does not end in the first fragment (RFC 7112 §5), or that is longer than [`wire::headers::EXTENSIONS_MAX`]
//!   (RFC 7113 §3). It is refused under the first guard of `ra`, `nd`, `dhcp` that is on. Later fragments pass:
//!   without a first one nothing is reassembled.
//! - Neighbour discovery in fragments is refused: no host may send it (RFC 6980 §5).
//! - Every option of a neighbour discovery message has to be honest, whichever the receiver believes.
//! - DHCP is known by either end's L4 port, because clients do not look at the server's.
//!
//! What receivers drop anyway (wrong checksum, wrong hop limit, IPv4 headers that contradict themselves) is not looked
//! at. A message inside a tunnel or behind encryption is not seen.

use core::net::{IpAddr, Ipv6Addr};

use wire::ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, HEADER_LEN};
use wire::headers::{Fragment, L4Ports, PROTOCOL_ICMPV6, PROTOCOL_UDP};
use wire::{DropReason, Headers, Mac, arp};

use crate::plan::Guards;
use crate::switch::Watch;

const DHCP4_SERVER: u16 = 67;
const DHCP4_CLIENT: u16 = 68;
const DHCP6_CLIENT: u16 = 546;
const DHCP6_SERVER: u16 = 547;
/// A BOOTP packet's first octet in requests (RFC 951 §3).
const BOOTP_REQUEST: u8 = 1;

// Neighbour discovery (RFC 4861 §4).
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_TARGET_MAC: u8 = 2;

/// Lets an untagged frame pass, or names the guard that does not.
pub(crate) fn check(watch: &Watch, header: &EthernetHeader, frame: &[u8]) -> Result<(), DropReason> {
    let guards = watch.guards;
    if guards.mac && watch.mac.is_none_or(|mac| mac.mac() != header.src) {
        return Err(DropReason::SpoofedMac);
    }
    match header.ethertype {
        ETHERTYPE_ARP if guards.arp && !is_honest_arp(&watch.addresses, header.src, frame) => {
            Err(DropReason::SpoofedArp)
        }
        ETHERTYPE_IPV4 if guards.dhcp && is_dhcp4_server(frame) => Err(DropReason::RogueDhcp),
        ETHERTYPE_IPV6 if guards.ra || guards.nd || guards.dhcp => check_ipv6(watch, header.src, frame),
        _ => Ok(()),
    }
}

/// Whether an ARP packet's sender is the station and one of the port's addresses, or nobody yet: a probe asks whether
/// anybody has the address that its sender would like (RFC 5227 §2.1.1).
fn is_honest_arp(addresses: &[IpAddr], src: Mac, frame: &[u8]) -> bool {
    let parsed = arp::Packet::new_checked(&frame[HEADER_LEN..]).and_then(|packet| arp::Repr::parse(&packet));
    let Ok(arp::Repr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, .. }) = parsed
    else {
        return false;
    };
    let is_probe = source_protocol_addr.is_unspecified() && operation == arp::Operation::Request;
    Mac::from(source_hardware_addr) == src
        && (is_probe || addresses.contains(&IpAddr::V4(source_protocol_addr)))
}

/// Whether an IPv4 packet is a DHCP server's. The shortest first fragment holds the UDP header, so fragments hide none.
fn is_dhcp4_server(frame: &[u8]) -> bool {
    let Ok(headers) = Headers::parse(frame) else { return false };
    let Some(ports) = udp_ports(&headers) else { return false };
    // A relay hears replies on the server's L4 port; what does not show that it is a request may be one.
    let operation = frame[..headers.end].get(headers.payload);
    let is_reply = ports.dst == DHCP4_SERVER && operation != Some(&BOOTP_REQUEST);
    ports.src == DHCP4_SERVER || ports.dst == DHCP4_CLIENT || is_reply
}

/// The guards that look into IPv6.
fn check_ipv6(watch: &Watch, src: Mac, frame: &[u8]) -> Result<(), DropReason> {
    let guards = watch.guards;
    let headers = Headers::parse(frame).map_err(|_| refusal_of_hidden(guards))?;
    if headers.fragment == Fragment::Later {
        return Ok(());
    }
    if let Some(ports) = udp_ports(&headers) {
        let is_server = ports.src == DHCP6_SERVER || ports.dst == DHCP6_CLIENT;
        return if guards.dhcp && is_server { Err(DropReason::RogueDhcp) } else { Ok(()) };
    }
    if headers.protocol != PROTOCOL_ICMPV6 {
        return Ok(());
    }
    let message = &frame[headers.l4..headers.end];
    let &kind = message.first().ok_or(refusal_of_hidden(guards))?;
    match kind {
        ROUTER_ADVERTISEMENT | REDIRECT if guards.ra => Err(DropReason::RogueRa),
        ROUTER_SOLICITATION | NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT if guards.nd => {
            let sender = address_at(frame, headers.src_range().start);
            let is_whole = headers.fragment == Fragment::Whole;
            let is_honest = is_whole && is_honest_nd(&watch.addresses, src, sender, message);
            if is_honest { Ok(()) } else { Err(DropReason::SpoofedNd) }
        }
        _ => Ok(()),
    }
}

const fn refusal_of_hidden(guards: Guards) -> DropReason {
    if guards.ra {
        DropReason::RogueRa
    } else if guards.nd {
        DropReason::SpoofedNd
    } else {
        DropReason::RogueDhcp
    }
}

/// Whether a solicitation or neighbour advertisement speaks for the port's addresses only and says the truth about its
/// MAC.
fn is_honest_nd(addresses: &[IpAddr], src: Mac, sender: Option<Ipv6Addr>, message: &[u8]) -> bool {
    let is_own =
        |address: Ipv6Addr| address.is_unicast_link_local() || addresses.contains(&IpAddr::V6(address));
    let Some(sender) = sender else { return false };
    let (speaks_for_itself, options_at) = match message[0] {
        ROUTER_SOLICITATION => (is_own(sender) || sender.is_unspecified(), 8),
        // From `::` it is a probe (RFC 4862 §5.4.2), whatever it asks for.
        NEIGHBOUR_SOLICITATION => (is_own(sender) || sender.is_unspecified(), 24),
        // What it speaks for is the target.
        _ => (is_own(sender) && address_at(message, 8).is_some_and(is_own), 24),
    };
    speaks_for_itself && message.get(options_at..).is_some_and(|options| options_name_only(src, options))
}

/// Whether every MAC address in a list of options is `src`, and the list is well formed (RFC 4861 §4.6).
fn options_name_only(src: Mac, mut options: &[u8]) -> bool {
    while let [kind, words, ..] = *options {
        let len = usize::from(words) * 8;
        let Some(option) = options.get(..len).filter(|option| !option.is_empty()) else { return false };
        let names_mac = matches!(kind, OPTION_SOURCE_MAC | OPTION_TARGET_MAC);
        if names_mac && option[2..8] != src.0 {
            return false;
        }
        options = &options[len..];
    }
    true // One octet is no option; hosts do not read it either.
}

fn udp_ports(headers: &Headers) -> Option<L4Ports> {
    headers.l4_ports.filter(|_| headers.protocol == PROTOCOL_UDP)
}

fn address_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    bytes.get(at..)?.first_chunk().map(|&octets| Ipv6Addr::from_octets(octets))
}

#[cfg(test)]
mod tests;
