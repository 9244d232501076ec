//! Taps: copies of frames for whoever captures, taken by the worker that moves them.
//!
//! ```text
//!  worker ─▶ tap: this port? this direction? filter? ─▶ bounded channel ─▶ Sightings ─▶ pcapng, or lines
//!                                                       full: counted, and nobody waits
//! ```
//!
//! A worker without taps asks once a frame whether it has any, and that is all. With one, a frame that is wanted is
//! copied, and one that is not is looked at. What a reader is too slow for is lost and counted ([`Sightings::lost`]);
//! the switch never waits for it. At most [`SIGHTINGS_MAX`] frames and [`OCTETS_MAX`] octets are on their way.
//!
//! A frame that comes in is seen at the worker that reads it, before anything is done with it; one that leaves, as the
//! node has made it, before the device has taken it. At a tunnel's port datagrams are seen, whose outer headers are made
//! up from what is known: addresses and L4 ports (the source port is the well-known one). A dropped frame is seen as the
//! rooms that it had passed left it.
//!
//! Ids of ports are given out again, so a tap asks for [`Place`]s: whoever watches a port that is removed does not see the
//! frames of one that comes after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use node::{Dropped, Endpoint, Outbox};
use sim::craft;
use sim::filter::Filter;
use wire::{DropReason, FrameBuf, Instant, PortId};

use crate::sys::clock;

/// Frames on their way from the workers to one reader. Further ones are lost, counted.
pub const SIGHTINGS_MAX: usize = 8_192;
/// Octets likewise.
pub const OCTETS_MAX: usize = 16 << 20;

/// Octets of a datagram's payload that fit behind headers of either family.
const DATAGRAM_MAX: usize = 65_535 - 20 - 8;

/// What is seen of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It came in.
    In,
    /// It leaves.
    Out,
    /// It goes no further.
    Dropped(DropReason),
}

/// A port of all that ever have its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The id.
    pub port: PortId,
    /// The plan's serial of it; `None`: no port of the plan has the id.
    pub serial: Option<u32>,
}

/// Which frames somebody wants to see.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// At these ports; `None`: at all.
    pub ports: Option<Vec<Place>>,
    /// Those that go no further, and no others; otherwise those that come in and leave.
    pub drops: bool,
    /// Of these, those that it wants.
    pub filter: Filter,
    /// Octets kept of each.
    pub snap_len: usize,
}

/// A frame as a tap saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// By the switch's own clock.
    pub at: Instant,
    /// At this port.
    pub place: Place,
    /// What became of it.
    pub way: Way,
    /// How long it was.
    pub original_len: u32,
    /// Its beginning.
    pub bytes: Vec<u8>,
}

/// One worker's end.
#[derive(Clone, Debug)]
pub struct Tap {
    wanted: Arc<Wanted>,
    sightings: Sender<Sighting>,
    shared: Arc<Shared>,
}

/// The reader's end. Dropping it closes the taps.
#[derive(Debug)]
pub struct Sightings {
    sightings: Receiver<Sighting>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    closed: AtomicBool,
    lost: AtomicU64,
    octets: AtomicUsize,
}

/// What comes next of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This.
    Seen(Sighting),
    /// Nothing yet.
    Nothing,
    /// The switch has ended.
    End,
}

/// A tap, to be given to every worker, and where its sightings come out.
pub fn tap(wanted: Wanted) -> (Tap, Sightings) {
    let (sender, sightings) = bounded(SIGHTINGS_MAX);
    let shared = Arc::new(Shared::default());
    let tap = Tap { wanted: Arc::new(wanted), sightings: sender, shared: Arc::clone(&shared) };
    (tap, Sightings { sightings, shared })
}

impl Tap {
    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Whether frames that go no further are wanted.
    pub fn wants_drops(&self) -> bool {
        self.wanted.drops
    }

