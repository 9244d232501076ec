//! Echo: is the gateway there? (RFC 792, RFC 4443 §4.1 and §4.2; `ping`)
//!
//! ```text
//!  0      1     2         4           6                8
//!  type   0     checksum  identifier  sequence number  data …        8 → 0 (ICMP), 128 → 129 (ICMPv6)
//! ```
//!
//! The question becomes the answer in place: type and addresses change, the data stay. Every checksum is computed
//! anew, because the question may have come with an unfinished one from an offloading station. IPv4 options are left
//! out of the answer. The sender must be a single host: an answer never goes to a group (RFC 1122 §3.2.2.6).

use core::net::IpAddr;

use smoltcp::wire::IpProtocol;

use wire::ethernet::HEADER_LEN;
use wire::{DropReason, FrameBuf, Mac, Offload};

use crate::ip::{self, IPV4_HEADER_LEN, IPV6_HEADER_LEN, IpHeader};
use crate::plan::is_host;
use crate::router::emit_ethernet;

/// Octets before the data.
const ECHO_LEN: usize = 8;
/// As Linux, and as RFC 1700 recommends.
const HOP_LIMIT: u8 = 64;

/// An echo request to an address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    ip: IpHeader,
    reply: u8,
}

impl Question {
    /// `None` if the packet, which is addressed to us, is no echo request.
    ///
    /// # Errors
    /// `route.malformed-ip` if its checksum is wrong or its sender is no single host.
    pub(crate) fn parse(ip: &IpHeader, packet: &[u8], offload: Offload) -> Result<Option<Self>, DropReason> {
        let message = ip.payload(packet);
        let (request, reply) = match (ip.dst, ip.protocol) {
            (IpAddr::V4(_), IpProtocol::Icmp) => (8, 0),
            (IpAddr::V6(_), IpProtocol::Icmpv6) => (128, 129),
            _ => return Ok(None),
        };
        if message.len() < ECHO_LEN || message[..2] != [request, 0] {
            return Ok(None);
        }
        if !is_host(ip.src) || !ip::is_icmp_intact(ip, message, offload) {
            return Err(DropReason::MalformedIp);
        }
        Ok(Some(Self { ip: *ip, reply }))
    }

    /// Turns the frame into the reply.
    pub(crate) fn answer(self, mac: Mac, asker: Mac, frame: &mut FrameBuf) {
        let IpHeader { src: dst, dst: src, header_len, total_len, .. } = self.ip;
        frame.truncate(HEADER_LEN + total_len);
        frame.offload = Offload::NONE;
        let short_header_len = match src {
            IpAddr::V4(_) => IPV4_HEADER_LEN,
            IpAddr::V6(_) => IPV6_HEADER_LEN,
        };
        let options_len = header_len - short_header_len;
        frame.bytes_mut().copy_within(..HEADER_LEN + short_header_len, options_len);
        frame.advance(options_len);

        let (ethernet, packet) = frame.bytes_mut().split_at_mut(HEADER_LEN);
        emit_ethernet(ethernet, asker, mac, self.ip.ethertype());
        let message = &mut packet[short_header_len..];
        message[..4].copy_from_slice(&[self.reply, 0, 0, 0]);
        let checksum = ip::icmp_checksum(src, dst, message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ip::emit_answer_v4(packet, src, dst, HOP_LIMIT),
            (IpAddr::V6(src), IpAddr::V6(dst)) => ip::emit_answer_v6(packet, src, dst, HOP_LIMIT),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                unreachable!("one header has addresses of one version")
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tests::{Heard, ask, ask_with, change, seal};
    use std::vec::Vec;
    use wire::offload::{DATA_VALID, Gso, NEEDS_CSUM};

    /// 172.16.0.9 pings 172.16.0.1, identifier 7, first packet.
    pub(crate) const ECHO_V4: [u8; 51] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0, 0, 0x25, 0x12, 0x34, 0, 0, 0x40, 1, 0x10, 0x7a,
        0xac, 0x10, 0, 9, 0xac, 0x10, 0, 1, 8, 0, 0x0c, 0x43, 0, 7, 0, 1, 0x74, 0x61, 0x70, 0x65, 0x73, 0x74,
        0x72, 0x79, 0x21,
    ];
    /// The answer: TTL 64, identification 0, don't fragment.
    const ECHO_V4_REPLY: [u8; 51] = [
        2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 0x25, 0, 0, 0x40, 0, 0x40, 1, 0xe2, 0xad, 0xac,
        0x10, 0, 1, 0xac, 0x10, 0, 9, 0, 0, 0x14, 0x43, 0, 7, 0, 1, 0x74, 0x61, 0x70, 0x65, 0x73, 0x74, 0x72,
        0x79, 0x21,
    ];
    /// fd00::9 pings fd00::1.
    pub(crate) const ECHO_V6: [u8; 71] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 1, 0x23, 0x45, 0, 0x11, 0x3a, 0x40, 0xfd, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x80, 0,
        0x99, 0xeb, 0, 7, 0, 1, 0x74, 0x61, 0x70, 0x65, 0x73, 0x74, 0x72, 0x79, 0x21,
    ];
    /// The answer: hop limit 64, flow label 0.
    const ECHO_V6_REPLY: [u8; 71] = [
        2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0x11, 0x3a, 0x40, 0xfd, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0x81, 0, 0x98,
        0xeb, 0, 7, 0, 1, 0x74, 0x61, 0x70, 0x65, 0x73, 0x74, 0x72, 0x79, 0x21,
    ];

