//! Who holds a TAP device: the kernel's "busy" does not say, but every descriptor's fdinfo does.

use std::fmt;
use std::fs;

/// A process with a descriptor on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pid: u32,
    command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// The first process found with a descriptor on a TAP device of this name, in whatever namespace; `None` if there is
/// none, or none that we may look at. Walks all of /proc: for error messages only.
///
/// This process counts too: a configuration may name one device twice.
pub(super) fn of(name: &str) -> Option<Holder> {
    let line = format!("iff:\t{name}");
    let processes = fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let holds =
            fs::read_dir(process.path().join("fdinfo")).ok()?.filter_map(Result::ok).any(|descriptor| {
                fs::read_to_string(descriptor.path()).is_ok_and(|info| info.lines().any(|each| each == line))
            });
        let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        holds.then(|| Holder { pid, command: command.trim_end().to_owned() })
    })
}
