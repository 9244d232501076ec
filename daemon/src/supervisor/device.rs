//! Devices: what a port of the configuration is in the operating system.

use std::io;

use config::{CompiledPort, PortKind};

use super::links::Watched;
use crate::link::{self, Interface, LinkState, Namespace};
use crate::port::{Nic, Origin, PortIo, Steering, Tap, TunQueue};
use crate::sys::tried;

/// Everything that a device is made from. A port whose blueprint changes gets a new device, but for what [`serves`].
pub(super) type Blueprint = PortKind;

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
    /// What is known of the interface, if it is not ours to make.
    pub(super) watched: Option<Watched>,
    /// Why the port was given up, if it was.
    pub(super) failed: Option<String>,
}

/// A device and its queues, one for each worker.
pub(super) type Made = (Device, Vec<Box<dyn PortIo>>);

/// What a port wants; `None` for one that this version has no driver for.
pub(super) fn blueprint_of(port: &CompiledPort) -> Option<&Blueprint> {
    match &port.kind {
        PortKind::Device(_) | PortKind::Nic(_) => Some(&port.kind),
        PortKind::Tunnel(_) => None,
    }
}

/// Whether a device made from the one is good for the other: routes are added and removed where it stands.
pub(super) fn serves(one: &Blueprint, other: &Blueprint) -> bool {
    match (one, other) {
        (PortKind::Device(one), PortKind::Device(other)) => {
            *one == config::Device { routes: one.routes.clone(), ..other.clone() }
        }
        (PortKind::Device(_) | PortKind::Nic(_) | PortKind::Tunnel(_), _) => one == other,
    }
}

/// Gives a device made from the one the routes of the other.
///
/// # Errors
/// If there is a route to the same place already. It has the old ones then.
pub(super) fn reroute(one: &Blueprint, other: &Blueprint) -> io::Result<()> {
    let (PortKind::Device(one), PortKind::Device(other)) = (one, other) else { return Ok(()) };
    let namespace = match one.netns.as_deref() {
        Some(spec) => Namespace::open(spec)?,
        None => Namespace::current()?,
    };
    link::reroute(&namespace, &one.ifname, &one.routes, &other.routes)
}

/// The name of its interface; none for a tunnel.
pub(super) fn ifname(blueprint: &Blueprint) -> &str {
    match blueprint {
        PortKind::Device(device) => &device.ifname,
        PortKind::Nic(nic) => &nic.ifname,
        PortKind::Tunnel(_) => "",
    }
}

/// Whether two devices cannot exist side by side: in one namespace they have one name, or both want its default route.
/// Two stations on one interface would hear each frame twice.
pub(super) fn clash(one: &Blueprint, other: &Blueprint) -> bool {
    let (one, other) = match (one, other) {
        (PortKind::Device(one), PortKind::Device(other)) => (one, other),
        (PortKind::Nic(one), PortKind::Nic(other)) => return one.ifname == other.ifname,
        (PortKind::Device(_) | PortKind::Nic(_) | PortKind::Tunnel(_), _) => return false,
    };
    let routes_clash = || {
        one.gateways.iter().any(|gateway| other.gateways.iter().any(|it| it.is_ipv4() == gateway.is_ipv4()))
    };
    space_of(one) == space_of(other) && (one.ifname == other.ifname || routes_clash())
}

/// The device's namespace, the same for both ways to write a name. Paths that lead to one namespace otherwise, through
/// processes say, are not seen to be one.
fn space_of(blueprint: &config::Device) -> Option<&str> {
    let spec = blueprint.netns.as_deref()?;
    let name = ["/run/netns/", "/var/run/netns/"].iter().find_map(|directory| spec.strip_prefix(directory));
    Some(name.unwrap_or(spec))
}

/// Why an adopted device cannot serve so many workers.
pub(super) fn too_few_queues(blueprint: &Blueprint, workers: usize) -> io::Error {
    let why = format!("has one queue, and {workers} workers need one each");
    let next = "create it with multi_queue, or choose workers = 1";
    io::Error::new(io::ErrorKind::InvalidInput, format!("device {:?} {why}; {next}", ifname(blueprint)))
}

