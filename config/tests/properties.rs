//! What holds for every text and every document, whatever it says.
use config::{
    Addresses, Config, Document, Guard, Ids, NetworkSpec, PortSpec, StationSpec, VxlanSpec, check, compile,
};
use proptest::prelude::*;
use wire::Mac;

const EXAMPLE: &str = include_str!("../examples/tapestry.toml");

/// What follows for any text: no panic, faults lie in the text, and what is accepted compiles and reads back.
fn hold(text: &str) {
    match check("x.toml", text) {
        Ok(config) => hold_accepted(&config),
        Err(report) => {
            assert!(!report.faults.is_empty(), "refused for no reason");
            let lines = text.matches('\n').count() + 1;
            for fault in &report.faults {
                assert!(fault.line.is_some_and(|line| (1..=lines).contains(&line)), "{report}");
                assert!(fault.column.is_some_and(|column| column > 0), "{report}");
                let of_toml = fault.message.starts_with("this is no TOML: ");
                assert!(
                    of_toml || !fault.message.contains("expected "),
                    "serde's words came through: {report}"
                );
            }
        }
    }
}

fn hold_accepted(config: &Config) {
    let compiled = compile(config, &mut Ids::default());
    assert_eq!(compiled.plan.check(), Ok(()), "{}", config.to_toml());
    assert_eq!(compile(config, &mut Ids::default()), compiled);
    let written = config.to_toml();
    let read = check("written.toml", &written).unwrap_or_else(|report| panic!("{report}\n{written}"));
    assert_eq!(read, *config, "{written}");
    let json = serde_json::to_string(config).expect("documents can be written as JSON");
    let read: Document = serde_json::from_str(&json).expect("JSON reads back");
    assert_eq!(Config::new(read).as_ref(), Ok(config), "{json}");
}

/// Lines that often make sense together.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "[network.a]",
            "[network.b]",
            "[network.a.vxlan]",
            "[port.c]",
            "[port.d]",
            "[[station]]",
            "[uplink]",
            "[[publish]]",
            "[overlay]",
            "[[overlay.peer]]",
            "port = 3",
            "network = \"a\"",
            "network = \"b\"",
            "trunk = { 1 = \"a\", 2 = \"b\" }",
            "vlan = 1",
            "mtu = 1280",
            "address = \"auto\"",
            "address = [\"10.0.0.2/24\"]",
            "subnet = [\"10.0.0.0/24\"]",
            "subnet = [\"10.0.0.0/16\", \"fd00::/64\"]",
            "gateway = [\"10.0.0.1\"]",
            "guard = \"all\"",
            "mac = \"02:00:00:00:00:01\"",
            "local = \"192.0.2.1\"",
            "vni = 7",
            "kind = \"nic\"",
            "ifname = \"eth0\"",
            "listen = \"0.0.0.0:80\"",
            "to = \"c:80\"",
            "backend = \"udp\"",
            "endpoint = \"192.0.2.2\"",
            "masquerade = true",
            "[[route]]",
            "[[acl]]",
            "[[one_to_one]]",
            "[nat]",
            "[nat.timeouts]",
            "to = \"10.9.0.0/16\"",
            "via = [\"10.0.0.9\"]",
            "kind = \"blackhole\"",
            "action = \"deny\"",
            "from = \"network:a\"",
            "to = \"port:c\"",
            "proto = \"tcp\"",
            "l4_ports = \"80-90\"",
            "outside = \"192.0.2.7\"",
            "inside = \"c\"",
            "sessions_max = 9",
            "udp = 1",
            "ip_range = [\"10.0.0.8/29\"]",
            "reserved = [\"10.0.0.9\"]",
            "icc = false",
            "x = {",
        ])
        .prop_map(str::to_owned),
        "[a-z_]{1,8} = [-0-9\"\\[\\]{}.,a-z]{0,12}",
        "\\PC{0,20}",
    ]
}

