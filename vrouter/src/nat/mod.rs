//! Connections: what is remembered of them, and how their packets are translated.
//!
//! A *session* is one connection. It is opened by its first packet, with a [`Wish`] that says how it is to be translated,
//! and found by the endpoints of every later one in either direction, as they arrive:
//!
//! ```text
//!            Original: 172.16.0.2:4000 → 192.0.2.9:80                becomes   203.0.113.1:4000 → 192.0.2.9:80
//!            Reply:    192.0.2.9:80 → 203.0.113.1:4000               becomes   192.0.2.9:80 → 172.16.0.2:4000
//! ```
//!
//! So a session is two tuples, and what a packet becomes is the other tuple turned round. Who may connect to whom is
//! not decided here; the walk asks first.
//!
//! - Source translation takes an L4 port from a `pool` through a `mapping`, which is endpoint-independent. Echo has its
//!   identifier in the L4 port's place. Other protocols have no sessions.
//! - What comes in unasked may be for a published L4 port, for a one-to-one address ([`Connections::published`]), or
//!   for a mapping that lets it in ([`Connections::mapped`], RFC 4787 §5).
//! - `state` follows TCP; a session ends when its state's timeout passes without a packet (RFC 4787 REQ-5 and 6: packets
//!   of both directions count, RFC 5382 REQ-5, RFC 5508 REQ-2). ICMP errors neither end nor prolong one (RFC 5382
//!   REQ-10, RFC 4787 REQ-12).
//!
//! Limits: [`crate::NatPlan::sessions_max`] sessions, and a share of them for each host that begins some. At either a
//! session yields that is over or unconfirmed ([`State::yields`]), of all or of the host's, and first who has been so
//! longest; others never do. If there is none, or no outside L4 port, the packet is dropped by name and people are told
//! once, until an eighth is free again. None of it searches a table; the longest walk is over the few words that say
//! which L4 ports are free.
//!
//! Clock: seconds. A session ends within a second after its timeout, and from then on is found no more. What has ended
//! is swept in portions ([`SWEPT_PER_WAKE_MAX`]), so that a million sessions ending together hold up nobody.
//!
//! Memory: 92 octets a session, 128 + 28 for IPv6, and less than 43 for finding it; a mapping 20 (44) and less than 26;
//! a host 20 (32) and less than 22.

mod address;
mod clock;
mod hosts;
mod index;
mod info;
mod mapping;
mod pool;
mod published;
mod rewrite;
mod session;
mod slab;
mod state;
mod table;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use serde::{Deserialize, Serialize};
use wire::{DropReason, Instant, Rng};

use crate::packet::{Endpoint, Flow};
use crate::plan::{Filtering, NatPlan, Protocol, RouterPlan};
use crate::turn::{Notice, Turn};

use self::clock::Tick;
use self::published::Published;
use self::state::Spans;
use self::table::{Opening, Refusal, Table};

pub(crate) use self::address::{Address, Tuple};
pub use self::info::{L4PortsInUse, NatStats, SessionFilter, SessionInfo};
pub use self::rewrite::{decrement_hop_limit, rewrite, rewrite_quote};
pub use self::state::{State, TcpFlags};

/// Sessions that are looked at in one wake, of each family. Those that are due beyond that wait for the next wake, which
/// is due at once.
pub const SWEPT_PER_WAKE_MAX: usize = 64;

/// Sessions from which on it pays to look them up beforehand: with their index they take some 90 octets each.
const MANY: u32 = 4_096;

/// Names a session. No other session, earlier or later, has the name before four billion more have been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    place: u32,
    serial: u32,
}

impl SessionId {
    const fn new(place: u32, serial: u32) -> Self {
        Self { place, serial }
    }

    /// The id that prints as this number.
    #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
    pub const fn from_number(number: u64) -> Self {
        Self::new(number as u32, (number >> 32) as u32)
    }

    /// As a number, to print.
    pub const fn number(self) -> u64 {
        (self.serial as u64) << 32 | self.place as u64
    }
}

