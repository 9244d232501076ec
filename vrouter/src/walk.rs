//! The walk of a packet through the router.
//!
//! ```text
//!  source ─▶ pieces ─▶ connection known? ──yes──────────────────────────────▶ FIB ─▶ way out
//!                        │ no                                                         TTL, MTU, MSS,
//!                        ├ ICMP error about a connection: as its packets go back ─▶   addresses, neighbour
//!                        ├ to ourselves: published or mapped ─▶ DNAT ─┐
//!                        │               else echo, or refused        ▼
//!                        └ to others ───────────────────────▶ FIB ─▶ policy ─▶ SNAT ─▶ remember ─▶ way out
//! ```
//!
//! A connection is remembered if it is translated, meets the uplink, or an access list exists; between networks packets
//! pass without memory otherwise. So when the first access rule comes, for the transitory timeout a TCP segment between
//! networks that is no SYN belongs to a connection older than the list, passes, and is remembered. Nothing of the frame is changed before the way out, so whatever is refused earlier can
//! be quoted to its sender as it came.

use core::net::IpAddr;

use wire::headers::{Family, Fragment, PROTOCOL_TCP};
use wire::{DomainId, DropReason, FlowHash, FrameBuf};

use crate::fib::Resolved;
use crate::fragment::Pieces;
use crate::icmp::echo::echo;
use crate::icmp::error::ErrorKind;
use crate::icmp::quote::{Quote, parse_quote};
use crate::interface::{is_link_local_v6, is_martian_destination};
use crate::mtu::{self, Fit};
use crate::nat::{self, Followed, Origin, SourceNat, TcpFlags, Wish};
use crate::note::Note;
use crate::packet::{Endpoint, Flow, Packet};
use crate::plan::{Protocol, Side};
use crate::policy::{self, Attempt, Refused};
use crate::router::{Arrival, Routed, Router};
use crate::turn::Turn;

/// What a packet's endpoints become; `None` where nothing does.
type Translation = Option<(Endpoint, Endpoint)>;

/// Where a packet leaves: the domain and whose MAC address it needs.
type WayOut = (DomainId, IpAddr);

impl Router {
    pub(crate) fn walk(
        &mut self,
        turn: &mut Turn,
        arrival: &Arrival,
        packet: &Packet,
        frame: &mut FrameBuf,
    ) -> Result<Routed, Refused> {
        self.interfaces.check_source(&self.fib, arrival.domain, packet.src)?;
        if packet.headers.routed || has_source_route(packet, frame.bytes()) {
            return Err(DropReason::SourceRouted.into());
        }
        let flow = if packet.headers.fragment == Fragment::Whole {
            packet.flow(frame.bytes())
        } else {
            match self.fragments.admit(turn, arrival.port, arrival.domain, packet, frame)? {
                Pieces::Whole => packet.flow(frame.bytes()),
                Pieces::Later(flow) => flow,
                Pieces::Parked => return Ok(Routed::Parked),
            }
        };
        let tcp = tcp_flags(packet, frame.bytes());
        if let Some(flow) = flow
            && let Some(followed) = self.connections.follow(turn.now, &flow, tcp)
        {
            return self.known(turn, arrival, packet, &flow, &followed, frame);
        }
        if packet.is_icmp()
            && let Some(quote) = parse_quote(packet, frame.bytes(), frame.offload)?
        {
            return self.icmp_error(turn, arrival, packet, &quote, frame);
        }
        if self.interfaces.owns(arrival.domain, packet.dst) {
            return self.own_packet(turn, arrival, packet, flow, tcp, frame);
        }
        let wish = Wish { dst: None, src: SourceNat::Keep, origin: Origin::Plain, inside: packet.src };
        self.begin(turn, arrival, packet, flow, tcp, wish, frame)
    }

    /// A packet of a known connection: its way follows from where it is going.
    #[inline]
    fn known(
        &mut self,
        turn: &mut Turn,
        arrival: &Arrival,
        packet: &Packet,
        flow: &Flow,
        followed: &Followed,
        frame: &mut FrameBuf,
    ) -> Result<Routed, Refused> {
        let Followed { session, src, dst, .. } = *followed;
        turn.note(|| Note::Followed { session, flow: *flow, src, dst });
        let way = self.next_hop(dst.address, frame)?;
        turn.note(|| Note::Way { dst: dst.address, egress: way.0, next_hop: way.1 });
        let translation = (src, dst);
        let changes = translation != (flow.src, flow.dst);
        self.leave(turn, arrival, packet, changes.then_some(translation), way, frame)
    }

