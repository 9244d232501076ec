//! The switch process in real namespaces: traffic, live changes, failures, endings.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::Instant;

use rustix::process::Signal;
use tapestry::link;
use tapestry::sys::tun;

use crate::daemon::{Daemon, Events, PATIENCE, tapestry};
use crate::stations::{SECOND, configuration, dual_stack, numbered, taken};
use crate::support::{able, names, namespace, start};

#[test]
fn tcp_crosses_and_the_tables_tell() {
    if !able() {
        return;
    }
    let (ns1, ns2) = (namespace("ns1"), namespace("ns2"));
    let daemon = Daemon::start(&configuration("", &[&ns1, &ns2]));
    let listener = ns2.run(|| TcpListener::bind("172.16.0.3:0")).unwrap().unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut client = ns1.run(|| TcpStream::connect(address)).unwrap().unwrap();
    let (mut server, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip().to_string(), "172.16.0.2");
    client.write_all(b"woven").unwrap();
    let mut word = [0; 5];
    server.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"woven");

    let stations = daemon.json(&["fdb", "ls"]);
    let of = |mac: &str| {
        stations.as_array().unwrap().iter().find(|station| station["mac"] == mac).cloned().unwrap()
    };
    assert_eq!(of("02:42:ac:10:00:02")["port"], "p0");
    assert_eq!(of("02:42:ac:10:00:03")["port"], "p1");
    assert_eq!(of("02:42:ac:10:00:01")["kind"], "own");
    let ports = daemon.json(&["port", "ls"]);
    assert_eq!(ports[0]["state"], "up");
    assert!(ports[0]["offloads"].as_array().unwrap().iter().any(|offload| offload == "tso"));
    assert_eq!(daemon.json(&["network", "ls"])[0]["ports"], serde_json::json!(["p0", "p1"]));
    let totals = &daemon.json(&["status"])["totals"];
    let count = |name: &str| totals[name].as_u64().unwrap();
    assert_eq!(
        count("received"),
        count("forwarded") + count("consumed") + count("parked") + count("dropped")
    );
}

#[test]
fn ports_and_networks_come_and_go_and_others_lose_nothing() {
    if !able() {
        return;
    }
    let (ns1, ns2, ns3) = (namespace("ns1"), namespace("ns2"), namespace("ns3"));
    let daemon = Daemon::start(&dual_stack("", &[&ns1, &ns2]));
    let path = ns3.path().to_str().unwrap().to_owned();
    let add_port = ["port", "add", "x", "--network", "b", "--netns", &path, "--address", "10.0.0.2/8"];
    for to in SECOND {
        numbered(&ns1, &ns2, to, 2, 8_000, |sequence| match sequence % 4_000 {
            500 => daemon.order(&["network", "create", "b", "--subnet", "10.0.0.0/8"]),
            1_000 => {
                daemon.order(&add_port);
                assert_eq!(names(&ns3), ["x"]);
            }
            1_500 => daemon.order(&["fdb", "add", "--network", "b", "02:00:00:00:00:99", "--port", "x"]),
            2_000 => {
                daemon.order(&["network", "set", "a", "--ageing", &(200 + sequence / 4_000).to_string()]);
            }
            2_500 => daemon.order(&["fdb", "del", "--network", "b", "02:00:00:00:00:99"]),
            3_000 => daemon.order(&["port", "rm", "x"]),
            3_500 => daemon.order(&["network", "rm", "b"]),
            _ => {}
        });
        assert_eq!(names(&ns3), [""; 0]);
    }
}

