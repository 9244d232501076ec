//! Frames on their way: into a switch, out of it, over a wire, through the underlay.
//!
//! A frame that leaves through a wire goes onto it as it is; one that leaves through a tunnel gets outer headers from the
//! switch's own host and goes to the [underlay](super::underlay). Where each has been is told by its [`Trail`]: a frame that
//! a switch sends on keeps its origin as long as it keeps its source address, inside a tunnel too.

use std::net::IpAddr;

use encap::{Carrier, Encapsulation};
use node::{Endpoint, Node, Notice};
use wire::{FlowHash, Instant, Offload, PortId};

use super::cast::{Cable, Place};
use super::outcome::WorldError;
use super::queue::{Door, Event, Trail};
use super::run::World;
use super::topology::End;
use super::underlay::{self, Datagram};
use crate::driver::Departure;

/// Octets of a VXLAN header.
const VXLAN_HEADER_LEN: usize = 8;
/// Source L4 ports of VXLAN, as many as a live underlay has sockets for them (RFC 7348 §5 wants them ephemeral).
const SOURCE_PORTS: u32 = 8;

/// What has left a switch.
pub(super) struct Leaving {
    /// The event that has caused it, since the last drain.
    event: usize,
    port: PortId,
    carrier: Carrier,
    frame: Vec<u8>,
}

/// What has left a switch, as it is on the wire.
struct Sent {
    event: usize,
    place: Place,
    /// The source MAC address, of the frame inside if it is in a tunnel.
    src: Option<[u8; 6]>,
    frame: Vec<u8>,
}

impl World {
    /// A frame enters a switch; what leaves is drained later.
    pub(super) fn enter(&mut self, node: usize, door: Door, frame: Vec<u8>, trail: Trail) {
        let place = match door {
            Door::Port(cable, end) => match self.cables[cable].ports[end] {
                Some(port) => Place::Port(port),
                None => return,
            },
            Door::Socket => Place::Socket,
        };
        let at = match place {
            Place::Port(port) => u64::from(port.0),
            Place::Socket => 0xffff,
        };
        self.arrived((node as u64) << 16 | at, &frame);
        let seat = &mut self.seats[node];
        let mut buffer = seat.driver.buffer();
        let (event, src) = match place {
            Place::Port(port) => {
                assert!(buffer.fill(&frame), "no host sends frames longer than a buffer");
                (node::Event::Frame { port, frame: buffer }, frame.get(6..12))
            }
            Place::Socket => {
                let plan = &seat.compiled.plan;
                let found = underlay::unwrap(&frame).and_then(|datagram| {
                    let known = plan.underlays.iter().find(|known| known.local == datagram.to)?;
                    Some((known.id, datagram))
                });
                let Some((underlay, Datagram { from, ecn, payload, .. })) = found else {
                    seat.astray += 1;
                    return;
                };
                assert!(buffer.fill(payload), "no datagram is longer than a buffer");
                let event = node::Event::Datagram { underlay, from, ecn, frame: buffer };
                (event, payload.get(VXLAN_HEADER_LEN + 6..VXLAN_HEADER_LEN + 12))
            }
        };
        let src = src.and_then(|octets| octets.first_chunk()).copied().unwrap_or_default();
        let verdict = seat.driver.try_handle(self.now, event);
        // Wake-ups on the way come from nowhere.
        let handled = seat.driver.undrained();
        seat.passing.resize(handled.saturating_sub(1), (Trail::default(), [0; 6]));
        seat.passing.push((trail, src));
        if self.files.is_some() {
            seat.entered.push((handled - 1, place, frame));
        }
        if let Err(law) = verdict {
            self.broken(node, &law);
        }
    }

    pub(super) fn broken(&mut self, node: usize, law: &str) {
        let what = format!("{}: {law}", self.seats[node].name);
        self.judge.find_and_end(self.now, "law", what);
    }

    /// Sends on what has left a switch, and asks it when it is next due.
    pub(super) fn drain(&mut self, node: usize) -> Result<(), WorldError> {
        let mut left = std::mem::take(&mut self.left);
        let mut notices = Vec::new();
        let seat = &mut self.seats[node];
        let taken: Result<(), std::convert::Infallible> =
            seat.driver.drain_by_event(|event, at, departure| {
                match departure {
                    Departure::Frame { port, frame, carrier } => {
                        assert_eq!(
                            frame.offload,
                            Offload::NONE,
                            "hosts offer no offloads, so nothing is left to be done"
                        );
                        left.push(Leaving { event, port, carrier, frame: frame.bytes().to_vec() });
                    }
                    Departure::Notice(notice) => notices.push((at, notice)),
                }
                Ok(())
            });
        let Ok(()) = taken;
        self.told(node, notices);
        let handled = self.seats[node].driver.node();
        let sent: Vec<Sent> = left.drain(..).map(|leaving| on_the_wire(handled, leaving)).collect();
        self.left = left;
        self.write_down(node, &sent)?;
        let seat = &mut self.seats[node];
        let passing = std::mem::take(&mut seat.passing);
        for Sent { event, place, src, frame } in sent {
            let (trail, src_before) = passing.get(event).copied().unwrap_or_default();
            let origin = trail.origin.filter(|_| src == Some(src_before));
            let trail = Trail { hops: trail.hops + 1, origin, ..trail };
            let seat = &mut self.seats[node];
            self.judge.leaves(self.now, &seat.name, trail);
            let cable = match place {
                Place::Port(port) => seat.cables.get(port.index()).copied().flatten(),
                Place::Socket => seat.socket,
            };
            match cable {
                Some((cable, end)) => self.transmit(cable, end, frame, trail),
                None => seat.unplugged += 1,
            }
        }
        let seat = &mut self.seats[node];
        self.judge.handled(self.now, node, &seat.name, seat.driver.node());
        if let Some((due, _)) = seat.driver.node().next_deadline()
            && seat.due.is_none_or(|known| due < known)
        {
            seat.due = Some(due.max(self.now));
            self.queue.push(due.max(self.now), Event::NodeDue(node));
        }
        Ok(())
    }

