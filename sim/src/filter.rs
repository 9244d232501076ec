//! Filters: which frames somebody wants to see, in the words of tcpdump.
//!
//! ```text
//!  expression   term { or term }          term   factor { and factor }
//!  factor       not factor | ( expression ) | primitive
//!  primitive    arp | ip | ip6 | tcp | udp | icmp | icmp6 | vlan [ID]
//!               [src|dst] host ADDRESS | [src|dst] net PREFIX | [tcp|udp] [src|dst] port L4-PORT
//!               ether [src|dst] host MAC
//! ```
//!
//! `&&`, `||` and `!` are understood too. What a frame does not have does not match: a later fragment has no L4 port.
//! Inside tunnels nothing is looked at. Limits: [`WORDS_MAX`] words; nesting is bounded by them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use wire::ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader};
use wire::headers::{PROTOCOL_ICMPV4, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};
use wire::{Cidr, Headers, Mac};

/// Words of one filter. A longer one is refused.
pub const WORDS_MAX: usize = 256;

/// Which frames are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All.
    All,
    /// Those that both want.
    And(Box<Self>, Box<Self>),
    /// Those that either wants.
    Or(Box<Self>, Box<Self>),
    /// Those that it does not want.
    Not(Box<Self>),
    /// With this EtherType.
    Ethertype(u16),
    /// With this IP protocol.
    Protocol(u8),
    /// With this tag, or any.
    Vlan(Option<u16>),
    /// With an IP address in the prefix.
    Net(Side, Cidr),
    /// With this L4 port, of this protocol or any.
    L4Port(Side, Option<u8>, u16),
    /// With this MAC address.
    Ether(Side, Mac),
}

/// Which end of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where it comes from.
    Src,
    /// Where it goes.
    Dst,
    /// Either.
    Either,
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAFilter(String);

impl fmt::Display for NotAFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; expected e.g. `host 10.0.0.2 and tcp port 80`", self.0)
    }
}

impl std::error::Error for NotAFilter {}

impl Filter {
    /// Whether the frame, from its destination address on, is wanted.
    pub fn wants(&self, frame: &[u8]) -> bool {
        let seen =
            Seen { ethernet: EthernetHeader::parse(frame), headers: Headers::parse(frame).ok(), frame };
        self.matches(&seen)
    }

    fn matches(&self, seen: &Seen<'_>) -> bool {
        match self {
            Self::All => true,
            Self::And(one, other) => one.matches(seen) && other.matches(seen),
            Self::Or(one, other) => one.matches(seen) || other.matches(seen),
            Self::Not(one) => !one.matches(seen),
            Self::Ethertype(wanted) => seen.ethernet.is_some_and(|header| header.ethertype == *wanted),
            Self::Protocol(wanted) => seen.headers.is_some_and(|headers| headers.protocol == *wanted),
            Self::Vlan(wanted) => {
                let tag = seen.ethernet.and_then(|header| header.tag);
                tag.is_some_and(|tag| wanted.is_none_or(|wanted| tag.0 & 0x0fff == wanted))
            }
            Self::Net(side, prefix) => {
                let ends = seen.headers.map(|headers| (headers.src(seen.frame), headers.dst(seen.frame)));
                let is_in = |address: Option<IpAddr>| address.is_some_and(|address| prefix.contains(address));
                ends.is_some_and(|(src, dst)| side.any(is_in(src), is_in(dst)))
            }
            Self::L4Port(side, protocol, wanted) => seen.headers.is_some_and(|headers| {
                protocol.is_none_or(|protocol| protocol == headers.protocol)
                    && headers.l4_ports.is_some_and(|l4| side.any(l4.src == *wanted, l4.dst == *wanted))
            }),
            Self::Ether(side, mac) => {
                seen.ethernet.is_some_and(|header| side.any(header.src == *mac, header.dst == *mac))
            }
        }
    }
}

