//! Renewal, and what is seen of our key meanwhile.

use wire::Rng;

use super::*;
use crate::registry::model::Store;

const HOUR: Duration = Duration::from_secs(3600);
const NOW: Instant = Instant::ZERO;
const KEY: &str = "10.5.2.0-24";

fn holder(host: u8) -> Holder {
    Holder::parse(format!(r#"{{"PublicIP":"192.0.2.{host}"}}"#).as_bytes()).unwrap()
}

/// Begins at second 0 with a lease that was just written.
fn begun(store: &mut Store, lease: i64) -> Tenure {
    let written = store.write(KEY, &holder(1).to_json(), lease);
    let acquired = Acquired { subnets: KEY.parse().unwrap(), lease, written, reused: false };
    Tenure::new(acquired, holder(1), HOUR, Instant::ZERO)
}

/// Does what is due.
fn renew(tenure: &mut Tenure, store: &mut Store, now: Instant) -> Option<Progress> {
    let mut request = tenure.wake(now)?;
    loop {
        let answer = store.handle(&request);
        match tenure.answer(&answer, now) {
            Progress::Ask(next) => request = next,
            end @ (Progress::Renewed | Progress::Restored | Progress::Later) => return Some(end),
        }
    }
}

#[test]
fn a_lease_is_renewed_an_hour_before_its_end_with_a_new_one() {
    let mut store = Store::default();
    let mut tenure = begun(&mut store, 99);
    let due = Instant::from_secs(23 * 3600);
    assert_eq!((tenure.deadline(), tenure.ends()), (Some(due), Some(Instant::from_secs(24 * 3600))));
    assert_eq!(tenure.wake(Instant::from_secs(23 * 3600 - 1)), None);
    assert_eq!(renew(&mut tenure, &mut store, due), Some(Progress::Renewed));
    assert_eq!(tenure.deadline(), Some(due + 23 * HOUR));
    assert_ne!(store.entries[KEY].lease, 99);
    assert_eq!(tenure.seen(store.entries.get(KEY), NOW), Standing::Ours);
    store.expire(99);
    assert_eq!(tenure.seen(store.entries.get(KEY), NOW), Standing::Ours, "the old one's end does not matter");
}

#[test]
fn a_reservation_is_not_renewed() {
    let tenure = begun(&mut Store::default(), 0);
    assert_eq!((tenure.deadline(), tenure.ends()), (None, None));
}

#[test]
fn a_renewal_is_tried_until_it_works() {
    let mut store = Store::default();
    let mut tenure = begun(&mut store, 99);
    let mut now = Instant::from_secs(23 * 3600);
    for _ in 0..180 {
        assert_eq!(tenure.wake(now), Some(Request::Grant));
        assert_eq!(tenure.deadline(), None, "one thing at a time");
        assert_eq!(tenure.answer(&Answer::Nothing, now), Progress::Later);
        assert_eq!(tenure.deadline(), Some(now + RETRY));
        now = now + RETRY;
    }
    assert_eq!(
        renew(&mut tenure, &mut store, now),
        Some(Progress::Renewed),
        "three hours later, if it is still there"
    );
}

#[test]
fn what_was_given_to_another_is_not_taken_back() {
    let mut store = Store::default();
    let mut tenure = begun(&mut store, 99);
    store.expire(99);
    store.write(KEY, &holder(2).to_json(), 100);
    let before = store.entries.clone();
    assert_eq!(renew(&mut tenure, &mut store, Instant::from_secs(90_000)), Some(Progress::Later));
    assert_eq!(store.entries, before);
    assert_eq!(tenure.seen(store.entries.get(KEY), NOW), Standing::Lost(Loss::Taken));
}

#[test]
fn what_happens_to_our_key_is_told_apart() {
    let mut store = Store::default();
    let mut tenure = begun(&mut store, 99);
    let old = store.entries[KEY].clone();
    assert_eq!(tenure.seen(Some(&old), NOW), Standing::Ours);
    for lease in [99, 0] {
        store.write(KEY, &holder(1).to_json(), lease);
        assert_eq!(tenure.seen(store.entries.get(KEY), NOW), Standing::Ours, "written again as it was");
    }
    let other = r#"{"PublicIP":"192.0.2.1","BackendType":"host-gw"}"#;
    store.write(KEY, other, 100);
    assert_eq!(tenure.seen(store.entries.get(KEY), NOW), Standing::Contested(Duration::ZERO));
    store.write(KEY, "broken", 100);
    assert_eq!(tenure.seen(store.entries.get(KEY), NOW), Standing::StillContested);
    assert_eq!(tenure.seen(Some(&old), NOW), Standing::Ours, "old news");
    assert_eq!(renew(&mut tenure, &mut store, Instant::ZERO), Some(Progress::Restored));
    assert_eq!(store.entries[KEY].lease, 99, "no etcd lease is left behind");
    assert_eq!(store.entries[KEY].value, holder(1).to_json().into_bytes());
    assert_eq!(tenure.seen(None, NOW), Standing::Lost(Loss::Revoked));
}

/// Their VTEP's MAC address follows from the public address that they share, so their values are equal to the octet.
#[test]
fn two_machines_that_write_the_very_same_are_told_apart_by_their_etcd_leases() {
    let mut store = Store::default();
    let mut tenure = begun(&mut store, 99);
    assert_eq!(
        renew(&mut tenure, &mut store, Instant::from_secs(23 * 3600)),
        Some(Progress::Renewed),
        "the first of these leases stays known"
    );
    for (lease, standing) in
        [(99, Standing::Ours), (100, Standing::Contested(Duration::ZERO)), (101, Standing::StillContested)]
    {
        store.write(KEY, &holder(1).to_json(), lease);
        assert_eq!(tenure.seen(store.entries.get(KEY), NOW), standing, "{lease}");
    }
    assert_eq!(renew(&mut tenure, &mut store, NOW), Some(Progress::Restored));
    assert_eq!(store.entries[KEY].lease, tenure.acquired().lease);
    assert_eq!(tenure.seen(store.entries.get(KEY), NOW), Standing::Ours);
}

/// A cluster that was emptied, or put back to an older copy: its revisions are all lower than that of our write.
#[test]
fn in_a_new_history_low_revisions_are_no_older_news() {
    let begun_late = || {
        let mut store = Store::default();
        for _ in 0..100 {
            store.write("other", "", 7);
        }
        begun(&mut store, 99)
    };
    let due = Instant::from_secs(23 * 3600);
    let mut anew = Store::default();
    // Another host was given our subnet.
    anew.write(KEY, &holder(2).to_json(), 5);
    assert_eq!(begun_late().seen(anew.entries.get(KEY), NOW), Standing::Lost(Loss::Taken));
    // Our own value is back, and is renewed from there.
    let mut tenure = begun_late();
    let back = anew.write(KEY, &holder(1).to_json(), 99);
    tenure.listed(back);
    assert_eq!(tenure.seen(anew.entries.get(KEY), NOW), Standing::Ours);
    assert_eq!(renew(&mut tenure, &mut anew, due), Some(Progress::Renewed));
    // So is one that we wrote before we published what we do now.
    let mut tenure = begun_late();
    let back = anew.write(KEY, r#"{"PublicIP":"192.0.2.1","BackendType":"host-gw"}"#, 99);
    tenure.listed(back);
    assert_eq!(tenure.seen(anew.entries.get(KEY), NOW), Standing::Contested(Duration::ZERO));
    assert_eq!(renew(&mut tenure, &mut anew, NOW), Some(Progress::Restored));
}

/// Whoever never gives in gets an answer a minute in the end, and one at once after a calm; a reservation likewise.
#[test]
fn a_fight_gets_slower_and_is_forgotten() {
    for lease in [99, 0] {
        let mut store = Store::default();
        let mut tenure = begun(&mut store, lease);
        let renewal = tenure.deadline();
        let mut now = Instant::ZERO;
        let mut contest = |tenure: &mut Tenure, now: &mut Instant| {
            store.write(KEY, "broken", 100);
            let Standing::Contested(pause) = tenure.seen(store.entries.get(KEY), *now) else {
                panic!("it is another's value")
            };
            *now = *now + pause;
            assert_eq!(tenure.deadline(), Some(*now));
            assert_eq!(renew(tenure, &mut store, *now), Some(Progress::Restored));
            assert_eq!(store.entries[KEY].value, holder(1).to_json().into_bytes());
            assert_eq!((store.entries[KEY].lease, tenure.deadline()), (lease, renewal));
            pause.as_secs()
        };
        let pauses: Vec<u64> = (0..10).map(|_| contest(&mut tenure, &mut now)).collect();
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        now = now + CALM;
        assert_eq!(contest(&mut tenure, &mut now), 0);
    }
}

/// etcd is away, or our etcd lease is gone, just then: the next attempt is a renewal; a reservation is written as it was.
#[test]
fn what_could_not_be_written_over_is_tried_again() {
    for (lease, next) in [(99, Progress::Renewed), (0, Progress::Restored)] {
        for answer in [Answer::Nothing, Answer::Unexpected] {
            let mut store = Store::default();
            let mut tenure = begun(&mut store, lease);
            store.write(KEY, "broken", 100);
            assert_eq!(tenure.seen(store.entries.get(KEY), NOW), Standing::Contested(Duration::ZERO));
            assert!(tenure.wake(NOW).is_some());
            assert_eq!(tenure.answer(&answer, NOW), Progress::Later);
            assert_eq!(tenure.deadline(), Some(NOW + RETRY));
            assert_eq!(renew(&mut tenure, &mut store, NOW + RETRY), Some(next.clone()));
            assert_eq!(store.entries[KEY].value, holder(1).to_json().into_bytes());
        }
    }
}

#[test]
fn a_margin_as_long_as_the_term_does_not_renew_without_pause() {
    let mut store = Store::default();
    let written = store.write(KEY, &holder(1).to_json(), 9);
    let acquired = Acquired { subnets: KEY.parse().unwrap(), lease: 9, written, reused: false };
    for margin in [24 * HOUR, Duration::MAX] {
        let tenure = Tenure::new(acquired, holder(1), margin, Instant::ZERO);
        assert_eq!(tenure.deadline(), Some(Instant::ZERO + RETRY));
    }
}

/// Answers that get lost, news that come late: as long as nobody else writes, the lease is never given up and its key
/// always renewed in time.
#[test]
fn a_lease_that_nobody_touches_is_kept() {
    for seed in 0..100 {
        let mut rng = Rng::seeded(seed);
        let mut store = Store::default();
        let mut tenure = begun(&mut store, 99);
        let mut pending: Option<Request> = None;
        let mut now = Instant::ZERO;
        let mut renewed = 0;
        while renewed < 5 {
            if pending.is_none() {
                now = tenure.deadline().expect("something is always due").max(now);
                pending = tenure.wake(now);
            }
            let request = pending.take().expect("it was due");
            let answer = match rng.below(4) {
                0 => Answer::Nothing,
                1 => {
                    store.handle(&request);
                    Answer::Nothing
                }
                _ => store.handle(&request),
            };
            match tenure.answer(&answer, now) {
                Progress::Ask(next) => pending = Some(next),
                Progress::Renewed => renewed += 1,
                Progress::Later => {}
                Progress::Restored => panic!("nobody else writes"),
            }
            if rng.chance(1, 2) {
                assert_eq!(tenure.seen(store.entries.get(KEY), NOW), Standing::Ours, "seed {seed}");
            }
            assert!(
                now < tenure.ends().unwrap(),
                "seed {seed}: an hour of margin is enough for sixty attempts"
            );
        }
    }
}
