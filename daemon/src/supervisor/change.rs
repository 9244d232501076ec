//! Changes: from one checked configuration to another, whole or not at all.
//!
//! A port whose device had failed before is no part of that bargain: every change tries it once more, and whether that
//! works only decides how the port is marked. Otherwise one dead container would block the change that removes it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use config::{Change, Changes, Compiled, Config, Leases};
use wire::PortId;

use super::device::{self, Blueprint, Device, Made};
use super::{State, Supervisor, underlays, view};
use crate::api::{ApiError, ErrorKind};
use crate::events::{Event, EventKind};
use crate::worker::Tuning;

impl Supervisor {
    /// Replaces the configuration by what `edit` makes of it, and says what that came to. On an error the old one holds.
    /// Either is published: a change is announced here and nowhere else.
    ///
    /// # Errors
    /// What `edit` says, or the device that could not be made.
    pub(super) fn change(
        &self,
        edit: impl FnOnce(&Config, &Leases) -> Result<(Config, Leases), ApiError>,
    ) -> Result<Changes, ApiError> {
        self.change_telling(edit, announcements)
    }

    /// [`Supervisor::change`] of which other events tell.
    pub(super) fn change_telling(
        &self,
        edit: impl FnOnce(&Config, &Leases) -> Result<(Config, Leases), ApiError>,
        announcements: impl FnOnce(&Changes) -> Vec<Event>,
    ) -> Result<Changes, ApiError> {
        let mut state = self.state();
        let outcome = edit(&state.config, &state.leases).and_then(|(config, leases)| {
            let changes = self.replace(&mut state, config)?;
            self.keep(&mut state, leases);
            Ok(changes)
        });
        // Published under the lock, so that events come in the order of the changes.
        match &outcome {
            Ok(changes) => announcements(changes).into_iter().for_each(|event| self.events.publish(event)),
            // Who is told that there is none of the name has asked for no other configuration.
            Err(ApiError { kind: ErrorKind::NotFound, .. }) => {}
            Err(ApiError { what, why, .. }) => {
                self.events.publish(Event::new(EventKind::ConfigRejected, format!("{what}: {why}")));
            }
        }
        outcome
    }

    /// Keeps the leases, in the state file too. That it cannot be written does not undo the change: it is told.
    fn keep(&self, state: &mut State, leases: Leases) {
        let is_kept = leases == state.leases && state.unsaved.is_none();
        state.leases = leases;
        let Some(store) = self.options.opened.store.as_ref().filter(|_| !is_kept) else { return };
        state.unsaved = store
            .save(&state.leases)
            .err()
            .map(|error| format!("state file {} cannot be written: {error}", store.path().display()));
        if let Some(text) = &state.unsaved {
            self.events.publish(Event::new(EventKind::StateFailed, text));
        }
    }

    fn replace(&self, state: &mut State, config: Config) -> Result<Changes, ApiError> {
        let mut ids = state.ids.clone();
        let mut compiled = config::compile(&config, &mut ids);
        compiled.plan.check().expect("what the configuration's checks let pass, the plan's do");

        compiled.leave_to_sockets();
        let opened = underlays::open(state, &compiled)?;
        let below = underlays::mtus(&compiled).map_err(|error| refused("underlays", &error))?;
        for (name, mtu) in &below {
            compiled.follow(name, *mtu);
        }
        let recruits = self.workers.recruit(compiled.workers).map_err(|error| refused("workers", &error))?;
        let steps = Steps::between(state, &compiled);
        let old_routes = reroute(state, &steps.rerouted)?;
        let made =
            self.make(state, &steps, compiled.workers).inspect_err(|_| put_routes_back(state, old_routes))?;
        let links = state.devices.iter().chain(made.iter().map(|(name, (device, _))| (name, device)));
        for (name, watched) in links.filter_map(|(name, device)| Some((name, device.watched.as_ref()?))) {
            compiled.follow_mtu(name, watched.mtu);
        }

        // From here on nothing can fail but single ports, which are marked and do not concern the change.
        let plan = Arc::new(compiled.plan.clone());
        self.announce(&plan, &config, &compiled);
        let has_new_workers = compiled.workers != self.workers.count();
        if has_new_workers {
            self.workers.handle(|| node::Event::Configure(Arc::clone(&plan)));
            self.workers.resize(compiled.workers, recruits, &plan);
        }
        let mut attaching = Vec::new();
        state.generation += 1;
        for (name, (mut device, queues)) in made {
            let id = compiled.ports[&name].id;
            self.workers.detach(id); // Its predecessor, if it has one.
            device.generation = state.generation;
            attaching.push((id, queues));
            state.devices.insert(name, device);
        }
        for (name, blueprint) in steps.retried {
            match (self.build)(&blueprint, self.workers.count()) {
                Ok((mut device, queues)) => {
                    device.generation = state.generation;
                    attaching.push((compiled.ports[&name].id, queues));
                    state.devices.insert(name, device);
                }
                Err(error) => mark_failed(state, &name, error.to_string()),
            }
        }
        self.share(state, opened, (has_new_workers, compiled.tunnel_gso));
        let refused = self.workers.configure(&plan, attaching, state.generation);
        for name in &steps.gone {
            state.devices.remove(name); // The plan without it has closed it.
        }
        for (id, error) in refused {
            let name = compiled.port_name(id).expect("it was made for this plan");
            let text = format!("port {name:?} was given up: {error}");
            self.events.publish(Event::new(EventKind::PortFailed, text).port(name));
            mark_failed(state, name, error.to_string());
        }
        self.workers.tune(Tuning { spin: compiled.spin, gro: compiled.gro });
        state.config = config;
        state.ids = ids;
        let changes = config::diff(&state.compiled, &compiled);
        state.compiled = compiled;
        self.obey_links(state);
        Ok(changes)
    }

