//! Tapestry itself: the built binary, configured by a file, as a user would run it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::Running;
use super::process::Process;
use crate::site::{Endpoint, Site};

pub(super) fn start(site: &Site, program: &Path) -> io::Result<Running> {
    let mut text = "workers = 1\n\n[network.bench]\nsubnet = [\"10.99.0.0/24\"]\n".to_owned();
    for (endpoint, name, address) in
        [(&site.a, "a", Endpoint::A_ADDRESS), (&site.b, "b", Endpoint::B_ADDRESS)]
    {
        let (namespace, prefix_len) = (endpoint.namespace.path(), Endpoint::PREFIX_LEN);
        write!(
            text,
            "\n[port.{name}]\nnetwork = \"bench\"\nnetns = \"{}\"\nifname = \"{}\"\naddress = [\"{address}/{prefix_len}\"]\n",
            namespace.display(),
            Endpoint::IFNAME,
        )
        .expect("writing to a string does not fail");
    }
    let mut switch = run(site, program, &text)?;
    let up = || site.b.within(|| crate::counters::interface_exists(Endpoint::IFNAME));
    switch.until("its ports", up)?;
    Ok(Running::of(vec![switch]))
}

/// Starts the switch with `ports` ports and nobody behind them.
///
/// # Errors
/// If it ends, or does not make its ports in time.
pub fn idle(site: &Site, program: &Path, ports: usize) -> io::Result<Process> {
    let mut text = "workers = 1\n\n[network.bench]\nsubnet = [\"10.99.0.0/16\"]\n".to_owned();
    for number in 0..ports {
        let (high, low) = (number / 250 + 1, number % 250 + 1);
        write!(
            text,
            "\n[port.p{number}]\nnetwork = \"bench\"\nifname = \"p{number}\"\naddress = [\"10.99.{high}.{low}/16\"]\n"
        )
        .expect("writing to a string does not fail");
    }
    let mut switch = run(site, program, &text)?;
    let last = format!("p{}", ports - 1);
    switch.until("its ports", || site.middle_has(&last))?;
    Ok(switch)
}

fn run(site: &Site, program: &Path, configuration: &str) -> io::Result<Process> {
    let mut written = Ok(());
    let switch = Process::start(&site.middle, program, |directory| {
        let file = directory.join("bench.toml");
        written = fs::write(&file, configuration);
        let socket = directory.join("tapestry.sock");
        let arguments: Vec<OsString> =
            vec!["run".into(), "-c".into(), file.into(), "--socket".into(), socket.into()];
        arguments
    })?;
    written?;
    Ok(switch)
}
