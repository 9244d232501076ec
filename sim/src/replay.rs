//! Replay: captures enter their ports (or [underlays](crate::Replay::inputs)) in the order of their times, and what leaves is
//! captured.
//!
//! Packets of several captures at the same time enter in the order in which the captures were named; packets of one
//! capture in the order of the file. The node gets its plan at the time of the first packet and is woken at its
//! deadlines in between; the replay ends with the last packet. Nothing else goes in, so the same configuration,
//! captures and seed give the same octets out on every machine and for every batch size.
//!
//! Out come `PORT.pcapng` for each port, `counters.txt` with every counter that is not zero, and `events.txt`.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Compiled;
use wire::{Instant, PortId};

use crate::capture::{CaptureError, CaptureReader, CaptureWriter, Link, Packet};
use crate::describe;
use crate::driver::{Departure, Driver};
use crate::entrance::Entrance;

/// What is counted, in the output directory.
pub const COUNTERS_FILE: &str = "counters.txt";
/// What was told, in the output directory.
pub const EVENTS_FILE: &str = "events.txt";

/// Octets of a frame beside its packet: addresses, two VLAN tags, type.
const LINK_LEN_MAX: usize = 14 + 2 * 4;

/// What to replay.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    /// The switch.
    pub compiled: &'a Compiled,
    /// Captures with the names of the ports that they enter, or of underlays by their local ends: a tunnel's port takes
    /// payloads of datagrams, an underlay takes the frames of the host's interface. Of a capture goes in what came in
    /// ([`CaptureReader::entering`]).
    pub inputs: Vec<(String, PathBuf)>,
    /// The directory that the outcome goes to; made if need be.
    pub out: PathBuf,
    /// Events handled before the outbox is drained, at least one. The outcome is the same for each.
    pub batch: usize,
    /// The node's seed.
    pub seed: u64,
    /// Whether the [laws](crate::laws) are looked at after each event. A broken one is a panic. Changes nothing else.
    pub checks_laws: bool,
}

/// What a replay came to, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Frames that entered.
    pub frames_in: u64,
    /// Frames that left.
    pub frames_out: u64,
    /// What was odd about captures.
    pub remarks: Vec<Remarks>,
}

/// What was odd about a capture, in packets.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Remarks {
    /// The capture.
    pub path: PathBuf,
    /// Earlier than the one before them.
    pub late: u64,
    /// Had left the port, and were not sent in.
    pub left: u64,
    /// Of other interfaces than the one with the port's name, and not sent in.
    pub elsewhere: u64,
    /// Longer than the port's MTU lets them be, and nothing says how they are to be cut.
    pub long: u64,
}

impl Remarks {
    /// A sentence for each remark.
    pub fn sentences(&self) -> Vec<String> {
        let Self { path, late, left, elsewhere, long } = self;
        let words = [
            (late, "packets were earlier than the one before them"),
            (left, "packets had left the port and were not sent in"),
            (elsewhere, "packets were of other interfaces than the port's and were not sent in"),
            (
                long,
                "packets are longer than the port's MTU: captured before they were cut, and a capture does not say how; \
                 a recording (`tapestry record`) does",
            ),
        ];
        let told = words.into_iter().filter(|(count, _)| **count > 0);
        told.map(|(count, words)| format!("{}: {count} {words}", path.display())).collect()
    }
}

/// Why a replay did not come to its end.
#[derive(Debug)]
pub enum ReplayError {
    /// A capture that is to enter cannot be replayed.
    Input(CaptureError),
    /// The outcome cannot be written.
    Output(CaptureError),
    /// A capture is to enter a port that the configuration does not have.
    UnknownPort {
        /// The port.
        port: String,
        /// The ports there are.
        known: Vec<String>,
    },
    /// A capture that is read would be written over.
    Overwrites(PathBuf),
}

impl Replay<'_> {
    /// Replays.
    ///
    /// # Errors
    /// See [`ReplayError`]. What has been written by then stays.
    pub fn run(&self) -> Result<Outcome, ReplayError> {
        let mut arrivals = Arrivals::open(self)?;
        let mut departures = Departures::create(self)?;
        let start = arrivals.next_at().unwrap_or(Instant::ZERO);
        let make = if self.checks_laws { Driver::new } else { Driver::trusting };
        let mut driver = make(self.seed, start, Arc::new(self.compiled.plan.clone()));
        let mut outcome = Outcome::default();
        while let Some((entrance, packet)) = arrivals.next() {
            if let Some(event) = entrance.event(packet, driver.buffer()) {
                driver.handle(packet.at, event);
                outcome.frames_in += 1;
            }
            arrivals.read_on().map_err(ReplayError::Input)?;
            if driver.undrained() >= self.batch {
                departures.take(&mut driver).map_err(ReplayError::Output)?;
            }
        }
        departures.take(&mut driver).map_err(ReplayError::Output)?;
        outcome.frames_out = departures.frames;
        departures.finish(self, &driver).map_err(ReplayError::Output)?;
        outcome.remarks = arrivals.remarks();
        Ok(outcome)
    }
}

