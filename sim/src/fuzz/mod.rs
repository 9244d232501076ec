//! Any octets as a history of a node: plans, frames, datagrams, time, flushes and gossip, under the laws.
//!
//! The octets are read as choices ([`arbitrary::Unstructured`]), so that a fuzzer that changes one of them changes one
//! choice. Frames are mostly well formed and sometimes damaged; addresses, VLANs and limits are few and small, so that
//! frames meet and tables fill. What must hold beside the [laws](crate::Driver): no panic, and the same octets, times
//! and counters whether the outbox is drained after each event or after seven; and a trace of a frame or datagram tells
//! exactly what then happens to it, and changes nothing; and a node that was kept and restored in between does all the
//! same.
//!
//! There are two worlds: a switch of any shape, and a router between two networks and an uplink. The same bodies run in
//! the fuzz targets `node` and `router`, and with seeded chance and the committed corpus in this crate's tests.

mod codec;
mod frame;
mod plan;
mod router;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use node::{Carrier, Counters, Ending, Event, Flush, Gossip, Node, Plan, Trace};
use wire::{DomainId, DropReason, Instant, Offload, PortId};

use crate::capture::Packet;
use crate::entrance::Entrance;
use crate::recording::{Digest, keep};
use crate::{Departure, Driver};

/// Events of one history. What the octets say beyond is not read.
pub const EVENTS_MAX: usize = 400;
/// The batch that must make no difference.
const BATCH: usize = 7;
/// One of so many frames is traced before it comes.
const TRACED_EVERY: u32 = 128;
/// One of so many datagrams, which are fewer.
const TRACED_DATAGRAM_EVERY: u32 = 16;
/// After so many events the node that is drained in batches is kept, restored, and goes on as what was restored.
const KEPT_EVERY: u32 = 97;

/// What a history has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lived {
    /// What was counted.
    pub counters: Counters,
    /// What was traced.
    pub traced: Traced,
}

/// Traces that were held to what happened then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traced {
    /// Frames of devices.
    pub frames: u64,
    /// Datagrams of tunnels that went on: forwarded, consumed or parked.
    pub datagrams: u64,
    /// Datagrams that were dropped.
    pub datagrams_dropped: u64,
    /// What left through tunnels.
    pub into_tunnels: u64,
}

impl std::ops::AddAssign for Traced {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.datagrams += other.datagrams;
        self.datagrams_dropped += other.datagrams_dropped;
        self.into_tunnels += other.into_tunnels;
    }
}

/// Lives through the history that `data` tells, and says what was counted.
///
/// # Panics
/// A law is broken, the node panics, or the batch makes a difference. All are mistakes in the node.
pub fn run(data: &[u8]) -> Lived {
    live(data, World::Switch)
}

/// The same of a router between two networks and an uplink, from which nothing comes in unasked.
///
/// # Panics
/// As [`run`].
pub fn run_router(data: &[u8]) -> Lived {
    live(data, World::Router)
}

/// Any octets as a datagram of VXLAN or of flannel's UDP format; says what it was refused for.
///
/// # Panics
/// What is admitted does not survive another way through the tunnel.
pub fn run_codecs(data: &[u8]) -> Option<DropReason> {
    codec::run(data)
}

fn live(data: &[u8], world: World) -> Lived {
    let mut choices = Unstructured::new(data);
    let Ok(mut history) = History::begin(&mut choices, world) else { return Lived::default() };
    for _ in 0..EVENTS_MAX {
        if choices.is_empty() || history.step(&mut choices).is_err() {
            break;
        }
    }
    history.end()
}

/// What a history is about.
#[derive(Clone, Copy, Debug)]
enum World {
    Switch,
    Router,
}

impl World {
    fn plan(self, choices: &mut Unstructured<'_>, generation: u32) -> Result<Plan> {
        match self {
            Self::Switch => plan::any(choices, generation),
            Self::Router => router::plan(choices, generation),
        }
    }

    fn frame(self, choices: &mut Unstructured<'_>, plan: &Plan) -> Result<(Entrance, Packet)> {
        match self {
            Self::Switch => {
                let port = PortId(choices.int_in_range(0..=9)?);
                frame::any(choices, plan, port)
            }
            Self::Router => {
                let port = PortId(choices.int_in_range(0..=4)?);
                Ok((Entrance::Device(port), router::frame(choices, port)?))
            }
        }
    }
}

impl World {
    /// From nothing to the end of time, mostly what matters to tables and buckets. A router that advertises itself has
    /// something to do every few minutes: it is given hours.
    fn pause(self, choices: &mut Unstructured<'_>) -> Result<Duration> {
        const SECOND: u64 = 1_000_000_000;
        let longest = match self {
            Self::Switch => u64::MAX / 3,
            Self::Router => 7_500 * SECOND,
        };
        let pauses =
            [1, 1_000, 1_000_000, SECOND / 10, SECOND, 10 * SECOND, 299 * SECOND, 301 * SECOND, longest];
        Ok(Duration::from_nanos(*choices.choose(&pauses)?))
    }
}

