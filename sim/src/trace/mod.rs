//! Trace in words: what a switch would do with a packet, room by room, and which line of the configuration says so.
//!
//! ```text
//!  configuration text ─▶ Scene ─┐
//!  packet or frame ─────────────┼─▶ Node::trace ─▶ Explained: lines, verdict, what leaves
//!  a node, live or warmed up ───┘
//! ```
//!
//! The decisions are the node's own ([`Node::trace`]); here they only get names, sentences and places. The node may be a
//! running one, asked where it runs, or one made for a configuration file ([`Scene::warm`]): there every configured
//! station has spoken once, so that the switch knows where they are and the router has their MAC addresses, as it
//! would soon after its start. What comes in through a tunnel's port is asked about as the frame inside, and traced as the
//! datagram that the remote end would make of it ([`tunnel`]). Needs neither root nor a device.

mod cite;
mod packet;
mod tunnel;
mod words;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use config::{Compiled, CompiledPort, Config, Lines, PortKind};
use node::{Ending, Event, Node, Outbox, Step, Trace};
use serde::{Deserialize, Serialize};
use vrouter::fib::Target;
use vrouter::{Gateway, Note};
use wire::{Cidr, DomainId, Instant, Mac, PortId, Vid};

pub use packet::{DATA_LEN_MAX, Macs, NotAPacket, PacketText, answer};

use crate::{craft, describe};

/// What is made up for a router beyond the uplink that has not been heard.
const BEYOND: Mac = Mac([0x06, 0, 0, 0, 0, 1]);

/// A switch whose decisions are to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// What it obeys.
    pub config: &'a Config,
    /// That, compiled.
    pub compiled: &'a Compiled,
    /// What the configuration's text is called: a file, or `tapestry config`.
    pub name: &'a str,
    /// Where things stand in it.
    pub lines: &'a Lines,
}

/// A packet's way through the switch, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The port that it comes in through.
    pub port: String,
    /// What it is.
    pub packet: String,
    /// Each decision, in order.
    pub steps: Vec<Line>,
    /// How it ends: `forward`, `consume`, `park` or `drop`.
    pub verdict: Verdict,
    /// The drop reason's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the user can do about a drop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// What leaves.
    pub leaves: Vec<Leaving>,
}

/// One decision in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The room that decided.
    pub room: String,
    /// What it decided.
    pub text: String,
    /// The line of the configuration that it comes from, `FILE:LINE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A frame that leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Through this port.
    pub port: String,
    /// What it is.
    pub packet: String,
    /// Whether the router made it: an answer, a question, an error.
    pub own: bool,
}

/// How a walk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It leaves.
    Forward,
    /// The router takes it.
    Consume,
    /// The router keeps it until it knows more.
    Park,
    /// It goes no further.
    Drop,
}

impl Verdict {
    /// As tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "FORWARD",
            Self::Consume => "CONSUME",
            Self::Park => "PARK",
            Self::Drop => "DROP",
        }
    }
}

/// What to ask about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The port that the packet comes in through.
    pub port: String,
    /// The packet in a line ([`PacketText`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
    /// Or the octets of its frame in hexadecimal digits, from the destination address on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// Whether to follow the answer too.
    #[serde(default)]
    pub both: bool,
}

/// Why a question cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswerable {
    /// There is no such port.
    NoPort(String),
    /// The packet cannot be made.
    Packet(String),
}

impl<'a> Scene<'a> {
    /// The port and the frame that a question is about. `node` knows MAC addresses that the configuration does not.
    ///
    /// # Errors
    /// See [`Unanswerable`].
    pub fn frame(&self, node: &Node, question: &Question) -> Result<(PortId, Vec<u8>), Unanswerable> {
        let port = self.compiled.ports.get(&question.port);
        let port = port.ok_or_else(|| Unanswerable::NoPort(question.port.clone()))?;
        let wrong = Unanswerable::Packet;
        let frame = match (&question.packet, &question.frame) {
            (Some(text), None) => {
                let packet: PacketText =
                    text.parse().map_err(|error: NotAPacket| wrong(error.to_string()))?;
                packet.frame(self.macs(node, port, &packet).map_err(wrong)?)
            }
            (None, Some(digits)) => octets(digits).map_err(wrong)?,
            (Some(_), Some(_)) | (None, None) => {
                return Err(wrong("name either a packet or a frame".to_owned()));
            }
        };
        if frame.len() > wire::frame::FRAME_MAX {
            return Err(wrong(format!("the frame has {} octets, and a port takes fewer", frame.len())));
        }
        Ok((port.id, frame))
    }

