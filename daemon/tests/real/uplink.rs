//! Uplinks of a running switch: an interface that goes down, away and comes back, and the host's own stack.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use tapestry::link;

use crate::daemon::{Daemon, Events, PATIENCE};
use crate::nic::Cable;
use crate::support::{able, ip, names, namespace};
use crate::traffic::pattern;

const NETWORK: &str = "[network.a]\nsubnet = [\"172.16.0.0/16\"]\ngateway = [\"172.16.0.1\"]\n";
const NIC: &str =
    "[uplink]\nkind = \"nic\"\nifname = \"eth0\"\naddress = [\"192.0.2.7/24\"]\ngateway = [\"192.0.2.1\"]\n";
const HOST: &str = "[uplink]\nkind = \"host\"\nifname = \"tapestry0\"\naddress = [\"169.254.64.2/30\", \"fd00:64::2/64\"]\nhost_address = [\"169.254.64.1/30\", \"fd00:64::1/64\"]\n";

/// Waits until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come about");
        std::thread::yield_now();
    }
}

/// Asks for the uplink's address from the other end of the cable until the router answers.
struct Asker(OwnedFd);

impl Asker {
    fn new(cable: &Cable) -> Self {
        let index = link::find(&cable.far, "eth0").unwrap().unwrap().index;
        Self(cable.far.run(|| tapestry::sys::packet::open(index)).unwrap().unwrap())
    }

    fn is_answered(&self) {
        let mac = [2, 0, 0, 0, 0, 1];
        let request = [
            &[0xff; 6],
            &mac[..],
            b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01",
            &mac,
            &[192, 0, 2, 1],
            &[0; 6],
            &[192, 0, 2, 7],
            &[0; 18],
        ]
        .concat();
        until("an answer", || {
            // A cable that has just been plugged in may lose one.
            let _lost = rustix::io::write(&self.0, &request);
            let tenth = rustix::time::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&tenth)).unwrap();
            let mut frame = [0; 2048];
            while let Ok(len) = rustix::io::read(&self.0, &mut frame) {
                let is_reply = len >= 42 && frame[12..14] == [8, 6] && frame[21] == 2;
                if is_reply && frame[28..32] == [192, 0, 2, 7] {
                    assert_eq!(frame[22..28], [2, 0x42, 192, 0, 2, 7]);
                    return true;
                }
            }
            false
        });
    }
}

fn uplink(daemon: &Daemon) -> serde_json::Value {
    let ports = daemon.json(&["port", "ls"]);
    ports.as_array().unwrap().iter().find(|port| port["name"] == "uplink").expect("it is listed").clone()
}

/// Whether the router knows the MAC address of the station at the other end of the cable.
fn knows_far(daemon: &Daemon) -> bool {
    let neighbours = daemon.json(&["neigh", "ls"]);
    neighbours.as_array().unwrap().iter().any(|it| it["address"] == "192.0.2.1" && !it["mac"].is_null())
}

fn warnings(daemon: &Daemon) -> String {
    daemon.json(&["status"])["warnings"].to_string()
}

