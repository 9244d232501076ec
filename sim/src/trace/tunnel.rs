//! Tunnels: the datagram that a remote end makes of a frame, and the frame in a datagram that leaves.

use std::borrow::Cow;

use encap::Encapsulation;
use node::{Trace, Tracer};
use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use wire::{Ecn, FramePool, Instant, Mac, PortId};

use super::Scene;
use crate::describe;

/// Octets of a VXLAN header (RFC 7348 section 5).
const VXLAN_LEN: usize = 8;
/// Octets of an Ethernet header without a tag.
const ETHERNET_LEN: usize = 14;

impl Scene<'_> {
    /// What becomes of a frame that comes in through the port: through a tunnel's as a datagram of its remote end.
    ///
    /// # Errors
    /// The tunnel takes bare packets, and the frame has none.
    pub(super) fn trace(
        &self,
        tracer: &mut Tracer,
        now: Instant,
        port: PortId,
        frame: &[u8],
    ) -> Result<Trace, String> {
        let mut buffer = FramePool::default().take();
        let fills = |filled: bool| if filled { Ok(()) } else { Err("the frame is too long".to_owned()) };
        let Some(tunnel) = self.compiled.plan.tunnels.iter().find(|tunnel| tunnel.port == port) else {
            fills(buffer.fill(frame))?;
            return Ok(tracer.trace(now, port, buffer));
        };
        let (payload, ecn): (Cow<'_, [u8]>, Ecn) = match tunnel.encapsulation {
            Encapsulation::Vxlan(vni) => {
                let [_, a, b, c] = vni.number().to_be_bytes();
                let header = [8, 0, 0, 0, a, b, c, 0];
                ([&header[..], frame].concat().into(), Ecn::of_frame(frame).unwrap_or_default())
            }
            Encapsulation::BareIp { .. } => {
                let is_ip = frame.get(12..ETHERNET_LEN).is_some_and(|kind| {
                    [ETHERTYPE_IPV4, ETHERTYPE_IPV6].iter().any(|known| kind == known.to_be_bytes())
                });
                if !is_ip {
                    return Err(
                        "the tunnel carries bare packets: name one of IPv4 or IPv6, untagged".to_owned()
                    );
                }
                (frame[ETHERNET_LEN..].into(), Ecn::NotEct)
            }
        };
        fills(buffer.fill(&payload))?;
        Ok(tracer.trace_datagram(now, tunnel.underlay, tunnel.remote, ecn, buffer))
    }

    /// The frame in what leaves through the port, as its remote end would have it; `None` if there is none.
    pub(super) fn inside<'b>(&self, port: PortId, leaving: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        let tunnel = self.compiled.plan.tunnels.iter().find(|tunnel| tunnel.port == port);
        match tunnel.map(|tunnel| tunnel.encapsulation) {
            None => Some(leaving.into()),
            Some(Encapsulation::Vxlan(_)) => leaving.get(VXLAN_LEN..).map(Cow::from),
            Some(Encapsulation::BareIp { local, remote }) => {
                let kind = match leaving.first()? >> 4 {
                    4 => ETHERTYPE_IPV4,
                    6 => ETHERTYPE_IPV6,
                    _ => return None,
                };
                let link = [remote.mac().0, local.mac().0].concat();
                Some([&link[..], &kind.to_be_bytes(), leaving].concat().into())
            }
        }
    }

    /// What leaves through the port, in a line.
    pub(super) fn describe(&self, port: PortId, leaving: &[u8]) -> String {
        let Some(tunnel) = self.compiled.plan.tunnels.iter().find(|tunnel| tunnel.port == port) else {
            return describe::frame(leaving);
        };
        let by = match tunnel.encapsulation {
            Encapsulation::Vxlan(vni) => format!("VXLAN {}", vni.number()),
            Encapsulation::BareIp { .. } => "UDP".to_owned(),
        };
        let inside = self.inside(port, leaving);
        let inside = inside.map_or_else(|| "nothing".to_owned(), |inside| describe::frame(&inside));
        format!("by {by} to {}: {inside}", tunnel.remote)
    }

    /// The MAC address of the one station behind a tunnel's port that the configuration has put there: its remote end.
    pub(super) fn peer(&self, port: PortId) -> Option<Mac> {
        let fixed = &self.compiled.plan.switch.statics;
        fixed.iter().find(|fixed| fixed.port == port).map(|fixed| fixed.mac.mac())
    }
}
