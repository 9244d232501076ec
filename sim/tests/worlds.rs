//! Every world of `sim/worlds` lives to its end and nothing is found wrong, and the same again whatever may differ
//! without making a difference.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sim::world::{self, Options, Report, Topology, World};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("worlds");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn read(path: &Path) -> Topology {
    let name = path.file_name().and_then(|name| name.to_str()).expect("worlds have plain names");
    world::check(name, &fs::read_to_string(path).expect("a world can be read"))
        .unwrap_or_else(|report| panic!("{report}"))
}

fn live(topology: Topology, batch: usize, out: Option<&Path>, life: Duration) -> Report {
    let options = Options { seed: 7, life, batch, out: out.map(Path::to_owned) };
    let world = World::new(topology, options).expect("its files can be made");
    world.run(&mut |_| std::ops::ControlFlow::Continue(())).expect("its files can be written")
}

#[test]
fn nothing_is_wrong_in_any_world() {
    for path in files() {
        let topology = read(&path);
        let life = topology.spec.life.0;
        if is_large(&topology) && cfg!(debug_assertions) {
            continue; // That one is for optimised builds: `cargo xtask test` has one.
        }
        let report = live(topology, 1, None, life);
        let name = path.display();
        assert_eq!(report.findings, [], "{name}");
        assert_eq!(report.unchecked, 0, "{name} ends too early");
        assert!(report.frames > 100, "{name}: {} frames", report.frames);
    }
}

fn is_large(topology: &Topology) -> bool {
    topology.nodes.len() > 16
}

/// Every file below `folder`, with its octets.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entry = |entry: fs::DirEntry| {
        (
            entry.file_name().into_string().expect("files of a world have plain names"),
            fs::read(entry.path()).expect("it was just written"),
        )
    };
    fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|found| entry(found.expect("it was just written")))
        .collect()
}

/// What a world leaves behind: its report and its files.
#[derive(PartialEq, Eq)]
struct Outcome {
    report: String,
    files: BTreeMap<String, Vec<u8>>,
}

/// Lets a world live in a thread of its own.
fn outcome(path: PathBuf, batch: usize) -> std::thread::JoinHandle<Outcome> {
    std::thread::spawn(move || {
        let out = tempfile::tempdir().expect("there is room");
        let topology = read(&path);
        let life = if is_large(&topology) { Duration::from_millis(100) } else { Duration::from_secs(3) };
        let report = live(topology, batch, Some(out.path()), life);
        let report = serde_json::to_string(&report).expect("a report is plain data");
        Outcome { report, files: contents(out.path()) }
    })
}

impl Outcome {
    /// SHA-256 of everything: of the report, and of each file its name, its length and its octets.
    fn digest(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(&self.report);
        for (name, octets) in &self.files {
            digest.update(format!("\n{name} {}\n", octets.len()));
            digest.update(octets);
        }
        digest.finalize().iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

/// Batches, threads and the keys of `HashMap`s differ between these runs; the committed digest was made by any build on any
/// machine. `cargo xtask test` holds a release build to the same digests.
#[test]
fn the_same_world_is_the_same_to_the_octet() {
    let mut digests = String::new();
    for path in files() {
        let runs: Vec<_> = [1, 1, 7, 64].map(|batch| outcome(path.clone(), batch)).into_iter().collect();
        let mut outcomes = runs.into_iter().map(|run| run.join().unwrap());
        let first = outcomes.next().unwrap();
        let files = &first.files;
        assert!(files.len() > 3 && files.values().any(|octets| octets.len() > 10_000), "{}", path.display());
        for other in outcomes {
            assert_eq!(other.report, first.report, "{}", path.display());
            for (name, octets) in files {
                assert!(other.files[name] == *octets, "{}: {name} differs", path.display());
            }
            assert!(other == first, "{}", path.display());
        }
        let name = path.file_name().and_then(|name| name.to_str()).expect("worlds have plain names");
        writeln!(digests, "{} {name}", first.digest()).expect("memory takes any text");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("worlds/outcomes.sha256");
    if std::env::var_os("TAPESTRY_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &digests).expect("it can be written");
    }
    let kept = fs::read_to_string(&path).expect("the digests are there");
    assert_eq!(digests, kept, "if it is meant that worlds live otherwise, `cargo xtask bless`");
}