    /// What would happen, and if it is asked for, to the answer too: as many as could be followed.
    ///
    /// # Errors
    /// See [`Unanswerable`].
    pub fn ask(
        &self,
        node: &Node,
        now: Instant,
        question: &Question,
    ) -> Result<Vec<Explained>, Unanswerable> {
        let (port, frame) = self.frame(node, question)?;
        let mut tracer = node.tracer();
        let first = self.trace(&mut tracer, now, port, &frame).map_err(Unanswerable::Packet)?;
        let mut explained = vec![self.explain(port, &frame, &first)];
        if question.both && first.ending == Ending::Parked {
            explained[0].steps.extend(no_answer(&first));
        }
        let there = first.sends.iter().find(|send| !send.is_own);
        if question.both
            && let Some(there) = there
            && let Some(inside) = self.inside(there.port, &there.bytes)
            && let Some(back) = answer(&inside)
            && let Ok(trace) = self.trace(&mut tracer, now, there.port, &back)
        {
            explained.push(self.explain(there.port, &back, &trace));
        }
        Ok(explained)
    }

    /// A trace in words.
    pub fn explain(&self, port: PortId, frame: &[u8], trace: &Trace) -> Explained {
        let (verdict, reason) = match trace.ending {
            Ending::Forwarded => (Verdict::Forward, None),
            Ending::Consumed => (Verdict::Consume, None),
            Ending::Parked => (Verdict::Park, None),
            Ending::Dropped(reason) => (Verdict::Drop, Some(reason)),
        };
        let leaves = trace.sends.iter().map(|send| Leaving {
            port: self.port(send.port),
            packet: self.describe(send.port, &send.bytes),
            own: send.is_own,
        });
        Explained {
            port: self.port(port),
            packet: describe::frame(frame),
            steps: self.lines(port, trace),
            verdict,
            reason: reason.map(|reason| reason.id().to_owned()),
            advice: reason.map(|reason| reason.advice().to_owned()),
            leaves: leaves.collect(),
        }
    }

    /// The node of this configuration a little after its start, at `now`: every configured station has asked for its
    /// gateway once, and the routers beyond the uplink too.
    pub fn warm(&self, now: Instant) -> Node {
        let mut node = Node::new(0);
        let mut out = Outbox::default();
        node.handle(now, Event::Configure(Arc::new(self.compiled.plan.clone())), &mut out);
        out.clear_sends();
        for (port, bytes) in self.greetings() {
            let mut frame = out.pool.take();
            assert!(frame.fill(&bytes), "a greeting is short");
            node.handle(now, Event::Frame { port, frame }, &mut out);
            out.clear_sends();
        }
        node
    }

    /// What the stations say to be known.
    fn greetings(&self) -> Vec<(PortId, Vec<u8>)> {
        let mut greetings = Vec::new();
        for port in self.compiled.ports.values() {
            let PortKind::Device(device) = &port.kind else { continue };
            for cidr in &device.addresses {
                let domain = self.domains(port.id).find(|(vid, _)| vid.is_none());
                let Some((_, domain)) = domain else { continue };
                greetings.push((port.id, self.greeting(domain, device.mac.mac(), cidr.address())));
            }
        }
        for route in self.compiled.plan.router.fib.routes() {
            let Target::Via(hops) = route.target else { continue };
            for hop in hops {
                let is_nic = |port: &&CompiledPort| matches!(port.kind, PortKind::Nic(_));
                let carries =
                    |port: &&CompiledPort| self.domains(port.id).any(|(_, domain)| domain == hop.domain);
                let behind = self.compiled.ports.values().filter(is_nic).find(carries);
                if let Some(port) = behind {
                    greetings.push((port.id, self.greeting(hop.domain, BEYOND, hop.address)));
                }
            }
        }
        greetings
    }

