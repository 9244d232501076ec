//! Ports: where frames enter and leave the process. One [`PortIo`] is one queue of one device, owned by one worker.
//!
//! The trait is what tests replace; [`tap`], [`tun`] and [`nic`] are the drivers. A port moves octets and nothing else: it does not look into
//! frames, parses no offload metadata on receiving, and never blocks. What goes wrong is told by [`Fault::of`], so
//! that a worker decides by kind: wait, count a drop, or give the port up and say so.

use std::io;
use std::os::fd::BorrowedFd;

use wire::{FrameBuf, Offload};

pub(crate) mod holder;
mod nic;
#[cfg(test)]
pub(crate) mod pipe;
mod steering;
mod tap;
mod tun;
pub mod udp;

pub use nic::{Link, Nic, NicQueue};
pub use tap::{Capabilities, Origin, QUEUES_MAX, Steering, Tap, TapQueue};
pub use tun::TunQueue;

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

    /// Whether an error event of [`PortIo::fd`] means that the device is being removed. TUN reports one for that and for
    /// nothing else (Linux drivers/net/tun.c, `tun_chr_poll`); the next receive may still say "empty".
    fn error_is_the_end(&self) -> bool {
        true
    }

    /// Whether the port has this one queue, which belongs to worker 0, however many workers there are. Frames from it
    /// are not handed over: the router, which they are for, is that worker's too.
    fn is_only_queue(&self) -> bool {
        false
    }

    /// How many frames the kernel had no room for before they could be received, since this was last asked.
    fn take_overruns(&mut self) -> u64 {
        0
    }
}

/// What an error of [`PortIo`] means to whoever runs the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing to receive, or no room to send: wait, or drop the frame.
    Empty,
    /// The device is down, or has no carrier: the frame is lost, the port is not.
    Down,
    /// The kernel refuses this frame: too short, too long, or (a super-segment) offload metadata that this kernel does not take
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
    /// Sorts an error by what the kernel's TUN driver (Linux drivers/net/tun.c) or packet socket
    /// (net/packet/af_packet.c) means by it.
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Self::Empty,
            Some(libc::EIO | libc::ENETDOWN) => Self::Down,
            // EMSGSIZE: longer than the interface's MTU, or received and longer than any frame of ours.
            Some(libc::EINVAL | libc::EMSGSIZE) => Self::Refused,
            Some(libc::ENOMEM | libc::ENOBUFS) => Self::NoMemory,
            // A reader that was waiting while the device went gets EFAULT; every later call EBADFD.
            // ENXIO is what a packet socket says of an interface that was deleted.
            Some(libc::EBADFD | libc::ENODEV | libc::ENXIO | libc::EFAULT) => Self::Vanished,
            Some(_) => Self::Other,
            None if error.kind() == io::ErrorKind::WouldBlock => Self::Empty,
            None => Self::Other,
        }
    }
}

/// TCP's and UDP's checksum fields, from the start of their headers; they tell which it is.
const TCP_CHECKSUM_AT: u16 = 16;
const UDP_HEADER_LEN: usize = 8;

/// The octets of L2 to L4 headers of a frame that is to be finished; else 0.
///
/// The kernel puts this many octets into the linear part of a large frame, the rest into pages. What a reader gets is
/// the sender's linear length, which is a hint that may hold payload (or 0); the exact value keeps payload in pages.
fn exact_header_len(offload: Offload, frame: &[u8]) -> u16 {
    if !offload.needs_checksum() {
        return 0;
    }
    let l4 = usize::from(offload.csum_start);
    let l4_len = if offload.csum_offset == TCP_CHECKSUM_AT {
        frame.get(l4 + 12).map_or(0, |&data_offset| usize::from(data_offset >> 4) * 4)
    } else {
        UDP_HEADER_LEN
    };
    let len = (l4 + l4_len).min(frame.len());
    u16::try_from(len).unwrap_or(offload.hdr_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::offload::{Gso, NEEDS_CSUM};

    #[test]
    fn faults_are_sorted_by_what_a_worker_does_about_them() {
        for (number, fault) in [
            (libc::EAGAIN, Fault::Empty),
            (libc::EIO, Fault::Down),
            (libc::EINVAL, Fault::Refused),
            (libc::ENOBUFS, Fault::NoMemory),
            (libc::EBADFD, Fault::Vanished),
            (libc::ENETDOWN, Fault::Down),
            (libc::ENXIO, Fault::Vanished),
            (libc::EPERM, Fault::Other),
        ] {
            assert_eq!(Fault::of(&io::Error::from_raw_os_error(number)), fault, "{number}");
        }
        assert_eq!(Fault::of(&io::ErrorKind::WouldBlock.into()), Fault::Empty);
    }

    fn partial(csum_start: u16, csum_offset: u16) -> Offload {
        Offload { flags: NEEDS_CSUM, csum_start, csum_offset, hdr_len: 1400, ..Offload::NONE }
    }

    #[test]
    fn header_length_is_computed_not_believed() {
        let mut frame = [0; 1500];
        frame[34 + 12] = 0x80; // TCP header of 32 octets.
        assert_eq!(exact_header_len(partial(34, 16), &frame), 66);
        assert_eq!(exact_header_len(Offload { gso: Gso::TcpV4, ..partial(34, 16) }, &frame), 66);
        assert_eq!(exact_header_len(partial(34, 6), &frame), 42, "UDP");
        assert_eq!(exact_header_len(Offload::NONE, &frame), 0, "nothing to finish");
    }

    #[test]
    fn header_length_never_passes_the_frames_end() {
        let frame = [0xff; 60];
        assert_eq!(exact_header_len(partial(34, 16), &frame), 60);
        assert_eq!(exact_header_len(partial(59, 16), &frame), 59);
        assert_eq!(exact_header_len(partial(65_535, 16), &frame), 60);
    }
}