    /// An ICMP error: about a connection it goes where the connection's packets come from, its quote turned back. About
    /// anything else it is a packet like others, under the access list too, unless it comes from outside or is for the router, which has sent
    /// nothing that it could be about.
    fn icmp_error(
        &mut self,
        turn: &mut Turn,
        arrival: &Arrival,
        packet: &Packet,
        quote: &Quote,
        frame: &mut FrameBuf,
    ) -> Result<Routed, Refused> {
        let Some(back) = self.connections.quoted(&quote.flow) else {
            let is_ours = self.interfaces.owns(arrival.domain, packet.dst);
            if is_ours || self.interfaces.is_outside(arrival.domain, packet.src) {
                return Err(DropReason::BadQuote.into());
            }
            if is_link_local_v6(packet.src) {
                return Err(DropReason::MartianSource.into());
            }
            let way = self.new_way(packet.dst, frame)?;
            turn.note(|| Note::Way { dst: packet.dst, egress: way.0, next_hop: way.1 });
            let attempt = Attempt {
                from: arrival.domain,
                to: way.0,
                protocol: None,
                src: packet.src,
                dst: Endpoint { address: packet.dst, l4_port: 0 },
                is_invited: false,
            };
            policy::check_sides(&self.interfaces, &attempt)?;
            self.acl.check(turn, &attempt, true)?;
            return self.leave(turn, arrival, packet, None, way, frame);
        };
        // The quoted packet had been sent by `back.src`; whoever reports about it keeps its own address, unless the
        // translation hides that.
        let is_hidden = packet.src == quote.flow.dst.address;
        turn.note(|| Note::Quoted { about: back.src });
        let way = self.next_hop(back.src.address, frame)?;
        turn.note(|| Note::Way { dst: back.src.address, egress: way.0, next_hop: way.1 });
        let reporter = if is_hidden {
            back.dst.address
        } else if self.interfaces.is_outside(way.0, back.src.address) {
            self.seen_outside(arrival, packet.src)
        } else {
            packet.src
        };
        nat::rewrite_quote(frame, packet, quote, back.src, back.dst);
        let end = |address| Endpoint { address, l4_port: 0 };
        self.leave(turn, arrival, packet, Some((end(reporter), end(back.src.address))), way, frame)
    }

    /// To an address of the router: published, mapped, or a question to the router itself.
    fn own_packet(
        &mut self,
        turn: &mut Turn,
        arrival: &Arrival,
        packet: &Packet,
        flow: Option<Flow>,
        tcp: Option<TcpFlags>,
        frame: &mut FrameBuf,
    ) -> Result<Routed, Refused> {
        let target = match flow {
            Some(flow) => {
                let mapped = || self.connections.mapped(&flow).map(|inside| (inside, Origin::Mapping));
                self.connections.published(&flow).or_else(mapped)
            }
            None => {
                let whole = self.connections.inside_of(packet.dst);
                whole.map(|address| (Endpoint { address, l4_port: 0 }, Origin::OneToOne))
            }
        };
        if let Some((target, origin)) = target {
            turn.note(|| Note::Invited { target, origin });
            let src = match (origin, self.source_outside(arrival, packet.src)) {
                // Who is reached by a mapping sees the asker by its mapping (RFC 4787 REQ-9a).
                (Origin::Mapping, src @ (SourceNat::Masquerade(_) | SourceNat::Address(_))) => src,
                _ => self.source_towards(arrival, packet.src, target.address),
            };
            let wish = Wish { dst: Some(target), src, origin, inside: packet.src };
            return self.begin(turn, arrival, packet, flow, tcp, wish, frame);
        }
        turn.note(|| Note::Own);
        if packet.headers.fragment == Fragment::Whole && echo(packet, frame, &arrival.header)? {
            self.may_answer(turn.now, arrival.domain)?;
            return Ok(Routed::Answer);
        }
        if self.interfaces.is_uplink(arrival.domain) {
            return Err(DropReason::Unsolicited.into());
        }
        let has_l4_port = matches!(flow, Some(Flow { protocol: Protocol::Tcp | Protocol::Udp, .. }));
        let kind = match has_l4_port {
            true => ErrorKind::L4PortUnreachable,
            false if packet.is_icmp() => return Err(DropReason::NoService.into()),
            false => ErrorKind::ProtocolUnreachable,
        };
        Err(Refused::and_tell(DropReason::NoService, kind))
    }

