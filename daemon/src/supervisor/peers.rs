//! Remote ends in the words of the control socket: what is known of them without asking them.
//!
//! A peer behind a tunnel has a port, and what that has counted is the peer's. One that is routed without a tunnel shares
//! the uplink with everybody else there: its next hop is known, its octets are not.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use config::{Backend, CompiledPort, Device, OverlaySpec, PeerSpec, PortKind, Tunnel};
use encap::Encapsulation;
use node::{Flush, PortCounters};
use vrouter::{Gateway, Side};
use wire::{Cidr, Mac, PortId};

use super::{State, Supervisor, live, random_seed, view};
use crate::api::{
    ApiError, ErrorKind, NeighbourFilter, OverlayOperations, PeerInfo, PeerQuestion, PeerReport, PeerState,
};
use crate::link::{self, Namespace};
use crate::port::udp::Trouble;
use crate::reach::{self, Framing, Question, Target};
use crate::sys::clock;
use crate::worker::Tally;

/// How long a peer counts as up after it was last heard, in milliseconds. Longer, and nobody knows.
const HEARD_LATELY_MS: u64 = 60_000;
/// What the uplink and its port are called.
const UPLINK: &str = config::UPLINK;

impl OverlayOperations for Supervisor {
    fn peers(&self) -> Result<Vec<PeerInfo>, ApiError> {
        peers(self)
    }

    fn check_peer(&self, question: &PeerQuestion) -> Result<PeerReport, ApiError> {
        let (name, id, mut target) = target(&self.state(), question)?;
        if target.questions.is_empty() {
            target.questions = strangers(self, id, question.inner)?;
        }
        let [a, b, ..] = random_seed().to_le_bytes();
        let findings = reach::check(&target, u16::from_le_bytes([a, b]));
        Ok(PeerReport { peer: name, remote: target.remote.to_string(), findings })
    }
}

fn peers(supervisor: &Supervisor) -> Result<Vec<PeerInfo>, ApiError> {
    let tallies = supervisor.workers.tallies();
    let mut routed = Vec::new();
    let mut peers = {
        let state = supervisor.state();
        let troubles: BTreeMap<SocketAddr, Trouble> =
            state.underlays.values().flat_map(|(_, underlay)| underlay.troubles()).collect();
        let overlay = state.config.overlay.iter();
        routed.extend(overlay.flat_map(|overlay| routed_peers(&state, overlay)));
        let tunnelled = state.compiled.ports.iter().filter_map(|(name, port)| match &port.kind {
            PortKind::Tunnel(tunnel) => Some((name, port, tunnel)),
            PortKind::Device(_) | PortKind::Nic(_) => None,
        });
        tunnelled
            .map(|(name, port, tunnel)| behind_tunnel(&state, &tallies, &troubles, (name, port, tunnel)))
            .collect::<Vec<_>>()
    };
    for mut peer in routed {
        let filter = NeighbourFilter { network: Some(UPLINK.to_owned()), address: peer.remote.parse().ok() };
        let next_hop = live::neighbours(supervisor, &filter)?.pop();
        peer.detail = Some(next_hop.map_or_else(
            || "the next hop has not been asked for yet".to_owned(),
            |known| format!("the next hop is {}", known.state),
        ));
        peers.push(peer);
    }
    peers.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(peers)
}

