//! `tapestry run`: the switch process, from its configuration file to its end.
//!
//! ```text
//!  read and check the file ─▶ claim the socket ─▶ state file ─▶ lease of the overlay's subnet, if it is to be leased
//!    ─▶ devices, workers ─▶ overlay's peers ─▶ answer the socket ─▶ READY=1
//!  SIGHUP: apply the file again        SIGTERM, SIGINT: STOPPING=1, drain, close the devices, remove the socket
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use config::{Leases, Share};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::api::{ApiError, ErrorKind, Operations as _};
use crate::cli::RunArgs;
use crate::overlay::Overlay;
use crate::supervisor::{Options, Supervisor};
use crate::{control, log, notify, state};

/// Runs the switch in the foreground until SIGTERM or SIGINT. Without a file it begins empty, to be filled by
/// `tapestry network create` and `tapestry port add`.
///
/// Exit code 0 after an orderly end, 1 if the operating system refused, 2 if the configuration is wrong.
pub fn run(args: &RunArgs, socket: &Path) -> ExitCode {
    log::init();
    match serve(args, socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            match error.kind {
                ErrorKind::Invalid | ErrorKind::Conflict => ExitCode::from(2),
                ErrorKind::NotFound | ErrorKind::Unavailable | ErrorKind::Internal => ExitCode::FAILURE,
            }
        }
    }
}

fn serve(args: &RunArgs, socket: &Path) -> Result<(), ApiError> {
    let file = args.config.as_deref();
    // First of all: the runtime makes a pair of sockets for the whole process when it is first used, and they must belong
    // to this namespace. Made on a visit to a container's, they would keep that one alive for as long as we run.
    let mut signals = Signals::listen()?;
    let text = file.map(read).transpose()?.unwrap_or_default(); // An empty text is an empty switch.
    let name = file.map(|file| file.display().to_string()).unwrap_or_default();
    let check = |leases: &Leases, share: Option<&Share>| {
        config::check_shared(&name, &text, leases, share).map_err(|report| {
            ApiError::new(ErrorKind::Invalid, "configuration", format!("refused\n{report}"))
        })
    };
    let (first, _) = check(&Leases::default(), None)?; // A mistake is told before anything is touched.
    let mut overlay = Overlay::of(&first)?;
    // Before any device is made: a second daemon must not take the first one's names and then find the socket taken.
    let claimed = control::claim(socket)?;
    let mut opened = state_path(args, socket).map(|path| state::open(&path)).unwrap_or_default();
    opened.warnings.iter().for_each(|text| tracing::warn!("{text}"));
    let mut share = None;
    if let Some(overlay) = overlay.as_mut().filter(|_| first.lacks_subnet()) {
        // Without its subnet a network is none; flanneld's host waits like this, too.
        let Some(subnets) = signals.or_the_end(overlay.lease(waits)) else { return Ok(()) };
        share = Some(Share { subnets: subnets.iter().collect(), peers: Vec::new() });
    }
    let (config, leases) = check(&opened.leases, share.as_ref())?;
    opened.leases = leases;
    let options = Options {
        socket: socket.to_owned(),
        config_file: file.map(Path::to_owned),
        opened,
        record: args.record.clone(),
        flight_recorder: args.flight_recorder,
    };
    let supervisor = Supervisor::start(config, options)?;
    for text in supervisor.not_in_force() {
        tracing::warn!("not in force: {text}");
    }
    let overlay = overlay.map(|overlay| overlay.start(&supervisor)).transpose()?;
    let server = claimed.serve(Arc::clone(&supervisor) as _)?;
    let summary = summary(&supervisor);
    tracing::info!("ready: {summary}, control socket {}", socket.display());
    notify::ready(&summary);

    signals.wait_for_the_end(|| reload(&supervisor, file));

    tracing::info!("stopping");
    notify::stopping();
    if let Some(overlay) = overlay {
        overlay.stop();
    }
    supervisor.announce_end();
    server.stop();
    supervisor.stop();
    Ok(())
}

/// Says why the switch does not start yet.
fn waits(why: &str) {
    tracing::warn!("waiting for a lease of the overlay's subnet: {why}");
    notify::status(why);
}

/// Where the state is kept: as said; without a word only by the switch of a machine, which is root's at the usual place.
fn state_path(args: &RunArgs, socket: &Path) -> Option<PathBuf> {
    let is_the_machines =
        rustix::process::geteuid().is_root() && socket == Path::new(control::SOCKET_DEFAULT);
    args.state.clone().or_else(|| is_the_machines.then(|| PathBuf::from(state::STATE_DEFAULT)))
}

fn read(file: &Path) -> Result<String, ApiError> {
    let name = file.display().to_string();
    std::fs::read_to_string(file).map_err(|error| {
        ApiError::new(ErrorKind::Invalid, format!("configuration {name}"), format!("cannot be read: {error}"))
            .next("give the path of a TOML file, or none for an empty switch")
    })
}

fn summary(supervisor: &Supervisor) -> String {
    let count = |items: u64, what: &str| format!("{items} {what}{}", if items == 1 { "" } else { "s" });
    let (networks, ports) =
        supervisor.status().map_or((0, 0), |status| (status.networks, status.ports.values().sum()));
    format!("{}, {}", count(networks, "network"), count(ports, "port"))
}

/// The signals that mean something to a switch, caught from [`Signals::listen`] on.
struct Signals {
    runtime: tokio::runtime::Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, ApiError> {
        let refused =
            |error: std::io::Error| ApiError::new(ErrorKind::Internal, "signals", error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate()).map_err(refused)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
        let hangup = signal(SignalKind::hangup()).map_err(refused)?;
        drop(entered);
        Ok(Self { runtime, terminate, interrupt, hangup })
    }

    /// What comes of `work`; nothing if SIGTERM or SIGINT comes first.
    fn or_the_end<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async {
            tokio::select! {
                done = work => Some(done),
                _ = self.terminate.recv() => None,
                _ = self.interrupt.recv() => None,
            }
        })
    }

    /// Returns at SIGTERM or SIGINT; meanwhile each SIGHUP calls `on_hangup`.
    fn wait_for_the_end(mut self, on_hangup: impl Fn()) {
        self.runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = self.terminate.recv() => return,
                    _ = self.interrupt.recv() => return,
                    _ = self.hangup.recv() => on_hangup(),
                }
            }
        });
    }
}

fn reload(supervisor: &Supervisor, file: Option<&Path>) {
    let Some(file) = file else {
        tracing::warn!("SIGHUP: there is no configuration file to read again");
        return;
    };
    match supervisor.apply_text(&file.display().to_string(), read(file)) {
        Ok(applied) if applied.changes.is_empty() => tracing::info!("SIGHUP: nothing has changed"),
        Ok(applied) => tracing::info!("SIGHUP: {}", applied.changes.join(", ")),
        Err(error) => tracing::error!("SIGHUP: the old configuration stays: {error}"),
    }
}
