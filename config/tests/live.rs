//! Changes of a running configuration: what they are refused for, which ids stay, and what they come to.
use std::collections::BTreeMap;
use std::fmt::Write;

use config::{
    AclAction, AclEnd, AclProto, AclSpec, Addresses, Change, Changes, Compiled, Config, Document, Edit,
    EditError, Ids, NetworkSpec, PortSpec, Proto, PublishSpec, RouteSpec, RouterEdit, StationSpec, check,
    compile, diff,
};
use wire::{Mac, PortId};

const START: &str = r#"
[network.a]
subnet = ["172.16.0.0/16"]
gateway = ["172.16.0.1"]
[network.b]
[port.c1]
network = "a"
netns = "ns1"
address = ["172.16.0.2/16"]
[port.c2]
network = "b"
"#;

fn start() -> Config {
    check("start.toml", START).expect("it makes sense")
}

fn apply(config: &Config, edit: &Edit) -> Config {
    config.apply(edit).unwrap_or_else(|error| panic!("{error}"))
}

fn in_network(network: &str) -> PortSpec {
    PortSpec { network: Some(network.to_owned()), ..PortSpec::default() }
}

fn station(port: &str) -> StationSpec {
    StationSpec { network: "a".to_owned(), mac: Mac([2, 0, 0, 0, 0, 9]), port: port.to_owned() }
}

fn name(name: &str) -> String {
    name.to_owned()
}

#[test]
fn objects_come_change_and_go() {
    let lan = NetworkSpec { mtu: 9000, ..NetworkSpec::default() };
    let added = apply(&start(), &Edit::AddNetwork { name: name("lan"), spec: lan.clone() });
    let added = apply(&added, &Edit::AddPort { name: name("c3"), spec: in_network("lan") });
    let added = apply(&added, &Edit::AddStation(station("c1")));
    assert_eq!(added.network["lan"], lan);
    assert_eq!(added.port["c3"], in_network("lan"));
    assert_eq!(added.station, [station("c1")]);

    let moved = apply(&added, &Edit::ReplacePort { name: name("c3"), spec: in_network("a") });
    let moved = apply(&moved, &Edit::ReplaceStation(station("c3")));
    let moved = apply(&moved, &Edit::ReplaceNetwork { name: name("lan"), spec: NetworkSpec::default() });
    assert_eq!(moved.network["lan"].mtu, 1500);
    assert_eq!(moved.station, [station("c3")]);

    let gone = apply(&moved, &Edit::RemoveStation { network: name("a"), mac: station("c3").mac });
    let gone = apply(&gone, &Edit::RemovePort { name: name("c3") });
    let gone = apply(&gone, &Edit::RemoveNetwork { name: name("lan") });
    assert_eq!(gone, start());
}

#[test]
fn edits_are_refused_with_the_object_s_name() {
    let config = apply(&start(), &Edit::AddStation(station("c1")));
    let c1 = || name("c1");
    for (edit, expected) in [
        (
            Edit::AddPort { name: c1(), spec: in_network("a") },
            "port \"c1\" exists already; replace it, or choose another name",
        ),
        (Edit::ReplacePort { name: name("c9"), spec: in_network("a") }, "there is no port \"c9\""),
        (Edit::RemovePort { name: name("c9") }, "there is no port \"c9\""),
        (Edit::RemovePort { name: name("uplink") }, "there is no port \"uplink\""),
        (Edit::RemoveNetwork { name: name("c") }, "there is no network \"c\""),
        (
            Edit::AddStation(station("c2")),
            "station \"02:00:00:00:00:09\" exists already; replace it, or choose another name",
        ),
        (
            Edit::RemoveStation { network: name("b"), mac: station("c1").mac },
            "there is no station \"02:00:00:00:00:09\"",
        ),
        (
            Edit::ReplaceStation(station("c2")),
            "station[0].port: port \"c2\" is not on network \"a\"; name one that is",
        ),
        (
            Edit::RemoveNetwork { name: name("b") },
            "network \"b\" is used by port \"c2\"; remove or change that first",
        ),
        (
            Edit::RemovePort { name: c1() },
            "port \"c1\" is used by station \"02:00:00:00:00:09\"; remove or change that first",
        ),
        (
            Edit::AddPort {
                name: name("c3"),
                spec: PortSpec {
                    address: Addresses::Given(vec!["10.0.0.1/8".parse().unwrap()]),
                    ..in_network("a")
                },
            },
            "port.c3.address[0]: 10.0.0.1/8 is outside 172.16.0.0/16, the subnet of network \"a\"; choose one inside",
        ),
    ] {
        assert_eq!(config.apply(&edit).unwrap_err().to_string(), expected);
    }
    assert!(matches!(
        config.apply(&Edit::RemovePort { name: name("c9") }),
        Err(EditError::Missing("port", _))
    ));
}

