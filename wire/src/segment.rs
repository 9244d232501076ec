//! Segmentation: finishing in software what an egress cannot do itself.
//!
//! A frame may leave two things undone (see [`crate::offload`]): its L4 checksum, and being cut into segments. A port
//! says what it takes over ([`Egress`]); [`finish`] does the rest and hands every resulting frame to a callback, in
//! order, before it returns. The frame itself stays as it is, so that a flood may finish it for one port and pass it
//! whole to the next.
//!
//! ```text
//!  | headers | payload of up to 64 KiB                    |      one super-segment
//!  | headers | gso_size |  | headers | gso_size |  | headers | rest |
//! ```
//!
//! Segments are what Linux would make (`tcp_gso_segment`, `__udp_gso_segment`, `inet_gso_segment`): lengths and
//! checksums their own, IPv4 identification counting up, TCP sequence moving on, FIN and PSH on the last only, CWR on
//! the first only (RFC 3168 §6.1.2). Everything else is copied.
//!
//! One scratch buffer carries all segments, so nothing is allocated and the cache stays warm; a callback that wants to
//! keep a segment swaps the buffer for another. A claim that the headers contradict is refused whole, before anything
//! is emitted. Limits: [`TCP_SEGMENTS_MAX`], [`UDP_SEGMENTS_MAX`].

use core::ops::Range;

use serde::{Deserialize, Serialize};

use crate::checksum::{Sum, TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET, finish_partial, udp_written};
use crate::drop::DropReason;
use crate::field::{be16, octets, put16};
use crate::frame::FrameBuf;
use crate::headers::{Family, Fragment, HeaderError, Headers, IPV6_HEADER_LEN, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::offload::{DATA_VALID, Gso, NEEDS_CSUM, Offload};
use crate::{ipv4, tcp};

/// Segments of one TCP super-segment; more are refused. 64 KiB in pieces of 48 octets, the least that Linux sends
/// (`net.ipv4.tcp_min_snd_mss`), so only a forged `gso_size` gets here.
pub const TCP_SEGMENTS_MAX: usize = 1_366;
/// Datagrams of one UDP super-segment; more are refused. Linux refuses them too (`UDP_MAX_SEGMENTS`).
pub const UDP_SEGMENTS_MAX: usize = 128;

/// What a port takes over from the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Egress {
    /// Finishes partial checksums. Without it no kind of segmentation is of use.
    pub checksum: bool,
    /// Cuts TCP over IPv4.
    pub tso4: bool,
    /// Cuts TCP over IPv6.
    pub tso6: bool,
    /// Cuts TCP that carries CWR.
    pub tso_ecn: bool,
    /// Cuts UDP over either family.
    pub uso: bool,
}

impl Egress {
    /// A plain device: every frame ordinary and finished.
    pub const NONE: Self = Self { checksum: false, tso4: false, tso6: false, tso_ecn: false, uso: false };

    /// A device that takes whatever we know.
    pub const ALL: Self = Self { checksum: true, tso4: true, tso6: true, tso_ecn: true, uso: true };

    /// Whether a frame with this metadata can leave as it is.
    pub const fn takes(self, offload: Offload) -> bool {
        let takes_gso = match offload.gso {
            Gso::None => true,
            Gso::TcpV4 => self.tso4 && (self.tso_ecn || !offload.ecn),
            Gso::TcpV6 => self.tso6 && (self.tso_ecn || !offload.ecn),
            Gso::UdpL4 => self.uso,
        };
        takes_gso && (self.checksum || !offload.needs_checksum())
    }
}

/// Emits `frame` in a form that `egress` takes: as it is, with its checksum finished, or cut into segments. Returns how
/// many frames were emitted. `scratch` is overwritten unless the frame goes as it is.
///
/// # Errors
/// `deliver.bad-super-segment` if headers and claim disagree, or as [`Offload::check`]; nothing was emitted.
pub fn finish(
    frame: &mut FrameBuf,
    egress: Egress,
    scratch: &mut FrameBuf,
    mut emit: impl FnMut(&mut FrameBuf),
) -> Result<usize, DropReason> {
    if egress.takes(frame.offload) {
        emit(frame);
        return Ok(1);
    }
    if frame.offload.is_super_segment() {
        return segment(frame, egress.checksum, scratch, emit);
    }
    scratch.copy_from(frame);
    finish_checksum(scratch)?;
    emit(scratch);
    Ok(1)
}