    /// Whose address a station sees on what was addressed to the router. If it would answer directly, past the router,
    /// it must see the router's.
    fn source_towards(&self, arrival: &Arrival, src: IpAddr, target: IpAddr) -> SourceNat {
        let is_neighbour =
            matches!(self.fib.lookup(target), Some(Resolved::Connected(to)) if to == arrival.domain);
        let interface = self.interfaces.in_domain(arrival.domain);
        match interface.and_then(|interface| interface.address_like(src)) {
            Some(gateway) if is_neighbour => SourceNat::Hairpin(gateway),
            Some(_) | None => SourceNat::Keep,
        }
    }

    /// A packet of no known connection: may it be, and how is it translated?
    #[expect(clippy::too_many_arguments, reason = "one packet, how it came and what is wanted for it")]
    fn begin(
        &mut self,
        turn: &mut Turn,
        arrival: &Arrival,
        packet: &Packet,
        flow: Option<Flow>,
        tcp: Option<TcpFlags>,
        mut wish: Wish,
        frame: &mut FrameBuf,
    ) -> Result<Routed, Refused> {
        if is_link_local_v6(packet.src) {
            return Err(DropReason::MartianSource.into());
        }
        let flow_dst = flow.map_or(Endpoint { address: packet.dst, l4_port: 0 }, |flow| flow.dst);
        let dst = wish.dst.unwrap_or(flow_dst);
        let way = self.new_way(dst.address, frame)?;
        turn.note(|| Note::Way { dst: dst.address, egress: way.0, next_hop: way.1 });
        let attempt = Attempt {
            from: arrival.domain,
            to: way.0,
            protocol: flow.map(|flow| flow.protocol),
            src: packet.src,
            dst,
            is_invited: wish.dst.is_some(),
        };
        let is_from_inside = !self.interfaces.is_outside(arrival.domain, packet.src);
        let is_to_outside = self.interfaces.is_outside(way.0, dst.address);
        turn.note(|| Note::Sides { from: attempt.from, to: attempt.to });
        policy::check_sides(&self.interfaces, &attempt)?;
        let meets_uplink = !is_from_inside || is_to_outside;
        let is_midstream = tcp.is_some_and(|flags| !flags.is_first());
        if meets_uplink || !is_midstream || !self.acl.is_young(turn.now, self.connections.transitory()) {
            self.acl.check(turn, &attempt, is_from_inside)?;
        }
        if is_from_inside && is_to_outside {
            wish.src = self.source_outside(arrival, packet.src);
        }
        let is_translated = wish.dst.is_some() || wish.src != SourceNat::Keep;
        if !meets_uplink && !is_translated && self.acl.is_empty() {
            return self.leave(turn, arrival, packet, None, way, frame);
        }
        // What would end at the next step must not be remembered.
        self.may_leave(turn, packet, way, frame)?;
        let translation = match flow {
            Some(flow) => {
                let followed = self.connections.open(turn, &flow, tcp, &wish)?;
                let Followed { src, dst, .. } = followed;
                turn.note(|| Note::Opened { source: wish.src, origin: wish.origin, src, dst });
                Some((src, dst))
            }
            None if is_translated => Some(self.portless(packet, &wish)?),
            None => None,
        };
        self.leave(turn, arrival, packet, translation, way, frame)
    }

