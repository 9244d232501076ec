//! What a worker does because the control plane said so: changes of the plan and of its ports, questions, and its end.
//!
//! The end has two steps, because workers hand frames to each other. First each reads what is waiting in its ports, and
//! then reads no more ([`Command::Drain`]); once all have, nothing more can be handed over. Then each handles what it
//! has been handed and ends ([`Command::Stop`]). So no frame that was read is lost without a count.

use std::os::fd::AsRawFd;
use std::time::Duration;

use crossbeam_channel::Sender;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use node::{Event, Gossip, UnderlayPlan};
use vswitch::Station;
use wire::{DropReason, Instant, PortId};

use super::pass::{Turn, WAKE, Worker};
use super::record::Track;
use super::slot::Slot;
use super::{Command, Peer, Tally};
use crate::port::PortIo;
use crate::sys::clock;

/// How long a draining worker goes on emptying its ports while new frames keep coming. What has not been read by then
/// stays in the device.
const DRAIN_WITHIN: Duration = Duration::from_millis(200);

/// How far a worker is from its end.
pub(super) enum Phase {
    /// It reads and writes.
    Running,
    /// It reads what is waiting, until this time at the latest, and then says so.
    Draining(Instant, Sender<()>),
    /// It reads no more. What peers hand over it still handles.
    Drained,
    /// It ends when it has handled that.
    Ending,
}

