//! A raw packet socket (packet(7)) for load: many frames a call, past the interface's queueing discipline.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use super::checked;

/// Frames one call takes. More are a mistake of ours.
pub const COPIES_MAX: usize = 64;

/// `PACKET_QDISC_BYPASS` (include/uapi/linux/if_packet.h): hand frames to the driver at once.
const PACKET_QDISC_BYPASS: libc::c_int = 20;

/// A socket that sends whole frames through one interface and receives nothing.
#[derive(Debug)]
pub struct BurstSocket {
    file: OwnedFd,
}

impl BurstSocket {
    /// Opens a socket on an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, ENODEV without such an interface.
    pub fn open(ifname: &str) -> io::Result<Self> {
        // Protocol 0: no copy of any arriving frame is made for this socket.
        let file = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        let index = netdevice::name_to_index(&file, ifname)?;
        bypass_queueing(&file)?;
        bind(&file, index)?;
        Ok(Self { file })
    }

    /// Sends `frame` `count` times. Returns how many the interface took; the rest, if any, it had no room for.
    ///
    /// # Errors
    /// ENETDOWN while the interface is down, ENXIO once it is gone, EMSGSIZE if the frame exceeds its MTU.
    pub fn send_copies(&self, frame: &[u8], count: usize) -> io::Result<usize> {
        self.send(std::iter::repeat_n(frame, count))
    }

    /// Sends these frames, at most [`COPIES_MAX`]. Returns how many the interface took, as [`BurstSocket::send_copies`].
    ///
    /// # Errors
    /// As [`BurstSocket::send_copies`].
    pub fn send<'a>(&self, frames: impl ExactSizeIterator<Item = &'a [u8]>) -> io::Result<usize> {
        let count = frames.len();
        assert!(count <= COPIES_MAX, "{count} frames are more than a call takes");
        let mut octets = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; COPIES_MAX];
        // SAFETY: a plain C structure for which all zeros is a valid value (no address, no control data).
        let mut messages: [libc::mmsghdr; COPIES_MAX] = unsafe { std::mem::zeroed() };
        for ((octets, message), frame) in octets.iter_mut().zip(&mut messages).zip(frames) {
            *octets = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
            message.msg_hdr.msg_iov = &raw mut *octets;
            message.msg_hdr.msg_iovlen = 1;
        }
        let count = u32::try_from(count).expect("it is at most COPIES_MAX");
        // SAFETY: the first `count` messages each point to one iovec that describes a frame (the frames outlive the call,
        // and a message that no frame was there for describes no octets at all). Sending only reads them, although an
        // iovec cannot say so.
        let sent = unsafe { libc::sendmmsg(self.file.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        match checked(sent) {
            Ok(sent) => Ok(usize::try_from(sent).expect("checked() lets no negative number pass")),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN)) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

fn bypass_queueing(file: &impl AsFd) -> io::Result<()> {
    let yes: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&yes)).expect("it is 4");
    let (fd, option) = (file.as_fd().as_raw_fd(), PACKET_QDISC_BYPASS);
    // SAFETY: the option takes one int, which lives until the call returns.
    checked(unsafe { libc::setsockopt(fd, libc::SOL_PACKET, option, (&raw const yes).cast(), len) }).map(drop)
}

fn bind(file: &impl AsFd, index: u32) -> io::Result<()> {
    // SAFETY: a plain C structure for which all zeros is a valid value (protocol 0, no address).
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).expect("address families are small");
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    let len = libc::socklen_t::try_from(size_of_val(&address)).expect("it is 20");
    // SAFETY: `address` is of the type that AF_PACKET's bind(2) reads, of the length given, and lives for the call.
    checked(unsafe { libc::bind(file.as_fd().as_raw_fd(), (&raw const address).cast(), len) }).map(drop)
}
