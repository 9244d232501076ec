//! Who holds a TAP device: the kernel's "busy" does not say, but every descriptor's fdinfo does.
//!
//! fdinfo has the device's name and not its namespace, and half the containers of a host have an `eth0`. So a
//! descriptor that matches by name is borrowed from its process for the time of one question.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::link::Namespace;
use crate::sys::tun;

/// A process with a descriptor on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pid: i32,
    command: String,
    /// Whether the device is known to be in the calling thread's namespace; otherwise only its name matches.
    pub(super) certain: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// A process with a descriptor on the TAP device of this name in the calling thread's namespace; failing that, one that
/// may have, because its descriptors cannot be borrowed. Walks all of /proc: for adoption and error messages only.
///
/// This process counts too: a configuration may name one device twice.
pub(crate) fn of(name: &str) -> Option<Holder> {
    let here = identity(Namespace::current().ok()?.as_fd()).ok()?;
    let line = format!("iff:\t{name}");
    let mut uncertain = None;
    for process in fs::read_dir("/proc").ok()?.filter_map(Result::ok) {
        let Some(pid) = process.file_name().to_str().and_then(|pid| pid.parse().ok()) else { continue };
        for descriptor in descriptors(&process.path(), &line) {
            let found = |certain| Holder { pid, command: command(&process.path()), certain };
            match namespace_of(pid, descriptor) {
                Ok(there) if there == here => return Some(found(true)),
                Ok(_) => {}
                Err(_) => uncertain = Some(found(false)),
            }
        }
    }
    uncertain
}

/// The process's descriptors whose fdinfo has `line`; none if the process has ended or is not ours to look at.
fn descriptors(process: &Path, line: &str) -> Vec<RawFd> {
    let Ok(entries) = fs::read_dir(process.join("fdinfo")) else { return Vec::new() };
    let matching = entries.filter_map(Result::ok).filter(|entry| {
        fs::read_to_string(entry.path()).is_ok_and(|info| info.lines().any(|each| each == line))
    });
    matching.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn command(process: &Path) -> String {
    fs::read_to_string(process.join("comm")).unwrap_or_default().trim_end().to_owned()
}

/// The namespace of the device that another process's descriptor is attached to.
fn namespace_of(pid: i32, descriptor: RawFd) -> io::Result<(u64, u64)> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let borrowed = pidfd_getfd(process, descriptor, PidfdGetfdFlags::empty())?;
    identity(tun::namespace(borrowed.as_fd())?.as_fd())
}

/// Two descriptors with the same of this are the same namespace.
fn identity(namespace: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let status = rustix::fs::fstat(namespace)?;
    Ok((status.st_dev, status.st_ino))
}
