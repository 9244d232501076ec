//! Configurations that must be accepted, and what they compile to.
use config::{Addresses, Compiled, Config, Ids, PortKind, check, compile};
use vrouter::fib::{NextHop, Resolved, Target};
use vrouter::{NetworkPolicy, Side};
use wire::segment::Egress;
use wire::{DomainId, Mac, PortId};

const DOCKER0: &str = include_str!("data/docker0.toml");
const OVERLAY_VXLAN: &str = include_str!("data/overlay-vxlan.toml");
const OVERLAY_UDP: &str = include_str!("data/overlay-udp.toml");
const EXAMPLE: &str = include_str!("../examples/tapestry.toml");

fn accepted(text: &str) -> Config {
    check("test.toml", text).unwrap_or_else(|report| panic!("{report}"))
}

fn compiled(text: &str) -> Compiled {
    compile(&accepted(text), &mut Ids::default())
}

fn device<'a>(compiled: &'a Compiled, port: &str) -> &'a config::Device {
    match &compiled.ports[port].kind {
        PortKind::Device(device) => device,
        other @ (PortKind::Nic(_) | PortKind::Tunnel(_)) => panic!("{other:?}"),
    }
}

#[test]
fn docker0_compiles_to_two_networks_four_ports_and_an_uplink() {
    let compiled = compiled(DOCKER0);
    assert_eq!(
        compiled.networks.iter().map(|(name, id)| (name.as_str(), id.0)).collect::<Vec<_>>(),
        [("a", 0), ("b", 1), ("uplink", 2)]
    );
    let ids: Vec<(&str, u16, u32)> =
        compiled.ports.iter().map(|(name, port)| (name.as_str(), port.id.0, port.serial)).collect();
    assert_eq!(ids, [("host", 0, 0), ("ns1", 1, 0), ("ns2", 2, 0), ("uplink", 3, 0), ("web", 4, 0)]);
    assert_eq!(compiled.port_name(PortId(4)), Some("web"));
    assert_eq!(compiled.network_name(DomainId(1)), Some("b"));

    let ns1 = device(&compiled, "ns1");
    assert_eq!((ns1.netns.as_deref(), ns1.ifname.as_str(), ns1.mtu), (Some("t-ns1"), "eth0", 1500));
    assert_eq!(ns1.mac.mac(), Mac([0x02, 0x42, 0xac, 0x10, 0, 2]));
    assert_eq!(ns1.addresses, ["172.16.0.2/16".parse().unwrap()]);
    assert_eq!(ns1.gateways, ["172.16.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(
        device(&compiled, "host").gateways,
        [] as [std::net::IpAddr; 0],
        "the host has routes of its own"
    );

    let plan = &compiled.plan;
    assert_eq!(
        plan.switch.ports.iter().map(|port| port.memberships[0].domain.0).collect::<Vec<_>>(),
        [0, 0, 0, 2, 1]
    );
    let gateways = &plan.router.gateways;
    assert_eq!(gateways.len(), 3);
    assert_eq!(gateways[1].mac.mac(), Mac([0x02, 0x42, 172, 17, 0, 1]));
    let policy = NetworkPolicy { masquerade_v4: true, ..NetworkPolicy::default() };
    assert_eq!(gateways[0].side, Side::Network(policy));
    assert_eq!((&gateways[2].side, gateways[2].domain), (&Side::Uplink, DomainId(2)));
    assert_eq!(gateways[2].subnets, ["192.168.9.0/24".parse().unwrap()]);
    let PortKind::Nic(nic) = &compiled.ports["uplink"].kind else { panic!("{:?}", compiled.ports["uplink"]) };
    assert_eq!((nic.ifname.as_str(), nic.mac.mac()), ("eth0", Mac([0x02, 0x42, 192, 168, 9, 7])));

    let way = |text: &str| plan.router.fib.lookup(text.parse().unwrap()).map(Resolved::to_target);
    assert_eq!(way("172.16.1.1"), Some(Target::Connected(DomainId(0))));
    assert_eq!(way("192.168.9.1"), Some(Target::Connected(DomainId(2))));
    let outside = NextHop { domain: DomainId(2), address: "192.168.9.1".parse().unwrap() };
    assert_eq!(way("1.1.1.1"), Some(Target::Via(vec![outside])));
    let [publish] = plan.router.publishes[..] else { panic!("{:?}", plan.router.publishes) };
    assert_eq!((publish.listen, publish.l4_port_first, publish.to_l4_port_first), (None, 8080, 80));
    assert_eq!(publish.to, "172.17.0.2".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(compiled.not_in_force, [] as [&str; 0]);
}

#[test]
fn overlays_are_in_force_wherever_their_peers_come_from() {
    for text in [OVERLAY_VXLAN, OVERLAY_UDP] {
        let compiled = compiled(text);
        assert_eq!(device(&compiled, "p").mtu, 1450);
        assert_eq!(compiled.plan.check(), Ok(()));
        assert_eq!(compiled.not_in_force, [] as [&str; 0]);
    }
    let in_etcd = OVERLAY_UDP.replace("registry = \"static\"", "registry = \"etcd\"");
    assert_eq!(compiled(&in_etcd).not_in_force, [] as [&str; 0]);
}

#[test]
fn what_fits_a_tunnel_follows_the_interface_below() {
    for (text, overhead) in [(OVERLAY_VXLAN, 50), (OVERLAY_UDP, 28)] {
        let mut compiled = compiled(text);
        let mtu = |compiled: &config::Compiled| {
            let id = compiled.ports["overlay.192.168.77.2"].id;
            let port = compiled.plan.switch.ports.iter().find(|port| port.id == id).unwrap();
            let domain = compiled.networks["overlay"];
            let gateways = &compiled.plan.router.gateways;
            let gateway = gateways.iter().find(|gateway| gateway.domain == domain).unwrap();
            assert_eq!(port.mtu, gateway.mtu);
            port.mtu
        };
        let underlay = compiled.plan.underlays[0].id;
        assert_eq!(mtu(&compiled), 1500 - overhead);
        for (interface, changes) in [(1500, false), (9000, true), (9000, false), (1400, true)] {
            assert_eq!(compiled.follow_underlay(underlay, interface, Egress::NONE), changes);
            assert_eq!(mtu(&compiled), interface - overhead);
        }
        assert!(compiled.follow_underlay(underlay, 1400, Egress::ALL));
        assert_eq!(compiled.plan.underlays[0].takes, Egress::ALL);
        assert_eq!(compiled.plan.check(), Ok(()));
    }
}

#[test]
fn a_written_underlay_mtu_stays_whatever_the_interface_says() {
    let written = OVERLAY_VXLAN.replace("[overlay]\n", "[overlay]\nunderlay_mtu = 1400\n");
    assert_ne!(written, OVERLAY_VXLAN);
    let mut compiled = compiled(&written);
    let mtu = |compiled: &config::Compiled| {
        let id = compiled.ports["overlay.192.168.77.2"].id;
        compiled.plan.switch.ports.iter().find(|port| port.id == id).unwrap().mtu
    };
    let local = compiled.plan.underlays[0].local.to_string();
    for interface in [1500, 1300, 9000] {
        assert!(!compiled.follow(&local, interface));
        assert_eq!(mtu(&compiled), 1350);
    }
    compiled.leave_to_sockets();
    assert_eq!(compiled.plan.underlays[0].takes, Egress::ALL);
}

#[test]
fn the_example_shows_every_key() {
    let config = accepted(EXAMPLE);
    let compiled = compile(&config, &mut Ids::default());
    assert_eq!(compiled.plan.check(), Ok(()));
    assert_eq!(config.port["c2"].address, Addresses::Given(vec!["172.17.0.2/16".parse().unwrap()]));
    assert!(matches!(compiled.ports["lan.vxlan.192.0.2.2"].kind, PortKind::Tunnel(_)));
    assert_eq!(compiled.plan.tunnels.len(), 2, "the stretched network's remote end, and the overlay's peer");
    // What is commented out is the default: without the marks nothing changes.
    let spelt_out: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.split(' ').nth(1) == Some("=") => format!("{rest}\n"),
            Some(_) | None => format!("{line}\n"),
        })
        .collect();
    let spelt_out = spelt_out.replace("host_address = []  ", "# ");
    let spelt_out = compile(&accepted(&spelt_out), &mut Ids::default());
    assert_eq!(compiled, spelt_out);
}

