//! Faults on live ports: what a bad wire would do to frames, done on purpose ([`sim::link`], the model that worlds have).
//!
//! ```text
//!  device ─▶ read ─▶ wire ─▶ held until they arrive ─▶ node ─▶ … ─▶ wire ─▶ held until they arrive ─▶ device
//!             In                                                  Out
//! ```
//!
//! One [`Wire`] belongs to a port, with a link for each direction, whichever worker's queue a frame takes: a rate is the
//! port's, and so is chance. What is to arrive later is kept as octets with its time; the worker's next wait ends there,
//! nobody sleeps. While nothing else happens the kernel's clock lets it be up to a millisecond late.
//!
//! Super-segments are cut and checksums finished before a frame meets a wire, so that a fault meets a packet, as on a real
//! one, and a flipped bit is not covered up by a checksum that is computed behind it. A frame whose offload claim is
//! wrong goes on as it is, for the node to refuse by name.
//!
//! Lost frames count under `admit.fault` and `deliver.fault` at the port, and by kind at the wire. Limits: [`HELD_MAX`]
//! octets a direction wait to arrive; one more is lost, and counted as for want of room. A worker whose ports have no
//! faults asks once a frame whether any has.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;
use node::Send;
use sim::link::{Faults, Link, LinkCounts};
use wire::segment::{self, Egress};
use wire::{DropReason, FrameBuf, Instant, PortId};

use super::drain::not_sent;
use super::pass::{Turn, Worker};
use super::slot::Unsent;
use super::tap::Way;
use crate::port::Fault;
use crate::sys::clock;

/// Octets that wait to arrive, of one port and direction.
pub const HELD_MAX: usize = 16 << 20;

/// Which way a frame goes through a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heading {
    /// From the station to the switch.
    In,
    /// From the switch to the station.
    Out,
}

/// A port's bad wire, shared by the workers.
#[derive(Debug)]
pub struct Wire {
    lanes: [Lane; 2],
}

#[derive(Debug)]
struct Lane {
    link: Mutex<Link>,
    /// Whether frames meet the link at all.
    is_bad: AtomicBool,
    held: AtomicUsize,
    no_room: AtomicU64,
}

/// What a wire has done to the frames of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WireCounts {
    /// By the link.
    pub link: LinkCounts,
    /// Lost because too many octets waited.
    pub no_room: u64,
    /// Octets that wait to arrive.
    pub held: u64,
}

impl Wire {
    /// A wire whose chance follows from `seed`, and what it does inwards and outwards.
    pub fn new(seed: u64, faults: [Faults; 2]) -> Arc<Self> {
        let lane = |seed, faults| Lane {
            link: Mutex::new(Link::new(seed, faults)),
            is_bad: AtomicBool::new(faults != Faults::default()),
            held: AtomicUsize::new(0),
            no_room: AtomicU64::new(0),
        };
        let [inwards, outwards] = faults;
        Arc::new(Self { lanes: [lane(seed, inwards), lane(!seed, outwards)] })
    }

    /// From now on it does this. Frames on their way are not concerned.
    pub fn set(&self, faults: [Faults; 2]) {
        for (lane, faults) in self.lanes.iter().zip(faults) {
            lane.link.lock().unwrap_or_else(PoisonError::into_inner).set(faults);
            lane.is_bad.store(faults != Faults::default(), Ordering::Relaxed);
        }
    }

    /// What it has done.
    pub fn counts(&self, heading: Heading) -> WireCounts {
        let lane = &self.lanes[heading as usize];
        WireCounts {
            link: *lane.link.lock().unwrap_or_else(PoisonError::into_inner).counts(),
            no_room: lane.no_room.load(Ordering::Relaxed),
            held: lane.held.load(Ordering::Relaxed) as u64,
        }
    }
}

/// A frame on its way: when it arrives, which of those that arrive then, and what it is.
type Held = Reverse<(Instant, u64, Vec<u8>)>;

/// One worker's end of a wire.
#[derive(Debug)]
pub(super) struct Wired {
    serial: u32,
    wire: Arc<Wire>,
    held: [BinaryHeap<Held>; 2],
    sequence: u64,
    /// The faults are to end: what is held arrives now, and then the wire is forgotten.
    is_going: bool,
}

