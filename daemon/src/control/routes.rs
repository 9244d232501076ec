//! The resources under `/v1`, and how a refusal looks on the wire.
//!
//! ```text
//!  GET                  /v1/status  /v1/networks  /v1/ports  /v1/drops
//!  GET POST PUT DELETE  /v1/networks/NAME  /v1/ports/NAME      POST creates, PUT replaces
//!  GET POST             /v1/stations                           ?network= &port= &mac=
//!  POST                 /v1/stations/flush                     {"network", "port", "mac"}, each optional
//!  DELETE               /v1/stations/NETWORK/MAC
//!  GET POST             /v1/routes   /v1/publishes             the rest is told in [`super::router`]
//!  GET                  /v1/peers                               told in [`super::overlay`]
//!  POST                 /v1/trace  /v1/capture  /v1/record     told in [`super::investigate`]
//!  GET                  /v1/faults                             the rest is told in [`super::fault`]
//!  GET                  /v1/events                             ?follow=true; JSON lines
//!  GET PUT              /v1/config                             TOML
//! ```
//!
//! A change answers 204. A refusal answers `{"error": {"kind", "what", "why", "next"}}` with the status of its kind.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Limits;
use super::recordings::Readers;
use super::sightings::Ends;
use crate::api::{ApiError, ErrorKind, Operations, StationFilter, StationSpec};
use crate::events::{Event, Subscription};

/// What every handler needs.
#[derive(Clone)]
pub(super) struct Context {
    operations: Arc<dyn Operations>,
    /// Streams end when this turns true.
    pub(super) stopped: watch::Receiver<bool>,
    /// Captures and followers that run.
    pub(super) watches: Arc<AtomicUsize>,
    /// Recordings that somebody reads.
    pub(super) readers: Readers,
    /// How to end captures and followers.
    pub(super) ends: Ends,
}

/// A refusal as the socket carries it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    /// The refusal.
    pub(crate) error: ApiError,
}

pub(super) type Answer = Result<Response, ApiError>;

pub(super) fn router(
    operations: Arc<dyn Operations>,
    limits: Limits,
    stopped: watch::Receiver<bool>,
) -> Router {
    let (watches, readers, ends) = (Arc::default(), Readers::default(), Ends::default());
    let context = Context { operations, stopped, watches, readers, ends };
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/networks", get(networks))
        .route(
            "/v1/networks/{name}",
            get(network).post(create_network).put(set_network).delete(remove_network),
        )
        .route("/v1/ports", get(ports))
        .route("/v1/ports/{name}", get(port).post(add_port).put(set_port).delete(remove_port))
        .route("/v1/stations", get(stations).post(add_station))
        .route("/v1/stations/flush", post(flush_stations))
        .route("/v1/stations/{network}/{mac}", delete(remove_station))
        .merge(super::router::routes())
        .merge(super::overlay::routes())
        .merge(super::investigate::routes())
        .merge(super::fault::routes())
        .route("/v1/drops", get(drops))
        .route("/v1/events", get(events))
        .route("/v1/config", get(configuration).put(apply))
        .fallback(no_such_resource)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(limits, whole_body))
        .with_state(context)
}

/// Answers everything with 503, for connections beyond the limit.
pub(super) fn busy(limits: Limits) -> Router {
    Router::new().fallback(move || async move {
        let why = format!("{} connections are being served already", limits.connections_max);
        let error = ApiError::new(ErrorKind::Unavailable, "the control socket is busy", why)
            .next("try again; close what keeps connections open (`tapestry events --follow`)");
        ([(header::CONNECTION, "close")], error)
    })
}

async fn status(State(context): State<Context>) -> Answer {
    context.ask(|operations| operations.status()).await
}

async fn networks(State(context): State<Context>) -> Answer {
    context.ask(|operations| operations.networks()).await
}

async fn network(State(context): State<Context>, Path(name): Path<String>) -> Answer {
    context
        .ask(move |operations| {
            let found = operations.networks()?.into_iter().find(|network| network.name == name);
            found.ok_or_else(|| not_found("network", &name))
        })
        .await
}

async fn create_network(State(context): State<Context>, Path(name): Path<String>, body: Bytes) -> Answer {
    let spec = parse(&body)?;
    context.tell(move |operations| operations.create_network(&name, spec)).await
}

async fn set_network(State(context): State<Context>, Path(name): Path<String>, body: Bytes) -> Answer {
    let spec = parse(&body)?;
    context.tell(move |operations| operations.set_network(&name, spec)).await
}

async fn remove_network(State(context): State<Context>, Path(name): Path<String>) -> Answer {
    context.tell(move |operations| operations.remove_network(&name)).await
}

async fn ports(State(context): State<Context>) -> Answer {
    context.ask(|operations| operations.ports()).await
}

async fn port(State(context): State<Context>, Path(name): Path<String>) -> Answer {
    context
        .ask(move |operations| {
            let found = operations.ports()?.into_iter().find(|port| port.name == name);
            found.ok_or_else(|| not_found("port", &name))
        })
        .await
}

async fn add_port(State(context): State<Context>, Path(name): Path<String>, body: Bytes) -> Answer {
    let spec = parse(&body)?;
    context.tell(move |operations| operations.add_port(&name, spec)).await
}

async fn set_port(State(context): State<Context>, Path(name): Path<String>, body: Bytes) -> Answer {
    let spec = parse(&body)?;
    context.tell(move |operations| operations.set_port(&name, spec)).await
}

async fn remove_port(State(context): State<Context>, Path(name): Path<String>) -> Answer {
    context.tell(move |operations| operations.remove_port(&name)).await
}

