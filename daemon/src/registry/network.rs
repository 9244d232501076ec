//! The network's configuration: the JSON document at `PREFIX/config`, checked as flanneld checks it.
//!
//! ```text
//!  {"Network": "10.5.0.0/16", "SubnetLen": 24, "SubnetMin": "10.5.1.0", "SubnetMax": "10.5.255.0",
//!   "EnableIPv6": true, "IPv6Network": "fd00::/48", "Backend": {"Type": "vxlan", "VNI": 1, "Port": 8472}}
//! ```
//!
//! Read once at the start: a change of the document takes a restart of every host (as with flanneld). A document without
//! `Backend` means `udp`, which is what flanneld's code does and not what its documentation says. Refuses what flanneld
//! refuses, and besides a `SubnetMin` behind `SubnetMax`, an MTU, L4 port or VNI that cannot be, and the backends that
//! we do not have, each by name.
//!
//! Source: flannel pkg/subnet/config.go, pkg/backend/vxlan/vxlan.go, pkg/backend/udp/udp_amd64.go.

use std::fmt;
use std::net::IpAddr;

use serde_json::Value;
use wire::Cidr;

use super::json::Object;
use super::pool::Pool;

/// Where Linux's VXLAN devices listen unless told otherwise (linux drivers/net/vxlan/vxlan_core.c), and so flannel's.
pub const VXLAN_L4_PORT: u16 = 8472;
/// Where flannel's `udp` backend listens.
pub const UDP_L4_PORT: u16 = 8285;
/// The VNI unless told otherwise.
pub const VNI: u32 = 1;
/// The largest VNI there is (RFC 7348 §5).
pub const VNI_MAX: u32 = (1 << 24) - 1;

/// A network: the pools that hosts' subnets come from, and how packets get from host to host.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Of IPv4; `None` if `EnableIPv4` is false.
    pub v4: Option<Pool>,
    /// Of IPv6; `None` unless `EnableIPv6`.
    pub v6: Option<Pool>,
    /// `EnableNFTables`: only told, for our own table is nftables' in either case.
    pub nftables: bool,
    /// How packets get from host to host.
    pub backend: Backend,
}

/// How packets get from host to host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Bare IP packets in UDP.
    Udp {
        /// Where every host listens and from where it sends.
        l4_port: u16,
    },
    /// VXLAN with a MAC address for each host.
    Vxlan(Vxlan),
    /// Routes through the hosts' own network.
    HostGw,
    /// Subnets only.
    Alloc,
}

/// The keys of backend `vxlan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// The network's identifier.
    pub vni: u32,
    /// Where every host listens.
    pub l4_port: u16,
    /// The underlay's MTU, if not that of the external interface.
    pub mtu: Option<u16>,
    /// Peers on the same L2 network are reached by plain routes.
    pub direct_routing: bool,
}

/// A document that is refused: the key, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The key, as documented.
    pub key: &'static str,
    /// What is wrong with it.
    pub why: String,
    /// Whether it is a key of `Backend`: flanneld ends with those, and asks again after others.
    pub is_backends: bool,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network configuration, {}: {}", self.key, self.why)
    }
}

impl std::error::Error for Invalid {}

fn invalid(key: &'static str, why: impl Into<String>) -> Invalid {
    Invalid { key, why: why.into(), is_backends: false }
}

impl Backend {
    /// Its name in leases; flanneld writes none for `udp` and `alloc`.
    pub const fn lease_type(self) -> Option<&'static str> {
        match self {
            Self::Udp { .. } | Self::Alloc => None,
            Self::Vxlan(_) => Some("vxlan"),
            Self::HostGw => Some("host-gw"),
        }
    }

    /// Its name in the document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp { .. } => "udp",
            Self::Vxlan(_) => "vxlan",
            Self::HostGw => "host-gw",
            Self::Alloc => "alloc",
        }
    }
}

