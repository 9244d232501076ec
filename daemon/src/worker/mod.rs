//! Workers: the threads that move frames. A worker owns one queue of every port and one replica of the node, and
//! shares nothing: what others want of it, it is told by message and does between two bursts.
//!
//! ```text
//!   pass:  commands? ─▶ frames handed over by peers ─▶ each ready port: read ≤ 64 frames or 256 KiB ─▶ node ─▶ write
//!   idle:  spin a little (adaptive) ─▶ wait in mio for frames, a message, or the node's named deadline
//! ```
//!
//! With several workers a flow belongs to exactly one ([`wire::FlowHash::owner`]), and the kernel steers frames to the
//! owner's queue. A frame that lands elsewhere all the same goes to its owner by channel. The channel is bounded: when
//! it is full its sender stops reading and keeps handling what it is handed itself, so nothing is lost and no two
//! workers can wait for each other.
//!
//! Failure: an I/O error that will not pass, or a panic while a port is served, ends that port and no other. The
//! port is taken out, the [`Report`] says why, and the thread goes on. A panic elsewhere, in a change of the plan or a
//! sweep, ends the process.

mod orders;
mod pass;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use node::{Counters, Event, Notice};
use vswitch::Station;
use wire::{DomainId, FrameBuf, PortId};

use crate::port::PortIo;
use pass::Worker;

/// Workers of one process, and queues of one port. The configuration refuses more.
pub const WORKERS_MAX: usize = 16;
/// Commands waiting for one worker; the control plane waits when it is full.
const COMMANDS_MAX: usize = 64;
/// Frames and gossip on their way from one worker to another; see the module doc for what happens at it.
const HANDED_MAX: usize = 1_024;
/// Reports waiting for the control plane. At it notices are lost and counted; port failures are kept and sent later.
const REPORTS_MAX: usize = 4_096;

/// What the control plane tells a worker. Answers come over the sender inside.
pub enum Command {
    /// Handle this event, then answer.
    Handle(Event, Sender<()>),
    /// Read and write these ports from now on, then answer which could not be waited on. The node's plan already has
    /// them. The number is their devices' generation.
    Attach(Vec<(PortId, Box<dyn PortIo>)>, u64, Sender<Vec<(PortId, io::Error)>>),
    /// Stop using the port and close its descriptor, then answer.
    Detach(PortId, Sender<()>),
    /// Tell what has been counted.
    Count(Sender<Tally>),
    /// List at most this many stations from this cursor.
    Stations(u64, usize, Sender<StationPage>),
    /// Spin at most this long from now on.
    Spin(Duration),
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

/// All workers of one switch.
pub struct Workers {
    handles: Vec<Handle>,
    /// What they report.
    pub reports: Receiver<Report>,
}

struct Handle {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// How to start workers.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many, 1 to [`WORKERS_MAX`].
    pub workers: usize,
    /// How long to look for work before waiting in the kernel, at most.
    pub spin: Duration,
    /// Keys the nodes' hash tables.
    pub seed: u64,
}

impl Workers {
    /// Starts the threads. Their nodes have no ports yet.
    ///
    /// # Errors
    /// If the operating system refuses threads or descriptors.
    pub fn start(options: Options) -> io::Result<Self> {
        let count = options.workers.clamp(1, WORKERS_MAX);
        let (report, reports) = bounded(REPORTS_MAX);
        let polls = (0..count).map(|_| mio::Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let mut peers = Vec::new();
        let mut inboxes = Vec::new();
        for poll in &polls {
            let (handed, inbox) = bounded(HANDED_MAX);
            peers.push(Peer { handed, waker: Arc::new(Waker::new(poll.registry(), pass::WAKE)?) });
            inboxes.push(inbox);
        }
        let mut handles = Vec::new();
        for (index, (poll, inbox)) in polls.into_iter().zip(inboxes).enumerate() {
            let (commands, receiver) = bounded(COMMANDS_MAX);
            let waker = Arc::clone(&peers[index].waker);
            let mut worker =
                Worker::new(index, options, poll, receiver, inbox, peers.clone(), report.clone());
            let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                if catch_unwind(AssertUnwindSafe(|| worker.run())).is_err() {
                    // A panic outside a port's turn. Half a switch that says it is ready is worse than none: the devices
                    // go with the process, and whoever supervises it starts another.
                    tracing::error!("worker {index} has panicked; the process ends");
                    std::process::exit(1);
                }
            })?;
            handles.push(Handle { commands, waker, thread: Mutex::new(Some(thread)) });
        }
        Ok(Self { handles, reports })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Gives every worker the event that `make` makes, and returns when all have handled it.
    pub fn handle(&self, make: impl Fn() -> Event) {
        let answers: Vec<_> = (0..self.count())
            .map(|index| {
                let (done, answer) = bounded(1);
                self.tell(index, Command::Handle(make(), done));
                answer
            })
            .collect();
        for answer in answers {
            // An error: the workers have been stopped, and there is nothing left to handle it.
            let _ = answer.recv();
        }
    }

