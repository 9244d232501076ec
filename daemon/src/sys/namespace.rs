//! Network namespaces of the calling thread. Both verbs change only that thread, for good: use a thread of its own.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// `NS_GET_NSTYPE`, `_IO(0xb7, 0x3)` (include/uapi/linux/nsfs.h).
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// Moves the calling thread into the namespace.
///
/// # Errors
/// What setns(2) says; EPERM without CAP_SYS_ADMIN.
pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?)
}

/// Moves the calling thread into a fresh network namespace.
///
/// # Errors
/// What unshare(2) says; EPERM without CAP_SYS_ADMIN, ENOSPC beyond user.max_net_namespaces.
pub fn enter_new() -> io::Result<()> {
    // SAFETY: the call is unsafe because CLONE_FILES would give this thread a descriptor table of its own, so that
    // descriptors owned by other threads' values would be closed under them. CLONE_NEWNET touches no descriptors.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// Whether the descriptor is a network namespace, and not a plain file where one was expected.
pub fn is_network(file: BorrowedFd<'_>) -> bool {
    // SAFETY: the request takes no argument and only returns a number; the descriptor is open for the call.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}
