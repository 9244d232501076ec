//! Figures that need no opponent: what an idle switch costs.

use std::io;
use std::time::{Duration, Instant};

use crate::counters;
use crate::interrupt;
use crate::site::{Path, Site};
use crate::subject::{Programs, idle_switch};

/// Ports nobody uses.
pub const IDLE_PORTS: usize = 100;

/// What an idle switch costs.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Processor time of all its threads, as a share of one core.
    pub share: f64,
    /// Resident memory, MiB.
    pub mib: f64,
}

/// Runs the switch with [`IDLE_PORTS`] ports for `span` and looks at what its process takes.
///
/// # Errors
/// If it does not start, or on interruption.
pub fn idle(programs: &Programs, span: Duration) -> io::Result<Idle> {
    // Interfaces that have just come up announce themselves; that is not idling.
    const SETTLE: Duration = Duration::from_secs(3);
    let site = Site::build(Path::Switched)?;
    let switch = idle_switch(&site, &programs.tapestry, IDLE_PORTS)?;
    interrupt::sleep(SETTLE)?;
    let (before, began) = (counters::processor_time(switch.pid())?, Instant::now());
    interrupt::sleep(span)?;
    let used = counters::processor_time(switch.pid())?.saturating_sub(before);
    let mib = counters::resident_octets(switch.pid())? as f64 / f64::from(1 << 20);
    Ok(Idle { share: used.as_secs_f64() / began.elapsed().as_secs_f64(), mib })
}
