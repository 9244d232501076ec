//! Automatic addresses across restarts: who keeps what, against a model that looks at every address every time.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use config::{Addresses, Config, Document, LEASES_MAX, Leases, NetworkSpec, PortSpec, check_leased};
use proptest::prelude::*;
use wire::Cidr;

const AUTO: &str = "network = \"a\"\naddress = \"auto\"\n";

fn network(subnet: &str) -> String {
    format!("[network.a]\nsubnet = [{subnet}]\ngateway = [\"172.16.0.1\"]\n")
}

#[track_caller]
fn settle(text: &str, before: &Leases) -> (BTreeMap<String, Vec<String>>, Leases) {
    let (config, leases) = check_leased("x.toml", text, before).unwrap_or_else(|report| panic!("{report}"));
    let addresses = |port: &PortSpec| port.address.given().iter().map(ToString::to_string).collect();
    (config.port.iter().map(|(name, port)| (name.clone(), addresses(port))).collect(), leases)
}

fn ports(names: &[&str]) -> String {
    names.iter().map(|name| format!("[port.{name}]\n{AUTO}")).collect()
}

#[test]
fn a_port_keeps_its_addresses_whatever_comes_and_goes_around_it() {
    let network = network("\"172.16.0.0/16\", \"fd00::/64\"");
    let (given, leases) = settle(&(network.clone() + &ports(&["b", "a", "c"])), &Leases::default());
    assert_eq!(given["b"], ["172.16.0.2/16", "fd00::1/64"], "first in the file");
    assert_eq!(given["a"], ["172.16.0.3/16", "fd00::2/64"]);

    let (given, leases) = settle(&(network.clone() + &ports(&["new", "c"])), &leases);
    assert_eq!(given["c"], ["172.16.0.4/16", "fd00::3/64"], "it stays");
    assert_eq!(given["new"], ["172.16.0.5/16", "fd00::4/64"], "a and b may come back");
    assert_eq!(leases.len(), 4);

    let taken =
        format!("[port.given]\nnetwork = \"a\"\naddress = [\"172.16.0.2/16\"]\n{}", ports(&["a", "b"]));
    let (given, _) = settle(&(network.clone() + &taken), &leases);
    assert_eq!(given["a"], ["172.16.0.3/16", "fd00::2/64"], "as before");
    assert_eq!(given["b"], ["172.16.0.6/16", "fd00::1/64"], "of the one that is gone a new one");
}

#[test]
fn what_routes_and_translations_name_is_given_to_nobody_who_has_not_got_it() {
    let network = network("\"172.16.0.0/29\", \"fd00::/64\"")
        .replace("\"172.16.0.1\"]", "\"172.16.0.1\", \"fd00::ffff\"]");
    let uplink = "[uplink]\nkind = \"nic\"\nifname = \"eth0\"\naddress = [\"192.0.2.7/24\", \"192.0.2.8/24\"]\ngateway = [\"192.0.2.1\"]\n";
    let named = "[[route]]\nto = \"10.0.0.0/8\"\nvia = [\"172.16.0.3\", \"172.16.0.5\"]\n[[route]]\nto = \"fd01::/64\"\nvia = [\"fd00::1\"]\n[[one_to_one]]\noutside = \"192.0.2.8\"\ninside = \"172.16.0.2\"\n";
    let (given, _) = settle(&(network.clone() + uplink + &ports(&["a", "b"]) + named), &Leases::default());
    assert_eq!(given["a"], ["172.16.0.4/29", "fd00::2/64"]);
    assert_eq!(given["b"], ["172.16.0.6/29", "fd00::3/64"]);
    let full = network.clone() + uplink + &ports(&["a", "b", "c"]) + named;
    assert!(check_leased("x.toml", &full, &Leases::default()).is_err(), "those four are not free");

    let (_, leases) = settle(&(network.clone() + uplink + &ports(&["a", "b"])), &Leases::default());
    let (given, _) = settle(&(network + uplink + &ports(&["a", "b"]) + named), &leases);
    assert_eq!(given["a"], ["172.16.0.2/29", "fd00::1/64"], "it is a that is meant");
}

#[test]
fn a_short_pool_takes_back_what_absent_ports_had() {
    let network = network("\"172.16.0.0/29\"");
    let (_, leases) = settle(&(network.clone() + &ports(&["a", "b", "c"])), &Leases::default());
    let (given, leases) = settle(&(network.clone() + &ports(&["c", "d", "e", "f"])), &leases);
    assert_eq!(given["c"], ["172.16.0.4/29"]);
    let others = ["d", "e", "f"].map(|port| given[port][0].clone());
    assert_eq!(others, ["172.16.0.5/29", "172.16.0.6/29", "172.16.0.2/29"], "a's, the lowest, goes last");
    assert!(leases.iter().any(|(port, _)| port == "b") && !leases.iter().any(|(port, _)| port == "a"));

    let full = network + &ports(&["a", "b", "c", "d", "e", "f"]);
    let report = check_leased("x.toml", &full, &leases).unwrap_err().to_string();
    assert_eq!(report, "x.toml:6:11: network \"a\" has no free address left; give it a larger subnet");
}

