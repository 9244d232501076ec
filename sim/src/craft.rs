//! Frames written octet by octet, for tests and goldens. Nothing of `wire` is used but its names, so that a mistake
//! there cannot hide here.
//!
//! Read from the inside out: `ip(link, src, dst, UDP, &udp(src, dst, …))`. Checksums are right; who wants a wrong one
//! damages the octets afterwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::offload::VNET_HDR_LEN;
use wire::{Mac, Offload};

/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// See [`ICMP`].
pub const TCP: u8 = 6;
/// See [`ICMP`].
pub const UDP: u8 = 17;
/// See [`ICMP`].
pub const ICMPV6: u8 = 58;
/// The local experimental type (IEEE 802-2014 §9.2.3), for frames whose payload nobody reads.
pub const EXPERIMENTAL: u16 = 0x88b5;

/// Destination and source.
pub type Addresses = (Mac, Mac);

/// The station number `n`: 02:00:00:00:00:`n`.
pub const fn station(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

/// An untagged frame.
pub fn ethernet((dst, src): Addresses, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0, &ethertype.to_be_bytes(), payload].concat()
}

/// An untagged frame that says `text` and no more.
pub fn says(addresses: Addresses, text: &str) -> Vec<u8> {
    ethernet(addresses, EXPERIMENTAL, text.as_bytes())
}

/// The frame with an 802.1Q tag: priority (3 bits), drop eligible (1), VLAN (12).
pub fn tagged(tci: u16, frame: &[u8]) -> Vec<u8> {
    tagged_as(0x8100, tci, frame)
}

/// The frame with a tag of another type, such as 802.1ad's 0x88a8.
pub fn tagged_as(ethertype: u16, tci: u16, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &ethertype.to_be_bytes(), &tci.to_be_bytes(), &frame[12..]].concat()
}

/// What an ARP packet asks or says.
#[derive(Clone, Copy, Debug)]
pub struct Arp {
    /// 1: who has; 2: is at.
    pub operation: u16,
    /// Who speaks.
    pub sender: (Mac, Ipv4Addr),
    /// Whom about, or to whom.
    pub target: (Mac, Ipv4Addr),
}

/// An ARP frame.
pub fn arp(addresses: Addresses, arp: Arp) -> Vec<u8> {
    let Arp { operation, sender, target } = arp;
    let payload = [
        &[0, 1, 8, 0, 6, 4][..],
        &operation.to_be_bytes(),
        &sender.0.0,
        &sender.1.octets(),
        &target.0.0,
        &target.1.octets(),
    ];
    ethernet(addresses, 0x0806, &payload.concat())
}

/// "Who has `target`? Tell `sender`", to everybody.
pub fn arp_question(sender: (Mac, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    arp((Mac::BROADCAST, sender.0), Arp { operation: 1, sender, target: (Mac([0; 6]), target) })
}

/// An IP frame of either family, hop limit 64 (255 for ICMPv6, as neighbour discovery wants).
///
/// # Panics
/// The addresses are of different families, or the payload is longer than a packet.
pub fn ip(addresses: Addresses, src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("the payload fits a packet");
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let total = (len + 20).to_be_bytes();
            let mut header = [&[0x45, 0][..], &total, &[0, 0, 0x40, 0, 64, protocol, 0, 0]].concat();
            header.extend([src.octets(), dst.octets()].concat());
            let checksum = !ones_sum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            ethernet(addresses, 0x0800, &[&header, payload].concat())
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let hop_limit = if protocol == ICMPV6 { 255 } else { 64 };
            let header = [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[protocol, hop_limit]].concat();
            ethernet(addresses, 0x86dd, &[&header, &src.octets()[..], &dst.octets(), payload].concat())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            panic!("{src} and {dst} are of different families")
        }
    }
}

/// A UDP header with its data, for [`ip`] of the same addresses.
pub fn udp(src: (IpAddr, u16), dst: (IpAddr, u16), data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + data.len()).expect("the data fits a packet");
    let header = [src.1.to_be_bytes(), dst.1.to_be_bytes(), len.to_be_bytes(), [0, 0]].concat();
    with_checksum([&header, data].concat(), 6, pseudo_header(src.0, dst.0, UDP, 8 + data.len()))
}

/// A TCP header (ACK, sequence number 1) with its data, for [`ip`] of the same addresses.
pub fn tcp(src: (IpAddr, u16), dst: (IpAddr, u16), data: &[u8]) -> Vec<u8> {
    tcp_with(src, dst, 0x10, data)
}

