//! Each decision as a sentence.

use node::{Ending, Step, Trace};
use vrouter::nat::{Origin, SourceNat};
use vrouter::{AclAction, Endpoint, Note, Protocol, Routed};
use vswitch::{Forward, Learned};
use wire::{DropReason, PortId};

use super::{Line, Scene};

impl Scene<'_> {
    /// Every decision of a trace, in order.
    pub(super) fn lines(&self, port: PortId, trace: &Trace) -> Vec<Line> {
        let mut lines: Vec<Line> =
            trace.steps.iter().filter_map(|step| self.line(port, &trace.steps, step)).collect();
        for send in &trace.sends {
            let own = if send.is_own { "the router's own: " } else { "" };
            let what = self.describe(send.port, &send.bytes);
            let text = format!("leaves through {}: {own}{what}", self.port(send.port));
            lines.push(line("deliver", text, self.cite_port(send.port)));
        }
        for (at, reason) in &trace.refused {
            let text = format!("not through {}: {} ({})", self.port(*at), reason.sentence(), reason.id());
            lines.push(line("deliver", text, self.cite_drop(*at, *reason, &trace.steps)));
        }
        if trace.ending == Ending::Forwarded && trace.sends.iter().all(|send| send.is_own) {
            lines.push(line("deliver", "nothing leaves".to_owned(), None));
        }
        lines
    }

    fn line(&self, port: PortId, steps: &[Step], step: &Step) -> Option<Line> {
        let (text, source) = match step {
            Step::Admitted { domain } => (
                format!("comes in through {}, in network {}", self.port(port), self.network(*domain)),
                self.cite_port(port),
            ),
            Step::Learned { mac, learned, .. } => (format!("source {mac} {}", self.learned(*learned)), None),
            Step::Router(note) => self.note(note),
            Step::Routed(routed) => (self.routed(*routed), None),
            Step::AnsweredFor { mac } => {
                (format!("asks for {mac}, which is known: answered in its name"), None)
            }
            Step::Forwarded { domain, dst, to } => {
                let text = match to {
                    Forward::One(egress) => format!("{dst} is behind {}", self.port(egress.port)),
                    Forward::Many if dst.is_group() => {
                        format!("{dst} is a group: to every port of network {}", self.network(*domain))
                    }
                    Forward::Many => {
                        format!(
                            "nobody knows where {dst} is: to every port of network {}",
                            self.network(*domain)
                        )
                    }
                };
                (text, None)
            }
            Step::Dropped { port, reason } => (
                format!("DROP {}: {}", reason.id(), reason.sentence()),
                self.cite_drop(*port, *reason, steps),
            ),
            Step::Nobodys { reason, .. } => (format!("DROP {}: {}", reason.id(), reason.sentence()), None),
            Step::Ended { .. } => return None,
        };
        let room = step.room().map_or("", node::Room::name);
        Some(line(room, text, source))
    }

    fn learned(&self, learned: Learned) -> String {
        match learned {
            Learned::Known | Learned::Refreshed => "lives there, as known".to_owned(),
            Learned::New => "is new there and would be learned".to_owned(),
            Learned::Moved { from, flapping } => {
                let again = if flapping { ", and keeps moving" } else { "" };
                format!("lived behind {} and would move{again}", self.port(from))
            }
            Learned::RefusedDomain { .. } => "is not learned: its network has as many as it may".to_owned(),
            Learned::RefusedPort { .. } => "is not learned: its port has as many as it may".to_owned(),
            Learned::Static => "is bound to another port and not learned".to_owned(),
        }
    }

    fn routed(&self, routed: Routed) -> String {
        match routed {
            Routed::Pass => "not for the router".to_owned(),
            Routed::Answer => "the router answers it".to_owned(),
            Routed::Forward(domain) => format!("goes on in network {}", self.network(domain)),
            Routed::Consumed => "the router has heard it".to_owned(),
            Routed::Parked => "the router keeps it".to_owned(),
        }
    }

    fn note(&self, note: &Note) -> (String, Option<String>) {
        match *note {
            Note::Followed { session, flow, src, dst } => {
                let what = format!("belongs to connection {}", session.number());
                let text = if (src, dst) == (flow.src, flow.dst) {
                    format!("{what}, which is not translated")
                } else {
                    let protocol = protocol(flow.protocol);
                    format!(
                        "{what}: {protocol} {} > {} becomes {} > {}",
                        end(flow.src),
                        end(flow.dst),
                        end(src),
                        end(dst)
                    )
                };
                (text, None)
            }
            Note::Invited { target, origin } => {
                (format!("{}: passed on to {}", origin_words(origin), end(target)), self.cite_origin(origin))
            }
            Note::Own => ("addressed to the router itself".to_owned(), None),
            Note::Quoted { about } => (format!("reports an error about a packet of {}", end(about)), None),
            Note::Way { dst, egress, next_hop } => {
                let route = self.compiled.plan.router.fib.explain(dst);
                let prefix = route.as_ref().map_or_else(String::new, |route| route.prefix.to_string());
                let text = if next_hop == dst {
                    format!("{dst} lives in network {} ({prefix})", self.network(egress))
                } else {
                    format!("{dst} by route {prefix} via {next_hop} in network {}", self.network(egress))
                };
                (text, route.and_then(|route| self.cite_route(&route)))
            }
            Note::Sides { from, to } => {
                let text = format!(
                    "a connection from network {} to network {} begins",
                    self.network(from),
                    self.network(to)
                );
                (text, self.cite_network(from, ""))
            }
            Note::Acl { rule, action } => {
                let says = match action {
                    AclAction::Allow => "allows it",
                    AclAction::Deny => "denies it",
                    AclAction::Log => "logs it",
                };
                (format!("access rule {rule} {says}"), self.cite(&format!("acl[{rule}]")))
            }
            Note::AclPassed { rules } => (format!("none of {rules} access rules denies it"), None),
            Note::Opened { source, origin, src, dst } => {
                let how = match source {
                    SourceNat::Keep => "its source stays".to_owned(),
                    SourceNat::Masquerade(_) => format!("its source becomes {} (masquerade)", end(src)),
                    SourceNat::Address(_) => format!("its source becomes {} (one-to-one)", end(src)),
                    SourceNat::Hairpin(_) => {
                        format!("its source becomes {}, so that the answer comes back here", end(src))
                    }
                };
                let text = format!("a new connection to {}, {how}; a trace does not open it", end(dst));
                (text, self.cite_opened(source, origin))
            }
            Note::Fragmented { mtu } => (format!("leaves in pieces that fit MTU {mtu}"), None),
            Note::Resolved { next_hop, mac } => (format!("{next_hop} is at {mac}"), None),
            Note::Unresolved { next_hop } => {
                (format!("nobody knows the MAC address of {next_hop}: it is asked for"), None)
            }
            Note::Told(kind) => (format!("the sender is told: {}", told(kind)), None),
        }
    }
}

