//! Tunnels in memory: short frames into VXLAN and out of it again, and what a peer costs.
//!
//! An overlay of a thousand peers. A frame for one of them, drawn evenly, gets the tunnel's header; what has come of it is
//! then a datagram from that peer, whose sender is looked up, whose inner addresses are checked, and which loses the
//! header. No kernel, no worker, no router: this is what the tunnels add to a frame's walk, both ways.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use config::Ids;
use encap::{Tunnels, UnderlayId};
use node::{Event, Node, Outbox, Plan};
use wire::{Ecn, FrameBuf, FramePool, Instant, PortId, Rng};

use crate::corridor::millions_of;

/// Frames sent in turn: more than the branch predictor learns by heart.
const DRAWN: usize = 1 << 14;
/// Octets of a frame, as of all in-memory figures, less the checksum that Ethernet adds.
const FRAME_LEN: usize = 60;

/// An overlay's tunnels, and frames for its peers.
#[derive(Debug)]
pub struct Tunnelled {
    tunnels: Tunnels,
    /// For each frame the peer's port and its octets.
    frames: Vec<(PortId, [u8; FRAME_LEN])>,
    frame: FrameBuf,
}

impl Tunnelled {
    /// An overlay of so many peers, at most 4,000.
    ///
    /// # Panics
    /// If there are more.
    pub fn new(peers: usize) -> Self {
        let plan = plan(peers);
        let mut tunnels = Tunnels::new();
        tunnels.configure(&plan.underlays, &plan.tunnels);
        let mut rng = Rng::seeded(0x7a9e);
        let mut draw = || {
            let peer = usize::try_from(rng.below(peers as u64)).expect("an index");
            let tunnel = &plan.tunnels[peer];
            let ours = tunnel.inner_dst.expect("the tunnel end has a MAC address");
            let mut frame = [0x5a; FRAME_LEN];
            frame[..6].copy_from_slice(&ours.mac().0);
            frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0]);
            frame[23] = 17;
            let std::net::IpAddr::V4(subnet) = tunnel.sources[0].address() else {
                unreachable!("peers' subnets are IPv4")
            };
            frame[26..30].copy_from_slice(&subnet.octets());
            (tunnel.port, frame)
        };
        let frames = (0..DRAWN).map(|_| draw()).collect();
        Self { tunnels, frames, frame: FramePool::default().take() }
    }

    /// Sends [`Self::frames_per_pass`] frames and receives them.
    ///
    /// # Panics
    /// If one does not come back as it went.
    pub fn pass(&mut self) {
        let mut came_back = 0;
        for (port, octets) in &self.frames {
            assert!(self.frame.fill(octets), "it is a short frame");
            let way = self.tunnels.way(*port).expect("every port is a peer's");
            let sent = self.tunnels.deliver(way, &mut self.frame).is_ok();
            let from = way.remote;
            let admitted = self.tunnels.admit(UnderlayId(0), from, Ecn::NotEct, &mut self.frame);
            came_back += usize::from(sent && admitted == Ok(*port));
        }
        assert_eq!(came_back, DRAWN, "all come back by the port that they went through");
        assert_eq!(self.frame.len(), FRAME_LEN);
        assert_eq!(self.frame.bytes(), self.frames[DRAWN - 1].1);
    }

    /// How many a pass sends and receives.
    pub const fn frames_per_pass() -> u64 {
        DRAWN as u64
    }

    /// Frames a second, in millions, each sent and received: of the middle pass, so that who else uses the processor does
    /// not count.
    pub fn mpps(&mut self, span: Duration) -> f64 {
        millions_of(DRAWN, span, || {
            let began = std::time::Instant::now();
            self.pass();
            began.elapsed()
        })
    }
}

/// Octets of memory, by the allocator's count, that a node takes for each of a thousand peers, its plan included, once
/// datagrams have come from all of them.
pub fn octets_per_peer() -> f64 {
    const PEERS: usize = 1_000;
    let octets = |peers: usize| {
        let mut kept = None;
        let counted = allocation_counter::measure(|| kept = Some(node_of(peers)));
        let node = kept.expect("it has been made");
        assert_eq!(node.counters().received, peers as u64);
        counted.bytes_current
    };
    (octets(PEERS + 1) - octets(1)) as f64 / PEERS as f64
}

/// A node that has heard every peer. What is forgotten afterwards (buffers, the outbox) is not counted.
fn node_of(peers: usize) -> Node {
    let plan = plan(peers);
    let (mut node, mut out) = (Node::new(7), Outbox::default());
    node.handle(Instant::ZERO, Event::Configure(Arc::new(plan)), &mut out);
    for index in 0..peers {
        let tunnel = node.plan().tunnels[index].clone();
        let mut frame = out.pool.take();
        // A header and nothing inside: it is the peer's, and goes no further.
        assert!(frame.fill(&[8, 0, 0, 0, 0, 0, 1, 0]), "it is short");
        let (underlay, from) = (tunnel.underlay, tunnel.remote);
        node.handle(Instant::ZERO, Event::Datagram { underlay, from, ecn: Ecn::NotEct, frame }, &mut out);
        out.clear_sends();
    }
    node
}

/// The overlay's plan, made of a configuration like everybody's.
fn plan(peers: usize) -> Plan {
    assert!(peers <= 4_000, "a node has 4,096 ports");
    let mut text = "[network.pod]\nsubnet = [\"10.0.0.0/24\"]\ngateway = [\"10.0.0.1\"]\n\
                    [overlay]\nbackend = \"vxlan\"\nlocal = \"192.0.2.1\"\nnetwork = \"pod\"\n"
        .to_owned();
    for peer in 1..=peers {
        let (high, low) = (peer / 256, peer % 256);
        let host = format!("\"198.18.{high}.{low}\"");
        let written = writeln!(
            text,
            "[[overlay.peer]]\nsubnet = \"10.{}.{low}.0/24\"\nendpoint = {host}\nmac = \"0e:2a:00:00:{high:02x}:{low:02x}\"",
            high + 1
        );
        assert!(written.is_ok(), "text can be written to");
    }
    let config = config::check("peers.toml", &text).expect("the text is a configuration");
    config::compile(&config, &mut Ids::default()).plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_takes_a_kibibyte_at_most() {
        let octets = octets_per_peer();
        assert!(octets <= 1024.0, "a peer takes {octets} octets");
    }

    #[test]
    fn frames_come_back_and_nothing_is_allocated() {
        let mut tunnelled = Tunnelled::new(10);
        assert_eq!(allocation_counter::measure(|| tunnelled.pass()).count_total, 0);
    }
}
