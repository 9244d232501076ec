//! The route room: is this frame a question to the router?
//!
//! ```text
//!  no gateway in the domain, or to another station's MAC      → Pass, after two compares
//!  to a group        ARP or ND question for an owned address  → Answer
//!                    anything else                            → Pass
//!  to the gateway    ARP, ND or echo question                 → Answer
//!                    anything else                            → drop: route.no-route, route.no-service, route.malformed-*
//! ```
//!
//! Owns: one [`Station`] for each domain that has a gateway, found by the domain's id. Clock: the token bucket that
//! limits answers to [`ANSWERS_PER_SECOND_MAX`]; beyond it questions are dropped as `route.answer-rate`. An answer
//! allocates nothing: the question's buffer becomes the answer.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use smoltcp::wire::IpProtocol;
use wire::ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, HEADER_LEN};
use wire::{DomainId, DropReason, FrameBuf, Instant, Mac, Offload, PortId, TokenBucket};

use crate::ip::IpHeader;
use crate::plan::{Gateway, RouterPlan};
use crate::turn::Turn;
use crate::{arp, echo, nd};

/// Answers that one domain gets in a second. Further questions are dropped as `route.answer-rate`, so that a station
/// cannot make the router busy at the others' expense.
pub const ANSWERS_PER_SECOND_MAX: u64 = 10_000;
/// Answers that one domain gets at once after a pause: four full batches of 64 frames.
pub const ANSWERS_BURST_MAX: u64 = 256;

/// What the router made of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routed {
    /// It is not for the router and has not been touched.
    Pass,
    /// The question is consumed. Its buffer holds the answer, from the gateway's MAC to the asker's, with no offload
    /// pending: a new frame of the same domain that came in through no port.
    Answer,
    /// It is routed: addressed and finished for the next hop in this domain, from the gateway's MAC.
    Forward(DomainId),
    /// The router has heard it; the frame is of no more use.
    Consumed,
    /// The router keeps the packet for later and has left an empty buffer in its place.
    Parked,
}

/// The gateways of all domains.
#[derive(Clone, Debug, Default)]
pub struct Router {
    /// By [`DomainId`]; domains past the end have no gateway.
    stations: Vec<Option<Station>>,
}

impl Router {
    /// A router that owns nothing. The seed keys its hash tables and chooses L4 ports.
    pub fn new(_seed: u64) -> Self {
        Self { stations: Vec::new() }
    }

    /// From now on this plan holds. It has been checked ([`RouterPlan::check`]).
    pub fn configure(&mut self, _turn: &mut Turn, plan: &RouterPlan) {
        self.stations.clear();
        for gateway in &plan.gateways {
            let index = gateway.domain.index();
            if self.stations.len() <= index {
                self.stations.resize(index + 1, None);
            }
            self.stations[index] = Some(Station::new(gateway));
        }
    }

    /// Does what the passing of time asks for.
    pub fn wake(&mut self, _turn: &mut Turn) {}

    /// When the router next wants to be woken, and what for.
    pub fn next_deadline(&self) -> Option<(Instant, &'static str)> {
        None
    }

    /// Answers the frame if it is a question to the gateway of `domain`.
    ///
    /// Inside the corridor frames are untagged: the payload stands 14 octets into the frame, whatever `header` says
    /// about a tag that has been popped.
    ///
    /// # Errors
    /// The frame is for the router, which has no answer: `route.malformed-arp`, `route.malformed-ip`,
    /// `route.no-route`, `route.no-service` or `route.answer-rate`.
    #[inline]
    pub fn route(
        &mut self,
        turn: &mut Turn,
        _port: PortId,
        domain: DomainId,
        header: &EthernetHeader,
        frame: &mut FrameBuf,
    ) -> Result<Routed, DropReason> {
        let Some(Some(station)) = self.stations.get_mut(domain.index()) else {
            return Ok(Routed::Pass);
        };
        if header.dst != station.mac && !header.dst.is_group() {
            return Ok(Routed::Pass);
        }
        station.hear(turn.now, header, frame)
    }
}

/// The router as one domain sees it: a station with a MAC and addresses.
#[derive(Clone, Debug)]
pub(crate) struct Station {
    mac: Mac,
    /// The plan's, and the link-local address.
    addresses: Vec<IpAddr>,
    answers: TokenBucket,
}

impl Station {
    fn new(gateway: &Gateway) -> Self {
        let mac = gateway.mac.mac();
        let mut addresses = gateway.addresses.clone();
        addresses.push(link_local(mac).into());
        let answers = TokenBucket::new(ANSWERS_PER_SECOND_MAX, ANSWERS_BURST_MAX, Instant::ZERO);
        Self { mac, addresses, answers }
    }

