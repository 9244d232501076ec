//! Echo: is the gateway there? (RFC 792, RFC 4443 §4.1 and §4.2; `ping`)
//!
//! ```text
//!  0      1     2         4           6                8
//!  type   0     checksum  identifier  sequence number  data …        8 → 0 (ICMP), 128 → 129 (ICMPv6)
//! ```
//!
//! The question becomes the answer in place: type and addresses change, the data stay. Every checksum is computed
//! anew, because the question may have come with an unfinished one from an offloading station. IPv4 options are left
//! out of the answer. The sender must be a single host: an answer never goes to a group (RFC 1122 §3.2.2.6).

use core::net::IpAddr;

use smoltcp::wire::IpProtocol;

use wire::ethernet::HEADER_LEN;
use wire::{DropReason, FrameBuf, Mac, Offload};

use crate::ip::{self, IPV4_HEADER_LEN, IPV6_HEADER_LEN, IpHeader};
use crate::plan::is_host;
use crate::router::emit_ethernet;

/// Octets before the data.
const ECHO_LEN: usize = 8;
/// As Linux, and as RFC 1700 recommends.
const HOP_LIMIT: u8 = 64;

/// An echo request to an address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    ip: IpHeader,
    reply: u8,
}

impl Question {
    /// `None` if the packet, which is addressed to us, is no echo request.
    ///
    /// # Errors
    /// `route.malformed-ip` if its checksum is wrong or its sender is no single host.
    pub(crate) fn parse(ip: &IpHeader, packet: &[u8], offload: Offload) -> Result<Option<Self>, DropReason> {
        let message = ip.payload(packet);
        let (request, reply) = match (ip.dst, ip.protocol) {
            (IpAddr::V4(_), IpProtocol::Icmp) => (8, 0),
            (IpAddr::V6(_), IpProtocol::Icmpv6) => (128, 129),
            _ => return Ok(None),
        };
        if message.len() < ECHO_LEN || message[..2] != [request, 0] {
            return Ok(None);
        }
        if !is_host(ip.src) || !ip::is_icmp_intact(ip, message, offload) {
            return Err(DropReason::MalformedIp);
        }
        Ok(Some(Self { ip: *ip, reply }))
    }

    /// Turns the frame into the reply.
    pub(crate) fn answer(self, mac: Mac, asker: Mac, frame: &mut FrameBuf) {
        let IpHeader { src: dst, dst: src, header_len, total_len, .. } = self.ip;
        frame.truncate(HEADER_LEN + total_len);
        frame.offload = Offload::NONE;
        let short_header_len = match src {
            IpAddr::V4(_) => IPV4_HEADER_LEN,
            IpAddr::V6(_) => IPV6_HEADER_LEN,
        };
        let options_len = header_len - short_header_len;
        frame.bytes_mut().copy_within(..HEADER_LEN + short_header_len, options_len);
        frame.advance(options_len);

        let (ethernet, packet) = frame.bytes_mut().split_at_mut(HEADER_LEN);
        emit_ethernet(ethernet, asker, mac, self.ip.ethertype());
        let message = &mut packet[short_header_len..];
        message[..4].copy_from_slice(&[self.reply, 0, 0, 0]);
        let checksum = ip::icmp_checksum(src, dst, message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ip::emit_answer_v4(packet, src, dst, HOP_LIMIT),
            (IpAddr::V6(src), IpAddr::V6(dst)) => ip::emit_answer_v6(packet, src, dst, HOP_LIMIT),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                unreachable!("one header has addresses of one version")
            }
        }
    }
}