/// Computes the checksum of an ordinary frame in place, if it is still to be done.
///
/// # Errors
/// `admit.vnet-csum` if the checksum field lies past the end.
pub fn finish_checksum(frame: &mut FrameBuf) -> Result<(), DropReason> {
    let Offload { csum_start, csum_offset, .. } = frame.offload;
    if frame.offload.needs_checksum() && !finish_partial(frame.bytes_mut(), csum_start, csum_offset) {
        return Err(DropReason::VnetCsum);
    }
    frame.offload = Offload::NONE;
    Ok(())
}

/// Makes a super-segment with a finished checksum, for which its sender vouches ([`DATA_VALID`]), one like all others:
/// its checksum is to be computed for each segment. Network cards that join segments themselves (LRO) make the former.
/// Returns whether that was done; a frame of any other kind, or with a claim that its headers contradict, stays as it is.
pub fn reopen(frame: &mut FrameBuf) -> bool {
    let finished = frame.offload;
    if !finished.is_super_segment() || finished.needs_checksum() || finished.flags & DATA_VALID == 0 {
        return false;
    }
    let Ok(headers) = Headers::parse(frame.bytes()) else { return false };
    let transport = if finished.gso == Gso::UdpL4 { Transport::Udp } else { Transport::Tcp };
    frame.offload = Offload {
        flags: NEEDS_CSUM,
        csum_start: octets(headers.l4),
        csum_offset: transport.checksum_offset(),
        ..finished
    };
    let Ok(cut) = Cut::of(frame.bytes(), frame.offload, Ok(headers)) else {
        frame.offload = finished;
        return false;
    };
    let pseudo = cut.pseudo + Sum::of_word(octets(headers.end - headers.l4));
    put16(frame.bytes_mut(), headers.l4 + usize::from(transport.checksum_offset()), pseudo.folded());
    true
}

/// What a frame that came without metadata leaves undone all the same: [`Offload::NONE`] if nothing.
///
/// A kernel tunnel on the same machine (behind a veth pair, as in a test cluster) hands its datagrams over as they are:
/// the checksum inside not computed, and a super-segment not cut. Linux tells a packet socket of that, a UDP socket
/// not; but an uncomputed checksum is the pseudo-header's sum. `gso_size` is what the kernel said
/// of its size (UDP), 0 if nothing: TCP may be cut anew, so that no packet is longer than `mtu`.
pub fn unfinished(frame: &[u8], gso_size: u16, mtu: u16) -> Offload {
    let Ok(headers) = Headers::parse(frame) else { return Offload::NONE };
    let transport = match headers.protocol {
        PROTOCOL_TCP => Transport::Tcp,
        PROTOCOL_UDP => Transport::Udp,
        _ => return Offload::NONE,
    };
    let Headers { l3, l4, payload, end, .. } = headers;
    let csum_offset = transport.checksum_offset();
    if headers.fragment != Fragment::Whole || payload == l4 {
        return Offload::NONE;
    }
    let Some(pseudo) = headers.pseudo_sum(frame, octets(end - l4)) else { return Offload::NONE };
    if be16(frame, l4 + usize::from(csum_offset)) != pseudo.folded() {
        return Offload::NONE;
    }
    let gso = match (transport, headers.family) {
        (Transport::Tcp, Family::V4) => Gso::TcpV4,
        (Transport::Tcp, Family::V6) => Gso::TcpV6,
        (Transport::Udp, Family::V4 | Family::V6) => Gso::UdpL4,
    };
    let fitting = match transport {
        Transport::Tcp => mtu.saturating_sub(octets(payload - l3)),
        Transport::Udp => gso_size, // Its datagrams may not be cut anew.
    };
    let partial = Offload { flags: NEEDS_CSUM, csum_start: octets(l4), csum_offset, ..Offload::NONE };
    if end - payload <= usize::from(fitting) || fitting == 0 {
        // One that was computed may happen to be the same. So may a super-segment's, but there it is computed again in
        // any case, to the same, and 64 KiB are not walked over for that.
        let is_computed = (pseudo + Sum::of(&frame[l4..end])).is_intact();
        return if is_computed { Offload::NONE } else { partial };
    }
    let ecn = transport == Transport::Tcp && frame[l4 + 13] & tcp::CWR != 0;
    Offload { gso, ecn, gso_size: fitting, hdr_len: octets(payload), ..partial }
}

