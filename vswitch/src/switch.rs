//! The switch as a whole: its plan compiled for the packet path, and what happens beside that path: configuration,
//! ageing, flushing and listing.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use wire::{DomainId, Instant, Mac, PortId, UnicastMac, Vid};

use crate::answer::Bindings;
use crate::fdb::{Fdb, Name, Place, Tick};
use crate::flap::Flaps;
use crate::forward::{Egress, Member};
use crate::plan::{DomainPlan, Guards, Horizon, Isolation, PortPlan, Storm, SwitchPlan};
use crate::storm::Buckets;

/// Admits, learns and forwards: see the crate's doc.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Switch {
    /// By [`PortId`].
    pub(crate) ports: Vec<Option<Port>>,
    /// By [`DomainId`].
    pub(crate) domains: Vec<Option<Domain>>,
    pub(crate) fdb: Fdb,
    pub(crate) flaps: Flaps,
    /// Of domains whose plan has questions answered.
    pub(crate) bindings: Bindings,
    /// Learned stations, as opposed to static ones.
    pub(crate) learned: usize,
    /// Not later than the first tick at which a learned station is too old.
    pub(crate) sweep_at: Option<Tick>,
    /// Stations that were found too old before the sweep found them, and that no [`Switch::expire`] has told yet.
    pub(crate) aged_untold: usize,
}

/// A port, compiled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Port {
    pub(crate) serial: u32,
    pub(crate) mtu: u16,
    pub(crate) is_isolated: bool,
    pub(crate) horizon: Option<Horizon>,
    pub(crate) native: Option<DomainId>,
    /// Ordered by VLAN.
    pub(crate) tagged: Box<[(Vid, DomainId)]>,
    /// `None` for the many ports that are neither guarded nor limited.
    pub(crate) watch: Option<Box<Watch>>,
    pub(crate) stations: Room,
}

/// What makes a port's frames take a closer look.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Watch {
    pub(crate) guards: Guards,
    pub(crate) mac: Option<UnicastMac>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) storm: Buckets,
}

/// A domain, compiled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Domain {
    /// A station is too old when more ticks than this have passed; `None`: never.
    pub(crate) ageing: Option<u64>,
    pub(crate) reserved_forward: u16,
    pub(crate) answers: bool,
    /// Ordered by port.
    pub(crate) members: Vec<Member>,
    pub(crate) open_members: usize,
    pub(crate) stations: Room,
}

/// How many learned stations there are and may be.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Room {
    pub(crate) count: u32,
    pub(crate) max: u32,
    /// Whether somebody has been told that there is no room since there was some.
    pub(crate) told_full: bool,
}

/// A line of the listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// Its domain.
    pub domain: DomainId,
    /// Its address.
    pub mac: Mac,
    /// Where it lives.
    pub port: PortId,
    /// Whether the configuration says so.
    pub is_static: bool,
    /// Time since it was heard, to the second; zero for static stations.
    pub idle: Duration,
}

impl Switch {
    /// A switch without ports. `seed` keys the hash of the stations: random when live, fixed in replay.
    pub fn new(seed: u64) -> Self {
        Self {
            ports: Vec::new(),
            domains: Vec::new(),
            fdb: Fdb::new(seed),
            flaps: Flaps::default(),
            bindings: Bindings::default(),
            learned: 0,
            sweep_at: None,
            aged_untold: 0,
        }
    }

    /// Obeys `plan` from now on. It has been checked ([`SwitchPlan::check`]).
    ///
    /// Stations stay learned if their domain is there and their port is the same one ([`PortPlan::serial`]) and
    /// carries the domain as before. Storm buckets keep their level if their rates are unchanged. A limit below the
    /// number of stations forgets none of them, but admits no more.
    pub fn configure(&mut self, now: Instant, plan: &SwitchPlan) {
        let before = core::mem::take(&mut self.ports);
        self.ports = compile_ports(now, plan, &before);
        self.domains = compile_domains(plan);
        self.learned = 0;
        let Self { ports, domains, fdb, bindings, learned, .. } = self;
        let lookup = |ports: &[Option<Port>], port: PortId, domain| {
            let port = ports.get(port.index())?.as_ref()?;
            Some((port.serial, port.tag_of(domain)?))
        };
        fdb.retain(|name, place| {
            let domain = name.domain();
            let is = lookup(ports, place.port(), domain);
            let stays = !place.is_static() && is.is_some() && is == lookup(&before, place.port(), domain);
            if stays {
                *learned += 1;
                count_in(domains, ports, domain, place.port());
            }
            stays
        });
        bindings.retain(|domain, port| {
            let is = lookup(ports, port, domain);
            let answers = domains.get(domain.index()).and_then(Option::as_ref).is_some_and(|it| it.answers);
            answers && is.is_some() && is == lookup(&before, port, domain)
        });
        for station in &plan.statics {
            self.fix(station.domain, station.mac, station.port);
        }
        self.sweep(Tick::of(now));
    }

