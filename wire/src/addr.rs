//! Addresses and identifiers. Each is its own type, so that a port can never be taken for a VLAN.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// A 48-bit MAC address in wire order (IEEE 802-2014 §8.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff, every station of a domain.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Group addresses (multicast and broadcast) have the lowest bit of the first octet set.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether every station of the domain is addressed.
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// 00:00:00:00:00:00, which no station may use.
    pub fn is_zero(self) -> bool {
        self.0 == [0; 6]
    }

    /// The address as the low 48 bits of an integer, first octet highest.
    pub const fn to_bits(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The inverse of [`Mac::to_bits`]; the upper 16 bits are ignored.
    pub const fn from_bits(bits: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = bits.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not six hexadecimal octets joined by colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAMac;

impl fmt::Display for NotAMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MAC address is six hexadecimal octets joined by colons, like 02:42:ac:10:00:02")
    }
}

impl core::error::Error for NotAMac {}

impl FromStr for Mac {
    type Err = NotAMac;

    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or(NotAMac)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(NotAMac);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| NotAMac)?;
        }
        if parts.next().is_some() { Err(NotAMac) } else { Ok(Self(octets)) }
    }
}

/// A MAC address a station may send from: neither a group address nor zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnicastMac(Mac);

impl UnicastMac {
    /// `None` for group addresses and zero.
    pub fn new(mac: Mac) -> Option<Self> {
        if mac.is_group() || mac.is_zero() { None } else { Some(Self(mac)) }
    }

    /// The address itself.
    pub const fn mac(self) -> Mac {
        self.0
    }
}

/// A switch port of one node. Ids are dense and may be reused once a port is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortId(pub u16);

impl PortId {
    /// The id as an index into per-port storage.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A broadcast domain (a network) of one node. Ids are dense and may be reused once a domain is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DomainId(pub u16);

impl DomainId {
    /// The id as an index into per-domain storage.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// An 802.1Q VLAN identifier that names a VLAN: 1 to 4094 (IEEE 802.1Q-2018 table 9-2 reserves 0 and 4095).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Vid(u16);

impl Vid {
    /// `None` outside 1 to 4094.
    pub const fn new(vid: u16) -> Option<Self> {
        if vid >= 1 && vid <= 4094 { Some(Self(vid)) } else { None }
    }

    /// The identifier as it stands in a tag.
    pub const fn number(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn mac_text_round_trips() {
        let mac: Mac = "02:42:ac:10:00:02".parse().unwrap();
        assert_eq!(mac, Mac([0x02, 0x42, 0xac, 0x10, 0, 2]));
        assert_eq!(mac.to_string(), "02:42:ac:10:00:02");
        assert_eq!(Mac::from_bits(mac.to_bits()), mac);
        for bad in ["", "02:42:ac:10:00", "02:42:ac:10:00:02:03", "2:42:ac:10:00:02", "+2:42:ac:10:00:02"] {
            assert_eq!(bad.parse::<Mac>(), Err(NotAMac), "{bad}");
        }
    }

    #[test]
    fn only_stations_are_unicast() {
        assert!(UnicastMac::new(Mac::BROADCAST).is_none());
        assert!(UnicastMac::new(Mac([1, 0, 0x5e, 0, 0, 1])).is_none());
        assert!(UnicastMac::new(Mac::default()).is_none());
        assert!(UnicastMac::new(Mac([2, 0, 0, 0, 0, 1])).is_some());
    }

    #[test]
    fn vlan_identifiers_exclude_the_reserved_ones() {
        assert!(Vid::new(0).is_none());
        assert!(Vid::new(4095).is_none());
        assert_eq!(Vid::new(4094).map(Vid::number), Some(4094));
    }
}
