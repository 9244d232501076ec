//! The sessions of one family: found by either direction's endpoints, in order of age, and with all they hold.

use serde::{Deserialize, Serialize};
use wire::{DropReason, Rng};

use super::address::{Address, Tuple, hash};
use super::clock::{Chain, Links, List, Tick, Wheel};
use super::hosts::Hosts;
use super::index::Index;
use super::mapping::{Mapping, Mappings, UNMAPPED};
use super::published::Published;
use super::session::Session;
use super::slab::{Entry, Slab};
use super::state::{Spans, State, TcpFlags};
use super::{Direction, Followed, Origin, SessionId, SourceNat, Wish};
use crate::hash::HashKey;
use crate::plan::{Filtering, Protocol};

/// Sessions that yield and are asked for their L4 port when none is free, oldest first. If none of them can help, the
/// new connection is refused.
const PORT_YIELDS_MAX: usize = 16;

/// Why a session was not opened: what is counted, and whether people are to be told.
pub(super) struct Refusal {
    pub(super) reason: DropReason,
    pub(super) has_news: bool,
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self { reason, has_news: false }
    }
}

/// The sessions of one family.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "A: Address")]
pub(crate) struct Table<A> {
    key: HashKey,
    /// Of each session two: its place, and in the lowest bit the direction.
    index: Index,
    pub(super) sessions: Slab<Session<A>>,
    links: Slab<Links>,
    /// Those that yield, by protocol; first who has done so longest.
    yielding: [List; 3],
    wheel: Wheel,
    hosts: Hosts<A>,
    pub(super) mappings: Mappings<A>,
    pub(super) published: Published<A>,
    /// The router's own addresses, in order.
    pub(super) owned: alloc::vec::Vec<A>,
}

