//! Acquisition against a registry in memory: every path by hand, then many hosts at once with answers that get lost.

use std::collections::BTreeMap;

use super::*;
use crate::registry::model::Store;

const VXLAN: &str = r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}"#;
/// Three subnets.
const SMALL: &str = r#"{"Network":"10.5.0.0/24","SubnetLen":26}"#;

fn wish(network: &str, host: u8, previous: Option<&str>) -> Wish {
    let holder = format!(
        r#"{{"PublicIP":"192.0.2.{host}","BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"02:00:00:00:00:{host:02x}"}}}}"#
    );
    Wish {
        network: Network::parse(network.as_bytes()).unwrap(),
        holder: Holder::parse(holder.as_bytes()).unwrap(),
        previous: previous.map(|key| key.parse().unwrap()),
        only: None,
    }
}

/// Runs one acquisition to its end.
fn run(store: &mut Store, wish: Wish) -> (Result<Acquired, Failed>, Vec<Request>) {
    let mut acquisition = Acquisition::new(wish, 3);
    let mut asked = vec![Request::List];
    loop {
        let request = asked.last().unwrap();
        match acquisition.next(store.handle(request)) {
            Step::Ask(request) => asked.push(request),
            Step::Acquired(acquired) => return (Ok(acquired), asked),
            Step::Failed(failed) => return (Err(failed), asked),
        }
    }
}

fn acquired(store: &mut Store, wish: Wish) -> Acquired {
    run(store, wish).0.unwrap()
}

#[test]
fn a_new_host_gets_a_free_subnet_under_an_etcd_lease() {
    let mut store = Store::default();
    let (outcome, asked) = run(&mut store, wish(VXLAN, 1, None));
    let acquired = outcome.unwrap();
    let key = acquired.subnets.to_string();
    let value = r#"{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}"#;
    let create = Request::Create { key: key.clone(), value: value.to_owned(), lease: acquired.lease };
    assert_eq!(asked, [Request::List, Request::Grant, create]);
    assert!(!acquired.reused && acquired.lease != 0);
    assert_eq!(store.entries[&key].written, acquired.written);
}

#[test]
fn a_host_that_was_there_gets_what_it_had() {
    let mut store = Store::default();
    let first = acquired(&mut store, wish(VXLAN, 1, None));
    let again = acquired(&mut store, wish(VXLAN, 1, None));
    assert_eq!((again.subnets, again.reused), (first.subnets, true));
    assert_ne!(again.lease, first.lease, "the lease is a fresh one");
    assert_eq!(store.entries.len(), 1);
}

#[test]
fn the_subnet_file_is_heeded_if_it_can_be() {
    let mut store = Store::default();
    assert_eq!(acquired(&mut store, wish(VXLAN, 1, Some("10.5.9.0-24"))).subnets.to_string(), "10.5.9.0-24");
    for unfit in ["10.5.9.0-24", "10.5.8.0-23", "10.5.0.0-24", "10.6.9.0-24", "10.5.7.0-24&fd00::-64"] {
        let second = acquired(&mut store, wish(VXLAN, 2, Some(unfit)));
        assert_ne!(second.subnets.to_string(), unfit);
        store.entries.remove(&second.subnets.to_string());
    }
}

