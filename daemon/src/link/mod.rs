//! Interfaces: what makes a TAP device the `eth0` that somebody asked for, by netlink.
//!
//! [`establish`] takes a fresh [`Tap`] from its provisional name to an interface that is named, placed, addressed,
//! raised and routed. Everything that can be prepared is prepared before the device enters the namespace it is meant
//! for, and there it arrives under its final name, so that nobody meets it half made. A step that fails undoes all:
//! the device goes with the [`Tap`] that `establish` drops.
//!
//! What containers expect, and so what they get:
//! - IPv6 addresses are usable at once: no duplicate address detection (as Docker; the switch knows its addresses).
//! - IPv6 is off on an interface that is given IPv4 addresses only (as Docker), and router advertisements are ignored
//!   on one that is given IPv6 addresses: what was configured is what holds.
//! - Default routes only inside a namespace. An interface that stays in the daemon's own, docker0's second identity,
//!   gets addresses and the routes to their networks; the host's way out stays the host's.
//!
//! Owns nothing: an interface belongs to its [`Tap`]. Refuses: a name that is taken, saying by what. Clock: none; every
//! call is one synchronous conversation with the kernel, milliseconds long, off the packet path.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::Path;

use rtnetlink::Handle;
use wire::{Cidr, Mac};

use crate::port::{Origin, Tap, holder};
use crate::sys::tried;

mod cable;
mod monitor;
mod namespace;
mod netlink;
mod survey;

pub use cable::{End, plug};
pub use monitor::{Changed, Monitor};
pub use namespace::{NamedNamespace, Namespace};
pub use survey::{conflict, survey};

/// Frames that may wait in a queue for a worker (`txqueuelen`): enough for a scheduling gap of some milliseconds. A
/// full queue drops; the kernel's default of 500 drops in bursts that a busy machine causes daily.
pub const TX_QUEUE_LEN: u32 = 4096;

/// What an interface is to be.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name, at most 15 octets.
    pub name: String,
    /// Where it goes; `None`: it stays in the namespace of the calling thread.
    pub namespace: Option<Namespace>,
    /// Its address; `None`: as the kernel made it up.
    pub mac: Option<Mac>,
    /// Longest packet.
    pub mtu: u16,
    /// Its addresses with the lengths of their networks' prefixes.
    pub addresses: Vec<Cidr>,
    /// Where its default routes lead, at most one for each family; not used without a namespace.
    pub gateways: Vec<IpAddr>,
    /// Its other routes: what is reached over it, and by which next router.
    pub routes: Vec<(Cidr, IpAddr)>,
}

/// What the kernel says of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Its number, unique in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its driver, where it has a name: `tun`, `veth`, `bridge` …
    pub kind: Option<String>,
    /// Its address, if it is an Ethernet one.
    pub mac: Option<Mac>,
    /// Longest packet.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it is up and has a carrier: a TAP has one while a descriptor is attached.
    pub running: bool,
    /// How often its carrier has come or gone.
    pub carrier_changes: u32,
    /// Frames that may wait in a queue.
    pub tx_queue_len: u32,
    /// What its frames look like.
    pub layer: Layer,
    /// The index of the bridge, bond or the like that it belongs to.
    pub master: Option<u32>,
    /// Its addresses, in the kernel's order.
    pub addresses: Vec<Cidr>,
}

/// What an interface's frames look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Ethernet's.
    Ethernet,
    /// Like Ethernet's, and they come back.
    Loopback,
    /// Another's, or none: a tunnel without L2.
    Other,
}

/// Makes a TAP device the interface described. To be called in the namespace in which the device was created or adopted.
///
/// An adopted device stays where it is and keeps what it has; what is missing of the description is added, and stays
/// when we go: address, MTU, the length of its queues ([`TX_QUEUE_LEN`]).
///
/// # Errors
/// With the interface, the step and the reason. A created device is gone then, and with it all that was done.
pub fn establish(tap: Tap, interface: &Interface) -> io::Result<Tap> {
    let here = Namespace::current()?;
    let provisional = tap.name()?;
    match tap.origin() {
        Origin::Adopted => complete_adopted(&here, &provisional, interface)?,
        Origin::Created => {
            let there = interface.namespace.as_ref().unwrap_or(&here);
            place(&here, &provisional, there, interface)?;
            let index = index_of(there, &interface.name)?;
            prepare_ipv6(there, interface)?;
            address(there, index, interface)?;
        }
    }
    Ok(tap)
}

/// The interface of this name; `None` if the namespace has none.
///
/// # Errors
/// If the namespace cannot be entered or netlink fails.
pub fn find(namespace: &Namespace, name: &str) -> io::Result<Option<LinkState>> {
    netlink::converse(namespace, async |handle| netlink::find(handle, name).await)
        .map_err(tried(format!("looking for interface {name} in {namespace}")))
}

/// Every interface of the namespace.
///
/// # Errors
/// As [`find`].
pub fn list(namespace: &Namespace) -> io::Result<Vec<LinkState>> {
    netlink::converse(namespace, async |handle| netlink::list(handle).await)
        .map_err(tried(format!("listing the interfaces of {namespace}")))
}

