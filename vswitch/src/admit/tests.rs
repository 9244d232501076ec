//! Tests of admission: each refusal by the frame that deserves it, and what a frame looks like afterwards.

use std::vec::Vec;

use wire::DropReason::*;
use wire::offload::{Gso, NEEDS_CSUM, Offload};
use wire::{UnicastMac, Vid};

use super::*;
use crate::plan::{Guards, ReservedForward, Storm, SwitchPlan};
use crate::testing::{frame, mac, millis, port, secs, switch, three_ports, trunk};

const VLAN: u16 = ETHERTYPE_VLAN;
/// An ethertype for experiments (IEEE 802).
const DATA: u16 = 0x88b5;
const ALL: Mac = Mac::BROADCAST;

fn admit_at(plan: &SwitchPlan, port: u16, frame: &mut FrameBuf) -> Result<Admitted, DropReason> {
    switch(plan).admit(secs(1), PortId(port), frame)
}

#[test]
fn the_tag_chooses_the_domain_and_goes_but_its_priority_stays() {
    // Port, tags, domain or refusal, priority.
    type Case<'a> = (u16, &'a [(u16, u16)], Result<u16, DropReason>, u16);
    let cases: [Case<'_>; 12] = [
        (0, &[], Ok(1), 0),
        (0, &[(VLAN, 0xe000)], Ok(1), 0xe000),
        (0, &[(VLAN, 20)], Err(VlanNotAllowed), 0),
        (1, &[], Ok(1), 0),
        (1, &[(VLAN, 0x5014)], Ok(2), 0x5000),
        (1, &[(VLAN, 21)], Err(VlanNotAllowed), 0),
        (1, &[(VLAN, 0x0fff)], Err(VlanNotAllowed), 0),
        (3, &[], Err(UntaggedNotAllowed), 0),
        (3, &[(VLAN, 0x2000)], Err(UntaggedNotAllowed), 0),
        (1, &[(VLAN, 20), (VLAN, 20)], Err(DoubleTag), 0),
        (1, &[(ETHERTYPE_QINQ, 20), (VLAN, 20)], Err(DoubleTag), 0),
        (1, &[(VLAN, 20), (0x9100, 20)], Err(DoubleTag), 0),
    ];
    let mut plan = trunk();
    plan.ports.push(port(3, &[(2, 30)]));
    for (port, tags, expected, priority) in cases {
        let mut tagged = frame(mac(9), mac(1), tags, DATA, &[0xab; 50]);
        let admitted = admit_at(&plan, port, &mut tagged);
        let note = std::format!("port {port} tags {tags:x?}");
        assert_eq!(admitted.map(|admitted| admitted.domain), expected.map(DomainId), "{note}");
        if let Ok(admitted) = admitted {
            assert_eq!(tagged.bytes(), frame(mac(9), mac(1), &[], DATA, &[0xab; 50]).bytes(), "{note}");
            let header = EthernetHeader { dst: mac(9), src: mac(1), tag: None, ethertype: DATA };
            assert_eq!((admitted.header, admitted.priority), (header, Tci(priority)), "{note}");
            assert_eq!((admitted.port, admitted.packet_len), (PortId(port), 50), "{note}");
        }
    }
}

#[test]
fn malformed_frames_and_sources_no_station_may_use_are_refused() {
    let mut short = frame(ALL, mac(1), &[], DATA, &[]);
    assert!(admit_at(&three_ports(), 0, &mut short).is_ok(), "a header without payload is a frame");
    short.truncate(13);
    assert_eq!(admit_at(&three_ports(), 0, &mut short), Err(Runt));
    let mut cut_tag = frame(ALL, mac(1), &[], VLAN, &[0, 20, 8]);
    assert_eq!(admit_at(&trunk(), 1, &mut cut_tag), Err(Runt));
    let sources = [(Mac([3, 0, 0, 0, 0, 1]), GroupSource), (ALL, GroupSource), (Mac([0; 6]), ZeroSource)];
    for (src, reason) in sources {
        assert_eq!(admit_at(&three_ports(), 0, &mut frame(ALL, src, &[], DATA, &[0; 46])), Err(reason));
    }
    let mut frame = frame(ALL, mac(1), &[], DATA, &[]);
    assert_eq!(admit_at(&three_ports(), 7, &mut frame), Err(NoPort));
    assert_eq!(admit_at(&three_ports(), u16::MAX, &mut frame), Err(NoPort));
}

