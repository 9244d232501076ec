//! A world's life: the next event, what it causes, and the checkers after it.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use wire::{Instant, Rng};

use super::cast::{Cable, Seat};
use super::host::Host;
use super::judge::{Judge, heals_at};
use super::outcome::{Files, WorldError};
use super::passage::Leaving;
use super::queue::{EVENTS_MAX, Event, Queue, Trail};
use super::report::{FlowReport, LinkReport, NodeReport, Report};
use super::role::{Ping, Role, TcpClient, TcpServer, UdpReceiver, UdpSender};
use super::spec::FlowKind;
use super::stats::FlowStats;
use super::topology::{Action, End, FlowPlan, NodePlan, Topology};

/// Events at one instant, at most. Then time stands still, and the world ends with a finding.
const INSTANT_EVENTS_MAX: u64 = 1_000_000;
/// Events between two words of progress.
const PROGRESS_EVERY: u64 = 1 << 12;

/// How a world is to live.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where all chance comes from.
    pub seed: u64,
    /// How long.
    pub life: Duration,
    /// Events of one switch at one time that are handled before its outbox is drained, at least one. Changes nothing.
    pub batch: usize,
    /// Where captures, counters and events go; nowhere if absent.
    pub out: Option<PathBuf>,
}

/// How far a world has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Virtual time.
    pub now: Instant,
    /// What has happened.
    pub events: u64,
}

/// Switches, hosts and wires, and what is going to happen to them.
pub struct World {
    pub(super) topology: Topology,
    pub(super) options: Options,
    pub(super) now: Instant,
    pub(super) queue: Queue,
    pub(super) seats: Vec<Seat>,
    pub(super) cables: Vec<Cable>,
    hosts: Vec<Host>,
    /// By host: its cable and which end, and when the queue has its [`Event::HostDue`].
    places: Vec<Option<(usize, usize)>>,
    host_due: Vec<Option<Instant>>,
    flows: Vec<FlowStats>,
    pub(super) judge: Judge,
    pub(super) files: Option<Files>,
    events: u64,
    /// Of these, at the present instant.
    instant_events: u64,
    pub(super) frames: u64,
    pub(super) digest: u64,
    /// What has left a switch: by event. Kept for its room.
    pub(super) left: Vec<Leaving>,
}

impl World {
    /// A world at its beginning.
    ///
    /// # Errors
    /// Its files cannot be made.
    pub fn new(topology: Topology, options: Options) -> Result<Self, WorldError> {
        // A stream for each, drawn in one order.
        let mut rng = Rng::seeded(options.seed);
        let mut seed = || rng.next_u64();
        let mut cables: Vec<Cable> =
            topology.cables.iter().map(|plan| Cable::new(plan, [seed(), seed()])).collect();
        let mut seats = Vec::new();
        for (number, node) in topology.nodes.iter().enumerate() {
            let mut seat = Seat::new(&node.name, node.compiled.clone(), seed(), Instant::ZERO);
            seat.plug(number, &mut cables);
            seats.push(seat);
        }
        let mut roles: Vec<Vec<Role>> = topology.hosts.iter().map(|_| Vec::new()).collect();
        for (number, flow) in topology.flows.iter().enumerate() {
            cast(number, flow, &mut roles);
        }
        let hosts: Vec<Host> =
            topology.hosts.iter().zip(roles).map(|(plan, roles)| Host::new(plan, seed(), roles)).collect();
        let place = |host: usize| {
            cables.iter().enumerate().find_map(|(index, cable)| {
                cable.plan.ends.iter().position(|end| *end == End::Host(host)).map(|end| (index, end))
            })
        };
        let files = options.out.as_deref().map(|out| Files::create(out, &topology)).transpose()?;
        Ok(Self {
            now: Instant::ZERO,
            queue: Queue::default(),
            seats,
            places: (0..hosts.len()).map(place).collect(),
            host_due: vec![None; hosts.len()],
            hosts,
            flows: topology.flows.iter().map(|flow| FlowStats::new(heals_at(flow, &topology))).collect(),
            judge: Judge::new(&topology),
            files,
            events: 0,
            instant_events: 0,
            frames: 0,
            digest: super::passage::FNV_OFFSET,
            left: Vec::new(),
            cables,
            topology,
            options,
        })
    }

