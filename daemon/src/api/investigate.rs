//! What the control socket speaks when somebody wants to know why: traces, captures, drops as they happen.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sim::capture::Interface;
pub use sim::trace::{Explained, Leaving, Line, Question, Verdict};

use super::ApiError;
pub use crate::worker::record::{Destination, OpenSink, Origins, Recording, Sink};
pub use crate::worker::tap::{Next, Place, Sighting, Sightings, Way};

/// Octets kept of a captured frame unless less is asked for: all of it.
pub const SNAP_LEN_MAX: usize = wire::frame::FRAME_MAX;

/// What the control socket may ask about single packets. As with [`super::Operations`], calls block and may come at once.
pub trait Investigation: Send + Sync + 'static {
    /// What would happen to a packet, and with [`Question::both`] to its answer; nothing is changed by asking.
    /// [`super::ErrorKind::NotFound`] if there is no such port, [`super::ErrorKind::Invalid`] if there is no such packet.
    fn trace(&self, question: &Question) -> Result<Vec<Explained>, ApiError>;
    /// Frames as they come, leave and are dropped, until the watch is dropped. [`super::ErrorKind::NotFound`] if there is
    /// no such port, [`super::ErrorKind::Invalid`] if there is no such filter, [`super::ErrorKind::Unavailable`] if
    /// as many watch as may.
    fn watch(&self, request: &WatchRequest) -> Result<Watch, ApiError>;
    /// Records what enters the workers' nodes from now on, with what they are, into sinks of its own.
    /// [`super::ErrorKind::Unavailable`] if as many recordings run as may, [`super::ErrorKind::Internal`] if the system
    /// refuses.
    fn record(&self, open: Box<OpenSink>) -> Result<Arc<Recording>, ApiError>;
    /// Ends it. Its sinks get what has entered until then, and are dropped.
    fn end_recording(&self, recording: &Recording);
    /// What the flight recorder still has of so long. [`super::ErrorKind::Unavailable`] if
    /// there is none.
    fn recorded_lately(&self, last: Duration) -> Result<Lately, ApiError>;
}

/// What the flight recorder still had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lately {
    /// A recording, in pieces.
    pub pieces: Vec<Vec<u8>>,
    /// How far back it reaches.
    pub reach: Reach,
}

/// How far back the flight recorder reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// So many milliseconds, of every worker.
    pub reaches_ms: u64,
    /// Whether it had more of the time asked for once, which had to go.
    pub has_forgotten: bool,
    /// Octets that it may have.
    pub octets_max: u64,
}

/// What to record.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordRequest {
    /// End after so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Not from now on, but what the flight recorder has of the last so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<u64>,
}

/// A recording that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingInfo {
    /// Its number, which no other has while the switch runs.
    pub number: u64,
    /// Where it goes.
    pub destination: Destination,
    /// Since when, RFC 3339 in UTC with milliseconds.
    pub since: String,
    /// Octets written so far; of the flight recorder those that it has.
    pub octets: u64,
    /// Octets that the flight recorder may have, beyond the tables of its last segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub octets_max: Option<u64>,
    /// Events that could not be kept so far.
    pub missed: u64,
    /// Workers' parts that have ended because they could not be written; the log says why.
    #[serde(default)]
    pub failed: u64,
}

/// The header of a recording's answer that has its number, for `DELETE /v1/recordings/NUMBER`.
pub const RECORDING_NUMBER: &str = "tapestry-recording";

/// The header of a capture's answer that has its number, for `DELETE /v1/captures/NUMBER`.
pub const CAPTURE_NUMBER: &str = "tapestry-capture";

/// The header of what the flight recorder had, with how far that reaches back ([`Reach`], JSON).
pub const RECORDING_REACH: &str = "tapestry-recording-reach";

/// Which frames to show.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchRequest {
    /// At these ports; empty: at all that there are at the beginning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Of these those that match, in the words of tcpdump ([`sim::filter`]); empty: all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// Those that are dropped, and no others. Otherwise those that come in and leave.
    pub drops: bool,
    /// Dropped for this reason, as in `admit.runt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Octets to keep of each; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snap_len: Option<usize>,
    /// End after so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// End after so many frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// Frames as they are seen, and what is needed to show them.
#[derive(Debug)]
pub struct Watch {
    /// Where they come out.
    pub sightings: Sightings,
    /// The ports that are watched, in the order of their names.
    pub ports: Vec<(Place, Interface)>,
    /// Names the ports that come later.
    pub origins: Arc<Origins>,
    /// What has to be added to the switch's clock to have nanoseconds since 1970.
    pub since_1970_ns: u64,
    /// Only this drop reason.
    pub reason: Option<wire::DropReason>,
}

/// A frame that was dropped, as a line of `drops --follow`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropSample {
    /// When, RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// The reason's id.
    pub reason: String,
    /// The port that it is counted at.
    pub port: String,
    /// What it was: MAC and IP addresses, protocol, L4 ports.
    pub packet: String,
    /// Dropped frames that were not shown since the beginning because there were too many.
    pub lost: u64,
}
