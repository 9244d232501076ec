//! Fields of headers: 16-bit numbers in network order at a place the caller has checked.

/// The number at octet `at`. Panics past the end.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Writes the number at octet `at`. Panics past the end.
pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// A length or position within one packet as its 16-bit length field holds it. Panics beyond 65,535: the caller has
/// seen that field, or made sure of the bound.
pub(crate) fn octets(len: usize) -> u16 {
    u16::try_from(len).expect("part of a packet of at most 65,535 octets")
}
