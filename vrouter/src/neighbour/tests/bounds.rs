//! What happens at each limit, and what holds for any octets.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Address number `index` of 172.16.0.0/16.
fn nth(index: u16) -> IpAddr {
    let [high, low] = index.to_be_bytes();
    IpAddr::from([172, 16, high, low])
}

/// A question from a station with an address of its own.
fn question(index: u16) -> Vec<u8> {
    let [high, low] = index.to_be_bytes();
    let frame = change(&Says::Question(9).frame(true), 30, &[high, low]);
    change(&change(&frame, 10, &[high, low]), 26, &[high, low])
}

#[test]
fn a_scan_displaces_nobody_and_takes_no_memory() {
    let mut world = World::new();
    for index in 2..102 {
        world.hear(&question(index)).unwrap();
    }
    let known: BTreeSet<IpAddr> = (2..102).map(nth).collect();
    let mut memory = 0;
    let mut parked = 0;
    for index in 1_000..=u16::MAX {
        world.until(ms(u64::from(index) / 10)); // 10,000 packets a second, for 6 seconds.
        let resolved = world.packet(3, nth(index));
        assert!(
            matches!(
                resolved,
                Ok(Resolution::Parked) | Err(DropReason::NeighboursMax | DropReason::NeighbourQueue)
            ),
            "{resolved:?}"
        );
        let stats = world.neighbours.stats();
        assert!(stats.unresolved <= INCOMPLETE_MAX && stats.parked <= PARKED_PER_DOMAIN_MAX);
        parked = parked.max(stats.parked);
        memory = memory.max(world.neighbours.table.memory());
        world.made.frames.clear();
        let _ = world.neighbours.take_failed().count();
    }
    assert_eq!(parked, PARKED_PER_DOMAIN_MAX);
    assert!(memory < 128 * 1024, "{memory}");
    let left = world.neighbours.list(world.now);
    let left: BTreeSet<IpAddr> =
        left.iter().filter(|info| info.mac.is_some()).map(|info| info.address).collect();
    assert_eq!(left, known);
    let told = |notices: &[Notice]| {
        notices.iter().filter(|notice| **notice == Notice::NeighboursFull { domain: DOMAIN }).count()
    };
    assert_eq!(told(&world.notices()), 1, "in six seconds once, however many do not fit");
    let asked = world.neighbours.stats().asked;
    assert!(asked <= QUESTIONS_BURST_MAX + 7 * QUESTIONS_PER_SECOND_MAX, "{asked}");
}

#[test]
fn the_newest_packet_replaces_the_oldest() {
    let mut world = World::new();
    for port in 1..=5 {
        assert_eq!(world.packet(port, nth(9)), Ok(Resolution::Parked));
    }
    let gone = [1, 2].map(|port| (PortId(port), DropReason::NeighbourQueue));
    assert_eq!(world.made.drops, gone);
    world.sent();
    world.hear(&Says::Answer(9).frame(true)).unwrap();
    let ports: Vec<u8> = world.sent().iter().map(|frame| frame[15]).collect();
    assert_eq!(ports, [3, 4, 5]);
}

#[test]
fn one_domain_takes_not_all_room_to_wait() {
    let mut world = World::new();
    for index in 2..2 + u16::try_from(PARKED_PER_DOMAIN_MAX).unwrap() {
        assert_eq!(world.packet(1, nth(index)), Ok(Resolution::Parked));
    }
    assert_eq!(world.packet(2, nth(999)), Err(DropReason::NeighbourQueue), "it has none that may give way");
    assert_eq!(world.state(nth(999)), Some(NeighbourState::Incomplete), "and is asked for all the same");
    assert_eq!(world.packet(2, nth(2)), Ok(Resolution::Parked));
    assert_eq!(world.made.drops, [(PortId(1), DropReason::NeighbourQueue)]);
}

#[test]
fn failures_beyond_what_can_be_told_are_drops() {
    let mut world = World::new();
    for index in 2..102 {
        assert_eq!(world.packet(1, nth(index)), Ok(Resolution::Parked));
    }
    for second in 1..=3 {
        world.sent();
        world.until(Instant::from_secs(second));
    }
    assert_eq!(world.neighbours.take_failed().count(), FAILED_MAX);
    let told = [(PortId(1), DropReason::NeighbourUnreachable); 100 - FAILED_MAX];
    assert_eq!(world.made.drops, told);
    assert_eq!(world.neighbours.stats().unanswered, 100);
}

