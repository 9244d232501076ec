//! Joining: the datagrams of one sender that came together become fewer, before they enter.
//!
//! A tunnel carries segments, because no datagram is longer than the underlay's MTU. What was one super-segment at the
//! other end is one again here ([`wire::coalesce`]), so that it walks the corridor once and costs one write. The result is
//! a payload like any other: the tunnel's header as it came, and offload metadata that count from the payload's first
//! octet. Payloads with different headers do not join.
//!
//! A [`Joiner`] sees one burst of one sender and one congestion mark; the caller flushes it in between, and at the end. What
//! cannot be told apart from damage is passed on as it is, for the corridor to refuse by name.
//!
//! A tunnel of this machine's kernel hands over what it was given, super-segments whole: of those in UDP the kernel says the
//! size, as if the payload were several datagrams. The length inside tells one from the other.

use wire::coalesce::Coalescer;
use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, HEADER_LEN};
use wire::{FrameBuf, FramePool, Headers, segment};

use crate::plan::Format;
use crate::vxlan;

/// Joins payloads of one [`Format`].
#[derive(Debug)]
pub struct Joiner {
    format: Format,
    coalescer: Coalescer,
    /// What stood before each frame that is held.
    header: [u8; vxlan::HEADER_LEN],
}

impl Joiner {
    /// Nothing is held.
    pub fn new(format: Format) -> Self {
        Self { format, coalescer: Coalescer::default(), header: [0; vxlan::HEADER_LEN] }
    }

    /// Takes what came as one message: datagrams of `segment` octets, the last one's at most; one datagram if that is 0.
    /// Whatever must enter before it, and maybe it itself, is emitted. Buffers that are used up go to `pool`.
    pub fn push(
        &mut self,
        mut message: FrameBuf,
        segment: usize,
        pool: &mut FramePool,
        mut emit: impl FnMut(FrameBuf),
    ) {
        if segment == 0 || message.len() <= segment {
            self.push_one(message, pool, emit);
            return;
        }
        if self.is_one_after_all(&message) {
            if let Some(inner) = message.bytes().get(vxlan::HEADER_LEN..) {
                let size = u16::try_from(segment).unwrap_or(0);
                message.offload = segment::unfinished(inner, size, 0);
                message.offload.shift(SHIFT);
            }
            self.flush(&mut emit);
            emit(message);
            return;
        }
        match self.format {
            Format::Vxlan => {
                for datagram in message.bytes().chunks(segment) {
                    self.push_vxlan(datagram, pool, &mut emit);
                }
            }
            Format::BareIp => self.push_bare(&mut message, segment, pool, &mut emit),
        }
        pool.put(message);
    }

    /// Emits all that is held.
    pub fn flush(&mut self, mut emit: impl FnMut(FrameBuf)) {
        let (format, header) = (self.format, self.header);
        self.coalescer.flush(|frame| emit(outside(frame, format, header)));
    }

    /// A message of one datagram is not copied.
    fn push_one(&mut self, mut datagram: FrameBuf, pool: &mut FramePool, mut emit: impl FnMut(FrameBuf)) {
        let is_whole = match self.format {
            Format::Vxlan => {
                let header = datagram.bytes().first_chunk().copied();
                header.is_some_and(|header| {
                    self.begin(header, &mut emit);
                    datagram.advance(vxlan::HEADER_LEN);
                    true
                })
            }
            Format::BareIp => datagram.bytes().first().copied().is_some_and(|version| {
                datagram.prepend(HEADER_LEN).is_some_and(|room| {
                    room.copy_from_slice(&made_up(version));
                    true
                })
            }),
        };
        if !is_whole {
            self.flush(&mut emit);
            emit(datagram);
            return;
        }
        let (format, header) = (self.format, self.header);
        self.coalescer.push(datagram, pool, |frame| emit(outside(frame, format, header)));
    }

    fn push_vxlan(&mut self, datagram: &[u8], pool: &mut FramePool, emit: &mut impl FnMut(FrameBuf)) {
        let Some((header, frame)) = datagram.split_first_chunk() else {
            self.flush(&mut *emit);
            let mut short = pool.take();
            short.fill(datagram);
            emit(short);
            return;
        };
        self.begin(*header, &mut *emit);
        self.coalescer.push_bytes(frame, pool, |frame| emit(outside(frame, Format::Vxlan, *header)));
    }

