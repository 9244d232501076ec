//! ICMP errors: telling a sender that its packet went no further, and why (RFC 792, RFC 1812 §4.3, RFC 4443 §3).
//!
//! ```text
//!  0      1      2          4             6         8
//!  type   code   checksum   0             MTU (v4)  the packet, from its L3 header on, as it came in
//!  type   code   checksum   MTU or pointer (v6)     until the message is 576 octets long (v4) or 1280 (v6)
//! ```
//!
//! The message is a frame of its own, from the router's address on the sender's side, addressed with the MAC the packet
//! came from: no route and no neighbour is looked up. It carries DSCP CS6, which is precedence 6, internetwork control
//! (RFC 1812 §4.3.2.5), in both versions. The quoted packet is what arrived: a super-segment is quoted whole up to
//! the limit, with the length that its header says, and a checksum that its sender left unfinished stays unfinished.
//!
//! Refused, so that errors never breed errors (RFC 1122 §3.2.2, RFC 1812 §4.3.2.7, RFC 4443 §2.4 e): an error about an
//! ICMP error, an ICMP message of unknown kind or one too short to tell; about a fragment other than the first; about
//! what was sent to a group or to everybody, by MAC or by address, except "packet too big" in version 6; to a source
//! that is no single host. Only the limited broadcast is known here: a subnet's own broadcast address never gets
//! this far, because it is sent to everybody's MAC.
//!
//! Limits: [`ErrorLimit`], three levels of token buckets, which the caller asks before it makes an error; and
//! [`crate::turn::MADE_MAX`]. At either the packet ends without a word; the counters of its drop reason tell.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use wire::ethernet::HEADER_LEN;
use wire::headers::{
    EXTENSIONS_MAX, Family, Fragment, PROTOCOL_AUTHENTICATION, PROTOCOL_FRAGMENT, PROTOCOL_ICMPV4,
    PROTOCOL_ICMPV6,
};
use wire::{DomainId, FrameBuf, Instant, Mac, TokenBucket};

use super::{Ends, MESSAGE_LEN};
use crate::hash::HashKey;
use crate::interface::is_reserved;
use crate::packet::Packet;
use crate::plan::is_host;
use crate::router::emit_ethernet;
use crate::turn::Turn;

/// Octets of an ICMP error packet: as much of the offending packet as fits (RFC 1812 §4.3.2.3).
pub const ERROR_V4_LEN_MAX: usize = 576;
/// Octets of an ICMPv6 error packet: the minimum MTU (RFC 4443 §2.4 c).
pub const ERROR_V6_LEN_MAX: usize = 1_280;
/// The smallest MTU that a "packet too big" of version 6 names: every link carries it (RFC 8200 §5).
pub const MTU_V6_MIN: u16 = 1_280;
/// DSCP CS6, precedence 6 of old (RFC 2474 §4.2.2.2), without ECN.
const CLASS: u8 = 0xc0;
/// The last ICMP type in use; higher ones may be errors for all we know. As Linux (`NR_ICMP_TYPES`).
const KNOWN_V4_MAX: u8 = 18;

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Its TTL or hop limit is used up.
    TtlExpired,
    /// Not all of its pieces came in time.
    ReassemblyTimeout,
    /// No route leads to its destination.
    NetUnreachable,
    /// The next hop or the destination does not answer.
    HostUnreachable,
    /// Nobody listens at the L4 port.
    L4PortUnreachable,
    /// The destination does not speak the protocol.
    ProtocolUnreachable,
    /// A rule forbids it (RFC 1812 §5.2.7.1; RFC 4443 §3.1).
    AdminProhibited,
    /// It is longer than the way out lets through.
    TooBig {
        /// Longest packet that fits, in L3 octets.
        mtu: u16,
    },
}

/// Who tells whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The router's MAC in the domain that the packet came from.
    pub mac: Mac,
    /// The router's address there, of the packet's version.
    pub address: IpAddr,
    /// The MAC that the packet came from.
    pub to_mac: Mac,
}

