//! A supervisor over socket pairs instead of TAPs: what a port's mishap looks like from outside.

use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use wire::offload::VNET_HDR_LEN;

use super::device::{Blueprint, Device, Made, ifname};
use super::{Options, Supervisor};
use crate::api::{
    ErrorKind, NeighbourFilter, Operations as _, PortState, RouterOperations as _, SessionFilter,
};
use crate::events::EventKind;
use crate::port::PortIo;
use crate::port::pipe::{PANIC_PILL, PATIENCE, pipe};

/// The far ends of devices made so far, by interface name.
type Stations = Arc<Mutex<Vec<(String, UnixDatagram)>>>;

fn device(stations: &Stations, blueprint: &Blueprint, queues: usize) -> Made {
    let mut made: Vec<Box<dyn PortIo>> = Vec::new();
    for _ in 0..queues {
        let (near, far) = pipe();
        made.push(Box::new(near));
        stations.lock().unwrap().push((ifname(blueprint).to_owned(), far));
    }
    let device = Device {
        blueprint: blueprint.clone(),
        generation: 0,
        offloads: Vec::new(),
        queues,
        is_adopted: false,
        is_multi_queue: queues > 1,
        steering_refused: None,
        refuses_offload: false,
        watched: None,
        failed: None,
    };
    (device, made)
}

/// A frame between stations 02::src and 02::dst with a made-up type, behind an empty virtio header.
fn frame(dst: u8, src: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; VNET_HDR_LEN];
    bytes.extend([2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 0x88, 0xb5]);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn a_port_that_panics_is_named_in_status_and_the_rest_forwards() {
    let stations = Stations::default();
    let text =
        "[network.a]\n[port.p0]\nnetwork = \"a\"\n[port.p1]\nnetwork = \"a\"\n[port.p2]\nnetwork = \"a\"\n";
    let config = config::check("test", text).unwrap();
    let made = Arc::clone(&stations);
    let build = Box::new(move |blueprint: &Blueprint, queues| Ok(device(&made, blueprint, queues)));
    let supervisor = Supervisor::start_with(config, Options::default(), build).unwrap();
    let send = |port: &str, frame: &[u8]| {
        let stations = stations.lock().unwrap();
        let (_, far) = stations.iter().rev().find(|(name, _)| name == port).unwrap();
        far.send(frame).unwrap();
    };
    let receive = |port: &str| {
        let stations = stations.lock().unwrap();
        let (_, far) = stations.iter().rev().find(|(name, _)| name == port).unwrap();
        let mut bytes = vec![0; 256];
        let read = far.recv(&mut bytes).expect("a frame arrives");
        bytes.truncate(read);
        bytes
    };
    assert_eq!(supervisor.status().unwrap().ports, [(PortState::Up, 3)].into());

    send("p0", &frame(9, 1, PANIC_PILL));
    let asked = Instant::now();
    let status = loop {
        let status = supervisor.status().unwrap();
        if status.ports.contains_key(&PortState::Failed) {
            break status;
        }
        assert!(asked.elapsed() < PATIENCE, "{status:?}");
        std::thread::yield_now();
    };
    assert_eq!(status.ports, [(PortState::Up, 2), (PortState::Failed, 1)].into());
    let named = |text: &str| text.contains("\"p0\"") && text.contains("swallowed a pill");
    assert!(status.warnings.iter().any(|warning| named(&warning.text)), "{:?}", status.warnings);
    assert!(supervisor.events().recent().iter().any(|event| named(&event.text)));
    let port = &supervisor.ports().unwrap()[0];
    assert_eq!((port.name.as_str(), port.state), ("p0", PortState::Failed));

    send("p1", &frame(9, 2, b"still here"));
    assert_eq!(receive("p2"), frame(9, 2, b"still here"));
    // Any change tries the port again.
    let again = supervisor.networks().unwrap()[0].spec.clone();
    supervisor.set_network("a", config::NetworkSpec { ageing: 200, ..again }).unwrap();
    assert_eq!(supervisor.status().unwrap().ports, [(PortState::Up, 3)].into());
    send("p0", &frame(9, 1, b"back again"));
    assert_eq!(receive("p1"), frame(9, 1, b"back again"));
}

