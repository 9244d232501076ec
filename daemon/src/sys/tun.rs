//! TUN/TAP control requests (drivers/net/tun.c, include/uapi/linux/if_tun.h).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

use super::checked;

/// IP packets, not Ethernet frames.
pub const IFF_TUN: u16 = 0x0001;
/// Ethernet frames, not IP packets.
pub const IFF_TAP: u16 = 0x0002;
/// No four-octet packet information in front.
pub const IFF_NO_PI: u16 = 0x1000;
/// A virtio header in front of every frame.
pub const IFF_VNET_HDR: u16 = 0x4000;
/// Several queues, each a descriptor.
pub const IFF_MULTI_QUEUE: u16 = 0x0100;
/// The device outlives its last descriptor (only read, in what the kernel tells about a device).
const IFF_PERSIST: u16 = 0x0800;
/// Refuse (EBUSY) to attach to a device that exists.
pub const IFF_TUN_EXCL: u16 = 0x8000;

/// The reader finishes checksums; every other offload needs it.
pub const TUN_F_CSUM: u32 = 0x01;
/// The reader takes TCPv4 super-segments.
pub const TUN_F_TSO4: u32 = 0x02;
/// The reader takes TCPv6 super-segments.
pub const TUN_F_TSO6: u32 = 0x04;
/// The reader takes super-segments with ECN.
pub const TUN_F_TSO_ECN: u32 = 0x08;
/// The reader takes UDPv4 super-segments (Linux 6.2; only together with [`TUN_F_USO6`]).
pub const TUN_F_USO4: u32 = 0x20;
/// The reader takes UDPv6 super-segments (Linux 6.2; only together with [`TUN_F_USO4`]).
pub const TUN_F_USO6: u32 = 0x40;
/// The reader takes TCP super-segments inside UDP tunnels (Linux 6.17; the virtio header has 24 octets).
pub const TUN_F_UDP_TUNNEL_GSO: u32 = 0x80;
/// And with an outer UDP checksum; only together with [`TUN_F_UDP_TUNNEL_GSO`].
pub const TUN_F_UDP_TUNNEL_GSO_CSUM: u32 = 0x100;

/// Octets of an interface name, its closing zero included.
pub const IFNAMSIZ: usize = 16;

/// `_IOC(direction, 'T', number, size)`; 1 is write, 2 is read (include/uapi/asm-generic/ioctl.h).
const fn request(direction: u32, number: u32, size: u32) -> libc::Ioctl {
    // The cast is to the type libc gives requests: i32 with musl, u64 with glibc.
    ((direction << 30) | (size << 16) | ((b'T' as u32) << 8) | number) as libc::Ioctl
}

const TUNSETIFF: libc::Ioctl = request(1, 202, 4);
const TUNSETPERSIST: libc::Ioctl = request(1, 203, 4);
const TUNSETOFFLOAD: libc::Ioctl = request(1, 208, 4);
const TUNGETIFF: libc::Ioctl = request(2, 210, 4);
const TUNSETVNETHDRSZ: libc::Ioctl = request(1, 216, 4);
const TUNSETVNETLE: libc::Ioctl = request(1, 220, 4);
/// `_IO('T', 227)`: no argument.
const TUNGETDEVNETNS: libc::Ioctl = request(0, 227, 0);
const TUNSETSTEERINGEBPF: libc::Ioctl = request(2, 224, 4);

/// `struct ifreq` as far as these requests use it (include/uapi/linux/if.h): a name and flags in a union of 24 octets.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; IFNAMSIZ],
    flags: u16,
    rest_of_union: [u8; 22],
}

const _: () = assert!(size_of::<InterfaceRequest>() == 40, "the kernel copies 40 octets");

/// Opens the clone device, non-blocking: a blocking descriptor misses the kernel's fast path for small frames.
///
/// The namespace of the calling thread becomes the one in which [`attach`] creates or looks for devices.
///
/// # Errors
/// What open(2) says; ENOENT without the driver.
pub fn open() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/net/tun", flags, Mode::empty())?)
}

/// Creates the device, or attaches a queue to it if it exists. A name with `%d` is completed by the kernel; what was
/// chosen is returned.
///
/// # Errors
/// EINVAL if the name is too long, holds a zero, or belongs to something that is not a TAP with these flags; EBUSY if
/// its queues are taken or it exists despite [`IFF_TUN_EXCL`]; EPERM without CAP_NET_ADMIN.
pub fn attach(file: BorrowedFd<'_>, name: &str, flags: u16) -> io::Result<String> {
    let mut request = InterfaceRequest { name: [0; IFNAMSIZ], flags, rest_of_union: [0; 22] };
    if name.len() >= IFNAMSIZ || name.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which `request` is laid out as, for the call only.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) })?;
    Ok(text(&request.name))
}

