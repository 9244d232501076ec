//! MTU: does a packet fit the way out, and what is done if it does not.
//!
//! ```text
//!  fits                                  → as it is
//!  longer, IPv4 without don't-fragment   → fragments (RFC 791 §3.2)
//!  longer, don't-fragment or IPv6        → ICMP "too big" with the MTU (RFC 1191, RFC 8201), route.over-mtu
//! ```
//!
//! A super-segment is judged by the length of its segments, since they are what travels. Where one without
//! don't-fragment is too long it is cut into its segments first and each of them into fragments; TCP and UDP alike,
//! for a sender that clears the bit has not asked to be told. Linux sets the bit for both, so this is rare and slow.
//!
//! Fragments carry the packet's Ethernet header, identification and, behind the first, those IPv4 options that say so
//! (the copy bit, RFC 791 §3.1); what follows a malformed option is not copied. An unfinished L4 checksum is finished
//! before the cut. A fragment may be cut further. No checksum offload remains.
//!
//! [`clamp_mss`] keeps most TCP connections from ever meeting that limit: the MSS option of a SYN that is routed is
//! lowered to what fits (RFC 4459 §3.2), in either direction, so that it works where ICMP errors get lost. The limit is
//! the MTU less the fixed headers, 40 or 60 octets (RFC 6691 §2). It is never raised, never inserted (without it
//! senders keep to 536 or 1220, RFC 9293 §3.7.1), and in version 6 never set below 1220, which every link carries.
//! Version 4 has no such floor: the MTU is the plan's, not a stranger's.

use core::ops::Range;

use wire::checksum::{Delta, TCP_CHECKSUM_OFFSET};
use wire::headers::{Family, Fragment, IPV4_HEADER_LEN, IPV6_HEADER_LEN, PROTOCOL_TCP, TCP_HEADER_LEN};
use wire::segment::{self, Egress};
use wire::{DropReason, FrameBuf, FramePool, Headers, ipv4, tcp};

use crate::packet::Packet;
use crate::turn::Turn;

/// Flag of IPv4's fragment field: more fragments follow.
const MORE: u16 = 0x2000;
/// The lowest MSS that IPv6 needs: its minimum MTU less the fixed headers (RFC 8200 §5).
const MSS_V6_MIN: u16 = 1_220;
/// The most octets of options in an IPv4 header (RFC 791 §3.1).
const OPTIONS_LEN_MAX: usize = 40;
/// Bit of an IPv4 option's kind: every fragment carries it (RFC 791 §3.1).
const COPIED: u8 = 0x80;
/// The option that ends the list, of IPv4 and of TCP.
const END_OF_LIST: u8 = 0;
/// The option of one octet that says nothing, of IPv4 and of TCP.
const NO_OPERATION: u8 = 1;

/// Whether a packet fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It fits.
    Fits,
    /// It does not, and may be cut into fragments.
    Fragment,
    /// It does not, and its sender must be told.
    TooBig,
}

/// Whether the packet in `frame`, or each segment of it, fits an MTU in L3 octets.
#[inline]
pub fn fit(packet: &Packet, frame: &FrameBuf, mtu: u16) -> Fit {
    let len = if frame.offload.is_super_segment() {
        frame.segment_len().saturating_sub(packet.headers.l3)
    } else {
        packet.l3_len()
    };
    match (len <= usize::from(mtu), packet.dont_fragment) {
        (true, _) => Fit::Fits,
        (false, false) => Fit::Fragment,
        (false, true) => Fit::TooBig,
    }
}