#[test]
fn an_interface_goes_down_away_and_comes_back() {
    if !able() {
        return;
    }
    let Some(cable) = Cable::new() else { return };
    let daemon = Daemon::start_in(cable.host.clone(), &(NETWORK.to_owned() + NIC));
    let events = Events::of(&daemon);
    Asker::new(&cable).is_answered();
    assert_eq!(uplink(&daemon)["state"], "up");
    assert!(knows_far(&daemon), "it has asked");

    ip(&cable.host, &["link", "set", "dev", "eth0", "down"]).unwrap();
    assert_eq!(events.next("port.down")["port"], "uplink");
    assert_eq!(uplink(&daemon)["state"], "down");
    assert!(warnings(&daemon).contains("eth0 is down"), "{}", warnings(&daemon));
    ip(&cable.host, &["link", "set", "dev", "eth0", "up"]).unwrap();
    events.next("port.up");
    assert_eq!(uplink(&daemon)["state"], "up");
    assert!(!knows_far(&daemon), "another may be there");
    Asker::new(&cable).is_answered();
    // Down and up again before anybody looks.
    assert!(knows_far(&daemon));
    daemon.held(|| {
        ip(&cable.host, &["link", "set", "dev", "eth0", "down"]).unwrap();
        ip(&cable.host, &["link", "set", "dev", "eth0", "up"]).unwrap();
    });
    until("that it forgets who was there", || !knows_far(&daemon));

    ip(&cable.far, &["link", "set", "dev", "eth0", "down"]).unwrap();
    let text = events.next("port.down")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("no carrier"), "{text}");
    ip(&cable.far, &["link", "set", "dev", "eth0", "up"]).unwrap();
    events.next("port.up");

    ip(&cable.host, &["link", "set", "dev", "eth0", "mtu", "1400"]).unwrap();
    until("the interface's MTU", || uplink(&daemon)["mtu"] == 1400);
    ip(&cable.host, &["link", "set", "dev", "eth0", "mtu", "9000"]).unwrap();
    until("the configured MTU", || uplink(&daemon)["mtu"] == 1500);
    Asker::new(&cable).is_answered();
    assert!(knows_far(&daemon));

    ip(&cable.host, &["link", "del", "dev", "eth0"]).unwrap();
    events.next("port.failed");
    assert_eq!(uplink(&daemon)["state"], "failed");
    let told = warnings(&daemon);
    assert!(told.contains("it is tried again when there is an interface eth0") && !told.contains("port rm"));
    cable.plug().unwrap();
    events.next("port.up");
    assert!(!knows_far(&daemon), "another may be there");
    until("the carrier", || uplink(&daemon)["state"] == "up");
    Asker::new(&cable).is_answered();
}

#[test]
fn a_container_reaches_the_outside_and_its_frames_are_counted_while_the_link_is_down() {
    if !able() {
        return;
    }
    for workers in [1, 2] {
        let Some(cable) = Cable::new() else { return };
        outside_and_back(workers, &cable);
    }
}

fn outside_and_back(workers: usize, cable: &Cable) {
    let inside = namespace("inside");
    let netns = inside.path();
    let port = format!(
        "masquerade = true\n[port.c1]\nnetwork = \"a\"\nnetns = {netns:?}\nifname = \"eth0\"\naddress = [\"172.16.0.2/16\"]\n"
    );
    let config = format!("workers = {workers}\n{NETWORK}{port}{NIC}");
    let daemon = Daemon::start_in(cable.host.clone(), &config);
    let listener = cable.far.run(|| TcpListener::bind("192.0.2.1:0")).unwrap().unwrap();
    let listening = listener.local_addr().unwrap();
    let transfer = || {
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let mut stream = inside.run(|| TcpStream::connect(listening)).unwrap().unwrap();
                stream.write_all(&pattern()).unwrap();
            });
            let (mut stream, peer) = listener.accept().unwrap();
            assert_eq!(peer.ip().to_string(), "192.0.2.7", "the uplink's address is what the outside sees");
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            sending.join().unwrap();
            assert!(received == pattern(), "{} octets arrived, not those sent", received.len());
        });
    };
    transfer();
    let sent = uplink(&daemon);
    let (frames, bytes) = (sent["tx_frames"].as_u64().unwrap(), sent["tx_bytes"].as_u64().unwrap());
    assert!(bytes / frames > 3000, "{bytes} octets in {frames} frames: no super-segments");

    let events = Events::of(&daemon);
    ip(&cable.host, &["link", "set", "dev", "eth0", "down"]).unwrap();
    events.next("port.down");
    let sender = inside.run(|| UdpSocket::bind("172.16.0.2:0")).unwrap().unwrap();
    until("a counted loss", || {
        sender.send_to(b"lost", "192.0.2.1:9").unwrap();
        let drops = daemon.json(&["drops", "--port", "uplink"]);
        drops.as_array().unwrap().iter().any(|drop| drop["reason"] == "deliver.port-down")
    });
    ip(&cable.host, &["link", "set", "dev", "eth0", "up"]).unwrap();
    events.next("port.up");
    transfer();
}

