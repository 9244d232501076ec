//! Neighbours: which MAC address has a next hop, and what other stations ask us about ours (ARP, RFC 826; neighbour
//! discovery, RFC 4861).
//!
//! ```text
//!  resolve ─ new ─────────────► Incomplete ── 3 questions, 3 s ──► Failed ── 3 s ──► forgotten
//!                                   │ answer      (packets given up: take_failed)
//!            answer or confirm()    ▼
//!          ┌───────────────────► Reachable ── 15 to 45 s ──► Stale ── 10 min ──► forgotten
//!          │                                                   │ a packet is sent to it
//!          └──── Probe ◄── 5 s ── Delay ◄──────────────────────┘
//!                  └── 3 unicast questions, 3 s ──► forgotten (the next packet asks everybody)
//! ```
//!
//! The states are those of RFC 4861 §7.3.2, for IPv4 as well. Packets to a new next hop wait in the lot (`lot`); an
//! answer releases them in order. A neighbour that does not answer is remembered as such, so that a dead one costs
//! three questions in six seconds however many packets are for it. Who may say what about whom, `learn` says; who yields
//! when there are too many, `table`; how routers are advertised, `advertise`.
//!
//! Own addresses that are new in a domain (all of them if the MAC address is) are announced when the plan comes and two
//! seconds later (RFC 5227 §2.3; unsolicited advertisements, RFC 4861 §7.2.6), so that stations replace what they knew.
//! They are the configuration's: nobody is asked first whether they are free (no RFC 5227 probes, no duplicate address
//! detection); a conflict is told and defended when it shows. Groups are flooded, so no membership is reported (MLD,
//! RFC 3810). Not done either: proxy ARP and ND, redirects, SEND (RFC 3971).
//!
//! Limits: those of `table` and `lot`; [`QUESTIONS_PER_SECOND_MAX`]; answers as
//! [`crate::router::ANSWERS_PER_SECOND_MAX`]; [`FAILED_MAX`]. Clock: [`Neighbours::next_deadline`] has the next timer of
//! an entry, announcement or advertisement, exactly; a wake does at most [`TASKS_PER_WAKE_MAX`] and no more than the turn
//! has room for, and is then due again at once. For a neighbour in use [`Neighbours::resolve`] is one hash look-up.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use wire::{DomainId, DropReason, FrameBuf, Instant, Mac, PortId, Rng};

use crate::turn::{Notice, Turn};

pub mod advertise;
pub(crate) mod arp;
mod hear;
mod learn;
mod link;
mod list;
mod lot;
pub(crate) mod nd;
mod plan;
mod table;
#[cfg(test)]
mod tests;

pub use learn::{DEFEND_INTERVAL, LOCK};
pub use list::{NeighbourInfo, NeighbourStats};
pub use lot::{PARKED_MAX, PARKED_PER_DOMAIN_MAX, PARKED_PER_NEIGHBOUR};
pub use table::{
    INCOMPLETE_MAX, NEIGHBOURS_MAX, NEIGHBOURS_PER_DOMAIN_MAX, NeighbourName, NeighbourState, UNRESOLVED_MAX,
};

use link::Link;
use lot::{Lot, Parked, Room};
use table::{Class, Entry, Table};

