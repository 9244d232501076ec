//! Counters: what each walk came to, for each port, and how the walks ended in total.
//!
//! Every walk ends exactly one way, so `received = forwarded + consumed + parked + dropped` holds at all times
//! ([`Counters::balance`]); the simulator and the fuzzer check it after each event.

use alloc::vec::Vec;

use encap::UnderlayId;
use serde::{Deserialize, Serialize};
use wire::{DropReason, Instant, PortId};

use crate::drops::Drops;

/// What one port has seen. Frames are counted as the device delivers them: a super-segment is one frame.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PortCounters {
    /// Frames that entered.
    pub rx_frames: u64,
    /// Octets that entered, Ethernet header included.
    pub rx_bytes: u64,
    /// Frames that were handed to the device; those it refused are in [`PortCounters::drops`] too.
    pub tx_frames: u64,
    /// Octets likewise.
    pub tx_bytes: u64,
    /// Frames dropped here by reason: `deliver.*` on leaving through this port, all others on entering it.
    pub drops: Drops,
    /// When the last frame entered.
    pub heard: Option<Instant>,
}

impl PortCounters {
    fn add(&mut self, other: &Self) {
        self.rx_frames += other.rx_frames;
        self.rx_bytes += other.rx_bytes;
        self.tx_frames += other.tx_frames;
        self.tx_bytes += other.tx_bytes;
        self.heard = self.heard.max(other.heard);
        for (reason, count) in other.drops.iter() {
            self.drops.add(reason, count);
        }
    }
}

fn add_all(sums: &mut Vec<PortCounters>, ended: &[PortCounters]) {
    if sums.len() < ended.len() {
        sums.resize_with(ended.len(), PortCounters::default);
    }
    for (sum, port) in sums.iter_mut().zip(ended) {
        sum.add(port);
    }
}

/// Counters of one node.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// By [`PortId`]; ports that never existed have zeros.
    pub ports: Vec<PortCounters>,
    /// The sums of ports whose id now belongs to another port.
    pub gone: PortCounters,
    /// By [`UnderlayId`]: datagrams that are nobody's, so that no port has seen them. Those of an underlay that is not
    /// there are [`Counters::gone`]'s.
    pub underlays: Vec<PortCounters>,
    /// Frames that entered the corridor.
    pub received: u64,
    /// Walks that ended in at least one egress port.
    pub forwarded: u64,
    /// Walks that ended with the router taking the frame (ARP, echo).
    pub consumed: u64,
    /// Walks that ended with the router keeping the frame for later. If it goes on it counts as `originated`, if not under
    /// its drop reason, but not in `dropped`.
    pub parked: u64,
    /// Walks that ended in a drop, for whatever reason.
    pub dropped: u64,
    /// Frames that the router made or released: answers, questions, ICMP errors, parked packets.
    pub originated: u64,
    /// Questions answered in a station's name, so that they were not flooded. They count as `consumed`, the answers as
    /// `originated`.
    pub answered: u64,
    /// Copies sent because of flooding, beyond the first.
    pub flood_copies: u64,
    /// Stations learned.
    pub stations_learned: u64,
    /// Stations that appeared behind another port.
    pub stations_moved: u64,
    /// Stations forgotten because they were silent.
    pub stations_aged: u64,
    /// Stations not learned because their domain was full.
    pub stations_refused_domain: u64,
    /// Stations not learned because their port was full.
    pub stations_refused_port: u64,
    /// Notices that were not made because there were more than [`crate::NOTICES_PER_SECOND_MAX`].
    pub notices_suppressed: u64,
}

impl Counters {
    /// The counters of `port`, made if need be.
    pub fn port_mut(&mut self, port: PortId) -> &mut PortCounters {
        if port.index() >= self.ports.len() {
            self.ports.resize_with(port.index() + 1, PortCounters::default);
        }
        &mut self.ports[port.index()]
    }

    /// Starts `port` at zero, for another port that has been given the id. What it has seen stays in the totals.
    pub(crate) fn begin(&mut self, port: PortId) {
        let gone = core::mem::take(self.port_mut(port));
        self.gone.add(&gone);
    }

    /// Adds what a replica that has ended had counted, under the same plan.
    pub(crate) fn absorb(&mut self, ended: &Self) {
        let Self {
            ports,
            gone,
            underlays,
            received,
            forwarded,
            consumed,
            parked,
            dropped,
            originated,
            answered,
            flood_copies,
            stations_learned,
            stations_moved,
            stations_aged,
            stations_refused_domain,
            stations_refused_port,
            notices_suppressed,
        } = ended;
        add_all(&mut self.ports, ports);
        add_all(&mut self.underlays, underlays);
        self.gone.add(gone);
        self.received += received;
        self.forwarded += forwarded;
        self.consumed += consumed;
        self.parked += parked;
        self.dropped += dropped;
        self.originated += originated;
        self.answered += answered;
        self.flood_copies += flood_copies;
        self.stations_learned += stations_learned;
        self.stations_moved += stations_moved;
        self.stations_aged += stations_aged;
        self.stations_refused_domain += stations_refused_domain;
        self.stations_refused_port += stations_refused_port;
        self.notices_suppressed += notices_suppressed;
    }

    /// The counters of `underlay`, made if need be; there are at most [`encap::plan::UNDERLAYS_MAX`].
    pub(crate) fn underlay_mut(&mut self, underlay: UnderlayId) -> &mut PortCounters {
        if underlay.index() >= self.underlays.len() {
            self.underlays.resize_with(underlay.index() + 1, PortCounters::default);
        }
        &mut self.underlays[underlay.index()]
    }

    /// Counts a frame that was dropped because its port has gone: no port that exists has seen it.
    pub(crate) fn lost(&mut self, bytes: u64, reason: DropReason) {
        self.received += 1;
        self.dropped += 1;
        self.gone.rx_frames += 1;
        self.gone.rx_bytes += bytes;
        self.gone.drops.add(reason, 1);
    }

    /// Dropped frames by reason, over all ports that ever were.
    pub fn drops(&self) -> [u64; DropReason::COUNT] {
        let mut total = [0; DropReason::COUNT];
        for port in self.ports.iter().chain(&self.underlays).chain([&self.gone]) {
            for (reason, count) in port.drops.iter() {
                total[reason.index()] += count;
            }
        }
        total
    }

    /// Whether every walk ended exactly one way.
    pub fn balance(&self) -> bool {
        self.received == self.forwarded + self.consumed + self.parked + self.dropped
    }
}
