//! An overlay whose subnets are leased: what the file may leave open, and what becomes of it.
use config::{Config, Leases, PeerSpec, Share, check, check_shared};

const LEASED: &str = r#"
[network.pod]
masquerade = true
[network.other]
subnet = ["10.5.200.0/24"]
[port.p]
network = "pod"
netns = "p"
address = "auto"
[[publish]]
listen = "0.0.0.0:8080"
proto = "tcp"
to = "p:80"
[uplink]
kind = "nic"
ifname = "eth0"
address = ["192.0.2.1/24"]
[overlay]
backend = "vxlan"
local = "192.0.2.1"
network = "pod"
registry = "etcd"
[overlay.etcd]
endpoints = ["http://192.0.2.9:2379"]
"#;

fn peer(subnet: &str, endpoint: &str, mac: u8) -> PeerSpec {
    let mac = Some(wire::Mac([2, 0, 0, 0, 0, mac]));
    let subnet = subnet.parse().expect("it is a subnet");
    PeerSpec { subnet, endpoint: endpoint.parse().expect("it is an address"), mac }
}

fn share() -> Share {
    let subnets = vec!["10.5.7.0/24".parse().expect("it is a subnet")];
    Share { subnets, peers: vec![peer("10.5.8.0/24", "192.0.2.2", 2)] }
}

fn shared(text: &str) -> Config {
    check_shared("x", text, &Leases::default(), Some(&share())).unwrap_or_else(|report| panic!("{report}")).0
}

