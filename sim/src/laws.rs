//! The laws a node keeps whatever it is asked, checked after every event by reckoning them from the plan alone.
//!
//! - Every walk ends exactly one way, and a frame that came in is counted once.
//! - What leaves carries a tag (or none) that the egress port has for a domain: of a switched frame the one that it came
//!   in from, so that nothing leaks into another network.
//! - A frame that is switched keeps its octets, tag and tunnel header aside. It does not return through its ingress
//!   port, reaches no port twice, and never passes between two isolated ports or two ends of one tunnel.
//! - Whatever else leaves is the router's: it has the MAC address of a gateway in the domain that it leaves in. Or it
//!   answers in a station's name, and repeats what that station has said.
//! - Nothing comes in from the uplink that nobody has asked for.
//! - Of what comes in a tunnel only what its plan admits goes on: it is some peer's, of a network of the underlay, for our
//!   tunnel end, and from the peer's subnet.
//! - What leaves fits the egress MTU, and its virtio header tells the truth about it.
//! - The stations of a port and of a domain stay within their limits.
//! - After it was woken, a node waits for a later time.
//!
//! A broken law is a mistake of ours: the [`crate::Driver`] panics with the law, the seed, the event and the time.

use std::borrow::Cow;
use std::sync::Arc;

use encap::TunnelPlan;
use node::{Counters, Endpoint, Node, Outbox, Plan, Send, UnderlayId};
use vswitch::{Isolation, PortPlan};
use wire::ethernet::{EthernetHeader, HEADER_LEN, TAG_LEN};
use wire::{DomainId, Ecn, FrameBuf, PortId};

use routed::Asked;

mod answers;
mod routed;
mod tunnels;

/// What is remembered from before an event, and the plan that holds.
#[derive(Debug, Default)]
pub(crate) struct Laws {
    plan: Arc<Plan>,
    /// Index into the plan's ports by [`PortId`].
    places: Vec<Option<usize>>,
    before: Tally,
    arrived: Option<Arrived>,
    asked: Asked,
    said: answers::Said,
}

/// The totals that the laws compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    received: u64,
    forwarded: u64,
    consumed: u64,
    parked: u64,
    dropped: u64,
    sends: usize,
}

/// What is about to come in.
#[derive(Debug)]
pub(crate) enum Arrives<'a> {
    /// Through a device.
    Frame(PortId, &'a FrameBuf),
    /// To an underlay.
    Datagram(UnderlayId, Endpoint, Ecn, &'a FrameBuf),
}

/// The frame that came in, as it came.
#[derive(Debug)]
struct Arrived {
    /// `None` for a datagram that is nobody's.
    port: Option<PortId>,
    domain: Option<DomainId>,
    /// What was inside, if it came in a tunnel.
    frame: Vec<u8>,
    /// Whether its ECN bits may have changed.
    is_marked: bool,
    stations_of_port: u32,
    stations_of_domain: u32,
}

type Verdict = Result<(), String>;

fn ensure(holds: bool, law: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(law()) }
}

impl Laws {
    /// From now on this plan holds.
    pub(crate) fn configured(&mut self, plan: &Arc<Plan>) {
        self.places.clear();
        for (index, port) in plan.switch.ports.iter().enumerate() {
            if self.places.len() <= port.id.index() {
                self.places.resize(port.id.index() + 1, None);
            }
            self.places[port.id.index()] = Some(index);
        }
        self.plan = Arc::clone(plan);
    }

    /// Takes note of where things stand before an event, and of what is about to come in.
    pub(crate) fn before(&mut self, node: &Node, out: &Outbox, arrives: Option<Arrives<'_>>) {
        self.before = tally(node.counters(), out);
        self.arrived = arrives.map(|arrives| {
            let (port, frame, is_marked) = match arrives {
                Arrives::Frame(port, frame) => (Some(port), frame.bytes().to_vec(), false),
                Arrives::Datagram(underlay, from, ecn, datagram) => {
                    let tunnel = tunnels::of_datagram(&self.plan, underlay, from.address, datagram.bytes());
                    let inner = tunnel.and_then(|tunnel| tunnels::inner_received(tunnel, datagram.bytes()));
                    let is_marked = matches!(ecn, Ecn::Ect1 | Ecn::Ce);
                    (tunnel.map(|tunnel| tunnel.port), inner.unwrap_or_default(), is_marked)
                }
            };
            let domain = self.arrival_port(port).and_then(|port| domain_on(port, &frame));
            Arrived {
                port,
                domain,
                frame,
                is_marked,
                stations_of_port: port.map_or(0, |port| node.stations_of_port(port)),
                stations_of_domain: domain.map_or(0, |domain| node.stations_of_domain(domain)),
            }
        });
    }

