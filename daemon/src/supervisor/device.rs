//! Devices: what a port of the configuration is in the operating system.

use std::io;

use config::{CompiledPort, PortKind};

use crate::link::{self, Interface, Namespace};
use crate::port::{Origin, PortIo, Steering, Tap};

/// Everything that a device is made from. A port whose blueprint changes gets a new device.
pub(super) type Blueprint = config::Device;

/// A device that exists, and what became of it.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) blueprint: Blueprint,
    /// By which workers' reports are told from those about its predecessors.
    pub(super) generation: u64,
    pub(super) offloads: Vec<&'static str>,
    pub(super) queues: usize,
    /// It was there before us and stays.
    pub(super) is_adopted: bool,
    /// Why the kernel chooses queues by its own hash, if it does.
    pub(super) steering_refused: Option<String>,
    /// Whether it refused offload metadata, so that frames are finished in software.
    pub(super) refuses_offload: bool,
    /// Why the port was given up, if it was.
    pub(super) failed: Option<String>,
}

/// What a port wants; `None` for a tunnel, which has no device.
pub(super) fn blueprint_of(port: &CompiledPort) -> Option<&Blueprint> {
    match &port.kind {
        PortKind::Device(device) => Some(device),
        PortKind::Tunnel(_) => None,
    }
}

/// Whether two devices cannot exist side by side.
pub(super) fn clash(one: &Blueprint, other: &Blueprint) -> bool {
    (&one.ifname, &one.netns) == (&other.ifname, &other.netns)
}

/// Makes a device, or adopts the one that stands in its place: its description and one queue for each worker.
///
/// # Errors
/// With what was tried. Nothing is left behind.
pub(super) fn build(blueprint: &Blueprint, queues: usize) -> io::Result<(Device, Vec<Box<dyn PortIo>>)> {
    let namespace = blueprint.netns.as_deref().map(Namespace::open).transpose()?;
    let queue_count = u16::try_from(queues).expect("workers are few");
    let exists = namespace.is_none() && link::find(&Namespace::current()?, &blueprint.ifname)?.is_some();
    let tap = if exists { Tap::adopt(&blueprint.ifname, queue_count)? } else { Tap::create(queue_count)? };
    if tap.queue_count() < queues {
        let why = format!("has one queue, and the switch has {queues} workers, each of which needs its own");
        let next = "create it with multi_queue, or run with workers = 1";
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("device {:?} {why}; {next}", blueprint.ifname),
        ));
    }
    let interface = Interface {
        name: blueprint.ifname.clone(),
        namespace,
        mac: Some(blueprint.mac.mac()),
        mtu: blueprint.mtu,
        addresses: blueprint.addresses.clone(),
        gateways: blueprint.gateways.clone(),
    };
    let tap = link::establish(tap, &interface)?;
    let capabilities = tap.capabilities();
    let offloads = [("csum", capabilities.checksum), ("tso", capabilities.tso), ("uso", capabilities.uso)];
    let device = Device {
        blueprint: blueprint.clone(),
        generation: 0, // Until it is attached.
        offloads: offloads.into_iter().filter_map(|(name, has)| has.then_some(name)).collect(),
        queues: tap.queue_count(),
        is_adopted: tap.origin() == Origin::Adopted,
        steering_refused: match tap.steering() {
            Steering::Refused(why) => Some(why.to_string()),
            Steering::Unneeded | Steering::Attached => None,
        },
        refuses_offload: false,
        failed: None,
    };
    let queues = tap.into_queues().into_iter().map(|queue| Box::new(queue) as Box<dyn PortIo>).collect();
    Ok((device, queues))
}
