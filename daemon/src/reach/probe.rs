//! Questions that a tunnel's other end answers, and how their answers are known.
//!
//! To a host of an overlay: an echo request with hop limit 1 for an address of its subnet. If the host has the address it
//! replies; if not it would have to pass the request on, and says that its time is exceeded. Either quotes our numbers.
//!
//! Into a stretched network, where no address of anybody may be known: an IPv6 echo request to all nodes, from a made-up
//! station with a made-up link-local address. Who wants to reply asks for that station's MAC address first, by which we
//! know that the request was understood. And ARP probes (RFC 5227 §2.1.1) or solicitations for addresses that somebody
//! named. Each question has a station of its own, whose number it is known by. The stations are learned behind us by
//! whoever hears them, and age there; a reply to one reaches our own ports as all frames to unknown stations do.
//!
//! Pure: what is sent and received is somebody else's business. No numbers are kept; a set of questions has one `identity`
//! drawn by whoever asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use encap::Vni;
use encap::vxlan::HEADER_LEN as VXLAN_LEN;
use sim::craft::{self, ICMP, ICMPV6};
use wire::Mac;

const ETHERNET_LEN: usize = 14;
const ETHERTYPE_ARP: u16 = 0x0806;
/// Of an echo request's headers in each family: IP, ICMP.
const ECHO_V4_LEN: usize = 20 + 8;
const ECHO_V6_LEN: usize = 40 + 8;
/// The first octets of made-up stations: locally administered.
const STATION: [u8; 2] = [0x02, 0x0f];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

/// How packets travel in the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Vxlan(Vni),
    Bare,
}

/// Something that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// For a routed peer. The MAC addresses (its, ours) are of no account where packets are bare.
    Echo { macs: (Mac, Mac), src: IpAddr, dst: IpAddr },
    /// For a stretched network.
    AllNodes,
    /// The same, if the address is known.
    Station(IpAddr),
}

/// A set of questions to one tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) framing: Framing,
    /// Tells our questions from everybody else's.
    pub(crate) identity: u16,
}

/// What a datagram of the peer's says to whoever has asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It answers the question of this number.
    Answer(u16),
    /// It is the tunnel's, and about something else.
    Other,
    /// It is of another network.
    OtherVni(u32),
    /// It is nothing that the tunnel would carry.
    Nonsense,
}

impl Question {
    /// Who is expected to answer, for people.
    pub(crate) fn whom(&self) -> String {
        match self {
            Self::Echo { dst, .. } => format!("the peer, asked for {dst},"),
            Self::AllNodes => "a station behind the peer".to_owned(),
            Self::Station(address) => address.to_string(),
        }
    }
}

impl Asker {
    /// The payload of the datagram that asks, with `number`, in a packet of `packet_len` octets if that is enough.
    pub(crate) fn ask(&self, question: &Question, number: u16, packet_len: usize) -> Vec<u8> {
        let frame = match question {
            Question::Echo { macs, src, dst } => {
                let mut frame = self.echo(*macs, (*src, *dst), number, packet_len);
                limit_hops(&mut frame, self.framing);
                frame
            }
            Question::AllNodes => {
                let src = IpAddr::V6(self.link_local(number));
                self.echo((ALL_NODES_MAC, self.station(number)), (src, ALL_NODES.into()), number, packet_len)
            }
            Question::Station(IpAddr::V4(target)) => {
                let mut frame = craft::arp_question((self.station(number), Ipv4Addr::UNSPECIFIED), *target);
                frame.resize(frame.len().max(ETHERNET_LEN + packet_len), 0);
                frame
            }
            Question::Station(IpAddr::V6(target)) => self.solicit(*target, number, packet_len),
        };
        match self.framing {
            Framing::Vxlan(vni) => {
                let [_, a, b, c] = vni.number().to_be_bytes();
                [&[8, 0, 0, 0, a, b, c, 0][..], &frame].concat()
            }
            Framing::Bare => frame[ETHERNET_LEN..].to_vec(),
        }
    }

    /// What a datagram's payload says.
    pub(crate) fn hear(&self, payload: &[u8]) -> Heard {
        match self.framing {
            Framing::Bare => match payload.first().map(|first| first >> 4) {
                Some(4 | 6) => self.answer_in_packet(payload).map_or(Heard::Other, Heard::Answer),
                Some(_) | None => Heard::Nonsense,
            },
            Framing::Vxlan(ours) => match encap::vxlan::read(payload) {
                Ok(vni) if vni == ours => {
                    self.answer_in_frame(&payload[VXLAN_LEN..]).map_or(Heard::Other, Heard::Answer)
                }
                Ok(vni) => Heard::OtherVni(vni.number()),
                Err(_) => Heard::Nonsense,
            },
        }
    }

