//! Interfaces: the router's own MAC addresses and addresses, and what it makes of source and destination addresses.
//!
//! An interface is a [`Gateway`] of the plan with what the packet path asks of it. Owned addresses are in one sorted list,
//! whichever interface they belong to: a router answers at all of its addresses, from all sides.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use wire::{DomainId, DropReason, Instant, Mac, TokenBucket};

use crate::fib::{Fib, Resolved};
use crate::plan::{Gateway, RouterPlan, Side, is_host};
use crate::shortcut::Link;

/// Answers that one domain gets in a second. Further questions are dropped as `route.answer-rate`, so that a station
/// cannot make the router busy at the others' expense.
pub(crate) const ANSWERS_PER_SECOND_MAX: u64 = 10_000;
/// Answers that one domain gets at once after a pause: four full batches of 64 frames. Beyond it the rate holds.
pub(crate) const ANSWERS_BURST_MAX: u64 = 256;

/// All interfaces.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Interfaces {
    /// By [`DomainId`]; domains past the end have none.
    by_domain: Vec<Option<Interface>>,
    /// The domain of the uplink.
    uplink: Option<DomainId>,
    /// What of the uplink is an overlay's.
    #[serde(skip)]
    direct: Arc<Fib>,
    /// Sorted; read by the walk, for packets of unknown connections only.
    owned: Vec<IpAddr>,
    /// Those of them that the forwarding table does not lead to the interface whose they are. There are none where
    /// every address lies in its subnet; the short way leaves packets between networks alone if there are.
    has_strays: bool,
}

/// The router as one domain sees it: a station with a MAC and addresses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Interface {
    pub(crate) gateway: Gateway,
    pub(crate) mac: Mac,
    link_local: Ipv6Addr,
    /// What it is in each family, for the short way.
    pub(crate) v4: Link<Ipv4Addr>,
    pub(crate) v6: Link<Ipv6Addr>,
    /// What bounds the answers given here.
    pub(crate) answers: TokenBucket,
}

impl Interfaces {
    pub(crate) fn new(plan: &RouterPlan) -> Self {
        let mut interfaces = Self { direct: Arc::clone(&plan.direct), ..Self::default() };
        for gateway in &plan.gateways {
            let index = gateway.domain.index();
            if interfaces.by_domain.len() <= index {
                interfaces.by_domain.resize(index + 1, None);
            }
            interfaces.by_domain[index] = Some(Interface::new(gateway));
            interfaces.owned.extend(&gateway.addresses);
            if gateway.side == Side::Uplink {
                interfaces.uplink = Some(gateway.domain);
            }
        }
        interfaces.owned.sort_unstable();
        interfaces.has_strays = plan.gateways.iter().any(|gateway| {
            let is_home = |found| found == Some(Resolved::Connected(gateway.domain));
            !gateway.addresses.iter().all(|&address| is_home(plan.fib.lookup(address)))
        });
        interfaces
    }

    /// Takes what was not kept with the rest from the plan that held.
    pub(crate) fn rejoin(&mut self, plan: &RouterPlan) {
        self.direct = Arc::clone(&plan.direct);
    }

    #[inline]
    pub(crate) fn in_domain(&self, domain: DomainId) -> Option<&Interface> {
        self.by_domain.get(domain.index())?.as_ref()
    }

    pub(crate) fn in_domain_mut(&mut self, domain: DomainId) -> Option<&mut Interface> {
        self.by_domain.get_mut(domain.index())?.as_mut()
    }

    pub(crate) fn is_uplink(&self, domain: DomainId) -> bool {
        self.uplink == Some(domain)
    }

    /// Whether who has the address there is a stranger: behind the uplink, and not one of an overlay's hosts.
    pub(crate) fn is_outside(&self, domain: DomainId, address: IpAddr) -> bool {
        self.is_uplink(domain) && self.direct.lookup(address).is_none()
    }

    /// Whether the router owns `address`, as seen from `domain`: a link-local address belongs to one link.
    pub(crate) fn owns(&self, domain: DomainId, address: IpAddr) -> bool {
        self.owned.binary_search(&address).is_ok()
            || self.in_domain(domain).is_some_and(|interface| address == IpAddr::V6(interface.link_local))
    }

    /// Whether some own address is where the forwarding table does not say.
    pub(crate) const fn has_strays(&self) -> bool {
        self.has_strays
    }

    /// The first address of the uplink in this family: what masquerade shows to the outside.
    pub(crate) fn outside(&self, like: IpAddr) -> Option<IpAddr> {
        self.in_domain(self.uplink?)?.address_like(like)
    }