/// Questions about a neighbour before it is given up (RFC 4861 §10, `MAX_MULTICAST_SOLICIT` and `MAX_UNICAST_SOLICIT`).
pub const QUESTIONS_MAX: u8 = 3;
/// From one question to the next, and from the last to giving up (RFC 4861 §10, `RETRANS_TIMER`).
pub const RETRANSMIT: Duration = Duration::from_secs(1);
/// How long a neighbour counts as reachable at least and at most: `REACHABLE_TIME` of RFC 4861 §10, 30 s, by 0.5 to 1.5,
/// drawn anew at each proof.
pub const REACHABLE_MIN: Duration = Duration::from_secs(15);
/// See [`REACHABLE_MIN`].
pub const REACHABLE_MAX: Duration = Duration::from_secs(45);
/// How long an upper layer has to say that a neighbour is there (RFC 4861 §10, `DELAY_FIRST_PROBE_TIME`).
pub const DELAY: Duration = Duration::from_secs(5);
/// For how long a neighbour that did not answer is not asked again. Packets to it are dropped as
/// `route.neighbour-unreachable`.
pub const FAILED_FOR: Duration = Duration::from_secs(3);
/// For how long a stale neighbour that no packet is for is remembered.
pub const STALE_MAX: Duration = Duration::from_secs(600);
/// Questions that one domain hears in a second. One beyond it is put off by [`RETRANSMIT`] and does not count as asked.
pub const QUESTIONS_PER_SECOND_MAX: u64 = 1_000;
/// Questions that one domain hears at once after a pause.
pub const QUESTIONS_BURST_MAX: u64 = 256;
/// After what time people are told again that a domain has no room for new neighbours.
pub const FULL_TOLD_AGAIN: Duration = Duration::from_secs(60);
/// Packets that wait for [`Neighbours::take_failed`]. Further ones are dropped as `route.neighbour-unreachable`, and their
/// senders are not told.
pub const FAILED_MAX: usize = 64;
/// Timers that one wake handles. What else is due makes the next wake due at once.
pub const TASKS_PER_WAKE_MAX: usize = 64;

/// What became of a packet whose next hop was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The MAC address of the next hop.
    Known(Mac),
    /// The packet waits; an empty buffer stands in its place.
    Parked,
}

/// What became of a frame that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It goes on as it would have; what was to be learned has been learned.
    Pass,
    /// It was a question: its buffer holds the answer, from our MAC to the asker's (or to all), no offload pending.
    Answer,
    /// It was for us alone and is of no more use.
    Consumed,
}

/// The neighbours of all domains.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Neighbours {
    rng: Rng,
    /// By [`DomainId`]; domains past the end have no gateway.
    links: Vec<Option<Link>>,
    table: Table,
    lot: Lot,
    /// Packets that have been given up and whose senders are to be told.
    failed: Vec<(PortId, DomainId, FrameBuf)>,
    /// Own addresses to be announced.
    announcements: BTreeSet<(Instant, NeighbourName)>,
    /// When each domain that has an advertiser is told next.
    advertisements: BTreeSet<(Instant, DomainId)>,
    /// Questions sent, and put off.
    asked: u64,
    put_off: u64,
    /// Unresolved neighbours whose MAC address came, and did not come.
    resolved: u64,
    unanswered: u64,
    conflicts: u64,
}

/// What is due.
#[derive(Clone, Copy, Debug)]
enum Task {
    Neighbour(NeighbourName),
    Announcement(NeighbourName),
    Advertisement(DomainId),
}

