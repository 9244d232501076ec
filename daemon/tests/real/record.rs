//! Real traffic recorded and replayed to the same octets, traced and captured while it flows.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use sim::capture::{CaptureReader, Packet};
use sim::recording::{Ended, Replayed, replay};
use tapestry::link::Namespace;

use crate::daemon::{Daemon, tapestry};
use crate::nic::Cable;
use crate::support::{able, namespace, start};
use crate::traffic::pattern;
use crate::uplink::until;

/// A switch with two workers, two containers and an uplink, recorded.
struct World {
    daemon: Daemon,
    cable: Cable,
    containers: [Namespace; 2],
}

impl World {
    /// Recorded from its start.
    fn new() -> Option<Self> {
        Self::started(Daemon::start_recorded)
    }

    /// One more container, 172.16.0.4, added while the switch runs.
    fn third(&self) -> Namespace {
        let third = namespace("three");
        let netns = third.path().display().to_string();
        let port = ["port", "add", "c3", "--network", "a", "--netns", &netns];
        self.daemon.order(&[&port[..], &["--ifname", "eth0", "--address", "172.16.0.4/16"]].concat());
        third
    }

    fn started(start: impl FnOnce(Namespace, &str) -> Daemon) -> Option<Self> {
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
        let daemon = start(cable.host.clone(), &config);
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

pub(crate) fn transfer(from: &Namespace, to: &Namespace, listen: &str) -> SocketAddr {
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

/// All that was replayed came out as it had live, until the recording's end.
fn assert_same(replayed: &Replayed, ended: Ended) {
    assert_eq!((replayed.difference.as_deref(), replayed.ended), (None, ended), "{replayed:?}");
    assert!(!replayed.workers.is_empty());
    for worker in &replayed.workers {
        assert_eq!(worker.missed, 0, "{replayed:?}");
        assert!(
            worker.events > 0 && (worker.verified == worker.events || ended == Ended::CutOff),
            "{replayed:?}"
        );
    }
}

/// `tapestry record` with these words; returns when the recording has begun.
fn record(world: &World, words: &[&str]) -> (Child, PathBuf) {
    let file = world.daemon.directory.path().join("from-now-on.rec");
    let mut command = tapestry(&world.daemon.socket());
    command.arg("record").arg("--out").arg(&file).args(words);
    command.stderr(std::fs::File::create(file.with_extension("said")).unwrap());
    let mut child = start(&mut command);
    let len = || std::fs::metadata(&file).map_or(0, |file| file.len());
    while len() == 0 && child.try_wait().unwrap().is_none() {
        thread::yield_now();
    }
    assert!(len() > 0, "it ended before it began: {} {}", said(&file), world.daemon.log());
    (child, file)
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
    replayed.iter().for_each(|one| assert_same(one, Ended::Whole));
    assert!(replayed.iter().map(|one| one.sum(|worker| worker.frames_in)).sum::<u64>() > 100, "{replayed:?}");

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
        assert_same(&one, Ended::CutOff);
    }
}

#[test]
fn a_recording_may_begin_on_a_switch_that_has_lived_and_outlives_changes() {
    if !able() {
        return;
    }
    let Some(mut world) = World::started(|host, config| Daemon::start_with(host, config, &[])) else {
        return;
    };
    world.traffic(); // Stations, neighbours and connections that only the state tells of.
    let (mut recording, file) = record(&world, &[]);
    world.traffic();
    world.daemon.order(&["network", "create", "b", "--subnet", "10.9.0.0/16", "--gateway", "10.9.0.1"]);
    let config = world.daemon.directory.path().join("config.toml");
    let text = String::from_utf8(world.daemon.ask(&["config"]).stdout).unwrap();
    std::fs::write(&config, text.replace("workers = 2", "workers = 3")).unwrap();
    world.daemon.order(&["apply", config.to_str().unwrap()]);
    let third = world.third();
    let [one, _] = &world.containers;
    transfer(one, &third, "172.16.0.4:0");
    let connection = transfer(&third, &world.cable.far, "192.0.2.1:0");
    assert_eq!(connection.ip().to_string(), "192.0.2.7", "it was translated");

    // Killed in the middle: what is in the file holds.
    world.daemon.end(Signal::KILL);
    assert!(!recording.wait().unwrap().success());
    let replayed = replay(&file, None).unwrap();
    assert_same(&replayed, Ended::CutOff);
    assert_eq!(replayed.workers.len(), 3, "{replayed:?}");
    assert!(replayed.sum(|worker| worker.frames_in) > 100, "{replayed:?}");
    assert!(replayed.sum(|worker| worker.verified) > 100, "{replayed:?}");
}

#[test]
fn a_recording_ends_when_its_time_is_up_and_a_flipped_bit_ends_it_before() {
    if !able() {
        return;
    }
    let Some(world) = World::started(|host, config| Daemon::start_with(host, config, &[])) else { return };
    world.traffic();
    let (mut recording, file) = record(&world, &["--for", "1ms"]);
    assert!(recording.wait().unwrap().success());
    let mut octets = std::fs::read(&file).unwrap();
    let whole = replay(&file, None).unwrap();
    assert_eq!((whole.ended, whole.workers.len(), whole.difference), (Ended::Whole, 2, None));
    let middle = octets.len() / 2;
    octets[middle] ^= 4;
    std::fs::write(&file, &octets).unwrap();
    assert_eq!(replay(&file, None).unwrap().ended, Ended::CutOff);
    octets[6] = 1; // Another version.
    std::fs::write(&file, &octets).unwrap();
    assert!(replay(&file, None).unwrap_err().to_string().contains("version 1"));
}

/// What the `record` into this file has said on standard error.
fn said(file: &Path) -> String {
    std::fs::read_to_string(file.with_extension("said")).unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits for its end.
fn ended(child: &mut Child) -> ExitStatus {
    until("the end", || child.try_wait().unwrap().is_some());
    child.wait().unwrap()
}

#[test]
fn an_interrupted_recording_ends_in_order() {
    if !able() {
        return;
    }
    let Some(world) = World::started(|host, config| Daemon::start_with(host, config, &[])) else { return };
    let running = || world.daemon.json(&["status"])["recordings"].as_array().unwrap().clone();
    for (number, word) in [(1, Signal::INT), (2, Signal::TERM)] {
        let (mut recording, file) = record(&world, &[]);
        world.traffic();
        let [listed] = &running()[..] else { panic!("{:?}", running()) };
        assert_eq!((&listed["number"], &listed["destination"]), (&number.into(), &"reader".into()));
        signal(&recording, word);
        assert!(ended(&mut recording).success(), "{}", said(&file));

        let replayed = replay(&file, None).unwrap();
        assert_same(&replayed, Ended::Whole);
        assert!(replayed.sum(|worker| worker.frames_in) > 100, "{replayed:?}");
        let told = world.daemon.json(&["replay", file.to_str().unwrap()]);
        let events = told["events"].to_string();
        assert_eq!((&told["ended"], &told["missed"]), (&"whole".into(), &0.into()));
        // What is said is what is in the file.
        let said = said(&file);
        let last = said.lines().last().unwrap().replace(',', "");
        assert!(last.starts_with(&format!("recorded {events} events")), "{events} in {said}");
        assert!(last.ends_with("; 0 events could not be kept; ended by an interrupt whole"), "{said}");
        let shown = world.daemon.ask(&["replay", file.to_str().unwrap()]).stdout;
        assert!(String::from_utf8(shown).unwrap().ends_with("\nthe recording is whole\n"));
        assert_eq!(running(), Vec::<serde_json::Value>::new());
    }
}

/// `tapestry capture` of a datagram to L4 port 9 at c1, with these words; returns when it has begun.
fn capture(world: &World, name: &str, words: &[&str]) -> (Child, PathBuf) {
    let file = world.daemon.directory.path().join(name);
    let mut command = tapestry(&world.daemon.socket());
    command.args(["capture", "c1", "--filter", "udp port 9", "-w"]).arg(&file).args(words);
    let child = start(command.stderr(Stdio::null()));
    until("the capture has begun", || std::fs::metadata(&file).is_ok_and(|file| file.len() > 0));
    (child, file)
}

#[test]
fn an_interrupted_capture_has_all_that_was_seen() {
    if !able() {
        return;
    }
    let Some(world) = World::started(|host, config| Daemon::start_with(host, config, &[])) else { return };
    let (mut interrupted, file) = capture(&world, "interrupted.pcapng", &[]);
    let (mut witness, _) = capture(&world, "witness.pcapng", &["--count", "1"]);
    let [one, _] = &world.containers;
    let sender = one.run(|| UdpSocket::bind("172.16.0.2:0")).unwrap().unwrap();
    sender.send_to(b"seen", "192.0.2.1:9").unwrap();
    assert!(ended(&mut witness).success(), "it has been seen");
    signal(&interrupted, Signal::INT);
    assert!(ended(&mut interrupted).success());
    let (mut reader, mut packet) = (CaptureReader::open(&file).unwrap(), Packet::empty());
    assert!(reader.read(&mut packet).unwrap());
}

#[test]
fn a_second_interrupt_ends_a_recording_at_once() {
    if !able() {
        return;
    }
    let Some(world) = World::started(|host, config| Daemon::start_with(host, config, &[])) else { return };
    let (mut recording, file) = record(&world, &[]);
    world.daemon.held(|| {
        signal(&recording, Signal::INT);
        until("the first one is noticed", || said(&file).contains("is being ended"));
        signal(&recording, Signal::INT);
        assert_eq!(ended(&mut recording).code(), Some(1));
    });
    assert!(said(&file).contains("ended at once"), "{}", said(&file));
    until("the switch notices", || {
        world.daemon.json(&["status"])["recordings"].as_array().unwrap().is_empty()
    });
}

#[test]
fn the_flight_recorder_has_the_last_seconds() {
    if !able() {
        return;
    }
    let start =
        |host: Namespace, config: &str| Daemon::start_with(host, config, &["--flight-recorder", "64MiB"]);
    let Some(world) = World::started(start) else { return };
    world.traffic();
    let status = world.daemon.json(&["status"]);
    let [listed] = &status["recordings"].as_array().unwrap()[..] else { panic!("{status}") };
    assert_eq!(
        (&listed["destination"], &listed["octets_max"], &listed["missed"]),
        (&"flight-recorder".into(), &(64 << 20).into(), &0.into()),
        "{status}"
    );
    assert!(listed["octets"].as_u64().unwrap() > 100_000, "{status}");
    let file = world.daemon.directory.path().join("last.rec");
    world.daemon.order(&["record", "--last", "1h", "--out", file.to_str().unwrap()]);
    let replayed = replay(&file, None).unwrap();
    assert_same(&replayed, Ended::Whole);
    assert!(replayed.sum(|worker| worker.frames_in) > 100, "{replayed:?}");

    let Some(without) = World::started(|host, config| Daemon::start_with(host, config, &[])) else { return };
    let refused = without.daemon.ask(&["record", "--last", "1s", "--out", "/dev/null"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--flight-recorder"), "{refused:?}");
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

#[test]
fn a_capture_of_all_ports_sees_those_that_come_later() {
    if !able() {
        return;
    }
    let Some(world) = World::started(|host, config| Daemon::start_with(host, config, &[])) else { return };
    let file = world.daemon.directory.path().join("all.pcapng");
    let mut capture = tapestry(&world.daemon.socket());
    // More than one burst, so that what came in has also gone out.
    capture.args(["capture", "--all", "--filter", "udp port 9", "--count", "1000", "-w"]).arg(&file);
    let mut capture = start(&mut capture);
    // It has begun when the ports that there are stand in its file.
    until("the capture begins", || {
        std::fs::read(&file).is_ok_and(|octets| has(&octets, "port c1 of network a"))
    });
    let _third = world.third(); // Its interface goes with it.
    let [one, _] = &world.containers;
    let sender = one.run(|| UdpSocket::bind("172.16.0.2:0")).unwrap().unwrap();
    while capture.try_wait().unwrap().is_none() {
        sender.send_to(b"seen", "172.16.0.4:9").unwrap();
        thread::yield_now();
    }
    assert!(capture.wait().unwrap().success());
    let octets = std::fs::read(&file).unwrap();
    assert!(has(&octets, "port c3, which came later"));
}

fn has(octets: &[u8], text: &str) -> bool {
    octets.windows(text.len()).any(|window| window == text.as_bytes())
}
