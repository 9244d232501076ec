//! The host's own part: addresses, neighbours and routes, as flanneld makes them.
//!
//! ```text
//!  vxlan    flannel.VNI has the subnet's own address as /32 (/128); for each peer
//!             neighbour  subnet's own address → VTEP's MAC, permanent
//!             route      subnet via that address dev flannel.VNI onlink
//!           or, with DirectRouting and a peer on a network of ours: route subnet via its public address dev the
//!           interface to that network
//!  udp      flannel0 has the subnet's own address as /32; route of the whole network dev flannel0
//!  host-gw  route subnet via its public address dev the external interface
//!  any      with -ip-blackhole-route: blackhole subnet of our own, behind every other route to it
//! ```
//!
//! What is wanted is worked out whole ([`wanted`]) and compared with what was made before; the difference is carried out,
//! removals first. [`Host::assert`] makes everything once more, which changes nothing where it is still there: it is
//! called every [`ASSERT_EVERY`], so what somebody deletes comes back. Routes and neighbours that we have not made are
//! not touched, but for one to the same destination, which is replaced as flanneld does. The blackhole replaces nothing: the
//! bridge that the pods are at has a route to the same subnet, before it or after it, and that has to count.
//!
//! Source: flannel pkg/backend/vxlan/device.go, vxlan_network.go, pkg/backend/route_network.go.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use netlink_packet_route::route::{RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};
use wire::{Cidr, Mac};

use crate::registry::roster::Peer;
use crate::sys::tried;

/// How often everything is made once more (flannel's `routeCheckRetries` loop, 10 s).
pub(super) const ASSERT_EVERY: Duration = Duration::from_secs(10);

/// The metric of a blackhole: the last of all.
const LAST: u32 = u32::MAX;

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Route {
    /// To the next router on a device; it need not be on a network of the device's.
    Via { device: u32, router: IpAddr, onlink: bool },
    /// Through a device that has no neighbours.
    Through { device: u32 },
    /// Nowhere: packets vanish, unless there is any other route.
    Blackhole,
}

/// What the kernel is to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) routes: BTreeMap<Cidr, Route>,
    /// By device and address.
    pub(super) neighbours: BTreeMap<(u32, IpAddr), Mac>,
}

/// How peers are reached.
#[derive(Clone, Debug)]
pub(super) struct Ways {
    /// The device of each family of inner packets (`vxlan` only).
    pub(super) tunnel_v4: Option<u32>,
    pub(super) tunnel_v6: Option<u32>,
    /// Whether each peer has a way of its own; if not, one that is wanted anyway leads to all.
    pub(super) is_each: bool,
    /// All hosts' addresses, if one way is to lead to them.
    pub(super) whole: Option<Cidr>,
    /// The interface to other hosts.
    pub(super) external: u32,
    /// Endpoints that are reached without a router, and by which interface; none if not asked for.
    pub(super) direct: BTreeMap<IpAddr, u32>,
    /// What is wanted whoever the peers are.
    pub(super) always: BTreeMap<Cidr, Route>,
}

/// What peers take.
pub(super) fn wanted(peers: &[Peer], ways: &Ways) -> Wanted {
    let mut wanted = Wanted { routes: ways.always.clone(), neighbours: BTreeMap::new() };
    for peer in peers.iter().filter(|_| ways.is_each) {
        let tunnel = if peer.subnet.address().is_ipv4() { ways.tunnel_v4 } else { ways.tunnel_v6 };
        let own = peer.subnet.address();
        match (tunnel, peer.mac) {
            (Some(device), Some(mac)) if !ways.direct.contains_key(&peer.endpoint) => {
                wanted.neighbours.insert((device, own), mac);
                wanted.routes.insert(peer.subnet, Route::Via { device, router: own, onlink: true });
            }
            (Some(_) | None, _) => {
                let device = ways.direct.get(&peer.endpoint).copied().unwrap_or(ways.external);
                let route = Route::Via { device, router: peer.endpoint, onlink: false };
                wanted.routes.insert(peer.subnet, route);
            }
        }
    }
    wanted
}

/// The kernel's tables, as far as we fill them.
pub(super) struct Host {
    handle: Handle,
    target: Wanted,
}

