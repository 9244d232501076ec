//! Tunnels: networks that go on on another host, two switches or a switch and the kernel's own VXLAN device at the ends.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tapestry::link::Namespace;

use crate::daemon::Daemon;
use crate::nic::Cable;
use crate::support::{able, ip, namespace};
use crate::traffic::pattern;
use crate::uplink::until;

/// The underlay's ends on the cable, by family, and the octets that its headers take with VXLAN's.
pub(crate) const FAMILIES: [Family; 2] = [
    Family { host: "192.0.2.2", far: "192.0.2.1", overhead: 50 },
    Family { host: "fd00:2::2", far: "fd00:2::1", overhead: 70 },
];

#[derive(Clone, Copy)]
pub(crate) struct Family {
    pub(crate) host: &'static str,
    pub(crate) far: &'static str,
    pub(crate) overhead: u16,
}

/// A network of VNI 42 with one station of this number, stretched to `remotes`.
pub(crate) fn stretched(
    pod: &Namespace,
    number: u8,
    family: Family,
    local: &str,
    remotes: &[&str],
) -> String {
    let (mtu, netns) = (1500 - family.overhead, pod.path());
    format!(
        "[network.lan]\nsubnet = [\"10.9.0.0/24\", \"fd00:9::/64\"]\nmtu = {mtu}\n\
         [network.lan.vxlan]\nvni = 42\nport = 4789\nlocal = {local:?}\nremotes = {remotes:?}\n\
         [port.p]\nnetwork = \"lan\"\nnetns = {netns:?}\nifname = \"eth0\"\n\
         address = [\"10.9.0.{number}/24\", \"fd00:9::{number}/64\"]\n"
    )
}

/// Sends the pattern from one namespace to an address in another.
pub(crate) fn transfer(from: &Namespace, to: &Namespace, address: &str) {
    let listener = to.run(|| TcpListener::bind(address)).unwrap().unwrap();
    let listening = listener.local_addr().unwrap();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut stream = from.run(|| TcpStream::connect(listening)).unwrap().unwrap();
            stream.write_all(&pattern()).unwrap();
        });
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        sending.join().unwrap();
        assert!(received == pattern(), "{} octets arrived, not those sent", received.len());
    });
}

/// Octets per frame that port "p" has given to its station.
fn frame_len(daemon: &Daemon) -> u64 {
    let ports = daemon.json(&["port", "ls"]);
    let port = ports.as_array().unwrap().iter().find(|port| port["name"] == "p").unwrap();
    port["tx_bytes"].as_u64().unwrap() / port["tx_frames"].as_u64().unwrap()
}

fn drops(daemon: &Daemon) -> Vec<(String, u64)> {
    let drops = daemon.json(&["drops"]);
    let fact = |drop: &serde_json::Value| {
        (drop["reason"].as_str().unwrap().to_owned(), drop["count"].as_u64().unwrap())
    };
    drops.as_array().unwrap().iter().map(fact).collect()
}

#[test]
fn two_switches_carry_a_network_in_super_segments() {
    if !able() {
        return;
    }
    for (family, workers) in FAMILIES.into_iter().zip([1, 2]) {
        let Some(cable) = Cable::new() else { return };
        let (one, other) = (namespace("one"), namespace("other"));
        let start = |space: &Namespace, pod: &Namespace, number, local, remote| {
            let config = stretched(pod, number, family, local, &[remote]);
            Daemon::start_in(space.clone(), &format!("workers = {workers}\n{config}"))
        };
        let here = start(&cable.host, &one, 1, family.host, family.far);
        let there = start(&cable.far, &other, 2, family.far, family.host);
        transfer(&one, &other, "10.9.0.2:0");
        assert!(frame_len(&there) > 3_000, "{} octets a frame: no super-segments", frame_len(&there));
        transfer(&other, &one, "[fd00:9::1]:0");
        assert!(frame_len(&here) > 3_000, "{} octets a frame: no super-segments", frame_len(&here));
        let underlay = &here.json(&["status"])["underlays"][0];
        assert_eq!((&underlay["send"], &underlay["receive"]), (&"gso".into(), &"gro".into()));
        assert_eq!((&underlay["format"], &underlay["remotes"]), (&"vxlan".into(), &1.into()));
    }
}