    /// How a station inside appears outside.
    fn source_outside(&self, arrival: &Arrival, src: IpAddr) -> SourceNat {
        if let Some(outside) = self.connections.one_to_one(src) {
            return SourceNat::Address(outside);
        }
        let side = self.interfaces.in_domain(arrival.domain).map(|interface| &interface.gateway.side);
        let masquerade = match side {
            Some(Side::Network(policy)) if src.is_ipv4() => policy.masquerade_v4,
            Some(Side::Network(policy)) => policy.masquerade_v6,
            Some(Side::Uplink | Side::Overlay(_)) | None => false,
        };
        match self.interfaces.outside(src) {
            Some(outside) if masquerade => SourceNat::Masquerade(outside),
            Some(_) | None => SourceNat::Keep,
        }
    }

    /// The address that the outside sees of a station.
    fn seen_outside(&self, arrival: &Arrival, src: IpAddr) -> IpAddr {
        match self.source_outside(arrival, src) {
            SourceNat::Masquerade(outside) | SourceNat::Address(outside) => outside,
            SourceNat::Keep | SourceNat::Hairpin(_) => src,
        }
    }

    /// A protocol without L4 ports can be translated where one address stands for one station, packet by packet.
    fn portless(&self, packet: &Packet, wish: &Wish) -> Result<(Endpoint, Endpoint), Refused> {
        let end = |address| Endpoint { address, l4_port: 0 };
        match wish.src {
            SourceNat::Address(outside) => Ok((end(outside), end(packet.dst))),
            SourceNat::Keep => Ok((end(packet.src), wish.dst.unwrap_or(end(packet.dst)))),
            SourceNat::Masquerade(_) | SourceNat::Hairpin(_) => Err(DropReason::NatProtocol.into()),
        }
    }

    /// The way to an address that nobody has vetted yet.
    fn new_way(&self, dst: IpAddr, frame: &FrameBuf) -> Result<WayOut, Refused> {
        if is_martian_destination(dst) {
            return Err(DropReason::MartianDestination.into());
        }
        let way = self.next_hop(dst, frame)?;
        let reaches = self.interfaces.in_domain(way.0).is_some_and(|interface| interface.reaches(dst));
        if reaches { Ok(way) } else { Err(DropReason::MartianDestination.into()) }
    }

    /// Longest prefix; of several next hops the one for this flow.
    #[inline]
    pub(crate) fn next_hop(&self, dst: IpAddr, frame: &FrameBuf) -> Result<WayOut, Refused> {
        match self.fib.lookup(dst) {
            Some(Resolved::Connected(domain)) => Ok((domain, dst)),
            Some(Resolved::Via(hops)) => {
                let hop = hops.choose(FlowHash::of(frame.bytes()));
                Ok((hop.domain, hop.address))
            }
            Some(Resolved::Blackhole) => Err(DropReason::Blackhole.into()),
            Some(Resolved::Unreachable) => {
                Err(Refused::and_tell(DropReason::RouteUnreachable, ErrorKind::HostUnreachable))
            }
            Some(Resolved::Prohibit) => {
                Err(Refused::and_tell(DropReason::RouteProhibited, ErrorKind::AdminProhibited))
            }
            None => Err(Refused::and_tell(DropReason::NoRoute, ErrorKind::NetUnreachable)),
        }
    }

    /// Whether TTL and MTU let the packet go on; how it fits, and what is the MTU.
    #[inline]
    fn may_leave(
        &self,
        turn: &Turn,
        packet: &Packet,
        (egress, next_hop): WayOut,
        frame: &FrameBuf,
    ) -> Result<(Fit, u16), Refused> {
        if packet.hop_limit <= 1 {
            return Err(Refused::and_tell(DropReason::TtlExpired, ErrorKind::TtlExpired));
        }
        let Some(interface) = self.interfaces.in_domain(egress) else {
            return Err(DropReason::NoRoute.into());
        };
        let narrow = turn.narrow(egress, || self.neighbours.known(egress, next_hop));
        let mtu = narrow.map_or(interface.gateway.mtu, |mtu| mtu.min(interface.gateway.mtu));
        match mtu::fit(packet, frame, mtu) {
            Fit::TooBig => Err(Refused::and_tell(DropReason::RouteMtu, ErrorKind::TooBig { mtu })),
            fit @ (Fit::Fits | Fit::Fragment) => Ok((fit, mtu)),
        }
    }

