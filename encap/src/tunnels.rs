//! The tunnel table: which ports are tunnels, and of what kind.
//!
//! Indexed by port. An ordinary port costs one look that always goes the same way. Limit: one tunnel a port, as the
//! plan is checked to have.

use alloc::vec::Vec;

use wire::{DropReason, FrameBuf, Offload, PortId};

use crate::vxlan::{self, Vni};

/// How the frames of a tunnel port travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelPlan {
    /// VXLAN (RFC 7348) with this network identifier.
    Vxlan(Vni),
}

impl TunnelPlan {
    /// Octets that the tunnel's header adds to a frame.
    pub const fn header_len(self) -> usize {
        match self {
            Self::Vxlan(_) => vxlan::HEADER_LEN,
        }
    }
}

/// The tunnels of a node.
#[derive(Clone, Debug, Default)]
pub struct Tunnels {
    /// By [`PortId`]; ports past the end are ordinary.
    plans: Vec<Option<TunnelPlan>>,
}

impl Tunnels {
    /// No tunnels.
    pub const fn new() -> Self {
        Self { plans: Vec::new() }
    }

    /// From now on these ports are tunnels and all others are not. Of two entries for one port the later holds.
    pub fn configure(&mut self, tunnels: &[(PortId, TunnelPlan)]) {
        self.plans.clear();
        for &(port, plan) in tunnels {
            if self.plans.len() <= port.index() {
                self.plans.resize(port.index() + 1, None);
            }
            self.plans[port.index()] = Some(plan);
        }
    }

    /// What kind of tunnel the port is; `None` for an ordinary port.
    #[inline]
    pub fn plan(&self, port: PortId) -> Option<TunnelPlan> {
        self.plans.get(port.index()).copied().flatten()
    }

    /// Whether frames of this port travel inside a tunnel.
    #[inline]
    pub fn is_tunnel(&self, port: PortId) -> bool {
        self.plan(port).is_some()
    }

    /// Takes the tunnel's header off what came in through `port`; a no-op for an ordinary port.
    ///
    /// # Errors
    /// `admit.encap-truncated`, `admit.encap-flags` or `admit.unknown-vni`.
    #[inline]
    pub fn admit(&self, port: PortId, frame: &mut FrameBuf) -> Result<(), DropReason> {
        match self.plan(port) {
            None => Ok(()),
            Some(TunnelPlan::Vxlan(vni)) => {
                vxlan::pop(frame, vni)?;
                frame.offload = Offload::NONE; // What was said of the datagram says nothing of the frame inside.
                Ok(())
            }
        }
    }

    /// Puts the tunnel's header in front of what leaves through `port`; a no-op for an ordinary port.
    ///
    /// The caller has finished the frame's offloads: a datagram has no place for the promise of a checksum.
    ///
    /// # Errors
    /// `deliver.no-headroom`.
    #[inline]
    pub fn deliver(&self, port: PortId, frame: &mut FrameBuf) -> Result<(), DropReason> {
        let Some(plan) = self.plan(port) else { return Ok(()) };
        assert!(
            !frame.offload.needs_checksum() && !frame.offload.is_super_segment(),
            "offloads are finished before a frame enters a tunnel"
        );
        frame.offload = Offload::NONE; // What vouched for the inner checksum says nothing of the datagram.
        match plan {
            TunnelPlan::Vxlan(vni) => vxlan::push(frame, vni),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::buffer;
    use proptest::prelude::*;
    use wire::offload::{DATA_VALID, NEEDS_CSUM};

    const FRAME: [u8; 18] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5, 0xaa, 0xbb, 0xcc, 0xdd];

    fn vxlan(vni: u32) -> TunnelPlan {
        TunnelPlan::Vxlan(Vni::new(vni).unwrap())
    }

    fn tunnels(plans: &[(u16, TunnelPlan)]) -> Tunnels {
        let plans: Vec<_> = plans.iter().map(|&(port, plan)| (PortId(port), plan)).collect();
        let mut tunnels = Tunnels::new();
        tunnels.configure(&plans);
        tunnels
    }

    #[test]
    fn ordinary_ports_are_left_alone() {
        let tunnels = tunnels(&[(3, vxlan(1))]);
        for port in [0, 2, 4, u16::MAX] {
            let mut frame = buffer(&FRAME);
            frame.offload.flags = NEEDS_CSUM; // May stay unfinished where there is no tunnel.
            assert!(!tunnels.is_tunnel(PortId(port)));
            assert_eq!(tunnels.admit(PortId(port), &mut frame), Ok(()));
            assert_eq!(tunnels.deliver(PortId(port), &mut frame), Ok(()));
            assert_eq!(frame.bytes(), FRAME);
        }
    }

    #[test]
    fn what_deliver_pushes_admit_accepts() {
        let tunnels = tunnels(&[(0, vxlan(42)), (3, vxlan(43)), (5, vxlan(42))]);
        let mut frame = buffer(&FRAME);
        frame.offload.flags = DATA_VALID;
        assert_eq!(tunnels.deliver(PortId(0), &mut frame), Ok(()));
        assert_eq!(frame.len(), FRAME.len() + vxlan(42).header_len());
        assert_eq!(frame.offload, Offload::NONE);
        assert_eq!(tunnels.admit(PortId(3), &mut frame), Err(DropReason::UnknownVni));
        assert_eq!(tunnels.admit(PortId(5), &mut frame), Ok(()));
        assert_eq!(frame.bytes(), FRAME);
    }

    #[test]
    fn what_is_said_of_the_datagram_does_not_pass_to_the_frame() {
        let tunnels = tunnels(&[(0, vxlan(42))]);
        let mut frame = buffer(&FRAME);
        assert_eq!(tunnels.deliver(PortId(0), &mut frame), Ok(()));
        // Right for the datagram, past the end of the frame.
        frame.offload = Offload { flags: NEEDS_CSUM, csum_start: 24, ..Offload::NONE };
        assert_eq!(frame.offload.check(frame.len()), Ok(()));
        assert_eq!(tunnels.admit(PortId(0), &mut frame), Ok(()));
        assert_eq!(frame.offload, Offload::NONE);
    }

    #[test]
    fn a_new_plan_replaces_the_old_one() {
        let mut tunnels = tunnels(&[(7, vxlan(1))]);
        tunnels.configure(&[(PortId(1), vxlan(2))]);
        assert_eq!(tunnels.plan(PortId(7)), None);
        assert_eq!(tunnels.plan(PortId(1)), Some(vxlan(2)));
    }

    #[test]
    #[should_panic(expected = "offloads are finished")]
    fn an_unfinished_frame_never_enters_a_tunnel() {
        let mut frame = buffer(&FRAME);
        frame.offload.flags = NEEDS_CSUM;
        let _ = tunnels(&[(0, vxlan(1))]).deliver(PortId(0), &mut frame);
    }

    proptest! {
        #[test]
        fn any_datagram_is_admitted_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), vni in 0..3_u32) {
            let mut frame = buffer(&bytes);
            match tunnels(&[(0, vxlan(vni))]).admit(PortId(0), &mut frame) {
                Ok(()) => prop_assert_eq!(frame.bytes(), &bytes[vxlan::HEADER_LEN..]),
                Err(_) => prop_assert_eq!(frame.bytes(), &bytes[..]),
            }
        }
    }
}