    /// Forgets the learned stations that match every criterion given; returns how many.
    pub fn flush(&mut self, domain: Option<DomainId>, port: Option<PortId>, mac: Option<Mac>) -> usize {
        let Self { ports, domains, fdb, learned, .. } = self;
        let before = *learned;
        fdb.retain(|name, place| {
            let matches = domain.is_none_or(|domain| domain == name.domain())
                && port.is_none_or(|port| port == place.port())
                && mac.is_none_or(|mac| mac == name.mac());
            let stays = place.is_static() || !matches;
            if !stays {
                *learned -= 1;
                count_out(domains, ports, name.domain(), place.port());
            }
            stays
        });
        before - self.learned
    }

    /// When [`Switch::expire`] should be called, and why. Calling it late changes no result: a station that is too old
    /// counts as unknown whether it has been swept or not.
    pub fn next_deadline(&self) -> Option<(Instant, &'static str)> {
        self.sweep_at.map(|tick| (tick.instant(), "stations age"))
    }

    /// Forgets stations that have been silent for longer than their domain's ageing time, by up to a second; returns
    /// how many were since the last call.
    pub fn expire(&mut self, now: Instant) -> usize {
        let tick = Tick::of(now);
        if self.sweep_at.is_some_and(|due| due <= tick) {
            self.sweep(tick);
        }
        core::mem::take(&mut self.aged_untold)
    }

    /// The first `max` stations from `cursor` on, ordered by domain and address, and where to go on. Begin at 0. Who is
    /// there from the first page to the last is listed exactly once, whatever changes in between. Each page costs a
    /// walk over all stations.
    pub fn stations(&self, now: Instant, cursor: u64, max: usize) -> (Vec<Station>, Option<u64>) {
        let tick = Tick::of(now);
        let is_listed = |name: Name, place| !self.is_too_old(name.domain(), place, tick);
        let (page, next) = self.fdb.page(Name::from_number(cursor), max, is_listed);
        let station = |&(name, place): &(Name, Place)| {
            let idle_ticks = if place.is_static() { 0 } else { tick.since(place.seen()) };
            Station {
                domain: name.domain(),
                mac: name.mac(),
                port: place.port(),
                is_static: place.is_static(),
                idle: Duration::from_secs(idle_ticks),
            }
        };
        (page.iter().map(station).collect(), next.map(Name::number))
    }

    /// Learned stations of a domain, those included that are too old and have not been swept yet.
    pub fn stations_of_domain(&self, domain: DomainId) -> u32 {
        self.domain(domain).map_or(0, |domain| domain.stations.count)
    }

    /// Learned stations behind a port, those included that are too old and have not been swept yet.
    pub fn stations_of_port(&self, port: PortId) -> u32 {
        self.port(port).map_or(0, |port| port.stations.count)
    }

    /// The most octets of an L3 packet that the port carries; 0 if there is no such port.
    pub fn mtu(&self, port: PortId) -> u16 {
        self.port(port).map_or(0, |port| port.mtu)
    }

    /// Learned and static stations.
    pub fn stations_count(&self) -> usize {
        self.fdb.count()
    }

    pub(crate) fn port(&self, port: PortId) -> Option<&Port> {
        self.ports.get(port.index())?.as_ref()
    }

    pub(crate) fn domain(&self, domain: DomainId) -> Option<&Domain> {
        self.domains.get(domain.index())?.as_ref()
    }

    pub(crate) fn is_too_old(&self, domain: DomainId, place: Place, tick: Tick) -> bool {
        self.domain(domain).is_some_and(|domain| domain.is_too_old(place, tick))
    }

    /// Forgets who is too old and finds out who will be next.
    pub(crate) fn sweep(&mut self, tick: Tick) {
        let Self { ports, domains, fdb, learned, sweep_at, aged_untold, .. } = self;
        *sweep_at = None;
        fdb.retain(|name, place| {
            let domain = name.domain();
            let plan = domains[domain.index()].as_ref().expect("stations of gone domains are forgotten");
            let aged = plan.is_too_old(place, tick);
            if aged {
                *learned -= 1;
                *aged_untold += 1;
                count_out(domains, ports, domain, place.port());
            } else if let Some(at) = plan.too_old_at(place) {
                *sweep_at = Some(sweep_at.map_or(at, |earliest| earliest.min(at)));
            }
            !aged
        });
        fdb.shrink();
    }

    /// Puts a station where the configuration says it is.
    fn fix(&mut self, domain: DomainId, mac: UnicastMac, port: PortId) {
        let name = Name::new(domain, mac.mac());
        if let Some(place) = self.fdb.find(name).filter(|place| !place.is_static()) {
            self.learned -= 1;
            count_out(&mut self.domains, &mut self.ports, domain, place.port());
        }
        self.fdb.set(name, Place::fixed(port));
    }
}

impl Port {
    /// How the port carries the domain: `Some(None)` untagged, `None` not at all.
    #[inline]
    pub(crate) fn tag_of(&self, domain: DomainId) -> Option<Option<Vid>> {
        if self.native == Some(domain) {
            return Some(None);
        }
        self.tagged.iter().find(|(_, carried)| *carried == domain).map(|&(vid, _)| Some(vid))
    }
}

