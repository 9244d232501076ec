//! The route room: is this frame for the router, and where does it go from there?
//!
//! ```text
//!  no gateway in the domain, or to another station's MAC      → Pass, after two compares
//!  ARP, neighbour and router discovery                        → heard by `neighbour`: Answer, Consumed or Pass
//!  to a group, anything else                                  → Pass
//!  to the gateway, IP                                         → `walk`: Forward, Parked, Answer, or a drop
//!  to the gateway, anything else                              → drop: route.no-service
//! ```
//!
//! Owns the router's tables: interfaces, FIB, neighbours, connections, fragments, access list. Clock: the earliest of
//! their deadlines. A refusal may be told to the sender as an ICMP error, a frame of its own.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use wire::ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, HEADER_LEN};
use wire::headers::{Fragment, IPV6_HEADER_LEN, PROTOCOL_ICMPV6};
use wire::{DomainId, DropReason, FrameBuf, Instant, Mac, PortId};

use crate::fib::Fib;
use crate::fragment::Fragments;
use crate::icmp::error::{self, ErrorKind, ErrorLimit, Sender};
use crate::interface::Interfaces;
pub(crate) use crate::interface::{ANSWERS_BURST_MAX, ANSWERS_PER_SECOND_MAX, link_local};
use crate::nat::{Connections, SessionFilter};
use crate::neighbour::{Heard, Neighbours, Resolution};
use crate::note::Note;
use crate::packet::Packet;
use crate::plan::{NetworkPolicy, RouterPlan, Side};
use crate::policy::{Acl, Refused};
use crate::turn::Turn;

/// What the router made of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routed {
    /// It is not for the router and has not been touched.
    Pass,
    /// The question is consumed. Its buffer holds the answer, from the gateway's MAC to the asker's, with no offload
    /// pending: a new frame of the same domain that came in through no port.
    Answer,
    /// It is routed: addressed and finished for the next hop in this domain, from the gateway's MAC.
    Forward(DomainId),
    /// The router has heard it; the frame is of no more use.
    Consumed,
    /// The router keeps the packet for later and has left an empty buffer in its place.
    Parked,
}

/// A router: one station in each domain that has a gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Router {
    pub(crate) interfaces: Interfaces,
    /// Kept with the plan.
    #[serde(skip)]
    pub(crate) fib: Arc<Fib>,
    pub(crate) neighbours: Neighbours,
    pub(crate) connections: Connections,
    pub(crate) fragments: Fragments,
    pub(crate) acl: Acl,
    pub(crate) mss_clamp: bool,
    errors: ErrorLimit,
    /// Whether plain packets take the short way. They always do; tests compare.
    pub(crate) has_shortcut: bool,
}

/// How a packet came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) port: PortId,
    pub(crate) domain: DomainId,
    /// Its Ethernet header.
    pub(crate) header: EthernetHeader,
}

impl Router {
    /// A router that owns nothing. The seed keys its hash tables, spreads its timers and chooses L4 ports.
    pub fn new(seed: u64) -> Self {
        Self {
            interfaces: Interfaces::default(),
            fib: Arc::default(),
            neighbours: Neighbours::new(seed),
            connections: Connections::new(seed),
            fragments: Fragments::new(seed),
            acl: Acl::default(),
            mss_clamp: true,
            errors: ErrorLimit::new(seed),
            has_shortcut: true,
        }
    }

    /// From now on this plan holds. It has been checked ([`RouterPlan::check`]). What it leaves untouched stays:
    /// neighbours, connections, counters.
    pub fn configure(&mut self, turn: &mut Turn, plan: &RouterPlan) {
        let before = core::mem::replace(&mut self.interfaces, Interfaces::new(plan));
        let address = |interfaces: &Interfaces, domain| {
            interfaces.in_domain(domain).map(|interface| (interface.mac, interface.gateway.subnets.clone()))
        };
        let is_same = |domain| address(&before, domain) == address(&self.interfaces, domain);
        self.fragments.configure(turn, is_same);
        self.fib = Arc::clone(&plan.fib);
        self.mss_clamp = plan.nat.mss_clamp;
        self.acl.configure(turn.now, &plan.acl);
        self.neighbours.configure(turn, plan);
        self.connections.configure(turn, plan);
    }

