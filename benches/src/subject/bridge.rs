//! The Linux bridge with veth pairs, in docker0's state: br_netfilter hands bridged IP packets to netfilter.
//!
//! No rules and no connection tracking are loaded, which favours the bridge: a Docker host has both.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use tapestry::sys::tried;

use super::Running;
use crate::site::Site;

const SWITCHES: &str = "/proc/sys/net/bridge";

pub(super) fn version() -> io::Result<String> {
    if !Path::new(SWITCHES).exists() {
        // Built in on some kernels, a module on others; without it the comparison would not be with docker0.
        drop(Command::new("modprobe").arg("br_netfilter").status());
    }
    if !Path::new(SWITCHES).exists() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the kernel has no br_netfilter"));
    }
    Ok(format!("Linux {}", rustix::system::uname().release().to_string_lossy()))
}

pub(super) fn start(site: &Site) -> io::Result<Running> {
    const PORTS: [&str; 2] = ["pa", "pb"];
    site.connect_by_veth(PORTS)?;
    site.bridge(PORTS)?;
    // Settings of a network namespace: those seen by the thread that writes them.
    site.middle
        .run(|| {
            ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"]
                .iter()
                .try_for_each(|name| fs::write(Path::new(SWITCHES).join(name), "1"))
        })?
        .map_err(tried("turning br_netfilter on"))?;
    Ok(Running::without_process())
}
