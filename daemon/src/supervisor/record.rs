//! Recordings of the switch: its whole life into a folder, from now on to a reader, or what the flight recorder still has.

use std::sync::Arc;
use std::time::Duration;

use super::{Options, Supervisor, change};
use crate::api::{ApiError, ErrorKind};
use crate::sys::clock;
use crate::worker::record::{OpenSink, Origins, Recording};
use crate::worker::sink::{self, Ring};

/// How long what has entered may take to the sinks' memory.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

/// What is recorded from the switch's first event on.
pub(super) fn from_the_start(
    options: &Options,
    ring: Option<&Arc<Ring>>,
    workers: usize,
    origins: &Arc<Origins>,
) -> Result<Vec<Arc<Recording>>, ApiError> {
    let mut recordings = Vec::new();
    if let Some(folder) = &options.record {
        let open = sink::folder(folder).map_err(|error| {
            let why = format!("{} cannot be made: {error}", folder.display());
            ApiError::new(ErrorKind::Invalid, "recording", why)
        })?;
        recordings.push(Arc::new(Recording::new(open, origins).awaited()));
    }
    if let Some(ring) = ring {
        let recording = Recording::new(ring.open(), origins).rotating(ring.rotation(workers));
        recordings.push(Arc::new(recording));
    }
    Ok(recordings)
}

pub(super) fn record(supervisor: &Supervisor, open: Box<OpenSink>) -> Result<Arc<Recording>, ApiError> {
    let _state = supervisor.state(); // No change is being made meanwhile: workers neither come nor go.
    let recording = Arc::new(Recording::new(open, &supervisor.origins));
    supervisor.workers.record(&recording).map_err(|error| change::refused("recording", &error))?;
    Ok(recording)
}

pub(super) fn end_recording(supervisor: &Supervisor, recording: &Recording) {
    recording.stop();
    supervisor.workers.mark_recordings(WRITTEN_WITHIN);
}

pub(super) fn recorded_lately(supervisor: &Supervisor, last: Duration) -> Result<Vec<Vec<u8>>, ApiError> {
    let Some(ring) = &supervisor.ring else {
        return Err(ApiError::new(
            ErrorKind::Unavailable,
            "the flight recorder",
            "the switch was started without one",
        )
        .next("start it with `tapestry run --flight-recorder 64MiB`, or record from now on"));
    };
    supervisor.workers.mark_recordings(WRITTEN_WITHIN);
    let nanos = u64::try_from(last.as_nanos()).unwrap_or(u64::MAX);
    let from = clock::now().as_nanos().saturating_sub(nanos);
    Ok(ring.since(wire::Instant::from_nanos(from)))
}
