//! Hosts as there are, and what flanneld would choose on them.

use super::super::flags::{Parsed, parse};
use super::*;

fn interface(index: u32, name: &str, addresses: &[&str]) -> Interface {
    let address = |text: &&str| {
        let (address, marks) = text.split_once(' ').unwrap_or((text, ""));
        let is_permanent = !marks.contains("dynamic");
        Address { address: address.parse().unwrap(), is_permanent, is_unfit: marks.contains("unfit") }
    };
    Interface { index, name: name.to_owned(), mtu: 1500, addresses: addresses.iter().map(address).collect() }
}

fn facts() -> Facts {
    Facts {
        interfaces: vec![
            interface(1, "lo", &["127.0.0.1", "::1"]),
            interface(2, "eth0", &["10.0.2.15 dynamic", "fe80::2"]),
            interface(
                3,
                "eth1",
                &[
                    "169.254.9.9",
                    "192.168.77.1 dynamic",
                    "192.168.77.9",
                    "fe80::3",
                    "2001:db8::9 unfit",
                    "2001:db8::3",
                ],
            ),
            interface(4, "wlan0", &["192.168.78.1"]),
        ],
        default_v4: Some(2),
        default_v6: Some(3),
        reach: None,
    }
}

fn check(facts: &Facts, line: &str, needs_v6: bool) -> String {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let Ok(Parsed::Run(options)) = parse(&words, |_| None) else { panic!("{line}") };
    match choose(facts, &options, needs_v6) {
        Err(why) => why,
        Ok(External { name, v4, v6, public_v4, public_v6, .. }) => {
            let pair = |v6: Option<Ipv6Addr>| v6.map(|v6| format!("+{v6}")).unwrap_or_default();
            format!("{name} {v4}{} as {public_v4}{}", pair(v6), pair(public_v6))
        }
    }
}

#[test]
fn the_choice_is_flannelds() {
    for (line, chosen) in [
        ("", "eth0 10.0.2.15 as 10.0.2.15"),
        ("-iface eth1", "eth1 192.168.77.9 as 192.168.77.9"),
        ("-iface eth9 -iface wlan0", "wlan0 192.168.78.1 as 192.168.78.1"),
        ("-iface 192.168.77.1", "eth1 192.168.77.1 as 192.168.77.1"),
        ("-iface-regex ^192\\.168\\.78", "wlan0 192.168.78.1 as 192.168.78.1"),
        ("-iface-regex ^eth[1-9]$", "eth1 192.168.77.9 as 192.168.77.9"),
        ("-iface eth9 -iface-regex wlan", "wlan0 192.168.78.1 as 192.168.78.1"),
        ("-public-ip 192.168.78.1", "wlan0 192.168.78.1 as 192.168.78.1"),
        ("-iface eth1 -public-ip 203.0.113.1", "eth1 192.168.77.9 as 203.0.113.1"),
    ] {
        assert_eq!(check(&facts(), line, false), chosen, "{line}");
    }
    let reached = Facts { reach: Some((4, Some("192.168.78.1".parse().unwrap()))), ..facts() };
    assert_eq!(check(&reached, "-iface-can-reach 192.0.2.1", false), "wlan0 192.168.78.1 as 192.168.78.1");
}

#[test]
fn a_network_with_ipv6_needs_an_address_of_it() {
    assert_eq!(
        check(&facts(), "-iface eth1", true),
        "eth1 192.168.77.9+2001:db8::3 as 192.168.77.9+2001:db8::3"
    );
    assert_eq!(check(&facts(), "-iface eth0", true), "eth0 10.0.2.15+fe80::2 as 10.0.2.15+fe80::2");
    assert_eq!(check(&facts(), "-iface wlan0", true), "failed to find IPv6 address for interface wlan0");
    let dual = check(&facts(), "-iface eth1 -public-ipv6 2001:db8::77", true);
    assert_eq!(dual, "eth1 192.168.77.9+2001:db8::3 as 192.168.77.9+2001:db8::77");
}

#[test]
fn who_cannot_choose_says_between_what() {
    for (line, words) in [
        ("-iface eth9", "failed to find an interface"),
        ("-iface-can-reach 192.0.2.1", "failed to find an interface"),
        ("-public-ip 203.0.113.1", "no interface has the public IP 203.0.113.1"),
    ] {
        let said = check(&facts(), line, false);
        assert!(said.contains(words) && said.contains("wlan0 (192.168.78.1)"), "{said}");
    }
    let alone = Facts { default_v4: None, default_v6: None, ..facts() };
    assert!(check(&alone, "", false).contains("unable to find default route"));
    let mut dead = facts();
    dead.interfaces[1].mtu = 0;
    assert!(check(&dead, "", false).contains("failed to determine MTU"));
}