impl Worker {
    /// Does what the control plane has asked for.
    pub(super) fn obey(&mut self, now: Instant) {
        while let Ok(command) = self.commands.try_recv() {
            // Who asked may have gone: an answer that nobody waits for is no trouble.
            match command {
                Command::Handle(event, done) => {
                    self.handle(now, event);
                    let _ = done.send(());
                }
                Command::Attach(plan, ports, generation, done) => {
                    if let Some(plan) = plan {
                        self.give(now, Event::Configure(plan));
                        self.drop_strangers();
                    }
                    let add = |(port, io)| self.add(port, io, generation).err().map(|error| (port, error));
                    let refused = ports.into_iter().filter_map(add).collect();
                    self.drain(); // What the plan made the router say, by these ports too.
                    let _ = done.send(refused);
                }
                Command::Open(underlays, done) => {
                    let open = |(plan, queue): (UnderlayPlan, _)| {
                        self.open(plan, queue).err().map(|error| (plan.id, error))
                    };
                    let _ = done.send(underlays.into_iter().filter_map(open).collect());
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
                Command::Ask(question) => {
                    question(now, &self.node);
                }
                Command::Happen(events, count, done) => {
                    let before = count(&self.node);
                    events.into_iter().for_each(|event| self.handle(now, event));
                    let _ = done.send(before.saturating_sub(count(&self.node)));
                }
                Command::Tap(tap) => self.taps.add(tap, &mut self.out),
                Command::Tune(tuning) => self.tuning = tuning,
                Command::Record(track) => self.record(now, *track),
                Command::MarkRecordings(done) => self.mark_tracks(&done),
                Command::Wire(port, serial, wire, done) => self.wire(port, serial, wire, &done),
                Command::Peers(peers, done) => {
                    self.meet(now, peers);
                    let _ = done.send(());
                }
                Command::Learn(stations, done) => {
                    self.learn(now, &stations);
                    let _ = done.send(());
                }
                Command::Absorb(ended, done) => {
                    self.node.absorb(&ended.counters);
                    self.tally.absorb(&ended);
                    let _ = done.send(());
                }
                Command::Drain(done) => self.start_draining(now, done),
                Command::Stop => {
                    self.cut_wires();
                    self.phase = Phase::Ending;
                }
            }
        }
    }

    fn record(&mut self, now: Instant, mut track: Track) {
        track.begin(now, Some(&self.node));
        self.tracks.push(track);
    }

    fn mark_tracks(&mut self, done: &Sender<()>) {
        self.settle_tracks();
        self.tracks.iter_mut().for_each(|track| track.mark(done.clone()));
    }

    fn handle(&mut self, now: Instant, event: Event) {
        let is_plan = matches!(event, Event::Configure(_));
        self.give(now, event);
        self.drain();
        if is_plan {
            self.drop_strangers();
        }
    }

    /// Closes the devices of ports that the plan no longer has: their ids may be other ports' already.
    fn drop_strangers(&mut self) {
        let plan = std::sync::Arc::clone(self.node.plan());
        self.serials.clear();
        for port in &plan.switch.ports {
            if port.id.index() >= self.serials.len() {
                self.serials.resize(port.id.index() + 1, None);
            }
            self.serials[port.id.index()] = Some(port.serial);
        }
        self.taps.obey(&self.serials);
        let strangers: Vec<PortId> = self
            .ports
            .iter()
            .flatten()
            .filter(|slot| self.serial_of(slot.id) != Some(slot.serial))
            .map(|slot| slot.id)
            .collect();
        for stranger in strangers {
            self.remove(stranger);
        }
        self.close_strangers();
        self.cut_strangers();
    }

    /// Which of the ports that have had this id has it by the plan that holds; `None`: no port has.
    pub(super) fn serial_of(&self, port: PortId) -> Option<u32> {
        self.serials.get(port.index()).copied().flatten()
    }

    /// Lets recordings begin anew that have to, and ends those that are over. The outbox is empty.
    pub(super) fn settle_tracks(&mut self) {
        let (now, mut at) = (clock::now(), 0);
        while let Some(track) = self.tracks.get_mut(at) {
            if track.settle(now, &self.node) {
                at += 1;
            } else {
                self.tracks.swap_remove(at).retire();
            }
        }
    }

    /// From now on these are all workers, and own the flows between them.
    fn meet(&mut self, now: Instant, peers: Vec<Peer>) {
        self.peers = peers;
        self.node.set_has_replicas(self.peers.len() > 1);
        for track in &mut self.tracks {
            track.replicas(self.peers.len());
        }
        let stalled = std::mem::take(&mut self.stalled);
        let is_any = !stalled.is_empty();
        for (_, entered) in stalled {
            match self.owner_elsewhere(&entered.frame) {
                Some(owner) => self.hand_over(owner, entered),
                None => self.enter(now, entered),
            }
        }
        if is_any {
            self.drain();
        }
    }

    /// Learns from another's table, as if the stations had been heard just now.
    fn learn(&mut self, now: Instant, stations: &[Station]) {
        for &Station { domain, mac, port, .. } in stations {
            let gossip = Gossip::Station { domain, mac, port };
            self.give(now, Event::Gossip(gossip));
        }
        self.drain();
    }

    fn add(&mut self, port: PortId, io: Box<dyn PortIo>, generation: u64) -> std::io::Result<()> {
        assert!(port.index() < WAKE.0, "the plan limits ids");
        let Some(serial) = self.serial_of(port) else {
            return Err(std::io::Error::other("the plan has no such port"));
        };
        self.poll.registry().register(
            &mut SourceFd(&io.fd().as_raw_fd()),
            Token(port.index()),
            Interest::READABLE,
        )?;
        if port.index() >= self.ports.len() {
            self.ports.resize_with(port.index() + 1, || None);
        }
        self.ports[port.index()] = Some(Slot::new(port, serial, io, generation));
        self.ready.push_back(Turn::Port(port));
        Ok(())
    }

    /// Forgets a port and closes its descriptor. The generation of its device, if it had one.
    pub(super) fn remove(&mut self, port: PortId) -> Option<u64> {
        let mut slot = self.ports.get_mut(port.index()).and_then(Option::take)?;
        if self.serial_of(port) == Some(slot.serial) {
            self.node.lost_outside(port, DropReason::Overrun, slot.io.take_overruns());
        }
        // Closing a descriptor takes it out of epoll too, so a refusal here changes nothing.
        let _ = self.poll.registry().deregister(&mut SourceFd(&slot.io.fd().as_raw_fd()));
        self.ready.retain(|turn| *turn != Turn::Port(port));
        Some(slot.generation)
    }

    pub(super) fn count(&mut self) -> Tally {
        for slot in self.ports.iter_mut().flatten() {
            self.node.lost_outside(slot.id, DropReason::Overrun, slot.io.take_overruns());
        }
        self.count_underlay_losses();
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

    fn start_draining(&mut self, now: Instant, done: Sender<()>) {
        self.phase = Phase::Draining(now + DRAIN_WITHIN, done);
        for slot in self.ports.iter_mut().flatten().filter(|slot| !slot.is_ready) {
            slot.is_ready = true;
            self.ready.push_back(Turn::Port(slot.id));
        }
        for lay in self.underlays.iter_mut().flatten().filter(|lay| !lay.is_ready) {
            lay.is_ready = true;
            self.ready.push_back(Turn::Underlay(lay.id()));
        }
    }

    /// Whether ports are read.
    pub(super) fn reads(&self, now: Instant) -> bool {
        match &self.phase {
            Phase::Running => true,
            Phase::Draining(until, _) => now < *until,
            Phase::Drained | Phase::Ending => false,
        }
    }

    /// Goes on towards the end after a pass that did or did not find work. `true`: this is the end.
    pub(super) fn progress(&mut self, now: Instant, worked: bool) -> bool {
        match &self.phase {
            Phase::Running | Phase::Drained => false,
            Phase::Draining(until, done) => {
                // A frame that a peer had no room for is still ours to hand over.
                if self.stalled.is_empty() && (!worked || now >= *until) {
                    let _ = done.send(());
                    self.phase = Phase::Drained;
                }
                false
            }
            Phase::Ending => self.inbox.is_empty(),
        }
    }
}
