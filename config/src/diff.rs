//! What a change comes to: which ports and networks come, go or change, and whether a device must be opened anew.
//!
//! Compares what was compiled, not what was written: a network's new gateway is a change of its ports' devices (their
//! default routes), a default that is spelt out is no change at all.

use std::collections::BTreeMap;

use vrouter::fib::{Route, Target};
use vrouter::{Gateway, RouterPlan};
use vswitch::{DomainPlan, PortPlan};
use wire::DomainId;

use crate::compile::{Compiled, CompiledPort};

/// What becomes of a port or network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// What the node obeys has changed and nothing else: the new plan is enough.
    Plan,
    /// Its device or tunnel has changed and must be opened anew or adjusted.
    Device,
}

/// What has changed; unchanged ports and networks are absent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Changes {
    /// Ports by name.
    pub ports: BTreeMap<String, Change>,
    /// Networks by name; never [`Change::Device`].
    pub networks: BTreeMap<String, Change>,
    /// Whether the static stations have changed.
    pub stations: bool,
    /// The parts of the router's plan that have changed, by the keys that they are written under.
    pub router: Vec<&'static str>,
    /// Whether the number of workers has changed: every device needs as many queues.
    pub workers: bool,
    /// Whether the workers' spinning has changed.
    pub spin: bool,
    /// Whether joining of small frames has been switched on or off.
    pub gro: bool,
    /// Whether super-segments are to leave tunnels in another way.
    pub tunnel_gso: bool,
}

impl Changes {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What has changed from `old` to `new`, compiled one after the other with the same [`crate::Ids`].
pub fn diff(old: &Compiled, new: &Compiled) -> Changes {
    Changes {
        ports: compare(&old.ports, &new.ports, |before, after| port_change(old, new, before, after)),
        networks: compare(&old.networks, &new.networks, |before, after| {
            (network_plan(old, *before) != network_plan(new, *after)).then_some(Change::Plan)
        }),
        stations: old.plan.switch.statics != new.plan.switch.statics,
        router: router_changes(&old.plan.router, &new.plan.router),
        workers: old.workers != new.workers,
        spin: old.spin != new.spin,
        gro: old.gro != new.gro,
        tunnel_gso: old.tunnel_gso != new.tunnel_gso,
    }
}

fn port_change(
    old: &Compiled,
    new: &Compiled,
    before: &CompiledPort,
    after: &CompiledPort,
) -> Option<Change> {
    if before != after {
        return Some(Change::Device);
    }
    (port_plan(old, before) != port_plan(new, after)).then_some(Change::Plan)
}

/// Gateways and the routes to their own networks count as the networks'.
fn router_changes(old: &RouterPlan, new: &RouterPlan) -> Vec<&'static str> {
    let onward = |plan: &RouterPlan| -> Vec<Route> {
        plan.fib.routes().filter(|route| !matches!(route.target, Target::Connected(_))).collect()
    };
    let parts = [
        ("route", onward(old) != onward(new)),
        ("publish", old.publishes != new.publishes),
        ("one_to_one", old.one_to_one != new.one_to_one),
        ("acl", old.acl != new.acl),
        ("nat", old.nat != new.nat),
        ("overlay", old.direct != new.direct),
    ];
    parts.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect()
}

// Compiled plans have everything in the order of ids.

fn port_plan<'a>(compiled: &'a Compiled, port: &CompiledPort) -> Option<&'a PortPlan> {
    let ports = &compiled.plan.switch.ports;
    ports.binary_search_by_key(&port.id, |plan| plan.id).ok().map(|index| &ports[index])
}

fn network_plan(compiled: &Compiled, id: DomainId) -> (Option<&DomainPlan>, Option<&Gateway>) {
    let (domains, gateways) = (&compiled.plan.switch.domains, &compiled.plan.router.gateways);
    let domain = domains.binary_search_by_key(&id, |plan| plan.id).ok().map(|index| &domains[index]);
    let gateway = gateways.binary_search_by_key(&id, |plan| plan.domain).ok().map(|index| &gateways[index]);
    (domain, gateway)
}

fn compare<T>(
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    change: impl Fn(&T, &T) -> Option<Change>,
) -> BTreeMap<String, Change> {
    let gone = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), Change::Removed));
    let here = new.iter().filter_map(|(name, after)| {
        let change = match old.get(name) {
            Some(before) => change(before, after)?,
            None => Change::Added,
        };
        Some((name.clone(), change))
    });
    gone.chain(here).collect()
}
