//! Underlays: the sockets that tunnels speak through, opened in the daemon's own namespace.
//!
//! A socket stays open as long as plans have its local end, whatever becomes of the tunnels: remote ends come and go
//! without touching it. One that cannot be opened refuses the change that asks for it. Cutting and sums are left to the
//! sockets ([`crate::port::udp`]), so frames reach them whole.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use config::Compiled;
use encap::{Endpoint, Format};
use node::{UnderlayId, UnderlayPlan};

use super::{State, Supervisor, change};
use crate::api::{ApiError, TroubleInfo, UnderlayInfo, Warning};
use crate::events::{Event, EventKind};
use crate::link::{self, Layer, LinkState, Namespace};
use crate::port::udp::{Trouble, Underlay};
use crate::sys::datagram;
use crate::worker::underlay::carried;

/// An underlay whose sockets are open.
pub(super) type Opened = (UnderlayPlan, Underlay);

/// The MTU of the interface that each underlay's datagrams leave by, by the underlay's local end: the one that has its
/// address, or, where that is the loopback interface, the one that the route to its first remote end names. An underlay
/// whose address nobody has is left out.
pub(super) fn mtus(compiled: &Compiled) -> io::Result<Vec<(String, u16)>> {
    if compiled.plan.underlays.is_empty() {
        return Ok(Vec::new());
    }
    let links = link::list(&Namespace::current()?)?;
    let of = |underlay: &UnderlayPlan| {
        let has_it =
            |link: &&LinkState| link.addresses.iter().any(|it| it.address() == underlay.local.address);
        let link = links.iter().find(has_it)?;
        let mtu = match link.layer {
            Layer::Loopback => route_mtu(compiled, underlay)?,
            Layer::Ethernet | Layer::Other => link.mtu,
        };
        Some((underlay.local.to_string(), u16::try_from(mtu).unwrap_or(u16::MAX)))
    };
    Ok(compiled.plan.underlays.iter().filter_map(of).collect())
}

fn route_mtu(compiled: &Compiled, underlay: &UnderlayPlan) -> Option<u32> {
    let remote = compiled.plan.tunnels.iter().find(|tunnel| tunnel.underlay == underlay.id)?.remote;
    let socket = UdpSocket::bind(SocketAddr::new(underlay.local.address, 0)).ok()?;
    socket.connect(socket_address(remote)).ok()?;
    datagram::path_mtu(socket.as_fd(), remote.address.is_ipv6()).ok()
}

/// What the compiled configuration wants, of which those are opened that are not open.
///
/// # Errors
/// If one cannot be opened. Nothing has changed then.
pub(super) fn open(state: &State, compiled: &Compiled) -> Result<BTreeMap<UnderlayId, Opened>, ApiError> {
    let mut all = BTreeMap::new();
    for &plan in &compiled.plan.underlays {
        let is_of_plan = |(known, _): &&Opened| known.local == plan.local && known.format == plan.format;
        let underlay = match state.underlays.get(&plan.id).filter(is_of_plan) {
            Some((_, underlay)) => underlay.clone(),
            None => Underlay::open(socket_address(plan.local), carried(plan.format)).map_err(|error| {
                let hint =
                    "give the tunnel an address of this host as `local`, and an L4 port that nobody has";
                change::refused(&format!("underlay {}", plan.local), &error).next(hint)
            })?,
        };
        if compiled.tunnel_gso {
            underlay.prepare_whole().map_err(|error| {
                change::refused(&format!("tunnel_gso at underlay {}", plan.local), &error)
                    .next("leave tunnel_gso out: super-segments are then cut here and sent by sockets")
            })?;
        }
        all.insert(plan.id, (plan, underlay));
    }
    Ok(all)
}

