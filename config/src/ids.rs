//! Which id each name has, across changes: a port or network keeps its id for as long as it exists.
//!
//! Ids are dense: a new name takes the lowest free one. One that was given up in a change is not given out in the
//! same change, unless there is no other, so that one change rarely turns an id from one port into another; when it
//! is given out later its serial has grown, by which the switch knows that it is another port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vrouter::{Protocol, Publish};

/// Ids of ports, networks and underlays by name, and of what is published. A fresh one gives ids in order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ids {
    pub(crate) ports: Table,
    pub(crate) domains: Table,
    /// By their local ends.
    pub(crate) underlays: Table,
    pub(crate) publishes: Publishes,
}

/// Ids of what is published. An entry that changes in anything is another one, whose connections are not the old one's;
/// but one that only begins or ends elsewhere leads the L4 ports that both have where they led, and goes on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Publishes {
    /// The entries, whose ids are those they have.
    known: Vec<Publish>,
    /// What was given out last.
    last: u32,
}

impl Publishes {
    /// Gives each of `entries` the id that it had, or one that none has. Where an entry becomes several, the first of them
    /// goes on; where several become one, that of which most is left.
    pub(crate) fn assign(&mut self, entries: &mut [Publish]) {
        let known = std::mem::take(&mut self.known);
        let before: BTreeMap<(Way, u16), &Publish> =
            known.iter().map(|entry| ((way(entry), entry.l4_port_first), entry)).collect();
        let mut used: BTreeSet<u32> = known.iter().map(|entry| entry.id).collect();
        let mut goes_on = BTreeSet::new();
        let mut changed = Vec::new();
        for entry in entries.iter_mut() {
            match before.get(&(way(entry), entry.l4_port_first)) {
                Some(same) if same.l4_port_last == entry.l4_port_last => {
                    entry.id = same.id;
                    goes_on.insert(same.id);
                }
                Some(_) | None => changed.push(entry),
            }
        }
        for entry in changed {
            // Those of one way share no L4 port, so they are in the order of their ends too.
            let until = before.range((way(entry), 0)..=(way(entry), entry.l4_port_last)).rev();
            let common = until.map(|(_, old)| *old).take_while(|old| entry.l4_port_first <= old.l4_port_last);
            let kept = common.filter(|old| !goes_on.contains(&old.id)).max_by_key(|old| {
                old.l4_port_last.min(entry.l4_port_last) - old.l4_port_first.max(entry.l4_port_first)
            });
            entry.id = kept.map_or_else(|| self.unused(&used), |old| old.id);
            goes_on.insert(entry.id);
            used.insert(entry.id);
        }
        self.known = entries.to_vec();
    }

    /// The next id that is not `used`.
    fn unused(&mut self, used: &BTreeSet<u32>) -> u32 {
        self.last = (1..=u32::MAX)
            .map(|step| self.last.wrapping_add(step))
            .find(|id| !used.contains(id))
            .expect("there are fewer entries than ids");
        self.last
    }
}

/// What an entry does with each of its L4 ports: of which protocol and address it is, where it leads, and by how much it
/// moves the L4 port.
type Way = (Protocol, Option<IpAddr>, IpAddr, u16);

fn way(entry: &Publish) -> Way {
    let by = entry.to_l4_port_first.wrapping_sub(entry.l4_port_first);
    (entry.protocol, entry.listen, entry.to, by)
}

/// Ids of one kind of thing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Table {
    by_name: BTreeMap<String, u16>,
    /// By id, how often it has been given out before; as long as the ids ever given out.
    serials: Vec<u32>,
}

