//! Ctrl-C and SIGTERM of a mode that has something to end in order.
//!
//! Until [`Interrupts::watch`] is called they end the process as they always do. From then on a thread waits for them,
//! because the one that works may wait for a slow disk or pipe: at the first signal it asks for the end, and the work goes on
//! until that has come; at the second the process ends at once with exit code 1, whatever it was doing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};

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
