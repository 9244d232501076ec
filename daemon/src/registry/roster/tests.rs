//! What follows from leases: good, broken, foreign, in conflict, in any order.

use wire::rng::Rng;

use super::*;

const VXLAN: &str = r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}"#;
const DUAL: &str =
    r#"{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","Backend":{"Type":"vxlan"}}"#;
const UDP: &str = r#"{"Network":"10.5.0.0/16"}"#;

fn roster(network: &str) -> Roster {
    Roster::new(Network::parse(network.as_bytes()).unwrap())
}

/// A vxlan lease of host 192.0.2.`host`, VTEP 2:0:0:0:0:`host`, created and written at these revisions.
fn entry(key: &str, host: u8, created: i64, written: i64) -> Entry {
    let value = format!(
        r#"{{"PublicIP":"192.0.2.{host}","PublicIPv6":"2001:db8::{host}","BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"02:00:00:00:00:{host:02x}"}},"BackendV6Data":{{"VNI":1,"VtepMAC":"02:00:00:00:06:{host:02x}"}}}}"#
    );
    Entry { key: key.to_owned(), value: value.into_bytes(), created, written, lease: 7 }
}

fn raw(key: &str, value: &str) -> Entry {
    Entry { value: value.as_bytes().to_vec(), ..entry(key, 1, 1, 1) }
}

fn holder(host: u8) -> Holder {
    Holder::parse(&entry("", host, 0, 0).value).unwrap()
}

fn said(view: &View) -> (Vec<String>, Vec<String>) {
    let peer = |peer: &Peer| {
        let mac = peer.mac.map(|mac| format!(" {mac}")).unwrap_or_default();
        format!("{} {}{mac}", peer.subnet, peer.endpoint)
    };
    let named = |(key, broken): &(String, Broken)| format!("{key} {}", broken.name());
    (view.peers.iter().map(peer).collect(), view.named.iter().map(named).collect())
}

fn check(roster: &Roster, peers: &[&str], named: &[&str]) {
    let (said_peers, said_named) = said(&roster.view());
    assert_eq!(
        (said_peers, said_named),
        (peers.iter().map(ToString::to_string).collect(), named.iter().map(ToString::to_string).collect())
    );
}

#[test]
fn leases_become_peers_and_our_own_does_not() {
    let mut roster = roster(VXLAN);
    roster.reset([
        entry("10.5.2.0-24", 2, 2, 2),
        entry("10.5.1.0-24", 1, 1, 1),
        entry("10.5.3.0-24", 3, 3, 3),
    ]);
    roster.set_own(Some(("10.5.1.0-24".parse().unwrap(), holder(1))));
    assert_eq!(roster.own().map(|own| own.written), Some(1));
    check(
        &roster,
        &["10.5.2.0/24 192.0.2.2 02:00:00:00:00:02", "10.5.3.0/24 192.0.2.3 02:00:00:00:00:03"],
        &[],
    );
    roster.delete("10.5.2.0-24");
    roster.put(entry("10.5.3.0-24", 4, 3, 9));
    check(&roster, &["10.5.3.0/24 192.0.2.4 02:00:00:00:00:04"], &[]);
    roster.delete("10.5.1.0-24");
    assert_eq!(roster.own(), None);
}

#[test]
fn both_families_have_peers_of_their_own() {
    let mut roster = roster(DUAL);
    roster.reset([entry("10.5.2.0-24&fd00:0:0:2::-64", 2, 2, 2)]);
    let peers = ["10.5.2.0/24 192.0.2.2 02:00:00:00:00:02", "fd00:0:0:2::/64 2001:db8::2 02:00:00:00:06:02"];
    check(&roster, &peers, &[]);
}