    /// The way out: everything that changes the frame happens here, in one place.
    fn leave(
        &mut self,
        turn: &mut Turn,
        arrival: &Arrival,
        packet: &Packet,
        translation: Translation,
        (egress, next_hop): WayOut,
        frame: &mut FrameBuf,
    ) -> Result<Routed, Refused> {
        let (fit, mtu) = self.may_leave(turn, packet, (egress, next_hop), frame)?;
        let interface = self.interfaces.in_domain(egress).ok_or(DropReason::NoRoute)?;
        frame.bytes_mut()[6..12].copy_from_slice(&interface.mac.0);
        if self.mss_clamp && packet.headers.protocol == PROTOCOL_TCP {
            let arrived = self.interfaces.in_domain(arrival.domain);
            let narrowest = arrived.map_or(mtu, |interface| mtu.min(interface.gateway.mtu));
            mtu::clamp_mss(frame, packet, narrowest);
        }
        if let Some((src, dst)) = translation {
            nat::rewrite(frame, packet, src, dst);
        }
        nat::decrement_hop_limit(frame, packet);
        if fit == Fit::Fragment {
            turn.note(|| Note::Fragmented { mtu });
            return self.leave_in_pieces(turn, arrival, packet, mtu, (egress, next_hop), frame);
        }
        match self.resolve(turn, arrival.port, egress, next_hop, frame) {
            Ok(routed) => Ok(routed),
            Err(DropReason::NeighbourUnreachable) => {
                if translation.is_some() {
                    undo(frame, packet);
                }
                Err(Refused::and_tell(DropReason::NeighbourUnreachable, ErrorKind::HostUnreachable))
            }
            Err(reason) => Err(reason.into()),
        }
    }

    /// The first piece goes the frame's way, the others leave as frames of the router's.
    #[cold]
    fn leave_in_pieces(
        &mut self,
        turn: &mut Turn,
        arrival: &Arrival,
        packet: &Packet,
        mtu: u16,
        (egress, next_hop): WayOut,
        frame: &mut FrameBuf,
    ) -> Result<Routed, Refused> {
        let mut others = alloc::vec::Vec::new();
        mtu::fragment(turn, packet, frame, mtu, &mut |piece| others.push(piece))?;
        let routed = self.resolve(turn, arrival.port, egress, next_hop, frame)?;
        for mut piece in others {
            match self.resolve(turn, arrival.port, egress, next_hop, &mut piece) {
                Ok(Routed::Forward(domain)) => turn.send(domain, piece),
                Ok(_) => turn.pool.put(piece),
                Err(reason) => turn.drop_parked(arrival.port, reason, piece),
            }
        }
        Ok(routed)
    }
}

/// Gives a translated packet its old endpoints back, to be quoted to its sender.
fn undo(frame: &mut FrameBuf, packet: &Packet) {
    let Ok(translated) = Packet::parse(frame) else { return };
    let l4_ports = packet.headers.l4_ports;
    let end = |address, l4_port: Option<u16>| Endpoint { address, l4_port: l4_port.unwrap_or(0) };
    let src = end(packet.src, l4_ports.map(|l4_ports| l4_ports.src));
    let dst = end(packet.dst, l4_ports.map(|l4_ports| l4_ports.dst));
    nat::rewrite(frame, &translated, src, dst);
}

fn tcp_flags(packet: &Packet, bytes: &[u8]) -> Option<TcpFlags> {
    let is_tcp = packet.headers.protocol == PROTOCOL_TCP && packet.headers.l4_ports.is_some();
    is_tcp.then(|| TcpFlags::from_bits(bytes[packet.headers.l4 + 13]))
}

/// Whether an IPv4 packet carries a loose or strict source route (options 131 and 137, RFC 791 §3.1).
fn has_source_route(packet: &Packet, bytes: &[u8]) -> bool {
    if packet.headers.family != Family::V4 || !packet.headers.has_l3_options() {
        return false;
    }
    let mut options = &bytes[packet.headers.l3 + 20..packet.headers.l4];
    while let Some((&kind, rest)) = options.split_first() {
        let len = match kind {
            0 => return false,
            1 => 1,
            131 | 137 => return true,
            _ => rest.first().map_or(1, |&len| usize::from(len).max(2)),
        };
        options = options.get(len..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
pub(crate) mod tests;
