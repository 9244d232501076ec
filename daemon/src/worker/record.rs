//! Recording: what enters each worker's node, to disk, from its first event on ([`sim::recording`]).
//!
//! ```text
//!  worker ─▶ Track: records in memory ─ 64 KiB at a time ─▶ bounded channel ─▶ a thread ─▶ DIR/worker-N.rec
//! ```
//!
//! The worker copies each frame once and never waits for the disk. If the disk is too slow for as long as
//! [`CHUNKS_MAX`] pieces bridge, or refuses, the recording of that worker ends there and says so: a gap would make the
//! rest worthless. A worker without recording asks once an event whether it has one.
//!
//! Plans are recorded as the configuration that they were compiled from, which the supervisor announces before it gives
//! them to the workers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use node::{Event, Outbox, Plan};
use sim::recording::{Recorder, plan_digest};
use wire::Instant;

use crate::sys::clock;

/// Pieces that wait for the disk, of each worker: some 256 MiB. At it the recording ends.
const CHUNKS_MAX: usize = 4_096;
/// Emptied pieces that are kept to be filled again.
const SPARE_MAX: usize = 64;
/// Octets after which a piece is handed over. A worker that has nothing to do hands over what there is.
const CHUNK_LEN: usize = 64 * 1024;
/// Recordings of one worker in one folder. A further one is refused.
const FILES_MAX: u32 = 1_000;
/// How long the end of a worker waits for the disk.
const LAST_WITHIN: Duration = Duration::from_secs(5);

/// Where the workers' recordings go, and what their plans were compiled from.
#[derive(Debug)]
pub struct Recording {
    folder: PathBuf,
    /// By the plan's digest.
    plans: Mutex<BTreeMap<u64, Origin>>,
}

/// What a plan was compiled from: the configuration's text, and the MTUs of interfaces that are not ours.
type Origin = (String, Vec<(String, u16)>);

impl Recording {
    /// Recordings in `folder`, which is made if need be.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), plans: Mutex::default() })
    }

    /// The plan that the workers are about to get was compiled from this text, and these MTUs.
    pub fn announce(&self, plan: &Plan, text: String, mtus: Vec<(String, u16)>) {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        plans.insert(plan_digest(plan), (text, mtus));
    }

    /// A new file for a worker. What is there stays: a worker that went and came again has a second one.
    fn create(&self, index: usize) -> io::Result<File> {
        let mut path = self.folder.join(format!("worker-{index}.rec"));
        for again in 2..=FILES_MAX {
            match File::create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    path = self.folder.join(format!("worker-{index}.{again}.rec"));
                }
                made => {
                    tracing::info!("worker {index} is recorded in {}", path.display());
                    return made;
                }
            }
        }
        let why = format!("{} has {FILES_MAX} recordings of worker {index} already", self.folder.display());
        Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
    }

    /// Begins the recording of a worker whose node is new.
    pub(super) fn begin(self: &Arc<Self>, index: usize, replicas: usize, seed: u64) -> io::Result<Track> {
        let file = self.create(index)?;
        let (chunks, written) = bounded::<Vec<u8>>(CHUNKS_MAX);
        let (spare, rooms) = bounded(SPARE_MAX);
        let thread = std::thread::Builder::new()
            .name(format!("record-{index}"))
            .spawn(move || write(file, &written, &spare))?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let wall_ns = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        let since_1970_ns = wall_ns.saturating_sub(clock::now().as_nanos());
        let [index, replicas] = [index, replicas].map(|count| u16::try_from(count).expect("workers are few"));
        Ok(Track {
            recorder: Recorder::new(seed, index, replicas, since_1970_ns),
            chunks: Some(chunks),
            rooms,
            recording: Arc::clone(self),
            known: BTreeSet::new(),
            thread: Some(thread),
        })
    }
}

/// Writes what comes until nothing more can, and gives the room back.
fn write(mut file: File, chunks: &Receiver<Vec<u8>>, spare: &Sender<Vec<u8>>) {
    while let Ok(mut chunk) = chunks.recv() {
        if let Err(error) = file.write_all(&chunk) {
            tracing::error!("the recording ends here: it cannot be written: {error}");
            return;
        }
        chunk.clear();
        let _ = spare.try_send(chunk); // No room for the room: it is given up.
    }
}

/// One worker's recording.
#[derive(Debug)]
pub(super) struct Track {
    recorder: Recorder,
    /// `None` once the recording has ended.
    chunks: Option<Sender<Vec<u8>>>,
    rooms: Receiver<Vec<u8>>,
    recording: Arc<Recording>,
    /// Plans whose text is in the file.
    known: BTreeSet<u64>,
    thread: Option<JoinHandle<()>>,
}

impl Track {
    /// The node is about to handle this.
    pub(super) fn event(&mut self, at: Instant, event: &Event) {
        if self.chunks.is_none() {
            return;
        }
        if let Event::Configure(plan) = event {
            let digest = plan_digest(plan);
            let plans = self.recording.plans.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((text, mtus)) = plans.get(&digest).filter(|_| self.known.insert(digest)) {
                self.recorder.plan(digest, text, mtus);
            }
        }
        self.recorder.event(at, event);
        if self.recorder.len() >= CHUNK_LEN {
            self.hand_over();
        }
    }

    /// The node has replicas from now on, or none.
    pub(super) fn replicas(&mut self, has_replicas: bool) {
        if self.chunks.is_some() {
            self.recorder.replicas(has_replicas);
        }
    }

    /// The outbox is about to be emptied.
    pub(super) fn outputs(&mut self, out: &mut Outbox) {
        if self.chunks.is_some() {
            self.recorder.outputs(out);
        }
    }

    /// Gives the disk what there is.
    pub(super) fn hand_over(&mut self) {
        let Some(chunks) = &self.chunks else { return };
        if self.recorder.is_empty() {
            return;
        }
        let room = self.rooms.try_recv().unwrap_or_default();
        match chunks.try_send(self.recorder.take(room)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                tracing::error!("the recording ends here: the disk is too slow");
                self.finish(false);
            }
            Err(TrySendError::Disconnected(_)) => self.chunks = None,
        }
    }

    /// Ends the recording. What has been lost is not in it: the events before are.
    fn finish(&mut self, is_whole: bool) {
        let Some(chunks) = self.chunks.take() else { return };
        self.recorder.end(is_whole);
        let last = self.recorder.take(Vec::new());
        if is_whole {
            let _ = chunks.send_timeout(last, LAST_WITHIN);
        } else {
            // The disk is behind; a thread of its own waits for it, so that the worker does not.
            drop(std::thread::Builder::new().spawn(move || chunks.send_timeout(last, LAST_WITHIN)));
        }
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        self.finish(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the recording's thread has panicked");
        }
    }
}
