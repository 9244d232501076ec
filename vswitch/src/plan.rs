//! What the switch is to do, checked beforehand: the packet path asks no question that the plan has not answered.
//!
//! Plans come from the `config` crate (text) and from tests (by hand). [`SwitchPlan::check`] refuses what would be
//! contradictory, so that the switch itself never has to.

mod check;

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use wire::{DomainId, Mac, PortId, UnicastMac, Vid};

/// Ports of one node. A further one is refused when the plan is checked.
pub const PORTS_MAX: usize = 4096;
/// Broadcast domains of one node. A further one is refused when the plan is checked.
pub const DOMAINS_MAX: usize = 4096;
/// Stations one domain remembers unless its plan says otherwise. Beyond it new stations are not learned: frames to
/// them are flooded, and `learn.domain-full` is counted.
pub const DOMAIN_STATIONS_DEFAULT: u32 = 65_536;
/// Stations one port may have unless its plan says otherwise. Beyond it new stations are not learned: frames to them
/// are flooded, and `learn.port-full` is counted.
pub const PORT_STATIONS_DEFAULT: u32 = 4_096;
/// How long a silent station is remembered (IEEE 802.1Q-2018 table 8-6, and Linux' bridge default).
pub const AGEING_DEFAULT: Duration = Duration::from_secs(300);

/// Static stations of one node. A further one is refused when the plan is checked.
pub const STATICS_MAX: usize = 65_536;

/// All that a [`crate::Switch`] obeys. Swapped whole; entries are found by id, in any order.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SwitchPlan {
    /// The broadcast domains.
    pub domains: Vec<DomainPlan>,
    /// The ports.
    pub ports: Vec<PortPlan>,
    /// Stations whose place is given, not learned.
    pub statics: Vec<StaticStation>,
}

/// One broadcast domain (a network).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainPlan {
    /// Its id. Given to another network in the very next plan, it keeps the stations of ports that carry it as before:
    /// leave a plan without it in between, or change the ports' serials.
    pub id: DomainId,
    /// How long a silent station is remembered; zero: for ever.
    pub ageing: Duration,
    /// Learned stations at most.
    pub stations_max: u32,
    /// Which reserved group addresses are flooded like others.
    pub reserved_forward: ReservedForward,
    /// Whether questions for stations that are known are answered in their name instead of being flooded.
    pub answers: bool,
}

/// Bit *n* lets frames to 01:80:c2:00:00:0*n* through (like Linux' `group_fwd_mask`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReservedForward(pub u16);

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortPlan {
    /// Its id.
    pub id: PortId,
    /// Differs whenever the id is given to another port: what was learned under the old serial is forgotten.
    pub serial: u32,
    /// The domains the port carries: at most one untagged, each VLAN at most once, each domain at most once.
    pub memberships: Vec<Membership>,
    /// Longest packet (L3 octets) that may enter or leave.
    pub mtu: u16,
    /// Learned stations at most.
    pub stations_max: u32,
    /// With whom the port may talk.
    pub isolation: Isolation,
    /// Frames from one port of a horizon never leave through another: behind both is one tunnel, whose ends reach each
    /// other themselves.
    pub horizon: Option<Horizon>,
    /// The station that lives here according to the configuration.
    pub mac: Option<UnicastMac>,
    /// The addresses that live here according to the configuration.
    pub addresses: Vec<IpAddr>,
    /// What the port may not say.
    pub guards: Guards,
    /// How often it may say what everybody hears.
    pub storm: Storm,
}

/// A domain that a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The domain.
    pub domain: DomainId,
    /// Its tag on this port; `None`: untagged (access port, or the trunk's native network).
    pub vid: Option<Vid>,
}

/// Whom a port may talk to inside its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Isolation {
    /// Everybody.
    #[default]
    Open,
    /// Open ports only: two isolated ports never hear each other (`icc = false`).
    Isolated,
}

/// Ports that are ends of one tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Horizon(pub u16);

/// Guards, each on or off. A frame that a guard refuses is dropped under the guard's own reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Guards {
    /// Only [`PortPlan::mac`] may be the source.
    pub mac: bool,
    /// ARP senders must be one of [`PortPlan::addresses`] (or 0.0.0.0, a probe, RFC 5227) and say the truth about
    /// their MAC.
    pub arp: bool,
    /// Neighbour advertisements and solicitations must speak for one of [`PortPlan::addresses`], a link-local
    /// address, or be a probe from `::`, and say the truth about their MAC.
    pub nd: bool,
    /// No router advertisements or redirects (RFC 6105, RFC 7113).
    pub ra: bool,
    /// No DHCP server messages (v4 from L4 port 67 or to 68, v6 from 547 or to 546).
    pub dhcp: bool,
}

/// Storm control: frames per second of each kind; `None`: unlimited. Each has its own bucket of one second's worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Storm {
    /// To ff:ff:ff:ff:ff:ff.
    pub broadcast: Option<u32>,
    /// To any other group address.
    pub multicast: Option<u32>,
    /// To stations that have not been learned.
    pub unknown: Option<u32>,
}

/// A station whose place is configured: it does not age, does not move, and counts towards no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticStation {
    /// Its domain.
    pub domain: DomainId,
    /// Its address.
    pub mac: UnicastMac,
    /// Where it lives.
    pub port: PortId,
}

/// Why a plan was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// More than [`PORTS_MAX`] ports, or an id at or above it.
    TooManyPorts,
    /// More than [`DOMAINS_MAX`] domains, or an id at or above it.
    TooManyDomains,
    /// Two ports have this id.
    PortTwice(PortId),
    /// Two domains have this id.
    DomainTwice(DomainId),
    /// The port belongs to a domain that the plan does not have.
    NoSuchDomain(PortId, DomainId),
    /// The port carries two untagged domains, or one VLAN or domain twice.
    MembershipTwice(PortId, Membership),
    /// A static station lives at a port that is not a member of its domain.
    StaticNowhere(Mac),
    /// Two static stations have one address in one domain.
    StaticTwice(Mac),
    /// More than [`STATICS_MAX`] static stations.
    TooManyStatics,
    /// The port's source address is to be guarded, and the plan does not say what it is.
    GuardWithoutMac(PortId),
}
