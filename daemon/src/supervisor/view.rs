//! Views: the switch's state in the words of the control socket.

use std::collections::{BTreeMap, BTreeSet};

use config::{Change, Changes, CompiledPort, Config, PortKind, PortSpec};
use node::{Counters, Flush};
use vswitch::Station;
use wire::{DomainId, DropReason, Mac, PortId};

use super::links::Watched;
use super::{State, Supervisor, device, fault, record, registry, underlays};
use crate::api::{
    DropCount, DropInfo, Membership, NetworkInfo, PortInfo, PortState, StationInfo, StationKind, Status,
    Totals, Warning, WorkerInfo,
};
use crate::link::{self, Namespace};
use crate::worker::Tally;

/// Stations asked of a worker at once, so that listing many does not hold it up.
const STATIONS_PAGE: usize = 1_024;
/// Reasons shown in `status`.
const TOP_DROPS: usize = 5;

pub(super) fn status(supervisor: &Supervisor) -> Status {
    let tallies = supervisor.workers.tallies();
    let state = supervisor.state();
    let mut ports = BTreeMap::new();
    for name in state.compiled.ports.keys() {
        *ports.entry(port_state(&state, name).0).or_insert(0) += 1;
    }
    let mut top_drops: Vec<DropCount> = drop_totals(&tallies)
        .into_iter()
        .map(|(reason, count)| DropCount { reason: reason.id().to_owned(), count })
        .collect();
    top_drops.sort_by_key(|drop| std::cmp::Reverse(drop.count));
    top_drops.truncate(TOP_DROPS);
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_ms: u64::try_from(supervisor.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        socket: supervisor.options.socket.display().to_string(),
        config_file: supervisor.options.config_file.as_ref().map(|path| path.display().to_string()),
        networks: state.config.network.len() as u64,
        ports,
        stations: largest_sum(&tallies, |tally| tally.stations_of_domain.values().sum()),
        totals: totals(&tallies),
        workers: tallies.iter().enumerate().map(|(index, tally)| worker(index, tally)).collect(),
        top_drops,
        underlays: underlays::infos(&state),
        recordings: record::infos(supervisor),
        registry: supervisor.registry(),
        warnings: warnings(supervisor, &state),
    }
}

fn worker(index: usize, tally: &Tally) -> WorkerInfo {
    WorkerInfo {
        worker: u32::try_from(index).unwrap_or(u32::MAX),
        state: "running".to_owned(),
        frames: tally.counters.received,
        batches: tally.bursts,
        spins: tally.spins_won,
        sleeps: tally.sleeps,
        joined: tally.joined,
        handed_off: tally.handed_over,
        deadline: tally.deadline.map(str::to_owned),
        gossip_lost: tally.gossip_lost,
        notices_lost: tally.notices_lost,
        notices_suppressed: tally.counters.notices_suppressed,
    }
}

fn totals(tallies: &[Tally]) -> Totals {
    let sum = |of: fn(&Counters) -> u64| -> u64 { tallies.iter().map(|tally| of(&tally.counters)).sum() };
    // Those never came to a node: its numbers are of what a fault has let pass.
    let lost_entering = sum(|counters| counters.drops()[DropReason::FaultIn.index()]);
    Totals {
        received: sum(|counters| counters.received) + lost_entering,
        forwarded: sum(|counters| counters.forwarded),
        consumed: sum(|counters| counters.consumed),
        parked: sum(|counters| counters.parked),
        dropped: sum(|counters| counters.dropped) + lost_entering,
        lost_leaving: sum(|counters| counters.drops()[DropReason::FaultOut.index()]),
        originated: sum(|counters| counters.originated),
        answered: sum(|counters| counters.answered),
        rx_bytes: sum(|counters| {
            counters.gone.rx_bytes + counters.ports.iter().map(|port| port.rx_bytes).sum::<u64>()
        }),
        tx_bytes: sum(|counters| {
            counters.gone.tx_bytes + counters.ports.iter().map(|port| port.tx_bytes).sum::<u64>()
        }),
    }
}

