//! Faults on live ports, set and cleared by hand. They belong to the running switch, not to its configuration: a port that
//! goes takes them along, and one of the same name that comes later has none.

use std::sync::Arc;

use sim::link::Faults;
use sim::world::FaultSpec;
use wire::PortId;

use super::{State, Supervisor, random_seed};
use crate::api::{ApiError, ErrorKind, FaultChange, FaultInfo, FaultLane, FaultOperations, Warning};
use crate::worker::fault::{Heading, Wire};

/// What is asked of a port.
pub(super) struct Asked {
    serial: u32,
    seed: u64,
    inwards: FaultSpec,
    outwards: FaultSpec,
    wire: Arc<Wire>,
}

impl Asked {
    fn faults(&self) -> [Faults; 2] {
        [self.inwards, self.outwards].map(|spec| spec.on(Faults::default()))
    }
}

/// The id and serial of a port by the plan that holds.
fn identity(state: &State, port: &str) -> Option<(PortId, u32)> {
    let id = state.compiled.ports.get(port)?.id;
    let plan = state.compiled.plan.switch.ports.iter().find(|plan| plan.id == id)?;
    Some((id, plan.serial))
}

/// The faults of a port, if it has some.
fn of<'a>(state: &'a State, port: &str) -> Option<&'a Asked> {
    let (_, serial) = identity(state, port)?;
    state.faults.get(port).filter(|asked| asked.serial == serial)
}

pub(super) fn is_set(state: &State, port: &str) -> bool {
    of(state, port).is_some()
}

pub(super) fn warnings(state: &State) -> impl Iterator<Item = Warning> {
    state.faults.keys().filter(|port| is_set(state, port)).map(|port| Warning {
        text: format!("port {port:?} has faults, set on purpose: its frames are lost, late or spoilt"),
        next: format!("see `tapestry fault ls`; `tapestry fault clear {port}` ends it"),
    })
}

impl FaultOperations for Supervisor {
    fn faults(&self) -> Result<Vec<FaultInfo>, ApiError> {
        let state = self.state();
        let info = |port: &String| {
            let asked = of(&state, port)?;
            Some(FaultInfo {
                port: port.clone(),
                seed: asked.seed,
                inwards: lane(asked.inwards, &asked.wire, Heading::In),
                outwards: lane(asked.outwards, &asked.wire, Heading::Out),
            })
        };
        Ok(state.faults.keys().filter_map(info).collect())
    }

    fn set_faults(&self, port: &str, change: &FaultChange) -> Result<(), ApiError> {
        let mut state = self.state();
        let (id, serial) = identity(&state, port).ok_or_else(|| no_port(port))?;
        if !state.devices.contains_key(port) {
            let why = "it is a tunnel's end and has no device of its own";
            return Err(ApiError::new(ErrorKind::Invalid, format!("port {port:?}"), why)
                .next("set faults on the ports of stations, or on this host's underlay with tc"));
        }
        let known = of(&state, port);
        let earlier =
            known.map_or((FaultSpec::default(), FaultSpec::default()), |it| (it.inwards, it.outwards));
        let kept = known.filter(|asked| change.seed.is_none_or(|seed| seed == asked.seed));
        let seed = kept.map(|asked| asked.seed).or(change.seed).unwrap_or_else(random_seed);
        let wire = kept.map_or_else(|| Wire::new(seed, Default::default()), |asked| Arc::clone(&asked.wire));
        let (inwards, outwards) = (change.inwards.over(&earlier.0), change.outwards.over(&earlier.1));
        let asked = Asked { serial, seed, inwards, outwards, wire };
        asked.wire.set(asked.faults());
        self.workers.wire(id, serial, Some(&asked.wire));
        state.faults.insert(port.to_owned(), asked);
        Ok(())
    }

    fn clear_faults(&self, port: &str) -> Result<(), ApiError> {
        let mut state = self.state();
        let (id, serial) = identity(&state, port).ok_or_else(|| no_port(port))?;
        if !is_set(&state, port) {
            return Err(ApiError::new(ErrorKind::NotFound, format!("port {port:?}"), "it has no faults"));
        }
        state.faults.remove(port);
        self.workers.wire(id, serial, None);
        Ok(())
    }
}

fn no_port(port: &str) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("port {port:?}"), "there is none")
        .next("see `tapestry port ls`; the uplink's port is called uplink")
}

fn lane(faults: FaultSpec, wire: &Wire, heading: Heading) -> FaultLane {
    let counts = wire.counts(heading);
    FaultLane {
        faults,
        offered: counts.link.offered,
        down: counts.link.down,
        lost: counts.link.lost,
        overflowed: counts.link.overflowed,
        no_room: counts.no_room,
        duplicated: counts.link.duplicated,
        reordered: counts.link.reordered,
        corrupted: counts.link.corrupted,
        waiting_bytes: counts.held,
    }
}
