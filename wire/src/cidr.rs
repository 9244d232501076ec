//! IP prefixes: an address and how many of its leading bits name the network, as in `172.16.0.2/16`.
//!
//! One type serves an interface's address (host bits set) and a network (host bits zero); who needs the latter asks
//! [`Cidr::is_network`] or takes [`Cidr::network`]. IPv4 and IPv6 never contain or overlap each other; an IPv4-mapped
//! IPv6 address is IPv6.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// An IP address with the length of its network prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cidr {
    address: IpAddr,
    prefix_len: u8,
}

impl Cidr {
    /// `None` if the prefix is longer than the address.
    pub const fn new(address: IpAddr, prefix_len: u8) -> Option<Self> {
        if prefix_len <= bits(address) { Some(Self { address, prefix_len }) } else { None }
    }

    /// The address as written, host bits included.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many leading bits name the network.
    pub const fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// The prefix with all host bits zero: `172.16.0.2/16` gives `172.16.0.0/16`.
    #[must_use]
    pub fn network(self) -> Self {
        Self { address: self.with_host_bits(0), ..self }
    }

    /// Whether all host bits are zero, so that this names a network and no station of it.
    pub fn is_network(self) -> bool {
        self == self.network()
    }

    /// Whether `address` lies in the network.
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && Self { address, ..self }.with_host_bits(0) == self.with_host_bits(0)
    }

    /// Whether the two networks share an address. Prefixes are nested or disjoint, so the wider
    /// one contains any address of the other.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Whether a station of the network may have `address`: it lies in the network and is not one of the two that
    /// IPv4 reserves, the network's own and broadcast (RFC 919; a /31 has neither, RFC 3021), or the
    /// subnet-router anycast address of IPv6 (RFC 4291 §2.6.1; a /127 has none, RFC 6164).
    pub fn contains_host(self, address: IpAddr) -> bool {
        self.contains(address)
            && (self.host_bits() <= 1
                || address != self.with_host_bits(0) && self.broadcast().is_none_or(|last| address != last))
    }

    /// The directed broadcast address; `None` for IPv6, a /31 (RFC 3021) and a /32.
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        match self.with_host_bits(u128::MAX) {
            IpAddr::V4(last) if self.prefix_len < 31 => Some(last),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }

    /// The network's first and last address.
    pub fn range(self) -> (IpAddr, IpAddr) {
        (self.with_host_bits(0), self.with_host_bits(u128::MAX))
    }

    /// The first and the last address that [`Cidr::contains_host`].
    pub fn host_range(self) -> (IpAddr, IpAddr) {
        let (first, last) = self.range();
        let is_reserved = |address| !self.contains_host(address);
        (
            if is_reserved(first) { self.with_host_bits(1) } else { first },
            if is_reserved(last) { self.with_host_bits(u128::MAX - 1) } else { last },
        )
    }

    /// The address number `index` of the network, counted from its own address; `None` past its end.
    pub fn nth(self, index: u128) -> Option<IpAddr> {
        if index & !self.host_mask() == 0 { Some(self.with_host_bits(index)) } else { None }
    }

    fn host_bits(self) -> u32 {
        u32::from(bits(self.address) - self.prefix_len)
    }

    /// Ones where the address names the host, in the low bits.
    fn host_mask(self) -> u128 {
        1_u128.checked_shl(self.host_bits()).map_or(u128::MAX, |bit| bit - 1)
    }

    fn with_host_bits(self, host: u128) -> IpAddr {
        let mask = self.host_mask();
        match self.address {
            IpAddr::V4(address) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the mask of an IPv4 prefix has at most 32 bits"
                )]
                let (mask, host) = (mask as u32, (host & mask) as u32);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !mask | host))
            }
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !mask | host & mask)),
        }
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not an address, a slash and a prefix length that fits the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACidr;

impl fmt::Display for NotACidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a prefix is an IP address, a slash and a length, like 172.16.0.2/16 or fd00::2/64")
    }
}

impl core::error::Error for NotACidr {}

