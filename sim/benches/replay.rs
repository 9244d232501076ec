//! How fast captures are replayed: 64-octet frames (60 without check sequence), pcapng to pcapng, on one core.
//!
//! `cargo bench -p sim` replays two million frames through one switch and through router and masquerade, five times each,
//! and prints frames per second with what the process needed of memory at most; twice as many frames need no more.
//! `cargo bench -p sim --profile dev -- --test` only asserts that every frame leaves where it should.
//!
//! Files are written to the temporary directory (`TMPDIR`) and read from the page cache; the rate is of the whole replay,
//! from opening the captures to the last octet written.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use config::{Compiled, Ids};
use sim::Replay;
use sim::capture::{CaptureWriter, Link};
use sim::craft::{UDP, arp_question, ip, says, station, udp};
use wire::Mac;

/// Frames of a measured replay.
const FRAMES: u64 = 2_000_000;
/// Frames of one that is only looked at.
const FRAMES_TEST: u64 = 10_000;
/// Replays of each kind; the median counts.
const ROUNDS: usize = 5;
/// Octets of a frame without its check sequence.
const FRAME_LEN: usize = 60;
/// Connections that are masqueraded.
const FLOWS: u16 = 1_000;
/// From one frame to the next, in nanoseconds of virtual time.
const GAP: u64 = 200;

const SWITCH: &str = "[network.a]\n[port.c1]\nnetwork = \"a\"\n[port.c2]\nnetwork = \"a\"\n";
const ROUTER: &str = "[network.a]\nsubnet = [\"10.0.0.0/16\"]\ngateway = [\"10.0.0.1\"]\nmasquerade = true\n\
     [port.c1]\nnetwork = \"a\"\n[uplink]\nkind = \"nic\"\nifname = \"eth0\"\naddress = [\"192.0.2.7/24\"]\n\
     gateway = [\"192.0.2.1\"]\n";

/// What is replayed.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Between two stations of one network.
    Switched,
    /// From one network through the router, masqueraded, to the uplink.
    Masqueraded,
}

/// Captures in a folder of their own, and the switch that they are for.
struct Scene {
    folder: tempfile::TempDir,
    compiled: Compiled,
    inputs: Vec<(String, PathBuf)>,
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    for way in [Way::Switched, Way::Masqueraded] {
        if is_test {
            Scene::new(way, FRAMES_TEST).replay(FRAMES_TEST);
            println!("{way:?}: every frame leaves");
            continue;
        }
        for frames in [FRAMES, 2 * FRAMES] {
            let scene = Scene::new(way, frames);
            fs::write("/proc/self/clear_refs", "5").expect("a process may forget its peak");
            let mut rates: Vec<f64> = (0..ROUNDS).map(|_| scene.replay(frames)).collect();
            rates.sort_by(f64::total_cmp);
            println!(
                "{way:?}, {frames} frames: {:.2} M frames/s ({:.2} to {:.2}), at most {} kB of memory",
                rates[ROUNDS / 2] / 1e6,
                rates[0] / 1e6,
                rates[ROUNDS - 1] / 1e6,
                peak_kilobytes()
            );
        }
    }
}

impl Scene {
    fn new(way: Way, frames: u64) -> Self {
        let folder = tempfile::tempdir().expect("there is a temporary directory");
        let (toml, inputs) = match way {
            Way::Switched => (SWITCH, switched(folder.path(), frames)),
            Way::Masqueraded => (ROUTER, masqueraded(folder.path(), frames)),
        };
        let config = config::check("bench.toml", toml).unwrap_or_else(|report| panic!("{report}"));
        let compiled = config::compile(&config, &mut Ids::default());
        Self { folder, compiled, inputs }
    }

    /// Frames per second.
    fn replay(&self, frames: u64) -> f64 {
        let out = self.folder.path().join("out");
        let replay = Replay {
            compiled: &self.compiled,
            inputs: self.inputs.clone(),
            out,
            batch: 64,
            seed: 0,
            checks_laws: false,
        };
        let begun = Instant::now();
        let outcome = replay.run().unwrap_or_else(|error| panic!("{error}"));
        let took = begun.elapsed().as_secs_f64();
        assert!(outcome.frames_in >= frames && outcome.frames_out >= frames, "{outcome:?}");
        frames as f64 / took
    }
}

/// Two captures that take turns: what each station says to the other.
fn switched(folder: &Path, frames: u64) -> Vec<(String, PathBuf)> {
    let inputs = [("c1", 1, 2), ("c2", 2, 1)].map(|(port, from, to)| {
        let path = folder.join(format!("{port}.pcapng"));
        let mut writer = CaptureWriter::create(&path, port).expect("it can be made");
        let mut frame = says((station(to), station(from)), "");
        frame.resize(FRAME_LEN, 0);
        for number in 0..frames / 2 {
            let at = wire::Instant::from_nanos((number * 2 + u64::from(from)) * GAP);
            writer.write(at, Link::Ethernet, &frame).expect("it can be written");
        }
        writer.flush().expect("it can be written");
        (port.to_owned(), path)
    });
    inputs.into()
}

/// A station's datagrams of many connections; before them the router's next hop tells its address.
fn masqueraded(folder: &Path, frames: u64) -> Vec<(String, PathBuf)> {
    let router = Mac([0x02, 0x42, 10, 0, 0, 1]);
    let (src, dst): (IpAddr, IpAddr) = ([10, 0, 0, 2].into(), [198, 51, 100, 9].into());
    let [up, down] = ["uplink", "c1"].map(|port| folder.join(format!("{port}.pcapng")));
    let mut writer = CaptureWriter::create(&up, "uplink").expect("it can be made");
    let question = arp_question((station(9), [192, 0, 2, 1].into()), [192, 0, 2, 7].into());
    writer.write(wire::Instant::ZERO, Link::Ethernet, &question).expect("it can be written");
    writer.flush().expect("it can be written");
    let mut writer = CaptureWriter::create(&down, "c1").expect("it can be made");
    let packets: Vec<Vec<u8>> = (0..FLOWS)
        .map(|flow| {
            let data = [0; FRAME_LEN - 42];
            let datagram = udp((src, 10_000 + flow), (dst, 53), &data);
            ip((router, station(2)), src, dst, UDP, &datagram)
        })
        .collect();
    for (number, packet) in (1..=frames).zip(packets.iter().cycle()) {
        writer
            .write(wire::Instant::from_nanos(number * GAP), Link::Ethernet, packet)
            .expect("it can be written");
    }
    writer.flush().expect("it can be written");
    vec![("uplink".to_owned(), up), ("c1".to_owned(), down)]
}

/// The most memory that the process has had, in kB.
fn peak_kilobytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("Linux tells it in kB")
}