/// A VXLAN device of the kernel at the far end, with a station's addresses.
pub(crate) fn kernel_vxlan(cable: &Cable, family: Family) {
    let local =
        ["link", "add", "lan", "type", "vxlan", "id", "42", "dev", "eth0", "dstport", "4789", "local"];
    ip(&cable.far, &[&local[..], &[family.far, "remote", family.host]].concat()).unwrap();
    ip(&cable.far, &["addr", "add", "10.9.0.1/24", "dev", "lan"]).unwrap();
    ip(&cable.far, &["addr", "add", "fd00:9::1/64", "dev", "lan", "nodad"]).unwrap();
    ip(&cable.far, &["link", "set", "dev", "lan", "up"]).unwrap();
}

/// Frames and octets that the far end's interface has received.
fn arrived(cable: &Cable) -> (u64, u64) {
    let text = cable.far.run(|| fs::read_to_string("/proc/thread-self/net/dev")).unwrap().unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
    let mut counts = line.split_whitespace().map(|count| count.parse::<u64>().unwrap());
    let octets = counts.next().unwrap();
    (counts.next().unwrap(), octets)
}

/// Octets a frame of what arrives at the far end while `each` happens.
fn arriving_len(cable: &Cable, each: impl FnOnce()) -> u64 {
    let before = arrived(cable);
    each();
    let after = arrived(cable);
    (after.1 - before.1) / (after.0 - before.0)
}

#[test]
fn super_segments_leave_whole_until_the_way_is_closed_and_by_sockets_then() {
    if !able() {
        return;
    }
    for family in FAMILIES {
        let Some(cable) = Cable::new() else { return };
        kernel_vxlan(&cable, family);
        let pod = namespace("pod");
        let config = stretched(&pod, 2, family, family.host, &[family.far]);
        let daemon = Daemon::start_in(cable.host.clone(), &config);
        let file = daemon.directory.path().join("other.toml");
        fs::write(&file, format!("tunnel_gso = true\n{config}")).unwrap();
        let send = || daemon.json(&["status"])["underlays"][0]["send"].clone();
        assert_eq!(send(), "gso");
        let cut = arriving_len(&cable, || transfer(&pod, &cable.far, "10.9.0.1:0"));
        daemon.order(&["apply", file.to_str().unwrap()]);
        assert_eq!(send(), "tunnel-gso");
        for (to_kernel, to_pod) in [("10.9.0.1:0", "10.9.0.2:0"), ("[fd00:9::1]:0", "[fd00:9::2]:0")] {
            let whole = arriving_len(&cable, || transfer(&pod, &cable.far, to_kernel));
            assert!(whole > 3_000 && whole > cut, "{whole} octets a frame, {cut} by sockets");
            transfer(&cable.far, &pod, to_pod);
        }
        let links = ip(&cable.host, &["-o", "link"]).unwrap();
        let device = links.split([' ', ':']).find(|word| word.starts_with("tapestry")).unwrap();
        ip(&cable.host, &["link", "set", "dev", device, "down"]).unwrap();
        transfer(&pod, &cable.far, "10.9.0.1:0");
        assert_eq!(send(), "gso");
        let status = daemon.json(&["status"]);
        assert!(status["warnings"].to_string().contains("cannot leave whole"), "{status:#}");
    }
}

