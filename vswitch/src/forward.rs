//! FORWARD: which ports of the frame's current domain get it: one, many, or none for a named reason.
//!
//! Group addresses and unknown stations go to every member of the domain but the one the frame came from (split
//! horizon). Two isolated ports never hear each other, nor do two ends of one tunnel ([`Horizon`]). The router's own frames have no ingress port: nothing is kept
//! from them. Multicast snooping does not exist: a multicast is flooded.

use serde::{Deserialize, Serialize};
use wire::{DomainId, DropReason, Instant, Mac, PortId, Vid};

use crate::fdb::{Name, Tick};
use crate::plan::Horizon;
use crate::switch::{Domain, Switch};

/// A way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// The port.
    pub port: PortId,
    /// The tag that the domain has there.
    pub vid: Option<Vid>,
    /// Longest packet that may leave there.
    pub mtu: u16,
}

/// A port of a domain.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) egress: Egress,
    pub(crate) is_isolated: bool,
    pub(crate) horizon: Option<Horizon>,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// To the port where the destination lives.
    One(Egress),
    /// To every port that [`Switch::receivers`] names, of which there is at least one.
    Many,
}

impl Switch {
    /// Finds the way to `dst` in `domain`. `ingress` is `None` for the router's own frames.
    ///
    /// # Errors
    /// `forward.same-port`, `forward.isolated`, `forward.split-horizon`, `forward.storm-unknown`, `forward.no-receiver`.
    #[inline]
    pub fn forward(
        &mut self,
        now: Instant,
        domain: DomainId,
        dst: Mac,
        ingress: Option<PortId>,
    ) -> Result<Forward, DropReason> {
        if dst.is_group() {
            return self.flood(domain, ingress);
        }
        let found = self.fdb.find(Name::new(domain, dst));
        let Some(place) = found.filter(|place| !self.is_too_old(domain, *place, Tick::of(now))) else {
            self.pass_unknown(now, ingress)?;
            return self.flood(domain, ingress);
        };
        let egress = place.port();
        if ingress == Some(egress) {
            return Err(DropReason::SamePort);
        }
        // The station's port exists and carries the domain: configuring forgets the others.
        let port = self.port(egress).ok_or(DropReason::NoReceiver)?;
        if port.is_isolated && self.is_isolated(ingress) {
            return Err(DropReason::Isolated);
        }
        if port.horizon.is_some() && port.horizon == self.horizon(ingress) {
            return Err(DropReason::SplitHorizon);
        }
        let vid = port.tag_of(domain).ok_or(DropReason::NoReceiver)?;
        Ok(Forward::One(Egress { port: egress, vid, mtu: port.mtu }))
    }

    /// Longest packet that reaches a station; `None` if nobody knows where it lives.
    pub fn mtu_towards(&self, domain: DomainId, station: Mac) -> Option<u16> {
        let place = self.fdb.find(Name::new(domain, station))?;
        self.port(place.port()).map(|port| port.mtu)
    }

    /// The ports that a flooded frame goes to, in the order of their ids.
    pub fn receivers(&self, domain: DomainId, ingress: Option<PortId>) -> impl Iterator<Item = Egress> {
        let members = self.domain(domain).map_or(&[][..], |domain| &domain.members);
        let (is_isolated, horizon) = (self.is_isolated(ingress), self.horizon(ingress));
        let may_hear = move |member: &&Member| {
            let is_of_tunnel = horizon.is_some() && member.horizon == horizon;
            Some(member.egress.port) != ingress && !(is_isolated && member.is_isolated) && !is_of_tunnel
        };
        members.iter().filter(may_hear).map(|member| member.egress)
    }

    /// Whether anybody receives a flooded frame, without asking each.
    fn flood(&self, domain: DomainId, ingress: Option<PortId>) -> Result<Forward, DropReason> {
        let Domain { members, open_members, .. } = self.domain(domain).ok_or(DropReason::NoReceiver)?;
        let from_member =
            ingress.and_then(|port| self.port(port)).filter(|port| port.tag_of(domain).is_some());
        let others = members.len() - usize::from(from_member.is_some());
        if others == 0 {
            Err(DropReason::NoReceiver)
        } else if self.is_isolated(ingress) && *open_members == 0 {
            Err(DropReason::Isolated)
        } else if self.horizon(ingress).is_some() && self.receivers(domain, ingress).next().is_none() {
            Err(DropReason::SplitHorizon)
        } else {
            Ok(Forward::Many)
        }
    }

    #[inline]
    fn is_isolated(&self, ingress: Option<PortId>) -> bool {
        ingress.and_then(|port| self.port(port)).is_some_and(|port| port.is_isolated)
    }

    #[inline]
    fn horizon(&self, ingress: Option<PortId>) -> Option<Horizon> {
        self.port(ingress?)?.horizon
    }

    /// Asks the port's storm control about a frame to an unknown station.
    fn pass_unknown(&mut self, now: Instant, ingress: Option<PortId>) -> Result<(), DropReason> {
        let port = ingress.and_then(|port| self.ports.get_mut(port.index())).and_then(Option::as_mut);
        let passes = port.and_then(|port| port.watch.as_mut()).is_none_or(|watch| watch.storm.unknown(now));
        if passes { Ok(()) } else { Err(DropReason::StormUnknown) }
    }
}

#[cfg(test)]
mod tests;
