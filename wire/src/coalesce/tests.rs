//! Coalescing against its rules one by one, and against segmentation as its inverse.

use super::*;
use crate::samples::{Sample, assert_intact, super_segments};
use crate::segment::{Egress, finish, finish_checksum};
use proptest::prelude::*;

/// What leaves when these frames are one burst.
fn coalesced(frames: impl IntoIterator<Item = FrameBuf>) -> Vec<FrameBuf> {
    let (mut coalescer, mut pool, mut out) = (Coalescer::default(), FramePool::default(), Vec::new());
    for frame in frames {
        coalescer.push(frame, &mut pool, |frame| out.push(frame));
    }
    coalescer.flush(|frame| out.push(frame));
    assert!(coalescer.held.is_empty());
    out
}

/// The segments a plain device would get.
fn segments(whole: &mut FrameBuf) -> Vec<FrameBuf> {
    let mut scratch = FramePool::default().take();
    let mut segments = Vec::new();
    finish(whole, Egress::NONE, &mut scratch, |segment| {
        let mut kept = FramePool::default().take();
        kept.copy_from(segment);
        segments.push(kept);
    })
    .unwrap();
    segments
}

/// Segment number `index` of 100 octets each.
fn tcp(index: u32) -> Sample {
    Sample { seq: 1_000 + 100 * index, id: 7 + u16::try_from(index).unwrap(), ..Sample::default() }
}

fn udp(index: u16) -> Sample {
    Sample { udp: true, id: 7 + index, dont_fragment: false, ..Sample::default() }
}

fn lens(frames: &[FrameBuf]) -> Vec<usize> {
    frames.iter().map(|frame| frame.len() - Headers::parse(frame.bytes()).unwrap().payload).collect()
}

#[test]
fn a_super_segment_is_announced_exactly() {
    let out = coalesced((0..3).map(|index| tcp(index).finished()));
    assert_eq!(lens(&out), [300]);
    let expected = Offload {
        flags: NEEDS_CSUM,
        gso: Gso::TcpV4,
        ecn: false,
        hdr_len: 66,
        gso_size: 100,
        csum_start: 34,
        csum_offset: 16,
    };
    assert_eq!(out[0].offload, expected);
    let mut finished = FramePool::default().take();
    finished.copy_from(&out[0]);
    finish_checksum(&mut finished).unwrap();
    assert_intact(finished.bytes());
}

#[test]
fn a_computed_checksum_that_looks_like_none_joins() {
    let mut second = tcp(1);
    let mut frame = second.frame();
    let Headers { l4, end, .. } = Headers::parse(frame.bytes()).unwrap();
    let pseudo = Headers::parse(frame.bytes()).unwrap().pseudo_sum(frame.bytes(), octets(end - l4)).unwrap();
    // The checksum is the complement of pseudo-header and segment; it is the pseudo-header's sum if the segment's is the
    // complement of twice that. The last word of the data sees to it.
    put16(frame.bytes_mut(), l4 + 16, 0);
    let last = second.data.len() - 2;
    second.data[last..].fill(0);
    frame.bytes_mut()[end - 2..end].fill(0);
    let missing = Sum::of_word((pseudo + pseudo).checksum())
        + Sum::of_word(Sum::of(&frame.bytes()[l4..end]).checksum());
    second.data[last..].copy_from_slice(&missing.folded().to_be_bytes());
    let finished = second.finished();
    assert_eq!(be16(finished.bytes(), l4 + 16), pseudo.folded());
    assert_eq!(lens(&coalesced([tcp(0).finished(), finished])), [200]);
}

/// Whether the second of two segments joins the first when `change` was made to it.
fn joins(base: fn(u32) -> Sample, change: impl Fn(&mut Sample)) -> bool {
    let mut second = base(1);
    change(&mut second);
    coalesced([base(0).finished(), second.finished()]).len() == 1
}

