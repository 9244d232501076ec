//! The resources under `/v1` about tunnels' other ends.
//!
//! ```text
//!  GET       /v1/peers
//!  POST      /v1/peers/check               {"peer", "inner"}; answers after some seconds
//! ```

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};

use super::routes::{Answer, Context, parse};
use crate::api::PeerQuestion;

pub(super) fn routes() -> Router<Context> {
    Router::new().route("/v1/peers", get(peers)).route("/v1/peers/check", post(check))
}

async fn peers(State(context): State<Context>) -> Answer {
    context.ask(|operations| operations.peers()).await
}

async fn check(State(context): State<Context>, body: Bytes) -> Answer {
    let question: PeerQuestion = parse(&body)?;
    context.ask(move |operations| operations.check_peer(&question)).await
}