fn behind_tunnel(
    state: &State,
    tallies: &[Tally],
    troubles: &BTreeMap<SocketAddr, Trouble>,
    (name, port, tunnel): (&str, &CompiledPort, &Tunnel),
) -> PeerInfo {
    let of_port = || tallies.iter().filter_map(|tally| tally.counters.ports.get(port.id.index()));
    let counted = |of: fn(&PortCounters) -> u64| -> u64 { of_port().map(of).sum() };
    let heard = of_port().filter_map(|counters| counters.heard).max();
    let remote = SocketAddr::new(tunnel.remote.address, tunnel.remote.l4_port);
    let plans = &state.compiled.plan.switch.ports; // In the order of ids.
    let plan = plans.binary_search_by_key(&port.id, |plan| plan.id).ok().map(|at| &plans[at]);
    let last_seen_ms = heard.map(|at| u64::try_from(clock::now().since(at).as_millis()).unwrap_or(u64::MAX));
    let trouble = troubles.get(&remote).filter(|trouble| trouble.unreachable > 0);
    let told_since = trouble.filter(|trouble| heard.is_none_or(|heard| heard < trouble.at));
    let is_overlays = [config::OVERLAY, config::OVERLAY_V6].contains(&tunnel.network.as_str());
    let overlay = state.config.overlay.as_ref().filter(|_| is_overlays);
    let peer =
        overlay.and_then(|overlay| overlay.peer.iter().find(|peer| peer.endpoint == tunnel.remote.address));
    PeerInfo {
        name: name.to_owned(),
        network: tunnel.network.clone(),
        subnet: peer.map(|peer| peer.subnet.to_string()),
        underlay: state
            .underlays
            .get(&tunnel.underlay)
            .map_or_else(String::new, |(plan, _)| plan.local.to_string()),
        remote: remote.to_string(),
        mode: if tunnel.vni.is_some() { "vxlan" } else { "udp" }.to_owned(),
        why: overlay.map_or_else(|| format!("[network.{}.vxlan]", tunnel.network), why_tunnelled),
        vni: tunnel.vni.map(encap::Vni::number),
        mtu: plan.map_or(0, |plan| u32::from(plan.mtu)),
        rx_frames: counted(|port| port.rx_frames),
        rx_bytes: counted(|port| port.rx_bytes),
        tx_frames: counted(|port| port.tx_frames),
        tx_bytes: counted(|port| port.tx_bytes),
        drops: counted(|port| port.drops.sum()),
        last_seen_ms,
        state: match (told_since, last_seen_ms) {
            (Some(_), _) => PeerState::Unreachable,
            (None, Some(0..=HEARD_LATELY_MS)) => PeerState::Up,
            (None, Some(_)) => PeerState::Silent,
            (None, None) => PeerState::Unheard,
        },
        detail: told_since.map(|trouble| {
            let error = std::io::Error::from_raw_os_error(trouble.errno);
            format!(
                "{error}, said {} times; `tapestry overlay check {name}` looks closer",
                trouble.unreachable
            )
        }),
    }
}

fn why_tunnelled(overlay: &OverlaySpec) -> String {
    let backend = match overlay.backend {
        Backend::Vxlan => "backend = \"vxlan\"",
        Backend::Udp => "backend = \"udp\"",
        Backend::HostGw => "backend = \"host-gw\"",
    };
    if overlay.direct_routing {
        format!("{backend}; no neighbour on the uplink, so direct_routing does not apply")
    } else {
        backend.to_owned()
    }
}

/// The overlay's hosts that have no tunnel.
fn routed_peers<'a>(state: &'a State, overlay: &'a OverlaySpec) -> impl Iterator<Item = PeerInfo> + 'a {
    let name = |peer: &PeerSpec| format!("{}.{}", config::OVERLAY, peer.endpoint);
    let is_routed = move |peer: &&PeerSpec| !state.compiled.ports.contains_key(&name(peer));
    let why = match overlay.backend {
        Backend::HostGw => "backend = \"host-gw\"",
        Backend::Vxlan | Backend::Udp => "direct_routing, and a neighbour on the uplink",
    };
    overlay.peer.iter().filter(is_routed).map(move |peer| PeerInfo {
        name: name(peer),
        network: if peer.endpoint.is_ipv6() && overlay.local_v6.is_some() {
            config::OVERLAY_V6
        } else {
            config::OVERLAY
        }
        .to_owned(),
        subnet: Some(peer.subnet.to_string()),
        underlay: UPLINK.to_owned(),
        remote: peer.endpoint.to_string(),
        mode: "routed".to_owned(),
        why: why.to_owned(),
        mtu: uplink_mtu(state),
        state: PeerState::Routed,
        ..PeerInfo::default()
    })
}

fn uplink_mtu(state: &State) -> u32 {
    let id = state.compiled.ports.get(UPLINK).map(|port| port.id);
    let plan = state.compiled.plan.switch.ports.iter().find(|plan| Some(plan.id) == id);
    plan.map_or(0, |plan| u32::from(plan.mtu))
}

