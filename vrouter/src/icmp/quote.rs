//! The quote: the packet inside an ICMP error, whose flow says whom the error concerns (RFC 5508 §4, §7).
//!
//! ```text
//!         l3 ┐            l4 ┐ 8 octets or more      end ┐
//!  | L2 | L3 | ICMP, 8 | L3 … options | L4 ports … |     | RFC 4884: padding and extensions |
//!  outer packet: to A    inner packet: from A
//! ```
//!
//! Errors that quote: unreachable (packet too big among them), time exceeded, parameter problem. A redirect quotes too,
//! but is between neighbours; source quench is deprecated (RFC 6633). Both are no error here, nor is an error about a
//! protocol without flows (GRE, ESP, an ICMP query other than echo): nothing in it can be translated.
//!
//! A quote is cut short by whoever wrote it, so it has a walk of its own that asks for no more than is there. It is
//! refused as `route.bad-quote` if it contradicts itself or the packet around it: another IP version, no whole L3
//! header, a wrong IPv4 header checksum (RFC 5508 REQ-3 a), fewer than eight octets behind it (RFC 792), a fragment
//! other than the first, an error about an error, a source route, a source that is not whom the error is sent to
//! (RFC 5508 §4), or an RFC 4884 length that points past the end. An error in pieces is refused too, since no error is
//! that long. The quoted L4 checksum is not verified (RFC 5508 REQ-3 c).

use core::net::IpAddr;

use wire::checksum::{Sum, TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET};
use wire::headers::{
    EXTENSIONS_MAX, Family, Fragment, PROTOCOL_AUTHENTICATION, PROTOCOL_DESTINATION_OPTIONS,
    PROTOCOL_FRAGMENT, PROTOCOL_HOP_BY_HOP, PROTOCOL_ICMPV4, PROTOCOL_ICMPV6, PROTOCOL_ROUTING, PROTOCOL_TCP,
    PROTOCOL_UDP,
};
use wire::{DropReason, Offload};

use super::{MESSAGE_LEN, is_intact};
use crate::packet::{ECHO_V4, ECHO_V6, Endpoint, Flow, Packet};
use crate::plan::Protocol;

/// Octets of the quoted L4 header that every quote has (RFC 792): L4 ports, or ICMP up to its identifier.
const L4_LEN_MIN: usize = 8;
/// Offset of the checksum field in an ICMP message.
const ICMP_CHECKSUM_OFFSET: u16 = 2;

/// The packet inside an ICMP error. Positions count from the frame's first octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The flow that the quoted packet belongs to, in its direction: its source is whom the error is for. Translation
    /// looks for the session of [`Flow::reversed`].
    pub flow: Flow,
    /// The version of both packets.
    pub family: Family,
    /// Start of the quoted L3 header.
    pub l3: usize,
    /// Start of the quoted L4 header. At least eight octets of it are there.
    pub l4: usize,
    /// End of what is quoted of the packet; a piece of it as a rule.
    pub end: usize,
    /// Where the quoted L4 port or echo identifier of [`Flow::src`] stands.
    pub src_l4_port: Option<usize>,
    /// Where the quoted L4 port or echo identifier of [`Flow::dst`] stands.
    pub dst_l4_port: Option<usize>,
    /// Where the quoted L4 checksum stands, if it is quoted. That of UDP may be 0: there is none (RFC 768). Of a
    /// packet that its sender left unfinished it holds what the sender put there.
    pub l4_checksum: Option<usize>,
}

/// Reads the quote of an ICMP error; `packet` tells the headers of `bytes`, an untagged frame. `None` if the packet is
/// no ICMP error, or is about a protocol that has no flows.
///
/// # Errors
/// `route.malformed-ip` if the error's own checksum is wrong, and is neither vouched for nor left unfinished;
/// `route.bad-quote` if the quote lies, as said above.
pub fn parse_quote(packet: &Packet, bytes: &[u8], offload: Offload) -> Result<Option<Quote>, DropReason> {
    let Some(kind) = packet.icmp_type(bytes) else { return Ok(None) };
    let message = packet.l4(bytes);
    // Octets of the quote before the extensions, in units of the version (RFC 4884 §4); 0 says that it is all quote.
    let quoted_len = match (packet.headers.family, kind) {
        (Family::V4, 3 | 11 | 12) => 4 * usize::from(message[5]),
        (Family::V6, 1 | 3) => 8 * usize::from(message[4]),
        (Family::V6, 2 | 4) => 0,
        (Family::V4 | Family::V6, _) => return Ok(None),
    };
    if packet.headers.fragment != Fragment::Whole {
        return Err(DropReason::BadQuote);
    }
    if !is_intact(packet, bytes, offload) {
        return Err(DropReason::MalformedIp);
    }
    let l3 = packet.headers.l4 + MESSAGE_LEN;
    let end = if quoted_len == 0 { packet.headers.end } else { l3 + quoted_len };
    let bytes = bytes.get(..end).filter(|_| end <= packet.headers.end).ok_or(DropReason::BadQuote)?;
    let inner = Inner::walk(packet.headers.family, bytes, l3).ok_or(DropReason::BadQuote)?;
    if inner.src != packet.dst || inner.end < inner.l4 + L4_LEN_MIN || inner.is_error(bytes) {
        return Err(DropReason::BadQuote);
    }
    Ok(inner.quote(packet.headers.family, bytes, l3))
}

