//! Each transition of an entry, at written times, for both families.

use super::*;
use NeighbourState::{Delay, Failed, Incomplete, Probe, Reachable, Stale};

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wake,
    /// A packet is for the neighbour.
    Packet,
    /// An upper layer has heard of it.
    Confirm,
    Hear(Says),
}
use Says::{Announcement, Answer, Question};
use Step::{Confirm, Hear, Packet, Wake};

/// At this millisecond, this happens; then the entry is in this state at this station's MAC address (0: none), and so many
/// questions have been sent meanwhile.
type Row = (u64, Step, Option<NeighbourState>, u8, usize);

fn check(what: &str, rows: &[Row]) {
    for address in ["172.16.0.9", "fd00::9"].map(ip) {
        let mut world = World::new();
        for &(at, step, state, station, questions) in rows {
            let context = std::format!("{what}: {address} at {at} ms");
            world.until(ms(at));
            match step {
                Wake => {}
                Packet => {
                    let resolved = world.packet(7, address);
                    let expected = match state {
                        Some(Incomplete) => Ok(Resolution::Parked),
                        Some(Failed) | None => Err(DropReason::NeighbourUnreachable),
                        Some(Reachable | Stale | Delay | Probe) => Ok(Resolution::Known(mac(station))),
                    };
                    assert_eq!(resolved, expected, "{context}");
                }
                Confirm => world.neighbours.confirm(world.now, DOMAIN, address),
                Hear(says) => {
                    let frame = says.frame(address.is_ipv4());
                    let expected = match says {
                        Answer(_) => Heard::Consumed,
                        Question(_) => Heard::Answer,
                        Announcement(_) => Heard::Pass,
                    };
                    assert_eq!(world.hear(&frame), Ok(expected), "{context}");
                }
            }
            let info = world.info(address);
            assert_eq!(info.map(|info| info.state), state, "{context}");
            let expected_mac = (station != 0).then(|| mac(station));
            assert_eq!(info.and_then(|info| info.mac), expected_mac, "{context}");
            let is_question = |frame: &Vec<u8>| match address {
                IpAddr::V4(_) => frame[12..14] == [8, 6] && frame[21] == 1,
                IpAddr::V6(_) => frame[12..14] == [0x86, 0xdd] && frame[54] == 135,
            };
            let sent = world.sent();
            assert_eq!(sent.iter().filter(|frame| is_question(frame)).count(), questions, "{context}");
            let is_unicast = |frame: &&Vec<u8>| is_question(frame) && frame[0] & 1 == 0;
            let unicast = sent.iter().filter(is_unicast).count();
            assert_eq!(unicast, if station == 0 { 0 } else { questions }, "{context}");
        }
    }
}

#[test]
fn who_does_not_answer_is_asked_three_times_and_then_left_alone() {
    check(
        "nobody",
        &[
            (0, Packet, Some(Incomplete), 0, 1),
            (500, Packet, Some(Incomplete), 0, 0),
            (999, Wake, Some(Incomplete), 0, 0),
            (1_000, Wake, Some(Incomplete), 0, 1),
            (2_000, Wake, Some(Incomplete), 0, 1),
            (2_999, Wake, Some(Incomplete), 0, 0),
            (3_000, Wake, Some(Failed), 0, 0),
            (5_999, Packet, Some(Failed), 0, 0),
            (6_000, Wake, None, 0, 0),
            (6_001, Packet, Some(Incomplete), 0, 1),
        ],
    );
}

#[test]
fn a_failure_that_is_over_is_over_before_the_wake() {
    let mut world = World::new();
    assert_eq!(world.packet(7, ip("172.16.0.9")), Ok(Resolution::Parked));
    world.until(ms(3_000));
    world.now = ms(6_000);
    assert_eq!(world.packet(7, ip("172.16.0.9")), Ok(Resolution::Parked));
}

