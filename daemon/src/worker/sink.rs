//! Where recordings go: a file for each worker, a reader who takes them as they come, or nowhere but memory.
//!
//! [`folder`] keeps a switch's whole life. [`Ring`] is the flight recorder: segments in memory, the oldest of which go when
//! there are more octets than it may have; whoever wants them later takes a copy of what is there. Of each worker it keeps
//! its share and at least one segment, so what a state takes (its tables) comes on top.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sim::recording::{end_of, header};
use wire::Instant;

use super::record::{OpenSink, Rotation, Sink};
use crate::sys::clock;

/// Recordings of one worker in one folder. A further one is refused.
const FILES_MAX: u32 = 1_000;
/// Segments that a worker's share of the ring is good for.
const SEGMENTS: usize = 8;
/// How long a segment of the ring is at most.
const SEGMENT_LASTS: Duration = Duration::from_secs(5);
/// Octets of the ring that are taken from the system at once.
const BLOCK_LEN: usize = 1 << 20;

/// A file for each worker in `folder`, which is made if need be. What is there stays: a worker that went and came again
/// has a second one.
///
/// # Errors
/// The folder cannot be made.
pub fn folder(folder: &Path) -> io::Result<Box<OpenSink>> {
    std::fs::create_dir_all(folder)?;
    let folder = folder.to_owned();
    Ok(Box::new(move |index| {
        let mut file = create(&folder, index)?;
        file.write_all(&header())?;
        Ok(Box::new(file) as Box<dyn Sink>)
    }))
}

fn create(folder: &Path, index: usize) -> io::Result<File> {
    let mut path: PathBuf = folder.join(format!("worker-{index}.rec"));
    for again in 2..=FILES_MAX {
        match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                path = folder.join(format!("worker-{index}.{again}.rec"));
            }
            made => {
                tracing::info!("worker {index} is recorded in {}", path.display());
                return made;
            }
        }
    }
    let why = format!("{} has {FILES_MAX} recordings of worker {index} already", folder.display());
    Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
}

impl Sink for File {
    fn write(&mut self, octets: Vec<u8>) -> io::Result<Vec<u8>> {
        self.write_all(&octets)?;
        Ok(octets)
    }
}

/// The flight recorder's memory.
#[derive(Debug)]
pub struct Ring {
    octets_max: usize,
    /// By worker, oldest first.
    shares: Mutex<BTreeMap<usize, Share>>,
}

#[derive(Debug, Default)]
struct Share {
    segments: VecDeque<Segment>,
    /// Whether there were more once.
    has_forgotten: bool,
}

/// What a ring still has of some time.
#[derive(Debug)]
pub struct Kept {
    /// A recording, in pieces.
    pub pieces: Vec<Vec<u8>>,
    /// Since when nothing is missing; `None`: there is nothing at all.
    pub began: Option<Instant>,
    /// Whether there was more of that time once.
    pub has_forgotten: bool,
}

#[derive(Debug)]
struct Segment {
    began: Instant,
    blocks: Vec<Vec<u8>>,
    len: usize,
}

struct RingSink {
    ring: Arc<Ring>,
    index: usize,
}

impl Ring {
    /// A ring of so many octets for all workers together.
    pub fn new(octets_max: usize) -> Arc<Self> {
        Arc::new(Self { octets_max, shares: Mutex::default() })
    }

    /// The workers' sinks.
    pub fn open(self: &Arc<Self>) -> Box<OpenSink> {
        let ring = Arc::clone(self);
        Box::new(move |index| {
            ring.shares().insert(index, Share::default());
            Ok(Box::new(RingSink { ring: Arc::clone(&ring), index }) as Box<dyn Sink>)
        })
    }

    /// How long the segments of one of so many workers are.
    pub fn rotation(&self, workers: usize) -> Rotation {
        Rotation { octets_max: self.octets_max / workers.max(1) / SEGMENTS, every: SEGMENT_LASTS }
    }

    /// Octets that it may keep.
    pub const fn octets_max(&self) -> usize {
        self.octets_max
    }