impl Neighbours {
    /// Nobody. The seed keys the hash and draws the times that RFC 4861 wants random.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::seeded(seed),
            links: Vec::new(),
            table: Table::new(seed),
            lot: Lot::default(),
            failed: Vec::new(),
            announcements: BTreeSet::new(),
            advertisements: BTreeSet::new(),
            asked: 0,
            put_off: 0,
            resolved: 0,
            unanswered: 0,
            conflicts: 0,
        }
    }

    /// The MAC address of a next hop in `domain` for a packet that came in through `port`. The frame is complete but for
    /// its destination (its source is our MAC in the domain). If the address is not known the frame is parked, a
    /// question is sent, and an answer sends the frame by [`Turn::send`]; if none comes it ends up in
    /// [`Neighbours::take_failed`].
    ///
    /// # Errors
    /// The frame stays where it is: `route.neighbour-unreachable` (it has not answered lately, or we have no gateway in
    /// the domain), `route.neighbours-max` (new, and no room), `route.neighbour-queue` (no room to wait).
    #[inline]
    pub fn resolve(
        &mut self,
        turn: &mut Turn,
        port: PortId,
        domain: DomainId,
        next_hop: IpAddr,
        frame: &mut FrameBuf,
    ) -> Result<Resolution, DropReason> {
        let name = NeighbourName { domain, address: next_hop };
        if let Some(mac) = self.pass(turn.now, domain, next_hop) {
            return Ok(Resolution::Known(mac));
        }
        let state = self.table.find(name).map(|entry| (entry.state, entry.mac, entry.due));
        match state {
            Some((NeighbourState::Stale, mac, _)) => {
                self.delay(turn.now, name);
                Ok(Resolution::Known(mac))
            }
            Some((NeighbourState::Failed, _, due)) if turn.now < due => Err(DropReason::NeighbourUnreachable),
            Some((NeighbourState::Incomplete, ..)) => self.park(turn, port, name, frame),
            Some(_) | None => {
                self.begin(turn, name)?;
                self.park(turn, port, name, frame)
            }
        }
    }

    /// The MAC address of a neighbour that a packet may simply be sent to, which counts as use; `None` if there is more
    /// to do than that.
    #[inline]
    pub(crate) fn pass(&mut self, now: Instant, domain: DomainId, next_hop: IpAddr) -> Option<Mac> {
        let entry = self.table.touch(NeighbourName { domain, address: next_hop })?;
        match entry.state {
            NeighbourState::Reachable | NeighbourState::Delay | NeighbourState::Probe => {
                entry.used = Some(now);
                Some(entry.mac)
            }
            NeighbourState::Stale | NeighbourState::Incomplete | NeighbourState::Failed => None,
        }
    }

    /// The MAC address of a neighbour, if it is known. Looking does not count as use.
    pub fn known(&self, domain: DomainId, address: IpAddr) -> Option<Mac> {
        let entry = self.table.find(NeighbourName { domain, address })?;
        match entry.state {
            NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe => Some(entry.mac),
            NeighbourState::Incomplete | NeighbourState::Failed => None,
        }
    }

    /// Frames that are given up because their next hop did not answer: the port they came in through, and the domain
    /// that they were for. Who takes them tells their senders and ends them ([`Turn::drop_parked`]).
    pub fn take_failed(&mut self) -> impl Iterator<Item = (PortId, DomainId, FrameBuf)> {
        self.failed.drain(..)
    }

    /// An upper layer says that packets of ours reach the neighbour (RFC 4861 §7.3.1). Cheap: while it is reachable it is
    /// one hash look-up. The router does not call it: that look-up for each answer would cost more than the probe, one
    /// frame to one station, that a busy neighbour gets every half minute.
    pub fn confirm(&mut self, now: Instant, domain: DomainId, address: IpAddr) {
        let name = NeighbourName { domain, address };
        let Some(entry) = self.table.touch(name) else { return };
        match entry.state {
            NeighbourState::Reachable => entry.confirmed = Some(now),
            NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe => {
                let reachable_for = self.reachable_for();
                self.table.alter(name, |entry| learn::confirm(entry, now, reachable_for));
            }
            NeighbourState::Incomplete | NeighbourState::Failed => {}
        }
    }

    /// Does what is due, as far as the turn has room. Look at [`Neighbours::take_failed`] afterwards.
    pub fn wake(&mut self, turn: &mut Turn) {
        for _ in 0..TASKS_PER_WAKE_MAX {
            let Some((at, task)) = self.next_task().filter(|_| turn.has_room()) else { return };
            if at > turn.now {
                return;
            }
            match task {
                Task::Neighbour(name) => self.age(turn, name),
                Task::Announcement(name) => {
                    self.announcements.remove(&(at, name));
                    self.announce(turn, name);
                }
                Task::Advertisement(domain) => self.advertise(turn, domain),
            }
        }
    }

    /// When something is due next, and what.
    pub fn next_deadline(&self) -> Option<(Instant, &'static str)> {
        let (at, task) = self.next_task()?;
        let what = match task {
            Task::Neighbour(name) => match self.table.find(name).map(|entry| entry.state) {
                Some(NeighbourState::Incomplete) => "neighbour question",
                Some(NeighbourState::Delay | NeighbourState::Probe) => "neighbour probe",
                Some(NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Failed) | None => {
                    "neighbour age"
                }
            },
            Task::Announcement(_) => "address announcement",
            Task::Advertisement(_) => "router advertisement",
        };
        Some((at, what))
    }

    /// When that is, without a look at what it is.
    #[inline]
    pub fn next_due(&self) -> Option<Instant> {
        let neighbour = self.table.next_due().map(|(at, _)| at);
        let announcement = self.announcements.first().map(|&(at, _)| at);
        let advertisement = self.advertisements.first().map(|&(at, _)| at);
        [neighbour, announcement, advertisement].into_iter().flatten().min()
    }

    fn link(&self, domain: DomainId) -> Option<&Link> {
        self.links.get(domain.index())?.as_ref()
    }

    fn link_mut(&mut self, domain: DomainId) -> Option<&mut Link> {
        self.links.get_mut(domain.index())?.as_mut()
    }

    fn reachable_for(&mut self) -> Duration {
        advertise::span(REACHABLE_MIN, REACHABLE_MAX, &mut self.rng)
    }

    /// The earliest of all; of those of one time entries come first, then announcements.
    fn next_task(&self) -> Option<(Instant, Task)> {
        let neighbour = self.table.next_due().map(|(at, name)| (at, Task::Neighbour(name)));
        let announcement = self.announcements.first().map(|&(at, name)| (at, Task::Announcement(name)));
        let advertisement =
            self.advertisements.first().map(|&(at, domain)| (at, Task::Advertisement(domain)));
        [neighbour, announcement, advertisement].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// A packet is sent to a stale neighbour.
    #[cold]
    fn delay(&mut self, now: Instant, name: NeighbourName) {
        self.table.alter(name, |entry| {
            entry.used = Some(now);
            entry.enter(NeighbourState::Delay, now, DELAY);
        });
    }

    /// A new neighbour is asked for.
    #[cold]
    fn begin(&mut self, turn: &mut Turn, name: NeighbourName) -> Result<(), DropReason> {
        if self.link(name.domain).is_none() {
            return Err(DropReason::NeighbourUnreachable);
        }
        self.table.remove(name); // It had failed, some time ago.
        if !self.table.make_room(name.domain, Class::Unresolved, true) {
            self.tell_full(turn, name.domain);
            return Err(DropReason::NeighboursMax);
        }
        self.table.insert(Entry::new(name, NeighbourState::Incomplete, Mac::default(), turn.now));
        self.ask(turn, name);
        Ok(())
    }

    /// Tells people that a domain has no room for a new neighbour, unless they have been told lately.
    pub(super) fn tell_full(&mut self, turn: &mut Turn, domain: DomainId) {
        let Some(link) = self.link_mut(domain) else { return };
        if link.full_told.is_none_or(|told| turn.now.since(told) >= FULL_TOLD_AGAIN) {
            link.full_told = Some(turn.now);
            turn.notice(Notice::NeighboursFull { domain });
        }
    }

    fn park(
        &mut self,
        turn: &mut Turn,
        port: PortId,
        name: NeighbourName,
        frame: &mut FrameBuf,
    ) -> Result<Resolution, DropReason> {
        match self.lot.make_room(name) {
            Room::Free => {}
            Room::Swapped(old) => turn.drop_parked(old.port, DropReason::NeighbourQueue, old.frame),
            Room::None => return Err(DropReason::NeighbourQueue),
        }
        let frame = core::mem::replace(frame, turn.buffer());
        self.lot.park(Parked { name, port, frame });
        Ok(Resolution::Parked)
    }

    /// Sends what waits for a neighbour. Whether anything did.
    fn release(&mut self, turn: &mut Turn, name: NeighbourName, mac: Mac) -> bool {
        let Some(Some(link)) = self.links.get(name.domain.index()) else { return false };
        let mut is_used = false;
        for Parked { port, mut frame, .. } in self.lot.take(name) {
            if !turn.has_room() {
                turn.drop_parked(port, DropReason::NeighbourQueue, frame);
                continue;
            }
            if let Some((dst, rest)) = frame.bytes_mut().split_first_chunk_mut::<6>() {
                *dst = mac.0;
                if let Some(src) = rest.first_chunk_mut::<6>() {
                    *src = link.mac.0; // It may have changed meanwhile.
                }
            }
            turn.send(name.domain, frame);
            is_used = true;
        }
        is_used
    }

    /// The timer of an entry has run out.
    fn age(&mut self, turn: &mut Turn, name: NeighbourName) {
        let Some(&entry) = self.table.find(name) else { return };
        let now = turn.now;
        match entry.state {
            NeighbourState::Incomplete | NeighbourState::Probe if entry.asked < QUESTIONS_MAX => {
                self.ask(turn, name);
            }
            NeighbourState::Incomplete => self.give_up(turn, name),
            NeighbourState::Delay => {
                self.table.alter(name, |entry| entry.enter(NeighbourState::Probe, now, Duration::ZERO));
                self.ask(turn, name);
            }
            NeighbourState::Reachable => {
                let until = entry.confirmed.unwrap_or(entry.since) + entry.reachable_for;
                self.table.alter(name, |entry| {
                    if until > now {
                        entry.due = until; // An upper layer has confirmed it meanwhile.
                    } else {
                        entry.enter(NeighbourState::Stale, now, STALE_MAX);
                    }
                });
            }
            NeighbourState::Probe => {
                self.unanswered += 1;
                self.table.remove(name);
            }
            NeighbourState::Stale | NeighbourState::Failed => self.table.remove(name),
        }
    }

    /// Sends a question about a neighbour: to all, or if its MAC address is known to it alone.
    fn ask(&mut self, turn: &mut Turn, name: NeighbourName) {
        let now = turn.now;
        let Some(&entry) = self.table.find(name) else { return };
        let known = (entry.state == NeighbourState::Probe).then_some(entry.mac);
        let has_room = turn.has_room();
        let granted = self.link_mut(name.domain).is_some_and(|link| has_room && link.questions.take(now));
        if granted && let Some(link) = self.link(name.domain) {
            let mut frame = turn.buffer();
            match name.address {
                IpAddr::V4(target) => {
                    let question = arp::Message::question(link.mac, link.asking_address(target), target);
                    question.emit(known.unwrap_or(Mac::BROADCAST), &mut frame);
                }
                IpAddr::V6(target) => {
                    nd::emit_question((link.mac, link.link_local), target, known, &mut frame);
                }
            }
            turn.send(name.domain, frame);
            self.asked += 1;
        } else {
            self.put_off += 1;
        }
        self.table.alter(name, |entry| {
            entry.asked += u8::from(granted);
            entry.due = now + RETRANSMIT;
        });
    }

    /// A neighbour has not answered: what waits for it is given up, and for a while nobody asks again.
    fn give_up(&mut self, turn: &mut Turn, name: NeighbourName) {
        self.unanswered += 1;
        for Parked { port, frame, .. } in self.lot.take(name) {
            if self.failed.len() < FAILED_MAX {
                self.failed.push((port, name.domain, frame));
            } else {
                turn.drop_parked(port, DropReason::NeighbourUnreachable, frame);
            }
        }
        let now = turn.now;
        self.table.alter(name, |entry| entry.enter(NeighbourState::Failed, now, FAILED_FOR));
    }
}
