//! `tapestry record`: what enters the running switch from now on, or what its flight recorder still has, into a file.
//!
//! Ctrl-C (or SIGTERM) asks the switch for the end of the recording and reads on until that has come, so that the file is
//! whole. What was recorded is said on standard error, by the records that have gone by.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use hyper::HeaderMap;
use sim::recording::Survey;

use super::client::{Client, path};
use super::interrupt::Interrupts;
use super::table::{count, octets};
use super::{Common, Failure};
use crate::api::{ApiError, ErrorKind, RECORDING_NUMBER, RecordRequest};

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
    let (mut survey, mut interrupted) = (Survey::default(), None);
    let begins = |head: &HeaderMap| {
        interrupted = watch(head, &common.socket)?;
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
        file.write_all(octets).map_err(Failure::Output)
    });
    if file.is_some() {
        let is_interrupted = interrupted.is_some_and(|flag| flag.load(Ordering::Relaxed));
        eprintln!("{}", summary(&survey, is_interrupted));
    }
    recorded
}

/// Ends the recording in order when somebody interrupts, if it is one that goes on. Gives what turns true then.
fn watch(head: &HeaderMap, socket: &Path) -> Result<Option<Arc<AtomicBool>>, Failure> {
    let Some(number) = head.get(RECORDING_NUMBER).and_then(|number| number.to_str().ok()) else {
        return Ok(None);
    };
    let (socket, resource) = (socket.to_owned(), path(&["recordings", number]));
    let end = move || {
        eprintln!("interrupted: the recording is being ended; interrupt again to leave it cut off");
        match Client::new(&socket).and_then(|client| client.delete(&resource)) {
            Ok(()) => {}
            // Its time was up a moment ago, or the switch ends: it ends in order by itself.
            Err(Failure::Refused(ApiError { kind: ErrorKind::NotFound, .. })) => {}
            Err(failure) => drop(super::finish(Err(failure))),
        }
    };
    let watched = Interrupts::listen().and_then(|interrupts| interrupts.watch(end));
    watched.map(Some).map_err(|error| {
        Failure::Refused(ApiError::new(ErrorKind::Internal, "cannot wait for signals", error.to_string()))
    })
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
