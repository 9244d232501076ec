//! Which line of the configuration a decision comes from.

use node::Step;
use vrouter::fib::{Route, Target};
use vrouter::nat::{Origin, SourceNat};
use vrouter::{Note, Side};
use wire::{DomainId, DropReason, PortId};

use super::{Scene, words};

impl Scene<'_> {
    /// `FILE:LINE` of what stands at `path`, or around it.
    pub(super) fn cite(&self, path: &str) -> Option<String> {
        self.lines.find(path).map(|line| format!("{}:{line}", self.name))
    }

    pub(super) fn cite_port(&self, port: PortId) -> Option<String> {
        self.cite_of_port(port, "")
    }

    /// A key of a port; the uplink's stand by themselves.
    fn cite_of_port(&self, port: PortId, key: &str) -> Option<String> {
        let name = self.compiled.port_name(port)?;
        let is_listed = self.config.port.contains_key(name);
        self.cite(&if is_listed { format!("port.{name}{key}") } else { format!("{name}{key}") })
    }

    pub(super) fn cite_network(&self, domain: DomainId, key: &str) -> Option<String> {
        let name = self.compiled.network_name(domain)?;
        let is_listed = self.config.network.contains_key(name);
        self.cite(&if is_listed { format!("network.{name}{key}") } else { format!("{name}{key}") })
    }

    pub(super) fn cite_route(&self, route: &Route) -> Option<String> {
        if let Some(index) = self.config.route.iter().position(|given| given.to == route.prefix) {
            return self.cite(&format!("route[{index}]"));
        }
        match &route.target {
            Target::Connected(domain) => self.cite_network(*domain, ".subnet"),
            Target::Via(_) => self.cite("uplink.gateway"),
            Target::Blackhole | Target::Unreachable | Target::Prohibit => None,
        }
    }

    /// What published the L4 port, or paired the addresses.
    pub(super) fn cite_origin(&self, origin: Origin) -> Option<String> {
        match origin {
            Origin::Publish(id) => {
                let published = &self.compiled.plan.router.publishes;
                let index = published.iter().position(|publish| publish.id == id)?;
                self.cite(&format!("publish[{index}]"))
            }
            Origin::OneToOne => self.cite("one_to_one"),
            Origin::Plain | Origin::Mapping => None,
        }
    }

    pub(super) fn cite_opened(&self, source: SourceNat, origin: Origin) -> Option<String> {
        match source {
            SourceNat::Masquerade(_) => {
                let has = |domain: &DomainId| {
                    let gateways = &self.compiled.plan.router.gateways;
                    gateways.iter().any(|gateway| {
                        let masquerades = match &gateway.side {
                            Side::Network(policy) => policy.masquerade_v4 || policy.masquerade_v6,
                            Side::Uplink | Side::Overlay(_) => false,
                        };
                        gateway.domain == *domain && masquerades
                    })
                };
                // Whose connection it is stands in the line before; one network that masquerades needs no more.
                let mut networks = self.compiled.networks.values().copied().filter(has);
                match (networks.next(), networks.next()) {
                    (Some(only), None) => self.cite_network(only, ".masquerade"),
                    (_, _) => None,
                }
            }
            SourceNat::Address(_) => self.cite("one_to_one"),
            SourceNat::Keep | SourceNat::Hairpin(_) => self.cite_origin(origin),
        }
    }

    /// The line that a drop at `port` comes from.
    pub(super) fn cite_drop(&self, port: PortId, reason: DropReason, steps: &[Step]) -> Option<String> {
        use DropReason as R;
        let of_port = |key: &str| self.cite_of_port(port, key);
        if words::is_guard(reason) {
            return of_port(".guard");
        }
        if matches!(reason, R::StormBroadcast | R::StormMulticast | R::StormUnknown) {
            return of_port(".storm");
        }
        if matches!(reason, R::Isolated) {
            return of_port(".isolated");
        }
        if matches!(reason, R::VlanNotAllowed | R::UntaggedNotAllowed | R::DoubleTag | R::NoPort) {
            return of_port(".network");
        }
        let domain = steps
            .iter()
            .find_map(|step| if let Step::Admitted { domain } = step { Some(*domain) } else { None });
        let sides = steps.iter().rev().find_map(|step| {
            if let Step::Router(Note::Sides { from, to }) = step { Some((*from, *to)) } else { None }
        });
        if matches!(reason, R::Overlong | R::EgressMtu | R::RouteMtu) {
            return domain.and_then(|domain| self.cite_network(domain, ".mtu"));
        }
        if matches!(reason, R::AclDenied) {
            let rule = steps.iter().rev().find_map(|step| {
                if let Step::Router(Note::Acl { rule, .. }) = step { Some(*rule) } else { None }
            })?;
            return self.cite(&format!("acl[{rule}]"));
        }
        if matches!(reason, R::Internal) {
            let (from, to) = sides?;
            let internal = [from, to].into_iter().find(|domain| {
                self.compiled
                    .network_name(*domain)
                    .is_some_and(|name| self.config.network.get(name).is_some_and(|network| network.internal))
            })?;
            return self.cite_network(internal, ".internal");
        }
        if matches!(reason, R::IsolatedNetworks) {
            return sides.and_then(|(from, _)| self.cite_network(from, ".isolated"));
        }
        if matches!(reason, R::SpoofedSource | R::MartianSource | R::OwnSource) {
            return domain.and_then(|domain| self.cite_network(domain, ".subnet"));
        }
        if matches!(reason, R::Unsolicited) {
            return self.cite("uplink");
        }
        None
    }
}
