//! A checked world: names have become numbers, configurations plans, and what cannot be has been refused.
//!
//! Checking reads the text twice: as values, and as a tree that knows where everything stands, so that each fault comes
//! with its line. Faults of a switch's configuration are those that `tapestry check` finds, at their lines in this file.
//!
//! What is impossible: an end that does not exist or that has two wires, a host without wire or address, a flow between
//! families, two flows that want the same L4 port, a change of something that is not there, a ring of switches within one
//! network unless the file says that it is meant (`loops`), tunnels without a way to the underlay, and two switches with
//! one address there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use config::{Compiled, Config, Fault, Ids, PortKind, Report};
use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use wire::{Cidr, Instant, Mac};

use super::many::{self, Where, Written};
use super::rings;
use super::roster::Roster;
use super::spec::{ADDRESSES_MAX, ActionSpec, FlowKind, FlowSpec, HostSpec, LinkSpec, WorldSpec};
use super::stations;
use crate::link::Faults;

/// Switches of a world.
pub const NODES_MAX: usize = 256;
/// Hosts of a world.
pub const HOSTS_MAX: usize = 1_024;
/// Wires of a world.
pub const LINKS_MAX: usize = 4_096;
/// Changes to wires and switches.
pub const ACTIONS_MAX: usize = 10_000;
/// What hosts do, in all.
pub const FLOWS_MAX: usize = 8_192;
/// What the network of the switches' own hosts is called in `[[link]]`.
const UNDERLAY: &str = "underlay";
/// Letters of a name.
pub(super) const NAME_LEN_MAX: usize = 32;
/// Faults listed. Further ones are not.
const FAULTS_MAX: usize = 100;

/// A world that can be.
#[derive(Clone, Debug)]
pub struct Topology {
    /// What was written.
    pub spec: WorldSpec,
    /// Switches in the order of their names.
    pub nodes: Vec<NodePlan>,
    /// Hosts in the order of their names.
    pub hosts: Vec<HostPlan>,
    /// Wires in the order of the text.
    pub cables: Vec<CablePlan>,
    /// What changes, by time.
    pub actions: Vec<(Instant, Action)>,
    /// What hosts do, in the order of the text.
    pub flows: Vec<FlowPlan>,
}

/// A switch.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub compiled: Compiled,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// What it reaches by which router.
    pub routes: Vec<(Cidr, IpAddr)>,
    /// Longest packet.
    pub mtu: u16,
}

/// One end of a wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A host's interface.
    Host(usize),
    /// A switch's port by its name: its number is another once it has been removed and added.
    Port(usize, String),
    /// The interface of a switch's own host, which its datagrams come and go through.
    Socket(usize),
    /// The network that joins these interfaces. It has as many wires as it likes.
    Underlay,
}

/// A wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CablePlan {
    /// What it is called.
    pub name: String,
    /// Its ends.
    pub ends: [End; 2],
    /// What it does at first: from the first end to the second, and back.
    pub faults: [Faults; 2],
}

/// A change.
#[derive(Clone, Debug)]
pub enum Action {
    /// The cable does this from now on, there and back.
    Faults(usize, Box<[Faults; 2]>),
    /// The switch gets another configuration.
    Configure(usize, Box<Compiled>),
    /// The switch forgets everything.
    Restart(usize),
}

/// What a host does with another.
#[derive(Clone, Debug)]
pub struct FlowPlan {
    /// As written.
    pub spec: FlowSpec,
    /// Who begins.
    pub from: usize,
    /// Where it sends to.
    pub to: IpAddr,
    /// Likewise.
    pub l4_port: u16,
    /// Who answers and at which L4 port; `None`: nobody of this world's hosts.
    pub served_by: Option<(usize, u16)>,
}

