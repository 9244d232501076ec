//! The last room: the egress port's MTU, its tag or tunnel header, and the offloads that it lacks.
//!
//! A TAP takes every offload, so a super-segment leaves as it came. A tunnel takes what its underlay takes, as a rule
//! nothing: the frame is cut into segments and its checksums are finished before the tunnel's header is pushed.

use encap::{Carrier, Tunnels, Way};
use vswitch::{Egress, Forward, Switch};
use wire::ethernet::{self, HEADER_LEN, Tci};
use wire::{DomainId, DropReason, FrameBuf, PortId, Vid, segment};

use crate::{Counters, Outbox};

/// Where a frame that has passed the rooms goes.
pub(crate) struct Leaving {
    pub(crate) to: Forward,
    pub(crate) domain: DomainId,
    /// `None` for the router's own frames.
    pub(crate) ingress: Option<PortId>,
    /// Priority and drop eligibility that the frame came with, for a tag it may leave with.
    pub(crate) priority: Tci,
}

/// A frame that leaves through no port at all: who refused it, and why.
pub(crate) type Undelivered = (PortId, DropReason);

/// One frame on its way out.
pub(crate) struct Delivery<'a> {
    pub(crate) tunnels: &'a Tunnels,
    pub(crate) counters: &'a mut Counters,
    pub(crate) out: &'a mut Outbox,
    /// Index in the outbox of the frame as the corridor left it, untagged.
    frame: u32,
    priority: Tci,
    /// The last tagged copy that a flood has made.
    tagged: Option<(Vid, u32)>,
}

impl<'a> Delivery<'a> {
    pub(crate) fn new(tunnels: &'a Tunnels, counters: &'a mut Counters, out: &'a mut Outbox) -> Self {
        Self { tunnels, counters, out, frame: 0, priority: Tci::default(), tagged: None }
    }

    /// Puts `frame` into the outbox, once for every port it leaves through.
    pub(crate) fn deliver(
        mut self,
        switch: &Switch,
        leaving: &Leaving,
        frame: FrameBuf,
    ) -> Result<(), Undelivered> {
        self.priority = leaving.priority;
        self.frame = self.out.push_frame(frame);
        match leaving.to {
            Forward::One(egress) => self.alone(egress),
            Forward::Many => self.flood(switch, leaving),
        }
    }

    /// The only receiver gets the buffer itself, tag and all.
    fn alone(&mut self, egress: Egress) -> Result<(), Undelivered> {
        let refused = |reason| (egress.port, reason);
        self.fits(egress).map_err(refused)?;
        if let Some(way) = self.tunnels.way(egress.port) {
            return self.through_tunnel(egress.port, way).map_err(refused);
        }
        if let Some(vid) = egress.vid {
            let frame = &mut self.out.frames[self.frame as usize];
            ethernet::push_tag(frame, self.priority.with_vid(vid)).map_err(refused)?;
        }
        self.send(egress.port, self.frame, Carrier::default());
        Ok(())
    }

    /// Every receiver that wants the frame as it is shares one buffer; a tag or a tunnel costs a copy.
    fn flood(&mut self, switch: &Switch, leaving: &Leaving) -> Result<(), Undelivered> {
        let mut sent = 0_u64;
        let mut refused = None;
        for egress in switch.receivers(leaving.domain, leaving.ingress) {
            match self.share(egress) {
                Ok(()) => sent += 1,
                // The last refusal ends the walk if nobody takes the frame; the others are counted here.
                Err(reason) => {
                    if let Some(earlier) = refused.replace((egress.port, reason)) {
                        self.count_drop(earlier);
                    }
                }
            }
        }
        self.counters.flood_copies += sent.saturating_sub(1);
        match refused {
            Some(undelivered) if sent == 0 => return Err(undelivered),
            Some(undelivered) => self.count_drop(undelivered),
            None => {}
        }
        Ok(())
    }

