//! More workers and fewer while the switch runs.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use serde_json::Value;
use tapestry::link::{self, Namespace};
use tapestry::sys::tun;

use crate::daemon::{Daemon, PATIENCE};
use crate::stations::{configuration, numbered, taken};
use crate::support::{able, namespace};

/// Makes the switch equal to this configuration; what it says.
fn apply(daemon: &Daemon, text: &str) -> std::process::Output {
    let file = daemon.directory.path().join("next.toml");
    std::fs::write(&file, text).unwrap();
    daemon.ask(&["apply", file.to_str().unwrap()])
}

fn applied(daemon: &Daemon, text: &str) -> String {
    let output = apply(daemon, text);
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stderr), daemon.log());
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that counts and must never fall, by name: totals, each port's, each drop reason's.
fn counters(daemon: &Daemon) -> Vec<(String, u64)> {
    let mut counters = Vec::new();
    let mut take = |of: &str, value: &Value| {
        for (key, value) in value.as_object().unwrap() {
            let counts = ["drops", "count"].contains(&key.as_str()) || key.contains('_');
            if let Some(number) = value.as_u64().filter(|_| counts || of == "totals") {
                counters.push((format!("{of} {key}"), number));
            }
        }
    };
    take("totals", &daemon.json(&["status"])["totals"]);
    for port in daemon.json(&["port", "ls"]).as_array().unwrap() {
        take(port["name"].as_str().unwrap(), port);
    }
    for drop in daemon.json(&["drops"]).as_array().unwrap() {
        take(drop["reason"].as_str().unwrap(), drop);
    }
    counters
}

#[track_caller]
fn nothing_fell(before: &[(String, u64)], daemon: &Daemon) -> Vec<(String, u64)> {
    let after = counters(daemon);
    for (name, was) in before {
        let is = after.iter().find(|(same, _)| same == name).unwrap_or_else(|| panic!("{name} has gone"));
        assert!(is.1 >= *was, "{name} was {was} and is {}", is.1);
    }
    after
}

fn workers(daemon: &Daemon) -> Vec<Value> {
    daemon.json(&["status"])["workers"].as_array().unwrap().clone()
}

fn learned(daemon: &Daemon) -> Vec<Value> {
    let mut stations = daemon.json(&["fdb", "ls"]).as_array().unwrap().clone();
    stations.retain(|station| station["kind"] == "learned");
    stations.into_iter().map(|station| serde_json::json!([station["mac"], station["port"]])).collect()
}

fn index(space: &Namespace, name: &str) -> u32 {
    link::find(space, name).unwrap().expect("the interface is there").index
}

#[test]
fn workers_come_and_go_and_nothing_that_was_counted_or_learned_is_forgotten() {
    if !able() {
        return;
    }
    let (ns1, ns2) = (namespace("ns1"), namespace("ns2"));
    let with = |workers: u8| configuration(&format!("workers = {workers}"), &[&ns1, &ns2]);
    let daemon = Daemon::start(&with(1));
    let listener = ns2.run(|| TcpListener::bind("172.16.0.3:0")).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = ns1.run(|| TcpStream::connect(address)).unwrap().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut lives = |word: &[u8; 4]| {
        client.write_all(word).unwrap();
        let mut heard = [0; 4];
        server.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, word, "the connection outlives the change");
    };
    numbered(&ns1, &ns2, "172.16.0.3", 16, 200, |_| {});
    let mut before = counters(&daemon);
    assert!(workers(&daemon).iter().map(taken).sum::<u64>() > 3_000, "{before:?}");

    for count in [2, 3, 1, 2, 1_u8] {
        let stations = learned(&daemon);
        let said = applied(&daemon, &with(count));
        assert!(said.contains("~ workers"), "{said}");
        assert_eq!(workers(&daemon).len(), usize::from(count));
        before = nothing_fell(&before, &daemon);
        let kept = learned(&daemon);
        assert!(stations.iter().all(|station| kept.contains(station)), "{stations:?} {kept:?}");
        lives(b"word");
        let port = &daemon.json(&["port", "ls"])[0];
        assert_eq!((&port["state"], &port["queues"]), (&"up".into(), &count.into()));
        let handled = |daemon: &Daemon| -> Vec<u64> { workers(daemon).iter().map(taken).collect() };
        let idle = handled(&daemon);
        numbered(&ns1, &ns2, "172.16.0.3", 16, 200, |_| {});
        for (before, after) in idle.iter().zip(handled(&daemon)) {
            assert!(after > before + 100, "each of {count} has worked: {idle:?}");
        }
        before = nothing_fell(&before, &daemon);
    }
    let totals = &daemon.json(&["status"])["totals"];
    let count = |name: &str| totals[name].as_u64().unwrap();
    assert_eq!(
        count("received"),
        count("forwarded") + count("consumed") + count("parked") + count("dropped")
    );
}