#[test]
fn a_written_configuration_reads_back() {
    for text in ["", DOCKER0, OVERLAY_VXLAN, OVERLAY_UDP, EXAMPLE] {
        let config = accepted(text);
        let written = config.to_toml();
        assert_eq!(accepted(&written), config, "{written}");
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(Config::new(serde_json::from_str(&json).unwrap()).unwrap(), config, "{json}");
    }
}

#[test]
fn timeouts_below_the_standards_are_allowed_and_told() {
    let config = accepted("[nat.timeouts]\nudp = 119\nudp_unanswered = 1\nicmp = 60\n");
    let advice = ["nat.timeouts.udp is 119 seconds; RFC 4787 REQ-5 asks for at least 120"];
    assert_eq!(config.advice(), advice);
    assert_eq!(accepted("").advice(), [] as [&str; 0]);
}

#[test]
fn an_uplink_to_the_host_is_a_device_with_routes_to_the_networks() {
    let compiled = compiled(
        r#"
[network.a]
subnet = ["172.16.0.0/16", "fd00:a::/64"]
gateway = ["172.16.0.1", "fd00:a::1"]
[network.l2]
subnet = ["172.17.0.0/16"]
[uplink]
kind = "host"
ifname = "tapestry0"
address = ["169.254.64.2/30"]
host_address = ["169.254.64.1/30"]
mtu = 9000
"#,
    );
    let host = device(&compiled, "uplink");
    assert_eq!((host.netns.as_ref(), host.ifname.as_str(), host.mtu), (None, "tapestry0", 9000));
    assert_eq!(host.mac.mac(), Mac([0x02, 0x42, 169, 254, 64, 1]));
    let router = "169.254.64.2".parse().unwrap();
    assert_eq!(
        host.routes,
        [("172.16.0.0/16".parse().unwrap(), router)],
        "no way for IPv6, no gateway in l2"
    );
    let default = compiled.plan.router.fib.explain("1.1.1.1".parse().unwrap()).unwrap();
    let host = NextHop { domain: compiled.networks["uplink"], address: "169.254.64.1".parse().unwrap() };
    assert_eq!(default.target, Target::Via(vec![host]));
    assert_eq!(compiled.plan.check(), Ok(()));
}
