//! Devices that were there before us.

use std::io::ErrorKind;
use std::os::fd::AsFd;

use tapestry::link::{self, Interface, Namespace};
use tapestry::port::{Origin, PortIo, Tap};
use tapestry::sys::tun;

use crate::support::{able, eth0, hold, names, namespace, nothing_starts, role, second_process};

/// As `ip tuntap add NAME mode tap [multi_queue]` does.
fn persistent(home: &Namespace, name: &str, flags: u16) {
    home.run(|| {
        let file = tun::open().unwrap();
        tun::attach(file.as_fd(), name, tun::IFF_TAP | tun::IFF_NO_PI | tun::IFF_TUN_EXCL | flags).unwrap();
        tun::set_persistent(file.as_fd(), true).unwrap();
    })
    .unwrap();
}

#[test]
fn persistent_devices_are_adopted_with_and_without_multi_queue_and_stay() {
    if !able() {
        return;
    }
    for (flags, queues) in [(0, 1), (tun::IFF_MULTI_QUEUE, 2)] {
        let home = namespace("home");
        let _quiet = nothing_starts();
        persistent(&home, "tap0", flags);
        let interface =
            Interface { name: "tap0".to_owned(), namespace: None, ..eth0(&home, &["172.16.0.9/16"]) };
        let tap = home.run(|| link::establish(Tap::adopt("tap0", 2).unwrap(), &interface)).unwrap().unwrap();
        assert_eq!((tap.origin(), tap.queue_count()), (Origin::Adopted, queues));
        assert!(tap.capabilities().tso);
        let state = link::find(&home, "tap0").unwrap().unwrap();
        assert!(state.up && state.addresses.contains(&interface.addresses[0]), "{state:?}");
        assert_eq!(state.tx_queue_len, link::TX_QUEUE_LEN);
        drop(tap);
        assert_eq!(names(&home), ["tap0"]);
        // What it was given it keeps.
        let kept = link::find(&home, "tap0").unwrap().unwrap();
        assert_eq!((kept.tx_queue_len, &kept.addresses), (link::TX_QUEUE_LEN, &state.addresses));
        // A second time: the address that is there is no obstacle.
        home.run(|| link::establish(Tap::adopt("tap0", 2).unwrap(), &interface)).unwrap().unwrap();
    }
}

#[test]
fn a_device_in_use_names_its_user() {
    if let Some(path) = role() {
        let home = Namespace::open(&path).unwrap();
        let _held: Vec<_> =
            ["tap0", "tap1"].map(|name| home.run(|| Tap::adopt(name, 1)).unwrap().unwrap()).into();
        return hold();
    }
    if !able() {
        return;
    }
    let home = namespace("home");
    persistent(&home, "tap0", 0);
    persistent(&home, "tap1", tun::IFF_MULTI_QUEUE);
    let mut child = second_process("adopt::a_device_in_use_names_its_user", home.path().to_str().unwrap());
    for name in ["tap0", "tap1"] {
        let error = home.run(|| Tap::adopt(name, 1)).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        let expected = format!("TAP device {name} is in use by process {} (real", child.id());
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let tap = home.run(|| Tap::adopt("tap0", 1)).unwrap().unwrap();
    assert!(tap.into_queues()[0].receive(&mut wire::FramePool::default().take()).is_err());
}

#[test]
fn what_is_no_tap_and_what_is_not_there_are_told_apart() {
    if !able() {
        return;
    }
    let home = namespace("home");
    let adopt = |name| home.run(|| Tap::adopt(name, 1)).unwrap().unwrap_err();
    let error = adopt("lo");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("lo exists and is not a TAP device"), "{error}");
    assert_eq!(adopt("ty-nothing").kind(), ErrorKind::NotFound);
    assert_eq!(names(&home), Vec::<String>::new(), "looking for a device makes none");
}
