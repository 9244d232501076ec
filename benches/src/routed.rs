//! The router in memory: 64-byte UDP packets through the whole node, as a worker would hand them over, without a kernel.
//!
//! A network `a` with 1,000 stations, a network `b` with as many, an uplink with a next router; all have asked for the
//! gateway's address once, so they are known neighbours. Frames pass in bursts of 64, each of a flow drawn evenly, so
//! that at 100,000 flows nearly every look-up misses the processor's first caches. Only handing over and clearing the
//! outbox are timed.
//!
//! Outside L4 ports are few: 50,000 inside endpoints talk to as many destinations as the flows need. Connections are
//! UDP and answered once before anything is measured.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use node::{Event, Node, Outbox, Plan};
use vrouter::fib::{Fib, NextHop, Route, Target};
use vrouter::{Gateway, NatPlan, NetworkPolicy, Protocol, Publish, RouterPlan, Side};
use vswitch::SwitchPlan;
use wire::{Cidr, DomainId, FrameBuf, Instant, Mac, PortId, Rng, UnicastMac};

use crate::corridor::{BURST, domain_plan, millions_a_second, port_plan};
use crate::generate::frames::udp_frame;

pub(crate) const A: DomainId = DomainId(1);
pub(crate) const B: DomainId = DomainId(2);
const UP: DomainId = DomainId(3);
/// Ports of each network; the uplink's comes after them.
const PORTS: u32 = 50;
pub(crate) const UPLINK: PortId = PortId(100);
/// What is published of a station of `a`, and of the outside address.
pub(crate) const PUBLISHED: u16 = 8_080;
/// Stations of each network.
const STATIONS: u32 = 1_000;
/// Endpoints in `a` that talk to the outside: each takes an outside L4 port.
const ENDPOINTS: u32 = 50_000;
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
pub(crate) const NEXT_ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Where the flows lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From network to network, untranslated and unremembered.
    Between,
    /// To the uplink, masqueraded.
    Out,
}

/// A node that knows its neighbours, and flows for it.
#[derive(Debug)]
pub struct Routed {
    node: Node,
    out: Outbox,
    way: Way,
    flows: u32,
    rng: Rng,
    burst: Vec<(PortId, FrameBuf)>,
    now: Instant,
}

impl Routed {
    /// A node whose `flows` have been opened and answered.
    pub fn warm(way: Way, flows: u32) -> Self {
        let mut routed = Self::introduced(way, flows);
        if way == Way::Out {
            routed.open(0..flows, true);
        }
        routed
    }

    /// A node whose stations are known and whose connections are not.
    fn introduced(way: Way, flows: u32) -> Self {
        let mut node = Node::new(7);
        let mut out = Outbox::default();
        let plan = plan(vec![published(PUBLISHED, PUBLISHED)]);
        assert_eq!(plan.check(), Ok(()), "the bench's plan is a good one");
        let now = Instant::from_secs(1);
        node.handle(now, Event::Configure(Arc::new(plan)), &mut out);
        let (rng, burst) = (Rng::seeded(0x0a7e), Vec::with_capacity(BURST));
        let mut routed = Self { node, out, way, flows, rng, burst, now };
        routed.introduce();
        routed
    }

    /// Every station asks for its gateway's MAC address.
    fn introduce(&mut self) {
        for station in 0..STATIONS {
            self.ask(port_of(A, station), address_of(A, station), gateway_of(A));
            self.ask(port_of(B, station), address_of(B, station), gateway_of(B));
        }
        self.ask(UPLINK, NEXT_ROUTER, OUTSIDE);
    }

    fn ask(&mut self, port: PortId, station: Ipv4Addr, gateway: Ipv4Addr) {
        let mac = mac_of(station);
        let question = [
            &[0xff; 6][..],
            &mac.0,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &mac.0,
            &station.octets(),
            &[0; 6],
            &gateway.octets(),
        ]
        .concat();
        self.now = self.now + Duration::from_millis(1); // Answers have a rate.
        self.hand(port, &question);
        assert!(!self.out.sends().is_empty(), "{station} is answered");
        self.out.clear_sends();
        self.out.notices.clear();
    }

