//! Every rewrite equals the same packet built anew with the other endpoints.

use super::*;
use crate::icmp::quote::parse_quote;
use proptest::prelude::*;
use std::vec::Vec;
use wire::FramePool;
use wire::checksum::{Sum, udp_written};
use wire::offload::{NEEDS_CSUM, Offload};

/// What is built.
#[derive(Clone, Debug)]
struct Sample {
    family: Family,
    kind: Kind,
    part: Part,
    /// IPv4 options or an IPv6 destination options header.
    has_options: bool,
    /// The L4 checksum is left unfinished. Only whole packets are.
    is_partial: bool,
    /// UDP says that it has no checksum.
    is_unsummed: bool,
    hop_limit: u8,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    EchoRequest,
    EchoReply,
    /// GRE: addresses only.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    First,
    Later,
}

/// Octets of the packet's L4 that are in the first of two fragments.
const FIRST_LEN: usize = 32;

impl Sample {
    fn protocol(&self) -> u8 {
        match (self.kind, self.family) {
            (Kind::Tcp, _) => PROTOCOL_TCP,
            (Kind::Udp, _) => PROTOCOL_UDP,
            (Kind::EchoRequest | Kind::EchoReply, Family::V4) => PROTOCOL_ICMPV4,
            (Kind::EchoRequest | Kind::EchoReply, Family::V6) => PROTOCOL_ICMPV6,
            (Kind::Other, _) => 47,
        }
    }

    /// L4 header and payload of the whole packet, and where its checksum stands.
    fn l4(&self, src: Endpoint, dst: Endpoint) -> (Vec<u8>, Option<usize>) {
        let len = |header: usize| u16::try_from(header + self.payload.len()).unwrap().to_be_bytes();
        let l4_ports = [src.l4_port.to_be_bytes(), dst.l4_port.to_be_bytes()].concat();
        let echo = |kind: u8, identifier: u16| {
            [&[kind, 0, 0, 0][..], &identifier.to_be_bytes(), &[0, 1], &self.payload].concat()
        };
        let types = if self.family == Family::V4 { ECHO_V4 } else { ECHO_V6 };
        let (mut l4, offset) = match self.kind {
            Kind::Tcp => {
                let rest = [0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0];
                ([&l4_ports[..], &rest, &self.payload].concat(), 16)
            }
            Kind::Udp => ([&l4_ports[..], &len(8), &[0, 0], &self.payload].concat(), 6),
            Kind::EchoRequest => (echo(types.0, src.l4_port), 2),
            Kind::EchoReply => (echo(types.1, dst.l4_port), 2),
            Kind::Other => return ([&[0, 0, 8, 0][..], &self.payload].concat(), None),
        };
        if self.is_unsummed && self.kind == Kind::Udp {
            return (l4, None);
        }
        let pseudo = self.pseudo(src.address, dst.address, l4.len());
        let sum = match (self.is_partial, self.kind) {
            (true, _) => pseudo.folded(),
            (false, Kind::Udp) => udp_written((pseudo + Sum::of(&l4)).checksum()),
            (false, Kind::Tcp | Kind::EchoRequest | Kind::EchoReply | Kind::Other) => {
                (pseudo + Sum::of(&l4)).checksum()
            }
        };
        l4[offset..offset + 2].copy_from_slice(&sum.to_be_bytes());
        (l4, Some(offset))
    }

    fn pseudo(&self, src: IpAddr, dst: IpAddr, len: usize) -> Sum {
        let short = u16::try_from(len).unwrap();
        match (src, dst, self.kind) {
            (IpAddr::V4(_), IpAddr::V4(_), Kind::EchoRequest | Kind::EchoReply) => Sum::ZERO,
            (IpAddr::V4(src), IpAddr::V4(dst), _) => {
                Sum::pseudo_v4(src.octets(), dst.octets(), self.protocol(), short)
            }
            (IpAddr::V6(src), IpAddr::V6(dst), _) => {
                Sum::pseudo_v6(src.octets(), dst.octets(), self.protocol(), u32::from(short))
            }
            mixed => panic!("{mixed:?}"),
        }
    }

