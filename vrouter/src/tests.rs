//! What the tests of all answers share, and what holds for every answer to any octets.

use core::net::IpAddr;
use core::time::Duration;
use std::vec::Vec;

use proptest::prelude::*;
use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, checksum};
use wire::ethernet::EthernetHeader;
use wire::{Cidr, DomainId, DropReason, FramePool, Instant, Mac, Offload, PortId, UnicastMac};

use crate::icmp::echo;
use crate::interface::{ANSWERS_BURST_MAX, ANSWERS_PER_SECOND_MAX};
use crate::neighbour::{arp, nd};
use crate::{Gateway, Made, Routed, Router, RouterPlan, Turn};

pub(crate) const GATEWAY_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// What became of a frame; the octets of an answer, and that whatever is no answer was left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Pass,
    Answer(Vec<u8>),
    Consumed,
    Drop(DropReason),
}

/// A router with 172.16.0.1 and fd00::1 in domain 1.
pub(crate) fn router() -> Router {
    let addresses = ["172.16.0.1", "fd00::1"].map(|text| text.parse::<IpAddr>().unwrap()).to_vec();
    let subnets = ["172.16.0.0/16", "fd00::/64"].map(|text| text.parse::<Cidr>().unwrap()).to_vec();
    let mac = UnicastMac::new(GATEWAY_MAC).unwrap();
    let gateway = Gateway::of_network(DomainId(1), mac, addresses, subnets);
    let plan = RouterPlan { gateways: Vec::from([gateway]), ..RouterPlan::default() };
    plan.check().unwrap();
    let mut router = Router::new(0x5eed);
    configure(&mut router, &plan);
    router
}

pub(crate) fn configure(router: &mut Router, plan: &RouterPlan) {
    let (mut pool, mut made) = (FramePool::default(), Made::default());
    router.configure(&mut Turn { now: Instant::ZERO, pool: &mut pool, made: &mut made, links: None }, plan);
}

/// Shows a finished frame to a fresh router.
pub(crate) fn ask(bytes: &[u8]) -> Heard {
    ask_with(bytes, Offload::NONE)
}

pub(crate) fn ask_with(bytes: &[u8], offload: Offload) -> Heard {
    walk(&mut router(), Instant::ZERO, DomainId(1), bytes, offload)
}

pub(crate) fn ask_at(router: &mut Router, now: Instant, domain: DomainId, bytes: &[u8]) -> Heard {
    walk(router, now, domain, bytes, Offload::NONE)
}

fn walk(router: &mut Router, now: Instant, domain: DomainId, bytes: &[u8], offload: Offload) -> Heard {
    let header = EthernetHeader::parse(bytes).unwrap();
    let mut frame = FramePool::default().take();
    assert!(frame.fill(bytes));
    frame.offload = offload;
    let (mut pool, mut made) = (FramePool::default(), Made::default());
    let mut turn = Turn { now, pool: &mut pool, made: &mut made, links: None };
    let heard = router.route(&mut turn, PortId(0), domain, &header, &mut frame);
    if !matches!(heard, Ok(Routed::Answer | Routed::Parked)) {
        assert_eq!((frame.bytes(), frame.offload), (bytes, offload), "only an answer changes the frame");
    }
    match heard {
        Ok(Routed::Pass) => Heard::Pass,
        // A fragment that waits for its first.
        Ok(Routed::Parked) => Heard::Consumed,
        Ok(Routed::Answer) => {
            assert_eq!(frame.offload, Offload::NONE);
            Heard::Answer(frame.bytes().to_vec())
        }
        Ok(Routed::Consumed) => Heard::Consumed,
        Ok(other @ Routed::Forward(_)) => panic!("there is no way out: {other:?}"),
        Err(reason) => Heard::Drop(reason),
    }
}

/// The frame with other octets from `at` on.
pub(crate) fn change(frame: &[u8], at: usize, octets: &[u8]) -> Vec<u8> {
    let mut changed = frame.to_vec();
    changed[at..at + octets.len()].copy_from_slice(octets);
    changed
}

/// The frame with the checksums that its other octets ask for. Its lengths are right.
pub(crate) fn seal(frame: &[u8]) -> Vec<u8> {
    let mut sealed = frame.to_vec();
    let l4 = if sealed[12] == 0x08 {
        let mut packet = Ipv4Packet::new_unchecked(&mut sealed[14..]);
        packet.fill_checksum();
        14 + usize::from(packet.header_len())
    } else {
        54
    };
    sealed[l4 + 2..l4 + 4].fill(0);
    let sum = !icmp_sum(&sealed, l4);
    sealed[l4 + 2..l4 + 4].copy_from_slice(&sum.to_be_bytes());
    sealed
}

/// The sum of an ICMP message that starts at `l4` of the frame, pseudo-header included; all ones if it is correct.
pub(crate) fn icmp_sum(frame: &[u8], l4: usize) -> u16 {
    if frame[12] == 0x08 {
        return checksum::data(&frame[l4..]);
    }
    let end = 54 + usize::from(u16::from_be_bytes([frame[18], frame[19]]));
    let address =
        |at: usize| -> IpAddress { IpAddr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).unwrap()).into() };
    let len = u32::try_from(end - l4).unwrap();
    let pseudo = checksum::pseudo_header(&address(22), &address(38), IpProtocol::Icmpv6, len);
    checksum::combine(&[pseudo, checksum::data(&frame[l4..end])])
}

