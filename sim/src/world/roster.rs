//! The world as the registry of overlays: who has which subnet, for all switches whose configuration asks a registry.
//!
//! Live, `registry = "etcd"` means that a host's peers are looked up. A world has no etcd; it knows the configurations,
//! and tells each such switch all the others from the beginning. The leases are those of the first configurations:
//! whatever a script changes later finds the same peers. Two overlays in one world are told apart as two clusters would
//! be: by backend, VNI, L4 port and family.
//!
//! A host's subnets are the first prefixes of each family in the overlay's network, as a lease has them; one of IPv6 goes
//! with `local_v6`, as flannel's do.

use std::net::IpAddr;

use config::{Backend, Config, PeerSpec, Registry, Report};
use wire::Cidr;

/// Whoever can be found.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    leases: Vec<(Cluster, PeerSpec)>,
}

/// What two hosts must have in common to be peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cluster {
    backend: Backend,
    vni: u32,
    l4_port: Option<u16>,
    is_v4: bool,
}

impl Roster {
    pub(super) fn of(configs: &[Config]) -> Self {
        Self { leases: configs.iter().flat_map(leases).collect() }
    }

    /// The configuration with its peers.
    ///
    /// # Errors
    /// They cannot be peers.
    pub(super) fn fill(&self, config: Config) -> Result<Config, Report> {
        let Some(cluster) = cluster(&config) else { return Ok(config) };
        let mut document = (*config).clone();
        let Some(overlay) = &mut document.overlay else { return Ok(config) };
        overlay.registry = Registry::Static;
        let own = [Some(overlay.local), overlay.local_v6.map(IpAddr::V6)];
        let peers =
            self.leases.iter().filter(|(of, peer)| *of == cluster && !own.contains(&Some(peer.endpoint)));
        overlay.peer.extend(peers.map(|(_, peer)| peer.clone()));
        Config::new(document)
    }
}

fn asks(config: &Config) -> Option<&config::OverlaySpec> {
    config.overlay.as_ref().filter(|overlay| overlay.registry == Registry::Etcd)
}

/// What a host's lease would say: a peer for each end that it has.
fn leases(config: &Config) -> Vec<(Cluster, PeerSpec)> {
    let (Some(overlay), Some(cluster)) = (asks(config), cluster(config)) else { return Vec::new() };
    let subnets = config.network.get(&overlay.network).map(|network| &network.subnet[..]).unwrap_or_default();
    let subnet = |v4: bool| {
        subnets.iter().find(|subnet| subnet.address().is_ipv4() == v4).map(|subnet| subnet.network())
    };
    let first = subnet(true).or_else(|| subnet(false)).map(|subnet| (subnet, overlay.local));
    let second = overlay.local_v6.and_then(|local| Some((subnet(false)?, IpAddr::V6(local))));
    let peer = |(subnet, endpoint): (Cidr, IpAddr)| {
        let mac = overlay.tunnel_mac(endpoint.is_ipv4()).filter(|_| overlay.backend == Backend::Vxlan);
        (cluster, PeerSpec { subnet, endpoint, mac })
    };
    first.into_iter().chain(second).map(peer).collect()
}

fn cluster(config: &Config) -> Option<Cluster> {
    let overlay = asks(config)?;
    let (backend, vni, l4_port) = (overlay.backend, overlay.vni, overlay.port);
    Some(Cluster { backend, vni, l4_port, is_v4: overlay.local.is_ipv4() })
}
