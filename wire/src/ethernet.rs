//! Ethernet II and 802.1Q: the header that every room reads.
//!
//! ```text
//!  0         6         12      14                     0         6         12       14     16      18
//!  dst       src       type    payload                dst       src       0x8100   TCI    type    payload
//! ```

use crate::addr::{Mac, Vid};
use crate::drop::DropReason;
use crate::field::be16;
use crate::frame::FrameBuf;

/// Octets before the payload of an untagged frame.
pub const HEADER_LEN: usize = 14;
/// Octets a VLAN tag adds.
pub const TAG_LEN: usize = 4;
/// The same as a distance, for positions that move with the tag.
const TAG_SHIFT: i16 = 4;

/// IPv4 (RFC 894).
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// ARP (RFC 826).
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// IPv6 (RFC 2464).
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Customer VLAN tag (IEEE 802.1Q).
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// Service VLAN tag (IEEE 802.1ad).
pub const ETHERTYPE_QINQ: u16 = 0x88a8;

/// A VLAN tag's control information: priority (3 bits), drop eligible (1), VLAN (12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tci(pub u16);

impl Tci {
    /// The VLAN; `None` for a priority tag (0) and the reserved 4095.
    pub const fn vid(self) -> Option<Vid> {
        Vid::new(self.0 & 0x0fff)
    }

    /// The same priority and drop eligibility with another VLAN.
    pub const fn with_vid(self, vid: Vid) -> Self {
        Self(self.0 & 0xf000 | vid.number())
    }
}

/// What every room needs of a frame's L2 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetHeader {
    /// Destination address.
    pub dst: Mac,
    /// Source address, not yet checked to be a station's.
    pub src: Mac,
    /// The tag, if the frame has one.
    pub tag: Option<Tci>,
    /// Type of the payload, behind the tag if there is one.
    pub ethertype: u16,
}

impl EthernetHeader {
    /// Reads the header and at most one tag. `None` if the octets end before it does.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, _, _] = *header;
        let (dst, src) = (Mac([d0, d1, d2, d3, d4, d5]), Mac([s0, s1, s2, s3, s4, s5]));
        let ethertype = be16(header, 12);
        if ethertype != ETHERTYPE_VLAN {
            return Some(Self { dst, src, tag: None, ethertype });
        }
        let tagged: &[u8; HEADER_LEN + TAG_LEN] = bytes.first_chunk()?;
        Some(Self { dst, src, tag: Some(Tci(be16(tagged, 14))), ethertype: be16(tagged, 16) })
    }
}

/// Removes the frame's tag in place: the addresses move four octets towards the payload.
///
/// The caller has seen a tag; an untagged frame would lose its type field.
pub fn pop_tag(frame: &mut FrameBuf) {
    frame.bytes_mut().copy_within(0..12, TAG_LEN);
    frame.advance(TAG_LEN);
    frame.offload.shift(-TAG_SHIFT);
}

/// Puts a tag behind the addresses.
///
/// # Errors
/// `deliver.no-headroom` if there is no room in front.
pub fn push_tag(frame: &mut FrameBuf, tci: Tci) -> Result<(), DropReason> {
    frame.prepend(TAG_LEN).ok_or(DropReason::Headroom)?;
    let bytes = frame.bytes_mut();
    bytes.copy_within(TAG_LEN..TAG_LEN + 12, 0);
    bytes[12..14].copy_from_slice(&ETHERTYPE_VLAN.to_be_bytes());
    bytes[14..16].copy_from_slice(&tci.0.to_be_bytes());
    frame.offload.shift(TAG_SHIFT);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FramePool;

    const TAGGED: [u8; 20] =
        [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x81, 0x00, 0x60, 0x0a, 0x08, 0x00, 0xaa, 0xbb];

    #[test]
    fn parses_with_and_without_a_tag() {
        let header = EthernetHeader::parse(&TAGGED).unwrap();
        assert_eq!(header.dst, Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(header.src, Mac([2, 0, 0, 0, 0, 2]));
        assert_eq!(header.tag, Some(Tci(0x600a)));
        assert_eq!(header.tag.unwrap().vid(), Vid::new(10));
        assert_eq!(header.ethertype, ETHERTYPE_IPV4);
        assert_eq!(EthernetHeader::parse(&TAGGED[..17]), None);
        assert_eq!(EthernetHeader::parse(&TAGGED[..13]), None);
    }

    #[test]
    fn pop_then_push_gives_the_frame_back() {
        let mut frame = FramePool::default().take();
        assert!(frame.fill(&TAGGED));
        pop_tag(&mut frame);
        assert_eq!(EthernetHeader::parse(frame.bytes()).unwrap().tag, None);
        assert_eq!(frame.len(), 16);
        push_tag(&mut frame, Tci(0x600a)).unwrap();
        assert_eq!(frame.bytes(), TAGGED);
    }
}
