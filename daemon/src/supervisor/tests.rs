//! A supervisor over socket pairs instead of TAPs: what a port's mishap looks like from outside.

use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use wire::offload::VNET_HDR_LEN;

use super::device::{Blueprint, Device, Made, ifname};
use super::{Options, Supervisor};
use crate::api::{Operations as _, PortState};
use crate::port::PortIo;
use crate::port::pipe::{PANIC_PILL, PATIENCE, pipe};

/// The far ends of devices made so far, by interface name.
type Stations = Arc<Mutex<Vec<(String, UnixDatagram)>>>;

fn device(stations: &Stations, blueprint: &Blueprint, queues: usize) -> Made {
    let mut made: Vec<Box<dyn PortIo>> = Vec::new();
    for _ in 0..queues {
        let (near, far) = pipe();
        made.push(Box::new(near));
        stations.lock().unwrap().push((ifname(blueprint).to_owned(), far));
    }
    let device = Device {
        blueprint: blueprint.clone(),
        generation: 0,
        offloads: Vec::new(),
        queues,
        is_adopted: false,
        is_multi_queue: queues > 1,
        steering_refused: None,
        refuses_offload: false,
        watched: None,
        failed: None,
    };
    (device, made)
}

/// A frame between stations 02::src and 02::dst with a made-up type, behind an empty virtio header.
fn frame(dst: u8, src: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; VNET_HDR_LEN];
    bytes.extend([2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 0x88, 0xb5]);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn a_port_that_panics_is_named_in_status_and_the_rest_forwards() {
    let stations = Stations::default();
    let text =
        "[network.a]\n[port.p0]\nnetwork = \"a\"\n[port.p1]\nnetwork = \"a\"\n[port.p2]\nnetwork = \"a\"\n";
    let config = config::check("test", text).unwrap();
    let made = Arc::clone(&stations);
    let build = Box::new(move |blueprint: &Blueprint, queues| Ok(device(&made, blueprint, queues)));
    let supervisor = Supervisor::start_with(config, Options::default(), build).unwrap();
    let send = |port: &str, frame: &[u8]| {
        let stations = stations.lock().unwrap();
        let (_, far) = stations.iter().rev().find(|(name, _)| name == port).unwrap();
        far.send(frame).unwrap();
    };
    let receive = |port: &str| {
        let stations = stations.lock().unwrap();
        let (_, far) = stations.iter().rev().find(|(name, _)| name == port).unwrap();
        let mut bytes = vec![0; 256];
        let read = far.recv(&mut bytes).expect("a frame arrives");
        bytes.truncate(read);
        bytes
    };
    assert_eq!(supervisor.status().unwrap().ports, [(PortState::Up, 3)].into());

    send("p0", &frame(9, 1, PANIC_PILL));
    let asked = Instant::now();
    let status = loop {
        let status = supervisor.status().unwrap();
        if status.ports.contains_key(&PortState::Failed) {
            break status;
        }
        assert!(asked.elapsed() < PATIENCE, "{status:?}");
        std::thread::yield_now();
    };
    assert_eq!(status.ports, [(PortState::Up, 2), (PortState::Failed, 1)].into());
    let named = |text: &str| text.contains("\"p0\"") && text.contains("swallowed a pill");
    assert!(status.warnings.iter().any(|warning| named(&warning.text)), "{:?}", status.warnings);
    assert!(supervisor.events().recent().iter().any(|event| named(&event.text)));
    let port = &supervisor.ports().unwrap()[0];
    assert_eq!((port.name.as_str(), port.state), ("p0", PortState::Failed));

    send("p1", &frame(9, 2, b"still here"));
    assert_eq!(receive("p2"), frame(9, 2, b"still here"));
    // Any change tries the port again.
    let again = supervisor.networks().unwrap()[0].spec.clone();
    supervisor.set_network("a", config::NetworkSpec { ageing: 200, ..again }).unwrap();
    assert_eq!(supervisor.status().unwrap().ports, [(PortState::Up, 3)].into());
    send("p0", &frame(9, 1, b"back again"));
    assert_eq!(receive("p1"), frame(9, 1, b"back again"));
}
