//! Trace: what would happen to a frame, and what every room decided on the way.
//!
//! A trace is the walk itself. [`Node::trace`] copies the node, lets the copy handle the frame as it would handle it
//! live, and gives back what the rooms noted; so it cannot disagree with what live traffic meets. A datagram of a tunnel
//! is traced the same way ([`Tracer::trace_datagram`]). The node that is
//! asked is not touched: no station is learned, no connection opened, no counter moves.
//!
//! The rooms note their decisions where they make them ([`Step`], [`RouterNote`](vrouter::Note)). On the packet path
//! nobody listens and a note costs one look at an `Option`.
//!
//! Price: the copy takes as long as the node's tables are large (a million connections are some 200 MB). Time: a
//! deadline that has passed at `now` is met first, as a worker meets it before it reads.

use alloc::vec::Vec;

use vrouter::{Note, Routed};
use vswitch::{Forward, Learned};
use wire::{DomainId, DropReason, Ecn, FrameBuf, Instant, Mac, Offload, PortId};

use crate::{Carrier, Counters, Endpoint, Event, Node, Outbox, UnderlayId};

/// Where in the corridor something was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// May it come in, and into which domain?
    Admit,
    /// Where does its source live?
    Learn,
    /// Is it for the router, and where does it go from there?
    Route,
    /// Which ports of its domain?
    Forward,
    /// Does it fit there, and how?
    Deliver,
}

/// One decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The frame is in this domain.
    Admitted {
        /// Which.
        domain: DomainId,
    },
    /// What its source taught.
    Learned {
        /// The source's domain.
        domain: DomainId,
        /// The source.
        mac: Mac,
        /// What it taught.
        learned: Learned,
    },
    /// The router decided something about it.
    Router(Note),
    /// What the router made of it.
    Routed(Routed),
    /// It asks for a station that is known, and is answered in its name.
    AnsweredFor {
        /// The station.
        mac: Mac,
    },
    /// Where in this domain it goes.
    Forwarded {
        /// The domain that it leaves in.
        domain: DomainId,
        /// Whom it is for.
        dst: Mac,
        /// Where that station lives.
        to: Forward,
    },
    /// The frame goes no further.
    Dropped {
        /// The port that it is counted at.
        port: PortId,
        /// Why.
        reason: DropReason,
    },
    /// The datagram is of no tunnel, and goes no further.
    Nobodys {
        /// Where it came.
        underlay: UnderlayId,
        /// Why it is nobody's.
        reason: DropReason,
    },
    /// The frame's own walk is over. What follows is about frames that the router made of it.
    Ended {
        /// How many frames were on their way out by then.
        sends: usize,
    },
}

/// How a walk ended; see [`crate::Counters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It left through at least one port.
    Forwarded,
    /// The router took it, and may have answered.
    Consumed,
    /// The router keeps it until it knows the next hop, or the first fragment.
    Parked,
    /// It goes no further.
    Dropped(DropReason),
}

/// A frame that would have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedSend {
    /// Through this port.
    pub port: PortId,
    /// Whether it is a frame of the router's own: an answer, a question, an error.
    pub is_own: bool,
    /// Its octets, tag and tunnel header included.
    pub bytes: Vec<u8>,
    /// What the egress device would have been asked to finish.
    pub offload: Offload,
    /// What the outer header would have said, of a datagram; otherwise its default.
    pub carrier: Carrier,
}

/// What would happen to a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Every decision, in order.
    pub steps: Vec<Step>,
    /// How its walk would end.
    pub ending: Ending,
    /// What would leave, in order.
    pub sends: Vec<TracedSend>,
    /// Ports that would have got a copy of a flooded frame and refuse it, and why.
    pub refused: Vec<(PortId, DropReason)>,
}

impl Step {
    /// The room that decided it; `None` for the end.
    pub fn room(&self) -> Option<Room> {
        match self {
            Self::Admitted { .. } => Some(Room::Admit),
            Self::Learned { .. } => Some(Room::Learn),
            Self::Router(_) | Self::Routed(_) => Some(Room::Route),
            Self::AnsweredFor { .. } | Self::Forwarded { .. } => Some(Room::Forward),
            Self::Dropped { reason, .. } | Self::Nobodys { reason, .. } => Room::of(*reason),
            Self::Ended { .. } => None,
        }
    }
}

impl Room {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [Self::Admit, Self::Learn, Self::Route, Self::Forward, Self::Deliver];

    /// The room that drops for this reason; `None` for what the shell drops.
    pub fn of(reason: DropReason) -> Option<Self> {
        let (room, _) = reason.id().split_once('.')?;
        Self::ALL.into_iter().find(|known| known.name() == room)
    }

    /// Its name, as drop reasons have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Learn => "learn",
            Self::Route => "route",
            Self::Forward => "forward",
            Self::Deliver => "deliver",
        }
    }
}