    /// The frame, and what it leaves unfinished.
    fn build(&self, src: Endpoint, dst: Endpoint) -> (Vec<u8>, Offload) {
        let (l4, offset) = self.l4(src, dst);
        let cut = FIRST_LEN.min(l4.len() / 8 * 8);
        let (offset_words, more, carried) = match self.part {
            Part::Whole => (0, 0, &l4[..]),
            Part::First => (0, 1, &l4[..cut]),
            Part::Later => (u16::try_from(cut / 8).unwrap(), 0, &l4[cut..]),
        };
        let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let l3 = match (src.address, dst.address) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let options: &[u8] = if self.has_options { &[1, 1, 1, 0] } else { &[] };
                let header_len = 20 + options.len();
                let total_len = u16::try_from(header_len + carried.len()).unwrap().to_be_bytes();
                let [high, low] = (more << 13 | offset_words).to_be_bytes();
                let version = 0x40 | u8::try_from(header_len / 4).unwrap();
                let fixed = [version, 0, total_len[0], total_len[1], 0x12, 0x34, high, low, self.hop_limit];
                let fixed = [&fixed[..], &[self.protocol(), 0, 0], &src.octets(), &dst.octets()].concat();
                let mut header = [&fixed[..], options].concat();
                assert!(wire::ipv4::fill_checksum(&mut header));
                [&[0x08, 0x00][..], &header].concat()
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut extensions = Vec::new();
                let mut next = self.protocol();
                if self.part != Part::Whole {
                    let [high, low] = (offset_words << 3 | more).to_be_bytes();
                    extensions = [&[next, 0, high, low, 0, 0, 0, 7][..], &extensions].concat();
                    next = 44;
                }
                if self.has_options {
                    extensions = [&[next, 0, 1, 4, 0, 0, 0, 0][..], &extensions].concat();
                    next = 60;
                }
                let len = u16::try_from(extensions.len() + carried.len()).unwrap().to_be_bytes();
                let fixed = [0x60, 0, 0, 0, len[0], len[1], next, self.hop_limit];
                [&[0x86, 0xdd][..], &fixed, &src.octets(), &dst.octets(), &extensions].concat()
            }
            mixed => panic!("{mixed:?}"),
        };
        let frame = [&ethernet[..], &l3, carried].concat();
        let offload = Offload {
            flags: if self.is_partial { NEEDS_CSUM } else { 0 },
            csum_start: u16::try_from(ethernet.len() + l3.len()).unwrap(),
            csum_offset: u16::try_from(offset.unwrap_or(0)).unwrap(),
            ..Offload::NONE
        };
        let is_unfinished = self.is_partial && offset.is_some();
        (frame, if is_unfinished { offload } else { Offload::NONE })
    }
}

fn frame(bytes: &[u8], offload: Offload) -> FrameBuf {
    let mut frame = FramePool::default().take();
    assert!(frame.fill(bytes));
    frame.offload = offload;
    frame
}

/// Rewriting from the first two ends to the others gives what building with the others gives; and back.
fn check(sample: &Sample, from: [Endpoint; 2], to: [Endpoint; 2]) {
    let (before, offload) = sample.build(from[0], from[1]);
    let (after, _) = sample.build(to[0], to[1]);
    let padded = |bytes: &[u8]| [bytes, &[0x5a; 7]].concat();
    let mut frame = frame(&padded(&before), offload);
    let packet = Packet::parse(&frame).unwrap();
    rewrite(&mut frame, &packet, to[0], to[1]);
    assert_eq!(frame.bytes(), padded(&after), "{sample:?}");
    rewrite(&mut frame, &packet, from[0], from[1]);
    assert_eq!((frame.bytes(), frame.offload), (&padded(&before)[..], offload), "{sample:?}");
    decrement_hop_limit(&mut frame, &packet);
    let lower = Sample { hop_limit: sample.hop_limit - 1, ..sample.clone() };
    assert_eq!(frame.bytes(), padded(&lower.build(from[0], from[1]).0), "{sample:?}");
}

fn address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => any::<[u8; 4]>().prop_map(IpAddr::from).boxed(),
        Family::V6 => any::<[u8; 16]>().prop_map(IpAddr::from).boxed(),
    }
}

fn ends(family: Family) -> impl Strategy<Value = [Endpoint; 2]> {
    let end =
        move || (address(family), any::<u16>()).prop_map(|(address, l4_port)| Endpoint { address, l4_port });
    [end(), end()]
}

