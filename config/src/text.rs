//! Values that configuration writes as strings: how serde reads and writes them.
//!
//! The rooms' types ([`Cidr`](wire::Cidr), [`Mac`](wire::Mac)) know how to parse and print themselves and nothing of
//! serde; the `with` modules here put the two together. A refused text is quoted in the error, with its own span.

use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A value read by [`FromStr`].
struct Text<T>(T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<T>(PhantomData<T>);
        impl<T: FromStr<Err: Display>> Visitor<'_> for TextVisitor<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<T>, E> {
                text.parse()
                    .map(Text)
                    .map_err(|error| E::custom(format_args!("{text:?} is not valid: {error}")))
            }
        }
        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

/// `#[serde(with = "text::one")]`: a value.
pub(crate) mod one {
    use super::*;
    use serde::Serializer;

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Text::deserialize(deserializer).map(|text| text.0)
    }
}

/// `#[serde(with = "text::option")]`: a value that may be absent.
pub(crate) mod option {
    use super::*;
    use serde::Serializer;

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Option::<Text<T>>::deserialize(deserializer).map(|text| text.map(|text| text.0))
    }
}

/// `#[serde(with = "text::list")]`: values in a list.
pub(crate) mod list {
    use super::*;
    use serde::Serializer;

    pub(crate) fn serialize<T: Display, S: Serializer>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| value.to_string()))
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Vec::<Text<T>>::deserialize(deserializer).map(|list| list.into_iter().map(|text| text.0).collect())
    }
}

/// `#[serde(with = "text::lists")]`: values in lists, by a key.
pub(crate) mod lists {
    use std::collections::BTreeMap;

    use super::*;
    use serde::Serializer;

    pub(crate) fn serialize<K: Display, T: Display, S: Serializer>(
        lists: &BTreeMap<K, Vec<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let texts = |values: &Vec<T>| values.iter().map(ToString::to_string).collect::<Vec<String>>();
        serializer.collect_map(lists.iter().map(|(key, values)| (key.to_string(), texts(values))))
    }

    pub(crate) fn deserialize<'de, K, T, D>(deserializer: D) -> Result<BTreeMap<K, Vec<T>>, D::Error>
    where
        K: FromStr<Err: Display> + Ord,
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let lists = BTreeMap::<String, Vec<Text<T>>>::deserialize(deserializer)?;
        let parsed = lists.into_iter().map(|(key, values)| {
            let parsed = key
                .parse()
                .map_err(|error| D::Error::custom(format_args!("{key:?} is not valid: {error}")))?;
            Ok((parsed, values.into_iter().map(|text| text.0).collect()))
        });
        parsed.collect()
    }
}