/// The next packet of every capture, earliest first.
struct Arrivals {
    captures: Vec<Arriving>,
    /// Time of the next packet, and which capture it is in.
    queue: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Whether the earliest packet has been taken.
    is_taken: bool,
}

struct Arriving {
    entrance: Entrance,
    reader: CaptureReader,
    packet: Packet,
    /// Octets that a plain frame has at most.
    len_max: usize,
    /// Packets that had more.
    long: u64,
}

impl Arriving {
    /// Reads the next packet; `false` after the last.
    fn read(&mut self) -> Result<bool, CaptureError> {
        let is_read = self.reader.read(&mut self.packet)?;
        let is_long = self.packet.link == Link::Ethernet && self.packet.bytes.len() > self.len_max;
        self.long += u64::from(is_read && is_long);
        Ok(is_read)
    }
}

impl Arrivals {
    fn open(replay: &Replay<'_>) -> Result<Self, ReplayError> {
        let mut arrivals = Self { captures: Vec::new(), queue: BinaryHeap::new(), is_taken: false };
        for (name, path) in &replay.inputs {
            let Compiled { ports, plan, .. } = replay.compiled;
            let of_port = ports.get(name).map(|port| Entrance::of_port(plan, port.id));
            let entrance = of_port.or_else(|| Entrance::of_underlay(plan, name)).ok_or_else(|| {
                ReplayError::UnknownPort { port: name.clone(), known: ports.keys().cloned().collect() }
            })?;
            let reader = CaptureReader::open(path).map_err(ReplayError::Input)?.entering(name);
            let len_max = match entrance {
                Entrance::Device(id) => plan.switch.ports.iter().find(|port| port.id == id),
                Entrance::Tunnel(..) | Entrance::Underlay(..) => None,
            };
            let len_max = len_max.map_or(usize::MAX, |port| usize::from(port.mtu) + LINK_LEN_MAX);
            let index = arrivals.captures.len();
            let mut arriving = Arriving { entrance, reader, packet: Packet::empty(), len_max, long: 0 };
            if arriving.read().map_err(ReplayError::Input)? {
                arrivals.queue.push(Reverse((arriving.packet.at, index)));
            }
            arrivals.captures.push(arriving);
        }
        Ok(arrivals)
    }

    fn next_at(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// The earliest packet; [`Arrivals::read_on`] follows.
    fn next(&mut self) -> Option<(Entrance, &Packet)> {
        let &Reverse((_, index)) = self.queue.peek()?;
        self.is_taken = true;
        let Arriving { entrance, packet, .. } = &self.captures[index];
        Some((*entrance, packet))
    }

    /// Reads the packet behind the one that was taken.
    fn read_on(&mut self) -> Result<(), CaptureError> {
        let Some(mut earliest) = self.queue.peek_mut().filter(|_| self.is_taken) else { return Ok(()) };
        self.is_taken = false;
        let arriving = &mut self.captures[earliest.0.1];
        if arriving.read()? {
            earliest.0.0 = arriving.packet.at;
        } else {
            PeekMut::pop(earliest);
        }
        Ok(())
    }

    fn remarks(&self) -> Vec<Remarks> {
        let remarks = self.captures.iter().map(|Arriving { reader, long, .. }| {
            let (left, elsewhere) = reader.passed_over();
            Remarks { path: reader.path().to_owned(), late: reader.late(), left, elsewhere, long: *long }
        });
        remarks.filter(|it| (it.late, it.left, it.elsewhere, it.long) != (0, 0, 0, 0)).collect()
    }
}

/// The files of the outcome.
struct Departures<'a> {
    compiled: &'a Compiled,
    captures: BTreeMap<PortId, CaptureWriter>,
    events: BufWriter<File>,
    events_path: PathBuf,
    frames: u64,
}

impl<'a> Departures<'a> {
    fn create(replay: &Replay<'a>) -> Result<Self, ReplayError> {
        let compiled = replay.compiled;
        fs::create_dir_all(&replay.out)
            .map_err(|error| ReplayError::Output(CaptureError::io(&replay.out, "create it", &error)))?;
        let mut captures = BTreeMap::new();
        for (name, port) in &compiled.ports {
            let path = replay.out.join(capture_file(name));
            let is_same = |input: &Path| matches!((input.canonicalize(), path.canonicalize()), (Ok(a), Ok(b)) if a == b);
            if replay.inputs.iter().any(|(_, input)| is_same(input)) {
                return Err(ReplayError::Overwrites(path));
            }
            captures.insert(port.id, CaptureWriter::create(&path, name).map_err(ReplayError::Output)?);
        }
        let path = replay.out.join(EVENTS_FILE);
        let events = File::create(&path)
            .map_err(|error| ReplayError::Output(CaptureError::io(&path, "create it", &error)))?;
        Ok(Self { compiled, captures, events: BufWriter::new(events), events_path: path, frames: 0 })
    }

