//! The subjects: ours, the limits, and the peers, each started between two endpoints and stopped without a trace.
//!
//! A subject is started anew for every round, in a fresh [`Site`], and runs unpinned: whichever of the machine's
//! processors the scheduler gives it, as in real use. Programs run as children in the site's middle namespace, with
//! their files in a directory of their own that goes with them.

mod bridge;
mod copy_loop;
mod kernel_vxlan;
mod linux_router;
mod open_vswitch;
mod process;
mod switch;
mod vde;

use std::fmt;
use std::io;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

pub use copy_loop::{Driver, run as run_copy_loop};
pub use process::Process;
pub use switch::idle as idle_switch;

use crate::site::{Path, Site};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// `tapestry run`, one worker.
    Tapestry,
    /// The same with a flight recorder: all that enters is kept for a while.
    TapestryRecorded,
    /// A bare copy loop between two TAPs over our driver, with offloads, blocking in poll(2): the limit.
    #[value(name = "copyloop")]
    #[serde(rename = "copyloop")]
    CopyLoop,
    /// A bare copy loop over the `tun-tap` crate, which has no offloads: a blocking thread for each direction.
    TunTap,
    /// Linux bridge and veth pairs, br_netfilter on.
    Bridge,
    /// Open vSwitch, userspace datapath, on TAPs.
    OvsTap,
    /// Open vSwitch, userspace datapath, on veth pairs with userspace TSO.
    OvsVeth,
    /// VDE, `vde_switch` with two TAPs.
    Vde,
    /// `tapestry run`, one worker, between a network that masquerades and an uplink.
    TapestryNat,
    /// Linux as the router, masquerading by nftables.
    LinuxNat,
    /// Two hosts, `tapestry run` on each, joined by VXLAN over a UDP socket.
    TapestryVxlan,
    /// The same, super-segments leaving whole (`tunnel_gso`).
    TapestryTunnelGso,
    /// Two hosts, `tapestry run` on each, joined by flannel's UDP format.
    TapestryUdp,
    /// Two hosts joined by the kernel's VXLAN as flanneld makes it.
    KernelVxlan,
}

