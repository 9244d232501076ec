//! `/healthz` and `/readyz`, as flanneld answers them: alive from the start, ready once the subnet file is written.
//!
//! One small answer to any method; anything else is 404. At most [`CONNECTIONS_MAX`] connections at once, each for
//! [`CONNECTION_MAX`] at longest and [`HEADER_MAX`] of it for a request to be said. For a further one the oldest is closed:
//! an answer takes no time, so whoever is there long has nothing to ask.
//!
//! Source: flannel main.go (`mustRunHealthz`).

use std::collections::VecDeque;
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
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Connections that are served at once.
const CONNECTIONS_MAX: usize = 16;
/// How long one may take, whole.
const CONNECTION_MAX: Duration = Duration::from_secs(5);
/// How long a request's header may take.
const HEADER_MAX: Duration = Duration::from_secs(1);

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
    answer_on(listener, ready);
    Ok(Some(listening))
}

/// Answers in the background.
fn answer_on(listener: TcpListener, ready: Ready) {
    tokio::spawn(async move {
        let mut open: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // No descriptors: asking again at once would not bring any.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            open.retain(|connection| !connection.is_finished());
            if open.len() >= CONNECTIONS_MAX
                && let Some(oldest) = open.pop_front()
            {
                oldest.abort();
            }
            open.push_back(tokio::spawn(converse(stream, Arc::clone(&ready))).abort_handle());
        }
    });
}

/// Answers on one connection until its end.
async fn converse(stream: TcpStream, ready: Ready) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (status, text) = answer(request.uri().path(), ready.load(Ordering::Acquire));
        let response =
            Response::builder().status(status).body(Full::new(Bytes::from_static(text.as_bytes())));
        async move { Ok::<_, Infallible>(response.expect("a status and octets are an answer")) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // Who asks badly is not told more than that.
    drop(tokio::time::timeout(CONNECTION_MAX, connection).await);
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn who_says_nothing_keeps_nobody_waiting() {
        let address = serve((IpAddr::from([127, 0, 0, 1]), 0), Ready::default());
        assert_eq!(address.await.unwrap(), None, "port 0 is off");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        answer_on(listener, Ready::default());
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut asking = TcpStream::connect(address).await.unwrap();
        asking.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
        let mut said = String::new();
        asking.read_to_string(&mut said).await.unwrap();
        assert!(said.ends_with("flanneld is running"), "{said}");
        assert_eq!(silent[0].read(&mut [0; 1]).await.unwrap(), 0, "the oldest is closed");
    }

    #[test]
    fn answers_are_flannelds() {
        assert_eq!(answer("/healthz", false), (StatusCode::OK, "flanneld is running"));
        assert_eq!(answer("/readyz", false).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer("/readyz", true), (StatusCode::OK, "flanneld is ready"));
        assert_eq!(answer("/", true).0, StatusCode::NOT_FOUND);
    }
}
