//! Connections in memory: a network's stations behind masquerade, without frames around them.
//!
//! 254 stations open TCP connections from L4 ports of their own choice to servers all over, through as many outside
//! addresses as a gateway may have; each has a mapping of its own, the worst case. Packets are drawn evenly from all
//! connections and both directions, so that at 100,000 nearly every look-up misses the processor's first caches.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use vrouter::nat::{Connections, Origin, SourceNat, TcpFlags, Wish};
use vrouter::plan::{GATEWAY_ADDRESSES_MAX, SESSIONS_MAX};
use vrouter::{Endpoint, Flow, Gateway, Made, Protocol, Publish, RouterPlan, Side, Turn};
use wire::tcp::{ACK, SYN};
use wire::{DomainId, FramePool, Instant, Mac, Rng, UnicastMac};

use crate::corridor::millions_of;

/// Packets looked up in turn: more than the branch predictor learns by heart.
const DRAWN: usize = 1 << 16;
const STATIONS: u64 = 254;

/// Connections, and packets of theirs.
#[derive(Debug)]
pub struct Crowd {
    connections: Connections,
    packets: Vec<Flow>,
    now: Instant,
}

impl Crowd {
    /// So many established connections.
    pub fn new(sessions: usize) -> Self {
        let mut connections = configured(&plan());
        let mut rng = Rng::seeded(0x7a9e);
        let mut flows = Vec::with_capacity(2 * sessions);
        for flow in flows_of(sessions) {
            let src = open(&mut connections, &flow);
            let back = Flow { protocol: flow.protocol, src: flow.dst, dst: src };
            for (packet, flags) in [(back, SYN | ACK), (flow, ACK)] {
                let followed = connections.follow(Instant::ZERO, &packet, Some(TcpFlags::from_bits(flags)));
                assert!(followed.is_some_and(|followed| followed.translated), "{packet:?}");
            }
            flows.extend([flow, back]);
        }
        let packets =
            (0..DRAWN).map(|_| flows[usize::try_from(rng.below(flows.len() as u64)).expect("an index")]);
        Self { connections, packets: packets.collect(), now: Instant::ZERO }
    }

    /// Follows [`Self::packets_per_pass`] packets.
    ///
    /// # Panics
    /// If one belongs to no connection.
    pub fn pass(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        let flags = Some(TcpFlags::from_bits(ACK));
        let mut known = 0;
        for packet in &self.packets {
            known += usize::from(self.connections.follow(self.now, packet, flags).is_some());
        }
        assert_eq!(known, DRAWN, "each packet belongs to a connection");
    }

    /// How many a pass follows.
    pub const fn packets_per_pass() -> u64 {
        DRAWN as u64
    }

    /// Packets a second, in millions: of the middle pass, so that who else uses the processor does not count.
    pub fn mpps(&mut self, span: Duration) -> f64 {
        millions_of(DRAWN, span, || {
            let began = std::time::Instant::now();
            self.pass();
            began.elapsed()
        })
    }
}

/// Connections to be opened, and a table for them.
#[derive(Debug)]
pub struct Rush {
    connections: Connections,
    flows: Vec<Flow>,
}

impl Rush {
    /// So many, none of which is open yet.
    pub fn new(sessions: usize) -> Self {
        Self { connections: configured(&plan()), flows: flows_of(sessions) }
    }

    /// Opens them all.
    ///
    /// # Panics
    /// If one is refused.
    pub fn pass(&mut self) {
        for flow in &self.flows {
            open(&mut self.connections, flow);
        }
    }

    /// Connections opened a second, in millions, by the middle of five tables.
    pub fn mops(sessions: usize) -> f64 {
        let mut spent: Vec<Duration> = (0..5)
            .map(|_| {
                let mut rush = Self::new(sessions);
                let began = std::time::Instant::now();
                rush.pass();
                began.elapsed()
            })
            .collect();
        spent.sort_unstable();
        sessions as f64 / spent[spent.len() / 2].as_secs_f64() / 1e6
    }
}

/// Octets of memory, by the allocator's count, that a connection takes among so many; mappings, hosts and free L4 ports
/// included.
pub fn octets_per_session(sessions: usize) -> f64 {
    let mut rush = Rush::new(sessions);
    let counted = allocation_counter::measure(|| rush.pass());
    assert_eq!(rush.connections.stats().sessions as usize, sessions, "all are open");
    counted.bytes_current as f64 / sessions as f64
}

