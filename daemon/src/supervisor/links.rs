//! Interfaces of the daemon's namespace, followed as they go down and up, change their MTU, vanish and return.
//!
//! The [`Monitor`] says that something may have changed; then the kernel is asked, under the state's lock, and what it
//! says holds. One that is a port without being ours: while it is down or has no carrier its port stays, and frames for
//! it are counted as lost; when it is back, others may be behind it, and the router forgets who was. One that was deleted
//! (or renamed: it is the name that the configuration means) ends its port; when there is one of that name again, the port
//! is tried again, as after every other failure of it. Its MTU is the plan's at once. One that is ours: from an interface
//! that is set down the kernel takes IPv6 addresses and routes; when it is up it gets them again.

use std::io;
use std::sync::{Arc, Weak};

use config::PortKind;

use super::{State, Supervisor, device, underlays};
use crate::events::{Event, EventKind};
use crate::link::{self, Changed, LinkState, Monitor, Namespace};
use crate::port;

/// What is known of such an interface.
#[derive(Debug)]
pub(super) struct Watched {
    /// Which it is: another of the same name is another.
    index: u32,
    /// The longest packet it carries.
    pub(super) mtu: u16,
    /// Why it carries no frames, if it carries none.
    pub(super) down: Option<String>,
    /// That the host has one of our addresses, in words.
    pub(super) conflict: Option<String>,
    /// How often its carrier had come or gone: it may have between two looks.
    carrier_changes: u32,
    carrier: port::Link,
}

impl Watched {
    pub(super) fn new(found: &LinkState, carrier: port::Link) -> Self {
        let down = why_down(found);
        if let Some(why) = &down {
            tracing::warn!("{why}");
        }
        carrier.set(down.is_none());
        let (index, carrier_changes) = (found.index, found.carrier_changes);
        Self { index, mtu: mtu(found), down, conflict: None, carrier_changes, carrier }
    }
}

/// Starts watching. It ends with the monitor.
pub(super) fn start(supervisor: &Arc<Supervisor>) -> io::Result<()> {
    let weak: Weak<Supervisor> = Arc::downgrade(supervisor);
    let monitor = Monitor::start(move |changed| {
        if let Some(supervisor) = weak.upgrade() {
            supervisor.links_changed(&changed);
        }
    })?;
    *supervisor.monitor() = Some(monitor);
    Ok(())
}

impl Supervisor {
    fn links_changed(&self, changed: &Changed) {
        let mut state = self.state();
        let concerns = |nic: &config::Nic, watched: &Watched| match changed {
            Changed::Interface(index, name) => *index == watched.index || name.as_ref() == Some(&nic.ifname),
            Changed::Addresses | Changed::Everything => true,
        };
        let is_concerned = |device: &device::Device| match (&device.blueprint, &device.watched) {
            (PortKind::Nic(nic), Some(watched)) => concerns(nic, watched),
            (PortKind::Nic(_) | PortKind::Device(_) | PortKind::Tunnel(_), _) => false,
        };
        let names: Vec<String> =
            state.devices.iter().filter(|(_, it)| is_concerned(it)).map(|(name, _)| name.clone()).collect();
        for name in names {
            if let Err(error) = self.follow(&mut state, &name) {
                tracing::warn!("port {name:?}: its interface cannot be looked at: {error}");
            }
        }
        replenish(&state, changed);
        self.obey_links(&mut state);
    }

    /// Lets the port be as its interface is.
    fn follow(&self, state: &mut State, name: &str) -> io::Result<()> {
        let here = Namespace::current()?;
        let device = state.devices.get_mut(name).expect("it was found there");
        let PortKind::Nic(nic) = &device.blueprint else { return Ok(()) };
        let found = link::find(&here, &nic.ifname)?;
        let is_there = found.is_some();
        let Some(watched) = device.watched.as_mut().filter(|_| device.failed.is_none()) else {
            if is_there {
                self.try_again(state, name);
            }
            return Ok(());
        };
        let Some(found) = found.filter(|found| found.index == watched.index) else {
            let why = format!("interface {} is gone", nic.ifname);
            let (port, generation) = (state.compiled.ports[name].id, device.generation);
            self.give_up_of(state, port, generation, why);
            if is_there {
                self.try_again(state, name); // There is another of the name already.
            }
            return Ok(());
        };
        watched.mtu = mtu(&found);
        let down = why_down(&found);
        watched.carrier.set(down.is_none());
        let conflict = link::conflict(&here, &nic.addresses)?;
        let was_away = watched.down.is_some() || watched.carrier_changes != found.carrier_changes;
        watched.carrier_changes = found.carrier_changes;
        let is_back = was_away && down.is_none();
        let event = match (&watched.down, &down) {
            (None, Some(why)) => Some((EventKind::PortDown, why.clone())),
            (Some(_), None) => {
                Some((EventKind::PortUp, format!("interface {} carries frames again", nic.ifname)))
            }
            (None, None) | (Some(_), Some(_)) => None,
        };
        let begins = conflict.as_ref().filter(|_| watched.conflict.is_none());
        let begins = begins.map(|why| (EventKind::AddressConflict, why.clone()));
        let events: Vec<_> = event.into_iter().chain(begins).collect();
        (watched.down, watched.conflict) = (down, conflict);
        if is_back {
            self.forget_neighbours(state, name);
        }
        for (kind, why) in events {
            self.events.publish(Event::new(kind, format!("port {name:?}: {why}")).port(name));
        }
        Ok(())
    }

