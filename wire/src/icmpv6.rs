//! ICMP for IPv6 (RFC 4443) and neighbour discovery (RFC 4861): smoltcp's views and summaries, under our names.
//!
//! A [`Packet`] reads and writes fields in place. `new_checked` refuses a slice shorter than the header of its type;
//! after it no reading accessor of that type panics, but one of another type may: look at `msg_type` first, or use
//! [`Repr::parse`], which checks type, checksum and, for neighbour discovery ([`NdRepr`]), options.
//! `new_unchecked` and the setters panic on a slice that is too short.

pub use smoltcp::phy::ChecksumCapabilities;
pub use smoltcp::wire::{
    Icmpv6DstUnreachable as DstUnreachable, Icmpv6Message as Message, Icmpv6Packet as Packet,
    Icmpv6Repr as Repr, Icmpv6TimeExceeded as TimeExceeded, NdiscNeighborFlags as NeighborFlags,
    NdiscOption as NdOption, NdiscOptionRepr as NdOptionRepr, NdiscOptionType as NdOptionType,
    NdiscRepr as NdRepr,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Mac;
    use crate::arp::EthernetAddress;
    use core::net::Ipv6Addr;

    const SRC: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const DST: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2);

    /// fe80::1 (02:00:00:00:00:01) asks for fe80::2; checksum computed by other means.
    const SOLICITATION: [u8; 32] = [
        135, 0, 0x7a, 0x97, 0, 0, 0, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 1, 2, 0, 0,
        0, 0, 1,
    ];

    fn solicitation() -> Repr<'static> {
        Repr::Ndisc(NdRepr::NeighborSolicit {
            target_addr: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2),
            lladdr: Some(EthernetAddress::from(Mac([2, 0, 0, 0, 0, 1])).into()),
        })
    }

    #[test]
    fn header_round_trips() {
        let packet = Packet::new_checked(&SOLICITATION[..]).unwrap();
        assert_eq!(Repr::parse(&SRC, &DST, &packet, &ChecksumCapabilities::default()), Ok(solicitation()));
        let mut bytes = [0xa5; 32];
        let mut packet = Packet::new_unchecked(&mut bytes[..]);
        solicitation().emit(&SRC, &DST, &mut packet, &ChecksumCapabilities::default());
        assert_eq!(bytes, SOLICITATION);
    }

    #[test]
    fn options_that_lie_are_refused() {
        for (at, octet) in [(25, 0), (25, 2)] {
            let mut bytes = SOLICITATION;
            bytes[at] = octet;
            let unchecked = ChecksumCapabilities::ignored();
            let parsed = Packet::new_checked(&bytes[..])
                .and_then(|packet| Repr::parse(&SRC, &DST, &packet, &unchecked).map(|_| ()));
            assert!(parsed.is_err(), "{at} {octet}");
        }
    }
}
