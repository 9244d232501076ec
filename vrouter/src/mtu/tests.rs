//! Fragments put together again by an obviously right reassembler, and clamped SYNs summed anew.

use super::*;
use crate::samples::{Sample, assert_sound, frame};
use crate::turn::Made;
use proptest::prelude::*;
use std::vec::Vec;
use wire::offload::{Gso, NEEDS_CSUM};
use wire::{Instant, Offload};

const V4: (&str, &str) = ("172.16.0.9", "198.51.100.7");
const V6: (&str, &str) = ("fd00::9", "2001:db8::7");

/// What becomes of a frame on its way out through an MTU.
fn cut(frame: &mut FrameBuf, mtu: u16) -> Result<Vec<Vec<u8>>, DropReason> {
    let packet = Packet::parse(frame).unwrap();
    let (mut pool, mut made) = (FramePool::default(), Made::default());
    let mut turn = Turn { now: Instant::ZERO, pool: &mut pool, made: &mut made, links: None };
    let mut others = Vec::new();
    fragment(&mut turn, &packet, frame, mtu, &mut |piece| {
        assert_eq!(piece.offload, Offload::NONE);
        others.push(piece.bytes().to_vec());
    })?;
    assert_eq!(frame.offload, Offload::NONE);
    others.insert(0, frame.bytes().to_vec());
    Ok(others)
}

/// One piece of an IPv4 packet, read as RFC 791 draws it.
#[derive(Debug)]
struct Piece {
    id: u16,
    flags: u8,
    offset: usize,
    header: Vec<u8>,
    data: Vec<u8>,
}

fn read(bytes: &[u8]) -> Piece {
    let header_len = usize::from(bytes[14] & 15) * 4;
    assert_eq!(usize::from(be16(bytes, 16)), bytes.len() - 14);
    let header = bytes[14..14 + header_len].to_vec();
    let mut summed = header.clone();
    ipv4::fill_checksum(&mut summed);
    assert_eq!(summed, header, "header checksum");
    Piece {
        id: be16(bytes, 18),
        flags: bytes[20] >> 5,
        offset: usize::from(be16(bytes, 20) & 0x1fff) * 8,
        header,
        data: bytes[14 + header_len..].to_vec(),
    }
}

/// The L4 octets and the last flags of one packet's pieces, which are in order and without gaps.
fn reassemble(pieces: &[Piece]) -> (Vec<u8>, u8) {
    let (mut data, base) = (Vec::new(), pieces[0].offset);
    for (index, piece) in pieces.iter().enumerate() {
        assert_eq!(piece.offset, base + data.len());
        if index + 1 < pieces.len() {
            assert_eq!(piece.flags & 1, 1, "more follow");
            assert_eq!(piece.data.len() % 8, 0);
        }
        data.extend(&piece.data);
    }
    (data, pieces.last().unwrap().flags)
}