#[test]
fn an_answer_counts_for_15_to_45_seconds_and_use_begins_a_probe() {
    check(
        "answered once",
        &[
            (0, Packet, Some(Incomplete), 0, 1),
            (400, Hear(Answer(9)), Some(Reachable), 9, 0),
            (15_399, Packet, Some(Reachable), 9, 0),
            (45_400, Wake, Some(Stale), 9, 0),
            (50_000, Packet, Some(Delay), 9, 0),
            (52_000, Packet, Some(Delay), 9, 0),
            (54_999, Wake, Some(Delay), 9, 0),
            (55_000, Wake, Some(Probe), 9, 1),
            (55_500, Packet, Some(Probe), 9, 0),
            (56_000, Wake, Some(Probe), 9, 1),
            (57_000, Wake, Some(Probe), 9, 1),
            (57_999, Wake, Some(Probe), 9, 0),
            (58_000, Wake, None, 0, 0),
            (58_001, Packet, Some(Incomplete), 0, 1),
        ],
    );
}

#[test]
fn a_probe_that_is_answered_ends_it() {
    check(
        "answered again",
        &[
            (0, Packet, Some(Incomplete), 0, 1),
            (400, Hear(Answer(9)), Some(Reachable), 9, 0),
            (50_000, Packet, Some(Delay), 9, 0),
            (56_100, Hear(Answer(9)), Some(Reachable), 9, 2),
            (71_099, Wake, Some(Reachable), 9, 0),
            (101_100, Wake, Some(Stale), 9, 0),
        ],
    );
}

#[test]
fn another_station_may_answer_a_probe() {
    check(
        "moved",
        &[
            (0, Hear(Question(9)), Some(Stale), 9, 0),
            (1_000, Packet, Some(Delay), 9, 0),
            (6_000, Wake, Some(Probe), 9, 1),
            (6_100, Hear(Answer(8)), Some(Reachable), 8, 0),
        ],
    );
}

#[test]
fn what_an_upper_layer_confirms_is_not_probed() {
    check(
        "confirmed",
        &[
            (0, Confirm, None, 0, 0),
            (0, Packet, Some(Incomplete), 0, 1),
            (100, Confirm, Some(Incomplete), 0, 0),
            (400, Hear(Answer(9)), Some(Reachable), 9, 0),
            (12_000, Confirm, Some(Reachable), 9, 0),
            (26_999, Wake, Some(Reachable), 9, 0), // 12,000 and at least 15,000.
            (57_000, Wake, Some(Stale), 9, 0),
            (60_000, Packet, Some(Delay), 9, 0),
            (62_000, Confirm, Some(Reachable), 9, 0),
            (76_999, Wake, Some(Reachable), 9, 0),
            (107_000, Packet, Some(Delay), 9, 0),
            (112_500, Confirm, Some(Reachable), 9, 1),
        ],
    );
}

#[test]
fn who_asks_us_is_known_but_not_proved() {
    check(
        "asker",
        &[
            (0, Hear(Question(9)), Some(Stale), 9, 0),
            (100, Hear(Question(9)), Some(Stale), 9, 0),
            (599_999, Wake, Some(Stale), 9, 0),
            (600_000, Wake, None, 0, 0),
            (600_001, Hear(Question(9)), Some(Stale), 9, 0),
            (601_000, Packet, Some(Delay), 9, 0),
            (601_100, Hear(Question(9)), Some(Delay), 9, 0),
        ],
    );
}

#[test]
fn a_question_releases_what_waits_for_the_asker() {
    check(
        "waited for",
        &[
            (0, Packet, Some(Incomplete), 0, 1),
            (500, Hear(Question(9)), Some(Delay), 9, 0),
            (5_500, Wake, Some(Probe), 9, 1),
        ],
    );
}

#[test]
fn who_did_not_answer_may_still_speak() {
    check(
        "late",
        &[
            (0, Packet, Some(Incomplete), 0, 1),
            (3_000, Wake, Some(Failed), 0, 2),
            (3_100, Hear(Announcement(9)), Some(Stale), 9, 0),
            (3_200, Packet, Some(Delay), 9, 0),
        ],
    );
    check(
        "late answer",
        &[
            (0, Packet, Some(Incomplete), 0, 1),
            (3_000, Wake, Some(Failed), 0, 2),
            (3_100, Hear(Answer(9)), Some(Stale), 9, 0),
        ],
    );
}

