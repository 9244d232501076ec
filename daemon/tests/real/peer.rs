//! The other ends of tunnels as an operator sees them: listed, asked, and their MTU followed.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tapestry::link::Namespace;

use crate::daemon::Daemon;
use crate::nic::Cable;
use crate::support::{able, ip, namespace};
use crate::tunnel::{FAMILIES, Family, kernel_vxlan, stretched, transfer};
use crate::uplink::until;

/// What `overlay check` says of the peer: exit code, and each finding's verdict by its name.
fn check(daemon: &Daemon, words: &[&str]) -> (i32, Value) {
    let output = daemon.ask(&[&["overlay", "check", "--json"], words].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

fn judgement<'a>(report: &'a Value, check: &str) -> &'a str {
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["check"] == check);
    finding.map_or("absent", |finding| finding["judgement"].as_str().unwrap())
}

/// Floods datagrams of many flows to the one peer, where nobody listens and each is refused, however many there are.
fn refused(pod: &Namespace, far: &Namespace) {
    let limits = ["/proc/sys/net/ipv4/icmp_ratelimit", "/proc/sys/net/ipv6/icmp/ratelimit"];
    far.run(|| limits.map(|limit| std::fs::write(limit, "0").unwrap())).unwrap();
    let refusals = || {
        let read = |file| std::fs::read_to_string(file).unwrap();
        let v4 = read("/proc/thread-self/net/snmp");
        let [names, counts] =
            ["Icmp: InMsgs", "Icmp: "].map(|head| v4.lines().rfind(|line| line.starts_with(head)));
        let at = names.unwrap().split(' ').position(|name| name == "OutDestUnreachs").unwrap();
        let v6 = read("/proc/thread-self/net/snmp6");
        let v6 = v6.lines().find(|line| line.starts_with("Icmp6OutDestUnreachs")).unwrap();
        counts.unwrap().split(' ').nth(at) != Some("0") || v6.split_whitespace().nth(1) != Some("0")
    };
    until("the peer refuses", || {
        let say = || {
            for _ in 0..64 {
                let socket = UdpSocket::bind("10.9.0.2:0").unwrap();
                socket.set_broadcast(true).unwrap();
                socket.send_to(b"anybody?", "10.9.0.255:9").unwrap();
            }
        };
        pod.run(say).unwrap();
        far.run(refusals).unwrap()
    });
}

fn stretched_here(cable: &Cable, pod: &Namespace, family: Family) -> Daemon {
    Daemon::start_in(cable.host.clone(), &stretched(pod, 2, family, family.host, &[family.far]))
}

#[test]
fn a_kernel_vxlan_device_is_listed_and_answers() {
    if !able() {
        return;
    }
    for family in FAMILIES {
        let Some(cable) = Cable::new() else { return };
        let pod = namespace("pod");
        let daemon = stretched_here(&cable, &pod, family);
        // Nobody listens yet, and every source of datagrams is told so; what it was told then is of no weight later.
        refused(&pod, &cable.far);
        kernel_vxlan(&cable, family);
        let (code, report) = check(&daemon, &[family.far]);
        assert_eq!(code, 0, "{report:#}");
        for what in ["route", "answers", "l4-port", "vni", "checksum", "mtu"] {
            assert_eq!(judgement(&report, what), "good", "{what}: {report:#}");
        }
        transfer(&pod, &cable.far, "10.9.0.1:0");
        let peers = daemon.json(&["peer", "ls"]);
        let peer = &peers[0];
        assert_eq!(peer["name"], format!("lan.vxlan.{}", family.far));
        assert_eq!((&peer["mode"], &peer["vni"]), (&"vxlan".into(), &42.into()));
        assert_eq!((&peer["state"], &peer["mtu"]), (&"up".into(), &(1500 - family.overhead).into()));
        assert!(
            peer["rx_bytes"].as_u64() > Some(1_000) && peer["tx_bytes"].as_u64() > Some(1_000_000),
            "{peer:#}"
        );
        assert!(peer["last_seen_ms"].as_u64() < Some(60_000), "{peer:#}");
        // A station that is named, and one that is not there.
        assert_eq!(check(&daemon, &[family.far, "--inner", "10.9.0.1"]).0, 0);
        assert_eq!(check(&daemon, &[family.far, "--inner", "fd00:9::1"]).0, 0);
        let (code, report) = check(&daemon, &[family.far, "--inner", "10.9.0.77"]);
        assert_eq!((code, judgement(&report, "answers")), (10, "unknown"), "{report:#}");
        assert_eq!(judgement(&report, "host"), "good", "{report:#}");
    }
}

#[test]
fn a_peer_where_nobody_listens_is_told_from_one_that_is_away() {
    if !able() {
        return;
    }
    for family in FAMILIES {
        let Some(cable) = Cable::new() else { return };
        let pod = namespace("pod");
        let daemon = stretched_here(&cable, &pod, family);
        let (code, report) = check(&daemon, &[&format!("lan.vxlan.{}", family.far)]);
        assert_eq!((code, judgement(&report, "l4-port")), (10, "bad"), "{report:#}");
        assert_eq!(judgement(&report, "host"), "good", "{report:#}");
        ip(&cable.host, &["link", "set", "dev", "eth0", "down"]).unwrap();
        let (code, report) = check(&daemon, &[family.far]);
        assert_eq!((code, judgement(&report, "answers")), (10, "absent"), "{report:#}");
        assert!(["route", "host"].iter().any(|what| judgement(&report, what) == "bad"), "{report:#}");
    }
    let daemon = Daemon::start("");
    assert_eq!(daemon.ask(&["overlay", "check", "192.0.2.1"]).status.code(), Some(3));
}

