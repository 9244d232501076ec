//! The control socket: HTTP over a UNIX socket, for the command line and for anything that can speak to one
//! (`curl --unix-socket /run/tapestry/tapestry.sock http://tapestry/v1/status`).
//!
//! One thread with a single-threaded runtime serves all connections; calls into [`Operations`] block, so they run on
//! at most [`CALLS_MAX`] further threads. The packet path shares nothing with it.
//!
//! Nobody can hold it up. A request has [`Limits::request_timeout`] to arrive (its head, then its body) and a reader as
//! long to take each piece of the answer; afterwards the connection is cut. A body beyond [`Limits::body_max`] gets 413.
//! Beyond [`Limits::connections_max`] connections get 503 at once; beyond another [`REFUSALS_MAX`] of those, they wait
//! in the kernel's backlog.
//!
//! Owns: the socket file ([`socket`]). Refuses: a second daemon on the same path.

mod fault;
mod investigate;
mod overlay;
mod recordings;
mod router;
mod routes;
mod sightings;
mod socket;

pub(crate) use routes::ErrorBody;

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

use crate::api::{ApiError, ErrorKind, Operations};

/// Where the daemon listens unless told otherwise.
pub const SOCKET_DEFAULT: &str = "/run/tapestry/tapestry.sock";
/// Calls into [`Operations`] that run at once. Further ones wait their turn.
pub const CALLS_MAX: usize = 4;
/// Connections that are being refused at once. Further ones wait in the kernel's backlog.
pub const REFUSALS_MAX: usize = 64;
/// How long running requests may go on after [`ServerHandle::stop`]. Then their connections are closed without an answer;
/// a change that is being made is made to its end all the same.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// How long to wait after the system refused a connection (no file descriptors), which retrying at once would not cure.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What one client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a request's head may take to arrive, then its body, then each piece of the answer to leave.
    pub request_timeout: Duration,
    /// Octets of a request's body.
    pub body_max: usize,
    /// Connections served at once.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_timeout: Duration::from_secs(10), body_max: 1 << 20, connections_max: 64 }
    }
}

/// Makes `path` ours and listens on it; who connects waits until the claim is served.
///
/// # Errors
/// [`ErrorKind::Conflict`] if another daemon listens there, [`ErrorKind::Internal`] if the system refuses.
pub fn claim(path: &Path) -> Result<Claimed, ApiError> {
    let (listener, claim) = socket::claim(path)?;
    Ok(Claimed { listener, claim })
}

/// A socket that is ours and that nobody answers yet. Dropping it gives it up.
#[derive(Debug)]
pub struct Claimed {
    listener: UnixListener,
    claim: socket::Claim,
}

impl Claimed {
    /// Answers until the handle is stopped or dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the system refuses threads or descriptors.
    pub fn serve(self, operations: Arc<dyn Operations>) -> Result<ServerHandle, ApiError> {
        self.serve_with(operations, Limits::default())
    }

    /// [`Claimed::serve`] with other limits.
    ///
    /// # Errors
    /// As [`Claimed::serve`].
    pub fn serve_with(
        self,
        operations: Arc<dyn Operations>,
        limits: Limits,
    ) -> Result<ServerHandle, ApiError> {
        let Self { listener, claim } = self;
        let failed = |error: io::Error| {
            ApiError::new(ErrorKind::Internal, "cannot start the control server", error.to_string())
        };
        listener.set_nonblocking(true).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(CALLS_MAX)
            .thread_name("control-call")
            .build()
            .map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let router = routes::router(operations, limits, stopped.clone());
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                if let Err(error) = runtime.block_on(accept(listener, router, limits, stopped)) {
                    tracing::error!("the control socket does not work: {error}");
                }
                runtime.shutdown_timeout(DRAIN_MAX);
            })
            .map_err(failed)?;
        Ok(ServerHandle { stop, thread: Some(thread), _claim: claim })
    }
}

/// [`claim`] and [`Claimed::serve_with`] in one.
///
/// # Errors
/// As they.
pub fn serve_with(
    path: &Path,
    operations: Arc<dyn Operations>,
    limits: Limits,
) -> Result<ServerHandle, ApiError> {
    claim(path)?.serve_with(operations, limits)
}

/// The running server. Dropping it stops it: requests under way end, streams end, the socket file goes.
#[derive(Debug)]
pub struct ServerHandle {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    _claim: socket::Claim,
}

impl ServerHandle {
    /// Stops the server and waits until it has.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(Err(_panic)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the control server had panicked");
        }
    }
}

/// Accepts until told to stop, then lets the requests under way finish.
async fn accept(
    listener: UnixListener,
    router: Router,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let serving = Arc::new(Semaphore::new(limits.connections_max));
    let refusing = Arc::new(Semaphore::new(REFUSALS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            _ = stopped.wait_for(|&stop| stop) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("the control socket could not accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            }
        };
        let (router, permit) = match serving.clone().try_acquire_owned() {
            Ok(permit) => (router.clone(), permit),
            Err(_) => {
                let refusal = refusing.clone().acquire_owned().await;
                (routes::busy(limits), refusal.expect("the semaphore is never closed"))
            }
        };
        let connection = graceful.watch(connection(stream, router, limits));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a control connection ended early: {error}");
            }
            drop(permit);
        });
    }
    // Whoever does not finish in time is cut when the runtime ends.
    drop(tokio::time::timeout(DRAIN_MAX, graceful.shutdown()).await);
    Ok(())
}

type Connection =
    http1::Connection<TokioIo<std::pin::Pin<Box<TimeoutStream<UnixStream>>>>, TowerToHyperService<Router>>;

fn connection(stream: UnixStream, router: Router, limits: Limits) -> Connection {
    let mut stream = TimeoutStream::new(stream);
    // hyper times the request's head, `routes` its body; this cuts readers that do not read.
    stream.set_write_timeout(Some(limits.request_timeout));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.request_timeout)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router))
}
