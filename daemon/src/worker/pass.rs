//! One worker: the loop, a port's burst, and what ends a port. What it is told from outside is in `orders`.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use mio::{Events, Poll, Token};
use node::{Event, Node, Outbox, UnderlayId};
use wire::{DropReason, FrameBuf, Instant, PortId};

use super::ahead::{Ahead, Put};
use super::fault::Wired;
use super::orders::Phase;
use super::record::Track;
use super::slot::Slot;
use super::tap::{Taps, Way};
use super::underlay::{Lay, TOKENS_FROM};
use super::{Command, Entered, Handed, Options, Peer, Report, Tally, Tuning, WORKERS_MAX};
use crate::port::Fault;
use crate::sys::clock;

/// The token of messages; ports have their id.
pub(super) const WAKE: Token = Token(usize::MAX);
/// Whom a panic over datagrams is blamed on. The plan has no such port.
pub(super) const NOBODY: PortId = PortId(u16::MAX);
/// Frames read from one port before the next has its turn.
pub(super) const BURST_FRAMES_MAX: usize = 64;
/// Octets likewise.
const BURST_BYTES_MAX: usize = 1024 * 1024;
/// Octets on their way out at which they are sent before more are read: one super-segment, so that the buffer it lay in
/// is taken again while it is warm. What it brought stands in
/// ARCHITECTURE.md, "Decisions".
const SEND_BYTES: usize = 64 * 1024;
/// Frames likewise: a flood makes many of one.
const SENDS_MAX: usize = 256;
/// Readiness events taken at once; the rest come with the next look.
const EVENTS_MAX: usize = 256;
/// Handed-over frames handled before the worker's own ports have their turn.
const HANDED_BURST_MAX: usize = 64;
/// A sleep shorter than this many spin windows says that spinning would have paid.
const SHORT_SLEEP_SPINS: u32 = 4;

pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) tuning: Tuning,
    pub(super) node: Node,
    pub(super) out: Outbox,
    /// By [`PortId`].
    pub(super) ports: Vec<Option<Slot>>,
    /// By [`PortId`]: which port has the id by the plan that holds.
    pub(super) serials: Vec<Option<u32>>,
    /// By [`UnderlayId`].
    pub(super) underlays: Vec<Option<Lay>>,
    /// Who may have frames, each once, in the order of their turns.
    pub(super) ready: VecDeque<Turn>,
    /// Numbers of sends that leave by underlays. Empty between drains.
    pub(super) datagrams: Vec<(UnderlayId, usize)>,
    /// Frames for peers whose channels were full, at most a burst's, in their order. While there are any nothing is read.
    pub(super) stalled: VecDeque<(usize, Entered)>,
    pub(super) poll: Poll,
    events: Events,
    pub(super) commands: Receiver<Command>,
    pub(super) inbox: Receiver<Handed>,
    /// Frames that have been read and not handled yet; empty between bursts.
    ahead: Ahead,
    /// Carries segments that are cut here.
    pub(super) scratch: FrameBuf,
    pub(super) peers: Vec<Peer>,
    pub(super) reports: Sender<Report>,
    /// Port failures that did not fit the report channel.
    pub(super) unreported: VecDeque<Report>,
    pub(super) tally: Tally,
    /// Who wants to see frames.
    pub(super) taps: Taps,
    /// Ports with faults.
    pub(super) wires: BTreeMap<PortId, Wired>,
    /// The recordings of what enters the node.
    pub(super) tracks: Vec<Track>,
    /// The port being read, handled or written: whom a panic is blamed on.
    pub(super) acting: PortId,
    /// Peers that have been given something since they were last woken, by index.
    pub(super) to_wake: [bool; WORKERS_MAX],
    pub(super) phase: Phase,
}

/// Who has a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Port(PortId),
    Underlay(UnderlayId),
}

/// Whether a burst left frames behind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Empty,
    More,
}

impl Worker {
    pub(super) fn new(
        index: usize,
        options: Options,
        poll: Poll,
        commands: Receiver<Command>,
        inbox: Receiver<Handed>,
        peers: Vec<Peer>,
        reports: Sender<Report>,
    ) -> Self {
        let node = Node::new(options.seed);
        Self {
            index,
            tuning: options.tuning,
            node: if peers.len() > 1 { node.with_replicas(index) } else { node },
            out: Outbox::default(),
            ports: Vec::new(),
            underlays: Vec::new(),
            ready: VecDeque::new(),
            datagrams: Vec::new(),
            stalled: VecDeque::new(),
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            commands,
            inbox,
            ahead: Ahead::default(),
            scratch: wire::FramePool::default().take(),
            peers,
            reports,
            unreported: VecDeque::new(),
            tally: Tally::default(),
            taps: Taps::default(),
            wires: BTreeMap::new(),
            tracks: Vec::new(),
            acting: PortId(0),
            to_wake: [false; WORKERS_MAX],
            phase: Phase::Running,
            serials: Vec::new(),
        }
    }

