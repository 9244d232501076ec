//! UDP sockets (udp(7)): many datagrams a call, several of one length as one, and what the network said of earlier ones.
//!
//! Linux takes datagrams of one length to one place as one large message and cuts it late (`UDP_SEGMENT`, Linux 4.18),
//! and gives those that came together as one (`UDP_GRO`, 5.0). Neither the standard library nor rustix offers the control
//! messages for that.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::{checked, set_option};

/// Messages that one call sends or receives. More are a mistake of ours.
pub const MESSAGES_MAX: usize = 64;
/// Datagrams of one message (`UDP_MAX_SEGMENTS`, include/linux/udp.h: 64 before Linux 6.9, 128 since).
pub const SEGMENTS_MAX: usize = 64;
/// Octets of the payload of all datagrams of one message, so that it is one IPv4 packet until it is cut.
pub const PAYLOAD_MAX: usize = 65_507;

/// Octets of control messages that a message may have: three with one int each, or an error with an address.
const CONTROL_LEN: usize = 128;

/// One message: datagrams to one place with one type of service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub to: SocketAddr,
    /// The octet of the IP header that holds DSCP and ECN (RFC 2474, RFC 3168).
    pub tos: u8,
    /// Octets of each datagram; of the last at most. 0: the message is one datagram.
    pub segment: u16,
    /// Which of the pieces given with the call it consists of.
    pub pieces: Range<usize>,
}

/// What has been received into one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Octets.
    pub len: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// As [`Message::tos`].
    pub tos: u8,
    /// As [`Message::segment`].
    pub segment: u16,
    /// Whether the buffer was too short for it, and the rest is lost.
    pub is_cut: bool,
}

/// What a router, the peer or this host said of a datagram that had been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Where the datagram was to go.
    pub to: Option<SocketAddr>,
    /// What is wrong, as an error number: ECONNREFUSED, EHOSTUNREACH, EMSGSIZE …
    pub errno: i32,
    /// With EMSGSIZE: the octets of an IP packet that still pass.
    pub mtu: u32,
}

/// A non-blocking UDP socket of the address' family, bound to it. Wanting to hear IPv6 it does not hear IPv4.
///
/// # Errors
/// EADDRINUSE if somebody has the L4 port, EADDRNOTAVAIL if the address is not this host's.
pub fn open(local: SocketAddr) -> io::Result<OwnedFd> {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
    if local.is_ipv6() {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &1)?;
    }
    rustix::net::bind(&socket, &local)?;
    Ok(socket)
}

/// The address and L4 port it is bound to.
///
/// # Errors
/// None that a socket of [`open`] has.
pub fn local(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let name = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(name).map_err(|_| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// Sets how many octets, the kernel's own structures included, may wait each way, whatever `net.core.*mem_max` says; if
/// that is not allowed (it needs CAP_NET_ADMIN), as many as it lets pass.
///
/// # Errors
/// None that a UDP socket has.
pub fn set_buffers(socket: BorrowedFd<'_>, receive: usize, send: usize) -> io::Result<()> {
    let invalid = |_| io::Error::from_raw_os_error(libc::EINVAL);
    let receive = libc::c_int::try_from(receive).map_err(invalid)?;
    let send = libc::c_int::try_from(send).map_err(invalid)?;
    for (forced, allowed, octets) in
        [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, receive), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send)]
    {
        if set_option(socket, libc::SOL_SOCKET, forced, &octets).is_err() {
            set_option(socket, libc::SOL_SOCKET, allowed, &octets)?;
        }
    }
    Ok(())
}

/// Datagrams are never fragmented here or on the way, and those longer than the way is known to take are refused with
/// EMSGSIZE (`IP_PMTUDISC_DO`). What is said of datagrams that were sent is kept for [`take_complaint`].
///
/// # Errors
/// None that a UDP socket has.
pub fn mind_the_path(socket: BorrowedFd<'_>, is_ipv6: bool) -> io::Result<()> {
    let (level, discover, errors, how) = if is_ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_RECVERR, libc::IPV6_PMTUDISC_DO)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_RECVERR, libc::IP_PMTUDISC_DO)
    };
    set_option(socket, level, discover, &how)?;
    set_option(socket, level, errors, &1)
}