/// Cuts the packet into fragments of at most `mtu` L3 octets. The first stays in `frame`, the others are given away in
/// their order.
///
/// # Errors
/// The frame is as it was: `route.over-mtu` if the packet may not be fragmented or no octet of it would fit beside the
/// headers, `route.malformed-ip` if it is a fragment that ends past 65,535 octets, `admit.vnet-csum` or
/// `deliver.bad-super-segment` if it is not what its offload metadata say.
pub fn fragment(
    turn: &mut Turn,
    packet: &Packet,
    frame: &mut FrameBuf,
    mtu: u16,
    others: &mut dyn FnMut(FrameBuf),
) -> Result<(), DropReason> {
    if packet.dont_fragment {
        return Err(DropReason::RouteMtu);
    }
    let cut = Cut::of(packet, frame.bytes(), mtu)?;
    if !frame.offload.is_super_segment() {
        segment::finish_checksum(frame)?;
        cut.give_tail(turn.pool, frame, packet.headers.end, others);
        cut.keep_head(frame, packet.headers.end);
        return Ok(());
    }
    let (mut scratch, mut first) = (turn.buffer(), turn.buffer());
    let cut_up = segment::finish(frame, Egress::NONE, &mut scratch, |segment| {
        let end = segment.len();
        if first.is_empty() {
            cut.give_tail(turn.pool, segment, end, others);
            core::mem::swap(segment, &mut first);
            cut.keep_head(&mut first, end);
        } else {
            let mut head = turn.pool.take();
            head.copy_from(segment);
            cut.keep_head(&mut head, end);
            others(head);
            cut.give_tail(turn.pool, segment, end, others);
        }
    });
    if cut_up.is_ok() {
        core::mem::swap(frame, &mut first);
    }
    turn.pool.put(scratch);
    turn.pool.put(first);
    cut_up.map(|_| ())
}

/// How a packet is cut: what its pieces have in common.
#[derive(Clone, Copy, Debug)]
struct Cut {
    l3: usize,
    l4: usize,
    mtu: usize,
    /// The options of every piece but the first: those that are copied.
    copied: [u8; OPTIONS_LEN_MAX],
    copied_len: usize,
    /// The packet's own fragment field: flags, and its offset in eight octets.
    field: u16,
}

impl Cut {
    fn of(packet: &Packet, bytes: &[u8], mtu: u16) -> Result<Self, DropReason> {
        let Headers { l3, l4, end, .. } = packet.headers;
        let mtu = usize::from(mtu);
        let header = &bytes[l3..l4];
        let field = be16(header, 6);
        let (mut copied, mut copied_len) = ([0; OPTIONS_LEN_MAX], 0);
        let options = &header[IPV4_HEADER_LEN..];
        let mut next = next_option(options, 0);
        while let Some(place) = next {
            let option = &options[place.clone()];
            if option[0] & COPIED != 0 {
                copied[copied_len..copied_len + option.len()].copy_from_slice(option);
                copied_len += option.len();
            }
            next = next_option(options, place.end);
        }
        copied_len = copied_len.next_multiple_of(4); // The rest of the word ends the list: zeros.
        if l4 - l3 + 8 > mtu {
            return Err(DropReason::RouteMtu);
        }
        if usize::from(field & 0x1fff) * 8 + end - l4 > usize::from(u16::MAX) {
            return Err(DropReason::MalformedIp);
        }
        Ok(Self { l3, l4, mtu, copied, copied_len, field })
    }

    /// Where the first piece of a packet that ends at `end` ends.
    const fn head_end(&self, end: usize) -> usize {
        let room = self.mtu - (self.l4 - self.l3);
        if end - self.l4 <= room { end } else { self.l4 + room / 8 * 8 }
    }

    /// Makes the packet its own first piece.
    fn keep_head(&self, frame: &mut FrameBuf, end: usize) {
        let head_end = self.head_end(end);
        frame.truncate(head_end);
        if head_end < end {
            write(&mut frame.bytes_mut()[self.l3..], self.field | MORE);
        }
    }

