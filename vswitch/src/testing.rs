//! What the tests of this crate share: plans and frames, built by hand.

use std::vec;
use std::vec::Vec;

use wire::ethernet::Tci;
use wire::{DomainId, FrameBuf, FramePool, Instant, Mac, PortId, UnicastMac, Vid};

use crate::plan::{
    AGEING_DEFAULT, DOMAIN_STATIONS_DEFAULT, DomainPlan, Guards, Isolation, Membership,
    PORT_STATIONS_DEFAULT, PortPlan, ReservedForward, StaticStation, Storm, SwitchPlan,
};
use crate::{Admitted, Switch};

/// The station whose address ends in `last`.
pub(crate) const fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

pub(crate) const fn secs(secs: u64) -> Instant {
    Instant::from_secs(secs)
}

pub(crate) const fn millis(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

pub(crate) fn domain(id: u16) -> DomainPlan {
    DomainPlan {
        id: DomainId(id),
        ageing: AGEING_DEFAULT,
        stations_max: DOMAIN_STATIONS_DEFAULT,
        reserved_forward: ReservedForward::default(),
        answers: false,
    }
}

/// A port with memberships given as domain and VLAN, 0 for untagged.
pub(crate) fn port(id: u16, memberships: &[(u16, u16)]) -> PortPlan {
    PortPlan {
        id: PortId(id),
        serial: 0,
        memberships: memberships.iter().map(|&(domain, vid)| membership(domain, vid)).collect(),
        mtu: 1500,
        stations_max: PORT_STATIONS_DEFAULT,
        isolation: Isolation::Open,
        horizon: None,
        mac: None,
        addresses: vec![],
        guards: Guards::default(),
        storm: Storm::default(),
    }
}

pub(crate) fn membership(domain: u16, vid: u16) -> Membership {
    Membership { domain: DomainId(domain), vid: Vid::new(vid) }
}

pub(crate) fn station(domain: u16, last: u8, port: u16) -> StaticStation {
    let mac = UnicastMac::new(mac(last)).unwrap();
    StaticStation { domain: DomainId(domain), mac, port: PortId(port) }
}

/// Domain 1 with access ports 0, 1 and 2.
pub(crate) fn three_ports() -> SwitchPlan {
    let ports = (0..3).map(|id| port(id, &[(1, 0)])).collect();
    SwitchPlan { domains: vec![domain(1)], ports, statics: vec![] }
}

/// Domains 1 and 2; ports 0 (in 1) and 2 (in 2) are access ports, port 1 is a trunk: 1 untagged, 2 as VLAN 20.
pub(crate) fn trunk() -> SwitchPlan {
    SwitchPlan {
        domains: vec![domain(1), domain(2)],
        ports: vec![port(0, &[(1, 0)]), port(1, &[(1, 0), (2, 20)]), port(2, &[(2, 0)])],
        statics: vec![],
    }
}

/// A switch that obeys the plan from second 0 on.
pub(crate) fn switch(plan: &SwitchPlan) -> Switch {
    assert_eq!(plan.check(), Ok(()));
    let mut switch = Switch::new(0x5eed);
    switch.configure(secs(0), plan);
    switch
}

/// A frame with the tags given, outermost first, and then `ethertype` and `payload`.
pub(crate) fn frame(dst: Mac, src: Mac, tags: &[(u16, u16)], ethertype: u16, payload: &[u8]) -> FrameBuf {
    let mut bytes: Vec<u8> = [dst.0, src.0].concat();
    for (kind, tci) in tags {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(tci.to_be_bytes());
    }
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(payload);
    let mut frame = FramePool::default().take();
    assert!(frame.fill(&bytes));
    frame
}

/// What [`Switch::admit`] would have made of an untagged frame from `src`.
pub(crate) fn heard(port: u16, domain: u16, src: Mac) -> Admitted {
    let header = wire::ethernet::EthernetHeader { dst: Mac::BROADCAST, src, tag: None, ethertype: 0x0806 };
    let (port, domain) = (PortId(port), DomainId(domain));
    Admitted { port, domain, header, priority: Tci(0), packet_len: 46 }
}
