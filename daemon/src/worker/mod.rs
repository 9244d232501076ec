//! Workers: the threads that move frames. A worker owns one queue of every port and one replica of the node, and
//! shares nothing: what others want of it, it is told by message and does between two bursts.
//!
//! ```text
//!   pass:  commands? ─▶ frames handed over by peers ─▶ each ready port: read ≤ 64 frames or 1 MiB ─▶ join ─▶ node ─▶ write
//!   idle:  spin a little (adaptive) ─▶ wait in mio for frames, a message, or the node's named deadline
//! ```
//!
//! With several workers a flow belongs to exactly one ([`node::Node::owner`]: by its hash; what the router may have to
//! hear belongs to the first), and the kernel steers frames to the
//! owner's queue. A frame that lands elsewhere all the same goes to its owner by channel. The channel is bounded: when
//! it is full its sender stops reading and keeps handling what it is handed itself, so nothing is lost and no two
//! workers can wait for each other.
//!
//! Failure: an I/O error that will not pass, or a panic while a port is served, ends that port and no other. The
//! port is taken out, the [`Report`] says why, and the thread goes on. A panic elsewhere, in a change of the plan or a
//! sweep, ends the process.

mod ahead;
mod drain;
pub mod fault;
mod orders;
mod pass;
pub mod record;
mod resize;
pub mod sink;
mod slot;
pub mod tap;
#[cfg(test)]
mod tests;
pub(crate) mod underlay;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use node::{Counters, Event, Node, Notice, UnderlayId, UnderlayPlan};
use vswitch::Station;
use wire::{DomainId, FrameBuf, PortId};

use crate::port::PortIo;
use crate::port::udp::{Underlay, UnderlayQueue};

/// Workers of one process, and queues of one port. The configuration refuses more.
pub const WORKERS_MAX: usize = 16;
/// Commands waiting for one worker; the control plane waits when it is full.
const COMMANDS_MAX: usize = 64;
/// Frames and gossip on their way from one worker to another; see the module doc for what happens at it.
const HANDED_MAX: usize = 1_024;
/// Reports waiting for the control plane. At it notices are lost and counted; port failures are kept and sent later.
const REPORTS_MAX: usize = 4_096;

/// What somebody wants of a node.
type Question = Box<dyn FnOnce(wire::Instant, &Node) + Send>;

/// Counts something that a node has.
type Count = Box<dyn Fn(&Node) -> u64 + Send>;

/// What the control plane tells a worker. Answers come over the sender inside.
enum Command {
    /// Handle this event, then answer.
    Handle(Event, Sender<()>),
    /// Obey the plan, if one is given, and read and write these ports of it from now on, then answer which could not be
    /// waited on. The number is their devices' generation.
    Attach(Option<Arc<node::Plan>>, Vec<(PortId, Box<dyn PortIo>)>, u64, Sender<Vec<(PortId, io::Error)>>),
    /// Send by these underlays from now on, and receive by those whose queue does, then answer which could not be waited
    /// on.
    Open(Vec<(UnderlayPlan, UnderlayQueue)>, Sender<Vec<(UnderlayId, io::Error)>>),
    /// Stop using the port and close its descriptor, then answer.
    Detach(PortId, Sender<()>),
    /// Tell what has been counted.
    Count(Sender<Tally>),
    /// List at most this many stations from this cursor.
    Stations(u64, usize, Sender<StationPage>),
    /// Let this look at the node, or let events happen to it, between two bursts. It answers by itself.
    Ask(Question),
    /// Handle these events, then answer by how much they have made what is counted fewer.
    Happen(Vec<Event>, Count, Sender<u64>),
    /// Show frames to this tap too, until its reader has gone.
    Tap(tap::Tap),
    /// Work like this from now on.
    Tune(Tuning),
    /// Record what enters from now on.
    Record(Box<record::Track>),
    /// End the recordings that are over, and say of each other one when all until now has been written.
    MarkRecordings(Sender<()>),
    /// This port, of this serial, has this wire from now on, or none; then answer.
    Wire(PortId, u32, Option<Arc<fault::Wire>>, Sender<()>),
    /// From now on these are all workers, then answer.
    Peers(Vec<Peer>, Sender<()>),
    /// Know these stations too, then answer.
    Learn(Vec<Station>, Sender<()>),
    /// Count what a worker that has ended had counted as your own, then answer.
    Absorb(Box<Tally>, Sender<()>),
    /// Handle what is waiting in the ports, read no more, then answer.
    Drain(Sender<()>),
    /// Handle what peers have handed over, then end. Told only when no peer has anything more to hand over.
    Stop,
}

