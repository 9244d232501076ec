//! What a watch sees, as a stream of an answer's body: pcapng octets, or a line for each dropped frame.
//!
//! A thread of its own turns what is seen into octets, because waiting for frames blocks. It ends when the reader has
//! gone, the switch stops, what was asked for has been seen, or somebody asks for its end ([`Ends`]): then the reader gets
//! what has been seen until then. A reader that does not keep up loses frames, counted;
//! [`CHUNKS_MAX`] pieces wait for it here, besides what the taps hold. At most [`WATCHES_MAX`] threads run.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use futures_util::stream;
use sim::capture::{CaptureStream, Caught, Direction, Interface};
use tokio::sync::{mpsc, watch};
use wire::{DropReason, Instant};

use crate::api::{ApiError, DropSample, ErrorKind, Next, Place, Sighting, Watch, WatchRequest, Way};
use crate::worker::tap::SIGHTINGS_MAX;

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

/// The watches that run, by number, each with what turns true when its end is asked for.
#[derive(Clone, Default)]
pub(super) struct Ends(Arc<Mutex<Running>>);

#[derive(Default)]
struct Running {
    begun: u64,
    asked: BTreeMap<u64, Arc<AtomicBool>>,
}

/// A running watch's number, and whether its end has been asked for. Forgotten when it is dropped.
pub(super) struct End {
    pub(super) number: u64,
    asked: Arc<AtomicBool>,
    ends: Ends,
}

impl Ends {
    /// A watch begins.
    pub(super) fn begin(&self) -> End {
        let (mut running, asked) = (self.lock(), Arc::<AtomicBool>::default());
        running.begun += 1;
        let number = running.begun;
        running.asked.insert(number, Arc::clone(&asked));
        End { number, asked, ends: self.clone() }
    }

