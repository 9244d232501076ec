//! Neighbour discovery: questions, answers and announcements, read and written (RFC 4861).
//!
//! ```text
//!  0     1     2         4          8               24
//!  133   0     checksum  reserved   options                          router solicitation
//!  135   0     checksum  reserved   target address  options          solicitation
//!  136   0     checksum  R S O …    target address  2, 1, our MAC    advertisement
//! ```
//!
//! Answered: solicitations for an owned address or the link-local one, to the solicited-node group or to the
//! gateway directly, and probes from `::` (duplicate address detection, RFC 4862 §5.4.3), which all nodes must hear.
//! A message that concerns the router and fails a check of RFC 4861 §6.1.1, §7.1.1 or §7.1.2 is dropped as
//! `route.malformed-ip`. Discovery behind IPv6 extension headers, fragments among them (RFC 6980), is not looked at.
//! What is learned from what is heard, `learn` says.

use core::net::{IpAddr, Ipv6Addr};

use wire::checksum::Sum;
use wire::ethernet::{ETHERTYPE_IPV6, HEADER_LEN};
use wire::headers::{Family, Fragment, IPV6_HEADER_LEN, PROTOCOL_ICMPV6};
use wire::{DropReason, FrameBuf, Mac, Offload, UnicastMac};

use crate::icmp::Ends;
use crate::packet::Packet;
use crate::plan::is_host;
use crate::router::emit_ethernet;

pub(super) const ROUTER_SOLICITATION: u8 = 133;
pub(super) const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;
pub(super) const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
/// Octets before the options, of solicitation and advertisement.
const TARGETED_LEN: usize = 24;
/// Octets before the options of a router solicitation.
const ROUTER_SOLICITATION_LEN: usize = 8;
/// Octets of either with its one option.
const MESSAGE_LEN: usize = 32;
/// The hop limit that no router has touched (RFC 4861 §3.1).
const HOP_LIMIT: u8 = 255;
/// Flags of an advertisement: its sender is a router; it was asked for; it replaces what was known.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// ff02::1, and how Ethernet addresses it (RFC 2464 §7).
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub(super) const ALL_NODES_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

/// A message of neighbour discovery before any of it is believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u8,
    pub(super) src: Ipv6Addr,
    dst: Ipv6Addr,
    hop_limit: u8,
    offload: Offload,
    octets: &'a [u8],
}

/// What an advertisement says beside its target and MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) is_solicited: bool,
    pub(super) overrides: bool,
}

impl<'a> Message<'a> {
    /// `None` if the packet is no neighbour discovery, or hides behind extension headers.
    pub(super) fn of(packet: &Packet, frame: &'a FrameBuf) -> Option<Self> {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (packet.src, packet.dst) else { return None };
        let is_plain = packet.headers.family == Family::V6
            && packet.headers.fragment == Fragment::Whole
            && !packet.headers.has_l3_options();
        let kind = packet.icmp_type(frame.bytes()).filter(|_| is_plain)?;
        let octets = packet.l4(frame.bytes());
        let hop_limit = packet.hop_limit;
        Some(Self { kind, src, dst, hop_limit, offload: frame.offload, octets })
    }

    /// Whom a solicitation or advertisement is about; `None` if it ends before it says so.
    pub(super) fn target(&self) -> Option<Ipv6Addr> {
        let target: &[u8; 16] = self.octets.get(8..TARGETED_LEN)?.first_chunk()?;
        Some(Ipv6Addr::from_octets(*target))
    }

    /// Checks a solicitation (RFC 4861 §7.1.1); the MAC address that the asker names as its own.
    ///
    /// # Errors
    /// `route.malformed-ip`: it must not be believed.
    pub(super) fn check_solicitation(&self) -> Result<Option<Mac>, DropReason> {
        let mac = self.check(TARGETED_LEN, SOURCE_LINK_LAYER_ADDRESS)?;
        let is_probe_to_its_group = || {
            let group = self.target().map(solicited_node);
            group == Some(self.dst) && mac == Named::No
        };
        let is_valid = !self.src.is_multicast() && (!self.src.is_unspecified() || is_probe_to_its_group());
        if is_valid { Ok(mac.station()) } else { Err(DropReason::MalformedIp) }
    }

    /// Checks an advertisement (RFC 4861 §7.1.2); what it says of its target.
    ///
    /// # Errors
    /// `route.malformed-ip`: it must not be believed.
    pub(super) fn check_advertisement(&self) -> Result<(Flags, Option<Mac>), DropReason> {
        let mac = self.check(TARGETED_LEN, TARGET_LINK_LAYER_ADDRESS)?;
        let flags = self.octets[4]; // `check` has seen 24 octets.
        let flags = Flags { is_solicited: flags & SOLICITED != 0, overrides: flags & OVERRIDE != 0 };
        let is_valid = self.target().is_some_and(|target| !target.is_multicast())
            && !self.src.is_multicast()
            && !(self.dst.is_multicast() && flags.is_solicited);
        if is_valid { Ok((flags, mac.station())) } else { Err(DropReason::MalformedIp) }
    }