    fn hand(&mut self, port: PortId, bytes: &[u8]) {
        let mut frame = self.out.pool.take();
        assert!(frame.fill(bytes), "it is a short frame");
        self.node.handle(self.now, Event::Frame { port, frame }, &mut self.out);
    }

    /// Sends the first packet of each flow, in bursts. With `answered`, the outside answers each.
    fn open(&mut self, flows: std::ops::Range<u32>, answered: bool) -> Duration {
        let firsts = flows.clone().step_by(BURST);
        firsts.map(|first| self.open_burst(first..flows.end.min(first + 64), answered)).sum()
    }

    /// The same for one burst; returns how long the node had the first packets.
    fn open_burst(&mut self, flows: std::ops::Range<u32>, answered: bool) -> Duration {
        flows.clone().for_each(|flow| self.write(flow));
        let took = self.hand_over();
        let opened = self.out.sends().len();
        assert_eq!(opened, flows.len(), "every connection is let out");
        for (at, flow) in flows.enumerate().filter(|_| answered) {
            let send = self.out.sends()[at];
            let seen = self.out.frame(send).bytes();
            let outside = SocketAddrV4::new(OUTSIDE, u16::from_be_bytes([seen[34], seen[35]]));
            let answer = udp_frame(mac_of(NEXT_ROUTER), mac_of(OUTSIDE), ends_of(Way::Out, flow).1, outside);
            self.hand(UPLINK, &answer);
        }
        assert_eq!(self.out.sends().len(), opened * (1 + usize::from(answered)), "every answer is let in");
        let began = std::time::Instant::now();
        self.out.clear_sends();
        took + began.elapsed()
    }

    fn write(&mut self, flow: u32) {
        let (from, to) = ends_of(self.way, flow);
        let bytes = udp_frame(mac_of(*from.ip()), mac_of(gateway_of(A)), from, to);
        let mut frame = self.out.pool.take();
        assert!(frame.fill(&bytes), "it is a short frame");
        self.burst.push((port_of(A, flow % ENDPOINTS % STATIONS), frame));
    }

    fn hand_over(&mut self) -> Duration {
        self.now = self.now + Duration::from_micros(4);
        let began = std::time::Instant::now();
        self.node.look_ahead(self.burst.iter().map(|(_, frame)| frame));
        for (port, frame) in self.burst.drain(..) {
            self.node.handle(self.now, Event::Frame { port, frame }, &mut self.out);
        }
        began.elapsed()
    }

    /// One burst of flows drawn evenly; returns how long the node had it.
    ///
    /// # Panics
    /// If a packet does not leave exactly once, where it should.
    pub fn pass(&mut self) -> Duration {
        for _ in 0..BURST {
            let flow = u32::try_from(self.rng.below(u64::from(self.flows))).expect("there are fewer");
            self.write(flow);
        }
        let handled = self.hand_over();
        assert_eq!(self.out.sends().len(), BURST, "each packet leaves");
        let is_right = |port: PortId| match self.way {
            Way::Between => (PORTS..2 * PORTS).contains(&u32::from(port.0)),
            Way::Out => port == UPLINK,
        };
        assert!(self.out.sends().iter().all(|send| is_right(send.port)), "by a port of where it is going");
        let began = std::time::Instant::now();
        self.out.clear_sends();
        handled + began.elapsed()
    }

    /// Lets so much time pass, and then these frames in, with what is due; how long the node had them. Whatever comes of
    /// them is nobody's.
    pub(crate) fn disturb<const LEN: usize>(
        &mut self,
        after: Duration,
        frames: &[(PortId, [u8; LEN])],
    ) -> Duration {
        self.now = self.now + after;
        for (port, bytes) in frames {
            let mut frame = self.out.pool.take();
            assert!(frame.fill(bytes), "it is a short frame");
            self.burst.push((*port, frame));
        }
        let began = std::time::Instant::now();
        if self.node.is_due(self.now) {
            self.node.handle(self.now, Event::Wake, &mut self.out);
        }
        for (port, frame) in self.burst.drain(..) {
            self.node.handle(self.now, Event::Frame { port, frame }, &mut self.out);
        }
        self.out.clear_sends();
        let took = began.elapsed();
        self.out.notices.clear();
        took
    }