fn line(room: &str, text: String, source: Option<String>) -> Line {
    Line { room: room.to_owned(), text, source }
}

fn end(end: Endpoint) -> String {
    match end.l4_port {
        0 => end.address.to_string(),
        l4_port => std::net::SocketAddr::new(end.address, l4_port).to_string(),
    }
}

const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Echo => "icmp",
    }
}

const fn origin_words(origin: Origin) -> &'static str {
    match origin {
        Origin::Plain => "a connection like others",
        Origin::Publish(_) => "published",
        Origin::OneToOne => "an address that is one station's",
        Origin::Mapping => "a mapping that a station has opened",
    }
}

const fn told(kind: vrouter::icmp::error::ErrorKind) -> &'static str {
    use vrouter::icmp::error::ErrorKind;
    match kind {
        ErrorKind::TtlExpired => "its TTL is used up",
        ErrorKind::ReassemblyTimeout => "fragments are missing",
        ErrorKind::NetUnreachable => "no route leads there",
        ErrorKind::HostUnreachable => "the host does not answer",
        ErrorKind::L4PortUnreachable => "nobody listens at that port",
        ErrorKind::ProtocolUnreachable => "the protocol is not spoken there",
        ErrorKind::AdminProhibited => "a rule forbids it",
        ErrorKind::TooBig { .. } => "it is too long",
    }
}

/// Whether the reason is about what the port's station may say.
pub(super) fn is_guard(reason: DropReason) -> bool {
    use DropReason as R;
    matches!(reason, R::SpoofedMac | R::SpoofedArp | R::SpoofedNd | R::RogueRa | R::RogueDhcp)
}
