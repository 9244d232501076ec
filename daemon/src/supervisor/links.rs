//! Interfaces that are ports without being ours: followed as they go down and up, change their MTU, vanish and return.
//!
//! The [`Monitor`] says that something may have changed; then the kernel is asked, under the state's lock, and what it
//! says holds. While an interface is down or has no carrier its port stays, and frames for it are counted as lost. One
//! that was deleted (or renamed: it is the name that the configuration means) ends its port; when there is one of that
//! name again, the port is tried again, as after every other failure of it. Its MTU is the plan's at once.

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
    carrier: port::Link,
}

impl Watched {
    pub(super) fn new(found: &LinkState, carrier: port::Link) -> Self {
        let down = why_down(found);
        if let Some(why) = &down {
            tracing::warn!("{why}");
        }
        carrier.set(down.is_none());
        Self { index: found.index, mtu: mtu(found), down, conflict: None, carrier }
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
        let event = match (&watched.down, &down) {
            (None, Some(why)) => Some((EventKind::PortDown, why.clone())),
            (Some(_), None) => {
                Some((EventKind::PortUp, format!("interface {} carries frames again", nic.ifname)))
            }
            (None, None) | (Some(_), Some(_)) => None,
        };
        let begins = conflict.as_ref().filter(|_| watched.conflict.is_none());
        let events = event.into_iter().chain(begins.map(|why| (EventKind::AddressConflict, why.clone())));
        for (kind, why) in events {
            self.events.publish(Event::new(kind, format!("port {name:?}: {why}")).port(name));
        }
        (watched.down, watched.conflict) = (down, conflict);
        Ok(())
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
