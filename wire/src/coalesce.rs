//! Coalescing (GRO): small segments of one flow become the super-segment that they could have been cut from.
//!
//! For egress ports that take super-segments, when frames arrive small: out of a tunnel, or from a sender without
//! offloads. A [`Coalescer`] sees one burst: every frame is pushed, and at the burst's end what is still held is
//! flushed. Nothing waits for a later burst, so nothing is delayed.
//!
//! A frame joins the held one of its flow if [`crate::segment`] would cut the result back into just these frames:
//! - same Ethernet header, tag included, addresses, protocol and L4 ports; neither IPv4 options, extension headers
//!   nor fragments; same TOS, TTL and flags (IPv6: traffic class, flow label, hop limit). IPv4 identifications count up,
//!   unless DF is set, when they mean nothing (RFC 6864 §4.1);
//! - TCP: data in sequence, same acknowledgement, window, options (timestamps with them) and flags. FIN and PSH end
//!   the super-segment, CWR can only begin one; SYN, RST, URG and segments without data stay alone;
//! - UDP: with a checksum, as the result has one (as Linux), and not a tunnel's ([`TUNNEL_L4_PORTS`]): receivers in the
//!   kernel do not expect aggregated tunnel datagrams. At most [`UDP_DATAGRAMS_MAX`];
//! - never a longer segment after a shorter, and nothing after a shorter: it ends the super-segment;
//! - checksums are intact, or vouched for by the sender, or partial: the result's is partial, and would hide damage.
//!
//! Order within a flow is kept by structure: a frame that cannot join pushes the held one of its flow out before it,
//! and a frame whose flow cannot be told (not TCP or UDP, a fragment, IP options) pushes out everything.
//! At the flush, what was begun first leaves first. All is decided by the frames alone, so a replay makes the
//! same super-segments. A single frame leaves octet for octet as it came.
//! Limit: [`FLOWS_MAX`]; when reached, the oldest leaves early.

use alloc::vec::Vec;

use crate::checksum::{Sum, TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET};
use crate::field::{be16, octets, put16};
use crate::flow::FlowHash;
use crate::frame::{FrameBuf, FramePool};
use crate::headers::{
    Family, Fragment, Headers, IPV4_HEADER_LEN, IPV6_HEADER_LEN, PROTOCOL_TCP, PROTOCOL_UDP,
};
use crate::offload::{DATA_VALID, Gso, NEEDS_CSUM, Offload};
use crate::segment::TCP_SEGMENTS_MAX;
use crate::{ipv4, tcp};

/// Flows with a held frame. When one more comes, the super-segment begun first is emitted: a burst has 64 frames, so
/// with more flows than this there is little to gain.
pub const FLOWS_MAX: usize = 32;
/// Datagrams of one UDP super-segment; the next begins another. Older kernels take no more (`UDP_MAX_SEGMENTS`,
/// 128 of late).
pub const UDP_DATAGRAMS_MAX: usize = 64;
/// Octets of a coalesced packet, L3 header included: the most that IPv4's total length can say.
pub const PACKET_MAX: usize = 65_535;
/// Octets of an L4 segment that links carry uncut. In a longer one a checksum that nobody has computed
/// ([`crate::segment::unfinished`]) is believed at sight, without a walk over 64 KiB; in one that is shorter it may be a
/// computed one that happens to be the same.
const FRAME_LEN_MAX: usize = 9_216;
/// VXLAN (RFC 7348), VXLAN as Linux and flannel use it, flannel's UDP backend, Geneve (RFC 8926).
pub const TUNNEL_L4_PORTS: [u16; 4] = [4789, 8472, 8285, 6081];

/// Coalesces the frames of one burst that leave through one port.
#[derive(Debug, Default)]
pub struct Coalescer {
    /// In the order of their first frames.
    held: Vec<Held>,
}

impl Coalescer {
    /// Takes the next frame of the burst. Whatever must leave before it, and maybe the frame itself, is emitted.
    /// Buffers that are used up go to `pool`.
    pub fn push(&mut self, frame: FrameBuf, pool: &mut FramePool, mut emit: impl FnMut(FrameBuf)) {
        match self.offer(frame.bytes(), frame.offload, &mut emit) {
            Offered::Joined => pool.put(frame),
            Offered::Begins(segment) => self.held.push(Held::new(segment, frame)),
            Offered::Leaves => emit(frame),
        }
    }

