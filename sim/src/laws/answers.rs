//! Answers in a station's name: each repeats what that station has said itself.

use std::collections::BTreeSet;

use wire::DomainId;

/// An address and its station's MAC address, octet by octet.
type Claim = (DomainId, Vec<u8>, [u8; 6]);

/// What stations have said of their own addresses, however long ago.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeSet<Claim>);

impl Said {
    /// A frame came in, given by its addresses and what follows its tag.
    pub(super) fn arrives(&mut self, domain: Option<DomainId>, frame: (&[u8], &[u8])) {
        self.0.extend(domain.and_then(|domain| claim(domain, frame)));
    }

    /// Whether a frame that leaves says what some station has said.
    pub(super) fn repeats(&self, domain: DomainId, frame: (&[u8], &[u8])) -> bool {
        claim(domain, frame).is_some_and(|claim| self.0.contains(&claim))
    }
}

/// What the frame's source says of itself in ARP or in a neighbour advertisement.
fn claim(domain: DomainId, (addresses, rest): (&[u8], &[u8])) -> Option<Claim> {
    let src: [u8; 6] = *addresses.get(6..12)?.first_chunk()?;
    let (mac, address) = match rest.first_chunk()? {
        [0x08, 0x06] => (rest.get(10..16)?, rest.get(16..20)?),
        [0x86, 0xdd] if rest.get(42) == Some(&136) => (rest.get(68..74)?, rest.get(50..66)?),
        _ => return None,
    };
    (mac == src).then(|| (domain, address.to_vec(), src))
}
