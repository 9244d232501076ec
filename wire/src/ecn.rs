//! Explicit congestion notification: the two bits of a packet by which routers say that a queue grows (RFC 3168 §5).
//!
//! The bits are the lowest of IPv4's type of service and of IPv6's traffic class. Reads and writes them in an Ethernet
//! frame without a tag; what is not IP has none.

use crate::checksum::Delta;
use crate::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, HEADER_LEN};

/// What the two bits say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ecn {
    /// 00: the sender does not take part.
    #[default]
    NotEct,
    /// 01: it does (and may mean more by it, RFC 8311).
    Ect1,
    /// 10: it does.
    Ect0,
    /// 11: a queue on the way has grown.
    Ce,
}

impl Ecn {
    /// From the lowest two bits of a traffic class; the others are ignored.
    pub const fn of(traffic_class: u8) -> Self {
        match traffic_class & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits.
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0,
            Self::Ect1 => 1,
            Self::Ect0 => 2,
            Self::Ce => 3,
        }
    }

    /// What the IP packet of an untagged frame says; `None` without one.
    pub fn of_frame(frame: &[u8]) -> Option<Self> {
        match (ethertype(frame)?, frame.get(HEADER_LEN..)?) {
            (ETHERTYPE_IPV4, [_, tos, ..]) => Some(Self::of(*tos)),
            (ETHERTYPE_IPV6, [_, second, ..]) => Some(Self::of(second >> 4)),
            (_, _) => None,
        }
    }

    /// Writes the bits into the IP packet of an untagged frame and keeps an IPv4 header's checksum as right or wrong as
    /// it was. Does nothing without a packet that holds them.
    pub fn write(self, frame: &mut [u8]) {
        match (ethertype(frame), frame.get_mut(HEADER_LEN..)) {
            (Some(ETHERTYPE_IPV4), Some([version, tos, _, _, _, _, _, _, _, _, sum_high, sum_low, ..])) => {
                let before = u16::from_be_bytes([*version, *tos]);
                *tos = *tos & !3 | self.bits();
                let after = u16::from_be_bytes([*version, *tos]);
                let sum = u16::from_be_bytes([*sum_high, *sum_low]);
                [*sum_high, *sum_low] = Delta::default().replace16(before, after).apply(sum).to_be_bytes();
            }
            (Some(ETHERTYPE_IPV6), Some([_, second, ..])) => {
                *second = *second & !0x30 | self.bits() << 4;
            }
            (_, _) => {}
        }
    }
}

fn ethertype(frame: &[u8]) -> Option<u16> {
    frame.get(12..HEADER_LEN)?.first_chunk().map(|&octets| u16::from_be_bytes(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Sample, assert_intact};

    const ALL: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce];

    #[test]
    fn bits_go_round_and_headers_stay_intact() {
        for (number, ecn) in (0..).zip(ALL) {
            assert_eq!((ecn.bits(), Ecn::of(0xfc | number)), (number, ecn));
            for v6 in [false, true] {
                let mut frame = Sample { v6, data: [1, 2].into(), ..Sample::default() }.finished();
                for next in ALL {
                    ecn.write(frame.bytes_mut());
                    assert_eq!(Ecn::of_frame(frame.bytes()), Some(ecn));
                    next.write(frame.bytes_mut());
                    assert_intact(frame.bytes());
                }
            }
            let mut wide = [0xff; 60];
            wide[12..14].copy_from_slice(&[0x86, 0xdd]);
            ecn.write(&mut wide);
            assert_eq!(wide[15], 0xcf | number << 4, "DSCP and flow label stay");
        }
    }

    #[test]
    fn what_holds_no_packet_has_none() {
        let mut arp = [0xa5; 60];
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        for bytes in [&arp[..], &arp[..13], &[], &[0x08; 14]] {
            let mut frame = bytes.to_vec();
            assert_eq!(Ecn::of_frame(bytes), None);
            Ecn::Ce.write(&mut frame);
            assert_eq!(frame, bytes);
        }
    }
}
