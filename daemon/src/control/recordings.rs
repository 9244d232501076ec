//! A recording as a stream of an answer's body: whole records, as the workers' threads hand them over.
//!
//! Those threads wait for the reader, the workers never. [`PIECES_MAX`] pieces wait here, besides what waits in front of
//! the threads; a reader that is slower than that for long has gaps in its recording, counted there. The recording ends
//! when the time is up, somebody asks for its end ([`Readers`]), the reader gone or the switch about to end. Unless the
//! reader has gone, it gets all until then and the records that say that this was the end.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use tokio::sync::{mpsc, oneshot};

use super::routes::Context;
use super::sightings::Seat;
use crate::api::{
    ApiError, ErrorKind, Lately, RECORDING_NUMBER, RECORDING_REACH, RecordRequest, Recording, Sink,
};

/// Pieces of an answer that wait for its reader.
const PIECES_MAX: usize = 64;

/// The reader's end of a worker.
struct Reader(mpsc::Sender<Vec<u8>>);

impl Sink for Reader {
    fn write(&mut self, octets: Vec<u8>) -> io::Result<Vec<u8>> {
        let sent = self.0.blocking_send(octets);
        sent.map(|()| Vec::new()).map_err(|_gone| io::ErrorKind::BrokenPipe.into())
    }
}

/// The recordings that somebody reads, by number, each with the way to ask for its end.
#[derive(Clone, Default)]
pub(super) struct Readers(Arc<Mutex<BTreeMap<u64, oneshot::Sender<()>>>>);

impl Readers {
    /// Asks for a recording's end. It has ended when its stream has.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if nobody reads one of this number (any more).
    pub(super) fn end(&self, number: &str) -> Result<(), ApiError> {
        let asked = number.parse().ok().and_then(|number: u64| self.lock().remove(&number));
        let asked = asked.ok_or_else(|| {
            ApiError::new(
                ErrorKind::NotFound,
                format!("recording {number}"),
                "nobody reads one of this number",
            )
            .next("`tapestry status` lists those that run; the switch's own end with it")
        })?;
        let _ = asked.send(()); // It is ending already.
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const KIND: (header::HeaderName, &str) = (header::CONTENT_TYPE, "application/x-tapestry-recording");

/// The answer: the recording, and with one that goes on its number.
///
/// # Errors
/// There is no flight recorder, as many recordings run as may, or the system refuses threads.
pub(super) async fn answer(context: Context, request: RecordRequest) -> Result<Response, ApiError> {
    if let Some(last) = request.last_ms {
        let last = Duration::from_millis(last);
        let Lately { pieces, reach } =
            context.call(move |operations| operations.recorded_lately(last)).await?;
        let reach = serde_json::to_string(&reach).expect("it has only string keys");
        let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)));
        return Ok(([KIND], [(RECORDING_REACH, reach)], body).into_response());
    }
    let seat = Seat::take(&context.watches)?;
    let (sender, receiver) = mpsc::channel::<Vec<u8>>(PIECES_MAX);
    let begun = sender.try_send(sim::recording::header().to_vec());
    begun.expect("the channel is new, and its reader is here");
    let readers = sender.clone();
    let open = Box::new(move |_: usize| Ok(Box::new(Reader(readers.clone())) as Box<dyn Sink>));
    let recording = context.call(move |operations| operations.record(open)).await?;
    let number = recording.number();
    let (end, asked) = oneshot::channel();
    context.readers.lock().insert(number, end);
    tokio::spawn(ending(context, recording, sender, request.for_ms, asked, seat));
    let pieces = stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((Ok::<_, Infallible>(piece), receiver))
    });
    Ok(([KIND], [(RECORDING_NUMBER, number.to_string())], Body::from_stream(pieces)).into_response())
}

/// Ends the recording when it is time. The stream ends with the last of its senders.
async fn ending(
    context: Context,
    recording: Arc<Recording>,
    sender: mpsc::Sender<Vec<u8>>,
    for_ms: Option<u64>,
    asked: oneshot::Receiver<()>,
    seat: Seat,
) {
    let late = async {
        match for_ms {
            Some(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            None => std::future::pending().await,
        }
    };
    let mut stopped = context.stopped.clone();
    tokio::select! {
        () = late => {}
        _ = asked => {}
        () = sender.closed() => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    context.readers.lock().remove(&recording.number());
    let ended = context.call(move |operations| {
        operations.end_recording(&recording);
        Ok(())
    });
    drop(ended.await); // It has been stopped, whatever a panic has kept from being told.
    drop(seat);
}
