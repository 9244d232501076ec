//! Linux as the router: veth pairs, forwarding on, and two nftables rules as Docker sets them up: one masquerades, one
//! publishes a port.
//!
//! Those and nothing else: a Docker host walks some dozen rules more for each connection's first packet.

use std::fs;
use std::io;

use tapestry::sys::tried;

use super::Running;
use super::process;
use crate::site::Site;

const PROGRAM: &str = "nft";
const RULES: &str = "add table ip bench; \
     add chain ip bench out { type nat hook postrouting priority srcnat; }; \
     add rule ip bench out oifname pb masquerade; \
     add chain ip bench in { type nat hook prerouting priority dstnat; }; \
     add rule ip bench in iifname pb tcp dport 8080 dnat to 10.99.0.1:80";

pub(super) fn version() -> io::Result<String> {
    let nft = process::first_line(&process::find(PROGRAM)?, "--version")?;
    Ok(format!("Linux {}, {nft}", rustix::system::uname().release().to_string_lossy()))
}

pub(super) fn start(site: &Site) -> io::Result<Running> {
    let ports = ["pa", "pb", "pc"];
    let [a, b, c] = ports;
    site.connect_by_veth([a, b])?;
    site.connect_one(site.disturber()?, c)?;
    site.address_router(ports)?;
    let nft = process::find(PROGRAM)?;
    // Both belong to the network namespace of the thread that asks.
    site.middle
        .run(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            process::run(&nft, &[RULES.as_ref()])
        })?
        .map_err(tried("making Linux a router that masquerades"))?;
    Ok(Running::without_process())
}
