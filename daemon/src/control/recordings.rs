//! A recording as a stream of an answer's body: whole records, as the workers' threads hand them over.
//!
//! Those threads wait for the reader, the workers never. [`PIECES_MAX`] pieces wait here, besides what waits in front of
//! the threads; a reader that is slower than that for long has gaps in its recording, counted there. The recording ends
//! when the time is up, the reader gone or the switch about to end.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::stream;
use tokio::sync::mpsc;

use super::routes::Context;
use super::sightings::Seat;
use crate::api::{ApiError, RecordRequest, Recording, Sink};

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

/// The body of the answer.
///
/// # Errors
/// There is no flight recorder, as many recordings run as may, or the system refuses threads.
pub(super) async fn body(context: Context, request: RecordRequest) -> Result<Body, ApiError> {
    if let Some(last) = request.last_ms {
        let last = Duration::from_millis(last);
        let pieces = context.call(move |operations| operations.recorded_lately(last)).await?;
        return Ok(Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>))));
    }
    let seat = Seat::take(&context.watches)?;
    let (sender, receiver) = mpsc::channel::<Vec<u8>>(PIECES_MAX);
    let begun = sender.try_send(sim::recording::header().to_vec());
    begun.expect("the channel is new, and its reader is here");
    let readers = sender.clone();
    let open = Box::new(move |_: usize| Ok(Box::new(Reader(readers.clone())) as Box<dyn Sink>));
    let recording = context.call(move |operations| operations.record(open)).await?;
    tokio::spawn(end(context, recording, sender, request.for_ms, seat));
    let pieces = stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((Ok::<_, Infallible>(piece), receiver))
    });
    Ok(Body::from_stream(pieces))
}

/// Ends the recording when it is time. The stream ends with the last of its senders.
async fn end(
    context: Context,
    recording: Arc<Recording>,
    sender: mpsc::Sender<Vec<u8>>,
    for_ms: Option<u64>,
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
        () = sender.closed() => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    let ended = context.call(move |operations| {
        operations.end_recording(&recording);
        Ok(())
    });
    drop(ended.await); // It has been stopped, whatever a panic has kept from being told.
    drop(seat);
}