impl Wired {
    pub(super) fn new(serial: u32, wire: Arc<Wire>) -> Self {
        Self { serial, wire, held: [BinaryHeap::new(), BinaryHeap::new()], sequence: 0, is_going: false }
    }

    /// Whether frames of this direction meet it. Those behind held ones do, lest they overtake them.
    fn meets(&self, heading: Heading) -> bool {
        !self.held[heading as usize].is_empty()
            || self.wire.lanes[heading as usize].is_bad.load(Ordering::Relaxed)
    }

    /// A frame starts on its way; how many frames are lost of it.
    fn offer(&mut self, heading: Heading, now: Instant, frame: &[u8]) -> u64 {
        let lane = &self.wire.lanes[heading as usize];
        let passage = match self.is_going {
            false => lane.link.lock().unwrap_or_else(PoisonError::into_inner).offer(now, frame.len()),
            true => Link::new(0, Faults::default()).offer(now, frame.len()),
        };
        let mut lost = u64::from(passage.arrivals == [None, None]);
        for arrival in passage.arrivals.into_iter().flatten() {
            if lane.held.fetch_add(frame.len(), Ordering::Relaxed) + frame.len() > HELD_MAX {
                lane.held.fetch_sub(frame.len(), Ordering::Relaxed);
                lane.no_room.fetch_add(1, Ordering::Relaxed);
                lost += 1;
                continue;
            }
            let mut octets = frame.to_vec();
            if let Some(bit) = arrival.flipped
                && let Some(octet) = octets.get_mut(bit / 8)
            {
                *octet ^= 0x80 >> (bit % 8);
            }
            self.sequence += 1;
            self.held[heading as usize].push(Reverse((arrival.at, self.sequence, octets)));
        }
        lost
    }

    /// The next frame that has arrived.
    fn arrived(&mut self, heading: Heading, now: Instant) -> Option<Vec<u8>> {
        let held = &mut self.held[heading as usize];
        held.peek().filter(|Reverse((at, ..))| *at <= now)?;
        let Reverse((_, _, octets)) = held.pop()?;
        self.wire.lanes[heading as usize].held.fetch_sub(octets.len(), Ordering::Relaxed);
        Some(octets)
    }

    /// When the next frame arrives.
    fn next(&self, heading: Heading) -> Option<Instant> {
        self.held[heading as usize].peek().map(|Reverse((at, ..))| *at)
    }

    /// All that is held arrives now, in its order.
    fn hurry(&mut self) {
        self.is_going = true;
        for held in &mut self.held {
            let all = std::mem::take(held).into_sorted_vec();
            // Sorted by what is reversed: the last to arrive comes first.
            let hurried = all.into_iter().rev().zip(0..);
            *held = hurried.map(|(Reverse((.., octets)), at)| Reverse((Instant::ZERO, at, octets))).collect();
        }
    }
}

impl Worker {
    /// The port has this wire from now on, or none, which `done` is told.
    pub(super) fn wire(&mut self, port: PortId, serial: u32, wire: Option<Arc<Wire>>, done: &Sender<()>) {
        match (wire, self.wires.get_mut(&port)) {
            (Some(wire), Some(wired)) if wired.serial == serial => {
                wired.wire = wire;
                wired.is_going = false;
            }
            (Some(wire), _) => drop(self.wires.insert(port, Wired::new(serial, wire))),
            (None, Some(wired)) => wired.hurry(),
            (None, None) => {}
        }
        let _ = done.send(()); // Who has asked may have gone.
    }