/// Deletes the interface of this name, whoever made it. What [`Tap::create`] made needs no deleting.
///
/// # Errors
/// NotFound if there is none.
pub fn remove(namespace: &Namespace, name: &str) -> io::Result<()> {
    let index = index_of(namespace, name)?;
    netlink::converse(namespace, async |handle| netlink::delete(handle, index).await)
        .map_err(tried(format!("deleting interface {name} in {namespace}")))
}

/// Everything that can be set while nobody sees the device, then the move and the final name in one request.
fn place(here: &Namespace, provisional: &str, there: &Namespace, interface: &Interface) -> io::Result<()> {
    let name = &interface.name;
    check_name(name)?;
    let index = index_of(here, provisional)?;
    // The kernel may have chosen this very name for the time being.
    let is_itself = |found: &LinkState| interface.namespace.is_none() && found.index == index;
    if let Some(taken) = find(there, name)?.filter(|found| !is_itself(found)) {
        return Err(name_taken(there, name, taken.kind.as_deref()));
    }
    netlink::converse(here, async |handle| {
        netlink::shape(handle, index, interface.mac, interface.mtu)
            .await
            .map_err(tried(format!("interface {name}: {}", shape_of(interface))))?;
        match netlink::place(handle, index, interface.namespace.as_ref(), name).await {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Err(name_taken(there, name, None)),
            placed => placed.map_err(tried(format!("moving interface {name} to {there}"))),
        }
    })
}

/// Addresses, then up, then the routes that need both.
fn address(there: &Namespace, index: u32, interface: &Interface) -> io::Result<()> {
    let of = || format!("interface {} in {there}", interface.name);
    netlink::converse(there, async |handle| {
        for &address in &interface.addresses {
            netlink::add_address(handle, index, address).await.map_err(|error| {
                match error.raw_os_error() {
                    Some(libc::EEXIST) => {
                        io::Error::new(error.kind(), format!("{}: it has {address} already", of()))
                    }
                    Some(_) | None => tried(format!("{}: adding address {address}", of()))(error),
                }
            })?;
        }
        netlink::raise(handle, index).await.map_err(tried(format!("{}: raising it", of())))?;
        for &gateway in interface.namespace.iter().flat_map(|_| &interface.gateways) {
            netlink::add_default_route(handle, index, gateway).await.map_err(|error| {
                let hint = match error.raw_os_error() {
                    Some(libc::EEXIST) => {
                        " (the namespace has another default route: remove that, or give no gateway)"
                    }
                    Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL) => {
                        " (a gateway has to be inside the network of one of the interface's addresses)"
                    }
                    Some(_) | None => "",
                };
                tried(format!("{}: adding a default route via {gateway}{hint}", of()))(error)
            })?;
        }
        for &route in &interface.routes {
            add_route(handle, index, route).await.map_err(tried(of()))?;
        }
        Ok(())
    })
}

async fn add_route(handle: &Handle, index: u32, (to, via): (Cidr, IpAddr)) -> io::Result<()> {
    netlink::add_route(handle, index, to, via).await.map_err(|error| match error.raw_os_error() {
        Some(libc::EEXIST) => io::Error::new(
            error.kind(),
            format!("there is a route to {to} already (`ip route show {to}` tells): remove that, or give the network another subnet"),
        ),
        Some(_) | None => tried(format!("adding a route to {to} via {via}"))(error),
    })
}

/// Gives an interface of the namespace other routes, as [`Interface::routes`]: first those that are new, then those that are not
/// wanted go. If one is refused all is as it was.
///
/// # Errors
/// With the route, if there is one to the same place already; NotFound without the interface.
pub fn reroute(
    namespace: &Namespace,
    name: &str,
    before: &[(Cidr, IpAddr)],
    after: &[(Cidr, IpAddr)],
) -> io::Result<()> {
    let index = index_of(namespace, name)?;
    let of = || tried(format!("interface {name} in {namespace}"));
    netlink::converse(namespace, async |handle| {
        let mut added = Vec::new();
        for route in after.iter().filter(|route| !before.contains(route)) {
            // Another way to the same place: the old one has to go first.
            let replaced = before.iter().find(|old| old.0.network() == route.0.network());
            if let Some(&(to, via)) = replaced {
                drop(netlink::remove_route(handle, index, to, via).await);
            }
            if let Err(error) = add_route(handle, index, *route).await {
                for &(to, via) in added.iter().rev().map(|(route, _)| route) {
                    drop(netlink::remove_route(handle, index, to, via).await);
                }
                let old = added.iter().filter_map(|(_, replaced)| *replaced).chain(replaced);
                for &(to, via) in old {
                    drop(netlink::add_route(handle, index, to, via).await);
                }
                return Err(of()(error));
            }
            added.push((*route, replaced));
        }
        let kept = |to: Cidr| after.iter().any(|route| route.0.network() == to.network());
        for &(to, via) in before.iter().filter(|(to, _)| !kept(*to)) {
            // Somebody else has removed it if it is not there.
            drop(netlink::remove_route(handle, index, to, via).await);
        }
        Ok(())
    })
}

