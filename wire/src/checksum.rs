//! Internet checksums (RFC 1071): full, incremental (RFC 1624) and *partial* as virtio means it.
//!
//! Three things are called checksum; here each has its own name.
//! - A [`Sum`] is the ones' complement sum of 16-bit words, not complemented. Sums of pieces add up.
//! - The *checksum* in a finished header is the complement of a sum: [`Sum::checksum`].
//! - The field of a *partial* checksum (virtio's `NEEDS_CSUM`) holds the uncomplemented, folded sum of the
//!   pseudo-header, [`Sum::folded`]. Finishing it is summing from `csum_start`, field included, to the end of the
//!   packet, and writing the complement at `csum_start + csum_offset`.
//!
//! ```text
//!             pseudo-header sum is in the field ┐
//!  | L2 | L3 |                 L4 … | field | … payload |
//!            ^ csum_start           ^ + csum_offset     ^ end
//! ```
//!
//! A rewrite of a packet (NAT, TTL) is a [`Delta`]: what went and what came, summed once and applied to either form.
//! A finished checksum covers addresses and L4 ports; a partial field covers the addresses alone, since the L4 ports
//! are summed when it is finished. Mixing the two up is the classic corruption under offload.
//!
//! Zero has two forms in ones' complement, 0 and 0xffff. UDP keeps 0 for "no checksum", so a computed 0 is written
//! as 0xffff there (RFC 768).

use core::ops::Add;

/// A ones' complement sum of 16-bit words. Bytes are words as they lie in memory; swapping them commutes with
/// summing (RFC 1071 §2 B), so it happens once, at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Nothing summed yet.
    pub const ZERO: Self = Self(0);

    /// The sum of `bytes`; an odd last one is the upper half of a word (RFC 1071 §4.1). Of pieces that are added up,
    /// only the last may be odd.
    ///
    /// Four accumulators of 64 bits with end-around carry, which LLVM turns into vector code: 45 Gbyte/s on the
    /// AVX-512 machine it was measured on, built for plain x86-64 (one accumulator: 16; widening 32-bit words: 38;
    /// widening 16-bit words: 15). Copying while summing was no faster than summing the source, then copying it.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        let mut lanes = [0; 4];
        let (words, odd) = bytes.as_chunks::<8>();
        let (blocks, words) = words.as_chunks::<4>();
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block) {
                *lane = add_with_carry(*lane, u64::from_ne_bytes(*word));
            }
        }
        let mut sum = lanes.into_iter().fold(0, add_with_carry);
        for word in words {
            sum = add_with_carry(sum, u64::from_ne_bytes(*word));
        }
        let mut last = [0; 8];
        last[..odd.len()].copy_from_slice(odd);
        Self(add_with_carry(sum, u64::from_ne_bytes(last)))
    }

    /// The sum of one word given as a number.
    #[inline]
    pub const fn of_word(word: u16) -> Self {
        Self(word.to_be() as u64)
    }

    /// The sum of two words given as a number.
    const fn of_words(words: u32) -> Self {
        Self(words.to_be() as u64)
    }

    /// The sum of eight words given as a number.
    #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
    const fn of_eight(words: u128) -> Self {
        let words = words.to_be();
        Self(add_with_carry((words >> 64) as u64, words as u64))
    }

    /// The TCP or UDP pseudo-header over IPv4 (RFC 9293 §3.1, RFC 768); `l4_len` counts L4 header and payload.
    pub fn pseudo_v4(src: [u8; 4], dst: [u8; 4], protocol: u8, l4_len: u16) -> Self {
        Self::of(&src) + Self::of(&dst) + Self::of_word(u16::from(protocol)) + Self::of_word(l4_len)
    }

    /// The upper-layer pseudo-header over IPv6 (RFC 8200 §8.1).
    pub fn pseudo_v6(src: [u8; 16], dst: [u8; 16], next_header: u8, l4_len: u32) -> Self {
        Self::of(&src)
            + Self::of(&dst)
            + Self::of(&l4_len.to_be_bytes())
            + Self::of_word(u16::from(next_header))
    }

    /// The sum as one 16-bit number, as a partial checksum's field holds it.
    #[expect(clippy::cast_possible_truncation, reason = "folding leaves 16 bits")]
    #[inline]
    pub const fn folded(self) -> u16 {
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff); // At most 33 bits,
        let sum = (sum >> 16) + (sum & 0xffff); // 18 bits,
        let sum = (sum >> 16) + (sum & 0xffff); // 17 bits,
        let sum = (sum >> 16) + (sum & 0xffff); // 16 bits.
        u16::from_be(sum as u16)
    }

    /// The complement of the sum, as a finished header holds it.
    #[inline]
    pub const fn checksum(self) -> u16 {
        !self.folded()
    }

    /// Whether what was summed, finished checksum included, is intact (RFC 1071 §1, point 3).
    #[inline]
    pub const fn is_intact(self) -> bool {
        self.folded() == 0xffff
    }
}