/// Makes an error about `offending`, an untagged frame as it came in, whose headers `packet` tells. `None` if there
/// must be none (see above), if `from` has no address of the packet's version, or if the turn has no room.
pub fn error(
    turn: &mut Turn,
    kind: ErrorKind,
    packet: &Packet,
    offending: &[u8],
    from: Sender,
) -> Option<FrameBuf> {
    let ends = Ends::new(from.address, packet.src)?;
    let headers = packet.headers;
    if !turn.has_room() || !is_due(kind, packet, offending) {
        return None;
    }
    let len_max = match headers.family {
        Family::V4 => ERROR_V4_LEN_MAX,
        Family::V6 => ERROR_V6_LEN_MAX,
    };
    let head_len = ends.header_len() + MESSAGE_LEN;
    let about = offending.get(headers.l3..headers.end)?;
    let about = &about[..about.len().min(len_max - head_len)];

    let mut frame = turn.buffer();
    let head = [0; HEADER_LEN + Family::V6.header_len() + MESSAGE_LEN];
    let written = frame.fill(&head[..HEADER_LEN + head_len]) && frame.extend(about);
    assert!(written, "an error is shorter than a buffer");
    let (ethernet, made) = frame.bytes_mut().split_at_mut(HEADER_LEN);
    emit_ethernet(ethernet, from.to_mac, from.mac, ends.ethertype());
    let (kind, code, value) = match headers.family {
        Family::V4 => kind.in_v4(),
        Family::V6 => kind.in_v6(packet, offending),
    };
    let message = &mut made[ends.header_len()..];
    message[..2].copy_from_slice(&[kind, code]);
    message[4..8].copy_from_slice(&value.to_be_bytes());
    ends.emit(made, CLASS);
    Some(frame)
}

impl ErrorKind {
    /// Type, code, and the word before the quote (RFC 792, RFC 1191 §4, RFC 1812 §5.2.7.1).
    fn in_v4(self) -> (u8, u8, u32) {
        match self {
            Self::NetUnreachable => (3, 0, 0),
            Self::HostUnreachable => (3, 1, 0),
            Self::ProtocolUnreachable => (3, 2, 0),
            Self::L4PortUnreachable => (3, 3, 0),
            Self::TooBig { mtu } => (3, 4, mtu.into()),
            Self::AdminProhibited => (3, 13, 0),
            Self::TtlExpired => (11, 0, 0),
            Self::ReassemblyTimeout => (11, 1, 0),
        }
    }

    /// The same for version 6 (RFC 4443 §3), where an unknown protocol is a header's problem and is pointed at.
    fn in_v6(self, packet: &Packet, bytes: &[u8]) -> (u8, u8, u32) {
        match self {
            Self::NetUnreachable => (1, 0, 0),
            Self::AdminProhibited => (1, 1, 0),
            Self::HostUnreachable => (1, 3, 0),
            Self::L4PortUnreachable => (1, 4, 0),
            Self::TooBig { mtu } => (2, 0, mtu.max(MTU_V6_MIN).into()),
            Self::TtlExpired => (3, 0, 0),
            Self::ReassemblyTimeout => (3, 1, 0),
            Self::ProtocolUnreachable => (4, 1, protocol_at(packet, bytes)),
        }
    }
}

/// Whether an error of this kind may be sent about the packet.
fn is_due(kind: ErrorKind, packet: &Packet, bytes: &[u8]) -> bool {
    let is_group_mac = bytes.first().is_some_and(|octet| octet & 1 != 0);
    let is_for_many = is_group_mac || is_group(packet.dst);
    let may_be_for_many = packet.headers.family == Family::V6 && matches!(kind, ErrorKind::TooBig { .. });
    packet.headers.fragment != Fragment::Later
        && is_single_host(packet.src)
        && (!is_for_many || may_be_for_many)
        && !is_perhaps_error(packet, bytes)
}

/// Whether the packet is an ICMP error or redirect, or may be one.
fn is_perhaps_error(packet: &Packet, bytes: &[u8]) -> bool {
    let is_error = |kind: u8| match packet.headers.protocol {
        PROTOCOL_ICMPV4 => is_error_v4(kind) || kind == 5 || kind > KNOWN_V4_MAX,
        PROTOCOL_ICMPV6 => kind < 128 || kind == 137,
        _ => false,
    };
    let has_kind = matches!(packet.headers.protocol, PROTOCOL_ICMPV4 | PROTOCOL_ICMPV6);
    has_kind && packet.l4(bytes).first().is_none_or(|&kind| is_error(kind))
}

