//! The whole corridor in memory: 64-byte frames through the node, as a worker would hand them over, without a kernel.
//!
//! A node with 100 ports in one domain and so many stations, told evenly to the ports and known beforehand. Frames
//! pass in bursts of 64: buffers come from the outbox's pool and return to it, each frame goes from one known station
//! to another behind another port, all drawn evenly, so that at 100,000 stations nearly every look-up misses the
//! processor's first caches: the worst case. Only handing over and clearing the outbox are timed; writing the
//! frames, which is the device's work, and checking where they went are not.

use std::sync::Arc;
use std::time::Duration;

use node::{Event, Node, Outbox, Plan};
use vswitch::{DomainPlan, Guards, Isolation, Membership, PortPlan, ReservedForward, Storm, SwitchPlan};
use wire::{DomainId, FrameBuf, Instant, Mac, PortId, Rng};

use crate::generate::frames::FRAME_LEN;

/// Frames in a burst.
pub const BURST: usize = 64;
const PORTS: u16 = 100;
const DOMAIN: DomainId = DomainId(1);
/// Pairs of stations that talk in turn: more than the branch predictor learns by heart.
const PAIRS: usize = 1 << 16;

/// A warm node and the frames for it.
#[derive(Debug)]
pub struct Corridor {
    node: Node,
    out: Outbox,
    burst: Vec<(PortId, FrameBuf)>,
    expected: Vec<PortId>,
    /// From, to.
    pairs: Vec<(u64, u64)>,
    next: usize,
    now: Instant,
}

impl Corridor {
    /// A node that knows `stations` stations, at least two.
    pub fn warm(stations: u64) -> Self {
        let mut corridor = Self::configured(stations);
        corridor.learn(stations);
        corridor
    }

    /// A node with its ports, and nobody behind them yet.
    fn configured(stations: u64) -> Self {
        let mut rng = Rng::seeded(0x7a9e);
        let mut pair = || {
            let from = rng.below(stations);
            let other = (from + 1 + rng.below(stations - 1)) % stations;
            // Behind one port they would not need us; the neighbour's neighbour is behind another.
            (from, if port_of(other) == port_of(from) { (other + 1) % stations } else { other })
        };
        let pairs = (0..PAIRS).map(|_| pair()).collect();
        let mut node = Node::new(7);
        let mut out = Outbox::default();
        node.handle(Instant::ZERO, Event::Configure(Arc::new(plan())), &mut out);
        let (burst, expected) = (Vec::with_capacity(BURST), Vec::with_capacity(BURST));
        Self { node, out, burst, expected, pairs, next: 0, now: Instant::ZERO }
    }

    /// Every station says something once.
    fn learn(&mut self, stations: u64) {
        for station in 0..stations {
            let mut frame = self.out.pool.take();
            assert!(frame.fill(&frame_between(station, station)), "it is a short frame");
            self.node.handle(self.now, Event::Frame { port: port_of(station), frame }, &mut self.out);
            self.out.clear_sends();
            self.out.notices.clear();
        }
        assert_eq!(u64::from(self.node.stations_of_domain(DOMAIN)), stations, "all are learned");
    }

    /// One burst through the node; returns how long the node had it.
    ///
    /// # Panics
    /// If a frame does not leave exactly once, by its destination's port.
    pub fn pass(&mut self) -> Duration {
        self.write_burst();
        let began = std::time::Instant::now();
        for (port, frame) in self.burst.drain(..) {
            self.node.handle(self.now, Event::Frame { port, frame }, &mut self.out);
        }
        let handled = began.elapsed();
        let went = self.out.sends().iter().map(|send| send.port);
        assert!(went.eq(self.expected.iter().copied()), "each frame leaves by its destination's port");
        let began = std::time::Instant::now();
        self.out.clear_sends();
        handled + began.elapsed()
    }

    fn write_burst(&mut self) {
        self.expected.clear();
        self.now = self.now + Duration::from_micros(4);
        for _ in 0..BURST {
            let (from, to) = self.pairs[self.next];
            self.next = (self.next + 1) % PAIRS;
            let mut frame = self.out.pool.take();
            assert!(frame.fill(&frame_between(from, to)), "it is a short frame");
            self.burst.push((port_of(from), frame));
            self.expected.push(port_of(to));
        }
    }

