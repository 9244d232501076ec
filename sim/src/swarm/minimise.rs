//! Making a failing world small.
//!
//! One thing is left out at a time; if the world still breaks the same rule, it stays out. That goes on until nothing can
//! be left out, or [`TRIALS_MAX`] worlds have been tried.
//!
//! Where the faults are to blame, they stay to blame: a world that would break the rule without any, because a switch is
//! gone that a flow needs, is no smaller version of one that would not.

use std::time::Duration;

use super::{Failure, trial};
use crate::world::{FaultSpec, Span, WorldSpec};

/// Worlds tried for one failure.
const TRIALS_MAX: usize = 400;

/// The smallest world found that breaks the rule of `failure` with the same seed.
pub fn minimise(spec: &WorldSpec, seed: u64, failure: &Failure) -> WorldSpec {
    let breaks = |world: &WorldSpec| trial(world, seed).is_err_and(|other| other.rule == failure.rule);
    let by_faults = !breaks(&faultless(spec));
    let mut best = spec.clone();
    let mut trials = 0;
    loop {
        let before = best.clone();
        for without in 0.. {
            let Some(smaller) = smaller(&best, without) else { break };
            if smaller == best {
                continue;
            }
            trials += 1;
            if trials > TRIALS_MAX {
                return best;
            }
            if breaks(&smaller) && !(by_faults && breaks(&faultless(&smaller))) {
                best = smaller;
            }
        }
        if best == before {
            return best;
        }
    }
}

/// The world as it would be if nothing ever broke.
fn faultless(spec: &WorldSpec) -> WorldSpec {
    let mut calm = spec.clone();
    calm.at.clear();
    for link in &mut calm.link {
        (link.both, link.forth, link.back) = Default::default();
    }
    calm
}

/// The world without its thing number `without`; `None` if it has no more things.
fn smaller(spec: &WorldSpec, mut without: usize) -> Option<WorldSpec> {
    let mut smaller = spec.clone();
    let mut take = |count: usize| {
        let found = (without < count).then_some(without);
        without = without.saturating_sub(count);
        found
    };
    if let Some(flow) = take(spec.flow.len()) {
        smaller.flow.remove(flow);
    } else if let Some(action) = take(spec.at.len()) {
        smaller.at.remove(action);
    } else if let Some(host) = take(spec.host.len()) {
        let name = spec.host.keys().nth(host).expect("it was counted").clone();
        remove_host(&mut smaller, &name);
    } else if let Some(node) = take(spec.node.len()) {
        let name = spec.node.keys().nth(node).expect("it was counted").clone();
        remove_node(&mut smaller, &name);
    } else if let Some(fault) = take(spec.link.len() * FAULTS) {
        let both = &mut smaller.link[fault / FAULTS].both;
        *both = calm(*both, fault % FAULTS);
    } else if take(1).is_some() {
        smaller.life = Span(spec.life.0 / 2);
    } else if take(1).is_some() {
        smaller.life = Span(spec.life.0.saturating_sub(Duration::from_secs(1)).max(Duration::from_millis(1)));
    } else {
        return None;
    }
    Some(smaller)
}

fn remove_host(spec: &mut WorldSpec, name: &str) {
    spec.host.remove(name);
    spec.flow.retain(|flow| {
        let serves = flow.served_by.as_deref().is_some_and(|host| host.split(':').next() == Some(name));
        flow.from != name && flow.to != name && !serves
    });
    remove_links(spec, |end| end == name);
}

/// Removes the switch and who is behind it, unless it stands between others.
fn remove_node(spec: &mut WorldSpec, name: &str) {
    let is_its = |end: &str| end.split_once(':').is_some_and(|(node, _)| node == name);
    let joins =
        |ends: &[String; 2]| ends.iter().all(|end| end.contains(':')) && ends.iter().any(|end| is_its(end));
    if spec.link.iter().filter(|link| joins(&link.between)).count() > 1 {
        return;
    }
    let hosts: Vec<String> = spec
        .link
        .iter()
        .filter(|link| link.between.iter().any(|end| is_its(end)))
        .flat_map(|link| link.between.iter().filter(|end| !end.contains(':')).cloned())
        .collect();
    hosts.iter().for_each(|host| remove_host(spec, host));
    remove_links(spec, is_its);
    spec.at.retain(|action| action.node.as_deref() != Some(name));
    spec.node.remove(name);
}

fn remove_links(spec: &mut WorldSpec, has_gone: impl Fn(&str) -> bool) {
    let names: Vec<String> = spec
        .link
        .iter()
        .filter(|link| link.between.iter().any(|end| has_gone(end)))
        .map(|link| link.name.clone().unwrap_or_else(|| link.between[0].clone()))
        .collect();
    spec.link.retain(|link| !link.between.iter().any(|end| has_gone(end)));
    for action in &mut spec.at {
        action.link.retain(|link| !names.contains(link));
    }
    spec.at.retain(|action| action.node.is_some() || !action.link.is_empty());
}

/// Faults that [`calm`] knows.
const FAULTS: usize = 7;

/// A wire without its fault number `without`.
fn calm(spec: FaultSpec, without: usize) -> FaultSpec {
    match without {
        0 => FaultSpec { loss: None, ..spec },
        1 => FaultSpec { burst: None, ..spec },
        2 => FaultSpec { duplicate: None, ..spec },
        3 => FaultSpec { reorder: None, reorder_by: None, ..spec },
        4 => FaultSpec { corrupt: None, ..spec },
        5 => FaultSpec { rate: None, queue: None, ..spec },
        _ => FaultSpec { delay: None, jitter: None, ..spec },
    }
}
