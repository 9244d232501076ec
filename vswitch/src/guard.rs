//! Guards: what a port may not say, whoever listens.
//!
//! Each guard reads just enough of the packet to know whether it is one of the few that matter to it, and is built to
//! be evaded by nothing that a receiver would accept:
//!
//! - ARP that cannot be read is refused: it cannot be vouched for.
//! - IPv6 extension headers are followed up to [`HEADERS_MAX`]; a chain that is longer, or that does not end in the
//!   first fragment, hides its message and is refused (RFC 7113 §3, RFC 7112 §5). Fragments after the first pass: without a
//!   first one nothing is reassembled.
//! - Neighbour discovery in fragments is refused: no host may send it (RFC 6980 §5).
//! - DHCP is known by either end's L4 port, because clients do not look at the server's.
//!
//! A hidden message is refused under the first guard of `ra`, `nd`, `dhcp` that is on. What receivers drop anyway
//! (wrong checksum, wrong hop limit, truncated IP headers) is not looked at.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader};
use wire::{DropReason, Mac};

use crate::plan::Guards;
use crate::switch::Watch;

/// IPv6 headers read before the message; a packet with more is refused as one that hides something. Every header that
/// RFC 8200 §4.1 names, in its order and once more for destination options, is eight.
pub const HEADERS_MAX: usize = 8;

const UDP: u8 = 17;
const ICMPV6: u8 = 58;

const DHCP4_SERVER: u16 = 67;
const DHCP4_CLIENT: u16 = 68;
const DHCP6_CLIENT: u16 = 546;
const DHCP6_SERVER: u16 = 547;
/// Where a UDP header ends and BOOTP's operation stands (RFC 951 §3).
const BOOTP_OP_AT: usize = 8;
const BOOTP_REQUEST: u8 = 1;

// Neighbour discovery (RFC 4861 §4).
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_TARGET_MAC: u8 = 2;

/// Lets a packet pass, or names the guard that does not.
pub(crate) fn check(watch: &Watch, header: &EthernetHeader, packet: &[u8]) -> Result<(), DropReason> {
    let guards = watch.guards;
    if guards.mac && watch.mac.is_none_or(|mac| mac.mac() != header.src) {
        return Err(DropReason::SpoofedMac);
    }
    match header.ethertype {
        ETHERTYPE_ARP if guards.arp && !is_honest_arp(&watch.addresses, header.src, packet) => {
            Err(DropReason::SpoofedArp)
        }
        ETHERTYPE_IPV4 if guards.dhcp && is_dhcp4_server(packet) => Err(DropReason::RogueDhcp),
        ETHERTYPE_IPV6 if guards.ra || guards.nd || guards.dhcp => check_ipv6(watch, header.src, packet),
        _ => Ok(()),
    }
}

/// Whether an ARP packet's sender is the station and one of the port's addresses, or nobody yet (a probe).
fn is_honest_arp(addresses: &[IpAddr], src: Mac, packet: &[u8]) -> bool {
    /// Ethernet, IPv4, and the lengths of their addresses (RFC 826).
    const KIND: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
    const REQUEST: [u8; 2] = [0, 1];
    let Some(arp) = packet.first_chunk::<28>() else { return false };
    let sender = Ipv4Addr::from_octets([arp[14], arp[15], arp[16], arp[17]]);
    // A probe asks whether anybody has the address that its sender would like (RFC 5227 §2.1.1).
    let is_probe = sender.is_unspecified() && arp[6..8] == REQUEST;
    arp[0..6] == KIND && arp[8..14] == src.0 && (is_probe || addresses.contains(&IpAddr::V4(sender)))
}

/// Whether an IPv4 packet is a DHCP server's. The shortest first fragment holds the UDP header, so fragments do not
/// hide one.
fn is_dhcp4_server(packet: &[u8]) -> bool {
    let Some(header) = packet.first_chunk::<20>() else { return false };
    let is_later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    if header[9] != UDP || is_later_fragment {
        return false;
    }
    let udp = packet.get(usize::from(header[0] & 15) * 4..).unwrap_or_default();
    let Some((src, dst)) = l4_ports(udp) else { return false };
    // A relay hears replies on the server's L4 port; what does not show that it is a request may be one.
    let is_reply = dst == DHCP4_SERVER && udp.get(BOOTP_OP_AT) != Some(&BOOTP_REQUEST);
    src == DHCP4_SERVER || dst == DHCP4_CLIENT || is_reply
}