    /// Asks for a watch's end. It has ended when its stream has.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if none of this number runs (any more).
    pub(super) fn end(&self, number: &str) -> Result<(), ApiError> {
        let running = self.lock();
        let asked = number.parse().ok().and_then(|number: u64| running.asked.get(&number));
        let asked = asked.ok_or_else(|| {
            ApiError::new(ErrorKind::NotFound, format!("capture {number}"), "none of this number runs")
        })?;
        asked.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.ends.lock().asked.remove(&self.number);
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
    end: End,
    stopped: watch::Receiver<bool>,
) -> Result<Body, ApiError> {
    let (sender, receiver) = mpsc::channel::<Vec<u8>>(CHUNKS_MAX);
    let mut writer: Box<dyn Writer> = match form {
        Form::Pcapng => Box::new(Pcapng::new(&watch, &request.filter)),
        Form::Lines => Box::new(Lines::default()),
    };
    let work = move || {
        let _seat = seat;
        run(&watch, &request, writer.as_mut(), &sender, || {
            *stopped.borrow() || end.asked.load(Ordering::Relaxed)
        });
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
    is_ending: impl Fn() -> bool,
) {
    let until = request.for_ms.map(|millis| std::time::Instant::now() + Duration::from_millis(millis));
    let (mut count, mut told_lost, mut rest) = (0, 0, SIGHTINGS_MAX as u64);
    let mut is_over = request.count == Some(0);
    while !is_over {
        // At its end, what has been seen by then is still told, as much of it as may be on its way.
        let is_ending = is_ending();
        rest = rest.saturating_sub(u64::from(is_ending));
        let next = watch.sightings.next(if is_ending { Duration::ZERO } else { QUIET });
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
        is_over |= is_late || request.count.is_some_and(|max| count >= max);
        is_over |= is_ending && (is_quiet || rest == 0);
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
    ports: Vec<Place>,
    latest: Instant,
}

impl Pcapng {
    fn new(watch: &Watch, filter: &str) -> Self {
        let interfaces: Vec<Interface> = watch.ports.iter().map(|(_, interface)| interface.clone()).collect();
        let ports = watch.ports.iter().map(|(place, _)| *place).collect();
        Self { stream: CaptureStream::new(&interfaces, filter), ports, latest: Instant::ZERO }
    }

    /// The port's interface; a port that came later gets one. `None` if there is no such port (any more).
    fn interface(&mut self, watch: &Watch, place: Place) -> Option<usize> {
        if let Some(known) = self.ports.iter().position(|known| *known == place) {
            return Some(known);
        }
        let name = watch.origins.name_of(place)?;
        self.stream.interface(&Interface { description: format!("port {name}, which came later"), name });
        self.ports.push(place);
        Some(self.ports.len() - 1)
    }
}

impl Writer for Pcapng {
    fn write(&mut self, watch: &Watch, sighting: &Sighting) {
        let Some(interface) = self.interface(watch, sighting.place) else { return };
        let (direction, comment) = match sighting.way {
            Way::In => (Some(Direction::In), None),
            Way::Out => (Some(Direction::Out), None),
            Way::Dropped(reason) => (None, Some(dropped(reason))),
        };
        self.latest = wall(watch, sighting.at);
        self.stream.packet(&Caught {
            at: self.latest,
            interface: u32::try_from(interface).expect("a port is added by a change of the configuration"),
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
            port: name(watch, sighting.place),
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

fn name(watch: &Watch, place: Place) -> String {
    let known = watch.ports.iter().find(|(known, _)| *known == place);
    let known = known.map(|(_, interface)| interface.name.clone());
    known.or_else(|| watch.origins.name_of(place)).unwrap_or_else(|| format!("#{}", place.port.0))
}

fn wall(watch: &Watch, at: Instant) -> Instant {
    Instant::from_nanos(at.as_nanos().saturating_add(watch.since_1970_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Origins;
    use crate::worker::tap::{Wanted, tap};
    use sim::filter::Filter;
    use wire::PortId;

    fn place(serial: u32) -> Place {
        Place { port: PortId(1), serial: Some(serial) }
    }

    /// A watch of all frames, begun when port c9 had the id that c10 has after it.
    fn watch() -> (crate::worker::tap::Tap, Watch) {
        let origins = Origins::default();
        let mut ids = config::Ids::default();
        for ports in [&["b", "c9"][..], &["b"], &["b", "c10"]] {
            let ports = ports.iter().map(|port| format!("[port.{port}]\nnetwork = \"a\"\n"));
            let text = ports.fold("[network.a]\n".to_owned(), |text, port| text + &port);
            let compiled = config::compile(&config::check("t.toml", &text).unwrap(), &mut ids);
            let ports = compiled.ports.iter().map(|(name, port)| (name.clone(), port.id)).collect();
            origins.announce(&Arc::new(compiled.plan), ports, text);
        }
        let (tap, sightings) = tap(Wanted { ports: None, drops: true, filter: Filter::All, snap_len: 60 });
        let interface = Interface { name: "c9".to_owned(), description: "port c9".to_owned() };
        let (ports, origins) = (vec![(place(0), interface)], Arc::new(origins));
        (tap, Watch { sightings, ports, origins, since_1970_ns: 0, reason: None })
    }

    #[test]
    fn a_ports_successor_has_its_own_name() {
        let (tap, watch) = watch();
        let (mut lines, mut pcapng) = (Lines::default(), Pcapng::new(&watch, ""));
        for serial in [0, 1, 2] {
            tap.show(Instant::ZERO, place(serial), Way::Dropped(DropReason::Runt), &[0; 20]);
            let Next::Seen(sighting) = watch.sightings.next(QUIET) else { panic!("it was shown") };
            lines.write(&watch, &sighting);
            pcapng.write(&watch, &sighting);
        }
        let text = String::from_utf8(lines.take()).unwrap();
        let ports = text.lines().map(|line| serde_json::from_str::<DropSample>(line).unwrap().port);
        assert_eq!(ports.collect::<Vec<_>>(), ["c9", "c10", "#1"], "the last is of no plan");
        assert_eq!(pcapng.ports, [place(0), place(1)]);
    }

    #[test]
    fn a_watch_whose_end_is_asked_for_tells_what_has_been_seen() {
        let (tap, watch) = watch();
        for _ in 0..5 {
            tap.show(Instant::ZERO, place(0), Way::Dropped(DropReason::Runt), &[0; 20]);
        }
        let ends = Ends::default();
        let end = ends.begin();
        ends.end(&end.number.to_string()).unwrap();
        let (sender, mut receiver) = mpsc::channel(CHUNKS_MAX);
        let is_ending = || end.asked.load(Ordering::Relaxed);
        run(&watch, &WatchRequest::default(), &mut Lines::default(), &sender, is_ending);
        let told = receiver.try_recv().unwrap();
        assert_eq!(told.iter().filter(|&&octet| octet == b'\n').count(), 5);
        drop(end);
        assert_eq!(ends.end("1").unwrap_err().kind, ErrorKind::NotFound);
    }
}
