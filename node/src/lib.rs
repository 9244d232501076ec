//! The corridor: every frame walks the same rooms in the same order, and the node is a function of its events.
//!
//! ```text
//!  event ─▶ ADMIT ─▶ LEARN ─▶ ROUTE ─▶ FORWARD ─▶ DELIVER ─▶ outbox
//!           encap    vswitch  vrouter  vswitch    encap, wire
//!           vswitch
//! ```
//!
//! Contract in one line: *handle one event, drain the outbox, repeat*. Time is an argument, chance is a seed, and
//! nothing else comes from outside, so the same plan, seed and events give the same bytes and counters on every
//! machine, for every batch size. A frame's walk ends exactly one way: forwarded to *n* ports, consumed by the
//! router, parked by it, or dropped for one [`DropReason`]; [`Counters::balance`] holds after every event.
//!
//! Several nodes may serve one switch, one a worker. Such replicas forward alone and tell each other by
//! [`Gossip`] where stations live.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod counters;
mod deliver;
mod drops;
mod event;
mod outbox;
mod plan;
#[cfg(test)]
mod tests;
mod trace;

pub use counters::{Counters, PortCounters};
pub use drops::Drops;
pub use event::{Event, Flush, Gossip, Notice};
pub use outbox::{Dropped, Outbox, Send};
pub use plan::{Plan, PlanError};
pub use trace::{Ending, Room, Step, Trace, TracedSend, Tracer};

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use deliver::{Delivery, Leaving, Undelivered};
pub use encap::{Carrier, Endpoint, UnderlayId, UnderlayPlan, Way};
use encap::{Refused, Tunnels};
use serde::{Deserialize, Serialize};
pub use vrouter::Notice as RouterNotice;
use vrouter::{Links, Made, Routed, Router, Turn};
use vswitch::{Admitted, Forward, Learned, Station, Switch};
use wire::bucket::TokenBucket;
use wire::ethernet::Tci;
use wire::{DomainId, DropReason, Ecn, FlowHash, FrameBuf, Instant, Mac, Offload, PortId, segment};

/// Notices per second that a node makes; more are counted in [`Counters::notices_suppressed`].
pub const NOTICES_PER_SECOND_MAX: u64 = 100;

/// One deterministic switch: the rooms, and what they have counted.
///
/// It can be kept (`serde`), so that a recording may begin at any moment: all that it is between two events, but for the
/// plan, with which [`Node::rejoin`] completes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    #[serde(skip)]
    plan: Arc<Plan>,
    switch: Switch,
    router: Router,
    #[serde(skip)]
    tunnels: Tunnels,
    counters: Counters,
    /// What the router makes beside the frame in its hand; empty between events.
    #[serde(skip)]
    made: Made,
    /// What each room decided, if the walk is traced; never on the packet path.
    #[serde(skip)]
    steps: Option<Vec<Step>>,
    notice_bucket: TokenBucket,
    has_replicas: bool,
    /// Whether the router is this node's. Of replicas it is the first one's.
    is_router: bool,
    /// The router's MAC addresses, sorted, whichever replica routes.
    router_macs: Vec<Mac>,
    /// Whether some port takes less than a network that it is in; follows from the plan.
    #[serde(skip)]
    has_narrow_ports: bool,
}

/// What the router asks of the switch.
#[derive(Debug)]
struct Stations<'a>(&'a Switch);

impl Links for Stations<'_> {
    fn mtu(&self, domain: DomainId, station: Mac) -> Option<u16> {
        self.0.mtu_towards(domain, station)
    }
}

impl Node {
    /// A node without ports; the first event is [`Event::Configure`]. The seed keys the hash tables.
    pub fn new(seed: u64) -> Self {
        Self {
            plan: Arc::default(),
            switch: Switch::new(seed),
            router: Router::new(seed),
            tunnels: Tunnels::default(),
            counters: Counters::default(),
            made: Made::default(),
            steps: None,
            notice_bucket: TokenBucket::new(NOTICES_PER_SECOND_MAX, NOTICES_PER_SECOND_MAX, Instant::ZERO),
            has_replicas: false,
            is_router: true,
            router_macs: Vec::new(),
            has_narrow_ports: false,
        }
    }