#[test]
fn emptying_the_hosts_firewall_in_the_middle_of_a_transfer_loses_nothing() {
    if !able() {
        return;
    }
    let Some(cable) = Cable::new() else { return };
    let inside = namespace("inside");
    let netns = inside.path();
    let port = format!(
        "masquerade = true\n[port.c1]\nnetwork = \"a\"\nnetns = {netns:?}\nifname = \"eth0\"\naddress = [\"172.16.0.2/16\"]\n"
    );
    let _daemon = Daemon::start_in(cable.host.clone(), &format!("{NETWORK}{port}{NIC}"));
    let listener = cable.far.run(|| TcpListener::bind("192.0.2.1:0")).unwrap().unwrap();
    let listening = listener.local_addr().unwrap();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut stream = inside.run(|| TcpStream::connect(listening)).unwrap().unwrap();
            stream.write_all(&pattern()).unwrap();
        });
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = vec![0; pattern().len() / 2];
        stream.read_exact(&mut received).unwrap();
        for (program, arguments) in
            [("nft", &["flush", "ruleset"][..]), ("iptables", &["-F"]), ("iptables", &["-t", "nat", "-F"])]
        {
            let flush = || Command::new(program).args(arguments).status();
            match cable.host.run(flush).unwrap() {
                Ok(status) => assert!(status.success(), "{program} {arguments:?}: {status}"),
                Err(error) => eprintln!("skipped: {program}: {error}"),
            }
        }
        stream.read_to_end(&mut received).unwrap();
        sending.join().unwrap();
        assert!(received == pattern(), "{} octets arrived, not those sent", received.len());
    });
}

