//! What a host does in a flow: ask, answer, send or take. Each role owns its sockets and has its own next deadline.
//!
//! | flow | who begins | who answers |
//! |---|---|---|
//! | ping | [`Ping`] | the stack itself |
//! | udp | [`UdpSender`] | [`UdpReceiver`] |
//! | bulk, request, churn | [`TcpClient`] | [`TcpServer`] |
//!
//! A role is stepped until it has nothing to do; it never waits. Whatever it counts goes into its flow's
//! [`FlowStats`], which both ends share.

mod ping;
mod tcp;
mod tcp_server;
mod udp;

use std::time::Duration;

use smoltcp::iface::{Interface, SocketSet};
use wire::Instant;

pub(super) use ping::Ping;
pub(super) use tcp::TcpClient;
pub(super) use tcp_server::TcpServer;
pub(super) use udp::{UdpReceiver, UdpSender};

use super::spec::FlowKind;
use super::stats::FlowStats;
use super::topology::FlowPlan;

/// What a host does in a flow.
pub(super) enum Role {
    Ping(Ping),
    UdpSender(UdpSender),
    UdpReceiver(UdpReceiver),
    TcpClient(TcpClient),
    TcpServer(TcpServer),
}

/// What a role may use while it is stepped.
pub(super) struct Hands<'a> {
    pub(super) now: Instant,
    pub(super) interface: &'a mut Interface,
    pub(super) sockets: &'a mut SocketSet<'static>,
    pub(super) next_l4_port: &'a mut u16,
    pub(super) flows: &'a mut [FlowStats],
}

impl Hands<'_> {
    /// An L4 port that has not been used for long.
    fn l4_port(&mut self) -> u16 {
        let l4_port = *self.next_l4_port;
        *self.next_l4_port = l4_port.checked_add(1).unwrap_or(super::host::EPHEMERAL_FIRST);
        l4_port
    }
}

/// When a flow does something: at `start`, then every `every`, until `stop`.
#[derive(Clone, Copy, Debug)]
struct Beat {
    next: Instant,
    every: Duration,
    stop: Instant,
}

impl Beat {
    fn of(flow: &FlowPlan) -> Self {
        let default = match flow.spec.kind {
            FlowKind::Ping | FlowKind::Churn => Duration::from_secs(1),
            FlowKind::Request | FlowKind::Bulk => Duration::from_millis(100),
            FlowKind::Udp => Duration::from_millis(10),
        };
        let stop = flow.spec.stop.map_or(Instant::from_nanos(u64::MAX), |stop| Instant::ZERO + stop.0);
        Self {
            next: Instant::ZERO + flow.spec.start.0,
            every: flow.spec.every.map_or(default, |every| every.0),
            stop,
        }
    }

    /// Whether it is time for one; then the next is due later.
    fn take(&mut self, now: Instant) -> bool {
        let is_due = self.next <= now && self.is_running(now);
        if is_due {
            self.next = self.next + self.every;
        }
        is_due
    }

    /// One was late: the next is due a full beat from now.
    fn restart(&mut self, now: Instant) {
        self.next = self.next.max(now);
    }

    fn is_running(&self, now: Instant) -> bool {
        now < self.stop
    }

    fn next_deadline(&self) -> Option<Instant> {
        Some(self.next).filter(|next| *next < self.stop)
    }
}

impl Role {
    /// Does what is to do; whether there was something.
    pub(super) fn step(&mut self, hands: &mut Hands<'_>) -> bool {
        match self {
            Self::Ping(role) => role.step(hands),
            Self::UdpSender(role) => role.step(hands),
            Self::UdpReceiver(role) => role.step(hands),
            Self::TcpClient(role) => role.step(hands),
            Self::TcpServer(role) => role.step(hands),
        }
    }

    /// When there is something to do whatever arrives.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Ping(role) => role.next_deadline(),
            Self::UdpSender(role) => role.next_deadline(),
            Self::TcpClient(role) => role.next_deadline(),
            Self::UdpReceiver(_) | Self::TcpServer(_) => None,
        }
    }
}

/// The octet at `offset` of any stream: not the same again soon, so that a piece in the wrong place shows.
fn octet(offset: u64) -> u8 {
    let [a, b, c, ..] = offset.to_le_bytes();
    a.wrapping_mul(7) ^ b.wrapping_mul(31) ^ c
}