    /// Tells recordings what the plan that the workers are about to get was compiled from.
    pub(super) fn announce(&self, plan: &Arc<node::Plan>, config: &Config, compiled: &Compiled) {
        let ports = compiled.ports.iter().map(|(name, port)| (name.clone(), port.id)).collect();
        self.origins.announce(plan, ports, config.to_toml());
    }

    /// Makes the devices that a change needs, each with so many queues. Those that stand in another's place are made after
    /// it has gone.
    fn make(
        &self,
        state: &mut State,
        steps: &Steps,
        queues: usize,
    ) -> Result<BTreeMap<String, Made>, ApiError> {
        steps.check(state, queues)?; // Before anything is taken apart for it.
        let mut made = BTreeMap::new();
        let (in_place, beside): (Vec<_>, Vec<_>) = steps.wanted.iter().partition(|(_, blueprint)| {
            steps.leaving.iter().any(|old| device::clash(&old.blueprint, blueprint))
        });
        for (name, blueprint) in beside {
            let device =
                (self.build)(blueprint, queues).map_err(|error| refused(&port_called(name), &error))?;
            made.insert(name.clone(), device);
        }
        let mut detached: BTreeMap<PortId, &Leaving> = BTreeMap::new();
        for (name, blueprint) in in_place {
            for old in steps.leaving.iter().filter(|old| device::clash(&old.blueprint, blueprint)) {
                self.workers.detach(old.id);
                detached.insert(old.id, old);
            }
            match (self.build)(blueprint, queues) {
                Ok(device) => {
                    made.insert(name.clone(), device);
                }
                Err(error) => {
                    drop(made);
                    self.restore(state, detached.into_values());
                    return Err(refused(&port_called(name), &error));
                }
            }
        }
        Ok(made)
    }

    /// Makes the devices again that had to go before their successors were refused.
    fn restore<'a>(&self, state: &mut State, detached: impl Iterator<Item = &'a Leaving>) {
        for Leaving { name, id, blueprint } in detached {
            let again = (self.build)(blueprint, self.workers.count()).and_then(|(mut device, queues)| {
                state.generation += 1;
                device.generation = state.generation;
                match self.workers.attach(vec![(*id, queues)], state.generation).pop() {
                    Some((_, error)) => Err(error),
                    None => Ok(device),
                }
            });
            match again {
                Ok(device) => {
                    state.devices.insert(name.clone(), device);
                }
                Err(error) => mark_failed(state, name, format!("could not be made again: {error}")),
            }
        }
    }
}

/// Gives devices that stay their new routes: all, or none of them. Returns what they were made from before.
fn reroute(
    state: &mut State,
    rerouted: &[(String, Blueprint)],
) -> Result<Vec<(String, Blueprint)>, ApiError> {
    let mut before = Vec::new();
    for (name, blueprint) in rerouted {
        let device = state.devices.get_mut(name).expect("it stays");
        if let Err(error) = device::reroute(&device.blueprint, blueprint) {
            put_routes_back(state, before);
            return Err(refused(&port_called(name), &error));
        }
        before.push((name.clone(), std::mem::replace(&mut device.blueprint, blueprint.clone())));
    }
    Ok(before)
}

fn put_routes_back(state: &mut State, before: Vec<(String, Blueprint)>) {
    for (name, blueprint) in before {
        let device = state.devices.get_mut(&name).expect("it stays");
        if let Err(error) = device::reroute(&device.blueprint, &blueprint) {
            tracing::error!("port {name:?}: its old routes cannot be put back: {error}");
        }
        device.blueprint = blueprint;
    }
}

fn mark_failed(state: &mut State, name: &str, why: String) {
    if let Some(device) = state.devices.get_mut(name) {
        device.failed = Some(why);
    }
}

