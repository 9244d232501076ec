//! The underlay: the network that the switches' own hosts share, which carries the datagrams of their tunnels.
//!
//! ```text
//!  node ─ payload ─▶ wrap: Ethernet, IP, UDP ─▶ Link ─▶ underlay (who has that address?) ─▶ Link ─▶ unwrap ─▶ node
//! ```
//!
//! Every switch with tunnels has one wire to it, with faults like any other; between two switches a datagram passes two.
//! What crosses is a whole frame, so a flipped bit may hit any header, and is found by what a host's stack looks at:
//! Ethernet address, version and lengths, the IPv4 header's checksum, the UDP checksum. A datagram for an address or an
//! L4 port that nobody has is lost; nobody says so, because a tunnel's end would not listen.
//!
//! The outer source L4 port of VXLAN follows the inner flow, as it does live; no receiver may depend on it. Neither
//! fragments (datagrams are sent with don't fragment) nor asks for neighbours: hosts of one network know each other.

use std::net::IpAddr;

use node::Endpoint;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr,
    Ipv6Packet, Ipv6Repr, UdpPacket, UdpRepr,
};
use wire::ethernet::HEADER_LEN;
use wire::{Ecn, Mac};

/// TTL or hop limit of what a host sends ([`encap::plan::OUTER_TTL`]).
const TTL: u8 = encap::plan::OUTER_TTL;
/// The UDP header.
const UDP_HEADER_LEN: usize = 8;

/// A datagram that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) from: Endpoint,
    pub(super) to: Endpoint,
    pub(super) ecn: Ecn,
    pub(super) payload: &'a [u8],
}

impl Datagram<'_> {
    /// The frame that it travels in.
    pub(super) fn wrap(&self) -> Vec<u8> {
        let Self { from, to, ecn, payload } = *self;
        let udp = UdpRepr { src_port: from.l4_port, dst_port: to.l4_port };
        let udp_len = UDP_HEADER_LEN + payload.len();
        let (ethertype, ip_len) = match to.address {
            IpAddr::V4(_) => (EthernetProtocol::Ipv4, 20),
            IpAddr::V6(_) => (EthernetProtocol::Ipv6, 40),
        };
        let mut frame = vec![0; HEADER_LEN + ip_len + udp_len];
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress(card(from.address).0),
            dst_addr: EthernetAddress(card(to.address).0),
            ethertype,
        };
        ethernet.emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
        let (ip, rest) = frame[HEADER_LEN..].split_at_mut(ip_len);
        match (from.address, to.address) {
            (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
                let next_header = IpProtocol::Udp;
                let mut packet = Ipv4Packet::new_unchecked(ip);
                Ipv4Repr { src_addr, dst_addr, next_header, payload_len: udp_len, hop_limit: TTL }
                    .emit(&mut packet, &ChecksumCapabilities::ignored());
                packet.set_ecn(ecn.bits());
                packet.fill_checksum();
            }
            (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => {
                let next_header = IpProtocol::Udp;
                Ipv6Repr { src_addr, dst_addr, next_header, payload_len: udp_len, hop_limit: TTL }
                    .emit(&mut Ipv6Packet::new_unchecked(&mut *ip));
                ip[1] |= ecn.bits() << 4;
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                unreachable!("a tunnel's ends are checked to be of one family")
            }
        }
        udp.emit(
            &mut UdpPacket::new_unchecked(rest),
            &from.address.into(),
            &to.address.into(),
            payload.len(),
            |data| data.copy_from_slice(payload),
            &ChecksumCapabilities::default(),
        );
        frame
    }
}

/// The datagram in a frame that a host has received; `None` for what its stack would drop.
pub(super) fn unwrap(frame: &[u8]) -> Option<Datagram<'_>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let (src, dst, ecn, udp) = match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(frame.get(HEADER_LEN..)?).ok()?;
            let is_whole = packet.version() == 4 && packet.verify_checksum() && !packet.more_frags();
            if !is_whole || packet.frag_offset() != 0 || packet.next_header() != IpProtocol::Udp {
                return None;
            }
            let (src, dst) = (IpAddr::V4(packet.src_addr()), IpAddr::V4(packet.dst_addr()));
            (src, dst, Ecn::of(packet.ecn()), packet.payload())
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(frame.get(HEADER_LEN..)?).ok()?;
            if packet.version() != 6 || packet.next_header() != IpProtocol::Udp {
                return None;
            }
            let (src, dst) = (IpAddr::V6(packet.src_addr()), IpAddr::V6(packet.dst_addr()));
            (src, dst, Ecn::of(packet.traffic_class()), packet.payload())
        }
        EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => return None,
    };
    let datagram = UdpPacket::new_checked(udp).ok()?;
    let is_for = ethernet.dst_addr().0 == card(dst).0;
    let is_right = datagram.checksum() != 0 && datagram.verify_checksum(&src.into(), &dst.into());
    (is_for && is_right).then_some(Datagram {
        from: Endpoint { address: src, l4_port: datagram.src_port() },
        to: Endpoint { address: dst, l4_port: datagram.dst_port() },
        ecn,
        payload: datagram.payload(),
    })
}

/// Whom a frame is for, as far as the underlay looks: it forwards what it cannot read to nobody.
pub(super) fn destination(frame: &[u8]) -> Option<IpAddr> {
    let address = |at: usize| frame.get(HEADER_LEN + at..);
    match EthernetFrame::new_checked(frame).ok()?.ethertype() {
        EthernetProtocol::Ipv4 => Some(IpAddr::from(*address(16)?.first_chunk::<4>()?)),
        EthernetProtocol::Ipv6 => Some(IpAddr::from(*address(24)?.first_chunk::<16>()?)),
        EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => None,
    }
}

/// The MAC address of the host with this address.
fn card(address: IpAddr) -> Mac {
    let [a, b, c, d] = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => *address.octets().last_chunk().expect("16 octets end with 4"),
    };
    Mac([0x02, 0x55, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str, l4_port: u16) -> Endpoint {
        Endpoint { address: text.parse().unwrap(), l4_port }
    }

    #[test]
    fn what_is_wrapped_is_unwrapped_unless_a_bit_has_flipped() {
        for (from, to) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
            let datagram = Datagram {
                from: end(from, 50_000),
                to: end(to, 4789),
                ecn: Ecn::Ce,
                payload: b"a payload of odd length",
            };
            let frame = datagram.wrap();
            assert_eq!(unwrap(&frame), Some(datagram));
            assert_eq!(destination(&frame), Some(datagram.to.address));
            for bit in 0..frame.len() * 8 {
                let mut frame = frame.clone();
                frame[bit / 8] ^= 0x80 >> (bit % 8);
                // Nothing vouches for the source MAC address, nor for IPv6's traffic class, flow label and hop limit.
                let is_free = (48..96).contains(&bit)
                    || to.contains(':') && ((14 * 8 + 4..18 * 8).contains(&bit) || bit / 8 == 21);
                assert_eq!(unwrap(&frame).is_none(), !is_free, "{from}, bit {bit}");
            }
        }
    }
}
