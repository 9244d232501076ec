//! Offload metadata: the virtio-net header that a TAP device puts before every frame.
//!
//! 24 bytes, little-endian, `struct virtio_net_hdr_v1_hash_tunnel` (Linux 6.17 include/uapi/linux/virtio_net.h,
//! virtio 1.4 §5.1.6):
//!
//! ```text
//!  0      1          2         4          6            8             10            12            20         22
//!  flags  gso_type   hdr_len   gso_size   csum_start   csum_offset   num_buffers   hash (unused) outer_th   inner_nh
//! ```
//!
//! [`Offload`] is the parsed value that travels beside a frame. All positions count from the frame's first octet.
//! A value is a *claim* until [`Offload::check`] has compared it with the frame.

use serde::{Deserialize, Serialize};

use crate::drop::DropReason;
use crate::ethernet::HEADER_LEN;

/// Octets of the header on a TAP file descriptor.
pub const VNET_HDR_LEN: usize = 24;

/// The checksum from `csum_start` to the end is not computed yet; the field holds the pseudo-header sum.
pub const NEEDS_CSUM: u8 = 1;
/// The receiver need not verify the checksum: the sender vouches for it.
pub const DATA_VALID: u8 = 2;

/// `gso_type` bit: the TCP super-segment carries ECN CWR semantics (only with TUN_F_TSO_ECN).
pub const GSO_ECN: u8 = 0x80;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;

/// What kind of super-segment a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Gso {
    /// One ordinary frame.
    #[default]
    None,
    /// TCP over IPv4 (TSO).
    TcpV4,
    /// TCP over IPv6 (TSO).
    TcpV6,
    /// UDP over either family, each `gso_size` octets of payload one datagram (USO).
    UdpL4,
}

/// The parsed virtio-net header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Offload {
    /// [`NEEDS_CSUM`] and [`DATA_VALID`].
    pub flags: u8,
    /// Kind of super-segment.
    pub gso: Gso,
    /// Whether [`GSO_ECN`] was set.
    pub ecn: bool,
    /// Octets of L2 to L4 headers; a hint for the receiver's linear part.
    pub hdr_len: u16,
    /// Payload octets per segment; 0 without GSO.
    pub gso_size: u16,
    /// Where the unfinished checksum starts.
    pub csum_start: u16,
    /// Where, from `csum_start`, the checksum field stands.
    pub csum_offset: u16,
}

impl Offload {
    /// No offload: an ordinary frame with finished checksums.
    pub const NONE: Self =
        Self { flags: 0, gso: Gso::None, ecn: false, hdr_len: 0, gso_size: 0, csum_start: 0, csum_offset: 0 };

    /// Whether the L4 checksum still has to be computed.
    pub const fn needs_checksum(self) -> bool {
        self.flags & NEEDS_CSUM != 0
    }

    /// Whether the frame is a super-segment.
    pub fn is_super_segment(self) -> bool {
        self.gso != Gso::None
    }

    /// Reads the header.
    ///
    /// # Errors
    /// `admit.vnet-gso-type` for a type we never offered to the kernel (UFO, tunnel GSO, a future one).
    pub fn parse(header: &[u8; VNET_HDR_LEN]) -> Result<Self, DropReason> {
        let le16 = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let gso = match header[1] & !GSO_ECN {
            GSO_NONE => Gso::None,
            GSO_TCPV4 => Gso::TcpV4,
            GSO_TCPV6 => Gso::TcpV6,
            GSO_UDP_L4 => Gso::UdpL4,
            _ => return Err(DropReason::VnetGsoType),
        };
        Ok(Self {
            flags: header[0] & (NEEDS_CSUM | DATA_VALID),
            gso,
            ecn: header[1] & GSO_ECN != 0,
            hdr_len: le16(2),
            gso_size: le16(4),
            csum_start: le16(6),
            csum_offset: le16(8),
        })
    }

