//! Underlays on the loopback interface, which joins and cuts like any other and delivers within the call.

use super::*;
use wire::Offload;
use wire::offload::{Gso, NEEDS_CSUM};

const ANY: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

/// An underlay, its one queue, and where it receives.
fn opened(local: &str, carried: Carried) -> (Underlay, UnderlayQueue, SocketAddr) {
    let underlay = Underlay::open(local.parse().unwrap(), carried).unwrap();
    let at = datagram::local(underlay.0.sockets[0].as_fd()).unwrap();
    let queue = underlay.queues(1).remove(0);
    (underlay, queue, at)
}

fn payload(octets: &[u8]) -> FrameBuf {
    let mut frame = FramePool::default().take();
    assert!(frame.fill(octets));
    frame
}

/// Sends payloads to places and says the numbers of those that were lost.
fn send(queue: &mut UnderlayQueue, payloads: &[(SocketAddr, Ecn, FrameBuf)]) -> Vec<(usize, String)> {
    let mut lost = Vec::new();
    let outgoing = |at: usize| {
        let (to, ecn, payload) = &payloads[at];
        Outgoing { to: *to, ecn: *ecn, flow: FlowHash(7), payload }
    };
    queue.send(payloads.len(), outgoing, |at, unsent| lost.push((at, format!("{unsent:?}"))));
    lost
}

