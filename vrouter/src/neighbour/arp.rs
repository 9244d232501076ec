//! ARP: questions, answers and announcements, read and written (RFC 826).
//!
//! ```text
//!  0      2      4     5     6      8          14         18         24        28
//!  htype  ptype  hlen  plen  oper   sender MAC sender IP  target MAC target IP
//! ```
//!
//! Answered: requests for an owned address, probes from 0.0.0.0 included (RFC 5227 §2.1.1: that is how a station
//! learns that the address is taken). Not answered: a station that announces an owned address as its own; the others
//! hear it too, and a reply would not stop it. What is learned from what is heard, `learn` says.

use core::net::Ipv4Addr;

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};
use wire::ethernet::{ETHERTYPE_ARP, HEADER_LEN};
use wire::{DropReason, FrameBuf, Mac, UnicastMac};

use crate::router::emit_ethernet;

/// Octets of an ARP packet for Ethernet and IPv4.
const ARP_LEN: usize = 28;
/// Octets of a frame with one.
pub(super) const FRAME_LEN: usize = HEADER_LEN + ARP_LEN;

/// What an ARP packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) operation: ArpOperation,
    /// A single station's.
    pub(super) sender_mac: Mac,
    pub(super) sender_ip: Ipv4Addr,
    pub(super) target_mac: Mac,
    pub(super) target_ip: Ipv4Addr,
}

impl Message {
    /// Reads a packet.
    ///
    /// # Errors
    /// `route.malformed-arp` if it is truncated, not for Ethernet and IPv4, or its sender can be no station.
    pub(super) fn parse(packet: &[u8]) -> Result<Self, DropReason> {
        let view = ArpPacket::new_checked(packet).map_err(|_| DropReason::MalformedArp)?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr: sender_ip,
            target_hardware_addr,
            target_protocol_addr: target_ip,
        } = ArpRepr::parse(&view).map_err(|_| DropReason::MalformedArp)?
        else {
            return Err(DropReason::MalformedArp);
        };
        let sender_mac = UnicastMac::new(Mac(source_hardware_addr.0)).ok_or(DropReason::MalformedArp)?.mac();
        Ok(Self { operation, sender_mac, sender_ip, target_mac: Mac(target_hardware_addr.0), target_ip })
    }

    /// Whether it asks for its target, and does not announce it.
    pub(super) fn is_question(&self) -> bool {
        self.operation == ArpOperation::Request && self.sender_ip != self.target_ip
    }

    /// Whether it is a reply.
    pub(super) fn is_answer(&self) -> bool {
        self.operation == ArpOperation::Reply
    }

    /// The reply to a question for an address of `mac`.
    pub(super) const fn reply(&self, mac: Mac) -> Self {
        Self {
            operation: ArpOperation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// A question. Its target's MAC address is what is asked for.
    pub(super) fn question(mac: Mac, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Self {
        let operation = ArpOperation::Request;
        Self { operation, sender_mac: mac, sender_ip, target_mac: Mac::default(), target_ip }
    }

    /// Tells everybody whose the address is (RFC 5227 §2.3).
    pub(super) fn announcement(mac: Mac, address: Ipv4Addr) -> Self {
        Self::question(mac, address, address)
    }

    /// Makes the frame this message from its sender to `dst`.
    pub(super) fn emit(self, dst: Mac, frame: &mut FrameBuf) {
        let mut bytes = [0; FRAME_LEN];
        emit_ethernet(&mut bytes, dst, self.sender_mac, ETHERTYPE_ARP);
        ArpRepr::EthernetIpv4 {
            operation: self.operation,
            source_hardware_addr: EthernetAddress(self.sender_mac.0),
            source_protocol_addr: self.sender_ip,
            target_hardware_addr: EthernetAddress(self.target_mac.0),
            target_protocol_addr: self.target_ip,
        }
        .emit(&mut ArpPacket::new_unchecked(&mut bytes[HEADER_LEN..]));
        frame.fill(&bytes);
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
            ("another hardware", change(&to_us, 15, &[6]), DropReason::MalformedArp),
            ("long addresses", change(&to_us, 18, &[8]), DropReason::MalformedArp),
            ("a group as sender", change(&to_us, 22, &[3]), DropReason::MalformedArp),
            ("nobody as sender", change(&to_us, 22, &[0; 6]), DropReason::MalformedArp),
            ("a truncated request", to_us[..41].to_vec(), DropReason::MalformedArp),
        ] {
            assert_eq!(ask(&frame), Heard::Drop(reason), "{what}");
        }
        let reply = change(&to_us, 21, &[2]);
        assert_eq!(ask(&reply), Heard::Consumed);
    }
}
