//! Ports: where frames enter and leave the process. One [`PortIo`] is one queue of one device, owned by one worker.
//!
//! The trait is what tests replace; [`tap`] is the driver. A port moves octets and nothing else: it does not look into
//! frames, parses no offload metadata on receiving, and never blocks. What goes wrong is told by [`Fault::of`], so
//! that a worker decides by kind: wait, count a drop, or give the port up and say so.

use std::io;
use std::os::fd::BorrowedFd;

use wire::FrameBuf;

mod holder;
mod steering;
mod tap;

pub use tap::{Capabilities, Origin, QUEUES_MAX, Steering, Tap, TapQueue};

/// One queue of a device: one frame in, one frame out, without blocking.
pub trait PortIo: Send {
    /// Reads one frame, its virtio header in front of it; [`FrameBuf::parse_offload`] comes after.
    ///
    /// # Errors
    /// As [`Fault::of`] names them; [`Fault::Empty`] when there is no frame. The buffer is then empty.
    fn receive(&mut self, frame: &mut FrameBuf) -> io::Result<()>;

    /// Writes one frame with its offload metadata. The frame stays the caller's, unchanged but for
    /// [`wire::Offload::hdr_len`], and may be sent elsewhere too.
    ///
    /// # Errors
    /// As [`Fault::of`] names them. The frame has not been sent, in part or whole.
    fn send(&mut self, frame: &mut FrameBuf) -> io::Result<()>;

    /// What to wait on for frames.
    fn fd(&self) -> BorrowedFd<'_>;
}

/// What an error of [`PortIo`] means to whoever runs the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing to receive, or no room to send: wait, or drop the frame.
    Empty,
    /// The device is administratively down: the frame is lost, the port is not.
    Down,
    /// The kernel refuses this frame: too short, or (a super-segment) offload metadata that this kernel does not take
    /// as valid (tailscale issue 13041). The port is not lost; without offload the frame may pass.
    Refused,
    /// The kernel is out of memory for the moment: the frame is lost, the port is not.
    NoMemory,
    /// The device is gone: deleted, or its namespace was. The port will not come back by itself.
    Vanished,
    /// Something this list does not know: the port is best given up.
    Other,
}

impl Fault {
    /// Sorts an error by what the kernel's TUN driver means by it (Linux drivers/net/tun.c).
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Self::Empty,
            Some(libc::EIO) => Self::Down,
            Some(libc::EINVAL) => Self::Refused,
            Some(libc::ENOMEM | libc::ENOBUFS) => Self::NoMemory,
            // A reader that was waiting while the device went gets EFAULT; every later call EBADFD.
            Some(libc::EBADFD | libc::ENODEV | libc::EFAULT) => Self::Vanished,
            Some(_) => Self::Other,
            None if error.kind() == io::ErrorKind::WouldBlock => Self::Empty,
            None => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_sorted_by_what_a_worker_does_about_them() {
        for (number, fault) in [
            (libc::EAGAIN, Fault::Empty),
            (libc::EIO, Fault::Down),
            (libc::EINVAL, Fault::Refused),
            (libc::ENOBUFS, Fault::NoMemory),
            (libc::EBADFD, Fault::Vanished),
            (libc::EPERM, Fault::Other),
        ] {
            assert_eq!(Fault::of(&io::Error::from_raw_os_error(number)), fault, "{number}");
        }
        assert_eq!(Fault::of(&io::ErrorKind::WouldBlock.into()), Fault::Empty);
    }
}
