//! A lease as it stands in etcd: the key that says which subnet, the value that says whose and how it is reached.
//!
//! ```text
//!  PREFIX/subnets/10.5.52.0-24                         key of an IPv4 subnet
//!  PREFIX/subnets/10.5.52.0-24&fd00:a244:0:1::-64      the same with an IPv6 subnet beside it
//!  {"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:…"}}
//! ```
//!
//! What is written is flanneld's octet for octet: order of fields, `PublicIPv6` always, the rest only if there is something
//! to say. What is read is what flanneld reads, less what could not work or would do harm: a key with host bits set, a
//! peer at no address or a group's, a VTEP address that no station may have. Each refusal has a name ([`Broken`]).
//! Keys of IPv6 alone do not exist. Owns nothing; no clock.
//!
//! Source: flannel pkg/lease/lease.go, pkg/subnet/subnet.go (`ParseSubnetKey`), pkg/backend/vxlan/vxlan.go.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;
use wire::{Cidr, Mac, UnicastMac};

use super::json::Object;

/// Octets of a value that is read; etcd itself takes 1.5 MiB. A longer one is broken.
pub const VALUE_MAX: usize = 64 << 10;

/// The subnets of one lease, as its key names them. Their order is that of the IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subnets {
    /// Of IPv4, its host bits zero.
    pub v4: Cidr,
    /// Of IPv6, its host bits zero.
    pub v6: Option<Cidr>,
}

impl Subnets {
    /// Whether any address is in both.
    pub fn overlap(self, other: Self) -> bool {
        self.iter().any(|ours| other.iter().any(|theirs| ours.overlaps(theirs)))
    }

    /// One or two prefixes.
    pub fn iter(self) -> impl Iterator<Item = Cidr> {
        [Some(self.v4), self.v6].into_iter().flatten()
    }
}

impl fmt::Display for Subnets {
    /// As in a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&part_of_key(self.v4))?;
        self.v6.map_or(Ok(()), |v6| write!(f, "&{}", part_of_key(v6)))
    }
}

/// A subnet as it stands in a key.
pub fn part_of_key(subnet: Cidr) -> String {
    format!("{}-{}", subnet.address(), subnet.prefix_len())
}

impl FromStr for Subnets {
    type Err = Broken;

    fn from_str(key: &str) -> Result<Self, Broken> {
        let (v4, v6) = key.split_once('&').map_or((key, None), |(v4, v6)| (v4, Some(v6)));
        let v4 = prefix(v4, 31).filter(|prefix| prefix.address().is_ipv4()).ok_or(Broken::Key)?;
        let v6 = v6.map(|v6| prefix(v6, 127).filter(|prefix| prefix.address().is_ipv6()).ok_or(Broken::Key));
        let subnets = Self { v4, v6: v6.transpose()? };
        if subnets.iter().all(Cidr::is_network) { Ok(subnets) } else { Err(Broken::HostBits) }
    }
}

fn prefix(text: &str, len_max: u8) -> Option<Cidr> {
    let (address, len) = text.split_once('-')?;
    let is_number = !len.is_empty() && len.bytes().all(|digit| digit.is_ascii_digit());
    let len = is_number.then(|| len.parse().ok()).flatten().filter(|&len| len <= len_max)?;
    Cidr::new(address.parse().ok()?, len)
}

/// Whose a subnet is, and how its host is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    /// The host's IPv4 address, which is also its name; unspecified if it has none.
    pub public_ip: Ipv4Addr,
    /// The host's IPv6 address.
    pub public_ipv6: Option<Ipv6Addr>,
    /// The name of the backend, empty for `udp` and `alloc`.
    pub backend: String,
    /// What the backend adds for IPv4.
    pub data: Option<Vtep>,
    /// What the backend adds for IPv6.
    pub data_v6: Option<Vtep>,
}

/// What backend `vxlan` adds to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vtep {
    /// The network's identifier. flanneld does not compare it, and neither do we: the configuration's holds.
    pub vni: u32,
    /// The MAC address of the host's end of the tunnel.
    pub mac: UnicastMac,
}