#[test]
fn announcements_create_nothing_and_change_what_is_there_once_a_second() {
    check(
        "announced",
        &[
            (0, Hear(Announcement(9)), None, 0, 0),
            (0, Hear(Answer(9)), None, 0, 0),
            (10, Packet, Some(Incomplete), 0, 1),
            (400, Hear(Answer(9)), Some(Reachable), 9, 0),
            (500, Hear(Answer(8)), Some(Reachable), 9, 0), // The first wins.
            (1_399, Hear(Announcement(8)), Some(Reachable), 9, 0),
            (1_400, Hear(Announcement(9)), Some(Reachable), 9, 0),
            (1_400, Hear(Announcement(8)), Some(Stale), 8, 0),
            (2_399, Hear(Announcement(9)), Some(Stale), 8, 0),
            (2_400, Hear(Answer(9)), Some(Stale), 9, 0), // Nobody asked.
            (3_000, Hear(Question(8)), Some(Stale), 9, 0),
            (3_400, Hear(Question(8)), Some(Stale), 8, 0),
        ],
    );
}

#[test]
fn without_override_a_station_casts_doubt_and_no_more() {
    let mut world = World::new();
    let soft = |from: u8, flags: u8, option: bool| {
        let dst = if flags & 0x40 == 0 { "ff02::1" } else { "fe80::ff:fe00:1" };
        let option = option.then(|| (2, mac(from)));
        nd(OUR_MAC, mac(from), ("fd00::9", dst), [136, 0, flags], "fd00::9", option)
    };
    let address = ip("fd00::9");
    assert_eq!(world.packet(7, address), Ok(Resolution::Parked));
    assert_eq!(world.hear(&soft(9, 0x40, false)), Ok(Heard::Consumed));
    assert_eq!(world.state(address), Some(Incomplete), "there is nothing to learn from it");
    assert_eq!(world.hear(&soft(9, 0x40, true)), Ok(Heard::Consumed));
    assert_eq!(world.state(address), Some(Reachable));
    world.until(ms(5_000));
    assert_eq!(world.hear(&soft(8, 0, true)), Ok(Heard::Consumed));
    let info = world.info(address).unwrap();
    assert_eq!((info.state, info.mac), (Stale, Some(mac(9))));
    assert_eq!(world.packet(7, address), Ok(Resolution::Known(mac(9))));
    world.until(ms(10_000));
    assert_eq!(world.state(address), Some(Probe));
    assert_eq!(world.hear(&soft(8, 0x40, true)), Ok(Heard::Consumed), "an answer from elsewhere");
    assert_eq!(world.state(address), Some(Probe), "the proxy does not end the probe");
    assert_eq!(world.hear(&soft(9, 0x40, false)), Ok(Heard::Consumed), "the option may be left out");
    assert_eq!(world.state(address), Some(Reachable));
    assert!(world.notices().is_empty());
}

#[test]
fn deadlines_have_names() {
    let mut world = World::new();
    let address = ip("fd00::9");
    assert_eq!(world.neighbours.next_deadline(), None);
    assert_eq!(world.packet(7, address), Ok(Resolution::Parked));
    assert_eq!(world.neighbours.next_deadline(), Some((ms(1_000), "neighbour question")));
    world.hear(&Answer(9).frame(false)).unwrap();
    assert_eq!(world.neighbours.next_deadline().unwrap().1, "neighbour age");
    world.until(ms(45_000));
    assert_eq!(world.packet(7, address), Ok(Resolution::Known(mac(9))));
    assert_eq!(world.neighbours.next_deadline(), Some((ms(50_000), "neighbour probe")));
    world.configure(&[advertising()]);
    assert_eq!(world.neighbours.next_deadline(), Some((ms(50_000), "neighbour probe")));
    world.configure(&[]);
    assert_eq!(world.neighbours.next_deadline(), None);
}

#[test]
fn the_time_that_an_answer_counts_is_drawn_from_the_whole_span() {
    let mut world = World::new();
    let drawn: Vec<Duration> = (0..1_000).map(|_| world.neighbours.reachable_for()).collect();
    let (least, most) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
    assert!(*least >= REACHABLE_MIN && *least < Duration::from_secs(16), "{least:?}");
    assert!(*most <= REACHABLE_MAX && *most > Duration::from_secs(44), "{most:?}");
}
