//! What all tests of neighbours share: a router in a small world, and stations that speak to it.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use wire::ethernet::EthernetHeader;
use wire::{Cidr, DomainId, DropReason, FramePool, Instant, Mac, Offload, PortId, UnicastMac};

use super::*;
use crate::plan::{Gateway, NetworkPolicy, RouterPlan, Side};
use crate::tests::{change, seal};
use crate::{Made, Packet};

mod bounds;
mod model;
mod octets;
mod rules;
mod states;

const DOMAIN: DomainId = DomainId(1);
const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// The MAC address of a station.
const fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const fn ms(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

/// A network at domain 1 with 172.16.0.1 and fd00::1.
fn gateway() -> Gateway {
    let addresses = ["172.16.0.1", "fd00::1"].map(ip).to_vec();
    let subnets = ["172.16.0.0/16", "fd00::/64"].map(|text| text.parse::<Cidr>().unwrap()).to_vec();
    Gateway::of_network(DOMAIN, UnicastMac::new(OUR_MAC).unwrap(), addresses, subnets)
}

fn advertising() -> Gateway {
    Gateway {
        side: Side::Network(NetworkPolicy { advertise: true, ..NetworkPolicy::default() }),
        ..gateway()
    }
}

/// Neighbours, and all that they are given.
struct World {
    now: Instant,
    pool: FramePool,
    made: Made,
    neighbours: Neighbours,
}

impl World {
    /// After the announcements of a plan with one gateway, at `ms(0)`.
    fn new() -> Self {
        let mut world = Self::of(&[]);
        world.configure(&[gateway()]);
        world.sent();
        world.neighbours.announcements.clear();
        world
    }

    fn of(gateways: &[Gateway]) -> Self {
        let (pool, made) = (FramePool::default(), Made::default());
        let mut world = Self { now: Instant::ZERO, pool, made, neighbours: Neighbours::new(0x5eed) };
        world.configure(gateways);
        world
    }

    fn turn(&mut self) -> (Turn<'_>, &mut Neighbours) {
        let Self { now, pool, made, neighbours } = self;
        (Turn { now: *now, pool, made, links: None }, neighbours)
    }

    fn configure(&mut self, gateways: &[Gateway]) {
        let plan = RouterPlan { gateways: gateways.to_vec(), ..RouterPlan::default() };
        plan.check().unwrap();
        let (mut turn, neighbours) = self.turn();
        neighbours.configure(&mut turn, &plan);
    }

    /// Lets time pass, waking when it was asked for.
    fn until(&mut self, now: Instant) {
        for _ in 0..100_000 {
            let next = self.neighbours.next_deadline().filter(|&(at, _)| at <= now);
            self.now = next.map_or(now, |(at, _)| at.max(self.now));
            if next.is_none() {
                return;
            }
            let (mut turn, neighbours) = self.turn();
            neighbours.wake(&mut turn);
        }
        panic!("it always wants to be woken: {:?}", self.neighbours.next_deadline());
    }

    /// A packet that is marked by its port is to go to a next hop.
    fn packet(&mut self, port: u16, next_hop: IpAddr) -> Result<Resolution, DropReason> {
        let mut frame = self.pool.take();
        let bytes = [&[0xee; 6][..], &OUR_MAC.0, &[8, 0], &port.to_be_bytes()].concat();
        assert!(frame.fill(&bytes));
        let (mut turn, neighbours) = self.turn();
        let resolved = neighbours.resolve(&mut turn, PortId(port), DOMAIN, next_hop, &mut frame);
        assert_eq!(frame.is_empty(), resolved == Ok(Resolution::Parked));
        resolved
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<Heard, DropReason> {
        self.hear_with(bytes, Offload::NONE).0
    }

    /// What becomes of a frame, and what stands in its buffer.
    fn hear_with(&mut self, bytes: &[u8], offload: Offload) -> (Result<Heard, DropReason>, Vec<u8>) {
        let header = EthernetHeader::parse(bytes).unwrap();
        let mut frame = self.pool.take();
        assert!(frame.fill(bytes));
        frame.offload = offload;
        let (mut turn, neighbours) = self.turn();
        let heard = if header.ethertype == 0x0806 {
            neighbours.hear_arp(&mut turn, DOMAIN, &header, &mut frame)
        } else {
            match Packet::parse(&frame) {
                Ok(packet) => neighbours.hear_nd(&mut turn, DOMAIN, &header, &packet, &mut frame),
                Err(reason) => Err(reason),
            }
        };
        if heard != Ok(Heard::Answer) {
            assert_eq!(frame.bytes(), bytes, "only an answer changes the frame");
        }
        (heard, frame.bytes().to_vec())
    }

    /// What has been sent since the last time, and all of it in our domain.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        self.made
            .frames
            .drain(..)
            .map(|(domain, frame)| {
                assert_eq!(domain, DOMAIN);
                frame.bytes().to_vec()
            })
            .collect()
    }

    fn notices(&mut self) -> Vec<Notice> {
        self.made.notices.drain(..).collect()
    }

    fn info(&self, address: IpAddr) -> Option<NeighbourInfo> {
        self.neighbours.list(self.now).into_iter().find(|info| info.address == address)
    }

    fn state(&self, address: IpAddr) -> Option<NeighbourState> {
        self.info(address).map(|info| info.state)
    }
}

/// An ARP packet from a station.
fn arp(dst: Mac, operation: u8, from: (Mac, &str), to: (Mac, &str)) -> Vec<u8> {
    let octets = |text: &str| text.parse::<core::net::Ipv4Addr>().unwrap().octets();
    let head = [&dst.0[..], &from.0.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
    [&head[..], &from.0.0, &octets(from.1), &to.0.0, &octets(to.1)].concat()
}

/// Neighbour discovery from a station, sealed: head is type, code and flags; then perhaps a target and an option.
fn nd(
    dst: Mac,
    src: Mac,
    ips: (&str, &str),
    head: [u8; 3],
    target: &str,
    option: Option<(u8, Mac)>,
) -> Vec<u8> {
    let octets = |text: &str| text.parse::<Ipv6Addr>().map(|address| address.octets().to_vec());
    let target = octets(target).unwrap_or_default();
    let option = option.map(|(kind, mac)| [&[kind, 1][..], &mac.0].concat()).unwrap_or_default();
    let len = u8::try_from(8 + target.len() + option.len()).unwrap();
    let ethernet = [&dst.0[..], &src.0, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, len, 58, 255]].concat();
    let ip = [octets(ips.0).unwrap(), octets(ips.1).unwrap()].concat();
    let message = [head[0], head[1], 0, 0, head[2], 0, 0, 0];
    seal(&[&ethernet[..], &ip, &message, &target, &option].concat())
}

/// What the station at 172.16.0.9 or fd00::9 does.
#[derive(Clone, Copy, Debug)]
enum Says {
    /// It answers us.
    Answer(u8),
    /// It asks us for our address.
    Question(u8),
    /// It tells everybody that its address is here.
    Announcement(u8),
}

impl Says {
    fn frame(self, is_ipv4: bool) -> Vec<u8> {
        let all = Mac([0x33, 0x33, 0, 0, 0, 1]);
        match (self, is_ipv4) {
            (Self::Answer(from), true) => arp(OUR_MAC, 2, (mac(from), "172.16.0.9"), (OUR_MAC, "172.16.0.1")),
            (Self::Answer(from), false) => {
                let ips = ("fd00::9", "fe80::ff:fe00:1");
                nd(OUR_MAC, mac(from), ips, [136, 0, 0x60], "fd00::9", Some((2, mac(from))))
            }
            (Self::Question(from), true) => {
                arp(Mac::BROADCAST, 1, (mac(from), "172.16.0.9"), (Mac::default(), "172.16.0.1"))
            }
            (Self::Question(from), false) => {
                let group = Mac([0x33, 0x33, 0xff, 0, 0, 1]);
                let ips = ("fd00::9", "ff02::1:ff00:1");
                nd(group, mac(from), ips, [135, 0, 0], "fd00::1", Some((1, mac(from))))
            }
            (Self::Announcement(from), true) => {
                arp(Mac::BROADCAST, 1, (mac(from), "172.16.0.9"), (Mac::default(), "172.16.0.9"))
            }
            (Self::Announcement(from), false) => {
                nd(all, mac(from), ("fd00::9", "ff02::1"), [136, 0, 0x20], "fd00::9", Some((2, mac(from))))
            }
        }
    }
}