/// The TTL or hop limit of what is sent.
///
/// # Errors
/// EINVAL for 0.
pub fn set_ttl(socket: BorrowedFd<'_>, is_ipv6: bool, ttl: u8) -> io::Result<()> {
    let ttl = libc::c_int::from(ttl);
    if is_ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, &ttl)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_TTL, &ttl)
    }
}

/// Datagrams leave without a checksum if they are IPv4's, which the kernel takes for a reason not to cut any.
///
/// # Errors
/// None that a UDP socket has.
pub fn leave_out_checksums(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, &1)
}

/// With each datagram comes its type of service.
///
/// # Errors
/// None that a UDP socket has.
pub fn receive_tos(socket: BorrowedFd<'_>, is_ipv6: bool) -> io::Result<()> {
    if is_ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, &1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_RECVTOS, &1)
    }
}

/// Datagrams that came together may be received as one message.
///
/// # Errors
/// ENOPROTOOPT on a kernel older than 5.0.
pub fn receive_joined(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, &1)
}

/// Whether the kernel knows `UDP_SEGMENT`.
pub fn takes_segments(socket: BorrowedFd<'_>) -> bool {
    cut(socket, 0).is_ok() // 0, not at all, is what it is anyway.
}

/// Whatever is sent is cut into datagrams of so many octets.
///
/// # Errors
/// ENOPROTOOPT on a kernel older than 4.18.
pub fn cut(socket: BorrowedFd<'_>, octets: u16) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, &libc::c_int::from(octets))
}

/// Nothing is received from now on: the socket is for sending.
///
/// # Errors
/// None that a UDP socket has.
pub fn hear_nothing(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut refuse = libc::sock_filter { code: 0, jt: 0, jf: 0, k: 0 };
    refuse.code = u16::try_from(libc::BPF_RET | libc::BPF_K).expect("operation codes have 16 bits");
    let program = libc::sock_fprog { len: 1, filter: &raw mut refuse };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// How many datagrams have found no room in the socket, or were damaged, since it was opened. It starts again at 2³².
///
/// # Errors
/// ENOPROTOOPT on a kernel older than 4.12.
pub fn drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    /// `SK_MEMINFO_DROPS` and `SK_MEMINFO_VARS` (include/uapi/linux/sock_diag.h).
    const DROPS: usize = 8;
    const VARS: usize = 9;
    let mut numbers = [0_u32; VARS];
    let mut len = libc::socklen_t::try_from(size_of_val(&numbers)).expect("it is 36");
    let (level, option) = (libc::SOL_SOCKET, libc::SO_MEMINFO);
    // SAFETY: the kernel writes at most `len` octets, the size of `numbers`, and the written length into `len`; any
    // octets are valid numbers.
    checked(unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, numbers.as_mut_ptr().cast(), &raw mut len)
    })?;
    Ok(numbers[DROPS])
}

/// The octets of an IP packet that the way to a connected socket's other end is known to take.
///
/// # Errors
/// ENOTCONN if the socket is not connected.
pub fn path_mtu(socket: BorrowedFd<'_>, is_ipv6: bool) -> io::Result<u32> {
    let (level, option) =
        if is_ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_MTU) } else { (libc::IPPROTO_IP, libc::IP_MTU) };
    let mut mtu: libc::c_int = 0;
    let mut len = libc::socklen_t::try_from(size_of_val(&mtu)).expect("it is 4");
    // SAFETY: the kernel writes at most `len` octets, the size of `mtu`, and the written length into `len`; any octets
    // are a valid int.
    checked(unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut mtu).cast(), &raw mut len)
    })?;
    Ok(u32::try_from(mtu).unwrap_or(0))
}

