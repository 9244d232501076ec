//! `tapestry capture` and `tapestry drops --follow`: frames of the running switch as they come, leave and are dropped.
//!
//! Ctrl-C (or SIGTERM) asks the switch for the end of a capture and reads on until that has come, so that everything that
//! had been seen is in the file.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use hyper::HeaderMap;

use super::client::Client;
use super::{Common, DropsArgs, Failure, ask, interrupt};
use crate::api::{CAPTURE_NUMBER, DropSample, WatchRequest};

/// `tapestry capture`
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// The ports; the uplink's is called uplink
    #[arg(required_unless_present = "all", value_name = "PORT")]
    pub ports: Vec<String>,
    /// Capture at every port that there is
    #[arg(long, conflicts_with = "ports")]
    pub all: bool,
    /// Only frames that match, as in `host 10.0.0.2 and tcp port 80`
    #[arg(long, value_name = "EXPRESSION", default_value = "")]
    pub filter: String,
    /// Frames that are dropped, each with the reason as its comment, and no others
    #[arg(long)]
    pub drops: bool,
    /// Octets to keep of each frame; default: all
    #[arg(long, value_name = "OCTETS")]
    pub snaplen: Option<usize>,
    /// End after so long, as in 10s or 2m
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// End after so many frames
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// The file (pcapng); -: standard output, as in `tapestry capture c1 -w - | wireshark -k -i -`
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub write: PathBuf,
}

/// `tapestry capture`
pub fn capture(args: &CaptureArgs, common: &Common) -> Result<(), Failure> {
    let request = WatchRequest {
        ports: args.ports.clone(),
        filter: args.filter.clone(),
        drops: args.drops,
        reason: None,
        snap_len: args.snaplen,
        for_ms: args.duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        count: args.count,
    };
    let is_stdout = args.write == Path::new("-");
    if is_stdout && io::stdout().is_terminal() {
        return Err(Failure::invalid(
            "-w -",
            "a capture is not for a terminal; name a file, or pipe it into a reader",
        ));
    }
    let client = Client::new(&common.socket)?;
    // Made when the switch has agreed, so that a refusal leaves no empty file.
    let mut file: Option<Box<dyn Write>> = None;
    let begins = |head: &HeaderMap| {
        let says = "the capture is being ended; interrupt again to end it at once";
        interrupt::end_by(head, CAPTURE_NUMBER, "captures", &common.socket, says).map(drop)
    };
    client.stream_from("/v1/capture", &request, begins, |octets| {
        let file = match &mut file {
            Some(file) => file,
            None if is_stdout => file.insert(Box::new(io::stdout())),
            None => {
                let made = File::create(&args.write);
                let name = args.write.display().to_string();
                file.insert(Box::new(made.map_err(|error| Failure::invalid(name, error.to_string()))?))
            }
        };
        let written = file.write_all(octets).and_then(|()| file.flush());
        written.map_err(|error| Failure::writing(&args.write, error))
    })
}

/// `tapestry drops --follow`
pub(super) fn follow(args: &DropsArgs, common: &Common) -> Result<(), Failure> {
    let request = WatchRequest {
        ports: args.port.iter().cloned().collect(),
        drops: true,
        reason: args.reason.clone(),
        count: args.count,
        ..WatchRequest::default()
    };
    let mut pending = Vec::new();
    Client::new(&common.socket)?.stream("/v1/drops/follow", &request, |octets| {
        pending.extend_from_slice(octets);
        while let Some(end) = pending.iter().position(|&octet| octet == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let text = if common.json { line.into_owned() } else { show(&line) };
            ask::print(&text)?;
        }
        Ok(())
    })
}

fn show(line: &str) -> String {
    let Ok(DropSample { time, reason, port, packet, lost }) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    let lost = if lost > 0 { format!("  ({lost} more were not shown)") } else { String::new() };
    format!("{time}  {reason:<24} {port:<12} {packet}{lost}\n")
}
