//! A port's addresses: given in the configuration, or "auto", the next free ones of its network.
//!
//! "auto" is settled once, when a configuration is read or a port added: from then on the address stands in the
//! [`crate::Config`] like a given one, so that later changes move nobody. Ports are served in the order in which the
//! file has them, each with the lowest host address of each subnet of its network that is neither a gateway's nor
//! another port's. Nothing is kept across runs beyond the file: who needs an address to last writes it down, or
//! keeps what `to_toml` wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::de::{
    Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor, value::SeqAccessDeserializer,
};
use serde::ser::{Serialize, Serializer};
use wire::Cidr;

use crate::spec::Document;
use crate::text;

/// The addresses of the station behind a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// To be chosen; never in a [`crate::Config`].
    Auto,
    /// These, each with its network's prefix length.
    Given(Vec<Cidr>),
}

impl Addresses {
    /// The addresses as far as they are known.
    pub fn given(&self) -> &[Cidr] {
        match self {
            Self::Auto => &[],
            Self::Given(list) => list,
        }
    }

    /// Whether there is none and none is to be chosen.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Auto => false,
            Self::Given(list) => list.is_empty(),
        }
    }
}

impl Default for Addresses {
    fn default() -> Self {
        Self::Given(Vec::new())
    }
}

impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Given(list) => text::list::serialize(list, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AddressesVisitor;
        impl<'de> Visitor<'de> for AddressesVisitor {
            type Value = Addresses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#""auto" or a list like ["172.16.0.2/16"]"#)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Addresses, E> {
                match text {
                    "auto" => Ok(Addresses::Auto),
                    other => Err(E::invalid_value(Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Addresses, A::Error> {
                text::list::deserialize(SeqAccessDeserializer::new(list)).map(Addresses::Given)
            }
        }
        deserializer.deserialize_any(AddressesVisitor)
    }
}

/// Gives every port with "auto" its addresses, in the order of `ports`. Where there are none to give (no network, no
/// subnet, all taken), "auto" stays, and the check says so.
pub(crate) fn settle(document: &mut Document, ports: &[String]) {
    let mut taken = taken(document);
    let mut reached = BTreeMap::new();
    for name in ports {
        let Some(port) = document.port.get_mut(name).filter(|port| port.address == Addresses::Auto) else {
            continue;
        };
        let Some(name) = &port.network else { continue };
        let Some(network) = document.network.get(name) else { continue };
        let taken = taken.entry(name.clone()).or_default();
        let mut choose =
            |subnet: &Cidr| free(*subnet, taken, reached.entry((name.clone(), *subnet)).or_default());
        let chosen: Option<Vec<Cidr>> = network.subnet.iter().map(&mut choose).collect();
        if let Some(chosen) = chosen.filter(|chosen| !chosen.is_empty()) {
            taken.extend(chosen.iter().map(|cidr| cidr.address()));
            port.address = Addresses::Given(chosen);
        }
    }
}

/// By network, the addresses that are not free.
fn taken(document: &Document) -> BTreeMap<String, BTreeSet<IpAddr>> {
    let mut taken: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    for (name, network) in &document.network {
        taken.entry(name.clone()).or_default().extend(&network.gateway);
    }
    for port in document.port.values() {
        if let Some(name) = &port.network {
            let given = port.address.given().iter().map(|cidr| cidr.address());
            taken.entry(name.clone()).or_default().extend(given);
        }
    }
    taken
}

/// The lowest free host address of `subnet`. Below the address number `reached` all are taken, as was found before.
fn free(subnet: Cidr, taken: &BTreeSet<IpAddr>, reached: &mut u128) -> Option<Cidr> {
    loop {
        let address = subnet.nth(*reached)?;
        if subnet.contains_host(address) && !taken.contains(&address) {
            return Cidr::new(address, subnet.prefix_len());
        }
        *reached += 1;
    }
}
