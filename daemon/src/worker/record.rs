//! Recording: what enters the workers' nodes, kept while they run ([`sim::recording`]).
//!
//! ```text
//!  worker ─▶ Track: records in memory ─ 64 KiB at a time ─▶ bounded channel ─▶ a thread ─▶ sink: file, reader, or ring
//!            plan, node: as they are, shared or copied ─────────────────────▶ … which makes octets of them
//! ```
//!
//! A recording may begin at any moment. Then the worker copies its node between two bursts, and that is all that it does
//! about it: the thread turns the copy into octets. From then on the worker copies each frame once. A worker without
//! recording asks once an event whether it has one.
//!
//! It never waits. If the sink is too slow for as long as [`OCTETS_MAX`] bridge, the segment ends there; what comes is
//! counted and not kept until the channel is empty again, and then a new segment begins with the node as it is by then,
//! at most one in [`RESUME_AFTER`] of a worker. A sink that fails ends the recording. A worker that has nothing to do hands
//! over what there is, however little, unless something waits for the sink already: then it keeps it until there is a
//! piece of it, and the thread wakes it when nothing waits any more.
//!
//! Sinks decide about room ([`Sink`]). One that forgets its oldest segments ([`super::ring`]) asks for short ones
//! ([`Recording::rotating`]).
//!
//! Limits: [`RECORDINGS_MAX`] recordings at once, and of each worker and recording [`OCTETS_MAX`] on their way, room that is
//! not used included, in at most [`PIECES_MAX`] pieces.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use node::{Event, Node, Outbox, Plan};
use serde::{Deserialize, Serialize};
use sim::recording::{Begins, Origin, Recorder, end_of};
use vswitch::PortPlan;
use wire::{Instant, PortId};

use self::writer::{Piece, Waiting, Writer};
use super::tap::Place;
use crate::sys::clock;

/// Recordings at once, of which one may be a run's own and one the flight recorder. Further ones are refused.
pub const RECORDINGS_MAX: usize = 4;
/// Octets that wait for the sink, of each worker, with the room that they lie in. Beyond it events are counted and not
/// kept.
const OCTETS_MAX: usize = 256 << 20;
/// Pieces likewise. Nearly all have [`PIECE_LEN`], so the octets are the limit unless plans come by the thousand.
const PIECES_MAX: usize = 4_096;
/// Emptied pieces that are kept to be filled again.
const SPARE_MAX: usize = 64;
/// Octets after which a piece is handed over. A worker that has nothing to do hands over what there is.
const PIECE_LEN: usize = 64 * 1024;
/// Octets that a piece has room for: one that a short frame or a lone super-segment has filled needs no more.
const ROOM_LEN: usize = PIECE_LEN + 4 * 1024;
/// A worker that fell behind begins another segment this long after the last one began, at the earliest.
const RESUME_AFTER: Duration = Duration::from_secs(1);
/// How long the end of a worker waits for the sink.
const LAST_WITHIN: Duration = Duration::from_secs(5);
/// Plans whose origin is remembered. An older one is recorded without names and text.
const ORIGINS_MAX: usize = 8;

/// What the latest plans were compiled from. The supervisor tells it before it gives them to the workers.
#[derive(Debug, Default)]
pub struct Origins(Mutex<VecDeque<Arc<Origin>>>);

impl Origins {
    /// The workers are about to get this plan.
    pub fn announce(&self, plan: &Arc<Plan>, ports: Vec<(String, PortId)>, text: String) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == ORIGINS_MAX {
            known.pop_front();
        }
        known.push_back(Arc::new(Origin { plan: Arc::clone(plan), ports, text }));
    }

    /// What this port is called by the latest plan that has it.
    pub fn name_of(&self, place: Place) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().rev().find_map(|origin| {
            let Origin { plan, ports, .. } = &**origin;
            let has = |port: &PortPlan| port.id == place.port && Some(port.serial) == place.serial;
            plan.switch.ports.iter().find(|port| has(port))?;
            ports.iter().find(|(_, id)| *id == place.port).map(|(name, _)| name.clone())
        })
    }

    fn of(&self, plan: &Arc<Plan>) -> Arc<Origin> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().rev().find(|origin| Arc::ptr_eq(&origin.plan, plan)).cloned();
        found.unwrap_or_else(|| {
            Arc::new(Origin { plan: Arc::clone(plan), ports: Vec::new(), text: String::new() })
        })
    }
}