    /// Lets the world live, and says now and then how far it has come. Who is told may end it there.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub fn run(
        mut self,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Report, WorldError> {
        self.begin()?;
        let end = Instant::ZERO + self.options.life;
        while let Some((at, event)) = self.queue.pop() {
            if at >= end || self.judge.is_over {
                break;
            }
            self.instant_events = if at == self.now { self.instant_events + 1 } else { 0 };
            self.now = at;
            self.happens(event)?;
            if self.instant_events > INSTANT_EVENTS_MAX || self.queue.len() > EVENTS_MAX {
                let what = format!(
                    "{} events are under way, {} at this instant",
                    self.queue.len(),
                    self.instant_events
                );
                self.judge.find_and_end(at, "stall", what);
            }
            if self.events.is_multiple_of(PROGRESS_EVERY)
                && progress(Progress { now: at, events: self.events }).is_break()
            {
                return self.end(at);
            }
        }
        self.end(end)
    }

    /// What the queue has at first: beginnings, changes, and when to look.
    fn begin(&mut self) -> Result<(), WorldError> {
        for node in 0..self.seats.len() {
            self.drain(node)?;
        }
        for host in 0..self.hosts.len() {
            self.host_turn(host)?;
        }
        for (number, (at, _)) in self.topology.actions.iter().enumerate() {
            self.queue.push(*at, Event::Change(number));
        }
        let mut due: Vec<Instant> =
            self.topology.flows.iter().filter_map(|flow| Judge::due(flow, &self.topology)).collect();
        due.sort_unstable();
        due.dedup();
        due.into_iter().for_each(|at| self.queue.push(at, Event::Judge));
        Ok(())
    }

    fn happens(&mut self, event: Event) -> Result<(), WorldError> {
        self.events += 1;
        match event {
            Event::AtHost { host, frame, trail } => {
                self.arrived(u64::MAX - host as u64, &frame);
                self.judge.arrives(self.now, host, trail, &self.topology);
                if let Some(files) = &mut self.files {
                    files.at_host(self.now, host, &frame)?;
                }
                self.hosts[host].receive(frame);
                self.host_turn(host)
            }
            Event::AtNode { node, door, frame, trail } => {
                self.enter(node, door, frame, trail);
                for _ in 1..self.options.batch {
                    let next = self.queue.peek();
                    if !matches!(next, Some((at, Event::AtNode { node: other, .. })) if at == self.now && *other == node)
                    {
                        break;
                    }
                    let Some((_, Event::AtNode { door, frame, trail, .. })) = self.queue.pop() else {
                        break;
                    };
                    self.events += 1;
                    self.enter(node, door, frame, trail);
                }
                self.drain(node)
            }
            Event::AtUnderlay { frame, trail } => {
                self.cross_underlay(frame, trail);
                Ok(())
            }
            Event::HostDue(host) => {
                if self.host_due[host] == Some(self.now) {
                    self.host_due[host] = None;
                    self.host_turn(host)?;
                }
                Ok(())
            }
            Event::NodeDue(node) => {
                if self.seats[node].due == Some(self.now) {
                    self.seats[node].due = None;
                    if let Err(law) = self.seats[node].driver.try_advance(self.now) {
                        self.broken(node, &law);
                    }
                    self.drain(node)?;
                }
                Ok(())
            }
            Event::Change(number) => self.change(number),
            Event::Judge => {
                for (number, flow) in self.topology.flows.iter().enumerate() {
                    if Judge::due(flow, &self.topology) == Some(self.now) {
                        self.judge.must_work(self.now, number, flow, &self.flows[number]);
                    }
                }
                Ok(())
            }
        }
    }

    /// A host does what it has to do.
    fn host_turn(&mut self, host: usize) -> Result<(), WorldError> {
        self.hosts[host].step(self.now, &mut self.flows);
        for frame in self.hosts[host].take_sent() {
            if let Some(files) = &mut self.files {
                files.at_host(self.now, host, &frame)?;
            }
            if let Some((cable, end)) = self.places[host] {
                self.transmit(
                    cable,
                    end,
                    frame,
                    Trail { origin: Some(host), generation: self.judge.generation, ..Trail::default() },
                );
            }
        }
        if let Some(due) = self.hosts[host].next_deadline(self.now)
            && self.host_due[host].is_none_or(|known| due < known)
        {
            self.host_due[host] = Some(due);
            self.queue.push(due, Event::HostDue(host));
        }
        Ok(())
    }