    pub(crate) fn owns(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Kept out of [`Router::route`], which is inlined into the corridor for the frames that are no question.
    #[inline(never)]
    fn hear(
        &mut self,
        now: Instant,
        header: &EthernetHeader,
        frame: &mut FrameBuf,
    ) -> Result<Routed, DropReason> {
        let packet = frame.bytes().get(HEADER_LEN..).unwrap_or_default();
        let question = if header.dst == self.mac {
            self.asked(header.ethertype, packet, frame.offload)?
        } else {
            let Some(question) = self.overheard(header.ethertype, packet, frame.offload)? else {
                return Ok(Routed::Pass);
            };
            question
        };
        if !self.answers.take(now) {
            return Err(DropReason::AnswerRate);
        }
        question.answer(self.mac, header.src, frame);
        Ok(Routed::Answer)
    }

    /// A frame to a group: a question of somebody who does not know our MAC, or nothing for us.
    fn overheard(
        &self,
        ethertype: u16,
        packet: &[u8],
        offload: Offload,
    ) -> Result<Option<Question>, DropReason> {
        match ethertype {
            // A malformed one names nobody; what it may mean to others is not ours to judge.
            ETHERTYPE_ARP => Ok(arp::Question::parse(self, packet).ok().flatten().map(Question::Arp)),
            ETHERTYPE_IPV6 => {
                let Ok(ip) = IpHeader::parse(packet) else { return Ok(None) };
                Ok(nd::Question::parse(self, &ip, packet, offload)?.map(Question::Solicitation))
            }
            _ => Ok(None),
        }
    }

    /// A frame to our own MAC: whatever it is, it goes no further.
    fn asked(&self, ethertype: u16, packet: &[u8], offload: Offload) -> Result<Question, DropReason> {
        match ethertype {
            ETHERTYPE_ARP => {
                arp::Question::parse(self, packet)?.map(Question::Arp).ok_or(DropReason::NoService)
            }
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => {
                let ip = IpHeader::parse(packet)?;
                if ip.ethertype() != ethertype {
                    return Err(DropReason::MalformedIp);
                }
                self.asked_ip(&ip, packet, offload)
            }
            _ => Err(DropReason::NoService),
        }
    }

    fn asked_ip(&self, ip: &IpHeader, packet: &[u8], offload: Offload) -> Result<Question, DropReason> {
        if let Some(solicitation) = nd::Question::parse(self, ip, packet, offload)? {
            return Ok(Question::Solicitation(solicitation));
        }
        if !self.owns(ip.dst) {
            return Err(DropReason::NoRoute);
        }
        if ip.is_fragment || !matches!(ip.protocol, IpProtocol::Icmp | IpProtocol::Icmpv6) {
            return Err(DropReason::NoService);
        }
        echo::Question::parse(ip, packet, offload)?.map(Question::Echo).ok_or(DropReason::NoService)
    }
}

/// What the router answers. The values are copies: the frame they came from is overwritten by the answer.
#[derive(Clone, Copy, Debug)]
enum Question {
    Arp(arp::Question),
    Solicitation(nd::Question),
    Echo(echo::Question),
}

impl Question {
    /// Turns the frame into the answer from `mac` to `asker`.
    fn answer(self, mac: Mac, asker: Mac, frame: &mut FrameBuf) {
        match self {
            Self::Arp(question) => question.answer(mac, asker, frame),
            Self::Solicitation(question) => question.answer(mac, asker, frame),
            Self::Echo(question) => question.answer(mac, asker, frame),
        }
    }
}

/// Writes an untagged Ethernet header; `frame` has room for it.
pub(crate) fn emit_ethernet(frame: &mut [u8], dst: Mac, src: Mac, ethertype: u16) {
    frame[..6].copy_from_slice(&dst.0);
    frame[6..12].copy_from_slice(&src.0);
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
}

/// fe80::/64 and the MAC as a modified EUI-64: the universal/local bit inverted, ff:fe in the middle
/// (RFC 4291 §2.5.1 and appendix A).
pub(crate) fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{GATEWAY_MAC, Heard, ask, ask_at, change, router};
    use core::time::Duration;

    /// An experimental protocol (IEEE 802 local experimental ethertype 1) from one station to another.
    const OTHERS: [u8; 16] = [2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 0x88, 0xb5, 0xaa, 0xbb];

    #[test]
    fn frames_between_stations_pass() {
        assert_eq!(ask(&OTHERS), Heard::Pass);
        assert_eq!(ask(&change(&OTHERS, 0, &[0xff; 6])), Heard::Pass);
        assert_eq!(ask(&change(&OTHERS, 0, &GATEWAY_MAC.0)), Heard::Drop(DropReason::NoService));
    }

    #[test]
    fn a_domain_without_a_gateway_asks_nobody() {
        let question = arp::tests::ARP_REQUEST;
        let mut router = router();
        for domain in [0, 2, u16::MAX] {
            assert_eq!(ask_at(&mut router, Instant::ZERO, DomainId(domain), &question), Heard::Pass);
        }
        crate::tests::configure(&mut router, &RouterPlan::default());
        assert_eq!(ask_at(&mut router, Instant::ZERO, DomainId(1), &question), Heard::Pass);
    }

    #[test]
    fn answers_are_limited_and_the_limit_recovers() {
        let mut router = router();
        let mut answers = |now, count| {
            (0..count)
                .filter(|_| match ask_at(&mut router, now, DomainId(1), &arp::tests::ARP_REQUEST) {
                    Heard::Answer(_) => true,
                    Heard::Drop(DropReason::AnswerRate) => false,
                    other @ (Heard::Pass | Heard::Drop(_)) => panic!("{other:?}"),
                })
                .count() as u64
        };
        let start = Instant::from_secs(1);
        assert_eq!(answers(start, 2 * ANSWERS_BURST_MAX), ANSWERS_BURST_MAX);
        let later = start + Duration::from_millis(10);
        assert_eq!(answers(later, 2 * ANSWERS_BURST_MAX), ANSWERS_PER_SECOND_MAX / 100);
    }

    #[test]
    fn the_link_local_address_is_the_modified_eui_64() {
        // The example of RFC 2464 §4, whose MAC is 34-56-78-9A-BC-DE.
        let mac = Mac([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(link_local(mac), "fe80::3656:78ff:fe9a:bcde".parse::<Ipv6Addr>().unwrap());
    }
}