impl Host {
    /// Nothing is made yet.
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle, target: Wanted::default() }
    }

    /// Makes it so. What fails is returned, a sentence each; [`Host::assert`] tries it again.
    pub(super) async fn apply(&mut self, wanted: Wanted) -> Vec<String> {
        let mut failures = Vec::new();
        let old_routes: Vec<(Cidr, Route)> = self
            .target
            .routes
            .iter()
            .filter(|(subnet, route)| wanted.routes.get(subnet).is_none_or(|new| is_elsewhere(route, new)))
            .map(|(subnet, route)| (*subnet, *route))
            .collect();
        for (subnet, route) in old_routes {
            let removed = self.handle.route().del(message(subnet, route)).execute().await.map_err(raw);
            note(
                removed,
                &mut failures,
                || format!("removing the route to {subnet}"),
                &[libc::ESRCH, libc::ENODEV],
            );
        }
        let old_neighbours: Vec<(u32, IpAddr)> = self
            .target
            .neighbours
            .keys()
            .filter(|key| !wanted.neighbours.contains_key(key))
            .copied()
            .collect();
        for (device, address) in old_neighbours {
            let removed = self.remove_neighbour(device, address).await;
            note(
                removed,
                &mut failures,
                || format!("removing neighbour {address}"),
                &[libc::ENOENT, libc::ENODEV],
            );
        }
        let changed = |key: &(u32, IpAddr)| self.target.neighbours.get(key) != wanted.neighbours.get(key);
        let new_neighbours: Vec<(u32, IpAddr)> =
            wanted.neighbours.keys().filter(|key| changed(key)).copied().collect();
        let changed = |subnet: &Cidr| self.target.routes.get(subnet) != wanted.routes.get(subnet);
        let new_routes: Vec<Cidr> = wanted.routes.keys().filter(|subnet| changed(subnet)).copied().collect();
        self.target = wanted;
        self.add(&new_neighbours, &new_routes, &mut failures).await;
        failures
    }

    /// Makes everything once more.
    pub(super) async fn assert(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let neighbours: Vec<(u32, IpAddr)> = self.target.neighbours.keys().copied().collect();
        let routes: Vec<Cidr> = self.target.routes.keys().copied().collect();
        self.add(&neighbours, &routes, &mut failures).await;
        failures
    }

    async fn add(&self, neighbours: &[(u32, IpAddr)], routes: &[Cidr], failures: &mut Vec<String>) {
        for key @ &(device, address) in neighbours {
            let mac = self.target.neighbours[key];
            let request = self.handle.neighbours().add(device, address).link_layer_address(&mac.0);
            let added = request.state(NeighbourState::Permanent).replace().execute().await.map_err(raw);
            note(added, failures, || format!("adding neighbour {address}"), &[]);
        }
        for subnet in routes {
            let route = self.target.routes[subnet];
            let request = self.handle.route().add(message(*subnet, route));
            let (request, fine) = match route {
                Route::Blackhole => (request, &[libc::EEXIST][..]),
                Route::Via { .. } | Route::Through { .. } => (request.replace(), &[][..]),
            };
            let added = request.execute().await.map_err(raw);
            note(added, failures, || format!("adding a route to {subnet}"), fine);
        }
    }

    async fn remove_neighbour(&self, device: u32, address: IpAddr) -> io::Result<()> {
        let mut message = netlink_packet_route::neighbour::NeighbourMessage::default();
        message.header.ifindex = device;
        let (family, address) = match address {
            IpAddr::V4(address) => {
                (netlink_packet_route::AddressFamily::Inet, NeighbourAddress::Inet(address))
            }
            IpAddr::V6(address) => {
                (netlink_packet_route::AddressFamily::Inet6, NeighbourAddress::Inet6(address))
            }
        };
        message.header.family = family;
        message.attributes.push(NeighbourAttribute::Destination(address));
        self.handle.neighbours().del(message).execute().await.map_err(raw)
    }
}

/// Whether the new one does not simply take the old one's place.
fn is_elsewhere(old: &Route, new: &Route) -> bool {
    (*old == Route::Blackhole) != (*new == Route::Blackhole)
}

/// Remembers a failure; errors that say that what is not wanted is not there are none.
fn note(result: io::Result<()>, failures: &mut Vec<String>, what: impl FnOnce() -> String, fine: &[i32]) {
    if let Err(error) = result
        && !error.raw_os_error().is_some_and(|code| fine.contains(&code))
    {
        failures.push(format!("{}: {error}", what()));
    }
}

/// Gives a device the subnet's own address, and no other of that family, and raises it.
///
/// # Errors
/// With the device's index, the step and the reason.
pub(super) async fn address(handle: &Handle, device: u32, own: IpAddr, mtu: u16) -> io::Result<()> {
    let len = if own.is_ipv4() { 32 } else { 128 };
    let added = handle.address().add(device, own, len).replace().execute().await.map_err(raw);
    added.map_err(tried(format!("adding address {own}/{len}")))?;
    let message = rtnetlink::LinkUnspec::new_with_index(device).mtu(u32::from(mtu)).up().build();
    handle.link().set(message).execute().await.map_err(raw).map_err(tried("raising it"))
}