/// Everything that waits.
fn receive(queue: &mut UnderlayQueue) -> Vec<Incoming> {
    let (mut pool, mut all) = (FramePool::default(), Vec::new());
    loop {
        match queue.receive(&mut pool, &mut all) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

fn facts(incoming: &[Incoming]) -> Vec<(&[u8], usize, Ecn)> {
    incoming.iter().map(|message| (message.payload.bytes(), message.segment, message.ecn)).collect()
}

/// A live end is not taken for one that is away because this host was short of memory.
#[test]
fn a_full_queue_says_nothing_of_the_other_end() {
    let (underlay, _, at) = opened(ANY[0], Carried::Packet);
    for errno in [libc::ENOBUFS, libc::EAGAIN, libc::ENOMEM] {
        underlay.0.remember(at, errno, None);
    }
    assert_eq!(underlay.troubles(), BTreeMap::new());
    underlay.0.remember(at, libc::EHOSTUNREACH, None);
    assert_eq!(underlay.troubles()[&at].unreachable, 1);
}

#[test]
fn datagrams_to_one_place_travel_joined_and_in_order() {
    for local in ANY {
        let (_, mut one, one_at) = opened(local, Carried::Packet);
        let (_, mut other, at) = opened(local, Carried::Packet);
        let sent = [b"aaaa".as_slice(), b"bbbb", b"cc", b"dddd"]
            .map(|octets| (at, Ecn::Ect0, payload(octets)))
            .into_iter()
            .chain([(at, Ecn::Ce, payload(b"eeee"))])
            .collect::<Vec<_>>();
        assert_eq!(send(&mut one, &sent), []);
        let received = receive(&mut other);
        let expected =
            [(b"aaaabbbbcc".as_slice(), 4, Ecn::Ect0), (b"dddd", 0, Ecn::Ect0), (b"eeee", 0, Ecn::Ce)];
        assert_eq!(facts(&received), expected);
        assert!(received.iter().all(|message| message.from == one_at));
    }
}

#[test]
fn frames_leave_by_an_l4_port_of_their_flow_and_packets_by_the_well_known_one() {
    let (_, mut receiver, at) = opened(ANY[0], Carried::Packet);
    for (carried, is_spread) in [(Carried::Frame(8), true), (Carried::Packet, false)] {
        let (_, mut sender, sender_at) = opened(ANY[0], carried);
        let one = payload(b"octets");
        let outgoing = |at_flow: usize| {
            let flow = FlowHash(u32::try_from(at_flow / 2).unwrap());
            Outgoing { to: at, ecn: Ecn::NotEct, flow, payload: &one }
        };
        sender.send(2 * SOURCES_MAX, outgoing, |_, unsent| panic!("{unsent:?}"));
        let mut sources: Vec<u16> = Vec::new();
        for message in receive(&mut receiver) {
            assert_eq!(message.segment, 6, "both of a flow in one");
            sources.push(message.from.port());
            assert_eq!(message.from.port() == sender_at.port(), !is_spread);
            assert_eq!(message.from.ip(), sender_at.ip());
        }
        sources.sort_unstable();
        sources.dedup();
        assert_eq!(sources.len(), if is_spread { SOURCES_MAX } else { 1 });
    }
}

/// A TCP/IPv4 packet with so many octets of data, its checksums to be computed for each segment.
fn super_packet(data_len: usize, gso_size: u16) -> FrameBuf {
    let total = u16::try_from(40 + data_len).unwrap();
    let mut packet = vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet.extend([0x12, 0x34, 0x14, 0x51, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    packet.extend((0_u8..=255).cycle().take(data_len));
    let mut frame = payload(&packet);
    frame.offload = Offload {
        flags: NEEDS_CSUM,
        gso: Gso::TcpV4,
        gso_size,
        csum_start: 20,
        csum_offset: 16,
        ..Offload::NONE
    };
    frame
}

#[test]
fn a_super_segment_leaves_in_pieces_with_headers_of_their_own() {
    let (_, mut one, _) = opened(ANY[0], Carried::Packet);
    let (_, mut other, at) = opened(ANY[0], Carried::Packet);
    let whole = super_packet(2_500, 1_000);
    let sent = [(at, Ecn::NotEct, payload(b"before")), (at, Ecn::NotEct, whole)];
    assert_eq!(send(&mut one, &sent), []);
    let received = receive(&mut other);
    let [first, pieces] = &received[..] else { panic!("{received:?}") };
    assert_eq!(first.payload.bytes(), b"before");
    assert_eq!((pieces.segment, pieces.payload.len()), (1_040, 3 * 40 + 2_500));
    for (index, piece) in (0_u8..).zip(pieces.payload.bytes().chunks(1_040)) {
        let seq = 9 + 1_000 * u32::from(index);
        assert_eq!(&piece[2..4], &u16::try_from(piece.len()).unwrap().to_be_bytes());
        assert_eq!(&piece[24..28], &seq.to_be_bytes());
        let from = 1_000 * usize::from(index);
        assert_eq!(&piece[40..], &sent[1].2.bytes()[40 + from..40 + from + piece.len() - 40]);
    }
}

#[test]
fn a_false_claim_is_lost_alone() {
    let (_, mut one, _) = opened(ANY[0], Carried::Packet);
    let (_, mut other, at) = opened(ANY[0], Carried::Packet);
    let mut liar = super_packet(2_500, 1_000);
    liar.offload.csum_start = 24;
    let lost = send(&mut one, &[(at, Ecn::NotEct, liar), (at, Ecn::NotEct, payload(b"after"))]);
    assert_eq!(lost, [(0, "Malformed(BadSuperSegment)".to_owned())]);
    assert_eq!(receive(&mut other).len(), 1);
}

#[test]
fn more_than_one_call_takes_goes_in_several() {
    let (_, mut one, _) = opened(ANY[0], Carried::Packet);
    let (_, mut other, at) = opened(ANY[0], Carried::Packet);
    let sent: Vec<_> =
        (0..1_000_u32).map(|number| (at, Ecn::NotEct, payload(&number.to_be_bytes()))).collect();
    assert_eq!(send(&mut one, &sent), []);
    let received = receive(&mut other);
    let octets: Vec<u8> = received.iter().flat_map(|message| message.payload.bytes().to_vec()).collect();
    assert_eq!(octets, (0..1_000_u32).flat_map(u32::to_be_bytes).collect::<Vec<u8>>());
    assert!(received.len() <= 20, "{} messages", received.len());
}

#[test]
fn a_kernel_that_does_not_cut_is_asked_once() {
    let (underlay, mut one, _) = opened(ANY[0], Carried::Packet);
    let (_, mut other, at) = opened(ANY[0], Carried::Packet);
    assert_eq!((underlay.mode(), underlay.joins()), ("gso", true));
    datagram::leave_out_checksums(underlay.0.sockets[0].as_fd()).unwrap();
    for _ in 0..2 {
        let sent = [b"aaaa", b"bbbb", b"cccc"].map(|octets| (at, Ecn::NotEct, payload(octets)));
        assert_eq!(send(&mut one, &sent), []);
        let received = receive(&mut other);
        assert_eq!(received.len(), 3);
        assert_eq!(received[2].payload.bytes(), b"cccc");
        assert_eq!(underlay.mode(), "single");
    }
}

#[test]
fn an_end_that_is_away_costs_its_datagrams_and_nobody_elses() {
    for local in ANY {
        let (underlay, mut one, _) = opened(local, Carried::Packet);
        let (_, mut other, at) = opened(local, Carried::Packet);
        let (_, gone, gone_at) = opened(local, Carried::Packet);
        drop(gone);
        for _ in 0..3 {
            let sent = [gone_at, at, gone_at, at].map(|to| (to, Ecn::NotEct, payload(b"octets")));
            assert_eq!(send(&mut one, &sent), []);
            let received: usize = receive(&mut other).iter().map(|message| message.payload.len()).sum();
            assert_eq!(received, 12);
        }
        assert_eq!(receive(&mut one).len(), 0, "complaints do not end receiving");
        let troubles = underlay.troubles();
        assert_eq!(troubles.len(), 1);
        assert_eq!(troubles[&gone_at].errno, libc::ECONNREFUSED);
        assert!(troubles[&gone_at].unreachable >= 3, "{troubles:?}");
    }
}

#[test]
fn no_way_to_a_place_is_said_and_remembered() {
    // A socket of the loopback address has no way to elsewhere: Linux says EINVAL.
    let (underlay, mut one, _) = opened(ANY[0], Carried::Packet);
    let elsewhere: SocketAddr = "192.0.2.1:4789".parse().unwrap();
    let sent = [elsewhere; 2].map(|to| (to, Ecn::NotEct, payload(b"octets")));
    let lost = send(&mut one, &sent);
    assert_eq!(lost.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(underlay.mode(), "gso", "it was not the cutting");
    assert_eq!(underlay.troubles()[&elsewhere].unreachable, 2);
}

#[test]
fn an_l4_port_that_is_taken_is_refused_with_what_was_tried() {
    let (_, _queue, at) = opened(ANY[0], Carried::Packet);
    let refusal = Underlay::open(at, Carried::Packet).unwrap_err();
    assert_eq!(refusal.kind(), io::ErrorKind::AddrInUse);
    assert!(refusal.to_string().starts_with(&format!("opening UDP socket {at}")), "{refusal}");
}
