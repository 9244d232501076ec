//! The table agrees with an obviously right one under random operations.

use proptest::prelude::*;

use super::*;
use crate::neighbour::table::{Class, Entry, NeighbourName, Table};

/// All entries in a row.
#[derive(Default)]
struct SlowTable {
    entries: Vec<Entry>,
}

impl SlowTable {
    fn count(&self, domain: Option<DomainId>) -> usize {
        self.unresolved(domain).count()
    }

    fn unresolved(&self, domain: Option<DomainId>) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| {
            domain.is_none_or(|domain| domain == entry.name.domain)
                && matches!(entry.state, NeighbourState::Incomplete | NeighbourState::Failed)
        })
    }

    fn make_room(&mut self, domain: DomainId) -> bool {
        if self.count(Some(domain)) < INCOMPLETE_MAX {
            return true;
        }
        let failed = self.unresolved(Some(domain)).filter(|entry| entry.state == NeighbourState::Failed);
        let Some(name) = failed.min_by_key(|entry| (entry.since, entry.name)).map(|entry| entry.name) else {
            return false;
        };
        self.entries.retain(|entry| entry.name != name);
        true
    }
}

#[derive(Clone, Copy, Debug)]
enum Do {
    /// Ask for it if it is not there and fits.
    Begin,
    Alter(NeighbourState),
    Remove,
    /// The next timer runs out.
    Expire,
}

fn operations() -> impl Strategy<Value = Vec<(Do, u16, u16)>> {
    use NeighbourState::{Delay, Failed, Incomplete, Probe, Reachable, Stale};
    // Most fail, so that the limit of a domain is met and the oldest failure yields.
    let states = prop_oneof![
        4 => Just(Failed),
        1 => prop::sample::select(&[Incomplete, Reachable, Stale, Delay, Probe][..]),
    ];
    let domain = prop_oneof![9 => Just(1_u16), 1 => Just(2_u16)];
    let what = prop_oneof![
        8 => Just(Do::Begin),
        4 => states.prop_map(Do::Alter),
        1 => Just(Do::Remove),
        1 => Just(Do::Expire),
    ];
    prop::collection::vec((what, domain, 0..600_u16), 0..2_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn the_table_agrees_with_a_slow_one(operations in operations()) {
        let (mut fast, mut slow) = (Table::new(0x5eed), SlowTable::default());
        for (step, (what, domain, number)) in operations.into_iter().enumerate() {
            let now = ms(u64::try_from(step).unwrap());
            let [high, low] = number.to_be_bytes();
            let address = if number % 2 == 0 {
                IpAddr::from([10, 0, high, low])
            } else {
                IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, number])
            };
            let name = NeighbourName { domain: DomainId(domain), address };
            let place = slow.entries.iter().position(|entry| entry.name == name);
            prop_assert_eq!(fast.find(name), place.map(|index| &slow.entries[index]));
            match what {
                Do::Begin if place.is_none() => {
                    let has_room = fast.make_room(name.domain, Class::Unresolved, true);
                    prop_assert_eq!(has_room, slow.make_room(name.domain));
                    if has_room {
                        let entry = Entry::new(name, NeighbourState::Incomplete, Mac::default(), now);
                        fast.insert(entry);
                        slow.entries.push(entry);
                    }
                }
                Do::Begin => {}
                Do::Alter(state) => {
                    let lasts = Duration::from_millis(u64::from(number) * 7);
                    fast.alter(name, |entry| entry.enter(state, now, lasts));
                    if let Some(index) = place {
                        slow.entries[index].enter(state, now, lasts);
                    }
                }
                Do::Remove => {
                    fast.remove(name);
                    slow.entries.retain(|entry| entry.name != name);
                }
                Do::Expire => {
                    let next = slow.entries.iter().map(|entry| (entry.due, entry.name)).min();
                    prop_assert_eq!(fast.next_due(), next);
                    if let Some((_, name)) = next {
                        fast.remove(name);
                        slow.entries.retain(|entry| entry.name != name);
                    }
                }
            }
            prop_assert_eq!(fast.count(Class::Unresolved), slow.count(None));
            let known = slow.entries.len() - slow.count(None);
            prop_assert_eq!(fast.count(Class::Known), known);
        }
        let mut names: Vec<NeighbourName> = slow.entries.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        prop_assert_eq!(fast.names(|_| true), names.clone());
        let (mut paged, mut next) = (Vec::new(), None);
        while paged.len() < names.len() {
            let (page, after) = fast.page(next, 7, |_| true);
            paged.extend(page);
            next = after;
        }
        prop_assert_eq!(paged, names);
        prop_assert_eq!(next, None);
    }
}