    /// Each packet gets a made-up Ethernet header over the end of the one before, which is no longer needed there.
    fn push_bare(
        &mut self,
        message: &mut FrameBuf,
        segment: usize,
        pool: &mut FramePool,
        emit: &mut impl FnMut(FrameBuf),
    ) {
        let header = self.header;
        let outside = |frame| outside(frame, Format::BareIp, header);
        let packets_end = message.len() + HEADER_LEN;
        if message.prepend(HEADER_LEN).is_none() {
            return; // A buffer that nothing was pushed into has room.
        }
        for at in (0..packets_end - HEADER_LEN).step_by(segment) {
            let end = packets_end.min(at + HEADER_LEN + segment);
            let frame = &mut message.bytes_mut()[at..end];
            let version = frame[HEADER_LEN];
            frame[..HEADER_LEN].copy_from_slice(&made_up(version));
            self.coalescer.push_bytes(frame, pool, |frame| emit(outside(frame)));
        }
    }

    /// From now on this header stands before what is held.
    fn begin(&mut self, header: [u8; vxlan::HEADER_LEN], emit: impl FnMut(FrameBuf)) {
        if header != self.header {
            self.flush(emit);
            self.header = header;
        }
    }

    /// Whether a message that is said to be several datagrams is one that carries a super-segment: then the packet inside is
    /// as long as all of them.
    fn is_one_after_all(&self, message: &FrameBuf) -> bool {
        let inner = match self.format {
            Format::Vxlan => message.bytes().get(vxlan::HEADER_LEN..).unwrap_or_default(),
            Format::BareIp => return false, // No kernel tunnel has this format.
        };
        Headers::parse(inner).is_ok_and(|headers| headers.end == inner.len())
    }
}

/// Octets of the VXLAN header, as positions move.
const SHIFT: i16 = 8;
/// Octets of a made-up Ethernet header, likewise.
const MADE_UP_SHIFT: i16 = 14;

/// A payload again.
fn outside(mut frame: FrameBuf, format: Format, header: [u8; vxlan::HEADER_LEN]) -> FrameBuf {
    match format {
        Format::Vxlan => {
            frame
                .prepend(vxlan::HEADER_LEN)
                .expect("the room that the header has left, or a fresh buffer's")
                .copy_from_slice(&header);
            frame.offload.shift(SHIFT);
        }
        Format::BareIp => {
            frame.advance(HEADER_LEN);
            frame.offload.shift(-MADE_UP_SHIFT);
        }
    }
    frame
}