    /// Works until told to stop.
    pub(super) fn run(&mut self) {
        let mut idle_since = None;
        let mut may_spin = false;
        loop {
            let now = clock::now();
            self.obey(now);
            let worked = self.pass(now);
            if self.progress(now, worked) {
                return;
            }
            if worked {
                idle_since = None;
                self.look(Some(Duration::ZERO));
                continue;
            }
            let idle = now.since(*idle_since.get_or_insert(now));
            if may_spin && idle < self.tuning.spin {
                // Who is waiting for this core may be the one that our next frame comes from.
                std::thread::yield_now();
                self.look(Some(Duration::ZERO));
                self.tally.spins_won += u64::from(!self.ready.is_empty());
                continue;
            }
            self.tracks.iter_mut().for_each(Track::rest);
            let deadline = self.node.next_deadline().map(|(at, _)| at);
            let deadline = deadline.into_iter().chain(self.next_arrival()).min().map(|at| at.since(now));
            self.tally.sleeps += 1;
            self.look(deadline);
            may_spin = clock::now().since(now) < self.tuning.spin * SHORT_SLEEP_SPINS;
            idle_since = None;
        }
    }

    /// Asks the kernel which ports have frames, waiting at most `timeout` (`None`: until something happens).
    fn look(&mut self, timeout: Option<Duration>) {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return,
            Err(error) => panic!("epoll does not fail on descriptors that are ours: {error}"),
        }
        for event in &self.events {
            let Token(index) = event.token();
            if let Some(Some(lay)) = index.checked_sub(TOKENS_FROM).and_then(|at| self.underlays.get_mut(at))
            {
                if event.is_error() {
                    lay.hear_complaints();
                }
                if !lay.is_ready {
                    lay.is_ready = true;
                    self.ready.push_back(Turn::Underlay(lay.id()));
                }
                continue;
            }
            let Some(Some(slot)) = self.ports.get_mut(index) else { continue };
            slot.is_going |= event.is_error() && slot.io.error_is_the_end();
            if !slot.is_ready {
                slot.is_ready = true;
                self.ready.push_back(Turn::Port(slot.id));
            }
        }
    }

    /// Does everything that can be done without waiting, each port one burst. `false` if there was nothing.
    fn pass(&mut self, now: Instant) -> bool {
        let mut worked = false;
        if self.node.is_due(now) {
            self.give(now, Event::Wake);
            self.drain();
            worked = true;
        }
        if !self.wires.is_empty() {
            worked |= self.arrivals(now);
        }
        if !self.inbox.is_empty() {
            self.contained(|worker| worker.take_handed(now));
            worked = true;
        }
        if !self.stalled.is_empty() {
            for (owner, entered) in std::mem::take(&mut self.stalled) {
                self.hand_over(owner, entered);
            }
            if !self.stalled.is_empty() {
                // The owner is busy; it will get there, and it may need this core to do so.
                std::thread::yield_now();
            }
            worked = true;
        }
        for _ in 0..self.ready.len() {
            if !self.stalled.is_empty() || !self.reads(now) {
                break;
            }
            match self.ready.pop_front() {
                Some(Turn::Port(port)) => self.serve(port),
                Some(Turn::Underlay(underlay)) => self.serve_underlay(underlay),
                None => break,
            }
            if !self.inbox.is_empty() {
                // Between ports too: a peer whose frame we do not take reads nothing meanwhile.
                self.contained(|worker| worker.take_handed(now));
            }
            worked = true;
        }
        self.wake_peers();
        self.report_late();
        worked
    }

    /// Gives a port its turn and puts it back in line if it has more.
    fn serve(&mut self, port: PortId) {
        let now = clock::now();
        let rest = self.contained(|worker| worker.burst(now, port));
        let Some(Some(slot)) = self.ports.get_mut(port.index()) else { return };
        match rest {
            Some(Rest::Empty) => slot.is_ready = false,
            Some(Rest::More) | None => self.ready.push_back(Turn::Port(port)),
        }
    }

    fn serve_underlay(&mut self, underlay: UnderlayId) {
        let now = clock::now();
        let rest = self.contained(|worker| worker.burst_of_datagrams(now, underlay));
        let Some(Some(lay)) = self.underlays.get_mut(underlay.index()) else { return };
        match rest {
            Some(Rest::Empty) => lay.is_ready = false,
            Some(Rest::More) | None => self.ready.push_back(Turn::Underlay(underlay)),
        }
    }

    /// Runs one step; a panic in it ends the port that was acting, not the worker. `None` after a panic.
    fn contained<T>(&mut self, step: impl FnOnce(&mut Self) -> T) -> Option<T> {
        // Unwind safety: the outbox is emptied, and the node's tables hold plain values that are replaced whole.
        match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(done) => Some(done),
            Err(panic) => {
                self.out.clear_sends();
                self.give_up_read();
                self.datagrams.clear();
                if self.acting == NOBODY {
                    // The datagrams that it was about are gone; the socket is not to blame.
                    tracing::error!(
                        worker = self.index,
                        "panicked over datagrams: {}",
                        panic_text(panic.as_ref())
                    );
                    return None;
                }
                self.fail(self.acting, &format!("panicked: {}", panic_text(panic.as_ref())));
                None
            }
        }
    }

    /// Ends the frames that a panic has left unhandled.
    fn give_up_read(&mut self) {
        self.ahead.flush();
        while let Some(frame) = self.ahead.take() {
            self.node.lost(frame.len() as u64, DropReason::NoPort);
            self.out.pool.put(frame);
        }
    }

    /// Reads what is there, at most a burst, hands it to the node, and sends what comes out.
    fn burst(&mut self, now: Instant, port: PortId) -> Rest {
        let (mut octets, mut unsent) = (0, 0);
        let mut rest = Rest::More;
        let mut failure = None;
        let mut left = BURST_FRAMES_MAX;
        while left > 0 && octets < BURST_BYTES_MAX && self.stalled.is_empty() && rest == Rest::More {
            self.acting = port;
            let Some(Some(slot)) = self.ports.get(port.index()) else { return Rest::Empty };
            let (serial, stays) = (slot.serial, slot.io.is_only_queue());
            (rest, failure) = self.read(port, left);
            left = left.saturating_sub(self.ahead.len().max(1));
            if self.tuning.gro {
                self.tally.joined += self.ahead.join(&mut self.out.pool) as u64;
            }
            self.node.look_ahead(self.ahead.iter());
            while let Some(frame) = self.ahead.take() {
                octets += frame.len();
                unsent += frame.len();
                self.frame(now, Entered { port, serial, frame }, stays);
                if self.is_due(unsent) {
                    self.drain();
                    unsent = 0;
                }
            }
        }
        self.tally.bursts += 1;
        self.drain();
        if let Some(error) = failure {
            self.fail(port, &format!("reading from the device: {error}"));
        }
        rest
    }

    /// Reads at most `count` frames, none behind a long one. Says whether there may be more, and why not if that ends
    /// the port.
    fn read(&mut self, port: PortId, count: usize) -> (Rest, Option<std::io::Error>) {
        for _ in 0..count {
            if !self.wires.is_empty()
                && let Some(frame) = self.arrived_in(port)
            {
                if self.ahead.put(frame) == Put::Last {
                    break;
                }
                continue;
            }
            let Some(Some(slot)) = self.ports.get_mut(port.index()) else { return (Rest::Empty, None) };
            let mut frame = self.out.pool.take();
            if let Err(error) = slot.io.receive(&mut frame) {
                self.out.pool.put(frame);
                if Fault::of(&error) == Fault::Refused {
                    self.node.lost_outside(port, DropReason::Unreadable, 1);
                }
                return after_reading_failed(error, slot.is_going);
            }
            self.taps.show(port, Way::In, &frame);
            if !self.wires.is_empty() {
                match self.comes_by_wire(port, frame) {
                    Some(met_none) => frame = met_none,
                    None => continue,
                }
            }
            if self.ahead.put(frame) == Put::Last {
                break;
            }
        }
        (Rest::More, None)
    }

    /// Whether so much is on its way out that it is to be sent before more is read.
    pub(super) fn is_due(&self, unsent: usize) -> bool {
        unsent >= SEND_BYTES || self.out.sends().len() >= SENDS_MAX
    }

    /// Lets the node handle an event.
    #[inline]
    pub(super) fn give(&mut self, now: Instant, event: Event) {
        for track in &mut self.tracks {
            track.event(now, &event);
        }
        self.node.handle(now, event, &mut self.out);
    }

    /// A frame from the device: another worker's, unless it `stays` whosever flow it is, or ours to handle.
    fn frame(&mut self, now: Instant, entered: Entered, stays: bool) {
        let owner = if stays { None } else { self.owner_elsewhere(&entered.frame) };
        if let Some(owner) = owner {
            self.tally.handed_over += 1;
            self.hand_over(owner, entered);
        } else {
            let Entered { port, frame, .. } = entered;
            self.give(now, Event::Frame { port, frame });
        }
    }

    /// The worker that owns the frame's flow, if it is not this one.
    pub(super) fn owner_elsewhere(&self, frame: &FrameBuf) -> Option<usize> {
        if self.peers.len() == 1 {
            return None;
        }
        let owner = self.node.owner(frame.bytes(), self.peers.len());
        (owner != self.index).then_some(owner)
    }

    /// Gives a frame to the peer who owns its flow, behind those that wait for that peer.
    pub(super) fn hand_over(&mut self, owner: usize, entered: Entered) {
        if self.stalled.iter().any(|(waiting, _)| *waiting == owner) {
            self.stalled.push_back((owner, entered));
            return;
        }
        match self.peers[owner].handed.try_send(Handed::Frame(entered)) {
            Ok(()) => {}
            Err(TrySendError::Full(Handed::Frame(entered))) => self.stalled.push_back((owner, entered)),
            // Nobody ends before all have drained, and then nothing is handed over. Should it happen, it counts.
            Err(TrySendError::Disconnected(Handed::Frame(entered))) => self.lose(entered),
            Err(TrySendError::Full(Handed::Gossip(_)) | TrySendError::Disconnected(Handed::Gossip(_))) => {}
        }
        self.to_wake[owner] = true;
    }

    fn take_handed(&mut self, now: Instant) {
        for _ in 0..HANDED_BURST_MAX {
            let Ok(handed) = self.inbox.try_recv() else { break };
            match handed {
                Handed::Frame(entered) => self.enter(now, entered),
                Handed::Gossip(gossip) => self.give(now, Event::Gossip(gossip)),
            }
            if self.out.sends().len() >= SENDS_MAX {
                self.drain();
            }
        }
        self.drain();
    }

    /// A frame that came in elsewhere, if its port is still there.
    pub(super) fn enter(&mut self, now: Instant, entered: Entered) {
        if self.serial_of(entered.port) == Some(entered.serial) {
            let Entered { port, frame, .. } = entered;
            self.acting = port;
            self.give(now, Event::Frame { port, frame });
        } else {
            self.lose(entered);
        }
    }

    /// Counts a frame whose port went while it was on its way from worker to worker.
    fn lose(&mut self, entered: Entered) {
        self.node.lost(entered.frame.len() as u64, DropReason::NoPort);
        self.out.pool.put(entered.frame);
    }

    fn wake_peers(&mut self) {
        for (due, peer) in self.to_wake.iter_mut().zip(&self.peers) {
            if std::mem::take(due) {
                // Waking writes to an eventfd, which fails only when its counter is full: the peer is awake then.
                let _ = peer.waker.wake();
            }
        }
    }

    /// Takes a port out for good and says why.
    pub(super) fn fail(&mut self, port: PortId, why: &str) {
        if let Some(generation) = self.remove(port) {
            tracing::error!(port = port.0, worker = self.index, "port given up: {why}");
            self.unreported.push_back(Report::PortFailed(port, generation, why.to_owned()));
        }
    }

    fn report_late(&mut self) {
        while let Some(report) = self.unreported.pop_front() {
            if let Err(TrySendError::Full(report)) = self.reports.try_send(report) {
                self.unreported.push_front(report);
                return;
            }
        }
    }
}

/// What an error of reading says of the port: empty for now, more to come behind a frame that could not be read (no
/// event would tell of it again), or at its end.
fn after_reading_failed(error: std::io::Error, is_going: bool) -> (Rest, Option<std::io::Error>) {
    match Fault::of(&error) {
        Fault::Empty | Fault::Down if is_going => {
            (Rest::Empty, Some(std::io::Error::other("it is being removed")))
        }
        Fault::Empty | Fault::Down => (Rest::Empty, None),
        Fault::NoMemory | Fault::Refused => (Rest::More, None),
        Fault::Vanished | Fault::Other => (Rest::Empty, Some(error)),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}
