//! A packet in the router's hand: parsed once, then passed on as a small value.
//!
//! Every later file reads a [`Packet`] and writes the frame at the positions that it names. A flow is what tracking and
//! translation see of it: protocol, and an address and L4 port at each end.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use wire::checksum::Sum;
use wire::ethernet::HEADER_LEN;
use wire::headers::{
    Family, Fragment, HeaderError, Headers, PROTOCOL_ICMPV4, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP,
};
use wire::{DropReason, FrameBuf};

use crate::plan::Protocol;

/// ICMP type of an echo request and of its reply (RFC 792).
pub(crate) const ECHO_V4: (u8, u8) = (8, 0);
/// ICMPv6 type of an echo request and of its reply (RFC 4443 §4).
pub(crate) const ECHO_V6: (u8, u8) = (128, 129);

/// Summary of a checked packet. Positions count from the frame's first octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where its headers are.
    pub headers: Headers,
    /// Who sent it.
    pub src: IpAddr,
    /// Whom it is for.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Whether no router may fragment it: the DF bit, or IPv6.
    pub dont_fragment: bool,
}

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// The station.
    pub address: IpAddr,
    /// Its L4 port; for echo the identifier at the asking end and 0 at the other.
    pub l4_port: u16,
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// Which protocol.
    pub protocol: Protocol,
    /// From.
    pub src: Endpoint,
    /// To.
    pub dst: Endpoint,
}

impl Flow {
    /// The other direction.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { protocol: self.protocol, src: self.dst, dst: self.src }
    }
}

impl Packet {
    /// Reads the headers of an untagged frame.
    ///
    /// # Errors
    /// `route.malformed-ip` if it is no packet of either version, is cut short, contradicts itself or its header
    /// checksum is wrong; `route.fragment-tiny` if the first fragment does not hold all its headers (RFC 1858 §3,
    /// RFC 7112 §5).
    pub fn parse(frame: &FrameBuf) -> Result<Self, DropReason> {
        let bytes = frame.bytes();
        let headers = Headers::parse(bytes).map_err(refusal)?;
        let (Some(src), Some(dst)) = (headers.src(bytes), headers.dst(bytes)) else {
            return Err(DropReason::MalformedIp);
        };
        if headers.l3 != HEADER_LEN {
            return Err(DropReason::MalformedIp); // A tag inside the corridor.
        }
        let (hop_limit, dont_fragment) = match headers.family {
            Family::V4 => {
                if !Sum::of(&bytes[headers.l3..headers.l4]).is_intact() {
                    return Err(DropReason::MalformedIp);
                }
                (bytes[headers.l3 + 8], bytes[headers.l3 + 6] & 0x40 != 0)
            }
            Family::V6 => (bytes[headers.l3 + 7], true),
        };
        Ok(Self { headers, src, dst, hop_limit, dont_fragment })
    }

    /// The L3 octets of the packet as it stands; of a super-segment, of all its segments together.
    pub const fn l3_len(&self) -> usize {
        self.headers.end - self.headers.l3
    }

    /// What the packet carries behind its L3 headers, in the frame that was parsed.
    pub fn l4<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.headers.l4..self.headers.end).unwrap_or_default()
    }

    /// Whether the packet is ICMP of its family.
    pub const fn is_icmp(&self) -> bool {
        match self.headers.family {
            Family::V4 => self.headers.protocol == PROTOCOL_ICMPV4,
            Family::V6 => self.headers.protocol == PROTOCOL_ICMPV6,
        }
    }

    /// The type of an ICMP message; `None` for other protocols, later fragments and messages shorter than 8 octets.
    pub fn icmp_type(&self, bytes: &[u8]) -> Option<u8> {
        let message = self.l4(bytes);
        let has_header = self.is_icmp() && self.headers.fragment != Fragment::Later && message.len() >= 8;
        has_header.then(|| message[0])
    }

    /// The flow that the packet belongs to; `None` for later fragments and for protocols that have none.
    #[inline]
    pub fn flow(&self, bytes: &[u8]) -> Option<Flow> {
        let (protocol, src_l4_port, dst_l4_port) = match (self.headers.protocol, self.headers.l4_ports) {
            (PROTOCOL_TCP, Some(l4_ports)) => (Protocol::Tcp, l4_ports.src, l4_ports.dst),
            (PROTOCOL_UDP, Some(l4_ports)) => (Protocol::Udp, l4_ports.src, l4_ports.dst),
            _ => {
                let (request, reply) = match self.headers.family {
                    Family::V4 => ECHO_V4,
                    Family::V6 => ECHO_V6,
                };
                let kind = self.icmp_type(bytes)?;
                let message = self.l4(bytes);
                let identifier = u16::from_be_bytes([message[4], message[5]]);
                if kind == request {
                    (Protocol::Echo, identifier, 0)
                } else if kind == reply {
                    (Protocol::Echo, 0, identifier)
                } else {
                    return None;
                }
            }
        };
        Some(Flow {
            protocol,
            src: Endpoint { address: self.src, l4_port: src_l4_port },
            dst: Endpoint { address: self.dst, l4_port: dst_l4_port },
        })
    }
}

/// Why a frame that has no headers is refused: a first fragment that ends within them has a name of its own.
#[cold]
const fn refusal(error: HeaderError) -> DropReason {
    match error {
        HeaderError::FragmentTiny => DropReason::FragmentTiny,
        HeaderError::NotIp | HeaderError::Truncated | HeaderError::Malformed | HeaderError::ExtensionsMax => {
            DropReason::MalformedIp
        }
    }
}
