//! Neighbour discovery: who has an IPv6 address of the gateway? (RFC 4861)
//!
//! ```text
//!  0     1     2         4          8               24
//!  135   0     checksum  reserved   target address  options          solicitation
//!  136   0     checksum  R S O …    target address  2, 1, our MAC    advertisement
//! ```
//!
//! Answered: solicitations for an owned address or the link-local one, to the solicited-node group or to the
//! gateway directly, and probes from `::` (duplicate address detection, RFC 4862 §5.4.3), which all nodes must hear.
//! A solicitation for an owned address that fails a check of RFC 4861 §7.1.1 is dropped as `route.malformed-ip`. All
//! other neighbour discovery is between the stations.

use core::net::{IpAddr, Ipv6Addr};

use smoltcp::wire::{EthernetAddress, Icmpv6Packet, IpProtocol, NdiscNeighborFlags, NdiscRepr};
use wire::ethernet::{ETHERTYPE_IPV6, HEADER_LEN};
use wire::{DropReason, FrameBuf, Mac, Offload};

use crate::ip::{self, IPV6_HEADER_LEN, IpHeader};
use crate::router::{Station, emit_ethernet};

const SOLICITATION: u8 = 135;
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
/// Octets before the options.
const SOLICITATION_LEN: usize = 24;
/// Octets of an advertisement with its one option.
const ADVERTISEMENT_LEN: usize = 32;
/// The hop limit that no router has touched (RFC 4861 §3.1).
const HOP_LIMIT: u8 = 255;
/// ff02::1, and how Ethernet addresses it (RFC 2464 §7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

/// A solicitation for an address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// `None`: the asker has no address yet and probes whether it may take the target.
    asker: Option<Ipv6Addr>,
    target: Ipv6Addr,
}

impl Question {
    /// `None` if the packet is no solicitation for an address that the station owns.
    ///
    /// # Errors
    /// `route.malformed-ip` if it is, but must not be believed (RFC 4861 §7.1.1).
    pub(crate) fn parse(
        station: &Station,
        ip: &IpHeader,
        packet: &[u8],
        offload: Offload,
    ) -> Result<Option<Self>, DropReason> {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip.src, ip.dst) else { return Ok(None) };
        let message = ip.payload(packet);
        if ip.protocol != IpProtocol::Icmpv6 || message.first() != Some(&SOLICITATION) {
            return Ok(None);
        }
        let Some((head, options)) = message.split_first_chunk::<SOLICITATION_LEN>() else { return Ok(None) };
        let Some(&target) = head.last_chunk().map(|octets: &[u8; 16]| octets) else { return Ok(None) };
        let target = Ipv6Addr::from_octets(target);
        if !station.owns(target.into()) {
            return Ok(None);
        }
        let has_link_layer_address = scan_options(options).ok_or(DropReason::MalformedIp)?;
        let is_probe = src.is_unspecified();
        let is_valid = ip.hop_limit == HOP_LIMIT
            && head[1] == 0
            && !src.is_multicast()
            && ip::is_icmp_intact(ip, message, offload)
            && (!is_probe || dst == solicited_node(target) && !has_link_layer_address);
        if is_valid {
            Ok(Some(Self { asker: (!is_probe).then_some(src), target }))
        } else {
            Err(DropReason::MalformedIp)
        }
    }

    /// Turns the frame into the advertisement.
    pub(crate) fn answer(self, mac: Mac, asker: Mac, frame: &mut FrameBuf) {
        const MESSAGE: usize = HEADER_LEN + IPV6_HEADER_LEN;
        let (dst_mac, dst) = match self.asker {
            Some(address) => (asker, address),
            None => (ALL_NODES_MAC, ALL_NODES),
        };
        let mut flags = NdiscNeighborFlags::ROUTER | NdiscNeighborFlags::OVERRIDE;
        flags.set(NdiscNeighborFlags::SOLICITED, self.asker.is_some()); // RFC 4861 §7.2.4.

        let mut reply = [0; MESSAGE + ADVERTISEMENT_LEN];
        emit_ethernet(&mut reply, dst_mac, mac, ETHERTYPE_IPV6);
        NdiscRepr::NeighborAdvert {
            flags,
            target_addr: self.target,
            lladdr: Some(EthernetAddress(mac.0).into()),
        }
        .emit(&mut Icmpv6Packet::new_unchecked(&mut reply[MESSAGE..]));
        let checksum = ip::icmp_checksum(self.target.into(), dst.into(), &reply[MESSAGE..]);
        reply[MESSAGE + 2..MESSAGE + 4].copy_from_slice(&checksum.to_be_bytes());
        ip::emit_answer_v6(&mut reply[HEADER_LEN..], self.target, dst, HOP_LIMIT);
        frame.fill(&reply);
    }
}

