//! Pieces in every order, against an obviously right model; faults, limits and times.

use super::*;
use crate::packet::Endpoint;
use crate::plan::Protocol;
use crate::samples::{Sample, frame};
use crate::turn::Made;
use std::collections::BTreeMap;
use wire::offload::{Gso, NEEDS_CSUM};
use wire::{FramePool, Offload, Rng};

const V4: (&str, &str) = ("172.16.0.9", "198.51.100.7");
const V6: (&str, &str) = ("fd00::9", "2001:db8::7");
const PORT: PortId = PortId(3);
const DOMAIN: DomainId = DomainId(1);

/// A released piece with its ingress, and what it is walked on as.
type Walked = (PortId, DomainId, Vec<u8>, Result<Pieces, DropReason>);

/// The table and what surrounds it.
struct World {
    fragments: Fragments,
    pool: FramePool,
    made: Made,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let (pool, made) = (FramePool::default(), Made::default());
        Self { fragments: Fragments::new(0x5eed), pool, made, now: Instant::from_secs(100) }
    }

    fn at(&mut self, millis: u64) -> &mut Self {
        self.now = Instant::from_secs(100) + Duration::from_millis(millis);
        self
    }

    fn admit(&mut self, sample: &Sample) -> Result<Pieces, DropReason> {
        self.admit_from(PORT, DOMAIN, &sample.bytes())
    }

    fn admit_from(&mut self, port: PortId, domain: DomainId, bytes: &[u8]) -> Result<Pieces, DropReason> {
        let mut frame = frame(bytes, Offload::NONE);
        let packet = Packet::parse(&frame)?;
        let admitted = self.admit_frame(port, domain, &packet, &mut frame);
        assert_eq!(frame.is_empty(), admitted == Ok(Pieces::Parked), "only a parked frame is taken");
        admitted
    }

    fn admit_frame(
        &mut self,
        port: PortId,
        domain: DomainId,
        packet: &Packet,
        frame: &mut FrameBuf,
    ) -> Result<Pieces, DropReason> {
        let mut turn = Turn { now: self.now, pool: &mut self.pool, made: &mut self.made, links: None };
        self.fragments.admit(&mut turn, port, domain, packet, frame)
    }

    fn wake(&mut self) {
        let mut turn = Turn { now: self.now, pool: &mut self.pool, made: &mut self.made, links: None };
        self.fragments.wake(&mut turn);
    }

    /// What is released, walked on.
    fn released(&mut self) -> Vec<Walked> {
        let mut walked = Vec::new();
        while let Some((port, domain, frame)) = self.fragments.released() {
            let bytes = frame.bytes().to_vec();
            let admitted = self.admit_from(port, domain, &bytes);
            walked.push((port, domain, bytes, admitted));
        }
        walked
    }

    /// The parked pieces that have ended, and why.
    fn drops(&mut self) -> BTreeMap<DropReason, usize> {
        let mut drops = BTreeMap::new();
        for (port, reason) in self.made.drops.drain(..) {
            assert_eq!(port, PORT);
            *drops.entry(reason).or_default() += 1;
        }
        drops
    }
}

fn udp(ends: (&str, &str), len: usize) -> Sample {
    Sample::udp(ends.0, ends.1, [5_000, 53], &std::vec![7; len - 8])
}

fn flow(sample: &Sample, protocol: Protocol, l4_ports: [u16; 2]) -> Flow {
    Flow {
        protocol,
        src: Endpoint { address: sample.src, l4_port: l4_ports[0] },
        dst: Endpoint { address: sample.dst, l4_port: l4_ports[1] },
    }
}

