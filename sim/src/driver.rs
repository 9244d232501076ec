//! A node under a virtual clock.
//!
//! The clock moves only forwards, from event to event. Before an event at a later time the node is woken at each of
//! its deadlines on the way, in their order; a deadline at the very time of an event comes before it. Each event is
//! followed by the [laws](crate::laws).
//!
//! What leaves is remembered with the time of the event that sent it, so that draining the outbox after one event or
//! after many gives the same result.

use std::fmt;
use std::sync::Arc;

use encap::Carrier;
use node::{Counters, Event, Node, Notice, Outbox, Plan};
use wire::{FrameBuf, Instant, PortId};

use crate::laws::{Arrives, Laws};

/// A node, its clock and its outbox.
pub struct Driver {
    node: Node,
    outbox: Outbox,
    /// `None` if nobody looks.
    laws: Option<Laws>,
    now: Instant,
    seed: u64,
    /// Events handled.
    events: u64,
    marks: Vec<Mark>,
    /// What is being drained. Kept for its room.
    sends: Vec<node::Send>,
}

/// The latest time there is.
const END_OF_TIME: Instant = Instant::from_nanos(u64::MAX);
/// Wakes at one time: a node may do in portions what is due.
const WAKES_MAX: u32 = 1_000;

/// How far the outbox was filled after an event.
struct Mark {
    at: Instant,
    sends: usize,
    notices: usize,
}

/// What comes out of a node.
pub enum Departure<'a> {
    /// A frame leaves.
    Frame {
        /// Where.
        port: PortId,
        /// What.
        frame: &'a mut FrameBuf,
        /// What the outer header is to say if it leaves through a tunnel.
        carrier: Carrier,
    },
    /// Something worth telling has happened.
    Notice(Notice),
}

impl Driver {
    /// A node whose first event, at `start`, is `plan`. The plan has been checked.
    pub fn new(seed: u64, start: Instant, plan: Arc<Plan>) -> Self {
        Self::with(seed, start, plan, Some(Laws::default()))
    }

    /// [`Driver::new`] without a look at the laws.
    pub fn trusting(seed: u64, start: Instant, plan: Arc<Plan>) -> Self {
        Self::with(seed, start, plan, None)
    }

    fn with(seed: u64, start: Instant, plan: Arc<Plan>, laws: Option<Laws>) -> Self {
        let mut driver = Self {
            node: Node::new(seed),
            outbox: Outbox::default(),
            laws,
            now: start,
            seed,
            events: 0,
            marks: Vec::new(),
            sends: Vec::new(),
        };
        driver.handle(start, Event::Configure(plan));
        driver
    }

    /// What time it is.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// What the node has counted.
    pub fn counters(&self) -> &Counters {
        self.node.counters()
    }

    /// The node itself.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Puts what is left of the node when it has been kept and restored in its place: the same, or keeping lies.
    pub(crate) fn keep_and_restore(&mut self) {
        let kept = crate::recording::keep(&self.node);
        let plan = Arc::clone(self.node.plan());
        self.node = crate::recording::restore(&kept, plan).expect("what was kept can be restored");
    }

    /// Events since the outbox was drained, wake-ups among them.
    pub fn undrained(&self) -> usize {
        self.marks.len()
    }

    /// An empty buffer for the next frame.
    pub fn buffer(&mut self) -> FrameBuf {
        self.outbox.pool.take()
    }

    /// Wakes the node at every deadline up to `at`.
    ///
    /// # Panics
    /// As [`Driver::handle`].
    pub fn advance(&mut self, at: Instant) {
        self.try_advance(at).unwrap_or_else(|law| panic!("{law}"));
    }

    /// [`Driver::advance`] for whoever has a better answer to a broken law than to panic.
    pub(crate) fn try_advance(&mut self, at: Instant) -> Result<(), String> {
        let mut wakes = 0;
        // At the end of time every deadline has saturated and none is later.
        while self.node.is_due(at) && self.now < END_OF_TIME {
            let Some((deadline, why)) = self.node.next_deadline() else { break };
            // A deadline that was missed is due now: the clock does not go back.
            self.handle_one(self.now.max(deadline), Event::Wake)?;
            let next = self.node.next_deadline();
            let is_over = next.is_none_or(|(next, _)| next > self.now || self.now == END_OF_TIME);
            wakes = if is_over { 0 } else { wakes + 1 };
            if wakes >= WAKES_MAX {
                return Err(format!(
                    "woken for {why:?}, the node still waits for a time that has passed: {next:?}; {self}"
                ));
            }
        }
        self.now = self.now.max(at);
        Ok(())
    }