#[test]
fn tcp_joins_in_sequence_and_alike_only() {
    assert!(joins(tcp, |_| ()));
    assert!(joins(tcp, |second| second.flags |= tcp::PSH));
    assert!(joins(tcp, |second| second.flags |= tcp::FIN));
    assert!(joins(tcp, |second| second.id = 0), "DF: the identification means nothing");
    assert!(joins(tcp, |second| second.data.truncate(50)));
    assert!(!joins(tcp, |second| second.data.push(0)), "longer after shorter");
    assert!(!joins(tcp, |second| second.data.clear()));
    assert!(!joins(tcp, |second| second.seq += 1));
    assert!(!joins(tcp, |second| second.options = 4));
    assert!(!joins(tcp, |second| second.dont_fragment = false));
    assert!(!joins(tcp, |second| second.l4_ports[0] += 1));
    assert!(!joins(tcp, |second| second.tagged = true));
    for flag in [tcp::SYN, tcp::RST, tcp::URG, tcp::ECE, tcp::CWR] {
        assert!(!joins(tcp, |second| second.flags |= flag), "flag {flag:x}");
    }
    assert!(!joins(tcp, |second| second.flags = 0));
    let fragmentable = |index| Sample { dont_fragment: false, ..tcp(index) };
    assert!(joins(fragmentable, |_| ()));
    assert!(!joins(fragmentable, |second| second.id = 0));
}

#[test]
fn header_fields_must_be_alike() {
    // Octet of the untagged IPv4 frame, and what it is.
    let fields = [
        (0, "destination MAC"),
        (6, "source MAC"),
        (15, "TOS"),
        (22, "TTL"),
        (26, "source"),
        (30, "destination"),
        (42, "acknowledgement"),
        (46, "reserved bits"),
        (48, "window"),
        (52, "urgent pointer"),
        (65, "options"),
    ];
    for (at, name) in fields {
        let mut second = tcp(1).frame();
        second.bytes_mut()[at] ^= 1;
        crate::ipv4::fill_checksum(&mut second.bytes_mut()[14..]);
        assert_eq!(coalesced([tcp(0).finished(), second]).len(), 2, "{name}");
    }
    let v6 = |index| Sample { v6: true, ..tcp(index) };
    for (at, name) in [(15, "traffic class"), (17, "flow label"), (21, "hop limit"), (22, "source")] {
        let mut second = v6(1).frame();
        second.bytes_mut()[at] ^= 1;
        assert_eq!(coalesced([v6(0).finished(), second]).len(), 2, "{name}");
    }
}

#[test]
fn udp_joins_equal_sizes_and_a_shorter_end() {
    let sized = |index: u16, len: usize| Sample { data: std::vec![9; len], ..udp(index) }.finished();
    let out = coalesced(
        [(0, 100), (1, 100), (2, 40), (3, 40), (4, 40), (5, 100)].map(|(index, len)| sized(index, len)),
    );
    assert_eq!(lens(&out), [240, 80, 100]);
    assert_eq!((out[0].offload.gso, out[0].offload.gso_size), (Gso::UdpL4, 100));
    let many = coalesced((0..100).map(|index| sized(index, 10)));
    assert_eq!(lens(&many), [640, 360]);
    let long = coalesced((0..50).map(|index| sized(index, 1_472)));
    assert_eq!(lens(&long), [44 * 1_472, 6 * 1_472]);
}

#[test]
fn a_packet_is_no_longer_than_its_length_field_says() {
    // 5 × 13,096 octets with 52 of headers are 65,532; an octet more each makes 65,537.
    for (len, expected) in [(13_096, std::vec![65_480]), (13_097, std::vec![52_388, 13_097])] {
        let jumbo =
            |index| Sample { data: std::vec![4; len], seq: index * u32::try_from(len).unwrap(), ..tcp(0) };
        assert_eq!(lens(&coalesced((0..5).map(|index| jumbo(index).finished()))), expected);
    }
}

#[test]
fn packets_with_ip_options_stay_alone_and_in_place() {
    let with_options = |index| {
        let mut bytes = tcp(index).finished().bytes().to_vec();
        bytes.splice(34..34, [1, 1, 1, 1]);
        bytes[14] = 0x46;
        bytes[17] += 4;
        crate::ipv4::fill_checksum(&mut bytes[14..]);
        let mut frame = FramePool::default().take();
        assert!(frame.fill(&bytes));
        frame
    };
    assert!(Headers::parse(with_options(0).bytes()).unwrap().has_l3_options());
    assert_eq!(lens(&coalesced([with_options(0), with_options(1)])), [100, 100]);
    let out = coalesced([tcp(0).finished(), with_options(1), tcp(2).finished()]);
    assert_eq!(out[1].bytes(), with_options(1).bytes());
}

#[test]
fn tunnels_and_datagrams_without_a_checksum_stay_alone() {
    for number in TUNNEL_L4_PORTS {
        for l4_ports in [[50_000, number], [number, 50_000]] {
            let frames = [0, 1].map(|index| Sample { l4_ports, ..udp(index) }.finished());
            assert_eq!(coalesced(frames).len(), 2, "{l4_ports:?}");
        }
    }
    let frames = [0, 1].map(|index| {
        let mut frame = udp(index).finished();
        frame.bytes_mut()[40..42].fill(0);
        frame
    });
    assert_eq!(coalesced(frames).len(), 2);
}

