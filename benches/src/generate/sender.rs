//! A thread that sends until it is stopped, and counts what it has offered.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// The sending thread; ends when dropped.
pub(super) struct Sender {
    offered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Sender {
    /// Calls `send` again and again. It returns how many frames it has offered, and soon.
    pub(super) fn start(mut send: impl FnMut() -> io::Result<u64> + Send + 'static) -> Self {
        let (offered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (Arc::clone(&offered), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                counted.fetch_add(send()?, Ordering::Relaxed);
            }
            Ok(())
        });
        Self { offered, stop, thread: Some(thread) }
    }

    /// Frames offered so far.
    pub(super) fn offered(&self) -> u64 {
        self.offered.load(Ordering::Relaxed)
    }

    /// Stops it.
    ///
    /// # Errors
    /// Why it had stopped by itself.
    pub(super) fn stop(mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is taken once, here or in drop");
        thread.join().expect("the sender does not panic")
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
