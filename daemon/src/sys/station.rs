//! What a packet socket (packet(7)) needs to be a station of its own on somebody's interface: a filter, the interface's
//! consent to another address, offload metadata, and a count of what was lost.
//!
//! In the order of use: [`open`] (hears nothing yet), the options, [`attach_filter`], [`join`], [`bind`] (hears).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::{checked, set_option};

/// Octets of the virtio header in front of each frame (`struct virtio_net_hdr`), in the machine's octet order.
pub const HEADER_LEN: usize = 10;

/// What an interface is asked to receive beyond its own (`PACKET_MR_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Frames to this unicast address. An interface that cannot filter becomes promiscuous.
    Unicast([u8; 6]),
    /// Frames to this group.
    Group([u8; 6]),
    /// Every frame.
    Promiscuous,
}

/// A non-blocking socket that hears nothing until it is bound.
///
/// # Errors
/// EPERM without CAP_NET_RAW.
pub fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?)
}

/// From now on [`HEADER_LEN`] octets of offload metadata stand before every frame, both ways.
///
/// # Errors
/// EINVAL on a bound ring; none on a fresh socket.
pub fn set_header(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1)
}

/// Frames that this host sends through the interface are not heard.
///
/// # Errors
/// ENOPROTOOPT on a kernel older than 4.20.
pub fn ignore_outgoing(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)
}

/// Sets how many octets, the kernel's own structures included, may wait each way, whatever `net.core.*mem_max` says.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN.
pub fn set_buffers(socket: BorrowedFd<'_>, receive: usize, send: usize) -> io::Result<()> {
    rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, receive)?;
    let send = libc::c_int::try_from(send).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &send)
}

/// Only frames for which this classic BPF program returns more than 0 are heard. It sees them from the Ethernet header
/// on, without the tag that the kernel carries beside the frame.
///
/// # Errors
/// EINVAL if the program is none.
pub fn attach_filter(socket: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Asks the interface; the kernel takes it back when the socket is closed or the interface goes.
///
/// # Errors
/// ENODEV without such an interface; EINVAL if its addresses are not Ethernet's.
pub fn join(socket: BorrowedFd<'_>, index: u32, membership: Membership) -> io::Result<()> {
    let (kind, address) = match membership {
        Membership::Unicast(address) => (libc::PACKET_MR_UNICAST, address),
        Membership::Group(address) => (libc::PACKET_MR_MULTICAST, address),
        Membership::Promiscuous => (libc::PACKET_MR_PROMISC, [0; 6]),
    };
    let mut octets = [0; 8];
    octets[..6].copy_from_slice(&address);
    let request = libc::packet_mreq {
        mr_ifindex: interface(index)?,
        mr_type: u16::try_from(kind).expect("kinds are below 5"),
        mr_alen: 6,
        mr_address: octets,
    };
    set_option(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
}

/// Hears and sends through the interface of this index from now on. If it is down the socket says ENETDOWN once and
/// hears when it is raised.
///
/// # Errors
/// ENODEV without such an interface.
pub fn bind(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).expect("it is 17"),
        sll_protocol: u16::try_from(libc::ETH_P_ALL).expect("it is 3").to_be(),
        sll_ifindex: interface(index)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = libc::socklen_t::try_from(size_of_val(&address)).expect("it is 20");
    // SAFETY: bind(2) reads `len` octets from the pointer, which is the size of what is there, for the call only.
    checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) }).map(drop)
}

/// How many frames found no room in the socket since this was last asked.
///
/// # Errors
/// None that a packet socket has.
pub fn take_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    /// `struct tpacket_stats`.
    #[repr(C)]
    #[derive(Default)]
    struct Statistics {
        packets: u32,
        drops: u32,
    }
    let mut statistics = Statistics::default();
    let mut len = libc::socklen_t::try_from(size_of_val(&statistics)).expect("it is 8");
    // SAFETY: the kernel writes at most `len` octets, the size of `statistics`, and the written length into `len`; any
    // octets are valid numbers.
    checked(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut len,
        )
    })?;
    Ok(statistics.drops)
}

fn interface(index: u32) -> io::Result<libc::c_int> {
    libc::c_int::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))
}
