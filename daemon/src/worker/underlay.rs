//! Underlays in a worker's hands: datagrams come in, are joined to fewer, and walk the corridor; what the corridor has for
//! tunnels leaves in the order in which it was made.
//!
//! Every worker sends, the first one receives: what comes out of tunnels is its whoever owns the flow inside, because its
//! replica has the router. An end's datagrams therefore stay in order. A socket has no end of its own: its errors are
//! counted where they belong and nothing is given up for them.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use encap::{Endpoint, Format, Joiner, UnderlayId, UnderlayPlan};
use mio::unix::SourceFd;
use mio::{Interest, Token};
use node::{Event, Node};
use wire::segment::{self, Carried};
use wire::{DropReason, Ecn, FrameBuf, FramePool, Instant, PortId};

use super::pass::{Rest, Turn, Worker};
use super::tap::Way;
use crate::port::Fault;
use crate::port::udp::{Incoming, Outgoing, UnderlayQueue, Unsent};

/// The tokens of underlays start here, above those of ports.
pub(super) const TOKENS_FROM: usize = 1 << 16;

/// One underlay: its plan, and this worker's queue of it.
pub(super) struct Lay {
    plan: UnderlayPlan,
    queue: UnderlayQueue,
    joiner: Joiner,
    pub(super) is_ready: bool,
    /// Both are empty between bursts.
    incoming: Vec<Incoming>,
    entering: Vec<(Endpoint, Ecn, FrameBuf)>,
}

/// What the payloads of a format are.
pub(crate) const fn carried(format: Format) -> Carried {
    match format {
        Format::Vxlan => Carried::Frame(encap::vxlan::HEADER_LEN),
        Format::BareIp => Carried::Packet,
    }
}

impl Lay {
    fn new(plan: UnderlayPlan, queue: UnderlayQueue) -> Self {
        let joiner = Joiner::new(plan.format);
        Self { plan, queue, joiner, is_ready: true, incoming: Vec::new(), entering: Vec::new() }
    }

    pub(super) fn id(&self) -> UnderlayId {
        self.plan.id
    }

    /// Notes what is said of datagrams that left, while it is fresh.
    pub(super) fn hear_complaints(&self) {
        self.queue.hear_complaints();
    }

    /// Counts what sockets had no room for, and what left whole and had no way.
    fn count_losses(&mut self, node: &mut Node) {
        node.lost_at_underlay(self.plan.id, DropReason::Overrun, self.queue.take_overruns());
        node.lost_at_underlay(self.plan.id, DropReason::UnderlayUnreachable, self.queue.take_unrouted());
    }

    /// Receives what one call takes, and joins what came from one end with one mark.
    fn receive(&mut self, pool: &mut FramePool) -> Rest {
        if let Err(error) = self.queue.receive(pool, &mut self.incoming) {
            return if error.kind() == std::io::ErrorKind::WouldBlock { Rest::Empty } else { Rest::More };
        }
        let mut last = None;
        for Incoming { from, ecn, segment, payload } in self.incoming.drain(..) {
            let from = Endpoint { address: from.ip(), l4_port: from.port() };
            let entering = &mut self.entering;
            if let Some((before, mark)) =
                last.filter(|last: &(Endpoint, Ecn)| (last.0.address, last.1) != (from.address, ecn))
            {
                self.joiner.flush(|frame| entering.push((before, mark, frame)));
            }
            self.joiner.push(payload, segment, pool, |frame| entering.push((from, ecn, frame)));
            last = Some((from, ecn));
        }
        if let Some((from, ecn)) = last {
            self.joiner.flush(|frame| self.entering.push((from, ecn, frame)));
        }
        Rest::More
    }
}

impl Worker {
    /// Uses this queue of an underlay from now on, instead of the one it had.
    pub(super) fn open(&mut self, plan: UnderlayPlan, queue: UnderlayQueue) -> std::io::Result<()> {
        self.close(plan.id);
        for fd in queue.fds() {
            let token = Token(TOKENS_FROM + plan.id.index());
            self.poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        }
        if queue.receives() {
            self.ready.push_back(Turn::Underlay(plan.id));
        }
        if plan.id.index() >= self.underlays.len() {
            self.underlays.resize_with(plan.id.index() + 1, || None);
        }
        self.underlays[plan.id.index()] = Some(Lay::new(plan, queue));
        Ok(())
    }