#[test]
fn the_mtu_is_compared_with_segments() {
    let check = |tags: &[(u16, u16)], payload_len: usize, offload: Offload, expected| {
        let mut frame = frame(mac(9), mac(1), tags, 0x0800, &std::vec![0x50; payload_len]);
        frame.offload = offload;
        let admitted = admit_at(&trunk(), 1, &mut frame);
        assert_eq!(admitted.map(|admitted| admitted.packet_len), expected, "{payload_len} {offload:?}");
    };
    let tcp = |csum_start, gso_size| Offload {
        flags: NEEDS_CSUM,
        gso: Gso::TcpV4,
        gso_size,
        csum_start,
        csum_offset: 16,
        ..Offload::NONE
    };
    check(&[], 1500, Offload::NONE, Ok(1500));
    check(&[], 1501, Offload::NONE, Err(Overlong));
    check(&[(VLAN, 20)], 1500, Offload::NONE, Ok(1500));
    check(&[(VLAN, 20)], 1501, Offload::NONE, Err(Overlong));
    // The data offset reads 0x50, 20 octets: 20 + 20 + 1460 fit, one more does not; a tag changes nothing.
    check(&[], 60_000, tcp(34, 1460), Ok(1500));
    check(&[], 60_000, tcp(34, 1461), Err(Overlong));
    check(&[(VLAN, 20)], 60_000, tcp(38, 1460), Ok(1500));
    check(&[(VLAN, 20)], 60_000, tcp(38, 1461), Err(Overlong));
    // A super-segment of one short segment is as long as it is.
    check(&[], 600, tcp(34, 1460), Ok(600));
    let udp = Offload { gso: Gso::UdpL4, ..tcp(34, 1472) };
    check(&[], 60_000, udp, Ok(1500));
    check(&[], 60_000, Offload { gso_size: 1473, ..udp }, Err(Overlong));
    // A forged start of the checksum does not wrap anything.
    check(&[], 1500, Offload { csum_start: 0, gso_size: 1, ..udp }, Ok(0));
}

#[test]
fn reserved_groups_stay_unless_let_through() {
    let mut plan = three_ports();
    plan.domains[0].reserved_forward = ReservedForward(1 << 0x0e | 1 << 0x03);
    for last in 0..=0x10 {
        let dst = Mac([1, 0x80, 0xc2, 0, 0, last]);
        let passes = [0x03, 0x0e, 0x10].contains(&last);
        let expected = if passes { Ok(dst) } else { Err(ReservedMulticast) };
        let admitted = admit_at(&plan, 0, &mut frame(dst, mac(1), &[], DATA, &[0; 46]));
        assert_eq!(admitted.map(|admitted| admitted.header.dst), expected);
    }
}

#[test]
fn storms_end_where_their_bucket_does() {
    let mut plan = three_ports();
    plan.ports[0].storm = Storm { broadcast: Some(3), multicast: Some(1), unknown: Some(0) };
    let mut switch = switch(&plan);
    let group = Mac([1, 0, 0x5e, 0, 0, 1]);
    let mut admit = |now, port, dst| {
        let admitted = switch.admit(now, PortId(port), &mut frame(dst, mac(1), &[], DATA, &[0; 46]));
        admitted.map(|_| ())
    };
    let broadcasts: Vec<_> = (0..5).map(|_| admit(secs(1), 0, ALL)).collect();
    assert_eq!(broadcasts, [Ok(()), Ok(()), Ok(()), Err(StormBroadcast), Err(StormBroadcast)]);
    assert_eq!([(); 2].map(|()| admit(secs(1), 0, group)), [Ok(()), Err(StormMulticast)]);
    assert_eq!(admit(millis(1_334), 0, ALL), Ok(()), "a third of a second earns one of three");
    assert_eq!(admit(millis(1_334), 0, ALL), Err(StormBroadcast));
    assert!((0..100).all(|_| admit(secs(2), 1, ALL).is_ok()), "the other port is not limited");
    assert!((0..100).all(|_| admit(secs(2), 0, mac(2)).is_ok()), "unicast is not counted here");
}

#[test]
fn a_refused_frame_takes_no_token() {
    let mut plan = three_ports();
    plan.ports[0].storm.broadcast = Some(1);
    plan.ports[0].mac = UnicastMac::new(mac(1));
    plan.ports[0].guards = Guards { mac: true, ..Guards::default() };
    let mut switch = switch(&plan);
    let mut admit =
        |src| switch.admit(secs(1), PortId(0), &mut frame(ALL, src, &[], DATA, &[0; 46])).map(|_| ());
    assert_eq!(admit(mac(2)), Err(SpoofedMac));
    assert_eq!(admit(mac(1)), Ok(()));
    assert_eq!(admit(mac(1)), Err(StormBroadcast));
}

#[test]
fn a_port_may_carry_every_vlan() {
    let mut plan = SwitchPlan::default();
    let memberships: Vec<_> = (1..4094).map(|id| (id, id)).collect();
    plan.domains = (1..4094).map(crate::testing::domain).collect();
    plan.ports.push(port(0, &memberships));
    let mut switch = switch(&plan);
    for vid in 1..4094 {
        let mut tagged = frame(ALL, mac(1), &[(VLAN, vid)], DATA, &[]);
        let admitted = switch.admit(secs(0), PortId(0), &mut tagged).unwrap();
        assert_eq!(admitted.domain, DomainId(vid));
        assert_eq!(switch.port(PortId(0)).unwrap().tag_of(DomainId(vid)), Some(Vid::new(vid)));
    }
}