/// The guards that look into IPv6.
fn check_ipv6(watch: &Watch, src: Mac, packet: &[u8]) -> Result<(), DropReason> {
    let guards = watch.guards;
    let (message, is_fragment) = match follow_headers(packet) {
        Chain::Message { protocol: ICMPV6, bytes, is_fragment } => (bytes, is_fragment),
        Chain::Message { protocol: UDP, bytes, .. } => {
            let ports = l4_ports(bytes);
            let is_server = ports.is_some_and(|(src, dst)| src == DHCP6_SERVER || dst == DHCP6_CLIENT);
            return if guards.dhcp && is_server { Err(DropReason::RogueDhcp) } else { Ok(()) };
        }
        Chain::Message { .. } | Chain::LaterFragment => return Ok(()),
        Chain::Hidden => return Err(refusal_of_hidden(guards)),
    };
    let Some(&kind) = message.first() else { return Err(refusal_of_hidden(guards)) };
    match kind {
        ROUTER_ADVERTISEMENT | REDIRECT if guards.ra => Err(DropReason::RogueRa),
        ROUTER_SOLICITATION | NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT
            if guards.nd && (is_fragment || !is_honest_nd(&watch.addresses, src, packet, message)) =>
        {
            Err(DropReason::SpoofedNd)
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
fn is_honest_nd(addresses: &[IpAddr], src: Mac, packet: &[u8], message: &[u8]) -> bool {
    let is_own =
        |address: Ipv6Addr| address.is_unicast_link_local() || addresses.contains(&IpAddr::V6(address));
    let Some(sender) = address_at(packet, 8) else { return false };
    let (speaks_truly, options_at) = match message[0] {
        ROUTER_SOLICITATION => (is_own(sender) || sender.is_unspecified(), 8),
        // From `::` it is a probe (RFC 4862 §5.4.2), whatever it asks for.
        NEIGHBOUR_SOLICITATION => (is_own(sender) || sender.is_unspecified(), 24),
        // What it speaks for is the target.
        _ => (is_own(sender) && address_at(message, 8).is_some_and(is_own), 24),
    };
    speaks_truly && message.get(options_at..).is_some_and(|options| options_name_only(src, options))
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

/// What a chain of IPv6 headers leads to.
enum Chain<'a> {
    /// The message behind the last header, or what cannot be read further (encrypted, unknown).
    Message { protocol: u8, bytes: &'a [u8], is_fragment: bool },
    /// A fragment that does not begin with the chain.
    LaterFragment,
    /// The chain is cut off or too long.
    Hidden,
}

/// Follows extension headers (RFC 8200 §4). Reads up to the frame's end, which is at least where the packet ends.
fn follow_headers(packet: &[u8]) -> Chain<'_> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const NONE: u8 = 59;
    const DESTINATION: u8 = 60;
    const MOBILITY: u8 = 135;
    const HIP: u8 = 139;
    const SHIM6: u8 = 140;

    let Some((header, mut bytes)) = packet.split_first_chunk::<40>() else { return Chain::Hidden };
    let (mut protocol, mut is_fragment) = (header[6], false);
    for _ in 0..=HEADERS_MAX {
        let is_extension = matches!(
            protocol,
            HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION | MOBILITY | HIP | SHIM6
        );
        if !is_extension {
            let is_hidden = bytes.is_empty() && protocol != NONE;
            return if is_hidden { Chain::Hidden } else { Chain::Message { protocol, bytes, is_fragment } };
        }
        let Some(extension) = bytes.first_chunk::<8>() else { return Chain::Hidden };
        let words = usize::from(extension[1]);
        let len = match protocol {
            FRAGMENT => {
                is_fragment = true;
                if u16::from_be_bytes([extension[2], extension[3]]) & 0xfff8 != 0 {
                    return Chain::LaterFragment;
                }
                8
            }
            AUTHENTICATION => (words + 2) * 4, // RFC 4302 §2.2
            _ => (words + 1) * 8,
        };
        let Some(rest) = bytes.get(len..) else { return Chain::Hidden };
        (protocol, bytes) = (extension[0], rest);
    }
    Chain::Hidden
}

fn l4_ports(bytes: &[u8]) -> Option<(u16, u16)> {
    let &[a, b, c, d] = bytes.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

fn address_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    bytes.get(at..)?.first_chunk().map(|&octets| Ipv6Addr::from_octets(octets))
}

#[cfg(test)]
mod tests;
