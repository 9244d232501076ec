//! Who is meant, as text: an address or prefix, a port's station, a network, the uplink.
//!
//! ```text
//!  reserved, acl   172.16.0.9   172.16.8.0/24   fd00::/96
//!  acl             any   uplink   network:a   port:c1
//!  one_to_one      c1   172.16.0.9
//! ```
//!
//! Names are only read here; whether they exist is checked with the whole document.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use wire::Cidr;

/// An address, or a prefix of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix(pub Cidr);

impl Prefix {
    /// A single address.
    pub fn of(address: IpAddr) -> Self {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Self(Cidr::new(address, bits).expect("an address has as many bits"))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.0.address();
        if *self == Self::of(address) { address.fmt(f) } else { self.0.fmt(f) }
    }
}

impl FromStr for Prefix {
    type Err = NotAnEnd;

    fn from_str(text: &str) -> Result<Self, NotAnEnd> {
        let prefix =
            if text.contains('/') { text.parse().ok().map(Self) } else { text.parse().ok().map(Self::of) };
        prefix.ok_or(NotAnEnd::Prefix)
    }
}

/// One end of a connection in a rule.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum AclEnd {
    /// `any`: whoever.
    #[default]
    Anyone,
    /// `uplink`: whoever is reached through it.
    Uplink,
    /// `network:NAME`: whoever is in it.
    Network(String),
    /// `port:NAME`: the station behind it, by its addresses.
    Port(String),
    /// Whoever has the address or one of the prefix.
    Prefix(Prefix),
}

impl fmt::Display for AclEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("any"),
            Self::Uplink => f.write_str("uplink"),
            Self::Network(name) => write!(f, "network:{name}"),
            Self::Port(name) => write!(f, "port:{name}"),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

impl FromStr for AclEnd {
    type Err = NotAnEnd;

    fn from_str(text: &str) -> Result<Self, NotAnEnd> {
        match text.split_once(':') {
            Some(("network", name)) => Ok(Self::Network(name.to_owned())),
            Some(("port", name)) => Ok(Self::Port(name.to_owned())),
            Some(_) | None => match text {
                "any" => Ok(Self::Anyone),
                "uplink" => Ok(Self::Uplink),
                other => other.parse().map(Self::Prefix).map_err(|_| NotAnEnd::AclEnd),
            },
        }
    }
}

/// The station of a one-to-one translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inside {
    /// The one behind a port.
    Port(String),
    /// The one with an address.
    Address(IpAddr),
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl FromStr for Inside {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::Port(text.to_owned()), Self::Address))
    }
}

/// Why a text names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnEnd {
    /// No address and no prefix.
    Prefix,
    /// No end of a connection.
    AclEnd,
}

impl fmt::Display for NotAnEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefix => "write an address like 172.16.0.9 or a prefix like 172.16.8.0/24",
            Self::AclEnd => {
                "an end is any, uplink, network:NAME, port:NAME, an address or a prefix like 172.16.8.0/24"
            }
        })
    }
}

impl std::error::Error for NotAnEnd {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        for text in
            ["any", "uplink", "network:a", "port:c1", "172.16.0.9", "172.16.8.0/24", "fd00::/96", "fd00::9"]
        {
            assert_eq!(text.parse::<AclEnd>().unwrap().to_string(), text);
        }
        for text in ["c1", "172.16.0.9", "fd00::9"] {
            assert_eq!(text.parse::<Inside>().unwrap().to_string(), text);
        }
        assert_eq!("172.16.0.9/32".parse::<Prefix>().unwrap().to_string(), "172.16.0.9");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "anyone", "host:a", "172.16.0.300", "172.16.0.0/33", "172.16.0.0-172.16.0.9"] {
            assert_eq!(text.parse::<AclEnd>(), Err(NotAnEnd::AclEnd), "{text}");
        }
        assert_eq!("any".parse::<Prefix>(), Err(NotAnEnd::Prefix));
    }
}