    fn echo(
        &self,
        macs: (Mac, Mac),
        (src, dst): (IpAddr, IpAddr),
        number: u16,
        packet_len: usize,
    ) -> Vec<u8> {
        let numbers = [self.identity.to_be_bytes(), number.to_be_bytes()].concat();
        let headers_len = if src.is_ipv4() { ECHO_V4_LEN } else { ECHO_V6_LEN };
        let filler = vec![0x55; packet_len.saturating_sub(headers_len)];
        let message = |kind: u8| [&[kind, 0, 0, 0][..], &numbers, &filler].concat();
        match src {
            IpAddr::V4(_) => craft::ip(macs, src, dst, ICMP, &craft::icmp(&message(8))),
            IpAddr::V6(_) => craft::ip(macs, src, dst, ICMPV6, &craft::icmpv6(src, dst, &message(128))),
        }
    }

    /// A neighbour solicitation, made longer by options that nobody knows (RFC 4861 §4.3: they are skipped).
    fn solicit(&self, target: Ipv6Addr, number: u16, packet_len: usize) -> Vec<u8> {
        let [.., a, b, c] = target.octets();
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
        let src = self.link_local(number);
        let mut message = craft::neighbour(135, target, self.station(number));
        // Kind 253 is for experiments (RFC 4727 §5.1.3); a length counts eight octets.
        while message.len() + 40 + 8 <= packet_len {
            let words = ((packet_len - message.len() - 40) / 8).min(255);
            let mut option = vec![0; words * 8];
            option[0] = 253;
            option[1] = u8::try_from(words).expect("it is at most 255");
            message.extend(option);
        }
        let macs = (Mac([0x33, 0x33, 0xff, a, b, c]), self.station(number));
        craft::ip(macs, src.into(), group.into(), ICMPV6, &craft::icmpv6(src.into(), group.into(), &message))
    }

    /// The made-up station that asks this question.
    fn station(&self, number: u16) -> Mac {
        let ([a, b], [c, d]) = (self.identity.to_be_bytes(), number.to_be_bytes());
        Mac([STATION[0], STATION[1], a, b, c, d])
    }

    fn link_local(&self, number: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0x000f, 0, self.identity, number)
    }

    /// The question's number if the address is that of a station of ours.
    fn number_of_station(&self, mac: &[u8]) -> Option<u16> {
        let &[a, b, c, d, e, f] = mac.first_chunk()?;
        let is_ours = [a, b] == STATION && [c, d] == self.identity.to_be_bytes();
        is_ours.then(|| u16::from_be_bytes([e, f]))
    }

    fn answer_in_frame(&self, frame: &[u8]) -> Option<u16> {
        let to_station = self.number_of_station(frame);
        let packet = frame.get(ETHERNET_LEN..)?;
        match u16::from_be_bytes([frame[12], frame[13]]) {
            ETHERTYPE_ARP => to_station,
            0x0800 | 0x86dd => to_station.or_else(|| self.answer_in_packet(packet)),
            _ => None,
        }
    }

    fn answer_in_packet(&self, packet: &[u8]) -> Option<u16> {
        let (protocol, message) = l4_of(packet)?;
        let &kind = message.first()?;
        match (protocol, kind) {
            (ICMP, 0) | (ICMPV6, 129) => self.number_at(message.get(4..)?),
            // Unreachable, too big, time exceeded: behind eight octets stands what they are about.
            (ICMP, 3 | 11) | (ICMPV6, 1..=3) => {
                let (_, quoted) = l4_of(message.get(8..)?)?;
                self.number_at(quoted.get(4..)?)
            }
            // Somebody wants to reply to a made-up station, and asks for its MAC address.
            (ICMPV6, 135) => {
                let target = Ipv6Addr::from_octets(*message.get(8..)?.first_chunk()?);
                let [.., number] = target.segments();
                (target == self.link_local(number)).then_some(number)
            }
            _ => None,
        }
    }

    /// Identity and number of an echo.
    fn number_at(&self, numbers: &[u8]) -> Option<u16> {
        let &[a, b, c, d] = numbers.first_chunk()?;
        (u16::from_be_bytes([a, b]) == self.identity).then(|| u16::from_be_bytes([c, d]))
    }
}

/// Protocol and message of a packet without IPv6 extension headers.
fn l4_of(packet: &[u8]) -> Option<(u8, &[u8])> {
    match packet.first()? >> 4 {
        4 => Some((*packet.get(9)?, packet.get(usize::from(packet[0] & 15) * 4..)?)),
        6 => Some((*packet.get(6)?, packet.get(40..)?)),
        _ => None,
    }
}