#[test]
fn an_interface_that_cannot_be_an_uplink_is_refused_with_the_reason() {
    if !able() {
        return;
    }
    let Some(cable) = Cable::new() else { return };
    ip(&cable.host, &["link", "add", "br0", "type", "bridge"]).unwrap();
    ip(&cable.host, &["link", "add", "eth1", "type", "veth", "peer", "name", "eth2"]).unwrap();
    ip(&cable.host, &["link", "set", "dev", "eth1", "master", "br0"]).unwrap();
    let daemon = Daemon::start_in(cable.host.clone(), NETWORK);
    let file = daemon.directory.path().join("other.toml");
    let refusal = |from: &str, to: &str| {
        fs::write(&file, NETWORK.to_owned() + &NIC.replace(from, to)).unwrap();
        let output = daemon.ask(&["apply", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (from, to, words) in [
        ("eth0", "eth9", "there is no interface eth9"),
        ("eth0", "lo", "leads nowhere"),
        ("eth0", "eth1", "belongs to bridge br0"),
        ("192.0.2.7", "192.0.2.2", "192.0.2.2 is the host's own, on eth0"),
    ] {
        let text = refusal(from, to);
        assert!(text.contains(words), "{text}");
    }
    // One that is down is taken, with a warning.
    fs::write(&file, NETWORK.to_owned() + &NIC.replace("eth0", "eth2")).unwrap();
    daemon.order(&["apply", file.to_str().unwrap()]);
    assert!(warnings(&daemon).contains("eth2 is down"), "{}", warnings(&daemon));
    assert_eq!(uplink(&daemon)["state"], "down");

    let events = Events::of(&daemon);
    ip(&cable.host, &["addr", "add", "192.0.2.7/24", "dev", "eth0"]).unwrap();
    assert_eq!(events.next("neigh.conflict")["port"], "uplink");
    assert!(warnings(&daemon).contains("192.0.2.7 is the host's own, on eth0"), "{}", warnings(&daemon));
}

#[test]
fn a_killed_switch_leaves_the_interface_as_it_was() {
    if !able() {
        return;
    }
    let Some(cable) = Cable::new() else { return };
    let mut daemon = Daemon::start_in(cable.host.clone(), &(NETWORK.to_owned() + NIC));
    assert_eq!(cable.promiscuity(), "1");
    daemon.end(Signal::KILL);
    until("the end of promiscuity", || cable.promiscuity() == "0");
}

#[test]
fn a_container_reaches_the_host_and_the_answer_finds_its_way_by_the_hosts_route() {
    if !able() {
        return;
    }
    let (host, inside) = (namespace("host"), namespace("inside"));
    let netns = inside.path();
    let port = format!(
        "[port.c1]\nnetwork = \"a\"\nnetns = {netns:?}\nifname = \"eth0\"\naddress = [\"172.16.0.2/16\"]\n"
    );
    let _daemon = Daemon::start_in(host.clone(), &(NETWORK.to_owned() + &port + HOST));
    let listener = host.run(|| TcpListener::bind("169.254.64.1:0")).unwrap().unwrap();
    let listening = listener.local_addr().unwrap();
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut stream = inside.run(|| TcpStream::connect(listening)).unwrap().unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let (mut stream, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip().to_string(), "172.16.0.2", "nobody translates");
        stream.write_all(b"hello").unwrap();
        drop(stream);
        assert_eq!(asking.join().unwrap(), "hello");
    });
}

#[test]
fn the_host_has_routes_to_the_networks_as_long_as_there_are_both() {
    if !able() {
        return;
    }
    let host = namespace("host");
    let mut daemon = Daemon::start_in(host.clone(), &(NETWORK.to_owned() + HOST));
    let routes = |to: &str| ip(&host, &["route", "show", to]);
    let Some(route) = routes("172.16.0.0/16") else { return };
    assert!(route.contains("via 169.254.64.2 dev tapestry0"), "{route}");
    let index = || link::find(&host, "tapestry0").unwrap().unwrap().index;
    let before = index();

    let create = |name: &str, octet: &str| {
        let (subnet, gateway) = (format!("10.{octet}.0.0/16"), format!("10.{octet}.0.1"));
        daemon.ask(&["network", "create", name, "--subnet", &subnet, "--gateway", &gateway])
    };
    assert!(create("b", "1").status.success());
    assert!(routes("10.1.0.0/16").unwrap().contains("via 169.254.64.2"));
    let v6 = ["network", "create", "c", "--subnet", "fd00:3::/64", "--gateway", "fd00:3::1"];
    daemon.order(&v6);
    let route = ip(&host, &["-6", "route", "show", "fd00:3::/64"]).unwrap();
    assert!(route.contains("via fd00:64::2 dev tapestry0"), "{route}");

    // The kernel takes them, and an IPv6 address, from an interface that is set down.
    ip(&host, &["link", "set", "dev", "tapestry0", "down"]).unwrap();
    ip(&host, &["link", "set", "dev", "tapestry0", "up"]).unwrap();
    until("the routes", || routes("172.16.0.0/16").unwrap().contains("via 169.254.64.2"));
    until("the routes", || routes("10.1.0.0/16").unwrap().contains("via 169.254.64.2"));
    until("the IPv6 route", || {
        ip(&host, &["-6", "route", "show", "fd00:3::/64"]).unwrap().contains("via fd00:64::2 dev tapestry0")
    });
    let addresses = link::find(&host, "tapestry0").unwrap().unwrap().addresses;
    assert!(addresses.contains(&"fd00:64::1/64".parse().unwrap()), "{addresses:?}");

    ip(&host, &["route", "add", "10.2.0.0/16", "dev", "lo"]).unwrap();
    let refused = create("d", "2");
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && text.contains("there is a route to 10.2.0.0/16 already"), "{text}");
    assert!(routes("10.2.0.0/16").unwrap().contains("dev lo"), "the other's stays");

    daemon.order(&["network", "rm", "b"]);
    assert_eq!(routes("10.1.0.0/16").unwrap(), "");
    assert_eq!(index(), before, "the device stands");
    daemon.end(Signal::KILL);
    until("the end of the device", || names(&host).is_empty());
    assert_eq!(routes("172.16.0.0/16").unwrap(), "", "the routes go with the device");
}
