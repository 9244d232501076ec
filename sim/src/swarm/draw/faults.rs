//! Faults by chance: what wires always do, and what breaks and is whole again in the end.

use wire::Rng;

use super::{HEALED_MS, micros, millis};
use crate::link::Share;
use crate::world::{
    ActionSpec, BurstSpec, Expect, FaultSpec, FlapSpec, FlowKind, FlowSpec, LinkSpec, Percent, Rate, Size,
};

/// Which faults a world has at all, and which changes.
pub(super) struct Faults {
    rate: bool,
    delay: bool,
    loss: bool,
    burst: bool,
    duplicate: bool,
    reorder: bool,
    corrupt: bool,
    cuts: bool,
    flaps: bool,
    restarts: bool,
    reconfigures: bool,
}

/// The stream of a world, and the faults that it has.
pub(super) struct Chance {
    pub(super) rng: Rng,
    pub(super) faults: Faults,
}

pub(super) fn faults(rng: &mut Rng) -> Faults {
    let mut third = || rng.chance(1, 3);
    Faults {
        rate: third(),
        delay: third(),
        loss: third(),
        burst: third(),
        duplicate: third(),
        reorder: third(),
        corrupt: third(),
        cuts: third(),
        flaps: third(),
        restarts: third(),
        reconfigures: third(),
    }
}

impl Chance {
    /// A wire between each two of these, with what it always does.
    pub(super) fn links(&mut self, ends: Vec<[String; 2]>) -> Vec<LinkSpec> {
        let link = |between| LinkSpec {
            between,
            name: None,
            both: self.steady(),
            forth: FaultSpec::default(),
            back: FaultSpec::default(),
            count: None,
        };
        ends.into_iter().map(link).collect()
    }

    /// What a flow is.
    pub(super) fn flow_kind(&mut self) -> FlowKind {
        match self.rng.below(5) {
            0 => FlowKind::Ping,
            1 => FlowKind::Udp,
            2 => FlowKind::Bulk,
            3 => FlowKind::Request,
            _ => FlowKind::Churn,
        }
    }

    /// A flow from one host to another that has to work.
    pub(super) fn flow(&mut self, kind: FlowKind, from: u64, to: u64) -> FlowSpec {
        let rng = &mut self.rng;
        FlowSpec {
            kind,
            from: format!("h{from}"),
            to: format!("h{to}"),
            l4_port: None,
            served_by: None,
            start: micros(rng.below(1_000_000)),
            stop: None,
            every: (kind != FlowKind::Bulk).then(|| millis(20 + rng.below(400))),
            size: Some(Size(16 + rng.below(1_000))),
            answer: matches!(kind, FlowKind::Request | FlowKind::Churn).then(|| Size(1 + rng.below(5_000))),
            bytes: (kind == FlowKind::Bulk).then(|| Size(1 + rng.below(200_000))),
            expect: Expect::Works,
            count: None,
        }
    }

    /// What a wire always does: little enough that everything works nevertheless.
    pub(super) fn steady(&mut self) -> FaultSpec {
        let (rng, faults) = (&mut self.rng, &self.faults);
        let mut draw = |is_there: bool| is_there && rng.chance(1, 2);
        let [rate, delay, loss, burst] =
            [faults.rate, faults.delay, faults.loss, faults.burst].map(&mut draw);
        let [duplicate, reorder, corrupt] = [faults.duplicate, faults.reorder, faults.corrupt].map(&mut draw);
        let mut percent = |most: u64| {
            let millionths = u32::try_from(1 + rng.below(most * 10_000)).expect("it is small");
            Percent(Share::of_million(millionths).expect("it is at most as much"))
        };
        FaultSpec {
            loss: loss.then(|| percent(3)),
            // A burst ends after frames, not after a time: nine in a row, all that a host asks for its neighbour while
            // the world heals, must be as good as impossible.
            burst: burst.then(|| BurstSpec {
                enter: percent(1),
                leave: Percent(Share::of_million(700_000).expect("it is less than all")),
                loss: percent(60),
            }),
            duplicate: duplicate.then(|| percent(5)),
            reorder: reorder.then(|| percent(5)),
            reorder_by: reorder.then(|| micros(1_500)),
            corrupt: corrupt.then(|| percent(2)),
            rate: rate.then(|| Rate(1_000_000 * (2 + rng.below(100)))),
            queue: rate.then(|| Size(10_000 + rng.below(100_000))),
            delay: delay.then(|| micros(rng.below(20_000))),
            jitter: delay.then(|| micros(rng.below(2_000))),
            ..FaultSpec::default()
        }
    }

    /// What breaks, and that it is whole again in the end. `configs` are those of s0, s1, …
    pub(super) fn script(&mut self, links: &[LinkSpec], configs: &[String]) -> Vec<ActionSpec> {
        let name = |link: &LinkSpec| link.name.clone().unwrap_or_else(|| link.between[0].clone());
        let names: Vec<String> = links.iter().map(name).collect();
        let mut script = Vec::new();
        for _ in 0..self.rng.below(5) {
            let time = millis(200 + self.rng.below(HEALED_MS - 300));
            let name =
                names[usize::try_from(self.rng.below(names.len() as u64)).expect("it is an index")].clone();
            let node = usize::try_from(self.rng.below(configs.len() as u64)).expect("it is an index");
            let Faults { cuts, flaps, restarts, reconfigures, .. } = self.faults;
            let (is_cut, every) = (self.rng.chance(1, 2), 50 + self.rng.below(500));
            let cut = FaultSpec { up: Some(false), ..FaultSpec::default() };
            let flap = FlapSpec::new(millis(every), millis(every / 3)).expect("it is down for a third");
            let flap = FaultSpec { flap: Some(flap), ..FaultSpec::default() };
            let action = match self.rng.below(4) {
                0 if cuts && is_cut => ActionSpec { link: vec![name], both: cut, ..ActionSpec::default() },
                0 if cuts => ActionSpec { link: vec![name], back: cut, ..ActionSpec::default() },
                1 if flaps => ActionSpec { link: vec![name], both: flap, ..ActionSpec::default() },
                2 if restarts => {
                    ActionSpec { node: Some(format!("s{node}")), restart: true, ..ActionSpec::default() }
                }
                3 if reconfigures => {
                    let more = || configs[node].clone() + "[network.more]\n";
                    let config = if is_cut { String::new() } else { more() };
                    ActionSpec {
                        node: Some(format!("s{node}")),
                        config: Some(config),
                        ..ActionSpec::default()
                    }
                }
                _ => continue,
            };
            script.push(ActionSpec { time, ..action });
        }
        let time = millis(HEALED_MS);
        if script.iter().any(|action| !action.link.is_empty()) {
            script.push(ActionSpec { time, link: names, heal: true, ..ActionSpec::default() });
        }
        for (node, config) in configs.iter().enumerate() {
            let name = Some(format!("s{node}"));
            if script.iter().any(|action| action.config.is_some() && action.node == name) {
                let config = Some(config.clone());
                script.push(ActionSpec { time, node: name, config, ..ActionSpec::default() });
            }
        }
        script
    }
}
