//! Compares tapestry with its limits and its peers, side by side in one run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use benches::comparison::{Workload, compare};
use benches::corridor::{Corridor, octets_per_station};
use benches::flooded::{Cost, Flood, Flooded, aftermath};
use benches::generate::{Spans, flood};
use benches::machine::Machine;
use benches::outcome::{Absent, Alone, Entrant, Method, Outcome, Run};
use benches::routed::{Opener, Routed, Way, million, publish};
use benches::subject::{Driver, PEER_PACKAGES, Programs, Subject, run_copy_loop};
use benches::threshold::{Verdict, verdicts};
use benches::{alone, interrupt, report, routes};
use clap::{Parser, Subcommand};

/// Compare tapestry with its limits and its peers, side by side in one run. Needs root.
///
/// Prints medians with least and greatest, ratios, and whether what must be reached was. Peers that are not installed
/// are left out, and that is said. Ctrl-C leaves nothing behind.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Rounds; the subjects take turns within each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    repeat: u8,
    /// Two short rounds, to see that everything works; the figures are rough
    #[arg(long, conflicts_with = "repeat")]
    quick: bool,
    /// Only these subjects
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SUBJECT")]
    only: Vec<Subject>,
    /// Only these workloads
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WORKLOAD")]
    workload: Vec<Workload>,
    /// Requests a second of the fixed-rate workload
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Hostile frames a second of the floods
    #[arg(long, default_value_t = flood::RATE, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    flood_rate: u32,
    /// Write report.json, report.md and chart.svg into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The tapestry program, instead of building it
    #[arg(long, value_name = "FILE")]
    tapestry: Option<PathBuf>,
    /// Install the peers' Debian packages first (their services are not started)
    #[arg(long)]
    install: bool,
    /// Exit with 1 if something that must be reached was measured and missed
    #[arg(long)]
    enforce: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What the copy-loop subjects run
    #[command(hide = true)]
    CopyLoop {
        #[arg(long, value_enum)]
        driver: Driver,
        /// Look for frames that long before waiting, microseconds
        #[arg(long, default_value_t = 0)]
        spin: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.verb {
        Some(Verb::CopyLoop { driver, spin }) => {
            run_copy_loop(*driver, Duration::from_micros(*spin)).map(|()| ExitCode::SUCCESS)
        }
        None => run(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("compare: {error}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "namespaces, TAPs and raw sockets need root: run it with sudo",
        ));
    }
    interrupt::listen()?;
    if arguments.install {
        install()?;
    }
    let programs = programs(arguments)?;
    let (entrants, absent) = assemble(arguments, &programs);
    let subjects: Vec<Subject> = entrants.iter().map(|entrant| entrant.subject).collect();
    let workloads =
        if arguments.workload.is_empty() { Workload::ALL.to_vec() } else { arguments.workload.clone() };
    let method = method(arguments);
    let runs = compare(&subjects, &workloads, method, &programs, tell)?;
    let alone = if subjects.iter().any(|subject| subject.is_ours()) {
        by_itself(arguments, &programs)?
    } else {
        Alone::default()
    };
    let command =
        std::iter::once("compare".to_owned()).chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ");
    let outcome = Outcome { machine: Machine::read()?, command, method, entrants, absent, runs, alone };
    let verdicts = verdicts(&outcome);
    println!("{}", report::terminal(&outcome, &verdicts));
    if let Some(directory) = &arguments.out {
        write(directory, &outcome, &verdicts)?;
    }
    let missed = verdicts.iter().any(|verdict| verdict.holds == Some(false));
    Ok(if missed && arguments.enforce { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn method(arguments: &Arguments) -> Method {
    let millis = Duration::from_millis;
    let (rounds, throughput, round_trip) = if arguments.quick {
        (2, (millis(200), millis(600)), (millis(100), millis(600)))
    } else {
        (usize::from(arguments.repeat), (millis(500), millis(3_000)), (millis(300), millis(2_000)))
    };
    let spans = |(warm_up, measured)| Spans { warm_up, measured };
    Method {
        rounds,
        throughput: spans(throughput),
        round_trip: spans(round_trip),
        rate: arguments.rate,
        flood_rate: arguments.flood_rate,
    }
}

/// Who takes part, and who cannot.
fn assemble(arguments: &Arguments, programs: &Programs) -> (Vec<Entrant>, Vec<Absent>) {
    let (mut entrants, mut absent) = (Vec::new(), Vec::new());
    let asked = |subject: &Subject| arguments.only.is_empty() || arguments.only.contains(subject);
    for subject in Subject::ALL.into_iter().filter(asked) {
        match subject.version(programs) {
            Ok(version) => {
                eprintln!("{subject:<12} {version}: {}", subject.phrase());
                entrants.push(Entrant { subject, version });
            }
            Err(error) => {
                eprintln!("{subject:<12} LEFT OUT: {error} (--install installs peers)");
                absent.push(Absent { subject, reason: error.to_string() });
            }
        }
    }
    (entrants, absent)
}

fn tell(run: &Run) {
    let figures: Vec<String> =
        run.figures.iter().map(|(metric, value)| format!("{metric:?} {value:.4}")).collect();
    eprintln!("round {} {:<12} {}", run.round + 1, run.subject, figures.join("  "));
    for failure in &run.failures {
        eprintln!("round {} {:<12} CAME TO NOTHING: {failure}", run.round + 1, run.subject);
    }
}

fn by_itself(arguments: &Arguments, programs: &Programs) -> io::Result<Alone> {
    let span = if arguments.quick { Duration::from_secs(2) } else { Duration::from_secs(10) };
    let mut figures = Alone::default();
    match alone::idle(programs, span) {
        Ok(idle) => (figures.idle_share, figures.idle_mib) = (Some(idle.share), Some(idle.mib)),
        Err(error) => {
            interrupt::check()?;
            eprintln!("idle         CAME TO NOTHING: {error}");
        }
    }
    figures.corridor_10_mfps = Some(Corridor::warm(10).mfps(Duration::from_secs(1)));
    figures.corridor_100k_mfps = Some(Corridor::warm(100_000).mfps(Duration::from_secs(1)));
    figures.fdb_octets_per_entry = Some(octets_per_station());
    let fib = routes::measure_v4(1_000_000);
    figures.fib_anywhere_mlps = Some(fib.anywhere_mlps);
    figures.fib_routed_mlps = Some(fib.routed_mlps);
    figures.fib_build_s = Some(fib.build_s);
    if arguments.only.is_empty() || arguments.only.contains(&Subject::TapestryNat) {
        routed_by_itself(&mut figures);
    }
    Ok(figures)
}

fn routed_by_itself(figures: &mut Alone) {
    const SPAN: Duration = Duration::from_secs(1);
    figures.routed_mpps = Some(Routed::warm(Way::Between, 100_000).mpps(SPAN));
    figures.nat_mpps = Some(Routed::warm(Way::Out, 100_000).mpps(SPAN));
    figures.nat_new_mcps = Some(Opener::warm().mcps(15));
    let few = Routed::warm(Way::Out, 1_000).mpps(SPAN);
    let (octets, mut many) = million();
    figures.nat_octets_per_session = Some(octets);
    figures.nat_million_ratio = Some(many.mpps(SPAN) / few);
    let (took, octets) = publish();
    figures.publish_ms = Some(took.as_secs_f64() * 1e3);
    figures.publish_mib = Some(octets as f64 / f64::from(1 << 20));
    let costs = Flood::ALL.map(Flooded::cost);
    let worst = |of: fn(&Cost) -> f64| costs.iter().map(of).reduce(f64::max);
    figures.flood_work_ratio = worst(|cost| cost.innocent_ratio);
    figures.flood_wake_us = Some(aftermath().as_secs_f64() * 1e6);
    figures.flood_hostile_ns = worst(|cost| cost.hostile_ns);
}

fn write(directory: &Path, outcome: &Outcome, verdicts: &[Verdict]) -> io::Result<()> {
    const CHART: &str = "chart.svg";
    fs::create_dir_all(directory)?;
    let json = serde_json::json!({ "outcome": outcome, "verdicts": verdicts });
    fs::write(directory.join("report.json"), serde_json::to_string_pretty(&json)? + "\n")?;
    fs::write(directory.join("report.md"), report::markdown(outcome, verdicts, CHART))?;
    fs::write(directory.join(CHART), report::svg(outcome))?;
    println!("Written: {}", directory.join("report.{json,md}, chart.svg").display());
    Ok(())
}

/// Finds this program and the switch, which is built unless given: release, as users run it.
fn programs(arguments: &Arguments) -> io::Result<Programs> {
    let compare = std::env::current_exe()?;
    if let Some(tapestry) = &arguments.tapestry {
        return Ok(Programs { tapestry: tapestry.clone(), compare });
    }
    let tapestry = compare.with_file_name("tapestry");
    let wanted = arguments.only.is_empty() || arguments.only.iter().any(|subject| subject.is_ours());
    if wanted && let Some(cargo) = std::env::var_os("CARGO") {
        let status = Command::new(cargo).args(["build", "--release", "--bin", "tapestry"]).status()?;
        if !status.success() {
            return Err(io::Error::other("the switch does not build"));
        }
    }
    Ok(Programs { tapestry, compare })
}

/// Installs the peers with Debian's package manager, keeping it from starting their services.
fn install() -> io::Result<()> {
    // What invoke-rc.d asks before it starts anything; 101 is "not allowed".
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let ours = !policy.exists();
    if ours {
        fs::write(policy, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(policy, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    let status = Command::new("apt-get")
        .args(["install", "-y", "--no-install-recommends"])
        .args(PEER_PACKAGES)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status();
    if ours {
        fs::remove_file(policy)?;
    }
    if status?.success() { Ok(()) } else { Err(io::Error::other("apt-get could not install the peers")) }
}
