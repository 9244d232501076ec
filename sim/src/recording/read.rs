//! Reading: records from octets, until the first that is not whole.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use encap::{Endpoint, UnderlayId};
use node::{Flush, Gossip};
use vrouter::Protocol;
use vrouter::nat::{SessionFilter, SessionId};
use wire::frame::FRAME_MAX;
use wire::offload::VNET_HDR_LEN;
use wire::{DomainId, Ecn, Instant, Mac, Offload, PortId};

use super::write::checksum;
use super::{BODY_MAX, Begins, Kind, MAGIC, VERSION, WORKERS_MAX};

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it should.
    Whole,
    /// As it should, but some events could not be kept on the way.
    Overrun,
    /// In the middle: it was cut off, or damaged. What is before holds.
    CutOff,
}

/// Why a file cannot be replayed.
#[derive(Debug)]
pub struct RecordingError(pub(super) String);

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RecordingError {}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Start(Begins),
    /// A piece of a plan.
    Plan {
        number: u32,
        is_last: bool,
        octets: Vec<u8>,
    },
    /// A piece of a state, while this plan holds.
    State {
        plan: u32,
        is_last: bool,
        octets: Vec<u8>,
    },
    Worker(u16),
    Event {
        at: Instant,
        what: Happened,
    },
    Replicas(bool),
    Outputs {
        events: u64,
        sends: u64,
        gossip: u64,
    },
    End {
        missed: u64,
    },
}

/// An event, its frame still in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// With the virtio header in front.
    Frame {
        port: PortId,
        octets: Vec<u8>,
    },
    Datagram {
        underlay: UnderlayId,
        from: Endpoint,
        ecn: Ecn,
        offload: Offload,
        octets: Vec<u8>,
    },
    Wake,
    Configure(u32),
    Flush(Flush),
    KillSessions(SessionFilter),
    FlushNeighbours {
        domain: Option<DomainId>,
        address: Option<IpAddr>,
    },
    Gossip(Gossip),
}

/// A recording being read.
pub struct Reader<R> {
    input: R,
    body: Vec<u8>,
}

impl Reader<BufReader<File>> {
    /// Opens a recording.
    ///
    /// # Errors
    /// It cannot be opened, or is no recording of this version.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let name = path.display();
        let file =
            File::open(path).map_err(|error| RecordingError(format!("{name}: cannot open it: {error}")))?;
        Self::new(BufReader::new(file))
            .map_err(|RecordingError(why)| RecordingError(format!("{name}: {why}")))
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is no recording of this version.
    pub fn new(mut input: R) -> Result<Self, RecordingError> {
        let wrong = |why: &str| Err(RecordingError(why.to_owned()));
        let mut header = [0; MAGIC.len() + 2];
        if input.read_exact(&mut header).is_err() || !header.starts_with(MAGIC) {
            return wrong("is no recording; `tapestry record` makes them");
        }
        let [.., low, high] = header;
        match u16::from_le_bytes([low, high]) {
            VERSION => Ok(Self { input, body: Vec::new() }),
            other => Err(RecordingError(format!(
                "is a recording of version {other}, and this program reads version {VERSION}; replay it with the program that made it"
            ))),
        }
    }

    /// The next whole record; `None` where the file ends or is not whole any more.
    pub(super) fn next(&mut self) -> Option<Record> {
        let mut len = [0; 4];
        self.input.read_exact(&mut len).ok()?;
        let len = u32::from_le_bytes(len) as usize;
        if len > BODY_MAX {
            return None;
        }
        // Grown as octets come, so that a lie about the length costs nothing.
        self.body.clear();
        let whole = len + 1 + 4;
        let read = self.input.by_ref().take(whole as u64).read_to_end(&mut self.body).ok()?;
        if read < whole {
            return None;
        }
        let (record, sum) = self.body.split_at(len + 1);
        if checksum(record).to_le_bytes() != *sum {
            return None;
        }
        let (kind, body) = record.split_first()?;
        parse(Kind::of(*kind)?, &mut Octets(body))
    }
}

