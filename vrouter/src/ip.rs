//! What the router's own ICMPv6 messages need of an IP header: its pseudo-header and its octets.

use core::net::{IpAddr, Ipv6Addr};

use smoltcp::wire::{IpProtocol, Ipv6Packet, checksum};
use wire::headers::IPV6_HEADER_LEN;

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

/// Writes the header of an ICMPv6 message in front of it: addresses and hop limit given, no flow label. `packet` is the
/// header's room and the message.
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