#[test]
fn a_port_loses_nothing_while_its_own_limits_and_guards_change() {
    if !able() {
        return;
    }
    let (ns1, ns2) = (namespace("ns1"), namespace("ns2"));
    let daemon = Daemon::start(&dual_stack("", &[&ns1, &ns2]));
    let changes: [&[&str]; 4] = [
        &["--guard", "mac,arp,nd"],
        &["--stations-max", "7"],
        &["--storm-broadcast", "100"],
        &["--guard", "none"],
    ];
    for to in SECOND {
        numbered(&ns1, &ns2, to, 2, 8_000, |sequence| {
            if sequence % 500 == 250 {
                let port = ["p0", "p1"][(sequence / 500 % 2) as usize];
                let change = changes[(sequence / 1_000) as usize % changes.len()];
                daemon.order(&[&["port", "set", port], change].concat());
            }
        });
    }
}

#[test]
fn a_whole_configuration_is_applied_under_traffic_and_nothing_is_lost() {
    if !able() {
        return;
    }
    let (ns1, ns2, ns3) = (namespace("ns1"), namespace("ns2"), namespace("ns3"));
    let daemon = Daemon::start(&dual_stack("", &[&ns1, &ns2]));
    // One more port, another network, a static station, other limits and another spin: all in one change.
    let more = dual_stack("spin_us = 5", &[&ns1, &ns2, &ns3])
        .replace("[port.p0]", "[port.p0]\nstations_max = 9")
        + "[network.b]\n[[station]]\nnetwork = \"a\"\nmac = \"02:00:00:00:00:99\"\nport = \"p2\"\n";
    let files = [dual_stack("", &[&ns1, &ns2]), more].map(|text| {
        let file = daemon.directory.path().join(format!("{}.toml", text.len()));
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    });
    for to in SECOND {
        numbered(&ns1, &ns2, to, 2, 6_000, |sequence| {
            if sequence % 500 == 250 {
                let next = (sequence / 500 + 1) as usize % 2;
                daemon.order(&["apply", &files[next]]);
                assert_eq!(names(&ns3).len(), next);
            }
        });
    }
}

#[test]
fn two_workers_keep_each_flow_in_order_and_lose_nothing() {
    if !able() {
        return;
    }
    for to in SECOND {
        let (ns1, ns2) = (namespace("ns1"), namespace("ns2"));
        let daemon = Daemon::start(&dual_stack("workers = 2", &[&ns1, &ns2]));
        numbered(&ns1, &ns2, to, 16, 2_000, |_| {});
        let status = daemon.json(&["status"]);
        for worker in status["workers"].as_array().unwrap() {
            assert!(taken(worker) > 1_000, "both workers have worked: {status}");
            // All but the few for every station, which are the first worker's.
            let handed_off = worker["handed_off"].as_u64().unwrap();
            assert!(handed_off < 100, "the kernel has steered frames to their owners: {status}");
        }
    }
}

#[test]
fn a_burst_of_one_flow_crosses_as_few_frames_and_arrives_as_it_was_sent() {
    if !able() {
        return;
    }
    let heads = [("workers = 1", 30), ("workers = 2", 30), ("gro = false", 0)];
    for ((head, joins), to) in heads.into_iter().flat_map(|head| SECOND.map(|to| (head, to))) {
        let (ns1, ns2) = (namespace("ns1"), namespace("ns2"));
        let daemon = Daemon::start(&dual_stack(head, &[&ns1, &ns2]));
        numbered(&ns1, &ns2, to, 1, 1, |_| {}); // Whom the others find known.
        let receiver = ns2.run(|| UdpSocket::bind((to, 0))).unwrap().unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let any = if to.contains(':') { "::" } else { "0.0.0.0" };
        let sender = ns1.run(|| UdpSocket::bind((any, 0))).unwrap().unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        // A shorter one ends a super-segment: there are two.
        let burst: Vec<Vec<u8>> =
            (0..32).map(|number| vec![number; if number == 15 { 60 } else { 100 }]).collect();
        let joined = || -> u64 {
            let status = daemon.json(&["status"]);
            let workers = status["workers"].as_array().unwrap();
            workers.iter().map(|worker| worker["joined"].as_u64().unwrap()).sum()
        };
        let before = joined();
        daemon.held(|| burst.iter().for_each(|datagram| assert!(sender.send(datagram).is_ok())));
        for sent in &burst {
            let mut octets = [0; 200];
            let len = receiver.recv(&mut octets).unwrap();
            assert_eq!(&octets[..len], sent, "{head}, {to}");
        }
        assert_eq!(joined() - before, joins, "{head}, {to}");
    }
}