fn samples(parts: &'static [Part]) -> impl Strategy<Value = (Sample, [Endpoint; 2], [Endpoint; 2])> {
    let family = prop::sample::select(&[Family::V4, Family::V6][..]);
    let kind = prop::sample::select(
        &[Kind::Tcp, Kind::Udp, Kind::Udp, Kind::EchoRequest, Kind::EchoReply, Kind::Other][..],
    );
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.2));
    let payload = prop::collection::vec(prop_oneof![Just(0), Just(0xff), any::<u8>()], 24..90);
    let sample = (family, kind, prop::sample::select(parts), flags, 1..=255_u8, payload).prop_map(
        |(family, kind, part, (has_options, is_partial, is_unsummed), hop_limit, payload)| Sample {
            family,
            kind,
            part,
            has_options,
            is_partial: is_partial && part == Part::Whole,
            is_unsummed,
            hop_limit,
            payload,
        },
    );
    sample.prop_flat_map(|sample| {
        let family = sample.family;
        (Just(sample), ends(family), ends(family))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_rewrite_is_a_recompute((sample, from, to) in samples(&[Part::Whole, Part::First, Part::Later])) {
        check(&sample, from, to);
    }

    /// The error goes to whom the quoted packet came from; the quote is cut anywhere behind eight octets of L4.
    #[test]
    fn a_rewritten_quote_is_a_requote(
        (sample, from, to) in samples(&[Part::Whole, Part::First]),
        cut in 0..100_usize,
        extension in prop::option::of(prop::collection::vec(any::<u8>(), 8)),
        is_unfinished in any::<bool>(),
    ) {
        let sample = Sample { is_partial: false, ..sample };
        prop_assume!(sample.kind != Kind::Other);
        let (before, _) = sample.build(from[0], from[1]);
        let (after, _) = sample.build(to[0], to[1]);
        let l4 = Packet::parse(&frame(&before, Offload::NONE)).unwrap().headers.l4;
        let kept = match extension {
            Some(_) => before.len().min(14 + 128),
            None => before.len().saturating_sub(cut).max(l4 + 8),
        };
        // Half of a checksum cannot be kept true.
        let kept = kept - (kept - l4) % 2;
        let quote = |of: &[u8]| {
            let mut quote = of[14..kept].to_vec();
            if extension.is_some() {
                quote.resize(128, 0); // RFC 4884 §5.1: padded to a fixed length, then extensions.
            }
            quote
        };
        let error = |of: &[u8]| error(sample.family, from[0].address, &quote(of), extension.as_deref(), is_unfinished);
        let (bytes, offload) = error(&before);
        let mut frame = frame(&bytes, offload);
        let packet = Packet::parse(&frame).unwrap();
        let quote = parse_quote(&packet, frame.bytes(), frame.offload).unwrap().unwrap();
        rewrite_quote(&mut frame, &packet, &quote, to[0], to[1]);
        prop_assert_eq!(frame.bytes(), error(&after).0);
    }
}

/// A time exceeded error to `to`.
fn error(
    family: Family,
    to: IpAddr,
    quote: &[u8],
    extension: Option<&[u8]>,
    is_unfinished: bool,
) -> (Vec<u8>, Offload) {
    let words = |unit: usize| extension.map_or(0, |_| u8::try_from(quote.len() / unit).unwrap());
    let head = match family {
        Family::V4 => [11, 0, 0, 0, 0, words(4), 0, 0],
        Family::V6 => [3, 0, 0, 0, words(8), 0, 0, 0],
    };
    let message = [&head[..], quote, extension.unwrap_or_default()].concat();
    let carrier = Sample {
        family,
        kind: Kind::Other,
        part: Part::Whole,
        has_options: false,
        is_partial: false,
        is_unsummed: false,
        hop_limit: 64,
        payload: message[4..].to_vec(),
    };
    let reporter: IpAddr = match family {
        Family::V4 => [198, 51, 100, 1].into(),
        Family::V6 => [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].into(),
    };
    let end = |address| Endpoint { address, l4_port: 0 };
    let mut frame = carrier.build(end(reporter), end(to)).0;
    let l4 = frame.len() - message.len();
    frame[l4..].copy_from_slice(&message);
    let protocol = if family == Family::V4 { PROTOCOL_ICMPV4 } else { PROTOCOL_ICMPV6 };
    let pseudo = match (reporter, to) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame[20] = protocol;
            Sum::pseudo_v6(src.octets(), dst.octets(), protocol, u32::try_from(message.len()).unwrap())
        }
        _ => {
            frame[23] = protocol;
            assert!(wire::ipv4::fill_checksum(&mut frame[14..34]));
            Sum::ZERO
        }
    };
    let sum = if is_unfinished { pseudo.folded() } else { (pseudo + Sum::of(&message)).checksum() };
    frame[l4 + 2..l4 + 4].copy_from_slice(&sum.to_be_bytes());
    let csum_start = u16::try_from(l4).unwrap();
    let unfinished = Offload { flags: NEEDS_CSUM, csum_start, csum_offset: 2, ..Offload::NONE };
    (frame, if is_unfinished { unfinished } else { Offload::NONE })
}

