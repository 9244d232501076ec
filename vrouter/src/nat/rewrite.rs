//! Translation written into a packet: addresses, L4 ports, hop limit, and every sum that covers them.
//!
//! Nothing is summed anew. A change is a [`Delta`], applied to each sum that covers it:
//!
//! ```text
//!                             addresses          L4 ports, echo identifier
//!  IPv4 header checksum       yes                no
//!  TCP, UDP, finished         yes                yes
//!  TCP, UDP, partial          yes, to the sum    no: summed when it is finished
//!  ICMP (v4)                  no                 yes
//!  ICMPv6                     yes                yes
//! ```
//!
//! The checksum of a first fragment covers the whole packet and changes by the same delta; later fragments have no L4
//! header, so of them only the addresses change. A UDP checksum of 0 says that there is none and stays. A checksum that
//! was wrong stays wrong: repairing it would vouch for octets that nobody has seen.
//!
//! An ICMP error quotes the packet that it is about. Its receiver must find the packet that it knows there (RFC 5508
//! §4.2, RFC 4787 REQ-12): [`rewrite_quote`] changes the quoted addresses, L4 ports and checksums, as far as they are
//! quoted, and the error's own checksum, which covers them. What follows the quote (RFC 4884 extensions) stays.

use core::net::IpAddr;
use core::ops::Range;