/// A super-segment in a datagram's payload, to be cut where it lies: the headers of each piece are written elsewhere,
/// its data are sent from where they are.
#[derive(Clone, Copy, Debug)]
pub struct Pieces(Cut);

/// What a datagram's payload carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// An Ethernet frame, behind so many octets of a tunnel's header, which each piece gets too.
    Frame(usize),
    /// An IP packet, behind nothing.
    Packet,
}

impl Pieces {
    /// `None` if it is not a super-segment.
    ///
    /// # Errors
    /// As [`finish`].
    pub fn of(payload: &FrameBuf, carried: Carried) -> Result<Option<Self>, DropReason> {
        if !payload.offload.is_super_segment() {
            return Ok(None);
        }
        let bytes = payload.bytes();
        let headers = match carried {
            Carried::Frame(at) => {
                Headers::parse(bytes.get(at..).unwrap_or_default()).map(|headers| headers.behind(at))
            }
            Carried::Packet => Headers::parse_packet(bytes),
        };
        Cut::of(bytes, payload.offload, headers).map(|cut| Some(Self(cut)))
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.0.count
    }

    /// Octets of each one's headers, the tunnel's included.
    pub const fn head_len(&self) -> usize {
        self.0.headers.payload
    }

    /// Where in the payload the data of piece number `index` are.
    pub fn data(&self, index: usize) -> Range<usize> {
        self.0.data(index)
    }

    /// Writes the finished headers of piece number `index` over `head`, which is [`Pieces::head_len`] long.
    pub fn write_head(&self, payload: &FrameBuf, index: usize, head: &mut [u8]) {
        head.copy_from_slice(&payload.bytes()[..self.head_len()]);
        self.0.write_head(head, &payload.bytes()[self.data(index)], index, false);
    }
}

fn segment(
    frame: &FrameBuf,
    keep_partial: bool,
    scratch: &mut FrameBuf,
    mut emit: impl FnMut(&mut FrameBuf),
) -> Result<usize, DropReason> {
    let cut = Cut::of(frame.bytes(), frame.offload, Headers::parse(frame.bytes()))?;
    for index in 0..cut.count {
        cut.build(frame, index, keep_partial, scratch);
        emit(scratch);
    }
    Ok(cut.count)
}

/// A super-segment whose claim has been checked against its headers, and how it is cut.
#[derive(Clone, Copy, Debug)]
struct Cut {
    headers: Headers,
    transport: Transport,
    gso_size: usize,
    count: usize,
    /// Sum of addresses and protocol; each segment adds its own length.
    pseudo: Sum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
}

impl Cut {
    fn of(bytes: &[u8], offload: Offload, headers: Result<Headers, HeaderError>) -> Result<Self, DropReason> {
        offload.check(bytes.len())?;
        let headers = headers.map_err(|_| DropReason::BadSuperSegment)?;
        let (transport, segments_max) = match (offload.gso, headers.family, headers.protocol) {
            (Gso::TcpV4, Family::V4, PROTOCOL_TCP) | (Gso::TcpV6, Family::V6, PROTOCOL_TCP) => {
                (Transport::Tcp, TCP_SEGMENTS_MAX)
            }
            (Gso::UdpL4, Family::V4 | Family::V6, PROTOCOL_UDP) => (Transport::Udp, UDP_SEGMENTS_MAX),
            (Gso::None | Gso::TcpV4 | Gso::TcpV6 | Gso::UdpL4, _, _) => {
                return Err(DropReason::BadSuperSegment);
            }
        };
        let gso_size = usize::from(offload.gso_size);
        let count = (headers.end - headers.payload).div_ceil(gso_size);
        let is_consistent = headers.fragment == Fragment::Whole
            && headers.end == bytes.len()
            && usize::from(offload.csum_start) == headers.l4
            && offload.csum_offset == transport.checksum_offset()
            && (1..=segments_max).contains(&count);
        match headers.pseudo_sum(bytes, 0) {
            Some(pseudo) if is_consistent => Ok(Self { headers, transport, gso_size, count, pseudo }),
            Some(_) | None => Err(DropReason::BadSuperSegment),
        }
    }