impl<A: Address> Table<A> {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            key: HashKey::seeded(rng.next_u64()),
            index: Index::new(),
            sessions: Slab::new(),
            links: Slab::new(),
            yielding: [List::EMPTY; 3],
            wheel: Wheel::new(),
            hosts: Hosts::new(HashKey::seeded(rng.next_u64())),
            mappings: Mappings::new(HashKey::seeded(rng.next_u64())),
            published: Published::NOTHING,
            owned: alloc::vec::Vec::new(),
        }
    }

    pub(super) const fn count(&self) -> u32 {
        self.sessions.count()
    }

    /// The steady path.
    #[inline]
    pub(super) fn follow(
        &mut self,
        spans: &Spans,
        now: Tick,
        protocol: Protocol,
        tuple: &Tuple<A>,
        tcp: Option<TcpFlags>,
    ) -> Option<Followed> {
        let (place, direction) = self.find(protocol, tuple)?;
        if now >= self.sessions.at(place).due(spans) {
            return None; // Its time is over; that nobody has swept it yet must not show.
        }
        self.pass(spans, now, place, direction, tcp);
        Some(self.followed(place, direction))
    }

    /// A packet of an open session passes: it counts, and moves state and clock on.
    #[inline]
    pub(super) fn pass(
        &mut self,
        spans: &Spans,
        now: Tick,
        place: u32,
        direction: Direction,
        tcp: Option<TcpFlags>,
    ) {
        let session = self.sessions.at_mut(place);
        let packets = &mut session.packets[direction as usize];
        *packets = packets.wrapping_add(1);
        let state = session.state.after(direction, tcp);
        if state != session.state {
            self.advance(spans, now, place, state);
        } else if session.used != now && state.is_refreshed() {
            session.used = now;
        }
    }

    #[inline]
    pub(super) fn find(&self, protocol: Protocol, tuple: &Tuple<A>) -> Option<(u32, Direction)> {
        let found = self.index.find(hash(self.key, protocol, tuple), |value| {
            let session = self.sessions.at(value >> 1);
            session.tuples[value as usize & 1] == *tuple && session.protocol == protocol
        })?;
        let direction = if found & 1 == 0 { Direction::Original } else { Direction::Reply };
        Some((found >> 1, direction))
    }

    /// The place of the session that is probably meant, from the index alone.
    #[inline]
    pub(super) fn guess(&self, protocol: Protocol, tuple: &Tuple<A>) -> Option<u32> {
        self.index.find(hash(self.key, protocol, tuple), |_| true).map(|found| found >> 1)
    }

    /// What a packet of a session becomes.
    #[inline]
    pub(super) fn followed(&self, place: u32, direction: Direction) -> Followed {
        let session = self.sessions.at(place);
        let back = session.tuple(direction.opposite());
        Followed {
            session: self.id(place),
            direction,
            src: back.dst(),
            dst: back.src(),
            translated: session.is_translated(),
        }
    }

    fn id(&self, place: u32) -> SessionId {
        SessionId::new(place, self.sessions.at(place).serial)
    }

    /// A session's state changes, and with it what it waits for.
    #[inline(never)]
    fn advance(&mut self, spans: &Spans, now: Tick, place: u32, state: State) {
        let session = self.sessions.at_mut(place);
        let did_yield = session.state.yields();
        session.state = state;
        session.used = now;
        match (did_yield, state.yields()) {
            (true, false) => self.stop_yielding(place),
            (false, true) => self.start_yielding(place),
            (true, true) | (false, false) => {}
        }
        self.hasten(spans, now, place);
    }

    /// Looks at a session earlier if it is due earlier.
    pub(super) fn hasten(&mut self, spans: &Spans, now: Tick, place: u32) {
        let due = self.sessions.at(place).due(spans);
        if due < self.links.at(place).looked_at() {
            self.wheel.remove(&mut self.links, place);
            self.wheel.add(&mut self.links, now, place, due);
        }
    }

    /// Makes room in a host's share if it is used up: one of its sessions yields. `Ok(true)` if one did.
    ///
    /// # Errors
    /// `route.sessions-max` if none does; and whether people are to be told.
    pub(super) fn make_share(&mut self, inside: A, share: u32) -> Result<bool, Refusal> {
        let Some(place) = self.hosts.find(inside) else { return Ok(false) };
        let host = self.hosts.at_mut(place);
        if host.sessions < share {
            host.is_told &= host.sessions >= share - share / 8;
            return Ok(false);
        }
        let Some(oldest) = host.yielding.oldest() else {
            let has_news = !core::mem::replace(&mut host.is_told, true);
            return Err(Refusal { reason: DropReason::SessionsMax, has_news });
        };
        self.remove(oldest);
        Ok(true)
    }

    /// The session to yield, and how many have been opened since it was.
    pub(super) fn oldest_yielding(&self, newest: u32) -> Option<(u32, u32)> {
        let oldest = self.yielding.iter().filter_map(List::oldest);
        let ages = oldest.map(|place| (newest.wrapping_sub(self.sessions.at(place).serial), place));
        ages.max()
    }

    /// Opens a session that does not exist. There is room for it.
    ///
    /// # Errors
    /// `route.l4-ports-exhausted` if no outside L4 port is left, or the answer's endpoints are taken;
    /// `route.nat-protocol` if the wish is for another family; `route.unsolicited` if the mapping that it came in through
    /// has just ended.
    pub(super) fn open(
        &mut self,
        context: &mut Opening,
        original: Tuple<A>,
        wish: &Wish,
    ) -> Result<Followed, Refusal> {
        let protocol = context.protocol;
        let host = A::of(wish.inside).ok_or(DropReason::NatProtocol)?;
        let mut reply = original.reversed();
        if let Some(dst) = wish.dst {
            reply.src = A::of(dst.address).ok_or(DropReason::NatProtocol)?;
            reply.src_l4_port = dst.l4_port;
        }
        let outside = |address| A::of(address).ok_or(DropReason::NatProtocol);
        let mapping = match wish.src {
            SourceNat::Keep => UNMAPPED,
            SourceNat::Address(address) => {
                reply.dst = outside(address)?;
                UNMAPPED
            }
            SourceNat::Masquerade(address) => self.map(context, &original, outside(address)?, true)?,
            SourceNat::Hairpin(address) => self.map(context, &original, outside(address)?, false)?,
        };
        if mapping != UNMAPPED {
            let mapping = self.mappings.at(mapping);
            (reply.dst, reply.dst_l4_port) = (mapping.outside, mapping.outside_l4_port);
        }
        self.end_stale(context, &reply);
        if wish.origin == Origin::Mapping && !self.leads_to(protocol, &original, &reply) {
            if mapping != UNMAPPED {
                self.mappings.end_unused(mapping);
            }
            return Err(DropReason::Unsolicited.into());
        }
        if self.find(protocol, &reply).is_some() {
            if mapping != UNMAPPED {
                self.mappings.end_unused(mapping);
            }
            return Err(DropReason::L4PortsExhausted.into());
        }
        let state = State::first(protocol, context.tcp);
        let mut session = Session::new(protocol, [original, reply], state, wish.origin);
        session.packets[0] = 1;
        session.used = context.now;
        session.serial = context.serial;
        session.mapping = mapping;
        session.host = self.hosts.hold(host);
        let place = self.insert(context, session);
        Ok(self.followed(place, Direction::Original))
    }

    /// Whether the mapping that a flow came in through still leads to who answers it: the room for its session may have
    /// been made by the end of the mapping's last one.
    fn leads_to(&self, protocol: Protocol, original: &Tuple<A>, reply: &Tuple<A>) -> bool {
        let owner = self.mappings.owner(protocol, original.dst, original.dst_l4_port);
        owner
            .map(|place| self.mappings.at(place))
            .is_some_and(|mapping| (mapping.inside, mapping.inside_l4_port) == (reply.src, reply.src_l4_port))
    }

    /// Ends a session with this tuple whose time is over.
    fn end_stale(&mut self, context: &mut Opening, tuple: &Tuple<A>) {
        if let Some((place, _)) = self.find(context.protocol, tuple)
            && context.now >= self.sessions.at(place).due(&context.spans)
        {
            self.remove(place);
            context.expired += 1;
        }
    }

    /// The mapping of an inside endpoint at an outside address: the shared one, or a new one. A session may have to
    /// yield its L4 port.
    fn map(
        &mut self,
        context: &mut Opening,
        original: &Tuple<A>,
        outside: A,
        is_shared: bool,
    ) -> Result<u32, Refusal> {
        let protocol = context.protocol;
        let (inside, inside_l4_port) = (original.src, original.src_l4_port);
        // Of an echo only who asks has an identifier.
        if protocol == Protocol::Echo && original.dst_l4_port != 0 {
            return Err(DropReason::NatProtocol.into());
        }
        if is_shared && let Some(place) = self.mappings.shared(protocol, inside, inside_l4_port, outside) {
            return Ok(place);
        }
        let mapping =
            Mapping { inside, outside, inside_l4_port, outside_l4_port: 0, protocol, is_shared, sessions: 0 };
        self.mappings.pool(outside, protocol, self.published.at(outside, protocol));
        if let Some(place) = self.mappings.make(context.rng, mapping) {
            self.mappings.pool(outside, protocol, core::iter::empty()).recover();
            return Ok(place);
        }
        if let Some(place) = self.port_yielder(&mapping) {
            self.remove(place);
            context.evicted += 1;
        }
        self.mappings.make(context.rng, mapping).ok_or_else(|| {
            let pool = self.mappings.pool(outside, protocol, core::iter::empty());
            let has_news = !core::mem::replace(&mut pool.is_told, true);
            Refusal { reason: DropReason::L4PortsExhausted, has_news }
        })
    }

    /// An old session that yields and is the only one to use an L4 port that suits the new mapping.
    fn port_yielder(&self, wanted: &Mapping<A>) -> Option<u32> {
        let oldest = self.yielding[wanted.protocol as usize].oldest();
        let by_age =
            core::iter::successors(oldest, |&place| List::after(&self.links, Chain::Yielding, place));
        by_age.take(PORT_YIELDS_MAX).find(|&place| {
            let mapping = self.sessions.at(place).mapping;
            mapping != UNMAPPED && self.mappings.can_yield(mapping, wanted)
        })
    }

    fn insert(&mut self, context: &Opening, session: Session<A>) -> u32 {
        let (protocol, tuples) = (session.protocol, session.tuples);
        let (mapping, due) = (session.mapping, session.due(&context.spans));
        let inbound = self.inbound_mapping(&session);
        let yields = session.state.yields();
        let place = self.sessions.insert(session);
        let beside = self.links.insert(Links::VACANT);
        assert_eq!(place, beside, "sessions and their links come and go together");
        for (direction, tuple) in (0..).zip(&tuples) {
            self.index.insert(hash(self.key, protocol, tuple), place << 1 | direction);
        }
        if mapping != UNMAPPED {
            self.mappings.hold(mapping);
            self.mappings.talk(mapping, tuples[1].src);
        }
        if let Some(mapping) = inbound {
            self.mappings.hold(mapping);
        }
        if yields {
            self.start_yielding(place);
        }
        self.wheel.add(&mut self.links, context.now, place, due);
        place
    }

    /// The mapping that a session came in through, which lives as long as it does.
    fn inbound_mapping(&self, session: &Session<A>) -> Option<u32> {
        let original = &session.tuples[0];
        let came_in = session.origin() == Origin::Mapping;
        came_in.then(|| self.mappings.owner(session.protocol, original.dst, original.dst_l4_port))?
    }

    /// Ends a session.
    pub(super) fn remove(&mut self, place: u32) {
        let session = self.sessions.at(place).clone();
        for (direction, tuple) in (0..).zip(&session.tuples) {
            self.index.remove(hash(self.key, session.protocol, tuple), place << 1 | direction);
        }
        if session.state.yields() {
            self.stop_yielding(place);
        }
        self.wheel.remove(&mut self.links, place);
        let inbound = self.inbound_mapping(&session);
        if session.mapping != UNMAPPED {
            self.mappings.fall_silent(session.mapping, session.tuples[1].src);
            self.mappings.release(session.mapping);
        }
        if let Some(mapping) = inbound {
            self.mappings.release(mapping);
        }
        self.hosts.release(session.host);
        self.sessions.at_mut(place).is_open = false;
        self.sessions.remove(place);
        self.links.remove(place);
    }

    fn start_yielding(&mut self, place: u32) {
        let session = self.sessions.at(place);
        self.yielding[session.protocol as usize].push(&mut self.links, Chain::Yielding, place);
        let host = self.hosts.at_mut(session.host);
        host.yielding.push(&mut self.links, Chain::YieldingOfHost, place);
    }

    fn stop_yielding(&mut self, place: u32) {
        let session = self.sessions.at(place);
        self.yielding[session.protocol as usize].remove(&mut self.links, Chain::Yielding, place);
        let host = self.hosts.at_mut(session.host);
        host.yielding.remove(&mut self.links, Chain::YieldingOfHost, place);
    }

    /// Ends at most `budget` sessions whose time is over; how many.
    pub(super) fn sweep(&mut self, spans: &Spans, now: Tick, budget: usize) -> u32 {
        let mut ended = 0;
        for _ in 0..budget {
            let Some(place) = self.wheel.next(now) else { break };
            let due = self.sessions.at(place).due(spans);
            if due <= now {
                self.remove(place);
                ended += 1;
            } else {
                self.wheel.remove(&mut self.links, place);
                self.wheel.add(&mut self.links, now, place, due);
            }
        }
        ended
    }

    /// When there is something to sweep.
    pub(super) fn first_due(&self) -> Option<Tick> {
        if self.count() == 0 { None } else { self.wheel.first() } // The wheel looks at all its slots for nothing.
    }

    /// Ends the sessions that are not `wanted`; how many.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Self, &Session<A>) -> bool) -> u32 {
        let mut ended = 0;
        for place in 0..self.sessions.top() {
            let session = self.sessions.at(place);
            if session.is_open && !wanted(self, session) {
                self.remove(place);
                ended += 1;
            }
        }
        ended
    }

    /// Whether the plan still leads a session where it goes.
    pub(super) fn is_planned(&self, session: &Session<A>) -> bool {
        let [original, reply] = &session.tuples;
        let owns = |address: A| self.owned.binary_search(&address).is_ok();
        let dst_moved = (original.dst, original.dst_l4_port) != (reply.src, reply.src_l4_port);
        let src_moved = (original.src, original.src_l4_port) != (reply.dst, reply.dst_l4_port);
        if dst_moved && !owns(original.dst) || src_moved && !owns(reply.dst) {
            return false;
        }
        let src_is_kept = !src_moved
            || session.mapping != UNMAPPED
            || self.published.outside_of(original.src) == Some(reply.dst);
        let dst_is_kept = match session.origin() {
            Origin::Publish(id) => {
                let run = self.published.run(session.protocol, original.dst, original.dst_l4_port);
                run == Some((reply.src, reply.src_l4_port, id))
            }
            Origin::OneToOne => !dst_moved || self.published.inside_of(original.dst) == Some(reply.src),
            Origin::Plain | Origin::Mapping => true,
        };
        src_is_kept && dst_is_kept
    }

    /// Applies what changed. Says how many sessions that ended.
    pub(super) fn configure(&mut self, published: Published<A>, owned: alloc::vec::Vec<A>) -> u32 {
        let has_lost = !self.published.is_kept_by(&published)
            || self.owned.iter().any(|address| owned.binary_search(address).is_err());
        self.published = published;
        self.owned = owned;
        let ended = if has_lost { self.retain(Self::is_planned) } else { 0 };
        let (owned, published) = (&self.owned, &self.published);
        self.mappings.retain_pools(|outside| owned.binary_search(&outside).is_ok());
        for (outside, protocol, pool) in self.mappings.pools_mut() {
            pool.reserve(published.at(outside, protocol));
        }
        ended
    }

    /// Begins or stops to count who has talked to whom.
    pub(super) fn count_talks(&mut self, is_wanted: bool) {
        self.mappings.count_talks(is_wanted);
        for place in 0..self.sessions.top() {
            let session = self.sessions.at(place);
            if session.is_open && session.mapping != UNMAPPED {
                self.mappings.talk(session.mapping, session.tuples[1].src);
            }
        }
    }

    /// The inside endpoint of a mapping that lets a flow in which belongs to no session.
    pub(super) fn mapped(
        &self,
        filtering: Filtering,
        protocol: Protocol,
        tuple: &Tuple<A>,
    ) -> Option<(A, u16)> {
        let place = self.mappings.owner(protocol, tuple.dst, tuple.dst_l4_port)?;
        let mapping = self.mappings.at(place);
        let is_let_in = match filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => self.mappings.has_talked(place, tuple.src),
            Filtering::AddressAndPortDependent => false,
        };
        (mapping.is_shared && protocol != Protocol::Echo && is_let_in)
            .then_some((mapping.inside, mapping.inside_l4_port))
    }
}

/// What opening a session needs from outside its table.
pub(super) struct Opening<'a> {
    pub(super) rng: &'a mut Rng,
    pub(super) spans: Spans,
    pub(super) now: Tick,
    pub(super) serial: u32,
    pub(super) protocol: Protocol,
    pub(super) tcp: Option<TcpFlags>,
    /// Sessions that gave their L4 ports to the new one.
    pub(super) evicted: u64,
    /// Sessions that stood in its way and were over.
    pub(super) expired: u64,
}