    /// Takes what was not kept with the rest from the plan that held.
    pub fn rejoin(&mut self, plan: &RouterPlan) {
        self.fib = Arc::clone(&plan.fib);
        self.interfaces.rejoin(plan);
    }

    /// Does what the passing of time asks for.
    pub fn wake(&mut self, turn: &mut Turn) {
        self.neighbours.wake(turn);
        let failed: Vec<_> = self.neighbours.take_failed().collect();
        for (port, _, frame) in failed {
            self.report_unreachable(turn, &frame);
            turn.drop_parked(port, DropReason::NeighbourUnreachable, frame);
        }
        self.connections.wake(turn);
        self.fragments.wake(turn);
    }

    /// When the router next wants to be woken, and what for.
    pub fn next_deadline(&self) -> Option<(Instant, &'static str)> {
        [self.neighbours.next_deadline(), self.connections.next_deadline(), self.fragments.next_deadline()]
            .into_iter()
            .flatten()
            .min_by_key(|&(at, _)| at)
    }

    /// When that is, without a look at what it is.
    #[inline]
    pub fn next_due(&self) -> Option<Instant> {
        let at = |(at, _)| at;
        let (connection, fragment) = (self.connections.next_deadline(), self.fragments.next_deadline());
        [self.neighbours.next_due(), connection.map(at), fragment.map(at)].into_iter().flatten().min()
    }

    /// Who is known on the links.
    pub fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// What connects whom, and how it is translated.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// How often each rule of the access list has matched, in the order of the plan.
    pub fn acl_hits(&self) -> &[u64] {
        self.acl.hits()
    }

    /// The forwarding table.
    pub fn fib(&self) -> &Fib {
        &self.fib
    }

    /// Ends the connections that match.
    pub fn kill_sessions(&mut self, filter: &SessionFilter) {
        self.connections.kill(filter);
    }

    /// Forgets the neighbours that match every given criterion. Who is needed is asked for again.
    pub fn forget_neighbours(&mut self, domain: Option<DomainId>, address: Option<IpAddr>) {
        self.neighbours.forget(domain, address);
    }

    /// Routes the frame if it is for the gateway of `domain`.
    ///
    /// Inside the corridor frames are untagged: the payload stands 14 octets into the frame, whatever `header` says
    /// about a tag that has been popped.
    ///
    /// # Errors
    /// Why the frame goes no further: any reason whose id starts with `route.`.
    #[inline]
    pub fn route(
        &mut self,
        turn: &mut Turn,
        port: PortId,
        domain: DomainId,
        header: &EthernetHeader,
        frame: &mut FrameBuf,
    ) -> Result<Routed, DropReason> {
        let Some(interface) = self.interfaces.in_domain(domain) else { return Ok(Routed::Pass) };
        if header.dst == interface.mac {
            self.own_frame(turn, Arrival { port, domain, header: *header }, frame)
        } else if header.dst.is_group() {
            self.group_frame(turn, domain, header, frame)
        } else {
            Ok(Routed::Pass)
        }
    }

    /// A frame to a group: a question of somebody who does not know our MAC, an announcement, or nothing for us.
    #[inline(never)]
    fn group_frame(
        &mut self,
        turn: &mut Turn,
        domain: DomainId,
        header: &EthernetHeader,
        frame: &mut FrameBuf,
    ) -> Result<Routed, DropReason> {
        let heard = match header.ethertype {
            ETHERTYPE_ARP => self.neighbours.hear_arp(turn, domain, header, frame)?,
            ETHERTYPE_IPV6 if is_discovery(frame.bytes()) => match Packet::parse(frame) {
                Ok(packet) => self.neighbours.hear_nd(turn, domain, header, &packet, frame)?,
                // What a malformed one may mean to others is not ours to judge.
                Err(_) => return Ok(Routed::Pass),
            },
            _ => return Ok(Routed::Pass),
        };
        Ok(heard_as(heard))
    }

