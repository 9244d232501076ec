//! Ctrl-C and SIGTERM of a mode that has something to end in order.
//!
//! [`end_by`] does so for streams of the control socket that have a number. Until [`Interrupts::watch`] is called they end the process as they always do. From then on a thread waits for them,
//! because the one that works may wait for a slow disk or pipe: at the first signal it asks for the end, and the work goes on
//! until that has come; at the second the process ends at once with exit code 1, whatever it was doing.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hyper::HeaderMap;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use super::client::{Client, path};
use crate::api::{ApiError, ErrorKind};

/// Asks for the end of the stream whose answer has this head when somebody interrupts, if it is one that goes on: its
/// number stands in `header`, and the `resource` of that number is deleted. `says` is said then. Gives what turns true.
///
/// # Errors
/// The system refuses signals or a thread.
pub(super) fn end_by(
    head: &HeaderMap,
    header: &str,
    resource: &str,
    socket: &Path,
    says: &'static str,
) -> Result<Option<Arc<AtomicBool>>, Failure> {
    let Some(number) = head.get(header).and_then(|number| number.to_str().ok()) else {
        return Ok(None);
    };
    let (socket, resource) = (socket.to_owned(), path(&[resource, number]));
    let end = move || {
        eprintln!("interrupted: {says}");
        match Client::new(&socket).and_then(|client| client.delete(&resource)) {
            Ok(()) => {}
            // Its time was up a moment ago, or the switch ends: it ends in order by itself.
            Err(Failure::Refused(ApiError { kind: ErrorKind::NotFound, .. })) => {}
            Err(failure) => drop(super::finish(Err(failure))),
        }
    };
    let watched = Interrupts::listen().and_then(|interrupts| interrupts.watch(end));
    watched.map(Some).map_err(|error| {
        Failure::Refused(ApiError::new(ErrorKind::Internal, "cannot wait for signals", error.to_string()))
    })
}

/// The signals, caught from now on.
pub(crate) struct Interrupts {
    runtime: tokio::runtime::Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Catches both signals.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn listen() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(entered);
        Ok(Self { runtime, interrupt, terminate })
    }

    /// Calls `end`, on a thread of its own, at the first signal, and ends the process at the second. Gives what turns true
    /// at the first.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(crate) fn watch(mut self, end: impl FnOnce() + Send + 'static) -> io::Result<Arc<AtomicBool>> {
        let has_come = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&has_come);
        thread::Builder::new().name("interrupts".to_owned()).spawn(move || {
            self.wait();
            told.store(true, Ordering::Relaxed);
            // Who gets no thread has the second signal.
            let asked = thread::Builder::new().spawn(end);
            asked.err().into_iter().for_each(|error| eprintln!("error: cannot end in order: {error}"));
            self.wait();
            eprintln!("error: interrupted again, and ended at once: what is written is cut off");
            std::process::exit(1);
        })?;
        Ok(has_come)
    }

    fn wait(&mut self) {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
        });
    }
}