    /// Whether a packet with this source may come from `domain`. From a network: what it is told to contain, its own and
    /// broadcast addresses apart, or what a route leads back to. From the uplink: whatever no network contains. A
    /// link-local source may ask the router itself for something; it goes no further ([`is_link_local_v6`]).
    ///
    /// # Errors
    /// `route.martian-source`, `route.own-source`, `route.spoofed-source`.
    pub(crate) fn check_source(&self, fib: &Fib, domain: DomainId, src: IpAddr) -> Result<(), DropReason> {
        if !is_host(src) || is_reserved(src) {
            return Err(DropReason::MartianSource);
        }
        let Some(interface) = self.in_domain(domain) else { return Err(DropReason::SpoofedSource) };
        if interface.gateway.addresses.contains(&src) || src == IpAddr::V6(interface.link_local) {
            return Err(DropReason::OwnSource);
        }
        if interface.contains(src) {
            let is_hosts = interface.gateway.subnets.iter().any(|subnet| subnet.contains_host(src));
            return if is_hosts { Ok(()) } else { Err(DropReason::MartianSource) };
        }
        if is_link_local_v6(src) {
            return Ok(());
        }
        let leads_back = match fib.lookup(src) {
            Some(Resolved::Connected(back)) => back == domain,
            Some(Resolved::Via(hops)) => hops.as_slice().iter().any(|hop| hop.domain == domain),
            Some(Resolved::Blackhole | Resolved::Unreachable | Resolved::Prohibit) | None => {
                self.is_uplink(domain)
            }
        };
        if leads_back { Ok(()) } else { Err(DropReason::SpoofedSource) }
    }
}

impl Interface {
    fn new(gateway: &Gateway) -> Self {
        let mac = gateway.mac.mac();
        let answers = TokenBucket::new(ANSWERS_PER_SECOND_MAX, ANSWERS_BURST_MAX, Instant::ZERO);
        Self {
            mac,
            link_local: link_local(mac),
            v4: Link::new(gateway),
            v6: Link::new(gateway),
            answers,
            gateway: gateway.clone(),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.gateway.subnets.iter().any(|subnet| subnet.contains(address))
    }

    /// Whether a packet may be passed on to this address here: no network's own or broadcast address (RFC 2644), and a
    /// link-local one only where the plan says that it is connected, as an uplink into the host is.
    pub(crate) fn reaches(&self, dst: IpAddr) -> bool {
        let is_connected = self.gateway.subnets.iter().any(|subnet| subnet.contains_host(dst));
        is_connected || !self.contains(dst) && !is_link_local(dst)
    }

    /// Its first address of the same family.
    pub(crate) fn address_like(&self, like: IpAddr) -> Option<IpAddr> {
        self.gateway.addresses.iter().copied().find(|address| address.is_ipv4() == like.is_ipv4())
    }

    /// The address that it speaks from to a station with the address `to`.
    pub(crate) fn speaker(&self, to: IpAddr) -> Option<IpAddr> {
        let link_local = IpAddr::V6(self.link_local);
        if is_link_local_v6(to) {
            return Some(link_local);
        }
        match &self.gateway.side {
            Side::Overlay(overlay) => {
                overlay.speakers.iter().copied().find(|address| address.is_ipv4() == to.is_ipv4())
            }
            Side::Network(_) | Side::Uplink => {
                self.address_like(to).or_else(|| to.is_ipv6().then_some(link_local))
            }
        }
    }
}

/// Whether no router may pass a packet with this destination on, wherever it would go (RFC 1812 §5.3.7): group, loopback,
/// unspecified, reserved, or link-local of IPv6.
pub(crate) fn is_martian_destination(dst: IpAddr) -> bool {
    is_reserved(dst) || !is_host(dst) || is_link_local_v6(dst)
}

/// Whether no station has the address: "this network" and class E (RFC 1812 §5.3.7).
pub(crate) const fn is_reserved(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => matches!(address.octets()[0], 0 | 240..),
        IpAddr::V6(_) => false,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Whether a packet from or to the address may not go from one link to another (RFC 4291 §2.5.6).
pub(crate) fn is_link_local_v6(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// fe80::/64 and the MAC as a modified EUI-64: the universal/local bit inverted, ff:fe in the middle
/// (RFC 4291 §2.5.1 and appendix A).
pub(crate) fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_local_address_is_the_modified_eui_64() {
        // The example of RFC 2464 §4, whose MAC is 34-56-78-9A-BC-DE.
        let mac = Mac([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(link_local(mac), "fe80::3656:78ff:fe9a:bcde".parse::<Ipv6Addr>().unwrap());
    }
}
