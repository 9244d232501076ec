//! Underlays: the sockets that tunnels speak through, opened in the daemon's own namespace.
//!
//! A socket stays open as long as plans have its local end, whatever becomes of the tunnels: remote ends come and go
//! without touching it. One that cannot be opened refuses the change that asks for it. Cutting and sums are left to the
//! sockets ([`crate::port::udp`]), so frames reach them whole.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use config::Compiled;
use encap::{Endpoint, Format};
use node::{UnderlayId, UnderlayPlan};
use wire::segment::Egress;

use super::{State, Supervisor, change};
use crate::api::{ApiError, TroubleInfo, UnderlayInfo, Warning};
use crate::events::{Event, EventKind};
use crate::port::udp::{Trouble, Underlay};
use crate::worker::underlay::carried;

/// An underlay whose sockets are open.
pub(super) type Opened = (UnderlayPlan, Underlay);

/// Lets frames for tunnels pass whole, because the sockets finish them.
pub(super) fn leave_to_sockets(compiled: &mut Compiled) {
    for underlay in &mut compiled.plan.underlays {
        underlay.takes = Egress::ALL;
    }
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
        all.insert(plan.id, (plan, underlay));
    }
    Ok(all)
}

impl Supervisor {
    /// Gives workers the underlays: all if the workers are others than before, else the new ones.
    pub(super) fn share(
        &self,
        state: &mut State,
        wanted: BTreeMap<UnderlayId, Opened>,
        has_new_workers: bool,
    ) {
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
            troubles: underlay.troubles().into_iter().map(trouble).collect(),
        }
    };
    state.underlays.values().map(info).collect()
}

/// What stands for a port where datagrams are nobody's: the underlay of this number.
pub(super) fn called(state: &State, number: usize) -> String {
    let plan = state.compiled.plan.underlays.iter().find(|plan| plan.id.index() == number);
    plan.map_or_else(|| "(removed)".to_owned(), |plan| format!("(underlay {})", plan.local))
}

fn trouble((remote, trouble): (SocketAddr, Trouble)) -> TroubleInfo {
    let Trouble { unreachable, errno, too_long, path_mtu } = trouble;
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
    let slow = state.underlays.values().filter(|(_, underlay)| underlay.mode() != "gso");
    slow.map(|(plan, _)| Warning {
        text: format!(
            "underlay {}: the kernel does not cut datagrams, they are sent one by one, slower",
            plan.local
        ),
        next: "an interface with checksum offload, or a newer kernel, lets it".to_owned(),
    })
}

fn socket_address(end: Endpoint) -> SocketAddr {
    SocketAddr::new(end.address, end.l4_port)
}