/// The name the device has at this moment, whatever namespace it is in.
///
/// # Errors
/// EBADFD if the device is gone.
pub fn name(file: BorrowedFd<'_>) -> io::Result<String> {
    Ok(text(&described(file)?.name))
}

/// The namespace in which the device is at this moment.
///
/// # Errors
/// EBADFD if the device is gone; EINVAL on a kernel older than 5.7; EPERM without CAP_NET_ADMIN there.
pub fn namespace(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: TUNGETDEVNETNS takes no argument and touches no memory of ours.
    let descriptor = checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNGETDEVNETNS) })?;
    // SAFETY: the call succeeded, so this is a fresh descriptor (close-on-exec by definition) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Whether the device outlives its last descriptor.
///
/// # Errors
/// EBADFD if the device is gone.
pub fn is_persistent(file: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(described(file)?.flags & IFF_PERSIST != 0)
}

/// Whether the namespace of the calling thread has an interface of this name, of whatever kind.
///
/// # Errors
/// What socket(2) says.
pub fn exists(name: &str) -> io::Result<bool> {
    let any = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    match rustix::net::netdevice::name_to_index(&any, name) {
        Ok(_) => Ok(true),
        Err(Errno::NODEV | Errno::INVAL | Errno::NAMETOOLONG) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Sets the octets of the virtio header on this descriptor's device.
///
/// # Errors
/// EINVAL below 10; EBADFD if the device is gone.
pub fn set_header_len(file: BorrowedFd<'_>, len: i32) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one int through the pointer, for the call only.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETVNETHDRSZ, &raw const len) }).map(drop)
}

/// Makes the virtio header little-endian whatever the machine is, as `wire` reads and writes it.
///
/// # Errors
/// EBADFD if the device is gone.
pub fn set_header_little_endian(file: BorrowedFd<'_>) -> io::Result<()> {
    let yes: i32 = 1;
    // SAFETY: TUNSETVNETLE reads one int through the pointer, for the call only.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETVNETLE, &raw const yes) }).map(drop)
}

/// Tells the kernel what the reader takes (`TUN_F_*`), for the whole device and until told otherwise.
///
/// # Errors
/// EINVAL if a bit is unknown to this kernel: that is how one probes.
pub fn set_offload(file: BorrowedFd<'_>, mask: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD, libc::c_ulong::from(mask)) }).map(drop)
}

/// Whether the device outlives its last descriptor.
///
/// # Errors
/// EBADFD if the device is gone.
pub fn set_persistent(file: BorrowedFd<'_>, persistent: bool) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST takes its argument by value and touches no memory of ours.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETPERSIST, libc::c_ulong::from(persistent)) })
        .map(drop)
}

/// Lets a socket-filter program choose the queue (its result modulo the number of queues) of every frame.
///
/// # Errors
/// EINVAL on a kernel older than 4.16 or if `program` is no socket filter.
pub fn set_steering(file: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let program: i32 = program.as_raw_fd();
    // SAFETY: TUNSETSTEERINGEBPF reads one int, a descriptor that is open for the call; the kernel takes its own
    // reference to the program.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETSTEERINGEBPF, &raw const program) }).map(drop)
}

/// Gives the choice of queues back to the kernel.
///
/// # Errors
/// EINVAL on a kernel older than 4.16.
pub fn clear_steering(file: BorrowedFd<'_>) -> io::Result<()> {
    let none: i32 = -1;
    // SAFETY: TUNSETSTEERINGEBPF reads one int, for the call only; −1 means no program.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETSTEERINGEBPF, &raw const none) }).map(drop)
}

fn described(file: BorrowedFd<'_>) -> io::Result<InterfaceRequest> {
    let mut request = InterfaceRequest { name: [0; IFNAMSIZ], flags: 0, rest_of_union: [0; 22] };
    // SAFETY: TUNGETIFF writes one `struct ifreq`, which `request` is laid out as, for the call only.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNGETIFF, &raw mut request) })?;
    Ok(request)
}

fn text(name: &[u8; IFNAMSIZ]) -> String {
    CStr::from_bytes_until_nul(name)
        .map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers as strace prints them on x86-64.
    #[test]
    fn requests_have_the_kernels_numbers() {
        assert_eq!(TUNSETIFF, 0x4004_54ca);
        assert_eq!(TUNSETOFFLOAD, 0x4004_54d0);
        assert_eq!(TUNGETIFF, 0x8004_54d2);
        assert_eq!(TUNSETVNETHDRSZ, 0x4004_54d8);
        assert_eq!(TUNSETSTEERINGEBPF, 0x8004_54e0);
    }
}
