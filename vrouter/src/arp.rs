//! ARP: who has an address of the gateway? (RFC 826)
//!
//! ```text
//!  0      2      4     5     6      8          14        18         24        28
//!  htype  ptype  hlen  plen  oper   sender MAC sender IP target MAC target IP
//! ```
//!
//! Answered: requests for an owned address, probes from 0.0.0.0 included (RFC 5227 §2.1.1: that is how a station
//! learns that the address is taken). Not answered: a station that announces an owned address as its own; the others
//! hear it too, and a reply would not stop it. Nothing is learned from ARP here; learning is the switch's.

use core::net::Ipv4Addr;

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};
use wire::ethernet::{ETHERTYPE_ARP, HEADER_LEN};
use wire::{DropReason, FrameBuf, Mac, UnicastMac};

use crate::router::{Station, emit_ethernet};

/// Octets of an ARP packet for Ethernet and IPv4.
const ARP_LEN: usize = 28;

/// A request for an address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    sender_mac: Mac,
    sender_ip: Ipv4Addr,
    target_ip: Ipv4Addr,
}

impl Question {
    /// `None` if the packet is no request for an address that the station owns.
    ///
    /// # Errors
    /// `route.malformed-arp` if it is truncated, not for Ethernet and IPv4, or its sender can be no station.
    pub(crate) fn parse(station: &Station, packet: &[u8]) -> Result<Option<Self>, DropReason> {
        let view = ArpPacket::new_checked(packet).map_err(|_| DropReason::MalformedArp)?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr: sender_ip,
            target_hardware_addr: _,
            target_protocol_addr: target_ip,
        } = ArpRepr::parse(&view).map_err(|_| DropReason::MalformedArp)?
        else {
            return Err(DropReason::MalformedArp);
        };
        let sender_mac = Mac(source_hardware_addr.0);
        if UnicastMac::new(sender_mac).is_none() {
            return Err(DropReason::MalformedArp);
        }
        let is_question = operation == ArpOperation::Request && sender_ip != target_ip;
        Ok((is_question && station.owns(target_ip.into())).then_some(Self {
            sender_mac,
            sender_ip,
            target_ip,
        }))
    }

    /// Turns the frame into the reply.
    pub(crate) fn answer(self, mac: Mac, asker: Mac, frame: &mut FrameBuf) {
        let mut reply = [0; HEADER_LEN + ARP_LEN];
        emit_ethernet(&mut reply, asker, mac, ETHERTYPE_ARP);
        ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(mac.0),
            source_protocol_addr: self.target_ip,
            target_hardware_addr: EthernetAddress(self.sender_mac.0),
            target_protocol_addr: self.sender_ip,
        }
        .emit(&mut ArpPacket::new_unchecked(&mut reply[HEADER_LEN..]));
        frame.fill(&reply);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tests::{Heard, ask, change};

    /// Station 172.16.0.9 asks everybody for 172.16.0.1.
    pub(crate) const ARP_REQUEST: [u8; 42] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9,
        0xac, 0x10, 0, 9, 0, 0, 0, 0, 0, 0, 0xac, 0x10, 0, 1,
    ];
    /// The gateway tells the station.
    const ARP_REPLY: [u8; 42] = [
        2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 0xac, 0x10, 0, 1,
        2, 0, 0, 0, 0, 9, 0xac, 0x10, 0, 9,
    ];

    #[test]
    fn a_request_is_answered_to_the_asker() {
        assert_eq!(ask(&ARP_REQUEST), Heard::Answer(ARP_REPLY.to_vec()));
        let unicast = change(&ARP_REQUEST, 0, &[2, 0, 0, 0, 0, 1]); // As Linux polls a neighbour it knows.
        assert_eq!(ask(&unicast), Heard::Answer(ARP_REPLY.to_vec()));
        let padded = [&ARP_REQUEST[..], &[0x77; 18]].concat();
        assert_eq!(ask(&padded), Heard::Answer(ARP_REPLY.to_vec()));
    }

    #[test]
    fn a_probe_is_answered() {
        let probe = change(&ARP_REQUEST, 28, &[0, 0, 0, 0]);
        assert_eq!(ask(&probe), Heard::Answer(change(&ARP_REPLY, 38, &[0, 0, 0, 0])));
    }

    #[test]
    fn the_reply_goes_to_the_frames_source() {
        let proxied = change(&ARP_REQUEST, 6, &[2, 0, 0, 0, 0, 0x55]);
        assert_eq!(ask(&proxied), Heard::Answer(change(&ARP_REPLY, 0, &[2, 0, 0, 0, 0, 0x55])));
    }

    #[test]
    fn what_others_say_among_themselves_passes() {
        for (what, frame) in [
            ("another's address", change(&ARP_REQUEST, 41, &[2])),
            ("an announcement of our address", change(&ARP_REQUEST, 31, &[1])),
            ("a reply to all", change(&ARP_REQUEST, 21, &[2])),
            ("an unknown operation", change(&ARP_REQUEST, 20, &[0xff, 0xff])),
            ("another hardware", change(&ARP_REQUEST, 15, &[6])),
            ("a truncated request", ARP_REQUEST[..41].to_vec()),
            ("nothing behind the header", ARP_REQUEST[..14].to_vec()),
        ] {
            assert_eq!(ask(&frame), Heard::Pass, "{what}");
        }
    }

    #[test]
    fn to_the_gateway_itself_it_must_make_sense() {
        let to_us = change(&ARP_REQUEST, 0, &[2, 0, 0, 0, 0, 1]);
        for (what, frame, reason) in [
            ("another's address", change(&to_us, 41, &[2]), DropReason::NoService),
            ("a reply", change(&to_us, 21, &[2]), DropReason::NoService),
            ("another hardware", change(&to_us, 15, &[6]), DropReason::MalformedArp),
            ("long addresses", change(&to_us, 18, &[8]), DropReason::MalformedArp),
            ("a group as sender", change(&to_us, 22, &[3]), DropReason::MalformedArp),
            ("nobody as sender", change(&to_us, 22, &[0; 6]), DropReason::MalformedArp),
            ("a truncated request", to_us[..41].to_vec(), DropReason::MalformedArp),
        ] {
            assert_eq!(ask(&frame), Heard::Drop(reason), "{what}");
        }
    }
}
