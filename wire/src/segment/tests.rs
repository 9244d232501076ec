//! Segments against written expectations, smoltcp's checksums and the octets they were cut from.

use super::*;
use crate::FramePool;
use crate::samples::{Sample, assert_intact, super_segments};
use proptest::prelude::*;
use std::vec::Vec;

/// Every frame that finishing emits, as octets with metadata.
fn finished(frame: &mut FrameBuf, egress: Egress) -> Result<Vec<(Vec<u8>, Offload)>, DropReason> {
    let mut frames = Vec::new();
    let mut scratch = FramePool::default().take();
    let count = finish(frame, egress, &mut scratch, |segment| {
        frames.push((segment.bytes().to_vec(), segment.offload));
    })?;
    assert_eq!(count, frames.len());
    Ok(frames)
}

fn tcp_at(bytes: &[u8]) -> &[u8] {
    &bytes[Headers::parse(bytes).unwrap().l4..]
}

#[test]
fn three_segments_with_fields_as_linux_writes_them() {
    let sample = Sample {
        flags: tcp::ACK | tcp::PSH | tcp::FIN | tcp::CWR,
        seq: u32::MAX - 99,
        id: u16::MAX,
        data: (0..250).collect(),
        gso_size: 100,
        ..Sample::default()
    };
    let mut whole = sample.frame();
    let before = whole.bytes().to_vec();
    let segments = finished(&mut whole, Egress::NONE).unwrap();
    assert_eq!(whole.bytes(), before, "a flood may need the frame again");
    let facts: Vec<_> = segments
        .iter()
        .map(|(bytes, offload)| {
            assert_eq!(*offload, Offload::NONE);
            assert_intact(bytes);
            let tcp = tcp_at(bytes);
            let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
            (bytes.len() - sample.header_len(), be16(bytes, 18), seq, tcp[13])
        })
        .collect();
    let expected = [
        (100, 0xffff, u32::MAX - 99, tcp::ACK | tcp::CWR),
        (100, 0, 0, tcp::ACK),
        (50, 1, 100, tcp::ACK | tcp::PSH | tcp::FIN),
    ];
    assert_eq!(facts, expected);
}

#[test]
fn what_the_port_takes_goes_as_it_is() {
    let mut frame = Sample { gso_size: 10, ..Sample::default() }.frame();
    let whole = (frame.bytes().to_vec(), frame.offload);
    assert_eq!(finished(&mut frame, Egress::ALL).unwrap(), [whole]);
    // TSO without checksums is no use, and CWR needs its own ability.
    assert_eq!(finished(&mut frame, Egress { checksum: false, ..Egress::ALL }).unwrap().len(), 10);
    frame.offload.ecn = true;
    assert_eq!(finished(&mut frame, Egress { tso_ecn: false, ..Egress::ALL }).unwrap().len(), 10);
}

#[test]
fn a_port_that_sums_gets_segments_with_partial_checksums() {
    let egress = Egress { checksum: true, ..Egress::NONE };
    for udp in [false, true] {
        let mut frame = Sample { udp, gso_size: 30, ..Sample::default() }.frame();
        let full = finished(&mut frame, Egress::NONE).unwrap();
        let partial = finished(&mut frame, egress).unwrap();
        assert_eq!(full.len(), partial.len());
        for ((full, _), (partial, offload)) in full.into_iter().zip(partial) {
            assert!(offload.needs_checksum() && !offload.is_super_segment());
            let mut finished = FramePool::default().take();
            assert!(finished.fill(&partial));
            finished.offload = offload;
            finish_checksum(&mut finished).unwrap();
            assert_eq!(finished.bytes(), full);
            assert_eq!(finished.offload, Offload::NONE);
        }
    }
}

#[test]
fn a_super_segment_that_a_card_has_joined_becomes_like_the_others() {
    for (v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
        let ours = Sample { v6, udp, gso_size: 30, ..Sample::default() }.frame();
        let mut joined = FramePool::default().take();
        joined.copy_from(&ours);
        finish_checksum(&mut joined).unwrap();
        joined.offload = Offload { flags: DATA_VALID, csum_start: 0, csum_offset: 0, ..ours.offload };
        assert!(reopen(&mut joined));
        assert_eq!((joined.bytes(), joined.offload), (ours.bytes(), ours.offload));
        assert!(!reopen(&mut joined), "it is done");
    }
}

#[test]
fn what_nobody_vouches_for_stays_as_it_is() {
    let ours = Sample { gso_size: 30, ..Sample::default() }.frame();
    let vouched = Offload { flags: DATA_VALID, ..ours.offload };
    let claims = [
        Offload { flags: 0, ..vouched },
        Offload { gso: Gso::None, ..vouched },
        Offload { gso: Gso::UdpL4, ..vouched },
        Offload { gso: Gso::TcpV6, ..vouched },
        Offload { gso_size: 0, ..vouched },
    ];
    for claim in claims {
        let mut frame = FramePool::default().take();
        frame.copy_from(&ours);
        frame.offload = claim;
        assert!(!reopen(&mut frame));
        assert_eq!((frame.bytes(), frame.offload), (ours.bytes(), claim));
    }
}