pub(super) fn parse(kind: Kind, body: &mut Octets<'_>) -> Option<Record> {
    let at = match kind {
        Kind::Start => {
            let (seed, index, replicas) = (body.u64()?, body.u16()?, body.u16()?);
            let (since_1970_ns, missed, has_state) = (body.u64()?, body.u64()?, body.u8()? != 0);
            return Some(Record::Start(Begins { seed, index, replicas, since_1970_ns, missed, has_state }));
        }
        Kind::Plan => {
            let (number, is_last) = (body.u32()?, body.u8()? != 0);
            return Some(Record::Plan { number, is_last, octets: body.0.to_vec() });
        }
        Kind::State => {
            let (plan, is_last) = (body.u32()?, body.u8()? != 0);
            return Some(Record::State { plan, is_last, octets: body.0.to_vec() });
        }
        Kind::Worker => return Some(Record::Worker(body.u16().filter(|index| *index < WORKERS_MAX)?)),
        Kind::Replicas => return Some(Record::Replicas(body.u8()? != 0)),
        Kind::Outputs => {
            return Some(Record::Outputs { events: body.u64()?, sends: body.u64()?, gossip: body.u64()? });
        }
        Kind::End => return Some(Record::End { missed: body.u64()? }),
        Kind::Frame
        | Kind::Datagram
        | Kind::Wake
        | Kind::Configure
        | Kind::Flush
        | Kind::KillSessions
        | Kind::FlushNeighbours
        | Kind::Gossip => Instant::from_nanos(body.u64()?),
    };
    let what = match kind {
        Kind::Frame => Happened::Frame { port: PortId(body.u16()?), octets: body.frame(VNET_HDR_LEN)? },
        Kind::Datagram => datagram(body)?,
        Kind::Wake => Happened::Wake,
        Kind::Configure => Happened::Configure(body.u32()?),
        Kind::Flush => {
            let id = |value: Option<u64>| value.map(u16::try_from).transpose().ok();
            let domain = id(body.optional()?)?.map(DomainId);
            let port = id(body.optional()?)?.map(PortId);
            Happened::Flush(Flush { domain, port, mac: body.optional()?.map(Mac::from_bits) })
        }
        Kind::KillSessions => Happened::KillSessions(session_filter(body)?),
        Kind::FlushNeighbours => {
            let domain = body.optional()?.map(u16::try_from).transpose().ok()?.map(DomainId);
            Happened::FlushNeighbours { domain, address: body.rest()? }
        }
        Kind::Gossip => {
            let (domain, port) = (DomainId(body.u16()?), PortId(body.u16()?));
            Happened::Gossip(Gossip::Station { domain, mac: Mac(body.take()?), port })
        }
        Kind::Start
        | Kind::Plan
        | Kind::State
        | Kind::Worker
        | Kind::Replicas
        | Kind::Outputs
        | Kind::End => return None,
    };
    Some(Record::Event { at, what })
}

fn session_filter(body: &mut Octets<'_>) -> Option<SessionFilter> {
    let id = body.optional()?.map(SessionId::from_number);
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Echo];
    let protocol = match body.optional()? {
        Some(number) => Some(protocols.into_iter().find(|protocol| *protocol as u64 == number)?),
        None => None,
    };
    let l4_port = body.optional()?.map(u16::try_from).transpose().ok()?;
    let publish = body.optional()?.map(u32::try_from).transpose().ok()?;
    Some(SessionFilter { id, protocol, address: body.rest()?, l4_port, publish })
}

fn datagram(body: &mut Octets<'_>) -> Option<Happened> {
    let (underlay, family) = (UnderlayId(body.u16()?), body.u8()?);
    let address = std::net::Ipv6Addr::from(body.take::<16>()?);
    let address = match family {
        4 => IpAddr::V4(address.to_ipv4_mapped()?),
        _ => IpAddr::V6(address),
    };
    let l4_port = body.u16()?;
    let codes = [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce];
    let number = body.u8()?;
    let ecn = codes.into_iter().find(|code| *code as u8 == number)?;
    let offload = Offload::parse(&body.take()?).ok()?;
    Some(Happened::Datagram {
        underlay,
        from: Endpoint { address, l4_port },
        ecn,
        offload,
        octets: body.frame(0)?,
    })
}

/// Octets, taken from the front.
pub(super) struct Octets<'a>(pub(super) &'a [u8]);

impl Octets<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn optional(&mut self) -> Option<Option<u64>> {
        let (is_there, value) = (self.u8()?, self.u64()?);
        Some((is_there != 0).then_some(value))
    }

    /// The rest: something in words, or nothing.
    fn rest<T: FromStr>(&mut self) -> Option<Option<T>> {
        let text = str::from_utf8(self.0).ok()?;
        if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
    }

    /// The rest: a frame behind a header of so many octets.
    fn frame(&mut self, header: usize) -> Option<Vec<u8>> {
        let len = self.0.len();
        (header..=header + FRAME_MAX).contains(&len).then(|| self.0.to_vec())
    }
}