#[test]
fn later_pieces_go_the_way_of_their_first() {
    for (sample, protocol, l4_ports) in [
        (udp(V4, 100), Some(Protocol::Udp), [5_000, 53]),
        (udp(V6, 100), Some(Protocol::Udp), [5_000, 53]),
        (Sample::tcp(V4.0, V4.1, [1, 2], 2, &[], &[0; 99]), Some(Protocol::Tcp), [1, 2]),
        (Sample::tcp(V6.0, V6.1, [1, 2], 2, &[], &[0; 99]), Some(Protocol::Tcp), [1, 2]),
        (Sample::icmp(V4.0, V4.1, 8, 0, &[9; 99]), Some(Protocol::Echo), [0x0909, 0]),
        (Sample::icmp(V6.0, V6.1, 129, 0, &[9; 99]), Some(Protocol::Echo), [0, 0x0909]),
        (Sample::new(V4.0, V4.1, 47, std::vec![0; 99]), None, [0; 2]),
        (Sample::new(V6.0, V6.1, 50, std::vec![0; 99]), None, [0; 2]),
    ] {
        let expected = protocol.map(|protocol| flow(&sample, protocol, l4_ports));
        let mut world = World::new();
        assert_eq!(world.admit(&sample), Ok(Pieces::Whole));
        assert_eq!(world.fragments.datagram_count(), 0, "no fragment");
        let pieces = [sample.piece(0, 32), sample.piece(32, 32), sample.piece(64, 99)];
        assert_eq!(world.admit(&pieces[0]), Ok(Pieces::Whole));
        assert_eq!(world.admit(&pieces[1]), Ok(Pieces::Later(expected)));
        assert_eq!(world.fragments.datagram_count(), 1);
        assert_eq!(world.admit(&pieces[2]), Ok(Pieces::Later(expected)));
        assert_eq!(world.fragments.datagram_count(), 0, "complete");

        // In any other order the later ones wait, and keep theirs.
        assert_eq!(world.admit_from(PortId(7), DOMAIN, &pieces[2].bytes()), Ok(Pieces::Parked));
        assert_eq!(world.admit_from(PortId(8), DOMAIN, &pieces[1].bytes()), Ok(Pieces::Parked));
        assert_eq!((world.fragments.parked_count(), world.released()), (2, Vec::new()));
        assert_eq!(world.admit(&pieces[0]), Ok(Pieces::Whole));
        let walked = [
            (PortId(7), DOMAIN, pieces[2].bytes(), Ok(Pieces::Later(expected))),
            (PortId(8), DOMAIN, pieces[1].bytes(), Ok(Pieces::Later(expected))),
        ];
        assert_eq!(world.released(), walked);
        assert_eq!((world.fragments.datagram_count(), world.fragments.parked_count()), (0, 0));
    }
}

#[test]
fn every_part_of_the_name_counts() {
    let sample = udp(V4, 100);
    let mut world = World::new();
    assert_eq!(world.admit(&sample.piece(0, 32)), Ok(Pieces::Whole));
    for other in [
        Sample { id: 0x1235, ..sample.clone() },
        Sample { src: "172.16.0.8".parse().unwrap(), ..sample.clone() },
        Sample { dst: "198.51.100.8".parse().unwrap(), ..sample.clone() },
        Sample { protocol: 47, ..sample.clone() },
    ] {
        assert_eq!(world.admit(&other.piece(32, 32)), Ok(Pieces::Parked));
    }
    let elsewhere = world.admit_from(PORT, DomainId(2), &sample.piece(32, 32).bytes());
    assert_eq!(elsewhere, Ok(Pieces::Parked));
    // In version 6 the protocol is the first's to say (RFC 8200 §4.5).
    let sample = udp(V6, 100);
    assert_eq!(world.admit(&sample.piece(0, 32)), Ok(Pieces::Whole));
    let other = Sample { protocol: 60, ..sample.piece(32, 32) };
    assert!(matches!(world.admit(&other), Ok(Pieces::Later(Some(_)))));
}

/// A piece of `len` octets from `start` on, and whether more follow; of the packet's name.
fn piece(of: &Sample, start: usize, len: usize, more: bool) -> Sample {
    Sample { piece: Some((start, more)), l4: std::vec![1; len], ..of.clone() }
}

#[test]
fn pieces_that_contradict_each_other_are_refused() {
    let (passes, refused) = (Ok(()), Err(DropReason::FragmentOverlap));
    for ends in [V4, V6] {
        let whole = udp(ends, 100);
        let piece = |start, len, more| piece(&whole, start, len, more);
        for (what, pieces, expected) in [
            ("one octet too early", [piece(24, 16, true), piece(40, 32, true)], [refused; 2]),
            ("all over", [piece(0, 64, true), piece(64, 40, false)], [refused; 2]),
            ("another first", [piece(0, 24, true), piece(32, 40, true)], [refused; 2]),
            ("a copy", [piece(0, 32, true), piece(32, 68, false)], [refused, passes]),
            ("a copy of the last", [piece(64, 36, false), piece(64, 36, false)], [passes, refused]),
            ("two ends", [piece(40, 8, false), piece(32, 8, false)], [passes, refused]),
            ("behind the end", [piece(40, 8, false), piece(48, 8, true)], [passes, refused]),
            ("an end that is none", [piece(40, 8, false), piece(40, 8, true)], [passes, refused]),
            ("an end before others", [piece(64, 8, true), piece(32, 8, false)], [passes, refused]),
            ("past the longest", [piece(65_528, 16, false), piece(32, 32, true)], [refused; 2]),
        ] {
            let mut world = World::new();
            assert_eq!(world.admit(&whole.piece(0, 32)), Ok(Pieces::Whole));
            let got = pieces.map(|piece| world.admit(&piece).map(|_| ()));
            assert_eq!(got, expected, "{what}, {ends:?}");
        }
    }
}

