//! Published L4 ports as text: `0.0.0.0:8080`, `[::]:53`, `192.0.2.1:10000-10999`, `c1:80`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A run of L4 ports, both ends included, none of them 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct L4Ports {
    first: u16,
    last: u16,
}

impl L4Ports {
    /// `None` if `first` is 0 or greater than `last`.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first != 0 && first <= last { Some(Self { first, last }) } else { None }
    }

    /// The lowest.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many, at least one.
    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    /// Whether the two share one.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for L4Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for L4Ports {
    type Err = NotPublishable;

    fn from_str(text: &str) -> Result<Self, NotPublishable> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(number(first)?, number(last)?).ok_or(NotPublishable::L4Ports)
    }
}

/// A decimal without sign, which `u16::from_str` would take.
fn number(text: &str) -> Result<u16, NotPublishable> {
    if text.bytes().all(|digit| digit.is_ascii_digit()) {
        text.parse().map_err(|_| NotPublishable::L4Ports)
    } else {
        Err(NotPublishable::L4Ports)
    }
}

/// Where connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// At this address of the router; unspecified: at each of the family.
    pub address: IpAddr,
    /// At these L4 ports.
    pub l4_ports: L4Ports,
}

impl Listen {
    /// Whether some connection could belong to both.
    pub fn overlaps(self, other: Self) -> bool {
        let meet = self.address == other.address
            || self.address.is_ipv4() == other.address.is_ipv4()
                && (self.address.is_unspecified() || other.address.is_unspecified());
        meet && self.l4_ports.overlaps(other.l4_ports)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}:{}", self.l4_ports),
            IpAddr::V6(address) => write!(f, "[{address}]:{}", self.l4_ports),
        }
    }
}

impl FromStr for Listen {
    type Err = NotPublishable;

    fn from_str(text: &str) -> Result<Self, NotPublishable> {
        let (address, l4_ports) = text.rsplit_once(':').ok_or(NotPublishable::Listen)?;
        let address = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => IpAddr::V6(v6.parse().map_err(|_| NotPublishable::Listen)?),
            None => IpAddr::V4(address.parse().map_err(|_| NotPublishable::Listen)?),
        };
        Ok(Self { address, l4_ports: l4_ports.parse()? })
    }
}

/// Whom connections are passed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The switch port whose station it is.
    pub port: String,
    /// That station's L4 ports, as many as are listened at.
    pub l4_ports: L4Ports,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.port, self.l4_ports)
    }
}

impl FromStr for Target {
    type Err = NotPublishable;

    fn from_str(text: &str) -> Result<Self, NotPublishable> {
        let (port, l4_ports) = text.rsplit_once(':').ok_or(NotPublishable::Target)?;
        Ok(Self { port: port.to_owned(), l4_ports: l4_ports.parse()? })
    }
}

/// Why a text is no place to publish at or to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPublishable {
    /// No run of L4 ports.
    L4Ports,
    /// No address and L4 ports.
    Listen,
    /// No port name and L4 ports.
    Target,
}

impl fmt::Display for NotPublishable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L4Ports => "L4 ports are a number from 1 to 65535 or a run like 10000-10999",
            Self::Listen => {
                "an address and L4 ports are written like 0.0.0.0:8080, [::]:53 or 192.0.2.1:10000-10999"
            }
            Self::Target => "a port and L4 ports are written like c1:80 or c1:10000-10999",
        })
    }
}

impl std::error::Error for NotPublishable {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        for text in ["0.0.0.0:8080", "[::]:53", "192.0.2.1:10000-10999", "[fd00::1]:1-65535"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["c1:80", "a-b.c:1-2"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, why) in [
            ("", NotPublishable::Listen),
            ("8080", NotPublishable::Listen),
            ("::1:80", NotPublishable::Listen),
            ("localhost:80", NotPublishable::Listen),
            ("0.0.0.0:", NotPublishable::L4Ports),
            ("0.0.0.0:0", NotPublishable::L4Ports),
            ("0.0.0.0:+80", NotPublishable::L4Ports),
            ("0.0.0.0:65536", NotPublishable::L4Ports),
            ("0.0.0.0:9-8", NotPublishable::L4Ports),
            ("0.0.0.0:8-9-10", NotPublishable::L4Ports),
        ] {
            assert_eq!(text.parse::<Listen>(), Err(why), "{text}");
        }
        assert_eq!("c1".parse::<Target>(), Err(NotPublishable::Target));
    }

    #[test]
    fn overlap_needs_a_common_address_and_a_common_l4_port() {
        for (a, b, expected) in [
            ("0.0.0.0:80", "192.0.2.1:80", true),
            ("192.0.2.1:80", "192.0.2.2:80", false),
            ("0.0.0.0:80", "[::]:80", false),
            ("0.0.0.0:80-90", "0.0.0.0:90-99", true),
            ("0.0.0.0:80-89", "0.0.0.0:90-99", false),
        ] {
            let (a, b): (Listen, Listen) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(a.overlaps(b), expected, "{a} {b}");
            assert_eq!(b.overlaps(a), expected, "{b} {a}");
        }
    }
}