#[test]
fn packets_are_judged_by_what_travels() {
    let udp = |ends: (&str, &str), len: usize| Sample::udp(ends.0, ends.1, [1, 2], &std::vec![0; len - 8]);
    let fixed = |sample: Sample| Sample { dont_fragment: true, ..sample };
    for (what, sample, expected) in [
        ("a packet of the MTU", udp(V4, 980), Fit::Fits),
        ("one octet more", udp(V4, 981), Fit::Fragment),
        ("one octet more with DF", fixed(udp(V4, 981)), Fit::TooBig),
        ("a v6 packet of the MTU", udp(V6, 960), Fit::Fits),
        ("one octet more of v6", udp(V6, 961), Fit::TooBig),
    ] {
        let padded = [&sample.bytes()[..], &[0; 30]].concat();
        let frame = frame(&padded, Offload::NONE);
        assert_eq!(fit(&Packet::parse(&frame).unwrap(), &frame, 1_000), expected, "{what}");
    }
    let data = [7; 20_000];
    for (gso, sample, overhead) in [
        (Gso::TcpV4, Sample::tcp(V4.0, V4.1, [1, 2], 0x10, &[1; 12], &data), 52),
        (Gso::TcpV6, Sample::tcp(V6.0, V6.1, [1, 2], 0x10, &[1; 12], &data), 72),
        (Gso::UdpL4, Sample::udp(V4.0, V4.1, [1, 2], &data), 28),
        (Gso::UdpL4, Sample::udp(V6.0, V6.1, [1, 2], &data), 48),
    ] {
        let (csum_start, csum_offset) =
            (if sample.src.is_ipv4() { 34 } else { 54 }, if gso == Gso::UdpL4 { 6 } else { 16 });
        for (gso_size, dont_fragment) in [(1_000, true), (1_001, true), (1_000, false), (1_001, false)] {
            let offload =
                Offload { flags: NEEDS_CSUM, gso, gso_size, csum_start, csum_offset, ..Offload::NONE };
            let frame = frame(&Sample { dont_fragment, ..sample.clone() }.bytes(), offload);
            let expected = match (gso_size, dont_fragment || sample.src.is_ipv6()) {
                (1_000, _) => Fit::Fits,
                (_, false) => Fit::Fragment,
                (_, true) => Fit::TooBig,
            };
            let fits = fit(&Packet::parse(&frame).unwrap(), &frame, 1_000 + overhead);
            assert_eq!(fits, expected, "{offload:?} {dont_fragment}");
        }
    }
}

#[test]
fn options_are_copied_where_they_say_so() {
    // Router alert (copied), record route (not), no operation, security (copied), then the end.
    let options =
        [&[0x94, 4, 0, 0][..], &[7, 7, 4, 0, 0, 0, 0], &[1], &[0x82, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0]]
            .concat();
    let sample = Sample { options: options.clone(), ..Sample::udp(V4.0, V4.1, [1, 2], &[9; 200]) };
    let pieces = cut(&mut frame(&sample.bytes(), Offload::NONE), 100).unwrap();
    let pieces: Vec<Piece> = pieces.iter().map(|piece| read(piece)).collect();
    assert_eq!(pieces[0].header[20..], options);
    for piece in &pieces[1..] {
        assert_eq!(
            piece.header[20..],
            [&[0x94, 4, 0, 0][..], &[0x82, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0]].concat()
        );
    }
    // What follows a malformed option is not copied.
    for options in [[0x94, 1, 0x94, 2], [0x94, 9, 0x94, 2], [0, 0, 0x94, 2], [1, 1, 1, 0x94]] {
        let sample = Sample { options: options.to_vec(), ..Sample::udp(V4.0, V4.1, [1, 2], &[9; 200]) };
        let pieces = cut(&mut frame(&sample.bytes(), Offload::NONE), 100).unwrap();
        assert!(pieces[1..].iter().all(|piece| read(piece).header.len() == 20), "{options:?}");
    }
}