/// Sends messages in order, each made of its pieces. Returns how many were sent; at least one.
///
/// # Errors
/// What is wrong with the first: EAGAIN without room, EMSGSIZE if it does not fit the way, EINVAL or EIO if the kernel
/// cannot cut it (or has no such source address); or what [`take_complaint`] tells more about, which has nothing to do
/// with this message.
pub fn send(socket: BorrowedFd<'_>, messages: &[Message], pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    let count = messages.len().min(MESSAGES_MAX);
    let mut names = [const { MaybeUninit::<Name>::uninit() }; MESSAGES_MAX];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; MESSAGES_MAX];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MESSAGES_MAX];
    for (((message, name), control), header) in
        messages.iter().zip(&mut names).zip(&mut controls).zip(&mut headers)
    {
        let name = name.write(Name::of(message.to));
        let control = control.write(Control::default());
        let is_ipv6 = message.to.is_ipv6();
        if message.tos != 0 {
            let (level, kind) = tos_option(is_ipv6);
            control.push(level, kind, &libc::c_int::from(message.tos));
        }
        if message.segment != 0 {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &message.segment);
        }
        let parts = &pieces[message.pieces.clone()];
        // SAFETY: a plain C structure for which all zeros is a valid value.
        let header = header.write(unsafe { std::mem::zeroed() });
        header.msg_hdr.msg_name = (&raw mut name.storage).cast();
        header.msg_hdr.msg_namelen = name.len;
        // An IoSlice is laid out as an iovec on Unix; sending only reads, although an iovec cannot say so.
        header.msg_hdr.msg_iov = parts.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_iovlen = parts.len() as _;
        if control.len > 0 {
            header.msg_hdr.msg_control = control.octets.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.len as _;
        }
    }
    let vlen = libc::c_uint::try_from(count).expect("it is at most MESSAGES_MAX");
    // SAFETY: the first `count` headers are written, and point to names, controls and pieces that live until the call
    // returns, each with its length.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr().cast(), vlen, 0) };
    Ok(usize::try_from(checked(sent)?).expect("checked() lets no negative number pass"))
}

/// Receives messages, one a buffer, without waiting. Returns how many, at least one; as many of `arrived` are written.
///
/// # Errors
/// EAGAIN if there is none; or what [`take_complaint`] tells more about.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
    arrived: &mut [Option<Arrived>],
) -> io::Result<usize> {
    let count = buffers.len().min(arrived.len()).min(MESSAGES_MAX);
    let mut names = [const { MaybeUninit::<Name>::uninit() }; MESSAGES_MAX];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; MESSAGES_MAX];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MESSAGES_MAX];
    for (((buffer, name), control), header) in
        buffers.iter_mut().zip(&mut names).zip(&mut controls).zip(&mut headers[..count])
    {
        let name = name.write(Name::EMPTY);
        let control = control.write(Control::default());
        // SAFETY: a plain C structure for which all zeros is a valid value.
        let header = header.write(unsafe { std::mem::zeroed() });
        header.msg_hdr.msg_name = (&raw mut name.storage).cast();
        header.msg_hdr.msg_namelen = name.len;
        header.msg_hdr.msg_iov = std::ptr::from_mut(buffer).cast(); // Laid out as an iovec on Unix.
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = control.octets.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = control.octets.len() as _;
    }
    let vlen = libc::c_uint::try_from(count).expect("it is at most MESSAGES_MAX");
    let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT as _);
    // SAFETY: the first `count` headers are written, and point to names, controls and buffers that live until the call
    // returns, each with its length.
    let got = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr().cast(), vlen, flags, std::ptr::null_mut()) };
    let got = usize::try_from(checked(got)?).expect("checked() lets no negative number pass");
    for ((header, name), arrived) in headers[..got].iter().zip(&names).zip(arrived) {
        // SAFETY: all three were written above, and again by the kernel.
        let (header, name) = unsafe { (header.assume_init_ref(), name.assume_init_ref()) };
        let mut what = Arrived {
            len: header.msg_len as usize,
            from: name.address(header.msg_hdr.msg_namelen).unwrap_or(NOBODY),
            tos: 0,
            segment: 0,
            is_cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
        for_each_control(&header.msg_hdr, |level, kind, data| match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => what.segment = int(data).try_into().unwrap_or(0),
            (libc::IPPROTO_IP, libc::IP_TOS) => what.tos = data.first().copied().unwrap_or(0),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => what.tos = int(data).try_into().unwrap_or(0),
            _ => {}
        });
        *arrived = Some(what);
    }
    Ok(got)
}

