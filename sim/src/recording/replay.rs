//! Replay: the recorded events through nodes of their own, and whether the same comes out.
//!
//! Each worker of the recording has a node here; one that begins with a state goes on from it. The nodes' outputs are
//! compared where the workers had sent them, after a burst: a difference is told with the events of that burst. A node that
//! panics is a difference too, at the very event: a recording of a crash is how it is found. What is in memory is the
//! nodes and one record, however long the file.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use node::{Endpoint, Event, Node, Outbox, UnderlayId};
use wire::{Instant, Mac, PortId};

use super::kept::{Origin, restore};
use super::read::{Ended, Happened, Reader, Record, RecordingError};
use super::write::Begins;
use super::{Digest, KEPT_MAX};
use crate::capture::CaptureWriter;
use crate::craft;
use crate::replay::capture_file;

/// The configuration that held last, in the output directory.
pub(super) const CONFIG_FILE: &str = "config.toml";
/// The captures of what came in, in the output directory.
pub(super) const IN_FOLDER: &str = "in";

/// Octets of a datagram's payload that fit behind headers of either family.
const DATAGRAM_MAX: usize = 65_535 - 20 - 8;

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Of each worker that was recorded, in their order.
    pub workers: Vec<WorkerReplayed>,
    /// How the recording ends.
    pub ended: Ended,
    /// Where the replay differs from the recording.
    pub difference: Option<String>,
}

/// What the replay of one worker came to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WorkerReplayed {
    /// Which worker.
    pub worker: u16,
    /// The seed of its node.
    pub seed: u64,
    /// Times that its recording began, or began again where something could not be kept.
    pub segments: u64,
    /// Events that could not be kept between segments.
    pub missed: u64,
    /// Events replayed.
    pub events: u64,
    /// Frames and datagrams among them.
    pub frames_in: u64,
    /// Frames that left.
    pub frames_out: u64,
    /// Events whose outputs were compared and are the same.
    pub verified: u64,
    /// Whether its recording began with a node that knew something already.
    pub began_in_the_middle: bool,
    /// Configurations that it was given while it was recorded.
    pub configurations: u64,
    /// Whether the end of its recording is there.
    is_ended: bool,
}

impl Replayed {
    /// Something of all workers together.
    pub fn sum(&self, of: impl Fn(&WorkerReplayed) -> u64) -> u64 {
        self.workers.iter().map(of).sum()
    }
}

/// Replays `path`, and with `out` writes into that directory what came in (`in/PORT.pcapng`) and what left
/// (`PORT.pcapng`), and the configuration. What came by an underlay is in a capture with the name of its local end.
///
/// # Errors
/// The file is no recording of this version, or what is to be written cannot be.
pub fn replay(path: &Path, out: Option<&Path>) -> Result<Replayed, RecordingError> {
    let mut reader = Reader::open(path)?;
    let mut run =
        Run { workers: BTreeMap::new(), current: 0, difference: None, captures: out.map(Captures::new) };
    while run.difference.is_none()
        && let Some(record) = reader.next()
    {
        run.obey(record)?;
    }
    if run.workers.is_empty() && run.difference.is_none() {
        return Err(RecordingError(format!("{}: ends before it has begun", path.display())));
    }
    if let Some(captures) = &mut run.captures {
        captures.finish()?;
    }
    Ok(run.end())
}

struct Run {
    workers: BTreeMap<u16, Worker>,
    /// Whose the records are.
    current: u16,
    difference: Option<String>,
    captures: Option<Captures>,
}

/// One worker's node and what came of it.
struct Worker {
    begins: Begins,
    /// `None` while its state is awaited.
    node: Option<Node>,
    outbox: Outbox,
    plans: BTreeMap<u32, Arc<Origin>>,
    /// Where captures of the plan that holds go.
    places: Places,
    /// The pieces of a plan or state that have come.
    pieces: Vec<u8>,
    sends: Digest,
    gossip: Digest,
    /// Events of the segment.
    events: u64,
    /// Of them those that are verified.
    verified: u64,
    replayed: WorkerReplayed,
}

/// Why a record cannot be obeyed: the replay ends there.
type Obeyed = Result<(), String>;

