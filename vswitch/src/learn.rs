//! LEARN: where the source of an admitted frame lives.
//!
//! In steady state a frame only reads: its station is where it was, and the tick in which it was heard last is the
//! current one. Once per tick (a second) and station the tick is written.
//!
//! Limits: each domain and each port has its number of learned stations, and the node has [`STATIONS_MAX`]. Who would
//! exceed one is not learned; frames from it pass, frames to it are flooded, and nobody else is forgotten for it. So a
//! port that invents addresses fills its own share and no more. A station that moves to a full port stays where it
//! was until it ages there.
//!
//! Static stations do not move. A frame that claims the address of one on another port passes, but teaches nothing,
//! as with Linux' sticky entries; to drop it, give the port the `mac` guard.

use wire::{DomainId, Instant, Mac, PortId, UnicastMac};

use crate::admit::Admitted;
use crate::fdb::{Name, Place, Tick};
use crate::plan::STATICS_MAX;
use crate::switch::{Switch, count_in, count_out};

/// Learned stations of one node; with [`STATICS_MAX`] more they are what 2^20 slots hold (18 MiB). Beyond it new stations
/// are not learned, as if their domain were full.
pub const STATIONS_MAX: usize = (1 << 20) / 8 * 7 - STATICS_MAX;
/// Seconds between two times that a talking station is [`Learned::Refreshed`]. Whatever a replica missed or got in the
/// wrong order, it knows better after this.
const REFRESH_TICKS: u64 = 2;

/// What a frame taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Nothing: the station is where it was.
    Known,
    /// The station is where it was, and replicas that do not hear it should be told that it is alive, and where. Comes
    /// two seconds apart while the station talks.
    Refreshed,
    /// The station was not known, or was known too long ago.
    New,
    /// The station was behind another port.
    Moved {
        /// Where it was.
        from: PortId,
        /// Whether it keeps moving ([`crate::FLAP_MOVES`]).
        flapping: bool,
    },
    /// The domain, or the node, has as many stations as it may: not learned.
    RefusedDomain {
        /// Whether it is the first since there was room.
        first: bool,
    },
    /// The port has as many stations as it may: not learned.
    RefusedPort {
        /// Whether it is the first since there was room.
        first: bool,
    },
    /// The address belongs to a static station behind another port: not learned.
    Static,
}

impl Switch {
    /// Takes note of where the frame's source lives.
    #[inline]
    pub fn learn(&mut self, now: Instant, admitted: &Admitted) -> Learned {
        let tick = Tick::of(now);
        let name = Name::new(admitted.domain, admitted.header.src);
        let heard = Place::learned(admitted.port, tick);
        match self.fdb.find(name) {
            Some(place) if place == heard => Learned::Known,
            found => self.learn_at(now, name, heard, found),
        }
    }

    /// Takes note of what another replica has learned. Ignores what does not fit the configuration, which the replica
    /// may not have had yet.
    pub fn learn_from_replica(&mut self, now: Instant, domain: DomainId, mac: Mac, port: PortId) -> Learned {
        let is_member = self.port(port).is_some_and(|port| port.tag_of(domain).is_some());
        if !is_member || UnicastMac::new(mac).is_none() {
            return Learned::Known;
        }
        let name = Name::new(domain, mac);
        self.learn_at(now, name, Place::learned(port, Tick::of(now)), self.fdb.find(name))
    }

    /// The rest of [`Switch::learn`]: at most once per second for a station that stays.
    #[inline(never)]
    fn learn_at(&mut self, now: Instant, name: Name, heard: Place, found: Option<Place>) -> Learned {
        let Some(place) = found else { return self.learn_new(name, heard) };
        if place.is_static() {
            return if place.port() == heard.port() { Learned::Known } else { Learned::Static };
        }
        if self.is_too_old(name.domain(), place, heard.seen()) {
            self.forget(name, place);
            self.aged_untold += 1;
            return self.learn_new(name, heard);
        }
        if place.port() == heard.port() {
            return self.refresh(name, place, heard);
        }
        if let Err(refusal) = self.room_at_port(heard) {
            return refusal;
        }
        count_out(&mut self.domains, &mut self.ports, name.domain(), place.port());
        count_in(&mut self.domains, &mut self.ports, name.domain(), heard.port());
        self.fdb.set(name, heard);
        Learned::Moved { from: place.port(), flapping: self.flaps.moved(now, name) }
    }

    fn learn_new(&mut self, name: Name, heard: Place) -> Learned {
        let domain = name.domain();
        if let Err(refusal) = self.room_in_domain(domain, heard).and_then(|()| self.room_at_port(heard)) {
            return refusal;
        }
        self.fdb.set(name, heard);
        self.learned += 1;
        count_in(&mut self.domains, &mut self.ports, domain, heard.port());
        if let Some(at) = self.domain(domain).and_then(|domain| domain.too_old_at(heard)) {
            self.sweep_at = Some(self.sweep_at.map_or(at, |earliest| earliest.min(at)));
        }
        Learned::New
    }

    fn refresh(&mut self, name: Name, place: Place, heard: Place) -> Learned {
        let (before, tick) = (place.seen(), heard.seen());
        if tick <= before {
            return Learned::Known; // Time stands still, or went back.
        }
        self.fdb.set(name, heard);
        let is_due = before.span(REFRESH_TICKS) != tick.span(REFRESH_TICKS);
        if is_due { Learned::Refreshed } else { Learned::Known }
    }

    fn forget(&mut self, name: Name, place: Place) {
        self.fdb.remove(name);
        self.learned -= 1;
        count_out(&mut self.domains, &mut self.ports, name.domain(), place.port());
    }

    fn room_in_domain(&mut self, domain: DomainId, heard: Place) -> Result<(), Learned> {
        let is_full = |switch: &Self| {
            let stations = switch.domain(domain).map(|domain| domain.stations);
            switch.learned >= STATIONS_MAX || stations.is_none_or(|stations| stations.is_full())
        };
        if is_full(self) {
            self.sweep_if_due(heard.seen());
        }
        if !is_full(self) {
            return Ok(());
        }
        let domain = self.domains.get_mut(domain.index()).and_then(Option::as_mut);
        let first = domain.is_some_and(|domain| !core::mem::replace(&mut domain.stations.told_full, true));
        Err(Learned::RefusedDomain { first })
    }

    fn room_at_port(&mut self, heard: Place) -> Result<(), Learned> {
        let port = heard.port();
        let is_full = |switch: &Self| switch.port(port).is_none_or(|port| port.stations.is_full());
        if is_full(self) {
            self.sweep_if_due(heard.seen());
        }
        if !is_full(self) {
            return Ok(());
        }
        let port = self.ports.get_mut(port.index()).and_then(Option::as_mut);
        let first = port.is_some_and(|port| !core::mem::replace(&mut port.stations.told_full, true));
        Err(Learned::RefusedPort { first })
    }

    /// Makes room where stations that are too old take it, so that a limit does not depend on when the sweep runs. At
    /// most once a second, however many are refused: after a sweep the next is due in a later tick.
    fn sweep_if_due(&mut self, tick: Tick) {
        if self.sweep_at.is_some_and(|due| due <= tick) {
            self.sweep(tick);
        }
    }
}

#[cfg(test)]
mod tests;