fn plain(kind: Kind, payload: &[u8]) -> Sample {
    Sample {
        family: Family::V4,
        kind,
        part: Part::Whole,
        has_options: false,
        is_partial: false,
        is_unsummed: false,
        hop_limit: 64,
        payload: payload.to_vec(),
    }
}

fn v4(octets: [u8; 4], l4_port: u16) -> Endpoint {
    Endpoint { address: octets.into(), l4_port }
}

#[test]
fn a_udp_checksum_that_comes_to_zero_is_written_as_all_ones() {
    let (from, to) = (
        [v4([10, 0, 0, 2], 4_000), v4([192, 0, 2, 9], 53)],
        [v4([203, 0, 113, 1], 4_001), v4([192, 0, 2, 9], 53)],
    );
    // With its own checksum as payload the sum is all ones.
    let open = plain(Kind::Udp, &[0, 0]).build(to[0], to[1]).0;
    let sample = plain(Kind::Udp, &open[40..42]);
    assert_eq!(sample.build(to[0], to[1]).0[40..42], [0xff, 0xff]);
    check(&sample, from, to);
}

#[test]
fn an_echo_reply_of_zeros_has_the_other_zero() {
    let (from, to) =
        ([v4([192, 0, 2, 9], 0), v4([203, 0, 113, 1], 9)], [v4([192, 0, 2, 9], 0), v4([10, 0, 0, 2], 0)]);
    let mut sample = plain(Kind::EchoReply, &[0; 8]);
    check(&sample, from, to);
    // The sequence number is 1 in samples; with 0 the whole message is zeros.
    sample.payload.clear();
    let zeros = |ends: [Endpoint; 2]| {
        let mut bytes = sample.build(ends[0], ends[1]).0;
        bytes[40..42].fill(0);
        bytes[36..38].fill(0);
        let sum = Sum::of(&bytes[34..42]).checksum();
        bytes[36..38].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    let mut frame = frame(&zeros(from), Offload::NONE);
    let packet = Packet::parse(&frame).unwrap();
    rewrite(&mut frame, &packet, to[0], to[1]);
    assert_eq!(frame.bytes(), zeros(to));
    assert_eq!(frame.bytes()[36..38], [0xff, 0xff]);
}

#[test]
fn a_partial_checksum_inside_a_tunnel_is_not_the_carriers() {
    let sample = plain(Kind::Udp, &[7; 60]);
    let (from, to) = (
        [v4([10, 0, 0, 2], 4_000), v4([192, 0, 2, 9], 4_789)],
        [v4([203, 0, 113, 1], 4_001), v4([192, 0, 2, 9], 4_789)],
    );
    let inner = Offload { flags: NEEDS_CSUM, csum_start: 84, csum_offset: 6, ..Offload::NONE };
    let mut frame = frame(&sample.build(from[0], from[1]).0, inner);
    let packet = Packet::parse(&frame).unwrap();
    rewrite(&mut frame, &packet, to[0], to[1]);
    assert_eq!((frame.bytes(), frame.offload), (&sample.build(to[0], to[1]).0[..], inner));
}

#[test]
fn the_other_familys_addresses_are_not_written() {
    let sample = plain(Kind::Udp, &[7; 6]);
    let from = [v4([10, 0, 0, 2], 4_000), v4([192, 0, 2, 9], 53)];
    let mut frame = frame(&sample.build(from[0], from[1]).0, Offload::NONE);
    let packet = Packet::parse(&frame).unwrap();
    let v6 = Endpoint { address: IpAddr::from([0; 16]), l4_port: 4_000 };
    rewrite(&mut frame, &packet, v6, from[1]);
    assert_eq!(frame.bytes(), sample.build(from[0], from[1]).0);
    let dead = Sample { hop_limit: 0, ..sample };
    frame.fill(&dead.build(from[0], from[1]).0);
    decrement_hop_limit(&mut frame, &packet);
    assert_eq!(frame.bytes(), dead.build(from[0], from[1]).0);
}
