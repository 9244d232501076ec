//! What workers report unasked becomes events with names in them; a port that failed is taken from all workers.

use std::io;
use std::sync::{Arc, Weak};

use config::Compiled;
use node::{Notice, RouterNotice};
use wire::PortId;

use super::{State, Supervisor, spawn};
use crate::events::{Event, EventKind};
use crate::worker::Report;

/// Starts the thread that listens. It ends with the workers.
pub(super) fn start(supervisor: &Arc<Supervisor>) -> io::Result<()> {
    let reports = supervisor.workers.reports.clone();
    let supervisor = Arc::downgrade(supervisor);
    spawn("reports", move || {
        for report in reports {
            let Some(supervisor) = Weak::upgrade(&supervisor) else { return };
            supervisor.hear(report);
        }
    })?;
    Ok(())
}

impl Supervisor {
    fn hear(&self, report: Report) {
        match report {
            Report::Notice(notice) => {
                let state = self.state();
                if let Some(event) = describe(&state.compiled, notice) {
                    self.events.publish(event);
                }
            }
            Report::PortFailed(port, generation, why) => self.give_up(port, generation, why),
            Report::OffloadRefused(port, generation) => self.mark_slow(port, generation),
        }
    }

    /// The port's frames are finished in software from now on.
    fn mark_slow(&self, port: PortId, generation: u64) {
        let mut state = self.state();
        let Some(name) = state.compiled.port_name(port).map(str::to_owned) else { return };
        if let Some(device) = state.devices.get_mut(&name).filter(|device| device.generation == generation) {
            device.offloads.clear();
            device.refuses_offload = true;
        }
    }

    /// One worker has given the port up; the others follow, so that its device is closed.
    fn give_up(&self, port: PortId, generation: u64, why: String) {
        self.give_up_of(&mut self.state(), port, generation, why);
    }

    /// The same with the lock held.
    pub(super) fn give_up_of(&self, state: &mut State, port: PortId, generation: u64, why: String) {
        let Some(name) = state.compiled.port_name(port).map(str::to_owned) else { return };
        let Some(device) = state.devices.get_mut(&name) else { return };
        if device.failed.is_some() || device.generation != generation {
            return; // Another worker was first, or the port has another device since.
        }
        self.workers.detach(port);
        let text = format!("port {name:?} was given up: {why}");
        device.failed = Some(why);
        self.events.publish(Event::new(EventKind::PortFailed, text).port(name));
    }
}

/// The notice in words; `None` if what it is about has gone since.
fn describe(names: &Compiled, notice: Notice) -> Option<Event> {
    Some(match notice {
        Notice::StationLearned { domain, mac, port } => {
            let (network, port) = (names.network_name(domain)?, names.port_name(port)?);
            let text = format!("{mac} in network {network:?} lives behind port {port:?}");
            Event::new(EventKind::StationLearned, text).network(network).port(port).mac(mac.to_string())
        }
        Notice::StationMoved { domain, mac, from, to } => {
            let (network, port) = (names.network_name(domain)?, names.port_name(to)?);
            let from = names.port_name(from).unwrap_or("(removed)");
            let text = format!("{mac} in network {network:?} moved from port {from:?} to {port:?}");
            Event::new(EventKind::StationMoved, text).network(network).port(port).mac(mac.to_string())
        }
        Notice::StationFlapping { domain, mac, port } => {
            let (network, port) = (names.network_name(domain)?, names.port_name(port)?);
            let text = format!(
                "{mac} in network {network:?} keeps moving between ports, last to {port:?}: \
                 a loop, or two stations with one address"
            );
            Event::new(EventKind::StationFlapping, text).network(network).port(port).mac(mac.to_string())
        }
        Notice::DomainFull { domain } => {
            let network = names.network_name(domain)?;
            let text =
                format!("network {network:?} has as many stations as it may; frames to new ones are flooded");
            Event::new(EventKind::NetworkFull, text).network(network)
        }
        Notice::PortFull { port } => {
            let port = names.port_name(port)?;
            let text =
                format!("port {port:?} has as many stations as it may; frames to new ones are flooded");
            Event::new(EventKind::PortFull, text).port(port)
        }
        Notice::Router(notice) => router_notice(notice, names)?,
    })
}

fn router_notice(notice: RouterNotice, names: &Compiled) -> Option<Event> {
    Some(match notice {
        RouterNotice::AddressConflict { domain, address, mac } => {
            let network = names.network_name(domain)?;
            let text = format!("{mac} in network {network:?} uses the router's address {address}");
            Event::new(EventKind::AddressConflict, text).network(network).mac(mac.to_string())
        }
        RouterNotice::NeighbourMoved { domain, address, from, to } => {
            let network = names.network_name(domain)?;
            let text = format!("{address} in network {network:?} moved from {from} to {to}");
            Event::new(EventKind::NeighbourMoved, text).network(network).mac(to.to_string())
        }
        RouterNotice::NeighboursFull { domain } => {
            let network = names.network_name(domain)?;
            let text =
                format!("network {network:?} has as many neighbours as it may; new ones are not reached");
            Event::new(EventKind::NeighboursFull, text).network(network)
        }
        RouterNotice::SessionsFull => {
            let text = "no more connections fit: new ones are dropped as route.sessions-max";
            Event::new(EventKind::SessionsFull, text)
        }
        RouterNotice::ShareFull { inside } => {
            let text = format!(
                "{inside} has as many connections as one host may: its new ones are dropped as route.sessions-max"
            );
            Event::new(EventKind::ShareFull, text)
        }
        RouterNotice::L4PortsExhausted { outside } => {
            let text = format!("{outside} has no L4 port left: new connections are dropped");
            Event::new(EventKind::L4PortsExhausted, text)
        }
        RouterNotice::AclLogged { rule, src, dst, dst_l4_port } => {
            let text = format!("access rule {rule} matched {src} to {dst}, L4 port {dst_l4_port}");
            Event::new(EventKind::AclLogged, text)
        }
    })
}