    /// The same for a finished frame that lies in somebody else's buffer. It is copied once: to where it joins, or into a
    /// buffer from `pool`. Longer than [`crate::frame::FRAME_MAX`] it is lost, which a part of a datagram never is.
    pub fn push_bytes(&mut self, bytes: &[u8], pool: &mut FramePool, mut emit: impl FnMut(FrameBuf)) {
        let offered = self.offer(bytes, Offload::NONE, &mut emit);
        if matches!(offered, Offered::Joined) {
            return;
        }
        let mut frame = pool.take();
        frame.fill(bytes);
        match offered {
            Offered::Begins(segment) => self.held.push(Held::new(segment, frame)),
            Offered::Leaves | Offered::Joined => emit(frame),
        }
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn offer(&mut self, bytes: &[u8], offload: Offload, emit: &mut impl FnMut(FrameBuf)) -> Offered {
        let (segment, flow) = match Role::of(bytes, offload) {
            Role::Unknown => {
                self.flush(emit);
                return Offered::Leaves;
            }
            Role::Alone(flow) => (None, flow),
            Role::Data(segment) => (Some(segment), segment.flow),
        };
        if let Some(at) = self.held.iter().position(|held| held.is_of(&flow, bytes)) {
            if let Some(segment) = segment
                && self.held[at].join(&segment, bytes)
            {
                if self.held[at].is_complete(&segment) {
                    emit(self.held.remove(at).finished());
                }
                return Offered::Joined;
            }
            emit(self.held.remove(at).finished());
        }
        match segment {
            Some(segment) if !segment.is_last() => {
                if self.held.len() == FLOWS_MAX {
                    emit(self.held.remove(0).finished());
                }
                Offered::Begins(segment)
            }
            Some(_) | None => Offered::Leaves,
        }
    }

    /// Emits all that is held. Called at the end of the burst.
    pub fn flush(&mut self, mut emit: impl FnMut(FrameBuf)) {
        for held in self.held.drain(..) {
            emit(held.finished());
        }
    }
}

/// What has become of a frame.
#[derive(Clone, Copy, Debug)]
enum Offered {
    /// Its data are part of what is held.
    Joined,
    /// It is to be held, for others to join.
    Begins(Segment),
    /// It is to be emitted as it is.
    Leaves,
}

/// What a frame means to coalescing.
#[derive(Clone, Copy, Debug)]
enum Role {
    /// It belongs to no flow that can be told.
    Unknown,
    /// It belongs to a flow but must not be touched.
    Alone(Flow),
    /// It can begin or join a super-segment.
    Data(Segment),
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    hash: FlowHash,
    headers: Headers,
}

/// The facts about a frame with data.
#[derive(Clone, Copy, Debug)]
struct Segment {
    flow: Flow,
    transport: Transport,
    data_len: usize,
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Tcp { seq: u32, flags: u8 },
    Udp,
}

/// The super-segment that a flow is building.
#[derive(Debug)]
struct Held {
    frame: FrameBuf,
    first: Segment,
    count: usize,
    /// Octets of data, all segments together.
    data_len: usize,
    /// FIN and PSH of the last segment.
    end_flags: u8,
}

impl Role {
    fn of(bytes: &[u8], offload: Offload) -> Self {
        let Ok(headers) = Headers::parse(bytes) else { return Self::Unknown };
        if headers.fragment != Fragment::Whole || headers.l4_ports.is_none() || headers.has_l3_options() {
            return Self::Unknown; // The flow hash does not look behind extension headers either.
        }
        let flow = Flow { hash: FlowHash::of(bytes), headers };
        let data_len = headers.end - headers.payload;
        let Some(transport) = Transport::of(&headers, bytes) else { return Self::Alone(flow) };
        let is_data = data_len > 0
            && !offload.is_super_segment()
            && is_l3_intact(&headers, bytes)
            && is_l4_intact(&headers, transport, bytes, offload);
        if is_data { Self::Data(Segment { flow, transport, data_len }) } else { Self::Alone(flow) }
    }
}

impl Transport {
    /// `None` for what must stay alone.
    fn of(headers: &Headers, bytes: &[u8]) -> Option<Self> {
        let l4 = &bytes[headers.l4..headers.end];
        match headers.protocol {
            PROTOCOL_TCP => {
                let flags = l4[13];
                let is_plain = flags & (tcp::SYN | tcp::RST | tcp::URG | tcp::ACK) == tcp::ACK;
                let seq = u32::from_be_bytes([l4[4], l4[5], l4[6], l4[7]]);
                if is_plain { Some(Self::Tcp { seq, flags }) } else { None }
            }
            PROTOCOL_UDP => {
                let ports = headers.l4_ports?;
                let is_tunnel = TUNNEL_L4_PORTS.contains(&ports.src) || TUNNEL_L4_PORTS.contains(&ports.dst);
                let is_plain = !is_tunnel && usize::from(be16(l4, 4)) == l4.len() && be16(l4, 6) != 0;
                if is_plain { Some(Self::Udp) } else { None }
            }
            _ => None,
        }
    }