/// Which way a packet of a session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// As the first one went.
    Original,
    /// Back.
    Reply,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// What to do with a packet of a known session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Whose it is.
    pub session: SessionId,
    /// Which way it goes.
    pub direction: Direction,
    /// What its source becomes.
    pub src: Endpoint,
    /// What its destination becomes.
    pub dst: Endpoint,
    /// Whether the session's packets change at all.
    pub translated: bool,
}

/// A session that a packet of this family belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met<A> {
    pub(crate) session: Way,
    /// What the packet's endpoints become.
    pub(crate) leaving: Tuple<A>,
}

/// A direction of a session, good until the next session begins or ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    place: u32,
    direction: Direction,
}

/// How a new connection is to be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Its destination becomes this.
    pub dst: Option<Endpoint>,
    /// Its source.
    pub src: SourceNat,
    /// Why it may be.
    pub origin: Origin,
    /// Whose share it counts to: the host that began it.
    pub inside: IpAddr,
}

/// What a new connection's source becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceNat {
    /// It stays.
    Keep,
    /// This address of the router and an L4 port that is the same for all connections of the source
    /// (endpoint-independent mapping); the source's own if it is free.
    Masquerade(IpAddr),
    /// This address, which stands for the source alone; the L4 port stays.
    Address(IpAddr),
    /// This address of the router and an L4 port for this connection alone; the source's own if it is free.
    Hairpin(IpAddr),
}

/// Why a connection may be, and so what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its source may connect to its destination.
    Plain,
    /// Its L4 port is published by the entry with this id, and it ends with that.
    Publish(u32),
    /// Its outside address is one station's. It ends with that.
    OneToOne,
    /// It came in through a mapping, which lives as long as it does.
    Mapping,
}

/// All connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Connections {
    v4: Table<Ipv4Addr>,
    v6: Table<Ipv6Addr>,
    rng: Rng,
    plan: NatPlan,
    spans: Spans,
    stats: NatStats,
    /// Whether people have been told that the table is full, and it has not recovered since.
    is_told: bool,
}

