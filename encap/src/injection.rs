//! Who aims at a tunnel: datagrams inside the switch that are addressed to an end of one of its own tunnels.
//!
//! A peer believes what comes from our address, and we what comes from a peer's. A station could use both: its datagram
//! to a peer's end, translated on the way out, comes from this host; one that it sends to our own end with a peer's source
//! address may get past a host that does not look where its packets come in. So no frame inside the switch may be a
//! datagram to the address *and* L4 port of an end, whichever port it comes in by: a station's, the host's own, a tunnel's.
//! Nothing honest is lost, because this host's datagrams come from its socket, not from a port. The same rule ends the loop
//! of a host whose route to a peer leads back into the switch.
//!
//! What the rule costs: an end of a tunnel cannot be a station of the same switch, and a station cannot speak to the other
//! host's end itself; another L4 port, or another address of that host, is free.
//!
//! Not seen: the later fragments of a datagram, which are nothing without the first; who rewrites addresses behind the
//! switch; IPv6 routing headers (hosts ignore type 0 since RFC 5095). Clock: none. Limit: as many ends as there are tunnels
//! and underlays.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;

use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, HEADER_LEN};
use wire::headers::{
    HeaderError, Headers, PROTOCOL_AUTHENTICATION, PROTOCOL_DESTINATION_OPTIONS, PROTOCOL_FRAGMENT,
    PROTOCOL_HOP_BY_HOP, PROTOCOL_ROUTING, PROTOCOL_UDP,
};

use crate::plan::{TunnelPlan, UnderlayPlan};

/// The ends of all tunnels, on this host and on others.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// Sorted.
    ends: Box<[(IpAddr, u16)]>,
}

impl Ends {
    pub(crate) fn new(underlays: &[UnderlayPlan], tunnels: &[TunnelPlan]) -> Self {
        let ours = underlays.iter().map(|underlay| underlay.local);
        let theirs = tunnels.iter().map(|tunnel| tunnel.remote);
        let mut ends: Vec<_> = ours.chain(theirs).map(|end| (end.address, end.l4_port)).collect();
        ends.sort_unstable();
        ends.dedup();
        Self { ends: ends.into() }
    }

    /// Whether the untagged frame is a datagram to one of the ends, or hides behind more extension headers than are
    /// looked through and is for the address of one. What is no datagram costs a look at two fields.
    #[inline]
    pub fn are_reached_by(&self, frame: &[u8]) -> bool {
        !self.ends.is_empty() && may_be_datagram(frame) && self.are_aimed_at(frame)
    }

    #[cold]
    fn are_aimed_at(&self, frame: &[u8]) -> bool {
        match Headers::parse(frame) {
            Ok(headers) => {
                let l4_port = headers.l4_ports.filter(|_| headers.protocol == PROTOCOL_UDP);
                let end = headers.dst(frame).zip(l4_port.map(|l4_ports| l4_ports.dst));
                end.is_some_and(|end| self.ends.binary_search(&end).is_ok())
            }
            Err(HeaderError::ExtensionsMax) => {
                let dst = frame.get(HEADER_LEN + 24..).and_then(|rest| rest.first_chunk::<16>());
                dst.is_some_and(|&dst| self.ends.iter().any(|end| end.0 == IpAddr::from(dst)))
            }
            // No host takes it for a datagram.
            Err(
                HeaderError::NotIp
                | HeaderError::Truncated
                | HeaderError::Malformed
                | HeaderError::FragmentTiny,
            ) => false,
        }
    }
}

