//! Independent witnesses: tshark, scapy and tcpreplay read the captures that a replay writes, and find in them what we do.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::Write;
use std::path::Path;
use std::process::Command;

use sim::capture::{CaptureReader, Packet};

/// What tshark says of each packet: its interface, its octets, its time in seconds.
fn seen_by_tshark(path: &Path) -> Option<Vec<String>> {
    let fields = ["-e", "frame.interface_name", "-e", "frame.len", "-e", "frame.time_epoch"];
    let mut tshark = Command::new("tshark");
    let output = match tshark.args(["-n", "-T", "fields", "-r"]).arg(path).args(fields).output() {
        Ok(output) => output,
        Err(error) => {
            writeln!(std::io::stderr(), "SKIPPED tshark: {error}; `cargo xtask test` installs it")
                .expect("standard error is open");
            return None;
        }
    };
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

/// The same, as we read it.
fn seen_by_us(path: &Path, port: &str) -> Vec<String> {
    let mut reader = CaptureReader::open(path).unwrap();
    let mut packet = Packet::empty();
    let mut lines = Vec::new();
    while reader.read(&mut packet).unwrap() {
        let nanos = packet.at.as_nanos();
        let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        lines.push(format!("{port}\t{}\t{seconds}.{rest:09}", packet.bytes.len()));
    }
    lines
}

#[test]
fn tshark_reads_what_a_replay_writes() {
    // The goldens are what a replay writes, octet by octet: plain, tagged, and behind virtio headers.
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens");
    for (case, ports) in [
        ("learn-and-flood", ["c2", "c3"]),
        ("vlan-trunk-to-trunk", ["c2", "c3"]),
        ("offload-and-tag", ["c1", "c5"]),
    ] {
        for port in ports {
            let path = goldens.join(case).join("out").join(format!("{port}.pcapng"));
            let ours = seen_by_us(&path, port);
            assert!(!ours.is_empty(), "{}", path.display());
            let Some(theirs) = seen_by_tshark(&path) else { return };
            assert_eq!(theirs, ours, "{}", path.display());
        }
    }
}

/// Runs a reader on the capture; `None`, and told, if it is not installed.
fn read_by(reader: &[&str], capture: &Path) -> Option<String> {
    let skipped = |why: &str| {
        writeln!(std::io::stderr(), "SKIPPED {}: {why}; `cargo xtask test` installs it", reader[0])
            .expect("standard error is open");
    };
    let output = match Command::new(reader[0]).args(&reader[1..]).arg(capture).output() {
        Ok(output) => output,
        Err(error) => {
            skipped(&error.to_string());
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("No module named") {
        skipped(&said);
        return None;
    }
    assert!(output.status.success(), "{}: {said}", capture.display());
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn scapy_and_tcpreplay_read_what_a_replay_writes() {
    const SCAPY: &str = "import sys
from scapy.all import rdpcap
for packet in rdpcap(sys.argv[1]): print(len(packet))";
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens");
    for case in ["learn-and-flood", "vlan-trunk-to-trunk"] {
        for port in ["c2", "c3"] {
            let path = goldens.join(case).join("out").join(format!("{port}.pcapng"));
            let ours = seen_by_us(&path, port);
            let lengths: Vec<&str> = ours.iter().map(|line| line.split('\t').nth(1).unwrap()).collect();
            if let Some(theirs) = read_by(&["/usr/bin/python3", "-c", SCAPY], &path) {
                assert_eq!(theirs.lines().collect::<Vec<_>>(), lengths, "{}", path.display());
            }
            // tcpreplay's own reader; it ends with 255 if it finds no packet, or one that is cut off.
            read_by(&["tcpprep", "--auto=first", "--cachefile=/dev/null", "--pcap"], &path);
        }
    }
}
