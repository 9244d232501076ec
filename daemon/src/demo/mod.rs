//! `tapestry demo`: the main job on a machine with nothing but Rust installed, with real traffic, in throw-away
//! namespaces.
//!
//! ```text
//!        network blue 172.16.0.0/16, fd00:16::/64              network red 172.17.0.0/16
//!      gateway 172.16.0.1, fd00:16::1                        gateway 172.17.0.1
//!      ┌─────────┬─────────┐                                 ┌─────────┴─────────┐
//!    blue1 .2  blue2 .3  blue0 .254                        red1 .2             red2 .3
//!                        the host eth0 192.0.2.2
//!                                 └── uplink 192.0.2.7 ── outside 192.0.2.1
//! ```
//!
//! The router joins the two and masquerades both to the outside, and red1's service on port 80 is published at port 8080
//! of all its addresses. The host has an interface in network blue, as it has docker0.
//!
//! Six namespaces without names hold the stations, the host with the switch, and the outside. They, their interfaces and
//! the switch vanish with this process, however it ends, so a second run finds a clean machine. Nothing in the machine's
//! own namespace is touched.

mod stage;
mod traffic;

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{ApiError, Operations as _, StationFilter};
use crate::link::Namespace;
use crate::supervisor::{Options, Supervisor};
use stage::Stage;

/// How long the bulk transfer runs.
const BULK_FOR: Duration = Duration::from_secs(2);
/// Echo requests before a station counts as unreachable.
const ATTEMPTS: u16 = 3;

/// Builds the picture above, sends traffic through it, says of each step whether it worked. Exit code 1 if one did not.
pub fn run() -> ExitCode {
    if let Err(missing) = prerequisites(Path::new("/dev/net/tun")) {
        eprintln!("error: {missing}");
        return ExitCode::FAILURE;
    }
    match show() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("error: {failed} of the steps above failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line, as `println!` does without its panic.
macro_rules! say {
    ($($line:tt)*) => { print(format_args!($($line)*)) };
}

/// Prints a line. If nobody reads any more (`tapestry demo | head`) that is enough: the process ends, and with it go the
/// namespaces, the devices and the switch.
fn print(line: fmt::Arguments<'_>) {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("error: demo: standard output: {error}");
            std::process::exit(1);
        }
    }
}

