//! The supervisor: what the switch is at the moment, and the only one who changes it.
//!
//! It holds the checked configuration, the plan compiled from it, and the devices made for it. A change is prepared
//! whole (the new configuration is checked and compiled, new devices are made) before anything of it is in force; then
//! every worker gets the new plan in one event, and devices are attached and detached. If preparing fails, what was
//! prepared is undone and the old state holds. Ports that a change does not concern lose no frame: their devices and
//! queues are not touched, and a new plan takes effect between two bursts. Another number of workers concerns them all:
//! a device has one queue for each worker, so every device is made anew. What was learned and counted stays.
//!
//! Calls are ordered by one lock. Workers never wait for it: what they have to say comes by channel to [`watch`].

mod capture;
mod change;
mod device;
mod fault;
mod links;
mod live;
mod operations;
mod peers;
mod record;
mod registry;
mod router;
#[cfg(test)]
mod tests;
mod trace;
mod underlays;
mod view;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use config::{Compiled, Config, Document, Ids, Leases};

use crate::api::{ApiError, RegistryInfo};
use crate::events::{Event, EventKind, EventLog};
use crate::link::Monitor;
use crate::state::Opened;
use crate::worker::record::Origins;
use crate::worker::sink::Ring;
use crate::worker::{self, Tuning, Workers};
use device::Device;
pub(crate) use trace::refusal;

/// How to start a switch.
#[derive(Debug, Default)]
pub struct Options {
    /// Where its control socket is, for `status`.
    pub socket: PathBuf,
    /// Where its configuration came from, for `status`.
    pub config_file: Option<PathBuf>,
    /// Where leases of automatic addresses are kept, and what went wrong there.
    pub opened: Opened,
    /// In which folder everything that enters the workers' nodes is recorded, if it is.
    pub record: Option<PathBuf>,
    /// Octets of memory for the flight recorder, if there is one.
    pub flight_recorder: Option<usize>,
}

/// A running switch.
pub struct Supervisor {
    options: Options,
    started: Instant,
    events: EventLog,
    workers: Workers,
    /// What plans were compiled from, for recordings.
    origins: Arc<Origins>,
    /// How many recordings have begun: the number of the last one.
    recordings_begun: AtomicU64,
    /// The flight recorder's memory, if there is one.
    ring: Option<Arc<Ring>>,
    /// Makes devices; tests have others than TAPs.
    build: Box<Build>,
    state: Mutex<State>,
    /// How we stand with the overlay's registry, if it has one.
    registry: Mutex<Option<RegistryInfo>>,
    /// Watches interfaces that are not ours, from the start to the end.
    monitor: Mutex<Option<Monitor>>,
}

/// See [`device::build`].
type Build = dyn Fn(&device::Blueprint, usize) -> io::Result<device::Made> + Send + Sync;

/// What a change changes.
struct State {
    config: Config,
    /// What ports with automatic addresses have been given.
    leases: Leases,
    /// Why the leases could not be kept, if they could not.
    unsaved: Option<String>,
    ids: Ids,
    compiled: Compiled,
    /// By port name.
    devices: BTreeMap<String, Device>,
    /// The sockets that tunnels speak through.
    underlays: BTreeMap<node::UnderlayId, underlays::Opened>,
    /// How often devices have been attached.
    generation: u64,
    /// Faults that were set, by port name.
    faults: BTreeMap<String, fault::Asked>,
}

impl Supervisor {
    /// Starts workers, makes the devices of `config` and forwards. The leases in `options` are those that hold with it.
    ///
    /// # Errors
    /// If a device cannot be made. Nothing is left behind then.
    pub fn start(config: Config, options: Options) -> Result<Arc<Self>, ApiError> {
        Self::start_with(config, options, Box::new(device::build))
    }

    fn start_with(config: Config, options: Options, build: Box<Build>) -> Result<Arc<Self>, ApiError> {
        let mut ids = Ids::default();
        let empty = Config::new(Document { workers: config.workers, ..Document::default() })
            .expect("a configuration without networks is a good one");
        let compiled = config::compile(&empty, &mut ids);
        let start =
            worker::Options { workers: compiled.workers, seed: random_seed(), tuning: Tuning::default() };
        let origins = Arc::default();
        let ring = options.flight_recorder.map(Ring::new);
        let recordings = record::from_the_start(&options, ring.as_ref(), start.workers, &origins)?;
        let recordings_begun = AtomicU64::new(recordings.len() as u64);
        let workers =
            Workers::start_recorded(start, recordings).map_err(|error| change::refused("workers", &error))?;
        let supervisor = Arc::new(Self {
            options,
            started: Instant::now(),
            events: EventLog::default(),
            workers,
            origins,
            recordings_begun,
            ring,
            build,
            state: Mutex::new(State {
                config: empty,
                leases: Leases::default(),
                unsaved: None,
                ids,
                compiled,
                devices: BTreeMap::new(),
                underlays: BTreeMap::new(),
                generation: 0,
                faults: BTreeMap::new(),
            }),
            registry: Mutex::default(),
            monitor: Mutex::default(),
        });
        watch::start(&supervisor).map_err(|error| change::refused("workers", &error))?;
        for text in &supervisor.options.opened.warnings {
            supervisor.events.publish(Event::new(EventKind::StateFailed, text));
        }
        let leases = supervisor.options.opened.leases.clone();
        supervisor.change(|_, _| Ok((config, leases)))?;
        links::start(&supervisor).map_err(|error| change::refused("interfaces", &error))?;
        supervisor.events.publish(Event::new(EventKind::DaemonReady, "the switch forwards"));
        Ok(supervisor)
    }

    /// Tells those who listen that the end has come. To be called while somebody can still hear it.
    pub fn announce_end(&self) {
        self.events.publish(Event::new(EventKind::DaemonStopping, "the switch drains and ends"));
    }

    /// Lets the workers finish what is waiting and closes every device. Those that were made for the switch vanish.
    pub fn stop(&self) {
        let monitor = self.monitor().take();
        drop(monitor); // Before the lock is taken, for which it may be waiting.
        let mut state = self.state(); // A change that is being made is made to its end.
        self.workers.stop();
        state.devices.clear();
        state.underlays.clear();
    }

    /// What happened, and what will.
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// What the configuration asks for and this version does not do.
    pub fn not_in_force(&self) -> Vec<String> {
        self.state().compiled.not_in_force.clone()
    }

    fn monitor(&self) -> MutexGuard<'_, Option<Monitor>> {
        self.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change that panicked has not touched the state: it is replaced whole, last.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys the hash tables, so that nobody outside can choose addresses that collide.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's own source of randomness, without another dependency.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Starts a named thread.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}
