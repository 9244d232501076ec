//! Policy: may this connection be? Asked once, for its first packet; what belongs to a connection that may be passes.
//!
//! In order: nothing comes in from the uplink unasked; internal networks never meet the uplink; an overlay's hosts meet
//! our networks and nobody else through us; networks that are
//! isolated are not routed to each other, and nothing is routed back into a network whose stations are kept apart; then
//! the access list, first match wins, no match allows. What is published overrules isolation (that is what publishing is
//! for), never `internal` and never the access list.
//!
//! A change of policy holds for connections that begin after it; of those between networks that are older than the whole
//! access list, for TCP alone (`walk`). Limit: [`crate::plan::ACL_RULES_MAX`] rules.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use wire::{DomainId, DropReason, Instant};

use crate::icmp::error::ErrorKind;
use crate::interface::Interfaces;
use crate::note::Note;
use crate::packet::Endpoint;
use crate::plan::{AclAction, AclEnd, AclRule, NetworkPolicy, Protocol, Side};
use crate::turn::{Notice, Turn};

/// A packet goes no further, and whether its sender is told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: DropReason,
    pub(crate) tell: Option<ErrorKind>,
}

impl From<DropReason> for Refused {
    fn from(reason: DropReason) -> Self {
        Self { reason, tell: None }
    }
}

impl Refused {
    pub(crate) const fn and_tell(reason: DropReason, kind: ErrorKind) -> Self {
        Self { reason, tell: Some(kind) }
    }
}

/// A connection that wants to begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Where its first packet came in.
    pub(crate) from: DomainId,
    /// Where it would leave.
    pub(crate) to: DomainId,
    /// `None`: a protocol without L4 ports.
    pub(crate) protocol: Option<Protocol>,
    /// Who begins it.
    pub(crate) src: IpAddr,
    /// Whom it is for, after DNAT.
    pub(crate) dst: Endpoint,
    /// It was addressed to something published, or to an address that is the station's as a whole.
    pub(crate) is_invited: bool,
}

/// The access list and how often each rule has matched.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Acl {
    rules: Vec<AclRule>,
    hits: Vec<u64>,
    /// When the first rule came to an empty list.
    began: Instant,
}

/// What an end of a connection lies in.
#[derive(Clone, Copy)]
enum Zone<'a> {
    Network(&'a NetworkPolicy),
    /// Another host of an overlay, behind a tunnel or behind the uplink.
    Overlay,
    /// Behind the uplink, a stranger.
    Outside,
}

/// Whether the sides that the connection joins may be joined.
///
/// # Errors
/// `route.unsolicited`, `route.internal`, `route.isolated` or `route.overlay-transit`. Inside senders are told, outside ones never.
pub(crate) fn check_sides(interfaces: &Interfaces, attempt: &Attempt) -> Result<(), Refused> {
    let zone = |domain, address| {
        let side = &interfaces.in_domain(domain)?.gateway.side;
        Some(match side {
            Side::Network(policy) => Zone::Network(policy),
            Side::Uplink if interfaces.is_outside(domain, address) => Zone::Outside,
            Side::Uplink | Side::Overlay(_) => Zone::Overlay,
        })
    };
    let ends = (zone(attempt.from, attempt.src), zone(attempt.to, attempt.dst.address));
    let (Some(from), Some(to)) = ends else {
        return Err(DropReason::NoRoute.into());
    };
    let refuse = |reason| Err(Refused::and_tell(reason, ErrorKind::AdminProhibited));
    match (from, to) {
        (Zone::Outside, Zone::Network(to)) if to.internal => Err(DropReason::Internal.into()),
        (Zone::Outside, _) if !attempt.is_invited => Err(DropReason::Unsolicited.into()),
        (Zone::Outside, _) => Ok(()),
        (Zone::Network(from), Zone::Outside) if from.internal => refuse(DropReason::Internal),
        (Zone::Network(_), Zone::Outside | Zone::Overlay) | (Zone::Overlay, Zone::Network(_)) => Ok(()),
        (Zone::Overlay, Zone::Outside | Zone::Overlay) => refuse(DropReason::OverlayTransit),
        (Zone::Network(from), Zone::Network(to))
            if attempt.is_invited || may_meet(attempt.from == attempt.to, from, to) =>
        {
            Ok(())
        }
        (Zone::Network(_), Zone::Network(_)) => refuse(DropReason::IsolatedNetworks),
    }
}

