//! This host's share of an overlay whose subnets are leased (`registry = "etcd"`).
//!
//! ```text
//!  file      network without a subnet ──fill──▶ the leased one, or what stands in for it ──▶ checks, plan
//!  registry  peers ──with_peers──▶ another configuration: the same, but for the other hosts
//! ```
//!
//! A subnet that the file gives is asked for and no other. Without one it is whichever the registry has; until that is
//! known, the checks are made with [`STAND_IN`] and, of IPv6, [`STAND_IN_V6`], which no host has addresses of, and nothing may be built from that
//! ([`Config::lacks_subnet`]). What the registry says of peers is never refused as a whole: single ones that cannot be are
//! left out and told. Owns nothing; no clock.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::Cidr;

use crate::report::{At, Finding, Report, Step};
use crate::spec::{Document, OverlaySpec, PeerSpec, Registry};
use crate::{Config, derive, validate};

/// What stands in for a subnet that is yet to be leased: class E (RFC 1112 section 4), long enough for every port.
const STAND_IN: (Ipv4Addr, u8) = (Ipv4Addr::new(240, 0, 0, 0), 8);

/// Likewise beside an IPv4 one: a discard-only prefix (RFC 6666), as long as stations' prefixes are.
const STAND_IN_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64);

/// What a registry has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// This host's subnet, or one of each family.
    pub subnets: Vec<Cidr>,
    /// The other hosts.
    pub peers: Vec<PeerSpec>,
}

/// The overlay, if hosts learn of each other from a registry.
fn shared(document: &Document) -> Option<&OverlaySpec> {
    document.overlay.as_ref().filter(|overlay| overlay.registry == Registry::Etcd)
}

/// Whether subnets are yet to be leased.
pub(crate) fn is_stand_in(subnets: &[Cidr]) -> bool {
    subnets.first() == Some(&stand_in())
}

fn stand_in() -> Cidr {
    Cidr::new(STAND_IN.0.into(), STAND_IN.1).expect("8 bits fit an IPv4 address")
}

fn stand_ins(overlay: &OverlaySpec) -> Vec<Cidr> {
    let v6 = || Cidr::new(STAND_IN_V6.0.into(), STAND_IN_V6.1).expect("64 bits fit an IPv6 address");
    std::iter::once(stand_in()).chain(overlay.local_v6.map(|_| v6())).collect()
}

/// Gives the overlay's network the subnet, unless the document does, and the overlay the peers, unless it lists some.
pub(crate) fn fill(document: &mut Document, share: Option<&Share>) {
    let Some(overlay) = shared(document) else { return };
    let name = overlay.network.clone();
    let subnets = share.map_or_else(|| stand_ins(overlay), |share| share.subnets.clone());
    if let Some(network) = document.network.get_mut(&name)
        && network.subnet.is_empty()
        && network.gateway.is_empty()
    {
        network.gateway = subnets.iter().copied().map(first_host).collect();
        network.subnet = subnets;
    }
    if let (Some(overlay), Some(share)) = (&mut document.overlay, share)
        && overlay.peer.is_empty()
    {
        overlay.peer.clone_from(&share.peers);
    }
}

/// The router's address in a leased subnet, as flannel has it: the one behind the subnet's own.
fn first_host(subnet: Cidr) -> IpAddr {
    match subnet.network().address() {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() | 1).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() | 1).into(),
    }
}

/// Addresses given in a network whose subnet is not: asked of the document as it was written.
pub(crate) fn fault(document: &Document) -> Vec<Finding> {
    let Some(overlay) = shared(document) else { return Vec::new() };
    let awaits = document.network.get(&overlay.network).is_some_and(|network| network.subnet.is_empty());
    let of_it =
        document.port.iter().filter(|(_, port)| awaits && port.network.as_ref() == Some(&overlay.network));
    of_it
        .filter(|(_, port)| !port.address.given().is_empty())
        .map(|(name, _)| Finding {
            at: At::top("port").key(name).key("address"),
            message: format!(
                "the subnet of network {:?} is leased from etcd, so it is not known beforehand; write address = \"auto\", or give the network a subnet",
                overlay.network
            ),
        })
        .collect()
}

impl Config {
    /// Whether the subnet of the overlay's network is yet to be leased. Nothing may be built from such a configuration.
    pub fn lacks_subnet(&self) -> bool {
        let network = shared(self).and_then(|overlay| self.network.get(&overlay.network));
        network.is_some_and(|network| is_stand_in(&network.subnet))
    }

    /// What was taken from a registry, if there is one.
    pub fn share(&self) -> Option<Share> {
        let overlay = shared(self)?;
        let subnets = self.network.get(&overlay.network)?.subnet.clone();
        Some(Share { subnets, peers: overlay.peer.clone() })
    }

    /// Why a running switch cannot become `next`: another registry, or another part in it, takes a start.
    pub fn registry_fault(&self, next: &Self) -> Option<String> {
        let settings = |config: &Self| {
            let overlay = shared(config)?;
            let network = config.network.get(&overlay.network)?;
            let rest = OverlaySpec { peer: Vec::new(), ..overlay.clone() };
            Some((rest, network.subnet.clone(), network.gateway.clone()))
        };
        (settings(self) != settings(next)).then(|| {
            "[overlay] with registry = \"etcd\", and the subnet and gateway of its network, hold from the start of \
             the switch to its end"
                .to_owned()
        })
    }

    /// The same configuration with other hosts, and those that cannot be among them, each with the reason.
    ///
    /// # Errors
    /// If it cannot be for any reason that is no single host's; never without an overlay, which changes nothing.
    pub fn with_peers(&self, peers: Vec<PeerSpec>) -> Result<(Self, Vec<(PeerSpec, String)>), Report> {
        let mut document = self.0.clone();
        let Some(overlay) = &mut document.overlay else { return Ok((self.clone(), Vec::new())) };
        overlay.peer = peers;
        let findings = validate::validate(&document);
        let mut refused = Vec::new();
        let overlay = document.overlay.as_mut().expect("it was there above");
        // From behind, so that the others keep their places.
        let mut faulty: Vec<(usize, String)> = findings
            .into_iter()
            .filter_map(|finding| Some((peer_of(&finding.at)?, finding.message)))
            .collect();
        faulty.sort_by_key(|place| std::cmp::Reverse(place.0));
        faulty.dedup_by_key(|(index, _)| *index);
        for (index, why) in faulty {
            refused.push((overlay.peer.remove(index), why));
        }
        refused.reverse();
        let findings = validate::validate(&document);
        if findings.is_empty() { Ok((Self(document), refused)) } else { Err(Report::without_text(findings)) }
    }
}

/// Which peer a finding is about.
fn peer_of(at: &At) -> Option<usize> {
    match at.0.as_slice() {
        [Step::Key(overlay), Step::Key(peer), Step::Index(index), ..]
            if overlay == "overlay" && peer == "peer" =>
        {
            Some(*index)
        }
        _ => None,
    }
}

impl OverlaySpec {
    /// The MAC address of this host's tunnel end of a family.
    pub fn tunnel_mac(&self, is_v4: bool) -> Option<wire::Mac> {
        derive::ends(self).find(|end| end.address.is_ipv4() == is_v4).map(|end| end.mac())
    }

    /// The UDP port of every tunnel end.
    pub fn tunnel_port(&self) -> u16 {
        derive::overlay_l4_port(self)
    }
}