#[test]
fn a_vanished_device_is_named_and_the_rest_goes_on() {
    if !able() {
        return;
    }
    let (ns1, ns2, ns3) = (namespace("ns1"), namespace("ns2"), namespace("ns3"));
    let daemon = Daemon::start(&configuration("", &[&ns1, &ns2, &ns3]));
    let events = Events::of(&daemon);
    link::remove(&ns3, "eth0").unwrap();
    assert_eq!(events.next("port.failed")["port"], "p2");

    let ports = daemon.json(&["port", "ls"]);
    assert_eq!((&ports[2]["state"], &ports[0]["state"]), (&"failed".into(), &"up".into()));
    let status = daemon.json(&["status"]);
    let warnings = status["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|warning| warning["text"].as_str().unwrap().contains("\"p2\"")), "{status}");
    numbered(&ns1, &ns2, "172.16.0.3", 1, 100, |_| {});
    // Applying the same file makes the device again.
    let file = daemon.directory.path().join("config.toml");
    daemon.order(&["apply", file.to_str().unwrap()]);
    assert_eq!(daemon.json(&["port", "ls"])[2]["state"], "up");
    numbered(&ns1, &ns3, "172.16.0.4", 1, 100, |_| {});
}

#[test]
fn kill_9_leaves_no_interface_and_the_next_start_works() {
    if !able() {
        return;
    }
    let (ns1, ns2) = (namespace("ns1"), namespace("ns2"));
    let config = configuration("", &[&ns1, &ns2]);
    let mut daemon = Daemon::start(&config);
    let socket = daemon.socket();
    daemon.end(Signal::KILL);
    assert!(socket.exists(), "nobody was left to remove it");
    // A process is gone once its descriptors are closed, and with them its devices.
    let refused = daemon.ask(&["status"]);
    assert_eq!(refused.status.code(), Some(4), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(names(&ns1).is_empty() && names(&ns2).is_empty());
    let next = Daemon::start_in(daemon.host.clone(), &config);
    numbered(&ns1, &ns2, "172.16.0.3", 1, 10, |_| {});
    drop(next);
    assert!(names(&ns1).is_empty() && names(&ns2).is_empty());
}

#[test]
fn sigterm_ends_in_order_and_sighup_reads_the_file_again() {
    if !able() {
        return;
    }
    let (ns1, ns2) = (namespace("ns1"), namespace("ns2"));
    let mut daemon = Daemon::start(&configuration("", &[&ns1]));
    let file = daemon.directory.path().join("config.toml");
    std::fs::write(&file, configuration("", &[&ns1, &ns2])).unwrap();
    daemon.signal(Signal::HUP);
    // It says in its log what came of the signal; a switch that has ended says nothing more.
    let asked = Instant::now();
    while !daemon.log().contains("+ port p1") {
        assert!(daemon.is_running() && asked.elapsed() < PATIENCE, "{}", daemon.log());
        std::thread::yield_now();
    }
    assert_eq!(names(&ns2), ["eth0"]);
    let socket = daemon.socket();
    let events = Events::of(&daemon);
    events.next("daemon.ready");
    assert!(daemon.end(Signal::TERM).success());
    events.next("daemon.stopping");
    assert_eq!(daemon.message(), "STOPPING=1");
    assert!(!socket.exists());
    assert!(names(&ns1).is_empty());
}

#[test]
fn a_second_switch_on_the_socket_is_refused_before_it_touches_anything() {
    if !able() {
        return;
    }
    let ns1 = namespace("ns1");
    let daemon = Daemon::start(&configuration("", &[&ns1]));
    let mut second = tapestry(&daemon.socket());
    second.args(["run", "-c"]).arg(daemon.directory.path().join("config.toml")).stderr(Stdio::piped());
    let output = daemon.host.run(|| start(&mut second)).unwrap().wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(&daemon.json(&["status"])["pid"].to_string()), "it names the first: {text}");
    assert_eq!(daemon.json(&["port", "ls"])[0]["state"], "up");
}

