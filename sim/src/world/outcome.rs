//! What a world leaves behind in files: captures of every port and host, counters and events of every switch.
//!
//! `NODE.PORT.pcapng` has what passed the port in both directions, `HOST.pcapng` likewise, `NODE.underlay.pcapng` the
//! datagrams of all its tunnels with their outer headers, `NODE.counters.txt` every counter that is not zero,
//! `NODE.events.txt` what the switch has told. All are the same octets for the same world.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use config::PortKind;
use node::Notice;
use wire::Instant;

use super::cast::{Place, Seat};
use super::topology::{Action, End, Topology};
use crate::capture::{CaptureError, CaptureWriter, Link};
use crate::describe;

/// A world could not be written down.
#[derive(Debug)]
pub struct WorldError(pub(super) String);

impl fmt::Display for WorldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WorldError {}

impl From<CaptureError> for WorldError {
    fn from(error: CaptureError) -> Self {
        Self(error.to_string())
    }
}

/// The files of a world.
pub(super) struct Files {
    out: PathBuf,
    hosts: Vec<CaptureWriter>,
    ports: BTreeMap<(usize, String), CaptureWriter>,
    /// By switch, of those that have a wire to the underlay.
    sockets: BTreeMap<usize, CaptureWriter>,
    events: Vec<String>,
}

impl Files {
    pub(super) fn create(out: &Path, topology: &Topology) -> Result<Self, WorldError> {
        fs::create_dir_all(out).map_err(|error| CaptureError::io(out, "create it", &error))?;
        let capture = |name: &str| CaptureWriter::create(&out.join(format!("{name}.pcapng")), name);
        let hosts: Result<_, _> = topology.hosts.iter().map(|host| capture(&host.name)).collect();
        let mut ports = BTreeMap::new();
        let later = topology.actions.iter().filter_map(|(_, action)| match action {
            Action::Configure(node, compiled) => Some((*node, compiled.as_ref())),
            Action::Faults(..) | Action::Restart(_) => None,
        });
        let first = topology.nodes.iter().enumerate().map(|(number, node)| (number, &node.compiled));
        for (number, compiled) in first.chain(later) {
            let is_wire = |kind: &PortKind| matches!(kind, PortKind::Device(_) | PortKind::Nic(_));
            for (port, _) in compiled.ports.iter().filter(|(_, port)| is_wire(&port.kind)) {
                let name = format!("{}.{port}", topology.nodes[number].name);
                ports.insert((number, port.clone()), capture(&name)?);
            }
        }
        let mut sockets = BTreeMap::new();
        for end in topology.cables.iter().flat_map(|cable| &cable.ends) {
            if let End::Socket(node) = end {
                sockets.insert(*node, capture(&format!("{}.underlay", topology.nodes[*node].name))?);
            }
        }
        Ok(Self {
            out: out.to_owned(),
            sockets,
            hosts: hosts?,
            ports,
            events: vec![String::new(); topology.nodes.len()],
        })
    }

    pub(super) fn at_host(&mut self, now: Instant, host: usize, frame: &[u8]) -> Result<(), WorldError> {
        Ok(self.hosts[host].write(now, Link::Ethernet, frame)?)
    }

    pub(super) fn at_node(
        &mut self,
        now: Instant,
        node: usize,
        seat: &Seat,
        place: Place,
        frame: &[u8],
    ) -> Result<(), WorldError> {
        let capture = match place {
            Place::Port(port) => {
                let name = seat.compiled.port_name(port).unwrap_or_default().to_owned();
                self.ports.get_mut(&(node, name))
            }
            Place::Socket => self.sockets.get_mut(&node),
        };
        match capture {
            Some(capture) => Ok(capture.write(now, Link::Ethernet, frame)?),
            None => Ok(()),
        }
    }

    pub(super) fn notice(&mut self, now: Instant, node: usize, seat: &Seat, notice: Notice) {
        let what = describe::notice(notice, &seat.compiled);
        self.events[node] += &format!("{} {what}\n", describe::time(now));
    }

    pub(super) fn finish(mut self, seats: &[Seat]) -> Result<(), WorldError> {
        for capture in self.hosts.iter_mut().chain(self.ports.values_mut()).chain(self.sockets.values_mut()) {
            capture.flush()?;
        }
        for (seat, events) in seats.iter().zip(&self.events) {
            let counters = describe::counters(seat.driver.counters(), &seat.compiled);
            for (what, text) in [("counters", &counters), ("events", events)] {
                let path = self.out.join(format!("{}.{what}.txt", seat.name));
                fs::write(&path, text).map_err(|error| CaptureError::io(&path, "write it", &error))?;
            }
        }
        Ok(())
    }
}
