//! What the router needs of an IP header, of either version, and the few edits that it makes.
//!
//! Everything after this file is written once for both versions.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, checksum};
use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use wire::{DropReason, Offload};

/// Octets of an IPv4 header without options.
pub(crate) const IPV4_HEADER_LEN: usize = 20;
/// Octets of an IPv6 header without extensions.
pub(crate) const IPV6_HEADER_LEN: usize = 40;

/// Summary of a checked IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IpHeader {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// What follows the header. IPv6 extension headers are not looked through: they count as a protocol.
    pub(crate) protocol: IpProtocol,
    /// TTL or hop limit.
    pub(crate) hop_limit: u8,
    /// Octets of the header, IPv4 options included.
    pub(crate) header_len: usize,
    /// Octets of the packet; what the frame has beyond them is padding.
    pub(crate) total_len: usize,
    /// One piece of a packet. (An IPv6 fragment shows as its extension header.)
    pub(crate) is_fragment: bool,
}

impl IpHeader {
    /// Reads the header of a packet of either version.
    ///
    /// # Errors
    /// `route.malformed-ip` if the packet is shorter than its header says, of another version, or its header
    /// checksum is wrong.
    pub(crate) fn parse(packet: &[u8]) -> Result<Self, DropReason> {
        match packet.first().map(|octet| octet >> 4) {
            Some(4) => Self::parse_v4(packet),
            Some(6) => Self::parse_v6(packet),
            _ => None,
        }
        .ok_or(DropReason::MalformedIp)
    }

    fn parse_v4(packet: &[u8]) -> Option<Self> {
        let view = Ipv4Packet::new_checked(packet).ok()?;
        let header_len = usize::from(view.header_len());
        if checksum::data(&packet[..header_len]) != !0 {
            return None;
        }
        Some(Self {
            src: view.src_addr().into(),
            dst: view.dst_addr().into(),
            protocol: view.next_header(),
            hop_limit: view.hop_limit(),
            header_len,
            total_len: usize::from(view.total_len()),
            is_fragment: view.more_frags() || view.frag_offset() != 0,
        })
    }

    fn parse_v6(packet: &[u8]) -> Option<Self> {
        let view = Ipv6Packet::new_checked(packet).ok()?;
        Some(Self {
            src: view.src_addr().into(),
            dst: view.dst_addr().into(),
            protocol: view.next_header(),
            hop_limit: view.hop_limit(),
            header_len: IPV6_HEADER_LEN,
            total_len: view.total_len(),
            is_fragment: false,
        })
    }

    /// The type field that an Ethernet header must have in front of this packet.
    pub(crate) const fn ethertype(&self) -> u16 {
        match self.dst {
            IpAddr::V4(_) => ETHERTYPE_IPV4,
            IpAddr::V6(_) => ETHERTYPE_IPV6,
        }
    }

    /// What the packet carries, without the frame's padding. `packet` is the one that was parsed.
    pub(crate) fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        &packet[self.header_len..self.total_len]
    }
}

/// The Internet checksum, as it stands in the field, of an ICMP message from `src` to `dst` whose checksum field is
/// zero; zero for one whose field is filled and correct. ICMPv6 covers a pseudo-header (RFC 4443 §2.3), ICMP does not
/// (RFC 792).
pub(crate) fn icmp_checksum(src: IpAddr, dst: IpAddr, message: &[u8]) -> u16 {
    let pseudo = match (src, dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            #[expect(clippy::cast_possible_truncation, reason = "a message is part of a frame")]
            let len = message.len() as u32;
            checksum::pseudo_header_v6(&src, &dst, IpProtocol::Icmpv6, len)
        }
        (IpAddr::V4(_), _) | (_, IpAddr::V4(_)) => 0,
    };
    !checksum::combine(&[pseudo, checksum::data(message)])
}

/// Whether an ICMP message of either version may be believed. A checksum that its sender has left unfinished or
/// vouches for is not verified. No ICMP message is a super-segment.
pub(crate) fn is_icmp_intact(ip: &IpHeader, message: &[u8], offload: Offload) -> bool {
    !offload.is_super_segment() && (offload.flags != 0 || icmp_checksum(ip.src, ip.dst, message) == 0)
}

/// Writes the header of an answer over the question's: addresses given, hop limit given, traffic class kept, no
/// fragmentation. `packet` is a header without options and its payload.
pub(crate) fn emit_answer_v4(packet: &mut [u8], src: Ipv4Addr, dst: Ipv4Addr, hop_limit: u8) {
    let total_len = u16::try_from(packet.len()).expect("an answer is no longer than its question");
    let mut view = Ipv4Packet::new_unchecked(packet);
    view.set_version(4);
    view.set_header_len(20);
    view.set_total_len(total_len);
    view.set_ident(0); // Free to choose for a packet that is not fragmented (RFC 6864 §4.1).
    view.clear_flags();
    view.set_dont_frag(true);
    view.set_frag_offset(0);
    view.set_hop_limit(hop_limit);
    view.set_src_addr(src);
    view.set_dst_addr(dst);
    view.fill_checksum();
}

/// The same for IPv6. The flow label is the asker's business (RFC 6437 §2) and becomes 0.
pub(crate) fn emit_answer_v6(packet: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8) {
    let payload_len =
        u16::try_from(packet.len() - IPV6_HEADER_LEN).expect("an answer is no longer than its question");
    let mut view = Ipv6Packet::new_unchecked(packet);
    view.set_version(6);
    view.set_flow_label(0);
    view.set_payload_len(payload_len);
    view.set_next_header(IpProtocol::Icmpv6);
    view.set_hop_limit(hop_limit);
    view.set_src_addr(src);
    view.set_dst_addr(dst);
}