/// A page of stations and where the next one starts.
pub type StationPage = (Vec<Station>, Option<u64>);

/// What one worker has counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The node's counters.
    pub counters: Counters,
    /// Bursts handled.
    pub bursts: u64,
    /// Times the thread waited in the kernel.
    pub sleeps: u64,
    /// Times it found work while spinning, and so did not have to wait.
    pub spins_won: u64,
    /// Frames that were read and became part of a super-segment with others ([`ahead`]): counters count that once.
    pub joined: u64,
    /// Frames that another worker owned.
    pub handed_over: u64,
    /// Station gossip that did not fit a peer's channel. The peer may send to the station's old port until it is told
    /// again, which is within two seconds of the station talking ([`vswitch::Learned::Refreshed`]).
    pub gossip_lost: u64,
    /// Notices that did not fit the report channel.
    pub notices_lost: u64,
    /// What the node is waiting for, if anything.
    pub deadline: Option<&'static str>,
    /// Stations that the replica knows behind each port.
    pub stations_of_port: BTreeMap<PortId, u32>,
    /// Stations that the replica knows in each domain.
    pub stations_of_domain: BTreeMap<DomainId, u32>,
}

impl Tally {
    /// Adds what a worker that has ended had counted, but for its node's counters.
    fn absorb(&mut self, ended: &Self) {
        self.bursts += ended.bursts;
        self.sleeps += ended.sleeps;
        self.spins_won += ended.spins_won;
        self.joined += ended.joined;
        self.handed_over += ended.handed_over;
        self.gossip_lost += ended.gossip_lost;
        self.notices_lost += ended.notices_lost;
    }
}

/// What a worker tells the control plane unasked. With a port comes the generation of its device ([`Workers::attach`]):
/// the port may have another one by the time it is heard.
#[derive(Debug)]
pub enum Report {
    /// The node noticed something.
    Notice(Notice),
    /// A port was given up.
    PortFailed(PortId, u64, String),
    /// A port's device refused offload metadata: from now on its frames are finished in software, which is slower.
    OffloadRefused(PortId, u64),
}

/// What one worker gives another.
pub(crate) enum Handed {
    /// A frame of a flow that the receiver owns.
    Frame(Entered),
    /// What the sender's replica has learned.
    Gossip(node::Gossip),
}

/// A frame, and the port that it came in by: which of those that ever had the id, because the frame may be on its way
/// while the plan gives the id to another.
pub(crate) struct Entered {
    port: PortId,
    serial: u32,
    frame: FrameBuf,
}

/// How to reach a worker.
#[derive(Clone)]
pub(crate) struct Peer {
    handed: Sender<Handed>,
    waker: Arc<Waker>,
}

impl Peer {
    /// What wakes the worker.
    fn waking(&self) -> impl Fn() + Send + 'static {
        let waker = Arc::clone(&self.waker);
        move || drop(waker.wake()) // It fails only when its counter is full: the worker is awake then.
    }
}

/// All workers of one switch.
pub struct Workers {
    handles: RwLock<Vec<Handle>>,
    options: Options,
    /// What is being recorded. New workers record it too.
    recordings: Mutex<Vec<Arc<record::Recording>>>,
    /// Who wants to see frames, of new workers too.
    taps: Mutex<Vec<tap::Tap>>,
    /// Ports with faults, their serials and wires, for new workers too.
    wires: Mutex<BTreeMap<PortId, (u32, Arc<fault::Wire>)>>,
    report: Sender<Report>,
    /// What they report.
    pub reports: Receiver<Report>,
}