/// Where in the text: keys and indexes from the top.
pub(super) type Path<'a> = &'a [Step<'a>];

/// One step of a [`Path`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// Into a table.
    Key(&'a str),
    /// Into a list.
    Index(usize),
}

use Step::{Index, Key};

/// Reads the world `text`, which errors call `path`.
///
/// # Errors
/// Everything that is wrong with it. Where the text is not of the right form, only that.
pub fn check(path: &str, text: &str) -> Result<Topology, Report> {
    let refuse = |faults| Report { file: Some(path.to_owned()), faults };
    let syntax = |error: &toml::de::Error, what: &str| {
        let (line, column) = position(text, error.span().unwrap_or(0..0).start);
        let message = format!("{what}{}", config::explain(error.message()));
        Fault { line: Some(line), column: Some(column), at: String::new(), message }
    };
    let (tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(refuse(errors.iter().map(|error| syntax(error, "this is no TOML: ")).collect()));
    }
    let spec = WorldSpec::deserialize(toml::Deserializer::from(tree.clone()))
        .map_err(|error| refuse(vec![syntax(&error, "")]))?;
    let (spec, written, refused) = many::expand(spec);
    let mut checker = Checker { text, tree, written, faults: Vec::new() };
    for (table, at, what) in refused {
        match at {
            Where::Key(key) => checker.fault(&[Key(table), Key(&key)], what),
            Where::Index(index) => checker.fault(&[Key(table), Index(index)], what),
        }
    }
    let topology = checker.topology(spec);
    if checker.faults.is_empty() {
        return Ok(topology);
    }
    checker.faults.sort_by_key(|fault| fault.line);
    checker.faults.truncate(FAULTS_MAX);
    Err(refuse(checker.faults))
}

/// What is known while a text is checked.
pub(super) struct Checker<'t> {
    text: &'t str,
    tree: Spanned<DeTable<'t>>,
    written: Written,
    faults: Vec<Fault>,
}