/// Whether the place for a device is there: what can be known before another goes for it.
///
/// # Errors
/// If its namespace cannot be opened, or its interface cannot be an uplink's.
pub(super) fn check(blueprint: &Blueprint) -> io::Result<()> {
    match blueprint {
        PortKind::Device(device) => device.netns.as_deref().map(Namespace::open).transpose().map(drop),
        PortKind::Nic(nic) => survey(nic).map(drop),
        PortKind::Tunnel(_) => Ok(()),
    }
}

fn survey(nic: &config::Nic) -> io::Result<LinkState> {
    link::survey(&Namespace::current()?, &nic.ifname, nic.mac.mac(), &nic.addresses)
}

/// Makes a device, or adopts the one that stands in its place: its description and one queue for each worker.
///
/// # Errors
/// With what was tried. Nothing is left behind.
pub(super) fn build(blueprint: &Blueprint, queues: usize) -> io::Result<Made> {
    match blueprint {
        PortKind::Device(device) => build_tap(blueprint, device, queues),
        PortKind::Nic(nic) => open_nic(blueprint, nic),
        PortKind::Tunnel(_) => Err(io::Error::other("a tunnel has no device")),
    }
}

/// One queue, whatever the number of workers.
fn open_nic(blueprint: &Blueprint, nic: &config::Nic) -> io::Result<Made> {
    let found = survey(nic)?;
    let opened = Nic::open(found.index, nic.mac, &nic.addresses)
        .map_err(tried(format!("interface {}", nic.ifname)))?;
    let device = Device {
        blueprint: blueprint.clone(),
        generation: 0, // Until it is attached.
        offloads: vec!["csum", "tso", "uso"],
        queues: 1,
        is_adopted: true,
        is_multi_queue: true,
        steering_refused: None,
        refuses_offload: false,
        watched: Some(Watched::new(&found, opened.link())),
        failed: None,
    };
    Ok((device, vec![Box::new(opened.into_queue())]))
}

fn build_tap(whole: &Blueprint, blueprint: &config::Device, queues: usize) -> io::Result<Made> {
    let namespace = blueprint.netns.as_deref().map(Namespace::open).transpose()?;
    let queue_count = u16::try_from(queues).expect("workers are few");
    let exists = namespace.is_none() && link::find(&Namespace::current()?, &blueprint.ifname)?.is_some();
    let tap = if blueprint.tun.is_some() {
        Tap::create_tun()?
    } else if exists {
        Tap::adopt(&blueprint.ifname, queue_count)?
    } else {
        Tap::create(queue_count)?
    };
    if tap.queue_count() < queues {
        return Err(too_few_queues(whole, queues));
    }
    let interface = Interface {
        name: blueprint.ifname.clone(),
        namespace,
        mac: blueprint.tun.is_none().then(|| blueprint.mac.mac()),
        mtu: blueprint.mtu,
        addresses: blueprint.addresses.clone(),
        gateways: blueprint.gateways.clone(),
        routes: blueprint.routes.clone(),
    };
    let tap = link::establish(tap, &interface)?;
    let capabilities = tap.capabilities();
    let offloads = [("csum", capabilities.checksum), ("tso", capabilities.tso), ("uso", capabilities.uso)];
    let device = Device {
        blueprint: whole.clone(),
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
        watched: None,
        failed: None,
    };
    let boxed = |queue| match blueprint.tun {
        Some(router) => Box::new(TunQueue::new(queue, router, blueprint.mac)) as Box<dyn PortIo>,
        None => Box::new(queue),
    };
    let queues = tap.into_queues().into_iter().map(boxed).collect();
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
        let PortKind::Device(made) = compiled.ports["p"].kind.clone() else { panic!("it is a device") };
        let gateways = gateways.iter().map(|text| text.parse().unwrap()).collect();
        PortKind::Device(config::Device { netns: netns.map(str::to_owned), gateways, ..made })
    }

    #[test]
    fn routes_are_changed_where_the_device_stands() {
        let one = blueprint(None, "eth0", &[]);
        let PortKind::Device(device) = one.clone() else { panic!("it is a device") };
        let routes = vec![("172.17.0.0/16".parse().unwrap(), "169.254.64.2".parse().unwrap())];
        let routed = PortKind::Device(config::Device { routes, ..device.clone() });
        assert!(one != routed && serves(&one, &routed) && serves(&routed, &one));
        let shorter = PortKind::Device(config::Device { mtu: 1400, ..device });
        assert!(!serves(&one, &shorter) && !serves(&routed, &shorter));
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