/// What publishing 50,000 L4 ports takes: the time, and octets of memory by the allocator's count.
pub fn publish_range() -> (Duration, i64) {
    let publish = Publish {
        id: 1,
        listen: None,
        protocol: Protocol::Tcp,
        l4_port_first: 10_000,
        l4_port_last: 59_999,
        to: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
        to_l4_port_first: 10_000,
    };
    let mut crowd = Crowd::new(1_000);
    let with_range = RouterPlan { publishes: vec![publish], ..plan() };
    let began = std::time::Instant::now();
    let counted = allocation_counter::measure(|| configure(&mut crowd.connections, &with_range));
    (began.elapsed(), counted.bytes_current)
}

/// An uplink with all the addresses that it may have.
fn plan() -> RouterPlan {
    let mac = UnicastMac::new(Mac([2, 0, 0, 0, 0, 1])).expect("it is a station's");
    let addresses = (0..GATEWAY_ADDRESSES_MAX).map(outside).collect();
    let uplink = Gateway { side: Side::Uplink, ..Gateway::of_network(DomainId(1), mac, addresses, vec![]) };
    let mut plan = RouterPlan { gateways: vec![uplink], ..RouterPlan::default() };
    plan.nat.sessions_max = SESSIONS_MAX;
    plan
}

fn outside(number: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, u8::try_from(number + 1).expect("there are few")))
}

fn configured(plan: &RouterPlan) -> Connections {
    let mut connections = Connections::new(7);
    configure(&mut connections, plan);
    connections
}

fn configure(connections: &mut Connections, plan: &RouterPlan) {
    let (mut pool, mut made) = (FramePool::default(), Made::default());
    connections
        .configure(&mut Turn { now: Instant::ZERO, pool: &mut pool, made: &mut made, links: None }, plan);
}

/// Each from another endpoint inside.
fn flows_of(sessions: usize) -> Vec<Flow> {
    let mut rng = Rng::seeded(1);
    let mut taken = std::collections::BTreeSet::new();
    let mut flows = Vec::with_capacity(sessions);
    while flows.len() < sessions {
        let (station, l4_port) = (1 + rng.below(STATIONS), 1_024 + rng.below(64_512));
        if taken.insert((station, l4_port)) {
            let narrow = |number: u64| u16::try_from(number).expect("it was drawn below");
            let octet = u8::try_from(station).expect("it was drawn below");
            let server = u32::try_from(rng.below(1 << 32)).expect("it was drawn below") | 0x0800_0000;
            let end = |address, l4_port| Endpoint { address: IpAddr::V4(address), l4_port };
            flows.push(Flow {
                protocol: Protocol::Tcp,
                src: end(Ipv4Addr::new(10, 0, 0, octet), narrow(l4_port)),
                dst: end(Ipv4Addr::from_bits(server), 443),
            });
        }
    }
    flows
}

/// Opens a connection through the outside address that is its station's; says what its source becomes.
fn open(connections: &mut Connections, flow: &Flow) -> Endpoint {
    let number = match flow.src.address {
        IpAddr::V4(address) => usize::from(address.octets()[3]) % GATEWAY_ADDRESSES_MAX,
        IpAddr::V6(_) => 0,
    };
    let src = SourceNat::Masquerade(outside(number));
    let wish = Wish { dst: None, src, origin: Origin::Plain, inside: flow.src.address };
    let (mut pool, mut made) = (FramePool::default(), Made::default());
    let mut turn = Turn { now: Instant::ZERO, pool: &mut pool, made: &mut made, links: None };
    let opened = connections.open(&mut turn, flow, Some(TcpFlags::from_bits(SYN)), &wish);
    opened.expect("there is room").src
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_connections_take_no_more_memory_than_promised() {
        let octets = octets_per_session(1_000_000);
        assert!(octets <= 192.0, "{octets}");
    }

    #[test]
    fn a_wide_range_takes_little_memory_and_known_connections_take_none() {
        assert!(publish_range().1 < 1 << 20);
        let mut crowd = Crowd::new(1_000);
        assert_eq!(allocation_counter::measure(|| crowd.pass()).count_total, 0);
    }
}
