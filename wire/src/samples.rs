//! Frames for the tests of segmentation and coalescing, written octet by octet and independent of both.

use proptest::prelude::*;
use smoltcp::wire::{IpAddress, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket};
use std::vec::Vec;

use crate::checksum::{TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET};
use crate::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN};
use crate::frame::FrameBuf;
use crate::headers::{Headers, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::offload::{Gso, NEEDS_CSUM, Offload};
use crate::{FramePool, ipv4, tcp};

/// What varies between frames; [`Sample::frame`] writes it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) v6: bool,
    pub(crate) tagged: bool,
    pub(crate) udp: bool,
    /// Four-octet TCP options.
    pub(crate) options: usize,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) id: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) l4_ports: [u16; 2],
    pub(crate) data: Vec<u8>,
    /// 0: an ordinary frame.
    pub(crate) gso_size: u16,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            v6: false,
            tagged: false,
            udp: false,
            options: 3,
            flags: tcp::ACK,
            seq: 1_000,
            id: 7,
            dont_fragment: true,
            l4_ports: [0x1234, 5201],
            data: std::vec![0x11; 100],
            gso_size: 0,
        }
    }
}

impl Sample {
    /// Octets before the data.
    pub(crate) fn header_len(&self) -> usize {
        let l4_len = if self.udp { 8 } else { 20 + 4 * self.options };
        14 + if self.tagged { 4 } else { 0 } + if self.v6 { 40 } else { 20 } + l4_len
    }

    /// The frame with its checksum partial and, with a `gso_size`, the metadata of a super-segment.
    pub(crate) fn frame(&self) -> FrameBuf {
        let (l3, l4_bytes) = (if self.tagged { 18 } else { 14 }, self.l4());
        let mut bytes = std::vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        if self.tagged {
            bytes.extend_from_slice(&ETHERTYPE_VLAN.to_be_bytes());
            bytes.extend_from_slice(&[0x60, 10]);
        }
        let l4_len = u16::try_from(l4_bytes.len()).unwrap();
        let protocol = if self.udp { PROTOCOL_UDP } else { PROTOCOL_TCP };
        if self.v6 {
            bytes.extend_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
            bytes.extend_from_slice(&[0x61, 0x20, 0, 9]);
            bytes.extend_from_slice(&l4_len.to_be_bytes());
            bytes.extend_from_slice(&[protocol, 63]);
            bytes.extend((0..32).map(|octet| 0xf0 ^ octet));
        } else {
            bytes.extend_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
            bytes.extend_from_slice(&[0x45, 0x12]);
            bytes.extend_from_slice(&(l4_len + 20).to_be_bytes());
            bytes.extend_from_slice(&self.id.to_be_bytes());
            bytes.extend_from_slice(&[if self.dont_fragment { 0x40 } else { 0 }, 0, 63, protocol, 0, 0]);
            bytes.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
            assert!(ipv4::fill_checksum(&mut bytes[l3..]));
        }
        let l4 = bytes.len();
        bytes.extend_from_slice(&l4_bytes);
        let mut frame = FramePool::default().take();
        assert!(frame.fill(&bytes));
        let csum_offset = if self.udp { UDP_CHECKSUM_OFFSET } else { TCP_CHECKSUM_OFFSET };
        let pseudo = Headers::parse(&bytes).unwrap().pseudo_sum(&bytes, l4_len).unwrap();
        let field = l4 + usize::from(csum_offset);
        frame.bytes_mut()[field..field + 2].copy_from_slice(&pseudo.folded().to_be_bytes());
        let gso = match (self.gso_size, self.udp, self.v6) {
            (0, _, _) => Gso::None,
            (_, true, _) => Gso::UdpL4,
            (_, false, false) => Gso::TcpV4,
            (_, false, true) => Gso::TcpV6,
        };
        let hdr_len = if gso == Gso::None { 0 } else { u16::try_from(self.header_len()).unwrap() };
        frame.offload = Offload {
            flags: NEEDS_CSUM,
            gso,
            ecn: gso != Gso::None && !self.udp && self.flags & tcp::CWR != 0,
            hdr_len,
            gso_size: self.gso_size,
            csum_start: u16::try_from(l4).unwrap(),
            csum_offset,
        };
        frame
    }