/// Where one worker's records go. Called by a thread of its own, which may wait.
pub trait Sink: Send {
    /// A segment begins with the next octets.
    fn begin(&mut self) {}

    /// Takes whole records; gives the room back if it needs it no more.
    ///
    /// # Errors
    /// The recording ends here.
    fn write(&mut self, octets: Vec<u8>) -> io::Result<Vec<u8>>;
}

/// Makes a worker's sink.
pub type OpenSink = dyn Fn(usize) -> io::Result<Box<dyn Sink>> + Send + Sync;

/// When a segment ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// After so many octets of events.
    pub octets_max: usize,
    /// After so long.
    pub every: Duration,
}

/// Where a recording goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// To whoever reads it at the control socket.
    Reader,
    /// Into a file for each worker, for as long as the switch runs.
    Folder,
    /// Into memory that forgets what is oldest.
    FlightRecorder,
}

impl Destination {
    /// As JSON and tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Folder => "folder",
            Self::FlightRecorder => "flight-recorder",
        }
    }
}

/// One recording of all workers.
pub struct Recording {
    number: u64,
    destination: Destination,
    since: SystemTime,
    open: Box<OpenSink>,
    origins: Arc<Origins>,
    rotation: Option<Rotation>,
    /// Whether the end of a worker waits for the sink.
    is_awaited: bool,
    is_over: AtomicBool,
    missed: AtomicU64,
    sunk: Arc<Sunk>,
}

/// What the sinks of a recording have come to.
#[derive(Debug, Default)]
struct Sunk {
    octets: AtomicU64,
    failed: AtomicU64,
}

impl Recording {
    /// A recording into these sinks. No other of the switch has its number.
    pub fn new(number: u64, destination: Destination, open: Box<OpenSink>, origins: &Arc<Origins>) -> Self {
        Self {
            number,
            destination,
            since: SystemTime::now(),
            open,
            origins: Arc::clone(origins),
            rotation: None,
            is_awaited: false,
            is_over: AtomicBool::new(false),
            missed: AtomicU64::new(0),
            sunk: Arc::default(),
        }
    }

    /// The same, and the end of a worker waits for the sink.
    #[must_use]
    pub fn awaited(mut self) -> Self {
        self.is_awaited = true;
        self
    }

    /// The same with segments that end by themselves.
    #[must_use]
    pub fn rotating(mut self, rotation: Rotation) -> Self {
        self.rotation = Some(rotation);
        self
    }