impl Supervisor {
    /// Gives workers the underlays: all if the workers are others than before, else the new ones. Super-segments leave
    /// them whole or not.
    pub(super) fn share(
        &self,
        state: &mut State,
        wanted: BTreeMap<UnderlayId, Opened>,
        (has_new_workers, is_whole): (bool, bool),
    ) {
        wanted.values().for_each(|(_, underlay)| underlay.pass_whole(is_whole));
        let is_new = |(id, (plan, _)): &(&UnderlayId, &Opened)| {
            has_new_workers
                || state
                    .underlays
                    .get(id)
                    .is_none_or(|(known, _)| known.local != plan.local || known.format != plan.format)
        };
        let new: Vec<Opened> =
            wanted.iter().filter(is_new).map(|(_, (plan, underlay))| (*plan, underlay.clone())).collect();
        for (id, error) in self.workers.open(&new) {
            let local = wanted.get(&id).map_or_else(String::new, |(plan, _)| plan.local.to_string());
            let text = format!("underlay {local} cannot be waited on: {error}");
            tracing::error!("{text}");
            self.events.publish(Event::new(EventKind::PortFailed, text));
        }
        state.underlays = wanted;
    }
}

/// For `status`.
pub(super) fn infos(state: &State) -> Vec<UnderlayInfo> {
    let info = |(plan, underlay): &Opened| {
        let remotes = state.compiled.plan.tunnels.iter().filter(|tunnel| tunnel.underlay == plan.id).count();
        UnderlayInfo {
            local: plan.local.to_string(),
            format: match plan.format {
                Format::Vxlan => "vxlan",
                Format::BareIp => "udp",
            }
            .to_owned(),
            send: underlay.mode().to_owned(),
            receive: if underlay.joins() { "gro" } else { "single" }.to_owned(),
            remotes: remotes as u64,
            mtu: mtu(state, plan.id),
            troubles: underlay.troubles().into_iter().map(trouble).collect(),
        }
    };
    state.underlays.values().map(info).collect()
}

/// The longest packet inside the tunnels of an underlay; `None` if it has none.
fn mtu(state: &State, id: UnderlayId) -> Option<u32> {
    let plan = &state.compiled.plan;
    let ports = plan.tunnels.iter().filter(|tunnel| tunnel.underlay == id).map(|tunnel| tunnel.port);
    let mtu = |port| plan.switch.ports.iter().find(|plan| plan.id == port).map(|plan| u32::from(plan.mtu));
    ports.filter_map(mtu).max()
}

/// What stands for a port where datagrams are nobody's: the underlay of this number.
pub(super) fn called(state: &State, number: usize) -> String {
    let plan = state.compiled.plan.underlays.iter().find(|plan| plan.id.index() == number);
    plan.map_or_else(|| "(removed)".to_owned(), |plan| format!("(underlay {})", plan.local))
}

fn trouble((remote, trouble): (SocketAddr, Trouble)) -> TroubleInfo {
    let Trouble { unreachable, errno, too_long, path_mtu, at: _ } = trouble;
    TroubleInfo {
        remote: remote.to_string(),
        unreachable,
        error: (errno != 0).then(|| std::io::Error::from_raw_os_error(errno).to_string()),
        too_long,
        path_mtu: (path_mtu != 0).then_some(path_mtu),
    }
}

/// What is worse than it could be.
pub(super) fn warnings(state: &State) -> impl Iterator<Item = Warning> {
    let wants_whole = state.compiled.tunnel_gso;
    state.underlays.values().filter_map(move |(plan, underlay)| {
        let (what, next) = match (underlay.mode(), plan.format) {
            ("single", _) => (
                "the kernel does not cut datagrams, they are sent one by one, slower",
                "an interface with checksum offload, or a newer kernel, lets it",
            ),
            ("gso", Format::Vxlan) if wants_whole => (
                "super-segments cannot leave whole any more and are cut here, slower",
                "the log says why; `tapestry apply` tries again",
            ),
            _ => return None,
        };
        Some(Warning { text: format!("underlay {}: {what}", plan.local), next: next.to_owned() })
    })
}

fn socket_address(end: Endpoint) -> SocketAddr {
    SocketAddr::new(end.address, end.l4_port)
}