    /// The first law that the event has broken.
    pub(crate) fn after(&mut self, node: &Node, out: &mut Outbox) -> Verdict {
        let after = tally(node.counters(), out);
        ensure(node.counters().balance(), || format!("walks do not add up: {after:?}"))?;
        ensure(out.gossip.is_empty(), || "a lone node gossips".to_owned())?;
        let sends = out.sends()[self.before.sends..].to_vec();
        let arrived = self.arrived.take();
        if let Some(arrived) = &arrived {
            self.asked.arrives(&self.plan, arrived.domain, &arrived.frame);
            self.said.arrives(arrived.domain, untagged(&arrived.frame));
        }
        let switches = match &arrived {
            Some(arrived) => {
                let goes_on = after.dropped == self.before.dropped;
                ensure(!goes_on || self.is_admitted(arrived), || {
                    format!("what no tunnel admits goes on; it came in through {:?}", arrived.port)
                })?;
                self.ending(&after, sends.len())?
            }
            None => {
                let same = Tally { sends: self.before.sends, ..after.clone() } == self.before;
                ensure(same, || format!("no frame came in, and still {after:?}"))?;
                false
            }
        };
        let mut reached = Vec::new();
        for send in sends {
            let switched =
                self.leaves(arrived.as_ref(), switches, send, out).map_err(|law| match &arrived {
                    Some(arrived) => {
                        let (from, to) = (arrived.port, send.port.0);
                        format!("{law}; it came in through {from:?} and leaves through port {to}")
                    }
                    None => law,
                })?;
            let in_pieces = self.tunnel(send.port).is_some();
            ensure(!switched || in_pieces || !reached.contains(&send.port), || {
                format!("a frame leaves twice through port {}", send.port.0)
            })?;
            if switched {
                reached.push(send.port);
            }
        }
        arrived.map_or(Ok(()), |arrived| self.stations(&arrived, node))
    }

    /// Exactly one ending; whether it is that the frame went on.
    fn ending(&self, after: &Tally, sends: usize) -> Result<bool, String> {
        let before = &self.before;
        let ends = [
            after.received - before.received,
            after.forwarded - before.forwarded,
            after.consumed - before.consumed,
            after.parked - before.parked,
            after.dropped - before.dropped,
        ];
        let is_right = match ends {
            [1, 1, 0, 0, 0] => sends > 0,
            // Whatever leaves is an answer, a question or an error of the router's.
            [1, 0, 1, 0, 0] | [1, 0, 0, 1, 0] | [1, 0, 0, 0, 1] => true,
            _ => false,
        };
        ensure(is_right, || {
            format!(
                "received, forwarded, consumed, parked, dropped grew by {ends:?} with {sends} frames leaving"
            )
        })?;
        Ok(ends[1] == 1)
    }

    /// What holds for everything that leaves; whether it is the frame that came in, switched.
    fn leaves(
        &mut self,
        arrived: Option<&Arrived>,
        switches: bool,
        send: Send,
        out: &mut Outbox,
    ) -> Result<bool, String> {
        let egress = self.port(send.port).ok_or("a frame leaves through a port that does not exist")?;
        let tunnel = self.tunnel(send.port);
        let frame = out.frame(send);
        let inner = match tunnel {
            None => Cow::Borrowed(frame.bytes()),
            Some(tunnel) => Cow::Owned(tunnels::inner_sent(tunnel, frame.bytes())?),
        };
        let inner = &*inner;
        let domain = domain_on(egress, inner).ok_or("a frame leaves with a tag that its port has not")?;
        let longest = (frame.segment_len() + inner.len()).saturating_sub(frame.len());
        let untagged_len = longest.saturating_sub(tag_len(inner));
        ensure(untagged_len <= HEADER_LEN + usize::from(egress.mtu), || {
            format!("{longest} octets leave where the MTU is {}", egress.mtu)
        })?;
        let mut offload = frame.offload;
        offload.shift(tunnel.map_or(0, tunnels::inner_shift));
        let claim = offload.check(inner.len());
        ensure(claim.is_ok(), || {
            format!("{} octets leave and claim more: {:?}", frame.len(), frame.offload)
        })?;
        let is_in_tunnel = tunnel.is_some();
        let is_as_it_came = arrived.is_some_and(|arrived| arrived.is_as_it_came(inner));
        if routed::is_routers(&self.plan, domain, inner) && !is_as_it_came {
            let from = arrived.and_then(|arrived| arrived.domain);
            self.asked.leaves(&Arc::clone(&self.plan), from, domain, inner)?;
            return Ok(false);
        }
        let arrived = arrived.ok_or("no frame came in, and one leaves that is not the router's")?;
        if !switches && self.answers_in(domain) {
            ensure(arrived.domain == Some(domain) && self.said.repeats(domain, untagged(inner)), || {
                "an answer in a station's name says what it has not said".to_owned()
            })?;
            return Ok(false);
        }
        ensure(switches, || "a frame that did not go on leaves".to_owned())?;
        // A tunnel's pieces have been cut and their checksums finished.
        self.is_switched(arrived, egress, domain, is_in_tunnel || is_as_it_came)?;
        Ok(true)
    }

