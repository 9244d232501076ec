//! Loading a small eBPF program without a compiler or libbpf: bpf(2) with instructions that we wrote ourselves
//! ([`assembly`]).

pub mod assembly;

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands of bpf(2) (include/uapi/linux/bpf.h).
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
/// `BPF_TCX_INGRESS`: frames that an interface receives, before the stack has them (Linux 6.6).
const BPF_TCX_INGRESS: u32 = 46;

const BPF_MAP_TYPE_ARRAY: u32 = 2;

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It looks at packets and says a number (`BPF_PROG_TYPE_SOCKET_FILTER`).
    SocketFilter,
    /// It says what becomes of an interface's frames (`BPF_PROG_TYPE_SCHED_CLS`).
    Classifier,
}

impl Kind {
    const fn number(self) -> u32 {
        match self {
            Self::SocketFilter => 1,
            Self::Classifier => 3,
        }
    }
}

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

/// The part of `union bpf_attr` that attaching a program reads.
#[repr(C)]
struct Attach {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
    relative: u32,
    padding: u32,
    expected_revision: u64,
}

/// The part of `union bpf_attr` that making a map reads.
#[repr(C)]
struct Create {
    kind: u32,
    key_len: u32,
    value_len: u32,
    entries: u32,
    flags: u32,
    inner_map: u32,
    memory_node: u32,
    name: [u8; 16],
}

/// The part of `union bpf_attr` that looking something up in a map reads.
#[repr(C)]
struct LookUp {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

const _: () = assert!(size_of::<Create>() == 44 && size_of::<LookUp>() == 32, "as the kernel lays them out");
const _: () = assert!(size_of::<Attach>() == 32, "as the kernel lays it out");
const _: () =
    assert!(size_of::<Instruction>() == 8 && size_of::<Load>() == 64, "as the kernel lays them out");

/// A number that a program counts up and we read: a map of one entry.
#[derive(Debug)]
pub struct Counter(OwnedFd);

impl Counter {
    /// One that stands at 0, under a name of at most 15 octets.
    ///
    /// # Errors
    /// EPERM without CAP_BPF (or CAP_SYS_ADMIN), ENOSYS without bpf(2).
    pub fn new(name: &str) -> io::Result<Self> {
        let attributes = Create {
            kind: BPF_MAP_TYPE_ARRAY,
            key_len: 4,
            value_len: 8,
            entries: 1,
            flags: 0,
            inner_map: 0,
            memory_node: 0,
            name: object_name(name),
        };
        // SAFETY: the kernel reads `attributes`, which outlives the call and is as long as is said.
        let returned = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, &raw const attributes, size_of::<Create>())
        };
        descriptor(returned).map(Self)
    }

    /// What a program calls it by ([`assembly::Assembly::point_to_value`]).
    pub fn number(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// How far it has been counted.
    ///
    /// # Errors
    /// As the kernel refuses; there is no reason to.
    pub fn read(&self) -> io::Result<u64> {
        let (key, mut value) = (0_u32, 0_u64);
        let attributes = LookUp {
            map: u32::try_from(self.0.as_raw_fd()).expect("an open descriptor is not negative"),
            padding: 0,
            key: &raw const key as u64,
            value: &raw mut value as u64,
            flags: 0,
        };
        // SAFETY: the kernel reads `attributes` and, through its addresses, the 4 octets of `key`, and writes the 8 octets
        // of `value`, as long as the map's are said to be; all three outlive the call.
        let returned = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, &raw const attributes, size_of::<LookUp>())
        };
        if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
    }
}

/// A name as the kernel has it: cut after 15 octets.
fn object_name(name: &str) -> [u8; 16] {
    let mut octets = [0; 16];
    let len = name.len().min(octets.len() - 1);
    octets[..len].copy_from_slice(&name.as_bytes()[..len]);
    octets
}

/// Loads a program under a name of at most 15 octets. On refusal the verifier's last line is part of the error.
///
/// # Errors
/// EPERM without CAP_BPF (or CAP_SYS_ADMIN), ENOSYS without bpf(2), EACCES or EINVAL if the verifier refuses.
pub fn load(kind: Kind, name: &str, program: &[Instruction]) -> io::Result<OwnedFd> {
    let first = match try_load(kind, name, program, &mut []) {
        Ok(loaded) => return Ok(loaded),
        Err(error) => error,
    };
    let mut log = vec![0; LOG_LEN];
    match try_load(kind, name, program, &mut log) {
        Ok(loaded) => Ok(loaded),
        Err(_) => Err(explained(first, &log)),
    }
}

/// Lets a classifier decide about what the interface of this number receives, until the returned link is closed. It
/// belongs to the namespace of the calling thread.
///
/// # Errors
/// EINVAL on a kernel older than 6.6, ENODEV without the interface, EPERM without CAP_NET_ADMIN.
pub fn attach_to_ingress(program: BorrowedFd<'_>, interface: u32) -> io::Result<OwnedFd> {
    let attributes = Attach {
        program: u32::try_from(program.as_raw_fd()).expect("an open descriptor is not negative"),
        interface,
        kind: BPF_TCX_INGRESS,
        flags: 0,
        relative: 0,
        padding: 0,
        expected_revision: 0,
    };
    // SAFETY: the kernel reads `attributes`, which outlives the call and is as long as is said.
    let returned =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attributes, size_of::<Attach>()) };
    descriptor(returned)
}

fn try_load(kind: Kind, name: &str, program: &[Instruction], log: &mut [u8]) -> io::Result<OwnedFd> {
    let too_long = |_| io::Error::from_raw_os_error(libc::E2BIG);
    let license: &CStr = c"Dual MIT/GPL";
    let mut attributes = Load {
        program_type: kind.number(),
        instruction_count: u32::try_from(program.len()).map_err(too_long)?,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: u32::try_from(log.len()).map_err(too_long)?,
        log: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        kernel_version: 0,
        flags: 0,
        name: object_name(name),
    };
    // SAFETY: the kernel reads `attributes` and, through its addresses, `program` and `license`, and writes at most
    // `log_size` octets to `log`; all four outlive the call and are as long as the counts beside them say.
    let returned =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw mut attributes, size_of::<Load>()) };
    descriptor(returned)
}

/// What a call returned that makes a descriptor.
fn descriptor(returned: libc::c_long) -> io::Result<OwnedFd> {
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
