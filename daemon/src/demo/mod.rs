//! `tapestry demo`: the main job on a machine with nothing but Rust installed, with real traffic, in throw-away
//! namespaces.
//!
//! ```text
//!        network blue 172.16.0.0/16, fd00:16::/64              network red 172.17.0.0/16
//!      gateway 172.16.0.1, fd00:16::1                        gateway 172.17.0.1
//!      ┌─────────┴─────────┐                                 ┌─────────┴─────────┐
//!    blue1 .2            blue2 .3                          red1 .2             red2 .3
//! ```
//!
//! The router joins the two, and red1's service on port 80 is published at port 8080 of all its addresses.
//!
//! Four namespaces without names hold the stations. They, their interfaces and the switch vanish with this process,
//! however it ends, so a second run finds a clean machine. Nothing in the machine's own namespace is touched.

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

/// How long the bulk transfer runs.
const BULK_FOR: Duration = Duration::from_secs(2);
/// Echo requests before a station counts as unreachable.
const ATTEMPTS: u16 = 3;

/// The stations: name, network, address and prefix length, IPv6 address if the network has IPv6.
const STATIONS: [(&str, &str, &[&str]); 4] = [
    ("blue1", "blue", &["172.16.0.2/16", "fd00:16::2/64"]),
    ("blue2", "blue", &["172.16.0.3/16", "fd00:16::3/64"]),
    ("red1", "red", &["172.17.0.2/16"]),
    ("red2", "red", &["172.17.0.3/16"]),
];

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

/// Steps that failed.
fn show() -> Result<usize, Box<dyn std::error::Error>> {
    say!("Two networks, four stations in throw-away namespaces, one userspace switch between them.\n");
    let namespaces = STATIONS.map(|(name, ..)| Namespace::anonymous(name));
    let [blue1, blue2, red1, red2] = namespaces;
    let (blue1, blue2, red1, red2) = (blue1?, blue2?, red1?, red2?);
    let text = configuration([&blue1, &blue2, &red1, &red2]);
    let config = config::check("demo", &text).map_err(|report| report.to_string())?;
    let supervisor = Supervisor::start(config, Options::default())?;

    let mut steps = Steps::default();
    steps.reaches(&blue1, "its gateway", "172.16.0.1");
    steps.reaches(&blue1, "blue2", "172.16.0.3");
    steps.reaches(&blue1, "blue2 by IPv6", "fd00:16::3");
    steps.reaches(&blue1, "its gateway by IPv6", "fd00:16::1");
    steps.reaches(&red1, "red2", "172.17.0.3");
    steps.reaches(&blue1, "red2, routed", "172.17.0.3");
    steps.reaches(&blue1, "red's gateway", "172.17.0.1");
    steps.does_not_reach(&blue1, "the outside: there is no uplink", "203.0.113.1");
    steps.finds(&blue1, &red1, "172.16.0.1", "172.16.0.2");
    steps.finds(&red2, &red1, "172.17.0.1", "172.17.0.1");
    steps.bulk(&blue1, &blue2, "172.16.0.3");
    steps.bulk(&blue2, &blue1, "fd00:16::2");
    steps.bulk(&blue1, &red2, "172.17.0.3");
    show_tables(&supervisor)?;
    supervisor.stop();
    say!("\nEverything above has vanished: no interface, namespace or file is left.");
    Ok(steps.failed)
}

fn configuration(namespaces: [&Namespace; 4]) -> String {
    let mut text = String::from(
        r#"
        [network.blue]
        subnet = ["172.16.0.0/16", "fd00:16::/64"]
        gateway = ["172.16.0.1", "fd00:16::1"]
        [network.red]
        subnet = ["172.17.0.0/16"]
        gateway = ["172.17.0.1"]
        [[publish]]
        listen = "0.0.0.0:8080"
        to = "red1:80"
        "#,
    );
    for ((name, network, addresses), namespace) in STATIONS.iter().zip(namespaces) {
        let path = namespace.path();
        text += &format!(
            "[port.{name}]\nnetwork = {network:?}\nnetns = {path:?}\nifname = \"eth0\"\naddress = {addresses:?}\n"
        );
    }
    text
}

/// Says what happens, and counts what should not have.
#[derive(Default)]
struct Steps {
    failed: usize,
}

impl Steps {
    fn tell(&mut self, what: &str, outcome: Result<String, String>) {
        match outcome {
            Ok(how) => say!("  ok    {what:<44} {how}"),
            Err(why) => {
                self.failed += 1;
                say!("  FAIL  {what:<44} {why}");
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

    /// The service that red1 publishes is found at an address of the router, and sees who asks.
    fn finds(&mut self, from: &Namespace, server: &Namespace, at: &str, seen_as: &str) {
        let published = SocketAddr::new(address(at), 8080);
        let outcome = traffic::who_am_i(from, published, server, SocketAddr::new(address("172.17.0.2"), 80));
        let outcome = match outcome {
            Ok(seen) if seen == address(seen_as) => Ok(format!("seen as {seen}")),
            Ok(seen) => Err(format!("seen as {seen}, not as {seen_as}")),
            Err(error) => Err(error.to_string()),
        };
        self.tell(&format!("{} finds red1's service at {at}:8080", from.label()), outcome);
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