impl Table {
    /// From now on exactly `names` have ids, all below `ids_max`; those that had one keep it. The checks have seen to
    /// it that there are at most `ids_max` names. Returns the ids that went from one name to another at once.
    pub(crate) fn assign(&mut self, names: &BTreeSet<&str>, ids_max: usize) -> BTreeSet<u16> {
        let before: BTreeSet<u16> = self.by_name.values().copied().collect();
        self.by_name.retain(|name, _| names.contains(name.as_str()));
        let kept: BTreeSet<u16> = self.by_name.values().copied().collect();

        let ids = || (0..=u16::MAX).take(ids_max);
        let unused = ids().filter(|id| !before.contains(id));
        let given_up = ids().filter(|id| before.contains(id) && !kept.contains(id));
        let mut free = unused.chain(given_up);
        let mut passed_on = BTreeSet::new();
        for name in names {
            if !self.by_name.contains_key(*name) {
                let id = free.next().expect("there are no more names than ids");
                self.by_name.insert((*name).to_owned(), id);
                self.give_out(id);
                if before.contains(&id) {
                    passed_on.insert(id);
                }
            }
        }
        passed_on
    }

    /// The id of a name that [`Table::assign`] was told.
    pub(crate) fn id(&self, name: &str) -> u16 {
        *self.by_name.get(name).expect("every name of the configuration has been given an id")
    }

    /// How often the id had been given out before it got the name that it has.
    pub(crate) fn serial(&self, id: u16) -> u32 {
        self.serials.get(usize::from(id)).copied().unwrap_or(0)
    }

    /// Counts the id as given out once more: what the switch knows of it no longer holds.
    pub(crate) fn give_out(&mut self, id: u16) {
        let index = usize::from(id);
        match self.serials.get_mut(index) {
            Some(serial) => *serial = serial.wrapping_add(1),
            None => self.serials.resize(index + 1, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assign(table: &mut Table, names: &[&str]) -> Vec<(u16, u32)> {
        table.assign(&names.iter().copied().collect(), 4);
        names.iter().map(|name| (table.id(name), table.serial(table.id(name)))).collect()
    }

    #[test]
    fn names_keep_their_ids_and_reused_ids_get_another_serial() {
        let mut table = Table::default();
        assert_eq!(assign(&mut table, &["b", "d"]), [(0, 0), (1, 0)]);
        assert_eq!(assign(&mut table, &["a", "d"]), [(2, 0), (1, 0)], "not the id that b gives up");
        assert_eq!(
            assign(&mut table, &["a", "c", "d"]),
            [(2, 0), (0, 1), (1, 0)],
            "b's id, under a new serial"
        );
        assert_eq!(assign(&mut table, &["a", "c", "d", "e"]), [(2, 0), (0, 1), (1, 0), (3, 0)]);
        assert_eq!(assign(&mut table, &["a", "c", "d", "f"])[3], (3, 1), "there is no other");
    }

    #[test]
    fn a_published_run_goes_on_where_it_leads_l4_ports_as_before() {
        let run = |first, last, to_l4_port_first| Publish {
            id: 0,
            listen: None,
            protocol: Protocol::Tcp,
            l4_port_first: first,
            l4_port_last: last,
            to: [10, 0, 0, 2].into(),
            to_l4_port_first,
        };
        let mut table = Publishes::default();
        let mut ids = |mut entries: Vec<Publish>| -> Vec<u32> {
            table.assign(&mut entries);
            entries.iter().map(|entry| entry.id).collect()
        };
        assert_eq!(ids(vec![run(8080, 8080, 80)]), [1]);
        assert_eq!(ids(vec![run(8080, 8081, 80)]), [1], "wider");
        assert_eq!(ids(vec![run(8070, 8089, 70)]), [1], "to both sides");
        assert_eq!(ids(vec![run(8085, 8089, 85), run(8070, 8079, 70)]), [1, 2], "two of one");
        assert_eq!(ids(vec![run(8060, 8089, 60)]), [2], "one of two, the longer");
        assert_eq!(ids(vec![run(8060, 8089, 61)]), [3], "each L4 port leads elsewhere");
        assert_eq!(ids(vec![run(8090, 8099, 91)]), [4], "they share none");
        let udp = Publish { protocol: Protocol::Udp, ..run(8090, 8099, 91) };
        assert_eq!(ids(vec![udp, run(8090, 8091, 91)]), [5, 4], "another protocol");
    }
}