/// The oldest complaint that has not been taken; `None` if there is none. Taking all of them clears the error that the
/// next call would have returned.
///
/// # Errors
/// None that a UDP socket has.
pub fn take_complaint(socket: BorrowedFd<'_>) -> io::Result<Option<Complaint>> {
    let mut name = Name::EMPTY;
    let mut control = Control::default();
    // SAFETY: a plain C structure for which all zeros is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut name.storage).cast();
    header.msg_namelen = name.len;
    header.msg_control = control.octets.as_mut_ptr().cast();
    header.msg_controllen = control.octets.len() as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the header points to a name and a control buffer of the lengths it says, which live until the call
    // returns; the datagram that the complaint quotes has no room and is cut.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    if got < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    }
    let mut complaint = Complaint { to: name.address(header.msg_namelen), errno: 0, mtu: 0 };
    for_each_control(&header, |level, kind, data| {
        let is_error = matches!(
            (level, kind),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        // `struct sock_extended_err` (include/uapi/linux/errqueue.h): errno, four octets, info, data.
        if is_error && data.len() >= 12 {
            complaint.errno = int(data);
            complaint.mtu = u32::try_from(int(&data[8..])).unwrap_or(0);
        }
    });
    Ok(Some(complaint))
}

/// What a datagram without a sender has; UDP has none such.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

fn tos_option(is_ipv6: bool) -> (libc::c_int, libc::c_int) {
    if is_ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) } else { (libc::IPPROTO_IP, libc::IP_TOS) }
}

/// The int that a control message starts with; 0 if it is shorter.
fn int(data: &[u8]) -> libc::c_int {
    data.first_chunk().map_or(0, |octets| libc::c_int::from_ne_bytes(*octets))
}

/// An address as the kernel has it.
struct Name {
    storage: libc::sockaddr_in6,
    len: libc::socklen_t,
}

/// Octets of an IPv4 address with its family and L4 port; IPv6's structure is longer.
const IPV4_NAME_LEN: usize = size_of::<libc::sockaddr_in>();

const _: () = assert!(size_of::<libc::sockaddr_in6>() == 28, "the longest name that a datagram has");

impl Name {
    const EMPTY: Self = Self {
        storage: libc::sockaddr_in6 {
            sin6_family: 0,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        },
        len: 28,
    };

    fn of(address: SocketAddr) -> Self {
        let mut name = Self::EMPTY;
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        name.storage.sin6_family = libc::sa_family_t::try_from(family).expect("address families are small");
        name.storage.sin6_port = address.port().to_be();
        match address {
            // In both structures the family and the L4 port come first; then IPv4's address, where IPv6 has its flow.
            SocketAddr::V4(v4) => {
                name.storage.sin6_flowinfo = u32::from_ne_bytes(v4.ip().octets());
                name.len = libc::socklen_t::try_from(IPV4_NAME_LEN).expect("it is 16");
            }
            SocketAddr::V6(v6) => {
                name.storage.sin6_addr.s6_addr = v6.ip().octets();
                name.storage.sin6_scope_id = v6.scope_id();
            }
        }
        name
    }

    /// What the kernel has written, in so many octets.
    fn address(&self, len: libc::socklen_t) -> Option<SocketAddr> {
        let l4_port = u16::from_be(self.storage.sin6_port);
        let family = libc::c_int::from(self.storage.sin6_family);
        let ip: IpAddr = match family {
            libc::AF_INET if len as usize >= IPV4_NAME_LEN => {
                Ipv4Addr::from(self.storage.sin6_flowinfo.to_ne_bytes()).into()
            }
            libc::AF_INET6 if len as usize >= size_of::<libc::sockaddr_in6>() => {
                Ipv6Addr::from(self.storage.sin6_addr.s6_addr).into()
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, l4_port))
    }
}

/// Control messages, one behind the other as cmsg(3) wants them.
#[repr(C, align(8))]
struct Control {
    octets: [u8; CONTROL_LEN],
    len: usize,
}

impl Default for Control {
    fn default() -> Self {
        Self { octets: [0; CONTROL_LEN], len: 0 }
    }
}