/// What is not as the configuration says, or not in force.
pub(super) fn warnings(supervisor: &Supervisor, state: &State) -> Vec<Warning> {
    let sentences = state.compiled.not_in_force.iter().cloned().chain(state.config.advice());
    let sentences = sentences.chain(supervisor.options.opened.warnings.iter().cloned());
    let sentences = sentences.chain(state.unsaved.clone());
    let sentences = sentences.map(|text| Warning { text, next: String::new() });
    let devices = state.devices.iter().flat_map(|(name, device)| {
        let failed = device.failed.as_ref().map(|why| Warning {
            text: format!("port {name:?} has failed: {why}"),
            next: try_again(state, name, device),
        });
        let steering = device.steering_refused.as_ref().map(|why| Warning {
            text: format!("port {name:?}: the kernel refused to steer flows to their workers ({why})"),
            next: "frames are handed over between workers, which costs speed; run with workers = 1"
                .to_owned(),
        });
        let offload = device.refuses_offload.then(|| Warning {
            text: format!(
                "port {name:?}: the kernel refused offloads; its frames are finished in software, slower"
            ),
            next: "a newer kernel may accept them".to_owned(),
        });
        let watched = device.watched.as_ref().filter(|_| device.failed.is_none());
        let down = watched.and_then(|watched| watched.down.as_ref());
        let conflict = watched.and_then(|watched| watched.conflict.as_ref());
        let link = down.into_iter().chain(conflict).map(move |why| {
            let (text, next) = why.split_once("; ").unwrap_or((why, ""));
            Warning { text: format!("port {name:?}: {text}"), next: next.to_owned() }
        });
        failed.into_iter().chain(steering).chain(offload).chain(link)
    });
    let registry = registry::warnings(supervisor.registry().as_ref());
    let sentences = sentences.chain(devices).chain(underlays::warnings(state));
    sentences.chain(fault::warnings(state)).chain(record::warnings(supervisor)).chain(registry).collect()
}

/// What ends a port's failure.
fn try_again(state: &State, name: &str, device: &device::Device) -> String {
    match &device.blueprint {
        PortKind::Nic(nic) => format!("it is tried again when there is an interface {}", nic.ifname),
        PortKind::Device(_) | PortKind::Tunnel(_) => {
            let change =
                "when the cause is gone, any change tries it again, `tapestry apply` of the file say";
            let is_removable = state.config.port.contains_key(name); // The uplink's is not.
            let or = if is_removable { format!("; or `tapestry port rm {name}`") } else { String::new() };
            format!("{change}{or}")
        }
    }
}

pub(super) fn networks(supervisor: &Supervisor) -> Vec<NetworkInfo> {
    let tallies = supervisor.workers.tallies();
    let state = supervisor.state();
    let info = |(name, spec): (&String, &config::NetworkSpec)| {
        let domain = state.compiled.networks[name];
        NetworkInfo {
            name: name.clone(),
            subnet: spec.subnet.iter().map(ToString::to_string).collect(),
            gateway: spec.gateway.iter().map(ToString::to_string).collect(),
            mtu: u32::from(spec.mtu),
            icc: spec.icc,
            ageing_s: u64::from(spec.ageing),
            ports: members(&state.config, name),
            stations: largest_sum(&tallies, |tally| {
                tally.stations_of_domain.get(&domain).copied().unwrap_or(0)
            }),
            stations_max: u64::from(spec.stations_max),
            spec: spec.clone(),
        }
    };
    state.config.network.iter().map(info).collect()
}

fn members(config: &Config, network: &str) -> Vec<String> {
    let carries = |port: &PortSpec| memberships(port).iter().any(|membership| membership.network == network);
    config.port.iter().filter(|(_, port)| carries(port)).map(|(name, _)| name.clone()).collect()
}

fn memberships(port: &PortSpec) -> Vec<Membership> {
    let first = port
        .network
        .iter()
        .map(|network| Membership { network: network.clone(), vlan: (port.vlan != 0).then_some(port.vlan) });
    let others =
        port.trunk.iter().map(|(vlan, network)| Membership { network: network.clone(), vlan: Some(*vlan) });
    first.chain(others).collect()
}

pub(super) fn ports(supervisor: &Supervisor) -> Vec<PortInfo> {
    let tallies = supervisor.workers.tallies();
    let mut ports: Vec<PortInfo> = {
        let state = supervisor.state();
        let is_listed = |port: &CompiledPort| !matches!(port.kind, PortKind::Tunnel(_));
        let listed = state.compiled.ports.iter().filter(|(_, port)| is_listed(port));
        listed.map(|(name, compiled)| port(&state, &tallies, name, compiled)).collect()
    };
    mark_down(&mut ports);
    ports
}