    /// A question for the gateway, or without one for itself.
    fn greeting(&self, domain: DomainId, mac: Mac, address: IpAddr) -> Vec<u8> {
        let own = self.gateway(domain).map(|gateway| gateway.addresses.as_slice()).unwrap_or_default();
        let asked = own.iter().copied().find(|own| own.is_ipv4() == address.is_ipv4()).unwrap_or(address);
        match (address, asked) {
            (IpAddr::V4(address), IpAddr::V4(asked)) => craft::arp_question((mac, address), asked),
            (IpAddr::V6(address), IpAddr::V6(asked)) => {
                let [.., a, b, c] = asked.octets();
                let last = u16::from_be_bytes([b, c]);
                let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), last);
                let link = (Mac([0x33, 0x33, 0xff, a, b, c]), mac);
                let (src, dst) = (IpAddr::V6(address), IpAddr::V6(group));
                let question = craft::icmpv6(src, dst, &craft::neighbour(135, asked, mac));
                craft::ip(link, src, dst, craft::ICMPV6, &question)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                unreachable!("an address of the same family was chosen")
            }
        }
    }

    /// The MAC addresses that a station at the port would use for the packet.
    fn macs(&self, node: &Node, port: &CompiledPort, packet: &PacketText) -> Result<Macs, String> {
        let vid = packet.vid();
        let carried = self.domains(port.id).find(|(carried, _)| carried.map(Vid::number) == vid);
        let (_, domain) = carried.ok_or("the port carries no network with this tag".to_owned())?;
        let known = |address| node.router().neighbours().known(domain, address);
        let src = match &port.kind {
            PortKind::Device(device) => device.mac.mac(),
            PortKind::Tunnel(_) => self.peer(port.id).or(known(packet.src())).unwrap_or(BEYOND),
            PortKind::Nic(_) => known(packet.src()).unwrap_or(BEYOND),
        };
        let dst = match (self.gateway(domain), packet.dst()) {
            (_, IpAddr::V4(dst)) if dst.is_broadcast() => Mac::BROADCAST,
            (_, dst) if dst.is_multicast() => group_mac(dst),
            (Some(gateway), dst) if gateway.addresses.contains(&dst) => gateway.mac.mac(),
            (Some(gateway), dst) if !lives_in(gateway, dst) => gateway.mac.mac(),
            (_, dst) => {
                let configured = || self.station(domain, dst);
                known(dst).or_else(configured).or(packet.dst_mac()).ok_or_else(|| {
                    format!("nobody knows the MAC address of {dst}; add dst=MAC to the packet")
                })?
            }
        };
        Ok(Macs { src, dst })
    }

    /// The MAC address of the station that the configuration gives the address.
    fn station(&self, domain: DomainId, address: IpAddr) -> Option<Mac> {
        self.compiled.ports.values().find_map(|port| {
            let PortKind::Device(device) = &port.kind else { return None };
            let has = device.addresses.iter().any(|cidr: &Cidr| cidr.address() == address);
            let is_there = self.domains(port.id).any(|(_, carried)| carried == domain);
            (has && is_there).then(|| device.mac.mac())
        })
    }

    fn gateway(&self, domain: DomainId) -> Option<&'a Gateway> {
        self.compiled.plan.router.gateways.iter().find(|gateway| gateway.domain == domain)
    }

    /// What the port carries, by tag.
    fn domains(&self, port: PortId) -> impl Iterator<Item = (Option<Vid>, DomainId)> + 'a {
        let plan = self.compiled.plan.switch.ports.iter().filter(move |plan| plan.id == port);
        plan.flat_map(|plan| plan.memberships.iter().map(|member| (member.vid, member.domain)))
    }

    fn port(&self, id: PortId) -> String {
        self.compiled.port_name(id).map_or_else(|| format!("#{}", id.0), str::to_owned)
    }

    fn network(&self, id: DomainId) -> String {
        self.compiled.network_name(id).map_or_else(|| format!("#{}", id.0), str::to_owned)
    }
}

/// That the answer to a packet that waits cannot be told.
fn no_answer(trace: &Trace) -> Option<Line> {
    let waits_for = |step: &Step| {
        if let Step::Router(Note::Way { next_hop, .. }) = step { Some(*next_hop) } else { None }
    };
    let next_hop = trace.steps.iter().rev().find_map(waits_for)?;
    let text = format!("no answer can be followed: the packet waits for {next_hop}'s MAC address");
    Some(Line { room: node::Room::Route.name().to_owned(), text, source: None })
}

fn lives_in(gateway: &Gateway, address: IpAddr) -> bool {
    gateway.subnets.iter().any(|subnet| subnet.contains(address))
}

/// The group address of a multicast packet (RFC 1112 §6.4, RFC 2464 §7).
fn group_mac(address: IpAddr) -> Mac {
    match address {
        IpAddr::V4(address) => {
            let [_, b, c, d] = address.octets();
            Mac([1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            Mac([0x33, 0x33, a, b, c, d])
        }
    }
}

/// Hexadecimal digits, with or without `0x`, spaces and colons between octets.
fn octets(digits: &str) -> Result<Vec<u8>, String> {
    let digits: String =
        digits.trim().trim_start_matches("0x").chars().filter(|c| !matches!(c, ':' | ' ' | '\n')).collect();
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_hex || !digits.len().is_multiple_of(2) {
        return Err("the frame is not an even number of hexadecimal digits".to_owned());
    }
    let octet = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|error| error.to_string());
    (0..digits.len()).step_by(2).map(octet).collect()
}

#[cfg(test)]
mod tests;
