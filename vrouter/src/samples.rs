//! Packets for tests, written octet by octet and summed by smoltcp, independent of what is tested.

use core::net::IpAddr;
use std::vec::Vec;

use smoltcp::wire::{IpAddress, IpProtocol, checksum};
use wire::{FrameBuf, FramePool, Offload};

/// A buffer that holds these octets.
pub(crate) fn frame(bytes: &[u8], offload: Offload) -> FrameBuf {
    let mut frame = FramePool::default().take();
    assert!(frame.fill(bytes));
    frame.offload = offload;
    frame
}

/// What varies between packets; [`Sample::bytes`] writes the frame.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    /// L4 header and payload, or the piece of them that a fragment carries.
    pub(crate) l4: Vec<u8>,
    /// IPv4 options: whole words of four octets.
    pub(crate) options: Vec<u8>,
    pub(crate) dont_fragment: bool,
    pub(crate) ttl: u8,
    pub(crate) id: u32,
    /// Where the piece lies, in octets, and whether more follow. `None` for IPv6 is no fragment header at all.
    pub(crate) piece: Option<(usize, bool)>,
}

impl Sample {
    /// A whole packet.
    pub(crate) fn new(src: &str, dst: &str, protocol: u8, l4: Vec<u8>) -> Self {
        Self {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            protocol,
            l4,
            options: Vec::new(),
            dont_fragment: false,
            ttl: 64,
            id: 0x1234,
            piece: None,
        }
    }

    /// A UDP datagram.
    pub(crate) fn udp(src: &str, dst: &str, l4_ports: [u16; 2], data: &[u8]) -> Self {
        let len = u16::try_from(8 + data.len()).unwrap();
        let words = [l4_ports[0], l4_ports[1], len, 0];
        let l4 = words.into_iter().flat_map(u16::to_be_bytes).chain(data.iter().copied()).collect();
        Self::new(src, dst, 17, l4).sealed(6)
    }

    /// A TCP segment; `options` are whole words of four octets.
    pub(crate) fn tcp(
        src: &str,
        dst: &str,
        l4_ports: [u16; 2],
        flags: u8,
        options: &[u8],
        data: &[u8],
    ) -> Self {
        let offset = u8::try_from(5 + options.len() / 4).unwrap() << 4;
        let mut l4: Vec<u8> = l4_ports.into_iter().flat_map(u16::to_be_bytes).collect();
        l4.extend([0, 0, 0, 1, 0, 0, 0, 2, offset, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        l4.extend(options);
        l4.extend(data);
        Self::new(src, dst, 6, l4).sealed(16)
    }

    /// An ICMP or ICMPv6 message: type, code and what follows the checksum.
    pub(crate) fn icmp(src: &str, dst: &str, kind: u8, code: u8, rest: &[u8]) -> Self {
        let protocol = if src.contains(':') { 58 } else { 1 };
        Self::new(src, dst, protocol, [&[kind, code, 0, 0], rest].concat()).sealed(2)
    }

    /// Writes the L4 checksum, whose field stands at `at`.
    pub(crate) fn sealed(mut self, at: usize) -> Self {
        self.l4[at..at + 2].fill(0);
        let sum = match !l4_sum(self.src, self.dst, self.protocol, &self.l4) {
            0 if self.protocol == 17 => 0xffff,
            sum => sum,
        };
        self.l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        self
    }

    /// The piece of this packet that begins `offset` octets into its L4 part.
    pub(crate) fn piece(&self, offset: usize, len: usize) -> Self {
        let end = (offset + len).min(self.l4.len());
        let l4 = self.l4[offset..end].to_vec();
        Self { l4, piece: Some((offset, end < self.l4.len())), ..self.clone() }
    }

    /// The frame, from 02:00:00:00:00:09 to 02:00:00:00:00:01.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let ethertype = if self.src.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
        let mut bytes = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9][..], &ethertype].concat();
        let (offset, more) = self.piece.unwrap_or((0, false));
        assert_eq!(offset % 8, 0);
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header_len = 20 + self.options.len();
                let total_len = u16::try_from(header_len + self.l4.len()).unwrap();
                let id = u16::try_from(self.id).unwrap();
                let flags = u16::try_from(offset / 8).unwrap()
                    | if more { 0x2000 } else { 0 }
                    | if self.dont_fragment { 0x4000 } else { 0 };
                bytes.extend([0x40 | u8::try_from(header_len / 4).unwrap(), 0]);
                bytes.extend([total_len, id, flags].into_iter().flat_map(u16::to_be_bytes));
                bytes.extend([self.ttl, self.protocol, 0, 0]);
                bytes.extend(src.octets().into_iter().chain(dst.octets()));
                bytes.extend(&self.options);
                let sum = !checksum::data(&bytes[14..]);
                bytes[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let extension = match self.piece {
                    Some(_) => {
                        let field = u16::try_from(offset).unwrap() | u16::from(more);
                        [&[self.protocol, 0][..], &field.to_be_bytes(), &self.id.to_be_bytes()].concat()
                    }
                    None => Vec::new(),
                };
                let len = u16::try_from(extension.len() + self.l4.len()).unwrap().to_be_bytes();
                let next = if extension.is_empty() { self.protocol } else { 44 };
                bytes.extend([0x60, 0, 0, 0, len[0], len[1], next, self.ttl]);
                bytes.extend(src.octets().into_iter().chain(dst.octets()));
                bytes.extend(extension);
            }
            other => panic!("{other:?}"),
        }
        bytes.extend(&self.l4);
        bytes
    }
}

/// The sum that a correct L4 checksum makes all ones.
fn l4_sum(src: IpAddr, dst: IpAddr, protocol: u8, l4: &[u8]) -> u16 {
    let len = u32::try_from(l4.len()).unwrap();
    let pseudo = match protocol {
        1 => 0,
        _ => checksum::pseudo_header(
            &IpAddress::from(src),
            &IpAddress::from(dst),
            IpProtocol::from(protocol),
            len,
        ),
    };
    checksum::combine(&[pseudo, checksum::data(l4)])
}

/// Asserts that an unfragmented packet's lengths and checksums are right; behind the frame's end is nothing.
pub(crate) fn assert_sound(bytes: &[u8]) {
    if bytes[12..14] == [8, 0] {
        let l4 = 14 + usize::from(bytes[14] & 15) * 4;
        assert_eq!(usize::from(u16::from_be_bytes([bytes[16], bytes[17]])), bytes.len() - 14);
        assert_eq!(checksum::data(&bytes[14..l4]), !0, "IPv4 header checksum");
        let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap());
        assert_eq!(l4_sum(address(26), address(30), bytes[23], &bytes[l4..]), !0, "L4 checksum");
    } else {
        assert_eq!(usize::from(u16::from_be_bytes([bytes[18], bytes[19]])), bytes.len() - 54);
        let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap());
        assert_eq!(l4_sum(address(22), address(38), bytes[20], &bytes[54..]), !0, "L4 checksum");
    }
}