#[test]
fn what_cannot_be_cut_has_a_name_and_stays() {
    let udp = Sample::udp(V4.0, V4.1, [1, 2], &[9; 200]);
    let last = Sample { piece: Some((65_400, false)), ..Sample::new(V4.0, V4.1, 17, std::vec![0; 136]) };
    let with_options = Sample { options: std::vec![1; 40], ..udp.clone() };
    let partial = Offload { flags: NEEDS_CSUM, csum_start: 34, csum_offset: 6, ..Offload::NONE };
    let gso = Offload { gso: Gso::UdpL4, gso_size: 150, ..partial };
    for (what, sample, offload, mtu, reason) in [
        (
            "don't fragment",
            Sample { dont_fragment: true, ..udp.clone() },
            Offload::NONE,
            100,
            DropReason::RouteMtu,
        ),
        ("v6", Sample::udp(V6.0, V6.1, [1, 2], &[9; 2_000]), Offload::NONE, 1_280, DropReason::RouteMtu),
        ("no MTU", udp.clone(), Offload::NONE, 0, DropReason::RouteMtu),
        ("no room beside the header", udp.clone(), Offload::NONE, 27, DropReason::RouteMtu),
        ("no room beside options", with_options, Offload::NONE, 67, DropReason::RouteMtu),
        ("past the longest packet", last, Offload::NONE, 100, DropReason::MalformedIp),
        (
            "a checksum past the end",
            udp.clone(),
            Offload { csum_start: 300, ..partial },
            100,
            DropReason::VnetCsum,
        ),
        (
            "TCP that is none",
            udp.clone(),
            Offload { gso: Gso::TcpV4, ..gso },
            100,
            DropReason::BadSuperSegment,
        ),
    ] {
        let bytes = sample.bytes();
        let mut frame = frame(&bytes, offload);
        assert_eq!(cut(&mut frame, mtu), Err(reason), "{what}");
        assert_eq!((frame.bytes(), frame.offload), (&bytes[..], offload), "{what}");
    }
    // 68 octets are always enough (RFC 791 §3.2).
    let longest = Sample { options: std::vec![1; 40], ..udp };
    assert_eq!(cut(&mut frame(&longest.bytes(), Offload::NONE), 68).unwrap().len(), 1 + 200 / 48 + 1);
}

#[test]
fn a_super_segment_is_cut_into_segments_first() {
    let data: Vec<u8> = (0..=255).cycle().take(1_000).collect();
    for (gso, csum_offset, sample, header_len) in [
        (Gso::UdpL4, 6, Sample::udp(V4.0, V4.1, [1, 2], &data), 8),
        (Gso::TcpV4, 16, Sample::tcp(V4.0, V4.1, [1, 2], 0x18, &[], &data), 20),
    ] {
        let offload =
            Offload { flags: NEEDS_CSUM, gso, gso_size: 300, csum_start: 34, csum_offset, ..Offload::NONE };
        let mut bytes = sample.bytes();
        let at = 34 + usize::from(csum_offset);
        bytes[at..at + 2].fill(0x5a); // Unfinished: to be written anew.
        let pieces = cut(&mut frame(&bytes, offload), 200).unwrap();
        assert!(pieces.iter().all(|piece| piece.len() <= 214 && piece[..14] == bytes[..14]));
        let pieces: Vec<Piece> = pieces.iter().map(|piece| read(piece)).collect();
        let mut got: Vec<u8> = Vec::new();
        for segment in pieces.chunk_by(|one, next| one.id == next.id) {
            assert_eq!(usize::from(segment[0].id - 0x1234), got.len() / 300);
            let (l4, flags) = reassemble(segment);
            assert_eq!(flags, 0);
            let whole = Sample { id: 7, ..Sample::new(V4.0, V4.1, sample.protocol, l4.clone()) };
            assert_sound(&whole.bytes());
            got.extend(&l4[header_len..]);
        }
        assert_eq!(got, data);
        assert_eq!(pieces.last().unwrap().data.len(), 100 + header_len, "the last segment fits");
    }
}

/// A segment with these options gets the expected ones, or stays as it is; with its checksum finished and not.
fn check_clamp(what: &str, v6: bool, flags: u8, options: &[u8], mtu: u16, expected: Option<&[u8]>) {
    let ends = if v6 { V6 } else { V4 };
    let sample = |options: &[u8]| Sample::tcp(ends.0, ends.1, [1, 2], flags, options, b"data").bytes();
    let before = sample(options);
    let mut clamped = frame(&before, Offload::NONE);
    let packet = Packet::parse(&clamped).unwrap();
    assert_eq!(clamp_mss(&mut clamped, &packet, mtu), expected.is_some(), "{what}");
    let mut after = sample(expected.unwrap_or(options));
    assert_eq!(clamped.bytes(), after, "{what}");
    // Unfinished: the same options, and the field as it was.
    let csum_start = if v6 { 54 } else { 34 };
    let offload = Offload { flags: NEEDS_CSUM, csum_start, csum_offset: 16, ..Offload::NONE };
    let mut partial = frame(&before, offload);
    clamp_mss(&mut partial, &packet, mtu);
    let field = packet.headers.l4 + 16..packet.headers.l4 + 18;
    after[field.clone()].copy_from_slice(&before[field]);
    assert_eq!((partial.bytes(), partial.offload), (&after[..], offload), "{what}, partial");
}