impl Run {
    /// Does what a record says.
    fn obey(&mut self, record: Record) -> Result<(), RecordingError> {
        let obeyed = match record {
            Record::Worker(index) => {
                self.current = index;
                Ok(())
            }
            Record::Start(begins) => {
                match self.workers.entry(self.current) {
                    Entry::Vacant(vacant) => drop(vacant.insert(Worker::new(begins))),
                    Entry::Occupied(worker) => worker.into_mut().begin(begins),
                }
                Ok(())
            }
            Record::Plan { .. }
            | Record::State { .. }
            | Record::Event { .. }
            | Record::Replicas(_)
            | Record::Outputs { .. }
            | Record::End { .. } => match self.workers.get_mut(&self.current) {
                Some(worker) => worker.obey(record, self.captures.as_mut())?,
                None => Err("a worker's records come before its beginning".to_owned()),
            },
        };
        self.difference = obeyed.err().map(|why| match self.workers.len() {
            0 | 1 => why,
            _ => format!("worker {}: {why}", self.current),
        });
        Ok(())
    }

    fn end(self) -> Replayed {
        let mut workers = self.workers.values().map(|worker| &worker.replayed);
        let ended = match (workers.clone().all(|worker| worker.is_ended), workers.any(|it| it.missed > 0)) {
            (false, _) => Ended::CutOff,
            (true, true) => Ended::Overrun,
            (true, false) => Ended::Whole,
        };
        let workers = self.workers.into_values().map(|worker| worker.replayed).collect();
        Replayed { workers, ended, difference: self.difference }
    }
}

impl Worker {
    fn new(begins: Begins) -> Self {
        let replayed =
            WorkerReplayed { worker: begins.index, seed: begins.seed, ..WorkerReplayed::default() };
        let mut worker = Self {
            begins,
            node: None,
            outbox: Outbox::default(),
            plans: BTreeMap::new(),
            places: Places::default(),
            pieces: Vec::new(),
            sends: Digest::default(),
            gossip: Digest::default(),
            events: 0,
            verified: 0,
            replayed,
        };
        worker.begin(begins);
        worker
    }

    /// A segment begins.
    fn begin(&mut self, begins: Begins) {
        self.begins = begins;
        self.pieces.clear();
        (self.sends, self.gossip) = (Digest::default(), Digest::default());
        (self.events, self.verified) = (0, 0);
        self.replayed.segments += 1;
        self.replayed.began_in_the_middle |= self.replayed.segments == 1 && begins.has_state;
        self.replayed.missed = self.replayed.missed.saturating_add(begins.missed);
        self.replayed.is_ended = false;
        self.node = (!begins.has_state).then(|| {
            let node = Node::new(begins.seed);
            if begins.replicas > 1 { node.with_replicas(usize::from(begins.index)) } else { node }
        });
    }

    /// Does what a record says. The outer error: what is to be written cannot be.
    fn obey(&mut self, record: Record, captures: Option<&mut Captures>) -> Result<Obeyed, RecordingError> {
        match record {
            Record::Start(_) | Record::Worker(_) => {}
            Record::Plan { number, is_last, octets } => {
                let Some(whole) = self.gather(is_last, octets) else { return Ok(Ok(())) };
                let Some(origin) = Origin::restore(&whole) else {
                    return Ok(Err("a recorded plan cannot be read".to_owned()));
                };
                self.plans.insert(number, Arc::new(origin));
            }
            Record::State { plan, is_last, octets } => {
                let Some(whole) = self.gather(is_last, octets) else { return Ok(Ok(())) };
                let origin = self.plans.get(&plan);
                self.node = origin.and_then(|origin| restore(&whole, Arc::clone(&origin.plan)));
                let Some(origin) = origin.filter(|_| self.node.is_some()) else {
                    return Ok(Err("the recorded state cannot be read".to_owned()));
                };
                if let Some(captures) = captures {
                    self.places = captures.places(origin)?;
                }
            }
            Record::Replicas(has_replicas) => match &mut self.node {
                Some(node) => node.set_has_replicas(has_replicas),
                None => return Ok(Err(no_state())),
            },
            Record::Event { at, what } => return self.event(at, what, captures),
            Record::Outputs { events, sends, gossip } => {
                if (events, sends, gossip) != (self.events, self.sends.value(), self.gossip.value()) {
                    let before = self.replayed.events - self.events;
                    let (from, to) = (before + self.verified + 1, self.replayed.events);
                    return Ok(Err(format!(
                        "what left after events {from} to {to} is not what was recorded"
                    )));
                }
                self.replayed.verified += events - self.verified;
                self.verified = events;
            }
            Record::End { missed } => {
                self.replayed.missed = self.replayed.missed.saturating_add(missed);
                self.replayed.is_ended = true;
            }
        }
        Ok(Ok(()))
    }

