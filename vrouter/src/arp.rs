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
