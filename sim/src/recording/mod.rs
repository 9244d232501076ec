//! Recordings: every event that entered the workers' nodes, and digests of what came out, so that the run can be had again.
//!
//! ```text
//!  file    "TAPREC", version ─▶ record ─▶ record ─▶ …           little-endian throughout
//!  record  length of the body (4) │ kind (1) │ body │ checksum of kind and body (4)
//!  kinds   worker: whose the records from here on are
//!          start: seed, worker, replicas, what is missing before      plan, state: in pieces, see [`keep`]
//!          frame, datagram, wake, configure, flush, kill sessions, flush neighbours, gossip: each with its time
//!          replicas: alone or not from now on  outputs: events so far, digest of all that left until then
//!          end: whole, or something could not be kept
//! ```
//!
//! Each worker's records are *segments*. One begins with the worker's first event, when its node is empty, or at any later
//! moment with the node as it was then and its plan: so a replay is exact either way, and knows nothing of what was
//! before. Where something could not be kept in time (a disk or a reader that is too slow), the segment ends at the last
//! event that was, and the next one says how many events lie between ([`Replayed::missed`]): a replay with a hidden gap
//! would be a lie.
//!
//! A file that was cut off (`kill -9`, a full disk) or damaged ends at its last whole record; what it says until then
//! holds. Limits: [`BODY_MAX`] octets a record and [`KEPT_MAX`] a plan or state, whatever their length fields say, and
//! [`WORKERS_MAX`] workers. A file of another version is refused: states are kept in this version's own form.

mod digest;
mod golden;
mod kept;
mod read;
mod replay;
mod survey;
mod write;

pub use digest::Digest;
pub use golden::{Golden, golden};
pub use kept::{Origin, keep, restore};
pub use read::{Ended, Reader, RecordingError};
pub use replay::{Replayed, WorkerReplayed, replay};
pub use survey::Survey;
pub use write::{Begins, Recorder, end_of, header, origin_records, state_records};

/// The first octets of a recording.
pub const MAGIC: &[u8; 6] = b"TAPREC";
/// The version that this program writes and reads.
pub const VERSION: u16 = 3;
/// Octets of one record's body. A record that says that it is longer is damaged.
pub const BODY_MAX: usize = 32 << 20;
/// Octets of a plan or a state in all its pieces. One that says that it is longer is damaged.
pub const KEPT_MAX: usize = 1 << 30;
/// Octets of one piece of a plan or a state.
const PIECE_LEN: usize = 1 << 20;
/// Workers of one recording. A record that says that it is of another one is damaged.
pub const WORKERS_MAX: u16 = 1_024;

/// The kinds of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Start,
    Plan,
    State,
    Worker,
    Frame,
    Datagram,
    Wake,
    Configure,
    Flush,
    KillSessions,
    FlushNeighbours,
    Gossip,
    Replicas,
    Outputs,
    End,
}

impl Kind {
    const ALL: [Self; 15] = [
        Self::Start,
        Self::Plan,
        Self::State,
        Self::Worker,
        Self::Frame,
        Self::Datagram,
        Self::Wake,
        Self::Configure,
        Self::Flush,
        Self::KillSessions,
        Self::FlushNeighbours,
        Self::Gossip,
        Self::Replicas,
        Self::Outputs,
        Self::End,
    ];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

#[cfg(test)]
mod tests;
