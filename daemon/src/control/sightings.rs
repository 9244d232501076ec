//! What a watch sees, as a stream of an answer's body: pcapng octets, or a line for each dropped frame.
//!
//! A thread of its own turns what is seen into octets, because waiting for frames blocks. It ends when the reader has
//! gone, the switch stops, or what was asked for has been seen. A reader that does not keep up loses frames, counted;
//! [`CHUNKS_MAX`] pieces wait for it here, besides what the taps hold. At most [`WATCHES_MAX`] threads run.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use futures_util::stream;
use sim::capture::{CaptureStream, Caught, Direction, Interface};
use tokio::sync::{mpsc, watch};
use wire::{DropReason, Instant, PortId};

use crate::api::{ApiError, DropSample, ErrorKind, Next, Sighting, Watch, WatchRequest, Way};

/// Watches at once. Further ones are refused.
pub(super) const WATCHES_MAX: usize = 8;
/// Pieces of an answer that wait for its reader.
const CHUNKS_MAX: usize = 16;
/// A piece is sent when it has so many octets, or when nothing is seen for a while.
const CHUNK_LEN: usize = 32 * 1024;
/// How long to wait for the next frame before what there is is sent, and before looking whether anybody still reads.
const QUIET: Duration = Duration::from_millis(50);

/// How a watch's frames become octets.
pub(super) enum Form {
    /// A capture file.
    Pcapng,
    /// A JSON line for each.
    Lines,
}

/// A place among the watches, given back when it is dropped.
pub(super) struct Seat(Arc<AtomicUsize>);