    /// The frame with its checksum finished and no metadata.
    pub(crate) fn finished(&self) -> FrameBuf {
        let mut frame = self.frame();
        crate::segment::finish_checksum(&mut frame).unwrap();
        frame
    }

    fn l4(&self) -> Vec<u8> {
        let mut l4: Vec<u8> = self.l4_ports.iter().flat_map(|number| number.to_be_bytes()).collect();
        if self.udp {
            let len = u16::try_from(8 + self.data.len()).unwrap();
            l4.extend_from_slice(&len.to_be_bytes());
            l4.extend_from_slice(&[0, 0]);
        } else {
            l4.extend_from_slice(&self.seq.to_be_bytes());
            l4.extend_from_slice(&[0, 0, 0x30, 0x39]);
            let offset = u8::try_from(5 + self.options).unwrap() << 4;
            l4.extend_from_slice(&[offset, self.flags, 0x01, 0xf6, 0, 0, 0, 0]);
            l4.extend((0..self.options).flat_map(|index| [1, 1, 1, u8::try_from(index).unwrap()]));
        }
        l4.extend_from_slice(&self.data);
        l4
    }
}

/// Any super-segment of more than one segment.
pub(crate) fn super_segments() -> impl Strategy<Value = Sample> {
    let kind = (any::<bool>(), any::<bool>(), any::<bool>(), 0_usize..11, any::<bool>());
    let numbers = (any::<u32>(), any::<u16>(), any::<[u16; 2]>());
    let sizes = prop_oneof![1_u16..64, 500_u16..1_460, Just(1_448), Just(8_948)];
    (kind, 0_u8..16, numbers, sizes, 2_u16..60, any::<u16>(), any::<u64>()).prop_map(
        |(
            (v6, tagged, udp, options, dont_fragment),
            flags,
            (seq, id, l4_ports),
            gso_size,
            count,
            short,
            seed,
        )| {
            let most = (65_000 / usize::from(gso_size)).min(usize::from(count)).max(2);
            let last = usize::from(short % gso_size) + 1;
            let mut rng = crate::Rng::seeded(seed);
            let data_len = (most - 1) * usize::from(gso_size) + last;
            let data =
                core::iter::repeat_with(|| rng.next_u64().to_be_bytes()).flatten().take(data_len).collect();
            // Any mix of FIN, PSH, ECE and CWR.
            let flags = [tcp::FIN, tcp::PSH, tcp::ECE, tcp::CWR]
                .iter()
                .enumerate()
                .fold(tcp::ACK, |all, (bit, &flag)| if flags >> bit & 1 == 1 { all | flag } else { all });
            let l4_ports = l4_ports.map(|number| number | 0x8000); // Never a tunnel's.
            Sample { v6, tagged, udp, options, flags, seq, id, dont_fragment, l4_ports, data, gso_size }
        },
    )
}

/// Lengths and checksums of an ordinary finished frame, by smoltcp's reckoning.
pub(crate) fn assert_intact(bytes: &[u8]) {
    let headers = Headers::parse(bytes).unwrap();
    assert_eq!(headers.end, bytes.len(), "the packet is as long as the frame");
    let (src, dst) = (headers.src(bytes).unwrap(), headers.dst(bytes).unwrap());
    let l4 = match headers.family {
        crate::headers::Family::V4 => {
            let packet = Ipv4Packet::new_checked(&bytes[headers.l3..]).unwrap();
            assert!(packet.verify_checksum(), "IPv4 header checksum");
            packet.payload()
        }
        crate::headers::Family::V6 => Ipv6Packet::new_checked(&bytes[headers.l3..]).unwrap().payload(),
    };
    let (src, dst) = (IpAddress::from(src), IpAddress::from(dst));
    if headers.protocol == PROTOCOL_UDP {
        let packet = UdpPacket::new_checked(l4).unwrap();
        assert_eq!(usize::from(packet.len()), l4.len());
        assert!(packet.checksum() != 0 && packet.verify_checksum(&src, &dst), "UDP checksum");
    } else {
        assert!(TcpPacket::new_checked(l4).unwrap().verify_checksum(&src, &dst), "TCP checksum");
    }
}