    /// Writes segment number `index` into `out`.
    fn build(&self, frame: &FrameBuf, index: usize, keep_partial: bool, out: &mut FrameBuf) {
        let payload = self.headers.payload;
        let data = &frame.bytes()[self.data(index)];
        let written = out.fill(&frame.bytes()[..payload]) && out.extend(data);
        assert!(written, "a segment is no longer than the frame it is cut from");
        self.write_head(&mut out.bytes_mut()[..payload], data, index, keep_partial);
        if keep_partial {
            let Offload { csum_start, csum_offset, .. } = frame.offload;
            out.offload = Offload { flags: NEEDS_CSUM, csum_start, csum_offset, ..Offload::NONE };
        }
    }

    /// Where in the super-segment the data of segment number `index` are.
    fn data(&self, index: usize) -> Range<usize> {
        let from = self.headers.payload + index * self.gso_size;
        from..self.headers.end.min(from + self.gso_size)
    }

    /// Makes the super-segment's headers, a copy of which `head` is, those of segment number `index` with these data.
    fn write_head(&self, head: &mut [u8], data: &[u8], index: usize, keep_partial: bool) {
        let Headers { l3, l4, payload, .. } = self.headers;
        let packet_len = payload - l3 + data.len();
        let l4_len = octets(payload - l4 + data.len());
        match self.headers.family {
            Family::V4 => {
                let id = be16(head, l3 + 4).wrapping_add(octets(index));
                put16(head, l3 + 2, octets(packet_len));
                put16(head, l3 + 4, id);
                ipv4::fill_checksum(&mut head[l3..]);
            }
            Family::V6 => put16(head, l3 + 4, octets(packet_len - IPV6_HEADER_LEN)),
        }
        match self.transport {
            Transport::Tcp => self.advance_tcp(&mut head[l4..], index),
            Transport::Udp => put16(head, l4 + 4, l4_len),
        }
        let pseudo = self.pseudo + Sum::of_word(l4_len);
        let field = l4 + usize::from(self.transport.checksum_offset());
        put16(head, field, pseudo.folded());
        if keep_partial {
            return;
        }
        // The field holds the pseudo-header's sum, so summing the header includes it. The data are summed where they
        // come from: that they have just been stored elsewhere would only make the loads wait.
        let checksum = (Sum::of(&head[l4..]) + Sum::of(data)).checksum();
        put16(head, field, self.transport.written(checksum));
    }

    fn advance_tcp(&self, header: &mut [u8], index: usize) {
        let [a, b, c, d] = [header[4], header[5], header[6], header[7]];
        let passed = u32::from(octets(index * self.gso_size));
        let seq = u32::from_be_bytes([a, b, c, d]).wrapping_add(passed);
        header[4..8].copy_from_slice(&seq.to_be_bytes());
        if index > 0 {
            header[13] &= !tcp::CWR;
        }
        if index + 1 < self.count {
            header[13] &= !(tcp::FIN | tcp::PSH);
        }
    }
}

impl Transport {
    const fn checksum_offset(self) -> u16 {
        match self {
            Self::Tcp => TCP_CHECKSUM_OFFSET,
            Self::Udp => UDP_CHECKSUM_OFFSET,
        }
    }

    const fn written(self, checksum: u16) -> u16 {
        match self {
            Self::Tcp => checksum,
            Self::Udp => udp_written(checksum),
        }
    }
}

#[cfg(test)]
#[path = "segment/tests.rs"]
mod tests;
