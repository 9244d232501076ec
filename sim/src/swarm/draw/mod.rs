//! A world by chance.
//!
//! Two thirds of all seeds are worlds of one place, the others have [overlays](overlay). In one place switches stand in a
//! row, joined by trunks that carry every network. The first of them may route, and may have an uplink with one host
//! outside. Hosts live in one network each, behind any switch. What a flow must come to follows from that alone.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::Rng;

use crate::world::{Expect, FlowKind, FlowSpec, HostSpec, LinkSpec, NodeSpec, Span, WorldSpec};

mod faults;
mod overlay;

use faults::Chance;

/// When all that was broken is whole again.
const HEALED_MS: u64 = 3_000;
/// And has to work. A router that has asked three times in vain waits three seconds, and so does a client whom nobody
/// answers. By chance that may happen to one flow twice.
const HEAL_WITHIN_MS: u64 = 14_000;
/// Tells the stream by which a world is one with overlays.
const OVERLAID: u64 = 0x6f76_6572_6c61_7965;

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

struct Drawing {
    chance: Chance,
    features: Features,
    /// By host: its network, and its switch.
    hosts: Vec<(u64, u64)>,
    /// Whether a flow uses the published L4 port: two would want the same one of its host.
    is_published_used: bool,
}

/// The world that the seed stands for.
pub fn world(seed: u64) -> WorldSpec {
    let mut rng = Rng::seeded(seed);
    // By a stream of its own, so that the other worlds do not depend on there being these.
    if Rng::seeded(seed ^ OVERLAID).chance(1, 3) {
        return overlay::world(seed, rng);
    }
    let features = features(&mut rng);
    let faults = faults::faults(&mut rng);
    let hosts = (0..2 + rng.below(4)).map(|_| (rng.below(features.networks), rng.below(features.nodes)));
    let hosts = hosts.collect();
    let chance = Chance { rng, faults };
    let mut drawing = Drawing { chance, features, hosts, is_published_used: false };
    let link = drawing.links();
    let configs: Vec<String> = (0..drawing.features.nodes).map(|node| drawing.config(node, "")).collect();
    let at = drawing.chance.script(&link, &configs);
    WorldSpec {
        seed,
        life: millis(HEALED_MS + HEAL_WITHIN_MS + 10),
        heal_within: millis(HEAL_WITHIN_MS),
        loops: false,
        node: nodes(configs),
        host: drawing.hosts(),
        link,
        at,
        flow: drawing.flows(),
    }
}

fn nodes(configs: Vec<String>) -> BTreeMap<String, NodeSpec> {
    let node = |(number, config)| (format!("s{number}"), NodeSpec { config, count: None });
    configs.into_iter().enumerate().map(node).collect()
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

fn index(number: u64) -> usize {
    usize::try_from(number).expect("it is an index")
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
        self.chance.links(ends)
    }

    fn flows(&mut self) -> Vec<FlowSpec> {
        let count = 1 + self.chance.rng.below(5);
        (0..count).map(|_| self.flow()).collect()
    }

    fn flow(&mut self) -> FlowSpec {
        let hosts = self.hosts.len() as u64;
        let from = self.chance.rng.below(hosts);
        let to = (from + 1 + self.chance.rng.below(hosts - 1)) % hosts;
        let kind = self.chance.flow_kind();
        let where_to = self.chance.rng.below(4);
        let mut flow = self.chance.flow(kind, from, to);
        let Features { has_uplink, has_v6, is_routed, is_isolated, .. } = self.features;
        let is_v6 = has_v6 && self.chance.rng.chance(1, 2);
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