/// Why something in the registry is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// The key does not name a subnet.
    Key,
    /// The key names an address within a subnet.
    HostBits,
    /// The value is longer than [`VALUE_MAX`], no JSON object, or has fields of another type.
    Value,
    /// The host has no address, or one that no host has.
    PublicIp,
    /// The host's end of the tunnel has no MAC address, or one that no station has.
    Vtep,
    /// The lease is for another backend.
    Backend,
    /// The subnet is not part of the network.
    Outside,
    /// The host's address or the MAC address of its end of the tunnel is our own, be it the one we are known by or the one
    /// we listen at.
    OurAddress,
    /// The subnet overlaps our own.
    OverlapsOurs,
    /// The subnet overlaps one that was leased before.
    Overlaps,
    /// Another host, whose lease is older, has the same MAC address at its end of the tunnel.
    SameVtep,
    /// The host has a newer lease, or one at all where this is a reservation.
    Superseded,
    /// The registry has more leases than we hold.
    TooMany,
}

impl Broken {
    /// Every reason, in order.
    pub const ALL: [Self; 13] = [
        Self::Key,
        Self::HostBits,
        Self::Value,
        Self::PublicIp,
        Self::Vtep,
        Self::Backend,
        Self::Outside,
        Self::OurAddress,
        Self::OverlapsOurs,
        Self::Overlaps,
        Self::SameVtep,
        Self::Superseded,
        Self::TooMany,
    ];

    /// Its name in lists and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "registry.key",
            Self::HostBits => "registry.host-bits",
            Self::Value => "registry.value",
            Self::PublicIp => "registry.public-ip",
            Self::Vtep => "registry.vtep",
            Self::Backend => "registry.backend",
            Self::Outside => "registry.outside",
            Self::OurAddress => "registry.our-address",
            Self::OverlapsOurs => "registry.overlaps-ours",
            Self::Overlaps => "registry.overlaps",
            Self::SameVtep => "registry.same-vtep",
            Self::Superseded => "registry.superseded",
            Self::TooMany => "registry.too-many",
        }
    }

    /// What it means, a sentence without its end.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Key => "the key names no subnet, as in 10.5.52.0-24",
            Self::HostBits => "the key names an address within a subnet",
            Self::Value => "the value is no lease",
            Self::PublicIp => "the lease's PublicIP is no host's address",
            Self::Vtep => "the lease's BackendData has no VtepMAC of a station",
            Self::Backend => "the lease is for another backend",
            Self::Outside => "the subnet lies outside of the network",
            Self::OurAddress => "the lease's PublicIP or VtepMAC is our own",
            Self::OverlapsOurs => "the subnet overlaps our own",
            Self::Overlaps => "the subnet overlaps one that was leased before",
            Self::SameVtep => "another host has the same VtepMAC",
            Self::Superseded => "the host has a newer lease, or this is a reservation that it has not taken",
            Self::TooMany => "there are more leases than are held",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.meaning())
    }
}

impl Holder {
    /// What a value says.
    ///
    /// # Errors
    /// [`Broken::Value`], [`Broken::PublicIp`] if an address is no text of one, [`Broken::Vtep`] if there is a VTEP and it
    /// cannot be. Whether an address can be reached is [`Holder::endpoint`]'s to say.
    pub fn parse(value: &[u8]) -> Result<Self, Broken> {
        if value.len() > VALUE_MAX {
            return Err(Broken::Value);
        }
        let object = Object::parse(value).ok_or(Broken::Value)?;
        let text = |key: &str| match object.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Broken::Value),
        };
        let public_ip = text("PublicIP")?.map(str::parse).transpose().map_err(|_| Broken::PublicIp)?;
        let public_ipv6 = text("PublicIPv6")?.map(str::parse).transpose().map_err(|_| Broken::PublicIp)?;
        let backend = text("BackendType")?.unwrap_or_default().to_owned();
        let is_vxlan = backend == "vxlan"; // Only its data means anything to us.
        let vtep = |key: &str| object.get(key).filter(|_| is_vxlan).map(Vtep::read).transpose();
        let (data, data_v6) = (vtep("BackendData")?, vtep("BackendV6Data")?);
        let public_ip = public_ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
        Ok(Self { public_ip, public_ipv6, backend, data, data_v6 })
    }

    /// The value, octet for octet as flanneld writes it.
    pub fn to_json(&self) -> String {
        let written = Written {
            public_ip: self.public_ip,
            public_ipv6: self.public_ipv6,
            backend: &self.backend,
            data: self.data.map(Vtep::written),
            data_v6: self.data_v6.map(Vtep::written),
        };
        serde_json::to_string(&written).expect("a lease has only string keys")
    }

    /// Where packets for a subnet of the family of `subnet` are sent; `None` if nobody can be there.
    pub fn endpoint(&self, subnet: Cidr) -> Option<IpAddr> {
        let endpoint = match subnet.address() {
            IpAddr::V4(_) => IpAddr::V4(self.public_ip),
            IpAddr::V6(_) => IpAddr::V6(self.public_ipv6?),
        };
        let is_broadcast = endpoint == IpAddr::V4(Ipv4Addr::BROADCAST);
        let is_a_hosts = !endpoint.is_unspecified()
            && !endpoint.is_multicast()
            && !endpoint.is_loopback()
            && !is_broadcast;
        is_a_hosts.then_some(endpoint)
    }

    /// The MAC address of the host's end of the tunnel for the family of `subnet`.
    pub fn vtep(&self, subnet: Cidr) -> Option<UnicastMac> {
        if subnet.address().is_ipv4() { self.data } else { self.data_v6 }.map(|vtep| vtep.mac)
    }

    /// Whether both are leases of the same host: its IPv4 address is its name (flannel's `findLeaseByIP`).
    pub fn is_same_host(&self, public_ip: Ipv4Addr) -> bool {
        self.public_ip == public_ip && !public_ip.is_unspecified()
    }
}

