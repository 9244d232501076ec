//! Flannel's UDP format: the datagram's payload is a bare IP packet, with no header of its own.
//!
//! Inside the switch a packet needs an Ethernet header, which is made up as it comes in ([`dress`]) and taken off as it
//! leaves ([`strip`]). What can be told of a datagram is whether it starts like an IP packet that it holds to the end.
//! Flannel itself speaks IPv4 only and looks at the length alone; IPv6 is taken here because the version says which it
//! is.
//!
//! Refused: what is not IP, on both ways. So ARP and neighbour discovery between the ends do not exist: their MAC
//! addresses are made up and known to whoever has made them up.

use wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader};
use wire::{DropReason, FrameBuf, UnicastMac};

/// Octets of the Ethernet header, as positions move.
const SHIFT: i16 = 14;

/// Octets of the shortest IPv4 header.
const IPV4_HEADER_LEN: usize = 20;
/// Octets of the IPv6 header.
const IPV6_HEADER_LEN: usize = 40;

/// Accepts a datagram's payload that is plausibly one IP packet, and says how long the packet is. Octets beyond it are
/// none of it.
///
/// # Errors
/// `admit.encap-truncated` if the datagram is empty or ends before its packet does, `admit.encap-flags` if it is
/// neither IPv4 nor IPv6, or its lengths contradict each other.
pub fn check(datagram: &[u8]) -> Result<usize, DropReason> {
    let &first = datagram.first().ok_or(DropReason::EncapTruncated)?;
    let packet_len = match first >> 4 {
        4 => {
            let header: &[u8; IPV4_HEADER_LEN] = datagram.first_chunk().ok_or(DropReason::EncapTruncated)?;
            let header_len = usize::from(first & 0x0f) * 4;
            let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
            if header_len < IPV4_HEADER_LEN || total_len < header_len {
                return Err(DropReason::EncapFlags);
            }
            total_len
        }
        6 => {
            let header: &[u8; IPV6_HEADER_LEN] = datagram.first_chunk().ok_or(DropReason::EncapTruncated)?;
            IPV6_HEADER_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]))
        }
        _ => return Err(DropReason::EncapFlags),
    };
    if packet_len <= datagram.len() { Ok(packet_len) } else { Err(DropReason::EncapTruncated) }
}

/// Makes a frame of a datagram's payload: from `src` to `dst`, what it says it is, and no octet more than its length.
///
/// # Errors
/// As [`check`], `deliver.no-headroom`, and `admit.vnet-csum` if what is said of its offloads does not fit.
#[inline]
pub fn dress(datagram: &mut FrameBuf, dst: UnicastMac, src: UnicastMac) -> Result<(), DropReason> {
    let packet_len = check(datagram.bytes())?;
    datagram.truncate(packet_len);
    let is_v4 = datagram.bytes()[0] >> 4 == 4;
    let ethertype = if is_v4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    let header = datagram.prepend(ethernet::HEADER_LEN).ok_or(DropReason::Headroom)?;
    header[..6].copy_from_slice(&dst.mac().0);
    header[6..12].copy_from_slice(&src.mac().0);
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
    datagram.offload.shift(SHIFT);
    datagram.offload.check(datagram.len())
}

