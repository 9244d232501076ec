//! How many tunnels are inside a frame already.
//!
//! A station may run a tunnel of its own, and something in that tunnel another. But a datagram whose way to its remote end
//! leads through the very tunnel that it belongs to grows by a header at each turn, until it fits nowhere: frames with
//! [`NESTING_MAX`] tunnels inside enter no further one (as RFC 2473 §4.1.1 limits tunnels in IPv6).
//!
//! A tunnel is known by its UDP port, of VXLAN or of flannel's format, and by what stands behind. What hides its headers
//! (fragments, IPv6 extensions, encryption, other encapsulations) is not looked into. What is no tunnel costs a look at
//! the protocol and the L4 port.

use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, HEADER_LEN};
use wire::headers::PROTOCOL_UDP;

use crate::vxlan;

/// Tunnels inside a frame that may enter another one. With one more it is dropped as `deliver.nested-tunnel`.
pub const NESTING_MAX: usize = 2;

/// VXLAN's L4 port, and the one that Linux and flannel use for it.
const VXLAN_L4_PORTS: [u16; 2] = [4789, 8472];
/// Flannel's UDP format.
const BARE_L4_PORT: u16 = 8285;

/// Whether too many tunnels are inside the frame.
#[inline]
pub fn is_too_deep(frame: &[u8]) -> bool {
    inside(frame).is_some_and(|first| is_deeper(first, NESTING_MAX))
}

#[cold]
fn is_deeper(mut inner: Inner<'_>, max: usize) -> bool {
    for _ in 0..max {
        let next = match inner {
            Inner::Frame(frame) => inside(frame),
            Inner::Packet(packet) => inside_packet(packet),
        };
        let Some(next) = next else { return false };
        inner = next;
    }
    true
}

/// What a tunnel carries.
enum Inner<'a> {
    Frame(&'a [u8]),
    Packet(&'a [u8]),
}

/// What is in the tunnel that the frame holds; `None` if it holds none.
#[inline]
fn inside(frame: &[u8]) -> Option<Inner<'_>> {
    match u16::from_be_bytes(*frame.get(12..)?.first_chunk()?) {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => inside_packet(frame.get(HEADER_LEN..)?),
        _ => None,
    }
}

#[inline]
fn inside_packet(packet: &[u8]) -> Option<Inner<'_>> {
    let &first = packet.first()?;
    let (protocol, l4) = match first >> 4 {
        4 => (*packet.get(9)?, usize::from(first & 15) * 4),
        6 => (*packet.get(6)?, 40),
        _ => return None,
    };
    if protocol != PROTOCOL_UDP {
        return None;
    }
    let l4_port = u16::from_be_bytes(*packet.get(l4 + 2..)?.first_chunk()?);
    let payload = packet.get(l4 + 8..)?;
    if VXLAN_L4_PORTS.contains(&l4_port) && vxlan::read(payload).is_ok() {
        Some(Inner::Frame(&payload[vxlan::HEADER_LEN..]))
    } else if l4_port == BARE_L4_PORT {
        Some(Inner::Packet(payload))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn packet(v4: bool, l4_port: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = std::vec![0; if v4 { 28 } else { 48 }];
        let l4 = packet.len() - 8;
        packet[0] = if v4 { 0x45 } else { 0x60 };
        packet[if v4 { 9 } else { 6 }] = PROTOCOL_UDP;
        packet[l4 + 2..l4 + 4].copy_from_slice(&l4_port.to_be_bytes());
        packet.extend(payload);
        packet
    }

    fn framed(v4: bool, packet: &[u8]) -> Vec<u8> {
        let ethertype = if v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        [&[0; 12][..], &ethertype, packet].concat()
    }

    fn vxlan(inner: &[u8]) -> Vec<u8> {
        [&[8, 0, 0, 0, 0, 0, 1, 0][..], inner].concat()
    }

    #[test]
    fn two_tunnels_may_be_inside_and_no_more() {
        let plain = framed(true, &packet(true, 53, b"question"));
        for (v4, l4_port) in [(true, 4789), (true, 8472), (false, 4789)] {
            let once = framed(v4, &packet(v4, l4_port, &vxlan(&plain)));
            let twice = framed(v4, &packet(v4, l4_port, &vxlan(&once)));
            let thrice = framed(v4, &packet(v4, l4_port, &vxlan(&twice)));
            assert_eq!(
                [&plain, &once, &twice, &thrice].map(|frame| is_too_deep(frame)),
                [false, false, false, true]
            );
        }
        let bare = |payload: &[u8]| packet(true, 8285, payload);
        assert!(!is_too_deep(&framed(true, &bare(&bare(&plain)))));
        assert!(is_too_deep(&framed(true, &bare(&bare(&bare(b""))))));
        // The L4 port alone makes no VXLAN.
        let question = |payload: &[u8]| framed(true, &packet(true, 4789, payload));
        assert!(!is_too_deep(&question(&question(&question(b"")))));
    }

    proptest! {
        #[test]
        fn any_frame_is_judged(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let mut frame = framed(true, &packet(true, 8285, &bytes));
            is_too_deep(&frame);
            frame.truncate(bytes.len());
            is_too_deep(&frame);
        }
    }
}
