//! Laws of the router: what it makes carries its address, and nothing comes in from the uplink unasked.
//!
//! *Asked* is reckoned more kindly than the router does, by addresses alone, so that the law needs no table of
//! connections: somebody inside has sent to the address before. What is published counts as asked for, and what comes from
//! a peer's subnet that is reached through the uplink (host-gw) needs no asking.

use std::collections::BTreeSet;
use std::net::IpAddr;

use node::Plan;
use vrouter::{Filtering, Side};
use wire::headers::{Headers, PROTOCOL_ICMPV4, PROTOCOL_ICMPV6};
use wire::{DomainId, Mac};

use super::{Verdict, ensure};

/// Whom somebody inside has sent to.
#[derive(Debug, Default)]
pub(super) struct Asked(BTreeSet<IpAddr>);

/// Whether a frame that leaves in `domain` names the router as its source.
pub(super) fn is_routers(plan: &Plan, domain: DomainId, frame: &[u8]) -> bool {
    let src = frame.get(6..12).and_then(|octets| octets.first_chunk()).map(|&octets| Mac(octets));
    let gateway = plan.router.gateways.iter().find(|gateway| gateway.domain == domain);
    gateway.is_some_and(|gateway| src == Some(gateway.mac.mac()))
}

fn is_uplink(plan: &Plan, domain: DomainId) -> bool {
    plan.router.gateways.iter().any(|gateway| gateway.domain == domain && gateway.side == Side::Uplink)
}

impl Asked {
    /// A frame came in from `from`. What the router makes of it does not matter: a packet that it parks opens a connection
    /// too.
    pub(super) fn arrives(&mut self, plan: &Plan, from: Option<DomainId>, frame: &[u8]) {
        if from.is_some_and(|from| !is_uplink(plan, from))
            && let Some(dst) = Headers::parse(frame).ok().and_then(|headers| headers.dst(frame))
        {
            self.0.insert(dst);
        }
    }

    /// A frame of the router's leaves in `domain`; `from` is where the frame came in that caused it.
    pub(super) fn leaves(
        &mut self,
        plan: &Plan,
        from: Option<DomainId>,
        domain: DomainId,
        frame: &[u8],
    ) -> Verdict {
        let Ok(headers) = Headers::parse(frame) else { return Ok(()) };
        let (Some(src), Some(dst)) = (headers.src(frame), headers.dst(frame)) else { return Ok(()) };
        let comes_in = !is_uplink(plan, domain) && from.is_some_and(|from| is_uplink(plan, from));
        let is_own = plan.router.gateways.iter().any(|gateway| gateway.addresses.contains(&src))
            || matches!(src, IpAddr::V6(src) if src.is_unicast_link_local());
        // Then whoever knows a mapped L4 port is welcome: that is what endpoint-independent filtering says.
        let is_open = plan.router.nat.filtering == Filtering::EndpointIndependent;
        if comes_in && is_open {
            self.0.insert(src); // What was let in goes on when a later plan filters otherwise.
        }
        // Hosts of the overlay that are neighbours on the uplink are no strangers.
        let is_peer = plan.router.direct.lookup(src).is_some();
        if !comes_in || is_own || is_open || is_peer || self.0.contains(&src) || is_published(plan, dst) {
            return Ok(());
        }
        let about = quoted_dst(&headers, frame);
        ensure(about.is_some_and(|about| self.0.contains(&about)), || {
            format!("nobody has asked {src}, and still it reaches {dst} from outside")
        })
    }
}

fn is_published(plan: &Plan, dst: IpAddr) -> bool {
    plan.router.publishes.iter().any(|publish| publish.to == dst)
        || plan.router.one_to_one.iter().any(|pair| pair.inside == dst)
}

/// Whom the packet was for that an ICMP error quotes.
fn quoted_dst(headers: &Headers, frame: &[u8]) -> Option<IpAddr> {
    let quote = frame.get(headers.l4 + 8..)?;
    match headers.protocol {
        PROTOCOL_ICMPV4 => quote.get(16..20)?.first_chunk().map(|&octets: &[u8; 4]| octets.into()),
        PROTOCOL_ICMPV6 => quote.get(24..40)?.first_chunk().map(|&octets: &[u8; 16]| octets.into()),
        _ => None,
    }
}