/// Two nodes that hear the same, drained differently.
struct History {
    each: Watched,
    batch: Watched,
    world: World,
    plan: Arc<Plan>,
    now: Instant,
    /// Grows with each plan, so that ports can change their identity.
    generation: u32,
    /// Frames and datagrams so far.
    frames: u32,
    /// Datagrams among them.
    datagrams: u32,
    traced: Traced,
    /// Events so far.
    events: u32,
}

struct Watched {
    driver: Driver,
    left: Vec<(Instant, Left)>,
}

/// What a trace told before the frame came, and where things stood then.
struct Told {
    trace: Trace,
    is_datagram: bool,
    counters: Counters,
    left: usize,
}

/// What left, to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Left {
    Frame(PortId, Vec<u8>, Offload, Carrier),
    Notice(node::Notice),
}

impl History {
    fn begin(choices: &mut Unstructured<'_>, world: World) -> Result<Self> {
        let seed = u64::from(choices.arbitrary::<u8>()?);
        let plan = Arc::new(world.plan(choices, 0)?);
        let watched =
            || Watched { driver: Driver::new(seed, Instant::ZERO, Arc::clone(&plan)), left: Vec::new() };
        Ok(Self {
            each: watched(),
            batch: watched(),
            now: Instant::ZERO,
            generation: 0,
            plan,
            world,
            frames: 0,
            datagrams: 0,
            traced: Traced::default(),
            events: 0,
        })
    }

    fn step(&mut self, choices: &mut Unstructured<'_>) -> Result<()> {
        match choices.int_in_range(0..=31_u8)? {
            0 => self.now = self.now + self.world.pause(choices)?,
            1 => {
                self.generation += 1;
                self.plan = Arc::new(self.world.plan(choices, self.generation)?);
                let plan = Arc::clone(&self.plan);
                self.both(|_| Event::Configure(Arc::clone(&plan)));
            }
            2 => {
                let flush = Flush {
                    domain: choices.arbitrary::<Option<u8>>()?.map(|id| DomainId(u16::from(id % 4))),
                    port: choices.arbitrary::<Option<u8>>()?.map(|id| PortId(u16::from(id % 10))),
                    mac: if choices.arbitrary()? { Some(frame::mac(choices)?) } else { None },
                };
                self.both(|_| Event::Flush(flush));
            }
            3 => {
                let station = Gossip::Station {
                    domain: DomainId(choices.int_in_range(0..=4)?),
                    mac: frame::mac(choices)?,
                    port: PortId(choices.int_in_range(0..=9)?),
                };
                self.both(|_| Event::Gossip(station));
            }
            4 => self.both(|_| Event::Wake),
            5 if matches!(self.world, World::Router) => {
                let filter = router::sessions(choices)?;
                self.both(|_| Event::KillSessions(filter));
            }
            6 if matches!(self.world, World::Router) => {
                let domain = choices.arbitrary::<Option<u8>>()?.map(|id| DomainId(u16::from(id % 3)));
                let address = router::neighbour(choices)?;
                self.both(|_| Event::FlushNeighbours { domain, address });
            }
            _ => {
                let (entrance, packet) = self.world.frame(choices, &self.plan)?;
                self.frames += 1;
                let is_traced = match entrance {
                    Entrance::Device(_) => self.frames % TRACED_EVERY == 90,
                    Entrance::Tunnel(..) | Entrance::Underlay(..) => {
                        self.datagrams += 1;
                        self.datagrams % TRACED_DATAGRAM_EVERY == 7
                    }
                };
                let told = is_traced.then(|| self.each.trace(self.now, entrance, &packet));
                self.both(|driver| {
                    entrance
                        .event(&packet, driver.buffer())
                        .expect("it does not come by a capture of an underlay")
                });
                if let Some(told) = told {
                    self.traced += self.each.has_done(told, &self.plan);
                }
            }
        }
        Ok(())
    }

    /// Both nodes hear the event.
    fn both(&mut self, event: impl Fn(&mut Driver) -> Event) {
        for (watched, batch) in [(&mut self.each, 1), (&mut self.batch, BATCH)] {
            let event = event(&mut watched.driver);
            watched.driver.handle(self.now, event);
            if batch > 1 && self.events % KEPT_EVERY == KEPT_EVERY - 1 {
                watched.driver.keep_and_restore();
            }
            if watched.driver.undrained() >= batch {
                watched.drain();
            }
        }
        self.events += 1;
    }

