//! The checkers of a world: what must hold between its switches, whatever its faults.
//!
//! - A frame, or what is made of it, passes few switches: else it goes round.
//! - A frame reaches only hosts of the segment of the host that sent it, unless a router has made another of it.
//! - Translations are bijective: an inside endpoint has one L4 port of an outside address, and that is nobody else's; no
//!   two connections look alike in either direction.
//! - Tables keep their limits.
//! - What should work has worked, and again in time after the last change; what should fail never works; TCP and UDP
//!   deliver what was sent.
//!
//! A frame that two wires have damaged may deceive the Internet checksum: two flipped bits of one place in their words, one
//! set and one cleared, leave the sum as it is (RFC 1071). Once a host has heard such a frame, nothing is said of octets that were
//! not sent.
//!
//! The first four are looked at after every event of a switch (the third when its connections have changed), the last
//! when it is due. A switch's own laws are the [`crate::Driver`]'s; what it breaks is a finding too.

use std::collections::BTreeMap;
use std::time::Duration;

use node::Node;
use serde::Serialize;
use vrouter::neighbour::NEIGHBOURS_MAX;
use vrouter::plan::Protocol;
use vrouter::{Endpoint, Flow};
use wire::{DomainId, Instant};

use super::queue::Trail;
use super::rings::Segments;
use super::spec::{Expect, FlowKind};
use super::stats::FlowStats;
use super::topology::{CablePlan, End, FlowPlan, NodePlan, Topology};

/// Findings kept. Further ones are not.
const FINDINGS_MAX: usize = 100;
/// Connections that are compared with each other after every change; more are compared only now and then.
const COMPARED_MAX: u32 = 256;
/// That is, so many events apart.
const COMPARED_EVERY: u64 = 1_000;

/// Something is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// When it was found, in nanoseconds.
    pub at_ns: u64,
    /// What does not hold: law, ring, segment, nat, limit, works, fails, data or stall.
    pub rule: &'static str,
    /// Who, and how.
    pub what: String,
}

/// Who looks.
pub(super) struct Judge {
    pub(super) findings: Vec<Finding>,
    /// Whether the world cannot go on.
    pub(super) is_over: bool,
    hops_max: Option<u32>,
    /// The segment of each host.
    segments: Vec<Option<(usize, DomainId)>>,
    /// How often they have been reckoned.
    pub(super) generation: u32,
    /// Frames that hosts have heard and that two wires have damaged.
    pub(super) deceptive: u64,
    /// By switch: connections opened and events when they were last compared.
    compared: Vec<(u64, u64)>,
}

impl Judge {
    pub(super) fn new(topology: &Topology) -> Self {
        let hops_max = u32::try_from(topology.nodes.len()).map_or(u32::MAX, |nodes| nodes * 4 + 8);
        let mut judge = Self {
            findings: Vec::new(),
            is_over: false,
            hops_max: (!topology.spec.loops).then_some(hops_max),
            segments: Vec::new(),
            generation: 0,
            deceptive: 0,
            compared: vec![(0, 0); topology.nodes.len()],
        };
        let cables: Vec<CablePlan> = topology.cables.clone();
        judge.configured(&topology.nodes, &cables, topology.hosts.len());
        judge
    }

    /// Switches have these plans from now on.
    pub(super) fn configured(&mut self, nodes: &[NodePlan], cables: &[CablePlan], hosts: usize) {
        let (segments, _) = Segments::of(nodes, cables);
        let segment = |host: usize| {
            cables.iter().find_map(|cable| match &cable.ends {
                [End::Host(one), End::Port(node, port)] | [End::Port(node, port), End::Host(one)]
                    if *one == host =>
                {
                    segments.untagged(nodes, *node, port)
                }
                _ => None,
            })
        };
        self.segments = (0..hosts).map(segment).collect();
        self.generation += 1;
    }