    #[test]
    fn a_ping_is_answered_in_both_versions() {
        assert_eq!(ask(&ECHO_V4), Heard::Answer(ECHO_V4_REPLY.to_vec()));
        assert_eq!(ask(&ECHO_V6), Heard::Answer(ECHO_V6_REPLY.to_vec()));
    }

    #[test]
    fn padding_is_left_out() {
        let padded = [&ECHO_V4[..], &[0x77; 9]].concat();
        assert_eq!(ask(&padded), Heard::Answer(ECHO_V4_REPLY.to_vec()));
    }

    #[test]
    fn options_are_left_out() {
        let mut frame = [&ECHO_V4[..34], &[7, 7, 4, 0, 0, 0, 0, 0], &ECHO_V4[34..]].concat(); // Record route.
        frame[14] = 0x47;
        frame[17] += 8;
        assert_eq!(ask(&seal(&frame)), Heard::Answer(ECHO_V4_REPLY.to_vec()));
    }

    #[test]
    fn an_unfinished_checksum_is_finished_in_the_answer() {
        for (question, answer, l4) in
            [(&ECHO_V4[..], &ECHO_V4_REPLY[..], 34), (&ECHO_V6[..], &ECHO_V6_REPLY[..], 54)]
        {
            let unfinished = change(question, usize::from(l4) + 2, &[0x12, 0x34]);
            let offload =
                Offload { flags: NEEDS_CSUM, csum_start: l4, csum_offset: 2, hdr_len: l4, ..Offload::NONE };
            assert_eq!(ask_with(&unfinished, offload), Heard::Answer(answer.to_vec()));
            let vouched = Offload { flags: DATA_VALID, ..Offload::NONE };
            assert_eq!(ask_with(&unfinished, vouched), Heard::Answer(answer.to_vec()));
            assert_eq!(ask(&unfinished), Heard::Drop(DropReason::MalformedIp));
            let absurd = Offload { gso: Gso::UdpL4, gso_size: 4, ..offload };
            assert_eq!(ask_with(&unfinished, absurd), Heard::Drop(DropReason::MalformedIp));
        }
    }

    #[test]
    fn data_of_every_length_come_back() {
        for len in [0, 1, 2, 1472, 65_535 - 28] {
            let mut frame = [&ECHO_V4[..42], &std::vec![0xff; len][..]].concat();
            let total_len = u16::try_from(28 + len).unwrap();
            frame[16..18].copy_from_slice(&total_len.to_be_bytes());
            let Heard::Answer(answer) = ask(&seal(&frame)) else { panic!("len={len}") };
            let expected: Vec<u8> = seal(
                &[&ECHO_V4_REPLY[..16], &total_len.to_be_bytes(), &ECHO_V4_REPLY[18..42], &frame[42..]]
                    .concat(),
            );
            assert_eq!(answer, expected, "len={len}");
        }
    }

    #[test]
    fn what_is_no_question_to_us_has_a_name() {
        for (what, frame, reason) in [
            ("a fragment", seal(&change(&ECHO_V4, 20, &[0x20])), DropReason::NoService),
            ("a later fragment", seal(&change(&ECHO_V4, 21, &[1])), DropReason::NoService),
            ("an echo reply", seal(&change(&ECHO_V4, 34, &[0])), DropReason::NoService),
            ("an unknown code", seal(&change(&ECHO_V4, 35, &[1])), DropReason::NoService),
            ("a short message", seal(&change(&ECHO_V4[..41], 17, &[27])), DropReason::NoService),
            ("TCP", seal(&change(&ECHO_V4, 23, &[6])), DropReason::NoService),
            ("ICMPv6 in IPv4", seal(&change(&ECHO_V4, 23, &[58])), DropReason::NoService),
            ("another host", seal(&change(&ECHO_V4, 33, &[2])), DropReason::NoRoute),
            ("broadcast as target", seal(&change(&ECHO_V4, 30, &[255; 4])), DropReason::NoRoute),
            ("broadcast as sender", seal(&change(&ECHO_V4, 26, &[255; 4])), DropReason::MalformedIp),
            ("nobody as sender", seal(&change(&ECHO_V4, 26, &[0; 4])), DropReason::MalformedIp),
            ("a wrong header checksum", change(&ECHO_V4, 22, &[63]), DropReason::MalformedIp),
            ("a wrong checksum", change(&ECHO_V4, 50, &[0]), DropReason::MalformedIp),
            ("a truncated packet", ECHO_V4[..50].to_vec(), DropReason::MalformedIp),
            ("no packet", ECHO_V4[..14].to_vec(), DropReason::MalformedIp),
            ("IPv6 said to be IPv4", change(&ECHO_V6, 12, &[8, 0]), DropReason::MalformedIp),
            ("a v6 echo reply", seal(&change(&ECHO_V6, 54, &[129])), DropReason::NoService),
            ("UDP", change(&ECHO_V6, 20, &[17]), DropReason::NoService),
            ("a v6 fragment", change(&ECHO_V6, 20, &[44]), DropReason::NoService),
            ("another v6 host", seal(&change(&ECHO_V6, 53, &[2])), DropReason::NoRoute),
            ("a wrong v6 checksum", change(&ECHO_V6, 70, &[0]), DropReason::MalformedIp),
            ("a truncated v6 packet", ECHO_V6[..70].to_vec(), DropReason::MalformedIp),
        ] {
            assert_eq!(ask(&frame), Heard::Drop(reason), "{what}");
        }
    }

    #[test]
    fn an_echo_to_a_group_passes() {
        assert_eq!(ask(&change(&ECHO_V4, 0, &[0xff; 6])), Heard::Pass);
        assert_eq!(ask(&change(&ECHO_V6, 0, &[0x33, 0x33, 0, 0, 0, 1])), Heard::Pass);
    }
}
