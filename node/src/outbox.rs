//! Where a node puts what leaves: frames to send, notices, gossip. The caller owns it and drains it after each event
//! or after a batch of them; the bytes and their per-port order are the same either way.

use alloc::vec::Vec;

use encap::Carrier;
use wire::{DropReason, FrameBuf, FramePool, PortId};

use crate::{Gossip, Notice};

/// Notices kept until the next drain. Beyond it they are counted in [`Outbox::notices_lost`], not kept.
const NOTICES_MAX: usize = 1_024;
/// Dropped frames kept until the next drain, if they are kept at all. Further ones are counted like all, and not kept.
const DROPPED_MAX: usize = 64;

/// A frame leaves through a port. Through a tunnel's port ([`crate::Node::way`] knows it) it is the payload of a datagram,
/// and the pieces of what had to be cut follow each other, all but the last equally long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    /// Index of the frame for [`Outbox::frame`]. A flooded frame is sent several times.
    pub frame: u32,
    /// Where it leaves.
    pub port: PortId,
    /// What the outer header is to say, of a datagram; otherwise its default.
    pub carrier: Carrier,
}

/// A frame that went no further.
#[derive(Debug)]
pub struct Dropped {
    /// The port that it is counted at.
    pub port: PortId,
    /// Why.
    pub reason: DropReason,
    /// The frame as it was then: rooms that it had passed may have changed it.
    pub frame: FrameBuf,
}

/// Frames, notices and gossip on their way out, and the pool that buffers come from and return to.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Spare buffers, for receiving and for copies.
    pub pool: FramePool,
    /// What people may want to know.
    pub notices: Vec<Notice>,
    /// Notices that did not fit.
    pub notices_lost: u64,
    /// What the other replicas must know; stays empty when the node has none.
    pub gossip: Vec<Gossip>,
    /// Frames that were dropped, if somebody wants to see them; `None` on the packet path. Whoever takes them gives the
    /// buffers back to the pool.
    pub dropped: Option<Vec<Dropped>>,
    pub(crate) frames: Vec<FrameBuf>,
    sends: Vec<Send>,
}

impl Outbox {
    /// What to send, in order.
    pub fn sends(&self) -> &[Send] {
        &self.sends
    }

    /// The frame a [`Send`] names, mutable because a device writes its header into the headroom.
    pub fn frame(&mut self, send: Send) -> &mut FrameBuf {
        &mut self.frames[send.frame as usize]
    }

    /// The same, to read.
    pub fn peek(&self, send: Send) -> &FrameBuf {
        &self.frames[send.frame as usize]
    }

    /// Forgets what has been sent and gives the buffers back. Notices and gossip stay until taken.
    pub fn clear_sends(&mut self) {
        self.sends.clear();
        // Backwards, so that the buffer received first is on top of the pool and warmest.
        while let Some(frame) = self.frames.pop() {
            self.pool.put(frame);
        }
    }

    /// Whether nothing is on its way out.
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty() && self.notices.is_empty() && self.gossip.is_empty()
    }

    pub(crate) fn push_frame(&mut self, frame: FrameBuf) -> u32 {
        self.frames.push(frame);
        u32::try_from(self.frames.len() - 1).expect("a batch is far smaller than 2^32 frames")
    }

    /// Adds a copy of the frame with this index, from the pool.
    pub(crate) fn copy_frame(&mut self, frame: u32) -> u32 {
        let mut copy = self.pool.take();
        copy.copy_from(&self.frames[frame as usize]);
        self.push_frame(copy)
    }

    /// Ends a frame that goes no further.
    pub(crate) fn discard(&mut self, port: PortId, reason: DropReason, frame: FrameBuf) {
        match &mut self.dropped {
            Some(dropped) if dropped.len() < DROPPED_MAX => dropped.push(Dropped { port, reason, frame }),
            Some(_) | None => self.pool.put(frame),
        }
    }

    /// Shows the frame with this index, which leaves through no port, to whoever wants to see what is dropped.
    pub(crate) fn show_undelivered(&mut self, port: PortId, reason: DropReason, frame: usize) {
        if self.dropped.is_some() && frame < self.frames.len() {
            let mut copy = self.pool.take();
            copy.copy_from(&self.frames[frame]);
            self.discard(port, reason, copy);
        }
    }

    pub(crate) fn push_send(&mut self, frame: u32, port: PortId, carrier: Carrier) {
        self.sends.push(Send { frame, port, carrier });
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        if self.notices.len() < NOTICES_MAX {
            self.notices.push(notice);
        } else {
            self.notices_lost += 1;
        }
    }
}
