//! Goldens from recordings: what came in live, as a case that can be replayed for ever, edited and cut down.
//!
//! ```text
//!  DIR/case.toml   the configuration that held last      DIR/in/   what came in, by port and underlay
//!  DIR/case.md     where it is from, how to run it       DIR/out/  what leaves, and the counters, of this very input
//!  DIR/live/       what had left in the live run
//! ```
//!
//! A golden begins with a switch that knows nothing and is one worker, and goes by one configuration. A recording that began
//! in the middle, of several workers or with a change in it, may have done something else: `live` beside `out` shows it,
//! and [`Golden`] and `case.md` say how much of the run is in the case and what is known to be missing.

use std::fs;
use std::path::{Path, PathBuf};

use config::Ids;

use super::read::{Reader, RecordingError};
use super::replay::{CONFIG_FILE, IN_FOLDER, Replayed, WorkerReplayed, replay};
use crate::Replay;

/// What a golden came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Golden {
    /// The replay of the recording.
    pub replayed: Replayed,
    /// Frames that enter in the case.
    pub frames_in: u64,
    /// Frames that leave in it.
    pub frames_out: u64,
    /// What the live run had and the case has not, a sentence each.
    pub lacks: Vec<String>,
}

/// Makes a golden of a recording in `folder`, which must not be there. After an error it is not.
///
/// # Errors
/// As [`replay`], or the folder is there, or the replay of what came in fails.
pub fn golden(path: &Path, folder: &Path) -> Result<Golden, RecordingError> {
    drop(Reader::open(path)?); // What is no recording makes no folder.
    fs::create_dir(folder).map_err(|error| told(folder, &error))?;
    let made = make(path, folder);
    if made.is_err()
        && let Err(error) = fs::remove_dir_all(folder)
    {
        return Err(told(folder, &format!("cannot remove what is in it of a golden that failed: {error}")));
    }
    made
}

fn told(what: &Path, error: &dyn std::fmt::Display) -> RecordingError {
    RecordingError(format!("{}: {error}", what.display()))
}

fn make(path: &Path, folder: &Path) -> Result<Golden, RecordingError> {
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
    let outcome = run.run().map_err(|error| told(folder, &error))?;
    let golden = Golden {
        frames_in: outcome.frames_in,
        frames_out: outcome.frames_out,
        lacks: lacks(&replayed),
        replayed,
    };
    let words: Vec<String> = inputs.iter().map(|(name, _)| format!("--in {name}=in/{name}.pcapng")).collect();
    let about = format!(
        "# A recording\n\nMade of `{}`. Run it with\n\n```sh\ntapestry replay -c case.toml {} --seed {seed} --expect out\n```\n\n{}",
        path.file_name().unwrap_or_default().to_string_lossy(),
        words.join(" "),
        golden.compared()
    );
    let file = folder.join("case.md");
    fs::write(&file, about).map_err(|error| told(&file, &error))?;
    Ok(golden)
}

/// What a case cannot have of this run.
fn lacks(replayed: &Replayed) -> Vec<String> {
    let mut lacks = Vec::new();
    if replayed.workers.iter().any(|worker| worker.began_in_the_middle) {
        lacks.push(
            "the recording began in the middle of the switch's life: the stations, neighbours and connections that it \
             knew are not in the case"
                .to_owned(),
        );
    }
    if replayed.workers.len() > 1 {
        let count = replayed.workers.len();
        lacks.push(format!("the recording is of {count} workers, each with a node; the case has one"));
    }
    let changes = replayed.workers.iter().map(|worker| {
        let first = u64::from(!worker.began_in_the_middle);
        worker.configurations.saturating_sub(first)
    });
    let changes = changes.max().unwrap_or(0);
    if changes > 0 {
        lacks
            .push(format!("the configuration changed {changes} times; the case has the last one throughout"));
    }
    let missed = replayed.sum(|worker| worker.missed);
    if missed > 0 {
        lacks.push(format!("{missed} events could not be kept and are not in the recording"));
    }
    lacks
}

impl Golden {
    /// How the case compares with the live run, in lines.
    pub fn compared(&self) -> String {
        let Self { replayed, frames_in, frames_out, lacks } = self;
        let [came, left] = [|it: &WorkerReplayed| it.frames_in, |it: &WorkerReplayed| it.frames_out]
            .map(|count| replayed.sum(count));
        let mut text =
            format!("Live, {came} frames came in and {left} left; in the case {frames_in} and {frames_out}");
        text += if lacks.is_empty() { ".\n" } else { ":\n\n" };
        lacks.iter().for_each(|lack| text += &format!("- {lack}\n"));
        text
    }
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