    /// A frame to our own MAC: whatever it is, it goes no further as it came.
    #[inline(never)]
    fn own_frame(
        &mut self,
        turn: &mut Turn,
        arrival: Arrival,
        frame: &mut FrameBuf,
    ) -> Result<Routed, DropReason> {
        let header = &arrival.header;
        match header.ethertype {
            ETHERTYPE_ARP => {
                let heard = self.neighbours.hear_arp(turn, arrival.domain, header, frame)?;
                not_passed(heard_as(heard))
            }
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => {
                // Whoever traces the packet wants to hear every decision, which only the walk tells.
                if turn.made.notes.is_none()
                    && let Some(egress) = self.plain(turn, &arrival, frame)
                {
                    return Ok(Routed::Forward(egress));
                }
                let packet = Packet::parse(frame)?;
                if header.ethertype == ETHERTYPE_IPV6 && is_discovery(frame.bytes()) {
                    let heard = self.neighbours.hear_nd(turn, arrival.domain, header, &packet, frame)?;
                    return not_passed(heard_as(heard));
                }
                self.packet(turn, &arrival, &packet, frame)
            }
            _ => Err(DropReason::NoService),
        }
    }

    /// Lets a plain packet out; `None` if it needs the walk.
    #[inline]
    pub(crate) fn plain(&mut self, turn: &Turn, arrival: &Arrival, frame: &mut FrameBuf) -> Option<DomainId> {
        if !self.has_shortcut {
            return None;
        }
        match arrival.header.ethertype {
            ETHERTYPE_IPV4 => self.shortcut::<Ipv4Addr>(turn, arrival, frame),
            _ => self.shortcut::<Ipv6Addr>(turn, arrival, frame),
        }
    }

    /// Whether one more echo may be answered in the domain.
    pub(crate) fn may_answer(&mut self, now: Instant, domain: DomainId) -> Result<(), DropReason> {
        let may = self.interfaces.in_domain_mut(domain).is_some_and(|interface| interface.answers.take(now));
        if may { Ok(()) } else { Err(DropReason::AnswerRate) }
    }

    /// An IP packet to our MAC, with the fragments that it sets free.
    #[inline]
    fn packet(
        &mut self,
        turn: &mut Turn,
        arrival: &Arrival,
        packet: &Packet,
        frame: &mut FrameBuf,
    ) -> Result<Routed, DropReason> {
        let routed = self.one_packet(turn, arrival, packet, frame);
        if packet.headers.fragment == Fragment::First {
            self.release_fragments(turn);
        }
        routed
    }

    fn one_packet(
        &mut self,
        turn: &mut Turn,
        arrival: &Arrival,
        packet: &Packet,
        frame: &mut FrameBuf,
    ) -> Result<Routed, DropReason> {
        match self.walk(turn, arrival, packet, frame) {
            Ok(routed) => Ok(routed),
            Err(Refused { reason, tell }) => {
                if let Some(kind) = tell {
                    self.tell(turn, arrival.domain, arrival.header.src, kind, packet, frame);
                }
                Err(reason)
            }
        }
    }

    /// Walks the fragments on whose first has come. Their own walks have ended: they leave as frames of the router's.
    #[cold]
    fn release_fragments(&mut self, turn: &mut Turn) {
        while let Some((port, domain, mut frame)) = self.fragments.released() {
            let header =
                EthernetHeader::parse(frame.bytes()).expect("what was parked has an Ethernet header");
            let arrival = Arrival { port, domain, header };
            let outcome =
                Packet::parse(&frame).and_then(|packet| self.one_packet(turn, &arrival, &packet, &mut frame));
            match outcome {
                Ok(Routed::Forward(egress)) => turn.send(egress, frame),
                Ok(Routed::Answer) => turn.send(domain, frame),
                Ok(Routed::Pass | Routed::Consumed | Routed::Parked) => turn.pool.put(frame),
                Err(reason) => turn.drop_parked(port, reason, frame),
            }
        }
    }

