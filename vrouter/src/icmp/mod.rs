//! ICMP of both versions (RFC 792, RFC 4443): what the router says itself, and what others say through it.
//!
//! ```text
//!  0      1      2          4                8
//!  type   code   checksum   depends on type  echo: data …   errors: the packet they are about, as far as it fits
//! ```
//!
//! - [`echo`] answers a ping of one of the router's addresses, in the question's buffer.
//! - [`error`] tells a sender that its packet went no further, in a buffer of its own, and how often that may be.
//! - [`quote`] reads the packet inside somebody else's error, so that translation can follow it home.
//!
//! What is shared is here: the checksum, which covers a pseudo-header in version 6 (RFC 4443 §2.3) and none in
//! version 4, and the L3 header of a message that the router makes: no options, hop limit [`HOP_LIMIT`],
//! identification 0 with don't-fragment (RFC 6864 §4.1), flow label 0.
//!
//! Not here: neighbour discovery and router advertisements, which share the protocol number and nothing else;
//! redirects, source quench (deprecated by RFC 6633), timestamp and address mask requests.

pub mod echo;
pub mod error;
pub mod quote;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::checksum::Sum;
use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use wire::headers::{Family, Fragment, IPV4_HEADER_LEN, IPV6_HEADER_LEN, PROTOCOL_ICMPV4, PROTOCOL_ICMPV6};
use wire::{Offload, ipv4};

use crate::packet::Packet;

/// Octets of a message before its data or quote.
pub(crate) const MESSAGE_LEN: usize = 8;
/// TTL of what the router says: as Linux, and as RFC 1700 recommends.
pub(crate) const HOP_LIMIT: u8 = 64;

/// Whether an ICMP message may be believed. A checksum that its sender has left unfinished or vouches for is not
/// verified. No ICMP message is a super-segment, and a piece of one cannot be verified.
pub(crate) fn is_intact(packet: &Packet, bytes: &[u8], offload: Offload) -> bool {
    let message = packet.l4(bytes);
    let Ok(len) = u16::try_from(message.len()) else { return false };
    if offload.is_super_segment() || packet.headers.fragment != Fragment::Whole {
        return false;
    }
    let pseudo = match packet.headers.family {
        Family::V4 => Some(Sum::ZERO),
        Family::V6 => packet.headers.pseudo_sum(bytes, len),
    };
    // Behind a routing header the last address is not known, and with it not the sum.
    offload.flags != 0 || pseudo.is_some_and(|pseudo| (pseudo + Sum::of(message)).is_intact())
}

/// From where to where a message of the router's goes; both ends have one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    V4 { src: Ipv4Addr, dst: Ipv4Addr },
    V6 { src: Ipv6Addr, dst: Ipv6Addr },
}

impl Ends {
    /// `None` if the addresses are of two versions.
    pub(crate) const fn new(src: IpAddr, dst: IpAddr) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Self::V4 { src, dst }),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Self::V6 { src, dst }),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// Octets of the L3 header that [`Ends::emit`] writes.
    pub(crate) const fn header_len(self) -> usize {
        match self {
            Self::V4 { .. } => IPV4_HEADER_LEN,
            Self::V6 { .. } => IPV6_HEADER_LEN,
        }
    }

    /// What the Ethernet header in front of it says.
    pub(crate) const fn ethertype(self) -> u16 {
        match self {
            Self::V4 { .. } => ETHERTYPE_IPV4,
            Self::V6 { .. } => ETHERTYPE_IPV6,
        }
    }

    /// Writes the L3 header over the first octets of `packet`, whose rest is a message, and the message's checksum.
    /// `class` is the octet of DSCP and ECN. The packet holds both headers and is no longer than a frame's.
    pub(crate) fn emit(self, packet: &mut [u8], class: u8) {
        let (header, message) = packet.split_at_mut(self.header_len());
        let message_len = u16::try_from(message.len()).expect("a packet is at most 65,535 octets");
        let pseudo = match self {
            Self::V4 { src, dst } => {
                let total_len = u16::try_from(IPV4_HEADER_LEN + message.len()).expect("as above");
                header[..2].copy_from_slice(&[0x45, class]);
                header[2..4].copy_from_slice(&total_len.to_be_bytes());
                header[4..8].copy_from_slice(&[0, 0, 0x40, 0]);
                header[8..10].copy_from_slice(&[HOP_LIMIT, PROTOCOL_ICMPV4]);
                header[12..16].copy_from_slice(&src.octets());
                header[16..].copy_from_slice(&dst.octets());
                ipv4::fill_checksum(header);
                Sum::ZERO
            }
            Self::V6 { src, dst } => {
                header[..4].copy_from_slice(&[0x60 | class >> 4, class << 4, 0, 0]);
                header[4..6].copy_from_slice(&message_len.to_be_bytes());
                header[6..8].copy_from_slice(&[PROTOCOL_ICMPV6, HOP_LIMIT]);
                header[8..24].copy_from_slice(&src.octets());
                header[24..].copy_from_slice(&dst.octets());
                Sum::pseudo_v6(src.octets(), dst.octets(), PROTOCOL_ICMPV6, u32::from(message_len))
            }
        };
        message[2..4].fill(0);
        let checksum = (pseudo + Sum::of(message)).checksum();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
}
