//! One port in a worker's hands: its queue, and what the device behind it takes.

use wire::segment::{self, Egress};
use wire::{DropReason, FrameBuf, Offload, PortId};

use crate::port::{Fault, PortIo};

pub(super) struct Slot {
    pub(super) id: PortId,
    pub(super) io: Box<dyn PortIo>,
    pub(super) is_ready: bool,
    /// Its device is being removed. Reading may say "empty" for a while yet, and no further event would come.
    pub(super) is_going: bool,
    /// Differs from that of every other device this port ever had.
    pub(super) generation: u64,
    /// The plan's serial of the port it was attached for: another port may get the id.
    pub(super) serial: u32,
    /// What the device has not refused yet. Once it refuses, frames are finished in software for good.
    takes: Egress,
}

/// Why a frame was not sent.
pub(super) enum Unsent {
    Io(std::io::Error),
    /// The frame's offload metadata contradicts its headers.
    Malformed(DropReason),
}

impl Slot {
    /// Ready until proved empty: frames may have come before the descriptor was watched.
    pub(super) fn new(id: PortId, serial: u32, io: Box<dyn PortIo>, generation: u64) -> Self {
        Self { id, io, is_ready: true, is_going: false, generation, serial, takes: Egress::ALL }
    }

    /// Sends the frame, finishing in software what the device does not take.
    pub(super) fn send(&mut self, frame: &mut FrameBuf, scratch: &mut FrameBuf) -> Result<(), Unsent> {
        let mut outcome = Ok(());
        let io = &mut self.io;
        segment::finish(frame, self.takes, scratch, |piece| {
            if outcome.is_ok() {
                outcome = io.send(piece);
            }
        })
        .map_err(Unsent::Malformed)?;
        outcome.map_err(Unsent::Io)
    }

    /// Tries a frame that the device refused again, finished in software. `true` beside the outcome if that shows that
    /// the device refuses a kind of frame and not just this one: then it is never asked again. One odd checksum request
    /// shows nothing: a station can make those.
    pub(super) fn retry(
        &mut self,
        unsent: Result<(), Unsent>,
        frame: &mut FrameBuf,
        scratch: &mut FrameBuf,
    ) -> (Result<(), Unsent>, bool) {
        let refused = matches!(&unsent, Err(Unsent::Io(error)) if Fault::of(error) == Fault::Refused);
        if !refused || frame.offload == Offload::NONE || self.takes == Egress::NONE {
            return (unsent, false);
        }
        let took_before = core::mem::replace(&mut self.takes, Egress::NONE);
        let again = self.send(frame, scratch);
        let learned = again.is_ok() && frame.offload.is_super_segment();
        if !learned {
            self.takes = took_before;
        }
        (again, learned)
    }
}
