//! What a new plan means to neighbours, and what the router says of itself: announcements and advertisements.
//!
//! Entries of domains that have no gateway any more vanish; so do those of addresses that have become ours or, if the
//! subnets of their domain changed, lie outside them. What waited for them is dropped as `route.neighbour-unreachable`.
//! All else stays, a change of our own MAC address included.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use wire::{DomainId, DropReason, Instant, Mac, Rng};

use super::advertise::{self, Advertiser, ROUTER_LIFETIME};
use super::link::{self, Link};
use super::lot::Parked;
use super::table::NeighbourName;
use super::{Neighbours, arp, nd};
use crate::plan::{Gateway, RouterPlan, Side};
use crate::turn::Turn;

/// When a new address of ours is announced for the second time (RFC 5227 §1.1, `ANNOUNCE_INTERVAL`).
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

impl Neighbours {
    /// From now on this plan holds. It has been checked ([`RouterPlan::check`]).
    pub fn configure(&mut self, turn: &mut Turn, plan: &RouterPlan) {
        let mut earlier = core::mem::take(&mut self.links);
        let mut moved = BTreeSet::new();
        // In an overlay, and where one station stands for all, nobody is asked or told anything.
        let has_link = |gateway: &&Gateway| match gateway.side {
            Side::Network(policy) => policy.sole.is_none(),
            Side::Uplink => true,
            Side::Overlay(_) => false,
        };
        for gateway in plan.gateways.iter().filter(has_link) {
            let link = earlier.get_mut(gateway.domain.index()).and_then(Option::take);
            if let Some(link) = &link {
                if link.subnets != gateway.subnets {
                    moved.insert(gateway.domain);
                }
                if link.mac != gateway.mac.mac() || !link::advertises(gateway) {
                    retire(turn, gateway.domain, link);
                }
            }
            self.set_link(turn.now, gateway, link);
        }
        for (index, link) in earlier.iter_mut().enumerate() {
            if let (Some(link), Ok(index)) = (link, u16::try_from(index)) {
                retire(turn, DomainId(index), link);
            }
        }
        self.announcements = core::mem::take(&mut self.announcements)
            .into_iter()
            .filter(|(_, name)| self.link(name.domain).is_some_and(|link| link.owns(name.address)))
            .collect();
        self.advertisements = self
            .links
            .iter()
            .zip(0..=u16::MAX)
            .filter_map(|(link, domain)| Some((link.as_ref()?.advertiser.as_ref()?.next, DomainId(domain))))
            .collect();
        self.forget_strangers(turn, &moved);
        self.wake(turn);
    }

    fn set_link(&mut self, now: Instant, gateway: &Gateway, earlier: Option<Link>) {
        let old = earlier.as_ref().map(|link| {
            let own: Vec<IpAddr> = link.own.iter().map(|own| own.address).collect();
            (link.mac, link.mtu, own, link.subnets.clone())
        });
        let mut link = Link::new(gateway, earlier, now);
        let is_new = |address| match &old {
            Some((mac, _, own, _)) => *mac != link.mac || !own.contains(&address),
            None => true,
        };
        for address in link.announced().filter(|&address| is_new(address)) {
            let name = NeighbourName { domain: gateway.domain, address };
            self.announcements.extend([(now, name), (now + ANNOUNCE_INTERVAL, name)]);
        }
        let Link { mac, mtu, .. } = link;
        let current = core::mem::take(&mut link.subnets);
        if let (Some(advertiser), Some((old_mac, old_mtu, _, subnets))) = (&mut link.advertiser, old)
            && (old_mac, old_mtu, &subnets) != (mac, mtu, &current)
        {
            let gone = subnets.iter().copied().filter(|subnet| !current.contains(subnet));
            advertiser.restart(now, gone, &current);
        }
        link.subnets = current;
        let index = gateway.domain.index();
        if self.links.len() <= index {
            self.links.resize_with(index + 1, || None);
        }
        self.links[index] = Some(link);
    }

    /// Forgets whom the plan does not allow; `moved`: domains whose subnets have changed.
    fn forget_strangers(&mut self, turn: &mut Turn, moved: &BTreeSet<DomainId>) {
        let strangers = self.table.names(|entry| {
            let NeighbourName { domain, address } = entry.name;
            self.link(domain)
                .is_none_or(|link| link.owns(address) || moved.contains(&domain) && !link.may_hold(address))
        });
        for name in strangers {
            self.table.remove(name);
            for Parked { port, frame, .. } in self.lot.take(name) {
                turn.drop_parked(port, DropReason::NeighbourUnreachable, frame);
            }
        }
    }

    /// Tells everybody that an address is ours.
    pub(super) fn announce(&self, turn: &mut Turn, name: NeighbourName) {
        let Some(link) = self.link(name.domain) else { return };
        let mut frame = turn.buffer();
        match name.address {
            IpAddr::V4(address) => {
                arp::Message::announcement(link.mac, address).emit(Mac::BROADCAST, &mut frame);
            }
            IpAddr::V6(address) => nd::emit_answer(address, link.mac, None, &mut frame),
        }
        turn.send(name.domain, frame);
    }

    /// Tells everybody in a domain of their router.
    pub(super) fn advertise(&mut self, turn: &mut Turn, domain: DomainId) {
        if let Some(link) = self.link(domain) {
            let mut frame = turn.buffer();
            advertise::emit(link, ROUTER_LIFETIME, None, &mut frame);
            turn.send(domain, frame);
        }
        self.reschedule(domain, |advertiser, rng| advertiser.told(turn.now, rng));
    }

    /// Changes when a domain is told next.
    pub(super) fn reschedule(&mut self, domain: DomainId, change: impl FnOnce(&mut Advertiser, &mut Rng)) {
        let Some(Some(Link { advertiser: Some(advertiser), .. })) = self.links.get_mut(domain.index()) else {
            return;
        };
        let before = advertiser.next;
        change(advertiser, &mut self.rng);
        let after = advertiser.next;
        self.advertisements.remove(&(before, domain));
        self.advertisements.insert((after, domain));
    }
}

/// The gateway leaves: it is no default router any more (RFC 4861 §6.2.5).
fn retire(turn: &mut Turn, domain: DomainId, link: &Link) {
    if link.advertiser.is_some() && turn.has_room() {
        let mut frame = turn.buffer();
        advertise::emit(link, Duration::ZERO, None, &mut frame);
        turn.send(domain, frame);
    }
}