    const fn checksum_offset(self) -> u16 {
        match self {
            Self::Tcp { .. } => TCP_CHECKSUM_OFFSET,
            Self::Udp => UDP_CHECKSUM_OFFSET,
        }
    }

    const fn segments_max(self) -> usize {
        match self {
            Self::Tcp { .. } => TCP_SEGMENTS_MAX,
            Self::Udp => UDP_DATAGRAMS_MAX,
        }
    }

    const fn end_flags(self) -> u8 {
        match self {
            Self::Tcp { flags, .. } => flags & (tcp::FIN | tcp::PSH),
            Self::Udp => 0,
        }
    }
}

/// A coalesced packet gets a new header checksum, which would hide that this one was wrong.
fn is_l3_intact(headers: &Headers, bytes: &[u8]) -> bool {
    match headers.family {
        Family::V4 => Sum::of(&bytes[headers.l3..headers.l4]).is_intact(),
        Family::V6 => true,
    }
}

fn is_l4_intact(headers: &Headers, transport: Transport, bytes: &[u8], offload: Offload) -> bool {
    if offload.needs_checksum() {
        return usize::from(offload.csum_start) == headers.l4
            && offload.csum_offset == transport.checksum_offset();
    }
    if offload.flags & DATA_VALID != 0 {
        return true;
    }
    let l4 = &bytes[headers.l4..headers.end];
    let pseudo = u16::try_from(l4.len()).ok().and_then(|len| headers.pseudo_sum(bytes, len));
    let field = headers.l4 + usize::from(transport.checksum_offset());
    pseudo.is_some_and(|pseudo| {
        let is_unfinished = l4.len() > FRAME_LEN_MAX && be16(bytes, field) == pseudo.folded();
        !is_unfinished && (pseudo + Sum::of(l4)).is_intact()
    })
}

impl Segment {
    /// Whether nothing may follow, whatever its length.
    const fn is_last(&self) -> bool {
        self.transport.end_flags() != 0
    }
}

impl Held {
    fn new(first: Segment, frame: FrameBuf) -> Self {
        Self { frame, first, count: 1, data_len: first.data_len, end_flags: 0 }
    }

    /// Whether a frame belongs to the same flow in the same direction, whatever its Ethernet header.
    fn is_of(&self, flow: &Flow, bytes: &[u8]) -> bool {
        let (ours, theirs) = (&self.first.flow.headers, &flow.headers);
        let addresses = |headers: &Headers| headers.src_range().start..headers.dst_range().end;
        self.first.flow.hash == flow.hash
            && (ours.family, ours.protocol, ours.l4_ports)
                == (theirs.family, theirs.protocol, theirs.l4_ports)
            && self.frame.bytes()[addresses(ours)] == bytes[addresses(theirs)]
    }

    /// Appends the segment's data if the rules allow; `false`, and nothing done, otherwise. A full super-segment has left
    /// when its last segment joined ([`Held::is_complete`]).
    fn join(&mut self, segment: &Segment, theirs: &[u8]) -> bool {
        let first = &self.first.flow.headers;
        let ours = self.frame.bytes();
        let fits = segment.data_len <= self.first.data_len
            && first.payload - first.l3 + self.data_len + segment.data_len <= PACKET_MAX;
        let continues = first.payload == segment.flow.headers.payload
            && ours[..first.l3] == theirs[..first.l3]
            && same_l3(first, ours, theirs, self.count)
            && self.continues_l4(segment, ours, theirs);
        if !fits || !continues {
            return false;
        }
        if self.count == 1 {
            self.frame.truncate(first.end); // Padding would end up among the data.
        }
        let headers = &segment.flow.headers;
        let joined = self.frame.extend(&theirs[headers.payload..headers.end]);
        if joined {
            self.count += 1;
            self.data_len += segment.data_len;
            self.end_flags = segment.transport.end_flags();
        }
        joined
    }

