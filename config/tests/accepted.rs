//! Configurations that must be accepted, and what they compile to.
use config::{Addresses, Compiled, Config, Ids, PortKind, check, compile};
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
fn docker0_compiles_to_two_domains_four_ports_and_two_gateways() {
    let compiled = compiled(DOCKER0);
    assert_eq!(
        compiled.networks.iter().map(|(name, id)| (name.as_str(), id.0)).collect::<Vec<_>>(),
        [("a", 0), ("b", 1)]
    );
    let ids: Vec<(&str, u16, u32)> =
        compiled.ports.iter().map(|(name, port)| (name.as_str(), port.id.0, port.serial)).collect();
    assert_eq!(ids, [("host", 0, 0), ("ns1", 1, 0), ("ns2", 2, 0), ("web", 3, 0)]);
    assert_eq!(compiled.port_name(PortId(3)), Some("web"));
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
        [0, 0, 0, 1]
    );
    assert_eq!(plan.router.gateways.len(), 2);
    assert_eq!(plan.router.gateways[1].mac.mac(), Mac([0x02, 0x42, 172, 17, 0, 1]));
    assert_eq!(
        compiled.not_in_force,
        [
            "gateways answer ARP, neighbour solicitations and echo requests; packets between networks are not routed in this version",
            "masquerade of networks \"a\", \"b\" is not done in this version",
            "the uplink \"eth0\" is not used in this version",
            "web:80 is not published at 0.0.0.0:8080 in this version",
        ]
    );
}

#[test]
fn overlays_are_read_and_not_in_force() {
    for text in [OVERLAY_VXLAN, OVERLAY_UDP] {
        let compiled = compiled(text);
        assert_eq!(device(&compiled, "p").mtu, 1450);
        let overlay = "the overlay of network \"pod\" is not joined in this version";
        assert_eq!(compiled.not_in_force.last().map(String::as_str), Some(overlay));
    }
}

#[test]
fn the_example_shows_every_key() {
    let config = accepted(EXAMPLE);
    let compiled = compile(&config, &mut Ids::default());
    assert_eq!(config.port["c2"].address, Addresses::Given(vec!["172.17.0.2/16".parse().unwrap()]));
    assert!(matches!(compiled.ports["lan.vxlan"].kind, PortKind::Tunnel(_)));
    assert_eq!(compiled.plan.tunnels.len(), 1);
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