/// A switch whose devices are socket pairs.
fn start(config: config::Config, options: Options) -> Arc<Supervisor> {
    let stations = Stations::default();
    let build = Box::new(move |blueprint: &Blueprint, queues| Ok(device(&stations, blueprint, queues)));
    Supervisor::start_with(config, options, build).unwrap()
}

const ROUTED: &str = r#"
[network.a]
subnet = ["172.16.0.0/16"]
gateway = ["172.16.0.1"]
[network.b]
subnet = ["172.17.0.0/16"]
gateway = ["172.17.0.1"]
isolated = true
[network.c]
subnet = ["172.18.0.0/16"]
gateway = ["172.18.0.1"]
isolated = true
[port.web]
network = "a"
address = ["172.16.0.2/16"]
[[route]]
to = "10.0.0.0/8"
via = ["172.16.0.254"]
[[route]]
to = "10.66.0.0/16"
kind = "blackhole"
[[acl]]
action = "deny"
from = "network:a"
to = "172.17.0.9"
"#;

#[test]
fn the_router_says_which_way_packets_go_and_why() {
    let supervisor = start(config::check("test", ROUTED).unwrap(), Options::default());
    let routes: Vec<_> =
        supervisor.routes().unwrap().into_iter().map(|route| (route.to, route.kind, route.source)).collect();
    let expected = [
        ("10.0.0.0/8", "via", "static"),
        ("10.66.0.0/16", "blackhole", "static"),
        ("172.16.0.0/16", "connected", "connected"),
        ("172.17.0.0/16", "connected", "connected"),
        ("172.18.0.0/16", "connected", "connected"),
    ]
    .map(|(to, kind, source)| (to.to_owned(), kind.to_owned(), source.to_owned()));
    assert_eq!(routes, expected);

    for (to, from, next_hop, denied, reachable) in [
        ("10.1.1.1", None, Some(("172.16.0.254", "a")), None, true),
        ("10.66.1.1", None, None, None, false),
        ("192.0.2.1", None, None, None, false),
        ("172.17.0.1", None, None, None, true),
        ("172.17.0.9", Some("172.18.0.2"), Some(("172.17.0.9", "b")), Some("route.isolated"), false),
        ("172.17.0.9", Some("172.16.0.2"), Some(("172.17.0.9", "b")), Some("route.acl-denied"), false),
        ("172.17.0.8", Some("172.16.0.2"), Some(("172.17.0.8", "b")), None, true),
    ] {
        let from = from.map(|from: &str| from.parse().unwrap());
        let way = supervisor.explain_route(to.parse().unwrap(), from).unwrap();
        let hop = way.hops.first().map(|hop| (hop.address.as_str(), hop.network.as_str()));
        assert_eq!((hop, way.denied.as_deref(), way.reachable), (next_hop, denied, reachable), "{way:?}");
    }
}

