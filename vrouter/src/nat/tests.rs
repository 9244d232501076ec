//! Tests of connections: what the RFCs ask of a NAT, limits, and against a slow model.

use core::net::IpAddr;
use core::time::Duration;
use std::vec::Vec;

use wire::tcp::{ACK, FIN, RST, SYN};
use wire::{DomainId, DropReason, FramePool, Instant, Mac, UnicastMac};

use super::*;
use crate::plan::{Filtering, Gateway, OneToOne, Protocol, Publish, Side};
use crate::turn::{Made, Notice, Turn};

mod limits;
mod model;
mod requirements;

/// The router's address outside.
const OUTSIDE: &str = "203.0.113.1";

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An endpoint from "address:port"; IPv6 in brackets.
pub(super) fn end(text: &str) -> Endpoint {
    let parsed: core::net::SocketAddr = text.parse().unwrap();
    Endpoint { address: parsed.ip(), l4_port: parsed.port() }
}

pub(super) fn flow(protocol: Protocol, src: &str, dst: &str) -> Flow {
    Flow { protocol, src: end(src), dst: end(dst) }
}

pub(super) fn udp(src: &str, dst: &str) -> Flow {
    flow(Protocol::Udp, src, dst)
}

pub(super) fn tcp(src: &str, dst: &str) -> Flow {
    flow(Protocol::Tcp, src, dst)
}

/// A plan with an uplink that has [`OUTSIDE`] and 203.0.113.2, a network with 172.16.0.1, and both in IPv6.
pub(super) fn plan() -> RouterPlan {
    let gateway = |domain, number, addresses: &[&str], side| Gateway {
        side,
        ..Gateway::of_network(
            DomainId(domain),
            UnicastMac::new(Mac([2, 0, 0, 0, 0, number])).unwrap(),
            addresses.iter().map(|text| address(text)).collect(),
            Vec::new(),
        )
    };
    RouterPlan {
        gateways: Vec::from([
            gateway(1, 1, &["172.16.0.1", "fd00::1"], Side::Network(crate::plan::NetworkPolicy::default())),
            gateway(2, 2, &[OUTSIDE, "203.0.113.2", "2001:db8::1"], Side::Uplink),
        ]),
        ..RouterPlan::default()
    }
}

/// Connections with a time and what has been told.
pub(super) struct Bench {
    pub(super) all: Connections,
    pub(super) now: Instant,
    pub(super) notices: Vec<Notice>,
}

impl Bench {
    pub(super) fn new(plan: &RouterPlan) -> Self {
        plan.check().unwrap();
        let mut bench =
            Self { all: Connections::new(0x5eed), now: Instant::from_secs(1_000), notices: Vec::new() };
        bench.with_turn(|all, turn| all.configure(turn, plan));
        bench
    }

    pub(super) fn with_turn<T>(&mut self, act: impl FnOnce(&mut Connections, &mut Turn) -> T) -> T {
        let (mut pool, mut made) = (FramePool::default(), Made::default());
        let result =
            act(&mut self.all, &mut Turn { now: self.now, pool: &mut pool, made: &mut made, links: None });
        self.notices.extend(made.notices);
        result
    }

    pub(super) fn configure(&mut self, plan: &RouterPlan) {
        plan.check().unwrap();
        self.with_turn(|all, turn| all.configure(turn, plan));
    }

    /// Time passes; what is due is swept when it is.
    pub(super) fn pass(&mut self, secs: u64) {
        let end = self.now + Duration::from_secs(secs);
        while let Some((due, _)) = self.all.next_deadline().filter(|&(due, _)| due <= end) {
            self.now = self.now.max(due);
            self.with_turn(Connections::wake);
        }
        self.now = end;
    }

    pub(super) fn open(&mut self, flow: &Flow, flags: u8, wish: &Wish) -> Result<Followed, DropReason> {
        let flags = (flow.protocol == Protocol::Tcp).then(|| TcpFlags::from_bits(flags));
        self.with_turn(|all, turn| all.open(turn, flow, flags, wish))
    }

    /// A first packet from inside through masquerade: what it becomes.
    pub(super) fn out(&mut self, flow: Flow) -> Flow {
        let outside = if flow.src.address.is_ipv4() { OUTSIDE } else { "2001:db8::1" };
        let followed = self.open(&flow, SYN, &masquerade(&flow, outside)).unwrap();
        became(flow, &followed)
    }

    /// A packet of a known connection: what it becomes.
    pub(super) fn follow(&mut self, flow: Flow, flags: u8) -> Option<Flow> {
        let flags = (flow.protocol == Protocol::Tcp).then(|| TcpFlags::from_bits(flags));
        let followed = self.all.follow(self.now, &flow, flags)?;
        Some(became(flow, &followed))
    }

    pub(super) fn state(&self, flow: &Flow) -> Option<State> {
        self.sessions().into_iter().find(|info| info.original == *flow).map(|info| info.state)
    }

    pub(super) fn sessions(&self) -> Vec<SessionInfo> {
        let (sessions, next) = self.all.list(self.now, 0, usize::MAX);
        assert_eq!(next, None);
        sessions
    }
}

pub(super) fn became(flow: Flow, followed: &Followed) -> Flow {
    let changed = Flow { protocol: flow.protocol, src: followed.src, dst: followed.dst };
    assert!(followed.translated || changed == flow);
    changed
}

pub(super) fn masquerade(flow: &Flow, outside: &str) -> Wish {
    Wish {
        dst: None,
        src: SourceNat::Masquerade(address(outside)),
        origin: Origin::Plain,
        inside: flow.src.address,
    }
}

pub(super) fn keep(flow: &Flow) -> Wish {
    Wish { dst: None, src: SourceNat::Keep, origin: Origin::Plain, inside: flow.src.address }
}

/// What the walk does with a flow to the router's own address that it does not know.
pub(super) fn come_in(bench: &mut Bench, flow: Flow) -> Option<Flow> {
    let mapped = || bench.all.mapped(&flow).map(|inside| (inside, Origin::Mapping));
    let (dst, origin) = bench.all.published(&flow).or_else(mapped)?;
    let wish = Wish { dst: Some(dst), src: SourceNat::Keep, origin, inside: flow.src.address };
    Some(became(flow, &bench.open(&flow, SYN, &wish).unwrap()))
}