impl Vtep {
    fn read(value: &Value) -> Result<Self, Broken> {
        let object = Object::of(value.clone()).ok_or(Broken::Vtep)?;
        let vni =
            object.get("VNI").map_or(Some(0), |vni| vni.as_u64()?.try_into().ok()).ok_or(Broken::Vtep)?;
        let mac = object.get("VtepMAC").and_then(Value::as_str).and_then(mac).ok_or(Broken::Vtep)?;
        Ok(Self { vni, mac: UnicastMac::new(mac).ok_or(Broken::Vtep)? })
    }

    fn written(self) -> WrittenVtep {
        WrittenVtep { vni: self.vni, mac: self.mac.mac().to_string() }
    }
}

/// The three spellings that Go's `net.ParseMAC` takes: with colons, with hyphens, and in three groups with dots.
fn mac(text: &str) -> Option<Mac> {
    if let [a, b, c] = text.split('.').collect::<Vec<_>>()[..] {
        let is_group = |group: &str| group.len() == 4 && group.bytes().all(|digit| digit.is_ascii_hexdigit());
        let digits = || u64::from_str_radix(&[a, b, c].concat(), 16).ok();
        return [a, b, c].into_iter().all(is_group).then(digits).flatten().map(Mac::from_bits);
    }
    text.replace('-', ":").parse().ok()
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "PublicIP")]
    public_ip: Ipv4Addr,
    #[serde(rename = "PublicIPv6")]
    public_ipv6: Option<Ipv6Addr>,
    #[serde(rename = "BackendType", skip_serializing_if = "str::is_empty")]
    backend: &'a str,
    #[serde(rename = "BackendData", skip_serializing_if = "Option::is_none")]
    data: Option<WrittenVtep>,
    #[serde(rename = "BackendV6Data", skip_serializing_if = "Option::is_none")]
    data_v6: Option<WrittenVtep>,
}

#[derive(Serialize)]
struct WrittenVtep {
    #[serde(rename = "VNI")]
    vni: u32,
    #[serde(rename = "VtepMAC")]
    mac: String,
}

/// Reads any octets as a lease, once as a key and once as a value, and holds what must be true of what was understood. For
/// the fuzzer and its seeded sibling.
///
/// # Panics
/// If what was written is not what was read.
pub fn fuzz(octets: &[u8]) {
    if let Some(subnets) = std::str::from_utf8(octets).ok().and_then(|text| text.parse::<Subnets>().ok()) {
        assert_eq!(subnets.to_string().parse(), Ok(subnets));
        assert!(subnets.iter().all(Cidr::is_network));
    }
    if let Ok(holder) = Holder::parse(octets) {
        assert_eq!(Holder::parse(holder.to_json().as_bytes()), Ok(holder.clone()));
        let everywhere =
            [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()].map(|any| Cidr::new(any, 0));
        for endpoint in everywhere.into_iter().flatten().filter_map(|subnet| holder.endpoint(subnet)) {
            assert!(!endpoint.is_multicast() && !endpoint.is_unspecified());
        }
    }
    drop(super::network::Network::parse(octets));
}

#[cfg(test)]
#[path = "lease/tests.rs"]
mod tests;