#[test]
fn a_family_that_the_network_lacks_is_not_looked_at() {
    let mut roster = roster(UDP);
    roster.reset([raw("10.5.2.0-24&fe80::-64", r#"{"PublicIP":"192.0.2.2","PublicIPv6":null}"#)]);
    check(&roster, &["10.5.2.0/24 192.0.2.2"], &[]);
}

#[test]
fn what_cannot_be_used_is_named_and_counted_and_blocks_nothing() {
    let mut roster = roster(VXLAN);
    roster.set_own(Some(("10.5.1.0-24".parse().unwrap(), holder(1))));
    let without_vtep = r#"{"PublicIP":"192.0.2.9","BackendType":"vxlan"}"#;
    roster.reset([
        entry("10.5.1.128-25", 8, 1, 1),
        entry("10.5.10.0-24", 1, 1, 1),
        entry("10.5.2.0-24", 2, 2, 2),
        entry("10.5.3.7-24", 3, 3, 3),
        entry("10.6.0.0-24", 6, 3, 3),
        entry("0.0.0.0-0", 7, 3, 3),
        raw("10.5.4.0-24", "not JSON"),
        raw("10.5.5.0-24", r#"{"PublicIP":"192.0.2.5"}"#),
        raw("10.5.6.0-24", &without_vtep.replace("192.0.2.9", "0.0.0.0")),
        raw("10.5.7.0-24", without_vtep),
        raw("config", "{}"),
    ]);
    check(
        &roster,
        &["10.5.2.0/24 192.0.2.2 02:00:00:00:00:02"],
        &[
            "0.0.0.0-0 registry.outside",
            "10.5.1.128-25 registry.overlaps-ours",
            "10.5.10.0-24 registry.our-address",
            "10.5.3.7-24 registry.host-bits",
            "10.5.4.0-24 registry.value",
            "10.5.5.0-24 registry.backend",
            "10.5.6.0-24 registry.public-ip",
            "10.5.7.0-24 registry.vtep",
            "10.6.0.0-24 registry.outside",
            "config registry.key",
        ],
    );
    roster.put(raw("more", ""));
    let view = roster.view();
    assert_eq!((view.named.len(), view.refused[&Broken::Key]), (NAMED_MAX, 2), "all are counted, some named");
}

#[test]
fn the_older_of_two_claims_and_the_newer_of_two_leases_of_a_host_hold() {
    let mut roster = roster(VXLAN);
    // Host 9 claims a part of host 2's, and all that is around host 3's.
    roster.reset([
        entry("10.5.2.0-24", 2, 2, 50),
        entry("10.5.2.128-25", 9, 3, 60),
        entry("10.5.3.0-24", 3, 4, 4),
        entry("10.5.2.0-23", 10, 5, 5),
    ]);
    let peers = ["10.5.2.0/24 192.0.2.2 02:00:00:00:00:02", "10.5.3.0/24 192.0.2.3 02:00:00:00:00:03"];
    check(&roster, &peers, &["10.5.2.0-23 registry.overlaps", "10.5.2.128-25 registry.overlaps"]);
    // Host 3 got another subnet; its old key is still there.
    roster.reset([entry("10.5.3.0-24", 3, 4, 4), entry("10.5.7.0-24", 3, 9, 9)]);
    check(&roster, &["10.5.7.0/24 192.0.2.3 02:00:00:00:00:03"], &["10.5.3.0-24 registry.superseded"]);
    // A cloned machine has another address and the same VTEP.
    let clone = String::from_utf8(entry("", 2, 0, 0).value).unwrap().replace("192.0.2.2", "192.0.2.4");
    roster.reset([entry("10.5.2.0-24", 2, 2, 2), Entry { created: 3, ..raw("10.5.4.0-24", &clone) }]);
    check(&roster, &["10.5.2.0/24 192.0.2.2 02:00:00:00:00:02"], &["10.5.4.0-24 registry.same-vtep"]);
}

/// Behind a NAT we are known by another address than we listen at. A lease that names that one, our own of before, say, cannot
/// be a peer's.
#[test]
fn no_peer_listens_where_we_do() {
    let mut roster = roster(VXLAN).with_locals(vec!["192.0.2.3".parse().unwrap()]);
    roster.set_own(Some(("10.5.1.0-24".parse().unwrap(), holder(1))));
    roster.reset([entry("10.5.2.0-24", 2, 2, 2), entry("10.5.3.0-24", 3, 3, 3)]);
    check(&roster, &["10.5.2.0/24 192.0.2.2 02:00:00:00:00:02"], &["10.5.3.0-24 registry.our-address"]);
}

/// An operator writes a reservation while its host runs with the lease that it has.
#[test]
fn a_reservation_that_waits_for_its_host_cuts_nobody_off() {
    let mut roster = roster(VXLAN);
    let reservation = Entry { lease: 0, ..entry("10.5.7.0-24", 3, 9, 9) };
    roster.reset([entry("10.5.3.0-24", 3, 4, 4), reservation]);
    check(&roster, &["10.5.3.0/24 192.0.2.3 02:00:00:00:00:03"], &["10.5.7.0-24 registry.superseded"]);
    roster.delete("10.5.3.0-24");
    check(&roster, &["10.5.7.0/24 192.0.2.3 02:00:00:00:00:03"], &[]);
}

#[test]
fn a_full_roster_counts_what_it_does_not_keep() {
    let mut roster = roster(UDP);
    let key = |number: usize| format!("key {number}");
    roster.reset((0..LEASES_MAX + 3).map(|number| raw(&key(number), "")));
    roster.put(raw(&key(7), "known ones are still written"));
    assert_eq!(roster.view().refused[&Broken::TooMany], 3);
    roster.reset([]);
    assert_eq!(roster.view(), View::default());
}

#[test]
fn the_oldest_leases_count_when_there_are_more_hosts_than_tunnels() {
    let mut roster = roster(r#"{"Network":"10.0.0.0/8"}"#);
    roster.reset((0..u16::try_from(PEERS_MAX + 2).unwrap()).map(|host| {
        let [high, low] = host.to_be_bytes();
        let value = format!(r#"{{"PublicIP":"198.18.{high}.{low}"}}"#);
        let key = format!("10.{high}.{low}.0-24");
        Entry { created: -i64::from(host), ..raw(&key, &value) }
    }));
    let view = roster.view();
    assert_eq!((view.peers.len(), view.refused[&Broken::TooMany]), (PEERS_MAX, 2));
    assert!(view.named.contains(&("10.0.0.0-24".to_owned(), Broken::TooMany)), "{:?}", view.named);
}

/// Whatever came before, in whatever order: only what is there counts.
#[test]
fn the_view_follows_from_the_leases_alone() {
    let mut rng = Rng::seeded(11);
    let mut edited = roster(VXLAN);
    let mut there: BTreeMap<String, Entry> = BTreeMap::new();
    for revision in 1..2000 {
        let low = |rng: &mut Rng, bound| rng.below(bound).to_le_bytes()[0];
        let key = format!("10.5.{}.0-{}", low(&mut rng, 8) * 2, 23 + low(&mut rng, 2));
        if rng.chance(1, 3) {
            edited.delete(&key);
            there.remove(&key);
        } else {
            let created = there.get(&key).map_or(revision, |old| old.created);
            let new = entry(&key, low(&mut rng, 6), created, revision);
            edited.put(new.clone());
            there.insert(key, new);
        }
        let mut fresh = roster(VXLAN);
        let mut all: Vec<Entry> = there.values().cloned().collect();
        if rng.chance(1, 2) {
            all.reverse();
        }
        fresh.reset(all);
        let view = edited.view();
        assert_eq!(view, fresh.view());
        let pairs = view.peers.iter().flat_map(|a| view.peers.iter().map(move |b| (a, b)));
        for (a, b) in pairs.filter(|(a, b)| a != b) {
            assert!(
                !a.subnet.overlaps(b.subnet) && a.endpoint != b.endpoint && a.mac != b.mac,
                "{a:?} {b:?}"
            );
        }
    }
}
