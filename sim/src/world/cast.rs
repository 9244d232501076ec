//! Who takes part: switches and wires as they are while the world lives.

use std::sync::Arc;

use config::Compiled;
use wire::{Instant, PortId};

use super::queue::Trail;
use super::topology::{CablePlan, End};
use crate::driver::Driver;
use crate::link::{Link, LinkCounts};

/// A switch, and what is at its ports.
pub(super) struct Seat {
    pub(super) name: String,
    pub(super) compiled: Compiled,
    pub(super) driver: Driver,
    pub(super) seed: u64,
    /// Which cable is at a port, and which of its ends, by [`PortId`].
    pub(super) cables: Vec<Option<(usize, usize)>>,
    /// The cable at the interface of its own host, and which of its ends.
    pub(super) socket: Option<(usize, usize)>,
    /// When the queue has a [`super::queue::Event::NodeDue`] for it.
    pub(super) due: Option<Instant>,
    /// For each event since the last drain: where its frame has been, and its source address.
    pub(super) passing: Vec<(Trail, [u8; 6])>,
    /// What has come in since then, if captures are wanted: by event.
    pub(super) entered: Vec<(usize, Place, Vec<u8>)>,
    /// Frames that its own host's stack has dropped: broken, or for none of its sockets.
    pub(super) astray: u64,
    /// Frames that left through a port without a cable.
    pub(super) unplugged: u64,
    /// Notices.
    pub(super) notices: u64,
    /// Notices that a station moves back and forth.
    pub(super) flaps: u64,
}

/// Where frames of a switch are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At a port.
    Port(PortId),
    /// At the interface of its own host.
    Socket,
}

/// A wire: a direction from each of its ends.
pub(super) struct Cable {
    pub(super) plan: CablePlan,
    pub(super) links: [Link; 2],
    /// The ports that its ends are in at the moment.
    pub(super) ports: [Option<PortId>; 2],
}

impl Seat {
    pub(super) fn new(name: &str, compiled: Compiled, seed: u64, now: Instant) -> Self {
        let driver = Driver::new(seed, now, Arc::new(compiled.plan.clone()));
        Self {
            name: name.to_owned(),
            compiled,
            driver,
            seed,
            cables: Vec::new(),
            socket: None,
            due: None,
            passing: Vec::new(),
            entered: Vec::new(),
            astray: 0,
            unplugged: 0,
            notices: 0,
            flaps: 0,
        }
    }

    /// Puts cables into the ports that there are at the moment.
    pub(super) fn plug(&mut self, number: usize, cables: &mut [Cable]) {
        self.cables.clear();
        self.socket = None;
        for (index, cable) in cables.iter_mut().enumerate() {
            for end in 0..2 {
                let name = match &cable.plan.ends[end] {
                    End::Port(node, name) if *node == number => name,
                    End::Socket(node) if *node == number => {
                        self.socket = Some((index, end));
                        continue;
                    }
                    End::Port(..) | End::Socket(_) | End::Host(_) | End::Underlay => continue,
                };
                let port = self.compiled.ports.get(name).map(|port| port.id);
                cable.ports[end] = port;
                let Some(port) = port else { continue };
                if self.cables.len() <= port.index() {
                    self.cables.resize(port.index() + 1, None);
                }
                self.cables[port.index()] = Some((index, end));
            }
        }
    }
}

impl Cable {
    pub(super) fn new(plan: &CablePlan, seeds: [u64; 2]) -> Self {
        let [forth, back] = plan.faults;
        Self {
            plan: plan.clone(),
            links: [Link::new(seeds[0], forth), Link::new(seeds[1], back)],
            ports: [None; 2],
        }
    }

    /// What both directions have done.
    pub(super) fn counts(&self) -> [LinkCounts; 2] {
        [*self.links[0].counts(), *self.links[1].counts()]
    }
}