#[test]
fn a_syn_is_clamped_and_nothing_else() {
    const SYN: u8 = 2;
    let mss = |mss: u16| [&[2, 4][..], &mss.to_be_bytes()].concat();
    let odd = |mss: u16| [&[1][..], &[2, 4], &mss.to_be_bytes(), &[1, 1, 0]].concat();
    for (what, v6, flags, options, mtu, expected) in [
        ("a SYN", false, SYN, mss(1_460), 1_400, Some(mss(1_360))),
        ("a SYN of v6", true, SYN, mss(1_440), 1_400, Some(mss(1_340))),
        ("a SYN and ACK", false, 0x12, mss(1_460), 1_400, Some(mss(1_360))),
        ("a SYN at an odd place", false, SYN, odd(1_460), 1_400, Some(odd(1_360))),
        ("a SYN that fits", false, SYN, mss(1_360), 1_400, None),
        ("a lower one, never raised", false, SYN, mss(536), 1_400, None),
        ("no SYN", false, 0x10, mss(1_460), 1_400, None),
        ("no option", false, SYN, Vec::new(), 1_400, None),
        ("the floor of v6", true, SYN, mss(1_440), 1_000, Some(mss(1_220))),
        ("at the floor of v6", true, SYN, mss(1_220), 1_000, None),
        ("no floor of v4", false, SYN, mss(1_460), 500, Some(mss(460))),
        ("no MTU at all", false, SYN, mss(1_460), 20, Some(mss(0))),
        (
            "behind others",
            false,
            SYN,
            [&[4, 2, 1, 1][..], &mss(9_000)].concat(),
            1_500,
            Some([&[4, 2, 1, 1][..], &mss(1_460)].concat()),
        ),
        (
            "twice",
            false,
            SYN,
            [mss(9_000), mss(8_960)].concat(),
            1_500,
            Some([mss(1_460), mss(1_460)].concat()),
        ),
        ("behind the end", false, SYN, [&[0, 0, 0, 0][..], &mss(1_460)].concat(), 1_400, None),
        ("of a wrong length", false, SYN, Vec::from([2, 3, 0xff, 1]), 1_400, None),
        (
            "of a wrong length, whole",
            false,
            SYN,
            Vec::from([2, 6, 0xff, 0xff, 0xff, 0xff, 1, 1]),
            1_400,
            None,
        ),
        ("past the end", false, SYN, Vec::from([1, 2, 4, 0xff]), 1_400, None),
        ("cut before its length", false, SYN, Vec::from([1, 1, 1, 2]), 1_400, None),
        ("behind a malformed one", false, SYN, [&[8, 1, 1, 1][..], &mss(1_460)].concat(), 1_400, None),
        ("behind one without end", false, SYN, [&[8, 99, 1, 1][..], &mss(1_460)].concat(), 1_400, None),
    ] {
        check_clamp(what, v6, flags, &options, mtu, expected.as_deref());
    }
    let udp = Sample::udp(V4.0, V4.1, [1, 2], &mss(1_460));
    let mut other = frame(&udp.bytes(), Offload::NONE);
    let packet = Packet::parse(&other).unwrap();
    assert!(!clamp_mss(&mut other, &packet, 100));
    let syn = Sample::tcp(V4.0, V4.1, [1, 2], 2, &mss(1_460), &[9; 90]);
    let mut later = frame(&syn.piece(24, 40).bytes(), Offload::NONE);
    let packet = Packet::parse(&later).unwrap();
    assert!(!clamp_mss(&mut later, &packet, 100));
}