/// Gives an interface of the namespace again what the kernel has taken from it while it was down: IPv6 addresses, and
/// routes. What it has stays; one that is gone, or down, is left alone.
///
/// # Errors
/// With what could not be added.
pub fn replenish(
    namespace: &Namespace,
    name: &str,
    addresses: &[Cidr],
    routes: &[(Cidr, IpAddr)],
) -> io::Result<()> {
    let Some(found) = find(namespace, name)?.filter(|found| found.up) else { return Ok(()) };
    let of = || format!("interface {name} in {namespace}");
    let unless_there = |added: io::Result<()>| match added {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        added => added,
    };
    netlink::converse(namespace, async |handle| {
        for &address in addresses {
            let added = netlink::add_address(handle, found.index, address).await;
            unless_there(added).map_err(tried(format!("{}: adding address {address}", of())))?;
        }
        for &(to, via) in routes {
            let added = netlink::add_route(handle, found.index, to, via).await;
            unless_there(added).map_err(tried(format!("{}: adding a route to {to} via {via}", of())))?;
        }
        Ok(())
    })
}

fn complete_adopted(here: &Namespace, name: &str, interface: &Interface) -> io::Result<()> {
    let gone = || io::Error::new(ErrorKind::NotFound, format!("interface {name} went while it was adopted"));
    let state = find(here, name)?.ok_or_else(gone)?;
    netlink::converse(here, async |handle| {
        let mac = interface.mac.filter(|&mac| state.mac != Some(mac));
        netlink::shape(handle, state.index, mac, interface.mtu).await
    })
    .map_err(tried(format!("interface {name}: {}", shape_of(interface))))?;
    let missing: Vec<Cidr> =
        interface.addresses.iter().copied().filter(|address| !state.addresses.contains(address)).collect();
    // Routes do not go with our descriptors where the device stays: an earlier run may have left them.
    drop(reroute(here, name, &interface.routes, &[]));
    let rest = Interface { addresses: missing, namespace: None, ..interface.clone() };
    address(here, state.index, &rest)
}

/// Whether the namespace's IPv6 is to leave the interface alone. A kernel without IPv6 has nothing to set.
fn prepare_ipv6(there: &Namespace, interface: &Interface) -> io::Result<()> {
    let setting = if interface.addresses.is_empty() {
        return Ok(()); // A plain L2 port: the kernel's defaults hold.
    } else if interface.addresses.iter().any(|each| each.address().is_ipv6()) {
        ("accept_ra", "0")
    } else {
        ("disable_ipv6", "1")
    };
    let path = Path::new("/proc/sys/net/ipv6/conf").join(&interface.name).join(setting.0);
    let written = there.run(|| fs::write(&path, setting.1))?;
    match written {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // A container's /proc/sys is often read-only. The interface works; it only says a little more than it has to.
        Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
            tracing::warn!(interface = interface.name, %there, setting = setting.0, "cannot be set: {error}");
            Ok(())
        }
        written => written.map_err(tried(format!("writing {} in {there}", path.display()))),
    }
}

/// Names that the kernel would refuse, and those that would mean another file below /proc/sys.
fn check_name(name: &str) -> io::Result<()> {
    let refused = name.is_empty()
        || name.len() >= crate::sys::tun::IFNAMSIZ
        || name == "."
        || name == ".."
        || name
            .chars()
            .any(|each| each == '/' || each == ':' || each == '%' || each == '\0' || each.is_whitespace());
    if !refused {
        return Ok(());
    }
    let message = format!("{name:?} is no interface name: 1 to 15 octets without '/', ':', '%' and blanks");
    Err(io::Error::new(ErrorKind::InvalidInput, message))
}

fn index_of(namespace: &Namespace, name: &str) -> io::Result<u32> {
    let missing = || io::Error::new(ErrorKind::NotFound, format!("{namespace} has no interface {name}"));
    Ok(find(namespace, name)?.ok_or_else(missing)?.index)
}

/// Why the name cannot be had, and who has it: a TAP device goes with the process that holds it.
fn name_taken(there: &Namespace, name: &str, kind: Option<&str>) -> io::Error {
    let is_tap = kind.is_none_or(|kind| kind == "tun");
    let holder = is_tap.then(|| there.run(|| holder::of(name)).ok().flatten()).flatten();
    let (whose, remedy) = match (holder, kind) {
        (Some(holder), _) => (format!(", held by {holder}"), "end that"),
        (None, Some(kind)) => (format!(" ({kind})"), "remove that"),
        (None, None) => (String::new(), "remove that"),
    };
    let message =
        format!("{there} has an interface {name} already{whose}: {remedy}, or choose another ifname");
    io::Error::new(ErrorKind::AlreadyExists, message)
}

fn shape_of(interface: &Interface) -> String {
    let mac = interface.mac.map_or_else(String::new, |mac| format!(", address {mac}"));
    format!("setting MTU {}{mac}", interface.mtu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_or_a_path_would_misread_are_refused() {
        for name in ["eth0", "a", "tap-1.5", "fifteen-octets1"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a/b", "eth0:1", "tap%d", "two words", "sixteen-octets-1"] {
            let error = check_name(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
        }
    }
}