    /// Octets kept.
    pub fn len(&self) -> usize {
        self.shares().values().flat_map(|share| &share.segments).map(|segment| segment.len).sum()
    }

    /// Whether nothing is kept yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is kept of the time since `from`: of each worker the segment that was being made then and all later ones.
    pub fn since(&self, from: Instant) -> Kept {
        let mut kept = Kept { pieces: vec![header().to_vec()], began: None, has_forgotten: false };
        for (&index, Share { segments, has_forgotten }) in self.shares().iter() {
            let first = segments.iter().rposition(|segment| segment.began <= from).unwrap_or(0);
            let Some(began) = segments.get(first).map(|segment| segment.began) else { continue };
            let is_short = *has_forgotten && began > from;
            let is_told = match (kept.began, kept.has_forgotten) {
                (Some(told), true) => is_short && began > told,
                (Some(told), false) => is_short || began < told,
                (None, _) => true,
            };
            if is_told {
                (kept.began, kept.has_forgotten) = (Some(began), is_short);
            }
            for segment in segments.range(first..) {
                kept.pieces.extend(segment.blocks.iter().cloned());
            }
            kept.pieces.push(end_of(u16::try_from(index).expect("workers are few"), 0));
        }
        kept
    }

    fn shares(&self) -> MutexGuard<'_, BTreeMap<usize, Share>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for RingSink {
    fn begin(&mut self) {
        let segment = Segment { began: clock::now(), blocks: Vec::new(), len: 0 };
        self.ring.shares().entry(self.index).or_default().segments.push_back(segment);
    }

    fn write(&mut self, octets: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut shares = self.ring.shares();
        let share_max = self.ring.octets_max / shares.len().max(1);
        let Share { segments, has_forgotten } = shares.entry(self.index).or_default();
        if let Some(segment) = segments.back_mut() {
            segment.keep(&octets);
        }
        let mut len: usize = segments.iter().map(|segment| segment.len).sum();
        while len > share_max && segments.len() > 1 {
            len -= segments.pop_front().map_or(0, |segment| segment.len);
            *has_forgotten = true;
        }
        Ok(octets)
    }
}

impl Segment {
    fn keep(&mut self, octets: &[u8]) {
        self.len += octets.len();
        match self.blocks.last_mut().filter(|block| block.capacity() - block.len() >= octets.len()) {
            Some(block) => block.extend_from_slice(octets),
            None => {
                let mut block = Vec::with_capacity(octets.len().max(BLOCK_LEN));
                block.extend_from_slice(octets);
                self.blocks.push(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_forgets_its_oldest_segments() {
        let ring = Ring::new(100);
        let mut sink = ring.open()(0).unwrap();
        assert!(ring.is_empty());
        assert_eq!(ring.since(Instant::ZERO).began, None);
        sink.write(vec![9; 50]).unwrap(); // Before a segment begins nothing is kept.
        for number in 1..=4 {
            sink.begin();
            sink.write(vec![number; 40]).unwrap();
        }
        assert_eq!(ring.len(), 80);
        let began = |at: usize| ring.shares()[&0].segments[at].began;
        assert_eq!(ring.since(began(1)).began, Some(began(1)));
        let Kept { pieces, began, has_forgotten } = ring.since(Instant::ZERO);
        assert!(
            has_forgotten && began.is_some_and(|began| began > Instant::ZERO),
            "it does not reach so far"
        );
        let kept = pieces.concat();
        let body = &kept[header().len()..kept.len() - end_of(0, 0).len()];
        assert_eq!(body, [[3; 40], [4; 40]].concat());
        // One segment stays whatever its length, and whoever asks for less gets the last.
        sink.write(vec![5; 400]).unwrap();
        assert_eq!(ring.len(), 440);
        sink.begin();
        sink.write(vec![6; 7]).unwrap();
        assert_eq!(ring.len(), 7);
        assert!(ring.since(clock::now()).pieces.concat().contains(&6));
    }
}