#[test]
fn a_change_that_fails_changes_nothing() {
    if !able() {
        return;
    }
    let (ns1, ns2) = (namespace("ns1"), namespace("ns2"));
    let daemon = Daemon::start(&configuration("", &[&ns1, &ns2]));
    let before = daemon.json(&["port", "ls"]).as_array().unwrap().len();
    let path = ns1.path().to_str().unwrap().to_owned();
    let held = ns1
        .run(|| {
            let file = tun::open().unwrap();
            tun::attach(file.as_fd(), "tap7", tun::IFF_TAP | tun::IFF_NO_PI).unwrap();
            file
        })
        .unwrap();
    let holder = format!("tap7 already, held by process {} (", std::process::id());
    let before_all = daemon.ask(&["config"]).stdout;
    let cases: [(&[&str], i32, &str); 7] = [
        (&["port", "add", "y", "--network", "a", "--netns", &path, "--ifname", "tap7"], 2, &holder),
        (&["port", "add", "y", "--network", "a", "--mac", "02:42:ac:10:00:03"], 2, "02:42:ac:10:00:03"),
        (&["port", "add", "y", "--network", "a", "--netns", "no-such-namespace"], 2, "no-such-namespace"),
        (&["port", "add", "y", "--network", "a", "--netns", &path, "--ifname", "lo"], 2, "lo"),
        (&["port", "add", "y", "--network", "a", "--address", "172.16.0.3/16"], 2, "172.16.0.3"),
        (&["port", "add", "p0", "--network", "a"], 2, "exists"),
        (&["port", "rm", "nobody"], 3, "nobody"),
    ];
    for (words, code, mentioned) in cases {
        let output = daemon.ask(words);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
        assert!(text.contains(mentioned), "{words:?}: {text}");
    }
    assert_eq!(names(&ns1), ["eth0", "tap7"]);
    drop(held);
    // A replacement that cannot be made gives the old device back.
    let output =
        daemon.ask(&["port", "set", "p0", "--address", "172.16.0.2/16", "--netns", "no-such-namespace"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(daemon.json(&["port", "ls"]).as_array().unwrap().len(), before);
    assert_eq!(daemon.ask(&["config"]).stdout, before_all);
    numbered(&ns1, &ns2, "172.16.0.3", 1, 100, |_| {});
}

#[test]
fn a_persistent_tap_is_adopted_and_stays() {
    if !able() {
        return;
    }
    let (host, ns1) = (namespace("host"), namespace("ns1"));
    host.run(|| {
        let file = tun::open().unwrap();
        tun::attach(file.as_fd(), "tap7", tun::IFF_TAP | tun::IFF_NO_PI | tun::IFF_TUN_EXCL).unwrap();
        tun::set_persistent(file.as_fd(), true).unwrap();
    })
    .unwrap();
    let adopted = "[port.host]\nnetwork = \"a\"\nifname = \"tap7\"\naddress = [\"172.16.0.9/16\"]\n";
    let config = configuration("", &[&ns1]) + adopted;
    let mut daemon = Daemon::start_in(host.clone(), &config);
    numbered(&ns1, &host, "172.16.0.9", 1, 100, |_| {});
    let ports = daemon.json(&["port", "ls"]);
    let port = ports.as_array().unwrap().iter().find(|port| port["name"] == "host").unwrap();
    assert_eq!(port["adopted"], true);
    assert!(daemon.end(Signal::TERM).success());
    assert_eq!(names(&host), ["tap7"]);
}
