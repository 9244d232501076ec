//! Addresses of one family, and what the tables' hash is keyed with.
//!
//! Each family has tables of its own, so an IPv4 session takes an IPv4 session's memory. Both ends of an IPv4 flow are
//! hashed as two words, those of an IPv6 flow as five.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Connections;
use super::table::Table;
use crate::hash::HashKey;
use crate::packet::Endpoint;
use crate::plan::Protocol;

/// An address of one family.
pub(crate) trait Address: Copy + Ord + fmt::Debug + Serialize + DeserializeOwned {
    const UNSPECIFIED: Self;

    /// `None` if it is of the other family.
    fn of(address: IpAddr) -> Option<Self>;

    fn ip(self) -> IpAddr;

    /// The sessions of the family.
    fn table(connections: &Connections) -> &Table<Self>;

    fn table_mut(connections: &mut Connections) -> &mut Table<Self>;

    /// The hash of two addresses and something else.
    fn hash(self, other: Self, rest: u64, key: HashKey) -> u64;
}

impl Address for Ipv4Addr {
    const UNSPECIFIED: Self = Self::UNSPECIFIED;

    #[inline]
    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    #[inline]
    fn ip(self) -> IpAddr {
        IpAddr::V4(self)
    }

    #[inline]
    fn table(connections: &Connections) -> &Table<Self> {
        &connections.v4
    }

    #[inline]
    fn table_mut(connections: &mut Connections) -> &mut Table<Self> {
        &mut connections.v4
    }

    #[inline]
    fn hash(self, other: Self, rest: u64, key: HashKey) -> u64 {
        key.hash([u64::from(self.to_bits()) << 32 | u64::from(other.to_bits()), rest])
    }
}

impl Address for Ipv6Addr {
    const UNSPECIFIED: Self = Self::UNSPECIFIED;

    #[inline]
    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        }
    }

    #[inline]
    fn ip(self) -> IpAddr {
        IpAddr::V6(self)
    }

    #[inline]
    fn table(connections: &Connections) -> &Table<Self> {
        &connections.v6
    }

    #[inline]
    fn table_mut(connections: &mut Connections) -> &mut Table<Self> {
        &mut connections.v6
    }

    #[inline]
    fn hash(self, other: Self, rest: u64, key: HashKey) -> u64 {
        let ((a, b), (c, d)) = (halves(self.to_bits()), halves(other.to_bits()));
        key.hash([a, b, c, d, rest])
    }
}

/// Both ends of a flow of one family, or an endpoint and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tuple<A> {
    pub(crate) src: A,
    pub(crate) dst: A,
    pub(crate) src_l4_port: u16,
    pub(crate) dst_l4_port: u16,
}

impl<A: Address> Tuple<A> {
    pub(super) const VACANT: Self =
        Self { src: A::UNSPECIFIED, dst: A::UNSPECIFIED, src_l4_port: 0, dst_l4_port: 0 };

    /// `None` unless both ends are of this family.
    #[inline]
    pub(super) fn of(src: Endpoint, dst: Endpoint) -> Option<Self> {
        Some(Self {
            src: A::of(src.address)?,
            dst: A::of(dst.address)?,
            src_l4_port: src.l4_port,
            dst_l4_port: dst.l4_port,
        })
    }

    #[inline]
    pub(super) fn src(&self) -> Endpoint {
        Endpoint { address: self.src.ip(), l4_port: self.src_l4_port }
    }

    #[inline]
    pub(super) fn dst(&self) -> Endpoint {
        Endpoint { address: self.dst.ip(), l4_port: self.dst_l4_port }
    }

    pub(super) const fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, src_l4_port: self.dst_l4_port, dst_l4_port: self.src_l4_port }
    }
}

/// The hash of a protocol's tuple.
#[inline]
pub(super) fn hash<A: Address>(key: HashKey, protocol: Protocol, tuple: &Tuple<A>) -> u32 {
    let l4_ports = u64::from(tuple.src_l4_port) << 24 | u64::from(tuple.dst_l4_port) << 8;
    (tuple.src.hash(tuple.dst, l4_ports | protocol as u64, key) >> 32) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
const fn halves(bits: u128) -> (u64, u64) {
    ((bits >> 64) as u64, bits as u64)
}
