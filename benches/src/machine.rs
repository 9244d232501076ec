//! Where figures were made: without it they say nothing.

use std::fs;
use std::io;
use std::time::SystemTime;

use serde::Serialize;

/// The machine and the moment.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Kernel release and architecture.
    pub kernel: String,
    /// The processor's own name.
    pub processor: String,
    /// Processors that may be used.
    pub processors: usize,
    /// Memory, GiB.
    pub memory_gib: u64,
    /// Whether a hypervisor is beneath.
    pub virtual_machine: bool,
    /// When, UTC, RFC 3339.
    pub date: String,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    /// If /proc is not mounted.
    pub fn read() -> io::Result<Self> {
        let (cpuinfo, meminfo) = (fs::read_to_string("/proc/cpuinfo")?, fs::read_to_string("/proc/meminfo")?);
        let uname = rustix::system::uname();
        let (release, machine) = (uname.release().to_string_lossy(), uname.machine().to_string_lossy());
        let field = |name| value_of(&cpuinfo, name).unwrap_or("unknown");
        let kilobytes: u64 = value_of(&meminfo, "MemTotal")
            .and_then(|value| value.split_whitespace().next()?.parse().ok())
            .unwrap_or_default();
        Ok(Self {
            kernel: format!("Linux {release} {machine}"),
            processor: format!(
                "{} (family {} model {})",
                field("model name"),
                field("cpu family"),
                field("model")
            ),
            processors: std::thread::available_parallelism()?.get(),
            memory_gib: (kilobytes + (1 << 19)) >> 20,
            virtual_machine: field("flags").split_whitespace().any(|flag| flag == "hypervisor"),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        })
    }
}

/// The value of the first `name : value` line.
fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_belongs_to_its_whole_name() {
        let text = "model name\t: AMD EPYC\nmodel\t\t: 2\nMemTotal:       24586360 kB\n";
        assert_eq!(value_of(text, "model"), Some("2"));
        assert_eq!(value_of(text, "MemTotal"), Some("24586360 kB"));
        assert_eq!(value_of(text, "name"), None);
    }
}