#[test]
fn the_uplinks_port_is_listed_and_not_to_be_removed() {
    let text = "[uplink]\nkind = \"nic\"\nifname = \"eth0\"\naddress = [\"192.0.2.7/24\"]\n";
    let config = config::check("x.toml", text).unwrap();
    let listed = config::compile(&config, &mut config::Ids::default());
    assert!(listed.ports.contains_key("uplink"));
    for edit in [
        Edit::RemovePort { name: name("uplink") },
        Edit::ReplacePort { name: name("uplink"), spec: in_network("a") },
    ] {
        let why = config.apply(&edit).unwrap_err().to_string();
        assert_eq!(
            why,
            "port \"uplink\" is used by [uplink] of the configuration; remove or change that first"
        );
    }
}

#[test]
fn edits_are_json_too() {
    let json = r#"{"add-port":{"name":"c3","spec":{"network":"a","address":"auto","guard":"all"}}}"#;
    let edit: Edit = serde_json::from_str(json).unwrap();
    let config = apply(&start(), &edit);
    assert_eq!(config.port["c3"].address, Addresses::Given(vec!["172.16.0.3/16".parse().unwrap()]));
    let json = r#"{"remove-station":{"network":"a","mac":"02:00:00:00:00:09"}}"#;
    assert_eq!(serde_json::to_string(&serde_json::from_str::<Edit>(json).unwrap()).unwrap(), json);
}

#[test]
fn automatic_addresses_are_the_lowest_in_the_order_of_the_file_and_stay() {
    let auto = "network = \"a\"\naddress = \"auto\"\n";
    let text = format!("{START}[port.z]\n{auto}[port.d]\n{auto}");
    let config = check("x.toml", &text).unwrap();
    let address = |config: &Config, port: &str| config.port[port].address.given()[0].to_string();
    assert_eq!(address(&config, "z"), "172.16.0.3/16");
    assert_eq!(address(&config, "d"), "172.16.0.4/16");

    let spec = PortSpec { address: Addresses::Auto, ..in_network("a") };
    let config = apply(&config, &Edit::RemovePort { name: name("z") });
    let config = apply(&config, &Edit::AddPort { name: name("b"), spec: spec.clone() });
    let config = apply(&config, &Edit::AddPort { name: name("e"), spec });
    assert_eq!(address(&config, "b"), "172.16.0.3/16", "what z had");
    assert_eq!(address(&config, "d"), "172.16.0.4/16", "it stays");
    assert_eq!(address(&config, "e"), "172.16.0.5/16");
}

/// What `edits` come to together, and the configuration compiled after them.
fn changes(edits: &[Edit]) -> (Changes, Compiled) {
    let mut ids = Ids::default();
    let before = compile(&start(), &mut ids);
    let config = edits.iter().fold(start(), |config, edit| apply(&config, edit));
    let after = compile(&config, &mut ids);
    assert_eq!(after.plan.check(), Ok(()));
    (diff(&before, &after), after)
}

fn only(list: &[(&str, Change)]) -> BTreeMap<String, Change> {
    list.iter().map(|(name, change)| ((*name).to_owned(), *change)).collect()
}

#[test]
fn ports_keep_their_ids_and_an_id_that_is_given_up_is_not_reused_at_once() {
    let (changes, after) = changes(&[
        Edit::RemovePort { name: name("c1") },
        Edit::AddPort { name: name("a-first"), spec: in_network("a") },
    ]);
    assert_eq!(changes.ports, only(&[("a-first", Change::Added), ("c1", Change::Removed)]));
    assert_eq!(after.ports["a-first"].id, PortId(2), "c1 had 0");
    assert_eq!(after.ports["c2"].id, PortId(1));
    let names = [0, 1, 2, 3].map(|id| after.port_name(PortId(id)));
    assert_eq!(names, [None, Some("c2"), Some("a-first"), None]);
}

