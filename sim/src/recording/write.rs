//! Writing: events become records, octets are taken by whoever carries them to the disk.

use node::{Event, Flush, Gossip, Outbox};
use vrouter::nat::SessionId;
use wire::offload::VNET_HDR_LEN;
use wire::{FrameBuf, Instant};

use super::{Digest, Kind, MAGIC, VERSION};

/// One worker's recording in the making.
#[derive(Debug)]
pub struct Recorder {
    octets: Vec<u8>,
    sends: Digest,
    gossip: Digest,
    events: u64,
    /// Events that the last digest was told with.
    told: u64,
}

impl Recorder {
    /// The recording of worker `index` of so many, whose node is new and has this seed. `since_1970_ns` added to an
    /// event's time is nanoseconds since 1970.
    pub fn new(seed: u64, index: u16, replicas: u16, since_1970_ns: u64) -> Self {
        let octets = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        let mut recorder =
            Self { octets, sends: Digest::default(), gossip: Digest::default(), events: 0, told: 0 };
        let [worker, replicas] = [index, replicas].map(u16::to_le_bytes);
        recorder
            .record(Kind::Start, &[&seed.to_le_bytes(), &worker, &replicas, &since_1970_ns.to_le_bytes()]);
        recorder
    }

    /// From the next [`Event::Configure`] with a plan of this digest on: what it is compiled from.
    pub fn plan(&mut self, digest: u64, text: &str, mtus: &[(String, u16)]) {
        let mut body = digest.to_le_bytes().to_vec();
        body.extend(u32::try_from(mtus.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (name, mtu) in mtus {
            body.extend(mtu.to_le_bytes());
            body.extend(u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
            body.extend(name.as_bytes());
        }
        self.record(Kind::Plan, &[&body, text.as_bytes()]);
    }

    /// What is about to be handled.
    pub fn event(&mut self, at: Instant, event: &Event) {
        self.events += 1;
        let at = at.as_nanos().to_le_bytes();
        match event {
            Event::Frame { port, frame } => {
                self.record(Kind::Frame, &[&at, &port.0.to_le_bytes(), frame.as_received()]);
            }
            Event::Datagram { underlay, from, ecn, frame } => {
                let (family, address) = match from.address {
                    std::net::IpAddr::V4(v4) => (4, v4.to_ipv6_mapped().octets()),
                    std::net::IpAddr::V6(v6) => (6, v6.octets()),
                };
                let ecn = *ecn as u8; // In the order of the codes' names; see `read`.
                let l4_port = from.l4_port.to_le_bytes();
                let (offload, id) = (offload(frame), underlay.0.to_le_bytes());
                let parts = [&at[..], &id, &[family], &address, &l4_port, &[ecn], &offload, frame.bytes()];
                self.record(Kind::Datagram, &parts);
            }
            Event::Wake => self.record(Kind::Wake, &[&at]),
            Event::Configure(plan) => {
                let digest = super::plan_digest(plan).to_le_bytes();
                self.record(Kind::Configure, &[&at, &digest]);
            }
            Event::Flush(Flush { domain, port, mac }) => {
                let domain = optional(domain.map(|domain| u64::from(domain.0)));
                let port = optional(port.map(|port| u64::from(port.0)));
                let mac = optional(mac.map(wire::Mac::to_bits));
                self.record(Kind::Flush, &[&at, &domain, &port, &mac]);
            }
            Event::KillSessions(filter) => {
                let id = optional(filter.id.map(SessionId::number));
                let protocol = optional(filter.protocol.map(|protocol| protocol as u64));
                let l4_port = optional(filter.l4_port.map(u64::from));
                let publish = optional(filter.publish.map(u64::from));
                let address = filter.address.map(|prefix| prefix.to_string()).unwrap_or_default();
                self.record(
                    Kind::KillSessions,
                    &[&at, &id, &protocol, &l4_port, &publish, address.as_bytes()],
                );
            }
            Event::FlushNeighbours { domain, address } => {
                let domain = optional(domain.map(|domain| u64::from(domain.0)));
                let address = address.map(|address| address.to_string()).unwrap_or_default();
                self.record(Kind::FlushNeighbours, &[&at, &domain, address.as_bytes()]);
            }
            Event::Gossip(Gossip::Station { domain, mac, port }) => {
                let [domain, port] = [domain.0, port.0].map(u16::to_le_bytes);
                self.record(Kind::Gossip, &[&at, &domain, &port, &mac.0]);
            }
        }
    }

    /// From now on the node has replicas, or none.
    pub fn replicas(&mut self, has_replicas: bool) {
        self.record(Kind::Replicas, &[&[u8::from(has_replicas)]]);
    }

    /// What is about to leave. To be called each time before the outbox is emptied.
    pub fn outputs(&mut self, out: &mut Outbox) {
        if out.is_empty() && self.told == self.events {
            return;
        }
        self.sends.outputs(&mut self.gossip, out, 0);
        self.told = self.events;
        let [events, digest, gossip] =
            [self.events, self.sends.value(), self.gossip.value()].map(u64::to_le_bytes);
        self.record(Kind::Outputs, &[&events, &digest, &gossip]);
    }

    /// The recording ends here: as it should, or because something could not be kept.
    pub fn end(&mut self, is_whole: bool) {
        self.record(Kind::End, &[&[u8::from(is_whole)]]);
    }

    /// Octets that have not been taken.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Takes what there is, whole records, and leaves `room` in its place.
    pub fn take(&mut self, room: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.octets, room)
    }

    fn record(&mut self, kind: Kind, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let len = u32::try_from(len).expect("a record is far shorter than 2^32 octets");
        self.octets.extend(len.to_le_bytes());
        let from = self.octets.len();
        self.octets.push(kind as u8);
        for part in parts {
            self.octets.extend_from_slice(part);
        }
        let sum = checksum(&self.octets[from..]);
        self.octets.extend(sum.to_le_bytes());
    }
}

/// Tells a damaged record from a whole one.
#[expect(clippy::cast_possible_truncation, reason = "half of it is enough")]
pub(super) fn checksum(octets: &[u8]) -> u32 {
    let mut digest = Digest::default();
    digest.octets(octets);
    digest.value() as u32
}

fn optional(value: Option<u64>) -> [u8; 9] {
    let mut octets = [0; 9];
    octets[0] = u8::from(value.is_some());
    octets[1..].copy_from_slice(&value.unwrap_or(0).to_le_bytes());
    octets
}

fn offload(frame: &FrameBuf) -> [u8; VNET_HDR_LEN] {
    let mut header = [0; VNET_HDR_LEN];
    frame.offload.emit(&mut header);
    header
}
