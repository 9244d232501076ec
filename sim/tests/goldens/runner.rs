//! Runs a case: writes its input, replays it at each batch size, and compares with the folder, or rewrites it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use config::{Compiled, Ids};
use sim::Replay;
use sim::capture::CaptureWriter;
use sim::compare::compare;
use sim::replay::{COUNTERS_FILE, capture_file};

use crate::case::Case;

const BATCHES: [usize; 3] = [1, 7, 64];

pub(crate) fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

/// Compares the case with its folder.
pub(crate) fn run(case: &Case) -> Result<(), String> {
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let fresh = scratch.path().join(case.name);
    make(case, &fresh)?;
    let kept = goldens().join(case.name);
    if std::env::var_os("TAPESTRY_BLESS").is_some_and(|value| value == "1") {
        if kept.exists() {
            fs::remove_dir_all(&kept).map_err(|error| error.to_string())?;
        }
        return copy(&fresh, &kept).map_err(|error| error.to_string());
    }
    // The difference that a person can read, then the octets of everything.
    if kept.join("out").join(COUNTERS_FILE).exists() {
        let difference = compare(&fresh.join("out"), &kept.join("out")).map_err(|error| error.to_string())?;
        difference.map_or(Ok(()), |difference| Err(difference.to_string()))?;
    }
    same(&fresh, &kept)
        .map_err(|what| format!("{what}; if it is meant, `cargo xtask bless` and read the diff"))
}

/// Makes the whole folder of a case.
fn make(case: &Case, folder: &Path) -> Result<(), String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    fs::create_dir_all(folder.join("in")).map_err(|error| say(&error))?;
    fs::write(folder.join("case.md"), format!("# {}\n\n{}\n", case.name, case.shows))
        .map_err(|error| say(&error))?;
    fs::write(folder.join("case.toml"), &case.toml).map_err(|error| say(&error))?;
    let mut inputs = Vec::new();
    for (port, arrivals) in &case.inputs {
        let path = folder.join("in").join(capture_file(port));
        let mut writer = CaptureWriter::create(&path, port).map_err(|error| say(&error))?;
        for arrival in arrivals {
            writer.write(arrival.at, arrival.link, &arrival.bytes).map_err(|error| say(&error))?;
        }
        writer.flush().map_err(|error| say(&error))?;
        inputs.push(((*port).to_owned(), path));
    }
    let config = config::check("case.toml", &case.toml).map_err(|error| say(&error))?;
    let compiled = config::compile(&config, &mut Ids::default());
    for batch in BATCHES {
        replay(&compiled, &inputs, folder, batch)?;
    }
    Ok(())
}

fn replay(
    compiled: &Compiled,
    inputs: &[(String, PathBuf)],
    folder: &Path,
    batch: usize,
) -> Result<(), String> {
    let out = folder.join("out");
    let again = folder.join("again");
    let is_first = batch == BATCHES[0];
    let into = if is_first { &out } else { &again };
    let replay =
        Replay { compiled, inputs: inputs.to_vec(), out: into.clone(), batch, seed: 0, checks_laws: true };
    replay.run().map_err(|error| error.to_string())?;
    if !is_first {
        same(&again, &out).map_err(|what| format!("at batch {batch}: {what}"))?;
        fs::remove_dir_all(&again).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Whether two folders hold the same files with the same octets.
fn same(found: &Path, expected: &Path) -> Result<(), String> {
    let (found_files, expected_files) = (files(found), files(expected));
    if found_files != expected_files {
        return Err(format!("the files are {found_files:?}, expected {expected_files:?}"));
    }
    for file in found_files {
        let read = |folder: &Path| fs::read(folder.join(&file)).map_err(|error| error.to_string());
        if read(found)? != read(expected)? {
            return Err(format!("{} differs", file.display()));
        }
    }
    Ok(())
}

/// Every file below a folder, by its path from there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).expect("it lies below").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for file in files(from) {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().expect("a file lies in a folder"))?;
        fs::copy(from.join(&file), target)?;
    }
    Ok(())
}
