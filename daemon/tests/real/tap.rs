//! The TAP driver by itself.

use rustix::event::{PollFd, PollFlags, poll};
use tapestry::link;
use tapestry::port::{Fault, Origin, PortIo, Steering, Tap};
use wire::offload::{Gso, NEEDS_CSUM};
use wire::{FramePool, Offload};

use crate::support::{able, eth0, namespace, nothing_starts};

#[test]
fn a_created_device_takes_offloads_and_goes_with_its_queues() {
    if !able() {
        return;
    }
    let home = namespace("home");
    let tap = home.run(|| Tap::create(1)).unwrap().unwrap();
    let name = tap.name().unwrap();
    assert!(name.starts_with("tapestry"), "{name}");
    assert_eq!(tap.origin(), Origin::Created);
    assert!(matches!(tap.steering(), Steering::Unneeded));
    assert!(tap.capabilities().checksum && tap.capabilities().tso, "{:?}", tap.capabilities());

    let mut queues = tap.into_queues();
    let mut frame = FramePool::default().take();
    let empty = queues[0].receive(&mut frame).unwrap_err();
    assert_eq!(Fault::of(&empty), Fault::Empty);
    assert!(frame.fill(&[2; 60]));
    let down = queues[0].send(&mut frame).unwrap_err();
    assert_eq!(Fault::of(&down), Fault::Down);

    let exists = || home.run(|| tapestry::sys::tun::exists(&name)).unwrap().unwrap();
    assert!(exists());
    let _quiet = nothing_starts();
    drop(queues);
    assert!(!exists());
}

#[test]
fn a_deleted_device_has_vanished() {
    if !able() {
        return;
    }
    let home = namespace("home");
    let tap = home.run(|| Tap::create(1)).unwrap().unwrap();
    link::remove(&home, &tap.name().unwrap()).unwrap();
    let mut queues = tap.into_queues();
    let mut frame = FramePool::default().take();
    let gone = queues[0].receive(&mut frame).unwrap_err();
    assert_eq!(Fault::of(&gone), Fault::Vanished);
}

#[test]
fn a_device_whose_namespace_goes_has_vanished() {
    if !able() {
        return;
    }
    let (home, ns1) = (namespace("home"), namespace("ns1"));
    let interface = eth0(&ns1, &["172.16.0.2/16"]);
    let mut queues =
        home.run(|| link::establish(Tap::create(2).unwrap(), &interface)).unwrap().unwrap().into_queues();
    let mut frame = FramePool::default().take();
    while queues.iter_mut().any(|queue| queue.receive(&mut frame).is_ok()) {}
    drop((interface, ns1));
    for queue in &mut queues {
        // The kernel takes a namespace down in its own time, and wakes whoever waits for its devices.
        while queue.receive(&mut frame).map_err(|error| Fault::of(&error)) != Err(Fault::Vanished) {
            poll(&mut [PollFd::from_borrowed_fd(queue.fd(), PollFlags::IN)], None).unwrap();
        }
        let gone = queue.send(&mut frame).unwrap_err();
        assert_eq!(Fault::of(&gone), Fault::Vanished);
    }
}

#[test]
fn a_lying_super_segment_is_refused_and_the_port_lives() {
    if !able() {
        return;
    }
    let (home, ns1) = (namespace("home"), namespace("ns1"));
    let interface = eth0(&ns1, &["172.16.0.2/16"]);
    let mut queues =
        home.run(|| link::establish(Tap::create(1).unwrap(), &interface)).unwrap().unwrap().into_queues();
    let mut frame = FramePool::default().take();
    assert!(frame.fill(&[2; 1000]));
    let honest = Offload { flags: NEEDS_CSUM, csum_start: 34, csum_offset: 16, ..Offload::NONE };
    for lie in [
        Offload { gso: Gso::TcpV4, gso_size: 0, ..honest },
        Offload { csum_start: 1000, ..honest },
        Offload { csum_start: 60_000, ..honest },
        Offload { csum_start: u16::MAX, csum_offset: u16::MAX, ..honest },
    ] {
        frame.offload = lie;
        let refused = queues[0].send(&mut frame).unwrap_err();
        assert_eq!(Fault::of(&refused), Fault::Refused, "{lie:?}");
    }
    frame.offload = Offload::NONE;
    queues[0].send(&mut frame).unwrap();
    assert!(frame.fill(&[2; 13]));
    assert_eq!(Fault::of(&queues[0].send(&mut frame).unwrap_err()), Fault::Refused, "a runt");
}