    /// The script wants something changed.
    fn change(&mut self, number: usize) -> Result<(), WorldError> {
        match &self.topology.actions[number].1 {
            Action::Faults(cable, faults) => {
                for (link, faults) in self.cables[*cable].links.iter_mut().zip(faults.iter()) {
                    link.set(*faults);
                }
                Ok(())
            }
            Action::Configure(node, compiled) => {
                let (node, compiled) = (*node, compiled.as_ref().clone());
                let plan = std::sync::Arc::new(compiled.plan.clone());
                let seat = &mut self.seats[node];
                seat.compiled = compiled;
                seat.plug(node, &mut self.cables);
                if let Err(law) = seat.driver.try_handle(self.now, node::Event::Configure(plan)) {
                    self.broken(node, &law);
                }
                self.configured();
                self.drain(node)
            }
            Action::Restart(node) => {
                let seat = &mut self.seats[*node];
                let mut fresh = Seat::new(&seat.name, seat.compiled.clone(), seat.seed, self.now);
                (fresh.notices, fresh.flaps) = (seat.notices, seat.flaps);
                (fresh.unplugged, fresh.astray) = (seat.unplugged, seat.astray);
                fresh.plug(*node, &mut self.cables);
                *seat = fresh;
                let node = *node;
                self.drain(node)
            }
        }
    }

    fn configured(&mut self) {
        let plan = |seat: &Seat| NodePlan { name: seat.name.clone(), compiled: seat.compiled.clone() };
        let nodes: Vec<NodePlan> = self.seats.iter().map(plan).collect();
        let cables: Vec<_> = self.cables.iter().map(|cable| cable.plan.clone()).collect();
        self.judge.configured(&nodes, &cables, self.hosts.len());
    }

    fn end(mut self, end: Instant) -> Result<Report, WorldError> {
        let lived = if self.judge.is_over { self.now } else { end };
        for (number, flow) in self.topology.flows.iter().enumerate() {
            self.judge.flow(lived, number, flow, &self.flows[number]);
        }
        let due = self.topology.flows.iter().filter_map(|flow| Judge::due(flow, &self.topology));
        let unchecked = due.filter(|due| *due >= lived).count() as u64;
        if let Some(files) = self.files.take() {
            files.finish(&self.seats)?;
        }
        let flows = self.topology.flows.iter().zip(&self.flows).enumerate();
        Ok(Report {
            seed: self.options.seed,
            lived_ns: lived.as_nanos(),
            events: self.events,
            frames: self.frames,
            digest: format!("{:016x}", self.digest),
            findings: self.judge.findings,
            unchecked,
            flows: flows.map(|(number, (flow, stats))| FlowReport::of(number, flow, stats)).collect(),
            links: self.cables.iter().map(LinkReport::of).collect(),
            nodes: self.seats.iter().map(|seat| (seat.name.clone(), NodeReport::of(seat))).collect(),
        })
    }
}

/// Gives a flow's roles to its hosts.
fn cast(number: usize, flow: &FlowPlan, roles: &mut [Vec<Role>]) {
    let kind = flow.spec.kind;
    if let Some((host, l4_port)) = flow.served_by {
        roles[host].extend(match kind {
            FlowKind::Ping => None,
            FlowKind::Udp => Some(Role::UdpReceiver(UdpReceiver::new(number, flow, l4_port))),
            FlowKind::Bulk | FlowKind::Request | FlowKind::Churn => {
                Some(Role::TcpServer(TcpServer::new(number, flow, l4_port)))
            }
        });
    }
    roles[flow.from].push(match kind {
        FlowKind::Ping => Role::Ping(Ping::new(number, flow)),
        FlowKind::Udp => Role::UdpSender(UdpSender::new(number, flow)),
        FlowKind::Bulk | FlowKind::Request | FlowKind::Churn => Role::TcpClient(TcpClient::new(number, flow)),
    });
}