#[test]
fn malformed_and_tiny_pieces_have_names() {
    use DropReason::{FragmentOverlap, FragmentTiny, MalformedIp};
    for ends in [V4, V6] {
        let (whole, tcp) = (udp(ends, 100), Sample::tcp(ends.0, ends.1, [1, 2], 2, &[], &[0; 80]));
        for (what, piece, expected) in [
            ("into the TCP header", piece(&tcp, 8, 40, true), Err(FragmentTiny)),
            ("into the TCP header, the last", piece(&tcp, 8, 40, false), Err(FragmentTiny)),
            ("behind the TCP header", piece(&tcp, 16, 40, false), Ok(Pieces::Parked)),
            ("into the UDP payload", piece(&whole, 8, 40, true), Ok(Pieces::Parked)),
            ("an empty one", piece(&whole, 32, 0, true), Err(MalformedIp)),
            ("an empty last", piece(&whole, 32, 0, false), Err(MalformedIp)),
            ("an odd one", piece(&whole, 32, 9, true), Err(MalformedIp)),
            ("an odd last", piece(&whole, 32, 9, false), Ok(Pieces::Parked)),
        ] {
            assert_eq!(World::new().admit(&piece), expected, "{what}, {ends:?}");
        }
    }
    let short = Sample { piece: Some((0, true)), ..Sample::new(V4.0, V4.1, 17, std::vec![0; 7]) };
    assert_eq!(World::new().admit(&short), Err(FragmentTiny), "RFC 1858: the parser says so");
    // Destination options and nothing of the message (RFC 7112).
    let options =
        Sample { protocol: 60, ..Sample::new(V6.0, V6.1, 60, Vec::from([58, 0, 1, 4, 0, 0, 0, 0])) };
    assert_eq!(World::new().admit(&Sample { piece: Some((0, true)), ..options }), Err(FragmentTiny));
    // What stands before the fragment header counts towards the longest packet (RFC 8200 §4.5).
    for (start, expected) in [(65_512, Ok(())), (65_520, Err(FragmentOverlap))] {
        let sample = udp(V6, 100);
        let mut world = World::new();
        assert_eq!(world.admit(&sample.piece(0, 32)), Ok(Pieces::Whole));
        let mut far = Sample { piece: Some((start, true)), l4: std::vec![1; 8], ..sample }.bytes();
        far.splice(54..54, [44, 0, 1, 4, 0, 0, 0, 0]); // Destination options.
        far[20] = 60;
        far[19] += 8;
        assert_eq!(world.admit_from(PORT, DOMAIN, &far).map(|_| ()), expected);
    }
    // No fragment is a super-segment.
    let gso = Offload {
        flags: NEEDS_CSUM,
        gso: Gso::UdpL4,
        gso_size: 8,
        csum_start: 34,
        csum_offset: 6,
        ..Offload::NONE
    };
    let mut absurd = frame(&udp(V4, 100).piece(0, 32).bytes(), gso);
    let packet = Packet::parse(&absurd).unwrap();
    assert_eq!(World::new().admit_frame(PORT, DOMAIN, &packet, &mut absurd), Err(MalformedIp));
}