#[test]
fn damage_is_not_hidden() {
    for at in [24, 60, 100] {
        let mut damaged = tcp(1).finished();
        damaged.bytes_mut()[at] ^= 0x40;
        let bytes = damaged.bytes().to_vec();
        let out = coalesced([tcp(0).finished(), damaged]);
        assert_eq!(out.len(), 2);
        assert_eq!(out[1].bytes(), bytes, "octet {at}");
    }
    // Unless the sender vouches for the data.
    let mut vouched = tcp(1).finished();
    vouched.bytes_mut()[100] ^= 0x40;
    vouched.offload.flags = DATA_VALID;
    assert_eq!(coalesced([tcp(0).finished(), vouched]).len(), 1);
}

#[test]
fn padding_is_not_data() {
    let short = |index| Sample { options: 0, data: std::vec![3; 2], seq: 1_000 + 2 * index, ..tcp(index) };
    let padded = |index| {
        let mut frame = short(index).finished();
        assert!(frame.extend(&[0xee; 4]));
        frame
    };
    assert_eq!(lens(&coalesced([padded(0), padded(1), padded(2)])), [6]);
    assert_eq!(coalesced([padded(0)])[0].bytes(), padded(0).bytes(), "alone it leaves as it came");
}

#[test]
fn order_within_a_flow_is_kept() {
    let other = |index| Sample { l4_ports: [1, 2], ..tcp(index) };
    let ack = || Sample { data: Vec::new(), seq: 1_200, ..tcp(0) };
    let out = coalesced([
        tcp(0).finished(),
        other(0).finished(),
        tcp(1).finished(),
        ack().finished(), // Pushes out its own flow, not the other.
        other(1).finished(),
        tcp(2).finished(),
    ]);
    assert_eq!(lens(&out), [200, 0, 200, 100]);
    assert_eq!(out[1].bytes(), ack().finished().bytes());

    let mut arp = FramePool::default().take();
    assert!(arp.fill(&[0; 60]));
    let out = coalesced([tcp(0).finished(), other(0).finished(), arp, tcp(1).finished()]);
    assert_eq!(out.iter().map(FrameBuf::len).collect::<Vec<_>>(), [166, 166, 60, 166]);
}

#[test]
fn a_super_segment_passes_and_keeps_its_place() {
    let whole = Sample { data: std::vec![1; 400], gso_size: 100, seq: 1_100, ..tcp(0) };
    let out = coalesced([tcp(0).finished(), whole.frame(), tcp(5).finished()]);
    assert_eq!(lens(&out), [100, 400, 100]);
    assert_eq!(out[1].offload, whole.frame().offload);
}

#[test]
fn with_too_many_flows_the_oldest_leaves_early() {
    let flow = |number: usize, index| {
        Sample { l4_ports: [1, u16::try_from(number).unwrap()], ..tcp(index) }.finished()
    };
    let firsts = (0..=FLOWS_MAX).map(|number| flow(number, 0));
    let seconds = (0..=FLOWS_MAX).rev().map(|number| flow(number, 1));
    let out = coalesced(firsts.chain(seconds));
    // Flow 0 left when the last came; its second segment pushed out nothing that was still growing.
    assert_eq!(out.len(), FLOWS_MAX + 2);
    assert_eq!(lens(&out).iter().filter(|&&len| len == 200).count(), FLOWS_MAX);
    assert_eq!(out[0].bytes(), flow(0, 0).bytes());
}