use wire::FrameBuf;
use wire::checksum::{Delta, TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET};
use wire::headers::{Family, Fragment, PROTOCOL_ICMPV4, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

use crate::icmp::quote::Quote;
use crate::packet::{ECHO_V4, ECHO_V6, Endpoint, Packet};
use crate::plan::Protocol;

/// Where the checksum stands in an ICMP message.
const ICMP_CHECKSUM_OFFSET: u16 = 2;
/// Where the identifier stands in an echo message.
const ECHO_IDENTIFIER_OFFSET: usize = 4;

/// Gives the packet other endpoints. Addresses are of the packet's family; an L4 port is written where the packet has
/// one: into TCP and UDP both, into an echo request the source's and into a reply the destination's as its identifier,
/// into later fragments and other protocols none.
#[inline]
pub fn rewrite(frame: &mut FrameBuf, packet: &Packet, src: Endpoint, dst: Endpoint) {
    let headers = &packet.headers;
    let partial = partial_at(frame, headers.l4);
    let bytes = frame.bytes_mut();
    let at =
        Addresses { family: headers.family, src: headers.src_range().start, dst: headers.dst_range().start };
    let addresses = at.replace(bytes, src.address, dst.address);
    if headers.family == Family::V4 {
        apply(bytes, headers.l3 + 10, addresses);
    }
    if headers.fragment != Fragment::Later {
        let l4 = L4 { at: headers.l4, end: headers.end, protocol: headers.protocol };
        l4.replace(bytes, headers.family, addresses, partial, src, dst);
    }
}

/// Takes one from TTL or hop limit; at 0 it stays.
#[inline]
pub fn decrement_hop_limit(frame: &mut FrameBuf, packet: &Packet) {
    let l3 = packet.headers.l3;
    let bytes = frame.bytes_mut();
    match packet.headers.family {
        Family::V4 => {
            let old = be16(bytes, l3 + 8);
            bytes[l3 + 8] = bytes[l3 + 8].saturating_sub(1);
            let new = be16(bytes, l3 + 8);
            apply(bytes, l3 + 10, Delta::default().replace16(old, new));
        }
        Family::V6 => bytes[l3 + 7] = bytes[l3 + 7].saturating_sub(1),
    }
}

/// Gives the packet that `packet`, an ICMP error, quotes other endpoints, as far as it is quoted. The error's own
/// addresses are the business of [`rewrite`].
pub fn rewrite_quote(frame: &mut FrameBuf, packet: &Packet, quote: &Quote, src: Endpoint, dst: Endpoint) {
    let message = packet.headers.l4;
    let is_unfinished = partial_at(frame, message) == Some(ICMP_CHECKSUM_OFFSET);
    let bytes = frame.bytes_mut();
    let at = match quote.family {
        Family::V4 => Addresses { family: Family::V4, src: quote.l3 + 12, dst: quote.l3 + 16 },
        Family::V6 => Addresses { family: Family::V6, src: quote.l3 + 8, dst: quote.l3 + 24 },
    };
    let addresses = at.replace(bytes, src.address, dst.address);
    let mut changed = addresses;
    if quote.family == Family::V4 {
        changed = changed + apply(bytes, quote.l3 + 10, addresses);
    }
    let protocol = match (quote.flow.protocol, quote.family) {
        (Protocol::Tcp, _) => PROTOCOL_TCP,
        (Protocol::Udp, _) => PROTOCOL_UDP,
        (Protocol::Echo, Family::V4) => PROTOCOL_ICMPV4,
        (Protocol::Echo, Family::V6) => PROTOCOL_ICMPV6,
    };
    let l4 = L4 { at: quote.l4, end: quote.end, protocol };
    changed = changed + l4.replace(bytes, quote.family, addresses, None, src, dst);
    if !is_unfinished {
        apply(bytes, message + usize::from(ICMP_CHECKSUM_OFFSET), changed);
    }
}

/// Where a packet's addresses stand in the frame.
struct Addresses {
    family: Family,
    src: usize,
    dst: usize,
}

impl Addresses {
    /// Writes both and says what that changes. Addresses of the other family are not written.
    #[inline]
    fn replace(&self, bytes: &mut [u8], src: IpAddr, dst: IpAddr) -> Delta {
        let delta = Delta::default();
        match (self.family, src, dst) {
            (Family::V4, IpAddr::V4(src), IpAddr::V4(dst)) => {
                let delta = replace32(bytes, self.src, src.to_bits(), delta);
                replace32(bytes, self.dst, dst.to_bits(), delta)
            }
            (Family::V6, IpAddr::V6(src), IpAddr::V6(dst)) => {
                let delta = replace128(bytes, self.src, src.to_bits(), delta);
                replace128(bytes, self.dst, dst.to_bits(), delta)
            }
            (Family::V4 | Family::V6, IpAddr::V4(_) | IpAddr::V6(_), IpAddr::V4(_) | IpAddr::V6(_)) => delta,
        }
    }
}

/// An L4 header in the frame, which may be cut short at `end`.
#[derive(Clone, Copy)]
struct L4 {
    at: usize,
    end: usize,
    protocol: u8,
}

impl L4 {
    /// Writes the L4 ports or the echo identifier and updates the checksum, whose field is `partial` octets into the
    /// header if its sender left it unfinished. Says what that changes.
    #[inline]
    fn replace(
        self,
        bytes: &mut [u8],
        family: Family,
        addresses: Delta,
        partial: Option<u16>,
        src: Endpoint,
        dst: Endpoint,
    ) -> Delta {
        match (self.protocol, family) {
            (PROTOCOL_TCP, _) => {
                let l4_ports = self.replace_l4_ports(bytes, src.l4_port, dst.l4_port);
                l4_ports + self.update(bytes, TCP_CHECKSUM_OFFSET, addresses, l4_ports, partial)
            }
            (PROTOCOL_UDP, _) => {
                let l4_ports = self.replace_l4_ports(bytes, src.l4_port, dst.l4_port);
                l4_ports + self.update(bytes, UDP_CHECKSUM_OFFSET, addresses, l4_ports, partial)
            }
            (PROTOCOL_ICMPV4, Family::V4) => {
                let identifier = self.replace_identifier(bytes, ECHO_V4, src.l4_port, dst.l4_port);
                identifier + self.update(bytes, ICMP_CHECKSUM_OFFSET, Delta::default(), identifier, partial)
            }
            (PROTOCOL_ICMPV6, Family::V6) => {
                let identifier = self.replace_identifier(bytes, ECHO_V6, src.l4_port, dst.l4_port);
                identifier + self.update(bytes, ICMP_CHECKSUM_OFFSET, addresses, identifier, partial)
            }
            _ => Delta::default(),
        }
    }

    #[inline]
    fn replace_l4_ports(self, bytes: &mut [u8], src: u16, dst: u16) -> Delta {
        if self.at + 4 > self.end {
            return Delta::default();
        }
        let delta = replace16(bytes, self.at, src, Delta::default());
        replace16(bytes, self.at + 2, dst, delta)
    }

    fn replace_identifier(self, bytes: &mut [u8], (request, reply): (u8, u8), src: u16, dst: u16) -> Delta {
        let at = self.at + ECHO_IDENTIFIER_OFFSET;
        if at + 2 > self.end {
            return Delta::default();
        }
        let kind = bytes[self.at];
        if kind == request {
            replace16(bytes, at, src, Delta::default())
        } else if kind == reply {
            replace16(bytes, at, dst, Delta::default())
        } else {
            Delta::default()
        }
    }

    /// Updates the checksum field, if it is there, and says what that changes.
    #[inline]
    fn update(
        self,
        bytes: &mut [u8],
        offset: u16,
        addresses: Delta,
        l4_ports: Delta,
        partial: Option<u16>,
    ) -> Delta {
        let at = self.at + usize::from(offset);
        if at + 2 > self.end {
            return Delta::default();
        }
        let old = be16(bytes, at);
        let new = if partial == Some(offset) {
            addresses.apply_partial(old)
        } else if self.protocol == PROTOCOL_UDP {
            (addresses + l4_ports).apply_udp(old)
        } else {
            (addresses + l4_ports).apply(old)
        };
        let new = if new == 0 && self.is_zero_but(bytes, at) { 0xffff } else { new };
        replace16(bytes, at, new, Delta::default())
    }

    /// Whether an ICMP message is all zeros but for its checksum at `at`. Such a sum is the other zero, which a change
    /// by difference cannot tell (RFC 1624 §3); every other protocol has a pseudo-header, which is never all zeros.
    fn is_zero_but(self, bytes: &[u8], at: usize) -> bool {
        let is_zero = |range: Range<usize>| bytes[range].iter().all(|&octet| octet == 0);
        self.protocol == PROTOCOL_ICMPV4 && is_zero(self.at..at) && is_zero(at + 2..self.end)
    }
}

/// How far into the L4 header at `l4` the field of an unfinished checksum stands; `None` if the checksum there is
/// finished. (A partial checksum elsewhere is that of a packet inside a tunnel.)
fn partial_at(frame: &FrameBuf, l4: usize) -> Option<u16> {
    let offload = frame.offload;
    (offload.needs_checksum() && usize::from(offload.csum_start) == l4).then_some(offload.csum_offset)
}

/// Updates a finished checksum and says what that changes in sums that cover it.
fn apply(bytes: &mut [u8], at: usize, delta: Delta) -> Delta {
    let new = delta.apply(be16(bytes, at));
    replace16(bytes, at, new, Delta::default())
}

fn replace16(bytes: &mut [u8], at: usize, new: u16, delta: Delta) -> Delta {
    let field: &mut [u8; 2] = field(bytes, at);
    let old = u16::from_be_bytes(*field);
    *field = new.to_be_bytes();
    delta.replace16(old, new)
}

fn replace32(bytes: &mut [u8], at: usize, new: u32, delta: Delta) -> Delta {
    let field: &mut [u8; 4] = field(bytes, at);
    let old = u32::from_be_bytes(*field);
    *field = new.to_be_bytes();
    delta.replace32(old, new)
}

fn replace128(bytes: &mut [u8], at: usize, new: u128, delta: Delta) -> Delta {
    let field: &mut [u8; 16] = field(bytes, at);
    let old = u128::from_be_bytes(*field);
    *field = new.to_be_bytes();
    delta.replace128(old, new)
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn field<const LEN: usize>(bytes: &mut [u8], at: usize) -> &mut [u8; LEN] {
    bytes[at..].first_chunk_mut().expect("the positions were checked against the frame")
}

#[cfg(test)]
#[path = "rewrite/tests.rs"]
mod tests;
