//! Replay: the recorded events through a new node, and whether the same comes out.
//!
//! The node's outputs are compared where the worker had sent them, after a burst: a difference is told with the events of
//! that burst. A node that panics is a difference too, at the very event: a recording of a crash is how it is found.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Compiled, Ids};
use node::{Event, Node, Outbox, Plan};
use wire::{Instant, PortId};

use super::Digest;
use super::digest::plan_digest;
use super::read::{Ended, Happened, Reader, Record, RecordingError};
use crate::capture::CaptureWriter;
use crate::replay::capture_file;

/// The configuration that held last, in the output directory.
const CONFIG_FILE: &str = "config.toml";
/// The captures of what came in, in the output directory.
const IN_FOLDER: &str = "in";

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The worker that was recorded.
    pub worker: u16,
    /// The seed of its node.
    pub seed: u64,
    /// Events replayed.
    pub events: u64,
    /// Frames and datagrams among them.
    pub frames_in: u64,
    /// Frames that left.
    pub frames_out: u64,
    /// Events whose outputs were compared and are the same.
    pub verified: u64,
    /// How the recording ends.
    pub ended: Ended,
    /// Where the replay differs from the recording.
    pub difference: Option<String>,
}

/// Replays `path`, and with `out` writes into that directory what came in (`in/PORT.pcapng`) and what left
/// (`PORT.pcapng`), and the configuration.
///
/// # Errors
/// The file is no recording of this version, or what is to be written cannot be.
pub fn replay(path: &Path, out: Option<&Path>) -> Result<Replayed, RecordingError> {
    let mut reader = Reader::open(path)?;
    let Some(Record::Start { seed, index, replicas, since_1970_ns }) = reader.next() else {
        return Err(RecordingError(format!("{}: ends before it has begun", path.display())));
    };
    let node = Node::new(seed);
    let replayed = Replayed {
        worker: index,
        seed,
        events: 0,
        frames_in: 0,
        frames_out: 0,
        verified: 0,
        ended: Ended::CutOff,
        difference: None,
    };
    let mut run = Run {
        node: if replicas > 1 { node.with_replicas(usize::from(index)) } else { node },
        outbox: Outbox::default(),
        plans: Plans::default(),
        sends: Digest::default(),
        gossip: Digest::default(),
        replayed,
        captures: out.map(|out| Captures::new(out, since_1970_ns)),
    };
    while run.replayed.difference.is_none() {
        let Some(record) = reader.next() else { break };
        if run.obey(record)? {
            break;
        }
    }
    if let Some(captures) = &mut run.captures {
        captures.finish(run.plans.text.as_deref())?;
    }
    Ok(run.replayed)
}

struct Run {
    node: Node,
    outbox: Outbox,
    plans: Plans,
    sends: Digest,
    gossip: Digest,
    replayed: Replayed,
    captures: Option<Captures>,
}

/// Plans by their digest, compiled as they were.
#[derive(Default)]
struct Plans {
    ids: Ids,
    known: BTreeMap<u64, (Arc<Plan>, Compiled)>,
    text: Option<String>,
}

