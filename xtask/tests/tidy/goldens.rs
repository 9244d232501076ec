//! Rules about goldens: every drop reason has one, or a test that stands in for it.

use std::collections::BTreeSet;

use wire::DropReason;

use crate::clean;
use crate::repository::{File, repository};

/// What no captured frame can cause, and the test that shows it instead.
const SHOWN_ELSEWHERE: &[(DropReason, &str)] = &[
    // Needs a port that vanishes while its frames are under way.
    (DropReason::NoPort, "sim/src/driver/tests.rs"),
    // The headroom holds a tag and every tunnel header that a plan can ask for.
    (DropReason::Headroom, "encap/src/vxlan.rs"),
    // Only an operating system refuses frames.
    (DropReason::QueueFull, "daemon/src/worker/tests.rs"),
    (DropReason::DeviceRefused, "daemon/src/worker/tests.rs"),
    (DropReason::PortDown, "daemon/src/worker/tests.rs"),
];

/// Reasons that nothing shows, and exemptions that are not needed or whose test does not name the reason.
fn unshown(files: &[File]) -> Vec<String> {
    let is_counted =
        |file: &&File| file.path.starts_with("sim/goldens/") && file.path.ends_with("/out/counters.txt");
    let counted: BTreeSet<&str> = files
        .iter()
        .filter(is_counted)
        .flat_map(|file| file.text.lines())
        .filter_map(|line| line.strip_prefix("drop.")?.split(' ').next())
        .collect();
    let judge = |reason: &DropReason| {
        let id = reason.id();
        let elsewhere = SHOWN_ELSEWHERE.iter().find(|(exempt, _)| exempt == reason).map(|(_, path)| *path);
        let names_it = |path: &str| {
            let name = format!("DropReason::{reason:?}");
            files.iter().any(|file| file.path == path && file.text.contains(&name))
        };
        match elsewhere {
            None if !counted.contains(id) => Some(format!("{id} has no golden")),
            Some(_) if counted.contains(id) => Some(format!("{id} has a golden and needs no exemption")),
            Some(path) if !names_it(path) => {
                Some(format!("{id} is to be shown in {path}, which does not name it"))
            }
            None | Some(_) => None,
        }
    };
    DropReason::ALL.iter().filter_map(judge).collect()
}

#[test]
fn every_drop_has_its_golden() {
    let golden =
        |line: &str| File { path: "sim/goldens/a/out/counters.txt".to_owned(), text: line.to_owned() };
    assert_eq!(unshown(&[]).len(), DropReason::ALL.len());
    let one = [golden("drop.admit.runt 1\nport.c1.drop.admit.over-mtu 1\n")];
    assert_eq!(unshown(&one).len(), DropReason::ALL.len() - 1, "a port's counter is not enough");
    assert!(
        unshown(&[golden("drop.forward.no-port 1")]).iter().any(|what| what.contains("needs no exemption"))
    );
    clean(&unshown(repository()));
}