impl Network {
    /// The network that a document describes.
    ///
    /// # Errors
    /// The first key that is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, Invalid> {
        let document = Object::parse(text).ok_or_else(|| invalid("document", "is not a JSON object"))?;
        let v4 = boolean(&document, "EnableIPv4", true)?.then(|| pool(&document, &V4)).transpose()?;
        let v6 = boolean(&document, "EnableIPv6", false)?.then(|| pool(&document, &V6)).transpose()?;
        if v4.is_none() {
            // The key of a subnet begins with its IPv4 prefix, so there is none to write (flannel's registry).
            return Err(invalid("EnableIPv4", "is false, and keys of subnets in etcd need an IPv4 prefix"));
        }
        let nftables = boolean(&document, "EnableNFTables", false)?;
        let backend = backend(&document).map_err(|invalid| Invalid { is_backends: true, ..invalid })?;
        Ok(Self { v4, v6, nftables, backend })
    }

    /// The pool of the family of `prefix`.
    pub fn pool_for(&self, prefix: Cidr) -> Option<&Pool> {
        if prefix.address().is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }
    }
}

/// What is called and limited differently in the two families.
struct Family {
    network: &'static str,
    min: &'static str,
    max: &'static str,
    len: &'static str,
    is_v4: bool,
    /// Longest prefix of a subnet.
    len_max: u8,
    /// Longest prefix of a network without `SubnetLen`.
    network_len_max: u8,
    /// Length of a subnet's prefix without `SubnetLen`, in networks that have room for it.
    len_usual: u8,
}

const V4: Family = Family {
    network: "Network",
    min: "SubnetMin",
    max: "SubnetMax",
    len: "SubnetLen",
    is_v4: true,
    len_max: 30,
    network_len_max: 28,
    len_usual: 24,
};

const V6: Family = Family {
    network: "IPv6Network",
    min: "IPv6SubnetMin",
    max: "IPv6SubnetMax",
    len: "IPv6SubnetLen",
    is_v4: false,
    len_max: 126,
    network_len_max: 124,
    len_usual: 64,
};

fn pool(document: &Object, family: &Family) -> Result<Pool, Invalid> {
    let network: Cidr = text(document, family.network)?
        .ok_or_else(|| invalid(family.network, "please define it: there is none"))?
        .parse()
        .map_err(|error| invalid(family.network, format!("{error}")))?;
    if network.address().is_ipv4() != family.is_v4 {
        return Err(invalid(family.network, format!("{network} is of the other address family")));
    }
    let network = network.network();
    let len = subnet_len(document, family, network)?;
    let pool = Pool::whole(network, len).expect("a subnet's prefix is two bits longer at least");
    let first = bound(document, family.min, &pool)?.unwrap_or_else(|| pool.first());
    let last = bound(document, family.max, &pool)?.unwrap_or_else(|| pool.last());
    pool.between(first, last)
        .ok_or_else(|| invalid(family.min, format!("{first} lies behind {} {last}", family.max)))
}

fn subnet_len(document: &Object, family: &Family, network: Cidr) -> Result<u8, Invalid> {
    let least = network.prefix_len() + 2;
    match number(document, family.len, 255)? {
        None | Some(0) if network.prefix_len() > family.network_len_max => Err(invalid(
            family.network,
            format!("{network} is too small: the longest useful prefix is /{}", family.network_len_max),
        )),
        None | Some(0) if network.prefix_len() + 2 <= family.len_usual => Ok(family.len_usual),
        None | Some(0) => Ok(least),
        Some(len) if len > u64::from(family.len_max) => {
            Err(invalid(family.len, format!("{len} must be less than /{}", family.len_max + 1)))
        }
        Some(len) => match u8::try_from(len) {
            Ok(len) if len >= least => Ok(len),
            Ok(_) | Err(_) => Err(invalid(
                family.len,
                format!("{len}: network {network} must be able to accommodate at least four subnets"),
            )),
        },
    }
}