impl Side {
    const fn any(self, src: bool, dst: bool) -> bool {
        match self {
            Self::Src => src,
            Self::Dst => dst,
            Self::Either => src || dst,
        }
    }
}

/// A frame, parsed once.
struct Seen<'a> {
    ethernet: Option<EthernetHeader>,
    headers: Option<Headers>,
    frame: &'a [u8],
}

impl FromStr for Filter {
    type Err = NotAFilter;

    fn from_str(text: &str) -> Result<Self, NotAFilter> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('!', " ! ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        if words.is_empty() {
            return Ok(Self::All);
        }
        if words.len() > WORDS_MAX {
            return Err(NotAFilter(format!("the filter has more than {WORDS_MAX} words")));
        }
        let mut words = Words(words.into_iter().peekable());
        let filter = words.expression()?;
        match words.0.next() {
            None => Ok(filter),
            Some(word) => Err(NotAFilter(format!("{word:?} is not expected there"))),
        }
    }
}

struct Words<'a>(std::iter::Peekable<std::vec::IntoIter<&'a str>>);

impl<'a> Words<'a> {
    fn take(&mut self, any_of: &[&str]) -> Option<&'a str> {
        self.0.next_if(|word| any_of.contains(word))
    }

    fn expression(&mut self) -> Result<Filter, NotAFilter> {
        let mut filter = self.term()?;
        while self.take(&["or", "||"]).is_some() {
            filter = Filter::Or(Box::new(filter), Box::new(self.term()?));
        }
        Ok(filter)
    }

    fn term(&mut self) -> Result<Filter, NotAFilter> {
        let mut filter = self.factor()?;
        while self.take(&["and", "&&"]).is_some() {
            filter = Filter::And(Box::new(filter), Box::new(self.factor()?));
        }
        Ok(filter)
    }

    fn factor(&mut self) -> Result<Filter, NotAFilter> {
        if self.take(&["not", "!"]).is_some() {
            return self.factor().map(|filter| Filter::Not(Box::new(filter)));
        }
        if self.take(&["("]).is_some() {
            let filter = self.expression()?;
            let closed = self.take(&[")"]).is_some();
            return if closed { Ok(filter) } else { Err(NotAFilter("a `)` is missing".to_owned())) };
        }
        self.primitive()
    }

    fn side(&mut self) -> Side {
        match self.take(&["src", "dst"]) {
            Some("src") => Side::Src,
            Some(_) => Side::Dst,
            None => Side::Either,
        }
    }

    fn primitive(&mut self) -> Result<Filter, NotAFilter> {
        if self.take(&["ether"]).is_some() {
            let side = self.side();
            self.expect("host")?;
            return Ok(Filter::Ether(side, self.value("a MAC address")?));
        }
        if self.take(&["vlan"]).is_some() {
            let vid = self.0.peek().and_then(|word| word.parse().ok());
            if vid.is_some() {
                self.0.next();
            }
            return Ok(Filter::Vlan(vid));
        }
        let kinds = ["arp", "ip", "ip6", "icmp", "icmp6", "tcp", "udp"];
        let protocol = match self.take(&kinds) {
            Some("arp") => return Ok(Filter::Ethertype(ETHERTYPE_ARP)),
            Some("ip") => return Ok(Filter::Ethertype(ETHERTYPE_IPV4)),
            Some("ip6") => return Ok(Filter::Ethertype(ETHERTYPE_IPV6)),
            Some("icmp") => return Ok(Filter::Protocol(PROTOCOL_ICMPV4)),
            Some("icmp6") => return Ok(Filter::Protocol(PROTOCOL_ICMPV6)),
            Some("tcp") => Some(PROTOCOL_TCP),
            Some(_) => Some(PROTOCOL_UDP),
            None => None,
        };
        if let Some(protocol) = protocol
            && !self.0.peek().is_some_and(|word| ["src", "dst", "port"].contains(word))
        {
            return Ok(Filter::Protocol(protocol));
        }
        let side = self.side();
        if self.take(&["port"]).is_some() {
            return Ok(Filter::L4Port(side, protocol, self.value("an L4 port")?));
        }
        if protocol.is_none() && self.take(&["net"]).is_some() {
            return Ok(Filter::Net(side, self.value("a prefix like 10.0.0.0/8")?));
        }
        if protocol.is_none() && self.take(&["host"]).is_some() {
            let address: IpAddr = self.value("an address")?;
            let whole = if address.is_ipv4() { 32 } else { 128 };
            let prefix = Cidr::new(address, whole).expect("the whole address is a prefix");
            return Ok(Filter::Net(side, prefix));
        }
        let found = self.0.next().map_or("the end".to_owned(), |word| format!("{word:?}"));
        Err(NotAFilter(format!("{found} is not expected there")))
    }

    fn expect(&mut self, word: &str) -> Result<(), NotAFilter> {
        self.take(&[word]).map(drop).ok_or_else(|| NotAFilter(format!("`{word}` is missing")))
    }

    fn value<T: FromStr>(&mut self, what: &str) -> Result<T, NotAFilter> {
        let word = self.0.next().ok_or_else(|| NotAFilter(format!("{what} is missing")))?;
        word.parse().map_err(|_| NotAFilter(format!("{word:?} is not {what}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Macs, PacketText};

    fn frame(text: &str) -> Vec<u8> {
        let [src, dst] = [1, 2].map(crate::craft::station);
        text.parse::<PacketText>().unwrap().frame(Macs { src, dst })
    }

    #[test]
    fn what_is_wanted_is_seen() {
        let web = frame("tcp 10.0.0.2:4000 > 10.1.0.3:80 vlan=7");
        let dns = frame("udp [fd00::2]:53 > [fd00::3]:1000");
        let ping = frame("icmp 10.0.0.2 > 10.0.0.3");
        let arp = frame("arp 10.0.0.2 > 10.0.0.3");
        for (filter, wanted) in [
            ("", [true; 4]),
            ("tcp", [true, false, false, false]),
            ("ip", [true, false, true, false]),
            ("ip6 or arp", [false, true, false, true]),
            ("port 53", [false, true, false, false]),
            ("tcp port 53", [false; 4]),
            ("dst port 80", [true, false, false, false]),
            ("src port 80", [false; 4]),
            ("host 10.0.0.2", [true, false, true, false]),
            ("dst host 10.0.0.2", [false; 4]),
            ("net 10.1.0.0/16 || src net fd00::/64", [true, true, false, false]),
            ("not (tcp or udp) && !arp", [false, false, true, false]),
            ("vlan", [true, false, false, false]),
            ("vlan 8", [false; 4]),
            ("ether dst host ff:ff:ff:ff:ff:ff", [false, false, false, true]),
            ("udp src port 53 and host fd00::3", [false, true, false, false]),
        ] {
            let filter: Filter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
            assert_eq!([&web, &dns, &ping, &arp].map(|frame| filter.wants(frame)), wanted, "{filter:?}");
            assert!(!Filter::And(Box::new(filter), Box::new(Filter::Ethertype(1))).wants(&[]));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, why) in [
            ("host", "an address is missing"),
            ("host x", "\"x\" is not an address"),
            ("port 70000", "\"70000\" is not an L4 port"),
            ("( tcp", "a `)` is missing"),
            ("tcp tcp", "\"tcp\" is not expected there"),
            ("and", "\"and\" is not expected there"),
            ("tcp and", "the end is not expected there"),
            ("ether host", "a MAC address is missing"),
            ("ether 02:00:00:00:00:01", "`host` is missing"),
            ("tcp src host 10.0.0.1", "\"host\" is not expected there"),
        ] {
            assert_eq!(text.parse::<Filter>().unwrap_err().0, why, "{text}");
        }
        assert!("(".repeat(WORDS_MAX + 1).parse::<Filter>().is_err());
        assert!("(".repeat(WORDS_MAX).parse::<Filter>().is_err());
    }
}