    /// When a frame next arrives by a wire.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        let both = |wired: &Wired| [wired.next(Heading::In), wired.next(Heading::Out)];
        self.wires.values().flat_map(both).flatten().min()
    }

    /// Lets what has arrived go on. `false` if nothing has.
    pub(super) fn arrivals(&mut self, now: Instant) -> bool {
        if self.next_arrival().is_none_or(|at| at > now) {
            self.wires.retain(|_, wired| !wired.is_going);
            return false;
        }
        let ports: Vec<PortId> = self.wires.keys().copied().collect();
        for port in ports {
            if let Err(error) = self.arrivals_out(port, now) {
                self.fail(port, &format!("writing to the device: {error}"));
            }
            let has_arrived = self.wires[&port].next(Heading::In).is_some_and(|at| at <= now);
            if let Some(Some(slot)) = self.ports.get_mut(port.index())
                && has_arrived
                && !slot.is_ready
            {
                slot.is_ready = true;
                self.ready.push_back(Turn::Port(port));
            } else if has_arrived && self.ports.get(port.index()).is_none_or(Option::is_none) {
                self.lose_held(port); // Its device has gone.
            }
        }
        true
    }

    /// Whether a frame that leaves goes by a wire: then it is on its way, or lost.
    ///
    /// # Errors
    /// The device has failed over one that has arrived.
    pub(super) fn goes_by_wire(&mut self, send: Send) -> std::io::Result<bool> {
        let Some(wired) = self.wires.get_mut(&send.port).filter(|wired| wired.meets(Heading::Out)) else {
            return Ok(false);
        };
        let (now, mut lost) = (clock::now(), 0);
        let outcome = segment::finish(self.out.frame(send), Egress::NONE, &mut self.scratch, |piece| {
            lost += wired.offer(Heading::Out, now, piece.bytes());
        });
        if let Err(reason) = outcome {
            self.not_delivered(send, reason);
        }
        if lost > 0 {
            self.taps.show(send.port, Way::Dropped(DropReason::FaultOut), self.out.frame(send));
            self.node.lost_outside(send.port, DropReason::FaultOut, lost);
        }
        self.arrivals_out(send.port, now).map(|()| true)
    }

    /// Writes what has arrived at the station.
    fn arrivals_out(&mut self, port: PortId, now: Instant) -> std::io::Result<()> {
        while let Some(octets) = self.wires.get_mut(&port).and_then(|it| it.arrived(Heading::Out, now)) {
            let mut frame = self.out.pool.take();
            let fits = frame.fill(&octets);
            debug_assert!(fits, "it was a frame before");
            let sent = match self.ports.get_mut(port.index()) {
                Some(Some(slot)) => slot.send(&mut frame, &mut self.scratch),
                Some(None) | None => Err(Unsent::Malformed(DropReason::PortDown)),
            };
            self.out.pool.put(frame);
            match sent {
                Ok(()) => {}
                Err(Unsent::Malformed(reason)) => self.node.not_delivered(port, reason),
                Err(Unsent::Io(error)) => {
                    let fault = Fault::of(&error);
                    self.node.not_delivered(port, not_sent(fault));
                    if matches!(fault, Fault::Vanished | Fault::Other) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// A frame that has arrived at the switch by the port's wire.
    pub(super) fn arrived_in(&mut self, port: PortId) -> Option<FrameBuf> {
        let octets = self.wires.get_mut(&port)?.arrived(Heading::In, clock::now())?;
        let mut frame = self.out.pool.take();
        let fits = frame.fill(&octets);
        debug_assert!(fits, "it was a frame before");
        Some(frame)
    }

    /// A frame comes from the device: given back unless it goes by a wire. Then it is on its way, or lost.
    pub(super) fn comes_by_wire(&mut self, port: PortId, mut frame: FrameBuf) -> Option<FrameBuf> {
        let Some(wired) = self.wires.get_mut(&port).filter(|wired| wired.meets(Heading::In)) else {
            return Some(frame);
        };
        if frame.parse_offload().is_err() {
            return Some(frame);
        }
        let (now, mut lost) = (clock::now(), 0);
        let outcome = segment::finish(&mut frame, Egress::NONE, &mut self.scratch, |piece| {
            lost += wired.offer(Heading::In, now, piece.bytes());
        });
        if outcome.is_err() {
            return Some(frame);
        }
        if lost > 0 {
            self.taps.show(port, Way::Dropped(DropReason::FaultIn), &frame);
            self.node.lost_outside(port, DropReason::FaultIn, lost);
        }
        self.out.pool.put(frame);
        None
    }

    /// Forgets the wires of ports that the plan no longer has.
    pub(super) fn cut_strangers(&mut self) {
        let is_stranger =
            |(port, wired): (&PortId, &Wired)| (self.serial_of(*port) != Some(wired.serial)).then_some(*port);
        let strangers: Vec<PortId> = self.wires.iter().filter_map(is_stranger).collect();
        for port in strangers {
            self.lose_held(port);
            self.wires.remove(&port);
        }
    }

    /// Counts what is on its way to a port that has no device any more, or at the end, as lost.
    pub(super) fn lose_held(&mut self, port: PortId) {
        let end_of_time = Instant::from_nanos(u64::MAX);
        for (heading, reason) in [(Heading::In, DropReason::FaultIn), (Heading::Out, DropReason::FaultOut)] {
            let Some(wired) = self.wires.get_mut(&port) else { return };
            let lost = std::iter::from_fn(|| wired.arrived(heading, end_of_time)).count();
            self.node.lost_outside(port, reason, lost as u64);
        }
    }

    /// Counts all that is on its way as lost: this is the end.
    pub(super) fn cut_wires(&mut self) {
        let ports: Vec<PortId> = self.wires.keys().copied().collect();
        ports.into_iter().for_each(|port| self.lose_held(port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::link::Share;
    use std::time::Duration;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn frames_arrive_in_order_and_when_the_faults_end_at_once() {
        let delay = Faults { delay: Duration::from_millis(10), ..Faults::default() };
        let wire = Wire::new(1, [delay, Faults::default()]);
        let mut wired = Wired::new(0, Arc::clone(&wire));
        assert!(wired.meets(Heading::In) && !wired.meets(Heading::Out));
        for number in 0..5_u8 {
            assert_eq!(wired.offer(Heading::In, at(number.into()), &[number; 60]), 0);
        }
        assert_eq!(wired.next(Heading::In), Some(at(10)));
        assert_eq!(wired.arrived(Heading::In, at(9)), None);
        assert_eq!(wired.arrived(Heading::In, at(11)), Some(vec![0; 60]));
        wired.hurry();
        assert_eq!(wired.offer(Heading::In, at(6), &[5; 60]), 0);
        for number in 1..=5 {
            assert_eq!(wired.arrived(Heading::In, at(6)), Some(vec![number; 60]));
        }
        assert_eq!(wire.counts(Heading::In).held, 0);
    }

    #[test]
    fn what_waits_is_bounded() {
        let delay = Faults { delay: Duration::from_secs(3_600), ..Faults::default() };
        let wire = Wire::new(1, [Faults::default(), delay]);
        let mut wired = Wired::new(0, Arc::clone(&wire));
        let frame = vec![7; 1 << 16];
        let lost: u64 = (0..300).map(|_| wired.offer(Heading::Out, at(0), &frame)).sum();
        let counts = wire.counts(Heading::Out);
        assert_eq!((counts.no_room, counts.held), (lost, HELD_MAX as u64));
        assert_eq!(lost, 300 - 256);
    }

    #[test]
    fn what_chance_does_is_counted_by_kind() {
        let all = Share::ALL;
        let cases = [
            (Faults { loss: all, ..Faults::default() }, 1, 0),
            (Faults { up: false, ..Faults::default() }, 1, 0),
            (Faults { duplicate: all, ..Faults::default() }, 0, 2),
            (Faults { corrupt: all, ..Faults::default() }, 0, 1),
        ];
        for (faults, lost, arrive) in cases {
            let mut wired = Wired::new(0, Wire::new(9, [faults, Faults::default()]));
            assert_eq!(wired.offer(Heading::In, at(1), &[0; 100]), lost, "{faults:?}");
            let arrived: Vec<_> = std::iter::from_fn(|| wired.arrived(Heading::In, at(1))).collect();
            assert_eq!(arrived.len(), arrive, "{faults:?}");
            let flipped: u32 = arrived.iter().flatten().map(|octet| octet.count_ones()).sum();
            assert_eq!(flipped, u32::from(faults.corrupt == all), "{faults:?}");
        }
    }
}
