//! Real traffic recorded and replayed to the same octets, traced and captured while it flows.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::Signal;
use sim::capture::{CaptureReader, Packet};
use sim::recording::{Ended, Replayed, replay};
use tapestry::link::Namespace;

use crate::daemon::{Daemon, tapestry};
use crate::nic::Cable;
use crate::support::{able, namespace, start};
use crate::traffic::pattern;

/// A switch with two workers, two containers and an uplink, recorded.
struct World {
    daemon: Daemon,
    cable: Cable,
    containers: [Namespace; 2],
}

impl World {
    fn new() -> Option<Self> {
        let cable = Cable::new()?;
        let containers = ["one", "two"].map(namespace);
        let port = |number: usize| {
            let (name, netns) = (number + 1, containers[number].path());
            let address = number + 2;
            format!(
                "[port.c{name}]\nnetwork = \"a\"\nnetns = {netns:?}\nifname = \"eth0\"\naddress = [\"172.16.0.{address}/16\"]\n"
            )
        };
        let config = format!(
            "workers = 2\n[network.a]\nsubnet = [\"172.16.0.0/16\"]\ngateway = [\"172.16.0.1\"]\nmasquerade = true\n{}{}\
             [uplink]\nkind = \"nic\"\nifname = \"eth0\"\naddress = [\"192.0.2.7/24\"]\ngateway = [\"192.0.2.1\"]\n",
            port(0),
            port(1)
        );
        let daemon = Daemon::start_recorded(cable.host.clone(), &config);
        Some(Self { daemon, cable, containers })
    }

    /// Ping, TCP between the containers, TCP through the uplink.
    fn traffic(&self) {
        let [one, two] = &self.containers;
        let mut ping = Command::new("ping");
        ping.args(["-q", "-c", "3", "-i", "0.2", "172.16.0.3"]).stdout(Stdio::null());
        let status = one.run(|| start(&mut ping)).unwrap().wait().unwrap();
        assert!(status.success(), "{status}: {}", self.daemon.log());
        transfer(one, two, "172.16.0.3:0");
        transfer(one, &self.cable.far, "192.0.2.1:0");
    }

    fn recording(&self, worker: usize) -> PathBuf {
        self.daemon.directory.path().join(format!("rec/worker-{worker}.rec"))
    }

    fn replayed(&self) -> [Replayed; 2] {
        [0, 1].map(|worker| replay(&self.recording(worker), None).unwrap())
    }
}

fn transfer(from: &Namespace, to: &Namespace, listen: &str) -> SocketAddr {
    let listener = to.run(|| TcpListener::bind(listen)).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut stream = from.run(|| TcpStream::connect(address)).unwrap().unwrap();
            stream.write_all(&pattern()).unwrap();
        });
        let (mut stream, peer) = listener.accept().unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        sending.join().unwrap();
        assert!(received == pattern(), "{} octets arrived, not those sent", received.len());
        peer
    })
}

#[test]
fn real_traffic_is_replayed_to_the_same_octets() {
    if !able() {
        return;
    }
    let Some(mut world) = World::new() else { return };
    world.traffic();
    world.daemon.order(&["network", "create", "b", "--subnet", "10.9.0.0/16", "--gateway", "10.9.0.1"]);
    world.daemon.order(&["fdb", "flush"]);
    world.traffic();
    assert!(world.daemon.end(Signal::TERM).success());
    let replayed = world.replayed();
    for one in &replayed {
        assert_eq!(
            (one.difference.as_deref(), one.ended, one.verified),
            (None, Ended::Whole, one.events),
            "{one:?}"
        );
    }
    let frames_in: u64 = replayed.iter().map(|one| one.frames_in).sum();
    let frames_out: u64 = replayed.iter().map(|one| one.frames_out).sum();
    assert!(frames_in > 100 && frames_out > 100, "{replayed:?}");

    // The command does the same, and what it writes can be read.
    let out = world.daemon.directory.path().join("out");
    let mut command = tapestry(&world.daemon.socket());
    command.arg("replay").arg(world.recording(0)).arg("--out").arg(&out).stdout(Stdio::null());
    assert!(start(&mut command).wait().unwrap().success());
    let frames = |file: &str| {
        let (mut reader, mut packet) = (CaptureReader::open(&out.join(file)).unwrap(), Packet::empty());
        std::iter::from_fn(|| reader.read(&mut packet).unwrap().then_some(())).count()
    };
    assert!(frames("in/c1.pcapng") > 0 && frames("uplink.pcapng") > 0);
}

#[test]
fn a_killed_switch_leaves_a_recording_that_ends_at_its_last_whole_event() {
    if !able() {
        return;
    }
    let Some(mut world) = World::new() else { return };
    world.traffic();
    world.daemon.end(Signal::KILL);
    for one in world.replayed() {
        assert_eq!((one.difference.as_deref(), one.ended), (None, Ended::CutOff), "{one:?}");
        assert!(one.events > 0, "{one:?}");
    }
}

#[test]
fn a_running_switch_is_traced_and_captured() {
    if !able() {
        return;
    }
    let Some(world) = World::new() else { return };
    world.traffic();
    let [one, _] = &world.containers;
    let sessions = || world.daemon.json(&["nat", "ls"]).as_array().unwrap().len();
    let before = sessions();
    let told = world.daemon.ask(&["trace", "--in", "c1", "--both", "tcp 172.16.0.2:5000 > 192.0.2.1:80"]);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success() && text.contains("192.0.2.7 > 192.0.2.1, TCP 5000 > 80"), "{text}");
    assert!(
        text.contains("uplink: ") && text.contains("config.toml:"),
        "the answer, and the file's lines: {text}"
    );
    assert_eq!(sessions(), before, "a trace opens no connection");
    let refused = world.daemon.ask(&["trace", "--in", "uplink", "tcp 192.0.2.1:5000 > 192.0.2.7:80"]);
    assert_eq!(refused.status.code(), Some(10), "{refused:?}");

    let file = world.daemon.directory.path().join("c.pcapng");
    let mut capture = tapestry(&world.daemon.socket());
    capture.args(["capture", "c1", "uplink", "--filter", "udp port 9", "--count", "2", "-w"]).arg(&file);
    let mut capture = start(&mut capture);
    // Once it is there, the taps are open.
    let sender = one.run(|| UdpSocket::bind("172.16.0.2:0")).unwrap().unwrap();
    while capture.try_wait().unwrap().is_none() {
        sender.send_to(b"seen", "192.0.2.1:9").unwrap();
        thread::yield_now();
    }
    assert!(capture.wait().unwrap().success());
    let (mut reader, mut packet) = (CaptureReader::open(&file).unwrap(), Packet::empty());
    let mut lengths = Vec::new();
    while reader.read(&mut packet).unwrap() {
        lengths.push(packet.frame().len());
    }
    assert_eq!(lengths, [46, 46], "in at c1, out at the uplink");
}