/// The route as `ip route add` and flanneld's library make it: protocol boot, scope universe, table main.
fn message(subnet: Cidr, route: Route) -> RouteMessage {
    let len = subnet.prefix_len();
    let mut message = match (subnet.address(), route) {
        (IpAddr::V4(to), Route::Via { device, router: IpAddr::V4(router), onlink }) => {
            let builder = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, len).gateway(router);
            let builder = builder.output_interface(device);
            if onlink { builder.onlink() } else { builder }.build()
        }
        (IpAddr::V6(to), Route::Via { device, router: IpAddr::V6(router), onlink }) => {
            let builder = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to, len).gateway(router);
            let builder = builder.output_interface(device);
            if onlink { builder.onlink() } else { builder }.build()
        }
        (IpAddr::V4(_), Route::Via { .. }) | (IpAddr::V6(_), Route::Via { .. }) => {
            unreachable!("a lease's subnet and endpoint are of one family")
        }
        (IpAddr::V4(to), Route::Through { device }) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to, len)
            .output_interface(device)
            .build(),
        (IpAddr::V6(to), Route::Through { device }) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(to, len)
            .output_interface(device)
            .build(),
        (IpAddr::V4(to), Route::Blackhole) => {
            let builder = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, len).priority(LAST);
            builder.kind(RouteType::BlackHole).scope(RouteScope::Universe).build()
        }
        (IpAddr::V6(to), Route::Blackhole) => {
            let builder = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to, len).priority(LAST);
            builder.kind(RouteType::BlackHole).scope(RouteScope::Universe).build()
        }
    };
    message.header.protocol = RouteProtocol::Boot;
    message
}

/// What the kernel said, with its number where there is one.
pub(super) fn raw(error: rtnetlink::Error) -> io::Error {
    if let rtnetlink::Error::NetlinkError(message) = &error {
        message.to_io()
    } else {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(subnet: &str, endpoint: &str, mac: Option<u8>) -> Peer {
        let mac = mac.map(|last| Mac([2, 0, 0, 0, 0, last]));
        Peer { subnet: subnet.parse().unwrap(), endpoint: endpoint.parse().unwrap(), mac }
    }

    #[test]
    fn peers_become_routes_and_neighbours_as_flanneld_makes_them() {
        let peers = [
            peer("10.5.2.0/24", "192.0.2.2", Some(2)),
            peer("10.5.3.0/24", "192.0.2.3", Some(3)),
            peer("10.5.4.0/24", "198.51.100.4", Some(5)),
            peer("fd00:0:0:2::/64", "2001:db8::2", Some(4)),
        ];
        let ways = Ways {
            tunnel_v4: Some(7),
            tunnel_v6: Some(8),
            is_each: true,
            whole: None,
            external: 2,
            direct: BTreeMap::from([("192.0.2.3", 2), ("198.51.100.4", 3)])
                .into_iter()
                .map(|(endpoint, interface)| (endpoint.parse().unwrap(), interface))
                .collect(),
            always: BTreeMap::from([("10.5.1.0/24".parse().unwrap(), Route::Blackhole)]),
        };
        let wanted = wanted(&peers, &ways);
        let via =
            |device, router: &str, onlink| Route::Via { device, router: router.parse().unwrap(), onlink };
        let routes: Vec<(String, Route)> =
            wanted.routes.iter().map(|(to, route)| (to.to_string(), *route)).collect();
        assert_eq!(
            routes,
            [
                ("10.5.1.0/24".to_owned(), Route::Blackhole),
                ("10.5.2.0/24".to_owned(), via(7, "10.5.2.0", true)),
                ("10.5.3.0/24".to_owned(), via(2, "192.0.2.3", false)),
                ("10.5.4.0/24".to_owned(), via(3, "198.51.100.4", false)),
                ("fd00:0:0:2::/64".to_owned(), via(8, "fd00:0:0:2::", true)),
            ]
        );
        let neighbours: Vec<((u32, String), u8)> = wanted
            .neighbours
            .iter()
            .map(|((device, ip), mac)| ((*device, ip.to_string()), mac.0[5]))
            .collect();
        assert_eq!(neighbours, [((7, "10.5.2.0".to_owned()), 2), ((8, "fd00:0:0:2::".to_owned()), 4)]);
    }
}
