//! The router's resources under `/v1`.
//!
//! ```text
//!  GET POST  /v1/routes                     POST takes {"to", "via", "kind"}
//!  DELETE    /v1/routes/PREFIX
//!  GET       /v1/route                      ?to=ADDRESS&from=ADDRESS: which way packets go
//!  GET POST  /v1/publishes                  POST takes {"listen", "proto", "to"}
//!  DELETE    /v1/publishes/PROTO/LISTEN
//!  GET POST  /v1/acl                        POST takes {"position", "rule": {"action", "from", "to", …}}
//!  DELETE    /v1/acl/POSITION
//!  GET       /v1/sessions                   ?id= &proto= &address= &l4_port=
//!  POST      /v1/sessions/kill              the same as JSON; answers {"count"}
//!  GET       /v1/nat
//!  GET       /v1/neighbours                 ?network= &address=
//!  POST      /v1/neighbours/flush           the same as JSON; answers {"count"}
//! ```

use std::net::IpAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, post};
use serde::Deserialize;

use super::routes::{Answer, Context, invalid, parse};
use crate::api::{ApiError, NeighbourFilter, NewAcl, SessionFilter};

pub(super) fn routes() -> Router<Context> {
    Router::new()
        .route("/v1/routes", get(list_routes).post(add_route))
        .route("/v1/routes/{to}", delete(remove_route))
        .route("/v1/route", get(explain_route))
        .route("/v1/publishes", get(publishes).post(add_publish))
        .route("/v1/publishes/{proto}/{listen}", delete(remove_publish))
        .route("/v1/acl", get(acl).post(add_acl))
        .route("/v1/acl/{position}", delete(remove_acl))
        .route("/v1/sessions", get(sessions))
        .route("/v1/sessions/kill", post(kill_sessions))
        .route("/v1/nat", get(nat))
        .route("/v1/neighbours", get(neighbours))
        .route("/v1/neighbours/flush", post(flush_neighbours))
}

type Asked<T> = Result<Query<T>, QueryRejection>;

fn query<T>(asked: Asked<T>) -> Result<T, ApiError> {
    asked.map(|Query(query)| query).map_err(|error| invalid("the query", error.body_text()))
}

/// A piece of the path as what it means.
fn piece<T: std::str::FromStr<Err: std::fmt::Display>>(what: &str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|error| invalid(what, format!("{text:?} is not valid: {error}")))
}

async fn list_routes(State(context): State<Context>) -> Answer {
    context.ask(|operations| operations.routes()).await
}

async fn add_route(State(context): State<Context>, body: Bytes) -> Answer {
    let route = parse(&body)?;
    context.tell(move |operations| operations.add_route(route)).await
}

async fn remove_route(State(context): State<Context>, Path(to): Path<String>) -> Answer {
    let to = piece("the route", &to)?;
    context.tell(move |operations| operations.remove_route(to)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteQuery {
    to: IpAddr,
    #[serde(default)]
    from: Option<IpAddr>,
}

async fn explain_route(State(context): State<Context>, asked: Asked<RouteQuery>) -> Answer {
    let RouteQuery { to, from } = query(asked)?;
    context.ask(move |operations| operations.explain_route(to, from)).await
}

async fn publishes(State(context): State<Context>) -> Answer {
    context.ask(|operations| operations.publishes()).await
}

async fn add_publish(State(context): State<Context>, body: Bytes) -> Answer {
    let publish = parse(&body)?;
    context.tell(move |operations| operations.add_publish(publish)).await
}

async fn remove_publish(
    State(context): State<Context>,
    Path((proto, listen)): Path<(String, String)>,
) -> Answer {
    let proto = match proto.as_str() {
        "tcp" => config::Proto::Tcp,
        "udp" => config::Proto::Udp,
        other => return Err(invalid("the protocol", format!("{other:?} is not one of \"tcp\", \"udp\""))),
    };
    let listen = piece("what is published", &listen)?;
    context.tell(move |operations| operations.remove_publish(listen, proto)).await
}

async fn acl(State(context): State<Context>) -> Answer {
    context.ask(|operations| operations.acl()).await
}

async fn add_acl(State(context): State<Context>, body: Bytes) -> Answer {
    let NewAcl { position, rule } = parse(&body)?;
    context.tell(move |operations| operations.add_acl(position, rule)).await
}

async fn remove_acl(State(context): State<Context>, Path(position): Path<String>) -> Answer {
    let position = piece("the access rule's position", &position)?;
    context.tell(move |operations| operations.remove_acl(position)).await
}

async fn sessions(State(context): State<Context>, asked: Asked<SessionFilter>) -> Answer {
    let filter = query(asked)?;
    context.ask(move |operations| operations.sessions(&filter)).await
}

async fn kill_sessions(State(context): State<Context>, body: Bytes) -> Answer {
    let filter: SessionFilter = parse(&body)?;
    context.ask(move |operations| operations.kill_sessions(&filter)).await
}

async fn nat(State(context): State<Context>) -> Answer {
    context.ask(|operations| operations.nat()).await
}

async fn neighbours(State(context): State<Context>, asked: Asked<NeighbourFilter>) -> Answer {
    let filter = query(asked)?;
    context.ask(move |operations| operations.neighbours(&filter)).await
}

async fn flush_neighbours(State(context): State<Context>, body: Bytes) -> Answer {
    let filter: NeighbourFilter = parse(&body)?;
    context.ask(move |operations| operations.flush_neighbours(&filter)).await
}
