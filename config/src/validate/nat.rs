//! How connections are remembered: room for at least one, and for at least a second.

use vrouter::plan::SESSIONS_MAX;

use super::{Findings, TIMEOUT_MAX};
use crate::report::At;
use crate::spec::{NatSpec, TimeoutsSpec};

pub(super) fn check(nat: &NatSpec, findings: &mut Findings) {
    let at = At::top("nat");
    let limits = [("sessions_max", nat.sessions_max), ("sessions_per_host_max", nat.sessions_per_host_max)];
    for (key, limit) in limits.into_iter().filter(|(_, limit)| !(1..=SESSIONS_MAX).contains(limit)) {
        findings.add(&at.key(key), format!("{key} is {limit}; choose 1 to {SESSIONS_MAX}"));
    }
    for Timeout { key, seconds, .. } in timeouts(&nat.timeouts) {
        if !(1..=TIMEOUT_MAX).contains(&seconds) {
            let why = format!("timeouts.{key} is {seconds} seconds; choose 1 to {TIMEOUT_MAX}");
            findings.add(&at.key("timeouts").key(key), why);
        }
    }
}

/// What is allowed and yet against the standards: a sentence for each.
pub(crate) fn advice(nat: &NatSpec) -> Vec<String> {
    let short = timeouts(&nat.timeouts).into_iter().filter(|timeout| timeout.seconds < timeout.seconds_min);
    let sentence = |Timeout { key, seconds, seconds_min, source }| {
        format!("nat.timeouts.{key} is {seconds} seconds; {source} asks for at least {seconds_min}")
    };
    short.map(sentence).collect()
}

/// A timeout, and the least that its standard asks for.
struct Timeout {
    key: &'static str,
    seconds: u32,
    seconds_min: u32,
    source: &'static str,
}

fn timeouts(timeouts: &TimeoutsSpec) -> [Timeout; 5] {
    let TimeoutsSpec { tcp_established, tcp_transitory, udp, udp_unanswered, icmp } = *timeouts;
    let of = |key, seconds, seconds_min, source| Timeout { key, seconds, seconds_min, source };
    [
        of("tcp_established", tcp_established, 7_440, "RFC 5382 REQ-5"),
        of("tcp_transitory", tcp_transitory, 240, "RFC 5382 REQ-5"),
        of("udp", udp, 120, "RFC 4787 REQ-5"),
        of("udp_unanswered", udp_unanswered, 0, "no RFC"),
        of("icmp", icmp, 60, "RFC 5508 REQ-1"),
    ]
}