    /// One receiver of several: the shared buffer must stay as it is.
    fn share(&mut self, egress: Egress) -> Result<(), DropReason> {
        self.fits(egress)?;
        if let Some(way) = self.tunnels.way(egress.port) {
            let takes = way.takes.takes(self.out.frames[self.frame as usize].offload);
            return if takes {
                let copy = self.out.copy_frame(self.frame);
                self.encapsulate(egress.port, way, copy)
            } else {
                self.in_pieces(egress.port, way)
            };
        }
        let frame = match (egress.vid, self.tagged) {
            (None, _) => self.frame,
            (Some(vid), Some((tagged, copy))) if tagged == vid => copy,
            (Some(vid), _) => {
                let copy = self.out.copy_frame(self.frame);
                ethernet::push_tag(&mut self.out.frames[copy as usize], self.priority.with_vid(vid))?;
                self.tagged = Some((vid, copy));
                copy
            }
        };
        self.send(egress.port, frame, Carrier::default());
        Ok(())
    }

    /// The MTU test uses the size of the segments, not of the super-segment.
    fn fits(&self, egress: Egress) -> Result<(), DropReason> {
        let frame = &self.out.frames[self.frame as usize];
        if frame.segment_len() > HEADER_LEN + usize::from(egress.mtu) {
            return Err(DropReason::EgressMtu);
        }
        Ok(())
    }

    /// The only receiver is a tunnel: what needs no cutting goes in the buffer that it came in.
    fn through_tunnel(&mut self, port: PortId, way: &Way) -> Result<(), DropReason> {
        let frame = &mut self.out.frames[self.frame as usize];
        if !frame.offload.is_super_segment() && !way.takes.takes(frame.offload) {
            segment::finish_checksum(frame)?;
        }
        if way.takes.takes(frame.offload) {
            self.encapsulate(port, way, self.frame)
        } else {
            self.in_pieces(port, way)
        }
    }

    fn encapsulate(&mut self, port: PortId, way: &Way, frame: u32) -> Result<(), DropReason> {
        let carrier = self.tunnels.deliver(way, &mut self.out.frames[frame as usize])?;
        self.send(port, frame, carrier);
        Ok(())
    }

    /// Sends every finished piece of the frame behind the tunnel's header. If one cannot be sent none is.
    fn in_pieces(&mut self, port: PortId, way: &Way) -> Result<(), DropReason> {
        let (mut whole, mut scratch) = (self.out.pool.take(), self.out.pool.take());
        core::mem::swap(&mut whole, &mut self.out.frames[self.frame as usize]);
        let first = self.out.frames.len();
        let out = &mut *self.out;
        let finished = segment::finish(&mut whole, way.takes, &mut scratch, |piece| {
            // Takes the piece and leaves a spare buffer in its place, so that nothing is copied.
            let mut kept = out.pool.take();
            core::mem::swap(piece, &mut kept);
            out.push_frame(kept);
        });
        core::mem::swap(&mut whole, &mut self.out.frames[self.frame as usize]);
        self.out.pool.put(whole);
        self.out.pool.put(scratch);
        let pieces = first..self.out.frames.len();
        finished?;
        let mut carrier = Carrier::default();
        for piece in pieces.clone() {
            carrier = self.tunnels.deliver(way, &mut self.out.frames[piece])?;
        }
        for piece in pieces {
            let piece = u32::try_from(piece).expect("a batch is far smaller than 2^32 frames");
            self.send(port, piece, carrier);
        }
        Ok(())
    }

    fn send(&mut self, port: PortId, frame: u32, carrier: Carrier) {
        let seen = self.counters.port_mut(port);
        seen.tx_frames += 1;
        seen.tx_bytes += self.out.frames[frame as usize].len() as u64;
        self.out.push_send(frame, port, carrier);
    }

    fn count_drop(&mut self, (port, reason): Undelivered) {
        self.counters.port_mut(port).drops.add(reason, 1);
    }
}
