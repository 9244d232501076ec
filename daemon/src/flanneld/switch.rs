//! The data path of backends `vxlan` and `udp`: between the host's device and a tunnel to each peer.
//!
//! ```text
//!  vxlan  host's routes ─▶ flannel.VNI (TAP) ─▶ network "flannel" ─▶ port "flannel.vxlan.PEER" ─▶ UDP ─▶ peer
//!  udp    host's routes ─▶ flannel0 (TUN) ─▶ router, by peers' subnets ─▶ port "overlay.PEER" ─▶ UDP ─▶ peer
//! ```
//!
//! `vxlan` is switched. `udp` is routed, as flanneld's proxy does, so that each end takes one from TTL; between host and
//! router there is a link of two link-local addresses that nobody else sees, and errors are reported from there.
//!
//! With IPv6 pods there is a second one beside it, `flannel-v6.VNI`, over IPv6. The switch is told where each peer's MAC address
//! lives, and from which subnet its packets may come (`admit.inner-source`); what else the host says is hardly flooded ([`FLOOD_MAX`]), for a kernel's flannel.VNI would drop it. Everything is
//! said as a configuration ([`document`]) that the supervisor makes true; a new list of peers is a new one, and neither
//! the device nor the other peers notice. Pure but for the names of devices.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use config::{
    Document, NetworkSpec, OverlaySpec, PeerSpec, PortSpec, Registry, RouteSpec, StationSpec, StormSpec,
    VxlanSpec,
};
use wire::{Cidr, Mac};

use crate::registry::roster::Peer;

/// Frames a second that the host may send to nobody known, of each kind.
const FLOOD_MAX: u32 = 1;

/// One family's tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tunnel {
    pub(super) vni: u32,
    pub(super) l4_port: u16,
    /// The address that we send from.
    pub(super) local: IpAddr,
    /// The MAC address of our end.
    pub(super) mac: Mac,
    /// Longest packet inside.
    pub(super) mtu: u16,
}

impl Tunnel {
    /// What the network is called.
    const fn network(&self) -> &'static str {
        if self.local.is_ipv4() { "flannel" } else { "flannel-v6" }
    }

    /// What the device is called, as flanneld calls it.
    pub(super) fn device(&self) -> String {
        format!("{}.{}", self.network(), self.vni)
    }

    /// Whether this is the way to a peer.
    fn leads_to(&self, peer: &Peer) -> bool {
        peer.subnet.address().is_ipv4() == self.local.is_ipv4()
    }
}

/// The way of packets that travel bare, which are of IPv4 alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packets {
    /// What the device is called.
    pub(super) device: String,
    /// The address that we send from.
    pub(super) local: Ipv4Addr,
    /// Where every host listens and from where it sends.
    pub(super) l4_port: u16,
    /// Our subnet.
    pub(super) own: Cidr,
    /// Longest packet inside.
    pub(super) mtu: u16,
}

/// The link between the host and the router; RFC 3927 keeps such addresses off every other.
const LINK: (Ipv4Addr, u8) = (Ipv4Addr::new(169, 254, 64, 0), 30);
const ROUTER: Ipv4Addr = Ipv4Addr::new(169, 254, 64, 2);
const HOST: Ipv4Addr = Ipv4Addr::new(169, 254, 64, 1);

impl Packets {
    /// The configuration for these peers.
    pub(super) fn document(&self, peers: &[Peer]) -> Document {
        let mut document = Document::default();
        let network = "flannel".to_owned();
        let link = Cidr::new(LINK.0.into(), LINK.1).expect("30 bits fit an IPv4 address");
        let spec = NetworkSpec {
            subnet: vec![link],
            gateway: vec![ROUTER.into()],
            mtu: self.mtu,
            ..NetworkSpec::default()
        };
        document.network.insert(network.clone(), spec);
        let port = PortSpec { network: Some(network.clone()), tun: true, ..PortSpec::default() };
        document.port.insert(self.device.clone(), port);
        document.route.push(RouteSpec { to: self.own, via: vec![HOST.into()], kind: None });
        let is_v4 = |peer: &&Peer| peer.subnet.address().is_ipv4();
        let peer = |peer: &Peer| PeerSpec { subnet: peer.subnet, endpoint: peer.endpoint, mac: None };
        document.overlay = Some(OverlaySpec {
            backend: config::Backend::Udp,
            vni: 1, // Nobody sees it.
            port: Some(self.l4_port),
            local: self.local.into(),
            local_v6: None,
            underlay_mtu: Some(self.mtu.saturating_add(28)),
            direct_routing: false,
            mac: None,
            registry: Registry::Static,
            etcd: None,
            network,
            peer: peers.iter().filter(is_v4).map(peer).collect(),
        });
        document
    }
}

