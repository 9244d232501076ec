//! ANSWER: questions for stations that are known are answered here, so that they need not be flooded.
//!
//! In a network that is stretched over tunnels every ARP request and every neighbour solicitation goes to every remote
//! end. Where the domain's plan says so, what stations say of their own addresses is remembered as *bindings*, and a
//! question for a bound address gets its answer in the station's name and goes no further (RFC 9161 §3 calls it proxy
//! ARP/ND; Linux' bridge `neigh_suppress`). The router answers for itself before anybody is asked here.
//!
//! Learned: the sender of an ARP packet; the target of a neighbour advertisement, with its R flag. Both only from the
//! station itself, by the frame's source address, so nobody who answers for others teaches anything; who may claim what
//! is the guards' business. Who said it last is believed, as a host's own table would.
//!
//! Used: while the station lives where it said so and may be reached from there (isolation, split horizon, ageing:
//! [`Switch::forward`] is asked), at most [`BINDING_AGE`] after it was said, and not for questions from its own port.
//! Never answered, but flooded or forwarded as ever: unicast questions, by which a host finds out whether a neighbour is
//! still there; probes for a duplicate address (ARP from 0.0.0.0, solicitations from `::`); announcements; whatever is
//! malformed, in fragments or behind extension headers.
//!
//! Limits: [`BINDINGS_MAX`] and [`BINDINGS_PER_PORT_MAX`]; beyond one, nothing is learned until what is too old has been
//! forgotten, and questions are flooded. With several workers the replica that hears a station knows its bindings: ARP
//! requests all come to the first one, advertisements to whose flow they are. Clock: ticks of a second.

use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use wire::arp::{self, Operation};
use wire::checksum::Sum;
use wire::ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV6, HEADER_LEN};
use wire::headers::PROTOCOL_ICMPV6;
use wire::icmpv6::{self, ChecksumCapabilities, NdRepr, NeighborFlags, Repr};
use wire::{DomainId, FrameBuf, Instant, Mac, PortId};

use crate::admit::Admitted;
use crate::fdb::{Name, Tick};
use crate::forward::Forward;
use crate::switch::Switch;

/// Bindings of one switch. Beyond it nothing is learned.
pub const BINDINGS_MAX: usize = 1 << 16;
/// Bindings said through one port, so that nobody who invents addresses takes the others' room. Beyond it likewise.
pub const BINDINGS_PER_PORT_MAX: u32 = 4_096;
/// Seconds for which a binding holds after it was said last.
pub const BINDING_AGE: u64 = 300;

/// Octets of an IPv6 header.
const IPV6_LEN: usize = 40;
/// Octets of a neighbour advertisement with its one option.
const ADVERTISEMENT_LEN: usize = 32;
/// The hop limit that no router has touched (RFC 4861 §3.1).
const HOP_LIMIT: u8 = 255;

/// What stations have said of their addresses.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bindings {
    by_address: BTreeMap<(DomainId, IpAddr), Binding>,
    of_port: BTreeMap<PortId, u32>,
    /// When what was too old was forgotten last.
    swept: Option<Tick>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Binding {
    mac: Mac,
    port: PortId,
    said: Tick,
    is_router: bool,
}

/// What a frame says or asks about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Talk {
    /// Its sender has the address.
    Says { address: IpAddr, is_router: bool },
    /// Its sender has one address and asks everybody for another.
    Asks { from: IpAddr, target: IpAddr },
}

impl Bindings {
    /// Keeps those of ports and domains for which it holds.
    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(DomainId, PortId) -> bool) {
        let Self { by_address, of_port, .. } = self;
        by_address.retain(|(domain, _), binding| {
            let stays = keeps(*domain, binding.port);
            if !stays {
                count_out(of_port, binding.port);
            }
            stays
        });
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.by_address.len()
    }

    fn learn(&mut self, domain: DomainId, address: IpAddr, new: Binding) {
        let key = (domain, address);
        if let Some(known) = self.by_address.get(&key).copied() {
            if known.port != new.port {
                if !self.has_room_at(new) {
                    return;
                }
                count_out(&mut self.of_port, known.port);
                *self.of_port.entry(new.port).or_default() += 1;
            }
            self.by_address.insert(key, new);
        } else if self.has_room_at(new) && self.by_address.len() < BINDINGS_MAX {
            *self.of_port.entry(new.port).or_default() += 1;
            self.by_address.insert(key, new);
        }
    }

    /// Whether one more fits. What is too old makes room, at most once a tick.
    fn has_room_at(&mut self, new: Binding) -> bool {
        let fits = |bindings: &Self| {
            bindings.by_address.len() < BINDINGS_MAX
                && bindings.of_port.get(&new.port).is_none_or(|count| *count < BINDINGS_PER_PORT_MAX)
        };
        if !fits(self) && self.swept != Some(new.said) {
            self.swept = Some(new.said);
            let Self { by_address, of_port, .. } = self;
            by_address.retain(|_, binding| {
                let stays = !binding.is_too_old(new.said);
                if !stays {
                    count_out(of_port, binding.port);
                }
                stays
            });
        }
        fits(self)
    }

    fn find(&self, domain: DomainId, address: IpAddr, now: Tick) -> Option<Binding> {
        self.by_address.get(&(domain, address)).copied().filter(|binding| !binding.is_too_old(now))
    }
}