    fn is_switched(
        &self,
        arrived: &Arrived,
        egress: &PortPlan,
        to: DomainId,
        is_as_it_came: bool,
    ) -> Verdict {
        ensure(Some(to) == arrived.domain, || {
            format!("a frame of domain {:?} leaves into {to:?}", arrived.domain)
        })?;
        ensure(Some(egress.id) != arrived.port, || "a frame returns through its ingress port".to_owned())?;
        let is_isolated =
            |port: Option<&PortPlan>| port.is_some_and(|port| port.isolation == Isolation::Isolated);
        ensure(!(is_isolated(Some(egress)) && is_isolated(self.arrival_port(arrived.port))), || {
            "a frame passes between two isolated ports".to_owned()
        })?;
        let horizon = |port: Option<&PortPlan>| port.and_then(|port| port.horizon);
        let ingress = horizon(self.arrival_port(arrived.port));
        ensure(ingress.is_none() || ingress != horizon(Some(egress)), || {
            "a frame passes between two ends of one tunnel".to_owned()
        })?;
        ensure(is_as_it_came, || "a switched frame has other octets than it came with".to_owned())
    }

    /// Whether a frame that came in a tunnel is one that may.
    fn is_admitted(&self, arrived: &Arrived) -> bool {
        let Some(port) = arrived.port else { return false };
        self.tunnel(port).is_none_or(|tunnel| tunnels::admits(tunnel, &arrived.frame))
    }

    fn stations(&self, arrived: &Arrived, node: &Node) -> Verdict {
        let Some(port) = self.arrival_port(arrived.port) else { return Ok(()) };
        let count = node.stations_of_port(port.id);
        // A plan with a smaller limit forgets nobody; it only admits no more.
        ensure(count <= port.stations_max.max(arrived.stations_of_port), || {
            format!("port {} has {count} stations and may have {}", port.id.0, port.stations_max)
        })?;
        let Some(domain) =
            arrived.domain.and_then(|id| self.plan.switch.domains.iter().find(|known| known.id == id))
        else {
            return Ok(());
        };
        let count = node.stations_of_domain(domain.id);
        ensure(count <= domain.stations_max.max(arrived.stations_of_domain), || {
            format!("domain {} has {count} stations and may have {}", domain.id.0, domain.stations_max)
        })
    }

    fn answers_in(&self, domain: DomainId) -> bool {
        self.plan.switch.domains.iter().any(|known| known.id == domain && known.answers)
    }

    fn port(&self, id: PortId) -> Option<&PortPlan> {
        self.places.get(id.index()).copied().flatten().map(|index| &self.plan.switch.ports[index])
    }

    fn arrival_port(&self, id: Option<PortId>) -> Option<&PortPlan> {
        self.port(id?)
    }

    fn tunnel(&self, port: PortId) -> Option<&TunnelPlan> {
        self.plan.tunnels.iter().find(|tunnel| tunnel.port == port)
    }
}

impl Arrived {
    /// Whether a frame that leaves is the one that came in, tag aside.
    fn is_as_it_came(&self, leaving: &[u8]) -> bool {
        if !self.is_marked {
            return untagged(leaving) == untagged(&self.frame);
        }
        let forgetful = |frame: &[u8]| {
            let (addresses, rest) = untagged(frame);
            let mut frame = [addresses, rest].concat();
            tunnels::forget_ecn(&mut frame);
            frame
        };
        forgetful(leaving) == forgetful(&self.frame)
    }
}

fn tally(counters: &Counters, out: &Outbox) -> Tally {
    Tally {
        received: counters.received,
        forwarded: counters.forwarded,
        consumed: counters.consumed,
        parked: counters.parked,
        dropped: counters.dropped,
        sends: out.sends().len(),
    }
}

/// Which domain a frame is in on this port's wire, by its tag.
fn domain_on(port: &PortPlan, frame: &[u8]) -> Option<DomainId> {
    let tag = EthernetHeader::parse(frame)?.tag;
    // VLAN 0 is a priority and no tag; 4095 is nobody's.
    let vid = match tag.map(|tag| tag.0 & 0x0fff) {
        None | Some(0) => None,
        Some(_) => Some(tag?.vid()?),
    };
    port.memberships.iter().find(|member| member.vid == vid).map(|member| member.domain)
}

/// The octets of a frame without its tag, in two parts: addresses, and type with payload.
fn untagged(frame: &[u8]) -> (&[u8], &[u8]) {
    let (addresses, rest) = frame.split_at(frame.len().min(12));
    (addresses, &rest[tag_len(frame)..])
}

fn tag_len(frame: &[u8]) -> usize {
    let is_tagged = EthernetHeader::parse(frame).is_some_and(|header| header.tag.is_some());
    if is_tagged { TAG_LEN } else { 0 }
}

#[cfg(test)]
mod tests;
