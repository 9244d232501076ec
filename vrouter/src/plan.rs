//! What the router is to do: which addresses it owns where.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use wire::{DomainId, UnicastMac};

/// Addresses a gateway may own in one domain. More are refused when the plan is checked.
pub const GATEWAY_ADDRESSES_MAX: usize = 16;

/// All that a router obeys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RouterPlan {
    /// At most one a domain.
    pub gateways: Vec<Gateway>,
}

/// The router's presence in one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Where.
    pub domain: DomainId,
    /// The MAC address it answers with.
    pub mac: UnicastMac,
    /// The addresses it owns. For IPv6 it also answers at the link-local address that belongs to its MAC.
    pub addresses: Vec<IpAddr>,
}

impl RouterPlan {
    /// Looks for contradictions.
    ///
    /// # Errors
    /// The first one found, in the order of the plan.
    pub fn check(&self) -> Result<(), PlanError> {
        for (index, gateway) in self.gateways.iter().enumerate() {
            if self.gateways[..index].iter().any(|other| other.domain == gateway.domain) {
                return Err(PlanError::DomainTwice(gateway.domain));
            }
            if gateway.addresses.len() > GATEWAY_ADDRESSES_MAX {
                return Err(PlanError::TooManyAddresses(gateway.domain));
            }
            if let Some(&address) = gateway.addresses.iter().find(|&&address| !is_host(address)) {
                return Err(PlanError::NotAHostAddress(gateway.domain, address));
            }
        }
        Ok(())
    }
}

/// Whether a station on a network may have this address.
pub(crate) fn is_host(address: IpAddr) -> bool {
    let is_broadcast = match address {
        IpAddr::V4(address) => address.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    !is_broadcast && !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
}

/// Why a plan was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// Two gateways in one domain.
    DomainTwice(DomainId),
    /// More than [`GATEWAY_ADDRESSES_MAX`] addresses in one domain.
    TooManyAddresses(DomainId),
    /// The address is unspecified, loopback, multicast or broadcast.
    NotAHostAddress(DomainId, IpAddr),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::DomainTwice(domain) => write!(f, "network {} has two gateways; give it one", domain.0),
            Self::TooManyAddresses(domain) => write!(
                f,
                "the gateway of network {} has more than {GATEWAY_ADDRESSES_MAX} addresses; remove some",
                domain.0
            ),
            Self::NotAHostAddress(domain, address) => write!(
                f,
                "the gateway of network {} cannot own {address}: it is no single host's address",
                domain.0
            ),
        }
    }
}

impl core::error::Error for PlanError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use wire::Mac;

    fn gateway(domain: u16, addresses: Vec<IpAddr>) -> Gateway {
        let mac = UnicastMac::new(Mac([2, 0, 0, 0, 0, 1])).unwrap();
        Gateway { domain: DomainId(domain), mac, addresses }
    }

    fn check(gateways: Vec<Gateway>) -> Result<(), PlanError> {
        RouterPlan { gateways }.check()
    }

    #[test]
    fn contradictions_have_names() {
        let good: IpAddr = [172, 16, 0, 1].into();
        assert_eq!(check(vec![]), Ok(()));
        assert_eq!(check(vec![gateway(0, vec![good]), gateway(1, vec![good])]), Ok(()));
        assert_eq!(
            check(vec![gateway(3, vec![good]), gateway(3, vec![])]),
            Err(PlanError::DomainTwice(DomainId(3)))
        );
        assert_eq!(check(vec![gateway(0, vec![good; GATEWAY_ADDRESSES_MAX])]), Ok(()));
        assert_eq!(
            check(vec![gateway(0, vec![good; GATEWAY_ADDRESSES_MAX + 1])]),
            Err(PlanError::TooManyAddresses(DomainId(0)))
        );
        for bad in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "::", "ff02::1", "::1"] {
            let bad = bad.parse().unwrap();
            assert_eq!(
                check(vec![gateway(0, vec![good, bad])]),
                Err(PlanError::NotAHostAddress(DomainId(0), bad))
            );
        }
    }
}
