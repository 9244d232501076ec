//! The system calls that neither the standard library nor rustix offers safely: the only module with `unsafe`.
//!
//! Owns: nothing; every function takes descriptors and values and gives descriptors and values back. Each returns
//! what the kernel said as [`io::Error`], raw, so that a caller can branch on it; [`tried`] then adds what was
//! attempted, for people. Constants are written by hand with their kernel header beside them, because the headers a
//! machine has installed are often older than the kernel it runs.

#![expect(unsafe_code, reason = "system calls; each block says why it is sound")]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

pub mod bpf;
pub mod burst;
pub mod clock;
pub mod datagram;
pub mod namespace;
pub mod packet;
pub mod station;
pub mod tun;

/// Adds what was attempted to what the kernel said, keeping the kind: `open("x").map_err(tried("opening x"))`.
pub fn tried(what: impl Into<String>) -> impl FnOnce(io::Error) -> io::Error {
    let what = what.into();
    move |source| io::Error::new(source.kind(), Tried { what, source })
}

/// An error with the attempt in front: "creating a TAP device: Operation not permitted (os error 1)".
#[derive(Debug)]
struct Tried {
    what: String,
    source: io::Error,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

// The message already holds the source's, so `source()` is not offered: a report would print it twice.
impl std::error::Error for Tried {}

/// What a system call that returns −1 on failure said.
fn checked(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// setsockopt(2) with a plain C value.
fn set_option<T>(socket: impl AsFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    let pointer = std::ptr::from_ref(value).cast();
    // SAFETY: the kernel reads `len` octets, the size of `value`, for the call only. Where `value` holds a pointer (a
    // filter) it is to as many instructions as the number beside it says, which outlive the call too.
    checked(unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, pointer, len) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_kind_and_says_what_was_tried() {
        let error = tried("opening the door")(io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "opening the door: No such file or directory (os error 2)");
    }
}