#[test]
fn an_ordinary_frame_gets_its_checksum() {
    for (v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut frame = Sample { v6, udp, ..Sample::default() }.frame();
        let emitted = finished(&mut frame, Egress::NONE).unwrap();
        assert_intact(&emitted[0].0);
        assert!(frame.offload.needs_checksum(), "the frame itself stays as it is");
    }
    let mut lying = Sample::default().frame();
    lying.offload.csum_start = 0xfff0;
    assert_eq!(finished(&mut lying, Egress::NONE), Err(DropReason::VnetCsum));
}

#[test]
fn a_udp_checksum_of_zero_is_written_as_ones() {
    // Two datagrams, each with a word that makes up for the rest of its sum.
    let mut sample = Sample { udp: true, data: std::vec![0; 20], gso_size: 10, ..Sample::default() };
    let checksums = |sample: &Sample| -> Vec<u16> {
        let segments = finished(&mut sample.frame(), Egress::NONE).unwrap();
        segments.iter().map(|(bytes, _)| be16(bytes, 40)).collect()
    };
    let missing = checksums(&sample);
    sample.data[0..2].copy_from_slice(&missing[0].to_be_bytes());
    sample.data[10..12].copy_from_slice(&missing[1].to_be_bytes());
    assert_eq!(checksums(&sample), [0xffff, 0xffff]);
}

#[test]
fn claims_that_the_headers_contradict_are_refused() {
    type Lie = fn(&mut FrameBuf);
    let lies: [(&str, Lie); 9] = [
        ("another family", |frame| frame.offload.gso = Gso::TcpV6),
        ("another protocol", |frame| frame.offload.gso = Gso::UdpL4),
        ("checksum elsewhere", |frame| frame.offload.csum_start += 2),
        ("another field", |frame| frame.offload.csum_offset = 6),
        ("too many segments", |frame| frame.offload.gso_size = 1),
        ("a fragment", |frame| frame.bytes_mut()[20] |= 0x20),
        ("longer than the packet", |frame| assert!(frame.extend(&[0]))),
        ("shorter than the packet", |frame| frame.truncate(frame.len() - 1)),
        ("not IP", |frame| frame.bytes_mut()[12] = 0x88),
    ];
    for (name, lie) in lies {
        let mut frame = Sample { data: std::vec![1; 2_000], gso_size: 100, ..Sample::default() }.frame();
        assert!(finished(&mut frame, Egress::NONE).is_ok());
        lie(&mut frame);
        assert_eq!(finished(&mut frame, Egress::NONE), Err(DropReason::BadSuperSegment), "{name}");
    }
    let mut empty = Sample { data: Vec::new(), gso_size: 100, ..Sample::default() }.frame();
    assert_eq!(finished(&mut empty, Egress::NONE), Err(DropReason::BadSuperSegment));
    let mut routed = Sample { v6: true, gso_size: 10, ..Sample::default() }.frame();
    routed.bytes_mut()[20] = 43;
    assert_eq!(finished(&mut routed, Egress::NONE), Err(DropReason::BadSuperSegment));
}

/// The longest IPv6 packet that a buffer holds is longer than 65,535 octets.
#[test]
fn the_longest_frame_is_cut_like_any_other() {
    for v6 in [false, true] {
        let headers = Sample { v6, ..Sample::default() }.header_len();
        let data_len = if v6 { crate::frame::FRAME_MAX - headers } else { 65_535 + 14 - headers };
        for gso_size in [1_448, 65_535] {
            let mut frame =
                Sample { v6, data: std::vec![0x5a; data_len], gso_size, ..Sample::default() }.frame();
            let segments = finished(&mut frame, Egress::NONE).unwrap();
            assert_eq!(segments.len(), data_len.div_ceil(usize::from(gso_size)));
        }
    }
}

proptest! {
    #[test]
    fn segments_carry_the_data_and_verify(sample in super_segments()) {
        let mut frame = sample.frame();
        let segments = finished(&mut frame, Egress::NONE).unwrap();
        let mut data = Vec::new();
        for (bytes, offload) in &segments {
            prop_assert_eq!(*offload, Offload::NONE);
            assert_intact(bytes);
            prop_assert!(bytes.len() - sample.header_len() <= usize::from(sample.gso_size));
            data.extend_from_slice(&bytes[sample.header_len()..]);
        }
        prop_assert_eq!(data, sample.data);
    }

    #[test]
    fn arbitrary_claims_about_arbitrary_frames_never_panic(
        sample in super_segments(), gso_size in any::<u16>(), csum in any::<[u8; 2]>(),
        damage in proptest::collection::vec((0_usize..120, any::<u8>()), 0..4), cut in any::<u16>(),
    ) {
        let mut frame = sample.frame();
        for (at, octet) in damage {
            if let Some(hit) = frame.bytes_mut().get_mut(at) {
                *hit = octet;
            }
        }
        if cut < 0x4000 {
            frame.truncate(usize::from(cut));
        }
        if gso_size & 1 == 0 {
            frame.offload.gso_size = gso_size;
            frame.offload.csum_start = u16::from(csum[0]);
            frame.offload.csum_offset = u16::from(csum[1]);
        }
        let _ = finished(&mut frame, Egress::NONE);
    }
}

