//! Flannel's UDP format: the datagram's payload is a bare IP packet, with no header of its own.
//!
//! There is nothing to push and nothing to pop; what can be told of a datagram is whether it starts like an IP packet
//! that it holds to the end. Flannel itself speaks IPv4 only and looks at the length alone; IPv6 is taken here because
//! the version says which it is.

use wire::DropReason;

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

#[cfg(test)]
mod tests {
    use super::*;

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
