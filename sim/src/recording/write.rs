//! Writing: events become records, octets are taken by whoever carries them to the disk.

use node::{Event, Flush, Gossip, Node, Outbox};
use vrouter::nat::SessionId;
use wire::offload::VNET_HDR_LEN;
use wire::{FrameBuf, Instant};

use super::{Digest, Kind, MAGIC, Origin, PIECE_LEN, VERSION, keep};

/// One worker's recording in the making.
#[derive(Debug)]
pub struct Recorder {
    octets: Vec<u8>,
    /// Octets that say whose the records are, in front of each piece.
    of_worker: Vec<u8>,
    sends: Digest,
    gossip: Digest,
    /// Events of the segment.
    events: u64,
    /// Events that the last digest was told with.
    told: u64,
}

/// How a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begins {
    /// The seed of the worker's node.
    pub seed: u64,
    /// Which worker of the switch.
    pub index: u16,
    /// How many there are.
    pub replicas: u16,
    /// Added to an event's time: nanoseconds since 1970.
    pub since_1970_ns: u64,
    /// Events since the segment before that could not be kept.
    pub missed: u64,
    /// Whether the node's plan and state follow. Otherwise it is new.
    pub has_state: bool,
}

/// What a recording's file begins with.
pub fn header() -> [u8; 8] {
    let [a, b, c, d, e, f] = *MAGIC;
    let [low, high] = VERSION.to_le_bytes();
    [a, b, c, d, e, f, low, high]
}

/// The records that say what plan number `number` is, from the next [`Recorder::configure`] with it on.
pub fn origin_records(index: u16, number: u32, origin: &Origin) -> Vec<u8> {
    pieces(index, Kind::Plan, number, &origin.keep())
}

/// The records that say what the node of a segment that has just begun is, while plan `number` holds.
pub fn state_records(index: u16, number: u32, node: &Node) -> Vec<u8> {
    pieces(index, Kind::State, number, &keep(node))
}

/// The records that end a worker's part of a recording, so many events after the last that could be kept.
pub fn end_of(index: u16, missed: u64) -> Vec<u8> {
    let mut octets = of_worker(index);
    record(&mut octets, Kind::End, &[&missed.to_le_bytes()]);
    octets
}

fn of_worker(index: u16) -> Vec<u8> {
    let mut octets = Vec::new();
    record(&mut octets, Kind::Worker, &[&index.to_le_bytes()]);
    octets
}

fn pieces(index: u16, kind: Kind, number: u32, whole: &[u8]) -> Vec<u8> {
    let mut octets = of_worker(index);
    let last = whole.chunks(PIECE_LEN).count().saturating_sub(1);
    for (at, piece) in whole.chunks(PIECE_LEN).enumerate() {
        record(&mut octets, kind, &[&number.to_le_bytes(), &[u8::from(at == last)], piece]);
    }
    octets
}

impl Recorder {
    /// The recording of worker `index`.
    pub fn new(index: u16) -> Self {
        Self {
            octets: Vec::new(),
            of_worker: of_worker(index),
            sends: Digest::default(),
            gossip: Digest::default(),
            events: 0,
            told: 0,
        }
    }

    /// A segment begins here. With a state, [`origin_records`] and [`state_records`] have to follow what is taken now.
    pub fn begin(&mut self, begins: &Begins) {
        let Begins { seed, index, replicas, since_1970_ns, missed, has_state } = *begins;
        (self.sends, self.gossip) = (Digest::default(), Digest::default());
        (self.events, self.told) = (0, 0);
        let [index, replicas] = [index, replicas].map(u16::to_le_bytes);
        let [seed, since_1970_ns, missed] = [seed, since_1970_ns, missed].map(u64::to_le_bytes);
        let parts = [&seed[..], &index, &replicas, &since_1970_ns, &missed, &[u8::from(has_state)]];
        self.record(Kind::Start, &parts);
    }

    /// The node is about to obey plan `number` of [`origin_records`].
    pub fn configure(&mut self, at: Instant, number: u32) {
        self.events += 1;
        self.record(Kind::Configure, &[&at.as_nanos().to_le_bytes(), &number.to_le_bytes()]);
    }

    /// What is about to be handled; a plan by [`Recorder::configure`].
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
            Event::Configure(_) => unreachable!("a plan has a number here"),
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

    /// Events of the segment so far.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Forgets what there is: the segment ends with what was taken last.
    pub fn forget(&mut self) {
        self.octets.clear();
    }

    fn record(&mut self, kind: Kind, parts: &[&[u8]]) {
        if self.octets.is_empty() {
            self.octets.extend_from_slice(&self.of_worker);
        }
        record(&mut self.octets, kind, parts);
    }
}

fn record(octets: &mut Vec<u8>, kind: Kind, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let len = u32::try_from(len).expect("a record is far shorter than 2^32 octets");
    octets.extend(len.to_le_bytes());
    let from = octets.len();
    octets.push(kind as u8);
    for part in parts {
        octets.extend_from_slice(part);
    }
    let sum = checksum(&octets[from..]);
    octets.extend(sum.to_le_bytes());
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
