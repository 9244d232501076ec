//! A packet in a line of text, as people write one: `tcp 10.0.0.2:4000 > 1.2.3.4:443 flags=S ttl=64`.
//!
//! ```text
//!  PROTOCOL SOURCE > DESTINATION [KEY=VALUE …]
//!  tcp, udp     addresses with L4 ports; IPv6 in brackets: [fd00::2]:53
//!  icmp         an echo request, of whichever family the addresses are
//!  arp          a question: who has the destination?
//!  keys         flags (letters of FSRPAUEC), ttl, len (octets of data), vlan, src and dst (MAC addresses)
//! ```
//!
//! What the text does not say is chosen as a station would: a SYN, TTL 64, no data, and MAC addresses that whoever
//! asks knows ([`Macs`]).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use wire::Mac;

use crate::craft::{self, ICMP, ICMPV6, TCP, UDP};

/// Octets of data that a packet may be given: what fits an MTU of 9,000 and more.
pub const DATA_LEN_MAX: usize = 16_000;
/// Letters of the TCP flags, lowest bit first.
const FLAGS: &str = "FSRPAUEC";

/// What a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketText {
    protocol: Protocol,
    src: SocketAddr,
    dst: SocketAddr,
    flags: u8,
    hop_limit: u8,
    data_len: usize,
    vid: Option<u16>,
    src_mac: Option<Mac>,
    dst_mac: Option<Mac>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    Echo,
    Arp,
}

/// The MAC addresses that a station would use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Macs {
    /// Its own.
    pub src: Mac,
    /// Whom it would send to.
    pub dst: Mac,
}

/// Why a text is no packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAPacket(String);

impl fmt::Display for NotAPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; expected e.g. `tcp 10.0.0.2:4000 > 10.0.0.3:80 flags=S`", self.0)
    }
}

impl std::error::Error for NotAPacket {}

impl FromStr for PacketText {
    type Err = NotAPacket;

    fn from_str(text: &str) -> Result<Self, NotAPacket> {
        let wrong = |what: String| NotAPacket(what);
        let mut words = text.split_whitespace();
        let protocol = match words.next() {
            Some("tcp") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            Some("icmp" | "icmp6" | "ping") => Protocol::Echo,
            Some("arp") => Protocol::Arp,
            Some(other) => return Err(wrong(format!("{other:?} is none of tcp, udp, icmp, arp"))),
            None => return Err(wrong("the text is empty".to_owned())),
        };
        let has_l4_ports = matches!(protocol, Protocol::Tcp | Protocol::Udp);
        let mut end = |which: &str| {
            let word = words.next().filter(|word| *word != ">" && !word.contains('='));
            let word = word.ok_or_else(|| wrong(format!("there is no {which}")))?;
            let end = if has_l4_ports {
                word.parse().ok()
            } else {
                word.trim_matches(['[', ']']).parse().ok().map(|address: IpAddr| SocketAddr::new(address, 0))
            };
            let kind = if has_l4_ports { "an address with an L4 port" } else { "an address" };
            let end = end.ok_or_else(|| wrong(format!("the {which} {word:?} is not {kind}")))?;
            Ok((end, words.next()))
        };
        let (src, arrow) = end("source")?;
        if !matches!(arrow, Some(">" | "->")) {
            return Err(wrong("there is no `>` behind the source".to_owned()));
        }
        let (dst, first_key) = end("destination")?;
        if src.is_ipv4() != dst.is_ipv4() || (protocol == Protocol::Arp && src.is_ipv6()) {
            return Err(wrong("the addresses are of the wrong family".to_owned()));
        }
        let mut packet = Self {
            protocol,
            src,
            dst,
            flags: 2,
            hop_limit: 64,
            data_len: 0,
            vid: None,
            src_mac: None,
            dst_mac: None,
        };
        for word in first_key.into_iter().chain(words) {
            packet.set(word).map_err(wrong)?;
        }
        Ok(packet)
    }
}