proptest! {
    #[test]
    fn fragments_are_the_packet(
        len in prop_oneof![0..3_000_usize, 60_000..65_400_usize], words in 0..=10_usize,
        options in prop::collection::vec(any::<u8>(), 40), mtu in 68..2_000_u16, smaller in 68..2_000_u16,
        is_partial in any::<bool>(), id in any::<u16>(), pad in 0..40_usize,
    ) {
        let data: Vec<u8> = (0..=250).cycle().take(len.min(65_535 - 28 - words * 4)).collect();
        let sample = Sample {
            id: id.into(),
            options: options[..words * 4].to_vec(),
            ..Sample::udp(V4.0, V4.1, [1, 2], &data)
        };
        let mut bytes = sample.bytes();
        bytes.extend(std::vec![0; pad]);
        let mut offload = Offload::NONE;
        if is_partial {
            let start = 34 + words * 4;
            offload = Offload { flags: NEEDS_CSUM, csum_start: start.try_into().unwrap(), csum_offset: 6, ..offload };
            // What a stack leaves in the field: the sum of the pseudo-header.
            let pseudo = wire::checksum::Sum::pseudo_v4([172, 16, 0, 9], [198, 51, 100, 7], 17, be16(&bytes, start + 4));
            bytes[start + 6..start + 8].copy_from_slice(&pseudo.folded().to_be_bytes());
        }
        let pieces = cut(&mut frame(&bytes, offload), mtu).unwrap();
        prop_assert!(pieces.iter().all(|piece| piece.len() - 14 <= usize::from(mtu) && piece[..14] == bytes[..14]));
        let read_all = |pieces: &[Vec<u8>]| pieces.iter().map(|piece| read(piece)).collect::<Vec<_>>();
        prop_assert_eq!(reassemble(&read_all(&pieces)), (sample.l4.clone(), 0));
        prop_assert_eq!(&read_all(&pieces)[0].header[20..], &sample.options);

        // On the way some piece meets a smaller MTU; what it becomes still fits in its place.
        let index = usize::from(id) % pieces.len();
        let mut parts: Vec<Piece> = read_all(&pieces[..index]);
        let mut middle = frame(&pieces[index], Offload::NONE);
        prop_assume!(Packet::parse(&middle).is_ok()); // A head of eight octets holds no L4 header.
        let again = cut(&mut middle, smaller).unwrap();
        prop_assert!(again.iter().all(|piece| piece.len() - 14 <= usize::from(smaller)));
        parts.extend(read_all(&again));
        parts.extend(read_all(&pieces[index + 1..]));
        prop_assert_eq!(reassemble(&parts), (sample.l4, 0));
    }

    #[test]
    fn a_clamp_is_a_recompute(
        v6 in any::<bool>(), options in prop::collection::vec(any::<u8>(), 40), words in 0..=10_usize,
        place in 0..36_usize, mss in any::<u16>(), mtu in any::<u16>(), data in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let mut options = options;
        options[..place].fill(1); // Reached, at even and odd places.
        options[place..place + 2].copy_from_slice(&[2, 4]);
        options[place + 2..place + 4].copy_from_slice(&mss.to_be_bytes());
        let ends = if v6 { V6 } else { V4 };
        let sample = Sample::tcp(ends.0, ends.1, [1, 2], 2, &options[..words * 4], &data);
        let before = sample.bytes();
        let mut clamped = frame(&before, Offload::NONE);
        let packet = Packet::parse(&clamped).unwrap();
        let is_lowered = clamp_mss(&mut clamped, &packet, mtu);
        prop_assert_eq!(is_lowered, clamped.bytes() != before);
        assert_sound(clamped.bytes());
        prop_assert_eq!(clamped.len(), before.len());
        prop_assert!(!clamp_mss(&mut clamped, &packet, mtu), "once is enough");
    }
}