impl Binding {
    fn is_too_old(&self, now: Tick) -> bool {
        now.since(self.said) > BINDING_AGE
    }
}

fn count_out(of_port: &mut BTreeMap<PortId, u32>, port: PortId) {
    if let Some(count) = of_port.get_mut(&port) {
        *count -= 1;
        if *count == 0 {
            of_port.remove(&port);
        }
    }
}

impl Switch {
    /// Takes note of what the frame's sender says of its addresses, where the domain's plan wants that.
    #[inline]
    pub fn overhear(&mut self, now: Instant, admitted: &Admitted, frame: &FrameBuf) {
        if may_talk(admitted) && self.domain(admitted.domain).is_some_and(|domain| domain.answers) {
            self.overhear_in(now, admitted, frame);
        }
    }

    #[cold]
    fn overhear_in(&mut self, now: Instant, admitted: &Admitted, frame: &FrameBuf) {
        let said = Tick::of(now);
        let (address, is_router) = match talk(admitted, frame) {
            Some(Talk::Says { address, is_router }) => (address, is_router),
            // An ARP request says whose it is; a solicitation does not say whether its sender is a router.
            Some(Talk::Asks { from: from @ IpAddr::V4(_), .. }) => (from, false),
            Some(Talk::Asks { .. }) | None => return,
        };
        let binding = Binding { mac: admitted.header.src, port: admitted.port, said, is_router };
        self.bindings.learn(admitted.domain, address, binding);
    }

    /// Makes the answer of the frame if it asks everybody for a station that is known, and says whose address is in it. It
    /// is for the asker, whose frame has been learned.
    #[inline]
    pub fn answer(&mut self, now: Instant, admitted: &Admitted, frame: &mut FrameBuf) -> Option<Mac> {
        let is_asked = may_talk(admitted) && admitted.header.dst.is_group();
        if is_asked && self.domain(admitted.domain).is_some_and(|domain| domain.answers) {
            self.answer_in(now, admitted, frame)
        } else {
            None
        }
    }

    #[cold]
    fn answer_in(&mut self, now: Instant, admitted: &Admitted, frame: &mut FrameBuf) -> Option<Mac> {
        let Some(Talk::Asks { from, target }) = talk(admitted, frame) else { return None };
        let known = self.bindings.find(admitted.domain, target, Tick::of(now))?;
        let place = self.fdb.find(Name::new(admitted.domain, known.mac))?;
        if place.port() != known.port {
            return None;
        }
        match self.forward(now, admitted.domain, known.mac, Some(admitted.port)) {
            Ok(Forward::One(_)) => {}
            Ok(Forward::Many) | Err(_) => return None,
        }
        let asker = admitted.header.src;
        let is_made = match (from, target) {
            (IpAddr::V4(from), IpAddr::V4(target)) => reply(frame, (asker, from), (known.mac, target)),
            (IpAddr::V6(from), IpAddr::V6(target)) => {
                advertise(frame, (asker, from), (known.mac, target), known.is_router)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        };
        is_made.then_some(known.mac)
    }

    /// Addresses that are known with their stations.
    pub fn bindings_count(&self) -> usize {
        self.bindings.count()
    }
}

#[inline]
fn may_talk(admitted: &Admitted) -> bool {
    matches!(admitted.header.ethertype, ETHERTYPE_ARP | ETHERTYPE_IPV6)
}

fn talk(admitted: &Admitted, frame: &FrameBuf) -> Option<Talk> {
    if frame.offload.is_super_segment() || frame.offload.needs_checksum() {
        return None; // Nobody sends such questions so.
    }
    let payload = frame.bytes().get(HEADER_LEN..)?;
    match admitted.header.ethertype {
        ETHERTYPE_ARP => talk_of_arp(admitted, payload),
        ETHERTYPE_IPV6 => talk_of_nd(admitted, payload),
        _ => None,
    }
}

fn talk_of_arp(admitted: &Admitted, payload: &[u8]) -> Option<Talk> {
    let packet = arp::Packet::new_checked(payload).ok()?;
    let arp::Repr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr: from,
        target_protocol_addr: target,
        ..
    } = arp::Repr::parse(&packet).ok()?
    else {
        return None;
    };
    let speaks_for_itself = Mac::from(source_hardware_addr) == admitted.header.src;
    let is_host = !from.is_unspecified() && !from.is_broadcast() && !from.is_multicast();
    if !speaks_for_itself || !is_host {
        return None;
    }
    let says = Talk::Says { address: from.into(), is_router: false };
    match operation {
        Operation::Request if from != target => Some(Talk::Asks { from: from.into(), target: target.into() }),
        Operation::Request | Operation::Reply => Some(says),
        Operation::Unknown(_) => None,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "smoltcp's messages, not ours")]