/// What the demo cannot do without, in words. `tun` is the device that makes TAP devices.
fn prerequisites(tun: &Path) -> Result<(), ApiError> {
    let missing = |what: &str, why: &str, next: &str| {
        Err(ApiError::new(crate::api::ErrorKind::Unavailable, what, why).next(next))
    };
    if !tun.exists() {
        return missing(
            &tun.display().to_string(),
            "does not exist, so no TAP device can be made",
            "load the module: `modprobe tun`",
        );
    }
    match Namespace::anonymous("probe") {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => missing(
            "demo",
            "making network namespaces and TAP devices needs CAP_SYS_ADMIN and CAP_NET_ADMIN",
            "run it as root: `sudo tapestry demo`",
        ),
        Err(error) => {
            missing("demo", &format!("network namespaces do not work here: {error}"), "enable CONFIG_NET_NS")
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Steps that failed.
fn show() -> Result<usize, Failure> {
    say!(
        "Two networks, four stations, a host and the outside in throw-away namespaces, one userspace switch between"
    );
    say!("them.\n");
    let stage = Stage::build()?;
    // The switch and all its threads live in the host's namespace.
    stage.host.run(|| play(&stage))?
}

fn play(stage: &Stage) -> Result<usize, Failure> {
    let config = config::check("demo", &stage.configuration()).map_err(|report| report.to_string())?;
    let supervisor = Supervisor::start(config, Options::default())?;
    let mut steps = Steps::default();
    inside(&mut steps, stage);
    across(&mut steps, stage);
    published(&mut steps, stage);
    steps.bulk(&stage.blue1, &stage.blue2, "172.16.0.3");
    steps.bulk(&stage.blue2, &stage.blue1, "fd00:16::2");
    steps.bulk(&stage.blue1, &stage.red2, "172.17.0.3");
    steps.bulk(&stage.blue1, &stage.outside, "192.0.2.1");
    show_tables(&supervisor)?;
    supervisor.stop();
    say!("\nEverything above has vanished: no interface, namespace or file is left.");
    Ok(steps.failed)
}

/// Within the networks and from one to the other.
fn inside(steps: &mut Steps, stage: &Stage) {
    let Stage { blue1, red1, host, .. } = stage;
    steps.reaches(blue1, "its gateway", "172.16.0.1");
    steps.reaches(blue1, "blue2", "172.16.0.3");
    steps.reaches(blue1, "blue2 by IPv6", "fd00:16::3");
    steps.reaches(blue1, "its gateway by IPv6", "fd00:16::1");
    steps.reaches(red1, "red2", "172.17.0.3");
    steps.reaches(blue1, "red's gateway", "172.17.0.1");
    steps.traces(blue1, "red1", &["172.16.0.1", "172.17.0.2"]);
    steps.reaches(host, "blue1", "172.16.0.2");
}

/// To the outside, and from there.
fn across(steps: &mut Steps, stage: &Stage) {
    let Stage { blue1, red1, outside, .. } = stage;
    steps.reaches(blue1, "the outside", "192.0.2.1");
    steps.is_seen_as(blue1, outside, "192.0.2.1:5001", "192.0.2.7");
    steps.is_seen_as(red1, outside, "192.0.2.1:5001", "192.0.2.7");
    steps.does_not_reach(outside, "blue1 unasked", "172.16.0.2");
}

/// What is published, from everywhere.
fn published(steps: &mut Steps, stage: &Stage) {
    let Stage { blue1, red1, red2, host, outside, .. } = stage;
    steps.finds(blue1, red1, "172.16.0.1", "172.16.0.2");
    steps.finds(red2, red1, "172.17.0.1", "172.17.0.1");
    steps.finds(red2, red1, "192.0.2.7", "172.17.0.1");
    steps.finds(host, red1, "172.16.0.1", "172.16.0.254");
    steps.finds(outside, red1, "192.0.2.7", "192.0.2.1");
}

/// Says what happens, and counts what should not have.
#[derive(Default)]
struct Steps {
    failed: usize,
}

impl Steps {
    fn tell(&mut self, what: &str, outcome: Result<String, String>) {
        match outcome {
            Ok(how) => say!("  ok    {what:<50} {how}"),
            Err(why) => {
                self.failed += 1;
                say!("  FAIL  {what:<50} {why}");
            }
        }
    }

    fn reaches(&mut self, from: &Namespace, whom: &str, to: &str) {
        let outcome = traffic::ping(from, address(to), ATTEMPTS);
        let outcome = outcome.map(|took| format!("{} µs round trip", took.as_micros()));
        self.tell(
            &format!("{} pings {whom}, {to}", from.label()),
            outcome.map_err(|error| error.to_string()),
        );
    }

    fn does_not_reach(&mut self, from: &Namespace, whom: &str, to: &str) {
        let outcome = match traffic::ping(from, address(to), 1) {
            Ok(_) => Err("it answered".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Ok("no answer, as it should be".to_owned())
            }
            Err(error) => Err(error.to_string()),
        };
        self.tell(&format!("{} does not reach {whom}", from.label()), outcome);
    }

    /// Exactly these answer for the hops on the way to the last of them.
    fn traces(&mut self, from: &Namespace, whom: &str, hops: &[&str]) {
        let expected: Vec<IpAddr> = hops.iter().map(|hop| address(hop)).collect();
        let to = expected[expected.len() - 1];
        let outcome = match traffic::trace(from, to) {
            Ok(found) if found == expected => Ok(hops.join(", then ")),
            Ok(found) => Err(format!("by way of {found:?}")),
            Err(error) => Err(error.to_string()),
        };
        self.tell(&format!("{} traces the route to {whom}", from.label()), outcome);
    }

    /// The service that red1 publishes is found at an address of the router, and sees who asks.
    fn finds(&mut self, from: &Namespace, server: &Namespace, at: &str, seen_as: &str) {
        let published = SocketAddr::new(address(at), 8080);
        let outcome = traffic::who_am_i(from, published, server, SocketAddr::new(address("172.17.0.2"), 80));
        self.tell(&format!("{} finds red1's service at {at}:8080", from.label()), as_whom(outcome, seen_as));
    }

    /// Somebody's address is another where he connects to.
    fn is_seen_as(&mut self, from: &Namespace, server: &Namespace, at: &str, seen_as: &str) {
        let listen = at.parse().expect("the demo's addresses are addresses");
        let outcome = traffic::who_am_i(from, listen, server, listen);
        self.tell(
            &format!("{} connects to {}, {at}", from.label(), server.label()),
            as_whom(outcome, seen_as),
        );
    }

    fn bulk(&mut self, from: &Namespace, towards: &Namespace, to: &str) {
        let outcome = traffic::bulk(from, towards, address(to), BULK_FOR);
        let outcome = outcome.map(|bulk| {
            let gib = bulk.octets as f64 / f64::from(1 << 30);
            format!("{:.1} Gbit/s ({gib:.1} GiB in {:.1} s)", bulk.gbit_per_s(), bulk.took.as_secs_f64())
        });
        self.tell(
            &format!("{} sends TCP to {}, {to}", from.label(), towards.label()),
            outcome.map_err(|error| error.to_string()),
        );
    }
}

fn as_whom(seen: io::Result<IpAddr>, expected: &str) -> Result<String, String> {
    match seen {
        Ok(seen) if seen == address(expected) => Ok(format!("seen as {seen}")),
        Ok(seen) => Err(format!("seen as {seen}, not as {expected}")),
        Err(error) => Err(error.to_string()),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("the demo's addresses are addresses")
}

/// What the switch has learned and dropped, as `tapestry fdb ls` and `tapestry drops` show it.
fn show_tables(supervisor: &Arc<Supervisor>) -> Result<(), ApiError> {
    say!("\nStations that the switch has learned (`tapestry fdb ls`):");
    for station in supervisor.stations(&StationFilter::default())? {
        say!("  {:<8} {}  {:<10} {}", station.network, station.mac, station.port, station.kind.as_str());
    }
    say!("\nFrames it dropped, and why (`tapestry drops`):");
    for drop in supervisor.drops()? {
        say!("  {:>6}  {:<28} {}", drop.count, drop.reason, drop.sentence);
    }
    let totals = supervisor.status()?.totals;
    say!(
        "\n{} frames came in, super-segments of up to 64 KiB counted once: {} forwarded, {} answered, {} kept until \
         the next hop was known, {} dropped.",
        totals.received,
        totals.forwarded,
        totals.consumed,
        totals.parked,
        totals.dropped
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_tun_device_it_says_how_to_get_it() {
        let missing = prerequisites(Path::new("/nonexistent/tun")).unwrap_err().to_string();
        assert!(missing.starts_with("/nonexistent/tun: does not exist"), "{missing}");
        assert!(missing.contains("next: load the module: `modprobe tun`"), "{missing}");
    }
}
