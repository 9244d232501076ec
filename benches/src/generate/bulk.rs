//! TCP bulk transfer: as many octets as go through, from `a` to `b`, over one or several streams.
//!
//! Each stream is a blocking sender thread in `a` and a blocking receiver thread in `b`, with 256 KiB a call, so that
//! neither side's system calls are what is measured. What counts is what receivers have read between two instants;
//! the streams run before the first and after the last.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::Spans;
use crate::interrupt;
use crate::site::{Endpoint, Site};

/// Octets a read or write call asks for.
const CALL_OCTETS: usize = 256 * 1024;

/// What a transfer reached.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// Payload, at the receivers.
    pub gbit_per_second: f64,
    /// Segments that `a` had to send again.
    pub retransmitted: u64,
}

/// Runs `streams` TCP streams from `a` to `b`.
///
/// # Errors
/// If a connection cannot be made or breaks, or on interruption.
pub fn measure(site: &Site, streams: usize, spans: Spans) -> io::Result<Bulk> {
    let received = Arc::new(AtomicU64::new(0));
    let mut running = Streams::default();
    for _ in 0..streams {
        running.add(site, &received)?;
    }
    interrupt::sleep(spans.warm_up)?;
    let resent_before = site.a.tcp_segments_resent()?;
    let (octets_before, began) = (received.load(Ordering::Relaxed), Instant::now());
    interrupt::sleep(spans.measured)?;
    let (octets, took) = (received.load(Ordering::Relaxed) - octets_before, began.elapsed());
    let retransmitted = site.a.tcp_segments_resent()? - resent_before;
    running.stop()?;
    if octets == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "not one octet of the bulk transfer arrived"));
    }
    let gbit_per_second = octets as f64 * 8.0 / took.as_secs_f64() / 1e9;
    Ok(Bulk { gbit_per_second, retransmitted })
}

/// Running streams; shut down and joined when dropped, so that an error elsewhere leaves no thread behind.
#[derive(Default)]
struct Streams {
    sockets: Vec<TcpStream>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Streams {
    fn add(&mut self, site: &Site, received: &Arc<AtomicU64>) -> io::Result<()> {
        let (sender, receiver) = connected(site)?;
        self.sockets.push(sender.try_clone()?);
        let received = Arc::clone(received);
        self.threads.push(std::thread::spawn(move || read_all(receiver, &received)));
        self.threads.push(std::thread::spawn(move || write_for_ever(sender)));
        Ok(())
    }

    fn stop(mut self) -> io::Result<()> {
        self.shut_down();
        for thread in std::mem::take(&mut self.threads) {
            thread.join().expect("a stream's thread does not panic")?;
        }
        Ok(())
    }

    fn shut_down(&self) {
        for socket in &self.sockets {
            // It may have broken by itself; its threads say so.
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.shut_down();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// Both ends of a connection through the subject. A socket stays in the namespace that it was made in.
fn connected(site: &Site) -> io::Result<(TcpStream, TcpStream)> {
    let listener = site.b.within(|| TcpListener::bind(SocketAddr::from((site.b.address, 0))))?;
    let address = listener.local_addr()?;
    let sender = site.a.within(move || TcpStream::connect_timeout(&address, Endpoint::PATIENCE))?;
    let (receiver, _) = listener.accept()?;
    receiver.set_read_timeout(Some(Endpoint::PATIENCE))?;
    sender.set_write_timeout(Some(Endpoint::PATIENCE))?;
    Ok((sender, receiver))
}

fn read_all(mut receiver: TcpStream, received: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; CALL_OCTETS];
    loop {
        match receiver.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(octets) => {
                received.fetch_add(octets as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn write_for_ever(mut sender: TcpStream) -> io::Result<()> {
    let buffer = vec![0x5a; CALL_OCTETS];
    loop {
        match sender.write(&buffer) {
            Ok(_) => {}
            // `stop` has shut the socket down.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}