    /// Frames a second, in millions.
    pub fn mfps(&mut self, span: Duration) -> f64 {
        millions_a_second(span, || self.pass())
    }
}

/// Frames a second, in millions: of the middle burst, so that who else uses the processor does not count. `pass` has the
/// node handle a burst and says how long that took.
pub(crate) fn millions_a_second(span: Duration, pass: impl FnMut() -> Duration) -> f64 {
    millions_of(BURST, span, pass)
}

/// The same where a pass is of `count` things.
pub(crate) fn millions_of(count: usize, span: Duration, mut pass: impl FnMut() -> Duration) -> f64 {
    let ends = std::time::Instant::now() + span;
    let mut spent = Vec::new();
    while std::time::Instant::now() < ends || spent.is_empty() {
        spent.push(pass());
    }
    spent.sort_unstable();
    count as f64 / spent[spent.len() / 2].as_secs_f64() / 1e6
}

/// Octets of memory, by the allocator's count, that a node takes per station when it has learned 100,000.
pub fn octets_per_station() -> f64 {
    const STATIONS: u64 = 100_000;
    let mut corridor = Corridor::configured(STATIONS);
    // One frame first: buffers and the outbox are not the stations'.
    corridor.learn(1);
    let counted = allocation_counter::measure(|| corridor.learn(STATIONS));
    counted.bytes_current as f64 / STATIONS as f64
}

/// How many times bursts allocate once warm: this must be never.
pub fn allocations_once_warm(corridor: &mut Corridor) -> u64 {
    const BURSTS: usize = 2 * PAIRS / BURST;
    corridor.pass();
    let counted = allocation_counter::measure(|| {
        for _ in 0..BURSTS {
            corridor.pass();
        }
    });
    counted.count_total
}

fn mac(station: u64) -> Mac {
    Mac::from_bits(0x0242_0000_0000 + station)
}

fn port_of(station: u64) -> PortId {
    PortId(u16::try_from(station % u64::from(PORTS)).expect("less than PORTS"))
}

fn frame_between(from: u64, to: u64) -> [u8; FRAME_LEN] {
    let mut frame = [0x88; FRAME_LEN]; // From octet 12 on a local experimental EtherType's worth of payload.
    frame[0..6].copy_from_slice(&mac(to).0);
    frame[6..12].copy_from_slice(&mac(from).0);
    frame
}

fn plan() -> Plan {
    let switch = SwitchPlan {
        domains: vec![domain_plan(DOMAIN)],
        ports: (0..PORTS).map(|number| port_plan(PortId(number), DOMAIN)).collect(),
        statics: vec![],
    };
    let plan = Plan { switch, ..Plan::default() };
    assert_eq!(plan.check(), Ok(()), "the bench's plan is a good one");
    plan
}

/// An untagged port without limits.
pub(crate) fn port_plan(id: PortId, domain: DomainId) -> PortPlan {
    PortPlan {
        id,
        serial: 0,
        memberships: vec![Membership { domain, vid: None }],
        mtu: 1500,
        stations_max: u32::MAX,
        isolation: Isolation::Open,
        horizon: None,
        mac: None,
        addresses: vec![],
        guards: Guards::default(),
        storm: Storm::default(),
    }
}

/// A domain without limits.
pub(crate) fn domain_plan(id: DomainId) -> DomainPlan {
    DomainPlan {
        id,
        ageing: Duration::from_secs(300),
        stations_max: u32::MAX,
        reserved_forward: ReservedForward::default(),
        answers: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_corridor_allocates_nothing() {
        for stations in [10, 5_000] {
            assert_eq!(allocations_once_warm(&mut Corridor::warm(stations)), 0, "{stations} stations");
        }
    }

    #[test]
    fn a_station_takes_at_most_32_octets() {
        let octets = octets_per_station();
        assert!((8.0..=32.0).contains(&octets), "{octets} octets");
    }
}