impl PacketText {
    fn set(&mut self, word: &str) -> Result<(), String> {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is no KEY=VALUE"))?;
        let bad = |what: &str| format!("{key}={value} is not {what}");
        match key {
            "flags" => {
                let bit = |letter: char| FLAGS.find(letter).map(|bit| 1 << bit);
                let bits: Option<Vec<u8>> = value.chars().map(bit).collect();
                self.flags = bits.ok_or_else(|| bad("letters of FSRPAUEC"))?.iter().sum();
            }
            "ttl" => self.hop_limit = value.parse().map_err(|_| bad("a number to 255"))?,
            "len" => {
                let len = value.parse().ok().filter(|len| *len <= DATA_LEN_MAX);
                self.data_len = len.ok_or_else(|| bad("a number of octets to 16000"))?;
            }
            "vlan" => {
                let vid = value.parse().ok().filter(|vid| (1..4095).contains(vid));
                self.vid = Some(vid.ok_or_else(|| bad("a VLAN identifier"))?);
            }
            "src" => self.src_mac = Some(value.parse().map_err(|_| bad("a MAC address"))?),
            "dst" => self.dst_mac = Some(value.parse().map_err(|_| bad("a MAC address"))?),
            _ => return Err(format!("{key:?} is none of flags, ttl, len, vlan, src, dst")),
        }
        Ok(())
    }

    /// Whom it comes from.
    pub const fn src(&self) -> IpAddr {
        self.src.ip()
    }

    /// Whom it is for.
    pub const fn dst(&self) -> IpAddr {
        self.dst.ip()
    }

    /// The tag that it carries.
    pub const fn vid(&self) -> Option<u16> {
        self.vid
    }

    /// The MAC address that the text sends it to.
    pub const fn dst_mac(&self) -> Option<Mac> {
        self.dst_mac
    }

    /// The frame, from the destination address on. `macs` are taken where the text names none.
    pub fn frame(&self, macs: Macs) -> Vec<u8> {
        let link = (self.dst_mac.unwrap_or(macs.dst), self.src_mac.unwrap_or(macs.src));
        let data = vec![0; self.data_len];
        let (src, dst) = ((self.src.ip(), self.src.port()), (self.dst.ip(), self.dst.port()));
        let mut frame = match (self.protocol, src.0, dst.0) {
            (Protocol::Arp, IpAddr::V4(asks), IpAddr::V4(wanted)) => {
                let mut frame = craft::arp_question((link.1, asks), wanted);
                if let Some(dst) = self.dst_mac {
                    frame[..6].copy_from_slice(&dst.0);
                }
                frame
            }
            (Protocol::Tcp, ..) => {
                craft::ip(link, src.0, dst.0, TCP, &craft::tcp_with(src, dst, self.flags, &data))
            }
            (Protocol::Udp, ..) => craft::ip(link, src.0, dst.0, UDP, &craft::udp(src, dst, &data)),
            (Protocol::Echo | Protocol::Arp, ..) => {
                let protocol = if src.0.is_ipv4() { ICMP } else { ICMPV6 };
                craft::ip(link, src.0, dst.0, protocol, &craft::echo_request(src.0, dst.0, &data))
            }
        };
        if self.protocol != Protocol::Arp {
            set_hop_limit(&mut frame, src.0.is_ipv4(), self.hop_limit);
        }
        self.vid.map_or_else(|| frame.clone(), |vid| craft::tagged(vid, &frame))
    }
}

fn set_hop_limit(frame: &mut [u8], is_v4: bool, hop_limit: u8) {
    if is_v4 {
        frame[22] = hop_limit;
        craft::seal_ipv4(frame);
    } else {
        frame[21] = hop_limit;
    }
}