#[test]
fn what_waits_too_long_is_forgotten() {
    let sample = udp(V4, 100);
    let other = Sample { id: 9, ..sample.clone() };
    let mut world = World::new();
    assert_eq!(world.fragments.next_deadline(), None);
    assert_eq!(world.at(0).admit(&sample.piece(32, 32)), Ok(Pieces::Parked));
    assert_eq!(world.at(1_000).admit(&other.piece(0, 32)), Ok(Pieces::Whole));
    // More pieces do not buy more time.
    assert_eq!(world.at(4_000).admit(&sample.piece(64, 32)), Ok(Pieces::Parked));
    let deadline = Instant::from_secs(105);
    assert_eq!(world.fragments.next_deadline(), Some((deadline, "fragments")));
    world.at(4_999).wake();
    assert_eq!((world.fragments.datagram_count(), world.fragments.parked_count()), (2, 2));
    world.at(5_000).wake();
    assert_eq!((world.fragments.datagram_count(), world.fragments.parked_count()), (1, 0));
    assert_eq!(world.drops(), BTreeMap::from([(DropReason::FragmentTimeout, 2)]));
    assert_eq!(world.pool.spare_count(), 2, "the buffers are back");
    assert_eq!(world.fragments.next_deadline(), Some((Instant::from_secs(106), "fragments")));
    // Nobody has looked at the clock, and still the first is forgotten in time.
    assert!(matches!(world.at(5_999).admit(&other.piece(32, 32)), Ok(Pieces::Later(_))));
    assert_eq!(world.at(6_000).admit(&other.piece(64, 32)), Ok(Pieces::Parked));
    assert_eq!(world.drops(), BTreeMap::new(), "nothing was parked of it");
    world.at(11_000).wake();
    assert_eq!(world.drops(), BTreeMap::from([(DropReason::FragmentTimeout, 1)]));
    assert_eq!(world.fragments.next_deadline(), None);
}

/// The same packet with another identification, from another station.
fn nth(sample: &Sample, station: usize, id: usize) -> Sample {
    let src = u32::from_be_bytes([10, 0, 0, 0]) + u32::try_from(station).unwrap();
    Sample {
        src: core::net::Ipv4Addr::from_bits(src).into(),
        id: u32::try_from(id).unwrap(),
        ..sample.clone()
    }
}

#[test]
fn parked_pieces_have_limits() {
    let sample = udp(V4, 1_000);
    let mut world = World::new();
    let limit = Err(DropReason::FragmentLimit);
    // One packet.
    for index in 0..PARKED_PER_DATAGRAM_MAX {
        assert_eq!(world.admit(&nth(&sample, 0, 0).piece(32 + index * 8, 8)), Ok(Pieces::Parked));
    }
    assert_eq!(world.admit(&nth(&sample, 0, 0).piece(800, 8)), limit);
    // One source.
    for id in PARKED_PER_DATAGRAM_MAX..PARKED_PER_SOURCE_MAX {
        assert_eq!(world.admit(&nth(&sample, 0, id).piece(32, 8)), Ok(Pieces::Parked));
    }
    assert_eq!(world.admit(&nth(&sample, 0, 99).piece(32, 8)), limit);
    assert_eq!(world.drops(), BTreeMap::new());
    // In all: the packet that has waited longest gives way.
    for index in PARKED_PER_SOURCE_MAX..PARKED_MAX {
        assert_eq!(world.admit(&nth(&sample, index, 0).piece(32, 8)), Ok(Pieces::Parked));
    }
    assert_eq!((world.fragments.parked_count(), world.drops()), (PARKED_MAX, BTreeMap::new()));
    assert_eq!(world.admit(&nth(&sample, 900, 0).piece(32, 8)), Ok(Pieces::Parked));
    assert_eq!(world.drops(), BTreeMap::from([(DropReason::FragmentLimit, PARKED_PER_DATAGRAM_MAX)]));
    assert_eq!(world.fragments.parked_count(), PARKED_MAX - PARKED_PER_DATAGRAM_MAX + 1);
    // What is released makes room.
    let source = nth(&sample, 0, PARKED_PER_DATAGRAM_MAX);
    assert_eq!(world.admit(&source.piece(0, 32)), Ok(Pieces::Whole));
    assert_eq!(world.released().len(), 1);
    for id in 1_000..1_000 + PARKED_PER_DATAGRAM_MAX {
        assert_eq!(world.admit(&nth(&sample, 0, id).piece(32, 8)), Ok(Pieces::Parked), "{id}");
    }
    assert_eq!((world.fragments.parked_count(), world.drops()), (PARKED_MAX, BTreeMap::new()));
}

