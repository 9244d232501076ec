//! The comparison itself: rounds, within each round every subject once, for each every workload.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::counters::{self, Processors};
use crate::generate::flood::Flooded;
use crate::generate::{bulk, flood, frames, round_trip};
use crate::interrupt;
use crate::metric::Metric;
use crate::outcome::{Method, Run};
use crate::site::{Path, Site};
use crate::subject::{Programs, Running, Subject};

/// What subjects are asked to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// TCP bulk, one stream.
    Bulk1,
    /// TCP bulk, four streams.
    Bulk4,
    /// 64-byte frames.
    Frames,
    /// Round trips, closed loop.
    Closed,
    /// Round trips, fixed rate.
    Paced,
    /// Round trips while somebody floods the router; of routers only.
    Flood,
}

impl Workload {
    /// All of them, in the order they run.
    pub const ALL: [Self; 6] =
        [Self::Bulk1, Self::Bulk4, Self::Frames, Self::Closed, Self::Paced, Self::Flood];
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bulk1 => "bulk1",
            Self::Bulk4 => "bulk4",
            Self::Frames => "frames",
            Self::Closed => "closed",
            Self::Paced => "paced",
            Self::Flood => "flood",
        })
    }
}

/// Runs all rounds. `told` hears of every run as it ends.
///
/// A subject that does not start, or a workload that comes to nothing, is told and noted, and the rest goes on.
///
/// # Errors
/// On interruption only, everything unwound.
pub fn compare(
    subjects: &[Subject],
    workloads: &[Workload],
    method: Method,
    programs: &Programs,
    mut told: impl FnMut(&Run),
) -> io::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for round in 0..method.rounds {
        for &subject in subjects {
            let mut run = Run {
                round,
                subject,
                figures: BTreeMap::new(),
                asides: BTreeMap::new(),
                failures: Vec::new(),
            };
            if let Err(error) = one(&mut run, workloads, method, programs) {
                note(&mut run, "start", error)?;
            }
            told(&run);
            runs.push(run);
        }
    }
    Ok(runs)
}

fn one(run: &mut Run, workloads: &[Workload], method: Method, programs: &Programs) -> io::Result<()> {
    let site = Site::build(run.subject.path())?;
    let running = run.subject.start(&site, programs)?;
    round_trip::until_answered(&site).map_err(|error| with_complaints(&error, &running))?;
    for &workload in workloads {
        let (carrier_before, machine_before, began) =
            (carrier_time(&running), Processors::read()?, Instant::now());
        let done = carry(workload, &site, method, run);
        let took = began.elapsed();
        if let Err(error) = done {
            note(run, &workload.to_string(), with_complaints(&error, &running))?;
            continue;
        }
        let (busy, stolen) = Processors::read()?.shares_since(machine_before);
        let mut aside = |name: &str, value: f64| run.asides.insert(format!("{workload}: {name}"), value);
        aside("machine busy, %", busy * 100.0);
        aside("stolen by the hypervisor, %", stolen * 100.0);
        if let (Some(before), Some(after)) = (carrier_before, carrier_time(&running)) {
            let share = after.saturating_sub(before).as_secs_f64() / took.as_secs_f64();
            aside("subject's process, % of a core", share * 100.0);
        }
    }
    Ok(())
}

fn carry(workload: Workload, site: &Site, method: Method, run: &mut Run) -> io::Result<()> {
    let mut aside = |name: &str, value: f64| run.asides.insert(format!("{workload}: {name}"), value);
    match workload {
        Workload::Bulk1 => {
            let bulk = bulk::measure(site, 1, method.throughput)?;
            aside("segments sent again", bulk.retransmitted as f64);
            run.figures.insert(Metric::Bulk1, bulk.gbit_per_second);
        }
        Workload::Bulk4 => {
            let bulk = bulk::measure(site, 4, method.throughput)?;
            aside("segments sent again", bulk.retransmitted as f64);
            run.figures.insert(Metric::Bulk4, bulk.gbit_per_second);
        }
        Workload::Frames => {
            let frames = frames::measure(site, method.throughput)?;
            aside("offered, kframes/s", frames.offered_kfps);
            run.figures.insert(Metric::Frames64, frames.delivered_kfps);
        }
        Workload::Closed => {
            let trips = round_trip::closed_loop(site, method.round_trip)?;
            aside("requests lost", trips.lost as f64);
            run.figures.extend([
                (Metric::ClosedP50, trips.p50),
                (Metric::ClosedP99, trips.p99),
                (Metric::ClosedP999, trips.p999),
            ]);
        }
        Workload::Paced => {
            let trips = round_trip::fixed_rate(site, method.rate, method.round_trip)?;
            aside("requests lost", trips.lost as f64);
            run.figures.extend([
                (Metric::PacedP50, trips.p50),
                (Metric::PacedP99, trips.p99),
                (Metric::PacedP999, trips.p999),
            ]);
        }
        Workload::Flood if site.path == Path::Switched => {}
        Workload::Flood => {
            for flooded in flood::measure(site, method.flood_rate, method.round_trip)? {
                let Flooded { flood, quiet, trips, offered_kfps } = flooded;
                aside(&format!("{flood:?}: p99 before, µs"), quiet.p99);
                aside(&format!("{flood:?}: p99, µs"), trips.p99);
                aside(&format!("{flood:?}: requests lost"), trips.lost as f64);
                aside(&format!("{flood:?}: offered, kframes/s"), offered_kfps);
                run.figures.insert(flood.metric(), trips.p99 / quiet.p99);
            }
        }
    }
    Ok(())
}

fn carrier_time(running: &Running) -> Option<Duration> {
    counters::processor_time(running.carrier()?.pid()).ok()
}

fn with_complaints(error: &io::Error, running: &Running) -> io::Error {
    let complaints = running.carrier().map_or_else(String::new, |process| process.complaints());
    io::Error::new(error.kind(), format!("{error}{complaints}"))
}

/// Keeps what came to nothing; an interruption is passed on.
fn note(run: &mut Run, what: &str, error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Interrupted && interrupt::check().is_err() {
        return Err(error);
    }
    run.failures.push(format!("{what}: {error}"));
    Ok(())
}