    /// Nothing more is to be kept: every worker ends its part between two bursts.
    pub fn stop(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Whether it has been stopped.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Events that could not be kept so far.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Its number, from 1.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Where it goes.
    pub const fn destination(&self) -> Destination {
        self.destination
    }

    /// When it began.
    pub const fn since(&self) -> SystemTime {
        self.since
    }

    /// Octets that its sinks have taken.
    pub fn octets(&self) -> u64 {
        self.sunk.octets.load(Ordering::Relaxed)
    }

    /// Workers' parts that have ended because their sinks failed.
    pub fn failed(&self) -> u64 {
        self.sunk.failed.load(Ordering::Relaxed)
    }

    /// A worker's part. Its first segment begins with [`Track::begin`]. `wake` wakes the worker.
    ///
    /// # Errors
    /// The system refuses a file or a thread.
    pub(super) fn track(
        self: &Arc<Self>,
        index: usize,
        replicas: usize,
        seed: u64,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Track> {
        let sink = (self.open)(index)?;
        let (pieces, written) = bounded(PIECES_MAX);
        let (spare, rooms) = bounded(SPARE_MAX);
        let index = u16::try_from(index).expect("workers are few");
        let waiting = Arc::new(Waiting::default());
        let mut writer = Writer {
            index,
            sink,
            origins: Arc::clone(&self.origins),
            sunk: Arc::clone(&self.sunk),
            waiting: Arc::clone(&waiting),
            wake: Box::new(wake),
        };
        let thread = std::thread::Builder::new()
            .name(format!("record-{index}"))
            .spawn(move || writer.write_all(&written, &spare))?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let wall_ns = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        let begins = Begins {
            seed,
            index,
            replicas: u16::try_from(replicas).expect("workers are few"),
            since_1970_ns: wall_ns.saturating_sub(clock::now().as_nanos()),
            missed: 0,
            has_state: false,
        };
        Ok(Track {
            recording: Arc::clone(self),
            recorder: Recorder::new(index),
            begins,
            pieces: Some(pieces),
            rooms,
            waiting,
            is_behind: false,
            missed: 0,
            handed: 0,
            plans: 0,
            began: clock::now(),
            octets: 0,
            thread: Some(thread),
        })
    }
}

/// One worker's part of a recording.
pub(super) struct Track {
    recording: Arc<Recording>,
    recorder: Recorder,
    begins: Begins,
    /// `None` once it has ended.
    pieces: Option<Sender<Piece>>,
    rooms: Receiver<Vec<u8>>,
    waiting: Arc<Waiting>,
    /// Whether the sink is too slow: nothing is kept until it has caught up.
    is_behind: bool,
    /// Events that were not kept and that no segment's beginning has told.
    missed: u64,
    /// Events of the segment that have been handed over.
    handed: u64,
    /// Plans numbered so far.
    plans: u32,
    /// When the segment began.
    began: Instant,
    /// Octets of it that have been handed over.
    octets: usize,
    thread: Option<JoinHandle<()>>,
}

impl Track {
    /// Begins a segment: with a node that is new, or as it is.
    pub(super) fn begin(&mut self, now: Instant, node: Option<&Node>) {
        self.hand_over();
        if std::mem::take(&mut self.is_behind) {
            self.recorder.forget();
        }
        self.hand(Piece::Begins);
        (self.began, self.octets, self.handed) = (now, 0, 0);
        self.recorder.begin(&Begins { missed: self.missed, has_state: node.is_some(), ..self.begins });
        self.hand_over();
        if !self.is_behind {
            self.missed = 0; // Told.
        }
        if let Some(node) = node.filter(|_| !self.is_behind) {
            self.plan(node.plan());
            self.hand(Piece::State(self.plans - 1, Box::new(node.clone())));
        }
    }

    /// Hands a plan over under the next number.
    fn plan(&mut self, plan: &Arc<Plan>) {
        self.hand(Piece::Plan(self.plans, Arc::clone(plan)));
        self.plans += 1;
    }

    /// The node is about to handle this.
    pub(super) fn event(&mut self, at: Instant, event: &Event) {
        if self.is_behind {
            self.miss(1);
            return;
        }
        if let Event::Configure(plan) = event {
            self.hand_over();
            self.plan(plan);
            if self.is_behind {
                self.miss(1); // Without its plan the event would say nothing.
                return;
            }
            self.recorder.configure(at, self.plans - 1);
        } else {
            self.recorder.event(at, event);
        }
        if self.recorder.len() >= PIECE_LEN {
            self.hand_over();
        }
    }

    /// The node has replicas from now on, or none.
    pub(super) fn replicas(&mut self, count: usize) {
        self.begins.replicas = u16::try_from(count).expect("workers are few");
        if !self.is_behind {
            self.recorder.replicas(count > 1);
        }
    }

    /// The outbox is about to be emptied.
    pub(super) fn outputs(&mut self, out: &mut Outbox) {
        if !self.is_behind {
            self.recorder.outputs(out);
        }
    }

    /// The worker is about to sleep: gives the sink what there is, or keeps it until there is more if something waits for
    /// the sink already. Many small pieces would take the room of many long ones.
    pub(super) fn rest(&mut self) {
        let is_kept = |pieces: &Sender<Piece>| !pieces.is_empty() && self.waiting.keep(|| !pieces.is_empty());
        if self.recorder.is_empty() || self.pieces.as_ref().is_some_and(is_kept) {
            return;
        }
        self.hand_over();
    }

    /// Gives the sink what there is.
    pub(super) fn hand_over(&mut self) {
        if self.recorder.is_empty() || self.is_behind {
            return;
        }
        let room = self.rooms.try_recv().unwrap_or_else(|_| Vec::with_capacity(ROOM_LEN));
        let records = self.recorder.take(room);
        self.octets += records.len();
        let events = self.recorder.events();
        self.hand(Piece::Records(records));
        if !self.is_behind {
            self.handed = events;
        }
    }

    /// Says through `done` when all until here has been written.
    pub(super) fn mark(&mut self, done: Sender<()>) {
        self.hand_over();
        if let Some(pieces) = &self.pieces {
            let _ = pieces.try_send(Piece::Mark(done)); // No place for it: nobody is told to wait.
        }
    }

    fn hand(&mut self, piece: Piece) {
        let Some(pieces) = self.pieces.as_ref().filter(|_| !self.is_behind) else { return };
        let octets = piece.octets();
        let is_full = !self.waiting.add(octets, OCTETS_MAX);
        match if is_full { Err(TrySendError::Full(piece)) } else { pieces.try_send(piece) } {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.waiting.sub(octets);
                tracing::warn!("worker {}: the recording falls behind", self.begins.index);
                self.is_behind = true;
                self.miss(self.recorder.events() - self.handed);
                self.handed = self.recorder.events(); // Told.
                self.recorder.forget();
            }
            Err(TrySendError::Disconnected(_)) => self.pieces = None,
        }
    }

    fn miss(&mut self, events: u64) {
        self.missed += events;
        self.recording.missed.fetch_add(events, Ordering::Relaxed);
    }

    /// Between two bursts, the outbox empty: whether the recording goes on. A segment ends if it is long enough, and
    /// begins again if it had to end and can.
    pub(super) fn settle(&mut self, now: Instant, node: &Node) -> bool {
        let Some(pieces) = self.pieces.as_ref().filter(|_| !self.recording.is_over()) else { return false };
        let lasts = now.since(self.began);
        let is_due = match self.recording.rotation {
            _ if self.is_behind => pieces.is_empty() && lasts >= RESUME_AFTER,
            Some(Rotation { octets_max, every }) => {
                (self.octets + self.recorder.len() >= octets_max || lasts >= every)
                    && self.waiting.octets() < OCTETS_MAX / 4
                    && pieces.len() < PIECES_MAX / 4
            }
            None => false,
        };
        if is_due {
            self.begin(now, Some(node));
        }
        true
    }

    /// Ends the worker's part without waiting for the sink: it writes what it has been given.
    pub(super) fn retire(mut self) {
        self.thread = None;
    }

    fn finish(&mut self) {
        self.hand_over();
        let Some(pieces) = self.pieces.take() else { return };
        let end = Piece::Records(end_of(self.begins.index, self.missed));
        self.waiting.add(end.octets(), usize::MAX);
        match pieces.try_send(end) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(end)) => {
                // The sink is behind; a thread of its own waits for it, so that the worker does not.
                drop(std::thread::Builder::new().spawn(move || pieces.send_timeout(end, LAST_WITHIN)));
            }
        }
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        self.finish();
        if let Some(thread) = self.thread.take().filter(|_| self.recording.is_awaited)
            && thread.join().is_err()
        {
            tracing::error!("the recording's thread has panicked");
        }
    }
}

mod writer;

#[cfg(test)]
mod tests;
