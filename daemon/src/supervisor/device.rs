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
    /// Whether it can have more queues than one.
    pub(super) is_multi_queue: bool,
    /// Why the kernel chooses queues by its own hash, if it does.
    pub(super) steering_refused: Option<String>,
    /// Whether it refused offload metadata, so that frames are finished in software.
    pub(super) refuses_offload: bool,
    /// Why the port was given up, if it was.
    pub(super) failed: Option<String>,
}

/// A device and its queues, one for each worker.
pub(super) type Made = (Device, Vec<Box<dyn PortIo>>);

/// What a port wants; `None` for one that this version has no driver for.
pub(super) fn blueprint_of(port: &CompiledPort) -> Option<&Blueprint> {
    match &port.kind {
        PortKind::Device(device) => Some(device),
        PortKind::Nic(_) | PortKind::Tunnel(_) => None,
    }
}

/// Whether two devices cannot exist side by side: in one namespace they have one name, or both want its default route.
pub(super) fn clash(one: &Blueprint, other: &Blueprint) -> bool {
    let routes_clash = || {
        one.gateways.iter().any(|gateway| other.gateways.iter().any(|it| it.is_ipv4() == gateway.is_ipv4()))
    };
    space_of(one) == space_of(other) && (one.ifname == other.ifname || routes_clash())
}

/// The device's namespace, the same for both ways to write a name. Paths that lead to one namespace otherwise, through
/// processes say, are not seen to be one.
fn space_of(blueprint: &Blueprint) -> Option<&str> {
    let spec = blueprint.netns.as_deref()?;
    let name = ["/run/netns/", "/var/run/netns/"].iter().find_map(|directory| spec.strip_prefix(directory));
    Some(name.unwrap_or(spec))
}

/// Why an adopted device cannot serve so many workers.
pub(super) fn too_few_queues(blueprint: &Blueprint, workers: usize) -> io::Error {
    let why = format!("has one queue, and {workers} workers need one each");
    let next = "create it with multi_queue, or choose workers = 1";
    io::Error::new(io::ErrorKind::InvalidInput, format!("device {:?} {why}; {next}", blueprint.ifname))
}

/// Whether the place for a device is there: what can be known before another goes for it.
///
/// # Errors
/// If its namespace cannot be opened.
pub(super) fn check(blueprint: &Blueprint) -> io::Result<()> {
    blueprint.netns.as_deref().map(Namespace::open).transpose().map(drop)
}

/// Makes a device, or adopts the one that stands in its place: its description and one queue for each worker.
///
/// # Errors
/// With what was tried. Nothing is left behind.
pub(super) fn build(blueprint: &Blueprint, queues: usize) -> io::Result<Made> {
    let namespace = blueprint.netns.as_deref().map(Namespace::open).transpose()?;
    let queue_count = u16::try_from(queues).expect("workers are few");
    let exists = namespace.is_none() && link::find(&Namespace::current()?, &blueprint.ifname)?.is_some();
    let tap = if exists { Tap::adopt(&blueprint.ifname, queue_count)? } else { Tap::create(queue_count)? };
    if tap.queue_count() < queues {
        return Err(too_few_queues(blueprint, queues));
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
        is_multi_queue: tap.is_multi_queue(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn blueprint(netns: Option<&str>, ifname: &str, gateways: &[&str]) -> Blueprint {
        let text = format!(
            "[network.a]\nsubnet = [\"172.16.0.0/16\"]\n[port.p]\nnetwork = \"a\"\nifname = {ifname:?}\n"
        );
        let config = config::check("test", &text).unwrap();
        let compiled = config::compile(&config, &mut config::Ids::default());
        let made = blueprint_of(&compiled.ports["p"]).unwrap().clone();
        let gateways = gateways.iter().map(|text| text.parse().unwrap()).collect();
        Blueprint { netns: netns.map(str::to_owned), gateways, ..made }
    }

    #[test]
    fn devices_clash_by_name_or_by_default_route_in_one_namespace() {
        let of = |netns, ifname, gateways| blueprint(Some(netns), ifname, gateways);
        let eth0 = of("ns1", "eth0", &["172.16.0.1"]);
        for other in [
            of("ns1", "eth0", &[]),
            of("/run/netns/ns1", "eth0", &[]),
            of("/var/run/netns/ns1", "eth0", &[]),
            of("/run/netns/ns1", "eth1", &["172.17.0.1"]),
        ] {
            assert!(clash(&eth0, &other) && clash(&other, &eth0), "{other:?}");
        }
        for other in [
            of("ns2", "eth0", &["172.16.0.1"]),
            of("/tmp/ns1", "eth0", &["172.16.0.1"]),
            of("ns1", "eth1", &[]),
            of("ns1", "eth1", &["fd00::1"]),
            blueprint(None, "eth0", &[]),
        ] {
            assert!(!clash(&eth0, &other) && !clash(&other, &eth0), "{other:?}");
        }
    }
}
