//! Floods in memory: what an innocent packet costs the router while its tables are full of hostile ones, and what those
//! cost.
//!
//! The node is [`Routed`]'s: stations of network `a` talk to the outside through masquerade. Hostile frames come from
//! network `b` or over the uplink, a burst before each innocent burst, as many as a million a second. Before anything is
//! measured a million have come, so that each table is as full as it gets: half-open connections, packets in pieces,
//! neighbours that do not answer. What became of each hostile frame is not asked; every innocent packet has to leave.
//!
//! How long an innocent packet waits behind hostile ones is no figure of the router but of how many a device has
//! ready; what each takes is one.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use wire::{Mac, PortId};

use crate::corridor::BURST;
use crate::generate::flood::{first_fragment, syn};
use crate::generate::frames::{FRAME_LEN, udp_frame};
use crate::routed::{B, NEXT_ROUTER, OUTSIDE, PUBLISHED, Routed, UPLINK, Way, gateway_of, mac_of, port_of};

/// Hostile frames before anything is measured.
const BEFORE: u64 = 1_000_000;
/// Innocent flows.
const FLOWS: u32 = 1_000;
/// Innocent bursts that are measured.
const BURSTS: usize = 4_000;
/// The time a hostile burst takes to come: a million frames a second.
const APART: Duration = Duration::from_micros(BURST as u64);

/// What is sent in masses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// SYNs from inside, each from another endpoint: the outside L4 ports run out.
    SynEndpoints,
    /// SYNs from inside by few endpoints to many: the table of connections runs full.
    SynDestinations,
    /// SYNs from outside to a published port.
    SynPublished,
    /// From inside to every L4 port of the router.
    ScanInside,
    /// From outside likewise.
    ScanOutside,
    /// First fragments whose rest never comes.
    HalfDatagrams,
    /// To addresses inside that nobody has.
    ScanSubnet,
}

impl Flood {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::SynEndpoints,
        Self::SynDestinations,
        Self::SynPublished,
        Self::ScanInside,
        Self::ScanOutside,
        Self::HalfDatagrams,
        Self::ScanSubnet,
    ];

    /// The frame with this number, and where it comes in.
    fn frame(self, number: u64) -> (PortId, [u8; FRAME_LEN]) {
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let count = u16::try_from(number & 0xffff).expect("16 bits");
        let [high, low] = count.to_be_bytes();
        let inside = SocketAddrV4::new(Ipv4Addr::new(172, 17, 200, spread[0]), count);
        let few =
            SocketAddrV4::new(Ipv4Addr::new(172, 17, 200, spread[0]), 4_000 + u16::from(spread[1] & 15));
        let outside = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10 + spread[0] % 200), count | 1);
        let server = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 80);
        let one_of_many = SocketAddrV4::new(Ipv4Addr::new(198, spread[2], high, low), 80);
        let nobody = SocketAddrV4::new(Ipv4Addr::new(172, 16, 64 | high, low), 9);
        let (from_b, to_b) = (mac_of(*inside.ip()), mac_of(gateway_of(B)));
        let (from_up, to_up): (Mac, Mac) = (mac_of(NEXT_ROUTER), mac_of(OUTSIDE));
        let own = |address| SocketAddrV4::new(address, count);
        match self {
            Self::SynEndpoints => (port_of(B, 0), syn(from_b, to_b, inside, server)),
            Self::SynDestinations => (port_of(B, 0), syn(from_b, to_b, few, one_of_many)),
            Self::SynPublished => {
                let to = SocketAddrV4::new(OUTSIDE, PUBLISHED);
                (UPLINK, syn(from_up, to_up, outside, to))
            }
            Self::ScanInside => (port_of(B, 0), syn(from_b, to_b, inside, own(gateway_of(B)))),
            Self::ScanOutside => (UPLINK, syn(from_up, to_up, outside, own(OUTSIDE))),
            Self::HalfDatagrams => {
                (port_of(B, 0), first_fragment(udp_frame(from_b, to_b, inside, server), count))
            }
            Self::ScanSubnet => (port_of(B, 0), udp_frame(from_b, to_b, inside, nobody)),
        }
    }
}

/// A router under a flood.
#[derive(Debug)]
pub struct Flooded {
    routed: Routed,
    flood: Flood,
    number: u64,
    burst: Vec<(PortId, [u8; FRAME_LEN])>,
}

/// What a flood does.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The 99th percentile of an innocent burst's work under the flood, against that without.
    pub innocent_ratio: f64,
    /// A hostile frame of the middle burst, nanoseconds.
    pub hostile_ns: f64,
    /// A hostile frame of the 99th percentile of bursts, nanoseconds.
    pub hostile_p99_ns: f64,
}

impl Flooded {
    /// A router that has had a million hostile frames.
    pub fn full(flood: Flood) -> Self {
        let mut flooded = Self::begun(flood);
        while flooded.number < BEFORE {
            flooded.hostile();
        }
        flooded
    }

    fn begun(flood: Flood) -> Self {
        Self { routed: Routed::warm(Way::Out, FLOWS), flood, number: 0, burst: Vec::with_capacity(BURST) }
    }

    /// A burst of hostile frames, with what their time makes due; how long the node had them.
    pub fn hostile(&mut self) -> Duration {
        self.burst.clear();
        self.burst.extend((self.number..).take(BURST).map(|number| self.flood.frame(number)));
        self.number += BURST as u64;
        self.routed.disturb(APART, &self.burst)
    }

    /// A burst of innocent packets, every one of which leaves; how long the node had them.
    pub fn innocent(&mut self) -> Duration {
        self.routed.pass()
    }

    /// What the flood does, measured in bursts by turns.
    pub fn cost(flood: Flood) -> Cost {
        let mut quiet = Self::begun(flood);
        let mut full = Self::full(flood);
        let (mut without, mut under, mut hostile) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..BURSTS {
            without.push(quiet.innocent());
            hostile.push(full.hostile());
            under.push(full.innocent());
        }
        for spent in [&mut without, &mut under, &mut hostile] {
            spent.sort_unstable();
        }
        let p99 = |spent: &[Duration]| spent[spent.len() * 99 / 100].as_secs_f64();
        let each_ns = |burst: f64| burst * 1e9 / BURST as f64;
        Cost {
            innocent_ratio: p99(&under) / p99(&without),
            hostile_ns: each_ns(hostile[hostile.len() / 2].as_secs_f64()),
            hostile_p99_ns: each_ns(p99(&hostile)),
        }
    }
}

/// What a flood leaves behind: the node's time for the 99th percentile of the wakes that it takes to forget a million
/// connections that time out together. Nobody has a turn meanwhile.
///
/// # Panics
/// If connections are left that are over.
pub fn aftermath() -> Duration {
    let mut flooded = Flooded::full(Flood::SynDestinations);
    let mut spent = flooded.routed.let_time_pass(Duration::from_secs(1_000));
    spent.sort_unstable();
    spent[spent.len() * 99 / 100]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn innocent_packets_leave_under_every_flood() {
        for flood in Flood::ALL {
            let mut flooded = Flooded::begun(flood);
            for _ in 0..500 {
                flooded.hostile();
                flooded.innocent(); // Asserts it.
            }
        }
    }
}