impl Run {
    /// Does what a record says; `true` after the last.
    fn obey(&mut self, record: Record) -> Result<bool, RecordingError> {
        match record {
            Record::Start { .. } => self.differ("the recording begins twice".to_owned()),
            Record::Plan { digest, text, mtus } => {
                if let Err(why) = self.plans.compile(digest, text, &mtus) {
                    self.differ(why);
                }
            }
            Record::Replicas(has_replicas) => self.node.set_has_replicas(has_replicas),
            Record::Event { at, what } => self.event(at, what)?,
            Record::Outputs { events, sends, gossip } => {
                let same = (events, sends, gossip)
                    == (self.replayed.events, self.sends.value(), self.gossip.value());
                if same {
                    self.replayed.verified = events;
                } else {
                    let (from, to) = (self.replayed.verified + 1, self.replayed.events);
                    self.differ(format!("what left after events {from} to {to} is not what was recorded"));
                }
            }
            Record::End { is_whole } => {
                self.replayed.ended = if is_whole { Ended::Whole } else { Ended::Overrun };
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn event(&mut self, at: Instant, what: Happened) -> Result<(), RecordingError> {
        self.replayed.events += 1;
        let mut frame = self.outbox.pool.take();
        let event = match what {
            Happened::Frame { port, octets } => {
                frame.receive_area()[..octets.len()].copy_from_slice(&octets);
                frame.received(octets.len());
                if let Some(captures) = &mut self.captures {
                    captures.came(at, port, &octets)?;
                }
                self.replayed.frames_in += 1;
                Event::Frame { port, frame }
            }
            Happened::Datagram { underlay, from, ecn, offload, octets } => {
                assert!(frame.fill(&octets), "the reader refuses what is too long");
                frame.offload = offload;
                self.replayed.frames_in += 1;
                Event::Datagram { underlay, from, ecn, frame }
            }
            Happened::Wake => Event::Wake,
            Happened::Configure(digest) => match self.plans.known.get(&digest) {
                Some((plan, compiled)) => {
                    if let Some(captures) = &mut self.captures {
                        captures.ports(compiled)?;
                    }
                    Event::Configure(Arc::clone(plan))
                }
                None => {
                    self.differ("a plan holds whose text was not recorded".to_owned());
                    return Ok(());
                }
            },
            Happened::Flush(flush) => Event::Flush(flush),
            Happened::KillSessions(filter) => Event::KillSessions(filter),
            Happened::FlushNeighbours { domain, address } => Event::FlushNeighbours { domain, address },
            Happened::Gossip(gossip) => Event::Gossip(gossip),
        };
        let handled = catch_unwind(AssertUnwindSafe(|| self.node.handle(at, event, &mut self.outbox)));
        if handled.is_err() {
            self.differ(format!("the node panicked at event {}", self.replayed.events));
            return Ok(());
        }
        self.sends.outputs(&mut self.gossip, &mut self.outbox, 0);
        self.replayed.frames_out += self.outbox.sends().len() as u64;
        if let Some(captures) = &mut self.captures {
            captures.left(at, &mut self.outbox)?;
        }
        self.outbox.clear_sends();
        self.outbox.gossip.clear();
        self.outbox.notices.clear();
        Ok(())
    }

    fn differ(&mut self, why: String) {
        self.replayed.difference = Some(why);
    }
}

impl Plans {
    fn compile(&mut self, digest: u64, text: String, mtus: &[(String, u16)]) -> Result<(), String> {
        let config = config::check("the recorded configuration", &text)
            .map_err(|report| format!("this version refuses the recorded configuration: {report}"))?;
        let mut compiled = config::compile(&config, &mut self.ids);
        compiled.leave_to_sockets();
        for (name, mtu) in mtus {
            compiled.follow(name, *mtu);
        }
        if plan_digest(&compiled.plan) != digest {
            return Err("this version makes another plan of the recorded configuration".to_owned());
        }
        self.known.insert(digest, (Arc::new(compiled.plan.clone()), compiled));
        self.text = Some(text);
        Ok(())
    }
}

/// The captures of what came in and left.
struct Captures {
    folder: PathBuf,
    since_1970_ns: u64,
    came: BTreeMap<PortId, CaptureWriter>,
    left: BTreeMap<PortId, CaptureWriter>,
}

impl Captures {
    fn new(folder: &Path, since_1970_ns: u64) -> Self {
        Self { folder: folder.to_owned(), since_1970_ns, came: BTreeMap::new(), left: BTreeMap::new() }
    }

    /// Makes the files of ports that have none. One whose id had been another port's before goes on in that one's.
    fn ports(&mut self, compiled: &Compiled) -> Result<(), RecordingError> {
        let folder = self.folder.join(IN_FOLDER);
        fs::create_dir_all(&folder)
            .map_err(|error| RecordingError(format!("{}: cannot create it: {error}", folder.display())))?;
        for (name, port) in &compiled.ports {
            for (files, folder) in [(&mut self.came, &folder), (&mut self.left, &self.folder)] {
                if let std::collections::btree_map::Entry::Vacant(vacant) = files.entry(port.id) {
                    let path = folder.join(capture_file(name));
                    vacant.insert(CaptureWriter::create(&path, name)?);
                }
            }
        }
        Ok(())
    }

    fn wall(&self, at: Instant) -> Instant {
        Instant::from_nanos(at.as_nanos().saturating_add(self.since_1970_ns))
    }

    fn came(&mut self, at: Instant, port: PortId, octets: &[u8]) -> Result<(), RecordingError> {
        let at = self.wall(at);
        let Some(writer) = self.came.get_mut(&port) else { return Ok(()) };
        let (header, frame) = octets.split_at(wire::offload::VNET_HDR_LEN);
        let is_plain = header.iter().all(|&octet| octet == 0);
        let (link, bytes) = match is_plain {
            true => (crate::capture::Link::Ethernet, frame),
            false => (crate::capture::Link::VirtioEthernet, octets),
        };
        Ok(writer.write(at, link, bytes)?)
    }

    fn left(&mut self, at: Instant, out: &mut Outbox) -> Result<(), RecordingError> {
        let at = self.wall(at);
        for index in 0..out.sends().len() {
            let send = out.sends()[index];
            if let Some(writer) = self.left.get_mut(&send.port) {
                writer.write_frame(at, out.frame(send))?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, text: Option<&str>) -> Result<(), RecordingError> {
        for writer in self.came.values_mut().chain(self.left.values_mut()) {
            writer.flush()?;
        }
        let Some(text) = text else { return Ok(()) };
        let path = self.folder.join(CONFIG_FILE);
        fs::write(&path, text)
            .map_err(|error| RecordingError(format!("{}: cannot write it: {error}", path.display())))
    }
}

impl From<crate::capture::CaptureError> for RecordingError {
    fn from(error: crate::capture::CaptureError) -> Self {
        Self(error.to_string())
    }
}