fn talk_of_nd(admitted: &Admitted, packet: &[u8]) -> Option<Talk> {
    let header: &[u8; IPV6_LEN] = packet.first_chunk()?;
    if header[6] != PROTOCOL_ICMPV6 || header[7] != HOP_LIMIT {
        return None;
    }
    let address = |at: usize| Some(Ipv6Addr::from_octets(*header.get(at..)?.first_chunk()?));
    let (src, dst) = (address(8)?, address(24)?);
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let message = packet.get(IPV6_LEN..IPV6_LEN + len)?;
    if !matches!(message.first(), Some(135 | 136)) {
        return None;
    }
    let message = icmpv6::Packet::new_checked(message).ok()?;
    let read = Repr::parse(&src, &dst, &message, &ChecksumCapabilities::default()).ok()?;
    let is_senders = |mac: &[u8]| mac == admitted.header.src.0;
    match read {
        Repr::Ndisc(NdRepr::NeighborSolicit { target_addr, lladdr: Some(mac) })
            if is_senders(mac.as_bytes())
                && !src.is_unspecified()
                && !src.is_multicast()
                && src != target_addr =>
        {
            Some(Talk::Asks { from: src.into(), target: target_addr.into() })
        }
        Repr::Ndisc(NdRepr::NeighborAdvert { flags, target_addr, lladdr: Some(mac) })
            if is_senders(mac.as_bytes()) && !target_addr.is_multicast() && !target_addr.is_unspecified() =>
        {
            let is_router = flags.contains(NeighborFlags::ROUTER);
            Some(Talk::Says { address: target_addr.into(), is_router })
        }
        _ => None,
    }
}

/// An ARP reply in the question's place.
fn reply(
    frame: &mut FrameBuf,
    (asker, from): (Mac, core::net::Ipv4Addr),
    (mac, target): (Mac, core::net::Ipv4Addr),
) -> bool {
    let repr = arp::Repr::EthernetIpv4 {
        operation: Operation::Reply,
        source_hardware_addr: mac.into(),
        source_protocol_addr: target,
        target_hardware_addr: asker.into(),
        target_protocol_addr: from,
    };
    let mut octets = [0; HEADER_LEN + arp::PACKET_LEN];
    octets[..6].copy_from_slice(&asker.0);
    octets[6..12].copy_from_slice(&mac.0);
    octets[12..14].copy_from_slice(&ETHERTYPE_ARP.to_be_bytes());
    repr.emit(&mut arp::Packet::new_unchecked(&mut octets[HEADER_LEN..]));
    frame.fill(&octets)
}

/// A neighbour advertisement in the question's place: solicited, and not to override what the asker may know better, as
/// it is no word of the station's own (RFC 4861 §7.2.8).
fn advertise(
    frame: &mut FrameBuf,
    (asker, from): (Mac, Ipv6Addr),
    (mac, target): (Mac, Ipv6Addr),
    is_router: bool,
) -> bool {
    const MESSAGE_AT: usize = HEADER_LEN + IPV6_LEN;
    let mut octets = [0; MESSAGE_AT + ADVERTISEMENT_LEN];
    octets[..6].copy_from_slice(&asker.0);
    octets[6..12].copy_from_slice(&mac.0);
    octets[12..14].copy_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
    let (header, message) = octets[HEADER_LEN..].split_at_mut(IPV6_LEN);
    header[0] = 0x60;
    header[5] = 32;
    header[6] = PROTOCOL_ICMPV6;
    header[7] = HOP_LIMIT;
    header[8..24].copy_from_slice(&target.octets());
    header[24..40].copy_from_slice(&from.octets());
    message[0] = 136;
    message[4] = if is_router { 0xc0 } else { 0x40 };
    message[8..24].copy_from_slice(&target.octets());
    message[24..26].copy_from_slice(&[2, 1]);
    message[26..32].copy_from_slice(&mac.0);
    let sum = Sum::pseudo_v6(target.octets(), from.octets(), PROTOCOL_ICMPV6, 32) + Sum::of(message);
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    frame.fill(&octets)
}

#[cfg(test)]
mod tests;
