//! Recordings of the switch: its whole life into a folder, from now on to a reader, or what the flight recorder still has.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Options, Supervisor, change};
use crate::api::{ApiError, Destination, ErrorKind, Lately, Reach, RecordingInfo, Warning};
use crate::sys::clock;
use crate::worker::record::{OpenSink, Origins, RECORDINGS_MAX, Recording};
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
        recordings.push(Arc::new(Recording::new(1, Destination::Folder, open, origins).awaited()));
    }
    if let Some(ring) = ring {
        let number = recordings.len() as u64 + 1;
        let recording = Recording::new(number, Destination::FlightRecorder, ring.open(), origins);
        recordings.push(Arc::new(recording.rotating(ring.rotation(workers))));
    }
    Ok(recordings)
}

pub(super) fn record(supervisor: &Supervisor, open: Box<OpenSink>) -> Result<Arc<Recording>, ApiError> {
    let _state = supervisor.state(); // No change is being made meanwhile: workers neither come nor go.
    let running = supervisor.workers.recordings().len();
    if running >= RECORDINGS_MAX {
        let why = format!("{running} recordings run already");
        return Err(ApiError::new(ErrorKind::Unavailable, "the recording", why)
            .next("`tapestry status` lists them; interrupt a `tapestry record` to end its own"));
    }
    let number = supervisor.recordings_begun.fetch_add(1, Ordering::Relaxed) + 1;
    let recording = Arc::new(Recording::new(number, Destination::Reader, open, &supervisor.origins));
    supervisor.workers.record(&recording).map_err(|error| change::refused("recording", &error))?;
    Ok(recording)
}

pub(super) fn end_recording(supervisor: &Supervisor, recording: &Recording) {
    recording.stop();
    supervisor.workers.mark_recordings(WRITTEN_WITHIN);
}

/// The recordings that run, in the order in which they began.
pub(super) fn infos(supervisor: &Supervisor) -> Vec<RecordingInfo> {
    let ring = |destination| supervisor.ring.as_ref().filter(|_| destination == Destination::FlightRecorder);
    let info = |recording: Arc<Recording>| {
        let ring = ring(recording.destination());
        RecordingInfo {
            number: recording.number(),
            destination: recording.destination(),
            since: humantime::format_rfc3339_millis(recording.since()).to_string(),
            octets: ring.map_or_else(|| recording.octets(), |ring| ring.len() as u64),
            octets_max: ring.map(|ring| ring.octets_max() as u64),
            missed: recording.missed(),
            failed: recording.failed(),
        }
    };
    let mut infos: Vec<RecordingInfo> = supervisor.workers.recordings().into_iter().map(info).collect();
    infos.sort_by_key(|info| info.number);
    infos
}

/// Recordings that nobody would miss otherwise, of which something cannot be written.
pub(super) fn warnings(supervisor: &Supervisor) -> Vec<Warning> {
    let mut infos = infos(supervisor);
    infos.retain(|info| info.failed > 0 && info.destination != Destination::Reader);
    let warning = |RecordingInfo { number, destination, failed, .. }: RecordingInfo| Warning {
        text: format!(
            "recording {number} ({}) has ended for {failed} workers: it could not be written",
            destination.as_str()
        ),
        next: "the log says why; when there is room again, `tapestry record` records from then on".to_owned(),
    };
    infos.into_iter().map(warning).collect()
}

pub(super) fn recorded_lately(supervisor: &Supervisor, last: Duration) -> Result<Lately, ApiError> {
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
    let now = clock::now();
    let kept = ring.since(wire::Instant::from_nanos(now.as_nanos().saturating_sub(nanos)));
    let reaches_ms = u64::try_from(now.since(kept.began.unwrap_or(now)).as_millis()).unwrap_or(u64::MAX);
    let octets_max = ring.octets_max() as u64;
    let reach = Reach { reaches_ms, has_forgotten: kept.has_forgotten, octets_max };
    Ok(Lately { pieces: kept.pieces, reach })
}
