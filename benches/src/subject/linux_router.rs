//! Linux as the router: veth pairs, forwarding on, and one nftables rule that masquerades, as Docker sets it up.
//!
//! One rule and nothing else: a Docker host walks some dozen rules more for each connection's first packet.

use std::fs;
use std::io;

use tapestry::sys::tried;

use super::Running;
use super::process;
use crate::site::Site;

const PROGRAM: &str = "nft";
const RULES: &str = "add table ip bench; \
     add chain ip bench out { type nat hook postrouting priority srcnat; }; \
     add rule ip bench out oifname pb masquerade";

pub(super) fn version() -> io::Result<String> {
    let nft = process::first_line(&process::find(PROGRAM)?, "--version")?;
    Ok(format!("Linux {}, {nft}", rustix::system::uname().release().to_string_lossy()))
}

pub(super) fn start(site: &Site) -> io::Result<Running> {
    const PORTS: [&str; 2] = ["pa", "pb"];
    site.connect_by_veth(PORTS)?;
    site.address_router(PORTS)?;
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