impl Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(add_with_carry(self.0, other.0))
    }
}

/// The Internet checksum of `bytes` (RFC 1071).
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::of(bytes).checksum()
}

/// A computed UDP checksum as it is written: 0 would say that there is none (RFC 768).
pub const fn udp_written(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// Offset of the checksum field in a UDP header; who finishes a checksum knows UDP by it.
pub const UDP_CHECKSUM_OFFSET: u16 = 6;
/// Offset of the checksum field in a TCP header.
pub const TCP_CHECKSUM_OFFSET: u16 = 16;

/// Finishes the partial checksum of a frame or packet. As in Linux (`skb_checksum_help`) everything to the end is
/// summed; Ethernet padding does no harm, being zeros.
///
/// Returns whether the field lies within the packet; if not, nothing is written.
pub fn finish_partial(packet: &mut [u8], csum_start: u16, csum_offset: u16) -> bool {
    let Some(covered) = packet.get_mut(usize::from(csum_start)..) else { return false };
    let checksum = checksum(covered);
    let Some(field) = covered.get_mut(usize::from(csum_offset)..).and_then(<[u8]>::first_chunk_mut) else {
        return false;
    };
    let written = if csum_offset == UDP_CHECKSUM_OFFSET { udp_written(checksum) } else { checksum };
    *field = written.to_be_bytes();
    true
}

/// What a rewrite changes in a sum: words that came, less words that went.
///
/// ```
/// # use wire::checksum::Delta;
/// let ttl = Delta::default().replace16(0x4006, 0x3f06);
/// assert_eq!(ttl.apply(0xb861), 0xb961);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Delta(Sum);

impl Delta {
    /// One word became another.
    #[must_use]
    #[inline]
    pub fn replace16(self, old: u16, new: u16) -> Self {
        Self(self.0 + Sum::of_word(!old) + Sum::of_word(new))
    }

    /// Two words, as an IPv4 address is, became others.
    #[must_use]
    #[inline]
    pub fn replace32(self, old: u32, new: u32) -> Self {
        Self(self.0 + Sum::of_words(!old) + Sum::of_words(new))
    }

    /// Eight words, as an IPv6 address is, became others.
    #[must_use]
    #[inline]
    pub fn replace128(self, old: u128, new: u128) -> Self {
        Self(self.0 + Sum::of_eight(!old) + Sum::of_eight(new))
    }

    /// The finished checksum after the change: HC' = ~(~HC + ~m + m') (RFC 1624 equation 3).
    #[inline]
    pub fn apply(self, checksum: u16) -> u16 {
        (Sum::of_word(!checksum) + self.0).checksum()
    }

    /// The finished UDP checksum after the change; a packet without one keeps none, and a result of 0 is written as
    /// 0xffff.
    #[inline]
    pub fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 { 0 } else { udp_written(self.apply(checksum)) }
    }

    /// A partial checksum's field after a change of the pseudo-header (addresses, length; never L4 ports).
    #[inline]
    pub fn apply_partial(self, field: u16) -> u16 {
        (Sum::of_word(field) + self.0).folded()
    }
}

impl Add for Delta {
    type Output = Self;

    /// Both changes.
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

/// The finished checksum after one 16-bit word of what it covers changed.
pub fn update16(checksum: u16, old: u16, new: u16) -> u16 {
    Delta::default().replace16(old, new).apply(checksum)
}

/// The finished checksum after one 32-bit word of what it covers changed.
pub fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    Delta::default().replace32(old, new).apply(checksum)
}

