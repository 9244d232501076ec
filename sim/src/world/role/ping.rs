//! Echo requests at a steady beat, and which answers belong to them.

use std::collections::VecDeque;
use std::net::IpAddr;

use smoltcp::iface::SocketHandle;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::icmp;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr};
use wire::Instant;

use super::{Beat, Hands, octet};
use crate::world::topology::FlowPlan;

/// Requests that may still be answered. The oldest is given up for a new one.
const OUTSTANDING_MAX: usize = 1_024;
/// Packets that a socket keeps.
const PACKETS_MAX: usize = 16;

pub(in crate::world) struct Ping {
    flow: usize,
    to: IpAddr,
    ident: u16,
    data: Vec<u8>,
    beat: Beat,
    socket: Option<SocketHandle>,
    next_seq: u16,
    /// When each request was sent that is not answered, oldest first.
    outstanding: VecDeque<(Instant, u16)>,
}

impl Ping {
    pub(in crate::world) fn new(flow: usize, plan: &FlowPlan) -> Self {
        let size = plan.spec.size.map_or(64, |size| size.0);
        Self {
            flow,
            to: plan.to,
            ident: u16::try_from(flow % 0xffff).expect("it was cut to that") + 1,
            data: (0..size).map(octet).collect(),
            beat: Beat::of(plan),
            socket: None,
            next_seq: 0,
            outstanding: VecDeque::new(),
        }
    }

    pub(super) fn step(&mut self, hands: &mut Hands<'_>) -> bool {
        let size = self.data.len() + 8;
        let ident = self.ident;
        let socket = *self.socket.get_or_insert_with(|| {
            let buffer = || {
                icmp::PacketBuffer::new(
                    vec![icmp::PacketMetadata::EMPTY; PACKETS_MAX],
                    vec![0; PACKETS_MAX * size],
                )
            };
            let mut socket = icmp::Socket::new(buffer(), buffer());
            socket.bind(icmp::Endpoint::Ident(ident)).expect("it is new, and 0 is an identifier too");
            hands.sockets.add(socket)
        });
        let socket = hands.sockets.get_mut::<icmp::Socket<'_>>(socket);
        let stats = &mut hands.flows[self.flow];
        while let Ok((message, from)) = socket.recv() {
            let Some(seq) = answer(message, &self.data) else { continue };
            if IpAddr::from(from) != self.to {
                continue; // An answer of another's is none.
            }
            let place = self.outstanding.iter().position(|(_, it)| *it == seq);
            let Some((since, _)) = place.and_then(|place| self.outstanding.remove(place)) else {
                stats.duplicated += 1;
                continue;
            };
            stats.arrived(hands.now, self.data.len());
            stats.ended(hands.now, since);
        }
        let mut has_sent = false;
        while self.beat.take(hands.now) {
            let seq = self.next_seq;
            self.next_seq = seq.wrapping_add(1);
            if socket.send_slice(&request(self.to, ident, seq, &self.data), self.to.into()).is_ok() {
                self.outstanding.push_back((hands.now, seq));
                if self.outstanding.len() > OUTSTANDING_MAX {
                    self.outstanding.pop_front();
                }
            }
            stats.sent += 1;
            has_sent = true;
        }
        has_sent
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.beat.next_deadline()
    }
}

/// The message as the socket wants it; it fills in the checksum.
fn request(to: IpAddr, ident: u16, seq_no: u16, data: &[u8]) -> Vec<u8> {
    let mut message = vec![0; data.len() + 8];
    match to {
        IpAddr::V4(_) => Icmpv4Repr::EchoRequest { ident, seq_no, data }
            .emit(&mut Icmpv4Packet::new_unchecked(&mut message[..]), &ChecksumCapabilities::ignored()),
        IpAddr::V6(to) => Icmpv6Repr::EchoRequest { ident, seq_no, data }.emit(
            &to,
            &to,
            &mut Icmpv6Packet::new_unchecked(&mut message[..]),
            &ChecksumCapabilities::ignored(),
        ),
    }
    message
}

/// Which request the message answers; `None` if it is no answer, or gives other data back. The socket has checked the
/// checksum.
fn answer(message: &[u8], asked: &[u8]) -> Option<u16> {
    let is_reply = matches!(message.first(), Some(0 | 129));
    let seq = message.get(6..8)?.first_chunk().map(|&octets| u16::from_be_bytes(octets))?;
    (is_reply && message.get(8..) == Some(asked)).then_some(seq)
}
