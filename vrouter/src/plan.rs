//! What the router is to do: which addresses it owns where.

use alloc::vec::Vec;
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

/// Why a plan was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// Two gateways in one domain.
    DomainTwice(DomainId),
    /// More than [`GATEWAY_ADDRESSES_MAX`] addresses in one domain.
    TooManyAddresses(DomainId),
    /// The address is unspecified, multicast or broadcast.
    NotAHostAddress(DomainId, IpAddr),
}