impl Checker<'_> {
    fn topology(&mut self, spec: WorldSpec) -> Topology {
        self.limits(&spec);
        let mut configs = Vec::new();
        for (name, node) in &spec.node {
            self.name(&[Key("node"), Key(name)], name);
            configs.push(self.configuration(&[Key("node"), Key(name), Key("config")], &node.config));
        }
        let roster = Roster::of(&configs);
        let mut ids: Vec<Ids> = Vec::new();
        let mut nodes = Vec::new();
        for (name, config) in spec.node.keys().zip(configs) {
            let mut known = Ids::default();
            let compiled =
                self.compile((&[Key("node"), Key(name), Key("config")], config), &roster, &mut known);
            ids.push(known);
            nodes.push(NodePlan { name: name.clone(), compiled });
        }
        if !self.faults.is_empty() {
            // What else is wrong may only follow from that.
            let nothing = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            let (hosts, cables, actions, flows) = nothing;
            return Topology { spec, nodes, hosts, cables, actions, flows };
        }
        let names: Vec<&String> = spec.host.keys().collect();
        let cables = self.cables(&spec.link, &nodes, &names);
        let mut hosts = Vec::new();
        for (number, (name, host)) in spec.host.iter().enumerate() {
            self.name(&[Key("host"), Key(name)], name);
            hosts.push(self.host(number, name, host, &cables, &nodes));
        }
        if !spec.loops {
            for link in rings::closing(&nodes, &cables) {
                let what = "this link closes a ring within one network, in which frames would go round for ever; \
                            take a link away, or say loops = true if that is meant";
                self.fault(&[Key("link"), Index(link)], what);
            }
        }
        self.sockets(&nodes, &cables);
        let actions = self.actions(&spec.at, (&nodes, &cables), &roster, &mut ids);
        let flows = self.flows(&spec.flow, &hosts);
        Topology { spec, nodes, hosts, cables, actions, flows }
    }

    fn limits(&mut self, spec: &WorldSpec) {
        let counts = [
            ("node", spec.node.len(), NODES_MAX),
            ("host", spec.host.len(), HOSTS_MAX),
            ("link", spec.link.len(), LINKS_MAX),
            ("at", spec.at.len(), ACTIONS_MAX),
            ("flow", spec.flow.len(), FLOWS_MAX),
        ];
        for (key, count, max) in counts.into_iter().filter(|(_, count, max)| count > max) {
            self.fault(
                &[Key(key)],
                format!("{count} of these are more than the {max} that a world may have"),
            );
        }
        if spec.life.0.is_zero() {
            self.fault(&[Key("for")], "a world that lives for no time shows nothing");
        }
    }

    fn name(&mut self, at: Path<'_>, name: &str) {
        let is_letter = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
        if name == UNDERLAY {
            self.fault(
                at,
                "\"underlay\" is what the network between switches is called; choose another name",
            );
        }
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.bytes().all(is_letter) {
            let what =
                format!("a name has 1 to {NAME_LEN_MAX} letters, digits, - and _, and {name:?} has not");
            self.fault(at, what);
        }
    }

    /// Checks a switch's configuration; its faults get the lines that they have in this text.
    fn configuration(&mut self, at: Path<'_>, config: &str) -> Config {
        config::check("", config).unwrap_or_else(|report| {
            let first = self.first_line(at);
            let moved = |fault: Fault| Fault {
                line: Some(fault.line.unwrap_or(1) + first - 1),
                at: format!("{}.{}", dotted(&at[..2]), fault.at),
                ..fault
            };
            self.faults.extend(report.faults.into_iter().map(moved));
            Config::default()
        })
    }

    /// Compiles a configuration with the peers that the roster knows.
    fn compile(&mut self, (at, config): (Path<'_>, Config), roster: &Roster, ids: &mut Ids) -> Compiled {
        let config = roster.fill(config).unwrap_or_else(|report| {
            self.fault(at, report.to_string());
            Config::default()
        });
        config::compile(&config, ids)
    }

    /// Every switch with tunnels needs a way to the others, and an address of its own there.
    fn sockets(&mut self, nodes: &[NodePlan], cables: &[CablePlan]) {
        let mut owners: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (number, node) in nodes.iter().enumerate() {
            let at = [Key("node"), Key(&node.name)];
            let has_wire = cables.iter().any(|cable| cable.ends.contains(&End::Socket(number)));
            let underlays = &node.compiled.plan.underlays;
            if !underlays.is_empty() && !has_wire {
                let name = &node.name;
                let what =
                    format!("its tunnels have no way; [[link]] between = [{name:?}, \"underlay\"] is one");
                self.fault(&at, what);
            }
            for underlay in underlays {
                let owner = *owners.entry(underlay.local.address).or_insert(number);
                if owner != number {
                    let what =
                        format!("{} is the address of {} already", underlay.local.address, nodes[owner].name);
                    self.fault(&at, what);
                }
            }
        }
    }

    fn cables(&mut self, links: &[LinkSpec], nodes: &[NodePlan], hosts: &[&String]) -> Vec<CablePlan> {
        let mut cables: Vec<CablePlan> = Vec::new();
        for (number, link) in links.iter().enumerate() {
            let at = [Key("link"), Index(number)];
            let mut end = |index: usize| {
                let found = find_end(&link.between[index], nodes, hosts);
                found.map_err(|what| self.fault(&[at[0], at[1], Key("between"), Index(index)], what)).ok()
            };
            let (Some(a), Some(b)) = (end(0), end(1)) else { continue };
            if a == b {
                self.fault(&at, "a link has two different ends");
                continue;
            }
            let is_outer = |end: &End| matches!(end, End::Socket(_) | End::Underlay);
            let count = [&a, &b].into_iter().filter(|end| is_outer(end)).count();
            if count == 1 || matches!((&a, &b), (End::Socket(_), End::Socket(_))) {
                self.fault(&at, "a node as such has a link to \"underlay\" and to nothing else; a port is written NODE:PORT");
                continue;
            }
            for end in [&a, &b].into_iter().filter(|end| **end != End::Underlay) {
                if let Some(other) = cables.iter().find(|cable| cable.ends.contains(end)) {
                    let what = format!("one of its ends has a link already, {:?}", other.name);
                    self.fault(&at, what);
                }
            }
            let name = link.name.clone().unwrap_or_else(|| link.between[0].clone());
            if cables.iter().any(|cable| cable.name == name) {
                self.fault(&at, format!("there is a link {name:?} already; give this one another name"));
            }
            let both = link.both.on(Faults::default());
            let faults = [link.forth.on(both), link.back.on(both)];
            cables.push(CablePlan { name, ends: [a, b], faults });
        }
        cables
    }

    fn host(
        &mut self,
        number: usize,
        name: &str,
        spec: &HostSpec,
        cables: &[CablePlan],
        nodes: &[NodePlan],
    ) -> HostPlan {
        let at = [Key("host"), Key(name)];
        let other = cables.iter().find_map(|cable| match &cable.ends {
            [End::Host(host), other] | [other, End::Host(host)] if *host == number => Some(other),
            _ => None,
        });
        if other.is_none() {
            self.fault(&at, "the host has no link; one from it to a switch's port belongs into [[link]]");
        }
        let device = match other {
            Some(End::Port(node, port)) => match &nodes[*node].compiled.ports[port].kind {
                PortKind::Device(device) => Some(device),
                PortKind::Nic(_) | PortKind::Tunnel(_) => None,
            },
            Some(End::Host(_) | End::Socket(_) | End::Underlay) | None => None,
        };
        let host = stations::host(number, name, spec, device);
        if other.is_some() && host.addresses.is_empty() {
            self.fault(&at, "the host has no address; give it one here or at its port");
        }
        if host.addresses.len() > ADDRESSES_MAX + 1 {
            self.fault(&at, format!("a host has at most {ADDRESSES_MAX} addresses"));
        }
        if let Some(gateway) =
            spec.gateway.iter().find(|gateway| !host.addresses.iter().any(|own| own.contains(**gateway)))
        {
            self.fault(&at, format!("the gateway {gateway} is in no network of the host"));
        }
        if wire::UnicastMac::new(host.mac).is_none() {
            self.fault(&at, format!("{} is no address that a station may have", host.mac));
        }
        let least = if host.addresses.iter().any(|cidr| cidr.address().is_ipv6()) { 1280 } else { 576 };
        if !(least..=9000).contains(&host.mtu) {
            self.fault(&at, format!("the MTU {} is not within {least} to 9000", host.mtu));
        }
        host
    }

    fn actions(
        &mut self,
        specs: &[ActionSpec],
        (nodes, cables): (&[NodePlan], &[CablePlan]),
        roster: &Roster,
        ids: &mut [Ids],
    ) -> Vec<(Instant, Action)> {
        // By time first, so that what one change leaves behind is what the next one changes.
        let mut order: Vec<usize> = (0..specs.len()).collect();
        order.sort_by_key(|&number| specs[number].time);
        let mut current: Vec<[Faults; 2]> = cables.iter().map(|cable| cable.faults).collect();
        let mut actions = Vec::new();
        for number in order {
            let (spec, at) = (&specs[number], [Key("at"), Index(number)]);
            let time = Instant::ZERO + spec.time.0;
            match (&spec.node, spec.link.is_empty()) {
                (None, false) => {
                    for name in &spec.link {
                        let Some(cable) = cables.iter().position(|cable| cable.name == *name) else {
                            let known: Vec<&str> = cables.iter().map(|cable| cable.name.as_str()).collect();
                            let known = known.join(", ");
                            self.fault(&at, format!("there is no link {name:?}; there are {known}"));
                            continue;
                        };
                        let [forth, back] = if spec.heal { cables[cable].faults } else { current[cable] };
                        current[cable] =
                            [spec.forth.on(spec.both.on(forth)), spec.back.on(spec.both.on(back))];
                        actions.push((time, Action::Faults(cable, Box::new(current[cable]))));
                    }
                }
                (Some(name), true) => {
                    let Some(node) = nodes.iter().position(|node| node.name == *name) else {
                        self.fault(&at, format!("there is no node {name:?}"));
                        continue;
                    };
                    if let Some(text) = &spec.config {
                        let place = [at[0], at[1], Key("config")];
                        let config = self.configuration(&place, text);
                        let compiled = self.compile((&place, config), roster, &mut ids[node]);
                        actions.push((time, Action::Configure(node, Box::new(compiled))));
                    }
                    if spec.restart {
                        actions.push((time, Action::Restart(node)));
                    }
                    if spec.config.is_none() && !spec.restart {
                        self.fault(&at, "nothing changes; say config or restart");
                    }
                }
                (None, true) | (Some(_), false) => {
                    self.fault(&at, "a change is about links or about a node; say one of them");
                }
            }
        }
        actions
    }

    fn flows(&mut self, specs: &[FlowSpec], hosts: &[HostPlan]) -> Vec<FlowPlan> {
        let mut flows = Vec::new();
        let mut served: BTreeMap<(usize, bool, u16), usize> = BTreeMap::new();
        for (number, spec) in specs.iter().enumerate() {
            let at = [Key("flow"), Index(number)];
            let flow = match stations::flow(number, spec, hosts) {
                Ok(flow) => flow,
                Err((key, what)) => {
                    self.fault(&[at[0], at[1], Key(key)], what);
                    continue;
                }
            };
            let is_udp = spec.kind == FlowKind::Udp;
            if let (Some((host, l4_port)), true) = (flow.served_by, spec.kind != FlowKind::Ping)
                && let Some(other) = served.insert((host, is_udp, l4_port), number)
            {
                let what = format!("flow[{other}] is served at L4 port {l4_port} already");
                self.fault(&at, what);
            }
            flows.push(flow);
        }
        flows
    }

    pub(super) fn fault(&mut self, at: Path<'_>, message: impl Into<String>) {
        let (line, column) = position(self.text, self.span(at).start);
        self.faults.push(Fault {
            line: Some(line),
            column: Some(column),
            at: dotted(at),
            message: message.into(),
        });
    }

    /// Where `at` stands, or the nearest around it that does.
    fn span(&self, at: Path<'_>) -> Range<usize> {
        let mut span = 0..0;
        let mut value: Option<&Spanned<DeValue<'_>>> = None;
        for (depth, step) in at.iter().enumerate() {
            let table = at.first().filter(|_| depth == 1);
            let step = self.written.step(table, *step);
            let table = match value.map(Spanned::get_ref) {
                None => Some(self.tree.get_ref()),
                Some(value) => value.as_table(),
            };
            let next = match step {
                Key(key) => table.and_then(|table| table.get_key_value(key)).map(|(key, value)| {
                    span = key.span();
                    value
                }),
                Index(index) => {
                    value.and_then(|value| value.get_ref().as_array()?.get(index)).inspect(|value| {
                        span = value.span();
                    })
                }
            };
            let Some(next) = next else { break };
            value = Some(next);
        }
        span
    }

    /// The line of the first line of the text that stands at `at`, quotes aside.
    fn first_line(&self, at: Path<'_>) -> usize {
        let key = self.span(at).start;
        let line = position(self.text, key).0;
        let rest = self.text.get(key..).unwrap_or_default();
        let opening = rest.split_once('=').map_or("", |(_, value)| value.trim_start_matches([' ', '\t']));
        let quotes = ["'''", "\"\"\""].into_iter().find_map(|quotes| opening.strip_prefix(quotes));
        line + usize::from(quotes.is_some_and(|text| text.starts_with(['\n', '\r'])))
    }
}

