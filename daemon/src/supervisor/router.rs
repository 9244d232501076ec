//! The router as the control socket asks for it: what is configured from the plan that holds, what has happened from
//! the worker whose node routes ([`super::live`]).

use std::net::IpAddr;

use config::{AclSpec, Compiled, Edit, Listen, Proto, PublishSpec, RouteSpec, RouterEdit};
use vrouter::fib::{Route, Target};
use vrouter::{AclEnd, AclRule, Gateway, RouterPlan, Side};
use wire::{Cidr, DomainId, DropReason};

use super::{State, Supervisor, live};
use crate::api::{
    AclInfo, ApiError, Ended, HopInfo, NatInfo, NeighbourFilter, NeighbourInfo, NextHopInfo, PublishInfo,
    RouteAnswer, RouteInfo, RouterOperations, SessionFilter, SessionInfo,
};

impl RouterOperations for Supervisor {
    fn routes(&self) -> Result<Vec<RouteInfo>, ApiError> {
        let state = self.state();
        Ok(state.compiled.plan.router.fib.routes().map(|route| route_info(&state, &route)).collect())
    }

    fn explain_route(&self, to: IpAddr, from: Option<IpAddr>) -> Result<RouteAnswer, ApiError> {
        let mut answer = explain(&self.state(), to, from);
        for hop in &mut answer.hops {
            let address = hop.address.parse().ok();
            let filter = NeighbourFilter { network: Some(hop.network.clone()), address };
            hop.neighbour = self.neighbours(&filter)?.pop();
        }
        Ok(answer)
    }

    fn add_route(&self, route: RouteSpec) -> Result<(), ApiError> {
        self.edit(&Edit::Router(RouterEdit::AddRoute(route)))
    }

    fn remove_route(&self, to: Cidr) -> Result<(), ApiError> {
        self.edit(&Edit::Router(RouterEdit::RemoveRoute { to }))
    }

    fn publishes(&self) -> Result<Vec<PublishInfo>, ApiError> {
        let (entries, ids) = {
            let state = self.state();
            let compiled = &state.compiled.plan.router.publishes;
            let info = |(publish, compiled): (&PublishSpec, &vrouter::Publish)| PublishInfo {
                listen: publish.listen.to_string(),
                proto: proto(compiled.protocol).to_owned(),
                to: publish.to.to_string(),
                address: compiled.to.to_string(),
                sessions: 0,
            };
            let entries: Vec<PublishInfo> = state.config.publish.iter().zip(compiled).map(info).collect();
            (entries, compiled.iter().map(|publish| publish.id).collect::<Vec<u32>>())
        };
        let sessions = live::sessions_of_publishes(self)?;
        let counted = entries
            .into_iter()
            .zip(ids)
            .map(|(entry, id)| PublishInfo { sessions: sessions.get(&id).copied().unwrap_or(0), ..entry });
        Ok(counted.collect())
    }

    fn add_publish(&self, publish: PublishSpec) -> Result<(), ApiError> {
        self.edit(&Edit::Router(RouterEdit::AddPublish(publish)))
    }

    fn remove_publish(&self, listen: Listen, proto: Proto) -> Result<(), ApiError> {
        self.edit(&Edit::Router(RouterEdit::RemovePublish { listen, proto }))
    }

    fn acl(&self) -> Result<Vec<AclInfo>, ApiError> {
        // Under the lock, so that the hits are those of the list.
        let state = self.state();
        let hits = live::acl_hits(self)?;
        let info = |(position, rule): (usize, &AclSpec)| AclInfo {
            position,
            hits: hits.get(position).copied().unwrap_or(0),
            rule: rule.clone(),
        };
        Ok(state.config.acl.iter().enumerate().map(info).collect())
    }

    fn add_acl(&self, position: Option<usize>, rule: AclSpec) -> Result<(), ApiError> {
        self.edit(&Edit::Router(RouterEdit::AddAcl { position, rule }))
    }

    fn remove_acl(&self, position: usize) -> Result<(), ApiError> {
        self.edit(&Edit::Router(RouterEdit::RemoveAcl { position }))
    }

    fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionInfo>, ApiError> {
        live::sessions(self, filter)
    }

    fn kill_sessions(&self, filter: &SessionFilter) -> Result<Ended, ApiError> {
        live::kill_sessions(self, filter)
    }

    fn nat(&self) -> Result<NatInfo, ApiError> {
        live::nat(self)
    }

    fn neighbours(&self, filter: &NeighbourFilter) -> Result<Vec<NeighbourInfo>, ApiError> {
        live::neighbours(self, filter)
    }

    fn flush_neighbours(&self, filter: &NeighbourFilter) -> Result<Ended, ApiError> {
        live::flush_neighbours(self, filter)
    }
}

/// A protocol as JSON and tables write it.
pub(super) const fn proto(protocol: vrouter::Protocol) -> &'static str {
    match protocol {
        vrouter::Protocol::Tcp => "tcp",
        vrouter::Protocol::Udp => "udp",
        vrouter::Protocol::Echo => "icmp",
    }
}

/// The name of a domain that the plan has.
pub(super) fn network(compiled: &Compiled, domain: DomainId) -> String {
    compiled.network_name(domain).unwrap_or("(removed)").to_owned()
}

