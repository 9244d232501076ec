//! More workers, or fewer, while the switch runs.
//!
//! Those that stay keep their thread, their node and what it knows and has counted. A new one is started beside them
//! ([`Workers::recruit`]), and takes part when all is ready for it ([`Workers::resize`]): it has the plan by then, and
//! learns every station that the first worker knows. One that goes handles what it has been handed; what it has counted
//! is counted on by the first worker, so no sum ever falls.
//!
//! A port has one queue for each worker, so the ports have to be detached meanwhile: whoever resizes makes their devices
//! anew. Flows change their owners, so frames of one flow that are between two workers at that moment may pass each other.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use mio::{Poll, Waker};
use node::{Event, Plan};
use vswitch::Station;

use super::fault::Wired;
use super::pass::{WAKE, Worker};
use super::{COMMANDS_MAX, Command, HANDED_MAX, Handed, Handle, Peer, WORKERS_MAX, Workers, ask};
use crate::sys::clock;

/// Stations that are told to a new worker at once.
const STATIONS_PAGE: usize = 1_024;

/// Workers that have been started and take no part yet. They end with this value.
pub struct Recruits(Vec<Handle>);

impl Recruits {
    pub(super) fn into_handles(mut self) -> Vec<Handle> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Recruits {
    fn drop(&mut self) {
        end(&self.0);
    }
}

impl Workers {
    /// Starts the workers that are missing to `count`, if any are.
    ///
    /// # Errors
    /// If the operating system refuses threads or descriptors. Those that were started have ended then.
    pub fn recruit(&self, count: usize) -> io::Result<Recruits> {
        assert!((1..=WORKERS_MAX).contains(&count), "the configuration limits workers");
        let mut peers: Vec<Peer> = self.handles().iter().map(|handle| handle.peer.clone()).collect();
        let first = peers.len();
        let mut doors = Vec::new();
        for _ in first..count {
            let poll = Poll::new()?;
            let (handed, inbox) = bounded(HANDED_MAX);
            peers.push(Peer { handed, waker: Arc::new(Waker::new(poll.registry(), WAKE)?) });
            doors.push((poll, inbox));
        }
        let mut recruits = Recruits(Vec::new());
        for (index, (poll, inbox)) in (first..).zip(doors) {
            recruits.0.push(self.enlist(index, poll, inbox, peers.clone())?);
        }
        Ok(recruits)
    }

    fn enlist(
        &self,
        index: usize,
        poll: Poll,
        inbox: Receiver<Handed>,
        peers: Vec<Peer>,
    ) -> io::Result<Handle> {
        let (commands, receiver) = bounded(COMMANDS_MAX);
        let peer = peers[index].clone();
        let mut worker = Worker::new(index, self.options, poll, receiver, inbox, peers, self.report.clone());
        for recording in self.recordings() {
            let mut track = recording.track(index, worker.peers.len(), self.options.seed, peer.waking())?;
            track.begin(clock::now(), None);
            worker.tracks.push(track);
        }
        let wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner).clone();
        worker.wires.extend(wires.into_iter().map(|(port, (serial, wire))| (port, Wired::new(serial, wire))));
        let taps = self.taps.lock().unwrap_or_else(PoisonError::into_inner).clone();
        taps.into_iter().for_each(|tap| worker.taps.add(tap, &mut worker.out));
        let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| worker.run())).is_err() {
                // A panic outside a port's turn. Half a switch that says it is ready is worse than none: the devices
                // go with the process, and whoever supervises it starts another.
                tracing::error!("worker {index} has panicked; the process ends");
                std::process::exit(1);
            }
            worker.tracks.clear(); // Its part of each recording ends.
            worker.count()
        })?;
        Ok(Handle { commands, peer, thread: Mutex::new(Some(thread)) })
    }

    /// From now on there are `count` workers: those that were recruited for it join, or the last ones end. All have
    /// `plan`, and the ports that it keeps are attached to nobody. Cannot fail.
    pub fn resize(&self, count: usize, recruits: Recruits, plan: &Arc<Plan>) {
        // Whoever asks for counters meanwhile waits: an ended worker's are nowhere until the first has them.
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        let recruits = recruits.into_handles();
        ask(&recruits, |done| Command::Handle(Event::Configure(Arc::clone(plan)), done));
        let first_recruit = handles.len().min(count);
        let leaving = handles.split_off(first_recruit);
        handles.extend(recruits);
        assert_eq!(handles.len(), count, "recruited for this");
        let peers: Vec<Peer> = handles.iter().map(|handle| handle.peer.clone()).collect();
        ask(&handles, |done| Command::Peers(peers.clone(), done));
        for tally in end(&leaving) {
            ask(&handles[..1], |done| Command::Absorb(Box::new(tally.clone()), done));
        }
        let (settled, new) = handles.split_at(first_recruit);
        if !new.is_empty() {
            teach(&settled[0], new);
        }
    }
}

/// Tells the new what the settled worker knows.
fn teach(settled: &Handle, new: &[Handle]) {
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let (page, next) = settled.stations(at, STATIONS_PAGE);
        let learned: Vec<Station> = page.into_iter().filter(|station| !station.is_static).collect();
        ask(new, |done| Command::Learn(learned.clone(), done));
        cursor = next;
    }
}

/// Ends workers that nobody hands anything to any more.
fn end(workers: &[Handle]) -> Vec<super::Tally> {
    for worker in workers {
        worker.tell(Command::Stop);
    }
    workers.iter().filter_map(Handle::join).collect()
}