/// Whether stations of two networks, or of one and the same, may begin connections by way of the router.
pub(crate) const fn may_meet(is_same: bool, from: &NetworkPolicy, to: &NetworkPolicy) -> bool {
    if is_same { !from.separate_stations } else { !(from.isolated && to.isolated) }
}

impl Acl {
    /// Takes a new list. A rule that stays keeps its hits, wherever it stands.
    pub(crate) fn configure(&mut self, now: Instant, rules: &[AclRule]) {
        if self.rules == rules {
            return;
        }
        if self.rules.is_empty() {
            self.began = now;
        }
        let mut hits = vec![0; rules.len()];
        let mut taken = vec![false; self.rules.len()];
        for (rule, hits) in rules.iter().zip(&mut hits) {
            let known = (0..self.rules.len()).find(|&index| !taken[index] && self.rules[index] == *rule);
            if let Some(index) = known {
                taken[index] = true;
                *hits = self.hits[index];
            }
        }
        self.rules = rules.to_vec();
        self.hits = hits;
    }

    /// Whether connections between networks have to be remembered, so that answers pass whatever the list says.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether connections between networks may still be open that began while nobody remembered them.
    pub(crate) fn is_young(&self, now: Instant, span: Duration) -> bool {
        !self.is_empty() && now < self.began + span
    }

    /// How often each rule has matched, in the order of the plan.
    pub(crate) fn hits(&self) -> &[u64] {
        &self.hits
    }

    /// # Errors
    /// `route.acl-denied`; a sender inside is told.
    pub(crate) fn check(
        &mut self,
        turn: &mut Turn,
        attempt: &Attempt,
        is_from_inside: bool,
    ) -> Result<(), Refused> {
        for (index, (rule, hits)) in self.rules.iter().zip(&mut self.hits).enumerate() {
            if !matches(rule, attempt) {
                continue;
            }
            *hits += 1;
            let place = u16::try_from(index).expect("rules are few");
            turn.note(|| Note::Acl { rule: place, action: rule.action });
            match rule.action {
                AclAction::Allow => return Ok(()),
                AclAction::Deny if is_from_inside => {
                    return Err(Refused::and_tell(DropReason::AclDenied, ErrorKind::AdminProhibited));
                }
                AclAction::Deny => return Err(DropReason::AclDenied.into()),
                AclAction::Log => turn.notice(Notice::AclLogged {
                    rule: place,
                    src: attempt.src,
                    dst: attempt.dst.address,
                    dst_l4_port: attempt.dst.l4_port,
                }),
            }
        }
        if let Ok(rules @ 1..) = u16::try_from(self.rules.len()) {
            turn.note(|| Note::AclPassed { rules });
        }
        Ok(())
    }
}

fn matches(rule: &AclRule, attempt: &Attempt) -> bool {
    let is_end = |end: &AclEnd, domain: DomainId, address: IpAddr| match end {
        AclEnd::Anyone => true,
        AclEnd::Domain(named) => *named == domain,
        AclEnd::Prefixes(prefixes) => prefixes.iter().any(|prefix| prefix.contains(address)),
    };
    let has_l4_port = |(first, last): (u16, u16)| (first..=last).contains(&attempt.dst.l4_port);
    rule.protocol.is_none_or(|protocol| attempt.protocol == Some(protocol))
        && rule.l4_ports.is_none_or(has_l4_port)
        && is_end(&rule.from, attempt.from, attempt.src)
        && is_end(&rule.to, attempt.to, attempt.dst.address)
}
