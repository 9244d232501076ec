//! A world by chance.
//!
//! Switches stand in a row, joined by trunks that carry every network. The first of them may route, and may have an
//! uplink with one host outside. Hosts live in one network each, behind any switch. What a flow must come to follows
//! from that alone.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::Rng;

use crate::link::Share;
use crate::world::{
    ActionSpec, BurstSpec, Expect, FaultSpec, FlapSpec, FlowKind, FlowSpec, HostSpec, LinkSpec, NodeSpec,
    Percent, Rate, Size, Span, WorldSpec,
};

/// When all that was broken is whole again.
const HEALED_MS: u64 = 3_000;
/// And has to work.
const HEAL_WITHIN_MS: u64 = 9_000;

/// What a world has at all.
struct Features {
    nodes: u64,
    networks: u64,
    is_routed: bool,
    has_v6: bool,
    has_uplink: bool,
    has_published: bool,
    is_isolated: bool,
    has_guards: bool,
    has_small_tables: bool,
    filtering: &'static str,
}

/// Which faults it has at all, and which changes.
struct Faults {
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

struct Drawing {
    rng: Rng,
    features: Features,
    faults: Faults,
    /// By host: its network, and its switch.
    hosts: Vec<(u64, u64)>,
    /// Whether a flow uses the published L4 port: two would want the same one of its host.
    is_published_used: bool,
}

/// The world that the seed stands for.
pub fn world(seed: u64) -> WorldSpec {
    let mut rng = Rng::seeded(seed);
    let features = features(&mut rng);
    let faults = faults(&mut rng);
    let hosts = (0..2 + rng.below(4)).map(|_| (rng.below(features.networks), rng.below(features.nodes)));
    let hosts = hosts.collect();
    let mut drawing = Drawing { rng, features, faults, hosts, is_published_used: false };
    let link = drawing.links();
    let at = drawing.script(&link);
    WorldSpec {
        seed,
        life: millis(HEALED_MS + HEAL_WITHIN_MS + 10),
        heal_within: millis(HEAL_WITHIN_MS),
        loops: false,
        node: (0..drawing.features.nodes)
            .map(|node| (format!("s{node}"), NodeSpec { config: drawing.config(node, "") }))
            .collect(),
        host: drawing.hosts(),
        link,
        at,
        flow: drawing.flows(),
    }
}

fn features(rng: &mut Rng) -> Features {
    let mut coin = || rng.chance(1, 2);
    let is_routed = coin();
    let has_uplink = is_routed && coin();
    Features {
        is_routed,
        has_uplink,
        has_v6: coin(),
        has_published: has_uplink && coin(),
        is_isolated: coin() && coin(),
        has_guards: coin(),
        has_small_tables: coin() && coin(),
        nodes: 1 + rng.below(3),
        networks: 1 + rng.below(3),
        filtering: ["endpoint-independent", "address-dependent", "address-and-port-dependent"]
            [usize::try_from(rng.below(3)).expect("it is below 3")],
    }
}

fn faults(rng: &mut Rng) -> Faults {
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

fn millis(millis: u64) -> Span {
    Span(Duration::from_millis(millis))
}

fn micros(micros: u64) -> Span {
    Span(Duration::from_micros(micros))
}

impl Drawing {
    /// The configuration of a switch, with `more` at its end.
    fn config(&self, node: u64, more: &str) -> String {
        let Features { networks, is_routed, has_v6, is_isolated, has_guards, has_small_tables, .. } =
            self.features;
        let routes = is_routed && node == 0;
        let mut text = String::new();
        for network in 0..networks {
            text += &format!("[network.a{network}]\nsubnet = [\"10.{network}.0.0/16\"");
            text += &if has_v6 { format!(", \"fd00:{network}::/64\"]\n") } else { "]\n".to_owned() };
            if routes {
                text += &format!("gateway = [\"10.{network}.0.1\"");
                text += &if has_v6 { format!(", \"fd00:{network}::1\"]\n") } else { "]\n".to_owned() };
                text += "masquerade = true\n";
                text += if has_v6 { "masquerade_v6 = true\n" } else { "" };
            }
            if is_isolated {
                text += "icc = false\n";
            }
            if has_small_tables {
                text += "stations_max = 2\n";
            }
        }
        for (host, &(network, _)) in self.hosts.iter().enumerate().filter(|(_, (_, at))| *at == node) {
            let addresses = self.addresses(host);
            let mac = mac(host);
            text += &format!(
                "[port.h{host}]\nnetwork = \"a{network}\"\naddress = [{addresses}]\nmac = \"{mac}\"\n"
            );
            text += if has_guards { "guard = [\"mac\", \"arp\", \"nd\"]\n" } else { "" };
        }
        let tags: Vec<String> =
            (0..networks).map(|network| format!("{} = \"a{network}\"", 10 + network)).collect();
        let is_end = |side: u64| if side == 0 { node == 0 } else { node + 1 == self.features.nodes };
        // Between switches everybody may pass.
        for (_, port) in [(0, "west"), (1, "east")].into_iter().filter(|(side, _)| !is_end(*side)) {
            text += &format!("[port.{port}]\ntrunk = {{ {} }}\nisolated = false\n", tags.join(", "));
        }
        text += &if node == 0 { self.uplink() } else { String::new() };
        text + more
    }

    fn uplink(&self) -> String {
        let Features { has_uplink, has_published, filtering, .. } = self.features;
        if !has_uplink {
            return String::new();
        }
        let mut text = format!(
            "[uplink]\nkind = \"nic\"\nifname = \"eth0\"\naddress = [\"192.0.2.7/24\", \"2001:db8::7/64\"]\n\
             gateway = [\"192.0.2.1\", \"2001:db8::1\"]\n[nat]\nfiltering = \"{filtering}\"\n"
        );
        if let (true, Some(host)) = (has_published, self.published()) {
            text += &format!("[[publish]]\nlisten = \"0.0.0.0:8080\"\nto = \"h{host}:80\"\n");
        }
        text
    }

    /// The host behind the published L4 port: the first at the switch that routes.
    fn published(&self) -> Option<usize> {
        self.hosts.iter().position(|(_, node)| *node == 0)
    }

    fn addresses(&self, host: usize) -> String {
        let (network, number) = (self.hosts[host].0, 10 + host);
        if self.features.has_v6 {
            format!("\"10.{network}.0.{number}/16\", \"fd00:{network}::{number}/64\"")
        } else {
            format!("\"10.{network}.0.{number}/16\"")
        }
    }

    fn hosts(&self) -> BTreeMap<String, HostSpec> {
        let read = |text: String| text.parse().expect("it is an address");
        let mut hosts: BTreeMap<String, HostSpec> = BTreeMap::new();
        for (host, &(network, _)) in self.hosts.iter().enumerate() {
            let number = 10 + host;
            let mut spec = HostSpec {
                address: vec![format!("10.{network}.0.{number}/16").parse().expect("it is an address")],
                mac: Some(mac(host).parse().expect("it is an address")),
                ..HostSpec::default()
            };
            if self.features.has_v6 {
                let address = format!("fd00:{network}::{number}/64");
                spec.address.push(address.parse().expect("it is an address"));
            }
            if self.features.is_routed {
                spec.gateway.push(read(format!("10.{network}.0.1")));
                if self.features.has_v6 {
                    spec.gateway.push(read(format!("fd00:{network}::1")));
                }
            }
            hosts.insert(format!("h{host}"), spec);
        }
        if self.features.has_uplink {
            let address =
                ["192.0.2.1/24", "2001:db8::1/64"].map(|text| text.parse().expect("it is an address"));
            let gateway = ["192.0.2.7", "2001:db8::7"].map(|text| read(text.to_owned()));
            let spec = HostSpec { address: address.into(), gateway: gateway.into(), ..HostSpec::default() };
            hosts.insert("outside".to_owned(), spec);
        }
        hosts
    }

    fn links(&mut self) -> Vec<LinkSpec> {
        let mut ends: Vec<[String; 2]> = self
            .hosts
            .iter()
            .enumerate()
            .map(|(host, (_, node))| [format!("h{host}"), format!("s{node}:h{host}")])
            .collect();
        if self.features.has_uplink {
            ends.push(["outside".to_owned(), "s0:uplink".to_owned()]);
        }
        for node in 1..self.features.nodes {
            ends.push([format!("s{}:east", node - 1), format!("s{node}:west")]);
        }
        let link = |between| LinkSpec {
            between,
            name: None,
            both: self.steady(),
            forth: FaultSpec::default(),
            back: FaultSpec::default(),
        };
        ends.into_iter().map(link).collect()
    }

    /// What a wire always does: little enough that everything works nevertheless.
    fn steady(&mut self) -> FaultSpec {
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
            burst: burst.then(|| BurstSpec {
                enter: percent(1),
                leave: Percent(Share::of_million(300_000).expect("it is less than all")),
                loss: percent(100),
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

    /// What breaks, and that it is whole again in the end.
    fn script(&mut self, links: &[LinkSpec]) -> Vec<ActionSpec> {
        let names: Vec<String> = links.iter().map(|link| link.between[0].clone()).collect();
        let mut script = Vec::new();
        for _ in 0..self.rng.below(5) {
            let time = millis(200 + self.rng.below(HEALED_MS - 300));
            let name =
                names[usize::try_from(self.rng.below(names.len() as u64)).expect("it is an index")].clone();
            let node = self.rng.below(self.features.nodes);
            let Faults { cuts, flaps, restarts, reconfigures, .. } = self.faults;
            let (is_cut, every) = (self.rng.chance(1, 2), 50 + self.rng.below(500));
            let cut = FaultSpec { up: Some(false), ..FaultSpec::default() };
            let flap = FlapSpec { every: millis(every), down: millis(every / 3) };
            let flap = FaultSpec { flap: Some(flap), ..FaultSpec::default() };
            let action = match self.rng.below(4) {
                0 if cuts && is_cut => ActionSpec { link: vec![name], both: cut, ..ActionSpec::default() },
                0 if cuts => ActionSpec { link: vec![name], back: cut, ..ActionSpec::default() },
                1 if flaps => ActionSpec { link: vec![name], both: flap, ..ActionSpec::default() },
                2 if restarts => {
                    ActionSpec { node: Some(format!("s{node}")), restart: true, ..ActionSpec::default() }
                }
                3 if reconfigures => {
                    let config = if is_cut { String::new() } else { self.config(node, "[network.more]\n") };
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
        for node in 0..self.features.nodes {
            let name = Some(format!("s{node}"));
            if script.iter().any(|action| action.config.is_some() && action.node == name) {
                let config = Some(self.config(node, ""));
                script.push(ActionSpec { time, node: name, config, ..ActionSpec::default() });
            }
        }
        script
    }

    fn flows(&mut self) -> Vec<FlowSpec> {
        let count = 1 + self.rng.below(5);
        (0..count).map(|_| self.flow()).collect()
    }

    fn flow(&mut self) -> FlowSpec {
        let hosts = self.hosts.len() as u64;
        let from = self.rng.below(hosts);
        let to = (from + 1 + self.rng.below(hosts - 1)) % hosts;
        let index = |host: u64| usize::try_from(host).expect("it is an index");
        let kinds = [FlowKind::Ping, FlowKind::Udp, FlowKind::Bulk, FlowKind::Request, FlowKind::Churn];
        let kind = kinds[index(self.rng.below(5))];
        let where_to = self.rng.below(4);
        let mut flow = FlowSpec {
            kind,
            from: format!("h{from}"),
            to: format!("h{to}"),
            l4_port: None,
            served_by: None,
            start: micros(self.rng.below(1_000_000)),
            stop: None,
            every: (kind != FlowKind::Bulk).then(|| millis(20 + self.rng.below(400))),
            size: Some(Size(16 + self.rng.below(1_000))),
            answer: matches!(kind, FlowKind::Request | FlowKind::Churn)
                .then(|| Size(1 + self.rng.below(5_000))),
            bytes: (kind == FlowKind::Bulk).then(|| Size(1 + self.rng.below(200_000))),
            expect: Expect::Works,
        };
        let Features { has_uplink, has_v6, is_routed, is_isolated, .. } = self.features;
        let is_v6 = has_v6 && self.rng.chance(1, 2);
        let published = self.published().filter(|_| self.features.has_published && !self.is_published_used);
        match (has_uplink, where_to, published) {
            (true, 0, _) => {
                flow.to = if is_v6 { "2001:db8::1" } else { "192.0.2.1" }.to_owned();
                flow.served_by = Some("outside".to_owned());
                return flow;
            }
            (true, 1, Some(host)) if matches!(kind, FlowKind::Request | FlowKind::Churn | FlowKind::Bulk) => {
                self.is_published_used = true;
                (flow.from, flow.to) = ("outside".to_owned(), "192.0.2.7".to_owned());
                (flow.l4_port, flow.served_by) = (Some(8080), Some(format!("h{host}:80")));
                return flow;
            }
            (true, 2, _) => {
                flow.from = "outside".to_owned();
                flow.expect = Expect::Fails;
                return flow;
            }
            (_, _, _) => {}
        }
        let (own, other) = (self.hosts[index(from)].0, self.hosts[index(to)].0);
        if own == other && is_isolated && is_routed {
            // Neighbours that may not hear each other: a stack asks for one neighbour a second, and one that never
            // answers would keep it from asking for the router.
            (flow.kind, flow.to) = (FlowKind::Ping, format!("10.{own}.0.1"));
            (flow.every, flow.answer, flow.bytes) = (Some(millis(100)), None, None);
            return flow;
        }
        if is_v6 {
            (flow.to, flow.served_by) = (format!("fd00:{other}::{}", 10 + to), Some(flow.to));
        }
        flow.expect = match (own == other, is_routed) {
            (true, _) if is_isolated => Expect::Any,
            (true, _) | (false, true) => Expect::Works,
            (false, false) => Expect::Fails,
        };
        flow
    }
}

fn mac(host: usize) -> String {
    format!("02:00:00:00:01:{host:02x}")
}