#[test]
fn the_router_is_told_and_asked_while_it_runs() {
    let supervisor = start(config::check("test", ROUTED).unwrap(), Options::default());
    let to = "10.66.0.0/16".parse().unwrap();
    supervisor.remove_route(to).unwrap();
    assert_eq!(supervisor.remove_route(to).unwrap_err().kind, ErrorKind::NotFound);
    let publish = config::PublishSpec {
        listen: "0.0.0.0:8080".parse().unwrap(),
        proto: config::Proto::Tcp,
        to: "web:80".parse().unwrap(),
    };
    supervisor.add_publish(publish.clone()).unwrap();
    assert_eq!(supervisor.add_publish(publish.clone()).unwrap_err().kind, ErrorKind::Invalid);
    let published = supervisor.publishes().unwrap();
    assert_eq!((published[0].address.as_str(), published[0].sessions), ("172.16.0.2", 0));
    supervisor.remove_publish(publish.listen, publish.proto).unwrap();
    assert!(supervisor.publishes().unwrap().is_empty());

    let rule = supervisor.acl().unwrap()[0].rule.clone();
    let log = config::AclSpec { action: config::AclAction::Log, ..rule.clone() };
    supervisor.add_acl(Some(0), log).unwrap();
    let rules: Vec<_> = supervisor.acl().unwrap().iter().map(|rule| (rule.position, rule.hits)).collect();
    assert_eq!(rules, [(0, 0), (1, 0)]);
    let beyond = supervisor.add_acl(Some(99), rule).unwrap_err();
    assert_eq!((beyond.kind, beyond.what.as_str()), (ErrorKind::Invalid, "--position 99"));
    assert_eq!(beyond.why, "there are only 2 rules");
    supervisor.remove_acl(1).unwrap();
    assert_eq!(supervisor.remove_port("nope").unwrap_err().kind, ErrorKind::NotFound);
    let events = supervisor.events().recent();
    assert!(!events.iter().any(|event| event.text.contains("nope")), "nothing was asked for: {events:?}");
    let applied =
        supervisor.events().recent().into_iter().filter(|event| event.kind == EventKind::ConfigApplied);
    let texts: Vec<String> = applied.map(|event| event.text).collect();
    assert_eq!(texts[1..], ["~ route", "~ publish", "~ publish", "~ acl", "~ acl"], "after the start");

    assert_eq!(supervisor.nat().unwrap().sessions, 0);
    assert!(supervisor.sessions(&SessionFilter::default()).unwrap().is_empty());
    let one = SessionFilter { id: Some(7), ..SessionFilter::default() };
    assert_eq!(supervisor.kill_sessions(&one).unwrap().count, 0);
    let nonsense = SessionFilter { address: Some("everywhere".to_owned()), ..SessionFilter::default() };
    assert_eq!(supervisor.sessions(&nonsense).unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(supervisor.flush_neighbours(&NeighbourFilter::default()).unwrap().count, 0);
    let nowhere = NeighbourFilter { network: Some("d".to_owned()), address: None };
    assert_eq!(supervisor.neighbours(&nowhere).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn automatic_addresses_outlive_the_process_and_the_port() {
    const PORTS: &str =
        "[port.a]\nnetwork = \"n\"\naddress = \"auto\"\n[port.b]\nnetwork = \"n\"\naddress = \"auto\"\n";
    let text = "[network.n]\nsubnet = [\"10.0.0.0/24\"]\n".to_owned() + PORTS;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    let restart = |text: &str| {
        let mut opened = crate::state::open(&path);
        let (config, leases) = config::check_leased("test", text, &opened.leases).unwrap();
        opened.leases = leases;
        start(config, Options { opened, ..Options::default() })
    };
    let address = |supervisor: &Supervisor, port: &str| {
        supervisor.ports().unwrap().iter().find(|info| info.name == port).unwrap().address.clone()
    };
    let first = restart(&text);
    assert_eq!(address(&first, "b"), ["10.0.0.2/24"]);
    first.remove_port("a").unwrap();
    first.stop();
    drop(first);

    let other_order = text.replace("[port.a]", "[port.c]");
    let second = restart(&other_order);
    assert_eq!(address(&second, "b"), ["10.0.0.2/24"]);
    assert_eq!(address(&second, "c"), ["10.0.0.3/24"], "a may come back");
    let auto = config::PortSpec {
        network: Some("n".to_owned()),
        address: config::Addresses::Auto,
        ..config::PortSpec::default()
    };
    second.add_port("a", auto).unwrap();
    assert_eq!(address(&second, "a"), ["10.0.0.1/24"]);

    // What cannot be kept is told, and changes nothing else.
    std::fs::remove_dir_all(directory.path()).unwrap();
    second.remove_port("c").unwrap();
    let spec = config::PortSpec {
        network: Some("n".to_owned()),
        address: config::Addresses::Auto,
        ..Default::default()
    };
    second.add_port("d", spec).unwrap();
    let warnings = second.status().unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.text.contains("cannot be written")), "{warnings:?}");
    assert!(second.events().recent().iter().any(|event| event.kind == EventKind::StateFailed));
}
