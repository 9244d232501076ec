//! What the running router knows: asked of worker 0, whose node routes.
//!
//! Listings are asked for in pages, so that a long one does not hold up the worker. A connection that exists throughout a
//! listing is in it once; others may or may not be.

use std::collections::BTreeMap;
use std::net::IpAddr;

use config::{AclProto, Prefix};
use node::{Event, Node};
use vrouter::Protocol;
use vrouter::nat::{self, Origin, State as Progress};
use vrouter::neighbour::NeighbourState;
use vrouter::packet::{Endpoint, Flow};
use wire::{DomainId, Instant};

use super::Supervisor;
use super::router::{network, proto};
use crate::api::{
    ApiError, Ended, ErrorKind, L4PortsInfo, NatInfo, NeighbourFilter, NeighbourInfo, SessionFilter,
    SessionInfo,
};

/// The worker whose node routes.
const ROUTING: usize = 0;
/// Connections or neighbours asked for at once.
const PAGE: usize = 1_024;
/// Connections that one answer has. Further ones are left out; a filter finds them.
const SESSIONS_LISTED_MAX: usize = 65_536;

fn ask<T: Send + 'static>(
    supervisor: &Supervisor,
    question: impl FnOnce(Instant, &Node) -> T + Send + 'static,
) -> Result<T, ApiError> {
    supervisor.workers.ask(ROUTING, question).ok_or_else(stopped)
}

/// Lets events happen; by how much they make what `count` counts fewer.
fn happen(
    supervisor: &Supervisor,
    events: Vec<Event>,
    count: impl Fn(&Node) -> u64 + Send + 'static,
) -> Result<Ended, ApiError> {
    let count = supervisor.workers.happen(ROUTING, events, count).ok_or_else(stopped)?;
    Ok(Ended { count })
}

fn stopped() -> ApiError {
    ApiError::new(ErrorKind::Unavailable, "the router", "the switch is ending")
}

/// How often each access rule has matched, in the order of the plan.
pub(super) fn acl_hits(supervisor: &Supervisor) -> Result<Vec<u64>, ApiError> {
    ask(supervisor, |_, node| node.router().acl_hits().to_vec())
}

/// How many connections each published entry has, by its id.
pub(super) fn sessions_of_publishes(supervisor: &Supervisor) -> Result<BTreeMap<u32, u64>, ApiError> {
    let mut counts = BTreeMap::new();
    each_session(supervisor, |session| {
        if let Origin::Publish(id) = session.origin {
            *counts.entry(id).or_insert(0) += 1;
        }
        true
    })?;
    Ok(counts)
}

/// Shows every connection until one is enough.
fn each_session(
    supervisor: &Supervisor,
    mut show: impl FnMut(&nat::SessionInfo) -> bool,
) -> Result<(), ApiError> {
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let (page, next) = ask(supervisor, move |now, node| node.router().connections().list(now, at, PAGE))?;
        if !page.iter().all(&mut show) {
            break;
        }
        cursor = next;
    }
    Ok(())
}

pub(super) fn sessions(
    supervisor: &Supervisor,
    filter: &SessionFilter,
) -> Result<Vec<SessionInfo>, ApiError> {
    let filter = Wanted::new(filter)?;
    let mut found = Vec::new();
    each_session(supervisor, |session| {
        if filter.has(session) {
            found.push(info(session));
        }
        found.len() < SESSIONS_LISTED_MAX
    })?;
    Ok(found)
}

/// A filter in the router's terms.
struct Wanted {
    id: Option<u64>,
    rest: nat::SessionFilter,
}

impl Wanted {
    fn new(filter: &SessionFilter) -> Result<Self, ApiError> {
        let prefix = |text: &String| {
            text.parse::<Prefix>().map(|prefix| prefix.0).map_err(|error| {
                ApiError::new(ErrorKind::Invalid, format!("address {text:?}"), error.to_string())
            })
        };
        let protocol = filter.proto.map(|proto| match proto {
            AclProto::Tcp => Protocol::Tcp,
            AclProto::Udp => Protocol::Udp,
            AclProto::Icmp => Protocol::Echo,
        });
        let address = filter.address.as_ref().map(prefix).transpose()?;
        let rest = nat::SessionFilter { id: None, protocol, address, l4_port: filter.l4_port, publish: None };
        Ok(Self { id: filter.id, rest })
    }

    fn has(&self, session: &nat::SessionInfo) -> bool {
        let ends = || [&session.original, &session.reply].into_iter().flat_map(|flow| [flow.src, flow.dst]);
        self.id.is_none_or(|id| id == session.id.number())
            && self.rest.protocol.is_none_or(|protocol| protocol == session.original.protocol)
            && self.rest.address.is_none_or(|prefix| ends().any(|end| prefix.contains(end.address)))
            && self.rest.l4_port.is_none_or(|l4_port| ends().any(|end| end.l4_port == l4_port))
    }
}