/// The peer of this name or address, and what may be asked there without knowing anybody behind it.
fn target(state: &State, question: &PeerQuestion) -> Result<(String, PortId, Target), ApiError> {
    let wanted = &question.peer;
    let is_meant = |(name, tunnel): &(&String, &Tunnel)| {
        *name == wanted
            || wanted.parse().is_ok_and(|address: IpAddr| address == tunnel.remote.address)
            || wanted.parse().is_ok_and(|end: SocketAddr| {
                (end.ip(), end.port()) == (tunnel.remote.address, tunnel.remote.l4_port)
            })
    };
    let tunnels = state.compiled.ports.iter().filter_map(|(name, port)| match &port.kind {
        PortKind::Tunnel(tunnel) => Some((name, tunnel)),
        PortKind::Device(_) | PortKind::Nic(_) => None,
    });
    let meant: Vec<(&String, &Tunnel)> = tunnels.filter(is_meant).collect();
    let what = format!("peer {wanted:?}");
    let (name, tunnel) = match meant[..] {
        [one] => one,
        [] => return Err(no_such_peer(state, what, wanted)),
        [..] => {
            let names: Vec<&str> = meant.iter().map(|(name, _)| name.as_str()).collect();
            return Err(ApiError::new(
                ErrorKind::Conflict,
                what,
                format!("it is one of {}", names.join(", ")),
            )
            .next("give its name"));
        }
    };
    let port = &state.compiled.ports[name];
    let gone =
        || ApiError::new(ErrorKind::Unavailable, format!("peer {name:?}"), "its tunnel is being changed");
    let plan = &state.compiled.plan;
    let mtu = plan.switch.ports.iter().find(|plan| plan.id == port.id).ok_or_else(gone)?.mtu;
    let underlay = plan.underlays.iter().find(|underlay| underlay.id == tunnel.underlay).ok_or_else(gone)?;
    let target = Target {
        local: SocketAddr::new(underlay.local.address, underlay.local.l4_port),
        remote: SocketAddr::new(tunnel.remote.address, tunnel.remote.l4_port),
        framing: tunnel.vni.map_or(Framing::Bare, Framing::Vxlan),
        questions: echoes(state, port.id, question.inner),
        mtu,
        overhead: encap::plan::overhead(underlay.format, underlay.local.address.is_ipv4()),
    };
    Ok((name.clone(), port.id, target))
}

fn no_such_peer(state: &State, what: String, wanted: &str) -> ApiError {
    let overlay = state.config.overlay.iter();
    let mut routed = overlay.flat_map(|overlay| routed_peers(state, overlay));
    if routed.any(|peer| peer.name == wanted || peer.remote == wanted) {
        return ApiError::new(
            ErrorKind::Invalid,
            what,
            "it is routed through the uplink, there is no tunnel to check",
        )
        .next("see `tapestry neigh ls --network uplink`, and `tapestry route get` for an address behind it");
    }
    ApiError::new(ErrorKind::NotFound, what, "there is none").next("see `tapestry peer ls`")
}

/// Echo requests for a host of the overlay: what it answers itself. None for a network that is stretched to whoever is
/// there; but where it is known which packets the peer has, it is a host of flannel's, and takes only ours likewise.
fn echoes(state: &State, id: PortId, inner: Option<IpAddr>) -> Vec<Question> {
    let plan = &state.compiled.plan;
    let Some(tunnel) = plan.tunnels.iter().find(|tunnel| tunnel.port == id) else { return Vec::new() };
    let Some(&subnet) = tunnel.sources.first() else { return Vec::new() };
    let ends = match tunnel.encapsulation {
        Encapsulation::BareIp { local, remote } => {
            our_address(state, subnet.address()).map(|src| ((remote.mac(), local.mac()), src))
        }
        Encapsulation::Vxlan(_) => {
            routed_ends(state, id, subnet).or_else(|| switched_ends(state, id, subnet))
        }
    };
    let Some((macs, src)) = ends else { return Vec::new() };
    // A host of flannel's has the subnet's address itself on its tunnel device; other hosts have the first one.
    let guesses = first_hosts(subnet);
    let wanted: Vec<IpAddr> = inner.map_or(guesses, |inner| vec![inner]);
    let of_family = wanted.into_iter().filter(|dst| dst.is_ipv4() == src.is_ipv4());
    of_family.map(|dst| Question::Echo { macs, src, dst }).collect()
}