fn route_info(state: &State, route: &Route) -> RouteInfo {
    let compiled = &state.compiled;
    let is_static = state.config.route.iter().any(|given| given.to == route.prefix);
    let (kind, source) = match route.target {
        Target::Connected(_) => ("connected", "connected"),
        Target::Via(_) if is_static => ("via", "static"),
        Target::Via(_) => ("via", "uplink"),
        Target::Blackhole => ("blackhole", "static"),
        Target::Unreachable => ("unreachable", "static"),
        Target::Prohibit => ("prohibit", "static"),
    };
    let (via, connected) = match &route.target {
        Target::Connected(domain) => (Vec::new(), Some(network(compiled, *domain))),
        Target::Via(hops) => {
            let hop = |hop: &vrouter::fib::NextHop| NextHopInfo {
                address: hop.address.to_string(),
                network: network(compiled, hop.domain),
            };
            (hops.iter().map(hop).collect(), None)
        }
        Target::Blackhole | Target::Unreachable | Target::Prohibit => (Vec::new(), None),
    };
    RouteInfo {
        to: route.prefix.to_string(),
        kind: kind.to_owned(),
        via,
        network: connected,
        source: source.to_owned(),
    }
}

/// Which way packets go by the plan; what is known of neighbours is still to be filled in.
fn explain(state: &State, to: IpAddr, from: Option<IpAddr>) -> RouteAnswer {
    let plan = &state.compiled.plan.router;
    let own = plan.gateways.iter().find(|gateway| gateway.addresses.contains(&to));
    let route = plan.fib.explain(to).filter(|_| own.is_none());
    let ways: Vec<(DomainId, IpAddr)> = match route.as_ref().map(|route| &route.target) {
        Some(Target::Connected(domain)) => vec![(*domain, to)],
        Some(Target::Via(hops)) => hops.iter().map(|hop| (hop.domain, hop.address)).collect(),
        Some(Target::Blackhole | Target::Unreachable | Target::Prohibit) | None => Vec::new(),
    };
    let mut notes = Vec::new();
    let denied =
        from.zip(ways.first()).and_then(|(from, (egress, _))| denied(plan, from, to, *egress, &mut notes));
    let hop = |(domain, address): &(DomainId, IpAddr)| HopInfo {
        address: address.to_string(),
        network: network(&state.compiled, *domain),
        neighbour: None,
    };
    RouteAnswer {
        to: to.to_string(),
        from: from.map(|from| from.to_string()),
        own: own.map(|gateway| network(&state.compiled, gateway.domain)),
        reachable: (own.is_some() || !ways.is_empty()) && denied.is_none(),
        route: route.map(|route| route_info(state, &route)),
        hops: ways.iter().map(hop).collect(),
        denied: denied.map(|reason| reason.id().to_owned()),
        notes,
    }
}

/// Why a connection from one address to another, which is not published, may not begin; in the order in which the
/// router asks. A rule of the list that asks for a protocol can only be noted.
fn denied(
    plan: &RouterPlan,
    from: IpAddr,
    to: IpAddr,
    egress: DomainId,
    notes: &mut Vec<String>,
) -> Option<DropReason> {
    let lives = |gateway: &&Gateway| gateway.subnets.iter().any(|subnet| subnet.contains(from));
    let uplink = || plan.gateways.iter().find(|gateway| gateway.side == Side::Uplink);
    let Some(ingress) = plan.gateways.iter().find(lives).or_else(uplink) else {
        notes.push(format!(
            "{from} is in no network of the router's, and there is no uplink it could come from"
        ));
        return None;
    };
    let leaves = plan.gateways.iter().find(|gateway| gateway.domain == egress)?;
    match (&ingress.side, &leaves.side) {
        (Side::Uplink, _) if plan.direct.lookup(from).is_none() => return Some(DropReason::Unsolicited),
        (Side::Overlay(_), Side::Overlay(_) | Side::Uplink) => return Some(DropReason::OverlayTransit),
        (Side::Uplink | Side::Overlay(_), _) | (Side::Network(_), Side::Overlay(_)) => {}
        (Side::Network(_), Side::Uplink) if plan.direct.lookup(to).is_some() => {}
        (Side::Network(policy), Side::Uplink) if policy.internal => return Some(DropReason::Internal),
        (Side::Network(policy), Side::Uplink) => {
            let masquerade = if to.is_ipv4() { policy.masquerade_v4 } else { policy.masquerade_v6 };
            if masquerade {
                notes.push("the source becomes the uplink's address (masquerade)".to_owned());
            }
        }
        (Side::Network(one), Side::Network(other)) => {
            let is_back = ingress.domain == leaves.domain;
            if is_back && one.separate_stations || !is_back && one.isolated && other.isolated {
                return Some(DropReason::IsolatedNetworks);
            }
        }
    }
    let matches = |end: &AclEnd, address: IpAddr, domain: DomainId| match end {
        AclEnd::Anyone => true,
        AclEnd::Domain(wanted) => *wanted == domain,
        AclEnd::Prefixes(prefixes) => prefixes.iter().any(|prefix| prefix.contains(address)),
    };
    for (position, rule) in plan.acl.iter().enumerate() {
        let AclRule { action, from: begins, to: ends, protocol, l4_ports: _ } = rule;
        if !matches(begins, from, ingress.domain) || !matches(ends, to, egress) {
            continue;
        }
        match (action, protocol) {
            (vrouter::AclAction::Log, _) => notes.push(format!("access rule {position} logs it")),
            (vrouter::AclAction::Allow | vrouter::AclAction::Deny, Some(protocol)) => notes.push(format!(
                "access rule {position} decides about some connections of {}",
                proto(*protocol)
            )),
            (vrouter::AclAction::Allow, None) => return None,
            (vrouter::AclAction::Deny, None) => return Some(DropReason::AclDenied),
        }
    }
    None
}