/// Asks the kernel which interfaces were taken down, once for each namespace: nobody tells us. Not to be called with
/// the state's lock. A namespace that cannot be asked leaves its ports as they were; the worker will report them.
fn mark_down(ports: &mut [PortInfo]) {
    let mut spaces: BTreeMap<Option<String>, Vec<&mut PortInfo>> = BTreeMap::new();
    for port in ports.iter_mut().filter(|port| port.state == PortState::Up) {
        spaces.entry(port.netns.clone()).or_default().push(port);
    }
    for (spec, ports) in spaces {
        let namespace = spec.map_or_else(Namespace::current, |spec| Namespace::open(&spec));
        let Ok(links) = namespace.and_then(|namespace| link::list(&namespace)) else { continue };
        let down: BTreeSet<&str> =
            links.iter().filter(|link| !link.up).map(|link| link.name.as_str()).collect();
        for port in ports.into_iter().filter(|port| down.contains(port.ifname.as_str())) {
            port.state = PortState::Down;
            port.error =
                Some(format!("interface {0} is down; `ip link set dev {0} up` raises it", port.ifname));
        }
    }
}

fn port(state: &State, tallies: &[Tally], name: &str, compiled: &CompiledPort) -> PortInfo {
    let spec = state.config.port.get(name).cloned().unwrap_or_default(); // The uplink has none.
    let device = state.devices.get(name);
    let (port_state, error) = port_state(state, name);
    let counted = |of: fn(&node::PortCounters) -> u64| -> u64 {
        tallies.iter().filter_map(|tally| tally.counters.ports.get(compiled.id.index())).map(of).sum()
    };
    let (netns, mac, addresses) = match &compiled.kind {
        PortKind::Device(device) => (device.netns.clone(), Some(device.mac), device.addresses.as_slice()),
        PortKind::Nic(nic) => (None, Some(nic.mac), nic.addresses.as_slice()),
        PortKind::Tunnel(_) => (None, None, [].as_slice()),
    };
    let plans = &state.compiled.plan.switch.ports; // In the order of ids.
    let plan = plans.binary_search_by_key(&compiled.id, |plan| plan.id).ok().map(|at| &plans[at]);
    PortInfo {
        name: name.to_owned(),
        state: port_state,
        error,
        faults: fault::is_set(state, name),
        networks: memberships(&spec),
        netns,
        ifname: device::ifname(&compiled.kind).to_owned(),
        mac: mac.map(|mac| mac.mac().to_string()),
        address: addresses.iter().map(ToString::to_string).collect(),
        mtu: plan.map_or(0, |plan| u32::from(plan.mtu)),
        offloads: device
            .map(|device| device.offloads.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        queues: device.map_or(0, |device| u32::try_from(device.queues).unwrap_or(u32::MAX)),
        adopted: device.is_some_and(|device| device.is_adopted),
        rx_frames: counted(|port| port.rx_frames),
        rx_bytes: counted(|port| port.rx_bytes),
        tx_frames: counted(|port| port.tx_frames),
        tx_bytes: counted(|port| port.tx_bytes),
        drops: counted(|port| port.drops.sum()),
        stations: largest_sum(tallies, |tally| {
            tally.stations_of_port.get(&compiled.id).copied().unwrap_or(0)
        }),
        spec,
    }
}

/// How a port is doing, and what went wrong.
fn port_state(state: &State, name: &str) -> (PortState, Option<String>) {
    match state.devices.get(name) {
        Some(device) => match (&device.failed, &device.watched) {
            (Some(why), _) => (PortState::Failed, Some(why.clone())),
            (None, Some(Watched { down: Some(why), .. })) => (PortState::Down, Some(why.clone())),
            (None, Some(_) | None) => (PortState::Up, None),
        },
        None => (PortState::Down, Some("this version has no driver for tunnels".to_owned())),
    }
}

/// Every replica knows every station that matters, so the largest count is the best one.
fn largest_sum(tallies: &[Tally], of: impl Fn(&Tally) -> u32) -> u64 {
    tallies.iter().map(|tally| u64::from(of(tally))).max().unwrap_or(0)
}

/// The stations that match, each once: as the replica knows it that heard it last.
pub(super) fn stations(supervisor: &Supervisor, filter: Flush) -> Vec<StationInfo> {
    let mut known: BTreeMap<(DomainId, Mac), Station> = BTreeMap::new();
    for index in 0..supervisor.workers.count() {
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let (page, next) = supervisor.workers.stations(index, at, STATIONS_PAGE);
            cursor = next;
            for station in page.into_iter().filter(|station| matches(filter, station)) {
                known
                    .entry((station.domain, station.mac))
                    .and_modify(|held| {
                        if station.idle < held.idle {
                            *held = station;
                        }
                    })
                    .or_insert(station);
            }
        }
    }
    let state = supervisor.state();
    let own = state.compiled.plan.router.gateways.iter().map(|gateway| (gateway.domain, gateway.mac.mac()));
    let own = own.filter(|(domain, mac)| {
        filter.port.is_none()
            && filter.domain.is_none_or(|wanted| wanted == *domain)
            && filter.mac.is_none_or(|wanted| wanted == *mac)
    });
    let own = own.filter_map(|(domain, mac)| {
        Some(StationInfo {
            network: state.compiled.network_name(domain)?.to_owned(),
            mac: mac.to_string(),
            port: "(gateway)".to_owned(),
            kind: StationKind::Own,
            age_ms: None,
        })
    });
    // A network or port that went while we were asking has taken its stations along.
    let learned = known.values().filter_map(|station| {
        Some(StationInfo {
            network: state.compiled.network_name(station.domain)?.to_owned(),
            mac: station.mac.to_string(),
            port: state.compiled.port_name(station.port)?.to_owned(),
            kind: if station.is_static { StationKind::Static } else { StationKind::Learned },
            age_ms: (!station.is_static).then(|| u64::try_from(station.idle.as_millis()).unwrap_or(u64::MAX)),
        })
    });
    let mut all: Vec<StationInfo> = learned.chain(own).collect();
    all.sort_by(|one, other| (&one.network, &one.mac).cmp(&(&other.network, &other.mac)));
    all
}

