//! Echo: is the gateway there? (RFC 792, RFC 4443 §4.1 and §4.2; `ping`)
//!
//! ```text
//!  0      1     2         4           6                8
//!  type   0     checksum  identifier  sequence number  data …        8 → 0 (ICMP), 128 → 129 (ICMPv6)
//! ```
//!
//! The question becomes the answer in place: type and addresses change, the data stay. Every checksum is computed
//! anew, because the question may have come with an unfinished one from an offloading station. IPv4 options and IPv6
//! extension headers are left out of the answer. The sender must be a single host: an answer never goes to a group
//! (RFC 1122 §3.2.2.6). DSCP and ECN are the question's.

use wire::ethernet::{EthernetHeader, HEADER_LEN};
use wire::headers::{Family, Fragment};
use wire::{DropReason, FrameBuf, Offload};

use super::{Ends, is_intact};
use crate::packet::{ECHO_V4, ECHO_V6, Packet};
use crate::plan::is_host;
use crate::router::emit_ethernet;

/// Turns an echo request to one of our addresses, sent to our MAC, into the reply to the asker. `false`, and nothing
/// touched, if the packet is no whole echo request; a request in pieces is none, for nothing here puts it together.
///
/// # Errors
/// `route.malformed-ip` if its checksum is wrong or its sender is no single host.
pub fn echo(packet: &Packet, frame: &mut FrameBuf, header: &EthernetHeader) -> Result<bool, DropReason> {
    let bytes = frame.bytes();
    let (request, reply) = match packet.headers.family {
        Family::V4 => ECHO_V4,
        Family::V6 => ECHO_V6,
    };
    let is_whole = packet.headers.fragment == Fragment::Whole;
    let is_request = packet.icmp_type(bytes) == Some(request) && packet.l4(bytes)[1] == 0;
    let Some(ends) = Ends::new(packet.dst, packet.src) else { return Ok(false) };
    if !is_whole || !is_request || header.dst.is_group() {
        return Ok(false);
    }
    if !is_host(packet.src) || !is_intact(packet, bytes, frame.offload) {
        return Err(DropReason::MalformedIp);
    }
    let class = match packet.headers.family {
        Family::V4 => bytes[packet.headers.l3 + 1],
        Family::V6 => bytes[packet.headers.l3] << 4 | bytes[packet.headers.l3 + 1] >> 4,
    };

    // The answer's headers take the place of the octets just before the message.
    frame.truncate(packet.headers.end);
    frame.offload = Offload::NONE;
    frame.advance(packet.headers.l4 - ends.header_len() - HEADER_LEN);
    let (ethernet, packet) = frame.bytes_mut().split_at_mut(HEADER_LEN);
    emit_ethernet(ethernet, header.src, header.dst, ends.ethertype());
    packet[ends.header_len()] = reply;
    ends.emit(packet, class);
    Ok(true)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::samples::frame;
    use crate::tests::{change, seal};
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

    /// The answer, or `None` if it is no question; a refusal by its name. What is no answer leaves the frame alone.
    fn answer(question: &[u8], offload: Offload) -> Result<Option<Vec<u8>>, DropReason> {
        let mut frame = frame(question, offload);
        let header = EthernetHeader::parse(question).unwrap();
        let packet = Packet::parse(&frame)?;
        match echo(&packet, &mut frame, &header) {
            Ok(true) => {
                assert_eq!(frame.offload, Offload::NONE);
                Ok(Some(frame.bytes().to_vec()))
            }
            other => {
                assert_eq!((frame.bytes(), frame.offload), (question, offload));
                other.map(|_| None)
            }
        }
    }

    /// The question with more octets between its L3 header and its message; lengths are the caller's.
    fn insert(question: &[u8], at: usize, octets: &[u8]) -> Vec<u8> {
        [&question[..at], octets, &question[at..]].concat()
    }

    #[test]
    fn a_ping_is_answered_in_both_versions() {
        for (question, reply) in [(&ECHO_V4[..], &ECHO_V4_REPLY[..]), (&ECHO_V6, &ECHO_V6_REPLY)] {
            assert_eq!(answer(question, Offload::NONE), Ok(Some(reply.to_vec())));
            let padded = [question, &[0x77; 9]].concat();
            assert_eq!(answer(&padded, Offload::NONE), Ok(Some(reply.to_vec())), "padding is left out");
        }
        // DSCP EF and ECN come back: the class spans two octets in version 6.
        let marked = answer(&seal(&change(&ECHO_V4, 15, &[0xb9])), Offload::NONE).unwrap().unwrap();
        assert_eq!(marked[15], 0xb9);
        let marked = answer(&change(&ECHO_V6, 14, &[0x6b, 0x91]), Offload::NONE).unwrap().unwrap();
        assert_eq!(marked[14..16], [0x6b, 0x90]);
    }

    #[test]
    fn options_and_extensions_are_left_out() {
        let mut question = insert(&ECHO_V4, 34, &[7, 7, 4, 0, 0, 0, 0, 0]); // Record route.
        question[14] = 0x47;
        question[17] += 8;
        assert_eq!(answer(&seal(&question), Offload::NONE), Ok(Some(ECHO_V4_REPLY.to_vec())));
        let mut question = insert(&ECHO_V6, 54, &[0x3a, 0, 1, 4, 0, 0, 0, 0]); // Destination options, padding.
        question[19] += 8;
        question[20] = 60;
        assert_eq!(answer(&question, Offload::NONE), Ok(Some(ECHO_V6_REPLY.to_vec())));
    }

    #[test]
    fn an_unfinished_checksum_is_finished_in_the_answer() {
        for (question, reply, l4) in
            [(&ECHO_V4[..], &ECHO_V4_REPLY[..], 34), (&ECHO_V6[..], &ECHO_V6_REPLY[..], 54)]
        {
            let unfinished = change(question, usize::from(l4) + 2, &[0x12, 0x34]);
            let offload =
                Offload { flags: NEEDS_CSUM, csum_start: l4, csum_offset: 2, hdr_len: l4, ..Offload::NONE };
            assert_eq!(answer(&unfinished, offload), Ok(Some(reply.to_vec())));
            let vouched = Offload { flags: DATA_VALID, ..Offload::NONE };
            assert_eq!(answer(&unfinished, vouched), Ok(Some(reply.to_vec())));
            assert_eq!(answer(&unfinished, Offload::NONE), Err(DropReason::MalformedIp));
            let absurd = Offload { gso: Gso::UdpL4, gso_size: 4, ..offload };
            assert_eq!(answer(&unfinished, absurd), Err(DropReason::MalformedIp));
        }
    }

    #[test]
    fn data_of_every_length_come_back() {
        for len in [0, 1, 2, 1472, 65_535 - 28] {
            let mut question = [&ECHO_V4[..42], &std::vec![0xff; len][..]].concat();
            let total_len = u16::try_from(28 + len).unwrap().to_be_bytes();
            question[16..18].copy_from_slice(&total_len);
            let expected =
                seal(&[&ECHO_V4_REPLY[..16], &total_len, &ECHO_V4_REPLY[18..42], &question[42..]].concat());
            assert_eq!(answer(&seal(&question), Offload::NONE), Ok(Some(expected)), "len={len}");
        }
    }

    #[test]
    fn what_is_no_question_is_left_alone() {
        let mut v6_fragment = insert(&ECHO_V6, 54, &[0x3a, 0, 0, 1, 0, 0, 0, 7]);
        v6_fragment[19] += 8;
        v6_fragment[20] = 44;
        for (what, question, expected) in [
            ("a first fragment", seal(&change(&ECHO_V4, 20, &[0x20])), Ok(None)),
            ("a later fragment", seal(&change(&ECHO_V4, 21, &[1])), Ok(None)),
            ("a v6 fragment", v6_fragment, Ok(None)),
            ("to a group's MAC", change(&ECHO_V4, 0, &[0xff; 6]), Ok(None)),
            ("an echo reply", seal(&change(&ECHO_V4, 34, &[0])), Ok(None)),
            ("a v6 echo reply", seal(&change(&ECHO_V6, 54, &[129])), Ok(None)),
            ("an unknown code", seal(&change(&ECHO_V4, 35, &[1])), Ok(None)),
            ("a short message", seal(&change(&ECHO_V4[..41], 17, &[27])), Ok(None)),
            ("another protocol", seal(&change(&ECHO_V4, 23, &[47])), Ok(None)),
            ("ICMPv6 in IPv4", seal(&change(&ECHO_V4, 23, &[58])), Ok(None)),
            ("from broadcast", seal(&change(&ECHO_V4, 26, &[255; 4])), Err(DropReason::MalformedIp)),
            ("from nobody", seal(&change(&ECHO_V4, 26, &[0; 4])), Err(DropReason::MalformedIp)),
            ("from a v6 group", seal(&change(&ECHO_V6, 22, &[0xff])), Err(DropReason::MalformedIp)),
            ("a wrong checksum", change(&ECHO_V4, 50, &[0]), Err(DropReason::MalformedIp)),
            ("a wrong v6 checksum", change(&ECHO_V6, 70, &[0]), Err(DropReason::MalformedIp)),
        ] {
            assert_eq!(answer(&question, Offload::NONE), expected, "{what}");
        }
    }
}