#[test]
fn a_network_without_a_subnet_gets_the_leased_one() {
    let checked = check("x", LEASED).unwrap();
    assert!(checked.lacks_subnet(), "it is a good file, but nothing can be built yet");
    let config = shared(LEASED);
    assert!(!config.lacks_subnet());
    assert_eq!(config.network["pod"].gateway, ["10.5.7.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(config.port["p"].address.given()[0].to_string(), "10.5.7.2/24");
    assert_eq!(config.share(), Some(share()));
    let plan = config::compile(&config, &mut config::Ids::default());
    assert_eq!((plan.plan.check(), plan.plan.tunnels.len()), (Ok(()), 1));
    assert_eq!(
        check("x", &config.to_toml()).unwrap(),
        config,
        "what runs can be written, and holds without etcd"
    );
}

#[test]
fn a_host_with_both_families_has_two_ends() {
    let text = LEASED
        .replace("network = \"pod\"\nregistry", "local_v6 = \"2001:db8::1\"\nnetwork = \"pod\"\nregistry");
    assert!(check("x", &text).unwrap().lacks_subnet());
    let leased = Share {
        subnets: ["10.5.7.0/24", "fd00:5:0:7::/64"].map(|subnet| subnet.parse().unwrap()).into(),
        peers: vec![peer("10.5.8.0/24", "192.0.2.2", 2), peer("fd00:5:0:8::/64", "2001:db8::2", 2)],
    };
    let (config, _) = check_shared("x", &text, &Leases::default(), Some(&leased)).unwrap();
    assert_eq!(config.share(), Some(leased), "its MAC addresses may be equal, for they never meet");
    assert_eq!(config.port["p"].address.given().len(), 2);
    let plan = config::compile(&config, &mut config::Ids::default());
    assert_eq!(plan.plan.check(), Ok(()));
    assert_eq!((plan.plan.underlays.len(), plan.plan.tunnels.len()), (2, 2));
    let mtu = |network: &str| {
        let domain = plan.networks[network];
        plan.plan.router.gateways.iter().find(|gateway| gateway.domain == domain).unwrap().mtu
    };
    assert_eq!((mtu(config::OVERLAY), mtu(config::OVERLAY_V6)), (1450, 1430));
    assert_eq!(check("x", &config.to_toml()).unwrap(), config);
    for (change, words) in [
        (("backend = \"vxlan\"", "backend = \"udp\""), "carries IPv4 alone"),
        (("local_v6 = \"2001:db8::1\"", "local_v6 = \"ff02::1\""), "no address of this host's"),
        (
            ("masquerade", "subnet = [\"10.5.9.0/24\"]\ngateway = [\"10.5.9.1\"]\nmasquerade"),
            "of each family",
        ),
        (
            (
                "local_v6 = \"2001:db8::1\"\n",
                "peer = [{ subnet = \"fd00::/64\", endpoint = \"2001:db8::2\" }]\n",
            ),
            "local's family",
        ),
        (("other]", "overlay-v6]"), "choose another name"),
    ] {
        let refused = check("x", &text.replace(change.0, change.1)).unwrap_err().to_string();
        assert!(refused.contains(words), "{change:?}: {refused}");
    }
    let given =
        "subnet = [\"10.5.9.0/24\", \"fd00:9::/64\"]\ngateway = [\"10.5.9.1\", \"fd00:9::1\"]\nmasquerade";
    assert!(check("x", &text.replace("masquerade", given)).is_ok());
    let one_end = LEASED.replace("masquerade", given);
    assert!(check("x", &one_end).unwrap_err().to_string().contains("add local_v6"));
    let alone =
        LEASED.replace("masquerade", "subnet = [\"fd00:9::/64\"]\ngateway = [\"fd00:9::1\"]\nmasquerade");
    assert!(check("x", &alone).is_err());
}

#[test]
fn what_the_file_gives_holds() {
    let given =
        LEASED.replace("masquerade", "subnet = [\"10.5.9.0/24\"]\ngateway = [\"10.5.9.254\"]\nmasquerade");
    assert!(!check("x", &given).unwrap().lacks_subnet());
    let config = shared(&given);
    assert_eq!(config.network["pod"].gateway, ["10.5.9.254".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(config.registry_fault(&config), None);
    assert!(config.registry_fault(&shared(LEASED)).is_some(), "another subnet");
    let elsewhere = LEASED.replace("192.0.2.9", "192.0.2.10");
    assert!(shared(LEASED).registry_fault(&shared(&elsewhere)).is_some(), "another server");
    let (other, _) = shared(LEASED).with_peers(Vec::new()).unwrap();
    assert_eq!(shared(LEASED).registry_fault(&other), None, "peers come and go");
}

#[test]
fn peers_that_cannot_be_are_left_out_one_by_one() {
    let peers = vec![
        peer("10.5.1.0/24", "192.0.2.3", 3),
        peer("10.5.200.128/25", "192.0.2.4", 4),
        peer("10.5.2.0/24", "192.0.2.1", 5),
        peer("10.5.1.128/25", "192.0.2.6", 6),
        peer("10.5.3.0/24", "192.0.2.7", 3),
        peer("10.5.4.0/24", "192.0.2.8", 8),
    ];
    let (config, refused) = shared(LEASED).with_peers(peers.clone()).unwrap();
    assert_eq!(config.overlay.as_ref().unwrap().peer, [peers[0].clone(), peers[5].clone()]);
    let refused: Vec<(PeerSpec, &str)> =
        refused.iter().map(|(peer, why)| (peer.clone(), why.as_str())).collect();
    let words = ["overlaps 10.5.200.0/24", "is local", "overlaps 10.5.1.0/24", "is ours or another peer's"];
    assert_eq!(refused.len(), words.len());
    for ((peer, why), (wanted, words)) in refused.iter().zip(peers[1..5].iter().zip(words)) {
        assert!(peer == wanted && why.contains(words), "{peer:?}: {why}");
    }
    // A thousand are a good configuration.
    let many = (0..1000_u16).map(|host| {
        let [high, low] = host.to_be_bytes();
        let subnet = wire::Cidr::new([10, 6 + high, low, 0].into(), 24).unwrap();
        let mac = Some(wire::Mac([2, 1, 0, 0, high, low]));
        PeerSpec { subnet, endpoint: [198, 18, high, low].into(), mac }
    });
    let (config, refused) = shared(LEASED).with_peers(many.collect()).unwrap();
    assert_eq!((config.overlay.as_ref().unwrap().peer.len(), refused), (1000, Vec::new()));
}