    /// Forgets an underlay; its sockets are closed when every worker has.
    fn close(&mut self, id: UnderlayId) {
        let Some(mut lay) = self.underlays.get_mut(id.index()).and_then(Option::take) else { return };
        lay.count_losses(&mut self.node);
        for fd in lay.queue.fds() {
            // Closing a descriptor takes it out of epoll too, so a refusal here changes nothing.
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd()));
        }
        self.ready.retain(|turn| *turn != Turn::Underlay(id));
    }

    /// Closes what the plan that holds has no use for.
    pub(super) fn close_strangers(&mut self) {
        let plan = std::sync::Arc::clone(self.node.plan());
        let is_of_plan = |lay: &Lay| {
            let same = |known: &UnderlayPlan| {
                (known.id, known.local, known.format) == (lay.plan.id, lay.plan.local, lay.plan.format)
            };
            plan.underlays.iter().any(same)
        };
        let strangers: Vec<UnderlayId> =
            self.underlays.iter().flatten().filter(|lay| !is_of_plan(lay)).map(|lay| lay.plan.id).collect();
        for stranger in strangers {
            self.close(stranger);
        }
    }

    /// Counts what was lost outside.
    pub(super) fn count_underlay_losses(&mut self) {
        for lay in self.underlays.iter_mut().flatten() {
            lay.count_losses(&mut self.node);
        }
    }

    /// Receives once and hands what came to the node.
    pub(super) fn burst_of_datagrams(&mut self, now: Instant, underlay: UnderlayId) -> Rest {
        self.acting = super::pass::NOBODY;
        let Some(Some(lay)) = self.underlays.get_mut(underlay.index()) else { return Rest::Empty };
        let rest = lay.receive(&mut self.out.pool);
        let mut entering = std::mem::take(&mut lay.entering);
        let mut unsent = 0;
        for (from, ecn, frame) in entering.drain(..) {
            unsent += frame.len();
            if !self.taps.is_empty()
                && let Some(port) = self.node.port_of_datagram(underlay, from, frame.bytes())
                && let Some(Some(lay)) = self.underlays.get(underlay.index())
            {
                self.taps.show_datagram(port, Way::In, (from, lay.plan.local), frame.bytes());
            }
            self.give(now, Event::Datagram { underlay, from, ecn, frame });
            if self.is_due(unsent) {
                self.drain();
                unsent = 0;
            }
        }
        if let Some(Some(lay)) = self.underlays.get_mut(underlay.index()) {
            lay.entering = entering; // Its room is used again.
        }
        self.tally.bursts += 1;
        self.drain();
        rest
    }

    /// Whether the port is a tunnel's. Then its frame, number `at` in the outbox, is put with what leaves by its underlay.
    pub(super) fn takes_tunnel(&mut self, at: usize, port: PortId) -> bool {
        let Some((underlay, remote)) = self.node.way(port).map(|way| (way.underlay, way.remote)) else {
            return false;
        };
        let frame = self.out.frame(self.out.sends()[at]);
        if !frame.offload.is_super_segment()
            && let Err(reason) = segment::finish_checksum(frame)
        {
            self.node.not_delivered(port, reason);
            return true;
        }
        if !self.taps.is_empty()
            && let Some(Some(lay)) = self.underlays.get(underlay.index())
        {
            let frame = self.out.frame(self.out.sends()[at]);
            self.taps.show_datagram(port, Way::Out, (lay.plan.local, remote), frame.bytes());
        }
        self.datagrams.push((underlay, at));
        true
    }

    /// Sends what [`Worker::takes_tunnel`] has put there.
    pub(super) fn send_datagrams(&mut self) {
        let mut datagrams = std::mem::take(&mut self.datagrams);
        let mut lost: Vec<(usize, DropReason)> = Vec::new(); // Does not allocate unless something is lost.
        for run in datagrams.chunk_by(|(one, _), (other, _)| one == other) {
            let (underlay, _) = run[0];
            let Some(Some(lay)) = self.underlays.get_mut(underlay.index()) else {
                lost.extend(run.iter().map(|&(_, at)| (at, DropReason::PortDown)));
                continue;
            };
            let (node, out) = (&self.node, &self.out);
            let outgoing = |number: usize| {
                let send = out.sends()[run[number].1];
                let remote = node.way(send.port).expect("it had one a moment ago").remote;
                Outgoing {
                    to: SocketAddr::new(remote.address, remote.l4_port),
                    ecn: send.carrier.ecn,
                    flow: send.carrier.flow,
                    payload: out.peek(send),
                }
            };
            lay.queue.send(run.len(), outgoing, |number, unsent| {
                let (_, at) = run[number];
                // A super-segment of which several pieces were not sent is one frame.
                if lost.last().is_none_or(|(last, _)| *last != at) {
                    lost.push((at, not_sent(unsent)));
                }
            });
        }
        for (at, reason) in lost {
            self.node.not_delivered(self.out.sends()[at].port, reason);
        }
        datagrams.clear();
        self.datagrams = datagrams;
    }
}

fn not_sent(unsent: &Unsent) -> DropReason {
    let error = match unsent {
        Unsent::Malformed(reason) => return *reason,
        Unsent::Io(error) => error,
    };
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => return DropReason::UnderlayMtu,
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN) => {
            return DropReason::UnderlayUnreachable;
        }
        Some(_) | None => {}
    }
    match Fault::of(error) {
        Fault::Empty | Fault::NoMemory => DropReason::QueueFull,
        Fault::Down => DropReason::PortDown,
        Fault::Refused | Fault::Vanished | Fault::Other => DropReason::DeviceRefused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_datagram_has_a_name() {
        for (number, reason) in [
            (libc::EMSGSIZE, DropReason::UnderlayMtu),
            (libc::ENETUNREACH, DropReason::UnderlayUnreachable),
            (libc::EHOSTUNREACH, DropReason::UnderlayUnreachable),
            (libc::EAGAIN, DropReason::QueueFull),
            (libc::ENOBUFS, DropReason::QueueFull),
            (libc::ENETDOWN, DropReason::PortDown),
            (libc::EPERM, DropReason::DeviceRefused),
            (libc::EINVAL, DropReason::DeviceRefused),
        ] {
            let unsent = Unsent::Io(std::io::Error::from_raw_os_error(number));
            assert_eq!(not_sent(&unsent), reason, "{number}");
        }
        let reason = DropReason::BadSuperSegment;
        assert_eq!(not_sent(&Unsent::Malformed(reason)), reason);
    }
}
