//! What the kernel has counted, read from /proc by a thread inside the namespace or about another process.

use std::fs;
use std::io;
use std::time::Duration;

/// Frames that an interface of the calling thread's namespace has received.
///
/// # Errors
/// If there is no such interface.
pub fn frames_received(ifname: &str) -> io::Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    received_of(&table, ifname).ok_or_else(|| absent(ifname))
}

/// Whether the calling thread's namespace has the interface.
///
/// # Errors
/// If /proc is not mounted.
pub fn interface_exists(ifname: &str) -> io::Result<bool> {
    Ok(received_of(&fs::read_to_string("/proc/thread-self/net/dev")?, ifname).is_some())
}

/// TCP segments sent again in the calling thread's namespace.
///
/// # Errors
/// If /proc is not mounted.
pub fn tcp_segments_resent() -> io::Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/snmp")?;
    resent_of(&table).ok_or_else(|| absent("RetransSegs"))
}

/// Processor time that the threads of a process have used, by the scheduler's own count: ticks are too coarse for an
/// idle one.
///
/// # Errors
/// If there is no such process.
pub fn processor_time(pid: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between being listed and being asked; what it used is lost with it.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Memory that a process holds, octets.
///
/// # Errors
/// If there is no such process.
pub fn resident_octets(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    kilobytes_of(&status, "VmRSS:").map(|kilobytes| kilobytes * 1024).ok_or_else(|| absent("VmRSS"))
}

/// How the machine's processors spent their time, in ticks since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Processors {
    /// All of it, over all processors.
    pub total: u64,
    /// Doing nothing.
    pub idle: u64,
    /// Taken by the hypervisor for somebody else: a noisy neighbour shows here.
    pub stolen: u64,
}

impl Processors {
    /// Up to this moment.
    ///
    /// # Errors
    /// If /proc is not mounted.
    pub fn read() -> io::Result<Self> {
        Self::parse(&fs::read_to_string("/proc/stat")?).ok_or_else(|| absent("cpu"))
    }

    /// Shares of all processors' time since `before`: (busy, stolen), each 0 to 1.
    pub fn shares_since(self, before: Self) -> (f64, f64) {
        let total = (self.total - before.total).max(1) as f64;
        let idle = self.idle.saturating_sub(before.idle) as f64;
        (1.0 - idle / total, self.stolen.saturating_sub(before.stolen) as f64 / total)
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().filter_map(|tick| tick.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guest time, which follows, is within user and nice.
        let counted = ticks.get(..8)?;
        Some(Self { total: counted.iter().sum(), idle: counted[3] + counted[4], stolen: counted[7] })
    }
}

fn absent(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("the kernel does not tell {what}"))
}

fn received_of(table: &str, ifname: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(ifname)?.strip_prefix(':'))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn resent_of(table: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == "RetransSegs")?;
    values.split_whitespace().nth(at)?.parse().ok()
}

fn kilobytes_of(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str = "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n    \
         lo:       0       0    0    0    0     0          0         0        0       0    0\n  \
         eth0: 8340123   98765    0    0    0     0          0         0     1000      10    0\n";

    #[test]
    fn received_frames_are_the_second_column_of_the_right_interface() {
        assert_eq!(received_of(DEV, "eth0"), Some(98_765));
        assert_eq!(received_of(DEV, "eth"), None, "a prefix is another interface");
    }

    #[test]
    fn resent_segments_are_found_by_name() {
        let table =
            "Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm InSegs RetransSegs\nTcp: 1 20 7\nUdp: x\nUdp: 1\n";
        assert_eq!(resent_of(table), Some(7));
    }

    #[test]
    fn memory_is_in_kilobytes() {
        assert_eq!(kilobytes_of("Name:\tx\nVmRSS:\t   2048 kB\n", "VmRSS:"), Some(2048));
    }

    #[test]
    fn shares_are_of_all_processors() {
        let before = Processors::parse("cpu  100 0 0 100 0 0 0 0 0 0\n").unwrap();
        let after = Processors::parse("cpu  150 0 10 120 10 0 0 10 50 0\n").unwrap();
        assert_eq!(after.shares_since(before), (0.7, 0.1));
    }

    #[test]
    fn a_process_has_used_some_time_and_memory() {
        let me = std::process::id();
        assert!(processor_time(me).unwrap() > Duration::ZERO);
        assert!(resident_octets(me).unwrap() > 100_000);
    }
}
