//! Changes: from one checked configuration to another, whole or not at all.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use config::{Changes, Compiled, Config};
use node::Event;
use wire::PortId;

use super::device::{self, Blueprint, Device};
use super::{State, Supervisor};
use crate::api::{ApiError, ErrorKind};
use crate::port::PortIo;

/// A device made for a change that is not in force yet.
type Made = (Device, Vec<Box<dyn PortIo>>);

impl Supervisor {
    /// Replaces the configuration by what `edit` makes of it, and says what that came to. On an error the old one holds.
    ///
    /// # Errors
    /// What `edit` says, or the device that could not be made.
    pub(super) fn change(
        &self,
        edit: impl FnOnce(&Config) -> Result<Config, ApiError>,
    ) -> Result<Changes, ApiError> {
        let mut guard = self.state();
        let state = &mut *guard;
        let config = edit(&state.config)?;
        let mut ids = state.ids.clone();
        let compiled = config::compile(&config, &mut ids);
        compiled.plan.check().expect("what the configuration's checks let pass, the plan's do");

        let steps = Steps::between(state, &compiled);
        let made = self.make(state, &steps)?;

        // From here on nothing can fail but attaching to epoll, which marks the port and not the change.
        let plan = Arc::new(compiled.plan.clone());
        self.workers.handle(|| Event::Configure(Arc::clone(&plan)));
        for (name, id) in &steps.gone {
            self.workers.detach(*id);
            state.devices.remove(name);
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
        for (id, error) in self.workers.attach(attaching, state.generation) {
            let name = compiled.port_name(id).expect("it was made for this plan");
            state.devices.get_mut(name).expect("it was put there").failed = Some(error.to_string());
        }
        self.workers.spin(compiled.spin);
        state.config = config;
        state.ids = ids;
        let changes = config::diff(&state.compiled, &compiled);
        state.compiled = compiled;
        Ok(changes)
    }

    /// Makes the devices that a change needs. Those that stand in another's place are made after it has gone.
    fn make(&self, state: &mut State, steps: &Steps) -> Result<BTreeMap<String, Made>, ApiError> {
        let queues = self.workers.count();
        let mut made = BTreeMap::new();
        let (in_place, beside): (Vec<_>, Vec<_>) = steps.wanted.iter().partition(|(_, blueprint)| {
            steps.leaving.iter().any(|(_, _, old)| device::clash(old, blueprint))
        });
        for (name, blueprint) in beside {
            let device =
                device::build(blueprint, queues).map_err(|error| refused(&port_called(name), &error))?;
            made.insert(name.clone(), device);
        }
        for (name, blueprint) in in_place {
            let replaced = steps.leaving.iter().filter(|(_, _, old)| device::clash(old, blueprint));
            for (_, id, _) in replaced {
                self.workers.detach(*id);
            }
            match device::build(blueprint, queues) {
                Ok(device) => {
                    made.insert(name.clone(), device);
                }
                Err(error) => {
                    drop(made);
                    self.restore(state, steps);
                    return Err(refused(&port_called(name), &error));
                }
            }
        }
        Ok(made)
    }

    /// Makes the devices again that had to go before their successors were refused.
    fn restore(&self, state: &mut State, steps: &Steps) {
        for (name, id, blueprint) in &steps.leaving {
            if !steps.wanted.iter().any(|(_, wanted)| device::clash(wanted, blueprint)) {
                continue; // It has not been touched.
            }
            self.workers.detach(*id);
            let again = device::build(blueprint, self.workers.count()).and_then(|(mut device, queues)| {
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
                Err(error) => {
                    if let Some(device) = state.devices.get_mut(name) {
                        device.failed = Some(format!("could not be made again: {error}"));
                    }
                }
            }
        }
    }
}

/// What has to happen to devices between two plans.
struct Steps {
    /// Devices to make, by port name.
    wanted: Vec<(String, Blueprint)>,
    /// Devices that go, because their port does or because it gets another one.
    leaving: Vec<(String, PortId, Blueprint)>,
    /// Of these, the ports that go.
    gone: Vec<(String, PortId)>,
}

impl Steps {
    fn between(state: &State, new: &Compiled) -> Self {
        let mut steps = Self { wanted: Vec::new(), leaving: Vec::new(), gone: Vec::new() };
        let blueprints: BTreeMap<&String, &Blueprint> =
            new.ports.iter().filter_map(|(name, port)| Some((name, device::blueprint_of(port)?))).collect();
        for (name, device) in &state.devices {
            let id = state.compiled.ports[name].id;
            let wanted = blueprints.get(name);
            if wanted != Some(&&device.blueprint) || device.failed.is_some() {
                steps.leaving.push((name.clone(), id, device.blueprint.clone()));
            }
            if wanted.is_none() {
                steps.gone.push((name.clone(), id));
            }
        }
        for (name, blueprint) in blueprints {
            let is_new =
                state.devices.get(name).is_none_or(|old| old.blueprint != *blueprint || old.failed.is_some());
            if is_new {
                steps.wanted.push((name.clone(), blueprint.clone()));
            }
        }
        steps
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
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => (ErrorKind::Invalid, ""),
        io::ErrorKind::AlreadyExists | io::ErrorKind::ResourceBusy => (ErrorKind::Conflict, ""),
        _ => (ErrorKind::Internal, ""),
    };
    ApiError::new(kind, what, error.to_string()).next(next)
}