    fn told(&mut self, node: usize, notices: Vec<(Instant, Notice)>) {
        for (at, notice) in notices {
            let seat = &mut self.seats[node];
            seat.notices += 1;
            seat.flaps += u64::from(matches!(notice, Notice::StationFlapping { .. }));
            if let Some(files) = &mut self.files {
                files.notice(at, node, &self.seats[node], notice);
            }
        }
    }

    /// Captures at a switch: what came in, each followed by what it caused to leave.
    fn write_down(&mut self, node: usize, sent: &[Sent]) -> Result<(), WorldError> {
        let Some(files) = &mut self.files else { return Ok(()) };
        let entered = std::mem::take(&mut self.seats[node].entered);
        let seat = &self.seats[node];
        let mut sent = sent.iter().peekable();
        for (event, place, frame) in &entered {
            while let Some(Sent { place, frame, .. }) = sent.next_if(|sent| sent.event < *event) {
                files.at_node(self.now, node, seat, *place, frame)?;
            }
            files.at_node(self.now, node, seat, *place, frame)?;
        }
        for Sent { place, frame, .. } in sent {
            files.at_node(self.now, node, seat, *place, frame)?;
        }
        Ok(())
    }

    /// A frame goes onto a wire at its end `end`.
    pub(super) fn transmit(&mut self, cable: usize, end: usize, mut frame: Vec<u8>, mut trail: Trail) {
        let Cable { plan, links, .. } = &mut self.cables[cable];
        let [first, second] = links[end].offer(self.now, frame.len()).arrivals;
        let to = &plan.ends[1 - end];
        let Some(first) = first else { return };
        if let Some(bit) = first.flipped.filter(|bit| *bit / 8 < frame.len()) {
            frame[bit / 8] ^= 0x80 >> (bit % 8);
            trail.origin = None; // A flipped bit may be one of its tag's.
            trail.flips += 1;
        }
        let event = |frame: Vec<u8>| match to {
            End::Host(host) => Event::AtHost { host: *host, frame, trail },
            End::Port(node, _) => {
                Event::AtNode { node: *node, door: Door::Port(cable, 1 - end), frame, trail }
            }
            End::Socket(node) => Event::AtNode { node: *node, door: Door::Socket, frame, trail },
            End::Underlay => Event::AtUnderlay { frame, trail },
        };
        if let Some(second) = second {
            self.queue.push(second.at, event(frame.clone()));
        }
        self.queue.push(first.at, event(frame));
    }

    /// The underlay sends a frame on to whoever has the address that it is for, if anybody has.
    pub(super) fn cross_underlay(&mut self, frame: Vec<u8>, trail: Trail) {
        let Some(to) = underlay::destination(&frame) else { return };
        let has = |address: IpAddr| {
            self.seats.iter().find(|seat| {
                seat.compiled.plan.underlays.iter().any(|underlay| underlay.local.address == address)
            })
        };
        if let Some((cable, end)) = has(to).and_then(|seat| seat.socket) {
            self.transmit(cable, 1 - end, frame, trail);
        }
    }

    /// Takes a frame that has arrived into the fingerprint.
    pub(super) fn arrived(&mut self, place: u64, frame: &[u8]) {
        self.frames += 1;
        let octets = self.now.as_nanos().to_le_bytes().into_iter().chain(place.to_le_bytes());
        for octet in octets.chain(frame.iter().copied()) {
            self.digest = (self.digest ^ u64::from(octet)).wrapping_mul(FNV_PRIME);
        }
    }
}

/// What a frame that leaves is on the wire: itself, or with the outer headers of its tunnel.
fn on_the_wire(node: &Node, leaving: Leaving) -> Sent {
    let Leaving { event, port, carrier, frame } = leaving;
    let src = |at: usize| frame.get(at..at + 6).and_then(|octets| octets.first_chunk()).copied();
    let underlay = |way: &encap::Way| node.plan().underlays.iter().find(|it| it.id == way.underlay);
    let Some((way, underlay)) = node.way(port).and_then(|way| Some((way, underlay(way)?))) else {
        return Sent { event, place: Place::Port(port), src: src(6), frame };
    };
    let Carrier { flow: FlowHash(flow), ecn } = carrier;
    let (src, l4_port) = match way.encapsulation {
        Encapsulation::Vxlan(_) => {
            let spread = u16::try_from(flow % SOURCE_PORTS).expect("it is below the few ports");
            (src(VXLAN_HEADER_LEN + 6), super::host::EPHEMERAL_FIRST + spread)
        }
        Encapsulation::BareIp { .. } => (None, underlay.local.l4_port),
    };
    let from = Endpoint { address: underlay.local.address, l4_port };
    let frame = Datagram { from, to: way.remote, ecn, payload: &frame }.wrap();
    Sent { event, place: Place::Socket, src, frame }
}

/// FNV-1a with 64 bits (Fowler, Noll, Vo).
pub(super) const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
