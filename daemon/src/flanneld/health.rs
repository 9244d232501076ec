//! `/healthz` and `/readyz`, as flanneld answers them: alive from the start, ready once the subnet file is written.
//!
//! One small answer to any method; anything else is 404. At most [`CONNECTIONS_MAX`] connections at once, each for
//! [`CONNECTION_MAX`] at longest; further ones wait in the kernel's backlog.
//!
//! Source: flannel main.go (`mustRunHealthz`).

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections that are served at once.
const CONNECTIONS_MAX: usize = 16;
/// How long one may take, whole.
const CONNECTION_MAX: Duration = Duration::from_secs(5);

/// Whether the subnet file is written.
pub(super) type Ready = Arc<AtomicBool>;

/// Listens and answers in the background; port 0: not at all.
///
/// # Errors
/// If it cannot listen there.
pub(super) async fn serve((address, l4_port): (IpAddr, u16), ready: Ready) -> io::Result<Option<SocketAddr>> {
    if l4_port == 0 {
        return Ok(None);
    }
    let listener = TcpListener::bind((address, l4_port)).await?;
    let listening = listener.local_addr()?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
            let Ok((stream, _)) = listener.accept().await else {
                // No descriptors: asking again at once would not bring any.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let ready = Arc::clone(&ready);
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let (status, text) = answer(request.uri().path(), ready.load(Ordering::Acquire));
                    let response = Response::builder()
                        .status(status)
                        .body(Full::new(Bytes::from_static(text.as_bytes())));
                    async move { Ok::<_, Infallible>(response.expect("a status and octets are an answer")) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // Who asks badly is not told more than that.
                drop(tokio::time::timeout(CONNECTION_MAX, connection).await);
                drop(place);
            });
        }
    });
    Ok(Some(listening))
}

fn answer(path: &str, is_ready: bool) -> (StatusCode, &'static str) {
    match (path, is_ready) {
        ("/healthz", _) => (StatusCode::OK, "flanneld is running"),
        ("/readyz", true) => (StatusCode::OK, "flanneld is ready"),
        ("/readyz", false) => (StatusCode::SERVICE_UNAVAILABLE, "flanneld is not ready yet"),
        _ => (StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_flannelds() {
        assert_eq!(answer("/healthz", false), (StatusCode::OK, "flanneld is running"));
        assert_eq!(answer("/readyz", false).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer("/readyz", true), (StatusCode::OK, "flanneld is ready"));
        assert_eq!(answer("/", true).0, StatusCode::NOT_FOUND);
    }
}