impl FromStr for Cidr {
    type Err = NotACidr;

    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let (address, prefix_len) = text.split_once('/').ok_or(NotACidr)?;
        if prefix_len.is_empty() || !prefix_len.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(NotACidr); // `u8::from_str` would take a sign.
        }
        let address = address.parse().map_err(|_| NotACidr)?;
        let prefix_len = prefix_len.parse().map_err(|_| NotACidr)?;
        Self::new(address, prefix_len).ok_or(NotACidr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn text_round_trips() {
        for text in ["172.16.0.2/16", "0.0.0.0/0", "10.1.2.3/32", "fd00::2/64", "::/0", "::1/128"] {
            assert_eq!(cidr(text).to_string(), text);
        }
        for bad in
            ["", "/", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0.1/+8", "::1/129", "10.0.0/8", "::1/8/8"]
        {
            assert_eq!(bad.parse::<Cidr>(), Err(NotACidr), "{bad}");
        }
    }

    #[test]
    fn a_network_is_what_remains_without_host_bits() {
        assert_eq!(cidr("172.16.3.2/16").network(), cidr("172.16.0.0/16"));
        assert_eq!(cidr("fd00:1:2:3::9/64").network(), cidr("fd00:1:2:3::/64"));
        assert_eq!(cidr("1.2.3.4/0").network(), cidr("0.0.0.0/0"));
        assert!(cidr("1.2.3.4/32").is_network());
        assert!(cidr("0.0.0.0/0").is_network());
        assert!(!cidr("172.16.0.2/16").is_network());
    }

    #[test]
    fn contains_its_own_family_and_prefix() {
        assert!(cidr("172.16.0.2/16").contains(ip("172.16.255.255")));
        assert!(!cidr("172.16.0.2/16").contains(ip("172.17.0.0")));
        assert!(cidr("0.0.0.0/0").contains(ip("255.255.255.255")));
        assert!(!cidr("::/0").contains(ip("1.2.3.4")));
        assert!(!cidr("0.0.0.0/0").contains(ip("::1")));
    }

    #[test]
    fn prefixes_overlap_when_nested() {
        for (a, b, expected) in [
            ("10.0.0.0/8", "10.9.0.0/16", true),
            ("10.0.0.0/8", "10.0.0.0/8", true),
            ("10.0.0.1/16", "10.0.0.2/16", true),
            ("10.0.0.0/16", "10.1.0.0/16", false),
            ("0.0.0.0/0", "10.1.0.0/16", true),
            ("::/0", "10.1.0.0/16", false),
            ("10.1.2.3/8", "10.9.0.0/16", true),
        ] {
            assert_eq!(cidr(a).overlaps(cidr(b)), expected, "{a} {b}");
            assert_eq!(cidr(b).overlaps(cidr(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn reserved_addresses_are_no_hosts() {
        let net = cidr("192.168.1.0/24");
        assert_eq!(net.broadcast(), Some(Ipv4Addr::new(192, 168, 1, 255)));
        for (text, expected) in [("192.168.1.0", false), ("192.168.1.1", true), ("192.168.1.255", false)] {
            assert_eq!(net.contains_host(ip(text)), expected, "{text}");
        }
        assert!(cidr("10.0.0.0/31").contains_host(ip("10.0.0.0")));
        assert!(cidr("10.0.0.7/32").contains_host(ip("10.0.0.7")));
        assert!(!cidr("fd00::/64").contains_host(ip("fd00::")));
        assert!(cidr("fd00::/64").contains_host(ip("fd00::ffff:ffff:ffff:ffff")));
        assert!(!net.contains_host(ip("192.168.2.1")));
    }

    #[test]
    fn addresses_are_counted_from_the_networks_own() {
        assert_eq!(cidr("172.16.0.9/16").nth(2), Some(ip("172.16.0.2")));
        assert_eq!(cidr("172.16.0.0/16").nth(65_535), Some(ip("172.16.255.255")));
        assert_eq!(cidr("172.16.0.0/16").nth(65_536), None);
        assert_eq!(cidr("::/0").nth(u128::MAX), Some(ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")));
        assert_eq!(cidr("0.0.0.0/0").nth(1 << 32), None);
        assert_eq!(cidr("10.0.0.7/32").nth(1), None);
    }
}
