//! The TAP driver by itself.

use tapestry::link;
use tapestry::port::{Fault, Origin, PortIo, Steering, Tap};
use wire::FramePool;

use crate::support::{able, namespace, nothing_starts};

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