/// What leaves whole goes past the sockets, and needs a route as they do, but no neighbour that is known already.
#[test]
fn super_segments_that_leave_whole_wait_for_neighbours_and_are_counted_without_a_route() {
    if !able() {
        return;
    }
    let family = FAMILIES[0];
    let Some(cable) = Cable::new() else { return };
    kernel_vxlan(&cable, family);
    let pod = namespace("pod");
    let config = stretched(&pod, 2, family, family.host, &[family.far]);
    let daemon = Daemon::start_in(cable.host.clone(), &format!("tunnel_gso = true\n{config}"));
    let unrouted = || {
        let drops = daemon.json(&["drops"]);
        let is_it = |drop: &&serde_json::Value| drop["reason"] == "deliver.underlay-unreachable";
        drops.as_array().unwrap().iter().find(is_it).map(ToString::to_string).unwrap_or_default()
    };
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                ip(&cable.host, &["neigh", "flush", "dev", "eth0"]).unwrap();
            }
        });
        transfer(&pod, &cable.far, "10.9.0.1:0");
        is_done.store(true, Ordering::Relaxed);
    });
    assert_eq!(unrouted(), "");
    assert_eq!(daemon.json(&["status"])["underlays"][0]["send"], "tunnel-gso");

    let listener = cable.far.run(|| TcpListener::bind("10.9.0.1:0")).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let mut stream = pod.run(|| TcpStream::connect(address)).unwrap().unwrap();
    ip(&cable.host, &["route", "del", "192.0.2.0/24", "dev", "eth0"]).unwrap();
    stream.write_all(&[7; 8_000]).unwrap();
    until("the count", || unrouted().contains("(underlay 192.0.2.2:4789)"));
}

#[test]
fn a_kernel_vxlan_device_is_a_peer() {
    if !able() {
        return;
    }
    for family in FAMILIES {
        let Some(cable) = Cable::new() else { return };
        kernel_vxlan(&cable, family);
        let pod = namespace("pod");
        let config = stretched(&pod, 2, family, family.host, &[family.far]);
        let daemon = Daemon::start_in(cable.host.clone(), &config);
        for (to_kernel, to_pod) in [("10.9.0.1:0", "10.9.0.2:0"), ("[fd00:9::1]:0", "[fd00:9::2]:0")] {
            transfer(&pod, &cable.far, to_kernel);
            transfer(&cable.far, &pod, to_pod);
        }
        assert!(frame_len(&daemon) > 3_000, "{} octets a frame: no super-segments", frame_len(&daemon));
        // Datagrams of one call, which the kernel's tunnel does not cut on a machine that can leave it to others.
        let (sender, receiver) = (
            cable.far.run(|| UdpSocket::bind("10.9.0.1:0")).unwrap().unwrap(),
            pod.run(|| UdpSocket::bind("10.9.0.2:0")).unwrap().unwrap(),
        );
        receiver.set_read_timeout(Some(crate::daemon::PATIENCE)).unwrap();
        tapestry::sys::datagram::cut(sender.as_fd(), 1_000).unwrap();
        sender.send_to(&[7; 5_500], receiver.local_addr().unwrap()).unwrap();
        let mut datagram = [0; 9_000];
        for len in [1_000, 1_000, 1_000, 1_000, 1_000, 500] {
            assert_eq!(receiver.recv(&mut datagram).unwrap(), len);
        }
    }
}

#[test]
fn remote_ends_come_and_go_during_a_transfer() {
    if !able() {
        return;
    }
    let family = FAMILIES[0];
    let Some(cable) = Cable::new() else { return };
    kernel_vxlan(&cable, family);
    let pod = namespace("pod");
    let config = |remotes: &[&str]| stretched(&pod, 2, family, family.host, remotes);
    let daemon = Daemon::start_in(cable.host.clone(), &config(&[family.far]));
    let apply = |remotes: &[&str]| {
        let file = daemon.directory.path().join("other.toml");
        fs::write(&file, config(remotes)).unwrap();
        daemon.order(&["apply", file.to_str().unwrap()]);
    };
    let listener = cable.far.run(|| TcpListener::bind("10.9.0.1:0")).unwrap().unwrap();
    let listening = listener.local_addr().unwrap();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut stream = pod.run(|| TcpStream::connect(listening)).unwrap().unwrap();
            stream.write_all(&pattern()).unwrap();
        });
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = vec![0; pattern().len() / 10];
        stream.read_exact(&mut received).unwrap();
        for last in 10..20 {
            let other = format!("192.0.2.{last}");
            apply(&[family.far, &other]);
        }
        apply(&[family.far]);
        stream.read_to_end(&mut received).unwrap();
        sending.join().unwrap();
        assert!(received == pattern(), "{} octets arrived, not those sent", received.len());
    });
    let lost: Vec<_> =
        drops(&daemon).into_iter().filter(|(reason, _)| reason.starts_with("deliver.")).collect();
    assert!(lost.iter().all(|(reason, _)| reason == "deliver.underlay-unreachable"), "{lost:?}");
    assert_eq!(daemon.json(&["status"])["underlays"][0]["remotes"], 1);
}