    /// Gives the other pieces away.
    fn give_tail(
        &self,
        pool: &mut FramePool,
        frame: &FrameBuf,
        end: usize,
        others: &mut dyn FnMut(FrameBuf),
    ) {
        let bytes = frame.bytes();
        let header_len = IPV4_HEADER_LEN + self.copied_len;
        let version = 0x40 | u8::try_from(header_len / 4).expect("no longer than the packet's own header");
        let room = self.mtu - header_len;
        let mut from = self.head_end(end);
        while from < end {
            let to = if end - from <= room { end } else { from + room / 8 * 8 };
            let units = u16::try_from((from - self.l4) / 8).expect("a packet is at most 65,535 octets");
            let more = if to < end { MORE } else { 0 };
            let mut piece = pool.take();
            let written = piece.fill(&bytes[..self.l3 + IPV4_HEADER_LEN])
                && piece.extend(&self.copied[..self.copied_len])
                && piece.extend(&bytes[from..to]);
            assert!(written, "a piece is no longer than the packet");
            piece.bytes_mut()[self.l3] = version;
            write(&mut piece.bytes_mut()[self.l3..], (self.field + units) | more);
            others(piece);
            from = to;
        }
    }
}

/// Writes the length and the checksum of an IPv4 packet, and this fragment field.
fn write(packet: &mut [u8], field: u16) {
    let total_len = u16::try_from(packet.len()).expect("a packet is at most 65,535 octets");
    packet[2..4].copy_from_slice(&total_len.to_be_bytes());
    packet[6..8].copy_from_slice(&field.to_be_bytes());
    ipv4::fill_checksum(packet);
}

/// Lowers the MSS option of a SYN to what fits an MTU in L3 octets, and says whether it did. Malformed options, and
/// what follows them, are left alone. The checksum is updated; an unfinished one is not, for it is summed later and
/// the options with it.
pub fn clamp_mss(frame: &mut FrameBuf, packet: &Packet, mtu: u16) -> bool {
    let Headers { family, l4, payload, protocol, fragment, .. } = packet.headers;
    if protocol != PROTOCOL_TCP || fragment == Fragment::Later {
        return false;
    }
    let mss_max = match family {
        Family::V4 => usize::from(mtu).saturating_sub(IPV4_HEADER_LEN + TCP_HEADER_LEN),
        Family::V6 => {
            usize::from(mtu).saturating_sub(IPV6_HEADER_LEN + TCP_HEADER_LEN).max(usize::from(MSS_V6_MIN))
        }
    };
    let mss_max = u16::try_from(mss_max).expect("less than the MTU, or 1220");
    let is_partial = frame.offload.needs_checksum();
    let header = &mut frame.bytes_mut()[l4..payload];
    if header[13] & tcp::SYN == 0 {
        return false;
    }
    let (mut delta, mut is_lowered) = (Delta::default(), false);
    let mut next = next_option(header, TCP_HEADER_LEN);
    while let Some(place) = next {
        next = next_option(header, place.end);
        let &mut [2, 4, ref mut mss @ ..] = &mut header[place.clone()] else { continue };
        let old = be16(mss, 0);
        if old > mss_max {
            mss.copy_from_slice(&mss_max.to_be_bytes());
            is_lowered = true;
            // A word at an odd place counts with its octets swapped, for it lies across two words of the sum.
            let (old, new) =
                if place.start % 2 == 0 { (old, mss_max) } else { (old.swap_bytes(), mss_max.swap_bytes()) };
            delta = delta.replace16(old, new);
        }
    }
    if is_lowered && !is_partial {
        let at = usize::from(TCP_CHECKSUM_OFFSET);
        let checksum = delta.apply(be16(header, at));
        header[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    is_lowered
}

/// Where the next option of an IPv4 or TCP header with a length stands, from `from` on; `None` at the end of the list
/// and at a malformed option.
fn next_option(options: &[u8], mut from: usize) -> Option<Range<usize>> {
    while *options.get(from)? == NO_OPERATION {
        from += 1;
    }
    let len = usize::from(*options.get(from + 1)?);
    let is_sound = options[from] != END_OF_LIST && len >= 2 && from + len <= options.len();
    is_sound.then_some(from..from + len)
}

/// The number at octet `at`, which the caller has seen to be there.
fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests;
