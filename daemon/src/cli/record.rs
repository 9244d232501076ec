//! `tapestry record`: what enters the running switch from now on, or what its flight recorder still has, into a file.
//!
//! Ctrl-C (or SIGTERM) asks the switch for the end of the recording and reads on until that has come, so that the file is
//! whole. What was recorded is said on standard error, by the records that have gone by.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use hyper::HeaderMap;
use sim::recording::Survey;

use super::client::Client;
use super::interrupt;
use super::table::{count, octets};
use super::{Common, Failure};
use crate::api::{RECORDING_NUMBER, RECORDING_REACH, Reach, RecordRequest};

/// `tapestry record`
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// The file; -: standard output
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// End after so long, as in 60s; default: when interrupted
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Not from now on, but what the flight recorder (`tapestry run --flight-recorder SIZE`) has of the last so long
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with = "duration")]
    pub last: Option<Duration>,
}

/// `tapestry record`
pub fn record(args: &RecordArgs, common: &Common) -> Result<(), Failure> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let request = RecordRequest { for_ms: args.duration.map(millis), last_ms: args.last.map(millis) };
    let is_stdout = args.out == Path::new("-");
    if is_stdout && io::stdout().is_terminal() {
        return Err(Failure::invalid("--out -", "a recording is not for a terminal; name a file"));
    }
    let client = Client::new(&common.socket)?;
    // Made when the switch has agreed, so that a refusal leaves no empty file.
    let mut file: Option<Box<dyn Write>> = None;
    let (mut survey, mut interrupted, mut reach) = (Survey::default(), None, None);
    let begins = |head: &HeaderMap| {
        let says = "the recording is being ended; interrupt again to leave it cut off";
        interrupted = interrupt::end_by(head, RECORDING_NUMBER, "recordings", &common.socket, says)?;
        reach = head.get(RECORDING_REACH).and_then(|reach| serde_json::from_slice(reach.as_bytes()).ok());
        Ok(())
    };
    let recorded = client.stream_from("/v1/record", &request, begins, |octets| {
        survey.take(octets);
        let file = match &mut file {
            Some(file) => file,
            None if is_stdout => file.insert(Box::new(io::stdout())),
            None => {
                let made = File::create(&args.out);
                let name = args.out.display().to_string();
                file.insert(Box::new(made.map_err(|error| Failure::invalid(name, error.to_string()))?))
            }
        };
        file.write_all(octets).map_err(|error| Failure::writing(&args.out, error))
    });
    if file.is_some() {
        let is_interrupted = interrupted.is_some_and(|flag| flag.load(Ordering::Relaxed));
        eprintln!("{}", summary(&survey, is_interrupted));
    }
    if let (Ok(()), Some(reach), Some(last)) = (&recorded, &reach, args.last) {
        eprintln!("{}", reached(reach, last));
    }
    recorded
}

/// What was recorded, and how it ended.
fn summary(survey: &Survey, is_interrupted: bool) -> String {
    let how = match (survey.is_whole(), is_interrupted) {
        (true, true) => "; ended by an interrupt, whole",
        (true, false) => "; whole",
        (false, _) => "; cut off, its end is not there",
    };
    format!(
        "recorded {} events, {}; {} events could not be kept{how}",
        count(survey.events()),
        octets(survey.octets()),
        count(survey.missed())
    )
}

/// How far back the flight recorder reached.
fn reached(reach: &Reach, last: Duration) -> String {
    let Reach { reaches_ms, has_forgotten, octets_max } = *reach;
    let back = format!("reaches back {}.{} s", reaches_ms / 1_000, reaches_ms % 1_000 / 100);
    if !has_forgotten {
        return back;
    }
    format!(
        "{back} of the {} asked; the flight recorder holds {}\n  next: start the switch with a larger --flight-recorder",
        humantime::format_duration(last),
        octets(octets_max)
    )
}