/// A first or last subnet's address, which has to be one of the pool's.
fn bound(document: &Object, key: &'static str, pool: &Pool) -> Result<Option<IpAddr>, Invalid> {
    let Some(given) = text(document, key)? else { return Ok(None) };
    let address: IpAddr = given.parse().map_err(|_| invalid(key, format!("{given:?} is no IP address")))?;
    if !pool.network().contains(address) {
        return Err(invalid(key, format!("{address} is not in the range of {}", pool.network())));
    }
    if !Cidr::new(address, pool.subnet_len()).is_some_and(Cidr::is_network) {
        return Err(invalid(key, format!("{address} is not on a SubnetLen boundary")));
    }
    Ok(Some(address))
}

fn backend(document: &Object) -> Result<Backend, Invalid> {
    if !document.has("Backend") {
        return Ok(Backend::Udp { l4_port: UDP_L4_PORT });
    }
    let keys = document.get("Backend").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let keys = Object::of(keys).ok_or_else(|| invalid("Backend", "is not an object"))?;
    let kind = text(&keys, "Type")?.unwrap_or_default().to_ascii_lowercase();
    let l4_port = |usual| {
        Ok(u16::try_from(number(&keys, "Port", 65535)?.unwrap_or(0))
            .ok()
            .filter(|&port| port != 0)
            .unwrap_or(usual))
    };
    match kind.as_str() {
        "udp" => Ok(Backend::Udp { l4_port: l4_port(UDP_L4_PORT)? }),
        "vxlan" => vxlan(&keys, l4_port(VXLAN_L4_PORT)?).map(Backend::Vxlan),
        "host-gw" => Ok(Backend::HostGw),
        "alloc" => Ok(Backend::Alloc),
        "ipip" | "ipsec" | "wireguard" | "extension" | "tencent-vpc" => Err(invalid(
            "Backend.Type",
            format!(
                "{kind:?} is a backend of flanneld that Tapestry does not have; it has vxlan, udp, host-gw and alloc"
            ),
        )),
        _ => Err(invalid("Backend.Type", format!("unknown backend type {kind:?}"))),
    }
}

fn vxlan(keys: &Object, l4_port: u16) -> Result<Vxlan, Invalid> {
    let vni =
        number(keys, "VNI", u64::from(VNI_MAX))?.map_or(Ok(VNI), u32::try_from).expect("it is below VNI_MAX");
    if boolean(keys, "GBP", false)? {
        return Err(invalid("Backend.GBP", "the group policy extension is not supported; leave it out"));
    }
    if boolean(keys, "Learning", false)? {
        return Err(invalid("Backend.Learning", "stations come from leases here; leave it out"));
    }
    let mtu = number(keys, "MTU", 65535)?.filter(|&mtu| mtu != 0);
    if let Some(mtu) = mtu.filter(|&mtu| mtu < 1280 + 70) {
        return Err(invalid("Backend.MTU", format!("{mtu} leaves no room for packets of 1280 octets")));
    }
    let mtu = mtu.map(|mtu| u16::try_from(mtu).expect("it is at most 65535"));
    Ok(Vxlan { vni, l4_port, mtu, direct_routing: boolean(keys, "DirectRouting", false)? })
}

fn text<'a>(object: &'a Object, key: &'static str) -> Result<Option<&'a str>, Invalid> {
    match object.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(invalid(key, format!("{other} is no string"))),
    }
}

fn boolean(object: &Object, key: &'static str, otherwise: bool) -> Result<bool, Invalid> {
    match object.get(key) {
        None => Ok(otherwise),
        Some(Value::Bool(value)) => Ok(*value),
        Some(other) => Err(invalid(key, format!("{other} is neither true nor false"))),
    }
}

fn number(object: &Object, key: &'static str, max: u64) -> Result<Option<u64>, Invalid> {
    let Some(value) = object.get(key) else { return Ok(None) };
    match value.as_u64() {
        Some(number) if number <= max => Ok(Some(number)),
        Some(_) | None => Err(invalid(key, format!("{value} is no whole number from 0 to {max}"))),
    }
}

#[cfg(test)]
#[path = "network/tests.rs"]
mod tests;