fn matches(filter: Flush, station: &Station) -> bool {
    filter.domain.is_none_or(|domain| domain == station.domain)
        && filter.port.is_none_or(|port| port == station.port)
        && filter.mac.is_none_or(|mac| mac == station.mac)
}

/// Every reason that has occurred, in table order.
fn drop_totals(tallies: &[Tally]) -> Vec<(DropReason, u64)> {
    let totals: Vec<_> = tallies.iter().map(|tally| tally.counters.drops()).collect();
    DropReason::ALL
        .iter()
        .map(|reason| (*reason, totals.iter().map(|drops| drops[reason.index()]).sum()))
        .filter(|(_, count)| *count > 0)
        .collect()
}

pub(super) fn drops(supervisor: &Supervisor) -> Vec<DropInfo> {
    let tallies = supervisor.workers.tallies();
    let state = supervisor.state();
    drop_totals(&tallies)
        .into_iter()
        .map(|(reason, total)| {
            let mut by_port = BTreeMap::new();
            for (id, counters) in tallies.iter().flat_map(|tally| tally.counters.ports.iter().enumerate()) {
                let count = counters.drops.of(reason);
                if count > 0 {
                    let id = PortId(u16::try_from(id).expect("ports are indexed by a 16-bit id"));
                    let name = state.compiled.port_name(id).unwrap_or("(removed)");
                    *by_port.entry(name.to_owned()).or_insert(0) += count;
                }
            }
            for (id, counters) in tallies.iter().flat_map(|tally| tally.counters.underlays.iter().enumerate())
            {
                let count = counters.drops.of(reason);
                if count > 0 {
                    *by_port.entry(underlays::called(&state, id)).or_insert(0) += count;
                }
            }
            let gone: u64 = tallies.iter().map(|tally| tally.counters.gone.drops.of(reason)).sum();
            if gone > 0 {
                *by_port.entry("(removed)".to_owned()).or_insert(0) += gone;
            }
            debug_assert_eq!(by_port.values().sum::<u64>(), total);
            DropInfo::of(reason, by_port)
        })
        .collect()
}

/// One line for each thing that has changed.
pub(super) fn changes(changes: &Changes) -> Vec<String> {
    let line = |what: &str, name: &String, change: &Change| {
        let sign = match change {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Plan | Change::Device => '~',
        };
        format!("{sign} {what} {name}")
    };
    let networks = changes.networks.iter().map(|(name, change)| line("network", name, change));
    let ports = changes.ports.iter().map(|(name, change)| line("port", name, change));
    let rest = [
        ("stations", changes.stations),
        ("workers", changes.workers),
        ("spin_us", changes.spin),
        ("gro", changes.gro),
        ("tunnel_gso", changes.tunnel_gso),
    ];
    let rest = rest.into_iter().filter(|&(_, differs)| differs).map(|(what, _)| what);
    let rest = changes.router.iter().copied().chain(rest).map(|what| format!("~ {what}"));
    networks.chain(ports).chain(rest).collect()
}