/// Questions that are answered, to be damaged.
fn questions() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(Vec::from([
        arp::tests::ARP_REQUEST.to_vec(),
        nd::tests::SOLICITATION.to_vec(),
        nd::tests::PROBE.to_vec(),
        echo::tests::ECHO_V4.to_vec(),
        echo::tests::ECHO_V6.to_vec(),
    ]))
}

/// What must hold whatever is heard.
fn check(question: &[u8], heard: &Heard) -> Result<(), TestCaseError> {
    let Heard::Answer(answer) = heard else { return Ok(()) };
    prop_assert_eq!(&answer[6..12], &GATEWAY_MAC.0);
    let is_to_asker = answer[..6] == question[6..12];
    prop_assert!(is_to_asker || answer[..6] == [0x33, 0x33, 0, 0, 0, 1]);
    prop_assert!(answer.len() <= question.len().max(86), "an answer does not amplify");
    match answer[12..14] {
        [0x08, 0x06] => prop_assert_eq!(answer.len(), 42),
        [0x08, 0x00] => {
            let packet = Ipv4Packet::new_checked(&answer[14..]).unwrap();
            prop_assert!(packet.verify_checksum());
            prop_assert_eq!(usize::from(packet.total_len()), answer.len() - 14);
            prop_assert_eq!(icmp_sum(answer, 34), !0);
        }
        [0x86, 0xdd] => {
            prop_assert_eq!(usize::from(u16::from_be_bytes([answer[18], answer[19]])), answer.len() - 54);
            prop_assert_eq!(icmp_sum(answer, 54), !0);
        }
        _ => prop_assert!(false, "no answer is of another type"),
    }
    Ok(())
}

/// An experimental protocol (IEEE 802 local experimental ethertype 1) from one station to another.
const OTHERS: [u8; 16] = [2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 0x88, 0xb5, 0xaa, 0xbb];

#[test]
fn frames_between_stations_pass() {
    assert_eq!(ask(&OTHERS), Heard::Pass);
    assert_eq!(ask(&change(&OTHERS, 0, &[0xff; 6])), Heard::Pass);
    assert_eq!(ask(&change(&OTHERS, 0, &GATEWAY_MAC.0)), Heard::Drop(DropReason::NoService));
}

#[test]
fn a_domain_without_a_gateway_asks_nobody() {
    let question = arp::tests::ARP_REQUEST;
    let mut router = router();
    for domain in [0, 2, u16::MAX] {
        assert_eq!(ask_at(&mut router, Instant::ZERO, DomainId(domain), &question), Heard::Pass);
    }
    configure(&mut router, &RouterPlan::default());
    assert_eq!(ask_at(&mut router, Instant::ZERO, DomainId(1), &question), Heard::Pass);
}

#[test]
fn answers_are_limited_and_the_limit_recovers() {
    let mut router = router();
    let mut answers = |now, count| {
        (0..count)
            .filter(|_| match ask_at(&mut router, now, DomainId(1), &arp::tests::ARP_REQUEST) {
                Heard::Answer(_) => true,
                Heard::Drop(DropReason::AnswerRate) => false,
                other @ (Heard::Pass | Heard::Consumed | Heard::Drop(_)) => panic!("{other:?}"),
            })
            .count() as u64
    };
    let start = Instant::from_secs(1);
    assert_eq!(answers(start, 2 * ANSWERS_BURST_MAX), ANSWERS_BURST_MAX);
    let later = start + Duration::from_millis(10);
    assert_eq!(answers(later, 2 * ANSWERS_BURST_MAX), ANSWERS_PER_SECOND_MAX / 100);
}

proptest! {
    #[test]
    fn any_octets_get_a_sound_answer_or_none(
        dst in prop::sample::select(Vec::from([GATEWAY_MAC, Mac::BROADCAST, Mac([0x33, 0x33, 0xff, 0, 0, 1])])),
        ethertype in prop::sample::select(Vec::from([0x0800_u16, 0x0806, 0x86dd, 0x88b5])),
        rest in prop::collection::vec(any::<u8>(), 0..120),
        flags in 0..4_u8,
    ) {
        let head = [&dst.0[..], &[2, 0, 0, 0, 0, 9], &ethertype.to_be_bytes()].concat();
        let question = [head, rest].concat();
        let heard = ask_with(&question, Offload { flags, ..Offload::NONE });
        check(&question, &heard)?;
    }

    #[test]
    fn damaged_questions_get_a_sound_answer_or_none(
        question in questions(),
        damage in prop::collection::vec((12..86_usize, any::<u8>()), 0..4),
        cut in prop::option::of(14..86_usize),
        is_direct in any::<bool>(),
        is_sealed in any::<bool>(),
        flags in 0..4_u8,
    ) {
        let mut question = question;
        if is_direct {
            question[..6].copy_from_slice(&GATEWAY_MAC.0);
        }
        let is_icmp = question[12..14] != [0x08, 0x06];
        for (at, octet) in damage {
            // What seal() needs stays as it is: type, version, header length and payload length.
            if at < question.len() && (!is_sealed || !matches!(at, 12..=14 | 16..=19)) {
                question[at] = octet;
            }
        }
        if is_sealed && is_icmp {
            question = seal(&question);
        }
        question.truncate(cut.unwrap_or(usize::MAX));
        // Damage may have made a tag without its end, which admission refuses.
        prop_assume!(EthernetHeader::parse(&question).is_some());
        let heard = ask_with(&question, Offload { flags, ..Offload::NONE });
        check(&question, &heard)?;
    }
}