/// The answer to a frame: who was asked answers whoever asked, a SYN with a SYN and ACK. `None` if it is no whole IP
/// packet with an answer that can be told from it: TCP, UDP, echo request.
pub fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let headers = wire::Headers::parse(frame).ok()?;
    let (src, dst) = (headers.src(frame)?, headers.dst(frame)?);
    let link = (Mac(*frame.get(6..)?.first_chunk()?), Mac(*frame.first_chunk()?));
    let ends = headers.l4_ports.map(|l4_ports| ((dst, l4_ports.dst), (src, l4_ports.src)));
    let payload = match (headers.protocol, ends) {
        (TCP, Some((from, to))) => {
            let is_syn = frame.get(headers.l4 + 13).is_some_and(|flags| flags & 0x12 == 2);
            craft::tcp_with(from, to, if is_syn { 0x12 } else { 0x10 }, &[])
        }
        (UDP, Some((from, to))) => craft::udp(from, to, &[]),
        (ICMP | ICMPV6, _) => {
            let message = frame.get(headers.l4..)?;
            let reply = match message.first()? {
                8 => 0,
                128 => 129,
                _ => return None,
            };
            let mut message = message.to_vec();
            message[0] = reply;
            message[2..4].fill(0);
            if headers.protocol == ICMP { craft::icmp(&message) } else { craft::icmpv6(dst, src, &message) }
        }
        _ => return None,
    };
    Some(craft::ip(link, dst, src, headers.protocol, &payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft::station;

    const MACS: Macs = Macs { src: station(1), dst: station(2) };

    #[test]
    fn what_people_write_is_a_frame() {
        for (text, shown) in [
            (
                "tcp 10.0.0.2:4000 > 1.2.3.4:443",
                "54 octets, 02:00:00:00:00:01 > 02:00:00:00:00:02, 10.0.0.2 > 1.2.3.4, TCP 4000 > 443",
            ),
            (
                "udp [fd00::2]:1 -> [fd00::3]:53 len=4",
                "66 octets, 02:00:00:00:00:01 > 02:00:00:00:00:02, fd00::2 > fd00::3, UDP 1 > 53",
            ),
            (
                "icmp 10.0.0.2 > 10.0.0.3 vlan=7",
                "46 octets, 02:00:00:00:00:01 > 02:00:00:00:00:02, VLAN 7 priority 0, 10.0.0.2 > 10.0.0.3, ICMP",
            ),
            ("arp 10.0.0.2 > 10.0.0.3", "42 octets, 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ARP"),
            (
                "ping 10.0.0.2 > 10.0.0.3 src=02:00:00:00:00:09",
                "42 octets, 02:00:00:00:00:09 > 02:00:00:00:00:02, 10.0.0.2 > 10.0.0.3, ICMP",
            ),
        ] {
            let packet: PacketText = text.parse().unwrap();
            assert_eq!(crate::describe::frame(&packet.frame(MACS)), shown);
        }
        let packet: PacketText = "tcp 10.0.0.2:1 > 10.0.0.3:2 flags=FA ttl=1".parse().unwrap();
        let frame = packet.frame(MACS);
        assert_eq!((frame[22], frame[47]), (1, 0x11));
    }

    #[test]
    fn what_is_no_packet_is_told() {
        for (text, why) in [
            ("", "the text is empty"),
            ("sctp 10.0.0.2:1 > 10.0.0.3:2", "\"sctp\" is none of tcp, udp, icmp, arp"),
            ("tcp 10.0.0.2 > 10.0.0.3:2", "the source \"10.0.0.2\" is not an address with an L4 port"),
            ("tcp 10.0.0.2:1", "there is no `>` behind the source"),
            ("tcp 10.0.0.2:1 >", "there is no destination"),
            ("udp 10.0.0.2:1 > [fd00::1]:2", "the addresses are of the wrong family"),
            ("icmp 10.0.0.2 > 10.0.0.3 flags=X", "flags=X is not letters of FSRPAUEC"),
            ("icmp 10.0.0.2 > 10.0.0.3 len=99999", "len=99999 is not a number of octets to 16000"),
            ("icmp 10.0.0.2 > 10.0.0.3 speed=9", "\"speed\" is none of flags, ttl, len, vlan, src, dst"),
            ("icmp 10.0.0.2 > 10.0.0.3 fast", "\"fast\" is no KEY=VALUE"),
        ] {
            assert_eq!(text.parse::<PacketText>().unwrap_err().0, why);
        }
    }

    #[test]
    fn an_answer_goes_back() {
        let frame = |text: &str| text.parse::<PacketText>().unwrap().frame(MACS);
        let shown = |text: &str| answer(&frame(text)).map(|answer| crate::describe::frame(&answer));
        assert_eq!(
            shown("tcp 10.0.0.2:4000 > 1.2.3.4:443").unwrap(),
            "54 octets, 02:00:00:00:00:02 > 02:00:00:00:00:01, 1.2.3.4 > 10.0.0.2, TCP 443 > 4000"
        );
        assert_eq!(answer(&frame("tcp 10.0.0.2:1 > 10.0.0.3:2")).unwrap()[47], 0x12);
        assert!(shown("icmp fd00::1 > fd00::2").unwrap().contains("fd00::2 > fd00::1, ICMP"));
        assert_eq!(shown("arp 10.0.0.2 > 10.0.0.3"), None);
    }
}