    /// Keeps a piece; all of them after the last.
    fn gather(&mut self, is_last: bool, octets: Vec<u8>) -> Option<Vec<u8>> {
        if self.pieces.len() + octets.len() <= KEPT_MAX {
            self.pieces.extend(octets);
        }
        is_last.then(|| std::mem::take(&mut self.pieces))
    }

    fn event(
        &mut self,
        at: Instant,
        what: Happened,
        mut captures: Option<&mut Captures>,
    ) -> Result<Obeyed, RecordingError> {
        self.events += 1;
        self.replayed.events += 1;
        let wall = Instant::from_nanos(at.as_nanos().saturating_add(self.begins.since_1970_ns));
        let mut frame = self.outbox.pool.take();
        let event = match what {
            Happened::Frame { port, octets } => {
                frame.receive_area()[..octets.len()].copy_from_slice(&octets);
                frame.received(octets.len());
                if let Some(captures) = &mut captures {
                    captures.came(wall, self.places.of(port), &octets)?;
                }
                self.replayed.frames_in += 1;
                Event::Frame { port, frame }
            }
            Happened::Datagram { underlay, from, ecn, offload, octets } => {
                if let Some(captures) = &mut captures {
                    captures.came_by(wall, self.places.underlays.get(&underlay), from, &octets)?;
                }
                assert!(frame.fill(&octets), "the reader refuses what is too long");
                frame.offload = offload;
                self.replayed.frames_in += 1;
                Event::Datagram { underlay, from, ecn, frame }
            }
            Happened::Wake => Event::Wake,
            Happened::Configure(number) => match self.plans.get(&number) {
                Some(origin) => {
                    if let Some(captures) = &mut captures {
                        self.places = captures.places(origin)?;
                    }
                    self.replayed.configurations += 1;
                    Event::Configure(Arc::clone(&origin.plan))
                }
                None => return Ok(Err("a plan holds that was not recorded".to_owned())),
            },
            Happened::Flush(flush) => Event::Flush(flush),
            Happened::KillSessions(filter) => Event::KillSessions(filter),
            Happened::FlushNeighbours { domain, address } => Event::FlushNeighbours { domain, address },
            Happened::Gossip(gossip) => Event::Gossip(gossip),
        };
        let Some(node) = &mut self.node else { return Ok(Err(no_state())) };
        let outbox = &mut self.outbox;
        if catch_unwind(AssertUnwindSafe(|| node.handle(at, event, outbox))).is_err() {
            return Ok(Err(format!("the node panicked at event {}", self.replayed.events)));
        }
        self.sends.outputs(&mut self.gossip, &mut self.outbox, 0);
        self.replayed.frames_out += self.outbox.sends().len() as u64;
        if let Some(captures) = captures {
            captures.left(wall, &self.places, &mut self.outbox)?;
        }
        self.outbox.clear_sends();
        self.outbox.gossip.clear();
        self.outbox.notices.clear();
        Ok(Ok(()))
    }
}

fn no_state() -> String {
    "a segment's events come before its state".to_owned()
}

/// The captures of what came in and left.
struct Captures {
    folder: PathBuf,
    /// The configuration that held last.
    text: String,
    /// By port's name, what came and what left.
    ports: BTreeMap<String, usize>,
    came: Vec<CaptureWriter>,
    left: Vec<CaptureWriter>,
    /// By underlay's local end.
    underlays: BTreeMap<String, usize>,
    came_by: Vec<CaptureWriter>,
}

/// Whose captures the ids of one plan are: an id may be another port's by the next.
#[derive(Default)]
struct Places {
    /// By [`PortId`].
    ports: Vec<Option<usize>>,
    /// Each with its local end.
    underlays: BTreeMap<UnderlayId, (Endpoint, usize)>,
}

