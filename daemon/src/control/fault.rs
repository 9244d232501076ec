//! The resources under `/v1/faults`.
//!
//! ```text
//!  GET              /v1/faults          ports with faults, what is asked for and what was done
//!  POST DELETE      /v1/faults/PORT     {"inwards", "outwards", "seed"}: changes what is given; DELETE ends all of it
//! ```

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::{get, post};

use super::routes::{Answer, Context, parse};
use crate::api::FaultChange;

pub(super) fn routes() -> Router<Context> {
    Router::new().route("/v1/faults", get(faults)).route("/v1/faults/{port}", post(set).delete(clear))
}

async fn faults(State(context): State<Context>) -> Answer {
    context.ask(|operations| operations.faults()).await
}

async fn set(State(context): State<Context>, Path(port): Path<String>, body: Bytes) -> Answer {
    let change: FaultChange = parse(&body)?;
    context.tell(move |operations| operations.set_faults(&port, &change)).await
}

async fn clear(State(context): State<Context>, Path(port): Path<String>) -> Answer {
    context.tell(move |operations| operations.clear_faults(&port)).await
}
