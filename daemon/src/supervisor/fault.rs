//! Faults on live ports, set and cleared by hand. They belong to the running switch, not to its configuration: a port that
//! goes takes them along, and one of the same name that comes later has none.

use std::collections::BTreeMap;
use std::sync::Arc;

use sim::link::Faults;
use sim::world::FaultSpec;
use wire::{DropReason, PortId};

use super::{State, Supervisor, random_seed};
use crate::api::{
    ApiError, ErrorKind, Explained, FaultChange, FaultInfo, FaultLane, FaultOperations, Line, Verdict,
    Warning, words,
};
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
        if asked.faults().iter().all(Faults::is_harmless) {
            if state.faults.remove(port).is_some() {
                self.workers.wire(id, serial, None);
            }
            return Ok(());
        }
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

/// Inwards and outwards, of every port that has some.
pub(super) type OfPorts = BTreeMap<String, [FaultSpec; 2]>;

pub(super) fn of_ports(state: &State) -> OfPorts {
    let both = |port: &String| Some((port.clone(), of(state, port).map(|it| [it.inwards, it.outwards])?));
    state.faults.keys().filter_map(both).collect()
}

/// Says of packets whose way is told, each the answer to the one before, what faults may do to them. Behind a port that
/// loses everything there is nothing to tell.
pub(super) fn interfere(told: Vec<Explained>, faults: &OfPorts) -> Vec<Explained> {
    let mut known: Vec<Explained> = Vec::new();
    for mut explained in told {
        let has_come =
            |before: &Explained| before.leaves.iter().any(|leaving| leaving.port == explained.port);
        if !known.last().is_none_or(has_come) {
            break;
        }
        if !lost_on_entering(&mut explained, faults) {
            lost_on_leaving(&mut explained, faults);
        }
        known.push(explained);
    }
    known
}

/// What the faults of a port do in one direction, if they do anything: told as a step, and whether all is lost.
fn step(faults: &OfPorts, port: &str, heading: Heading) -> Option<(Line, bool)> {
    let spec = faults.get(port)?[heading as usize];
    let does = spec.on(Faults::default());
    if does.is_harmless() {
        return None;
    }
    let room = match heading {
        Heading::In => "admit",
        Heading::Out => "deliver",
    };
    let text = format!("{port} has faults ({}): frames may be lost, late or spoilt", words(&spec));
    Some((line(room, text, Some("`tapestry fault ls`")), does.loses_all()))
}

fn line(room: &str, text: String, source: Option<&str>) -> Line {
    Line { room: room.to_owned(), text, source: source.map(str::to_owned) }
}

fn lost_on_entering(explained: &mut Explained, faults: &OfPorts) -> bool {
    let Some((fault, is_lost)) = step(faults, &explained.port, Heading::In) else { return false };
    explained.steps.insert(0, fault);
    if is_lost {
        explained.steps.truncate(1);
        explained.leaves.clear();
        drop_for(explained, DropReason::FaultIn);
    }
    is_lost
}

fn lost_on_leaving(explained: &mut Explained, faults: &OfPorts) {
    let mut is_any_lost = false;
    for port in faults.keys() {
        let Some((fault, is_lost)) = step(faults, port, Heading::Out) else { continue };
        let leaves = format!("leaves through {port}: ");
        let last = explained.steps.iter().rposition(|step| step.text.starts_with(&leaves));
        let Some(last) = last else { continue };
        explained.steps.insert(last + 1, fault);
        if is_lost {
            is_any_lost = true;
            explained.leaves.retain(|leaving| leaving.port != *port);
        }
    }
    // The router's own answers are no part of the packet's way.
    if is_any_lost && explained.verdict == Verdict::Forward && explained.leaves.iter().all(|it| it.own) {
        drop_for(explained, DropReason::FaultOut);
    }
}

fn drop_for(explained: &mut Explained, reason: DropReason) {
    let room = reason.id().split('.').next().unwrap_or_default();
    explained.steps.push(line(room, format!("DROP {}: {}", reason.id(), reason.sentence()), None));
    explained.verdict = Verdict::Drop;
    explained.reason = Some(reason.id().to_owned());
    explained.advice = Some(reason.advice().to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Leaving;

    fn told(port: &str, leaves: &[&str]) -> Explained {
        let deliver = |port: &&str| line("deliver", format!("leaves through {port}: a frame"), None);
        let comes = line("admit", format!("comes in through {port}, in network a"), None);
        let leaving = |port: &&str| Leaving { port: (*port).to_owned(), packet: String::new(), own: false };
        Explained {
            port: port.to_owned(),
            packet: "a frame".to_owned(),
            steps: [comes].into_iter().chain(leaves.iter().map(deliver)).collect(),
            verdict: Verdict::Forward,
            reason: None,
            advice: None,
            leaves: leaves.iter().map(leaving).collect(),
        }
    }

    fn faults(port: &str, [inwards, outwards]: [&str; 2]) -> OfPorts {
        let spec = |json| serde_json::from_str(json).unwrap();
        [(port.to_owned(), [spec(inwards), spec(outwards)])].into()
    }

    fn texts(explained: &Explained) -> Vec<&str> {
        explained.steps.iter().map(|step| step.text.as_str()).collect()
    }

    #[test]
    fn a_way_past_faults_says_so_and_ends_where_all_is_lost() {
        let both = || vec![told("c1", &["c2"]), told("c2", &["c1"])];
        let late = r#"{"delay": "20ms"}"#;
        let spoilt = interfere(both(), &faults("c1", [late, "{}"]));
        assert_eq!(spoilt[0].steps[0].source.as_deref(), Some("`tapestry fault ls`"));
        let text = "c1 has faults (delay 20ms): frames may be lost, late or spoilt";
        assert_eq!((texts(&spoilt[0])[0], texts(&spoilt[0]).len()), (text, 3));
        assert_eq!((spoilt[0].verdict, &spoilt[1]), (Verdict::Forward, &both()[1]));

        let lost = interfere(both(), &faults("c1", [r#"{"up": false}"#, "{}"]));
        assert_eq!((lost.len(), lost[0].verdict, lost[0].leaves.len()), (1, Verdict::Drop, 0));
        assert_eq!(lost[0].reason.as_deref(), Some("admit.fault"));
        assert!(texts(&lost[0])[1].starts_with("DROP admit.fault: "), "{lost:?}");

        let lost = interfere(both(), &faults("c2", ["{}", r#"{"loss": "100%"}"#]));
        assert_eq!((lost.len(), lost[0].verdict), (1, Verdict::Drop));
        assert_eq!((lost[0].reason.as_deref(), texts(&lost[0]).len()), (Some("deliver.fault"), 4));

        let many = interfere(vec![told("c1", &["c2", "c3"])], &faults("c2", ["{}", r#"{"loss": "100%"}"#]));
        assert_eq!((many[0].verdict, many[0].leaves.len()), (Verdict::Forward, 1), "c3 gets it");
        let unharmed = interfere(both(), &faults("c2", [r#"{"loss": "0%"}"#, r#"{"up": true}"#]));
        assert_eq!(unharmed, both());
    }
}
