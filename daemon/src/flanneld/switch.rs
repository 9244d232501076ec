//! The data path of backend `vxlan`: a switch between the host's TAP device and a tunnel to each peer.
//!
//! ```text
//!  host's routes ─▶ flannel.VNI (TAP) ─▶ network "flannel" ─▶ port "flannel.vxlan.PEER" ─▶ UDP ─▶ peer
//! ```
//!
//! With IPv6 pods there is a second one beside it, `flannel-v6.VNI`, over IPv6. The switch is told where each peer's MAC address
//! lives; what else the host says is hardly flooded ([`FLOOD_MAX`]), for a kernel's flannel.VNI would drop it. Everything is
//! said as a configuration ([`document`]) that the supervisor makes true; a new list of peers is a new one, and neither
//! the device nor the other peers notice. Pure but for the names of devices.

use std::net::IpAddr;

use config::{Document, NetworkSpec, PortSpec, StationSpec, StormSpec, VxlanSpec};
use wire::Mac;

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
            underlay_mtu: tunnel.mtu.saturating_add(if tunnel.local.is_ipv4() { 50 } else { 70 }),
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
        assert_eq!(toml.station[2].port, "flannel-v6.vxlan.2001:db8::2");
        assert_eq!(toml.port["flannel-v6.1"].mac.unwrap().to_string(), "0e:2b:c0:00:02:01");
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