/// Leaves the packet of an untagged frame, without what pads it.
///
/// # Errors
/// `deliver.not-ip` if it holds none that [`check`] accepts; the frame is then as it was.
#[inline]
pub fn strip(frame: &mut FrameBuf) -> Result<(), DropReason> {
    let ethertype = EthernetHeader::parse(frame.bytes()).map(|header| header.ethertype);
    if !matches!(ethertype, Some(ETHERTYPE_IPV4 | ETHERTYPE_IPV6)) {
        return Err(DropReason::NotIp);
    }
    let packet_len = check(&frame.bytes()[ethernet::HEADER_LEN..]).map_err(|_| DropReason::NotIp)?;
    frame.truncate(ethernet::HEADER_LEN + packet_len);
    frame.advance(ethernet::HEADER_LEN);
    frame.offload.shift(-SHIFT);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::buffer;
    use wire::{Mac, Offload, offload};

    /// 10.5.52.2 to 10.5.72.3, TTL 62 as it is on the wire, no payload.
    const PACKET_V4: [u8; 20] =
        [0x45, 0, 0, 20, 0, 0, 0, 0, 0x3e, 17, 0xa6, 0xc1, 10, 5, 52, 2, 10, 5, 72, 3];

    fn packet_v6(payload_len: u8) -> [u8; 40] {
        let mut packet = [0xa5; 40];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&[0, payload_len]);
        packet
    }

    #[test]
    fn a_packet_of_either_version_is_plausible() {
        assert_eq!(check(&PACKET_V4), Ok(20));
        assert_eq!(check(&[&PACKET_V4[..], &[0xa5; 6]].concat()), Ok(20));
        assert_eq!(check(&packet_v6(0)), Ok(40));
    }

    fn mac(number: u8) -> UnicastMac {
        UnicastMac::new(Mac([2, 0, 0, 0, 0, number])).unwrap()
    }

    #[test]
    fn a_packet_gets_a_header_and_loses_it_again() {
        for (packet, ethertype) in [(&PACKET_V4[..], [0x08, 0x00]), (&packet_v6(0)[..], [0x86, 0xdd])] {
            let mut frame = buffer(&[packet, &[0xa5; 3]].concat());
            assert_eq!(dress(&mut frame, mac(1), mac(2)), Ok(()));
            let header = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ethertype].concat();
            assert_eq!(frame.bytes(), [&header, packet].concat());
            assert!(frame.extend(&[0; 6])); // As Ethernet pads.
            assert_eq!(strip(&mut frame), Ok(()));
            assert_eq!(frame.bytes(), packet);
        }
    }

    #[test]
    fn what_is_not_ip_does_not_leave() {
        let mut arp = [0xa5; 42];
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        let mut liar = arp;
        liar[12..15].copy_from_slice(&[0x08, 0x00, 0x15]);
        for bytes in [&arp[..], &liar, &arp[..13], &[]] {
            let mut frame = buffer(bytes);
            assert_eq!(strip(&mut frame), Err(DropReason::NotIp));
            assert_eq!(frame.bytes(), bytes);
        }
    }

    #[test]
    fn what_is_said_of_offloads_moves_with_the_header() {
        let said =
            |csum_start| Offload { flags: offload::NEEDS_CSUM, csum_start, csum_offset: 6, ..Offload::NONE };
        let mut frame = buffer(&packet_v6(0));
        frame.offload = said(30);
        assert_eq!(dress(&mut frame, mac(1), mac(2)), Ok(()));
        assert_eq!(frame.offload, said(44));
        assert_eq!(strip(&mut frame), Ok(()));
        assert_eq!(frame.offload, said(30));
        frame.offload = said(34);
        assert_eq!(dress(&mut frame, mac(1), mac(2)), Err(DropReason::VnetCsum));
    }

    #[test]
    fn refusals_have_names() {
        let mut short_header = PACKET_V4;
        short_header[0] = 0x44;
        let mut short_total = PACKET_V4;
        short_total[3] = 19;
        let mut long_total = PACKET_V4;
        long_total[3] = 21;
        for (datagram, reason) in [
            (&[][..], DropReason::EncapTruncated),
            (&PACKET_V4[..19], DropReason::EncapTruncated),
            (&packet_v6(0)[..39], DropReason::EncapTruncated),
            (&packet_v6(1), DropReason::EncapTruncated),
            (&long_total, DropReason::EncapTruncated),
            (&short_header, DropReason::EncapFlags),
            (&short_total, DropReason::EncapFlags),
            (&[0x08; 40], DropReason::EncapFlags),
        ] {
            assert_eq!(check(datagram), Err(reason), "{datagram:02x?}");
        }
    }
}