impl Domain {
    #[inline]
    pub(crate) fn is_too_old(&self, place: Place, tick: Tick) -> bool {
        self.ageing.is_some_and(|ageing| !place.is_static() && tick.since(place.seen()) > ageing)
    }

    /// The first tick at which a station is too old, if nothing more is heard of it.
    pub(crate) fn too_old_at(&self, place: Place) -> Option<Tick> {
        if place.is_static() { None } else { Some(place.seen().after(self.ageing?.saturating_add(1))) }
    }
}

impl Room {
    const fn with_max(max: u32) -> Self {
        Self { count: 0, max, told_full: false }
    }

    pub(crate) const fn is_full(self) -> bool {
        self.count >= self.max
    }

    const fn enter(&mut self) {
        self.count += 1;
    }

    const fn leave(&mut self) {
        self.count -= 1;
        self.told_full = false;
    }
}

/// Counts a learned station at its domain and port, which exist because configuring forgets stations of others.
pub(crate) fn count_in(
    domains: &mut [Option<Domain>],
    ports: &mut [Option<Port>],
    domain: DomainId,
    port: PortId,
) {
    domains[domain.index()].as_mut().expect("a station's domain exists").stations.enter();
    ports[port.index()].as_mut().expect("a station's port exists").stations.enter();
}

/// The inverse of [`count_in`].
pub(crate) fn count_out(
    domains: &mut [Option<Domain>],
    ports: &mut [Option<Port>],
    domain: DomainId,
    port: PortId,
) {
    domains[domain.index()].as_mut().expect("a station's domain exists").stations.leave();
    ports[port.index()].as_mut().expect("a station's port exists").stations.leave();
}

fn compile_ports(now: Instant, plan: &SwitchPlan, before: &[Option<Port>]) -> Vec<Option<Port>> {
    let mut ports = Vec::new();
    for port in &plan.ports {
        if ports.len() <= port.id.index() {
            ports.resize(port.id.index() + 1, None);
        }
        let same =
            before.get(port.id.index()).and_then(Option::as_ref).filter(|old| old.serial == port.serial);
        ports[port.id.index()] = Some(compile_port(now, port, same));
    }
    ports
}

fn compile_port(now: Instant, plan: &PortPlan, before: Option<&Port>) -> Port {
    let mut tagged: Vec<_> =
        plan.memberships.iter().filter_map(|member| Some((member.vid?, member.domain))).collect();
    tagged.sort_unstable();
    let is_watched = plan.guards != Guards::default() || plan.storm != Storm::default();
    let watch = is_watched.then(|| {
        let buckets = before.and_then(|port| port.watch.as_ref()).map(|watch| &watch.storm);
        let storm = buckets.filter(|storm| storm.rates() == plan.storm).cloned();
        Box::new(Watch {
            guards: plan.guards,
            mac: plan.mac,
            addresses: plan.addresses.clone(),
            storm: storm.unwrap_or_else(|| Buckets::new(now, plan.storm)),
        })
    });
    Port {
        serial: plan.serial,
        mtu: plan.mtu,
        is_isolated: plan.isolation == Isolation::Isolated,
        horizon: plan.horizon,
        native: plan.memberships.iter().find(|member| member.vid.is_none()).map(|member| member.domain),
        tagged: tagged.into_boxed_slice(),
        watch,
        stations: Room::with_max(plan.stations_max),
    }
}

fn compile_domains(plan: &SwitchPlan) -> Vec<Option<Domain>> {
    let mut domains: Vec<Option<Domain>> = Vec::new();
    for domain in &plan.domains {
        if domains.len() <= domain.id.index() {
            domains.resize(domain.id.index() + 1, None);
        }
        domains[domain.id.index()] = Some(compile_domain(domain));
    }
    let mut ports: Vec<_> = plan.ports.iter().collect();
    ports.sort_unstable_by_key(|port| port.id);
    for port in ports {
        let is_isolated = port.isolation == Isolation::Isolated;
        for member in &port.memberships {
            let domain =
                domains[member.domain.index()].as_mut().expect("a checked plan has the port's domains");
            let egress = Egress { port: port.id, vid: member.vid, mtu: port.mtu };
            domain.members.push(Member { egress, is_isolated, horizon: port.horizon });
            domain.open_members += usize::from(!is_isolated);
        }
    }
    domains
}

fn compile_domain(plan: &DomainPlan) -> Domain {
    let whole_ticks = plan.ageing.as_secs() + u64::from(plan.ageing.subsec_nanos() > 0);
    Domain {
        ageing: (whole_ticks > 0).then_some(whole_ticks),
        reserved_forward: plan.reserved_forward.0,
        answers: plan.answers,
        members: Vec::new(),
        open_members: 0,
        stations: Room::with_max(plan.stations_max),
    }
}

#[cfg(test)]
mod tests;
