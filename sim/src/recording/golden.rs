//! Goldens from recordings: what came in live, as a case that can be replayed for ever, edited and cut down.
//!
//! ```text
//!  DIR/case.toml   the configuration that held last      DIR/in/   what came in, by port and underlay
//!  DIR/case.md     where it is from, how to run it       DIR/out/  what leaves, and the counters, of this very input
//!  DIR/live/       what had left in the live run
//! ```
//!
//! A golden begins with a switch that knows nothing and is one worker, and goes by one configuration. A recording that began
//! in the middle, of several workers or with a change in it, may have done something else: `live` beside `out` shows it.

use std::fs;
use std::path::{Path, PathBuf};

use config::Ids;

use super::read::RecordingError;
use super::replay::{CONFIG_FILE, IN_FOLDER, Replayed, replay};
use crate::Replay;

/// Makes a golden of a recording in `folder`, which must not be there.
///
/// # Errors
/// As [`replay`], or the folder is there, or the replay of what came in fails.
pub fn golden(path: &Path, folder: &Path) -> Result<Replayed, RecordingError> {
    let told =
        |what: &Path, error: &dyn std::fmt::Display| RecordingError(format!("{}: {error}", what.display()));
    fs::create_dir(folder).map_err(|error| told(folder, &error))?;
    let live = folder.join("live");
    let replayed = replay(path, Some(&live))?;
    for (from, to) in [(CONFIG_FILE, "case.toml"), (IN_FOLDER, IN_FOLDER)] {
        fs::rename(live.join(from), folder.join(to)).map_err(|error| told(&live.join(from), &error))?;
    }
    let case = folder.join("case.toml");
    let text = fs::read_to_string(&case).map_err(|error| told(&case, &error))?;
    let config = config::check("case.toml", &text).map_err(|report| told(&case, &report))?;
    let compiled = config::compile(&config, &mut Ids::default());
    let inputs = inputs(&folder.join(IN_FOLDER), &compiled).map_err(|error| told(folder, &error))?;
    let seed = replayed.workers.first().map_or(0, |worker| worker.seed);
    let run = Replay {
        compiled: &compiled,
        inputs: inputs.clone(),
        out: folder.join("out"),
        batch: 1,
        seed,
        checks_laws: true,
    };
    run.run().map_err(|error| told(folder, &error))?;
    let words: Vec<String> = inputs.iter().map(|(name, _)| format!("--in {name}=in/{name}.pcapng")).collect();
    let about = format!(
        "# A recording\n\nMade of `{}`. Run it with\n\n```sh\ntapestry replay -c case.toml {} --seed {seed} --expect out\n```\n",
        path.file_name().unwrap_or_default().to_string_lossy(),
        words.join(" ")
    );
    let file = folder.join("case.md");
    fs::write(&file, about).map_err(|error| told(&file, &error))?;
    Ok(replayed)
}

/// The captures of ports and underlays that the configuration has.
fn inputs(folder: &Path, compiled: &config::Compiled) -> std::io::Result<Vec<(String, PathBuf)>> {
    let underlays = compiled.plan.underlays.iter().map(|underlay| underlay.local.to_string());
    let mut inputs = Vec::new();
    for name in compiled.ports.keys().cloned().chain(underlays) {
        let path = folder.join(crate::replay::capture_file(&name));
        if path.try_exists()? {
            inputs.push((name, path));
        }
    }
    Ok(inputs)
}