    fn take(&mut self, driver: &mut Driver) -> Result<(), CaptureError> {
        driver.drain(|at, departure| match departure {
            Departure::Frame { port, frame, .. } => {
                self.frames += 1;
                self.captures.get_mut(&port).expect("a port that exists has a capture").write_frame(at, frame)
            }
            Departure::Notice(notice) => {
                let what = describe::notice(notice, self.compiled);
                let written = writeln!(self.events, "{} {what}", describe::time(at));
                written.map_err(|error| CaptureError::io(&self.events_path, "write it", &error))
            }
        })
    }

    fn finish(&mut self, replay: &Replay<'_>, driver: &Driver) -> Result<(), CaptureError> {
        for capture in self.captures.values_mut() {
            capture.flush()?;
        }
        self.events.flush().map_err(|error| CaptureError::io(&self.events_path, "write it", &error))?;
        let counters = describe::counters(driver.counters(), self.compiled);
        let path = replay.out.join(COUNTERS_FILE);
        fs::write(&path, counters).map_err(|error| CaptureError::io(&path, "write it", &error))
    }
}

/// The file of a port's capture, in the output directory.
pub fn capture_file(port: &str) -> String {
    format!("{port}.pcapng")
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(error) | Self::Output(error) => error.fmt(f),
            Self::UnknownPort { port, known } if known.is_empty() => {
                write!(f, "there is no port {port:?}: the configuration has no ports")
            }
            Self::UnknownPort { port, known } => {
                write!(f, "there is no port {port:?}; the configuration has {}", known.join(", "))
            }
            Self::Overwrites(path) => {
                write!(
                    f,
                    "{} is read and would be written over; choose another output directory",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for ReplayError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Link;
    use crate::craft::{says, station};
    use crate::testing::{TOML, compiled};

    /// A capture of one frame from station `src`.
    fn capture(path: &Path, src: u8, nanos: u64) {
        let mut writer = CaptureWriter::create(path, "in").unwrap();
        writer
            .write(Instant::from_nanos(nanos), Link::Ethernet, &says((station(9), station(src)), "hello"))
            .unwrap();
        writer.flush().unwrap();
    }

    /// Replays captures into ports c1 and c2; sources of what leaves through c1 and c2, by time.
    fn sources(times: [u64; 2], order: [usize; 2]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let compiled = compiled(TOML);
        let inputs = ["c1", "c2"].map(|port| (port.to_owned(), folder.path().join(port)));
        for (index, (_, path)) in inputs.iter().enumerate() {
            capture(path, u8::try_from(index).unwrap() + 1, times[index]);
        }
        let inputs = order.map(|index| inputs[index].clone()).to_vec();
        let out = folder.path().join("out");
        let outcome =
            Replay { compiled: &compiled, inputs, out: out.clone(), batch: 1, seed: 0, checks_laws: true }
                .run()
                .unwrap();
        assert_eq!((outcome.frames_in, outcome.frames_out), (2, 2));
        let events = fs::read_to_string(out.join(EVENTS_FILE)).unwrap();
        events.lines().map(|line| line.rsplit_once("port=").unwrap().1.to_owned()).collect()
    }

    #[test]
    fn frames_enter_by_time_and_then_in_the_order_of_the_captures() {
        assert_eq!(sources([1, 2], [0, 1]), ["c1", "c2"]);
        assert_eq!(sources([2, 1], [0, 1]), ["c2", "c1"]);
        assert_eq!(sources([1, 1], [0, 1]), ["c1", "c2"]);
        assert_eq!(sources([1, 1], [1, 0]), ["c2", "c1"]);
    }

    #[test]
    fn what_cannot_be_replayed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let compiled = compiled(TOML);
        let path = folder.path().join("c1.pcapng");
        capture(&path, 1, 0);
        let run = |port: &str, path: &Path, out: &Path| {
            let inputs = vec![(port.to_owned(), path.to_owned())];
            let replay = Replay {
                compiled: &compiled,
                inputs,
                out: out.to_owned(),
                batch: 1,
                seed: 0,
                checks_laws: true,
            };
            replay.run().unwrap_err().to_string()
        };
        let out = folder.path().join("out");
        assert_eq!(run("c9", &path, &out), "there is no port \"c9\"; the configuration has c1, c2, c3");
        assert!(run("c1", &path, folder.path()).contains("would be written over"));
        assert!(run("c1", &folder.path().join("no"), &out).contains("cannot open it"));
        assert!(run("c1", &path, &path.join("below-a-file")).contains("cannot create it"));
    }
}