/// Addition with end-around carry: 2^64 − 1 is divisible by 2^16 − 1, so the 16-bit sum is kept.
const fn add_with_carry(a: u64, b: u64) -> u64 {
    let (sum, carried) = a.overflowing_add(b);
    sum + carried as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// An IPv4 header as in RFC 1071 literature: checksum b861 at octet 10.
    const HEADER: [u8; 20] = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0,
        0xa8, 0x00, 0xc7,
    ];

    /// Word by word, carry by carry, as RFC 1071 §4.1 writes it.
    fn slow_sum(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap()
    }

    #[test]
    fn a_known_header_verifies() {
        assert!(Sum::of(&HEADER).is_intact());
        let mut open = HEADER;
        open[10..12].fill(0);
        assert_eq!(checksum(&open), 0xb861);
    }

    #[test]
    fn udp_keeps_zero_for_none() {
        // Field 0xffff and nothing else sums to 0xffff, whose complement is 0.
        let mut packet = [0_u8; 8];
        packet[6..8].fill(0xff);
        let mut tcp = [0_u8; 18];
        tcp[16..18].fill(0xff);
        assert!(finish_partial(&mut packet, 0, UDP_CHECKSUM_OFFSET));
        assert!(finish_partial(&mut tcp, 0, TCP_CHECKSUM_OFFSET));
        assert_eq!(packet[6..8], [0xff, 0xff]);
        assert_eq!(tcp[16..18], [0, 0]);
        assert_eq!(Delta::default().replace16(1, 2).apply_udp(0), 0);
        assert_eq!(Delta::default().replace16(1, 2).apply_udp(1), 0xffff);
    }

    #[test]
    fn a_field_past_the_end_is_refused() {
        let mut packet = [0xa5; 20];
        for (start, offset) in [(21, 0), (19, 0), (0, 19), (10, 9), (u16::MAX, u16::MAX)] {
            assert!(!finish_partial(&mut packet, start, offset), "{start} {offset}");
        }
        assert_eq!(packet, [0xa5; 20]);
    }

    proptest! {
        #[test]
        fn the_fast_sum_is_the_slow_sum(bytes in proptest::collection::vec(any::<u8>(), 0..300), ones in 0_usize..200) {
            let mut bytes = bytes;
            let len = bytes.len();
            bytes[..ones.min(len)].fill(0xff); // Many carries.
            prop_assert_eq!(Sum::of(&bytes).folded(), slow_sum(&bytes));
        }

        #[test]
        fn pieces_add_up(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..100) {
            let (a, b) = bytes.split_at((cut * 2).min(bytes.len() & !1));
            prop_assert_eq!((Sum::of(a) + Sum::of(b)).folded(), Sum::of(&bytes).folded());
        }

        #[test]
        fn an_update_is_a_recompute(words in proptest::collection::vec(any::<u16>(), 10), new in any::<u32>(), wide in any::<u128>()) {
            // A word that never changes and is not 0, as the protocol of a pseudo-header: all-zero data would have
            // the other zero (RFC 1624 §3).
            let mut bytes: Vec<u8> = [6_u16].iter().chain(&words).flat_map(|word| word.to_be_bytes()).collect();
            let before = checksum(&bytes);
            let old: [u8; 4] = *bytes[4..].first_chunk().unwrap();
            bytes[4..8].copy_from_slice(&new.to_be_bytes());
            let after = checksum(&bytes);
            prop_assert_eq!(update32(before, u32::from_be_bytes(old), new), after);

            let narrow = u16::try_from(new & 0xffff).unwrap();
            let old = u16::from_be_bytes([bytes[8], bytes[9]]);
            bytes[8..10].copy_from_slice(&narrow.to_be_bytes());
            prop_assert_eq!(update16(after, old, narrow), checksum(&bytes));

            let before = checksum(&bytes);
            let old: [u8; 16] = *bytes[2..].first_chunk().unwrap();
            bytes[2..18].copy_from_slice(&wide.to_be_bytes());
            let delta = Delta::default().replace128(u128::from_be_bytes(old), wide);
            prop_assert_eq!(delta.apply(before), checksum(&bytes));
        }

        /// NAT of a frame with a partial checksum: addresses change the field, L4 ports do not, and finishing gives
        /// what a full computation over the new packet gives.
        #[test]
        fn partial_and_full_agree_under_rewriting(
            old in any::<[u8; 4]>(), new in any::<[u8; 4]>(), dst in any::<[u8; 4]>(),
            ports in any::<[u8; 4]>(), payload in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let len = u16::try_from(8 + payload.len()).unwrap();
            let segment = |field: u16, ports: [u8; 4]| {
                let mut segment = ports.to_vec();
                segment.extend_from_slice(&len.to_be_bytes());
                segment.extend_from_slice(&field.to_be_bytes());
                segment.extend_from_slice(&payload);
                segment
            };
            let field = Sum::pseudo_v4(old, dst, 17, len).folded();
            let delta = Delta::default().replace32(u32::from_be_bytes(old), u32::from_be_bytes(new));
            let mut partial = segment(delta.apply_partial(field), ports.map(|octet| !octet));
            prop_assert!(finish_partial(&mut partial, 0, UDP_CHECKSUM_OFFSET));
            prop_assert!((Sum::pseudo_v4(new, dst, 17, len) + Sum::of(&partial)).is_intact());

            let mut full = segment(field, ports);
            prop_assert!(finish_partial(&mut full, 0, UDP_CHECKSUM_OFFSET));
            let delta = delta
                .replace16(u16::from_be_bytes([ports[0], ports[1]]), !u16::from_be_bytes([ports[0], ports[1]]))
                .replace16(u16::from_be_bytes([ports[2], ports[3]]), !u16::from_be_bytes([ports[2], ports[3]]));
            let checksum = delta.apply_udp(u16::from_be_bytes([full[6], full[7]]));
            prop_assert_eq!(checksum, u16::from_be_bytes([partial[6], partial[7]]));
        }
    }
}