/// A change as events: what comes and goes has its own kinds, all else is one `config.applied`.
fn announcements(changes: &Changes) -> Vec<Event> {
    let mut events = Vec::new();
    for (name, change) in &changes.networks {
        let (kind, became) = match change {
            Change::Added => (EventKind::NetworkAdded, "was created"),
            Change::Removed => (EventKind::NetworkRemoved, "was removed"),
            Change::Plan | Change::Device => continue,
        };
        events.push(Event::new(kind, format!("network {name:?} {became}")).network(name));
    }
    for (name, change) in &changes.ports {
        let (kind, became) = match change {
            Change::Added => (EventKind::PortAdded, "was added"),
            Change::Removed => (EventKind::PortRemoved, "was removed"),
            Change::Plan | Change::Device => continue,
        };
        events.push(Event::new(kind, format!("port {name:?} {became}")).port(name));
    }
    let mut others = changes.clone();
    let stays = |change: &Change| matches!(change, Change::Plan | Change::Device);
    others.networks.retain(|_, change| stays(change));
    others.ports.retain(|_, change| stays(change));
    if !others.is_empty() {
        events.push(Event::new(EventKind::ConfigApplied, view::changes(&others).join(", ")));
    }
    events
}

/// What has to happen to devices between two plans.
struct Steps {
    /// Devices to make, by port name.
    wanted: Vec<(String, Blueprint)>,
    /// Devices of ports that had failed and stay as they were: made once more, with no harm if that fails again.
    retried: Vec<(String, Blueprint)>,
    /// Devices that stay and get other routes.
    rerouted: Vec<(String, Blueprint)>,
    /// Devices that go, because their port does or because it gets another one.
    leaving: Vec<Leaving>,
    /// The ports that go.
    gone: Vec<String>,
}

/// A device that works and goes.
struct Leaving {
    name: String,
    id: PortId,
    blueprint: Blueprint,
}

impl Steps {
    /// A device has a queue for each worker, and most cannot get more or less of them: when the number of workers
    /// changes, every device is made anew that has one for each.
    fn between(state: &State, new: &Compiled) -> Self {
        let stays = |device: &Device, wanted: &Blueprint| {
            let has_queues = state.compiled.workers == new.workers || device.watched.is_some();
            device::serves(&device.blueprint, wanted) && has_queues
        };
        let mut steps = Self {
            wanted: Vec::new(),
            retried: Vec::new(),
            rerouted: Vec::new(),
            leaving: Vec::new(),
            gone: Vec::new(),
        };
        let blueprints: BTreeMap<&String, &Blueprint> =
            new.ports.iter().filter_map(|(name, port)| Some((name, device::blueprint_of(port)?))).collect();
        for (name, device) in &state.devices {
            let id = state.compiled.ports[name].id;
            let wanted = blueprints.get(name);
            if !wanted.is_some_and(|wanted| stays(device, wanted)) && device.failed.is_none() {
                let blueprint = device.blueprint.clone();
                steps.leaving.push(Leaving { name: name.clone(), id, blueprint });
            }
            if wanted.is_none() {
                steps.gone.push(name.clone());
            }
        }
        for (name, blueprint) in blueprints {
            let step = (name.clone(), blueprint.clone());
            match state.devices.get(name) {
                Some(old) if old.failed.is_some() && device::serves(&old.blueprint, blueprint) => {
                    steps.retried.push(step);
                }
                Some(old) if stays(old, blueprint) && old.blueprint == *blueprint => {}
                Some(old) if stays(old, blueprint) => steps.rerouted.push(step),
                Some(_) | None => steps.wanted.push(step),
            }
        }
        steps
    }

    /// Whether the devices can be made, as far as that can be told beforehand: their namespaces are there, and those that
    /// would be adopted once more can have so many queues.
    fn check(&self, state: &State, queues: usize) -> Result<(), ApiError> {
        for (name, blueprint) in &self.wanted {
            device::check(blueprint).map_err(|error| refused(&port_called(name), &error))?;
            let Some(device) = state.devices.get(name).filter(|device| device.is_adopted) else { continue };
            if queues > 1
                && !device.is_multi_queue
                && device::ifname(&device.blueprint) == device::ifname(blueprint)
            {
                return Err(refused(&port_called(name), &device::too_few_queues(blueprint, queues)));
            }
        }
        Ok(())
    }
}

fn port_called(name: &str) -> String {
    format!("port {name:?}")
}

/// The operating system's refusal as an answer.
#[expect(clippy::wildcard_enum_match_arm, reason = "the standard library's list of kinds is open")]
pub(super) fn refused(what: &str, error: &io::Error) -> ApiError {
    let (kind, next) = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            (ErrorKind::Internal, "run as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN")
        }
        io::ErrorKind::NotFound => (
            ErrorKind::Invalid,
            "make the namespace first, e.g. `ip netns add NAME`, or give one that exists",
        ),
        io::ErrorKind::InvalidInput => (ErrorKind::Invalid, ""),
        io::ErrorKind::AlreadyExists | io::ErrorKind::ResourceBusy => {
            (ErrorKind::Conflict, "choose another ifname, or stop who holds this one")
        }
        _ => (ErrorKind::Internal, ""),
    };
    ApiError::new(kind, what, error.to_string()).next(next)
}