impl Node {
    /// What would happen to this frame if it came in through `port`. `frame` is as a device gives it, its virtio header
    /// in front. Nothing of the node changes.
    pub fn trace(&self, now: Instant, port: PortId, frame: FrameBuf) -> Trace {
        self.tracer().trace(now, port, frame)
    }

    /// A copy of the node to ask about several frames, each of which meets what the ones before it have left.
    pub fn tracer(&self) -> Tracer {
        Tracer { copy: self.clone() }
    }

    /// Takes note of a decision, if the walk is traced.
    #[inline]
    pub(crate) fn note(&mut self, step: impl FnOnce() -> Step) {
        if let Some(steps) = &mut self.steps {
            steps.push(step());
        }
    }

    /// Takes note of what the router noted, and of what it made of the frame.
    #[inline]
    pub(crate) fn note_route(&mut self, routed: Result<Routed, DropReason>) {
        let (Some(steps), Some(notes)) = (&mut self.steps, &mut self.made.notes) else { return };
        steps.extend(notes.drain(..).map(Step::Router));
        if let Ok(routed) = routed {
            steps.push(Step::Routed(routed));
        }
    }
}

/// A copy of a node, and what has become of it.
#[derive(Debug)]
pub struct Tracer {
    copy: Node,
}

impl Tracer {
    /// The copy, as the frames so far have left it.
    pub fn node(&self) -> &Node {
        &self.copy
    }

    /// What happens to this frame, which the copy handles; see [`Node::trace`].
    pub fn trace(&mut self, now: Instant, port: PortId, frame: FrameBuf) -> Trace {
        self.hear(now, Event::Frame { port, frame })
    }

    /// What happens to this payload of a datagram, which the copy handles: it came to `underlay` from `from`, its outer
    /// header marked `ecn`.
    pub fn trace_datagram(
        &mut self,
        now: Instant,
        underlay: UnderlayId,
        from: Endpoint,
        ecn: Ecn,
        frame: FrameBuf,
    ) -> Trace {
        self.hear(now, Event::Datagram { underlay, from, ecn, frame })
    }

    /// What comes of a frame or a datagram.
    fn hear(&mut self, now: Instant, event: Event) -> Trace {
        let copy = &mut self.copy;
        let mut out = Outbox::default();
        if copy.is_due(now) {
            copy.handle(now, Event::Wake, &mut out);
            out.clear_sends();
        }
        let before = copy.counters.clone();
        copy.made.notes = Some(Vec::new());
        copy.steps = Some(Vec::new());
        copy.handle(now, event, &mut out);
        let mut steps = copy.steps.take().unwrap_or_default();
        // What the router noted after the frame's own route: about frames that it set free.
        steps.extend(copy.made.notes.take().unwrap_or_default().into_iter().map(Step::Router));
        let dropped = steps.iter().find_map(|step| {
            if let Step::Dropped { port, reason } = step { Some((*port, *reason)) } else { None }
        });
        let nobodys = steps
            .iter()
            .find_map(|step| if let Step::Nobodys { reason, .. } = step { Some(*reason) } else { None });
        let ending = match dropped.map(|(_, reason)| reason).or(nobodys) {
            Some(reason) => Ending::Dropped(reason),
            None if copy.counters.parked > before.parked => Ending::Parked,
            None if copy.counters.consumed > before.consumed => Ending::Consumed,
            None => Ending::Forwarded,
        };
        let refused = refusals(&before, &copy.counters).filter(|refused| Some(*refused) != dropped).collect();
        let own_from = if ending == Ending::Forwarded { sent_before_the_end(&steps) } else { 0 };
        let sends = out.sends().to_vec();
        let traced = sends.into_iter().enumerate().map(|(index, send)| {
            let frame = out.frame(send);
            let is_own = index >= own_from;
            let (bytes, offload) = (frame.bytes().to_vec(), frame.offload);
            TracedSend { port: send.port, is_own, bytes, offload, carrier: send.carrier }
        });
        Trace { steps, ending, sends: traced.collect(), refused }
    }
}

/// How many frames were on their way out when the walk ended; what came later is the router's own.
fn sent_before_the_end(steps: &[Step]) -> usize {
    let end =
        steps.iter().find_map(|step| if let Step::Ended { sends } = step { Some(*sends) } else { None });
    end.unwrap_or(0)
}

/// The ports at which a drop was counted in between, and why.
fn refusals(before: &Counters, after: &Counters) -> impl Iterator<Item = (PortId, DropReason)> {
    let grew = |index: usize, reason: DropReason| {
        let of = |counters: &Counters| counters.ports.get(index).map_or(0, |port| port.drops.of(reason));
        of(after) > of(before)
    };
    let ports = (0..=u16::MAX).map(PortId).take(after.ports.len());
    ports
        .flat_map(|port| DropReason::ALL.iter().map(move |reason| (port, *reason)))
        .filter(move |(port, reason)| grew(port.index(), *reason))
}