struct Handle {
    commands: Sender<Command>,
    peer: Peer,
    /// What it had counted comes out of it at its end.
    thread: Mutex<Option<thread::JoinHandle<Tally>>>,
}

/// How to start workers.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many, 1 to [`WORKERS_MAX`].
    pub workers: usize,
    /// Keys the nodes' hash tables.
    pub seed: u64,
    /// How they work until told otherwise.
    pub tuning: Tuning,
}

/// What changes how fast workers are, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How long to look for work before waiting in the kernel, at most.
    pub spin: Duration,
    /// Whether small frames of one flow are joined.
    pub gro: bool,
}

/// Until the first configuration says.
impl Default for Tuning {
    fn default() -> Self {
        Self { spin: Duration::ZERO, gro: true }
    }
}

impl Workers {
    /// Starts the threads. Their nodes have no ports yet.
    ///
    /// # Errors
    /// If the operating system refuses threads or descriptors.
    pub fn start(options: Options) -> io::Result<Self> {
        Self::start_recorded(options, Vec::new())
    }

    /// [`Workers::start`], and everything that enters the nodes is recorded, from the first event on.
    ///
    /// # Errors
    /// As [`Workers::start`], or if a recording cannot be begun.
    pub fn start_recorded(options: Options, recordings: Vec<Arc<record::Recording>>) -> io::Result<Self> {
        let (report, reports) = bounded(REPORTS_MAX);
        let (recordings, taps, wires) = (Mutex::new(recordings), Mutex::default(), Mutex::default());
        let workers = Self { handles: RwLock::default(), options, recordings, taps, wires, report, reports };
        let recruits = workers.recruit(options.workers.clamp(1, WORKERS_MAX))?;
        *workers.handles.write().unwrap_or_else(PoisonError::into_inner) = recruits.into_handles();
        Ok(workers)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.handles().len()
    }

    /// Gives every worker the event that `make` makes, and returns when all have handled it.
    pub fn handle(&self, make: impl Fn() -> Event) {
        ask(&self.handles(), |done| Command::Handle(make(), done));
    }

    /// Gives queue *i* of every port to worker *i*; a port's only queue goes to worker 0. A worker gets all ports at once,
    /// so that no frame of one meets another that is not there yet. `generation` must not have been used before. Returns
    /// the ports that could not be waited on; no worker has those.
    pub fn attach(
        &self,
        ports: Vec<(PortId, Vec<Box<dyn PortIo>>)>,
        generation: u64,
    ) -> Vec<(PortId, io::Error)> {
        self.share_out(None, ports, generation)
    }

    /// Gives every worker the plan and, as [`Workers::attach`], the ports that are new in it. What the router has to say
    /// because of the plan leaves by the new ports too: its worker, the first, gets both at once, when all others have
    /// the plan and may be handed frames of those ports.
    pub fn configure(
        &self,
        plan: &Arc<node::Plan>,
        ports: Vec<(PortId, Vec<Box<dyn PortIo>>)>,
        generation: u64,
    ) -> Vec<(PortId, io::Error)> {
        ask(&self.handles()[1..], |done| Command::Handle(Event::Configure(Arc::clone(plan)), done));
        self.share_out(Some(plan), ports, generation)
    }

    /// Lets every worker send by these underlays, and the first receive. The plan that has them comes after; those that
    /// a plan no longer has are closed with it. Returns the ones that could not be waited on.
    pub fn open(&self, underlays: &[(UnderlayPlan, Underlay)]) -> Vec<(UnderlayId, io::Error)> {
        let handles = self.handles();
        let mut shares: Vec<Vec<(UnderlayPlan, UnderlayQueue)>> =
            handles.iter().map(|_| Vec::new()).collect();
        for (plan, underlay) in underlays {
            for (share, queue) in shares.iter_mut().zip(underlay.queues(handles.len())) {
                share.push((*plan, queue));
            }
        }
        let mut refused = Vec::new();
        for (handle, share) in handles.iter().zip(shares) {
            let (done, answer) = bounded(1);
            handle.tell(Command::Open(share, done));
            refused.extend(answer.recv().unwrap_or_default());
        }
        refused
    }