    /// Tells the sender of a packet why it goes no further, if that may be told.
    #[cold]
    fn tell(
        &mut self,
        turn: &mut Turn,
        domain: DomainId,
        sender: Mac,
        kind: ErrorKind,
        packet: &Packet,
        frame: &FrameBuf,
    ) {
        let Some(interface) = self.interfaces.in_domain(domain) else { return };
        let Some(address) = interface.speaker(packet.src) else { return };
        if !turn.has_room() || !self.errors.take(turn.now, domain, packet.src) {
            return;
        }
        let from = Sender { mac: interface.mac, address, to_mac: sender };
        if let Some(error) = error::error(turn, kind, packet, frame.bytes(), from) {
            turn.note(|| Note::Told(kind));
            turn.send(domain, error);
        }
    }

    /// Tells the sender of a packet that waited in vain for its next hop. The packet stands as it would have left, so a
    /// translated one is turned back first, and the way to its sender is looked up.
    #[cold]
    fn report_unreachable(&mut self, turn: &mut Turn, frame: &FrameBuf) {
        let Ok(mut packet) = Packet::parse(frame) else { return };
        let mut original = turn.buffer();
        original.copy_from(frame);
        if let Some(back) = packet.flow(frame.bytes()).and_then(|flow| self.connections.quoted(&flow)) {
            crate::nat::rewrite(&mut original, &packet, back.src, back.dst);
            (packet.src, packet.dst) = (back.src.address, back.dst.address);
        }
        let way_back = self.next_hop(packet.src, &original).ok();
        if let Some((domain, address)) = way_back
            && let Some(sender) = self.neighbours.known(domain, address)
        {
            self.tell(turn, domain, sender, ErrorKind::HostUnreachable, &packet, &original);
        }
        turn.pool.put(original);
    }

    /// The next hop's MAC address goes in front of the finished frame; or it waits for that.
    pub(crate) fn resolve(
        &mut self,
        turn: &mut Turn,
        port: PortId,
        egress: DomainId,
        next_hop: IpAddr,
        frame: &mut FrameBuf,
    ) -> Result<Routed, DropReason> {
        let interface = self.interfaces.in_domain(egress).ok_or(DropReason::NoRoute)?;
        if let Side::Overlay(overlay) = &interface.gateway.side {
            let end = overlay.end(next_hop).ok_or(DropReason::NeighbourUnreachable)?;
            frame.bytes_mut()[..6].copy_from_slice(&end.mac().0);
            return Ok(Routed::Forward(egress));
        }
        if let Side::Network(NetworkPolicy { sole: Some(station), .. }) = &interface.gateway.side {
            frame.bytes_mut()[..6].copy_from_slice(&station.mac().0);
            return Ok(Routed::Forward(egress));
        }
        match self.neighbours.resolve(turn, port, egress, next_hop, frame)? {
            Resolution::Known(mac) => {
                turn.note(|| Note::Resolved { next_hop, mac });
                frame.bytes_mut()[..6].copy_from_slice(&mac.0);
                Ok(Routed::Forward(egress))
            }
            Resolution::Parked => {
                turn.note(|| Note::Unresolved { next_hop });
                Ok(Routed::Parked)
            }
        }
    }
}

/// Writes an untagged Ethernet header; `frame` has room for it.
pub(crate) fn emit_ethernet(frame: &mut [u8], dst: Mac, src: Mac, ethertype: u16) {
    frame[..6].copy_from_slice(&dst.0);
    frame[6..12].copy_from_slice(&src.0);
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
}

/// What discovery has made of a frame; it bounds its answers itself.
const fn heard_as(heard: Heard) -> Routed {
    match heard {
        Heard::Pass => Routed::Pass,
        Heard::Consumed => Routed::Consumed,
        Heard::Answer => Routed::Answer,
    }
}

/// What was addressed to us alone and means nothing to us means nothing to anybody.
fn not_passed(routed: Routed) -> Result<Routed, DropReason> {
    if routed == Routed::Pass { Err(DropReason::NoService) } else { Ok(routed) }
}

/// Whether an IPv6 packet is neighbour or router discovery (RFC 4861 §4), by its first octets alone.
fn is_discovery(bytes: &[u8]) -> bool {
    let next_header = bytes.get(HEADER_LEN + 6);
    let kind = bytes.get(HEADER_LEN + IPV6_HEADER_LEN);
    next_header == Some(&PROTOCOL_ICMPV6) && kind.is_some_and(|kind| (133..=137).contains(kind))
}