    /// Takes a copy if the frame is wanted.
    pub fn show(&self, at: Instant, place: Place, way: Way, frame: &[u8]) {
        let Wanted { ports, drops, filter, snap_len } = &*self.wanted;
        let is_drop = matches!(way, Way::Dropped(_));
        let is_here = ports.as_ref().is_none_or(|ports| ports.contains(&place));
        if is_drop != *drops || !is_here || !filter.wants(frame) {
            return;
        }
        let bytes = &frame[..frame.len().min(*snap_len)];
        let fits = self.shared.octets.load(Ordering::Relaxed) + bytes.len() <= OCTETS_MAX;
        let original_len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        if fits && !self.sightings.is_full() {
            self.shared.octets.fetch_add(bytes.len(), Ordering::Relaxed);
            let sighting = Sighting { at, place, way, original_len, bytes: bytes.to_vec() };
            if self.sightings.try_send(sighting).is_ok() {
                return;
            }
            self.shared.octets.fetch_sub(bytes.len(), Ordering::Relaxed);
        }
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
    }
}

impl Sightings {
    /// What has been seen, waiting at most so long.
    pub fn next(&self, timeout: Duration) -> Next {
        match self.sightings.recv_timeout(timeout) {
            Ok(sighting) => {
                self.shared.octets.fetch_sub(sighting.bytes.len(), Ordering::Relaxed);
                Next::Seen(sighting)
            }
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    /// Frames that were wanted and lost, since the beginning.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

/// A worker's taps.
#[derive(Debug, Default)]
pub(super) struct Taps {
    taps: Vec<Tap>,
    /// By [`PortId`], the serials of the plan that holds.
    serials: Vec<Option<u32>>,
}

impl Taps {
    /// One more. Taps whose reader has gone are forgotten.
    pub(super) fn add(&mut self, tap: Tap, out: &mut Outbox) {
        self.taps.push(tap);
        self.tidy(out);
    }

    /// From now on a plan with these serials holds.
    pub(super) fn obey(&mut self, serials: &[Option<u32>]) {
        serials.clone_into(&mut self.serials);
    }

    fn place(&self, port: PortId) -> Place {
        Place { port, serial: self.serials.get(port.index()).copied().flatten() }
    }

    /// Shows a frame to whoever wants it.
    #[inline]
    pub(super) fn show(&self, port: PortId, way: Way, frame: &FrameBuf) {
        if !self.taps.is_empty() {
            self.show_all(port, way, frame);
        }
    }

    #[cold]
    fn show_all(&self, port: PortId, way: Way, frame: &FrameBuf) {
        let (now, place) = (clock::now(), self.place(port));
        for tap in &self.taps {
            tap.show(now, place, way, frame.bytes());
        }
    }

    /// Whether nobody wants to see anything.
    pub(super) fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    /// Shows what a tunnel's port sends or has received: its payload behind headers like those that it travels with. One
    /// that is longer than any packet, joined from many, is shown as far as one goes.
    #[cold]
    pub(super) fn show_datagram(&self, port: PortId, way: Way, ends: (Endpoint, Endpoint), payload: &[u8]) {
        let (from, to) = ends;
        if from.address.is_ipv4() != to.address.is_ipv4() {
            return;
        }
        let payload = &payload[..payload.len().min(DATAGRAM_MAX)];
        let (src, dst) = ((from.address, from.l4_port), (to.address, to.l4_port));
        let macs = (wire::Mac::default(), wire::Mac::default()); // The host's own affair.
        let datagram = craft::ip(macs, src.0, dst.0, craft::UDP, &craft::udp(src, dst, payload));
        let (now, place) = (clock::now(), self.place(port));
        for tap in &self.taps {
            tap.show(now, place, way, &datagram);
        }
    }

    /// Shows what the node has dropped, and forgets taps whose reader has gone.
    #[inline]
    pub(super) fn show_dropped(&mut self, out: &mut Outbox) {
        if !self.taps.is_empty() {
            self.show_all_dropped(out);
        }
    }

    #[cold]
    fn show_all_dropped(&mut self, out: &mut Outbox) {
        let mut dropped = out.dropped.take().unwrap_or_default();
        for Dropped { port, reason, frame } in dropped.drain(..) {
            self.show_all(port, Way::Dropped(reason), &frame);
            out.pool.put(frame);
        }
        out.dropped = Some(dropped); // Its room is used again.
        self.tidy(out);
    }

    fn tidy(&mut self, out: &mut Outbox) {
        self.taps.retain(|tap| !tap.is_closed());
        if !self.taps.iter().any(Tap::wants_drops) {
            out.dropped = None;
        } else if out.dropped.is_none() {
            out.dropped = Some(Vec::new());
        }
    }
}

impl Drop for Sightings {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = Place { port: PortId(1), serial: Some(0) };

    fn wanted(ports: Option<Vec<Place>>, drops: bool) -> Wanted {
        Wanted { ports, drops, filter: Filter::All, snap_len: 4 }
    }

    #[test]
    fn what_is_wanted_is_seen() {
        let (tap, seen) = tap(wanted(Some(vec![HERE]), false));
        let elsewhere = Place { port: PortId(0), ..HERE };
        tap.show(Instant::ZERO, elsewhere, Way::In, b"elsewhere");
        tap.show(Instant::ZERO, HERE, Way::Dropped(DropReason::Runt), b"dropped");
        tap.show(Instant::ZERO, HERE, Way::Out, b"leaves");
        let sighting = Sighting {
            at: Instant::ZERO,
            place: HERE,
            way: Way::Out,
            original_len: 6,
            bytes: b"leav".to_vec(),
        };
        assert_eq!(seen.next(Duration::ZERO), Next::Seen(sighting));
        assert_eq!((seen.next(Duration::ZERO), seen.lost(), tap.is_closed()), (Next::Nothing, 0, false));
        drop(seen);
        assert!(tap.is_closed());
    }

    /// Nobody asked to see the port that gets the id next.
    #[test]
    fn a_ports_successor_is_not_seen_in_its_place() {
        let (tap, seen) = tap(wanted(Some(vec![HERE]), false));
        let (all, seen_of_all) = super::tap(wanted(None, false));
        let (mut taps, mut out) = (Taps::default(), Outbox::default());
        [tap, all].into_iter().for_each(|tap| taps.add(tap, &mut out));
        for serial in [Some(0), None, Some(1)] {
            taps.obey(&[Some(0), serial]);
            taps.show(PortId(1), Way::In, &out.pool.take());
        }
        let serials = |seen: &Sightings| -> Vec<Option<u32>> {
            let next = || match seen.next(Duration::ZERO) {
                Next::Seen(sighting) => Some(sighting.place.serial),
                Next::Nothing | Next::End => None,
            };
            std::iter::from_fn(next).collect()
        };
        assert_eq!(serials(&seen), [Some(0)]);
        assert_eq!(serials(&seen_of_all), [Some(0), None, Some(1)]);
    }

    #[test]
    fn what_a_reader_is_too_slow_for_is_counted() {
        let (tap, seen) = tap(wanted(None, true));
        for _ in 0..SIGHTINGS_MAX + 3 {
            tap.show(Instant::ZERO, HERE, Way::Dropped(DropReason::Runt), b"a");
        }
        assert_eq!(seen.lost(), 3);
        assert!(matches!(seen.next(Duration::ZERO), Next::Seen(_)));
        tap.show(Instant::ZERO, HERE, Way::Dropped(DropReason::Runt), b"a");
        assert_eq!(seen.lost(), 3, "there is room again");
        drop(tap);
        let rest = std::iter::repeat_with(|| seen.next(Duration::ZERO)).take_while(|next| *next != Next::End);
        assert_eq!(rest.count(), SIGHTINGS_MAX);
    }
}
