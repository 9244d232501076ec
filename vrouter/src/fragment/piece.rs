//! One piece of a packet, and the map of the pieces that have passed.
//!
//! ```text
//!  v4: | header … options | piece |                   v6: | header … | fragment header | piece |
//!      <------ beside ---->                                   <- beside: what the length counts before it
//! ```

use serde::{Deserialize, Serialize};
use wire::headers::{
    EXTENSIONS_MAX, Family, Fragment, PROTOCOL_AUTHENTICATION, PROTOCOL_FRAGMENT, PROTOCOL_TCP,
};
use wire::{DropReason, FrameBuf};

use super::PIECES_MAX;
use crate::packet::Packet;

/// Octets of an IPv6 fragment header (RFC 8200 §4.5).
const FRAGMENT_HEADER_LEN: usize = 8;
/// Octets of L4 that an ICMP message needs for its identifier, and every TCP and UDP header has.
const L4_LEN_MIN: usize = 8;

/// A piece of a packet, in octets of the part that is in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The packet's identification.
    pub(super) id: u32,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether it is the last.
    pub(super) is_last: bool,
    /// Octets of headers that count towards the 65,535 of the whole.
    beside: usize,
}

impl Piece {
    /// Reads a fragment; `packet` tells the frame's headers.
    ///
    /// # Errors
    /// `route.fragment-tiny` or `route.malformed-ip`.
    pub(super) fn read(packet: &Packet, frame: &FrameBuf) -> Result<Self, DropReason> {
        let (bytes, headers) = (frame.bytes(), packet.headers);
        let (id, field, data, beside) = match headers.family {
            Family::V4 => {
                let field = be16(bytes, headers.l3 + 6);
                let field = (field & 0x1fff) << 3 | field >> 13 & 1;
                (u32::from(be16(bytes, headers.l3 + 4)), field, headers.l4, headers.l4 - headers.l3)
            }
            Family::V6 => {
                let at = fragment_header(packet, bytes).ok_or(DropReason::MalformedIp)?;
                let id = u32::from(be16(bytes, at + 4)) << 16 | u32::from(be16(bytes, at + 6));
                let beside = at - headers.l3 - headers.family.header_len();
                (id, be16(bytes, at + 2), at + FRAGMENT_HEADER_LEN, beside)
            }
        };
        let (start, len, is_last) = (usize::from(field & !7), headers.end - data, field & 1 == 0);
        let is_first = headers.fragment == Fragment::First;
        // More than one fragment header could say two things.
        let is_sound = is_first == (start == 0) && len > 0 && (is_last || len % 8 == 0);
        if !is_sound || frame.offload.is_super_segment() {
            return Err(DropReason::MalformedIp);
        }
        let lacks_l4 = is_first && packet.is_icmp() && headers.end - headers.l4 < L4_LEN_MIN;
        if lacks_l4 || (start == 8 && headers.protocol == PROTOCOL_TCP) {
            return Err(DropReason::FragmentTiny);
        }
        Ok(Self { id, start, end: start + len, is_last, beside })
    }
}

/// Where the first fragment header of an IPv6 packet stands.
fn fragment_header(packet: &Packet, bytes: &[u8]) -> Option<usize> {
    let (mut at, mut protocol) =
        (packet.headers.l3 + packet.headers.family.header_len(), *bytes.get(packet.headers.l3 + 6)?);
    for _ in 0..EXTENSIONS_MAX {
        // The packet's headers have been walked: what stands before L4 is an extension header.
        let extension: &[u8; 8] = bytes[..packet.headers.l4].get(at..)?.first_chunk()?;
        let len = match protocol {
            PROTOCOL_FRAGMENT => return Some(at),
            PROTOCOL_AUTHENTICATION => 8 + 4 * usize::from(extension[1]),
            _ => 8 + 8 * usize::from(extension[1]),
        };
        (at, protocol) = (at + len, extension[0]);
    }
    None
}

/// The number at octet `at`, which the caller has seen to be there.
fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Why a piece does not fit the others of its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is an exact copy of one.
    Copy,
    /// It overlaps one, contradicts one about the packet's end, or lies past the longest packet.
    Overlap,
    /// One more than [`PIECES_MAX`].
    Limit,
}

/// The pieces of a packet that have passed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Map {
    /// Start and end, ordered; they do not overlap. The first `count` are in use.
    #[serde(with = "wire::array::plain")]
    pieces: [(u16, u16); PIECES_MAX],
    count: u8,
    /// Where the packet ends, once its last piece has been seen.
    end: Option<usize>,
    /// Octets that the pieces cover.
    covered: usize,
    /// The most that any of them has beside it.
    beside: usize,
}

impl Map {
    pub(super) const EMPTY: Self =
        Self { pieces: [(0, 0); PIECES_MAX], count: 0, end: None, covered: 0, beside: 0 };

    /// Whether nothing is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.end == Some(self.covered)
    }

    /// Enters a piece, or leaves the map as it is.
    pub(super) fn add(&mut self, piece: Piece) -> Result<(), Fault> {
        let pieces = &self.pieces[..usize::from(self.count)];
        let beside = self.beside.max(piece.beside);
        let last = pieces.last().map_or(0, |&(_, end)| usize::from(end));
        if beside + piece.end.max(last) > usize::from(u16::MAX) {
            return Err(Fault::Overlap);
        }
        let own = (octets(piece.start), octets(piece.end));
        let place = pieces.partition_point(|&(start, _)| start < own.0);
        if pieces.get(place) == Some(&own) && (self.end == Some(piece.end)) == piece.is_last {
            return Err(Fault::Copy);
        }
        let is_clear = (place == 0 || pieces[place - 1].1 <= own.0)
            && pieces.get(place).is_none_or(|&(start, _)| own.1 <= start);
        let agrees = match self.end {
            Some(end) => !piece.is_last && piece.end < end,
            None => !piece.is_last || last <= piece.start,
        };
        if !is_clear || !agrees {
            return Err(Fault::Overlap);
        }
        let count = usize::from(self.count);
        if count == PIECES_MAX {
            return Err(Fault::Limit);
        }
        self.pieces.copy_within(place..count, place + 1);
        self.pieces[place] = own;
        self.count += 1;
        self.covered += piece.end - piece.start;
        self.beside = beside;
        if piece.is_last {
            self.end = Some(piece.end);
        }
        Ok(())
    }
}

/// A place within a packet, which the caller has seen to be at most 65,535.
fn octets(place: usize) -> u16 {
    u16::try_from(place).expect("within the longest packet")
}
