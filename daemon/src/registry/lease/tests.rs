//! Keys and values as flanneld writes them, broken ones, and chance.

use wire::rng::Rng;

use super::*;

const VXLAN: &str = r#"{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}"#;
const DUAL: &str = r#"{"PublicIP":"192.168.64.3","PublicIPv6":"fd01::3","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:45"}}"#;
const UDP: &str = r#"{"PublicIP":"192.168.64.3","PublicIPv6":null}"#;
const HOST_GW: &str = r#"{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"host-gw"}"#;

#[test]
fn keys_are_written_as_they_are_read() {
    for key in [
        "10.5.52.0-24",
        "10.5.52.0-24&fd00:a244:0:1::-64",
        "0.0.0.0-0",
        "10.5.52.2-31",
        "10.0.0.0-8&fe80::-127",
    ] {
        assert_eq!(key.parse::<Subnets>().map(|subnets| subnets.to_string()), Ok(key.to_owned()));
    }
}

#[test]
fn broken_keys_are_named() {
    for key in [
        "",
        "10.5.52.0",
        "10.5.52.0/24",
        "10.5.52.0-",
        "10.5.52.0-+24",
        "10.5.52.0-32",
        "10.5.52-24",
        "10.5.52.0-24&",
        "10.5.52.0-24&10.6.0.0-24",
        "fd00::-64",
        "fd00::-64&10.5.52.0-24",
        "10.5.52.0-24&fd00::-128",
        "10.5.52.0-24/more",
        "ten",
    ] {
        assert_eq!(key.parse::<Subnets>(), Err(Broken::Key), "{key:?}");
    }
    for key in ["10.5.52.7-24", "10.5.52.0-24&fd00::1-64"] {
        assert_eq!(key.parse::<Subnets>(), Err(Broken::HostBits), "{key:?}");
    }
}

#[test]
fn values_are_written_as_flanneld_writes_them() {
    for value in [VXLAN, DUAL, UDP, HOST_GW] {
        assert_eq!(Holder::parse(value.as_bytes()).map(|holder| holder.to_json()), Ok(value.to_owned()));
    }
}

#[test]
fn values_are_read_as_go_reads_them() {
    let relaxed = r#"{"backenddata":{"vtepmac":"C6-D2-32-6F-8F-44","vni":1,"more":[]},"publicip":"192.168.64.3","BACKENDTYPE":"vxlan","x":{}}"#;
    assert_eq!(Holder::parse(relaxed.as_bytes()), Holder::parse(VXLAN.as_bytes()));
    let dotted = VXLAN.replace("c6:d2:32:6f:8f:44", "c6d2.326f.8f44");
    assert_eq!(Holder::parse(dotted.as_bytes()), Holder::parse(VXLAN.as_bytes()));
    let nobody = Holder::parse(b"{}").unwrap();
    assert_eq!((nobody.public_ip, nobody.backend.as_str()), (Ipv4Addr::UNSPECIFIED, ""));
    // Another backend's data is its own affair.
    let wireguard = r#"{"PublicIP":"192.0.2.1","BackendType":"wireguard","BackendData":{"PublicKey":"x"}}"#;
    assert_eq!(Holder::parse(wireguard.as_bytes()).unwrap().data, None);
}

#[test]
fn broken_values_are_named() {
    let vxlan = |from: &str, to: &str| VXLAN.replace(from, to);
    for (value, broken) in [
        (String::new(), Broken::Value),
        ("[]".to_owned(), Broken::Value),
        (VXLAN[..VXLAN.len() - 1].to_owned(), Broken::Value),
        (vxlan("\"192.168.64.3\"", "3232251907"), Broken::Value),
        (vxlan("\"vxlan\"", "{}"), Broken::Value),
        (format!("{{\"x\":\"{}\"}}", "x".repeat(VALUE_MAX)), Broken::Value),
        (vxlan("192.168.64.3", ""), Broken::PublicIp),
        (vxlan("192.168.64.3", "host3"), Broken::PublicIp),
        (vxlan("null", "\"192.168.64.3\""), Broken::PublicIp),
        (vxlan("c6:d2:32:6f:8f:44", "c6:d2:32:6f:8f"), Broken::Vtep),
        (vxlan("c6:d2:32:6f:8f:44", "ff:ff:ff:ff:ff:ff"), Broken::Vtep),
        (vxlan("c6:d2:32:6f:8f:44", "00:00:00:00:00:00"), Broken::Vtep),
        (vxlan("c6:d2:32:6f:8f:44", "c6d2.326f.8fé"), Broken::Vtep),
        (vxlan("{\"VNI\":1", "{\"VNI\":-1"), Broken::Vtep),
        (vxlan("{\"VNI\":1,\"VtepMAC\":\"c6:d2:32:6f:8f:44\"}", "7"), Broken::Vtep),
    ] {
        assert_eq!(Holder::parse(value.as_bytes()), Err(broken), "{value:.200}");
    }
    let names: Vec<&str> = Broken::ALL.iter().map(|broken| broken.name()).collect();
    assert!(names.is_sorted_by(|a, b| a != b) && names.iter().all(|name| name.starts_with("registry.")));
}

#[test]
fn nobody_is_reached_at_an_address_that_no_host_has() {
    let v4: Cidr = "10.5.0.0/24".parse().unwrap();
    for address in ["0.0.0.0", "224.0.0.1", "127.0.0.1", "255.255.255.255"] {
        let holder = Holder::parse(UDP.replace("192.168.64.3", address).as_bytes()).unwrap();
        assert_eq!(holder.endpoint(v4), None, "{address}");
    }
    let dual = Holder::parse(DUAL.as_bytes()).unwrap();
    let v6: Cidr = "fd00::/64".parse().unwrap();
    assert_eq!(dual.endpoint(v6), Some("fd01::3".parse().unwrap()));
    assert_eq!(dual.vtep(v6).unwrap().mac().to_string(), "c6:d2:32:6f:8f:45");
    assert_eq!(Holder::parse(UDP.as_bytes()).unwrap().endpoint(v6), None);
}

/// Octets that are nearly a lease: a good one with some replaced, removed or doubled.
#[test]
fn octets_by_chance_are_read_or_refused() {
    let good = [VXLAN, DUAL, UDP, HOST_GW, "10.5.52.0-24&fd00:a244:0:1::-64", r#"{"Network":"10.5.0.0/16"}"#];
    let mut rng = Rng::seeded(0x1ea5e);
    let below = |rng: &mut Rng, bound: usize| usize::try_from(rng.below(bound as u64)).unwrap();
    for _ in 0..20_000 {
        let mut octets = good[below(&mut rng, good.len())].as_bytes().to_vec();
        for _ in 0..=below(&mut rng, 4) {
            let at = below(&mut rng, octets.len());
            match rng.below(4) {
                0 => octets[at] = rng.next_u64().to_le_bytes()[0],
                1 => drop(octets.remove(at)),
                2 => octets.insert(at, b"\"{}[]:,-&0f."[below(&mut rng, 12)]),
                _ => octets.extend_from_within(at..),
            }
        }
        fuzz(&octets);
    }
}