#[test]
fn a_lease_ends_where_the_pool_no_longer_has_it() {
    let wide = network("\"172.16.0.0/16\"");
    let (_, leases) = settle(&(wide.clone() + &ports(&["a"])), &Leases::default());
    for (keys, expected) in [
        ("ip_range = [\"172.16.8.0/24\"]\n", "172.16.8.0/16"),
        ("reserved = [\"172.16.0.2\", \"172.16.0.4/30\"]\n", "172.16.0.3/16"),
        ("", "172.16.0.2/16"),
    ] {
        let (given, _) = settle(&(wide.clone() + keys + &ports(&["a"])), &leases);
        assert_eq!(given["a"], [expected], "{keys}");
    }
    let moved = "[network.b]\nsubnet = [\"172.17.0.0/16\"]\n[port.a]\nnetwork = \"b\"\naddress = \"auto\"\n";
    let (given, leases) = settle(moved, &leases);
    assert_eq!(given["a"], ["172.17.0.1/16"]);
    assert_eq!(leases.iter().map(|(_, lease)| lease.network.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn leases_are_json_and_limited() {
    let (_, leases) = settle(&(network("\"172.16.0.0/16\"") + &ports(&["a"])), &Leases::default());
    let json = r#"{"a":{"network":"a","addresses":["172.16.0.2"]}}"#;
    assert_eq!(serde_json::to_string(&leases).unwrap(), json);
    assert_eq!(serde_json::from_str::<Leases>(json).unwrap(), leases);

    let many: BTreeMap<String, serde_json::Value> = (0..LEASES_MAX + 10)
        .map(|index| {
            (format!("p{index:06}"), serde_json::json!({"network": "gone", "addresses": ["10.0.0.1"]}))
        })
        .collect();
    let many: Leases = serde_json::from_value(serde_json::to_value(many).unwrap()).unwrap();
    let (given, leases) = settle(&(network("\"172.16.0.0/16\"") + &ports(&["a"])), &many);
    assert_eq!(given["a"], ["172.16.0.2/16"]);
    assert!(leases.len() <= LEASES_MAX);
}

/// What the leases must come to, address by address.
fn model(
    pool: &[IpAddr],
    fixed: &BTreeSet<IpAddr>,
    waiting: &BTreeSet<String>,
    before: &BTreeMap<String, IpAddr>,
) -> Option<BTreeMap<String, IpAddr>> {
    let mut given: BTreeMap<String, IpAddr> = BTreeMap::new();
    for port in waiting {
        if let Some(had) = before.get(port)
            && pool.contains(had)
            && !fixed.contains(had)
        {
            given.insert(port.clone(), *had);
        }
    }
    for port in waiting {
        if given.contains_key(port) {
            continue;
        }
        let is_free =
            |address: &&IpAddr| !fixed.contains(*address) && !given.values().any(|other| other == *address);
        let absent = |address: &&IpAddr| {
            before.iter().any(|(port, other)| other == *address && !waiting.contains(port))
        };
        let spared = pool.iter().filter(is_free).find(|address| !absent(address));
        let chosen = *spared.or_else(|| pool.iter().find(is_free))?;
        given.insert(port.clone(), chosen);
    }
    for (port, address) in before {
        let is_taken = fixed.contains(address) || given.values().any(|other| other == address);
        if !waiting.contains(port) && !is_taken {
            given.insert(port.clone(), *address);
        }
    }
    Some(given)
}

proptest! {
    #[test]
    fn leases_agree_with_the_model(
        steps in prop::collection::vec((any::<u16>(), prop::option::of(1..15_u8), any::<bool>()), 1..12),
    ) {
        let subnet: Cidr = "10.0.0.0/28".parse().unwrap();
        let (mut leases, mut before) = (Leases::default(), BTreeMap::new());
        for (present, given, ranged) in steps {
            let mut spec = NetworkSpec { subnet: vec![subnet], ..NetworkSpec::default() };
            if ranged {
                spec.ip_range = vec!["10.0.0.8/29".parse().unwrap()];
                spec.reserved = vec!["10.0.0.9".parse().unwrap()];
            }
            let mut document = Document::default();
            document.network.insert("a".to_owned(), spec);
            let port = |address| PortSpec { network: Some("a".to_owned()), address, ..PortSpec::default() };
            let waiting: BTreeSet<String> =
                (0..16).filter(|bit| present >> bit & 1 == 1).take(7).map(|bit| format!("p{bit}")).collect();
            document.port.extend(waiting.iter().map(|name| (name.clone(), port(Addresses::Auto))));
            let fixed: BTreeSet<IpAddr> = given.map(|host| IpAddr::from([10, 0, 0, host])).into_iter().collect();
            let cidrs = fixed.iter().map(|address| Cidr::new(*address, 28).unwrap()).collect();
            document.port.insert("fixed".to_owned(), port(Addresses::Given(cidrs)));
            let pool: Vec<IpAddr> = (1..15_u8)
                .filter(|host| !ranged || *host >= 8 && *host != 9)
                .map(|host| IpAddr::from([10, 0, 0, host]))
                .collect();

            let expected = model(&pool, &fixed, &waiting, &before);
            let (config, after) = match (Config::new_leased(document, &leases), &expected) {
                (Ok(settled), Some(_)) => settled,
                (Err(_), None) => continue,
                (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
            };
            let got: BTreeMap<String, IpAddr> =
                after.iter().map(|(port, lease)| (port.to_owned(), lease.addresses[0])).collect();
            prop_assert_eq!(Some(&got), expected.as_ref());
            for name in &waiting {
                prop_assert_eq!(config.port[name].address.given()[0].address(), got[name]);
            }
            (leases, before) = (after, got);
        }
    }
}