    /// Lets the router ask anew who is behind a port of which it has heard nothing for a while.
    fn forget_neighbours(&self, state: &State, name: &str) {
        // What lies behind the uplink's port is called as the port is.
        if let Some(domain) = state.compiled.networks.get(name).copied() {
            self.workers.handle(|| node::Event::FlushNeighbours { domain: Some(domain), address: None });
        }
    }

    /// Makes the device of a failed port once more.
    fn try_again(&self, state: &mut State, name: &str) {
        let blueprint = state.devices[name].blueprint.clone();
        let id = state.compiled.ports[name].id;
        let again = (self.build)(&blueprint, self.workers.count()).and_then(|(mut made, queues)| {
            state.generation += 1;
            made.generation = state.generation;
            match self.workers.attach(vec![(id, queues)], state.generation).pop() {
                Some((_, error)) => Err(error),
                None => Ok(made),
            }
        });
        match again {
            Ok(made) => {
                self.forget_neighbours(state, name);
                // One that is down is not up yet: that is told when it is.
                if made.watched.as_ref().is_some_and(|watched| watched.down.is_none()) {
                    let text = format!("port {name:?}: its interface is back");
                    self.events.publish(Event::new(EventKind::PortUp, text).port(name));
                }
                state.devices.insert(name.to_owned(), made);
            }
            Err(error) => {
                let device = state.devices.get_mut(name).expect("it failed, and is still there");
                device.failed = Some(error.to_string());
            }
        }
    }

    /// Lets the plan obey what is known of interfaces, if that is not so yet.
    pub(super) fn obey_links(&self, state: &mut State) {
        let State { devices, compiled, config, .. } = state;
        let mut has_changed = false;
        let below = underlays::mtus(compiled).unwrap_or_else(|error| {
            tracing::warn!("interfaces below tunnels cannot be looked at: {error}");
            Vec::new()
        });
        for (name, mtu) in &below {
            has_changed |= compiled.follow(name, *mtu);
        }
        for (name, watched) in devices.iter().filter_map(|(name, it)| Some((name, it.watched.as_ref()?))) {
            has_changed |= compiled.follow_mtu(name, watched.mtu);
        }
        if has_changed {
            let plan = Arc::new(compiled.plan.clone());
            self.announce(&plan, config, compiled);
            self.workers.handle(|| node::Event::Configure(Arc::clone(&plan)));
        }
    }
}

/// Lets interfaces of ours have what is theirs, if they may lack it.
fn replenish(state: &State, changed: &Changed) {
    let devices = state.devices.values().filter_map(|device| match &device.blueprint {
        PortKind::Device(made) if device.failed.is_none() && made.netns.is_none() => Some(made),
        PortKind::Device(_) | PortKind::Nic(_) | PortKind::Tunnel(_) => None,
    });
    let may_lack = |made: &&config::Device| match changed {
        Changed::Interface(_, name) => name.as_ref() == Some(&made.ifname),
        Changed::Everything => true,
        Changed::Addresses => false, // Somebody may have removed one by hand.
    };
    let has_some = |made: &&config::Device| !made.addresses.is_empty() || !made.routes.is_empty();
    for made in devices.filter(may_lack).filter(has_some) {
        let given = Namespace::current()
            .and_then(|here| link::replenish(&here, &made.ifname, &made.addresses, &made.routes));
        if let Err(error) = given {
            tracing::warn!("{error}");
        }
    }
}

fn mtu(found: &LinkState) -> u16 {
    u16::try_from(found.mtu).unwrap_or(u16::MAX)
}

fn why_down(found: &LinkState) -> Option<String> {
    let name = &found.name;
    if !found.up {
        Some(format!("interface {name} is down; `ip link set dev {name} up` raises it"))
    } else if !found.running {
        Some(format!("interface {name} has no carrier; look at its cable, or at the other end"))
    } else {
        None
    }
}