#[test]
fn the_oldest_failure_yields_to_a_new_question() {
    let mut world = World::new();
    let max = u16::try_from(INCOMPLETE_MAX).unwrap();
    for index in 2..2 + max {
        let _ = world.packet(1, nth(index));
    }
    world.made.frames.clear();
    assert_eq!(world.packet(1, nth(5_000)), Err(DropReason::NeighboursMax));
    for _ in 0..3 {
        world.until(world.now + RETRANSMIT);
        world.made.frames.clear();
    }
    assert_eq!(world.state(nth(2)), Some(NeighbourState::Failed));
    assert_eq!(world.packet(1, nth(5_000)), Ok(Resolution::Parked));
    assert_eq!(world.state(nth(2)), None);
    assert_eq!(world.neighbours.stats().unresolved, INCOMPLETE_MAX);
}

#[test]
fn questions_beyond_the_rate_are_put_off_and_not_counted() {
    let mut world = World::new();
    let link = world.neighbours.link_mut(DOMAIN).unwrap();
    while link.questions.take(ms(0)) {}
    assert_eq!(world.packet(1, nth(9)), Ok(Resolution::Parked));
    assert_eq!(world.sent(), Vec::<Vec<u8>>::new());
    assert_eq!(world.neighbours.stats().put_off, 1);
    world.until(ms(3_000));
    assert_eq!(world.sent().len(), 3);
    assert_eq!(world.state(nth(9)), Some(NeighbourState::Incomplete));
    world.until(ms(4_000));
    assert_eq!(world.state(nth(9)), Some(NeighbourState::Failed));
}

#[test]
fn who_asks_displaces_nobody_who_is_used() {
    let mut world = World::new();
    let max = u16::try_from(NEIGHBOURS_PER_DOMAIN_MAX).unwrap();
    for index in 2..2 + max {
        world.now = world.now + Duration::from_millis(1); // Answers are limited.
        world.hear(&question(index)).unwrap();
    }
    // 2 is used and stale again, 3 is in use, 4 has never been used and been here the longest of those.
    for (index, confirm) in [(2, true), (3, false)] {
        assert!(matches!(world.packet(1, nth(index)), Ok(Resolution::Known(_))));
        if confirm {
            world.neighbours.confirm(world.now, DOMAIN, nth(index));
        }
    }
    for _ in 0..45 {
        world.until(world.now + RETRANSMIT);
        world.made.frames.clear();
        world.neighbours.confirm(world.now, DOMAIN, nth(3));
    }
    assert_eq!(world.state(nth(2)), Some(NeighbourState::Stale));
    assert_eq!(world.neighbours.stats().known, NEIGHBOURS_PER_DOMAIN_MAX);

    world.hear(&question(60_000)).unwrap();
    assert_eq!((world.state(nth(4)), world.neighbours.stats().yielded), (None, 1));
    for index in 30_000..30_000 + max {
        world.now = world.now + Duration::from_millis(1);
        world.hear(&question(index)).unwrap();
    }
    assert_eq!(world.state(nth(2)), Some(NeighbourState::Stale), "it has been used");
    assert_eq!(world.state(nth(3)), Some(NeighbourState::Reachable));
    assert_eq!(world.neighbours.stats().known, NEIGHBOURS_PER_DOMAIN_MAX);
}

#[test]
fn what_the_turn_has_no_room_for_waits_for_the_next() {
    let mut world = World::new();
    let max = crate::turn::MADE_MAX;
    for index in 2..200 {
        let _ = world.packet(1, nth(index));
    }
    world.now = ms(1_000);
    assert_eq!(world.made.frames.len(), 198);
    let (mut turn, neighbours) = world.turn();
    neighbours.wake(&mut turn);
    assert_eq!(world.made.frames.len(), max, "no more than fit");
    assert_eq!(world.neighbours.next_deadline(), Some((ms(1_000), "neighbour question")), "due at once");
    world.made.frames.clear();
    world.until(ms(1_000));
    assert_eq!(world.made.frames.len(), 198 - (max - 198));
}

