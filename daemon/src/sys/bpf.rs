//! Loading a small eBPF program without a compiler or libbpf: bpf(2) with instructions that we wrote ourselves.

use std::ffi::CStr;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `BPF_PROG_LOAD` (include/uapi/linux/bpf.h).
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;

/// Octets of the verifier's explanation that are kept.
const LOG_LEN: usize = 64 * 1024;

/// `struct bpf_insn`: one instruction.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Source register in the upper four bits, destination in the lower.
    pub registers: u8,
    /// Jump distance or memory offset.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

/// The part of `union bpf_attr` that loading a program reads; the kernel takes what is absent for zero.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

const _: () =
    assert!(size_of::<Instruction>() == 8 && size_of::<Load>() == 64, "as the kernel lays them out");

/// Loads a socket filter. On refusal the verifier's last line is part of the error.
///
/// # Errors
/// EPERM without CAP_BPF (or CAP_SYS_ADMIN), ENOSYS without bpf(2), EACCES or EINVAL if the verifier refuses.
pub fn load_socket_filter(program: &[Instruction]) -> io::Result<OwnedFd> {
    let first = match load(program, &mut []) {
        Ok(loaded) => return Ok(loaded),
        Err(error) => error,
    };
    let mut log = vec![0; LOG_LEN];
    match load(program, &mut log) {
        Ok(loaded) => Ok(loaded),
        Err(_) => Err(explained(first, &log)),
    }
}

fn load(program: &[Instruction], log: &mut [u8]) -> io::Result<OwnedFd> {
    let too_long = |_| io::Error::from_raw_os_error(libc::E2BIG);
    let license: &CStr = c"Dual MIT/GPL";
    let mut attributes = Load {
        program_type: BPF_PROG_TYPE_SOCKET_FILTER,
        instruction_count: u32::try_from(program.len()).map_err(too_long)?,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: u32::try_from(log.len()).map_err(too_long)?,
        log: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        kernel_version: 0,
        flags: 0,
        name: *b"tapestry_steer\0\0",
    };
    // SAFETY: the kernel reads `attributes` and, through its addresses, `program` and `license`, and writes at most
    // `log_size` octets to `log`; all four outlive the call and are as long as the counts beside them say.
    let returned =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw mut attributes, size_of::<Load>()) };
    let Ok(descriptor) = i32::try_from(returned) else {
        return Err(io::Error::from_raw_os_error(libc::EOVERFLOW));
    };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so this is a fresh descriptor (close-on-exec by definition) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The kernel's error with the last thing the verifier said, if it said anything.
fn explained(error: io::Error, log: &[u8]) -> io::Error {
    let said = String::from_utf8_lossy(log);
    let last = said.trim_end_matches('\0').lines().rev().find(|line| !line.starts_with("processed"));
    match last {
        Some(line) if !line.is_empty() => {
            io::Error::new(error.kind(), format!("{error}; the verifier says: {line}"))
        }
        Some(_) | None => error,
    }
}