/// Whether an ICMP message quotes a packet that went wrong: unreachable, source quench, time exceeded, parameter
/// problem. (A redirect quotes one too, which went right.)
pub(super) const fn is_error_v4(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 11 | 12)
}

fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// Whether an error would reach exactly one station: [`is_host`], and for version 4 neither "this network" nor
/// class E (RFC 1122 §3.2.2).
fn is_single_host(address: IpAddr) -> bool {
    is_host(address) && !is_reserved(address)
}

/// Where, from the L3 header on, an IPv6 packet names its L4 protocol: in the last header before it.
fn protocol_at(packet: &Packet, bytes: &[u8]) -> u32 {
    let headers = packet.headers;
    let (mut at, mut named) = (headers.l3 + headers.family.header_len(), headers.l3 + 6);
    for _ in 0..=EXTENSIONS_MAX {
        let Some(&[_, units]) = bytes.get(at..at + 2).filter(|_| at < headers.l4) else { break };
        let len = match bytes[named] {
            PROTOCOL_FRAGMENT => 8,
            PROTOCOL_AUTHENTICATION => 8 + 4 * usize::from(units),
            _ => 8 + 8 * usize::from(units),
        };
        (at, named) = (at + len, at);
    }
    u32::try_from(named - headers.l3).unwrap_or_default()
}

/// Errors that one sender gets in a second; its neighbours in the hash share them.
pub const ERRORS_PER_SENDER_MAX: u64 = 100;
/// Errors that one sender gets at once: `traceroute` sends three probes for each of at most 30 hops, 16 at a time.
pub const ERRORS_PER_SENDER_BURST_MAX: u64 = 50;
/// Errors that the stations of one domain get in a second, so that a domain whose stations forge their addresses takes
/// only its own share.
pub const ERRORS_PER_DOMAIN_MAX: u64 = 1_000;
/// Errors that the stations of one domain get at once.
pub const ERRORS_PER_DOMAIN_BURST_MAX: u64 = 200;
/// Errors made in a second: what their making costs a worker stays small.
pub const ERRORS_MAX: u64 = 10_000;
/// Errors made at once.
pub const ERRORS_BURST_MAX: u64 = 1_000;
/// Buckets for senders.
const SENDERS_MAX: usize = 1_024;

/// How often errors are made (RFC 1812 §4.3.2.8, RFC 4443 §2.4 f): per sender, per domain and in all.
///
/// Memory does not grow with senders: each has one of 1,024 buckets by the keyed hash of its domain and address, and
/// two that meet in one share it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorLimit {
    key: HashKey,
    senders: Vec<TokenBucket>,
    /// By [`DomainId`].
    domains: Vec<TokenBucket>,
    all: TokenBucket,
}

impl ErrorLimit {
    /// Full buckets.
    pub fn new(seed: u64) -> Self {
        let sender = TokenBucket::new(ERRORS_PER_SENDER_MAX, ERRORS_PER_SENDER_BURST_MAX, Instant::ZERO);
        Self {
            key: HashKey::seeded(seed),
            senders: vec![sender; SENDERS_MAX],
            domains: Vec::new(),
            all: TokenBucket::new(ERRORS_MAX, ERRORS_BURST_MAX, Instant::ZERO),
        }
    }

    /// Whether `sender`, a station of `domain`, may be told something.
    pub fn take(&mut self, now: Instant, domain: DomainId, sender: IpAddr) -> bool {
        let bits = match sender {
            IpAddr::V4(sender) => u128::from(sender.to_bits()),
            IpAddr::V6(sender) => sender.to_bits(),
        };
        #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
        let hash = self.key.hash([(bits >> 64) as u64, bits as u64, u64::from(domain.0)]);
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let sender = &mut self.senders[hash as usize % SENDERS_MAX];
        if self.domains.len() <= domain.index() {
            let full = TokenBucket::new(ERRORS_PER_DOMAIN_MAX, ERRORS_PER_DOMAIN_BURST_MAX, Instant::ZERO);
            self.domains.resize(domain.index() + 1, full);
        }
        // The narrowest first: who is refused takes nothing from the others.
        sender.take(now) && self.domains[domain.index()].take(now) && self.all.take(now)
    }
}

#[cfg(test)]
mod tests;