#[test]
fn a_reused_id_has_another_serial() {
    let (mut ids, start) = (Ids::default(), start());
    compile(&start, &mut ids);
    let without = apply(&start, &Edit::RemovePort { name: name("c1") });
    compile(&without, &mut ids);
    let with = apply(&without, &Edit::AddPort { name: name("x"), spec: in_network("a") });
    let compiled = compile(&with, &mut ids);
    let x = &compiled.ports["x"];
    assert_eq!((x.id, x.serial), (PortId(0), 1));
    assert_eq!(compiled.plan.switch.ports[0].serial, 1);
}

#[test]
fn what_the_node_obeys_changes_without_the_device() {
    let c1 = start().port["c1"].clone();
    let guarded = PortSpec { guard: config::Guard::ALL.into(), ..c1 };
    let (changes, _) = changes(&[Edit::ReplacePort { name: name("c1"), spec: guarded }]);
    assert_eq!(changes, Changes { ports: only(&[("c1", Change::Plan)]), ..Changes::default() });
}

#[test]
fn a_device_changes_with_its_own_keys_and_its_network_s() {
    let c1 = start().port["c1"].clone();
    let renamed = PortSpec { ifname: Some(name("eth0")), ..c1 };
    let (changed, _) = changes(&[Edit::ReplacePort { name: name("c1"), spec: renamed }]);
    assert_eq!(changed.ports, only(&[("c1", Change::Device)]));

    let a = start().network["a"].clone();
    let gateway = NetworkSpec { gateway: vec!["172.16.0.9".parse().unwrap()], ..a };
    let (changed, _) = changes(&[Edit::ReplaceNetwork { name: name("a"), spec: gateway }]);
    assert_eq!(changed.ports, only(&[("c1", Change::Device)]), "its default route");
    assert_eq!(changed.networks, only(&[("a", Change::Plan)]));
}

#[test]
fn a_default_that_is_spelt_out_is_no_change() {
    let c1 = start().port["c1"].clone();
    let spelt_out = PortSpec { mtu: Some(1500), isolated: Some(false), ifname: Some(name("c1")), ..c1 };
    let (changes, _) = changes(&[Edit::ReplacePort { name: name("c1"), spec: spelt_out }]);
    assert!(changes.is_empty(), "{changes:?}");
}

#[test]
fn stations_and_the_process_are_told_apart() {
    let (changes, _) = changes(&[Edit::AddStation(station("c1"))]);
    assert_eq!(changes, Changes { stations: true, ..Changes::default() });
    let mut ids = Ids::default();
    let before = compile(&start(), &mut ids);
    let mut after = |document| compile(&Config::new(document).unwrap(), &mut ids);
    let more = after(Document { workers: 2, ..Document::clone(&start()) });
    assert_eq!(diff(&before, &more), Changes { workers: true, ..Changes::default() });
    let eager = after(Document { spin_us: 0, ..Document::clone(&start()) });
    assert_eq!(diff(&before, &eager), Changes { spin: true, ..Changes::default() });
    let apart = after(Document { gro: false, ..Document::clone(&start()) });
    assert_eq!(diff(&before, &apart), Changes { gro: true, ..Changes::default() });
}

#[test]
fn as_many_ports_as_are_allowed_compile_and_no_more() {
    let ports = |count: usize| {
        let mut text = "[network.a]\n".to_owned();
        for index in 0..count {
            writeln!(text, "[port.p{index}]\nnetwork = \"a\"").unwrap();
        }
        check("x.toml", &text)
    };
    let ports_max = vswitch::plan::PORTS_MAX;
    let full = ports(ports_max).unwrap();
    let mut ids = Ids::default();
    assert_eq!(compile(&full, &mut ids).plan.check(), Ok(()));
    let without = apply(&full, &Edit::RemovePort { name: name("p7") });
    let replaced = apply(&without, &Edit::AddPort { name: name("x"), spec: in_network("a") });
    let compiled = compile(&replaced, &mut ids);
    assert_eq!(compiled.plan.check(), Ok(()));
    assert_eq!(compiled.ports["x"].serial, 1, "there is no id but the one that p7 gives up");
    let report = ports(ports_max + 1).unwrap_err().to_string();
    assert_eq!(
        report,
        "x.toml:2:2: 4097 ports (tunnels among them) are more than the 4096 that are allowed; drop some"
    );
}