proptest! {
    #[test]
    fn cutting_then_coalescing_gives_the_original(sample in super_segments()) {
        let mut whole = sample.frame();
        let pieces = segments(&mut whole);
        let expected_len = pieces.len();
        let out = coalesced(pieces);
        if sample.udp && expected_len > UDP_DATAGRAMS_MAX {
            return Ok(());
        }
        prop_assert_eq!(out.len(), 1);
        prop_assert_eq!(out[0].bytes(), whole.bytes());
        prop_assert_eq!(out[0].offload, whole.offload);
    }

    #[test]
    fn arbitrary_bursts_never_panic_and_lose_nothing(
        samples in proptest::collection::vec((super_segments(), any::<[u8; 6]>(), 14_usize..110, any::<u8>()), 0..12),
    ) {
        let burst: Vec<FrameBuf> = samples.iter().map(|(sample, lies, at, octet)| {
            let mut sample = sample.clone();
            (sample.l4_ports, sample.seq) = ([1, 2], 0);
            sample.data.truncate(usize::from(lies[0]));
            let mut frame = sample.frame();
            frame.offload.flags = lies[1] & 3;
            frame.offload.gso_size = u16::from(lies[2]);
            frame.offload.gso = if lies[3] < 200 { Gso::None } else { frame.offload.gso };
            if lies[4] < 128 && let Some(hit) = frame.bytes_mut().get_mut(*at) {
                *hit = *octet;
            }
            frame.truncate(frame.len() - usize::from(lies[5] / 64));
            frame
        }).collect();
        let data_len = |frames: &[FrameBuf]| -> usize { lens_of_ip(frames).sum() };
        let before = data_len(&burst);
        prop_assert_eq!(data_len(&coalesced(burst)), before);
    }

    /// Bursts of several flows, with damage: coalescing then cutting gives each flow's frames back, in order.
    #[test]
    fn coalescing_then_cutting_loses_and_reorders_nothing(
        samples in proptest::collection::vec(super_segments(), 1..4), seed in any::<u64>(),
    ) {
        let mut rng = crate::Rng::seeded(seed);
        let mut queues: Vec<Vec<FrameBuf>> = samples.iter().enumerate().map(|(number, sample)| {
            let mut sample = sample.clone();
            sample.l4_ports[0] = u16::try_from(number).unwrap();
            sample.data.truncate(20 * usize::from(sample.gso_size));
            let mut frames = segments(&mut sample.frame());
            for frame in &mut frames {
                if rng.chance(1, 10) {
                    let at = usize::try_from(rng.below(frame.len() as u64)).unwrap();
                    frame.bytes_mut()[at] ^= 1;
                }
            }
            frames.reverse();
            frames
        }).collect();
        let mut burst = Vec::new();
        while queues.iter().any(|queue| !queue.is_empty()) {
            let next = usize::try_from(rng.below(queues.len() as u64)).unwrap();
            burst.extend(queues[next].pop());
        }
        let sent: Vec<Vec<u8>> = burst.iter().map(|frame| frame.bytes().to_vec()).collect();
        let mut received = Vec::new();
        for mut frame in coalesced(burst) {
            received.extend(segments(&mut frame).iter().map(|frame| frame.bytes().to_vec()));
        }
        let flow = |bytes: &Vec<u8>| Headers::parse(bytes).ok().map(|headers| {
            (headers.src(bytes), headers.dst(bytes), headers.protocol, headers.l4_ports)
        });
        prop_assert_eq!(sent.len(), received.len());
        for frame in &sent {
            let of_flow = |frames: &[Vec<u8>]| -> Vec<Vec<u8>> {
                frames.iter().filter(|other| flow(other) == flow(frame)).map(|frame| masked(frame)).collect()
            };
            prop_assert_eq!(of_flow(&sent), of_flow(&received));
        }
    }
}

/// Octets of TCP or UDP data in each frame that has some.
fn lens_of_ip(frames: &[FrameBuf]) -> impl Iterator<Item = usize> {
    frames
        .iter()
        .filter_map(|frame| Headers::parse(frame.bytes()).ok())
        .map(|headers| headers.end - headers.payload)
}

/// The octets less what may differ: the identification of an IPv4 packet with DF, which means nothing, and the
/// header checksum over it.
fn masked(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    if let Ok(headers) = Headers::parse(frame)
        && headers.family == Family::V4
        && frame[headers.l3 + 6] & 0x40 != 0
    {
        bytes[headers.l3 + 4..headers.l3 + 6].fill(0);
        bytes[headers.l3 + 10..headers.l3 + 12].fill(0);
    }
    bytes
}

#[test]
fn octets_of_a_foreign_buffer_are_coalesced_alike() {
    let frames: Vec<FrameBuf> =
        (0..5).map(tcp).chain([tcp(9)]).chain([tcp(6)]).map(|sample| sample.finished()).collect();
    let (mut coalescer, mut pool, mut out) = (Coalescer::default(), FramePool::default(), Vec::new());
    for frame in &frames {
        coalescer.push_bytes(frame.bytes(), &mut pool, |frame| out.push(frame));
    }
    coalescer.flush(|frame| out.push(frame));
    let expected = coalesced(frames);
    let octets = |frames: &[FrameBuf]| -> Vec<_> {
        frames.iter().map(|frame| (frame.bytes().to_vec(), frame.offload)).collect()
    };
    assert_eq!(octets(&out), octets(&expected));
}