#[test]
fn a_lease_that_no_longer_fits_is_deleted_and_another_taken() {
    let mut store = Store::default();
    let old = acquired(&mut store, wish(r#"{"Network":"10.6.0.0/16"}"#, 1, None));
    let (outcome, asked) = run(&mut store, wish(VXLAN, 1, None));
    assert!(asked.contains(&Request::Delete { key: old.subnets.to_string(), written: old.written }));
    assert!(!outcome.unwrap().reused);
    assert_eq!(store.entries.len(), 1);
}

#[test]
fn a_reservation_is_taken_and_stays_one() {
    let mut store = Store::default();
    store.write("10.5.20.0-24", r#"{"PublicIP":"192.0.2.1"}"#, 0);
    let (outcome, asked) = run(&mut store, wish(VXLAN, 1, None));
    let acquired = outcome.unwrap();
    assert_eq!(
        (acquired.subnets.to_string().as_str(), acquired.lease, acquired.reused),
        ("10.5.20.0-24", 0, true)
    );
    assert!(!asked.contains(&Request::Grant));
    assert_eq!(store.entries["10.5.20.0-24"].lease, 0);
}

#[test]
fn with_a_reservation_the_lease_of_before_goes() {
    let mut store = Store::default();
    let before = acquired(&mut store, wish(VXLAN, 1, Some("10.5.9.0-24")));
    store.write("10.5.20.0-24", r#"{"PublicIP":"192.0.2.1"}"#, 0);
    let after = acquired(&mut store, wish(VXLAN, 1, None));
    assert_eq!((after.subnets.to_string().as_str(), after.lease), ("10.5.20.0-24", 0));
    assert!(!store.entries.contains_key(&before.subnets.to_string()), "others would go on with it");
}

#[test]
fn both_families_are_leased_together() {
    let network = r#"{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48"}"#;
    let mut store = Store::default();
    let acquired = acquired(&mut store, wish(network, 1, Some("10.5.3.0-24&fd00:0:0:3::-64")));
    assert_eq!(acquired.subnets.to_string(), "10.5.3.0-24&fd00:0:0:3::-64");
}

#[test]
fn without_a_free_subnet_there_is_none() {
    let mut store = Store::default();
    for host in 1..=3 {
        acquired(&mut store, wish(SMALL, host, None));
    }
    assert_eq!(run(&mut store, wish(SMALL, 4, None)).0, Err(Failed::OutOfSubnets));
    // What a broken lease has in its key is taken all the same.
    let mut store = Store::default();
    store.write("10.5.0.0-24", "broken", 0);
    assert_eq!(run(&mut store, wish(SMALL, 1, None)).0, Err(Failed::OutOfSubnets));
}

#[test]
fn who_is_always_outrun_gives_up_after_ten_attempts_and_leaves_nothing() {
    let mut acquisition = Acquisition::new(wish(VXLAN, 1, None), 3);
    let (mut lists, mut open) = (1, 0);
    let mut step = acquisition.next(Answer::Listed(Vec::new()));
    let failed = loop {
        step = match step {
            Step::Ask(Request::List) => {
                lists += 1;
                acquisition.next(Answer::Listed(Vec::new()))
            }
            Step::Ask(Request::Grant) => {
                open += 1;
                acquisition.next(Answer::Granted(7))
            }
            Step::Ask(Request::Revoke { lease: 7 }) => {
                open -= 1;
                acquisition.next(Answer::Revoked)
            }
            Step::Ask(_) => acquisition.next(Answer::Unexpected),
            Step::Failed(failed) => break failed,
            Step::Acquired(acquired) => panic!("{acquired:?}"),
        };
    };
    assert_eq!((failed, lists, open), (Failed::Outrun, ATTEMPTS_MAX, 0));
}

/// Hosts take turns by chance, and every fifth answer gets lost, before or after the request was done.
#[test]
fn hosts_at_once_get_disjoint_subnets_whatever_answers_get_lost() {
    for seed in 0..200 {
        let mut rng = Rng::seeded(seed);
        let mut store = Store::default();
        let network = r#"{"Network":"10.5.0.0/19"}"#;
        let mut hosts: Vec<(Acquisition, Option<Request>)> = (1..=12)
            .map(|host| {
                (
                    Acquisition::new(wish(network, host, Some("10.5.9.0-24")), seed + u64::from(host)),
                    Some(Request::List),
                )
            })
            .collect();
        let mut got = BTreeMap::new();
        let mut steps = 0;
        while hosts.iter().any(|(_, request)| request.is_some()) {
            steps += 1;
            assert!(steps < 10_000, "seed {seed}: they go on for ever");
            let host = usize::try_from(rng.below(12)).unwrap();
            let (acquisition, pending) = &mut hosts[host];
            let Some(request) = pending.take() else { continue };
            let answer = match rng.below(10) {
                0 => Answer::Nothing,
                1 => {
                    store.handle(&request);
                    Answer::Nothing
                }
                _ => store.handle(&request),
            };
            match acquisition.next(answer) {
                Step::Ask(request) => *pending = Some(request),
                Step::Acquired(acquired) => drop(got.insert(host, acquired.subnets)),
                // Among twelve that all want the same one at first, the unluckiest may lose ten times.
                Step::Failed(failed) => assert_eq!(failed, Failed::Outrun, "seed {seed}"),
            }
        }
        let subnets: Vec<Subnets> = got.values().copied().collect();
        for (index, one) in subnets.iter().enumerate() {
            assert!(!subnets[..index].iter().any(|other| other.overlap(*one)), "seed {seed}: {subnets:?}");
        }
        assert!(got.len() >= 11, "seed {seed}: {} of 12", got.len());
    }
}
