//! VDE: `vde_switch` with two TAPs of its own making, which then move to the endpoints.

use std::ffi::OsString;
use std::io;

use super::Running;
use super::process::{self, Process};
use crate::site::Site;

const PROGRAM: &str = "vde_switch";

pub(super) fn version() -> io::Result<String> {
    process::first_line(&process::find(PROGRAM)?, "--version")
}

pub(super) fn start(site: &Site) -> io::Result<Running> {
    const PORTS: [&str; 2] = ["pa", "pb"];
    let mut switch = Process::start(&site.middle, &process::find(PROGRAM)?, |directory| {
        let mut arguments: Vec<OsString> = vec!["-s".into(), directory.join("control").into()];
        for port in PORTS {
            arguments.extend(["-tap".into(), port.into()]);
        }
        arguments
    })?;
    for (endpoint, port) in site.ends(PORTS) {
        switch.until("its TAPs", || site.middle_has(port))?;
        endpoint.adopt(&site.middle, port, None)?;
    }
    Ok(Running::of(vec![switch]))
}
