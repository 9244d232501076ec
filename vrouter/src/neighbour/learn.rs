//! What is believed of what stations say about themselves.
//!
//! An entry is *created* by [`super::Neighbours::resolve`], or by a question for one of our addresses (RFC 826: who asks
//! is about to talk to us; RFC 4861 §7.2.3) or a router solicitation, whose sender has an address of the domain's
//! subnets or a link-local one. All else changes entries that exist. Nobody speaks for another: a MAC address that is
//! not the source of the frame that names it is not believed (a question is answered nevertheless), nor is our own.
//!
//! | state | answer to our question | asker, or announcement with override | announcement without override (NA) |
//! |---|---|---|---|
//! | `Incomplete` | `Reachable`, packets released | `Stale`, or `Delay` if packets were released | the same |
//! | `Failed` | (nothing is asked) | `Stale` | the same |
//! | others, same MAC | `Reachable` | as it is | as it is |
//! | others, other MAC | `Reachable` at the new one | `Stale` at the new one, unless locked | `Stale` if it was `Reachable`, at the old one |
//!
//! ARP has no override flag; all of it overrides. An answer counts as one only while a question is open (`Incomplete`,
//! `Probe`) and if it is addressed to us; otherwise it is an announcement. An answer and every change lock the MAC address
//! for [`LOCK`], as Linux's `locktime` does: of two stations that answer one question the first wins, and a quarrel
//! moves an entry once a second at most. A station that claims an address of ours is told off ([`Neighbours::defend`]).

use core::net::IpAddr;
use core::time::Duration;

use wire::{DomainId, Instant, Mac};

use super::table::{Class, Entry, NeighbourName, NeighbourState};
use super::{DELAY, Neighbours, STALE_MAX};
use crate::turn::{Notice, Turn};

/// For how long after an answer or a change announcements do not change a MAC address.
pub const LOCK: Duration = Duration::from_secs(1);
/// How often one address of ours is announced against a station that claims it, at most (RFC 5227 §2.4
/// `DEFEND_INTERVAL`). People are told as often.
pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// On what occasion a station said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// It answers us.
    Answer { overrides: bool },
    /// It asks us.
    Question,
    /// Nobody asked it.
    Announcement { overrides: bool },
}

impl Neighbours {
    /// A station says that an address is its own, at this MAC address or (`None`) at the one that it had.
    pub(super) fn learn(
        &mut self,
        turn: &mut Turn,
        name: NeighbourName,
        mac: Option<Mac>,
        evidence: Evidence,
    ) {
        let Some(link) = self.link(name.domain) else { return };
        if mac == Some(link.mac) {
            return;
        }
        match (self.table.find(name).copied(), mac) {
            (None, Some(mac)) if evidence == Evidence::Question && link.may_hold(name.address) => {
                self.meet(turn, name, mac);
            }
            (None, _) => {}
            (Some(entry), mac) => match (entry.state, mac) {
                (NeighbourState::Incomplete | NeighbourState::Failed, Some(mac)) => {
                    self.settle(turn, &entry, mac, evidence);
                }
                (NeighbourState::Incomplete | NeighbourState::Failed, None) => {}
                (
                    NeighbourState::Reachable
                    | NeighbourState::Stale
                    | NeighbourState::Delay
                    | NeighbourState::Probe,
                    _,
                ) => self.revise(turn, &entry, mac, evidence),
            },
        }
    }

    /// Somebody new asks us. He displaces nobody whom packets have been sent to.
    fn meet(&mut self, turn: &mut Turn, name: NeighbourName, mac: Mac) {
        if !self.table.make_room(name.domain, Class::Known, false) {
            self.tell_full(turn, name.domain);
            return;
        }
        let mut entry = Entry::new(name, NeighbourState::Stale, mac, turn.now);
        entry.due = turn.now + STALE_MAX;
        self.table.insert(entry);
    }

    /// The MAC address of an unresolved neighbour has become known: what waits for it goes.
    fn settle(&mut self, turn: &mut Turn, entry: &Entry, mac: Mac, evidence: Evidence) {
        let Entry { name, state, .. } = *entry;
        let is_wanted = state == NeighbourState::Incomplete;
        let has_room = self.table.make_room(name.domain, Class::Known, is_wanted);
        if is_wanted {
            self.resolved += 1;
        }
        let is_used = self.release(turn, name, mac);
        if !has_room {
            self.table.remove(name); // The next packet asks again.
            self.tell_full(turn, name.domain);
            return;
        }
        let is_answer = is_wanted && matches!(evidence, Evidence::Answer { .. });
        let reachable_for = self.reachable_for();
        let now = turn.now;
        self.table.alter(name, |entry| {
            entry.mac = mac;
            entry.locked_until = now + LOCK;
            entry.used = if is_used { Some(now) } else { entry.used };
            if is_answer {
                confirm(entry, now, reachable_for);
            } else if is_used {
                entry.enter(NeighbourState::Delay, now, DELAY);
            } else {
                entry.enter(NeighbourState::Stale, now, STALE_MAX);
            }
        });
    }

    /// A known neighbour says something (RFC 4861 §7.2.5).
    fn revise(&mut self, turn: &mut Turn, entry: &Entry, mac: Option<Mac>, evidence: Evidence) {
        let Entry { name, mac: old, state, .. } = *entry;
        let now = turn.now;
        let new = mac.filter(|&mac| mac != old);
        let (is_answer, overrides) = match evidence {
            Evidence::Answer { overrides } => (state == NeighbourState::Probe, overrides),
            Evidence::Question => (false, true),
            Evidence::Announcement { overrides } => (false, overrides),
        };
        if new.is_some() && !overrides {
            if state == NeighbourState::Reachable {
                self.table.alter(name, |entry| entry.enter(NeighbourState::Stale, now, STALE_MAX));
            }
            return;
        }
        if new.is_some() && !is_answer && now < entry.locked_until || new.is_none() && !is_answer {
            return;
        }
        let reachable_for = self.reachable_for();
        self.table.alter(name, |entry| {
            entry.locked_until = now + LOCK;
            entry.mac = new.unwrap_or(old);
            if is_answer {
                confirm(entry, now, reachable_for);
            } else {
                entry.enter(NeighbourState::Stale, now, STALE_MAX);
            }
        });
        if let Some(new) = new {
            turn.notice(Notice::NeighbourMoved {
                domain: name.domain,
                address: name.address,
                from: old,
                to: new,
            });
        }
    }

    /// Another station claims an address of ours: people are told, and the address is announced (RFC 5227 §2.4 b),
    /// both once in [`DEFEND_INTERVAL`].
    pub(super) fn defend(&mut self, turn: &mut Turn, domain: DomainId, address: IpAddr, mac: Mac) {
        let now = turn.now;
        let Some(link) = self.link_mut(domain) else { return };
        let Some(own) = link.own.iter_mut().find(|own| own.address == address) else { return };
        if own.defended.is_some_and(|last| now.since(last) < DEFEND_INTERVAL) {
            return;
        }
        own.defended = Some(now);
        turn.notice(Notice::AddressConflict { domain, address, mac });
        self.conflicts += 1;
        if turn.has_room() {
            self.announce(turn, NeighbourName { domain, address });
        }
    }
}

/// The neighbour has proved that it is there.
pub(super) fn confirm(entry: &mut Entry, now: Instant, reachable_for: Duration) {
    entry.enter(NeighbourState::Reachable, now, reachable_for);
    entry.confirmed = Some(now);
    entry.reachable_for = reachable_for;
}