    /// The same node as replica `index` of several: it puts into the outbox what the others must know. The router is
    /// replica 0's: an inside address must be translated alike whoever it talks to (RFC 4787 REQ-1), and the flow hash
    /// would give its flows to different replicas.
    #[must_use]
    pub fn with_replicas(mut self, index: usize) -> Self {
        self.set_has_replicas(true);
        self.is_router = index == 0;
        self
    }

    /// Completes a node that was kept without its plan: the one that held.
    #[must_use]
    pub fn rejoin(mut self, plan: Arc<Plan>) -> Self {
        self.router.rejoin(&plan.router);
        self.tunnels.configure(&plan.underlays, &plan.tunnels);
        self.has_narrow_ports = plan.has_narrow_ports();
        self.plan = plan;
        self
    }

    /// From now on the node is one of several, or the only one.
    pub fn set_has_replicas(&mut self, has_replicas: bool) {
        self.has_replicas = has_replicas;
    }

    /// Takes over what a replica has counted that has ended. It had the same plan.
    pub fn absorb(&mut self, ended: &Counters) {
        self.counters.absorb(ended);
    }

    /// Which of `replicas` nodes a frame belongs to: the first if the router may have to hear it, else its flow's.
    pub fn owner(&self, frame: &[u8], replicas: usize) -> usize {
        let dst = frame.first_chunk().map_or(Mac::default(), |&octets| Mac(octets));
        if dst.is_group() || self.router_macs.binary_search(&dst).is_ok() {
            return 0;
        }
        FlowHash::of(frame).owner(replicas)
    }

    /// Which of `replicas` nodes a datagram's payload belongs to: whoever owns what is inside. Bare packets are routed.
    pub fn owner_of_datagram(&self, underlay: UnderlayId, payload: &[u8], replicas: usize) -> usize {
        self.tunnels.inner(underlay, payload).map_or(0, |frame| self.owner(frame, replicas))
    }

    /// Through which port a datagram would enter, if it is somebody's.
    pub fn port_of_datagram(&self, underlay: UnderlayId, from: Endpoint, payload: &[u8]) -> Option<PortId> {
        self.tunnels.port_of(underlay, from, payload)
    }

    /// Where datagrams for the port go; `None` if it is no tunnel's. Holds until the next [`Event::Configure`].
    #[inline]
    pub fn way(&self, port: PortId) -> Option<&Way> {
        self.tunnels.way(port)
    }

    /// Handles one event. What leaves is appended to `out`.
    pub fn handle(&mut self, now: Instant, event: Event, out: &mut Outbox) {
        match event {
            Event::Frame { port, frame } => self.walk(now, port, frame, out),
            Event::Datagram { underlay, from, ecn, frame } => {
                self.walk_datagram(now, underlay, (from, ecn), frame, out);
            }
            Event::Wake => {
                self.counters.stations_aged += self.switch.expire(now) as u64;
                self.router.wake(&mut Turn { now, pool: &mut out.pool, made: &mut self.made, links: None });
                self.send_made(now, out);
            }
            Event::Configure(plan) => {
                self.configure(now, plan, out);
                self.send_made(now, out);
            }
            Event::Flush(what) => {
                self.switch.flush(what.domain, what.port, what.mac);
            }
            Event::KillSessions(filter) => self.router.kill_sessions(&filter),
            Event::FlushNeighbours { domain, address } => self.router.forget_neighbours(domain, address),
            Event::Gossip(Gossip::Station { domain, mac, port }) => {
                self.switch.learn_from_replica(now, domain, mac, port);
            }
        }
    }

