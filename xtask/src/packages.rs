//! Debian packages that tests use, installed if they are missing.

use crate::step::{Failed, Step};

/// Package, and a program of it that shows whether it is there. The switch itself needs none of them: they are the
/// independent witnesses of the tests.
const PACKAGES: &[(&str, &str)] = &[
    ("iproute2", "ip"),
    ("iputils-ping", "ping"),
    ("iptables", "iptables"),
    ("nftables", "nft"),
    ("tshark", "tshark"),
    ("tcpreplay", "tcpprep"),
    ("python3-scapy", "scapy"),
    ("etcd-server", "etcd"),
    ("etcd-client", "etcdctl"),
    ("docker.io", "dockerd"),
    ("busybox-static", "busybox"),
    ("openssl", "openssl"),
];

/// Installs what is missing if we may; otherwise says what to do. Without them the tests that need them skip loudly.
pub(crate) fn install_missing() -> Result<(), Failed> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, program)| !is_on_path(program)).map(|&(package, _)| package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_on_path("apt-get") || !is_root() {
        println!(
            "xtask: not installed: {list}. To run the tests that need them: sudo apt-get install {list}"
        );
        return Ok(());
    }
    println!("xtask: installing {list}");
    let apt = |arguments: &[&str]| {
        let step = Step::new("apt-get", arguments).env("DEBIAN_FRONTEND", "noninteractive");
        step.env("RUNLEVEL", "1").run() // Services that come along, dockerd and etcd, are not started.
    };
    apt(&["update", "--quiet"])?;
    let mut arguments = vec!["install", "--quiet", "--yes", "--no-install-recommends"];
    arguments.extend(missing);
    apt(&arguments)
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A login without root's directories still has them.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

/// Whether our effective user is 0, as the kernel tells (proc_pid_status(5): real, effective, saved, file system).
fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
    })
}