#[test]
fn a_network_s_id_that_must_be_passed_on_at_once_renews_its_ports() {
    let mut document = Document::default();
    for index in 0..vswitch::plan::DOMAINS_MAX {
        document.network.insert(format!("n{index}"), NetworkSpec::default());
    }
    for network in ["n0", "n1"] {
        document.port.insert(format!("p-{network}"), in_network(network));
    }
    let mut ids = Ids::default();
    let before = compile(&Config::new(document.clone()).unwrap(), &mut ids);
    document.network.remove("n0");
    document.network.insert(name("x"), NetworkSpec::default());
    document.port.insert(name("p-n0"), in_network("x"));
    let after = compile(&Config::new(document).unwrap(), &mut ids);
    assert_eq!(after.networks["x"], before.networks["n0"], "there is no other id");
    assert_eq!(after.ports["p-n0"].id, before.ports["p-n0"].id);
    assert_ne!(after.ports["p-n0"].serial, before.ports["p-n0"].serial);
    assert_eq!(after.ports["p-n1"], before.ports["p-n1"]);
}

fn router(edit: RouterEdit) -> Edit {
    Edit::Router(edit)
}

fn publish(listen: &str) -> PublishSpec {
    let to = "c1:80".parse().expect("it is well formed");
    PublishSpec { listen: listen.parse().expect("it is well formed"), proto: Proto::Tcp, to }
}

fn route(to: &str) -> RouteSpec {
    RouteSpec {
        to: to.parse().expect("it is well formed"),
        via: vec!["172.16.0.9".parse().expect("it is well formed")],
        kind: None,
    }
}

fn deny_to(to: &str) -> AclSpec {
    let (action, from, to) = (AclAction::Deny, AclEnd::Anyone, to.parse().expect("it is well formed"));
    AclSpec { action, from, to, proto: Some(AclProto::Tcp), l4_ports: None }
}

#[test]
fn the_router_s_entries_come_and_go() {
    let edits = [
        RouterEdit::AddRoute(route("10.0.0.0/8")),
        RouterEdit::AddPublish(publish("0.0.0.0:80")),
        RouterEdit::AddAcl { position: None, rule: deny_to("any") },
        RouterEdit::AddAcl { position: Some(0), rule: deny_to("port:c1") },
    ];
    let full = edits.into_iter().fold(start(), |config, edit| apply(&config, &router(edit)));
    assert_eq!(full.acl, [deny_to("port:c1"), deny_to("any")]);
    assert_eq!((full.route.len(), full.publish.len()), (1, 1));
    let listen = "0.0.0.0:80".parse().unwrap();
    for (edit, expected) in [
        (
            RouterEdit::AddRoute(route("10.0.0.0/8")),
            "route \"10.0.0.0/8\" exists already; replace it, or choose another name",
        ),
        (
            RouterEdit::AddRoute(route("172.16.0.0/16")),
            "route[1].to: 172.16.0.0/16 has a route already, by network \"a\"; drop one",
        ),
        (
            RouterEdit::AddPublish(publish("172.16.0.1:80")),
            "publish[1].listen: 172.16.0.1:80 is published already, by 0.0.0.0:80 to c1:80; choose other L4 ports",
        ),
        (RouterEdit::RemovePublish { listen, proto: Proto::Udp }, "there is no publish \"0.0.0.0:80\""),
        (RouterEdit::RemoveRoute { to: "10.0.0.0/9".parse().unwrap() }, "there is no route \"10.0.0.0/9\""),
        (
            RouterEdit::AddAcl { position: Some(3), rule: deny_to("uplink") },
            "the acl list has 2 entries, and no position 3",
        ),
        (RouterEdit::RemoveAcl { position: 2 }, "there is no acl \"2\""),
    ] {
        assert_eq!(full.apply(&router(edit)).unwrap_err().to_string(), expected);
    }
    let users =
        "port \"c1\" is used by what is published at 0.0.0.0:80, access rule 0; remove or change that first";
    assert_eq!(full.apply(&Edit::RemovePort { name: name("c1") }).unwrap_err().to_string(), users);

    let removals = [
        RouterEdit::RemoveRoute { to: "10.0.0.0/8".parse().unwrap() },
        RouterEdit::RemovePublish { listen, proto: Proto::Tcp },
        RouterEdit::RemoveAcl { position: 1 },
        RouterEdit::RemoveAcl { position: 0 },
    ];
    let gone = removals.into_iter().fold(full, |config, edit| apply(&config, &router(edit)));
    assert_eq!(gone, start());
}

