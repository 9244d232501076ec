//! What a link does, one fault at a time, and what it never does whatever the faults are.

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn share(millionths: u32) -> Share {
    Share::of_million(millionths).unwrap()
}

/// When the frames arrive that are offered one each millisecond from 1 on; `None` for those that do not.
fn passages(faults: Faults, frames: u64) -> Vec<Option<u64>> {
    let mut link = Link::new(7, faults);
    let arrival = |passage: Passage| passage.arrivals[0].map(|arrival| arrival.at.as_nanos() / 1_000_000);
    (1..=frames).map(|millis| arrival(link.offer(at(millis), 1_000))).collect()
}

fn lost(faults: Faults, frames: u64) -> usize {
    passages(faults, frames).iter().filter(|arrival| arrival.is_none()).count()
}

#[test]
fn a_perfect_link_changes_nothing() {
    assert_eq!(passages(Faults::default(), 3), [Some(1), Some(2), Some(3)]);
}

#[test]
fn each_fault_does_what_it_says() {
    let delayed = Faults { delay: 5 * MS, ..Faults::default() };
    assert_eq!(passages(delayed, 3), [Some(6), Some(7), Some(8)]);
    let down = Faults { up: false, ..Faults::default() };
    assert_eq!(passages(down, 2), [None, None]);
    let flap = Some(Flap { every: 4 * MS, down: 2 * MS });
    let flapping = Faults { flap, ..Faults::default() };
    assert_eq!(passages(flapping, 6), [None, Some(2), Some(3), None, None, Some(6)]);
    // 1,024 octets with their overhead take 2.048 ms; three frames, and a fourth in part, find room.
    let slow = Faults { rate: Some(4_000_000), queue: 2_000, ..Faults::default() };
    assert_eq!(passages(slow, 5), [Some(3), Some(5), None, Some(7), None]);
    let held_back = Faults { reorder: Share::ALL, reorder_by: 3 * MS, ..Faults::default() };
    assert_eq!(passages(held_back, 2), [Some(4), Some(5)]);
}

#[test]
fn chance_is_about_as_often_as_it_says() {
    let tenth = share(100_000);
    let even = lost(Faults { loss: tenth, ..Faults::default() }, 10_000);
    assert!(even.abs_diff(1_000) < 100, "{even}");
    // A tenth of the time bad (1 to 9), and then everything is lost, ten frames in a row on average.
    let burst = Some(Burst { enter: share(11_111), leave: share(100_000), loss: Share::ALL });
    let arrivals = passages(Faults { burst, ..Faults::default() }, 20_000);
    let lost = arrivals.iter().filter(|arrival| arrival.is_none()).count();
    let bursts = arrivals.windows(2).filter(|pair| pair[0].is_some() && pair[1].is_none()).count();
    assert!(lost.abs_diff(2_000) < 400, "{lost}");
    assert!((lost / bursts).abs_diff(10) < 4, "{lost} lost in {bursts} bursts");

    let mut link = Link::new(1, Faults { duplicate: tenth, corrupt: tenth, ..Faults::default() });
    let passages: Vec<Passage> = (0..1_000).map(|millis| link.offer(at(millis), 60)).collect();
    let flips: Vec<usize> =
        passages.iter().filter_map(|passage| passage.arrivals[0].unwrap().flipped).collect();
    assert!(flips.iter().all(|&bit| bit < 480) && flips.len().abs_diff(100) < 40, "{flips:?}");
    let doubled = passages.iter().filter(|passage| passage.arrivals[1].is_some()).count();
    assert_eq!(link.counts().duplicated, doubled as u64);
    assert!(doubled.abs_diff(100) < 40, "{doubled}");
}

#[test]
fn a_fault_does_not_change_what_another_does() {
    let loss = Faults { loss: share(300_000), ..Faults::default() };
    let with_jitter = Faults { jitter: 2 * MS, duplicate: share(500_000), ..loss };
    let lost = |faults| passages(faults, 200).iter().map(Option::is_none).collect::<Vec<_>>();
    assert_eq!(lost(loss), lost(with_jitter));
}

#[test]
fn a_frame_without_octets_and_a_link_without_rate_end_well() {
    let mut link = Link::new(1, Faults { corrupt: Share::ALL, rate: Some(0), ..Faults::default() });
    assert!(link.offer(at(1), 0).arrivals[0].is_some_and(|arrival| arrival.at > at(192_000)));
    assert_eq!(link.offer(Instant::from_nanos(u64::MAX), 0).arrivals[0].map(|it| it.flipped), Some(Some(0)));
}

proptest! {
    #[test]
    fn order_holds_and_nothing_arrives_before_it_was_sent(
        seed: u64,
        rate in proptest::option::of(1_000_u64..1_000_000_000),
        queue in 0_u64..100_000,
        [delay, jitter, gap] in [0_u64..50_000_000, 0_u64..50_000_000, 1_u64..5_000_000],
        [loss, duplicate] in [0_u32..=1_000_000, 0_u32..=1_000_000],
        frames in proptest::collection::vec(0_usize..10_000, 1..100),
    ) {
        let (delay, jitter) = (Duration::from_nanos(delay), Duration::from_nanos(jitter));
        let (loss, duplicate) = (share(loss), share(duplicate));
        let mut link =
            Link::new(seed, Faults { rate, queue, delay, jitter, loss, duplicate, ..Faults::default() });
        let mut last = Instant::ZERO;
        for (index, len) in frames.into_iter().enumerate() {
            let now = Instant::from_nanos(index as u64 * gap);
            let arrivals: Vec<Arrival> = link.offer(now, len).arrivals.into_iter().flatten().collect();
            for arrival in &arrivals {
                prop_assert!(arrival.at >= now + delay && arrival.at >= last);
                last = arrival.at;
            }
        }
        let LinkCounts { offered, down, lost, overflowed, duplicated, .. } = *link.counts();
        prop_assert!(down == 0 && lost + overflowed <= offered && duplicated <= offered - lost - overflowed);
    }
}
