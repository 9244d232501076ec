//! Digests: 64 bits that tell whether two runs did the same. No secret is kept by them.

use std::fmt::{self, Write as _};

use node::{Gossip, Outbox, Plan, Send};

/// A rolling digest: the same values in the same order give the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

/// An odd number without a pattern, as `wire::Rng` uses it too.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

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
        let mut words = octets.chunks_exact(8);
        for word in &mut words {
            self.number(u64::from_le_bytes(word.try_into().expect("eight octets")));
        }
        let mut last = [0; 8];
        let rest = words.remainder();
        last[..rest.len()].copy_from_slice(rest);
        self.number(u64::from_le_bytes(last));
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

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.octets(text.as_bytes());
        Ok(())
    }
}

/// A digest of everything that a plan says.
pub fn plan_digest(plan: &Plan) -> u64 {
    let text = format!("{plan:?}"); // Whole, because how it is written in pieces means nothing.
    let mut digest = Digest::default();
    digest.write_str(&text).expect("a digest takes everything");
    digest.value()
}
