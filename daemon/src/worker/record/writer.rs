//! The thread of one worker's part: it makes octets of what it is handed and gives them to the sink.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};
use node::{Node, Plan};
use sim::recording::{origin_records, state_records};

use super::{Origins, ROOM_LEN, Sink, Sunk};

/// What a worker hands to its thread.
pub(super) enum Piece {
    /// Records.
    Records(Vec<u8>),
    /// A segment begins with the next piece.
    Begins,
    /// A plan and its number.
    Plan(u32, Arc<Plan>),
    /// The node while the plan of this number holds.
    State(u32, Box<Node>),
    /// Say when everything before has been written.
    Mark(Sender<()>),
}

impl Piece {
    /// Octets that it takes in memory while it waits. A plan is shared, and of nodes there is one a segment: those are not
    /// counted.
    pub(super) const fn octets(&self) -> usize {
        match self {
            Self::Records(octets) => octets.capacity(),
            Self::Begins | Self::Plan(..) | Self::State(..) | Self::Mark(_) => 0,
        }
    }
}

/// What a worker and its thread know of what is between them.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    octets: AtomicUsize,
    /// Whether the worker keeps something until nothing waits any more.
    is_kept: AtomicBool,
}

impl Waiting {
    /// Adds to what waits; `false` if that is more than `max` then.
    pub(super) fn add(&self, octets: usize, max: usize) -> bool {
        self.octets.fetch_add(octets, Ordering::Relaxed) + octets <= max
    }

    pub(super) fn sub(&self, octets: usize) {
        self.octets.fetch_sub(octets, Ordering::Relaxed);
    }

    pub(super) fn octets(&self) -> usize {
        self.octets.load(Ordering::Relaxed)
    }

    /// Asks the thread to wake the worker when nothing waits any more. `false` if that is so already.
    pub(super) fn keep(&self, waits: impl FnOnce() -> bool) -> bool {
        // The thread looks at this after it has taken the last piece: either it sees it, or we see that nothing waits.
        self.is_kept.store(true, Ordering::SeqCst);
        waits()
    }
}

/// The thread of one worker's part.
pub(super) struct Writer {
    pub(super) index: u16,
    pub(super) sink: Box<dyn Sink>,
    pub(super) origins: Arc<Origins>,
    pub(super) sunk: Arc<Sunk>,
    pub(super) waiting: Arc<Waiting>,
    /// Wakes the worker.
    pub(super) wake: Box<dyn Fn() + Send>,
}

impl Writer {
    /// Writes what comes until nothing more can, and gives the room back.
    pub(super) fn write_all(&mut self, pieces: &Receiver<Piece>, spare: &Sender<Vec<u8>>) {
        while let Ok(piece) = pieces.recv() {
            let octets = piece.octets();
            let written = self.write(piece, spare);
            self.waiting.sub(octets);
            if pieces.is_empty() && self.waiting.is_kept.swap(false, Ordering::SeqCst) {
                (self.wake)();
            }
            let Err(error) = written else { continue };
            self.sunk.failed.fetch_add(1, Ordering::Relaxed);
            if error.kind() != io::ErrorKind::BrokenPipe {
                let index = self.index;
                tracing::error!("the recording of worker {index} ends here: it cannot be written: {error}");
            }
            return;
        }
    }

    fn write(&mut self, piece: Piece, spare: &Sender<Vec<u8>>) -> io::Result<()> {
        match piece {
            Piece::Records(octets) => {
                let mut room = self.sink(octets)?;
                room.clear();
                if room.capacity() >= ROOM_LEN {
                    let _ = spare.try_send(room); // No place for the room: it is given up.
                }
            }
            Piece::Begins => self.sink.begin(),
            Piece::Plan(number, plan) => {
                self.sink(origin_records(self.index, number, &self.origins.of(&plan)))?;
            }
            Piece::State(number, node) => {
                self.sink(state_records(self.index, number, &node))?;
            }
            Piece::Mark(done) => {
                let _ = done.send(()); // Who asked may have gone.
            }
        }
        Ok(())
    }

    fn sink(&mut self, octets: Vec<u8>) -> io::Result<Vec<u8>> {
        let len = octets.len() as u64;
        let room = self.sink.write(octets)?;
        self.sunk.octets.fetch_add(len, Ordering::Relaxed);
        Ok(room)
    }
}
