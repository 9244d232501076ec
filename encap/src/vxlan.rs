//! VXLAN: an Ethernet frame in a UDP datagram (RFC 7348 §5).
//!
//! ```text
//!  0        1                 4                        7        8
//!  0x08     reserved          network identifier       reserved inner frame …
//! ```
//!
//! The flag 0x08 (I) says that the identifier is valid. Everything reserved is sent as zero and ignored on receipt.
//! (Linux drops what has reserved bits set, so sending zero is not only politeness.)

use serde::{Deserialize, Serialize};
use wire::{DropReason, FrameBuf};

/// Octets of the header.
pub const HEADER_LEN: usize = 8;
/// The same, as positions move.
const SHIFT: i16 = 8;
const FLAG_VNI_VALID: u8 = 0x08;

/// A VXLAN network identifier, 24 bits (RFC 7348 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Vni(u32);

impl Vni {
    /// `None` above 2²⁴ − 1.
    pub const fn new(vni: u32) -> Option<Self> {
        if vni < 1 << 24 { Some(Self(vni)) } else { None }
    }

    /// The identifier as a number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// Which network a datagram's payload belongs to.
///
/// # Errors
/// `admit.encap-truncated`, `admit.encap-flags` without the I flag.
#[inline]
pub fn read(datagram: &[u8]) -> Result<Vni, DropReason> {
    let Some(&[flags, _, _, _, a, b, c, _]) = datagram.first_chunk::<HEADER_LEN>() else {
        return Err(DropReason::EncapTruncated);
    };
    if flags & FLAG_VNI_VALID == 0 {
        return Err(DropReason::EncapFlags);
    }
    Ok(Vni(u32::from_be_bytes([0, a, b, c])))
}

/// Takes the header off a datagram's payload, of which [`read`] has been asked, and leaves the inner frame. What is said
/// of the payload's offloads is said of the frame then.
///
/// # Errors
/// `admit.vnet-csum` if that does not fit the frame.
#[inline]
pub fn pop(datagram: &mut FrameBuf) -> Result<(), DropReason> {
    datagram.advance(HEADER_LEN);
    datagram.offload.shift(-SHIFT);
    datagram.offload.check(datagram.len())
}

/// Puts the header in front of a frame.
///
/// # Errors
/// `deliver.no-headroom`; the frame is then as it was.
pub fn push(frame: &mut FrameBuf, vni: Vni) -> Result<(), DropReason> {
    let [_, a, b, c] = vni.0.to_be_bytes();
    frame.prepend(HEADER_LEN).ok_or(DropReason::Headroom)?.copy_from_slice(&[
        FLAG_VNI_VALID,
        0,
        0,
        0,
        a,
        b,
        c,
        0,
    ]);
    frame.offload.shift(SHIFT);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::buffer;
    use wire::Offload;
    use wire::offload::NEEDS_CSUM;

    /// VNI 1, as flannel's peers send it, and the first octets of an inner frame.
    const VNI_1: [u8; 12] = [0x08, 0, 0, 0, 0, 0, 1, 0, 0xde, 0xad, 0xbe, 0xef];
    /// VNI 0x123456 with every reserved bit set.
    const RESERVED_SET: [u8; 9] = [0xff, 0xff, 0xff, 0xff, 0x12, 0x34, 0x56, 0xff, 0x77];

    fn vni(number: u32) -> Vni {
        Vni::new(number).unwrap()
    }

    #[test]
    fn identifiers_have_24_bits() {
        assert_eq!(Vni::new(0xff_ffff).map(Vni::number), Some(0xff_ffff));
        assert_eq!(Vni::new(0x100_0000), None);
    }

    #[test]
    fn pop_leaves_the_inner_frame() {
        let mut frame = buffer(&VNI_1);
        assert_eq!(read(frame.bytes()), Ok(vni(1)));
        assert_eq!(pop(&mut frame), Ok(()));
        assert_eq!(frame.bytes(), &VNI_1[8..]);
        let mut frame = buffer(&RESERVED_SET);
        assert_eq!(read(frame.bytes()), Ok(vni(0x12_3456)));
        assert_eq!(pop(&mut frame), Ok(()));
        assert_eq!(frame.bytes(), [0x77]);
    }

    #[test]
    fn push_writes_every_octet() {
        let mut frame = buffer(&[0xa5; 16]);
        frame.advance(8); // The headroom that the header takes holds 0xa5.
        assert_eq!(push(&mut frame, vni(1)), Ok(()));
        assert_eq!(frame.bytes()[..8], VNI_1[..8]);
        assert_eq!(frame.bytes()[8..], [0xa5; 8]);
        assert_eq!(pop(&mut frame), Ok(()));
        assert_eq!(frame.bytes(), [0xa5; 8]);
    }

    #[test]
    fn what_is_said_of_offloads_moves_with_the_header() {
        let unfinished = Offload { flags: NEEDS_CSUM, csum_start: 34, csum_offset: 6, ..Offload::NONE };
        let mut frame = buffer(&[0xa5; 60]);
        frame.offload = unfinished;
        assert_eq!(push(&mut frame, vni(1)), Ok(()));
        assert_eq!(frame.offload.csum_start, 42);
        assert_eq!(pop(&mut frame), Ok(()));
        assert_eq!(frame.offload, unfinished);
        // Right for the datagram, past the end of the frame or before its packet.
        for csum_start in [14, 21] {
            let mut datagram = buffer(&VNI_1);
            datagram.offload = Offload { csum_start, csum_offset: 0, ..unfinished };
            assert_eq!(pop(&mut datagram), Err(DropReason::VnetCsum));
        }
    }

    #[test]
    fn refusals_have_names() {
        for (bytes, reason) in [
            (&VNI_1[..7], DropReason::EncapTruncated),
            (&[], DropReason::EncapTruncated),
            (&[0xf7, 0, 0, 0, 0, 0, 1, 0], DropReason::EncapFlags),
        ] {
            assert_eq!(read(bytes), Err(reason), "{bytes:02x?}");
        }
    }

    #[test]
    fn push_without_headroom_is_refused() {
        let mut frame = buffer(&VNI_1);
        while frame.prepend(1).is_some() {}
        let before = frame.len();
        assert_eq!(push(&mut frame, vni(1)), Err(DropReason::Headroom));
        assert_eq!(frame.len(), before);
    }
}
