//! Answering over TCP, several connections at a time. What is asked and answered is known to both ends beforehand.

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;
use wire::Instant;

use super::tcp::{Exchange, PATIENCE, receive, socket};
use super::{Hands, octet};
use crate::world::spec::FlowKind;
use crate::world::topology::FlowPlan;

/// Connections at a time. Another is refused.
const CONNECTIONS_MAX: usize = 4;
/// Likewise of a flow that makes many.
const CONNECTIONS_CHURN_MAX: usize = 16;

pub(in crate::world) struct TcpServer {
    flow: usize,
    l4_port: u16,
    kind: FlowKind,
    exchange: Exchange,
    connections_max: usize,
    connections: Vec<Connection>,
}

struct Connection {
    socket: SocketHandle,
    /// Octets that have come.
    heard: u64,
    /// Octets that have gone.
    said: u64,
    /// When octets came last, or the connection was awaited.
    heard_at: Instant,
}

impl TcpServer {
    pub(in crate::world) fn new(flow: usize, plan: &FlowPlan, l4_port: u16) -> Self {
        let is_churn = plan.spec.kind == FlowKind::Churn;
        let connections_max = if is_churn { CONNECTIONS_CHURN_MAX } else { CONNECTIONS_MAX };
        let exchange = Exchange::of(&plan.spec);
        Self { flow, l4_port, kind: plan.spec.kind, exchange, connections_max, connections: Vec::new() }
    }

    pub(super) fn step(&mut self, hands: &mut Hands<'_>) -> bool {
        if self.connections.is_empty() {
            for _ in 0..self.connections_max {
                let socket = hands.sockets.add(socket(self.kind));
                self.connections.push(Connection { socket, heard: 0, said: 0, heard_at: hands.now });
            }
        }
        let mut has_done = false;
        for connection in &mut self.connections {
            has_done |= serve(connection, self.flow, self.l4_port, self.exchange, hands);
        }
        has_done
    }
}

fn serve(
    connection: &mut Connection,
    flow: usize,
    l4_port: u16,
    exchange: Exchange,
    hands: &mut Hands<'_>,
) -> bool {
    let socket = hands.sockets.get_mut::<tcp::Socket<'_>>(connection.socket);
    let stats = &mut hands.flows[flow];
    if !socket.is_open() {
        (connection.heard, connection.said, connection.heard_at) = (0, 0, hands.now);
        socket.listen(l4_port).expect("it is closed, and no L4 port is 0");
        return true;
    }
    let heard_before = connection.heard;
    let foreign = receive(socket, &mut connection.heard);
    stats.foreign += foreign;
    let heard = usize::try_from(connection.heard - heard_before).expect("it fits the socket's buffer");
    let mut has_done = heard > 0;
    if heard > 0 || socket.state() == tcp::State::Listen {
        connection.heard_at = hands.now;
    }
    if exchange.answer == 0 {
        // Bulk: what arrives is what counts.
        if heard > 0 {
            stats.arrived(hands.now, heard);
        } else if hands.now.since(connection.heard_at) > PATIENCE {
            socket.abort(); // The other end has gone, or has begun anew elsewhere.
            return true;
        }
    } else {
        let owed = connection.heard / exchange.ask * exchange.answer - connection.said;
        if owed > 0 && socket.can_send() {
            let said = connection.said;
            let sent = socket.send(|buffer| {
                let len = usize::try_from(owed).map_or(buffer.len(), |owed| owed.min(buffer.len()));
                (said..).zip(&mut buffer[..len]).for_each(|(at, to)| *to = octet(at));
                (len, len)
            });
            connection.said += sent.map_or(0, |len| len as u64);
            has_done = true;
        }
    }
    // The other end has said all it has to say.
    if !socket.may_recv() && socket.may_send() && socket.state() == tcp::State::CloseWait {
        let owed = connection.heard / exchange.ask * exchange.answer - connection.said;
        if exchange.answer == 0 || owed == 0 {
            socket.close();
            has_done = true;
        }
    }
    has_done
}