#[test]
fn pieces_behind_a_tunnels_header_are_the_segments_behind_it() {
    for sample in [
        Sample { gso_size: 30, ..Sample::default() },
        Sample { gso_size: 30, udp: true, v6: true, ..Sample::default() },
        Sample { gso_size: 7, v6: true, flags: tcp::ACK | tcp::PSH, ..Sample::default() },
    ] {
        let mut frame = sample.frame();
        let expected = finished(&mut frame, Egress::NONE).unwrap();
        let mut behind = frame;
        behind.prepend(8).unwrap().copy_from_slice(b"tunnel 1");
        behind.offload.shift(8);
        let framed = joined(&behind, Carried::Frame(8));
        let whole: Vec<_> =
            expected.iter().map(|(bytes, _)| [b"tunnel 1", bytes.as_slice()].concat()).collect();
        assert_eq!(framed, whole);
        behind.advance(22);
        behind.offload.shift(-22);
        let bare = joined(&behind, Carried::Packet);
        assert_eq!(bare, expected.iter().map(|(bytes, _)| bytes[14..].to_vec()).collect::<Vec<_>>());
    }
}

fn joined(payload: &FrameBuf, carried: Carried) -> Vec<Vec<u8>> {
    let pieces = Pieces::of(payload, carried).unwrap().unwrap();
    let piece = |index| {
        let mut bytes = std::vec![0xa5; pieces.head_len()];
        pieces.write_head(payload, index, &mut bytes);
        bytes.extend_from_slice(&payload.bytes()[pieces.data(index)]);
        bytes
    };
    (0..pieces.count()).map(piece).collect()
}

#[test]
fn an_ordinary_payload_has_no_pieces_and_a_false_claim_is_refused() {
    let plain = Sample::default().finished();
    assert!(Pieces::of(&plain, Carried::Frame(0)).unwrap().is_none());
    let liar = Sample { gso_size: 30, ..Sample::default() }.frame();
    for carried in [Carried::Frame(8), Carried::Frame(9_999), Carried::Packet] {
        assert_eq!(Pieces::of(&liar, carried).map(drop), Err(DropReason::BadSuperSegment));
    }
}

#[test]
fn what_is_unfinished_is_found_without_being_told() {
    for v6 in [false, true] {
        let l4 = if v6 { 54 } else { 34 };
        let tcp = Sample { v6, data: std::vec![0x37; 4_000], ..Sample::default() };
        let udp = Sample { udp: true, ..tcp.clone() };
        for sample in [&tcp, &udp] {
            assert_eq!(unfinished(sample.finished().bytes(), 0, 1_450), Offload::NONE);
            let frame = Sample { data: std::vec![0x37; 400], ..sample.clone() }.frame();
            assert_eq!(unfinished(frame.bytes(), 0, 1_450), frame.offload);
            // Some data have the sum that makes the computed checksum look like one that nobody has computed.
            let with = |[high, low]: [u8; 2]| Sample { data: std::vec![high, low, 0x37], ..sample.clone() };
            let finished = (0..=u16::MAX)
                .map(|word| with(word.to_be_bytes()))
                .find_map(|sample| {
                    let finished = sample.finished();
                    (sample.frame().bytes() == finished.bytes()).then_some(finished)
                })
                .unwrap();
            assert_eq!(unfinished(finished.bytes(), 0, 1_450), Offload::NONE);
        }
        let fitting = 1_450 - (l4 - 14 + 32);
        let whole = Sample { gso_size: fitting, ..tcp }.frame();
        assert_eq!(unfinished(whole.bytes(), 0, 1_450), whole.offload);
        let whole = Sample { gso_size: 1_000, ..udp }.frame();
        assert_eq!(unfinished(whole.bytes(), 1_000, 1_450), whole.offload);
        assert!(
            !unfinished(whole.bytes(), 0, 1_450).is_super_segment(),
            "nobody can tell its datagrams apart"
        );
        let mut damaged = whole;
        damaged.bytes_mut()[usize::from(l4) + 7] ^= 1;
        assert_eq!(unfinished(damaged.bytes(), 1_000, 1_450), Offload::NONE);
    }
}

proptest! {
    #[test]
    fn any_octets_are_looked_at_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), mtu: u16) {
        let _ = unfinished(&bytes, mtu, mtu);
        let mut frame = FramePool::default().take();
        prop_assert!(frame.fill(&bytes));
        frame.offload = Offload { flags: NEEDS_CSUM, gso: Gso::TcpV4, gso_size: 1, csum_start: 34, ..Offload::NONE };
        for carried in [Carried::Frame(usize::from(mtu)), Carried::Frame(8), Carried::Packet] {
            let _ = Pieces::of(&frame, carried);
        }
    }
}