    /// Says which frames are about to be handled. Changes nothing but how fast that goes where connections are many.
    pub fn look_ahead<'a>(&self, frames: impl Iterator<Item = &'a FrameBuf> + Clone) {
        if self.is_router {
            self.router.look_ahead(frames.map(FrameBuf::bytes));
        }
    }

    /// The router, to ask what it knows.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// When the node next wants an [`Event::Wake`], and what for.
    pub fn next_deadline(&self) -> Option<(Instant, &'static str)> {
        // Of two at one time the first is named.
        [self.switch.next_deadline(), self.router.next_deadline()]
            .into_iter()
            .flatten()
            .min_by_key(|&(at, _)| at)
    }

    /// Whether that is at `now` or has passed; who asks often asks this.
    #[inline]
    pub fn is_due(&self, now: Instant) -> bool {
        let of_switch = self.switch.next_deadline().map(|(at, _)| at);
        [of_switch, self.router.next_due()].into_iter().flatten().any(|at| at <= now)
    }

    /// What has been counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The plan that holds.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// A page of at most `max` known stations from `cursor` (0 at first), and where the next page starts.
    pub fn stations(&self, now: Instant, cursor: u64, max: usize) -> (Vec<Station>, Option<u64>) {
        self.switch.stations(now, cursor, max)
    }

    /// How many stations of a domain are known.
    pub fn stations_of_domain(&self, domain: DomainId) -> u32 {
        self.switch.stations_of_domain(domain)
    }

    /// How many stations are known behind a port.
    pub fn stations_of_port(&self, port: PortId) -> u32 {
        self.switch.stations_of_port(port)
    }

    /// The shell could not send a frame that the outbox had for `port`.
    pub fn not_delivered(&mut self, port: PortId, reason: DropReason) {
        self.lost_outside(port, reason, 1);
    }

    /// Frames of `port` were lost outside: no walk, but a name and a counter.
    pub fn lost_outside(&mut self, port: PortId, reason: DropReason, count: u64) {
        self.counters.port_mut(port).drops.add(reason, count);
    }

    /// Datagrams of `underlay` were lost outside, nobody knows whose: no walk, but a name and a counter.
    pub fn lost_at_underlay(&mut self, underlay: UnderlayId, reason: DropReason, count: u64) {
        self.counters.underlay_mut(underlay).drops.add(reason, count);
    }

    /// The shell had a frame of `bytes` octets whose port went before the frame could enter.
    pub fn lost(&mut self, bytes: u64, reason: DropReason) {
        self.counters.lost(bytes, reason);
    }

    fn configure(&mut self, now: Instant, plan: Arc<Plan>, out: &mut Outbox) {
        self.switch.configure(now, &plan.switch);
        self.router_macs = plan.router.gateways.iter().map(|gateway| gateway.mac.mac()).collect();
        self.router_macs.sort_unstable();
        if self.is_router {
            let mut turn = Turn { now, pool: &mut out.pool, made: &mut self.made, links: None };
            self.router.configure(&mut turn, &plan.router);
        }
        self.tunnels.configure(&plan.underlays, &plan.tunnels);
        let known: BTreeSet<_> = self.plan.switch.ports.iter().map(|port| (port.id, port.serial)).collect();
        for port in &plan.switch.ports {
            if !known.contains(&(port.id, port.serial)) {
                self.counters.begin(port.id);
            }
        }
        self.has_narrow_ports = plan.has_narrow_ports();
        self.plan = plan;
    }

    /// The walk of what a device delivers. A tunnel's port has no device.
    fn walk(&mut self, now: Instant, port: PortId, mut frame: FrameBuf, out: &mut Outbox) {
        self.enters(now, port, frame.len());
        let parsed =
            if self.tunnels.is_tunnel(port) { Err(DropReason::NoPort) } else { frame.parse_offload() };
        match parsed {
            Ok(()) => self.walk_on(now, port, frame, out),
            Err(reason) => {
                out.discard(port, reason, frame);
                self.end_in_drop(port, reason);
            }
        }
    }

    /// The walk of a datagram: it enters through the port that its sender is.
    fn walk_datagram(
        &mut self,
        now: Instant,
        underlay: UnderlayId,
        (from, ecn): (Endpoint, Ecn),
        mut frame: FrameBuf,
        out: &mut Outbox,
    ) {
        let len = frame.len();
        match self.tunnels.admit(underlay, from, ecn, &mut frame) {
            Ok(port) => {
                self.enters(now, port, len);
                if frame.offload == Offload::NONE {
                    frame.offload = segment::unfinished(frame.bytes(), 0, self.switch.mtu(port));
                }
                self.walk_on(now, port, frame, out);
            }
            Err(Refused { port: Some(port), reason }) => {
                self.enters(now, port, len);
                out.discard(port, reason, frame);
                self.end_in_drop(port, reason);
            }
            Err(Refused { port: None, reason }) => {
                out.pool.put(frame);
                self.nobodys(underlay, len, reason);
            }
        }
    }

    /// A datagram that enters through no port.
    #[cold]
    fn nobodys(&mut self, underlay: UnderlayId, len: usize, reason: DropReason) {
        self.note(|| Step::Nobodys { underlay, reason });
        if self.tunnels.underlay(underlay).is_none() {
            self.counters.lost(len as u64, reason);
            return;
        }
        self.counters.received += 1;
        self.counters.dropped += 1;
        let seen = self.counters.underlay_mut(underlay);
        seen.rx_frames += 1;
        seen.rx_bytes += len as u64;
        seen.drops.add(reason, 1);
    }

    #[inline]
    fn enters(&mut self, now: Instant, port: PortId, len: usize) {
        self.counters.received += 1;
        let seen = self.counters.port_mut(port);
        seen.rx_frames += 1;
        seen.rx_bytes += len as u64;
        seen.heard = Some(now);
    }

    /// The walk of a frame, and its one ending. What the router has made on the way leaves after it.
    #[inline]
    fn walk_on(&mut self, now: Instant, port: PortId, mut frame: FrameBuf, out: &mut Outbox) {
        match self.corridor(now, port, &mut frame, out) {
            Ok(Course::Leaves(leaving)) => {
                let index = out.frames.len();
                match self.deliver(&leaving, frame, out) {
                    Ok(()) => self.counters.forwarded += 1,
                    Err((at, reason)) => {
                        out.show_undelivered(at, reason, index);
                        self.end_in_drop(at, reason);
                    }
                }
            }
            Ok(Course::Answered(leaving)) => {
                // The question was consumed whatever becomes of the answer, a new frame.
                self.counters.consumed += 1;
                self.counters.originated += 1;
                if let Err((at, reason)) = self.deliver(&leaving, frame, out) {
                    self.not_delivered(at, reason);
                }
            }
            Ok(Course::Consumed) => {
                out.pool.put(frame);
                self.counters.consumed += 1;
            }
            Ok(Course::Parked) => {
                out.pool.put(frame); // An empty one: the router has swapped them.
                self.counters.parked += 1;
            }
            Err(reason) => {
                out.discard(port, reason, frame);
                self.end_in_drop(port, reason);
            }
        }
        let sends = out.sends().len();
        self.note(|| Step::Ended { sends });
        if !self.made.is_empty() {
            self.send_made(now, out);
        }
    }

    fn deliver(&mut self, leaving: &Leaving, frame: FrameBuf, out: &mut Outbox) -> Result<(), Undelivered> {
        Delivery::new(&self.tunnels, &mut self.counters, out).deliver(&self.switch, leaving, frame)
    }

    fn end_in_drop(&mut self, port: PortId, reason: DropReason) {
        self.counters.dropped += 1;
        self.note(|| Step::Dropped { port, reason });
        self.not_delivered(port, reason);
    }

    /// The five rooms in order, as far as the question where the frame leaves. It has lost its tunnel's header.
    fn corridor(
        &mut self,
        now: Instant,
        port: PortId,
        frame: &mut FrameBuf,
        out: &mut Outbox,
    ) -> Result<Course, DropReason> {
        // Admit.
        let admitted = self.switch.admit(now, port, frame)?;
        if self.tunnels.ends().are_reached_by(frame.bytes()) {
            return Err(DropReason::TunnelInjection);
        }
        self.note(|| Step::Admitted { domain: admitted.domain });

        // Learn.
        let learned = self.switch.learn(now, &admitted);
        self.note(|| Step::Learned { domain: admitted.domain, mac: admitted.header.src, learned });
        if learned != Learned::Known {
            self.learned(now, &admitted, learned, out);
        }

        self.switch.overhear(now, &admitted, frame);

        // Route.
        let Admitted { domain, header, priority, .. } = admitted;
        let stations = Stations(&self.switch);
        let links = self.has_narrow_ports.then_some(&stations as &dyn Links);
        let mut turn = Turn { now, pool: &mut out.pool, made: &mut self.made, links };
        let routed = self.router.route(&mut turn, port, domain, &header, frame);
        self.note_route(routed);
        match routed? {
            Routed::Pass => {
                if let Some(mac) = self.switch.answer(now, &admitted, frame) {
                    self.note(|| Step::AnsweredFor { mac });
                    self.counters.answered += 1;
                    return Ok(Course::Answered(self.toward(now, domain, priority, frame)));
                }

                // Forward.
                let to = self.switch.forward(now, domain, header.dst, Some(port))?;
                self.note(|| Step::Forwarded { domain, dst: header.dst, to });
                Ok(Course::Leaves(Leaving { to, domain, ingress: Some(port), priority }))
            }
            Routed::Answer => Ok(Course::Answered(self.toward(now, domain, priority, frame))),
            Routed::Forward(domain) => Ok(Course::Leaves(self.toward(now, domain, Tci::default(), frame))),
            Routed::Consumed => Ok(Course::Consumed),
            Routed::Parked => Ok(Course::Parked),
        }
    }

    /// Forward, for a frame that has the router as its source: it may leave through any port of the domain. A station
    /// that is not in the table (its domain is full, or it has been silent) is looked for everywhere.
    fn toward(&mut self, now: Instant, domain: DomainId, priority: Tci, frame: &FrameBuf) -> Leaving {
        let dst = frame.bytes().first_chunk().map(|&octets| Mac(octets));
        let dst = dst.expect("the router's frames have an Ethernet header");
        let to = self.switch.forward(now, domain, dst, None).unwrap_or(Forward::Many);
        self.note(|| Step::Forwarded { domain, dst, to });
        Leaving { to, domain, ingress: None, priority }
    }

    /// Sends the frames that the router has made, and says what it has noticed.
    #[cold]
    fn send_made(&mut self, now: Instant, out: &mut Outbox) {
        let mut made = core::mem::take(&mut self.made);
        for (domain, frame) in made.frames.drain(..) {
            self.counters.originated += 1;
            let leaving = self.toward(now, domain, Tci::default(), &frame);
            if let Err((at, reason)) = self.deliver(&leaving, frame, out) {
                self.not_delivered(at, reason);
            }
        }
        for (port, reason) in made.drops.drain(..) {
            self.not_delivered(port, reason);
        }
        for notice in made.notices.drain(..) {
            self.notice(now, Notice::Router(notice), out);
        }
        self.made = made; // Its room is used again.
    }

    fn notice(&mut self, now: Instant, notice: Notice, out: &mut Outbox) {
        if self.notice_bucket.take(now) {
            out.notice(notice);
        } else {
            self.counters.notices_suppressed += 1;
        }
    }

    /// Counts and reports what learning a source has changed. Off the steady path.
    #[cold]
    fn learned(&mut self, now: Instant, admitted: &Admitted, learned: Learned, out: &mut Outbox) {
        let (domain, mac, port) = (admitted.domain, admitted.header.src, admitted.port);
        let (notice, replicas_must_know) = match learned {
            Learned::Known | Learned::Static => return,
            Learned::Refreshed => (None, true),
            Learned::New => {
                self.counters.stations_learned += 1;
                (Some(Notice::StationLearned { domain, mac, port }), true)
            }
            Learned::Moved { from, flapping } => {
                self.counters.stations_moved += 1;
                let notice = if flapping {
                    Notice::StationFlapping { domain, mac, port }
                } else {
                    Notice::StationMoved { domain, mac, from, to: port }
                };
                (Some(notice), true)
            }
            Learned::RefusedDomain { first } => {
                self.counters.stations_refused_domain += 1;
                (first.then_some(Notice::DomainFull { domain }), false)
            }
            Learned::RefusedPort { first } => {
                self.counters.stations_refused_port += 1;
                (first.then_some(Notice::PortFull { port }), false)
            }
        };
        if replicas_must_know && self.has_replicas {
            out.gossip.push(Gossip::Station { domain, mac, port });
        }
        if let Some(notice) = notice {
            self.notice(now, notice, out);
        }
    }
}

/// Where a frame that has passed the rooms is going.
enum Course {
    /// Out.
    Leaves(Leaving),
    /// Out, as the answer to what came in.
    Answered(Leaving),
    /// Nowhere: the router has heard it.
    Consumed,
    /// Nowhere yet: the router keeps it.
    Parked,
}
