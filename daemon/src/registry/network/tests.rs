//! Documents as they are found in clusters, and what is wrong with others.

use super::*;

/// The pools' first, last and length, and the backend.
fn check(document: &str) -> String {
    let Network { v4, v6, backend, .. } = match Network::parse(document.as_bytes()) {
        Ok(network) => network,
        Err(error) => return error.to_string(),
    };
    let mut said: Vec<String> = [v4, v6]
        .iter()
        .flatten()
        .map(|pool| format!("{} {}-{}/{}", pool.network(), pool.first(), pool.last(), pool.subnet_len()))
        .collect();
    said.push(format!("{backend:?}"));
    said.join(" ")
}

#[test]
fn documents_mean_what_flanneld_takes_them_for() {
    for (document, meaning) in [
        (r#"{"Network":"10.5.0.0/16"}"#, "10.5.0.0/16 10.5.1.0-10.5.255.0/24 Udp { l4_port: 8285 }"),
        (
            r#"{"network":"10.5.9.9/16","BACKEND":{"TYPE":"UDP","port":7890}}"#,
            "10.5.0.0/16 10.5.1.0-10.5.255.0/24 Udp { l4_port: 7890 }",
        ),
        (
            r#"{"Network":"10.0.0.0/8","SubnetLen":20,"SubnetMin":"10.10.0.0","SubnetMax":"10.99.0.0","Backend":{"Type":"host-gw"}}"#,
            "10.0.0.0/8 10.10.0.0-10.99.0.0/20 HostGw",
        ),
        (
            r#"{"EnableIPv6":true,"Network":"10.244.0.0/16","IPv6Network":"fd00::/48","Backend":{"Type":"vxlan"}}"#,
            "10.244.0.0/16 10.244.1.0-10.244.255.0/24 fd00::/48 fd00:0:0:1::-fd00:0:0:ffff::/64 \
             Vxlan(Vxlan { vni: 1, l4_port: 8472, mtu: None, direct_routing: false })",
        ),
        (
            r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":7,"Port":4789,"MTU":1400,"DirectRouting":true,"Learning":false,"MacPrefix":"0E-2A"}}"#,
            "10.5.0.0/16 10.5.1.0-10.5.255.0/24 Vxlan(Vxlan { vni: 7, l4_port: 4789, mtu: Some(1400), direct_routing: true })",
        ),
        (
            r#"{"Network":"10.5.0.0/23","Backend":{"Type":"alloc"}}"#,
            "10.5.0.0/23 10.5.0.128-10.5.1.128/25 Alloc",
        ),
        (
            r#"{"Network":"10.5.0.0/22","SubnetLen":0,"Backend":{"Type":"alloc"}}"#,
            "10.5.0.0/22 10.5.1.0-10.5.3.0/24 Alloc",
        ),
        (
            r#"{"Network":"10.5.0.16/28","Backend":{"Type":"alloc"}}"#,
            "10.5.0.16/28 10.5.0.20-10.5.0.28/30 Alloc",
        ),
    ] {
        assert_eq!(check(document), meaning, "{document}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let v6 = |rest: &str| format!(r#"{{"Network":"10.0.0.0/8","EnableIPv6":true{rest}}}"#);
    for (document, words) in [
        ("", "document: is not a JSON object"),
        (r#""10.5.0.0/16""#, "document: is not a JSON object"),
        ("{}", "Network: please define it"),
        (r#"{"Network":7}"#, "Network: 7 is no string"),
        (r#"{"Network":"10.5.0.0"}"#, "Network: a prefix is"),
        (r#"{"Network":"fd00::/48"}"#, "other address family"),
        (r#"{"EnableIPv4":false,"Network":"10.5.0.0/16"}"#, "EnableIPv4: is false"),
        (r#"{"EnableIPv4":"yes","Network":"10.5.0.0/16"}"#, "EnableIPv4: \"yes\" is neither"),
        (r#"{"Network":"10.5.0.0/29"}"#, "too small: the longest useful prefix is /28"),
        (r#"{"Network":"10.5.0.0/16","SubnetLen":31}"#, "SubnetLen: 31 must be less than /31"),
        (r#"{"Network":"10.5.0.0/16","SubnetLen":17}"#, "at least four subnets"),
        (r#"{"Network":"10.5.0.0/31","SubnetLen":30}"#, "at least four subnets"),
        (r#"{"Network":"10.5.0.0/16","SubnetLen":-1}"#, "SubnetLen: -1 is no whole number"),
        (r#"{"Network":"10.5.0.0/16","SubnetLen":24.5}"#, "SubnetLen: 24.5 is no whole number"),
        (r#"{"Network":"10.5.0.0/16","SubnetMin":"10.6.0.0"}"#, "SubnetMin: 10.6.0.0 is not in the range"),
        (r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.1"}"#, "SubnetMin: 10.5.1.1 is not on a SubnetLen"),
        (r#"{"Network":"10.5.0.0/16","SubnetMax":"x"}"#, "SubnetMax: \"x\" is no IP address"),
        (
            r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0","SubnetMax":"10.5.8.0"}"#,
            "10.5.9.0 lies behind",
        ),
        (&v6(""), "IPv6Network: please define it"),
        (&v6(r#","IPv6Network":"fd00::/125""#), "IPv6Network: fd00::/125 is too small"),
        (
            &v6(r#","IPv6Network":"fd00::/48","IPv6SubnetLen":127"#),
            "IPv6SubnetLen: 127 must be less than /127",
        ),
        (r#"{"Network":"10.5.0.0/16","Backend":7}"#, "Backend: is not an object"),
        (r#"{"Network":"10.5.0.0/16","Backend":null}"#, "unknown backend type \"\""),
        (r#"{"Network":"10.5.0.0/16","Backend":{"Port":1}}"#, "unknown backend type \"\""),
        (r#"{"Network":"10.5.0.0/16","Backend":{"Type":"gce"}}"#, "unknown backend type \"gce\""),
        (r#"{"Network":"10.5.0.0/16","Backend":{"Type":"WireGuard"}}"#, "does not have; it has vxlan"),
        (
            r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":16777216}}"#,
            "VNI: 16777216 is no whole number",
        ),
        (
            r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","Port":65536}}"#,
            "Port: 65536 is no whole number",
        ),
        (
            r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","MTU":1000}}"#,
            "Backend.MTU: 1000 leaves no room",
        ),
        (
            r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","GBP":true}}"#,
            "Backend.GBP: the group policy",
        ),
    ] {
        let said = check(document);
        assert!(said.starts_with("network configuration, ") && said.contains(words), "{document}: {said}");
    }
}

#[test]
fn the_table_names_every_key() {
    let document = include_str!("../../../../docs/flanneld.md");
    let section = document.split("\n## ").find(|section| section.starts_with("The network's")).unwrap();
    let v6 = [V6.network, V6.len, V6.min, V6.max];
    let v4 = [V4.network, V4.len, V4.min, V4.max];
    let others = ["EnableIPv4", "EnableIPv6", "EnableNFTables", "Backend", "Backend.Type"];
    let backend = ["VNI", "Port", "MTU", "DirectRouting", "MacPrefix", "GBP", "Learning"];
    let types =
        ["vxlan", "udp", "host-gw", "alloc", "ipip", "ipsec", "wireguard", "extension", "tencent-vpc"];
    for name in v4.iter().chain(&v6).chain(&others).chain(&backend).chain(&types) {
        assert!(section.contains(&format!("`{name}`")), "{name}");
    }
}