/// The MAC addresses (theirs, ours) in the tunnel, and our address, where the router stands in the overlay.
fn routed_ends(state: &State, id: PortId, subnet: Cidr) -> Option<((Mac, Mac), IpAddr)> {
    let plan = &state.compiled.plan;
    let port = plan.switch.ports.iter().find(|port| port.id == id)?;
    let domain = port.memberships.first()?.domain;
    let is_ours = |gateway: &&Gateway| matches!(gateway.side, Side::Overlay(_)) && gateway.domain == domain;
    let ours = plan.router.gateways.iter().find(is_ours)?;
    Some(((port.mac?.mac(), ours.mac.mac()), our_address(state, subnet.address())?))
}

/// The same where the host's device stands there, as with `tapestry flanneld`.
fn switched_ends(state: &State, id: PortId, subnet: Cidr) -> Option<((Mac, Mac), IpAddr)> {
    let theirs = state.compiled.plan.switch.statics.iter().find(|station| station.port == id)?;
    let network = state.compiled.network_name(theirs.domain)?;
    let (device, src) = host_address(state, network, subnet.address())?;
    Some(((theirs.mac.mac(), device.mac.mac()), src))
}

/// An address of this host's that the overlay's others know as ours.
fn our_address(state: &State, like: IpAddr) -> Option<IpAddr> {
    let overlay = state.config.overlay.as_ref()?;
    let network = state.config.network.get(&overlay.network)?;
    let is_alike = |address: &IpAddr| address.is_ipv4() == like.is_ipv4() && !is_link_local(*address);
    let gateway = network.gateway.iter().copied().find(is_alike);
    let hosts = || host_address(state, &overlay.network, like).map(|(_, address)| address);
    let first = || {
        let subnet = network.subnet.iter().find(|subnet| is_alike(&subnet.address()))?;
        first_hosts(*subnet).first().copied()
    };
    gateway.or_else(hosts).or_else(first)
}

/// What the host itself has on a device of the network's.
fn host_address<'a>(state: &'a State, network: &str, like: IpAddr) -> Option<(&'a Device, IpAddr)> {
    let here = Namespace::current().ok()?;
    let of_network = state.config.port.iter().filter(|(_, port)| port.network.as_deref() == Some(network));
    let devices = of_network.filter_map(|(name, _)| match &state.compiled.ports.get(name)?.kind {
        PortKind::Device(device) if device.netns.is_none() => Some(device),
        PortKind::Device(_) | PortKind::Nic(_) | PortKind::Tunnel(_) => None,
    });
    let mut addresses = devices.filter_map(|device| {
        let found = link::find(&here, &device.ifname).ok()??;
        let addresses = found.addresses.into_iter().map(|own| own.address());
        let mut fit = addresses.filter(|own| own.is_ipv4() == like.is_ipv4() && !is_link_local(*own));
        Some((device, fit.next()?))
    });
    addresses.next()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The first address of a subnet behind its own, and its own.
fn first_hosts(subnet: Cidr) -> Vec<IpAddr> {
    let own = subnet.network().address();
    let next = match own {
        IpAddr::V4(address) => IpAddr::from(std::net::Ipv4Addr::from_bits(address.to_bits().wrapping_add(1))),
        IpAddr::V6(address) => IpAddr::from(std::net::Ipv6Addr::from_bits(address.to_bits().wrapping_add(1))),
    };
    if subnet.contains(next) { vec![next, own] } else { vec![own] }
}

/// Questions for a stretched network: all of its stations, and those behind the peer that the router knows.
fn strangers(supervisor: &Supervisor, id: PortId, inner: Option<IpAddr>) -> Result<Vec<Question>, ApiError> {
    if let Some(inner) = inner {
        return Ok(vec![Question::Station(inner)]);
    }
    let behind = view::stations(supervisor, Flush { port: Some(id), ..Flush::default() });
    let network = behind.first().map(|station| station.network.clone());
    let mut questions = vec![Question::AllNodes];
    if network.is_none() {
        return Ok(questions);
    }
    let neighbours = live::neighbours(supervisor, &NeighbourFilter { network, address: None })?;
    let is_behind = |mac: &Option<String>| behind.iter().any(|station| Some(&station.mac) == mac.as_ref());
    let known = neighbours.iter().filter(|known| is_behind(&known.mac));
    questions.extend(known.filter_map(|known| known.address.parse().ok()).map(Question::Station));
    Ok(questions)
}
