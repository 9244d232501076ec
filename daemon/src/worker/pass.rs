//! One worker: the loop, a port's burst, and what ends a port.

use std::any::Any;
use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use node::{Event, Node, Outbox};
use wire::segment::{self, Egress};
use wire::{DropReason, FlowHash, FrameBuf, Instant, Offload, PortId};

use super::{Command, Handed, Options, Peer, Report, Tally, WORKERS_MAX};
use crate::port::{Fault, PortIo};
use crate::sys::clock;

/// The token of messages; ports have their id.
pub(super) const WAKE: Token = Token(usize::MAX);
/// Frames read from one port before the next has its turn.
const BURST_FRAMES_MAX: usize = 64;
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
/// How long a stopping worker goes on emptying its ports while new frames keep coming.
const STOP_WITHIN: Duration = Duration::from_millis(200);

pub(super) struct Worker {
    index: usize,
    spin_max: Duration,
    node: Node,
    out: Outbox,
    /// By [`PortId`].
    ports: Vec<Option<Slot>>,
    /// Ports that may have frames, each once, in the order of their turns.
    ready: VecDeque<PortId>,
    /// A frame for a peer whose channel was full. While it is here nothing is read.
    stalled: Option<(usize, PortId, FrameBuf)>,
    poll: Poll,
    events: Events,
    commands: Receiver<Command>,
    inbox: Receiver<Handed>,
    /// Carries segments that are cut here.
    scratch: FrameBuf,
    peers: Vec<Peer>,
    reports: Sender<Report>,
    /// Port failures that did not fit the report channel.
    unreported: VecDeque<Report>,
    tally: Tally,
    /// The port being read, handled or written: whom a panic is blamed on.
    acting: PortId,
    /// Peers that have been given something since they were last woken, by index.
    to_wake: [bool; WORKERS_MAX],
    /// Set by [`Command::Stop`]: when to end at the latest.
    stop_at: Option<Instant>,
}

struct Slot {
    id: PortId,
    io: Box<dyn PortIo>,
    is_ready: bool,
    /// Its device is being removed. Reading may say "empty" for a while yet, and no further event would come.
    is_going: bool,
    /// Differs from that of every other device this port ever had.
    generation: u64,
    /// What the device has not refused yet. Once it refuses, frames are finished in software for good.
    takes: Egress,
}

/// Why a frame was not sent.
enum Unsent {
    Io(std::io::Error),
    /// The frame's offload metadata contradicts its headers.
    Malformed(DropReason),
}

impl Slot {
    /// Sends the frame, finishing in software what the device does not take.
    fn send(&mut self, frame: &mut FrameBuf, scratch: &mut FrameBuf) -> Result<(), Unsent> {
        let mut outcome = Ok(());
        let io = &mut self.io;
        segment::finish(frame, self.takes, scratch, |piece| {
            if outcome.is_ok() {
                outcome = io.send(piece);
            }
        })
        .map_err(Unsent::Malformed)?;
        outcome.map_err(Unsent::Io)
    }

    /// Tries a frame that the device refused again, finished in software. `true` beside the outcome if that shows that
    /// the device refuses a kind of frame and not just this one: then it is never asked again. One odd checksum request
    /// shows nothing: a station can make those.
    fn retry(
        &mut self,
        unsent: Result<(), Unsent>,
        frame: &mut FrameBuf,
        scratch: &mut FrameBuf,
    ) -> (Result<(), Unsent>, bool) {
        let refused = matches!(&unsent, Err(Unsent::Io(error)) if Fault::of(error) == Fault::Refused);
        if !refused || frame.offload == Offload::NONE || self.takes == Egress::NONE {
            return (unsent, false);
        }
        let took_before = core::mem::replace(&mut self.takes, Egress::NONE);
        let again = self.send(frame, scratch);
        let learned = again.is_ok() && frame.offload.is_super_segment();
        if !learned {
            self.takes = took_before;
        }
        (again, learned)
    }
}

