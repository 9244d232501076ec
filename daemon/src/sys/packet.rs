//! A raw Ethernet socket on an interface (packet(7)): every frame it sends and receives, headers and all.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::checked;

/// Opens a non-blocking socket bound to the interface of this index in the namespace of the calling thread. read(2)
/// and write(2) then move one frame each, without offload metadata.
///
/// # Errors
/// EPERM without CAP_NET_RAW, ENODEV without such an interface, ENETDOWN if it is down.
pub fn open(index: u32) -> io::Result<OwnedFd> {
    let protocol = u16::try_from(libc::ETH_P_ALL).expect("it is 3").to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) touches no memory of ours.
    let descriptor = checked(unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol)) })?;
    // SAFETY: the call succeeded, so this is a fresh descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).expect("it is 17"),
        sll_protocol: protocol,
        sll_ifindex: i32::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = libc::socklen_t::try_from(size_of_val(&address)).expect("it is 20");
    // SAFETY: bind(2) reads `len` octets from the pointer, which is the size of what is there, for the call only.
    checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(socket)
}
