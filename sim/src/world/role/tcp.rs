//! Beginning connections: bulk sends as fast as it may, request asks again and again over one, churn makes one for each
//! question.
//!
//! A connection on which nothing moves for [`PATIENCE`] is given up and counted as failed, and so is one that the other
//! end resets; the next begins at the next beat. Every octet that is received is compared with what was sent.

use std::net::IpAddr;
use std::time::Duration;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;
use wire::Instant;

use super::{Beat, Hands, octet};
use crate::world::spec::{FlowKind, FlowSpec};
use crate::world::topology::FlowPlan;

/// Octets that a socket keeps in each direction.
const BUFFER: usize = 16 * 1024;
/// Likewise for bulk.
const BUFFER_BULK: usize = 64 * 1024;
/// A connection without progress is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Whether the other end is still there is asked this often.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Connections of a flow at a time. Beyond it a beat is left out and counts as failed.
const CONNECTIONS_MAX: usize = 16;

/// How much is asked and answered, in octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) ask: u64,
    pub(super) answer: u64,
}

impl Exchange {
    pub(super) fn of(spec: &FlowSpec) -> Self {
        let ask = spec.size.map_or(64, |size| size.0);
        match spec.kind {
            FlowKind::Request | FlowKind::Churn => {
                Self { ask, answer: spec.answer.map_or(1_000, |answer| answer.0) }
            }
            FlowKind::Bulk | FlowKind::Ping | FlowKind::Udp => Self { ask, answer: 0 },
        }
    }
}

pub(in crate::world) struct TcpClient {
    flow: usize,
    to: (IpAddr, u16),
    kind: FlowKind,
    exchange: Exchange,
    beat: Beat,
    /// Bulk: octets that remain to be sent.
    remaining: u64,
    connections: Vec<Connection>,
}

struct Connection {
    socket: SocketHandle,
    said: u64,
    heard: u64,
    /// What has been asked for in all, in octets to say.
    asked: u64,
    /// When the question that is not answered was asked.
    since: Option<Instant>,
    is_closing: bool,
}

