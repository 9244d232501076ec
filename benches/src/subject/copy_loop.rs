//! The bare copy loops: what any switch over two TAPs is limited by, since it can do no less.
//!
//! Each is a process of its own (this program under another name), as a switch would be. It makes two TAPs, prints
//! their names, copies until its standard input closes, and looks at nothing.
//!
//! - [`Driver::Tap`]: our TAP driver, with offloads. One thread, written as a plain engineer would: wait in poll(2)
//!   for both, then copy from each that is ready until it is empty or 64 frames have passed, then wait again.
//!   It never spins, unless asked to for an experiment.
//! - [`Driver::TunTap`]: the `tun-tap` crate, which offers no offloads and no non-blocking reads. A thread for each
//!   direction, blocking in read(2).

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tapestry::link::TX_QUEUE_LEN;
use tapestry::port::{Fault, PortIo, Tap, TapQueue};
use tun_tap::{Iface, Mode};
use wire::{FrameBuf, FramePool};

use super::Running;
use super::process::Process;
use crate::site::Site;

/// Frames copied from one TAP before the other is looked at.
const BURST: usize = 64;

/// Which driver the loop copies by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// Ours, with offloads.
    Tap,
    /// The `tun-tap` crate, without.
    TunTap,
}

/// What starts the loop, as a hidden verb of `compare`.
pub(super) const VERB: &str = "copy-loop";

pub(super) fn start(site: &Site, program: &Path, driver: Driver) -> io::Result<Running> {
    let name = driver.to_possible_value().expect("every driver has a name").get_name().to_owned();
    let arguments: Vec<OsString> = vec![VERB.into(), "--driver".into(), name.into()];
    let mut copier = Process::start(&site.middle, program, |_| arguments)?;
    let line = copier.line()?;
    let Some((a, b)) = line.split_once(' ') else {
        return Err(io::Error::other(format!("the copy loop printed {line:?} instead of two interfaces")));
    };
    // Our driver's users get queues of this length; the other crate's get the kernel's.
    let queue_len = match driver {
        Driver::Tap => Some(TX_QUEUE_LEN),
        Driver::TunTap => None,
    };
    for (endpoint, ifname) in site.ends([a, b]) {
        endpoint.adopt(&site.middle, ifname, queue_len)?;
    }
    Ok(Running::of(vec![copier]))
}

/// Copies until standard input closes. With `spin`, looks for frames that long before each wait.
///
/// # Errors
/// If the TAPs cannot be made or vanish.
pub fn run(driver: Driver, spin: Duration) -> io::Result<()> {
    match driver {
        Driver::Tap => copy_with_offloads(spin),
        Driver::TunTap => copy_without_offloads(),
    }
}

fn copy_with_offloads(spin: Duration) -> io::Result<()> {
    let (a, b) = (Tap::create(1)?, Tap::create(1)?);
    announce(&a.name()?, &b.name()?)?;
    let mut taps = [only_queue(a), only_queue(b)];
    let mut frame = FramePool::default().take();
    let stdin = io::stdin();
    let mut spin_ends = Instant::now();
    loop {
        let mut waiting = [
            PollFd::from_borrowed_fd(taps[0].fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(taps[1].fd(), PollFlags::IN),
            PollFd::new(&stdin, PollFlags::IN),
        ];
        let at_once = Timespec::default();
        let spinning = !spin.is_zero() && Instant::now() < spin_ends;
        poll(&mut waiting, spinning.then_some(&at_once))?;
        let ready = waiting.map(|entry| !entry.revents().is_empty());
        if ready[2] {
            return Ok(());
        }
        for from in [0, 1] {
            if ready[from] {
                copy_burst(&mut taps, from, &mut frame)?;
                spin_ends = Instant::now() + spin;
            }
        }
    }
}

/// Copies what `taps[from]` holds, a burst at most, to the other one.
fn copy_burst(taps: &mut [TapQueue; 2], from: usize, frame: &mut FrameBuf) -> io::Result<()> {
    for _ in 0..BURST {
        if let Err(error) = taps[from].receive(frame) {
            return if is_passing(&error) { Ok(()) } else { Err(error) };
        }
        if frame.parse_offload().is_ok()
            && let Err(error) = taps[1 - from].send(frame)
            && !is_passing(&error)
        {
            return Err(error);
        }
    }
    Ok(())
}

/// Whether an error costs a frame at most. A device is down until the harness has moved and raised it.
fn is_passing(error: &io::Error) -> bool {
    match Fault::of(error) {
        Fault::Empty | Fault::Down | Fault::Refused | Fault::NoMemory => true,
        Fault::Vanished | Fault::Other => false,
    }
}

fn copy_without_offloads() -> io::Result<()> {
    let make = |name| Iface::without_packet_info(name, Mode::Tap);
    let (a, b) = (make("ttap-a")?, make("ttap-b")?);
    announce(a.name(), b.name())?;
    let taps = std::sync::Arc::new([a, b]);
    for from in [0, 1] {
        let taps = std::sync::Arc::clone(&taps);
        thread::spawn(move || {
            let mut frame = vec![0; wire::frame::FRAME_MAX];
            loop {
                // Errors while a device is down; the harness raises it soon.
                match taps[from].recv(&mut frame) {
                    Ok(len) => drop(taps[1 - from].send(&frame[..len])),
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
    }
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

fn only_queue(tap: Tap) -> TapQueue {
    tap.into_queues().pop().expect("a TAP has the one queue that was asked for")
}

fn announce(a: &str, b: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{a} {b}")?;
    stdout.flush()
}
