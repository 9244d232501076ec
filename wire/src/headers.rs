//! Headers: one walk over a frame's L3 and L4 headers, and the small value that later rooms pass on.
//!
//! Views ([`crate::ipv4`], [`crate::tcp`], …) read and write fields; this says where the headers are. Who needs the
//! positions calls [`Headers::parse`] once. The walk looks behind one VLAN tag and reads a packet as long as its L3
//! header says, so Ethernet padding is not payload ([`Headers::end`]).
//!
//! ```text
//!  0     14 or 18      l4                     payload        end
//!  | L2  | L3 … options or extension headers  | L4 … options | payload | padding
//!        ^ l3          ^ l4 (behind them)     ^ payload      ^ end
//! ```
//!
//! IPv6 extension headers walked: hop-by-hop (only in first place, RFC 8200 §4.1), routing, destination options,
//! authentication, fragment. Every other next header counts as L4, ESP and "no next header" among them. At most
//! [`EXTENSIONS_MAX`] are walked; a longer chain is refused, so that what a guard cannot see does not pass for
//! something harmless. A first fragment must hold its whole header chain (RFC 7112), a later one has no L4 header.
//!
//! Header checksums and the UDP length are not looked at.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::Range;

use crate::checksum::Sum;
use crate::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, HEADER_LEN, TAG_LEN};
use crate::field::be16;

/// Extension headers walked. RFC 8200 §4.1 lists seven places for them. A packet with more
/// is refused ([`HeaderError::ExtensionsMax`]): nobody can tell what it carries.
pub const EXTENSIONS_MAX: usize = 8;

/// IPv6 hop-by-hop options (RFC 8200 §4.3).
pub const PROTOCOL_HOP_BY_HOP: u8 = 0;
/// ICMP for IPv4 (RFC 792).
pub const PROTOCOL_ICMPV4: u8 = 1;
/// TCP (RFC 9293).
pub const PROTOCOL_TCP: u8 = 6;
/// UDP (RFC 768).
pub const PROTOCOL_UDP: u8 = 17;
/// IPv6 routing header (RFC 8200 §4.4).
pub const PROTOCOL_ROUTING: u8 = 43;
/// IPv6 fragment header (RFC 8200 §4.5).
pub const PROTOCOL_FRAGMENT: u8 = 44;
/// Authentication header (RFC 4302).
pub const PROTOCOL_AUTHENTICATION: u8 = 51;
/// ICMP for IPv6 (RFC 4443).
pub const PROTOCOL_ICMPV6: u8 = 58;
/// IPv6 destination options (RFC 8200 §4.6).
pub const PROTOCOL_DESTINATION_OPTIONS: u8 = 60;

/// Octets of an IPv4 header without options.
pub const IPV4_HEADER_LEN: usize = 20;
/// Octets of an IPv6 header without extensions.
pub const IPV6_HEADER_LEN: usize = 40;
/// Octets of a TCP header without options.
pub const TCP_HEADER_LEN: usize = 20;
/// Octets of a UDP header.
pub const UDP_HEADER_LEN: usize = 8;

/// Where a frame's headers are and what they say. Positions count from the frame's first octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Which IP.
    pub family: Family,
    /// Start of the IP header; the ethertype stands in the two octets before it.
    pub l3: usize,
    /// Start of the L4 header, behind IPv4 options or IPv6 extension headers.
    pub l4: usize,
    /// Start of the TCP or UDP payload; equal to `l4` for other protocols and later fragments.
    pub payload: usize,
    /// End of the packet; what follows is Ethernet padding.
    pub end: usize,
    /// Protocol of the L4 header (IANA protocol numbers).
    pub protocol: u8,
    /// Whether this is all of a packet.
    pub fragment: Fragment,
    /// Whether an IPv6 routing header was seen: the header's destination is then not the final one.
    pub routed: bool,
    /// The numbers in the TCP or UDP header.
    pub l4_ports: Option<L4Ports>,
}

/// Version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 (RFC 791).
    V4,
    /// IPv6 (RFC 8200).
    V6,
}

/// Which part of a packet a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it; also an "atomic fragment" (RFC 6946).
    Whole,
    /// The first part, with the L4 header.
    First,
    /// A later part, without one.
    Later,
}

/// Source and destination number of a TCP or UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct L4Ports {
    /// Source.
    pub src: u16,
    /// Destination.
    pub dst: u16,
}

/// Why a frame has no [`Headers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Neither IPv4 nor IPv6, or shorter than an Ethernet header.
    NotIp,
    /// The frame ends before a header or the packet does.
    Truncated,
    /// A header contradicts itself: version, length, place.
    Malformed,
    /// More than [`EXTENSIONS_MAX`] extension headers.
    ExtensionsMax,
    /// A first fragment ends before its headers do: all of them have to be in it (RFC 1858 §3, RFC 7112 §5).
    FragmentTiny,
}