#[test]
fn what_is_published_keeps_its_id_while_it_is_equal() {
    let mut ids = Ids::default();
    let add = |config: &Config, listen: &str| apply(config, &router(RouterEdit::AddPublish(publish(listen))));
    let remove = |config: &Config, listen: &str| {
        let edit = RouterEdit::RemovePublish { listen: listen.parse().unwrap(), proto: Proto::Tcp };
        apply(config, &router(edit))
    };
    let ids_of = |config: &Config, ids: &mut Ids| -> Vec<u32> {
        let compiled = compile(config, ids);
        assert_eq!(compiled.plan.check(), Ok(()));
        compiled.plan.router.publishes.iter().map(|publish| publish.id).collect()
    };
    let both = add(&add(&start(), "0.0.0.0:80"), "0.0.0.0:81");
    let first = ids_of(&both, &mut ids);
    let second_only = remove(&both, "0.0.0.0:80");
    assert_eq!(ids_of(&second_only, &mut ids), first[1..], "it keeps its id wherever it stands");
    let again = add(&second_only, "0.0.0.0:80");
    let new = ids_of(&again, &mut ids);
    assert_eq!(new[0], first[1]);
    assert!(!first.contains(&new[1]), "what comes back has no connections: {first:?}, {new:?}");

    let c1 = PortSpec {
        address: Addresses::Given(vec!["172.16.0.3/16".parse().unwrap()]),
        ..start().port["c1"].clone()
    };
    let moved = apply(&again, &Edit::ReplacePort { name: name("c1"), spec: c1 });
    assert!(ids_of(&moved, &mut ids).iter().all(|id| !new.contains(id)), "another station");
}

#[test]
fn what_the_router_is_told_changes_by_its_keys() {
    let mut ids = Ids::default();
    let before = compile(&start(), &mut ids);
    let config = [
        RouterEdit::AddRoute(route("10.0.0.0/8")),
        RouterEdit::AddPublish(publish("0.0.0.0:80")),
        RouterEdit::AddAcl { position: None, rule: deny_to("any") },
    ]
    .into_iter()
    .fold(start(), |config, edit| apply(&config, &router(edit)));
    let after = compile(&config, &mut ids);
    assert_eq!(
        diff(&before, &after),
        Changes { router: vec!["route", "publish", "acl"], ..Changes::default() }
    );
    assert_eq!(diff(&after, &compile(&config, &mut ids)), Changes::default());
    let mut document = Document::clone(&config);
    document.nat.mss_clamp = false;
    let clamped = compile(&Config::new(document).unwrap(), &mut ids);
    assert_eq!(diff(&after, &clamped).router, ["nat"]);
}

#[test]
fn router_edits_are_json_too() {
    for json in [
        r#"{"router":{"add-route":{"to":"10.0.0.0/8","via":["172.16.0.9"]}}}"#,
        r#"{"router":{"remove-route":{"to":"10.0.0.0/8"}}}"#,
        r#"{"router":{"remove-publish":{"listen":"0.0.0.0:80","proto":"tcp"}}}"#,
        r#"{"router":{"add-acl":{"position":0,"rule":{"action":"log","from":"network:a","to":"any"}}}}"#,
    ] {
        let edit: Edit = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&edit).unwrap(), json);
    }
}