/// The quoted packet's L3 header.
#[derive(Clone, Copy, Debug)]
struct Inner {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    l4: usize,
    end: usize,
}

impl Inner {
    /// `None` if it contradicts itself, or is a later fragment.
    fn walk(family: Family, bytes: &[u8], l3: usize) -> Option<Self> {
        match family {
            Family::V4 => Self::walk_v4(bytes, l3),
            Family::V6 => Self::walk_v6(bytes, l3),
        }
    }

    fn walk_v4(bytes: &[u8], l3: usize) -> Option<Self> {
        let fixed: &[u8; 20] = bytes.get(l3..)?.first_chunk()?;
        let header_len = usize::from(fixed[0] & 15) * 4;
        let total_len = usize::from(be16(fixed, 2));
        let header = bytes.get(l3..l3 + header_len)?;
        let is_sound = fixed[0] >> 4 == 4 && header_len >= fixed.len() && total_len >= header_len;
        let is_first = be16(fixed, 6) & 0x1fff == 0;
        let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *fixed;
        (is_sound && is_first && Sum::of(header).is_intact()).then(|| Self {
            src: [s0, s1, s2, s3].into(),
            dst: [d0, d1, d2, d3].into(),
            protocol: fixed[9],
            l4: l3 + header_len,
            end: bytes.len().min(l3 + total_len),
        })
    }

    fn walk_v6(bytes: &[u8], l3: usize) -> Option<Self> {
        let fixed: &[u8; 40] = bytes.get(l3..)?.first_chunk()?;
        let src: [u8; 16] = *fixed[8..].first_chunk()?;
        let dst: [u8; 16] = *fixed[24..].first_chunk()?;
        let end = bytes.len().min(l3 + fixed.len() + usize::from(be16(fixed, 4)));
        let (mut l4, mut protocol) = (l3 + fixed.len(), fixed[6]);
        for _ in 0..EXTENSIONS_MAX {
            let extension: &[u8; 4] = bytes.get(l4..)?.first_chunk()?;
            let len = match protocol {
                PROTOCOL_HOP_BY_HOP | PROTOCOL_DESTINATION_OPTIONS => 8 + 8 * usize::from(extension[1]),
                PROTOCOL_AUTHENTICATION => 8 + 4 * usize::from(extension[1]),
                PROTOCOL_FRAGMENT if be16(extension, 2) >> 3 == 0 => 8,
                PROTOCOL_FRAGMENT | PROTOCOL_ROUTING => return None,
                _ => break,
            };
            l4 += len;
            protocol = extension[0];
        }
        (fixed[0] >> 4 == 6).then(|| Self { src: src.into(), dst: dst.into(), protocol, l4, end })
    }

    /// Whether the quoted packet is an error itself, about which there can be none.
    fn is_error(&self, bytes: &[u8]) -> bool {
        let kind = bytes[self.l4];
        match self.protocol {
            PROTOCOL_ICMPV4 => super::error::is_error_v4(kind),
            PROTOCOL_ICMPV6 => kind < 128,
            _ => false,
        }
    }

    /// `None` if the protocol has no flows. Eight octets of L4 are there.
    fn quote(&self, family: Family, bytes: &[u8], l3: usize) -> Option<Quote> {
        let Self { src, dst, protocol, l4, end } = *self;
        let (asked, answered) = match family {
            Family::V4 => (ECHO_V4.0, ECHO_V4.1),
            Family::V6 => (ECHO_V6.0, ECHO_V6.1),
        };
        let (protocol, src_l4_port, dst_l4_port, checksum_offset) = match (family, protocol) {
            (_, PROTOCOL_TCP) => (Protocol::Tcp, Some(l4), Some(l4 + 2), TCP_CHECKSUM_OFFSET),
            (_, PROTOCOL_UDP) => (Protocol::Udp, Some(l4), Some(l4 + 2), UDP_CHECKSUM_OFFSET),
            (Family::V4, PROTOCOL_ICMPV4) | (Family::V6, PROTOCOL_ICMPV6) if bytes[l4] == asked => {
                (Protocol::Echo, Some(l4 + 4), None, ICMP_CHECKSUM_OFFSET)
            }
            (Family::V4, PROTOCOL_ICMPV4) | (Family::V6, PROTOCOL_ICMPV6) if bytes[l4] == answered => {
                (Protocol::Echo, None, Some(l4 + 4), ICMP_CHECKSUM_OFFSET)
            }
            (Family::V4 | Family::V6, _) => return None,
        };
        let number = |at: Option<usize>| at.map_or(0, |at| be16(bytes, at));
        let l4_checksum = Some(l4 + usize::from(checksum_offset)).filter(|at| at + 2 <= end);
        let flow = Flow {
            protocol,
            src: Endpoint { address: src, l4_port: number(src_l4_port) },
            dst: Endpoint { address: dst, l4_port: number(dst_l4_port) },
        };
        Some(Quote { flow, family, l3, l4, end, src_l4_port, dst_l4_port, l4_checksum })
    }
}

/// The number at octet `at`, which the caller has seen to be there.
fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests;