    /// Lets so much time pass at once, and wakes the node until nothing is due any more; how long it had for each wake.
    pub(crate) fn let_time_pass(&mut self, span: Duration) -> Vec<Duration> {
        self.now = self.now + span;
        let mut spent = Vec::new();
        while self.node.is_due(self.now) {
            let began = std::time::Instant::now();
            self.node.handle(self.now, Event::Wake, &mut self.out);
            self.out.clear_sends();
            spent.push(began.elapsed());
        }
        spent
    }

    /// Packets a second, in millions.
    pub fn mpps(&mut self, span: Duration) -> f64 {
        millions_a_second(span, || self.pass())
    }

    /// How many times bursts allocate: once warm this must be never.
    pub fn allocations(&mut self) -> u64 {
        // Until every neighbour has been used: the first use of each arms a timer.
        for _ in 0..1_000 {
            self.pass();
        }
        let counted = allocation_counter::measure(|| {
            for _ in 0..1_000 {
                self.pass();
            }
        });
        counted.count_total
    }
}

/// Opens connections through NAT again and again, each with an outside L4 port of its own.
#[derive(Debug)]
pub struct Opener(Routed);

impl Opener {
    /// Connections in a round.
    pub const CONNECTIONS: u32 = ENDPOINTS;

    /// A node that has had as many connections before.
    pub fn warm() -> Self {
        let mut opener = Self(Routed::introduced(Way::Out, ENDPOINTS));
        opener.round();
        opener
    }

    /// Opens them all; returns how long the node had them. Afterwards they time out.
    pub fn round(&mut self) -> Duration {
        let took = self.0.open(0..Self::CONNECTIONS, false);
        self.end();
        took
    }

    fn end(&mut self) {
        self.0.let_time_pass(Duration::from_secs(400));
        self.0.introduce();
    }

    /// Connections a second, in millions: of the middle burst of `rounds`, so that who else uses the processor does not
    /// count.
    pub fn mcps(&mut self, rounds: usize) -> f64 {
        let mut spent = Vec::new();
        for _ in 0..rounds {
            let firsts = (0..Self::CONNECTIONS - 63).step_by(BURST);
            spent.extend(firsts.map(|first| self.0.open_burst(first..first + 64, false)));
            self.end();
        }
        spent.sort_unstable();
        BURST as f64 / spent[spent.len() / 2].as_secs_f64() / 1e6
    }
}

/// A million NAT sessions: octets of memory each, by the allocator's count, and the node that holds them.
pub fn million() -> (f64, Routed) {
    const SESSIONS: u32 = 1_000_000;
    let mut routed = Routed::introduced(Way::Out, SESSIONS);
    routed.open(0..64, true); // Buffers and the outbox are not the sessions'.
    let counted = allocation_counter::measure(|| {
        routed.open(64..SESSIONS, true);
    });
    (counted.bytes_current as f64 / f64::from(SESSIONS - 64), routed)
}

/// What a published range of 50,000 L4 ports costs: the time to check and apply the plan, and octets of memory.
pub fn publish() -> (Duration, i64) {
    let range = Publish { protocol: Protocol::Udp, ..published(10_000, 59_999) };
    let mut routed = Routed::introduced(Way::Out, 1);
    let mut took = Duration::ZERO;
    let counted = allocation_counter::measure(|| {
        let plan = plan(vec![range]);
        let began = std::time::Instant::now();
        assert_eq!(plan.check(), Ok(()), "the plan with a range is a good one");
        routed.node.handle(routed.now, Event::Configure(Arc::new(plan)), &mut routed.out);
        took = began.elapsed();
    });
    (took, counted.bytes_max.try_into().unwrap_or(i64::MAX))
}

/// L4 ports of TCP that lead to a station of `a`.
fn published(first: u16, last: u16) -> Publish {
    Publish {
        id: 1,
        listen: None,
        protocol: Protocol::Tcp,
        l4_port_first: first,
        l4_port_last: last,
        to: IpAddr::V4(address_of(A, 0)),
        to_l4_port_first: first,
    }
}