impl Headers {
    /// Walks the headers of a frame given from its destination address on.
    ///
    /// # Errors
    /// As [`HeaderError`] says; never panics.
    pub fn parse(frame: &[u8]) -> Result<Self, HeaderError> {
        let ethernet = EthernetHeader::parse(frame).ok_or(HeaderError::NotIp)?;
        let l3 = HEADER_LEN + if ethernet.tag.is_some() { TAG_LEN } else { 0 };
        let headers = match ethernet.ethertype {
            ETHERTYPE_IPV4 => Self::walk_ipv4(frame, l3)?,
            ETHERTYPE_IPV6 => Self::walk_ipv6(frame, l3)?,
            _ => return Err(HeaderError::NotIp),
        };
        headers.with_l4(frame).map_err(|error| headers.named(error))
    }

    /// Walks the headers of a packet given from its IP header on.
    ///
    /// # Errors
    /// As [`HeaderError`] says; never panics.
    pub fn parse_packet(packet: &[u8]) -> Result<Self, HeaderError> {
        let headers = match packet.first().map(|version| version >> 4) {
            Some(4) => Self::walk_ipv4(packet, 0)?,
            Some(6) => Self::walk_ipv6(packet, 0)?,
            Some(_) | None => return Err(HeaderError::NotIp),
        };
        headers.with_l4(packet)
    }

    /// The same headers with so many octets more in front.
    #[must_use]
    pub const fn behind(mut self, octets: usize) -> Self {
        self.l3 += octets;
        self.l4 += octets;
        self.payload += octets;
        self.end += octets;
        self
    }

    /// Whether IPv4 options or IPv6 extension headers stand between the IP and the L4 header.
    pub const fn has_l3_options(&self) -> bool {
        self.l4 - self.l3 != self.family.header_len()
    }

    /// Where the source address stands in the frame; the destination address follows it.
    pub const fn src_range(&self) -> Range<usize> {
        match self.family {
            Family::V4 => self.l3 + 12..self.l3 + 16,
            Family::V6 => self.l3 + 8..self.l3 + 24,
        }
    }

    /// Where the destination address stands in the frame.
    pub const fn dst_range(&self) -> Range<usize> {
        match self.family {
            Family::V4 => self.l3 + 16..self.l3 + 20,
            Family::V6 => self.l3 + 24..self.l3 + 40,
        }
    }

    /// The source address, read from the frame that was parsed; `None` if it has become shorter.
    pub fn src(&self, frame: &[u8]) -> Option<IpAddr> {
        self.address(frame.get(self.src_range())?)
    }

    /// The destination address, read from the frame that was parsed; `None` if it has become shorter.
    pub fn dst(&self, frame: &[u8]) -> Option<IpAddr> {
        self.address(frame.get(self.dst_range())?)
    }

    /// The sum of the pseudo-header for an L4 header and payload of `l4_len` octets. `None` behind a routing header,
    /// whose last address would be needed (RFC 8200 §8.1).
    pub fn pseudo_sum(&self, frame: &[u8], l4_len: u16) -> Option<Sum> {
        // Both addresses stand side by side, and a sum does not care which is which.
        let addresses = frame.get(self.src_range().start..self.dst_range().end)?;
        let words = Sum::of_word(u16::from(self.protocol)) + Sum::of_word(l4_len);
        if self.routed { None } else { Some(Sum::of(addresses) + words) }
    }

    fn address(&self, octets: &[u8]) -> Option<IpAddr> {
        match self.family {
            Family::V4 => octets.first_chunk().map(|&octets: &[u8; 4]| IpAddr::V4(Ipv4Addr::from(octets))),
            Family::V6 => octets.first_chunk().map(|&octets: &[u8; 16]| IpAddr::V6(Ipv6Addr::from(octets))),
        }
    }

    fn walk_ipv4(frame: &[u8], l3: usize) -> Result<Self, HeaderError> {
        let header: &[u8; IPV4_HEADER_LEN] = chunk(frame, l3)?;
        let header_len = usize::from(header[0] & 15) * 4;
        let end = l3 + usize::from(be16(header, 2));
        if header[0] >> 4 != 4 || header_len < IPV4_HEADER_LEN || end < l3 + header_len {
            return Err(HeaderError::Malformed);
        }
        if end > frame.len() {
            return Err(HeaderError::Truncated);
        }
        let flags_and_offset = be16(header, 6);
        let fragment = Fragment::of(flags_and_offset & 0x1fff, flags_and_offset & 0x2000 != 0);
        let l4 = l3 + header_len;
        let family = Family::V4;
        let protocol = header[9];
        Ok(Self { family, l3, l4, payload: l4, end, protocol, fragment, routed: false, l4_ports: None })
    }

