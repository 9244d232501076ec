//! Digests: 64 bits that tell whether two runs did the same. No secret is kept by them.

use node::{Gossip, Outbox, Send};

/// A rolling digest: the same values in the same order give the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

/// An odd number without a pattern, as `wire::Rng` uses it too.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// Four more (the fractions of the roots of 2, 3, 5 and 7, as in SHA-512's initial value, FIPS 180-4 §5.3.5).
const LANES: [u64; 4] =
    [0x6a09_e667_f3bc_c908, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1];

impl Default for Digest {
    fn default() -> Self {
        Self(FACTOR)
    }
}

impl Digest {
    /// Takes a number in.
    pub fn number(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number) * u128::from(FACTOR | 1);
        #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
        let folded = product as u64 ^ (product >> 64) as u64;
        self.0 = folded.rotate_left(23).wrapping_add(FACTOR);
    }

    /// Takes octets in, and how many they are.
    pub fn octets(&mut self, octets: &[u8]) {
        self.number(octets.len() as u64);
        let octets = self.lanes(octets);
        let mut words = octets.chunks_exact(8);
        for word in &mut words {
            self.number(u64::from_le_bytes(word.try_into().expect("eight octets")));
        }
        let mut last = [0; 8];
        let rest = words.remainder();
        last[..rest.len()].copy_from_slice(rest);
        self.number(u64::from_le_bytes(last));
    }

    /// Takes in what of `octets` fills whole blocks of four lanes, and gives the rest. The lanes do not wait for each other:
    /// three times as fast as word by word.
    fn lanes<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        let mut blocks = octets.chunks_exact(64);
        if blocks.len() == 0 {
            return octets;
        }
        let mut lanes = LANES.map(|salt| self.0 ^ salt);
        for block in &mut blocks {
            for ((lane, salt), pair) in lanes.iter_mut().zip(LANES).zip(block.chunks_exact(16)) {
                let (first, second) = pair.split_at(8);
                let [first, second] =
                    [first, second].map(|word| u64::from_le_bytes(word.try_into().expect("eight octets")));
                let product = u128::from(first ^ salt) * u128::from(second ^ *lane);
                #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
                let folded = product as u64 ^ (product >> 64) as u64;
                *lane = folded;
            }
        }
        lanes.into_iter().for_each(|lane| self.number(lane));
        blocks.remainder()
    }

    /// The number.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Takes in what leaves from the `from`th send on, and the gossip.
    pub(super) fn outputs(&mut self, gossip: &mut Self, out: &mut Outbox, from: usize) {
        for at in from..out.sends().len() {
            let send: Send = out.sends()[at];
            self.number(u64::from(send.port.0));
            self.number(u64::from(send.carrier.flow.0) << 8 | send.carrier.ecn as u64);
            self.octets(out.frame(send).send_area());
        }
        for Gossip::Station { domain, mac, port } in &out.gossip {
            gossip.number(u64::from(domain.0) << 16 | u64::from(port.0));
            gossip.number(mac.to_bits());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_the_length_matter() {
        let digest = |octets: &[u8]| {
            let mut digest = Digest::default();
            digest.octets(octets);
            digest.value()
        };
        for len in [0, 1, 8, 63, 64, 65, 128, 200, 1_514] {
            let octets = vec![0xa5; len];
            let mut seen = std::collections::BTreeSet::from([digest(&octets)]);
            for bit in 0..len * 8 {
                let mut other = octets.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(seen.insert(digest(&other)), "bit {bit} of {len} octets");
            }
            assert!(seen.insert(digest(&[&octets[..], &[0]].concat())), "{len} octets and one more");
        }
    }
}