/// Who talks to whom in a flow.
fn ends_of(way: Way, flow: u32) -> (SocketAddrV4, SocketAddrV4) {
    let (endpoint, round) = (flow % ENDPOINTS, flow / ENDPOINTS);
    let l4_port = |number: u32| u16::try_from(10_000 + number).expect("there are fewer");
    let from = SocketAddrV4::new(address_of(A, endpoint % STATIONS), l4_port(endpoint / STATIONS));
    let to = match way {
        // Not the station with the same number: its neighbours at a distance, all of them in turn.
        Way::Between => {
            SocketAddrV4::new(address_of(B, (endpoint * 7 + endpoint / STATIONS) % STATIONS), l4_port(round))
        }
        Way::Out => {
            SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, u8::try_from(round).expect("there are fewer")), 53)
        }
    };
    (from, to)
}

fn address_of(domain: DomainId, station: u32) -> Ipv4Addr {
    let [.., high, low] = (station + 256).to_be_bytes();
    Ipv4Addr::new(172, if domain == A { 16 } else { 17 }, high, low)
}

pub(crate) fn gateway_of(domain: DomainId) -> Ipv4Addr {
    Ipv4Addr::new(172, if domain == A { 16 } else { 17 }, 0, 1)
}

pub(crate) fn mac_of(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([0x02, 0x42, a, b, c, d])
}

pub(crate) fn port_of(domain: DomainId, station: u32) -> PortId {
    let first = if domain == A { 0 } else { PORTS };
    PortId(u16::try_from(first + station % PORTS).expect("there are 100"))
}

fn plan(publishes: Vec<Publish>) -> Plan {
    let cidr = |text: &str| text.parse::<Cidr>().expect("the bench's prefixes are good ones");
    let gateway = |domain, address: Ipv4Addr, subnet: &str, side| Gateway {
        domain,
        mac: UnicastMac::new(mac_of(address)).expect("it is a station's"),
        addresses: vec![IpAddr::V4(address)],
        subnets: vec![cidr(subnet)],
        mtu: 1500,
        side,
    };
    let policy = NetworkPolicy { masquerade_v4: true, ..NetworkPolicy::default() };
    let gateways = vec![
        gateway(A, gateway_of(A), "172.16.0.0/16", Side::Network(policy)),
        gateway(B, gateway_of(B), "172.17.0.0/16", Side::Network(policy)),
        gateway(UP, OUTSIDE, "192.0.2.0/24", Side::Uplink),
    ];
    let mut routes: Vec<Route> = gateways
        .iter()
        .map(|gateway| Route { prefix: gateway.subnets[0], target: Target::Connected(gateway.domain) })
        .collect();
    let next_router = NextHop { domain: UP, address: IpAddr::V4(NEXT_ROUTER) };
    routes.push(Route { prefix: cidr("0.0.0.0/0"), target: Target::Via(vec![next_router]) });
    let fib = Arc::new(Fib::build(&routes).expect("the bench's routes are good ones"));
    let nat = NatPlan { sessions_max: 1_048_576, ..NatPlan::default() };
    let router = RouterPlan { gateways, fib, nat, publishes, ..RouterPlan::default() };
    Plan { switch: switch_plan(), router, ..Plan::default() }
}

fn switch_plan() -> SwitchPlan {
    let ports = (0..PORTS).flat_map(|number| [(port_of(A, number), A), (port_of(B, number), B)]);
    SwitchPlan {
        domains: [A, B, UP].map(domain_plan).into(),
        ports: ports.chain([(UPLINK, UP)]).map(|(id, domain)| port_plan(id, domain)).collect(),
        statics: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_router_allocates_nothing() {
        for (way, flows) in [(Way::Between, 10), (Way::Between, 5_000), (Way::Out, 10), (Way::Out, 5_000)] {
            assert_eq!(Routed::warm(way, flows).allocations(), 0, "{way:?}, {flows} flows");
        }
    }

    #[test]
    fn a_published_range_costs_what_an_entry_costs() {
        let (_, octets) = publish();
        assert!(octets < 1024 * 1024, "{octets} octets");
    }
}
