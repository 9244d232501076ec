//! What makes a plan contradictory.

use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;

use wire::{DomainId, PortId};

use super::{DOMAINS_MAX, PORTS_MAX, PlanError, PortPlan, STATICS_MAX, SwitchPlan};

/// The domains that each port carries.
type Carried = BTreeMap<PortId, BTreeSet<DomainId>>;

impl SwitchPlan {
    /// Refuses a plan that contradicts itself. The switch relies on it.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check(&self) -> Result<(), PlanError> {
        let mut domains = BTreeSet::new();
        for domain in &self.domains {
            if domain.id.index() >= DOMAINS_MAX {
                return Err(PlanError::TooManyDomains);
            }
            if !domains.insert(domain.id) {
                return Err(PlanError::DomainTwice(domain.id));
            }
        }
        let mut carried = Carried::new();
        for port in &self.ports {
            if port.id.index() >= PORTS_MAX {
                return Err(PlanError::TooManyPorts);
            }
            if carried.insert(port.id, check_memberships(port, &domains)?).is_some() {
                return Err(PlanError::PortTwice(port.id));
            }
            if port.guards.mac && port.mac.is_none() {
                return Err(PlanError::GuardWithoutMac(port.id));
            }
        }
        self.check_statics(&carried)
    }

    fn check_statics(&self, carried: &Carried) -> Result<(), PlanError> {
        if self.statics.len() > STATICS_MAX {
            return Err(PlanError::TooManyStatics);
        }
        let mut names = BTreeSet::new();
        for station in &self.statics {
            let mac = station.mac.mac();
            if !carried.get(&station.port).is_some_and(|domains| domains.contains(&station.domain)) {
                return Err(PlanError::StaticNowhere(mac));
            }
            if !names.insert((station.domain, mac)) {
                return Err(PlanError::StaticTwice(mac));
            }
        }
        Ok(())
    }
}

fn check_memberships(port: &PortPlan, domains: &BTreeSet<DomainId>) -> Result<BTreeSet<DomainId>, PlanError> {
    let (mut carried, mut tags) = (BTreeSet::new(), BTreeSet::new());
    for &member in &port.memberships {
        if !domains.contains(&member.domain) {
            return Err(PlanError::NoSuchDomain(port.id, member.domain));
        }
        if !carried.insert(member.domain) || !tags.insert(member.vid) {
            return Err(PlanError::MembershipTwice(port.id, member));
        }
    }
    Ok(carried)
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooManyPorts => write!(f, "more than {PORTS_MAX} ports"),
            Self::TooManyDomains => write!(f, "more than {DOMAINS_MAX} networks"),
            Self::TooManyStatics => write!(f, "more than {STATICS_MAX} static stations"),
            Self::PortTwice(port) => write!(f, "port {} stands twice", port.0),
            Self::DomainTwice(domain) => write!(f, "network {} stands twice", domain.0),
            Self::NoSuchDomain(port, domain) => {
                write!(f, "port {} belongs to network {}, which does not exist", port.0, domain.0)
            }
            Self::MembershipTwice(port, member) => match member.vid {
                Some(vid) => write!(
                    f,
                    "port {} carries VLAN {} or network {} twice",
                    port.0,
                    vid.number(),
                    member.domain.0
                ),
                None => {
                    write!(
                        f,
                        "port {} carries two untagged networks, or network {} twice",
                        port.0, member.domain.0
                    )
                }
            },
            Self::StaticNowhere(mac) => {
                write!(f, "static station {mac} lives at a port that does not carry its network")
            }
            Self::StaticTwice(mac) => write!(f, "static station {mac} stands twice in one network"),
            Self::GuardWithoutMac(port) => write!(
                f,
                "port {} guards its source address, but its MAC address is not given: set `mac`, or take `mac` out of \
                 `guard`",
                port.0
            ),
        }
    }
}

impl core::error::Error for PlanError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{domain, mac, membership, port, station};
    use std::string::ToString;
    use std::vec;
    use wire::Vid;

    /// Domains 1 and 2; port 0 in 1; port 1 a trunk with native 1 and 2 as VLAN 20; a static station at each.
    fn plan() -> SwitchPlan {
        SwitchPlan {
            domains: vec![domain(1), domain(2)],
            ports: vec![port(0, &[(1, 0)]), port(1, &[(1, 0), (2, 20)])],
            statics: vec![station(1, 1, 0), station(2, 1, 1)],
        }
    }

    #[test]
    fn a_sound_plan_passes() {
        assert_eq!(plan().check(), Ok(()));
        assert_eq!(SwitchPlan::default().check(), Ok(()));
    }

    #[test]
    fn each_contradiction_has_its_error() {
        type Break = fn(&mut SwitchPlan);
        let mac = mac(1);
        let cases: [(Break, PlanError); 12] = [
            (|plan| plan.ports[0].id = PortId(4096), PlanError::TooManyPorts),
            (|plan| plan.domains[0].id = DomainId(4096), PlanError::TooManyDomains),
            (|plan| plan.ports[1].id = PortId(0), PlanError::PortTwice(PortId(0))),
            (|plan| plan.domains[1].id = DomainId(1), PlanError::DomainTwice(DomainId(1))),
            (|plan| plan.domains.truncate(1), PlanError::NoSuchDomain(PortId(1), DomainId(2))),
            (
                |plan| plan.ports[1].memberships[1].vid = None,
                PlanError::MembershipTwice(PortId(1), membership(2, 0)),
            ),
            (
                |plan| plan.ports[1].memberships[0].vid = Vid::new(20),
                PlanError::MembershipTwice(PortId(1), membership(2, 20)),
            ),
            (
                |plan| plan.ports[1].memberships[1].domain = DomainId(1),
                PlanError::MembershipTwice(PortId(1), membership(1, 20)),
            ),
            (|plan| plan.statics[1].port = PortId(0), PlanError::StaticNowhere(mac)),
            (|plan| plan.statics[1].domain = DomainId(7), PlanError::StaticNowhere(mac)),
            (
                |plan| (plan.statics[1].domain, plan.statics[1].port) = (DomainId(1), PortId(1)),
                PlanError::StaticTwice(mac),
            ),
            (|plan| plan.ports[0].guards.mac = true, PlanError::GuardWithoutMac(PortId(0))),
        ];
        for (number, (break_it, error)) in cases.into_iter().enumerate() {
            let mut broken = plan();
            break_it(&mut broken);
            assert_eq!(broken.check(), Err(error), "case {number}");
            assert!(!error.to_string().is_empty());
        }
        let mut many = plan();
        many.statics = vec![station(1, 1, 0); STATICS_MAX + 1];
        assert_eq!(many.check(), Err(PlanError::TooManyStatics));
    }
}