#[test]
fn another_vni_is_seen_if_the_peer_says_anything() {
    if !able() {
        return;
    }
    for family in FAMILIES {
        let Some(cable) = Cable::new() else { return };
        let pod = namespace("pod");
        let daemon = stretched_here(&cable, &pod, family);
        // Who has the L4 port drops our VNI without a word, as the kernel does.
        let end = |address: &str| {
            if address.contains(':') { format!("[{address}]:4789") } else { format!("{address}:4789") }
        };
        let far = cable.far.run(|| UdpSocket::bind(end(family.far))).unwrap().unwrap();
        far.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let is_over = AtomicBool::new(false);
        let (code, report) = thread::scope(|scope| {
            scope.spawn(|| {
                let datagram = [&[8, 0, 0, 0, 0, 0, 43, 0][..], &[2; 60]].concat();
                while !is_over.load(Ordering::Relaxed) {
                    far.send_to(&datagram, end(family.host)).unwrap();
                    let _ = far.recv(&mut [0; 2_000]); // For the pause, or what was asked.
                }
            });
            let told = check(&daemon, &[family.far]);
            is_over.store(true, Ordering::Relaxed);
            told
        });
        assert_eq!((code, judgement(&report, "vni")), (10, "bad"), "{report:#}");
    }
}

#[test]
fn a_path_that_is_too_narrow_is_told() {
    if !able() {
        return;
    }
    for family in FAMILIES {
        let Some(cable) = Cable::new() else { return };
        let pod = namespace("pod");
        let config = stretched(&pod, 2, family, family.host, &[family.far]);
        let config = config.replace("remotes", "underlay_mtu = 1500\nremotes");
        let daemon = Daemon::start_in(cable.host.clone(), &config);
        kernel_vxlan(&cable, family);
        let set =
            |space: &Namespace, mtu: &str| ip(space, &["link", "set", "dev", "eth0", "mtu", mtu]).unwrap();
        set(&cable.far, "1400"); // What is longer is dropped there, silently.
        let (code, report) = check(&daemon, &[family.far]);
        assert_eq!((code, judgement(&report, "mtu")), (10, "bad"), "{report:#}");
        assert_eq!(judgement(&report, "answers"), "good", "{report:#}");
        assert!(report.to_string().contains("without a word"), "{report:#}");
        set(&cable.host, "1400");
        let (_, report) = check(&daemon, &[family.far]);
        assert!(report.to_string().contains("underlay_mtu = 1400"), "{report:#}");
    }
}

/// Hosts .1 and .2 of an overlay; this is `own` of them.
fn overlay(pod: &Namespace, backend: &str, own: u8, family: Family) -> String {
    let other = 3 - own;
    let (local, endpoint) = if own == 2 { (family.host, family.far) } else { (family.far, family.host) };
    let netns = pod.path();
    let subnet = |host: u8| {
        if family.overhead == 50 { format!("10.244.{host}.0/24") } else { format!("fd00:{host}44::/64") }
    };
    let gateway =
        if family.overhead == 50 { format!("10.244.{own}.254") } else { format!("fd00:{own}44::fe") };
    // Flannel's UDP format has no MAC addresses.
    let mac = |host: u8| match backend {
        "vxlan" => format!("mac = \"02:00:00:00:00:0{host}\""),
        _ => String::new(),
    };
    format!(
        "[network.pod]\nsubnet = [{:?}]\ngateway = [{gateway:?}]\nmtu = 1400\n\
         [port.p]\nnetwork = \"pod\"\nnetns = {netns:?}\nifname = \"eth0\"\naddress = \"auto\"\n\
         [overlay]\nbackend = {backend:?}\nlocal = {local:?}\nnetwork = \"pod\"\n{}\n\
         [[overlay.peer]]\nsubnet = {:?}\nendpoint = {endpoint:?}\n{}\n",
        subnet(own),
        mac(own),
        subnet(other),
        mac(other)
    )
}

#[test]
fn hosts_of_an_overlay_answer_each_other_and_their_mtu_follows_the_interface() {
    if !able() {
        return;
    }
    for (family, backend) in
        FAMILIES.into_iter().flat_map(|family| ["vxlan", "udp"].map(|backend| (family, backend)))
    {
        let Some(cable) = Cable::new() else { return };
        let (one, other) = (namespace("one"), namespace("other"));
        let here = Daemon::start_in(cable.host.clone(), &overlay(&one, backend, 2, family));
        let there = Daemon::start_in(cable.far.clone(), &overlay(&other, backend, 1, family));
        for (daemon, peer) in [(&here, family.far), (&there, family.host)] {
            let (code, report) = check(daemon, &[peer]);
            assert_eq!((code, judgement(&report, "mtu")), (0, "good"), "{backend} {report:#}");
            let peers = daemon.json(&["peer", "ls"]);
            assert_eq!((&peers[0]["state"], &peers[0]["mode"]), (&"up".into(), &backend.into()), "{peers:#}");
        }
        let text = String::from_utf8(here.ask(&["peer", "ls"]).stdout).unwrap();
        assert!(text.contains(&format!("overlay.{}", family.far)), "{text}");
        let overhead = if backend == "vxlan" { family.overhead } else { family.overhead - 22 };
        let mtu = || here.json(&["status"])["underlays"][0]["mtu"].as_u64().unwrap();
        assert_eq!(mtu(), u64::from(1500 - overhead));
        ip(&cable.host, &["link", "set", "dev", "eth0", "mtu", "1400"]).unwrap();
        until("the overlay's MTU follows", || mtu() == u64::from(1400 - overhead));
        assert_eq!(here.json(&["peer", "ls"])[0]["mtu"], 1400 - overhead);
    }
}
