//! Seeds are worlds, and what fails is made small.

use super::*;
use crate::world::{Expect, FaultSpec, FlowKind};

#[test]
fn a_seed_is_a_world_and_its_file_reads_back() {
    for seed in 0..200 {
        let spec = world(seed);
        assert_eq!(spec, world(seed));
        assert_eq!(toml::from_str::<WorldSpec>(&text(&spec)).unwrap(), spec);
        let checked = check("world.toml", &text(&spec));
        assert!(checked.is_ok(), "seed {seed}: {}", checked.unwrap_err());
    }
}

#[test]
fn a_failing_world_is_made_small() {
    // A flow that works is said to fail: that one must remain, with its two hosts, and nothing else.
    let is_wanted = |spec: &WorldSpec| {
        spec.flow.len() > 2
            && spec.node.len() > 1
            && spec.at.len() > 1
            && spec.flow.iter().any(|flow| flow.kind == FlowKind::Ping && flow.expect == Expect::Works)
    };
    let (seed, mut spec) = (0..).map(|seed| (seed, world(seed))).find(|(_, spec)| is_wanted(spec)).unwrap();
    let ping = spec.flow.iter().position(|flow| flow.kind == FlowKind::Ping && flow.expect == Expect::Works);
    spec.flow[ping.unwrap()].expect = Expect::Fails;
    let failure = trial(&spec, seed).unwrap_err();
    assert_eq!(failure.rule, "fails");

    let small = minimise(&spec, seed, &failure);
    assert_eq!((small.flow.len(), small.at.len()), (1, 0), "{}", text(&small));
    assert!(small.host.len() <= 2 && small.life < spec.life, "{}", text(&small));
    assert_eq!(trial(&small, seed).unwrap_err().rule, "fails");
}

/// A flow that works without its router's faults needs the router.
#[test]
fn what_faults_cause_is_not_made_small_by_taking_the_way_away() {
    let cut = FaultSpec { up: Some(false), ..FaultSpec::default() };
    let is_wanted = |spec: &WorldSpec| {
        let flow = spec.flow.iter().find(|flow| flow.expect == Expect::Works && flow.to.starts_with('h'));
        flow.is_some() && spec.at.is_empty() && spec.node.contains_key("s1")
    };
    let (seed, mut spec) = (0..).map(|seed| (seed, world(seed))).find(|(_, spec)| is_wanted(spec)).unwrap();
    let from = spec.flow.iter().find(|flow| flow.expect == Expect::Works).unwrap().from.clone();
    spec.link.iter_mut().find(|link| link.between[0] == from).unwrap().both = cut;
    let failure = trial(&spec, seed).unwrap_err();
    assert_eq!(failure.rule, "works");
    let small = minimise(&spec, seed, &failure);
    assert!(small.link.iter().any(|link| link.both.up == Some(false)), "{}", text(&small));
}
