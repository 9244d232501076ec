//! An independent witness: tshark reads the captures that a replay writes, and finds in them what we do.

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
