//! Changes of a running switch where the machine does not play along, and what `events` says of them.

use std::net::UdpSocket;
use std::time::Instant;

use rustix::process::Signal;
use tapestry::link::Namespace;

use crate::daemon::{Daemon, Events, PATIENCE};
use crate::support::{able, ip, names, namespace};

const NETWORK: &str = "[network.a]\nsubnet = [\"172.16.0.0/16\"]\ngateway = [\"172.16.0.1\"]\n";

/// The `eth0` of 172.16.0.`host` in the namespace.
fn port(name: &str, netns: &str, host: u8) -> String {
    format!(
        "[port.{name}]\nnetwork = \"a\"\nnetns = {netns:?}\nifname = \"eth0\"\naddress = [\"172.16.0.{host}/16\"]\n"
    )
}

fn path(namespace: &Namespace) -> String {
    namespace.path().to_str().unwrap().to_owned()
}

#[test]
fn dead_containers_block_no_change_and_come_back() {
    if !able() {
        return;
    }
    let name = |role: &str| format!("tx-{role}-{}", std::process::id());
    let (one, two) = (name("one"), name("two"));
    let spaces = [Namespace::named(&one).unwrap(), Namespace::named(&two).unwrap()];
    let alive = namespace("alive");
    let config = NETWORK.to_owned() + &port("p0", &one, 2) + &port("p1", &two, 3);
    let daemon = Daemon::start(&config);
    let events = Events::of(&daemon);
    drop(spaces);
    let dead = events.next("port.failed")["port"].as_str().unwrap().to_owned();
    let other = events.next("port.failed")["port"].as_str().unwrap().to_owned();
    assert_ne!(dead, other, "both are noticed, though the kernel removes them together");

    let path = path(&alive);
    daemon.order(&["port", "add", "x", "--network", "a", "--netns", &path, "--address", "172.16.0.9/16"]);
    assert_eq!(names(&alive), ["x"]);
    let state = || {
        let ports = daemon.json(&["port", "ls"]);
        let port = ports.as_array().unwrap().iter().find(|port| port["name"] == dead.as_str()).unwrap();
        port["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(), "failed");

    let back = Namespace::named(if dead == "p0" { &one } else { &two }).unwrap();
    daemon.order(&["network", "set", "a", "--ageing", "200"]);
    assert_eq!(names(&back), ["eth0"], "every change tries again");
    assert_eq!(state(), "up");
    drop(back);

    daemon.order(&["port", "rm", "p0"]);
    daemon.order(&["port", "rm", "p1"]);
    assert_eq!(daemon.json(&["port", "ls"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_port_gets_another_interface_name_in_its_namespace() {
    if !able() {
        return;
    }
    let space = namespace("ns1");
    let daemon = Daemon::start(&(NETWORK.to_owned() + &port("p0", &path(&space), 2)));
    daemon.order(&["port", "set", "p0", "--ifname", "eth1"]);
    assert_eq!(names(&space), ["eth1"]);
    assert_eq!(daemon.json(&["port", "ls"])[0]["state"], "up");
}

#[test]
fn events_tell_every_change_and_every_refusal() {
    if !able() {
        return;
    }
    let space = namespace("ns1");
    let daemon = Daemon::start(&(NETWORK.to_owned() + &port("p0", &path(&space), 2)));
    let events = Events::of(&daemon);
    events.next("daemon.ready");
    let expect = |kind: &str, text: &str| {
        let (is, says) = events.next_change();
        assert!(is == kind && says.contains(text), "{is}: {says}");
    };
    daemon.order(&["network", "create", "b", "--subnet", "10.0.0.0/8"]);
    expect("network.added", "\"b\"");
    daemon.order(&["network", "set", "b", "--ageing", "200"]);
    expect("config.applied", "~ network b");
    daemon.order(&["port", "set", "p0", "--ifname", "eth1"]);
    expect("config.applied", "~ port p0");
    daemon.order(&["fdb", "add", "--network", "a", "02:00:00:00:00:99", "--port", "p0"]);
    expect("config.applied", "~ stations");
    assert!(!daemon.ask(&["port", "add", "x", "--network", "a", "--netns", "tx-no-such"]).status.success());
    expect("config.rejected", "tx-no-such");

    let file = daemon.directory.path().join("config.toml");
    std::fs::write(&file, "[network.a]\nmtuu = 1\n").unwrap();
    daemon.signal(Signal::HUP);
    expect("config.rejected", "mtuu");
    assert!(!daemon.ask(&["apply", file.to_str().unwrap()]).status.success());

    std::fs::write(&file, NETWORK).unwrap();
    daemon.signal(Signal::HUP);
    expect("network.removed", "\"b\"");
    expect("port.removed", "\"p0\"");
    expect("config.applied", "~ stations");
}

#[test]
fn an_interface_that_was_taken_down_is_told_and_comes_back() {
    if !able() {
        return;
    }
    let (ns1, ns2) = (namespace("ns1"), namespace("ns2"));
    let config = NETWORK.to_owned() + &port("p0", &path(&ns1), 2) + &port("p1", &path(&ns2), 3);
    let daemon = Daemon::start(&config);
    let receiver = ns2.run(|| UdpSocket::bind("172.16.0.3:7")).unwrap().unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let sender = ns1.run(|| UdpSocket::bind("172.16.0.2:0")).unwrap().unwrap();
    let crosses = |word: &[u8]| {
        sender.send_to(word, "172.16.0.3:7").unwrap();
        let mut bytes = [0; 16];
        let length = receiver.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], word);
    };
    crosses(b"before");
    let states = || {
        let ports = daemon.json(&["port", "ls"]);
        [0, 1].map(|index: usize| ports[index]["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(states(), ["up", "up"]);
    if ip(&ns2, &["link", "set", "dev", "eth0", "down"]).is_none() {
        return;
    }
    assert_eq!(states(), ["up", "down"]);
    // The sender still knows its neighbour, the switch the port behind which it lives.
    sender.send_to(b"lost", "172.16.0.3:7").unwrap();
    let dropped = || {
        let drops = daemon.json(&["drops", "--port", "p1"]);
        drops.as_array().unwrap().iter().any(|drop| drop["reason"] == "deliver.port-down")
    };
    let sent = Instant::now();
    while !dropped() {
        assert!(sent.elapsed() < PATIENCE, "the lost frame is counted");
        std::thread::yield_now();
    }
    ip(&ns2, &["link", "set", "dev", "eth0", "up"]).unwrap();
    assert_eq!(states(), ["up", "up"]);
    crosses(b"after");
}