/// As `ip tuntap add tap7 mode tap [multi_queue]` does; the descriptor is a queue of it.
fn persistent(home: &Namespace, flags: u16) {
    home.run(|| {
        let file = tun::open().unwrap();
        tun::attach(file.as_fd(), "tap7", tun::IFF_TAP | tun::IFF_NO_PI | tun::IFF_TUN_EXCL | flags).unwrap();
        tun::set_persistent(file.as_fd(), true).unwrap();
    })
    .unwrap();
}

/// A port on the adopted device, made after the others.
const ADOPTED: &str = "[port.z]\nnetwork = \"a\"\nifname = \"tap7\"\naddress = [\"172.16.0.9/16\"]\n";

#[test]
fn a_device_with_one_queue_refuses_more_workers_before_anything_is_touched() {
    if !able() {
        return;
    }
    let (host, ns1, ns2) = (namespace("host"), namespace("ns1"), namespace("ns2"));
    persistent(&host, 0);
    let with = |workers: u8| configuration(&format!("workers = {workers}"), &[&ns1, &ns2]) + ADOPTED;
    let daemon = Daemon::start_in(host.clone(), &with(1));
    numbered(&ns1, &host, "172.16.0.9", 1, 100, |_| {});
    let before = (index(&ns1, "eth0"), index(&ns2, "eth0"), learned(&daemon), daemon.ask(&["config"]).stdout);
    let counted = counters(&daemon);
    let output = apply(&daemon, &with(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("port \"z\"") && text.contains("tap7") && text.contains("multi_queue"), "{text}");
    assert_eq!(workers(&daemon).len(), 1);
    let after = (index(&ns1, "eth0"), index(&ns2, "eth0"), learned(&daemon), daemon.ask(&["config"]).stdout);
    assert_eq!(before, after, "no device was made anew");
    nothing_fell(&counted, &daemon);
    numbered(&ns1, &ns2, "172.16.0.3", 4, 100, |_| {});
    numbered(&ns1, &host, "172.16.0.9", 1, 100, |_| {});
}

#[test]
fn a_change_of_workers_that_fails_half_way_gives_the_devices_back() {
    if !able() {
        return;
    }
    let (host, ns1, ns2) = (namespace("host"), namespace("ns1"), namespace("ns2"));
    persistent(&host, tun::IFF_MULTI_QUEUE);
    let with = |workers: u8| configuration(&format!("workers = {workers}"), &[&ns1, &ns2]) + ADOPTED;
    let daemon = Daemon::start_in(host.clone(), &with(1));
    numbered(&ns1, &ns2, "172.16.0.3", 1, 100, |_| {});
    let counted = counters(&daemon);
    // The kernel lets anybody join a multi-queue device; the switch does not come back to one that has another user.
    let joined: OwnedFd = host
        .run(|| {
            let file = tun::open().unwrap();
            let flags = tun::IFF_TAP | tun::IFF_NO_PI | tun::IFF_VNET_HDR | tun::IFF_MULTI_QUEUE;
            tun::attach(file.as_fd(), "tap7", flags).unwrap();
            file
        })
        .unwrap();
    let output = apply(&daemon, &with(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("tap7") && text.contains(&std::process::id().to_string()), "{text}");
    assert_eq!(workers(&daemon).len(), 1);
    assert!(String::from_utf8(daemon.ask(&["config"]).stdout).unwrap().contains("workers = 1"));
    nothing_fell(&counted, &daemon);
    let state = |port: usize| daemon.json(&["port", "ls"])[port]["state"].as_str().unwrap().to_owned();
    assert_eq!([state(0), state(1), state(2)], ["up", "up", "failed"]);
    numbered(&ns1, &ns2, "172.16.0.3", 4, 100, |_| {});
    // Once the other user has gone, the same change works, and brings the failed port back.
    drop(joined);
    applied(&daemon, &with(2));
    assert_eq!([state(0), state(1), state(2)], ["up", "up", "up"]);
    assert_eq!(workers(&daemon).len(), 2);
    numbered(&ns1, &host, "172.16.0.9", 4, 100, |_| {});
}