fn find_end(text: &str, nodes: &[NodePlan], hosts: &[&String]) -> Result<End, String> {
    let Some((node, port)) = text.split_once(':') else {
        let host = hosts.iter().position(|host| *host == text).map(End::Host);
        let socket = || nodes.iter().position(|node| node.name == text).map(End::Socket);
        let underlay = || (text == UNDERLAY).then_some(End::Underlay);
        return host
            .or_else(socket)
            .or_else(underlay)
            .ok_or_else(|| format!("there is no host {text:?}; a switch's port is written NODE:PORT"));
    };
    let number = nodes.iter().position(|known| known.name == node);
    let number = number.ok_or_else(|| format!("there is no node {node:?}"))?;
    let ports = &nodes[number].compiled.ports;
    match ports.get(port).map(|port| &port.kind) {
        Some(PortKind::Device(_) | PortKind::Nic(_)) => Ok(End::Port(number, port.to_owned())),
        Some(PortKind::Tunnel(_)) => Err(format!("{text} is a tunnel; no wire ends there")),
        None => {
            let known: Vec<&str> = ports.keys().map(String::as_str).collect();
            Err(format!("there is no port {text:?}; {node} has {}", known.join(", ")))
        }
    }
}

fn dotted(at: Path<'_>) -> String {
    let mut text = String::new();
    for step in at {
        match step {
            Key(key) if text.is_empty() => text += key,
            Key(key) => text += &format!(".{key}"),
            Index(index) => text += &format!("[{index}]"),
        }
    }
    text
}

/// Line and column (in characters) of an offset, both counted from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

impl Topology {
    /// When nothing changes any more by script.
    pub fn healed_at(&self) -> Instant {
        self.actions.last().map_or(Instant::ZERO, |(time, _)| *time)
    }
}

#[cfg(test)]
mod tests;
