//! A port's addresses: given in the configuration, or "auto", the next free ones of its network.
//!
//! "auto" is settled once, when a configuration is read or a port added ([`crate::leases`]): from then on the address
//! stands in the [`crate::Config`] like a given one, so that later changes move nobody.

use std::fmt;

use serde::de::{
    Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor, value::SeqAccessDeserializer,
};
use serde::ser::{Serialize, Serializer};
use wire::Cidr;

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