#[test]
fn answers_are_limited() {
    let mut world = World::new();
    let burst = usize::try_from(crate::router::ANSWERS_BURST_MAX).unwrap();
    for frame in [Says::Question(9).frame(true), Says::Question(9).frame(false)] {
        world.now = world.now + Duration::from_secs(1);
        let answers: Vec<_> = (0..=burst).map(|_| world.hear(&frame)).collect();
        assert!(answers[..burst].iter().all(|heard| *heard == Ok(Heard::Answer)));
        assert_eq!(answers[burst], Err(DropReason::AnswerRate));
    }
}

/// What stations say, to be damaged.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let says = [Says::Answer(9), Says::Question(9), Says::Announcement(9)];
    let mut all: Vec<Vec<u8>> = says.iter().flat_map(|says| [says.frame(true), says.frame(false)]).collect();
    let ips = ("fe80::9", "ff02::2");
    all.push(nd(Mac([0x33, 0x33, 0, 0, 0, 2]), mac(9), ips, [133, 0, 0], "", Some((1, mac(9)))));
    prop::sample::select(all)
}

/// Whatever was heard: entries are of the subnets or the link, or were asked for by us.
fn check_entries(world: &World, resolved: &[IpAddr]) -> Result<(), TestCaseError> {
    for info in world.neighbours.list(world.now) {
        let link = world.neighbours.link(DOMAIN).unwrap();
        prop_assert!(link.may_hold(info.address) || resolved.contains(&info.address), "{info:?}");
        prop_assert!(!link.owns(info.address), "{info:?}");
        prop_assert!(info.parked == 0 || info.state == NeighbourState::Incomplete, "{info:?}");
        prop_assert!(info.mac.is_none_or(|mac| UnicastMac::new(mac).is_some() && mac != OUR_MAC), "{info:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_octets_create_no_entry_outside_the_subnets(
        frames in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 12..100)), 1..20),
    ) {
        let mut world = World::of(&[advertising()]);
        for (is_arp, mut octets) in frames {
            octets[6] &= !1; // As admission sees to it.
            octets.splice(12..12, if is_arp { [8, 6] } else { [0x86, 0xdd] });
            let _ = world.hear(&octets);
        }
        check_entries(&world, &[])?;
    }

    #[test]
    fn damaged_messages_create_no_entry_outside_the_subnets(
        frames in prop::collection::vec(
            (
                messages(),
                prop::collection::vec((14..86_usize, any::<u8>()), 0..4),
                prop::option::of(14..86_usize),
                any::<bool>(),
                0..4_u8,
                0..3_000_u64,
            ),
            1..30,
        ),
        next_hops in prop::collection::vec(prop::sample::select(Vec::from(
            ["172.16.0.9", "172.16.0.8", "fd00::9", "10.0.0.9", "fe80::9"],
        )), 0..5),
    ) {
        let mut world = World::of(&[advertising()]);
        const PARKED: u16 = 0xabcd;
        let (mut parked, mut released) = (0, 0);
        let mut count_released = |world: &mut World| {
            let sent = world.sent();
            released += sent.iter().filter(|frame| frame[12..] == [8, 0, 0xab, 0xcd]).count();
        };
        let resolved: Vec<IpAddr> = next_hops.into_iter().map(ip).collect();
        for &next_hop in resolved.iter().cycle().take(3 * resolved.len()) {
            let is_parked = world.packet(PARKED, next_hop) == Ok(Resolution::Parked);
            parked += usize::from(is_parked);
        }
        for (mut frame, damage, cut, is_sealed, flags, wait) in frames {
            for (at, octet) in damage {
                if at < frame.len() && (!is_sealed || !matches!(at, 14 | 16..=19)) {
                    frame[at] = octet;
                }
            }
            if is_sealed && frame[12] == 0x86 {
                frame = seal(&frame);
            }
            frame.truncate(cut.unwrap_or(usize::MAX));
            let _ = world.hear_with(&frame, Offload { flags, ..Offload::NONE });
            world.until(world.now + Duration::from_millis(wait));
            count_released(&mut world);
        }
        check_entries(&world, &resolved)?;
        // Every packet that was parked leaves, is given up or is dropped; once.
        world.until(world.now + Duration::from_secs(4));
        count_released(&mut world);
        prop_assert_eq!(world.neighbours.stats().parked, 0);
        let given_up = world.neighbours.take_failed().count();
        prop_assert_eq!(parked, released + given_up + world.made.drops.len());
    }
}
