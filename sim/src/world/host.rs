//! A host: smoltcp's stack behind one interface, and what the host does with it.
//!
//! A host is a function of the frames that it receives and of time, like a switch: [`Host::receive`] and [`Host::step`]
//! in, [`Host::take_sent`] and [`Host::next_deadline`] out. Everything it does is a [`Role`] in a flow.
//!
//! The stack asks for one neighbour a second in all, so a neighbour that never answers delays the others of its host.
//! It cuts no packets into fragments and joins none.
//!
//! The stack counts microseconds, the world nanoseconds: the stack sees a time cut to microseconds, and wants to be
//! woken at whole ones, so that it is never woken before its time.

use std::collections::VecDeque;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use wire::{Cidr, Instant};

use super::role::{Hands, Role};
use super::stats::FlowStats;
use super::topology::HostPlan;

/// Times that the stack and the roles take turns at one instant, at most; what remains is done a moment later.
const TURNS_MAX: usize = 64;
/// That moment. Also what a stack waits that says it is due and then has nothing to do.
const MOMENT: Duration = Duration::from_micros(100);

/// A station with a stack.
pub(super) struct Host {
    interface: Interface,
    sockets: SocketSet<'static>,
    card: Card,
    roles: Vec<Role>,
    next_l4_port: u16,
    wants_turn: bool,
}

/// The network interface card: frames on their way between stack and wire.
struct Card {
    mtu: usize,
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

/// L4 ports that a host takes for itself (RFC 6335 §6).
pub(super) const EPHEMERAL_FIRST: u16 = 49_152;

impl Host {
    /// A host that has just been switched on.
    pub(super) fn new(plan: &HostPlan, seed: u64, roles: Vec<Role>) -> Self {
        let mut card = Card { mtu: usize::from(plan.mtu), received: VecDeque::new(), sent: Vec::new() };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(plan.mac.0)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut card, smoltcp::time::Instant::ZERO);
        let own = |cidr: &Cidr| IpCidr::new(cidr.address().into(), cidr.prefix_len());
        interface.update_ip_addrs(|addresses| {
            for cidr in &plan.addresses {
                addresses.push(own(cidr)).expect("a host has at most ADDRESSES_MAX addresses");
            }
        });
        interface.routes_mut().update(|routes| {
            for (to, via) in &plan.routes {
                let via_router = (*via).into();
                let route = smoltcp::iface::Route {
                    cidr: own(to),
                    via_router,
                    preferred_until: None,
                    expires_at: None,
                };
                // Beyond what the stack keeps: the last networks of a long list have no route.
                let _ = routes.push(route);
            }
        });
        Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            card,
            roles,
            next_l4_port: EPHEMERAL_FIRST,
            wants_turn: false,
        }
    }

    /// A frame has arrived. [`Host::step`] follows.
    pub(super) fn receive(&mut self, frame: Vec<u8>) {
        self.card.received.push_back(frame);
    }

    /// Does all there is to do at this time.
    pub(super) fn step(&mut self, now: Instant, flows: &mut [FlowStats]) {
        let stack_now = stack_time(now);
        self.wants_turn = false;
        for _ in 0..TURNS_MAX {
            self.interface.poll(stack_now, &mut self.card, &mut self.sockets);
            let mut hands = Hands {
                now,
                interface: &mut self.interface,
                sockets: &mut self.sockets,
                next_l4_port: &mut self.next_l4_port,
                flows,
            };
            let mut has_done = false;
            for role in &mut self.roles {
                has_done |= role.step(&mut hands);
            }
            if !has_done {
                return;
            }
        }
        self.wants_turn = true;
    }

    /// When [`Host::step`] is next due.
    pub(super) fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let stack = self.interface.poll_at(stack_time(now), &self.sockets);
        let stack =
            stack.map(|due| Instant::from_nanos(u64::try_from(due.total_micros()).unwrap_or(0) * 1_000));
        let roles = self.roles.iter().filter_map(Role::next_deadline).min();
        let turn = self.wants_turn.then_some(now);
        let due = [stack, roles, turn].into_iter().flatten().min()?;
        Some(if due > now { due } else { now + MOMENT })
    }

    /// The frames that the host has sent since the last call, in order.
    pub(super) fn take_sent(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.card.sent)
    }
}

fn stack_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_nanos() / 1_000).expect("a 64th of 2^64 fits"))
}

struct Received(Vec<u8>);

struct Sending<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Card {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sending<'_>)> {
        self.received.pop_front().map(|frame| (Received(frame), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + wire::ethernet::HEADER_LEN;
        capabilities
    }
}
