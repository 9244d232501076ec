//! Why a packet goes where it goes: from the command line to the switch, and from a configuration file.

use std::fs;
use std::process::Command;

use crate::command::{done, fails, parsed};
use crate::fake::World;

const OLD: &str = "[network.a]\nsubnet = [\"10.0.0.0/24\"]\ngateway = [\"10.0.0.1\"]\n\n[network.b]\n\
    subnet = [\"10.1.0.0/24\"]\ngateway = [\"10.1.0.1\"]\n\n[port.c1]\nnetwork = \"a\"\n\
    address = [\"10.0.0.2/24\"]\n\n[port.c2]\nnetwork = \"b\"\naddress = [\"10.1.0.2/24\"]\n";

#[test]
fn a_running_switch_is_asked() {
    let world = World::new();
    let told = done(&world, "trace --in c1 tcp 10.0.0.1:1 > 10.0.0.2:2");
    assert_eq!(
        told,
        "c1: tcp 10.0.0.1:1 > 10.0.0.2:2\n  1 admit    comes in   [t.toml:3]\nverdict: FORWARD\n"
    );
    assert_eq!(parsed(&done(&world, "trace --in c1 --frame 00ff --json"))[0]["verdict"], "forward");
    fails(&world.socket, "trace --in c1 arp 10.0.0.1 > 10.0.0.2", 10);
    fails(&world.socket, "trace --in c9 arp 10.0.0.1 > 10.0.0.2", 3);
    fails(&world.socket, "trace --in c1", 2);
}

/// A capture as `tshark` shows it: interface, way, comment. `None` without tshark.
fn shown(capture: &std::path::Path) -> Option<String> {
    let fields =
        ["frame.interface_name", "frame.packet_flags_direction", "frame.comment", "frame.time_epoch"];
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-T", "fields"]);
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    let Ok(output) = command.output() else {
        eprintln!("SKIPPED: tshark is not installed");
        return None;
    };
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn frames_are_captured_with_names_and_reasons() {
    let world = World::new();
    let file = world.directory.path().join("c1.pcapng");
    let path = file.display();
    assert_eq!(done(&world, &format!("capture c1 -w {path}")), "");
    if let Some(text) = shown(&file) {
        let at = "1700000001.000000000";
        assert_eq!(text, format!("c1\t0x00000001\t\t{at}\nc1\t0x00000002\t\t{at}\n"));
    }
    done(&world, &format!("capture c1 --drops --count 1 -w {path}"));
    if let Some(text) = shown(&file) {
        assert!(text.contains("dropped: forward.no-receiver: ") && text.lines().count() == 1, "{text}");
    }
    for reader in [
        &[
            "/usr/bin/python3",
            "-c",
            "import sys; from scapy.all import rdpcap; print(len(rdpcap(sys.argv[1])))",
        ][..],
        &["tcpprep", "--auto=first", "--cachefile=/dev/null", "--pcap"],
    ] {
        match Command::new(reader[0]).args(&reader[1..]).arg(&file).output() {
            // A Python without scapy says so.
            Ok(output) if String::from_utf8_lossy(&output.stderr).contains("No module named") => {
                eprintln!("SKIPPED: scapy is not installed");
            }
            Ok(output) if reader[0] == "/usr/bin/python3" => assert_eq!(output.stdout, b"1\n", "{output:?}"),
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(_) => eprintln!("SKIPPED: {} is not installed", reader[0]),
        }
    }
    fails(&world.socket, &format!("capture c9 -w {path}.no"), 3);
    fails(&world.socket, &format!("capture c1 --filter host -w {path}.no"), 2);
    assert!(!world.directory.path().join("c1.pcapng.no").exists(), "a refusal leaves no file");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let world = World::new();
    for line in ["capture c1 -w /dev/full", "record --last 60s --out /dev/full"] {
        let said = fails(&world.socket, line, 1);
        assert!(said.contains("error: /dev/full cannot be written: No space left"), "{said}");
        assert!(said.contains("\n  next: make room") && !said.contains("standard output"), "{said}");
    }
    fails(&world.socket, "capture c1 --count 0 -w /dev/full", 2);
    fails(&world.socket, "drops --follow --count 0", 2);
}

#[test]
fn how_far_the_flight_recorder_reaches_is_said() {
    let world = World::new();
    let file = world.directory.path().join("last.rec");
    let asked = Command::new(env!("CARGO_BIN_EXE_tapestry"))
        .args(["record", "--last", "60s", "--out"])
        .arg(&file)
        .env("TAPESTRY_SOCKET", &world.socket)
        .output()
        .unwrap();
    assert_eq!((asked.status.code(), fs::read(&file).unwrap()), (Some(0), b"the last 60s".to_vec()));
    let said = String::from_utf8(asked.stderr).unwrap();
    let told = "reaches back 0.2 s of the 1m asked; the flight recorder holds 16.0 MiB\n  next: start the switch with a \
                larger --flight-recorder\n";
    assert!(said.ends_with(told), "{said}");
}

#[test]
fn drops_are_followed() {
    let world = World::new();
    let text = done(&world, "drops --follow");
    let line = "2023-11-14T22:13:21.000Z  forward.no-receiver      c1           \
                19 octets, 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, type 0x88b5\n";
    assert!(text.starts_with(line) && text.lines().count() == 2, "{text}");
    let one = parsed(&done(&world, "drops --follow --reason admit.runt --json"));
    assert_eq!((&one["reason"], &one["port"], &one["lost"]), (&"admit.runt".into(), &"c1".into(), &0.into()));
    fails(&world.socket, "drops --follow --port c9", 3);
}

/// What README shows of a dropped packet is what is said with the configuration that README shows.
#[test]
fn readme_shows_what_is_said() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let section = readme.split("\n## ").find(|section| section.starts_with("Find out why")).unwrap();
    let blocks = |text: &str, kind: &str| -> Vec<String> {
        let blocks = text.split("```").skip(1).step_by(2);
        blocks.filter_map(|block| block.strip_prefix(kind)?.strip_prefix('\n').map(str::to_owned)).collect()
    };
    let world = World::new();
    let config = [blocks(&readme, "toml")[0].clone(), blocks(section, "toml")[0].clone()].join("\n");
    fs::write(world.directory.path().join("tapestry.toml"), config).unwrap();
    let asked = Command::new(env!("CARGO_BIN_EXE_tapestry"))
        .args(["trace", "-c", "tapestry.toml", "--in", "c1", "tcp 172.16.0.2:4000 > 172.17.0.2:80"])
        .current_dir(world.directory.path())
        .output()
        .unwrap();
    assert_eq!(asked.status.code(), Some(10), "{asked:?}");
    assert_eq!(blocks(section, ""), [String::from_utf8(asked.stdout).unwrap()]);
}

