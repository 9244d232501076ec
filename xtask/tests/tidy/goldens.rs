//! Rules about goldens: every drop reason has one that counts it, or a named test where no capture can cause it.

use std::collections::BTreeSet;

use wire::DropReason;

use crate::clean;
use crate::repository::{File, repository};
use crate::tokens::functions;

/// A reason that no capture can cause, and the test that shows it instead.
struct Exemption {
    reason: DropReason,
    /// Where the test stands.
    path: &'static str,
    /// The test's function; its body names the reason.
    test: &'static str,
}

/// What no captured frame can cause.
const EXEMPT: &[Exemption] = &[
    // Needs a port that vanishes while its frames are under way.
    Exemption {
        reason: DropReason::NoPort,
        path: "sim/src/driver/tests.rs",
        test: "a_frame_of_a_port_that_has_just_gone_is_dropped",
    },
    // The headroom holds a tag and every tunnel header that a plan can ask for.
    Exemption {
        reason: DropReason::Headroom,
        path: "encap/src/vxlan.rs",
        test: "push_without_headroom_is_refused",
    },
    // Into an overlay of bare packets only the router sends.
    Exemption {
        reason: DropReason::NotIp,
        path: "encap/src/tunnels/tests.rs",
        test: "a_tunnel_of_bare_packets_carries_nothing_else",
    },
    // One address has 64,512 L4 ports above the well-known ones, and a capture of as many packets is no golden.
    Exemption {
        reason: DropReason::L4PortsExhausted,
        path: "vrouter/src/nat/tests/limits.rs",
        test: "exhausted_l4_ports_are_told_once_and_unanswered_ones_yield",
    },
    // Only an operating system refuses frames.
    Exemption {
        reason: DropReason::QueueFull,
        path: "daemon/src/worker/tests.rs",
        test: "a_station_that_does_not_read_costs_counted_drops",
    },
    Exemption {
        reason: DropReason::DeviceRefused,
        path: "daemon/src/worker/tests.rs",
        test: "a_frame_that_the_device_refuses_costs_a_counted_drop_and_no_port",
    },
    Exemption {
        reason: DropReason::PortDown,
        path: "daemon/src/worker/tests.rs",
        test: "a_vanished_device_ends_its_port_and_no_other",
    },
    // Faults are the shell's: they are set on devices.
    Exemption {
        reason: DropReason::FaultIn,
        path: "daemon/src/worker/tests.rs",
        test: "a_port_with_faults_loses_doubles_and_spoils_frames",
    },
    Exemption {
        reason: DropReason::FaultOut,
        path: "daemon/src/worker/tests.rs",
        test: "a_port_with_faults_loses_doubles_and_spoils_frames",
    },
    Exemption {
        reason: DropReason::UnderlayMtu,
        path: "daemon/src/worker/underlay.rs",
        test: "what_the_kernel_says_of_a_datagram_has_a_name",
    },
    Exemption {
        reason: DropReason::UnderlayUnreachable,
        path: "daemon/src/worker/underlay.rs",
        test: "what_the_kernel_says_of_a_datagram_has_a_name",
    },
    Exemption {
        reason: DropReason::Unreadable,
        path: "daemon/src/worker/tests.rs",
        test: "frames_that_the_device_loses_are_counted",
    },
    Exemption {
        reason: DropReason::Overrun,
        path: "daemon/src/worker/tests.rs",
        test: "frames_that_the_device_loses_are_counted",
    },
];

/// Complaints about reasons that nothing shows, and about exemptions that are wrong or not needed.
fn unproven(reasons: &[DropReason], exempt: &[Exemption], files: &[File]) -> Vec<String> {
    let golden = golden_ids(files);
    let mut complaints = Vec::new();
    for reason in reasons {
        let exemption = exempt.iter().find(|exemption| exemption.reason == *reason);
        match (golden.contains(reason.id()), exemption) {
            (true, None) => {}
            (true, Some(_)) => {
                complaints.push(format!("{} has a golden and needs no exemption", reason.id()));
            }
            (false, None) => {
                complaints.push(format!("{} has neither golden nor exempting test", reason.id()));
            }
            (false, Some(exemption)) if is_shown(exemption, files) => {}
            (false, Some(Exemption { path, test, .. })) => {
                complaints.push(format!("{path} has no test {test} that names {reason:?}"));
            }
        }
    }
    complaints
}

/// The drop reasons that the counters files of all goldens count, a line each: `drop.ID NUMBER`.
fn golden_ids(files: &[File]) -> BTreeSet<&str> {
    let is_counters =
        |file: &&File| file.path.starts_with("sim/goldens/") && file.path.ends_with("/out/counters.txt");
    let lines = files.iter().filter(is_counters).flat_map(|file| file.text.lines());
    lines.filter_map(|line| line.strip_prefix("drop.")?.split(' ').next()).collect()
}

fn is_shown(exemption: &Exemption, files: &[File]) -> bool {
    let Some(file) = files.iter().find(|file| file.path == exemption.path) else { return false };
    let variant = format!("{:?}", exemption.reason);
    functions(&file.text).iter().any(|function| {
        let body = file.text.lines().skip(function.line - 1).take(function.lines);
        function.name == exemption.test && body.into_iter().any(|line| line.contains(&variant))
    })
}

#[test]
fn every_drop_reason_is_shown() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    let reasons = &[DropReason::Runt, DropReason::QueueFull];
    let files = [
        file("sim/goldens/runt/out/counters.txt", "consumed 1\ndrop.admit.runt 1\n"),
        file("sim/goldens/a/out/counters.txt", "drop.deliver.queue-full-ish 1\n# drop.deliver.queue-full 1"),
        file("sim/goldens/a/case.md", "drop.deliver.queue-full 1"),
        file("daemon/tests/a.rs", "fn a() {\n QueueFull;\n}\nfn b() {}\n"),
    ];
    let exempt = |reason, path, test| [Exemption { reason, path, test }];
    let good = exempt(DropReason::QueueFull, "daemon/tests/a.rs", "a");
    assert_eq!(unproven(reasons, &good, &files), Vec::<String>::new());
    for bad in [
        &[][..],
        &exempt(DropReason::QueueFull, "daemon/tests/a.rs", "b"),
        &exempt(DropReason::QueueFull, "daemon/tests/a.rs", "c"),
        &exempt(DropReason::QueueFull, "daemon/tests/b.rs", "a"),
    ] {
        assert_eq!(unproven(reasons, bad, &files).len(), 1);
    }
    assert_eq!(unproven(reasons, &good, &files[1..]).len(), 1, "without its golden");
    assert_eq!(unproven(&reasons[..1], &exempt(DropReason::Runt, "daemon/tests/a.rs", "a"), &files).len(), 1);
    clean(&unproven(DropReason::ALL, EXEMPT, repository()));
}