/// The same with other flags.
pub fn tcp_with(src: (IpAddr, u16), dst: (IpAddr, u16), flags: u8, data: &[u8]) -> Vec<u8> {
    let mut segment = [src.1.to_be_bytes(), dst.1.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(data);
    with_checksum(segment, 16, pseudo_header(src.0, dst.0, TCP, 20 + data.len()))
}

/// An echo request of either family, for [`ip`] of the same addresses.
pub fn echo_request(src: IpAddr, dst: IpAddr, data: &[u8]) -> Vec<u8> {
    match src {
        IpAddr::V4(_) => with_checksum([&[8, 0, 0, 0, 0x12, 0x34, 0, 1][..], data].concat(), 2, 0),
        IpAddr::V6(_) => icmpv6(src, dst, &[&[128, 0, 0, 0, 0x12, 0x34, 0, 1][..], data].concat()),
    }
}

/// An ICMPv6 message whose checksum is filled in, for [`ip`] of the same addresses.
pub fn icmpv6(src: IpAddr, dst: IpAddr, message: &[u8]) -> Vec<u8> {
    with_checksum(message.to_vec(), 2, pseudo_header(src, dst, ICMPV6, message.len()))
}

/// An ICMP message whose checksum is filled in, for [`ip`].
pub fn icmp(message: &[u8]) -> Vec<u8> {
    with_checksum(message.to_vec(), 2, 0)
}

/// Makes the header checksum of an untagged IPv4 frame right, options included.
///
/// # Panics
/// The frame is shorter than its header says.
pub fn seal_ipv4(frame: &mut [u8]) {
    let header_len = usize::from(frame[14] & 15) * 4;
    frame[24..26].fill(0);
    let checksum = !ones_sum(&frame[14..14 + header_len]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
}

/// A neighbour solicitation (`kind` 135) or advertisement (136) for `target`, with one link-layer address option.
pub fn neighbour(kind: u8, target: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let (flags, option) = if kind == 136 { (0x60, 2) } else { (0, 1) };
    [&[kind, 0, 0, 0, flags, 0, 0, 0][..], &target.octets(), &[option, 1], &mac.0].concat()
}

/// The virtio header of an offload, as a device writes it.
pub fn virtio(offload: Offload) -> [u8; VNET_HDR_LEN] {
    let mut header = [0; VNET_HDR_LEN];
    offload.emit(&mut header);
    header
}

/// Turns the finished TCP or UDP frame that [`ip`] has made into one whose checksum is left to the device: the field
/// holds the sum of the pseudo-header.
pub fn unfinish(frame: &mut [u8], src: IpAddr, dst: IpAddr, protocol: u8) -> (u16, u16) {
    let l4 = if src.is_ipv4() { 34 } else { 54 };
    let offset = if protocol == TCP { 16 } else { 6 };
    let pseudo = pseudo_header(src, dst, protocol, frame.len() - l4);
    frame[l4 + offset..l4 + offset + 2].copy_from_slice(&pseudo.to_be_bytes());
    (u16::try_from(l4).expect("it is 34 or 54"), u16::try_from(offset).expect("it is 6 or 16"))
}

fn with_checksum(mut bytes: Vec<u8>, at: usize, pseudo: u16) -> Vec<u8> {
    bytes[at..at + 2].fill(0);
    let sum = u32::from(ones_sum(&bytes)) + u32::from(pseudo);
    let checksum = !fold(sum);
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> u16 {
    let len = u32::try_from(len).expect("it fits a packet").to_be_bytes();
    let octets = |address| match address {
        IpAddr::V4(v4) => Ipv4Addr::octets(&v4).to_vec(),
        IpAddr::V6(v6) => Ipv6Addr::octets(&v6).to_vec(),
    };
    ones_sum(&[octets(src), octets(dst), len.to_vec(), vec![0, protocol]].concat())
}

/// The ones' complement sum of 16-bit words (RFC 1071), slowly.
fn ones_sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    fold(words.sum())
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).expect("it was folded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{
        ArpPacket, ArpRepr, EthernetFrame, Icmpv4Packet, Icmpv6Packet, Icmpv6Repr, Ipv4Packet, Ipv6Packet,
        TcpPacket, UdpPacket,
    };

    const V4: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))];
    const V6: [Ipv6Addr; 2] =
        [Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)];
    const LINK: Addresses = (station(2), station(1));

    #[test]
    fn smoltcp_reads_what_is_written() {
        let datagram = ip(LINK, V4[0], V4[1], UDP, &udp((V4[0], 1), (V4[1], 2), b"odd"));
        let packet = Ipv4Packet::new_checked(&datagram[14..]).unwrap();
        assert!(packet.verify_checksum());
        assert!(
            UdpPacket::new_checked(packet.payload()).unwrap().verify_checksum(&V4[0].into(), &V4[1].into())
        );

        let segment = ip(LINK, V4[0], V4[1], TCP, &tcp((V4[0], 1), (V4[1], 2), b"data"));
        let packet = Ipv4Packet::new_checked(&segment[14..]).unwrap();
        assert!(
            TcpPacket::new_checked(packet.payload()).unwrap().verify_checksum(&V4[0].into(), &V4[1].into())
        );

        let echo = echo_request(V4[0], V4[1], b"ping");
        assert!(Icmpv4Packet::new_checked(&echo[..]).unwrap().verify_checksum());

        let [src, dst] = V6.map(IpAddr::V6);
        let question = icmpv6(src, dst, &neighbour(135, V6[1], station(1)));
        let frame = ip(LINK, src, dst, ICMPV6, &question);
        let packet = Ipv6Packet::new_checked(&frame[14..]).unwrap();
        let message = Icmpv6Packet::new_checked(packet.payload()).unwrap();
        let read = Icmpv6Repr::parse(&V6[0], &V6[1], &message, &ChecksumCapabilities::default());
        assert!(matches!(read, Ok(Icmpv6Repr::Ndisc(_))), "{read:?}");
    }

    #[test]
    fn smoltcp_reads_arp_and_tags_stand_behind_the_addresses() {
        let sender = (station(1), Ipv4Addr::new(10, 0, 0, 1));
        let frame = arp_question(sender, Ipv4Addr::new(10, 0, 0, 2));
        let ethernet = EthernetFrame::new_checked(&frame[..]).unwrap();
        assert!(ethernet.dst_addr().is_broadcast());
        let packet = ArpPacket::new_checked(ethernet.payload()).unwrap();
        let ArpRepr::EthernetIpv4 { target_protocol_addr, .. } = ArpRepr::parse(&packet).unwrap() else {
            panic!("it is Ethernet and IPv4");
        };
        assert_eq!(target_protocol_addr, Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(tagged(0x600a, &frame)[12..18], [0x81, 0, 0x60, 0x0a, 8, 6]);
    }
}
