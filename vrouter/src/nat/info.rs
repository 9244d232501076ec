//! What people ask about connections: a list of them, sums, and to end some.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use wire::{Cidr, Instant};

use super::address::Address;
use super::clock::Tick;
use super::session::Session;
use super::table::Table;
use super::{Connections, Origin, SessionId, State};
use crate::packet::{Endpoint, Flow};
use crate::plan::Protocol;

/// A session, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its name.
    pub id: SessionId,
    /// The first packet's endpoints, as it arrived.
    pub original: Flow,
    /// An answer's endpoints, as it arrives.
    pub reply: Flow,
    /// How far it has come.
    pub state: State,
    /// How long it lives on without a packet.
    pub remaining: Duration,
    /// Packets of either direction, the original one's first.
    pub packets: [u64; 2],
    /// Why it may be.
    pub origin: Origin,
}

/// Which sessions are meant: those that everything that is given fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SessionFilter {
    /// This one.
    pub id: Option<SessionId>,
    /// Of this protocol.
    pub protocol: Option<Protocol>,
    /// With an end in here, before or after translation.
    pub address: Option<Cidr>,
    /// With this L4 port or echo identifier at an end, before or after translation.
    pub l4_port: Option<u16>,
    /// By this published entry.
    pub publish: Option<u32>,
}

/// Sums since the start, and what there is.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NatStats {
    /// Sessions that exist.
    pub sessions: u32,
    /// As many may.
    pub sessions_max: u32,
    /// Sessions opened.
    pub opened: u64,
    /// Sessions whose timeout has passed.
    pub expired: u64,
    /// Sessions that were over or unconfirmed, and yielded to others.
    pub evicted: u64,
    /// Sessions that were ended by people, by hand or by configuration.
    pub ended: u64,
    /// Connections refused because the table was full of sessions that yield to nobody.
    pub refused_max: u64,
    /// Connections refused because the host's share was.
    pub refused_share: u64,
    /// Connections refused because no outside L4 port was left.
    pub refused_l4_ports: u64,
    /// Mappings that exist.
    pub mappings: u32,
    /// What is used of each outside address.
    pub l4_ports: Vec<L4PortsInUse>,
}

/// L4 ports (or echo identifiers) of an outside address that are in use, of 65,535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct L4PortsInUse {
    /// Whose.
    pub outside: IpAddr,
    /// For which protocol.
    pub protocol: Protocol,
    /// How many.
    pub in_use: u32,
}

/// In a listing's cursor: a place among the IPv6 sessions.
const V6: u64 = 1 << 32;

impl Connections {
    /// Sessions from `cursor` on (0 at first), at most `max`, and the cursor to go on with. Ordered by place: a session
    /// that exists throughout a listing is in it once, whatever comes and goes meanwhile.
    pub fn list(&self, now: Instant, cursor: u64, max: usize) -> (Vec<SessionInfo>, Option<u64>) {
        let mut found = Vec::new();
        let is_v4 = cursor & V6 == 0;
        let first = u32::try_from(cursor & (V6 - 1)).unwrap_or(u32::MAX);
        let next_v4 = if is_v4 { self.list_in(&self.v4, now, first, max, &mut found) } else { None };
        if let Some(place) = next_v4 {
            return (found, Some(u64::from(place)));
        }
        let first = if is_v4 { 0 } else { first };
        let next_v6 = self.list_in(&self.v6, now, first, max, &mut found);
        (found, next_v6.map(|place| V6 | u64::from(place)))
    }

    fn list_in<A: Address>(
        &self,
        table: &Table<A>,
        now: Instant,
        first: u32,
        max: usize,
        found: &mut Vec<SessionInfo>,
    ) -> Option<u32> {
        for place in first..table.sessions.top() {
            let session = table.sessions.at(place);
            let due = session.due(&self.spans);
            if !session.is_open || due <= Tick::of(now) {
                continue;
            }
            if found.len() == max {
                return Some(place);
            }
            let flow = |index: usize| Flow {
                protocol: session.protocol,
                src: session.tuples[index].src(),
                dst: session.tuples[index].dst(),
            };
            found.push(SessionInfo {
                id: SessionId::new(place, session.serial),
                original: flow(0),
                reply: flow(1),
                state: session.state,
                remaining: due.instant().since(now),
                packets: session.packets,
                origin: session.origin(),
            });
        }
        None
    }

    /// Ends the sessions that `filter` means; how many.
    pub fn kill(&mut self, filter: &SessionFilter) -> usize {
        let killed = kill_in(&mut self.v4, filter) + kill_in(&mut self.v6, filter);
        self.stats.ended += u64::from(killed);
        killed as usize
    }

    /// Sums, and what there is.
    pub fn stats(&self) -> NatStats {
        let mut l4_ports = l4_ports_in(&self.v4);
        l4_ports.extend(l4_ports_in(&self.v6));
        NatStats {
            sessions: self.count(),
            sessions_max: self.plan.sessions_max,
            mappings: self.v4.mappings.count() + self.v6.mappings.count(),
            l4_ports,
            ..self.stats.clone()
        }
    }
}

fn kill_in<A: Address>(table: &mut Table<A>, filter: &SessionFilter) -> u32 {
    // Whom the id names is known at once.
    match filter.id {
        None => table.retain(|_, session| !filter.means(session)),
        Some(id) => {
            let is_it = id.place < table.sessions.top() && {
                let session = table.sessions.at(id.place);
                session.is_open && session.serial == id.serial && filter.means(session)
            };
            if is_it {
                table.remove(id.place);
            }
            u32::from(is_it)
        }
    }
}

fn l4_ports_in<A: Address>(table: &Table<A>) -> Vec<L4PortsInUse> {
    let pools = table.mappings.pools();
    pools
        .map(|(outside, protocol, pool)| L4PortsInUse {
            outside: outside.ip(),
            protocol,
            in_use: pool.in_use(),
        })
        .collect()
}

impl SessionFilter {
    fn means<A: Address>(&self, session: &Session<A>) -> bool {
        let ends = || session.tuples.iter().flat_map(|tuple| [tuple.src(), tuple.dst()]);
        let has = |is_it: &dyn Fn(Endpoint) -> bool| ends().any(is_it);
        self.protocol.is_none_or(|protocol| protocol == session.protocol)
            && self.address.is_none_or(|cidr| has(&|end| cidr.contains(end.address)))
            && self.l4_port.is_none_or(|l4_port| has(&|end| end.l4_port == l4_port))
            && self.publish.is_none_or(|id| session.origin() == Origin::Publish(id))
    }
}