#[test]
fn a_file_is_asked_without_a_daemon() {
    let world = World::new();
    let [old, new, capture] =
        ["old.toml", "new.toml", "c.pcap"].map(|name| world.directory.path().join(name));
    fs::write(&old, OLD).unwrap();
    fs::write(&new, OLD.to_owned() + "\n[[acl]]\naction = \"deny\"\nto = \"network:b\"\n").unwrap();
    let (old, new) = (old.display(), new.display());
    let packet = "tcp 10.0.0.2:1 > 10.1.0.2:80";

    let told = done(&world, &format!("trace -c {old} --in c1 {packet} --both"));
    assert!(told.contains(&format!("10.1.0.2 lives in network b (10.1.0.0/24)   [{old}:6]")), "{told}");
    assert!(
        told.contains("c2: 54 octets, ") && told.ends_with("verdict: FORWARD\n"),
        "the answer too: {told}"
    );
    fails(&world.socket, &format!("trace -c {new} --in c1 {packet}"), 10);
    fails(&world.socket, &format!("trace -c {old} --in c9 {packet}"), 3);
    fails(&world.socket, &format!("trace -c {old} --in c1 tcp nonsense"), 2);

    assert!(
        done(&world, &format!("trace --diff {old} {old} --in c1 {packet}")).starts_with("no difference\n")
    );
    fails(&world.socket, &format!("trace --diff {old} {new} --in c1 {packet}"), 1);

    let mut writer = sim::capture::CaptureWriter::create(&capture, "c1").unwrap();
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0x42, 10, 0, 0, 2, 0x88, 0xb5]);
    writer.write(wire::Instant::ZERO, sim::capture::Link::Ethernet, &frame).unwrap();
    writer.flush().unwrap();
    let capture = capture.display();
    assert!(
        fails(&world.socket, &format!("trace -c {old} --in c1 --pcap {capture} --packet 1"), 10).is_empty()
    );
    fails(&world.socket, &format!("trace -c {old} --in c1 --pcap {capture} --packet 2"), 3);
}