    fn continues_l4(&self, segment: &Segment, ours: &[u8], theirs: &[u8]) -> bool {
        let Headers { l4, payload, .. } = self.first.flow.headers;
        match (self.first.transport, segment.transport) {
            (Transport::Tcp { seq, flags }, Transport::Tcp { seq: next, flags: next_flags }) => {
                let passed = u32::try_from(self.data_len).expect("data of one packet");
                let same = |from: usize, to: usize| ours[l4 + from..l4 + to] == theirs[l4 + from..l4 + to];
                next == seq.wrapping_add(passed)
                    && next_flags & tcp::CWR == 0
                    && (flags ^ next_flags) & !(tcp::CWR | tcp::FIN | tcp::PSH) == 0
                    && same(8, 13) // Acknowledgement, data offset and reserved bits.
                    && same(14, 16) // Window.
                    && same(18, payload - l4) // Urgent pointer and options.
            }
            (Transport::Udp, Transport::Udp) => true,
            (Transport::Tcp { .. }, Transport::Udp) | (Transport::Udp, Transport::Tcp { .. }) => false,
        }
    }

    /// Whether `last`, which has just joined, ends the super-segment.
    const fn is_complete(&self, last: &Segment) -> bool {
        last.is_last() || last.data_len < self.first.data_len || self.count == last.transport.segments_max()
    }

    /// The frame as it leaves: unchanged if it stayed alone, else with lengths and metadata of a super-segment.
    fn finished(mut self) -> FrameBuf {
        if self.count == 1 {
            return self.frame;
        }
        let headers = self.first.flow.headers;
        let Headers { l3, l4, payload, .. } = headers;
        let bytes = self.frame.bytes_mut();
        let l4_len = octets(bytes.len() - l4);
        match headers.family {
            Family::V4 => {
                put16(bytes, l3 + 2, l4_len + octets(IPV4_HEADER_LEN));
                ipv4::fill_checksum(&mut bytes[l3..l4]);
            }
            Family::V6 => put16(bytes, l3 + 4, l4_len + octets(l4 - l3 - IPV6_HEADER_LEN)),
        }
        let (gso, ecn) = match (self.first.transport, headers.family) {
            (Transport::Tcp { flags, .. }, Family::V4) => (Gso::TcpV4, flags & tcp::CWR != 0),
            (Transport::Tcp { flags, .. }, Family::V6) => (Gso::TcpV6, flags & tcp::CWR != 0),
            (Transport::Udp, Family::V4 | Family::V6) => (Gso::UdpL4, false),
        };
        match self.first.transport {
            Transport::Tcp { .. } => bytes[l4 + 13] |= self.end_flags,
            Transport::Udp => put16(bytes, l4 + 4, l4_len),
        }
        let csum_offset = self.first.transport.checksum_offset();
        let pseudo =
            headers.pseudo_sum(bytes, l4_len).expect("no routing header: extension headers stay alone");
        put16(bytes, l4 + usize::from(csum_offset), pseudo.folded());
        self.frame.offload = Offload {
            flags: NEEDS_CSUM,
            gso,
            ecn,
            hdr_len: octets(payload),
            gso_size: octets(self.first.data_len),
            csum_start: octets(l4),
            csum_offset,
        };
        self.frame
    }
}

/// Whether the IP header is the one that segment number `index` of the same super-segment has, lengths, checksum and
/// what [`Held::is_of`] has compared apart.
fn same_l3(first: &Headers, ours: &[u8], theirs: &[u8], index: usize) -> bool {
    let l3 = first.l3;
    let same = |from: usize, to: usize| ours[l3 + from..l3 + to] == theirs[l3 + from..l3 + to];
    match first.family {
        Family::V4 => {
            let dont_fragment = ours[l3 + 6] & 0x40 != 0;
            let id = be16(ours, l3 + 4).wrapping_add(octets(index));
            same(0, 2) && same(6, 9) && (dont_fragment || be16(theirs, l3 + 4) == id)
        }
        Family::V6 => same(0, 4) && same(6, 8),
    }
}

#[cfg(test)]
#[path = "coalesce/tests.rs"]
mod tests;