    /// Checks a router solicitation (RFC 4861 §6.1.1); the MAC address that the asker names as its own.
    ///
    /// # Errors
    /// `route.malformed-ip`: it must not be believed.
    pub(super) fn check_router_solicitation(&self) -> Result<Option<Mac>, DropReason> {
        let mac = self.check(ROUTER_SOLICITATION_LEN, SOURCE_LINK_LAYER_ADDRESS)?;
        let is_anonymous = self.src.is_unspecified() && mac == Named::No;
        let is_valid = is_anonymous || is_host(self.src.into());
        if is_valid { Ok(mac.station()) } else { Err(DropReason::MalformedIp) }
    }

    /// What all of them must fulfil. Options begin at `options`; of them the one of `kind` is read.
    fn check(&self, options: usize, kind: u8) -> Result<Named, DropReason> {
        let named = self.octets.get(options..).and_then(|options| scan_options(options, kind));
        let is_valid = self.hop_limit == HOP_LIMIT && self.octets.get(1) == Some(&0) && self.is_intact();
        named.filter(|_| is_valid).ok_or(DropReason::MalformedIp)
    }

    /// A checksum that its sender has left unfinished or vouches for is not verified. No message is a super-segment.
    fn is_intact(&self) -> bool {
        let is_right = || {
            let len = u32::try_from(self.octets.len()).expect("a message is part of a frame");
            let (src, dst) = (self.src.octets(), self.dst.octets());
            (Sum::pseudo_v6(src, dst, PROTOCOL_ICMPV6, len) + Sum::of(self.octets)).is_intact()
        };
        !self.offload.is_super_segment() && (self.offload.flags != 0 || is_right())
    }
}

/// Whether an option names a link-layer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    No,
    /// One that no station can have on Ethernet.
    Nonsense,
    Station(Mac),
}

impl Named {
    const fn station(self) -> Option<Mac> {
        match self {
            Self::No | Self::Nonsense => None,
            Self::Station(mac) => Some(mac),
        }
    }
}

/// The link-layer address in the first option of `kind`; `None` if an option has no length or ends too early.
fn scan_options(mut options: &[u8], kind: u8) -> Option<Named> {
    let mut named = Named::No;
    while let Some((&found, rest)) = options.split_first() {
        let len = usize::from(*rest.first()?) * 8; // In units of 8 octets (RFC 4861 §4.6).
        let option = options.get(..len).filter(|option| !option.is_empty())?;
        if found == kind && named == Named::No {
            let mac = <[u8; 8]>::try_from(option).ok().map(|[_, _, mac @ ..]| Mac(mac));
            let mac = mac.and_then(UnicastMac::new);
            named = mac.map_or(Named::Nonsense, |mac| Named::Station(mac.mac()));
        }
        options = &options[len..];
    }
    Some(named)
}

/// Makes the frame the advertisement of `target`, at `mac`, to who asked; `None` asked anonymously, so all are told.
pub(super) fn emit_answer(target: Ipv6Addr, mac: Mac, asker: Option<(Mac, Ipv6Addr)>, frame: &mut FrameBuf) {
    let (dst_mac, dst) = asker.unwrap_or((ALL_NODES_MAC, ALL_NODES));
    let solicited = if asker.is_some() { SOLICITED } else { 0 }; // RFC 4861 §7.2.4.
    let mut message = targeted(ADVERTISEMENT, target, TARGET_LINK_LAYER_ADDRESS, mac);
    message[4] = ROUTER | OVERRIDE | solicited;
    emit(mac, dst_mac, target, dst, &message, frame);
}

/// Makes the frame a question for `target`: to its group, or to the MAC address that it is known by.
pub(super) fn emit_question(
    (mac, src): (Mac, Ipv6Addr),
    target: Ipv6Addr,
    known: Option<Mac>,
    frame: &mut FrameBuf,
) {
    let message = targeted(SOLICITATION, target, SOURCE_LINK_LAYER_ADDRESS, mac);
    let group = solicited_node(target);
    let [.., a, b, c, d] = group.octets();
    let group_mac = Mac([0x33, 0x33, a, b, c, d]); // RFC 2464 §7.
    let (dst_mac, dst) = known.map_or((group_mac, group), |known| (known, target));
    emit(mac, dst_mac, src, dst, &message, frame);
}

/// A message about a target with one option that names a MAC address.
fn targeted(kind: u8, target: Ipv6Addr, option: u8, mac: Mac) -> [u8; MESSAGE_LEN] {
    let mut message = [0; MESSAGE_LEN];
    message[0] = kind;
    message[8..TARGETED_LEN].copy_from_slice(&target.octets());
    message[TARGETED_LEN..TARGETED_LEN + 2].copy_from_slice(&[option, 1]);
    message[TARGETED_LEN + 2..].copy_from_slice(&mac.0);
    message
}

/// Makes the frame this ICMPv6 message, and fills its checksum field.
pub(super) fn emit(
    src_mac: Mac,
    dst_mac: Mac,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    message: &[u8],
    frame: &mut FrameBuf,
) {
    let mut head = [0; HEADER_LEN + IPV6_HEADER_LEN];
    emit_ethernet(&mut head, dst_mac, src_mac, ETHERTYPE_IPV6);
    frame.fill(&head);
    frame.extend(message);
    let packet = &mut frame.bytes_mut()[HEADER_LEN..];
    Ends::V6 { src, dst }.emit(packet, 0);
    packet[7] = HOP_LIMIT; // Only who is on the link can send that (RFC 4861 §3.1).
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