/// A document that passes more often than not: few names, few addresses.
fn document() -> impl Strategy<Value = Document> {
    let network = (0..3_u8, any::<[bool; 5]>(), 0..3_u32).prop_map(
        |(index, [subnet, gateway, icc, v6, stretched], ageing)| {
            let mut spec = NetworkSpec { icc, ageing, ..NetworkSpec::default() };
            let both: [(bool, String, String); 2] = [
                (subnet, format!("10.{index}.0.0/28"), format!("10.{index}.0.1")),
                (v6, format!("fd00:{index}::/64"), format!("fd00:{index}::1")),
            ];
            for (_, cidr, address) in both.iter().filter(|(wanted, _, _)| *wanted) {
                spec.subnet.push(cidr.parse().expect("a prefix"));
                if gateway {
                    spec.gateway.push(address.parse().expect("an address"));
                }
            }
            spec.vxlan = stretched.then(|| VxlanSpec {
                vni: u32::from(index),
                port: 4789,
                local: "192.0.2.1".parse().expect("an address"),
                remotes: Vec::new(),
                underlay_mtu: None,
                arp_suppression: false,
                sources: std::collections::BTreeMap::new(),
            });
            (format!("n{index}"), spec)
        },
    );
    let port = (0..8_u8, 0..3_u8, 0..3_u16, any::<[bool; 5]>(), 0..4_u8).prop_map(
        |(index, network, vlan, [auto, mac, trunk, guard, netns], other)| {
            let mut spec = PortSpec { network: Some(format!("n{network}")), vlan, ..PortSpec::default() };
            if auto {
                spec.address = Addresses::Auto;
            }
            spec.mac = mac.then_some(Mac([2, 0, 0, 0, 0, index]));
            spec.netns = netns.then(|| "ns".to_owned());
            if trunk && other != network {
                spec.trunk.insert(u16::from(other) + 10, format!("n{other}"));
            }
            if guard {
                spec.guard = [Guard::Ra, Guard::Mac].into_iter().take(1 + usize::from(mac)).collect();
            }
            (format!("p{index}"), spec)
        },
    );
    let station = (0..3_u8, 0..8_u8, 0..8_u8).prop_map(|(network, mac, port)| StationSpec {
        network: format!("n{network}"),
        mac: Mac([6, 0, 0, 0, 0, mac]),
        port: format!("p{port}"),
    });
    let networks = prop::collection::vec(network, 1..4);
    let ports = prop::collection::vec(port, 0..5);
    let stations = prop::collection::vec(station, 0..2);
    (networks, ports, stations).prop_map(|(networks, ports, stations)| Document {
        network: networks.into_iter().collect(),
        port: ports.into_iter().collect(),
        station: stations,
        ..Document::default()
    })
}

proptest! {
    #[test]
    fn any_text_is_accepted_or_refused_with_a_place(text in "\\PC*") {
        hold(&text);
    }

    #[test]
    fn lines_that_nearly_make_sense_are_too(lines in prop::collection::vec(line(), 0..24)) {
        hold(&lines.join("\n"));
    }

    #[test]
    fn and_the_example_with_a_piece_replaced(at in 0..EXAMPLE.len(), len in 0..40_usize, piece in "\\PC{0,12}") {
        let end = (at + len).min(EXAMPLE.len());
        prop_assume!(EXAMPLE.is_char_boundary(at) && EXAMPLE.is_char_boundary(end));
        hold(&format!("{}{piece}{}", &EXAMPLE[..at], &EXAMPLE[end..]));
    }

    #[test]
    fn accepted_documents_compile_to_plans_that_the_node_accepts(document in document()) {
        match Config::new(document) {
            Ok(config) => hold_accepted(&config),
            Err(report) => prop_assert!(!report.faults.is_empty()),
        }
    }
}

#[test]
fn depth_does_not_exhaust_the_stack() {
    let deep = 100_000;
    for (open, close) in [("[", "]"), ("{ x = ", "}"), ("[{ x = ", "}]")] {
        hold(&format!("workers = {}1{}", open.repeat(deep), close.repeat(deep)));
    }
    hold(&format!("{}workers = 1", "network.".repeat(deep)));
    hold(&format!("[{}workers]", "network.".repeat(deep)));
    hold(&format!("[[{}workers]]", "network.".repeat(deep)));
    hold(&"[[".repeat(deep));
    // As deep as the parser goes.
    for deep in 1..200 {
        hold(&format!("workers = {}1{}", "[".repeat(deep), "]".repeat(deep)));
        hold(&format!("{}workers = 1", "network.".repeat(deep)));
    }
}

#[test]
fn enough_random_documents_are_accepted() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let accepted = (0..200)
        .filter(|_| {
            Config::new(document().new_tree(&mut runner).expect("nothing is filtered").current()).is_ok()
        })
        .count();
    assert!(accepted > 20, "{accepted} of 200");
}
