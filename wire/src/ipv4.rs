//! IPv4 (RFC 791): smoltcp's view and summary, under our names.
//!
//! A [`Packet`] reads and writes fields in place. `new_checked` refuses a slice shorter than the header or the total
//! length it announces, and a total length shorter than the header; after it no reading accessor panics.
//! `new_unchecked` and the setters panic on a slice that is too short. [`Repr::parse`] also checks version and
//! (unless told not to) checksum; it knows no options, and a fragment is refused. [`crate::headers`] is the hot path.

pub use smoltcp::phy::ChecksumCapabilities;
pub use smoltcp::wire::{IpProtocol as Protocol, Ipv4Packet as Packet, Ipv4Repr as Repr};

use crate::checksum::checksum;

/// Recomputes the checksum of the header at the front of `packet`; `false`, and nothing written, if it is cut short.
pub fn fill_checksum(packet: &mut [u8]) -> bool {
    let header_len = packet.first().map_or(0, |octet| usize::from(octet & 15) * 4);
    let Some(header) = packet.get_mut(..header_len).filter(|header| header.len() >= 20) else { return false };
    header[10..12].fill(0);
    let checksum = checksum(header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    /// 192.168.0.1 to 192.168.0.199, UDP, 4 octets of payload; checksum computed by other means.
    const PACKET: [u8; 24] = [
        0x45, 0x00, 0x00, 0x18, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0xbc, 0xc0, 0xa8, 0x00, 0x01, 0xc0,
        0xa8, 0x00, 0xc7, 1, 2, 3, 4,
    ];

    fn repr() -> Repr {
        Repr {
            src_addr: Ipv4Addr::new(192, 168, 0, 1),
            dst_addr: Ipv4Addr::new(192, 168, 0, 199),
            next_header: Protocol::Udp,
            payload_len: 4,
            hop_limit: 64,
        }
    }

    #[test]
    fn header_round_trips() {
        let packet = Packet::new_checked(&PACKET[..]).unwrap();
        assert_eq!(Repr::parse(&packet, &ChecksumCapabilities::default()), Ok(repr()));
        assert_eq!(packet.payload(), [1, 2, 3, 4]);
        let mut bytes = [0xa5; 24];
        let mut packet = Packet::new_unchecked(&mut bytes[..]);
        repr().emit(&mut packet, &ChecksumCapabilities::default());
        packet.payload_mut().copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(bytes, PACKET);
    }

    #[test]
    fn our_checksum_is_theirs() {
        let mut bytes = PACKET;
        bytes[10..12].fill(0xa5);
        assert!(fill_checksum(&mut bytes));
        assert_eq!(bytes, PACKET);
        assert!(!fill_checksum(&mut bytes[..19]));
        assert!(!fill_checksum(&mut [0x44; 24]));
        assert!(!fill_checksum(&mut []));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for (at, octet) in [(0, 0x47), (3, 19), (3, 25)] {
            let mut bytes = PACKET;
            bytes[at] = octet;
            assert!(Packet::new_checked(&bytes[..]).is_err(), "{at}");
        }
    }
}