    pub(super) fn find(&mut self, at: Instant, rule: &'static str, what: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { at_ns: at.as_nanos(), rule, what });
        }
    }

    /// The world ends with this.
    pub(super) fn find_and_end(&mut self, at: Instant, rule: &'static str, what: String) {
        self.find(at, rule, what);
        self.is_over = true;
    }

    /// A frame leaves a switch.
    pub(super) fn leaves(&mut self, now: Instant, node: &str, trail: Trail) {
        if self.hops_max.is_some_and(|max| trail.hops > max) {
            let what =
                format!("a frame that leaves {node} has passed {} switches: it goes round", trail.hops);
            self.find_and_end(now, "ring", what);
        }
    }

    /// A frame arrives at a host.
    pub(super) fn arrives(&mut self, now: Instant, host: usize, trail: Trail, topology: &Topology) {
        self.deceptive += u64::from(trail.flips > 1);
        // What was under way when segments changed may arrive by the old ones.
        let Some(origin) = trail.origin.filter(|_| trail.generation == self.generation) else { return };
        let (own, other) = (self.segments[host], self.segments[origin]);
        if own != other {
            let (host, origin) = (&topology.hosts[host].name, &topology.hosts[origin].name);
            self.find(
                now,
                "segment",
                format!("{host} hears a frame of {origin}, which is in another segment"),
            );
        }
    }

    /// A switch has handled something.
    pub(super) fn handled(&mut self, now: Instant, number: usize, name: &str, node: &Node) {
        if node.plan().router.gateways.is_empty() {
            return;
        }
        let known = node.router().neighbours().stats();
        if known.known + known.unresolved > NEIGHBOURS_MAX {
            self.find(now, "limit", format!("{name} has more neighbours than {NEIGHBOURS_MAX}: {known:?}"));
        }
        let stats = node.router().connections().stats();
        if stats.sessions > stats.sessions_max {
            let what =
                format!("{name} has {} connections and may have {}", stats.sessions, stats.sessions_max);
            self.find(now, "limit", what);
        }
        let received = node.counters().received;
        let (opened, at) = self.compared[number];
        let is_due = stats.sessions <= COMPARED_MAX || received >= at + COMPARED_EVERY;
        if stats.opened == opened || !is_due {
            return;
        }
        self.compared[number] = (stats.opened, received);
        let sessions = node.router().connections().list(now, 0, usize::MAX).0;
        let flows: Vec<(Flow, Flow)> =
            sessions.iter().map(|session| (session.original, session.reply)).collect();
        if let Err(what) = bijective(&flows) {
            self.find(now, "nat", format!("{name}: {what}"));
        }
    }

    /// When this flow must have worked; `None` if nothing is expected of it.
    pub(super) fn due(flow: &FlowPlan, topology: &Topology) -> Option<Instant> {
        let since = heals_at(flow, topology);
        (flow.spec.expect == Expect::Works).then(|| since + topology.spec.heal_within.0)
    }

    /// A flow must have worked by now.
    pub(super) fn must_work(&mut self, now: Instant, number: usize, flow: &FlowPlan, stats: &FlowStats) {
        // Bulk that has sent all it had to before the last change has nothing left to show.
        let is_done = flow.spec.kind == FlowKind::Bulk && flow.spec.bytes.is_some() && stats.received > 0;
        if stats.healed_at.is_some() || is_done {
            return;
        }
        let last = stats
            .last_at
            .map_or_else(|| "never".to_owned(), |at| format!("last at {}", crate::describe::time(at)));
        self.find(now, "works", format!("{} does not work: {last}", title(number, flow)));
    }

    /// What can be said of a flow at any time.
    pub(super) fn flow(&mut self, now: Instant, number: usize, flow: &FlowPlan, stats: &FlowStats) {
        if let (Expect::Fails, Some(at)) = (flow.spec.expect, stats.first_at) {
            let at = crate::describe::time(at);
            self.find(now, "fails", format!("{} should never work and does at {at}", title(number, flow)));
        }
        if stats.foreign > 0 && self.deceptive == 0 {
            let what =
                format!("{} has received {} octets that were not sent", title(number, flow), stats.foreign);
            self.find(now, "data", what);
        }
    }
}

/// From when on a flow has no excuse.
pub(super) fn heals_at(flow: &FlowPlan, topology: &Topology) -> Instant {
    let start = Instant::ZERO + flow.spec.start.0;
    let healed = topology.healed_at();
    // One that ends before is expected to work from its beginning.
    match flow.spec.stop {
        Some(stop) if Instant::ZERO + stop.0 <= healed + Duration::from_secs(1) => start,
        Some(_) | None => start.max(healed),
    }
}

/// A flow in words.
pub(super) fn title(number: usize, flow: &FlowPlan) -> String {
    format!("flow[{number}] ({:?} from {} to {})", flow.spec.kind, flow.spec.from, flow.spec.to)
        .to_lowercase()
}

/// Whether no two of these connections (original and reply direction) look alike or share what must be one's own.
fn bijective(flows: &[(Flow, Flow)]) -> Result<(), String> {
    let mut seen: BTreeMap<(bool, Flow), usize> = BTreeMap::new();
    let mut inside_of: BTreeMap<(Protocol, Endpoint), Endpoint> = BTreeMap::new();
    let mut outside_of: BTreeMap<(Protocol, Endpoint, std::net::IpAddr), Endpoint> = BTreeMap::new();
    for (number, (original, reply)) in flows.iter().enumerate() {
        for (is_reply, flow) in [(false, *original), (true, *reply)] {
            if let Some(other) = seen.insert((is_reply, flow), number) {
                let (this, other) = (&flows[number], &flows[other]);
                return Err(format!("two connections look alike: {this:?} and {other:?}"));
            }
        }
        let (inside, outside) = (original.src, reply.dst);
        if inside == outside {
            continue;
        }
        let protocol = original.protocol;
        if let Some(other) = inside_of.insert((protocol, outside), inside).filter(|other| *other != inside) {
            return Err(format!("{outside:?} stands for {inside:?} and for {other:?}"));
        }
        let key = (protocol, inside, outside.address);
        if let Some(other) = outside_of.insert(key, outside).filter(|other| *other != outside) {
            return Err(format!("{inside:?} has {outside:?} and {other:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(last: u8, l4_port: u16) -> Endpoint {
        Endpoint { address: [10, 0, 0, last].into(), l4_port }
    }

    fn connection(inside: Endpoint, outside: Endpoint, remote: Endpoint) -> (Flow, Flow) {
        let protocol = Protocol::Udp;
        (Flow { protocol, src: inside, dst: remote }, Flow { protocol, src: remote, dst: outside })
    }

    #[test]
    fn translations_that_are_not_bijective_are_found() {
        let remotes = [end(90, 53), end(91, 53)];
        let good = [
            connection(end(1, 1), end(80, 7), remotes[0]),
            connection(end(1, 1), end(80, 7), remotes[1]),
            connection(end(2, 1), end(80, 8), remotes[0]),
            connection(end(1, 1), end(81, 9), remotes[0]),
        ];
        assert_eq!(bijective(&good[..3]), Ok(()));
        // Two outside addresses, but one original direction.
        assert!(bijective(&good).unwrap_err().contains("look alike"));
        let shared = [good[0], connection(end(2, 1), end(80, 7), remotes[1])];
        assert!(bijective(&shared).unwrap_err().contains("stands for"));
        let two = [good[0], connection(end(1, 1), end(80, 8), remotes[1])];
        assert!(bijective(&two).unwrap_err().contains("has"));
    }
}
