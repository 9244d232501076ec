//! The router's presence in one domain, as its neighbours see it: MAC, own addresses, and who may live there.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use wire::{Cidr, Instant, Mac, TokenBucket};

use super::advertise::Advertiser;
use super::{QUESTIONS_BURST_MAX, QUESTIONS_PER_SECOND_MAX};
use crate::plan::{Gateway, Side};
use crate::router::{ANSWERS_BURST_MAX, ANSWERS_PER_SECOND_MAX, link_local};

/// An address of ours.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Own {
    pub(super) address: IpAddr,
    /// When it was last defended against another station.
    pub(super) defended: Option<Instant>,
}

/// The router in one domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) mac: Mac,
    /// Belongs to the MAC.
    pub(super) link_local: Ipv6Addr,
    /// The plan's, and the link-local one at the end.
    pub(super) own: Vec<Own>,
    pub(super) subnets: Vec<Cidr>,
    pub(super) mtu: u16,
    /// Answers that it may still give.
    pub(super) answers: TokenBucket,
    /// Questions that it may still ask.
    pub(super) questions: TokenBucket,
    /// When people were last told that there is no room for new neighbours.
    pub(super) full_told: Option<Instant>,
    /// `None` if no router is advertised here.
    pub(super) advertiser: Option<Advertiser>,
}

impl Link {
    /// What the plan asks for. What was spent and when something was last done is taken over from `earlier`.
    pub(super) fn new(gateway: &Gateway, earlier: Option<Self>, now: Instant) -> Self {
        let mac = gateway.mac.mac();
        let link_local = link_local(mac);
        let addresses = gateway.addresses.iter().copied().chain([link_local.into()]);
        let defended = |address| earlier.as_ref().and_then(|link| link.defended(address));
        let own = addresses.map(|address| Own { address, defended: defended(address) }).collect();
        let full_told = earlier.as_ref().and_then(|link| link.full_told);
        let (answers, questions, advertiser) = match earlier {
            Some(link) => (link.answers, link.questions, link.advertiser),
            None => (
                TokenBucket::new(ANSWERS_PER_SECOND_MAX, ANSWERS_BURST_MAX, now),
                TokenBucket::new(QUESTIONS_PER_SECOND_MAX, QUESTIONS_BURST_MAX, now),
                None,
            ),
        };
        let advertiser = advertises(gateway).then(|| advertiser.unwrap_or_else(|| Advertiser::new(now)));
        let subnets = gateway.subnets.clone();
        Self { mac, link_local, own, subnets, mtu: gateway.mtu, answers, questions, full_told, advertiser }
    }

    pub(super) fn owns(&self, address: IpAddr) -> bool {
        self.own.iter().any(|own| own.address == address)
    }

    /// Whether a station of the domain may have the address: a host's in one of its subnets, or link-local IPv6.
    pub(super) fn may_hold(&self, address: IpAddr) -> bool {
        let is_link_local = match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        !self.owns(address)
            && (is_link_local || self.subnets.iter().any(|subnet| subnet.contains_host(address)))
    }

    /// Own addresses that stations are told of: without the link-local one if there is no other of IPv6.
    pub(super) fn announced(&self) -> impl Iterator<Item = IpAddr> {
        let has_ipv6 = self.own.iter().filter(|own| own.address.is_ipv6()).count() > 1
            || self.subnets.iter().any(|subnet| subnet.address().is_ipv6());
        let link_local = IpAddr::from(self.link_local);
        self.own.iter().map(|own| own.address).filter(move |&address| has_ipv6 || address != link_local)
    }

    /// Whom an ARP question says that it is from: an own address in the target's subnet, else any, else nobody
    /// (a probe, RFC 5227 §2.1.1, which is answered all the same).
    pub(super) fn asking_address(&self, target: Ipv4Addr) -> Ipv4Addr {
        let own = || {
            self.own.iter().filter_map(|own| match own.address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
        };
        let subnet = self.subnets.iter().find(|subnet| subnet.contains(target.into()));
        let near = subnet.and_then(|subnet| own().find(|&address| subnet.contains(address.into())));
        near.or_else(|| own().next()).unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    fn defended(&self, address: IpAddr) -> Option<Instant> {
        self.own.iter().find(|own| own.address == address)?.defended
    }
}

/// Whether the router is advertised in the gateway's domain.
pub(super) fn advertises(gateway: &Gateway) -> bool {
    let has_prefix = gateway.subnets.iter().any(|&subnet| is_autonomous(subnet));
    match gateway.side {
        Side::Network(policy) => policy.advertise && has_prefix,
        Side::Uplink | Side::Overlay(_) => false,
    }
}

/// Whether stations make addresses of their own in it (RFC 4862 §5.5.3 and RFC 2464 §4: 64 bits are left for them).
pub(super) fn is_autonomous(subnet: Cidr) -> bool {
    subnet.address().is_ipv6() && subnet.prefix_len() == 64
}
