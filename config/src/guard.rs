//! How `guard` is written: a list of guards, or "all".

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{
    Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor, value::SeqAccessDeserializer,
};

use crate::spec::Guard;

impl Guard {
    /// Every guard there is.
    pub const ALL: [Self; 5] = [Self::Mac, Self::Arp, Self::Nd, Self::Ra, Self::Dhcp];
}

/// `#[serde(deserialize_with = …)]` for [`crate::PortSpec::guard`].
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Guard>, D::Error> {
    struct GuardsVisitor;
    impl<'de> Visitor<'de> for GuardsVisitor {
        type Value = BTreeSet<Guard>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(r#""all" or a list of "mac", "arp", "nd", "ra", "dhcp""#)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            match text {
                "all" => Ok(BTreeSet::from(Guard::ALL)),
                other => Err(E::invalid_value(Unexpected::Str(other), &self)),
            }
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            BTreeSet::deserialize(SeqAccessDeserializer::new(list))
        }
    }
    deserializer.deserialize_any(GuardsVisitor)
}
