//! ARP (RFC 826): smoltcp's view and summary, under our names.
//!
//! ```text
//!  0        2        4     5     6        8          14         18         24       28
//!  hardware protocol hlen  plen  operation sender MAC sender IP  target MAC target IP
//! ```
//!
//! A [`Packet`] reads and writes fields in place. `new_checked` refuses a slice shorter than the lengths it announces;
//! after it no reading accessor panics, but the address accessors return slices of the announced lengths, so use
//! [`Repr::parse`], which refuses everything that is not Ethernet and IPv4. `new_unchecked` and the setters panic on
//! a slice that is too short. A [`Repr`] is the `Copy` summary.

pub use smoltcp::wire::{ArpOperation as Operation, ArpPacket as Packet, ArpRepr as Repr, EthernetAddress};

use crate::addr::Mac;

/// Octets of an Ethernet/IPv4 packet.
pub const PACKET_LEN: usize = 28;

impl From<Mac> for EthernetAddress {
    fn from(mac: Mac) -> Self {
        Self(mac.0)
    }
}

impl From<EthernetAddress> for Mac {
    fn from(address: EthernetAddress) -> Self {
        Self(address.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    /// 02:00:00:00:00:01 at 10.0.0.1 asks who has 10.0.0.2.
    const REQUEST: [u8; PACKET_LEN] =
        [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];

    fn request() -> Repr {
        Repr::EthernetIpv4 {
            operation: Operation::Request,
            source_hardware_addr: Mac([2, 0, 0, 0, 0, 1]).into(),
            source_protocol_addr: Ipv4Addr::new(10, 0, 0, 1),
            target_hardware_addr: Mac::default().into(),
            target_protocol_addr: Ipv4Addr::new(10, 0, 0, 2),
        }
    }

    #[test]
    fn header_round_trips() {
        assert_eq!(Repr::parse(&Packet::new_checked(&REQUEST[..]).unwrap()), Ok(request()));
        let mut bytes = [0xa5; PACKET_LEN];
        request().emit(&mut Packet::new_unchecked(&mut bytes[..]));
        assert_eq!(bytes, REQUEST);
    }

    #[test]
    fn what_is_not_ethernet_and_ipv4_is_refused() {
        assert!(Packet::new_checked(&REQUEST[..27]).is_err());
        for (at, octet) in [(1, 2), (2, 9), (4, 5), (5, 3)] {
            let mut bytes = REQUEST;
            bytes[at] = octet;
            assert!(Packet::new_checked(&bytes[..]).and_then(|packet| Repr::parse(&packet)).is_err(), "{at}");
        }
    }
}