impl Connections {
    /// None yet. What is random follows from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let plan = NatPlan::default();
        Self {
            v4: Table::new(&mut rng),
            v6: Table::new(&mut rng),
            rng,
            plan,
            spans: Spans::new(&plan.timeouts),
            stats: NatStats::default(),
            is_told: false,
        }
    }

    /// Applies a plan. Sessions that a published run, a one-to-one pair or an address of the router has led somewhere end
    /// if that is gone or leads elsewhere, and no others. Limits that are lower end nothing, they keep new ones out.
    pub fn configure(&mut self, turn: &mut Turn, plan: &RouterPlan) {
        let now = Tick::of(turn.now);
        self.stats.ended += u64::from(self.v4.configure(published(plan), owned(plan)));
        self.stats.ended += u64::from(self.v6.configure(published(plan), owned(plan)));
        let counts_talks = plan.nat.filtering == Filtering::AddressDependent;
        if counts_talks != (self.plan.filtering == Filtering::AddressDependent) {
            self.v4.count_talks(counts_talks);
            self.v6.count_talks(counts_talks);
        }
        let spans = Spans::new(&plan.nat.timeouts);
        if spans != self.spans {
            hasten_all(&mut self.v4, &spans, now);
            hasten_all(&mut self.v6, &spans, now);
        }
        self.spans = spans;
        self.plan = plan.nat;
    }

    /// The steady path: finds the session of a packet and moves its state and clock on. `tcp`: the flags if it is a TCP
    /// segment; `None` for a later fragment of one.
    #[inline]
    pub fn follow(&mut self, now: Instant, flow: &Flow, tcp: Option<TcpFlags>) -> Option<Followed> {
        let now = Tick::of(now);
        if let Some(tuple) = Tuple::of(flow.src, flow.dst) {
            return self.v4.follow(&self.spans, now, flow.protocol, &tuple, tcp);
        }
        let tuple = Tuple::of(flow.src, flow.dst)?;
        self.v6.follow(&self.spans, now, flow.protocol, &tuple, tcp)
    }

    /// The first half of [`Connections::follow`], for the short way: what there is to say of a packet before anything
    /// changes. Outer `None`: its session's time is over; inner: it has none.
    #[inline]
    #[expect(clippy::option_option, reason = "the walk's business, or the packet of no connection")]
    pub(crate) fn meet<A: Address>(
        &self,
        now: Instant,
        protocol: Protocol,
        tuple: &Tuple<A>,
    ) -> Option<Option<Met<A>>> {
        let table = A::table(self);
        let Some((place, direction)) = table.find(protocol, tuple) else { return Some(None) };
        let session = table.sessions.at(place);
        let leaving = session.tuple(direction.opposite()).reversed();
        let is_over = Tick::of(now) >= session.due(&self.spans);
        (!is_over).then_some(Some(Met { session: Way { place, direction }, leaving }))
    }

    /// Where [`Connections::meet`] will find the session of a packet, in all likelihood; reading that is slow where
    /// sessions are many, and does not wait for other such reads.
    #[inline]
    pub(crate) fn guess<A: Address>(&self, protocol: Protocol, tuple: &Tuple<A>) -> Option<u32> {
        A::table(self).guess(protocol, tuple)
    }

    /// Reads the session at a place that was guessed, for no other purpose than that it is near afterwards.
    #[inline]
    pub(crate) fn fetch<A: Address>(&self, place: u32) {
        core::hint::black_box(A::table(self).sessions.at(place).used);
    }

    /// How long a TCP connection lives that is not open both ways.
    pub(crate) const fn transitory(&self) -> Duration {
        self.plan.timeouts.tcp_transitory
    }

    /// Whether sessions are more than the processor's nearer caches hold.
    pub(crate) const fn are_many(&self) -> bool {
        self.v4.count() + self.v6.count() > MANY
    }

    /// The second half: the packet passes.
    #[inline]
    pub(crate) fn pass<A: Address>(&mut self, now: Instant, way: Way, tcp: Option<TcpFlags>) {
        let spans = self.spans;
        A::table_mut(self).pass(&spans, Tick::of(now), way.place, way.direction, tcp);
    }

    /// Opens a session for the first packet of a connection.
    ///
    /// A TCP segment other than SYN opens one too, if it is not translated to another destination: it comes from inside
    /// and belongs to a connection older than the table (stated choice; it lives for the transitory timeout until it is
    /// answered). From outside, connections begin with a SYN.
    ///
    /// # Errors
    /// `route.sessions-max`, `route.l4-ports-exhausted` (also if another session has the answer's endpoints);
    /// `route.unsolicited` for a segment other than SYN towards something published or mapped; `route.nat-protocol` if
    /// addresses of two families meet, or an echo reply would need a mapping.
    pub fn open(
        &mut self,
        turn: &mut Turn,
        flow: &Flow,
        tcp: Option<TcpFlags>,
        wish: &Wish,
    ) -> Result<Followed, DropReason> {
        let is_first = flow.protocol != Protocol::Tcp || tcp.is_some_and(TcpFlags::is_first);
        if wish.dst.is_some() && !is_first {
            return Err(DropReason::Unsolicited);
        }
        if let Some(tuple) = Tuple::of(flow.src, flow.dst) {
            return self.open_in(|all| (&mut all.v4, &mut all.rng), turn, flow, tuple, tcp, wish);
        }
        let tuple = Tuple::of(flow.src, flow.dst).ok_or(DropReason::NatProtocol)?;
        self.open_in(|all| (&mut all.v6, &mut all.rng), turn, flow, tuple, tcp, wish)
    }

    fn open_in<A: Address>(
        &mut self,
        parts: impl Fn(&mut Self) -> (&mut Table<A>, &mut Rng),
        turn: &mut Turn,
        flow: &Flow,
        tuple: Tuple<A>,
        tcp: Option<TcpFlags>,
        wish: &Wish,
    ) -> Result<Followed, DropReason> {
        let now = Tick::of(turn.now);
        let inside = A::of(wish.inside).ok_or(DropReason::NatProtocol)?;
        let (spans, share) = (self.spans, self.plan.sessions_per_host_max);
        let (table, _) = parts(self);
        if let Some((place, direction)) = table.find(flow.protocol, &tuple) {
            if now < table.sessions.at(place).due(&spans) {
                return Ok(table.followed(place, direction));
            }
            table.remove(place);
            self.stats.expired += 1;
        }
        match parts(self).0.make_share(inside, share) {
            Ok(has_yielded) => self.stats.evicted += u64::from(has_yielded),
            Err(Refusal { reason, has_news }) => {
                self.stats.refused_share += 1;
                if has_news {
                    turn.notice(Notice::ShareFull { inside: wish.inside });
                }
                return Err(reason);
            }
        }
        self.make_room(turn)?;
        let serial = u32::try_from(self.stats.opened & u64::from(u32::MAX)).unwrap_or(0);
        let (table, rng) = parts(self);
        let protocol = flow.protocol;
        let mut opening = Opening { rng, spans, now, serial, protocol, tcp, evicted: 0, expired: 0 };
        let opened = table.open(&mut opening, tuple, wish);
        let (evicted, expired) = (opening.evicted, opening.expired);
        self.stats.evicted += evicted;
        self.stats.expired += expired;
        self.stats.opened += u64::from(opened.is_ok());
        opened.map_err(|Refusal { reason, has_news }| {
            self.stats.refused_l4_ports += u64::from(reason == DropReason::L4PortsExhausted);
            if let (true, SourceNat::Masquerade(outside) | SourceNat::Hairpin(outside)) = (has_news, wish.src)
            {
                turn.notice(Notice::L4PortsExhausted { outside });
            }
            reason
        })
    }

    /// Makes room for one more session.
    #[inline]
    fn make_room(&mut self, turn: &mut Turn) -> Result<(), DropReason> {
        let (count, max) = (self.count(), self.plan.sessions_max);
        if count < max {
            if count < max - max / 8 {
                self.is_told = false;
            }
            return Ok(());
        }
        if !core::mem::replace(&mut self.is_told, true) {
            turn.notice(Notice::SessionsFull);
        }
        let newest = u32::try_from(self.stats.opened & u64::from(u32::MAX)).unwrap_or(0);
        match (self.v4.oldest_yielding(newest), self.v6.oldest_yielding(newest)) {
            (Some((age, place)), other) if other.is_none_or(|(younger, _)| age >= younger) => {
                self.v4.remove(place);
            }
            (_, Some((_, place))) => self.v6.remove(place),
            (_, None) => {
                self.stats.refused_max += 1;
                return Err(DropReason::SessionsMax);
            }
        }
        self.stats.evicted += 1;
        Ok(())
    }

    fn count(&self) -> u32 {
        self.v4.count() + self.v6.count()
    }

    /// Where an unknown flow to one of the router's own addresses leads, and by what: a published run of L4 ports, or
    /// else a one-to-one address.
    pub fn published(&self, flow: &Flow) -> Option<(Endpoint, Origin)> {
        if let Some(tuple) = Tuple::of(flow.src, flow.dst) {
            return published_in(&self.v4, flow, &tuple);
        }
        published_in(&self.v6, flow, &Tuple::of(flow.src, flow.dst)?)
    }

    /// The inside address that an outside one stands for as a whole.
    pub fn inside_of(&self, outside: IpAddr) -> Option<IpAddr> {
        match outside {
            IpAddr::V4(outside) => self.v4.published.inside_of(outside).map(IpAddr::V4),
            IpAddr::V6(outside) => self.v6.published.inside_of(outside).map(IpAddr::V6),
        }
    }

    /// The outside address that an inside one has to itself.
    pub fn one_to_one(&self, inside: IpAddr) -> Option<IpAddr> {
        match inside {
            IpAddr::V4(inside) => self.v4.published.outside_of(inside).map(IpAddr::V4),
            IpAddr::V6(inside) => self.v6.published.outside_of(inside).map(IpAddr::V6),
        }
    }

    /// The inside endpoint that an unknown flow from outside to a mapped L4 port is let in to (RFC 4787 REQ-8,
    /// RFC 5382 REQ-3). Of TCP and UDP; an echo reply without a session is nobody's.
    pub fn mapped(&self, flow: &Flow) -> Option<Endpoint> {
        let filtering = self.plan.filtering;
        if let Some(tuple) = Tuple::of(flow.src, flow.dst) {
            let (address, l4_port) = self.v4.mapped(filtering, flow.protocol, &tuple)?;
            return Some(Endpoint { address: IpAddr::V4(address), l4_port });
        }
        let tuple = Tuple::of(flow.src, flow.dst)?;
        let (address, l4_port) = self.v6.mapped(filtering, flow.protocol, &tuple)?;
        Some(Endpoint { address: IpAddr::V6(address), l4_port })
    }

    /// The session of a packet that an ICMP error quotes, as it is quoted. `src` and `dst` are what the quote's endpoints
    /// become for the error's receiver, who is `src`; `direction` is the error's, against the quote's. Changes neither
    /// state nor clock (RFC 5508 REQ-5 and 6, RFC 5382 REQ-10).
    pub fn quoted(&self, quoted: &Flow) -> Option<Followed> {
        let back = quoted.reversed();
        let followed = if let Some(tuple) = Tuple::of(back.src, back.dst) {
            let (place, direction) = self.v4.find(back.protocol, &tuple)?;
            self.v4.followed(place, direction)
        } else {
            let tuple = Tuple::of(back.src, back.dst)?;
            let (place, direction) = self.v6.find(back.protocol, &tuple)?;
            self.v6.followed(place, direction)
        };
        Some(Followed { src: followed.dst, dst: followed.src, ..followed })
    }

    /// Sweeps up sessions whose time is over.
    pub fn wake(&mut self, turn: &mut Turn) {
        let now = Tick::of(turn.now);
        let ended = self.v4.sweep(&self.spans, now, SWEPT_PER_WAKE_MAX)
            + self.v6.sweep(&self.spans, now, SWEPT_PER_WAKE_MAX);
        self.stats.expired += u64::from(ended);
    }

    /// When there is something to sweep up.
    pub fn next_deadline(&self) -> Option<(Instant, &'static str)> {
        let first = [self.v4.first_due(), self.v6.first_due()].into_iter().flatten().min();
        first.filter(|tick| tick.comes()).map(|tick| (tick.instant(), "nat.timeout"))
    }
}