/// Where the data of a control message start, and the octets that its start is a multiple of.
const CONTROL_HEADER_LEN: usize = size_of::<libc::cmsghdr>().next_multiple_of(CONTROL_ALIGNMENT);
const CONTROL_ALIGNMENT: usize = size_of::<usize>();

impl Control {
    /// Adds a message that holds one number.
    fn push<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, value: &T) {
        let data_at = self.len + CONTROL_HEADER_LEN;
        assert!(data_at + size_of::<T>() <= CONTROL_LEN, "there is room for the few that are sent");
        // SAFETY: a plain C structure for which all zeros is a valid value.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_len = (CONTROL_HEADER_LEN + size_of::<T>()) as _;
        header.cmsg_level = level;
        header.cmsg_type = kind;
        // SAFETY: both writes end within `octets`, as was asserted, and need no alignment.
        unsafe {
            self.octets.as_mut_ptr().add(self.len).cast::<libc::cmsghdr>().write_unaligned(header);
            self.octets.as_mut_ptr().add(data_at).cast::<T>().write_unaligned(*value);
        }
        self.len = (data_at + size_of::<T>()).next_multiple_of(CONTROL_ALIGNMENT);
    }
}

/// Shows every control message's level, type and data.
fn for_each_control(header: &libc::msghdr, mut see: impl FnMut(libc::c_int, libc::c_int, &[u8])) {
    let all: &[u8] = match header.msg_controllen {
        0 => &[],
        // SAFETY: the kernel has written so many octets behind `msg_control`, which the caller's buffer is still there for.
        len => unsafe { std::slice::from_raw_parts(header.msg_control.cast(), len) },
    };
    let mut at = 0;
    while let Some(rest) = all.get(at..).filter(|rest| rest.len() >= CONTROL_HEADER_LEN) {
        // SAFETY: `rest` holds a whole structure, of which any octets are valid; it needs no alignment.
        let message: libc::cmsghdr = unsafe { rest.as_ptr().cast::<libc::cmsghdr>().read_unaligned() };
        let len = message.cmsg_len;
        let Some(data) = rest.get(CONTROL_HEADER_LEN..len) else { return };
        see(message.cmsg_level, message.cmsg_type, data);
        at += len.next_multiple_of(CONTROL_ALIGNMENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn pair(ip: &str) -> (OwnedFd, OwnedFd, SocketAddr, SocketAddr) {
        let any = SocketAddr::new(ip.parse().unwrap(), 0);
        let (one, other) = (open(any).unwrap(), open(any).unwrap());
        let (one_at, other_at) = (local(one.as_fd()).unwrap(), local(other.as_fd()).unwrap());
        (one, other, one_at, other_at)
    }

    /// Receives one message of at most so many octets; loopback delivers within the send.
    fn one_message(socket: &OwnedFd, room: usize) -> (Vec<u8>, Arrived) {
        let mut octets = vec![0xa5; room];
        let mut arrived = [None];
        let got = receive(socket.as_fd(), &mut [IoSliceMut::new(&mut octets)], &mut arrived).unwrap();
        assert_eq!(got, 1);
        let arrived = arrived[0].unwrap();
        octets.truncate(arrived.len);
        (octets, arrived)
    }

    #[test]
    fn pieces_are_one_datagram_with_its_sender_and_type_of_service() {
        for ip in ["127.0.0.1", "::1"] {
            let (one, other, one_at, other_at) = pair(ip);
            receive_tos(other.as_fd(), other_at.is_ipv6()).unwrap();
            let message = Message { to: other_at, tos: 0x2a, segment: 0, pieces: 1..3 };
            let pieces = [b"not", b"pie", b"ces"].map(|piece| IoSlice::new(piece));
            assert_eq!(send(one.as_fd(), &[message], &pieces).unwrap(), 1);
            let (octets, arrived) = one_message(&other, 100);
            assert_eq!(octets, b"pieces");
            let expected = Arrived { len: 6, from: one_at, tos: 0x2a, segment: 0, is_cut: false };
            assert_eq!(arrived, expected);
            let error = receive(other.as_fd(), &mut [IoSliceMut::new(&mut [0; 9])], &mut [None]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_message_is_cut_into_datagrams_and_joined_again() {
        for ip in ["127.0.0.1", "::1"] {
            let (one, other, _, other_at) = pair(ip);
            assert!(takes_segments(one.as_fd()));
            let message = Message { to: other_at, tos: 0, segment: 4, pieces: 0..3 };
            let pieces = [b"aaaa".as_slice(), b"bbbb", b"cc"].map(IoSlice::new);
            send(one.as_fd(), std::slice::from_ref(&message), &pieces).unwrap();
            for expected in [b"aaaa".as_slice(), b"bbbb", b"cc"] {
                assert_eq!(one_message(&other, 100).0, expected);
            }
            receive_joined(other.as_fd()).unwrap();
            send(one.as_fd(), &[message], &pieces).unwrap();
            let (octets, arrived) = one_message(&other, 100);
            assert_eq!((octets.as_slice(), arrived.segment), (b"aaaabbbbcc".as_slice(), 4));
        }
    }

    #[test]
    fn many_messages_go_in_one_call_and_come_in_one() {
        let (one, other, _, other_at) = pair("127.0.0.1");
        let octets: Vec<u8> = (0..100).collect();
        let pieces: Vec<IoSlice<'_>> = octets.chunks(1).map(IoSlice::new).collect();
        let messages: Vec<Message> =
            (0..100).map(|at| Message { to: other_at, tos: 0, segment: 0, pieces: at..at + 1 }).collect();
        assert_eq!(send(one.as_fd(), &messages, &pieces).unwrap(), MESSAGES_MAX, "no more in one call");
        let mut rooms = [[0; 4]; MESSAGES_MAX + 6];
        let mut buffers: Vec<IoSliceMut<'_>> = rooms.iter_mut().map(|room| IoSliceMut::new(room)).collect();
        let mut arrived = [None; MESSAGES_MAX + 6];
        assert_eq!(receive(other.as_fd(), &mut buffers, &mut arrived).unwrap(), MESSAGES_MAX);
        assert_eq!(rooms[63][0], 63);
        assert_eq!(arrived[63].map(|what| what.len), Some(1));
        assert_eq!(arrived[64], None);
    }

    #[test]
    fn what_does_not_fit_the_buffer_is_said_to_be_cut() {
        let (one, other, _, other_at) = pair("127.0.0.1");
        let message = Message { to: other_at, tos: 0, segment: 0, pieces: 0..1 };
        send(one.as_fd(), &[message], &[IoSlice::new(&[1; 50])]).unwrap();
        let (_, arrived) = one_message(&other, 49);
        assert!(arrived.is_cut);
    }

    #[test]
    fn a_closed_l4_port_complains_and_the_next_datagram_passes() {
        for ip in ["127.0.0.1", "::1"] {
            let (one, other, _, other_at) = pair(ip);
            mind_the_path(one.as_fd(), other_at.is_ipv6()).unwrap();
            drop(other);
            let message = [Message { to: other_at, tos: 0, segment: 0, pieces: 0..1 }];
            let piece = [IoSlice::new(b"anybody?")];
            send(one.as_fd(), &message, &piece).unwrap();
            let error = send(one.as_fd(), &message, &piece).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
            let complaint = take_complaint(one.as_fd()).unwrap().unwrap();
            assert_eq!((complaint.to, complaint.errno), (Some(other_at), libc::ECONNREFUSED));
            assert_eq!(take_complaint(one.as_fd()).unwrap(), None);
            send(one.as_fd(), &message, &piece).unwrap();
        }
    }

    #[test]
    fn a_socket_that_hears_nothing_hears_nothing() {
        let (one, other, _, other_at) = pair("127.0.0.1");
        hear_nothing(other.as_fd()).unwrap();
        let before = drops(other.as_fd()).unwrap();
        let message = [Message { to: other_at, tos: 0, segment: 0, pieces: 0..1 }];
        send(one.as_fd(), &message, &[IoSlice::new(b"hello")]).unwrap();
        let error = receive(other.as_fd(), &mut [IoSliceMut::new(&mut [0; 9])], &mut [None]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(drops(other.as_fd()).unwrap() - before, 1);
    }
}