fn info(session: &nat::SessionInfo) -> SessionInfo {
    let Flow { protocol, src, dst } = session.original;
    SessionInfo {
        id: session.id.number(),
        proto: proto(protocol).to_owned(),
        src: end(src),
        dst: end(dst),
        reply_src: end(session.reply.src),
        reply_dst: end(session.reply.dst),
        state: progress(session.state).to_owned(),
        origin: match session.origin {
            Origin::Plain => "plain",
            Origin::Publish(_) => "publish",
            Origin::OneToOne => "one-to-one",
            Origin::Mapping => "mapping",
        }
        .to_owned(),
        remaining_ms: u64::try_from(session.remaining.as_millis()).unwrap_or(u64::MAX),
        packets: session.packets[0],
        reply_packets: session.packets[1],
    }
}

fn end(end: Endpoint) -> String {
    std::net::SocketAddr::new(end.address, end.l4_port).to_string()
}

const fn progress(state: Progress) -> &'static str {
    match state {
        Progress::Unanswered => "unanswered",
        Progress::Answered => "answered",
        Progress::Assured => "assured",
        Progress::SynSent => "syn-sent",
        Progress::SynReceived => "syn-received",
        Progress::Picked => "picked-up",
        Progress::Established => "established",
        Progress::FinFromOrigin | Progress::FinFromReply => "half-closed",
        Progress::Closing => "closing",
        Progress::ResetFromOrigin | Progress::ResetFromReply => "reset",
    }
}

pub(super) fn kill_sessions(supervisor: &Supervisor, filter: &SessionFilter) -> Result<Ended, ApiError> {
    let wanted = Wanted::new(filter)?;
    let mut meant = vec![wanted.rest];
    if wanted.id.is_some() {
        meant.clear(); // A number means one connection at most, whose name only the router can give.
        each_session(supervisor, |session| {
            if wanted.has(session) {
                meant.push(nat::SessionFilter { id: Some(session.id), ..wanted.rest });
            }
            meant.is_empty()
        })?;
    }
    let events = meant.into_iter().map(Event::KillSessions).collect();
    happen(supervisor, events, |node| u64::from(node.router().connections().stats().sessions))
}

pub(super) fn nat(supervisor: &Supervisor) -> Result<NatInfo, ApiError> {
    let stats = ask(supervisor, |_, node| node.router().connections().stats())?;
    let in_use = |used: &nat::L4PortsInUse| L4PortsInfo {
        outside: used.outside.to_string(),
        proto: proto(used.protocol).to_owned(),
        in_use: u64::from(used.in_use),
    };
    Ok(NatInfo {
        sessions: u64::from(stats.sessions),
        sessions_max: u64::from(stats.sessions_max),
        opened: stats.opened,
        expired: stats.expired,
        evicted: stats.evicted,
        ended: stats.ended,
        refused_max: stats.refused_max,
        refused_share: stats.refused_share,
        refused_l4_ports: stats.refused_l4_ports,
        mappings: u64::from(stats.mappings),
        l4_ports: stats.l4_ports.iter().map(in_use).collect(),
    })
}

/// The domain of a network that is named; `Err` if there is none of the name.
fn domain(supervisor: &Supervisor, filter: &NeighbourFilter) -> Result<Option<DomainId>, ApiError> {
    let state = supervisor.state();
    let Some(name) = &filter.network else { return Ok(None) };
    state.compiled.networks.get(name).copied().map(Some).ok_or_else(|| {
        ApiError::new(ErrorKind::NotFound, format!("network {name:?}"), "there is none")
            .next("see `tapestry network ls`; the uplink's is called uplink")
    })
}

pub(super) fn neighbours(
    supervisor: &Supervisor,
    filter: &NeighbourFilter,
) -> Result<Vec<NeighbourInfo>, ApiError> {
    let domain = domain(supervisor, filter)?;
    let wanted: Option<IpAddr> = filter.address;
    let mut found = Vec::new();
    let mut first = None;
    loop {
        let (page, next) =
            ask(supervisor, move |now, node| node.router().neighbours().page(now, domain, first, PAGE))?;
        found.extend(page.into_iter().filter(|known| wanted.is_none_or(|address| address == known.address)));
        first = next;
        if first.is_none() {
            break;
        }
    }
    let state = supervisor.state();
    let info = |known: &vrouter::neighbour::NeighbourInfo| NeighbourInfo {
        network: network(&state.compiled, known.domain),
        address: known.address.to_string(),
        mac: known.mac.map(|mac| mac.to_string()),
        state: match known.state {
            NeighbourState::Incomplete => "incomplete",
            NeighbourState::Reachable => "reachable",
            NeighbourState::Stale => "stale",
            NeighbourState::Delay => "delay",
            NeighbourState::Probe => "probe",
            NeighbourState::Failed => "failed",
        }
        .to_owned(),
        age_ms: u64::try_from(known.age.as_millis()).unwrap_or(u64::MAX),
        parked: known.parked as u64,
    };
    Ok(found.iter().map(info).collect())
}

pub(super) fn flush_neighbours(supervisor: &Supervisor, filter: &NeighbourFilter) -> Result<Ended, ApiError> {
    let (domain, address) = (domain(supervisor, filter)?, filter.address);
    happen(supervisor, vec![Event::FlushNeighbours { domain, address }], |node| {
        let stats = node.router().neighbours().stats();
        (stats.known + stats.unresolved) as u64
    })
}