#[test]
fn packets_in_pieces_have_limits() {
    let sample = udp(V4, 1_000);
    let mut world = World::new();
    // Pieces of one.
    assert_eq!(world.admit(&sample.piece(0, 8)), Ok(Pieces::Whole));
    for index in 1..PIECES_MAX {
        assert!(matches!(world.admit(&sample.piece(index * 8, 8)), Ok(Pieces::Later(_))));
    }
    assert_eq!(world.admit(&sample.piece(PIECES_MAX * 8, 8)), Err(DropReason::FragmentLimit));
    // Of one source: its own oldest gives way, and nobody else's.
    for id in 0..=DATAGRAMS_PER_SOURCE_MAX {
        assert_eq!(world.admit(&nth(&sample, 7, id).piece(0, 32)), Ok(Pieces::Whole));
    }
    assert_eq!(world.fragments.datagram_count(), 1 + DATAGRAMS_PER_SOURCE_MAX);
    assert!(matches!(world.admit(&nth(&sample, 7, 1).piece(32, 8)), Ok(Pieces::Later(_))));
    assert_eq!(world.admit(&nth(&sample, 7, 0).piece(32, 8)), Ok(Pieces::Parked), "forgotten");
    // In all: the oldest gives way.
    for station in 8.. {
        if world.fragments.datagram_count() == DATAGRAMS_MAX {
            break;
        }
        assert_eq!(world.admit(&nth(&sample, station, 0).piece(0, 32)), Ok(Pieces::Whole));
    }
    assert_eq!(world.admit(&sample.piece(PIECES_MAX * 8, 8)), Err(DropReason::FragmentLimit), "still known");
    assert_eq!(world.admit(&nth(&sample, 5_000, 0).piece(0, 32)), Ok(Pieces::Whole));
    assert_eq!(world.fragments.datagram_count(), DATAGRAMS_MAX);
    // Which the packet of the beginning was, whose place another's takes in turn.
    assert_eq!(world.admit(&sample.piece(PIECES_MAX * 8, 8)), Ok(Pieces::Parked));
    assert_eq!(world.fragments.datagram_count(), DATAGRAMS_MAX);
}

#[test]
fn a_million_half_packets_cost_what_a_thousand_do() {
    let innocent = Sample { src: "192.0.2.1".parse().unwrap(), ..udp(V4, 100) };
    let attack = udp(V4, 100);
    let mut world = World::new();
    let (mut memory, mut passed) = (0, 0);
    for (millis, piece) in [(0, attack.piece(0, 32)), (60_000, attack.piece(32, 32))] {
        let octets = piece.bytes();
        let mut buffer = frame(&octets, Offload::NONE);
        let mut packet = Packet::parse(&buffer).unwrap();
        for index in 0..500_000_u32 {
            // 4,096 stations and as many identifications as there are.
            packet.src = core::net::Ipv4Addr::from_bits(0x0a00_0000 + index % 4_096).into();
            let [.., high, low] = index.to_be_bytes();
            buffer.bytes_mut()[18..20].copy_from_slice(&[high, low]);
            world.at(millis + u64::from(index) / 1_000);
            let admitted = world.admit_frame(PORT, DOMAIN, &packet, &mut buffer).unwrap();
            if admitted == Pieces::Parked {
                assert!(buffer.fill(&octets));
            }
            if index % 10_000 == 9_999 {
                let innocent = Sample { id: index % 60_000, ..innocent.clone() };
                assert_eq!(world.admit(&innocent.piece(0, 32)), Ok(Pieces::Whole));
                assert_eq!(world.admit(&innocent.piece(64, 99)).map(|_| ()), Ok(()));
                assert!(matches!(world.admit(&innocent.piece(32, 32)), Ok(Pieces::Later(Some(_)))));
                passed += 1;
            }
            if index == 9_999 {
                memory = memory.max(world.fragments.memory());
            }
            world.made.drops.clear();
        }
    }
    assert_eq!(passed, 100);
    assert_eq!(world.fragments.memory(), memory, "flat");
    assert!(
        world.fragments.datagram_count() <= DATAGRAMS_MAX && world.fragments.parked_count() <= PARKED_MAX
    );
    assert!(memory < 1 << 20, "{memory}");
    world.at(1_000_000).wake();
    assert_eq!((world.fragments.datagram_count(), world.fragments.parked_count()), (0, 0));
}