#[test]
fn what_the_path_does_not_take_is_counted_and_what_fits_passes() {
    if !able() {
        return;
    }
    let family = FAMILIES[0];
    let Some(cable) = Cable::new() else { return };
    kernel_vxlan(&cable, family);
    let pod = namespace("pod");
    let config = stretched(&pod, 2, family, family.host, &[family.far]);
    // Written, so that the tunnel does not follow the interface.
    let config = config.replace("remotes", "underlay_mtu = 1500\nremotes");
    let daemon = Daemon::start_in(cable.host.clone(), &config);
    ip(&cable.host, &["link", "set", "dev", "eth0", "mtu", "1400"]).unwrap();
    let sender = pod.run(|| UdpSocket::bind("10.9.0.2:0")).unwrap().unwrap();
    let receiver = cable.far.run(|| UdpSocket::bind("10.9.0.1:0")).unwrap().unwrap();
    receiver.set_read_timeout(Some(crate::daemon::PATIENCE)).unwrap();
    for len in [1_323, 1_322] {
        sender.send_to(&vec![7; len], receiver.local_addr().unwrap()).unwrap();
    }
    assert_eq!(receiver.recv(&mut [0; 2_000]).unwrap(), 1_322);
    assert!(drops(&daemon).contains(&("deliver.underlay-mtu".to_owned(), 1)), "{:?}", drops(&daemon));
}

#[test]
fn datagrams_of_strangers_are_counted_at_the_underlay() {
    if !able() {
        return;
    }
    let family = FAMILIES[0];
    let Some(cable) = Cable::new() else { return };
    let pod = namespace("pod");
    let config = stretched(&pod, 2, family, family.host, &["192.0.2.9"]);
    let daemon = Daemon::start_in(cable.host.clone(), &config);
    let stranger = cable.far.run(|| UdpSocket::bind("192.0.2.1:0")).unwrap().unwrap();
    let payload = [&[8, 0, 0, 0, 0, 0, 42, 0][..], &[2; 60]].concat();
    for len in [68, 68, 7] {
        stranger.send_to(&payload[..len], "192.0.2.2:4789").unwrap();
    }
    for (reason, count) in [("admit.unlisted-peer", 2), ("admit.encap-truncated", 1)] {
        let counted = || drops(&daemon).into_iter().find(|(name, _)| name == reason).map(|(_, count)| count);
        until(reason, || counted() == Some(count));
    }
    let text = daemon.json(&["drops"]).to_string();
    assert!(text.contains("(underlay 192.0.2.2:4789)"), "{text}");
}

#[test]
fn a_local_end_that_is_not_this_hosts_refuses_the_change() {
    if !able() {
        return;
    }
    let Some(cable) = Cable::new() else { return };
    let pod = namespace("pod");
    let family = FAMILIES[0];
    let daemon = Daemon::start_in(cable.host.clone(), "");
    let file = daemon.directory.path().join("other.toml");
    fs::write(&file, stretched(&pod, 2, family, "192.0.2.77", &[family.far])).unwrap();
    let output = daemon.ask(&["apply", file.to_str().unwrap()]);
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("192.0.2.77:4789") && text.contains("address of this host"), "{text}");
    assert_eq!(daemon.json(&["network", "ls"]).as_array().unwrap().len(), 0);
}