impl Places {
    fn of(&self, port: PortId) -> Option<usize> {
        self.ports.get(port.index()).copied().flatten()
    }
}

impl Captures {
    fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            text: String::new(),
            ports: BTreeMap::new(),
            came: Vec::new(),
            left: Vec::new(),
            underlays: BTreeMap::new(),
            came_by: Vec::new(),
        }
    }

    /// Whose captures the ids are while this plan holds. Makes the files of ports and underlays that have none.
    fn places(&mut self, origin: &Origin) -> Result<Places, RecordingError> {
        let folder = self.folder.join(IN_FOLDER);
        fs::create_dir_all(&folder)
            .map_err(|error| RecordingError(format!("{}: cannot create it: {error}", folder.display())))?;
        self.text.clone_from(&origin.text);
        let mut places = Places::default();
        for (name, id) in &origin.ports {
            let place = match self.ports.entry(name.clone()) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(vacant) => {
                    let file = capture_file(name);
                    self.came.push(CaptureWriter::create(&folder.join(&file), name)?);
                    self.left.push(CaptureWriter::create(&self.folder.join(&file), name)?);
                    *vacant.insert(self.left.len() - 1)
                }
            };
            if id.index() >= places.ports.len() {
                places.ports.resize(id.index() + 1, None);
            }
            places.ports[id.index()] = Some(place);
        }
        for underlay in &origin.plan.underlays {
            let name = underlay.local.to_string();
            let path = folder.join(capture_file(&name));
            let place = match self.underlays.entry(name) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(vacant) => {
                    self.came_by.push(CaptureWriter::create(&path, vacant.key())?);
                    *vacant.insert(self.came_by.len() - 1)
                }
            };
            places.underlays.insert(underlay.id, (underlay.local, place));
        }
        Ok(places)
    }

    /// A datagram, behind headers like those that it came with. What is too long for a packet, joined from many, is left
    /// out.
    fn came_by(
        &mut self,
        at: Instant,
        underlay: Option<&(Endpoint, usize)>,
        from: Endpoint,
        payload: &[u8],
    ) -> Result<(), RecordingError> {
        let Some(&(local, place)) = underlay else { return Ok(()) };
        if from.address.is_ipv4() != local.address.is_ipv4() || payload.len() > DATAGRAM_MAX {
            return Ok(());
        }
        let (src, dst) = ((from.address, from.l4_port), (local.address, local.l4_port));
        let macs = (Mac::default(), Mac::default());
        let frame = craft::ip(macs, src.0, dst.0, craft::UDP, &craft::udp(src, dst, payload));
        Ok(self.came_by[place].write(at, crate::capture::Link::Ethernet, &frame)?)
    }

    fn came(&mut self, at: Instant, place: Option<usize>, octets: &[u8]) -> Result<(), RecordingError> {
        let Some(place) = place else { return Ok(()) };
        let (header, frame) = octets.split_at(wire::offload::VNET_HDR_LEN);
        let is_plain = header.iter().all(|&octet| octet == 0);
        let (link, bytes) = match is_plain {
            true => (crate::capture::Link::Ethernet, frame),
            false => (crate::capture::Link::VirtioEthernet, octets),
        };
        Ok(self.came[place].write(at, link, bytes)?)
    }

    fn left(&mut self, at: Instant, places: &Places, out: &mut Outbox) -> Result<(), RecordingError> {
        for index in 0..out.sends().len() {
            let send = out.sends()[index];
            if let Some(place) = places.of(send.port) {
                self.left[place].write_frame(at, out.frame(send))?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), RecordingError> {
        for writer in self.came.iter_mut().chain(&mut self.left).chain(&mut self.came_by) {
            writer.flush()?;
        }
        let path = self.folder.join(CONFIG_FILE);
        fs::write(&path, &self.text)
            .map_err(|error| RecordingError(format!("{}: cannot write it: {error}", path.display())))
    }
}

impl From<crate::capture::CaptureError> for RecordingError {
    fn from(error: crate::capture::CaptureError) -> Self {
        Self(error.to_string())
    }
}