/// The configuration for these peers.
pub(super) fn document(tunnels: &[Tunnel], peers: &[Peer]) -> Document {
    let mut document = Document::default();
    for tunnel in tunnels {
        let network = tunnel.network();
        let far = || peers.iter().filter(|peer| tunnel.leads_to(peer));
        let vxlan = VxlanSpec {
            vni: tunnel.vni,
            port: tunnel.l4_port,
            local: tunnel.local,
            remotes: far().map(|peer| peer.endpoint).collect(),
            // What the device sends has to fit, whatever the interface below says later.
            arp_suppression: false,
            sources: far().fold(BTreeMap::new(), |mut sources, peer| {
                sources.entry(peer.endpoint).or_insert_with(Vec::new).push(peer.subnet.network());
                sources
            }),
            underlay_mtu: Some(tunnel.mtu.saturating_add(if tunnel.local.is_ipv4() { 50 } else { 70 })),
        };
        let spec = NetworkSpec { mtu: tunnel.mtu, vxlan: Some(vxlan), ..NetworkSpec::default() };
        document.network.insert(network.to_owned(), spec);
        let limit = Some(FLOOD_MAX);
        let port = PortSpec {
            network: Some(network.to_owned()),
            mac: Some(tunnel.mac),
            storm: StormSpec { broadcast: limit, multicast: limit, unknown: limit },
            ..PortSpec::default()
        };
        document.port.insert(tunnel.device(), port);
        document.station.extend(far().filter_map(|peer| {
            let port = format!("{network}.vxlan.{}", peer.endpoint);
            Some(StationSpec { network: network.to_owned(), mac: peer.mac?, port })
        }));
    }
    document
}

/// The MAC address of our end: made from the address that names us, so that it is the same after a restart and another
/// on every host. The first two octets are those of flannel's `MacPrefix`, the second counted up for IPv6.
pub(super) fn mac(public_ip: std::net::Ipv4Addr, is_v4: bool) -> Mac {
    let [a, b, c, d] = public_ip.octets();
    Mac([0x0e, if is_v4 { 0x2a } else { 0x2b }, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(local: &str) -> Tunnel {
        let local: IpAddr = local.parse().unwrap();
        let mac = mac("192.0.2.1".parse().unwrap(), local.is_ipv4());
        Tunnel { vni: 1, l4_port: 8472, local, mac, mtu: 1450 }
    }

    fn peer(subnet: &str, endpoint: &str, last: u8) -> Peer {
        let mac = Some(Mac([2, 0, 0, 0, 0, last]));
        Peer { subnet: subnet.parse().unwrap(), endpoint: endpoint.parse().unwrap(), mac }
    }

    #[test]
    fn peers_are_remotes_and_stations_of_their_family() {
        let peers = [
            peer("10.5.2.0/24", "192.0.2.2", 2),
            peer("10.5.3.0/24", "192.0.2.3", 3),
            peer("fd00:0:0:2::/64", "2001:db8::2", 4),
        ];
        let tunnels = [tunnel("192.0.2.1"), tunnel("2001:db8::1")];
        for count in 0..=peers.len() {
            let config = config::Config::new(document(&tunnels, &peers[..count])).unwrap();
            assert_eq!(config.station.len(), count);
            assert_eq!(config::check("", &config.to_toml()).unwrap().to_toml(), config.to_toml());
        }
        let toml = document(&tunnels, &peers);
        assert_eq!(toml.network["flannel"].vxlan.as_ref().unwrap().remotes.len(), 2);
        let sources = &toml.network["flannel"].vxlan.as_ref().unwrap().sources;
        assert_eq!(sources[&peers[0].endpoint], [peers[0].subnet]);
        assert_eq!(toml.station[2].port, "flannel-v6.vxlan.2001:db8::2");
        assert_eq!(toml.port["flannel-v6.1"].mac.unwrap().to_string(), "0e:2b:c0:00:02:01");
    }

    #[test]
    fn bare_packets_are_routed_to_peers_of_ipv4() {
        let packets = Packets {
            device: "flannel0".to_owned(),
            local: Ipv4Addr::new(192, 0, 2, 1),
            l4_port: 8285,
            own: "10.5.1.0/24".parse().unwrap(),
            mtu: 1472,
        };
        let peers = [peer("10.5.2.0/24", "192.0.2.2", 2), peer("fd00:0:0:2::/64", "2001:db8::2", 4)];
        let config =
            config::Config::new(packets.document(&peers)).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(config::check("", &config.to_toml()).unwrap(), config);
        let compiled = config::compile(&config, &mut config::Ids::default());
        assert_eq!((compiled.plan.check(), compiled.plan.tunnels.len()), (Ok(()), 1));
        assert!(compiled.ports.contains_key("overlay.192.0.2.2"));
    }

    #[test]
    fn a_thousand_peers_are_a_good_configuration() {
        let peers: Vec<Peer> = (0..1000_u16)
            .map(|host| {
                let [high, low] = host.to_be_bytes();
                let endpoint = IpAddr::from([198, 18, high, low]);
                let subnet = wire::Cidr::new([10, high, low, 0].into(), 24).unwrap();
                Peer { subnet, endpoint, mac: Some(Mac([2, 0, 0, 0, high, low])) }
            })
            .collect();
        assert!(config::Config::new(document(&[tunnel("192.0.2.1")], &peers)).is_ok());
    }
}
