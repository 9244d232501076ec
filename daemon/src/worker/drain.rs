//! What leaves a worker after its node has handled events: frames to their ports, datagrams to their underlays, what
//! was noticed to the control plane, what was learned to the other workers. Nothing here waits: what a device, a channel
//! or a peer has no room for is counted and given up.

use node::Send;
use wire::DropReason;

use super::pass::{NOBODY, Worker};
use super::slot::Unsent;
use super::tap::Way;
use super::{Handed, Report};
use crate::port::Fault;

impl Worker {
    /// Sends what the node has put into the outbox, and passes on what it has noticed and learned.
    pub(super) fn drain(&mut self) {
        for track in &mut self.tracks {
            track.outputs(&mut self.out);
        }
        self.send_all();
        self.report_notices();
        self.spread_gossip();
        if !self.tracks.is_empty() {
            self.settle_tracks();
        }
    }

    /// Empties the outbox of frames. A port whose device failed is given up when all have been sent.
    fn send_all(&mut self) {
        let mut failed = Vec::new(); // Does not allocate unless a port fails.
        for at in 0..self.out.sends().len() {
            let send = self.out.sends()[at];
            self.acting = send.port;
            if self.takes_tunnel(at, send.port) {
                continue;
            }
            if let Err(error) = self.send(send) {
                failed.push((send.port, error));
            }
        }
        if !self.datagrams.is_empty() {
            self.acting = NOBODY;
            self.send_datagrams();
        }
        self.out.clear_sends();
        self.taps.show_dropped(&mut self.out);
        for (port, error) in failed {
            self.fail(port, &format!("writing to the device: {error}"));
        }
    }

    /// Writes one frame to its port's device. An error ends the port; whatever else hinders it is counted here.
    fn send(&mut self, send: Send) -> std::io::Result<()> {
        if self.ports.get(send.port.index()).is_none_or(Option::is_none) {
            self.not_delivered(send, DropReason::PortDown);
            return Ok(());
        }
        self.taps.show(send.port, Way::Out, self.out.frame(send));
        if !self.wires.is_empty() && self.goes_by_wire(send)? {
            return Ok(());
        }
        let Some(Some(slot)) = self.ports.get_mut(send.port.index()) else { return Ok(()) };
        let unsent = slot.send(self.out.frame(send), &mut self.scratch);
        let (unsent, learned) = slot.retry(unsent, self.out.frame(send), &mut self.scratch);
        if learned {
            self.unreported.push_back(Report::OffloadRefused(send.port, slot.generation));
        }
        match unsent {
            Ok(()) => Ok(()),
            Err(Unsent::Malformed(reason)) => {
                self.not_delivered(send, reason);
                Ok(())
            }
            Err(Unsent::Io(error)) => {
                let fault = Fault::of(&error);
                self.not_delivered(send, not_sent(fault));
                if matches!(fault, Fault::Vanished | Fault::Other) { Err(error) } else { Ok(()) }
            }
        }
    }

    pub(super) fn not_delivered(&mut self, send: Send, reason: DropReason) {
        self.taps.show(send.port, Way::Dropped(reason), self.out.frame(send));
        self.node.not_delivered(send.port, reason);
    }

    fn report_notices(&mut self) {
        for notice in self.out.notices.drain(..) {
            if self.reports.try_send(Report::Notice(notice)).is_err() {
                self.tally.notices_lost += 1;
            }
        }
    }

    fn spread_gossip(&mut self) {
        for gossip in self.out.gossip.drain(..) {
            for (index, peer) in self.peers.iter().enumerate().filter(|(index, _)| *index != self.index) {
                match peer.handed.try_send(Handed::Gossip(gossip)) {
                    Ok(()) => self.to_wake[index] = true,
                    Err(_) => self.tally.gossip_lost += 1,
                }
            }
        }
    }
}

pub(super) fn not_sent(fault: Fault) -> DropReason {
    match fault {
        Fault::Empty | Fault::NoMemory => DropReason::QueueFull,
        Fault::Down => DropReason::PortDown,
        Fault::Refused | Fault::Vanished | Fault::Other => DropReason::DeviceRefused,
    }
}
