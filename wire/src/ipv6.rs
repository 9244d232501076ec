//! IPv6 (RFC 8200): smoltcp's view and summary, under our names.
//!
//! A [`Packet`] reads and writes fields in place. `new_checked` refuses a slice shorter than the header or the payload
//! length it announces; after it no reading accessor panics. `new_unchecked` and the setters panic on a slice that
//! is too short. The payload starts with the extension headers if there are any: [`crate::headers`] walks them.

pub use smoltcp::wire::{IpProtocol as Protocol, Ipv6Packet as Packet, Ipv6Repr as Repr};

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv6Addr;

    /// fe80::1 to ff02::1, ICMPv6, 4 octets of payload.
    const PACKET: [u8; 44] = [
        0x60, 0, 0, 0, 0, 4, 0x3a, 255, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x02, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4,
    ];

    fn repr() -> Repr {
        Repr {
            src_addr: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
            dst_addr: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
            next_header: Protocol::Icmpv6,
            payload_len: 4,
            hop_limit: 255,
        }
    }

    #[test]
    fn header_round_trips() {
        let packet = Packet::new_checked(&PACKET[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(repr()));
        assert_eq!(packet.payload(), [1, 2, 3, 4]);
        let mut bytes = [0xa5; 44];
        let mut packet = Packet::new_unchecked(&mut bytes[..]);
        repr().emit(&mut packet);
        packet.payload_mut().copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(bytes, PACKET);
    }

    #[test]
    fn a_payload_past_the_end_is_refused() {
        let mut bytes = PACKET;
        bytes[5] = 5;
        assert!(Packet::new_checked(&bytes[..]).is_err());
        assert!(Packet::new_checked(&PACKET[..39]).is_err());
    }
}
