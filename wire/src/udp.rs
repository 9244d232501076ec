//! UDP (RFC 768): smoltcp's view, under our names.
//!
//! A [`Packet`] reads and writes fields in place. `new_checked` refuses a slice shorter than the length it announces
//! and a length shorter than the header; after it no reading accessor panics. `new_unchecked` and the setters panic on
//! a slice that is too short. Checksums: [`crate::checksum`].

pub use smoltcp::wire::{UdpPacket as Packet, UdpRepr as Repr};

pub use crate::headers::UDP_HEADER_LEN as HEADER_LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::IpAddress;

    /// 10.0.0.1:4660 to 10.0.0.2:53, payload "hi"; checksum computed by other means.
    const PACKET: [u8; 10] = [0x12, 0x34, 0, 53, 0, 10, 0x71, 0x05, b'h', b'i'];

    #[test]
    fn header_round_trips() {
        let (src, dst) = (IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2));
        let repr = Repr { src_port: 0x1234, dst_port: 53 };
        let packet = Packet::new_checked(&PACKET[..]).unwrap();
        assert_eq!(Repr::parse(&packet, &src, &dst, &ChecksumCapabilities::default()), Ok(repr));
        let mut bytes = [0xa5; 10];
        let mut packet = Packet::new_unchecked(&mut bytes[..]);
        let fill = |payload: &mut [u8]| payload.copy_from_slice(b"hi");
        repr.emit(&mut packet, &src, &dst, 2, fill, &ChecksumCapabilities::default());
        assert_eq!(bytes, PACKET);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for octet in [7, 11] {
            let mut bytes = PACKET;
            bytes[5] = octet;
            assert!(Packet::new_checked(&bytes[..]).is_err(), "{octet}");
        }
        assert!(Packet::new_checked(&PACKET[..7]).is_err());
    }
}
