//! Recordings: every event that entered a worker's node, and a digest of what came out, so that the run can be had again.
//!
//! ```text
//!  file    "TAPREC", version ─▶ record ─▶ record ─▶ …           little-endian throughout
//!  record  length of the body (4) │ kind (1) │ body │ checksum of kind and body (4)
//!  kinds   start: seed, worker, replicas      plan: its digest, the configuration's text, MTUs of interfaces
//!          frame, datagram, wake, configure, flush, kill sessions, flush neighbours, gossip: each with its time
//!          replicas: alone or not from now on  outputs: events so far, digest of all that left until then
//!          end: whole, or something could not be kept
//! ```
//!
//! A recording begins with a worker's first event, when its node is empty: nothing else needs to be kept of the state,
//! and a replay is exact. A plan is kept as the text that it was compiled from, with its digest: a version that compiles
//! the text to another plan says so and does not guess.
//!
//! A file that was cut off (`kill -9`, a full disk) or damaged ends at its last whole record; what it says until then
//! holds. What a worker could not hand to the disk in time ends the recording ([`Ended::Overrun`]): a replay with a gap
//! would be a lie. Limits: [`BODY_MAX`] octets a record, whatever its length field says.

mod digest;
mod read;
mod replay;
mod write;

pub use digest::{Digest, plan_digest};
pub use read::{Ended, Reader, RecordingError};
pub use replay::{Replayed, replay};
pub use write::Recorder;

/// The first octets of a recording.
pub const MAGIC: &[u8; 6] = b"TAPREC";
/// The version that this program writes and reads.
pub const VERSION: u16 = 1;
/// Octets of one record's body. A record that says that it is longer is damaged.
pub const BODY_MAX: usize = 32 << 20;

/// The kinds of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Start,
    Plan,
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
    const ALL: [Self; 13] = [
        Self::Start,
        Self::Plan,
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