    fn share_out(
        &self,
        plan: Option<&Arc<node::Plan>>,
        ports: Vec<(PortId, Vec<Box<dyn PortIo>>)>,
        generation: u64,
    ) -> Vec<(PortId, io::Error)> {
        let handles = self.handles();
        let mut shares: Vec<Vec<(PortId, Box<dyn PortIo>)>> = handles.iter().map(|_| Vec::new()).collect();
        for (port, queues) in ports {
            let is_only = matches!(queues.as_slice(), [queue] if queue.is_only_queue());
            assert!(is_only || queues.len() == handles.len(), "one queue a worker");
            for (share, queue) in shares.iter_mut().zip(queues) {
                share.push((port, queue));
            }
        }
        let mut refused = Vec::new();
        let mut plan = plan.map(Arc::clone); // The first worker takes it.
        for (handle, share) in handles.iter().zip(shares) {
            let (done, answer) = bounded(1);
            handle.tell(Command::Attach(plan.take(), share, generation, done));
            refused.extend(answer.recv().unwrap_or_default());
        }
        drop(handles);
        for (port, _) in &refused {
            self.detach(*port);
        }
        refused
    }

    /// Takes a port from every worker; its descriptors are closed on return.
    pub fn detach(&self, port: PortId) {
        ask(&self.handles(), |done| Command::Detach(port, done));
    }

    /// What each worker has counted; zeros once stopped.
    pub fn tallies(&self) -> Vec<Tally> {
        ask(&self.handles(), Command::Count)
    }

    /// A page of the stations that worker `index` knows; an empty one if there is no such worker (any more).
    pub fn stations(&self, index: usize, cursor: u64, max: usize) -> StationPage {
        self.handles().get(index).map(|handle| handle.stations(cursor, max)).unwrap_or_default()
    }

