//! A case in the making: a switch, and frames that enter one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use sim::capture::Link;
use wire::Instant;
use wire::offload::VNET_HDR_LEN;

/// Between two frames, unless the case says otherwise.
const STEP: Duration = Duration::from_micros(10);

/// One golden.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What is shown, a sentence.
    pub(crate) shows: &'static str,
    /// The switch.
    pub(crate) toml: String,
    /// By port, in order.
    pub(crate) inputs: BTreeMap<&'static str, Vec<Arrival>>,
    now: Instant,
}

/// A packet that enters.
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) link: Link,
    pub(crate) bytes: Vec<u8>,
}

impl Case {
    /// The clock starts at one second.
    pub(crate) fn new(name: &'static str, shows: &'static str, toml: impl Into<String>) -> Self {
        Self { name, shows, toml: toml.into(), inputs: BTreeMap::new(), now: Instant::from_secs(1) }
    }

    /// A frame enters a port.
    pub(crate) fn send(self, port: &'static str, frame: impl Into<Vec<u8>>) -> Self {
        self.arrive(port, Link::Ethernet, frame.into())
    }

    /// A frame enters behind a virtio header.
    pub(crate) fn send_virtio(self, port: &'static str, header: [u8; VNET_HDR_LEN], frame: &[u8]) -> Self {
        self.arrive(port, Link::VirtioEthernet, [&header[..], frame].concat())
    }

    /// The same for each of several frames.
    pub(crate) fn send_all(self, port: &'static str, frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        frames.into_iter().fold(self, |case, frame| case.send(port, frame))
    }

    /// Time passes.
    pub(crate) fn wait(mut self, time: Duration) -> Self {
        self.now = self.now + time;
        self
    }

    fn arrive(mut self, port: &'static str, link: Link, bytes: Vec<u8>) -> Self {
        self.inputs.entry(port).or_default().push(Arrival { at: self.now, link, bytes });
        self.wait(STEP)
    }
}