    fn walk_ipv6(frame: &[u8], l3: usize) -> Result<Self, HeaderError> {
        let header: &[u8; IPV6_HEADER_LEN] = chunk(frame, l3)?;
        if header[0] >> 4 != 6 {
            return Err(HeaderError::Malformed);
        }
        let l4 = l3 + IPV6_HEADER_LEN;
        let end = l4 + usize::from(be16(header, 4));
        let packet = frame.get(..end).ok_or(HeaderError::Truncated)?;
        let headers = Self {
            family: Family::V6,
            l3,
            l4,
            payload: l4,
            end,
            protocol: header[6],
            fragment: Fragment::Whole,
            routed: false,
            l4_ports: None,
        };
        headers.walk_extensions(packet)
    }

    /// Why a packet with these headers so far has no others.
    fn named(&self, error: HeaderError) -> HeaderError {
        let is_tiny = self.fragment == Fragment::First && error == HeaderError::Truncated;
        if is_tiny { HeaderError::FragmentTiny } else { error }
    }

    fn walk_extensions(mut self, packet: &[u8]) -> Result<Self, HeaderError> {
        let mut is_in_pieces = false;
        for walked in 0..=EXTENSIONS_MAX {
            let len_of = |extension: &[u8; 2]| match self.protocol {
                PROTOCOL_HOP_BY_HOP | PROTOCOL_ROUTING | PROTOCOL_DESTINATION_OPTIONS => {
                    Some(8 + 8 * usize::from(extension[1]))
                }
                PROTOCOL_FRAGMENT => Some(8),
                PROTOCOL_AUTHENTICATION => Some(8 + 4 * usize::from(extension[1])),
                _ => None,
            };
            // Whether it is an extension at all depends on its number alone, so look before reading its length.
            if len_of(&[0; 2]).is_none() || self.fragment == Fragment::Later {
                return Ok(self);
            }
            if self.protocol == PROTOCOL_HOP_BY_HOP && walked > 0 {
                return Err(HeaderError::Malformed);
            }
            let extension: &[u8; 8] = chunk(packet, self.l4).map_err(|error| self.named(error))?;
            let len = len_of(&[extension[0], extension[1]]).ok_or(HeaderError::Malformed)?;
            if self.protocol == PROTOCOL_AUTHENTICATION && extension[1] == 0 {
                return Err(HeaderError::Malformed); // Shorter than its fixed part (RFC 4302 §2).
            }
            if self.protocol == PROTOCOL_FRAGMENT {
                if core::mem::replace(&mut is_in_pieces, true) {
                    return Err(HeaderError::Malformed); // Two could say two things.
                }
                let field = be16(extension, 2);
                self.fragment = Fragment::of(field >> 3, field & 1 != 0);
            }
            self.routed |= self.protocol == PROTOCOL_ROUTING;
            self.protocol = extension[0];
            self.l4 += len;
            self.payload = self.l4;
            if self.l4 > self.end {
                return Err(self.named(HeaderError::Truncated));
            }
        }
        Err(HeaderError::ExtensionsMax)
    }

    fn with_l4(mut self, frame: &[u8]) -> Result<Self, HeaderError> {
        if self.fragment == Fragment::Later {
            return Ok(self);
        }
        let packet = &frame[..self.end]; // The walk has checked it.
        let header_len = match self.protocol {
            PROTOCOL_TCP => {
                let header: &[u8; TCP_HEADER_LEN] = chunk(packet, self.l4)?;
                usize::from(header[12] >> 4) * 4
            }
            PROTOCOL_UDP => UDP_HEADER_LEN,
            _ => return Ok(self),
        };
        if self.protocol == PROTOCOL_TCP && header_len < TCP_HEADER_LEN {
            return Err(HeaderError::Malformed);
        }
        self.payload = self.l4 + header_len;
        if self.payload > self.end {
            return Err(HeaderError::Truncated);
        }
        let ports: &[u8; 4] = chunk(packet, self.l4)?;
        self.l4_ports = Some(L4Ports { src: be16(ports, 0), dst: be16(ports, 2) });
        Ok(self)
    }
}

impl Family {
    /// Octets of the fixed header.
    pub const fn header_len(self) -> usize {
        match self {
            Self::V4 => IPV4_HEADER_LEN,
            Self::V6 => IPV6_HEADER_LEN,
        }
    }
}

impl Fragment {
    const fn of(offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First,
            (1.., _) => Self::Later,
        }
    }
}

fn chunk<const LEN: usize>(bytes: &[u8], at: usize) -> Result<&[u8; LEN], HeaderError> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(HeaderError::Truncated)
}

#[cfg(test)]
#[path = "headers/tests.rs"]
mod tests;