fn published_in<A: Address>(table: &Table<A>, flow: &Flow, tuple: &Tuple<A>) -> Option<(Endpoint, Origin)> {
    if let Some((to, l4_port, id)) = table.published.run(flow.protocol, tuple.dst, tuple.dst_l4_port) {
        return Some((Endpoint { address: to.ip(), l4_port }, Origin::Publish(id)));
    }
    let inside = table.published.inside_of(tuple.dst)?;
    Some((Endpoint { address: inside.ip(), l4_port: tuple.dst_l4_port }, Origin::OneToOne))
}

fn published<A: Address>(plan: &RouterPlan) -> Published<A> {
    Published::new(&plan.publishes, &plan.one_to_one)
}

fn owned<A: Address>(plan: &RouterPlan) -> Vec<A> {
    let addresses = plan.gateways.iter().flat_map(|gateway| &gateway.addresses);
    let mut owned: Vec<A> = addresses.filter_map(|&address| A::of(address)).collect();
    owned.sort_unstable();
    owned
}

/// Looks at sessions earlier whose timeout has become shorter.
fn hasten_all<A: Address>(table: &mut Table<A>, spans: &Spans, now: Tick) {
    for place in 0..table.sessions.top() {
        if table.sessions.at(place).is_open {
            table.hasten(spans, now, place);
        }
    }
}
