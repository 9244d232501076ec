//! `tapestry replay`: captures through a switch under a virtual clock, and whether the outcome is the expected one.
//!
//! Reads the configuration and leaves the rest to [`sim`]. Exit code 0 if the replay ran and nothing differs, 1 if
//! something differs or the outcome cannot be written, 2 if the configuration or a capture is wrong, 3 if there is no
//! such port.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use sim::recording::{self, Ended, Golden, WorkerReplayed};
use sim::{Remarks, Replay, ReplayError, compare};

use crate::api::{ApiError, ErrorKind};
use crate::cli::{self, Common, Failure, ReplayArgs};

/// What a replay came to.
#[derive(Serialize)]
struct Verdict {
    /// Frames that entered.
    frames_in: u64,
    /// Frames that left.
    frames_out: u64,
    /// What was odd about captures.
    warnings: Vec<String>,
    /// The first difference from what was expected.
    difference: Option<String>,
}

/// Replays, and compares with what was expected if that was given.
pub fn run(args: &ReplayArgs, common: &Common) -> ExitCode {
    cli::finish(replay(args, common))
}

fn replay(args: &ReplayArgs, common: &Common) -> Result<(), Failure> {
    let Some(file) = &args.config else {
        return recorded(args.recording.as_deref().expect("the grammar asks for one of them"), args, common);
    };
    let config = cli::read_configuration(file, common)?.1;
    let compiled = config::compile(&config, &mut config::Ids::default());
    // Whoever only wants to compare names no place for the outcome.
    let scratch = tempfile::tempdir().map_err(|error| failed("cannot make a temporary directory", &error))?;
    let out = args.out.clone().unwrap_or_else(|| scratch.path().to_owned());
    let replay = Replay {
        compiled: &compiled,
        inputs: args.inputs.clone(),
        out: out.clone(),
        batch: args.batch.into(),
        seed: args.seed,
        checks_laws: false,
    };
    let outcome = replay.run().map_err(|error| refused(&error))?;
    let difference = match &args.expect {
        Some(expect) => compare::compare(&out, expect).map_err(|error| failed("cannot compare", &error))?,
        None => None,
    };
    let verdict = Verdict {
        frames_in: outcome.frames_in,
        frames_out: outcome.frames_out,
        warnings: outcome.remarks.iter().flat_map(Remarks::sentences).collect(),
        difference: difference.map(|difference| difference.to_string()),
    };
    cli::answer(common, &verdict, show)?;
    if verdict.difference.is_some() { Err(Failure::Said(1)) } else { Ok(()) }
}

/// What the replay of a recording came to.
#[derive(Serialize)]
struct Recorded {
    /// Events replayed.
    events: u64,
    /// Frames and datagrams that entered.
    frames_in: u64,
    /// Frames that left.
    frames_out: u64,
    /// Events whose outcome was compared and is the same.
    verified: u64,
    /// Events that could not be kept, between those that were.
    missed: u64,
    /// How the recording ends: `whole`, `overrun` (events are missing, but not the end) or `cut-off`.
    ended: &'static str,
    /// Where the replay differs from it.
    difference: Option<String>,
    /// Each worker's part.
    workers: Vec<RecordedWorker>,
    /// What the golden has of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    golden: Option<Case>,
}

/// What the golden of a recording came to.
#[derive(Serialize)]
struct Case {
    /// Frames that enter in it.
    frames_in: u64,
    /// Frames that leave in it.
    frames_out: u64,
    /// What the live run had and it has not.
    lacks: Vec<String>,
    /// All of this in words.
    #[serde(skip)]
    text: String,
}

/// What the replay of one worker came to.
#[derive(Serialize)]
struct RecordedWorker {
    /// Which.
    worker: u16,
    /// The seed of its node.
    seed: u64,
    /// Times that its recording began, or began again behind what could not be kept.
    segments: u64,
    /// Events replayed.
    events: u64,
    /// Those whose outcome was compared and is the same.
    verified: u64,
}

/// Replays a recording, and says whether the same came out.
fn recorded(file: &Path, args: &ReplayArgs, common: &Common) -> Result<(), Failure> {
    let replayed = match &args.golden {
        Some(folder) => recording::golden(file, folder).map(|golden| {
            let text = golden.compared();
            let Golden { replayed, frames_in, frames_out, lacks } = golden;
            (replayed, Some(Case { frames_in, frames_out, lacks, text }))
        }),
        None => recording::replay(file, args.out.as_deref()).map(|replayed| (replayed, None)),
    };
    let (replayed, golden) =
        replayed.map_err(|error| Failure::invalid("the recording", error.to_string()))?;
    let ended = match replayed.ended {
        Ended::Whole => "whole",
        Ended::Overrun => "overrun",
        Ended::CutOff => "cut-off",
    };
    let worker = |it: &WorkerReplayed| {
        let WorkerReplayed { worker, seed, segments, events, verified, .. } = *it;
        RecordedWorker { worker, seed, segments, events, verified }
    };
    let told = Recorded {
        events: replayed.sum(|worker| worker.events),
        frames_in: replayed.sum(|worker| worker.frames_in),
        frames_out: replayed.sum(|worker| worker.frames_out),
        verified: replayed.sum(|worker| worker.verified),
        missed: replayed.sum(|worker| worker.missed),
        ended,
        workers: replayed.workers.iter().map(worker).collect(),
        difference: replayed.difference,
        golden,
    };
    cli::answer(common, &told, show_recorded)?;
    if told.difference.is_some() { Err(Failure::Said(1)) } else { Ok(()) }
}

fn show_recorded(told: &Recorded) -> String {
    let Recorded { events, frames_in, frames_out, verified, missed, ended, difference, workers, golden } =
        told;
    let mut text = String::new();
    for RecordedWorker { worker, seed, segments, events, verified } in workers {
        let again = if *segments > 1 { format!(" in {segments} segments") } else { String::new() };
        text += &format!("worker {worker}, seed {seed}: {events} events{again}, {verified} verified\n");
    }
    text += &format!(
        "{events} events, {frames_in} frames in, {frames_out} frames out; {verified} events verified\n"
    );
    if *missed > 0 {
        text += &format!("{missed} events could not be kept in time and are not in the recording\n");
    }
    text += match *ended {
        "cut-off" => "the recording was cut off or damaged; it was replayed to its last whole record\n",
        "overrun" => "the recording has its end\n",
        _ => "the recording is whole\n",
    };
    if let Some(difference) = difference {
        text += &format!("differs: {difference}\n");
    }
    if let Some(golden) = golden {
        text += &golden.text;
    }
    text
}

fn show(verdict: &Verdict) -> String {
    let mut text = format!("{} frames in, {} frames out\n", verdict.frames_in, verdict.frames_out);
    for warning in &verdict.warnings {
        text += &format!("warning: {warning}\n");
    }
    if let Some(difference) = &verdict.difference {
        text += &format!("differs: {difference}\n");
    }
    text
}

fn refused(error: &ReplayError) -> Failure {
    let kind = match error {
        ReplayError::Input(_) | ReplayError::Overwrites(_) => ErrorKind::Invalid,
        ReplayError::Output(_) => ErrorKind::Internal,
        ReplayError::UnknownPort { .. } => ErrorKind::NotFound,
    };
    Failure::Refused(ApiError::new(kind, "replay", error.to_string()))
}

fn failed(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::Refused(ApiError::new(ErrorKind::Internal, what, error.to_string()))
}
