//! Every world of `sim/worlds` lives to its end and nothing is found wrong, and the same again whatever may differ
//! without making a difference.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    world.run(&mut |_| {}).expect("its files can be written")
}

#[test]
fn nothing_is_wrong_in_any_world() {
    for path in files() {
        let topology = read(&path);
        let life = topology.spec.life.0;
        let report = live(topology, 1, None, life);
        let name = path.display();
        assert_eq!(report.findings, [], "{name}");
        assert_eq!(report.unchecked, 0, "{name} ends too early");
        assert!(report.frames > 100, "{name}: {} frames", report.frames);
    }
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

/// Report and files of a world, lived in a thread of its own.
fn outcome(path: PathBuf, batch: usize) -> std::thread::JoinHandle<(String, BTreeMap<String, Vec<u8>>)> {
    std::thread::spawn(move || {
        let out = tempfile::tempdir().expect("there is room");
        let report = live(read(&path), batch, Some(out.path()), Duration::from_secs(3));
        (serde_json::to_string(&report).expect("a report is plain data"), contents(out.path()))
    })
}

#[test]
fn the_same_world_is_the_same_to_the_octet() {
    for path in files() {
        let runs: Vec<_> = [1, 1, 7, 64].map(|batch| outcome(path.clone(), batch)).into_iter().collect();
        let mut outcomes = runs.into_iter().map(|run| run.join().unwrap());
        let (report, files) = outcomes.next().unwrap();
        assert!(files.len() > 3 && files.values().any(|octets| octets.len() > 10_000), "{}", path.display());
        for (other, others) in outcomes {
            assert_eq!(other, report, "{}", path.display());
            for (name, octets) in &files {
                assert!(others[name] == *octets, "{}: {name} differs", path.display());
            }
            assert_eq!(others.len(), files.len());
        }
    }
}