impl Subject {
    /// All of them, as reports list them.
    pub const ALL: [Self; 14] = [
        Self::Tapestry,
        Self::TapestryRecorded,
        Self::CopyLoop,
        Self::TunTap,
        Self::Bridge,
        Self::OvsTap,
        Self::OvsVeth,
        Self::Vde,
        Self::TapestryNat,
        Self::LinuxNat,
        Self::TapestryVxlan,
        Self::TapestryTunnelGso,
        Self::TapestryUdp,
        Self::KernelVxlan,
    ];

    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tapestry => "tapestry",
            Self::TapestryRecorded => "tapestry-recorded",
            Self::CopyLoop => "copyloop",
            Self::TunTap => "tun-tap",
            Self::Bridge => "bridge",
            Self::OvsTap => "ovs-tap",
            Self::OvsVeth => "ovs-veth",
            Self::Vde => "vde",
            Self::TapestryNat => "tapestry-nat",
            Self::LinuxNat => "linux-nat",
            Self::TapestryVxlan => "tapestry-vxlan",
            Self::TapestryTunnelGso => "tapestry-tunnel-gso",
            Self::TapestryUdp => "tapestry-udp",
            Self::KernelVxlan => "kernel-vxlan",
        }
    }

    /// What it is, in a phrase.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Tapestry => "`tapestry run`, one worker, TAPs",
            Self::TapestryRecorded => {
                "the same with `--flight-recorder 256MiB`, which records all that enters"
            }
            Self::CopyLoop => {
                "bare copy loop between two TAPs, our driver with offloads, one thread blocking in poll(2)"
            }
            Self::TunTap => {
                "bare copy loop between two TAPs, `tun-tap` crate without offloads, a blocking thread a direction"
            }
            Self::Bridge => "Linux bridge + veth, bridge-nf-call-iptables=1, no rules loaded",
            Self::OvsTap => "Open vSwitch userspace datapath (netdev) on TAPs",
            Self::OvsVeth => "Open vSwitch userspace datapath (netdev) on veth, userspace-tso-enable=true",
            Self::Vde => "VDE, vde_switch with two TAPs",
            Self::TapestryNat => {
                "`tapestry run`, one worker, routing + masquerade from a TAP to an uplink (`nic`) on veth"
            }
            Self::LinuxNat => {
                "Linux routing + nftables over veth, two rules loaded: masquerade, one published port"
            }
            Self::TapestryVxlan => {
                "two hosts, `tapestry run` with one worker on each, VXLAN over a UDP socket"
            }
            Self::TapestryTunnelGso => "the same with `tunnel_gso = true`, TCP super-segments leaving whole",
            Self::TapestryUdp => "two hosts, `tapestry run` with one worker on each, flannel's UDP format",
            Self::KernelVxlan => "two hosts, the kernel's VXLAN as flanneld makes it, pods behind veth",
        }
    }

    /// What it is to the endpoints.
    pub fn path(self) -> Path {
        match self {
            Self::TapestryNat | Self::LinuxNat => Path::Routed,
            Self::TapestryVxlan | Self::TapestryTunnelGso | Self::TapestryUdp | Self::KernelVxlan => {
                Path::Tunnelled
            }
            Self::Tapestry
            | Self::TapestryRecorded
            | Self::CopyLoop
            | Self::TunTap
            | Self::Bridge
            | Self::OvsTap
            | Self::OvsVeth
            | Self::Vde => Path::Switched,
        }
    }

    /// Whether it is ours.
    pub fn is_ours(self) -> bool {
        matches!(
            self,
            Self::Tapestry
                | Self::TapestryRecorded
                | Self::TapestryNat
                | Self::TapestryVxlan
                | Self::TapestryTunnelGso
                | Self::TapestryUdp
        )
    }

    /// Its version, or why it cannot take part.
    ///
    /// # Errors
    /// What is missing.
    pub fn version(self, programs: &Programs) -> io::Result<String> {
        match self {
            Self::Tapestry
            | Self::TapestryRecorded
            | Self::TapestryNat
            | Self::TapestryVxlan
            | Self::TapestryTunnelGso
            | Self::TapestryUdp => process::first_line(&programs.tapestry, "--version"),
            Self::CopyLoop => Ok(format!("tapestry {}", env!("CARGO_PKG_VERSION"))),
            Self::TunTap => Ok("tun-tap 0.1".to_owned()),
            Self::Bridge => bridge::version(),
            Self::OvsTap | Self::OvsVeth => open_vswitch::version(),
            Self::Vde => vde::version(),
            Self::LinuxNat => linux_router::version(),
            Self::KernelVxlan => kernel_vxlan::version(),
        }
    }

    /// Starts it between the site's endpoints, whose interfaces are then up and addressed.
    ///
    /// # Errors
    /// With what was tried, and the last lines the program printed.
    pub fn start(self, site: &Site, programs: &Programs) -> io::Result<Running> {
        match self {
            Self::Tapestry => switch::start(site, &programs.tapestry, &[]),
            Self::TapestryRecorded => {
                switch::start(site, &programs.tapestry, &["--flight-recorder", "256MiB"])
            }
            Self::CopyLoop => copy_loop::start(site, &programs.compare, Driver::Tap),
            Self::TunTap => copy_loop::start(site, &programs.compare, Driver::TunTap),
            Self::Bridge => bridge::start(site),
            Self::OvsTap => open_vswitch::start(site, open_vswitch::Ports::Tap),
            Self::OvsVeth => open_vswitch::start(site, open_vswitch::Ports::Veth),
            Self::Vde => vde::start(site),
            Self::TapestryNat => switch::start_nat(site, &programs.tapestry),
            Self::LinuxNat => linux_router::start(site),
            Self::TapestryVxlan => switch::start_overlay(site, &programs.tapestry, &switch::VXLAN),
            Self::TapestryTunnelGso => switch::start_overlay(site, &programs.tapestry, &switch::TUNNEL_GSO),
            Self::TapestryUdp => switch::start_overlay(site, &programs.tapestry, &switch::UDP),
            Self::KernelVxlan => kernel_vxlan::start(site),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Programs of our own that subjects are made of.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The switch.
    pub tapestry: PathBuf,
    /// This program, which is also the copy loops.
    pub compare: PathBuf,
}

/// A started subject; stopped when dropped, in the reverse order of starting.
#[derive(Debug, Default)]
pub struct Running {
    processes: Vec<Process>,
}

impl Running {
    /// Nothing but kernel objects, which go with the site.
    fn without_process() -> Self {
        Self::default()
    }

    fn of(processes: Vec<Process>) -> Self {
        Self { processes }
    }

    /// The program that carries frames, if there is one.
    pub fn carrier(&self) -> Option<&Process> {
        self.processes.last()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        while let Some(process) = self.processes.pop() {
            drop(process);
        }
    }
}

/// Debian packages of the peers.
pub const PEER_PACKAGES: [&str; 3] = ["openvswitch-switch", "vde2", "nftables"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_called_the_same_everywhere() {
        for subject in Subject::ALL {
            let on_command_line = subject.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(subject.name(), on_command_line);
            assert_eq!(serde_json::to_value(subject).unwrap(), on_command_line);
        }
        assert_eq!(Subject::ALL.len(), Subject::value_variants().len());
    }
}
