//! The world as the registry of overlays: who has which subnet, for all switches whose configuration asks a registry.
//!
//! Live, `registry = "etcd"` means that a host's peers are looked up. A world has no etcd; it knows the configurations,
//! and tells each such switch all the others from the beginning. The leases are those of the first configurations:
//! whatever a script changes later finds the same peers. Two overlays in one world are told apart as two clusters would
//! be: by backend, VNI, L4 port and family.
//!
//! A subnet is the first prefix of the overlay's network, as a lease has one.

use std::net::IpAddr;

use config::{Backend, Config, Ids, PeerSpec, Registry, Report};
use vrouter::Side;
use wire::Mac;

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
        let lease = |config: &Config| {
            let overlay = asks(config)?;
            let subnet = config.network.get(&overlay.network)?.subnet.first()?.network();
            let mac = (overlay.backend == Backend::Vxlan).then(|| tunnel_end(config)).flatten();
            let peer = PeerSpec { subnet, endpoint: overlay.local, mac };
            Some((cluster(config)?, peer))
        };
        Self { leases: configs.iter().filter_map(lease).collect() }
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
        let is_other = |peer: &PeerSpec, own: IpAddr| peer.endpoint != own;
        let peers = self.leases.iter().filter(|(of, peer)| *of == cluster && is_other(peer, overlay.local));
        overlay.peer.extend(peers.map(|(_, peer)| peer.clone()));
        Config::new(document)
    }
}

fn asks(config: &Config) -> Option<&config::OverlaySpec> {
    config.overlay.as_ref().filter(|overlay| overlay.registry == Registry::Etcd)
}

/// The MAC address that a host has in the overlay, as its lease would say.
fn tunnel_end(config: &Config) -> Option<Mac> {
    let compiled = config::compile(config, &mut Ids::default());
    let gateways = &compiled.plan.router.gateways;
    gateways.iter().find(|gateway| matches!(gateway.side, Side::Overlay(_))).map(|end| end.mac.mac())
}

fn cluster(config: &Config) -> Option<Cluster> {
    let overlay = asks(config)?;
    let (backend, vni, l4_port) = (overlay.backend, overlay.vni, overlay.port);
    Some(Cluster { backend, vni, l4_port, is_v4: overlay.local.is_ipv4() })
}
