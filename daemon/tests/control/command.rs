//! The binary itself: what it prints, and its exit codes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tapestry::events::{Event, EventKind};

use crate::fake::{World, station};

const NETWORK: &str = "[network.a]\nsubnet = [\"172.16.0.0/16\"]\n";

fn tapestry(socket: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapestry"));
    command.args(line.split_whitespace()).env("TAPESTRY_SOCKET", socket).stdin(Stdio::null());
    command
}

fn run(socket: &Path, line: &str) -> Output {
    tapestry(socket, line).output().unwrap()
}

/// Standard output of a line that succeeds.
#[track_caller]
pub(crate) fn done(world: &World, line: &str) -> String {
    let output = run(&world.socket, line);
    assert!(output.status.success(), "{line}: {output:?}");
    assert!(output.stderr.is_empty(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Standard error of a line that ends with `code`.
#[track_caller]
pub(crate) fn fails(socket: &Path, line: &str, code: i32) -> String {
    let output = run(socket, line);
    assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

pub(crate) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn without_a_daemon_the_exit_code_is_4() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nobody.sock");
    for line in ["status", "network ls", "port rm x", "fdb flush", "drops", "events", "config"] {
        let said = fails(&socket, line, 4);
        assert!(said.starts_with("error: the daemon at ") && said.contains("\n  next: "), "{said}");
    }
}

#[test]
fn usage_errors_are_2() {
    let directory = tempfile::tempdir().unwrap();
    for line in
        ["", "frobnicate", "network", "port add", "port add p --mtu many", "fdb add zz --network a --port p"]
    {
        fails(&directory.path().join("s"), line, 2);
    }
}

#[test]
fn status_says_what_matters() {
    let world = World::new();
    let text = done(&world, "status");
    for part in [
        "pid 7",
        "3 (2 up, 1 failed)",
        "1,234,567 received",
        "3.0",
        "warning: it pretends\n  next: use a real",
        "1  flight-recorder  2026-01-02T03:04:05.678Z  3.00 MiB of 64.0 MiB     1,234\n",
        "2  reader           2026-01-02T03:04:05.678Z              3.00 MiB         0\n",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let json = parsed(&done(&world, "--json status"));
    assert_eq!((&json["pid"], &json["recordings"][1]["number"]), (&7.into(), &2.into()));
    assert!(!text.contains('\x1b'), "no colours into a pipe");
}

#[test]
fn networks_come_and_go() {
    let world = World::new();
    assert_eq!(parsed(&done(&world, "network ls --json")), serde_json::json!([]));
    assert_eq!(done(&world, "network create a --subnet 172.16.0.0/16 --no-icc"), "");
    let said = fails(&world.socket, "network create a", 2);
    assert_eq!(said, "error: network \"a\": the name is taken\n  next: choose another\n");
    done(&world, "network set a --mtu 9000");
    let spec = &parsed(&done(&world, "network inspect a"))["spec"];
    assert_eq!((&spec["mtu"], &spec["icc"]), (&Value::from(9000), &Value::from(false)), "{spec}");
    assert!(done(&world, "network ls").contains("172.16.0.0/16"));
    done(&world, "network rm a");
    fails(&world.socket, "network rm a", 3);
    fails(&world.socket, "network set a --mtu 9000", 3);
    let nameless = tapestry(&world.socket, "network create").arg("").output().unwrap();
    let said = String::from_utf8(nameless.stderr).unwrap();
    assert_eq!((nameless.status.code(), said.contains("at least one character")), (Some(2), true), "{said}");
    done(&world, "network rm a --if-exists");
}

#[test]
fn ports_come_and_go() {
    let world = World::new();
    done(&world, "port add p --network a --netns ns1 --address 172.16.0.2/16 --trunk 10=b --guard all");
    done(&world, "port set p --ifname eth7");
    let spec = &parsed(&done(&world, "port inspect p"))["spec"];
    assert_eq!((&spec["netns"], &spec["ifname"]), (&Value::from("ns1"), &Value::from("eth7")), "{spec}");
    let text = done(&world, "port ls");
    for part in ["failed", "10=a", "2.00 KiB", "port p: it pretends"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert_eq!(parsed(&done(&world, "port ls --json"))[0]["name"], "p");
    done(&world, "port rm p");
    fails(&world.socket, "port inspect p", 3);
}

#[test]
fn stations_are_listed_bound_and_forgotten() {
    let world = World::new();
    done(&world, "fdb add 02:00:00:00:00:01 --network a --port c1");
    world.switch.stations.lock().unwrap().push(station("02:00:00:00:00:02", "c2"));
    let list = parsed(&done(&world, "fdb ls --json"));
    assert_eq!((&list[0]["mac"], &list[0]["port"]), (&"02:00:00:00:00:01".into(), &"c1".into()));
    assert!(done(&world, "fdb ls --port c2").contains("02:00:00:00:00:02  c2    learned   1s"));
    done(&world, "fdb flush");
    assert_eq!(parsed(&done(&world, "fdb ls --json")).as_array().unwrap().len(), 1);
    done(&world, "fdb del 02:00:00:00:00:01 --network a");
    fails(&world.socket, "fdb del 02:00:00:00:00:01 --network a", 3);
}

#[test]
fn drops_are_listed_and_explained() {
    let world = World::new();
    let list = parsed(&done(&world, "drops --json"));
    assert_eq!((&list[0]["reason"], &list[0]["count"]), (&"admit.runt".into(), &7.into()));
    assert_eq!(parsed(&done(&world, "drops --port c2 --json"))[0]["count"], 4);
    assert!(done(&world, "drops").contains("admit.runt  c1        3  The frame"));
    fails(&world.socket, "drops --port nope", 3);
    done(&world, "port add c7 --network a");
    assert_eq!(parsed(&done(&world, "drops --port c7 --json")), serde_json::json!([]), "it has none");
    assert!(fails(&world.socket, "drops --reason no.such", 3).contains("drops explain"));
    let nowhere = Path::new("/nonexistent");
    assert!(run(nowhere, "drops explain admit.runt").status.success(), "needs no daemon");
    let all = run(nowhere, "drops explain --json").stdout;
    assert_eq!(parsed(&String::from_utf8(all).unwrap()).as_array().unwrap().len(), wire::DropReason::COUNT);
    assert!(fails(nowhere, "drops explain no.such", 3).contains("next: "));
}

/// A world that lives for longer than anybody waits.
const WORLD: &str = r#"
for = "100000s"
[node.s1]
config = '''
[network.a]
subnet = ["10.0.0.0/24"]
[port.c1]
network = "a"
address = ["10.0.0.1/24"]
[port.c2]
network = "a"
address = ["10.0.0.2/24"]
'''
[host.h1]
[host.h2]
[[link]]
between = ["h1", "s1:c1"]
[[link]]
between = ["h2", "s1:c2"]
[[flow]]
kind = "udp"
from = "h1"
to = "h2"
every = "1ms"
"#;

#[test]
fn a_world_that_is_interrupted_leaves_its_report_and_none_begins_that_could_not() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let nowhere = directory.path().join("nobody.sock");
    fs::write(at("w.toml"), WORLD).unwrap();
    let sim = format!("sim {}", at("w.toml"));
    assert!(fails(&nowhere, &format!("{sim} --report {}", at("none/r.json")), 2).contains("r.json"));
    assert!(fails(&nowhere, &format!("{sim} --out {}", at("w.toml")), 2).contains("w.toml"));

    let mut child = tapestry(&nowhere, &format!("{sim} --report {}", at("r.json")))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("seed 0: "), "{line}");
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    std::io::copy(&mut said, &mut std::io::sink()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "it has not lived as long as it should: {output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains(" 0 findings\n"));
    let report = parsed(&fs::read_to_string(at("r.json")).unwrap());
    assert!(report["lived_ns"].as_u64().is_some_and(|lived| 0 < lived && lived < 100_000_000_000_000));
}

#[test]
fn events_are_followed() {
    let mut world = World::new();
    world.log.publish(Event::new(EventKind::DaemonReady, "past"));
    world.log.publish(Event::new(EventKind::PortAdded, "other"));
    assert!(done(&world, "events").contains("daemon.ready      past\n"));
    assert_eq!(done(&world, "events --type daemon.ready --json").lines().count(), 1);
    fails(&world.socket, "events --type nonsense", 2);

    let mut child = tapestry(&world.socket, "events --follow --json").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| parsed(&line.unwrap()));
    assert_eq!(lines.next().unwrap()["text"], "past");
    assert_eq!(lines.next().unwrap()["text"], "other");
    world.log.publish(Event::new(EventKind::PortFailed, "future"));
    assert_eq!(lines.next().unwrap()["kind"], "port.failed");
    world.stop();
    assert_eq!(lines.next(), None);
    assert!(child.wait().unwrap().success());
}

#[test]
fn configurations_are_applied_and_printed() {
    let world = World::new();
    let file = world.directory.path().join("t.toml");
    let line = |verb: &str| format!("{verb} {}", file.display());
    fs::write(&file, NETWORK).unwrap();
    assert_eq!(done(&world, &line("apply")), "+ network a\n");
    assert_eq!(done(&world, "config"), NETWORK);
    assert_eq!(parsed(&done(&world, "config --json"))["network"]["a"]["subnet"][0], "172.16.0.0/16");
    fs::write(&file, "workers = 2\n").unwrap();
    assert!(fails(&world.socket, &line("apply"), 2).contains("they cannot change"));
    fs::write(&file, "[network.a]\nmtuu = 1\n").unwrap();
    assert!(fails(&world.socket, &line("apply"), 2).contains("t.toml:2:"));
    assert_eq!(done(&world, "config"), NETWORK, "a refused file changes nothing");
    fails(&world.socket, "apply /nonexistent.toml", 2);
}

#[test]
fn files_are_checked_without_a_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("nobody.sock");
    let file = directory.path().join("t.toml");
    let line = format!("check {}", file.display());
    fs::write(&file, NETWORK.to_owned() + "[nat.timeouts]\nudp = 1\n").unwrap();
    let output = run(&nowhere, &line);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("t.toml: ok, 1 networks, 0 ports\nwarning: "), "{text}");

    fs::write(&file, "[network.a]\nmtuu = 1500\n\n[port.p]\nnetwork = \"b\"\n").unwrap();
    let said = fails(&nowhere, &line, 2);
    assert!(said.contains("t.toml:2:") && said.contains("mtu") && said.contains("t.toml:5:"), "{said}");
    let output = run(&nowhere, &(line + " --json"));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(parsed(&String::from_utf8(output.stdout).unwrap())["faults"][0]["line"], 2);
    fails(&nowhere, "check /nonexistent.toml", 2);
}

/// `tapestry fdb ls | head -1`: whoever closes the pipe has read enough.
#[test]
fn a_closed_pipe_is_no_failure() {
    let world = World::new();
    *world.switch.stations.lock().unwrap() = vec![station("02:00:00:00:00:02", "c2"); 20_000];
    let mut child =
        tapestry(&world.socket, "fdb ls").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("NETWORK"), "{line}");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// A capture in which one broadcast is sent at 1 s: pcap, microseconds, Ethernet.
fn capture_of_a_broadcast() -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &[0x02, 0, 0, 0, 0, 1], &[0x88, 0xb5]].concat();
    frame.resize(60, 0);
    let words: [u32; 10] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1, 1, 0, 60, 60];
    let header = words.iter().flat_map(|word| word.to_le_bytes());
    header.chain(frame).collect()
}

#[test]
fn replays_are_compared() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let nowhere = directory.path().join("nobody.sock");
    fs::write(at("t.toml"), NETWORK.to_owned() + "[port.p]\nnetwork = \"a\"\n[port.q]\nnetwork = \"a\"\n")
        .unwrap();
    fs::write(at("in.pcap"), capture_of_a_broadcast()).unwrap();
    let line = format!("replay -c {} --in p={}", at("t.toml"), at("in.pcap"));

    let output = run(&nowhere, &format!("{line} --out {}", at("out")));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"1 frames in, 1 frames out\n");
    assert!(fs::metadata(at("out/q.pcapng")).unwrap().len() > 0);

    let again = format!("{line} --batch 7 --expect {}", at("out"));
    assert!(run(&nowhere, &again).status.success());
    fs::write(at("out/counters.txt"), "never 1\n").unwrap();
    let output = run(&nowhere, &again);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("differs: "));

    fails(&nowhere, &line.replace("p=", "nobody="), 2); // Neither --out nor --expect.
    fails(&nowhere, &again.replace("p=", "nobody="), 3);
    fails(&nowhere, &again.replace("t.toml", "none.toml"), 2);
    fails(&nowhere, &again.replace("in.pcap", "none.pcap"), 2);
}