    /// Gives queue *i* of every port to worker *i*. A worker gets all ports at once, so that no frame of one meets
    /// another that is not there yet. `generation` must not have been used before. Returns the ports that could not be
    /// waited on; no worker has those.
    pub fn attach(
        &self,
        ports: Vec<(PortId, Vec<Box<dyn PortIo>>)>,
        generation: u64,
    ) -> Vec<(PortId, io::Error)> {
        let mut shares: Vec<Vec<(PortId, Box<dyn PortIo>)>> = (0..self.count()).map(|_| Vec::new()).collect();
        for (port, queues) in ports {
            assert_eq!(queues.len(), self.count(), "one queue a worker");
            for (share, queue) in shares.iter_mut().zip(queues) {
                share.push((port, queue));
            }
        }
        let mut refused = Vec::new();
        for (index, share) in shares.into_iter().enumerate() {
            let (done, answer) = bounded(1);
            self.tell(index, Command::Attach(share, generation, done));
            refused.extend(answer.recv().unwrap_or_default());
        }
        for (port, _) in &refused {
            self.detach(*port);
        }
        refused
    }

    /// Takes a port from every worker; its descriptors are closed on return.
    pub fn detach(&self, port: PortId) {
        for index in 0..self.count() {
            let (done, answer) = bounded(1);
            self.tell(index, Command::Detach(port, done));
            let _ = answer.recv(); // An error: stopped, and every port is closed.
        }
    }

    /// What each worker has counted.
    pub fn tallies(&self) -> Vec<Tally> {
        (0..self.count())
            .map(|index| {
                let (done, answer) = bounded(1);
                self.tell(index, Command::Count(done));
                answer.recv().unwrap_or_default() // Zeros once stopped.
            })
            .collect()
    }

    /// A page of the stations that worker `index` knows.
    pub fn stations(&self, index: usize, cursor: u64, max: usize) -> StationPage {
        let (done, answer) = bounded(1);
        self.tell(index, Command::Stations(cursor, max, done));
        answer.recv().unwrap_or_default()
    }

    /// From now on every worker spins at most this long.
    pub fn spin(&self, spin: Duration) {
        for index in 0..self.count() {
            self.tell(index, Command::Spin(spin));
        }
    }

    /// Lets the workers finish what is waiting in their ports, and ends them. The ports are closed on return.
    pub fn stop(&self) {
        let draining: Vec<_> = (0..self.count())
            .map(|index| {
                let (done, answer) = bounded(1);
                self.tell(index, Command::Drain(done));
                answer
            })
            .collect();
        for answer in draining {
            let _ = answer.recv(); // An error: it has been stopped before.
        }
        for index in 0..self.count() {
            self.tell(index, Command::Stop);
        }
        for handle in &self.handles {
            let thread = handle.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(thread) = thread {
                let _ = thread.join(); // It does not panic: that would have ended the process.
            }
        }
    }

    fn tell(&self, index: usize, command: Command) {
        let handle = &self.handles[index];
        // A worker that is gone drops its receiver; the answer channel then says so in `wait`.
        let _ = handle.commands.send(command);
        let _ = handle.waker.wake();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}