/// Whoever does not have the destination has to say so. Where packets are bare each end takes one hop, and flanneld's says
/// nothing of a packet that has none left.
fn limit_hops(frame: &mut [u8], framing: Framing) {
    let hops = match framing {
        Framing::Vxlan(_) => 1,
        Framing::Bare => 2,
    };
    match frame[12..14] {
        [0x08, 0x00] => {
            frame[ETHERNET_LEN + 8] = hops;
            craft::seal_ipv4(frame);
        }
        _ => frame[ETHERNET_LEN + 7] = hops,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn asker(framing: Framing) -> Asker {
        Asker { framing, identity: 0xbeef }
    }

    fn vxlan() -> Asker {
        asker(Framing::Vxlan(Vni::new(42).unwrap()))
    }

    fn questions() -> Vec<Question> {
        let echo = |src: &str, dst: &str| Question::Echo {
            macs: (THEIRS, OURS),
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
        };
        vec![
            echo("10.1.0.1", "10.2.0.1"),
            echo("fd01::1", "fd02::1"),
            Question::AllNodes,
            Question::Station("10.9.0.2".parse().unwrap()),
            Question::Station("fd09::2".parse().unwrap()),
        ]
    }

    #[test]
    fn a_question_is_as_long_as_wanted() {
        for question in questions() {
            for len in [100, 1_400, 8_900] {
                let packet_len = vxlan().ask(&question, 7, len).len() - VXLAN_LEN - ETHERNET_LEN;
                // Options of a solicitation come in eights.
                assert!(packet_len <= len && packet_len + 8 > len, "{question:?} {len}: {packet_len}");
            }
        }
    }

    /// What a host that has the destination, or does not, replies to an echo request.
    fn replies(request: &[u8], is_v4: bool) -> [Vec<u8>; 2] {
        let (l4_at, reply) = if is_v4 { (20, 0) } else { (40, 129) };
        let mut echo = request.to_vec();
        echo[l4_at] = reply;
        let mut exceeded = request[..l4_at].to_vec();
        exceeded.extend(if is_v4 { [11, 0, 0, 0, 0, 0, 0, 0] } else { [3, 0, 0, 0, 0, 0, 0, 0] });
        exceeded.extend(&request[..l4_at + 8]);
        [echo, exceeded]
    }

    #[test]
    fn answers_are_told_from_everything_else() {
        let bare = asker(Framing::Bare);
        for (question, is_v4) in questions().iter().zip([true, false]) {
            let request = bare.ask(question, 7, 64);
            assert_eq!(bare.hear(&request), Heard::Other, "a question is no answer");
            for reply in replies(&request, is_v4) {
                assert_eq!(bare.hear(&reply), Heard::Answer(7));
                let stranger = Asker { identity: 1, ..bare };
                assert_eq!(stranger.hear(&reply), Heard::Other);
            }
        }
        assert_eq!(bare.hear(&[]), Heard::Nonsense);
    }

    #[test]
    fn stations_of_a_stretched_network_answer_to_made_up_ones() {
        let framed = |vni: u8, frame: &[u8]| [&[8, 0, 0, 0, 0, 0, vni, 0][..], frame].concat();
        let asker = vxlan();
        let [station, link_local] = [asker.station(9).0, [0; 6]];
        assert_ne!(station, link_local);
        let arp = [&station[..], &THEIRS.0, &[8, 6], &[0; 28]].concat();
        assert_eq!(asker.hear(&framed(42, &arp)), Heard::Answer(9));
        assert_eq!(asker.hear(&framed(43, &arp)), Heard::OtherVni(43));
        assert_eq!(asker.hear(&framed(42, &arp[6..])), Heard::Other);
        let wants_to_reply = craft::neighbour(135, asker.link_local(9), THEIRS);
        let (src, dst) = ("fe80::2".parse().unwrap(), ALL_NODES.into());
        let frame = craft::ip((ALL_NODES_MAC, THEIRS), src, dst, ICMPV6, &wants_to_reply);
        assert_eq!(asker.hear(&framed(42, &frame)), Heard::Answer(9));
        assert_eq!(Asker { identity: 1, ..asker }.hear(&framed(42, &frame)), Heard::Other);
        assert_eq!(asker.hear(&[8, 0, 0]), Heard::Nonsense);
    }

    proptest! {
        #[test]
        fn any_octets_are_heard(octets in prop::collection::vec(any::<u8>(), 0..120)) {
            vxlan().hear(&octets);
            vxlan().hear(&[&[8, 0, 0, 0, 0, 0, 42, 0][..], &octets].concat());
            asker(Framing::Bare).hear(&octets);
        }
    }
}