    /// What `question` says of the node of worker `index`; `None` if there is no such worker (any more). It should be brief:
    /// meanwhile the worker moves no frames.
    pub fn ask<T: Send + 'static>(
        &self,
        index: usize,
        question: impl FnOnce(wire::Instant, &Node) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, answer) = bounded(1);
        let question: Question = Box::new(move |now, node| {
            let _ = done.send(question(now, node)); // Who asked may have gone.
        });
        self.handles().get(index)?.tell(Command::Ask(question));
        answer.recv().ok()
    }

    /// Gives worker `index` these events; by how much they make what `count` counts of its node fewer. `None` if there is no
    /// such worker (any more).
    pub fn happen(
        &self,
        index: usize,
        events: Vec<Event>,
        count: impl Fn(&Node) -> u64 + Send + 'static,
    ) -> Option<u64> {
        let (done, answer) = bounded(1);
        self.handles().get(index)?.tell(Command::Happen(events, Box::new(count), done));
        answer.recv().ok()
    }

    /// Records what enters the nodes from now on, of workers that are started later too, until the recording is stopped.
    ///
    /// # Errors
    /// If there are [`record::RECORDINGS_MAX`] already, or the system refuses what a worker's part needs.
    pub fn record(&self, recording: &Arc<record::Recording>) -> io::Result<()> {
        let handles = self.handles();
        let mut recordings = self.recordings.lock().unwrap_or_else(PoisonError::into_inner);
        recordings.retain(|known| !known.is_over());
        if recordings.len() >= record::RECORDINGS_MAX {
            return Err(io::Error::other(format!("{} recordings run already", recordings.len())));
        }
        let track = |(at, handle): (usize, &Handle)| {
            recording.track(at, handles.len(), self.options.seed, handle.peer.waking())
        };
        let tracks: io::Result<Vec<_>> = handles.iter().enumerate().map(track).collect();
        for (handle, track) in handles.iter().zip(tracks?) {
            handle.tell(Command::Record(Box::new(track)));
        }
        recordings.push(Arc::clone(recording));
        Ok(())
    }

    /// What is being recorded.
    pub fn recordings(&self) -> Vec<Arc<record::Recording>> {
        let mut recordings = self.recordings.lock().unwrap_or_else(PoisonError::into_inner);
        recordings.retain(|known| !known.is_over());
        recordings.clone()
    }

    /// Returns when every recording that has been stopped has ended, and all others' sinks have what has entered, or when
    /// `within` has passed.
    pub fn mark_recordings(&self, within: Duration) {
        let (done, marks) = bounded(WORKERS_MAX * record::RECORDINGS_MAX);
        for handle in self.handles().iter() {
            handle.tell(Command::MarkRecordings(done.clone()));
        }
        drop(done);
        let until = std::time::Instant::now() + within;
        while marks.recv_deadline(until).is_ok() {}
        drop(self.recordings()); // Forgets those that are over.
    }

    /// Gives the port of this id and serial this wire, in every worker, those that are started later too; `None`: it is
    /// perfect from now on. When this returns no worker reads or sends a frame there without it.
    pub fn wire(&self, port: PortId, serial: u32, wire: Option<&Arc<fault::Wire>>) {
        let mut wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        match wire {
            Some(wire) => drop(wires.insert(port, (serial, Arc::clone(wire)))),
            None => drop(wires.remove(&port)),
        }
        ask(&self.handles(), |done| Command::Wire(port, serial, wire.map(Arc::clone), done));
    }

    /// Lets every worker show frames to this tap, those that are started later too, until its reader has gone.
    pub fn tap(&self, tap: &tap::Tap) {
        let mut taps = self.taps.lock().unwrap_or_else(PoisonError::into_inner);
        taps.retain(|known| !known.is_closed());
        taps.push(tap.clone());
        for handle in self.handles().iter() {
            handle.tell(Command::Tap(tap.clone()));
        }
    }

    /// From now on every worker works like this.
    pub fn tune(&self, tuning: Tuning) {
        for handle in self.handles().iter() {
            handle.tell(Command::Tune(tuning));
        }
    }

    /// Lets the workers finish what is waiting in their ports, and ends them. The ports are closed on return.
    pub fn stop(&self) {
        let handles = self.handles();
        ask(&handles, Command::Drain);
        for handle in handles.iter() {
            handle.tell(Command::Stop);
        }
        for handle in handles.iter() {
            handle.join();
        }
    }

    fn handles(&self) -> RwLockReadGuard<'_, Vec<Handle>> {
        self.handles.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks all of them at once and waits for the answers. A worker that has ended answers the default: it has nothing left
/// to do, its ports are closed and its counters gone.
fn ask<T: Default>(handles: &[Handle], question: impl Fn(Sender<T>) -> Command) -> Vec<T> {
    let answers: Vec<Receiver<T>> = handles
        .iter()
        .map(|handle| {
            let (done, answer) = bounded(1);
            handle.tell(question(done));
            answer
        })
        .collect();
    answers.into_iter().map(|answer| answer.recv().unwrap_or_default()).collect()
}

impl Handle {
    fn tell(&self, command: Command) {
        // A worker that is gone drops its receiver; the answer channel then says so.
        let _ = self.commands.send(command);
        let _ = self.peer.waker.wake();
    }

    fn stations(&self, cursor: u64, max: usize) -> StationPage {
        let (done, answer) = bounded(1);
        self.tell(Command::Stations(cursor, max, done));
        answer.recv().unwrap_or_default()
    }

    /// Waits for its end. What it had counted, unless it was waited for before.
    fn join(&self) -> Option<Tally> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        thread.join().ok() // It does not panic: that would have ended the process.
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}
