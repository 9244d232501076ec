//! The steering program in the kernel computes what `wire::flow` says.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tapestry::link;
use tapestry::port::{PortIo, Steering, Tap, TapQueue};
use tapestry::sys;
use wire::{FlowHash, FramePool, Rng};

use crate::support::{able, eth0, namespace};

/// Frames of every shape that the contract distinguishes, with random addresses and L4 ports.
fn frames(rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for _ in 0..40 {
        for protocol in [6, 17, 1] {
            let ipv4 = ipv4(rng, protocol);
            let ipv6 = ipv6(rng, protocol);
            let mut with_options = ipv4.clone();
            with_options[14] = 0x47;
            let mut first_fragment = ipv4.clone();
            first_fragment[20] = 0x20;
            let mut later_fragment = ipv4.clone();
            later_fragment[21] = 185;
            let mut dont_fragment = ipv4.clone();
            dont_fragment[20] = 0x40;
            let cut_v4 = ipv4[..36].to_vec();
            let cut_v6 = ipv6[..50].to_vec();
            frames.extend([tagged(&ipv4), tagged(&ipv6), ipv4, ipv6, with_options, first_fragment]);
            frames.extend([later_fragment, dont_fragment, cut_v4, cut_v6]);
        }
    }
    let mut arp = random(rng, 42);
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    frames.push(arp);
    frames
}

fn ipv4(rng: &mut Rng, protocol: u8) -> Vec<u8> {
    let mut frame = random(rng, 98);
    frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    frame[20..22].fill(0);
    frame[23] = protocol;
    frame
}

fn ipv6(rng: &mut Rng, protocol: u8) -> Vec<u8> {
    let mut frame = random(rng, 98);
    frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
    frame[20] = protocol;
    frame
}

fn tagged(frame: &[u8]) -> Vec<u8> {
    let mut tagged = frame.to_vec();
    tagged.splice(12..12, [0x81, 0x00, 0x20, 0x07]);
    tagged
}

/// Random octets with a unicast source and destination.
fn random(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
    frame[0] = 2;
    frame[6] = 2;
    frame
}

/// The queue at which the frame arrives once it is sent into the interface.
fn queue_of(queues: &mut [TapQueue], interface: &OwnedFd, sent: &[u8]) -> usize {
    rustix::io::write(interface, sent).expect("the interface is up");
    let mut frame = FramePool::default().take();
    loop {
        let mut waiting: Vec<_> =
            queues.iter().map(|queue| PollFd::from_borrowed_fd(queue.fd(), PollFlags::IN)).collect();
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_ne!(poll(&mut waiting, Some(&patience)).unwrap(), 0, "the frame arrives");
        for (at, queue) in queues.iter_mut().enumerate() {
            while queue.receive(&mut frame).is_ok() {
                if frame.bytes() == sent {
                    return at; // Anything else is the namespace's own, IGMP say.
                }
            }
        }
    }
}

#[test]
fn frames_arrive_at_the_queue_of_their_flows_owner() {
    if !able() {
        return;
    }
    // Three: where the modulus of the hash and that of its lower 16 bits differ.
    for workers in [2, 3] {
        let (home, ns1) = (namespace("home"), namespace("ns1"));
        let interface = eth0(&ns1, &["172.16.0.2/16"]);
        let tap = home.run(|| link::establish(Tap::create(workers).unwrap(), &interface)).unwrap().unwrap();
        assert!(matches!(tap.steering(), Steering::Attached), "{:?}", tap.steering());
        let mut queues = tap.into_queues();
        let index = link::find(&ns1, "eth0").unwrap().unwrap().index;
        let socket = ns1.run(|| sys::packet::open(index)).unwrap().unwrap();

        let mut load = vec![0; queues.len()];
        for sent in frames(&mut Rng::seeded(0x57ee)) {
            let owner = FlowHash::of(&sent).owner(queues.len());
            assert_eq!(queue_of(&mut queues, &socket, &sent), owner, "{sent:02x?}");
            load[owner] += 1;
        }
        assert!(load.iter().all(|&frames| frames > 100), "every queue had its share: {load:?}");
    }
}
