//! The resources under `/v1` for whoever wants to know why.
//!
//! ```text
//!  POST      /v1/trace                      {"port", "packet" or "frame", "both"}; answers what would happen
//!  POST      /v1/capture                    {"ports", "filter", "drops", …}; answers pcapng, until the reader goes
//!  DELETE    /v1/captures/NUMBER            ends it in order; the number stands in its answer's head
//!  POST      /v1/record                     {"for_ms"} or {"last_ms"}; answers a recording, until the reader goes
//!  DELETE    /v1/recordings/NUMBER          ends it in order; the number stands in its answer's head
//!  POST      /v1/drops/follow               the same; answers a JSON line for each dropped frame
//! ```

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{delete, post};

use super::recordings;
use super::routes::{Answer, Context, parse};
use super::sightings::{Form, Seat, body as body_of};
use crate::api::{CAPTURE_NUMBER, Question, RecordRequest, WatchRequest};

pub(super) fn routes() -> Router<Context> {
    Router::new()
        .route("/v1/trace", post(trace))
        .route("/v1/capture", post(capture))
        .route("/v1/captures/{number}", delete(end_capture))
        .route("/v1/record", post(record))
        .route("/v1/recordings/{number}", delete(end_recording))
        .route("/v1/drops/follow", post(follow))
}

async fn trace(State(context): State<Context>, body: Bytes) -> Answer {
    let question: Question = parse(&body)?;
    context.ask(move |operations| operations.trace(&question)).await
}

async fn capture(State(context): State<Context>, body: Bytes) -> Answer {
    watch(context, parse(&body)?, Form::Pcapng, "application/x-pcapng").await
}

async fn end_capture(State(context): State<Context>, Path(number): Path<String>) -> Answer {
    context.ends.end(&number).map(|()| StatusCode::NO_CONTENT.into_response())
}

async fn follow(State(context): State<Context>, body: Bytes) -> Answer {
    let request = WatchRequest { drops: true, ..parse(&body)? };
    watch(context, request, Form::Lines, "application/x-ndjson").await
}

async fn record(State(context): State<Context>, body: Bytes) -> Answer {
    let request: RecordRequest = parse(&body)?;
    recordings::answer(context, request).await
}

async fn end_recording(State(context): State<Context>, Path(number): Path<String>) -> Answer {
    context.readers.end(&number).map(|()| StatusCode::NO_CONTENT.into_response())
}

async fn watch(context: Context, request: WatchRequest, form: Form, kind: &'static str) -> Answer {
    let seat = Seat::take(&context.watches)?;
    let (stopped, end) = (context.stopped.clone(), context.ends.begin());
    let number = [(CAPTURE_NUMBER, end.number.to_string())];
    let body = context
        .call(move |operations| {
            let watch = operations.watch(&request)?;
            body_of(watch, request, &form, seat, end, stopped)
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, kind)], number, body).into_response())
}