    /// Writes the header; fields we do not use are zero.
    pub fn emit(self, header: &mut [u8; VNET_HDR_LEN]) {
        *header = [0; VNET_HDR_LEN];
        header[0] = self.flags;
        header[1] = match self.gso {
            Gso::None => GSO_NONE,
            Gso::TcpV4 => GSO_TCPV4,
            Gso::TcpV6 => GSO_TCPV6,
            Gso::UdpL4 => GSO_UDP_L4,
        } | if self.ecn { GSO_ECN } else { 0 };
        header[2..4].copy_from_slice(&self.hdr_len.to_le_bytes());
        header[4..6].copy_from_slice(&self.gso_size.to_le_bytes());
        header[6..8].copy_from_slice(&self.csum_start.to_le_bytes());
        header[8..10].copy_from_slice(&self.csum_offset.to_le_bytes());
    }

    /// Compares the claim with a frame of `len` octets.
    ///
    /// # Errors
    /// `admit.vnet-csum` if the checksum starts within the Ethernet header (a tag that comes off could not move it) or
    /// its field lies past the end, `admit.vnet-gso-size` if a super-segment has no segment size or comes without a
    /// checksum request.
    pub fn check(self, len: usize) -> Result<(), DropReason> {
        let start = usize::from(self.csum_start);
        if self.needs_checksum() && (start < HEADER_LEN || start + usize::from(self.csum_offset) + 2 > len) {
            return Err(DropReason::VnetCsum);
        }
        if self.is_super_segment() && (self.gso_size == 0 || !self.needs_checksum()) {
            return Err(DropReason::VnetGsoSize);
        }
        Ok(())
    }

    /// Moves every position by `delta` octets, as when a VLAN tag is pushed (+4) or popped (−4).
    ///
    /// Positions of an ordinary finished frame stay 0.
    pub fn shift(&mut self, delta: i16) {
        if self.needs_checksum() {
            self.csum_start = self.csum_start.saturating_add_signed(delta);
        }
        if self.hdr_len != 0 {
            self.hdr_len = self.hdr_len.saturating_add_signed(delta);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One TCPv4 super-segment as Linux emits it: 66 octets of headers, MSS 1448, checksum at 34 + 16.
    const TSO4: [u8; VNET_HDR_LEN] =
        [1, 1, 66, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn tso4() -> Offload {
        Offload {
            flags: NEEDS_CSUM,
            gso: Gso::TcpV4,
            ecn: false,
            hdr_len: 66,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
        }
    }

    #[test]
    fn header_round_trips() {
        assert_eq!(Offload::parse(&TSO4), Ok(tso4()));
        let mut header = [0xa5; VNET_HDR_LEN];
        tso4().emit(&mut header);
        assert_eq!(header, TSO4);
    }

    #[test]
    fn lies_have_names() {
        assert_eq!(tso4().check(51), Err(DropReason::VnetCsum));
        assert_eq!(tso4().check(52), Ok(()));
        assert_eq!(Offload { csum_start: 13, ..tso4() }.check(1500), Err(DropReason::VnetCsum));
        assert_eq!(Offload { csum_start: 14, ..tso4() }.check(1500), Ok(()));
        assert_eq!(Offload { gso_size: 0, ..tso4() }.check(1500), Err(DropReason::VnetGsoSize));
        assert_eq!(Offload { flags: 0, ..tso4() }.check(1500), Err(DropReason::VnetGsoSize));
        let mut unknown = TSO4;
        unknown[1] = 3; // UFO, which we never offer.
        assert_eq!(Offload::parse(&unknown), Err(DropReason::VnetGsoType));
    }

    #[test]
    fn a_tag_moves_positions_only_where_there_are_some() {
        let mut tagged = tso4();
        tagged.shift(4);
        assert_eq!((tagged.csum_start, tagged.hdr_len), (38, 70));
        let mut plain = Offload::NONE;
        plain.shift(4);
        assert_eq!(plain, Offload::NONE);
    }
}