/// Whether a burst left frames behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
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
            spin_max: options.spin,
            node: if peers.len() > 1 { node.with_replicas() } else { node },
            out: Outbox::default(),
            ports: Vec::new(),
            ready: VecDeque::new(),
            stalled: None,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            commands,
            inbox,
            scratch: wire::FramePool::default().take(),
            peers,
            reports,
            unreported: VecDeque::new(),
            tally: Tally::default(),
            acting: PortId(0),
            to_wake: [false; WORKERS_MAX],
            stop_at: None,
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
            if self.stop_at.is_some_and(|at| !worked || now >= at) {
                return;
            }
            if worked {
                idle_since = None;
                self.look(Some(Duration::ZERO));
                continue;
            }
            let idle = now.since(*idle_since.get_or_insert(now));
            if may_spin && idle < self.spin_max {
                // Who is waiting for this core may be the one that our next frame comes from.
                std::thread::yield_now();
                self.look(Some(Duration::ZERO));
                self.tally.spins_won += u64::from(!self.ready.is_empty());
                continue;
            }
            let deadline = self.node.next_deadline().map(|(at, _)| at.since(now));
            self.tally.sleeps += 1;
            self.look(deadline);
            may_spin = clock::now().since(now) < self.spin_max * SHORT_SLEEP_SPINS;
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
            let Some(Some(slot)) = self.ports.get_mut(index) else { continue };
            // TUN reports an error for a device that is being removed, and for nothing else (Linux drivers/net/tun.c,
            // `tun_chr_poll`).
            slot.is_going |= event.is_error();
            if !slot.is_ready {
                slot.is_ready = true;
                self.ready.push_back(slot.id);
            }
        }
    }

    /// Does everything that can be done without waiting, each port one burst. `false` if there was nothing.
    fn pass(&mut self, now: Instant) -> bool {
        let mut worked = false;
        if self.node.next_deadline().is_some_and(|(at, _)| at <= now) {
            self.node.handle(now, Event::Wake, &mut self.out);
            self.drain();
            worked = true;
        }
        if !self.inbox.is_empty() {
            self.contained(|worker| worker.take_handed(now));
            worked = true;
        }
        if let Some((owner, port, frame)) = self.stalled.take() {
            self.hand_over(owner, port, frame);
            if self.stalled.is_some() {
                // The owner is busy; it will get there, and it may need this core to do so.
                std::thread::yield_now();
            }
            worked = true;
        }
        for _ in 0..self.ready.len() {
            if self.stalled.is_some() {
                break;
            }
            let Some(port) = self.ready.pop_front() else { break };
            self.serve(port);
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
            Some(Rest::More) | None => self.ready.push_back(port),
        }
    }

    /// Runs one step; a panic in it ends the port that was acting, not the worker. `None` after a panic.
    fn contained<T>(&mut self, step: impl FnOnce(&mut Self) -> T) -> Option<T> {
        // Unwind safety: the outbox is emptied, and the node's tables hold plain values that are replaced whole.
        match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(done) => Some(done),
            Err(panic) => {
                self.out.clear_sends();
                self.fail(self.acting, &format!("panicked: {}", panic_text(panic.as_ref())));
                None
            }
        }
    }

    /// Reads what is there, at most a burst, hands it to the node, and sends what comes out.
    fn burst(&mut self, now: Instant, port: PortId) -> Rest {
        let (mut octets, mut unsent) = (0, 0);
        let mut rest = Rest::More;
        let mut failure = None;
        for _ in 0..BURST_FRAMES_MAX {
            self.acting = port;
            let Some(Some(slot)) = self.ports.get_mut(port.index()) else { return Rest::Empty };
            let mut frame = self.out.pool.take();
            if let Err(error) = slot.io.receive(&mut frame) {
                self.out.pool.put(frame);
                (rest, failure) = after_reading_failed(error, slot.is_going);
                break;
            }
            octets += frame.len();
            unsent += frame.len();
            self.frame(now, port, frame);
            if unsent >= SEND_BYTES || self.out.sends().len() >= SENDS_MAX {
                self.drain();
                unsent = 0;
            }
            if octets >= BURST_BYTES_MAX || self.stalled.is_some() {
                break;
            }
        }
        self.tally.bursts += 1;
        self.drain();
        if let Some(error) = failure {
            self.fail(port, &format!("reading from the device: {error}"));
        }
        rest
    }

    /// A frame from the device: ours to handle, or another worker's.
    fn frame(&mut self, now: Instant, port: PortId, frame: FrameBuf) {
        if self.peers.len() > 1 {
            let owner = FlowHash::of(frame.bytes()).owner(self.peers.len());
            if owner != self.index {
                self.tally.handed_over += 1;
                self.hand_over(owner, port, frame);
                return;
            }
        }
        self.node.handle(now, Event::Frame { port, frame }, &mut self.out);
    }

    fn hand_over(&mut self, owner: usize, port: PortId, frame: FrameBuf) {
        match self.peers[owner].handed.try_send(Handed::Frame(port, frame)) {
            Ok(()) => {}
            Err(TrySendError::Full(Handed::Frame(port, frame))) => self.stalled = Some((owner, port, frame)),
            // The owner has stopped, and so shall we.
            Err(TrySendError::Full(Handed::Gossip(_)) | TrySendError::Disconnected(_)) => {}
        }
        self.to_wake[owner] = true;
    }

    fn take_handed(&mut self, now: Instant) {
        for _ in 0..HANDED_BURST_MAX {
            let Ok(handed) = self.inbox.try_recv() else { break };
            let event = match handed {
                Handed::Frame(port, frame) => {
                    self.acting = port;
                    Event::Frame { port, frame }
                }
                Handed::Gossip(gossip) => Event::Gossip(gossip),
            };
            self.node.handle(now, event, &mut self.out);
            if self.out.sends().len() >= SENDS_MAX {
                self.drain();
            }
        }
        self.drain();
    }

    /// Sends what the node has put into the outbox, and passes on what it has noticed and learned.
    fn drain(&mut self) {
        let mut failed = Vec::new(); // Does not allocate unless a port fails.
        for at in 0..self.out.sends().len() {
            let send = self.out.sends()[at];
            self.acting = send.port;
            let Some(Some(slot)) = self.ports.get_mut(send.port.index()) else {
                self.node.not_delivered(send.port, DropReason::PortDown);
                continue;
            };
            let unsent = slot.send(self.out.frame(send), &mut self.scratch);
            let (unsent, learned) = slot.retry(unsent, self.out.frame(send), &mut self.scratch);
            if learned {
                self.unreported.push_back(Report::OffloadRefused(send.port, slot.generation));
            }
            match unsent {
                Ok(()) => {}
                Err(Unsent::Malformed(reason)) => self.node.not_delivered(send.port, reason),
                Err(Unsent::Io(error)) => {
                    let fault = Fault::of(&error);
                    self.node.not_delivered(send.port, not_sent(fault));
                    if matches!(fault, Fault::Vanished | Fault::Other) {
                        failed.push((send.port, error));
                    }
                }
            }
        }
        self.out.clear_sends();
        for (port, error) in failed {
            self.fail(port, &format!("writing to the device: {error}"));
        }
        for notice in self.out.notices.drain(..) {
            if self.reports.try_send(Report::Notice(notice)).is_err() {
                self.tally.notices_lost += 1;
            }
        }
        for gossip in self.out.gossip.drain(..) {
            for (index, peer) in self.peers.iter().enumerate().filter(|(index, _)| *index != self.index) {
                match peer.handed.try_send(Handed::Gossip(gossip)) {
                    Ok(()) => self.to_wake[index] = true,
                    Err(_) => self.tally.gossip_lost += 1,
                }
            }
        }
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
    fn fail(&mut self, port: PortId, why: &str) {
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

    /// Does what the control plane has asked for.
    fn obey(&mut self, now: Instant) {
        while let Ok(command) = self.commands.try_recv() {
            // Who asked may have gone: an answer that nobody waits for is no trouble.
            match command {
                Command::Handle(event, done) => {
                    self.node.handle(now, event, &mut self.out);
                    self.drain();
                    let _ = done.send(());
                }
                Command::Attach(ports, generation, done) => {
                    let add = |(port, io)| self.add(port, io, generation).err().map(|error| (port, error));
                    let _ = done.send(ports.into_iter().filter_map(add).collect());
                }
                Command::Detach(port, done) => {
                    self.remove(port);
                    let _ = done.send(());
                }
                Command::Count(done) => {
                    let _ = done.send(self.count());
                }
                Command::Stations(cursor, max, done) => {
                    let _ = done.send(self.node.stations(now, cursor, max));
                }
                Command::Spin(spin) => self.spin_max = spin,
                Command::Stop => self.stop(now),
            }
        }
    }

    fn add(&mut self, port: PortId, io: Box<dyn PortIo>, generation: u64) -> std::io::Result<()> {
        assert!(port.index() < WAKE.0, "the plan limits ids");
        self.poll.registry().register(
            &mut SourceFd(&io.fd().as_raw_fd()),
            Token(port.index()),
            Interest::READABLE,
        )?;
        if port.index() >= self.ports.len() {
            self.ports.resize_with(port.index() + 1, || None);
        }
        // Ready until proved empty: frames may have come before the descriptor was watched.
        self.ports[port.index()] =
            Some(Slot { id: port, io, is_ready: true, is_going: false, generation, takes: Egress::ALL });
        self.ready.push_back(port);
        Ok(())
    }

    /// Forgets a port and closes its descriptor. The generation of its device, if it had one.
    fn remove(&mut self, port: PortId) -> Option<u64> {
        let slot = self.ports.get_mut(port.index()).and_then(Option::take)?;
        // Closing a descriptor takes it out of epoll too, so a refusal here changes nothing.
        let _ = self.poll.registry().deregister(&mut SourceFd(&slot.io.fd().as_raw_fd()));
        self.ready.retain(|waiting| *waiting != port);
        Some(slot.generation)
    }

    fn count(&self) -> Tally {
        let plan = &self.node.plan().switch;
        let stations_of_port =
            plan.ports.iter().map(|port| (port.id, self.node.stations_of_port(port.id))).collect();
        let stations_of_domain =
            plan.domains.iter().map(|domain| (domain.id, self.node.stations_of_domain(domain.id))).collect();
        Tally {
            stations_of_port,
            stations_of_domain,
            counters: self.node.counters().clone(),
            deadline: self.node.next_deadline().map(|(_, why)| why),
            ..self.tally.clone()
        }
    }

    fn stop(&mut self, now: Instant) {
        self.stop_at = Some(now + STOP_WITHIN);
        for slot in self.ports.iter_mut().flatten().filter(|slot| !slot.is_ready) {
            slot.is_ready = true;
            self.ready.push_back(slot.id);
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

fn not_sent(fault: Fault) -> DropReason {
    match fault {
        Fault::Empty | Fault::NoMemory => DropReason::QueueFull,
        Fault::Down => DropReason::PortDown,
        Fault::Refused | Fault::Vanished | Fault::Other => DropReason::DeviceRefused,
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}
