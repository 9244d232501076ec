//! Datagrams at a steady beat, one way. Each carries its number and when it was sent.

use std::net::IpAddr;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp;
use wire::Instant;

use super::{Beat, Hands, octet};
use crate::world::topology::FlowPlan;

/// Datagrams that a socket keeps. More are lost.
const DATAGRAMS_MAX: usize = 64;
/// A datagram's longest data, in octets.
const DATA_MAX: usize = 1_400;
/// How far back a datagram is recognised that has come before.
const WINDOW: u64 = 64;

pub(in crate::world) struct UdpSender {
    flow: usize,
    to: (IpAddr, u16),
    data: Vec<u8>,
    beat: Beat,
    socket: Option<SocketHandle>,
}

pub(in crate::world) struct UdpReceiver {
    flow: usize,
    l4_port: u16,
    len: usize,
    socket: Option<SocketHandle>,
    /// One more than the highest number that has come.
    next: u64,
    /// Which of the [`WINDOW`] numbers before it have come, the latest in the lowest bit.
    seen: u64,
}

impl UdpSender {
    pub(in crate::world) fn new(flow: usize, plan: &FlowPlan) -> Self {
        let size = plan.spec.size.map_or(64, |size| size.0);
        Self {
            flow,
            to: (plan.to, plan.l4_port),
            data: (0..size).map(octet).collect(),
            beat: Beat::of(plan),
            socket: None,
        }
    }

    pub(super) fn step(&mut self, hands: &mut Hands<'_>) -> bool {
        if self.socket.is_none() {
            let l4_port = hands.l4_port();
            self.socket = Some(hands.sockets.add(socket(l4_port)));
        }
        let socket = self.socket.expect("it was made just above");
        let socket = hands.sockets.get_mut::<udp::Socket<'_>>(socket);
        let stats = &mut hands.flows[self.flow];
        let mut has_sent = false;
        while self.beat.take(hands.now) {
            self.data[..8].copy_from_slice(&stats.sent.to_be_bytes());
            self.data[8..16].copy_from_slice(&hands.now.as_nanos().to_be_bytes());
            // A full socket loses the datagram; it counts as sent.
            let _ = socket.send_slice(&self.data, self.to);
            stats.sent += 1;
            has_sent = true;
        }
        has_sent
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.beat.next_deadline()
    }
}

impl UdpReceiver {
    pub(in crate::world) fn new(flow: usize, plan: &FlowPlan, l4_port: u16) -> Self {
        let size = plan.spec.size.map_or(64, |size| size.0);
        let len = usize::try_from(size).expect("it is at most DATA_MAX");
        Self { flow, l4_port, len, socket: None, next: 0, seen: 0 }
    }

    pub(super) fn step(&mut self, hands: &mut Hands<'_>) -> bool {
        let socket = *self.socket.get_or_insert_with(|| hands.sockets.add(socket(self.l4_port)));
        let socket = hands.sockets.get_mut::<udp::Socket<'_>>(socket);
        let stats = &mut hands.flows[self.flow];
        while let Ok((data, _)) = socket.recv() {
            let read = |at: usize| data.get(at..)?.first_chunk().map(|&octets| u64::from_be_bytes(octets));
            let (Some(number), Some(sent_at)) = (read(0), read(8)) else { continue };
            let is_as_sent = data.iter().enumerate().skip(16).all(|(at, it)| *it == octet(at as u64));
            let sent_at = Instant::from_nanos(sent_at);
            if data.len() != self.len || !is_as_sent || number >= stats.sent || sent_at > hands.now {
                stats.foreign += data.len() as u64;
                continue;
            }
            stats.arrived(hands.now, data.len());
            if number >= self.next {
                let ahead = number - self.next + 1;
                self.seen = if ahead < WINDOW { self.seen << ahead | 1 } else { 1 };
                self.next = number + 1;
                stats.ended(hands.now, sent_at);
                continue;
            }
            let back = self.next - 1 - number;
            let has_come = back < WINDOW && self.seen >> back & 1 == 1;
            if has_come {
                stats.duplicated += 1;
                continue;
            }
            if back < WINDOW {
                self.seen |= 1 << back;
            }
            stats.reordered += 1;
            stats.ended(hands.now, sent_at);
        }
        false
    }
}

fn socket(l4_port: u16) -> udp::Socket<'static> {
    let buffer = || {
        udp::PacketBuffer::new(
            vec![udp::PacketMetadata::EMPTY; DATAGRAMS_MAX],
            vec![0; DATAGRAMS_MAX * DATA_MAX],
        )
    };
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(l4_port).expect("it is new, and no L4 port is 0");
    socket
}
