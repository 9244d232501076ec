//! `tapestry sim`: a world of switches, hosts and wires under virtual time.
//!
//! Reads the file and leaves the rest to [`sim::world`]. The real clock is read here and nowhere else: it says how long
//! the world has taken and when to say how far it has come. Exit code 0 if the world lived and nothing was found wrong,
//! 1 if something was, if somebody interrupted it (the report is of what it lived), or if the outcome cannot be written,
//! 2 if the file is wrong or there is no place for the outcome.

use std::fs::{self, File};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sim::world::{self, Options, Progress, Report, World};

use crate::api::{ApiError, ErrorKind};
use crate::cli::{self, Common, Failure, Interrupts, SimArgs};

/// Between two words of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Lets a world live and says what has come of it.
pub fn run(args: &SimArgs, common: &Common) -> ExitCode {
    cli::finish(simulate(args, common))
}

fn simulate(args: &SimArgs, common: &Common) -> Result<(), Failure> {
    let name = args.file.display().to_string();
    let text = fs::read_to_string(&args.file).map_err(|error| Failure::invalid(&name, error.to_string()))?;
    let topology = world::check(&name, &text).map_err(|report| cli::fail(&report, common))?;
    let seed = args.seed.unwrap_or(topology.spec.seed);
    let life = args.life.unwrap_or(topology.spec.life).0;
    let options = Options { seed, life, batch: args.batch.into(), out: args.out.clone() };
    // Whatever cannot be written is told before the world has lived for nothing.
    let world =
        World::new(topology, options).map_err(|error| Failure::invalid("--out", error.to_string()))?;
    let file = args.report.as_ref().map(|path| {
        let name = path.display().to_string();
        File::create(path)
            .map(|file| (name.clone(), file))
            .map_err(|error| Failure::invalid(name, error.to_string()))
    });
    let file = file.transpose()?;
    let is_interrupted = interrupts()?;
    let begun = Instant::now();
    let mut said = begun;
    let mut progress = |progress: Progress| {
        if is_interrupted.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        if said.elapsed() >= PROGRESS_EVERY {
            said = Instant::now();
            let Progress { now, events } = progress;
            let virtual_time = seconds(Duration::from_nanos(now.as_nanos()));
            eprintln!("seed {seed}: {virtual_time} of {} s, {events} events", seconds(life));
        }
        ControlFlow::Continue(())
    };
    let report = world.run(&mut progress).map_err(|error| failed("the outcome", &error))?;
    let took = begun.elapsed();
    let answered = cli::answer(common, &report, |report| show(report, took));
    if let Some((name, mut file)) = file {
        let json = serde_json::to_string_pretty(&report).expect("a report is plain data");
        file.write_all((json + "\n").as_bytes()).map_err(|error| failed(&name, &error))?;
    }
    answered?;
    let has_lived = report.lived_ns == u64::try_from(life.as_nanos()).unwrap_or(u64::MAX);
    if report.findings.is_empty() && has_lived { Ok(()) } else { Err(Failure::Said(1)) }
}

/// What turns true when somebody interrupts: the world ends at once, and its report says how far it has come.
fn interrupts() -> Result<Arc<AtomicBool>, Failure> {
    let end = || eprintln!("interrupted: the world ends here; interrupt again to have no report");
    let watched = Interrupts::listen().and_then(|interrupts| interrupts.watch(end));
    watched.map_err(|error| failed("cannot wait for signals", &error))
}

fn failed(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::Refused(ApiError::new(ErrorKind::Internal, what, error.to_string()))
}

fn seconds(span: Duration) -> String {
    format!("{}.{:03}", span.as_secs(), span.subsec_millis())
}

fn millis(nanos: u64) -> String {
    format!("{}.{:03}", nanos / 1_000_000, nanos / 1_000 % 1_000)
}

fn show(report: &Report, took: Duration) -> String {
    let mut text = String::new();
    for flow in &report.flows {
        text += &format!("{}: {} sent, {} received", flow.flow, flow.sent, flow.received);
        if flow.failed > 0 {
            text += &format!(", {} failed", flow.failed);
        }
        text += &format!(", {} octets, {} kbit/s", flow.bytes, flow.bits_per_second / 1_000);
        if let Some(latency) = &flow.latency_ns {
            let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(millis);
            text += &format!(", latency ms p50 {p50} p99 {p99} max {max}");
        }
        text.push('\n');
    }
    for finding in &report.findings {
        text += &format!("wrong at {} ms: {}: {}\n", millis(finding.at_ns), finding.rule, finding.what);
    }
    if report.unchecked > 0 {
        text += &format!(
            "{} flows were not checked: the world ended before they had to work\n",
            report.unchecked
        );
    }
    let lived = Duration::from_nanos(report.lived_ns);
    let times = lived.as_nanos() * 10 / took.as_nanos().max(1);
    text += &format!(
        "seed {}: {} s of virtual time in {} s ({}.{} times real time), {} events, {} frames, digest {}, {} findings\n",
        report.seed,
        seconds(lived),
        seconds(took),
        times / 10,
        times % 10,
        report.events,
        report.frames,
        report.digest,
        report.findings.len()
    );
    text
}