    fn end(mut self) -> Lived {
        self.each.drain();
        self.batch.drain();
        let context = self.each.driver.to_string();
        assert_eq!(self.each.driver.counters(), self.batch.driver.counters(), "the batch shows; {context}");
        assert_eq!(self.each.by_port(), self.batch.by_port(), "the batch shows; {context}");
        Lived { counters: self.each.driver.counters().clone(), traced: self.traced }
    }
}

impl Watched {
    /// What the node says would become of the frame or datagram, and what it had counted before.
    fn trace(&mut self, now: Instant, entrance: Entrance, arriving: &Packet) -> Told {
        self.driver.advance(now);
        self.drain();
        let frame = self.driver.buffer();
        let event = entrance.event(arriving, frame).expect("it does not come by a capture of an underlay");
        let node = self.driver.node();
        // All that the node is, as text: slow, so not each time. What it would be kept as: always.
        let is_watched = arriving.bytes.len() % 16 == 2;
        let before = is_watched.then(|| format!("{node:?}"));
        let digest = state_digest(node);
        let is_datagram = matches!(event, Event::Datagram { .. });
        let trace = match event {
            Event::Frame { port, frame } => node.trace(now, port, frame),
            Event::Datagram { underlay, from, ecn, frame } => {
                node.tracer().trace_datagram(now, underlay, from, ecn, frame)
            }
            Event::Wake
            | Event::Configure(_)
            | Event::Flush(_)
            | Event::KillSessions(_)
            | Event::FlushNeighbours { .. }
            | Event::Gossip(_) => unreachable!("a packet is a frame or a datagram"),
        };
        assert_eq!(digest, state_digest(node), "a trace changes the node; {}", self.driver);
        if let Some(before) = before {
            assert!(before == format!("{node:?}"), "a trace changes the node; {}", self.driver);
        }
        Told { trace, is_datagram, counters: self.driver.counters().clone(), left: self.left.len() }
    }

    /// The frame or datagram has come, and that is what became of it.
    fn has_done(&mut self, told: Told, plan: &Plan) -> Traced {
        let Told { trace, is_datagram, counters: before, left: from } = told;
        self.drain();
        let after = self.driver.counters();
        let ending = match &trace.ending {
            Ending::Forwarded => (1, 0, 0, 0),
            Ending::Consumed => (0, 1, 0, 0),
            Ending::Parked => (0, 0, 1, 0),
            Ending::Dropped(_) => (0, 0, 0, 1),
        };
        let grew = (
            after.forwarded - before.forwarded,
            after.consumed - before.consumed,
            after.parked - before.parked,
            after.dropped - before.dropped,
        );
        assert_eq!(ending, grew, "a trace lies about the end; {}", self.driver);
        if let Ending::Dropped(reason) = trace.ending {
            let index = reason.index();
            assert!(after.drops()[index] > before.drops()[index], "a trace lies about {}", reason.id());
        }
        let into_tunnels = trace.sends.iter().filter(|send| is_tunnel(plan, send.port)).count() as u64;
        let is_dropped = matches!(trace.ending, Ending::Dropped(_));
        let told = trace.sends.into_iter();
        let told: Vec<Left> =
            told.map(|send| Left::Frame(send.port, send.bytes, send.offload, send.carrier)).collect();
        let left: Vec<Left> = self.left[from..].iter().map(|(_, left)| left.clone()).collect();
        let is_frame = |left: &&Left| matches!(left, Left::Frame(..));
        assert!(left.iter().filter(is_frame).eq(&told), "a trace lies about what leaves; {}", self.driver);
        Traced {
            frames: u64::from(!is_datagram),
            datagrams: u64::from(is_datagram && !is_dropped),
            datagrams_dropped: u64::from(is_datagram && is_dropped),
            into_tunnels,
        }
    }

    fn drain(&mut self) {
        let left = &mut self.left;
        let outcome: std::result::Result<(), Infallible> = self.driver.drain(|at, departure| {
            left.push(match departure {
                Departure::Frame { port, frame, carrier } => {
                    (at, Left::Frame(port, frame.bytes().to_vec(), frame.offload, carrier))
                }
                Departure::Notice(notice) => (at, Left::Notice(notice)),
            });
            Ok(())
        });
        assert_eq!(outcome, Ok(()));
    }

    /// What left through each port, in order; notices beside them.
    fn by_port(&self) -> BTreeMap<Option<PortId>, Vec<&(Instant, Left)>> {
        let mut ports: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for left in &self.left {
            let port = match &left.1 {
                Left::Frame(port, ..) => Some(*port),
                Left::Notice(_) => None,
            };
            ports.entry(port).or_default().push(left);
        }
        ports
    }
}

fn is_tunnel(plan: &Plan, port: PortId) -> bool {
    plan.tunnels.iter().any(|tunnel| tunnel.port == port)
}

/// A digest of all that the node would be kept as.
fn state_digest(node: &Node) -> u64 {
    let mut digest = Digest::default();
    digest.octets(&keep(node));
    digest.value()
}
