//! Ctrl-C and SIGTERM: everything that waits here wakes, returns an error, and is unwound by the owners of namespaces
//! and processes, so that nothing is left behind.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static REQUESTED: Mutex<bool> = Mutex::new(false);
static CHANGED: Condvar = Condvar::new();

/// Listens for SIGINT and SIGTERM from here on.
///
/// # Errors
/// If somebody listens already.
pub fn listen() -> io::Result<()> {
    ctrlc::set_handler(|| {
        *requested() = true;
        CHANGED.notify_all();
    })
    .map_err(io::Error::other)
}

/// Fails once the person wants to stop.
///
/// # Errors
/// [`io::ErrorKind::Interrupted`].
pub fn check() -> io::Result<()> {
    if *requested() { Err(interrupted()) } else { Ok(()) }
}

/// Waits, unless the person wants to stop.
///
/// # Errors
/// [`io::ErrorKind::Interrupted`], at once.
pub fn sleep(duration: Duration) -> io::Result<()> {
    let until = Instant::now() + duration;
    let mut stop = requested();
    loop {
        if *stop {
            return Err(interrupted());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        stop = CHANGED.wait_timeout(stop, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn requested() -> MutexGuard<'static, bool> {
    REQUESTED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn interrupted() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "stopped by the person at the keyboard")
}