/// Obviously right: every octet and every piece of one packet, without limits.
#[derive(Default)]
struct Model {
    has_first: bool,
    is_refused: bool,
    flow: Option<Flow>,
    pieces: Vec<(usize, usize, bool)>,
}

impl Model {
    fn admit(&mut self, start: usize, end: usize, is_last: bool) -> Result<bool, DropReason> {
        if self.is_refused {
            return Err(DropReason::FragmentOverlap);
        }
        if !self.has_first && start > 0 {
            return Ok(false);
        }
        if self.pieces.contains(&(start, end, is_last)) {
            return Err(DropReason::FragmentOverlap);
        }
        let is_taken =
            |octet: usize| self.pieces.iter().any(|&(start, end, _)| (start..end).contains(&octet));
        let overlaps = (start..end).any(is_taken);
        // No octet lies behind the end of a last piece, and there is one end.
        let contradicts = self.pieces.iter().any(|&(_, other, other_is_last)| {
            (other_is_last && (is_last || end > other)) || (is_last && other > end)
        });
        if overlaps || contradicts {
            self.is_refused = true;
            return Err(DropReason::FragmentOverlap);
        }
        self.has_first = true;
        self.pieces.push((start, end, is_last));
        Ok(true)
    }

    fn is_complete(&self) -> bool {
        let covered: usize = self.pieces.iter().map(|(start, end, _)| end - start).sum();
        self.pieces.iter().any(|&(_, end, is_last)| is_last && end == covered)
    }
}

#[test]
fn pieces_in_any_order_agree_with_the_slow_model() {
    let mut rng = Rng::seeded(0x5eed);
    let mut pick = |bound: usize| usize::try_from(rng.below(bound as u64)).unwrap();
    let (mut complete, mut refused) = (0, 0);
    for round in 0..2_000 {
        let ends = [V4, V6][pick(2)];
        let whole = udp(ends, 8 + pick(400));
        let mut cuts: Vec<usize> = (0..pick(8)).map(|_| 8 * pick(whole.l4.len().div_ceil(8))).collect();
        cuts.extend([0, whole.l4.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut pieces: Vec<Sample> =
            cuts.windows(2).map(|cut| whole.piece(cut[0], cut[1] - cut[0])).collect();
        if pieces.len() < 2 {
            continue;
        }
        for _ in 0..[0, 0, 1, 3][pick(4)] {
            let mut odd = pieces[pick(pieces.len())].clone();
            let (start, more) = odd.piece.unwrap();
            odd.piece = match pick(4) {
                0 => Some((start, more)),
                1 => Some((start + 8, more)),
                2 => Some((start.saturating_sub(8), true)),
                _ => Some((start, !more)),
            };
            pieces.push(odd);
        }
        for last in (1..pieces.len()).rev() {
            pieces.swap(last, pick(last + 1));
        }

        let (mut world, mut model) = (World::new(), Model::default());
        let mut queue: VecDeque<Vec<u8>> = pieces.iter().map(Sample::bytes).collect();
        while let Some(bytes) = queue.pop_front() {
            let frame = frame(&bytes, Offload::NONE);
            let admitted = world.admit_from(PORT, DOMAIN, &bytes);
            let Ok(packet) = Packet::parse(&frame) else { continue };
            if packet.headers.fragment == Fragment::Whole {
                assert_eq!(admitted, Ok(Pieces::Whole), "round {round}");
                continue;
            }
            let Ok(piece) = Piece::read(&packet, &frame) else {
                assert!(admitted.is_err(), "round {round}");
                continue;
            };
            let slow = match model.admit(piece.start, piece.end, piece.is_last) {
                Ok(true) if piece.start == 0 => {
                    model.flow = packet.flow(frame.bytes());
                    Ok(Pieces::Whole)
                }
                Ok(true) => Ok(Pieces::Later(model.flow)),
                Ok(false) => Ok(Pieces::Parked),
                Err(reason) => Err(reason),
            };
            assert_eq!(admitted, slow, "round {round}");
            assert_eq!(world.fragments.datagram_count(), usize::from(!model.is_complete()));
            if model.is_complete() {
                complete += 1;
                model = Model::default();
            }
            for (index, released) in core::iter::from_fn(|| world.fragments.released()).enumerate() {
                queue.insert(index, released.2.bytes().to_vec());
            }
        }
        refused += usize::from(model.is_refused);
    }
    assert!(complete > 1_000 && refused > 200, "{complete} {refused}");
}