/// An Ethernet header for a packet whose first octet is this one.
fn made_up(version: u8) -> [u8; HEADER_LEN] {
    let ethertype = match version >> 4 {
        4 => ETHERTYPE_IPV4,
        6 => ETHERTYPE_IPV6,
        _ => 0, // Of no protocol: it joins nothing.
    };
    let mut header = [0; HEADER_LEN];
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::buffer;
    use proptest::prelude::*;
    use std::vec::Vec;
    use wire::Offload;
    use wire::checksum::Sum;
    use wire::offload::{Gso, NEEDS_CSUM};

    const HEADER: [u8; 8] = [0x08, 0, 0, 0, 0, 0, 1, 0];

    /// A finished TCP/IPv4 packet: segment number `index` of 100 octets each.
    fn packet(index: u8) -> Vec<u8> {
        let mut packet = std::vec![0x45, 0, 0, 140, 0, index, 0x40, 0, 63, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0x12, 0x34, 0x14, 0x51, 0, 0, 3, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        let seq = 1_000 + 100 * u32::from(index);
        packet[24..28].copy_from_slice(&seq.to_be_bytes());
        packet.extend([index; 100]);
        wire::ipv4::fill_checksum(&mut packet[..20]);
        let headers = Headers::parse_packet(&packet).unwrap();
        let pseudo = headers.pseudo_sum(&packet, 120).unwrap();
        let checksum = (pseudo + Sum::of(&packet[20..])).checksum();
        packet[36..38].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    fn framed(index: u8) -> Vec<u8> {
        [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..], &packet(index)].concat()
    }

    fn vxlan(index: u8) -> Vec<u8> {
        [&HEADER[..], &framed(index)].concat()
    }

    fn joined(format: Format, messages: &[(Vec<u8>, usize)]) -> Vec<FrameBuf> {
        let (mut joiner, mut pool, mut out) = (Joiner::new(format), FramePool::default(), Vec::new());
        for (octets, segment) in messages {
            joiner.push(buffer(octets), *segment, &mut pool, |payload| out.push(payload));
        }
        joiner.flush(|payload| out.push(payload));
        out
    }

    #[test]
    fn what_was_a_super_segment_is_one_again() {
        for (format, make, before) in [
            (Format::Vxlan, vxlan as fn(u8) -> Vec<u8>, 22),
            (Format::BareIp, packet as fn(u8) -> Vec<u8>, 0),
        ] {
            let len = make(0).len();
            let apart: Vec<_> = (0..4).map(|index| (make(index), 0)).collect();
            let together = [((0..4).flat_map(make).collect(), len)];
            let mixed = [(make(0), 0), ((1..4).flat_map(make).collect(), len)];
            for messages in [&apart[..], &together, &mixed] {
                let [payload] = &joined(format, messages)[..] else { panic!("they join") };
                assert_eq!(payload.len(), len + 300);
                assert_eq!(payload.bytes()[..before], make(0)[..before]);
                assert_eq!(payload.bytes()[before + 40 + 100..before + 40 + 200], [1; 100]);
                let expected = Offload {
                    flags: NEEDS_CSUM,
                    gso: Gso::TcpV4,
                    ecn: false,
                    hdr_len: u16::try_from(before).unwrap() + 40,
                    gso_size: 100,
                    csum_start: u16::try_from(before).unwrap() + 20,
                    csum_offset: 16,
                };
                assert_eq!(payload.offload, expected);
            }
        }
    }

    #[test]
    fn different_headers_do_not_join() {
        let mut other = vxlan(1);
        other[6] = 2;
        let out = joined(Format::Vxlan, &[(vxlan(0), 0), (other.clone(), 0), (vxlan(2), 0)]);
        let octets: Vec<_> = out.iter().map(|payload| payload.bytes().to_vec()).collect();
        assert_eq!(octets, [vxlan(0), other, vxlan(2)]);
    }

    #[test]
    fn what_is_too_short_passes_in_its_place() {
        for (format, whole, short) in
            [(Format::Vxlan, vxlan(0), &[0x08, 0, 0][..]), (Format::BareIp, packet(0), &[][..])]
        {
            let out = joined(format, &[(whole.clone(), 0), (short.to_vec(), 0), (whole.clone(), 0)]);
            let octets: Vec<_> = out.iter().map(|payload| payload.bytes().to_vec()).collect();
            assert_eq!(octets, [whole.clone(), short.to_vec(), whole]);
        }
        let tail = [vxlan(0), [0x08, 0, 0].to_vec()].concat();
        let out = joined(Format::Vxlan, &[(tail, vxlan(0).len())]);
        assert_eq!(out.iter().map(FrameBuf::len).collect::<Vec<_>>(), [vxlan(0).len(), 3]);
    }

    #[test]
    fn a_super_segment_of_a_kernel_tunnel_is_not_taken_for_datagrams() {
        let mut inner = std::vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        inner.extend([0x45, 0, 0, 228, 0, 1, 0x40, 0, 63, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        inner.extend([0x12, 0x34, 0x14, 0x51, 0, 208, 0, 0]);
        inner.extend([7; 200]);
        let pseudo = Headers::parse(&inner).unwrap().pseudo_sum(&inner, 208).unwrap();
        inner[40..42].copy_from_slice(&pseudo.folded().to_be_bytes());
        let message = [&HEADER[..], &inner].concat();
        let [payload] = &joined(Format::Vxlan, &[(message.clone(), 50)])[..] else { panic!("it is one") };
        assert_eq!(payload.bytes(), message);
        assert_eq!((payload.offload.gso, payload.offload.gso_size), (Gso::UdpL4, 50));
        assert_eq!((payload.offload.csum_start, payload.offload.hdr_len), (42, 50));
    }

    proptest! {
        #[test]
        fn any_octets_pass_without_loss(
            messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), 0_usize..80), 0..6),
            bare: bool,
        ) {
            let format = if bare { Format::BareIp } else { Format::Vxlan };
            let out = joined(format, &messages);
            let octets = |payloads: &[FrameBuf]| payloads.iter().map(FrameBuf::len).sum::<usize>();
            // Random octets are hardly ever two segments of one flow.
            prop_assert_eq!(octets(&out), messages.iter().map(|(octets, _)| octets.len()).sum::<usize>());
        }
    }
}
