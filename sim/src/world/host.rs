//! A host: smoltcp's stack behind one interface, and what the host does with it.
//!
//! A host is a function of the frames that it receives and of time, like a switch: [`Host::receive`] and [`Host::step`]
//! in, [`Host::take_sent`] and [`Host::next_deadline`] out. Everything it does is a [`Role`] in a flow.
//!
//! The stack asks for one neighbour a second in all, so a neighbour that never answers delays the others of its host.
//! It cuts no packets into fragments and joins none.
//!
//! ARP carries no checksum, so a bit that flips on a wire may leave a wrong MAC address in the stack, which by itself would
//! believe it for a minute and never ask whether the neighbour is still there. A host asks anew every [`NEIGHBOURS_KEPT`]
//! (the timeout of RFC 1122 §2.3.2.1), and so heals from that within the time that worlds give.
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

/// Neighbours are asked for again when they have been known for so long.
pub(super) const NEIGHBOURS_KEPT: Duration = Duration::from_secs(4);
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
    /// When the neighbours are forgotten that are known by then.
    forgets_at: Instant,
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
            forgets_at: Instant::ZERO + NEIGHBOURS_KEPT,
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
        if self.forgets_at <= now {
            // Whoever changes addresses, or says to, makes the stack forget its neighbours.
            self.interface.update_ip_addrs(|_| {});
            self.forgets_at = now + NEIGHBOURS_KEPT;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft::{Arp, arp, station};
    use crate::world::role::Ping;
    use crate::world::stats::FlowStats;
    use crate::world::topology::FlowPlan;

    #[test]
    fn a_wrong_answer_is_not_believed_for_long() {
        let plan = HostPlan {
            name: "h1".to_owned(),
            mac: station(1),
            addresses: vec!["10.0.0.1/24".parse().unwrap()],
            routes: Vec::new(),
            mtu: 1500,
        };
        let spec = toml::from_str("kind = 'ping'\nfrom = 'h1'\nto = 'h2'\n").unwrap();
        let flow = FlowPlan { spec, from: 0, to: [10, 0, 0, 2].into(), l4_port: 0, served_by: None };
        let mut flows = [FlowStats::new(Instant::ZERO)];
        let mut host = Host::new(&plan, 0, vec![Role::Ping(Ping::new(0, &flow))]);
        // Whoever is asked has one bit too many in the first answer.
        let (asked, wrong, right) = ([10, 0, 0, 2], station(0x82), station(2));
        let mut answers = [wrong, right].into_iter();
        let mut destinations = Vec::new();
        for millis in 0..10_000 {
            host.step(Instant::ZERO + Duration::from_millis(millis), &mut flows);
            for frame in host.take_sent() {
                if frame[12..14] == [8, 6] {
                    let sender = (answers.next().unwrap_or(right), asked.into());
                    let answer = Arp { operation: 2, sender, target: (station(1), [10, 0, 0, 1].into()) };
                    host.receive(arp((station(1), right), answer));
                } else {
                    destinations.push(wire::Mac(*frame.first_chunk().unwrap()));
                }
            }
        }
        let healed = destinations.iter().position(|to| *to == right).unwrap();
        assert!(
            destinations[..healed].iter().all(|to| *to == wrong) && (1..=5).contains(&healed),
            "{healed}"
        );
        assert!(destinations[healed..].iter().all(|to| *to == right) && destinations.len() >= 9);
    }
}
