//! What the kernel has counted, read from /proc by a thread inside the namespace or about another process.

use std::fs;
use std::io;
use std::time::Duration;

/// UDP datagrams over IPv4 that came to a socket of the calling thread's namespace, whether it had room for them or not.
///
/// # Errors
/// If /proc is not mounted.
pub fn datagrams_received() -> io::Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let counter = |name| counter_of(&table, "Udp: ", name).ok_or_else(|| absent(name));
    Ok(counter("InDatagrams")? + counter("RcvbufErrors")?)
}

/// Whether the calling thread's namespace has the interface.
///
/// # Errors
/// If /proc is not mounted.
pub fn interface_exists(ifname: &str) -> io::Result<bool> {
    Ok(has_row(&fs::read_to_string("/proc/thread-self/net/dev")?, ifname))
}

/// TCP segments sent again in the calling thread's namespace.
///
/// # Errors
/// If /proc is not mounted.
pub fn tcp_segments_resent() -> io::Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/snmp")?;
    counter_of(&table, "Tcp: ", "RetransSegs").ok_or_else(|| absent("RetransSegs"))
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

fn has_row(table: &str, ifname: &str) -> bool {
    table.lines().filter_map(|line| line.trim_start().strip_prefix(ifname)).any(|rest| rest.starts_with(':'))
}

/// A value of a table in which each protocol has a line of names and below it one of values.
fn counter_of(table: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| line.strip_prefix(protocol));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|known| known == name)?;
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
    fn interfaces_are_found_by_their_whole_names() {
        assert!(has_row(DEV, "eth0"));
        assert!(!has_row(DEV, "eth"), "a prefix is another interface");
    }

    #[test]
    fn counters_are_found_by_protocol_and_name() {
        let table = "Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm InSegs InErrs\nTcp: 1 20 7\nUdp: InDatagrams RcvbufErrors\nUdp: 3 4\n";
        assert_eq!(counter_of(table, "Tcp: ", "InErrs"), Some(7));
        assert_eq!(counter_of(table, "Udp: ", "RcvbufErrors"), Some(4));
        assert_eq!(counter_of(table, "Udp: ", "NoPorts"), None);
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