impl Seat {
    /// # Errors
    /// [`ErrorKind::Unavailable`] if all are taken.
    pub(super) fn take(taken: &Arc<AtomicUsize>) -> Result<Self, ApiError> {
        let seat = Self(Arc::clone(taken));
        if taken.fetch_add(1, Ordering::Relaxed) >= WATCHES_MAX {
            return Err(ApiError::new(
                ErrorKind::Unavailable,
                "the capture",
                format!("{WATCHES_MAX} captures and followers run already"),
            )
            .next("end one of them"));
        }
        Ok(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of the answer.
///
/// # Errors
/// The system has no thread for it.
pub(super) fn body(
    watch: Watch,
    request: WatchRequest,
    form: &Form,
    seat: Seat,
    stopped: watch::Receiver<bool>,
) -> Result<Body, ApiError> {
    let (sender, receiver) = mpsc::channel::<Vec<u8>>(CHUNKS_MAX);
    let mut writer: Box<dyn Writer> = match form {
        Form::Pcapng => Box::new(Pcapng::new(&watch, &request.filter)),
        Form::Lines => Box::new(Lines::default()),
    };
    let work = move || {
        let _seat = seat;
        run(&watch, &request, writer.as_mut(), &sender, &stopped);
    };
    std::thread::Builder::new().name("watch".to_owned()).spawn(work).map_err(|error| {
        ApiError::new(ErrorKind::Internal, "the capture", format!("cannot start a thread: {error}"))
    })?;
    let chunks = stream::unfold(receiver, |mut receiver| async {
        let chunk = receiver.recv().await?;
        Some((Ok::<_, Infallible>(chunk), receiver))
    });
    Ok(Body::from_stream(chunks))
}

fn run(
    watch: &Watch,
    request: &WatchRequest,
    writer: &mut dyn Writer,
    sender: &mpsc::Sender<Vec<u8>>,
    stopped: &watch::Receiver<bool>,
) {
    let until = request.for_ms.map(|millis| std::time::Instant::now() + Duration::from_millis(millis));
    let (mut count, mut told_lost) = (0, 0);
    let mut is_over = false;
    while !is_over {
        let next = watch.sightings.next(QUIET);
        let is_quiet = next == Next::Nothing;
        match next {
            Next::Seen(sighting) if is_wanted(watch, &sighting) => {
                count += 1;
                writer.write(watch, &sighting);
            }
            Next::Seen(_) | Next::Nothing => {}
            Next::End => is_over = true,
        }
        let is_late = until.is_some_and(|until| std::time::Instant::now() >= until);
        is_over |= is_late || request.count.is_some_and(|max| count >= max) || *stopped.borrow();
        let lost = watch.sightings.lost();
        if lost > told_lost && (is_quiet || is_over) {
            told_lost = lost;
            writer.lost(watch, lost);
        }
        if is_quiet || is_over || writer.len() >= CHUNK_LEN {
            let chunk = writer.take();
            let is_gone =
                if chunk.is_empty() { sender.is_closed() } else { sender.blocking_send(chunk).is_err() };
            is_over |= is_gone;
        }
    }
}

fn is_wanted(watch: &Watch, sighting: &Sighting) -> bool {
    watch.reason.is_none_or(|wanted| sighting.way == Way::Dropped(wanted))
}

trait Writer: Send {
    fn write(&mut self, watch: &Watch, sighting: &Sighting);
    fn lost(&mut self, watch: &Watch, lost: u64);
    fn len(&self) -> usize;
    fn take(&mut self) -> Vec<u8>;
}

struct Pcapng {
    stream: CaptureStream,
    /// Whose the file's interfaces are, in order.
    ports: Vec<PortId>,
    latest: Instant,
}

impl Pcapng {
    fn new(watch: &Watch, filter: &str) -> Self {
        let interfaces: Vec<Interface> = watch.ports.iter().map(|(_, interface)| interface.clone()).collect();
        let ports = watch.ports.iter().map(|(id, _)| *id).collect();
        Self { stream: CaptureStream::new(&interfaces, filter), ports, latest: Instant::ZERO }
    }

    /// The port's interface; a port that came later gets one. `None` if there is no such port (any more).
    fn interface(&mut self, watch: &Watch, port: PortId) -> Option<usize> {
        if let Some(known) = self.ports.iter().position(|id| *id == port) {
            return Some(known);
        }
        let name = watch.origins.name_of(port)?;
        self.stream.interface(&Interface { description: format!("port {name}, which came later"), name });
        self.ports.push(port);
        Some(self.ports.len() - 1)
    }
}

impl Writer for Pcapng {
    fn write(&mut self, watch: &Watch, sighting: &Sighting) {
        let Some(interface) = self.interface(watch, sighting.port) else { return };
        let (direction, comment) = match sighting.way {
            Way::In => (Some(Direction::In), None),
            Way::Out => (Some(Direction::Out), None),
            Way::Dropped(reason) => (None, Some(dropped(reason))),
        };
        self.latest = wall(watch, sighting.at);
        self.stream.packet(&Caught {
            at: self.latest,
            interface: u32::try_from(interface).expect("ports have 16-bit ids"),
            direction,
            original_len: sighting.original_len,
            bytes: &sighting.bytes,
            comment: comment.as_deref(),
        });
    }

    fn lost(&mut self, _: &Watch, lost: u64) {
        if !self.ports.is_empty() {
            self.stream.lost(self.latest, 0, lost); // Nobody knows at which port.
        }
    }

    fn len(&self) -> usize {
        self.stream.len()
    }

    fn take(&mut self) -> Vec<u8> {
        self.stream.take()
    }
}

fn dropped(reason: DropReason) -> String {
    format!("dropped: {}: {}", reason.id(), reason.sentence())
}

#[derive(Default)]
struct Lines {
    text: String,
    lost: u64,
}

impl Writer for Lines {
    fn write(&mut self, watch: &Watch, sighting: &Sighting) {
        let Way::Dropped(reason) = sighting.way else { return };
        let at = UNIX_EPOCH + Duration::from_nanos(wall(watch, sighting.at).as_nanos());
        let sample = DropSample {
            time: humantime::format_rfc3339_millis(at).to_string(),
            reason: reason.id().to_owned(),
            port: name(watch, sighting.port),
            packet: sim::describe_frame(&sighting.bytes),
            lost: self.lost,
        };
        self.text += &serde_json::to_string(&sample).expect("a sample has only string keys");
        self.text.push('\n');
    }

    fn lost(&mut self, _: &Watch, lost: u64) {
        self.lost = lost; // Told with the next line.
    }

    fn len(&self) -> usize {
        self.text.len()
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text).into_bytes()
    }
}

fn name(watch: &Watch, port: PortId) -> String {
    let known = watch.ports.iter().find(|(id, _)| *id == port).map(|(_, interface)| interface.name.clone());
    known.or_else(|| watch.origins.name_of(port)).unwrap_or_else(|| format!("#{}", port.0))
}

fn wall(watch: &Watch, at: Instant) -> Instant {
    Instant::from_nanos(at.as_nanos().saturating_add(watch.since_1970_ns))
}
