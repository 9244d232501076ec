//! The short way: what most packets are, decided in few steps.
//!
//! ```text
//!  whole TCP or UDP, no options, no SYN ─▶ connection known ─────────────────────▶ FIB ─▶ fits, next hop known ─▶ out
//!                                          │ no: both sides networks that may meet ─▶┘
//!                                          └ anything else ─▶ the walk
//! ```
//!
//! A packet that takes it has left exactly as [`Router::walk`] would have let it out, with the same effect on
//! connections and neighbours. Whatever is not plain is left to the walk, unchanged and unremembered: the short way
//! refuses nothing, opens nothing, parks nothing and answers nothing, so it knows no drop reason. It holds no state of
//! its own either. What makes it short is that everything is asked once and in its family's own numbers ([`Lane`]).
//!
//! That both ways agree is a property test (`tests.rs`), which sends the same frames through a router that has the short
//! way and one that has not.

mod lane;
#[cfg(test)]
mod tests;

use core::net::{Ipv4Addr, Ipv6Addr};

use wire::{DomainId, FlowHash, FrameBuf};

use crate::fib::Resolved;
use crate::nat::Met;
use crate::plan::Side;
use crate::policy::may_meet;
use crate::router::{Arrival, Router};
use crate::turn::Turn;

pub(crate) use self::lane::{Lane, Link};

/// Frames whose sessions are looked up together.
const AHEAD_MAX: usize = 64;

impl Router {
    /// Lets a plain packet out: it stands finished in `frame`, for a port of the domain. `None`: the frame and the router
    /// are as they were, and the walk decides.
    #[inline]
    pub(crate) fn shortcut<A: Lane>(
        &mut self,
        turn: &Turn,
        arrival: &Arrival,
        frame: &mut FrameBuf,
    ) -> Option<DomainId> {
        let now = turn.now;
        let glance = A::glance(frame.bytes())?;
        let seen = glance.tuple;
        if !self.may_come_from(arrival.domain, seen.src) {
            return None;
        }
        let met = self.connections.meet(now, glance.protocol, &seen)?;
        let leaving = met.as_ref().map_or(seen, |met| met.leaving);
        let (egress, next_hop) = self.way_of(leaving.dst, frame)?;
        if met.is_none() && !self.may_pass_unremembered(arrival.domain, egress, seen.dst) {
            return None;
        }
        let interface = self.interfaces.in_domain(egress)?;
        let l3_len = match frame.offload.is_super_segment() {
            true => frame.segment_len().saturating_sub(wire::ethernet::HEADER_LEN),
            false => glance.l3_len,
        };
        let narrow = turn.narrow(egress, || self.neighbours.known(egress, next_hop.ip()));
        if l3_len > usize::from(narrow.map_or(interface.gateway.mtu, |mtu| mtu.min(interface.gateway.mtu))) {
            return None;
        }
        let (from_mac, to_mac) = (interface.mac, self.neighbours.pass(now, egress, next_hop.ip())?);
        // Nothing refuses it any more.
        if let Some(Met { session, .. }) = met {
            self.connections.pass::<A>(now, session, glance.tcp);
        }
        let bytes = frame.bytes_mut();
        bytes[..6].copy_from_slice(&to_mac.0);
        bytes[6..12].copy_from_slice(&from_mac.0);
        lane::pass_on(frame, glance.protocol, &seen, &leaving);
        Some(egress)
    }

    /// Looks the sessions of frames up that are about to be routed, all at once, so that the processor waits for their
    /// memory once and not for each. Nothing follows from it. Does nothing where sessions are few, and nothing for frames
    /// beyond the first 64.
    pub fn look_ahead<'a>(&self, frames: impl Iterator<Item = &'a [u8]> + Clone) {
        if self.connections.are_many() {
            self.fetch::<Ipv4Addr>(frames.clone());
            self.fetch::<Ipv6Addr>(frames);
        }
    }

    /// Reads the sessions of one family: first where all of them are, then each.
    fn fetch<'a, A: Lane>(&self, frames: impl Iterator<Item = &'a [u8]>) {
        let mut places = [None; AHEAD_MAX];
        for (place, bytes) in places.iter_mut().zip(frames) {
            *place = A::guess(bytes).and_then(|(protocol, flow)| self.connections.guess(protocol, &flow));
        }
        places.into_iter().flatten().for_each(|place| self.connections.fetch::<A>(place));
    }

    /// Whether a source is one that the domain may send from, as far as that is seen at a glance.
    #[inline]
    fn may_come_from<A: Lane>(&self, domain: DomainId, src: A) -> bool {
        let Some(interface) = self.interfaces.in_domain(domain) else { return false };
        let link = A::link(interface);
        if !src.is_ordinary() || link.addresses.contains(&src) {
            return false;
        }
        link.has_host(src).unwrap_or_else(|| match src.lookup(&self.fib) {
            Some(Resolved::Via(hops)) => hops.as_slice().iter().any(|hop| hop.domain == domain),
            Some(Resolved::Connected(back)) => back == domain,
            Some(Resolved::Blackhole | Resolved::Unreachable | Resolved::Prohibit) | None => false,
        })
    }

    /// Where a packet leaves and whose MAC address it needs, if it leaves.
    #[inline]
    fn way_of<A: Lane>(&self, dst: A, frame: &FrameBuf) -> Option<(DomainId, A)> {
        match dst.lookup(&self.fib)? {
            Resolved::Connected(domain) => Some((domain, dst)),
            Resolved::Via(hops) => {
                let hop = match hops.as_slice() {
                    [hop] => *hop,
                    _ => hops.choose(FlowHash::of(frame.bytes())),
                };
                Some((hop.domain, A::of(hop.address)?))
            }
            Resolved::Blackhole | Resolved::Unreachable | Resolved::Prohibit => None,
        }
    }

    /// Whether a packet of no connection passes between two networks without being remembered.
    #[inline]
    fn may_pass_unremembered<A: Lane>(&self, from: DomainId, to: DomainId, dst: A) -> bool {
        let (Some(arrived), Some(leaves)) = (self.interfaces.in_domain(from), self.interfaces.in_domain(to))
        else {
            return false;
        };
        let (Side::Network(inside), Side::Network(other)) = (&arrived.gateway.side, &leaves.gateway.side)
        else {
            return false;
        };
        self.acl.is_empty()
            && may_meet(from == to, inside, other)
            && dst.is_ordinary()
            && A::link(leaves).has_host(dst).unwrap_or(true)
            && !self.interfaces.has_strays()
            && !A::link(leaves).addresses.contains(&dst)
    }
}