impl TcpClient {
    pub(in crate::world) fn new(flow: usize, plan: &FlowPlan) -> Self {
        Self {
            flow,
            to: (plan.to, plan.l4_port),
            kind: plan.spec.kind,
            exchange: Exchange::of(&plan.spec),
            beat: Beat::of(plan),
            remaining: plan.spec.bytes.map_or(u64::MAX, |bytes| bytes.0),
            connections: Vec::new(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let is_waiting = match self.kind {
            // What goes on by itself needs no beat.
            FlowKind::Bulk | FlowKind::Ping | FlowKind::Udp => {
                self.connections.is_empty() && self.remaining > 0
            }
            FlowKind::Request => self.connections.iter().all(|it| it.since.is_none()),
            FlowKind::Churn => true,
        };
        let stop = (!self.connections.is_empty()).then_some(self.beat.stop);
        let next = self.beat.next_deadline().filter(|_| is_waiting);
        next.or(stop
            .filter(|stop| stop.as_nanos() < u64::MAX && self.connections.iter().any(|it| !it.is_closing)))
    }

    pub(super) fn step(&mut self, hands: &mut Hands<'_>) -> bool {
        let mut has_done = self.begin(hands);
        let mut at = 0;
        while at < self.connections.len() {
            let (has_moved, is_over) = self.go_on(at, hands);
            has_done |= has_moved || is_over;
            if is_over {
                let connection = self.connections.swap_remove(at);
                hands.sockets.remove(connection.socket);
                // One that broke is not replaced at once.
                self.beat.restart(hands.now + self.beat.every);
            } else {
                at += 1;
            }
        }
        has_done
    }

    /// Begins a connection or asks a question if it is time.
    fn begin(&mut self, hands: &mut Hands<'_>) -> bool {
        let asks_again = match self.kind {
            FlowKind::Churn => false,
            FlowKind::Request | FlowKind::Bulk | FlowKind::Ping | FlowKind::Udp => true,
        };
        if let (true, Some(connection)) = (asks_again, self.connections.first_mut()) {
            let is_idle = connection.since.is_none() && !connection.is_closing;
            if self.kind != FlowKind::Request || !is_idle || !self.beat.take(hands.now) {
                return false;
            }
            self.beat.restart(hands.now);
            connection.asked += self.exchange.ask;
            connection.since = Some(hands.now);
            hands.flows[self.flow].sent += 1;
            return true;
        }
        if self.remaining == 0 || !self.beat.take(hands.now) {
            return false;
        }
        self.beat.restart(hands.now);
        hands.flows[self.flow].sent += 1;
        if self.connections.len() >= CONNECTIONS_MAX {
            hands.flows[self.flow].failed += 1;
            return false;
        }
        let l4_port = hands.l4_port();
        let mut socket = socket(self.kind);
        if socket.connect(hands.interface.context(), self.to, l4_port).is_err() {
            hands.flows[self.flow].failed += 1;
            return false;
        }
        let asked = if self.kind == FlowKind::Bulk { self.remaining } else { self.exchange.ask };
        self.connections.push(Connection {
            socket: hands.sockets.add(socket),
            said: 0,
            heard: 0,
            asked,
            since: Some(hands.now),
            is_closing: false,
        });
        true
    }

    /// Sends and receives on one connection: whether something moved, and whether it is over.
    fn go_on(&mut self, at: usize, hands: &mut Hands<'_>) -> (bool, bool) {
        let connection = &mut self.connections[at];
        let socket = hands.sockets.get_mut::<tcp::Socket<'_>>(connection.socket);
        let stats = &mut hands.flows[self.flow];
        let heard_before = connection.heard;
        stats.foreign += receive(socket, &mut connection.heard);
        let mut has_moved = connection.heard > heard_before;
        if has_moved {
            let heard =
                usize::try_from(connection.heard - heard_before).expect("it fits the socket's buffer");
            stats.arrived(hands.now, heard);
        }
        if let Some(since) = connection.since
            && self.exchange.answer > 0
            && connection.heard == connection.asked / self.exchange.ask * self.exchange.answer
        {
            stats.ended(hands.now, since);
            connection.since = None;
        }
        let is_stopped = !self.beat.is_running(hands.now);
        if !is_stopped {
            has_moved |= send(socket, connection);
        }
        let is_done = match self.kind {
            FlowKind::Churn => connection.since.is_none(),
            FlowKind::Request => is_stopped,
            FlowKind::Bulk | FlowKind::Ping | FlowKind::Udp => {
                is_stopped || connection.said == connection.asked
            }
        };
        if is_done && !connection.is_closing && socket.may_send() {
            socket.close();
            connection.is_closing = true;
            has_moved = true;
        }
        let is_over = match socket.state() {
            tcp::State::Closed => {
                let is_right =
                    connection.is_closing && connection.since.is_none_or(|_| self.exchange.answer == 0);
                stats.failed += u64::from(!is_right);
                true
            }
            tcp::State::TimeWait => {
                if self.exchange.answer == 0 {
                    stats.received += 1; // The other end has taken everything.
                    self.remaining = 0;
                }
                true
            }
            // A connection that does not come to its end by the flow's stop is left to its patience.
            tcp::State::Listen
            | tcp::State::SynSent
            | tcp::State::SynReceived
            | tcp::State::Established
            | tcp::State::FinWait1
            | tcp::State::FinWait2
            | tcp::State::CloseWait
            | tcp::State::Closing
            | tcp::State::LastAck => false,
        };
        (has_moved, is_over)
    }
}

fn send(socket: &mut tcp::Socket<'_>, connection: &mut Connection) -> bool {
    let (said, asked) = (connection.said, connection.asked);
    if said == asked || !socket.can_send() {
        return false;
    }
    let sent = socket.send(|buffer| {
        let len = usize::try_from(asked - said).map_or(buffer.len(), |left| left.min(buffer.len()));
        (said..).zip(&mut buffer[..len]).for_each(|(at, to)| *to = octet(at));
        (len, len)
    });
    connection.said += sent.map_or(0, |len| len as u64);
    connection.said > said
}

/// Takes what has come; how much of it is not what was sent.
pub(super) fn receive(socket: &mut tcp::Socket<'_>, heard: &mut u64) -> u64 {
    let mut foreign = 0;
    while socket.can_recv() {
        let taken = socket.recv(|data| {
            foreign += (*heard..).zip(data.iter()).filter(|(at, it)| **it != octet(*at)).count() as u64;
            (data.len(), data.len())
        });
        match taken {
            Ok(len) if len > 0 => *heard += len as u64,
            Ok(_) | Err(_) => break,
        }
    }
    foreign
}

pub(super) fn socket(kind: FlowKind) -> tcp::Socket<'static> {
    let len = if kind == FlowKind::Bulk { BUFFER_BULK } else { BUFFER };
    let buffer = || tcp::SocketBuffer::new(vec![0; len]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_congestion_control(tcp::CongestionControl::Reno);
    socket.set_timeout(Some(stack_span(PATIENCE)));
    // The stack's probe carries an octet that was never sent, and carries it with data under way too: at the place of one
    // that was lost, it is taken for that. Where the other end is always owed something, none is needed.
    socket.set_keep_alive((kind != FlowKind::Bulk).then(|| stack_span(KEEP_ALIVE)));
    socket
}

fn stack_span(span: Duration) -> smoltcp::time::Duration {
    smoltcp::time::Duration::from_micros(u64::try_from(span.as_micros()).expect("it is a few seconds"))
}