/// Whether a UDP header may follow, possibly behind extension headers.
#[inline]
fn may_be_datagram(frame: &[u8]) -> bool {
    let Some(&[high, low]) = frame.get(12..14).and_then(|octets| octets.first_chunk()) else { return false };
    match u16::from_be_bytes([high, low]) {
        ETHERTYPE_IPV4 => frame.get(HEADER_LEN + 9) == Some(&PROTOCOL_UDP),
        ETHERTYPE_IPV6 => matches!(
            frame.get(HEADER_LEN + 6),
            Some(
                &(PROTOCOL_UDP
                    | PROTOCOL_HOP_BY_HOP
                    | PROTOCOL_ROUTING
                    | PROTOCOL_FRAGMENT
                    | PROTOCOL_AUTHENTICATION
                    | PROTOCOL_DESTINATION_OPTIONS)
            )
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::headers::EXTENSIONS_MAX;

    /// 192.0.2.1 and 2001:db8::1 are ours, .2 and ::2 a peer's; all have L4 port 4789.
    fn ends() -> Ends {
        let ends = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"];
        Ends { ends: ends.map(|end| (end.parse().unwrap(), 4789)).into() }
    }

    /// A packet to `dst` with these extension headers, all of eight octets, and an L4 header.
    fn frame(dst: &str, extensions: &[u8], protocol: u8, l4_port: u16) -> Vec<u8> {
        let protocols = extensions.iter().copied().chain([protocol]);
        let mut rest: Vec<u8> = Vec::new();
        for next in protocols.clone().skip(1) {
            rest.extend([next, 0, 0, 0, 0, 0, 0, 0]);
        }
        rest.extend([0, 7]);
        rest.extend(l4_port.to_be_bytes());
        rest.extend([0, 8, 0, 0]);
        let len = u16::try_from(rest.len()).unwrap();
        let first = protocols.clone().next().unwrap();
        let header = match dst.parse().unwrap() {
            IpAddr::V4(dst) => {
                let [high, low] = (len + 20).to_be_bytes();
                [&[0x45, 0, high, low, 0, 0, 0, 0, 64, first, 0, 0, 10, 0, 0, 1][..], &dst.octets()].concat()
            }
            IpAddr::V6(dst) => {
                let [high, low] = len.to_be_bytes();
                [&[0x60, 0, 0, 0, high, low, first, 64][..], &[0xfd; 16], &dst.octets()].concat()
            }
        };
        let ethertype = if header[0] == 0x45 { [0x08, 0x00] } else { [0x86, 0xdd] };
        [&[2; 12][..], &ethertype, &header, &rest].concat()
    }

    #[test]
    fn datagrams_to_ends_are_told_from_all_others() {
        let (udp, tcp, options) = (17, 6, PROTOCOL_DESTINATION_OPTIONS);
        for (dst, extensions, protocol, l4_port, is_aimed) in [
            ("192.0.2.1", &[][..], udp, 4789, true),
            ("192.0.2.2", &[], udp, 4789, true),
            ("192.0.2.2", &[], udp, 4790, false),
            ("192.0.2.3", &[], udp, 4789, false),
            ("192.0.2.2", &[], tcp, 4789, false),
            ("2001:db8::1", &[], udp, 4789, true),
            ("2001:db8::2", &[PROTOCOL_HOP_BY_HOP, options], udp, 4789, true),
            ("2001:db8::2", &[options], udp, 4790, false),
            ("2001:db8::2", &[options], tcp, 4789, false),
            ("2001:db8::3", &[], udp, 4789, false),
            // More headers than anybody looks through: whatever stands behind them.
            ("2001:db8::2", &[options; EXTENSIONS_MAX + 1], tcp, 22, true),
            ("2001:db8::3", &[options; EXTENSIONS_MAX + 1], udp, 4789, false),
        ] {
            let frame = frame(dst, extensions, protocol, l4_port);
            assert_eq!(ends().are_reached_by(&frame), is_aimed, "{dst} {extensions:?} {protocol} {l4_port}");
            assert!(!Ends::default().are_reached_by(&frame), "without tunnels nobody aims at one");
            for len in 0..frame.len() {
                ends().are_reached_by(&frame[..len]); // Whatever it says, it says it without a panic.
            }
        }
    }
}