    /// Lets time pass until `at`, then hands over the event.
    ///
    /// # Panics
    /// The node breaks a law, which is a mistake in the node.
    pub fn handle(&mut self, at: Instant, event: Event) {
        self.try_handle(at, event).unwrap_or_else(|law| panic!("{law}"));
    }

    /// [`Driver::handle`] for whoever has a better answer to a broken law than to panic.
    pub(crate) fn try_handle(&mut self, at: Instant, event: Event) -> Result<(), String> {
        self.try_advance(at)?;
        self.handle_one(self.now, event)
    }

    fn handle_one(&mut self, at: Instant, event: Event) -> Result<(), String> {
        self.now = at;
        self.events += 1;
        if let Some(laws) = &mut self.laws {
            let (arrives, plan) = concerns(&event);
            laws.before(&self.node, &self.outbox, arrives);
            if let Some(plan) = plan {
                laws.configured(&plan);
            }
        }
        self.node.handle(at, event, &mut self.outbox);
        let verdict = self.laws.as_mut().map_or(Ok(()), |laws| laws.after(&self.node, &mut self.outbox));
        let (sends, notices) = (self.outbox.sends().len(), self.outbox.notices.len());
        self.marks.push(Mark { at, sends, notices });
        verdict.map_err(|law| format!("{law}; {self}"))
    }

    /// Empties the outbox into `take`, each with the time at which it left.
    ///
    /// # Errors
    /// The first that `take` returns; what was not taken is lost.
    pub fn drain<E>(
        &mut self,
        mut take: impl FnMut(Instant, Departure<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.drain_by_event(|_, at, departure| take(at, departure))
    }

    /// [`Driver::drain`], each with the number of its event since the last time, from 0.
    pub(crate) fn drain_by_event<E>(
        &mut self,
        mut take: impl FnMut(usize, Instant, Departure<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.sends.clear();
        self.sends.extend_from_slice(self.outbox.sends());
        let sends = &self.sends;
        let notices = std::mem::take(&mut self.outbox.notices);
        let (mut sent, mut told) = (0, 0);
        let mut outcome = Ok(());
        for (event, mark) in self.marks.drain(..).enumerate() {
            for send in &sends[sent..mark.sends] {
                let node::Send { port, carrier, .. } = *send;
                let frame = self.outbox.frame(*send);
                outcome =
                    outcome.and_then(|()| take(event, mark.at, Departure::Frame { port, frame, carrier }));
            }
            for notice in &notices[told..mark.notices] {
                outcome = outcome.and_then(|()| take(event, mark.at, Departure::Notice(*notice)));
            }
            (sent, told) = (mark.sends, mark.notices);
        }
        self.outbox.clear_sends();
        outcome
    }
}

/// What the laws want to know of an event: what arrives, and which plan holds from then on.
fn concerns(event: &Event) -> (Option<Arrives<'_>>, Option<Arc<Plan>>) {
    match event {
        Event::Frame { port, frame } => (Some(Arrives::Frame(*port, frame)), None),
        Event::Datagram { underlay, from, ecn, frame } => {
            (Some(Arrives::Datagram(*underlay, *from, *ecn, frame)), None)
        }
        Event::Configure(next) => (None, Some(Arc::clone(next))),
        Event::Wake
        | Event::Flush(_)
        | Event::KillSessions(_)
        | Event::FlushNeighbours { .. }
        | Event::Gossip(_) => (None, None),
    }
}

/// What a failure needs to be found again.
impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, events, now, .. } = self;
        write!(
            f,
            "seed {seed}, event {events}, at {} ns, waiting for {:?}",
            now.as_nanos(),
            self.node.next_deadline()
        )
    }
}

#[cfg(test)]
mod tests;
