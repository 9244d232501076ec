//! Arrays that are longer than serde's own (32 entries), as sequences of exactly their length: `#[serde(with = …)]`.

/// `[T; N]`.
pub mod plain {
    use alloc::vec::Vec;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// All entries, in order.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<T: Serialize, S: Serializer, const N: usize>(
        array: &[T; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        array.as_slice().serialize(serializer)
    }

    /// Exactly so many entries.
    ///
    /// # Errors
    /// They are fewer or more, or the deserializer's.
    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[T; N], D::Error> {
        let entries: Vec<T> = Deserialize::deserialize(deserializer)?;
        entries.try_into().map_err(|_| D::Error::custom("an array of another length"))
    }
}

/// `Box<[T; N]>`.
pub mod boxed {
    use alloc::boxed::Box;
    use alloc::vec::Vec;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// All entries, in order.
    ///
    /// # Errors
    /// The serializer's.
    #[expect(clippy::borrowed_box, reason = "serde gives the field as it is")]
    pub fn serialize<T: Serialize, S: Serializer, const N: usize>(
        array: &Box<[T; N]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        array.as_slice().serialize(serializer)
    }

    /// Exactly so many entries.
    ///
    /// # Errors
    /// They are fewer or more, or the deserializer's.
    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<Box<[T; N]>, D::Error> {
        let entries: Vec<T> = Deserialize::deserialize(deserializer)?;
        entries.try_into().map_err(|_| D::Error::custom("an array of another length"))
    }
}
