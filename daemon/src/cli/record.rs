//! `tapestry record`: what enters the running switch from now on, or what its flight recorder still has, into a file.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::client::Client;
use super::{Common, Failure};
use crate::api::RecordRequest;

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
    client.stream("/v1/record", &request, |octets| {
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
    })
}
