//! Open vSwitch with its userspace datapath: a database server and the switch, both ours, in a directory that goes
//! with them. An Open vSwitch that the machine runs already is not touched.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::Running;
use super::process::{self, Process};
use crate::site::Site;

/// What its ports are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ports {
    /// TAPs that it makes, without offloads.
    Tap,
    /// veth pairs by packet sockets, with super-segments (`userspace-tso-enable`).
    Veth,
}

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

pub(super) fn version() -> io::Result<String> {
    process::find("ovsdb-server")?;
    process::first_line(&process::find("ovs-vswitchd")?, "--version")
}

pub(super) fn start(site: &Site, ports: Ports) -> io::Result<Running> {
    const PORTS: [&str; 2] = ["pa", "pb"];
    let database = start_database(site)?;
    let control = Control { socket: socket_in(database.directory()) };
    control.ask(&["--no-wait", "init"])?;
    if ports == Ports::Veth {
        // Takes effect when the switch starts.
        control.ask(&["--no-wait", "set", "Open_vSwitch", ".", "other_config:userspace-tso-enable=true"])?;
    }
    let switch = Process::start(&site.middle, &process::find("ovs-vswitchd")?, |directory| {
        vec![control.socket.clone(), argument("--pidfile=", &directory.join("pid"))]
    })?;
    let running = Running::of(vec![database, switch]);
    control.ask(&["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"])?;
    match ports {
        Ports::Tap => {
            for (endpoint, port) in site.ends(PORTS) {
                control.ask(&["add-port", "br0", port, "--", "set", "interface", port, "type=tap"])?;
                endpoint.adopt(&site.middle, port, None)?;
            }
        }
        Ports::Veth => {
            site.connect_by_veth(PORTS)?;
            for port in PORTS {
                control.ask(&["add-port", "br0", port])?;
            }
        }
    }
    Ok(running)
}

fn start_database(site: &Site) -> io::Result<Process> {
    let server = process::find("ovsdb-server")?;
    let tool = process::find("ovsdb-tool")?;
    let mut made = Ok(String::new());
    let mut database = Process::start(&site.middle, &server, |directory| {
        let file = directory.join("conf.db");
        made = process::run(&tool, &[OsStr::new("create"), file.as_os_str(), OsStr::new(SCHEMA)]);
        let socket = argument("--remote=p", Path::new(&socket_in(directory)));
        vec![file.into_os_string(), socket, argument("--pidfile=", &directory.join("pid"))]
    })?;
    made?;
    let socket = database.directory().join(SOCKET);
    database.until("its socket", || Ok(socket.exists()))?;
    Ok(database)
}

const SOCKET: &str = "db.sock";

fn socket_in(directory: &Path) -> OsString {
    argument("unix:", &directory.join(SOCKET))
}

fn argument(option: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(path);
    argument
}

/// How one talks to it.
struct Control {
    socket: OsString,
}

impl Control {
    fn ask(&self, arguments: &[&str]) -> io::Result<()> {
        let database = argument("--db=", Path::new(&self.socket));
        let mut all = vec![database.as_os_str(), OsStr::new("--timeout=10")];
        all.extend(arguments.iter().map(OsStr::new));
        process::run(&process::find("ovs-vsctl")?, &all).map(drop)
    }
}