/// Whether there is a source link-layer address among the options; `None` if one has no length or ends too early.
fn scan_options(mut options: &[u8]) -> Option<bool> {
    let mut found = false;
    while let Some((&kind, rest)) = options.split_first() {
        let len = usize::from(*rest.first()?) * 8; // In units of 8 octets (RFC 4861 §4.6).
        if len == 0 {
            return None;
        }
        found |= kind == SOURCE_LINK_LAYER_ADDRESS;
        options = options.get(len..)?;
    }
    Some(found)
}

/// ff02::1:ff00:0/104 and the last 24 bits of the address (RFC 4291 §2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from_octets([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tests::{Heard, ask, change, seal};

    /// Station fd00::9 asks the solicited-node group for fd00::1 and names its MAC.
    pub(crate) const SOLICITATION: [u8; 86] = [
        0x33, 0x33, 0xff, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0x20, 0x3a, 0xff, 0xfd, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1, 0x87,
        0, 0x7d, 0x89, 0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 0, 0, 0, 0, 9,
    ];
    /// The gateway tells the station: router, solicited, override.
    const ADVERTISEMENT: [u8; 86] = [
        2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0x20, 0x3a, 0xff, 0xfd, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0x88, 0, 0x9c,
        0x94, 0xe0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1, 2, 0, 0, 0, 0, 1,
    ];
    /// A station without an address asks whether anybody has fd00::1; the option is a nonce (RFC 7527).
    pub(crate) const PROBE: [u8; 86] = [
        0x33, 0x33, 0xff, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0x20, 0x3a, 0xff, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1, 0x87, 0,
        0x66, 0x90, 0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x0e, 1, 1, 2, 3, 4, 5, 6,
    ];
    /// The gateway tells everybody: router, override.
    const PROBE_ADVERTISEMENT: [u8; 86] = [
        0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0x20, 0x3a, 0xff, 0xfd, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x88, 0,
        0xda, 0x9a, 0xa0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1, 2, 0, 0, 0, 0, 1,
    ];

    #[test]
    fn a_solicitation_is_answered_to_the_asker() {
        assert_eq!(ask(&SOLICITATION), Heard::Answer(ADVERTISEMENT.to_vec()));
    }

    #[test]
    fn a_probe_is_answered_to_all() {
        assert_eq!(ask(&PROBE), Heard::Answer(PROBE_ADVERTISEMENT.to_vec()));
    }

    #[test]
    fn the_link_local_address_follows_from_the_mac() {
        let target = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1];
        let Heard::Answer(answer) = ask(&seal(&change(&SOLICITATION, 62, &target))) else {
            panic!("the link-local address is ours");
        };
        assert_eq!((&answer[22..38], &answer[62..78]), (&target[..], &target[..]));
    }

    #[test]
    fn reachability_is_confirmed_directly_and_without_options() {
        let mut direct = change(&SOLICITATION[..78], 0, &[2, 0, 0, 0, 0, 1]); // RFC 4861 §7.3.1: a unicast probe.
        direct[19] = 24;
        direct[38..54].copy_from_slice(&ADVERTISEMENT[22..38]);
        assert_eq!(ask(&seal(&direct)), Heard::Answer(ADVERTISEMENT.to_vec()));
    }

    #[test]
    fn what_others_say_among_themselves_passes() {
        for (what, frame) in [
            ("another's address", seal(&change(&SOLICITATION, 77, &[2]))),
            ("an advertisement", seal(&change(&SOLICITATION, 54, &[136]))),
            ("not ICMPv6", change(&SOLICITATION, 20, &[17])),
            ("a truncated packet", SOLICITATION[..80].to_vec()),
            ("a short message", seal(&change(&SOLICITATION, 19, &[23]))),
        ] {
            assert_eq!(ask(&frame), Heard::Pass, "{what}");
        }
    }

    #[test]
    fn an_invalid_solicitation_for_our_address_is_dropped() {
        let to_a_group = change(&SOLICITATION, 22, &[0xff, 2]);
        for (what, frame) in [
            ("a router was in between", change(&SOLICITATION, 21, &[254])),
            ("a wrong checksum", change(&SOLICITATION, 57, &[0])),
            ("a code", seal(&change(&SOLICITATION, 55, &[1]))),
            ("an option without length", seal(&change(&SOLICITATION, 79, &[0]))),
            ("an option past the end", seal(&change(&SOLICITATION, 79, &[2]))),
            ("a group as sender", seal(&to_a_group)),
            ("a probe that names its MAC", seal(&change(&PROBE, 78, &[1]))),
            ("a probe to another group", seal(&change(&PROBE, 53, &[2]))),
        ] {
            assert_eq!(ask(&frame), Heard::Drop(DropReason::MalformedIp), "{what}");
        }
    }
}