async fn stations(
    State(context): State<Context>,
    filter: Result<Query<StationFilter>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(filter) = filter.map_err(|error| invalid("the query", error.body_text()))?;
    context.ask(move |operations| operations.stations(&filter)).await
}

async fn add_station(State(context): State<Context>, body: Bytes) -> Answer {
    let station: StationSpec = parse(&body)?;
    context.tell(move |operations| operations.add_station(&station)).await
}

async fn remove_station(
    State(context): State<Context>,
    Path((network, mac)): Path<(String, String)>,
) -> Answer {
    let mac = mac.parse().map_err(|_| invalid("the station", format!("\"{mac}\" is not a MAC address")))?;
    context.tell(move |operations| operations.remove_station(&network, mac)).await
}

async fn flush_stations(State(context): State<Context>, body: Bytes) -> Answer {
    let filter: StationFilter = parse(&body)?;
    context.tell(move |operations| operations.flush_stations(&filter)).await
}

async fn drops(State(context): State<Context>) -> Answer {
    context.ask(|operations| operations.drops()).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    #[serde(default)]
    follow: bool,
}

async fn events(
    State(context): State<Context>,
    query: Result<Query<EventsQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| invalid("the query", error.body_text()))?;
    let body = if query.follow {
        stream(context.operations.subscribe(), context.stopped)
    } else {
        Body::from(context.operations.recent_events().iter().map(json_line).collect::<String>())
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Events as JSON lines until the client goes, the log ends or the server stops, and then what was published before.
fn stream(subscription: Subscription, stopped: watch::Receiver<bool>) -> Body {
    let lines =
        futures_util::stream::unfold((subscription, stopped), |(mut subscription, mut stopped)| async {
            let event = tokio::select! {
                biased;
                event = subscription.next() => event,
                _ = stopped.wait_for(|&stop| stop) => None,
            }?;
            Some((Ok::<_, Infallible>(json_line(&event)), (subscription, stopped)))
        });
    Body::from_stream(lines)
}

fn json_line(event: &Event) -> String {
    serde_json::to_string(event).expect("an event has only string keys") + "\n"
}

async fn configuration(State(context): State<Context>) -> Answer {
    let text = context.call(|operations| operations.configuration()).await?;
    Ok(([(header::CONTENT_TYPE, "application/toml")], text).into_response())
}

async fn apply(State(context): State<Context>, body: Bytes) -> Answer {
    let text = String::from_utf8(body.into())
        .map_err(|error| invalid("the configuration", format!("it is not UTF-8: {}", error.utf8_error())))?;
    context.ask(move |operations| operations.apply(&text)).await
}

async fn no_such_resource(request: Request) -> ApiError {
    not_found("resource", request.uri().path())
        .next("the resources are listed in daemon/src/control/routes.rs")
}

async fn no_such_method(request: Request) -> Response {
    let what = format!("{} {}", request.method(), request.uri().path());
    refusal(StatusCode::METHOD_NOT_ALLOWED, invalid(what, "this resource does not know the method"))
}

impl Context {
    /// Asks a question, answered in JSON. The answer is written out on the calling thread too: it may be large.
    pub(super) async fn ask<T: Serialize + 'static>(
        &self,
        question: impl FnOnce(&dyn Operations) -> Result<T, ApiError> + Send + 'static,
    ) -> Answer {
        self.call(move |operations| question(operations).map(|answer| Json(answer).into_response())).await
    }

    /// Asks for a change.
    pub(super) async fn tell(
        &self,
        change: impl FnOnce(&dyn Operations) -> Result<(), ApiError> + Send + 'static,
    ) -> Answer {
        self.call(change).await.map(|()| StatusCode::NO_CONTENT.into_response())
    }

    /// Runs a blocking call on a thread of its own. A panic there costs this request only.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Operations) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let operations = Arc::clone(&self.operations);
        tokio::task::spawn_blocking(move || call(operations.as_ref())).await.unwrap_or_else(|_panic| {
            Err(ApiError::new(ErrorKind::Internal, "the request", "the daemon failed while it worked on it")
                .next("look at the daemon's log and report it; the switch goes on"))
        })
    }
}

/// Reads the body before anything is done with the request, within the limits.
async fn whole_body(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(limits.request_timeout, read(body, limits.body_max)).await {
        Ok(Ok(Some(bytes))) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Ok(None)) => {
            let why = format!("it is longer than {} octets", limits.body_max);
            refusal(StatusCode::PAYLOAD_TOO_LARGE, invalid("the request's body", why))
        }
        Ok(Err(error)) => refusal(StatusCode::BAD_REQUEST, invalid("the request's body", error.to_string())),
        Err(_elapsed) => {
            let why = format!("it did not arrive within {:?}", limits.request_timeout);
            refusal(StatusCode::REQUEST_TIMEOUT, invalid("the request's body", why))
        }
    }
}

/// The body, or `None` if it is longer than `max`. It is read to its end even so, because a client that is still
/// sending does not see the answer.
async fn read(mut body: Body, max: usize) -> Result<Option<Vec<u8>>, axum::Error> {
    let mut bytes = Vec::new();
    let mut fits = true;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        fits = fits && bytes.len() + data.len() <= max;
        if fits {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(fits.then_some(bytes))
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| invalid("the request's body", config::explain(&error.to_string())))
}

pub(super) fn invalid(what: impl Into<String>, why: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::Invalid, what, why)
}

fn not_found(what: &str, name: &str) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("{what} \"{name}\""), "there is none of this name")
}

fn refusal(status: StatusCode, error: ApiError) -> Response {
    (status, Json(ErrorBody { error })).into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self.kind {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        refusal(status, self)
    }
}
