//! How a captured packet comes in: as a frame of a device, or as a datagram of an underlay.
//!
//! A capture is named after a port or after an underlay (its local end, as `192.0.2.1:4789`). Of a tunnel's port it holds
//! payloads of datagrams, which come from the tunnel's remote end. Of an underlay it holds frames of the host's own
//! interface: their UDP datagrams to the local L4 port are the datagrams, from whomever they are, and nothing else in it
//! is looked at. Outer checksums are the host's affair.

use node::{Endpoint, Event, Plan, UnderlayId};
use wire::headers::{Fragment, PROTOCOL_UDP};
use wire::{Ecn, FrameBuf, Headers, Offload, PortId};

use crate::capture::Packet;

/// Where the packets of a capture come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// Through a device.
    Device(PortId),
    /// To an underlay, from this end, with this mark.
    Tunnel(UnderlayId, Endpoint, Ecn),
    /// At a socket, from whomever they say.
    Underlay(UnderlayId, Endpoint),
}

impl Entrance {
    /// The port's entrance.
    pub(crate) fn of_port(plan: &Plan, port: PortId) -> Self {
        let tunnel = plan.tunnels.iter().find(|tunnel| tunnel.port == port);
        tunnel.map_or(Self::Device(port), |tunnel| Self::Tunnel(tunnel.underlay, tunnel.remote, Ecn::NotEct))
    }

    /// The entrance of the underlay with this local end.
    pub(crate) fn of_underlay(plan: &Plan, name: &str) -> Option<Self> {
        let underlay = plan.underlays.iter().find(|underlay| underlay.local.to_string() == name)?;
        Some(Self::Underlay(underlay.id, underlay.local))
    }

    /// The event that the packet is; `None` if the underlay's socket would not see it.
    pub(crate) fn event(self, packet: &Packet, mut frame: FrameBuf) -> Option<Event> {
        match self {
            Self::Device(port) => {
                packet.deliver(&mut frame);
                Some(Event::Frame { port, frame })
            }
            Self::Tunnel(underlay, from, ecn) => {
                packet.deliver(&mut frame);
                if frame.parse_offload().is_err() {
                    frame.offload = Offload::NONE;
                }
                Some(Event::Datagram { underlay, from, ecn, frame })
            }
            Self::Underlay(underlay, local) => {
                let (from, ecn, payload) = datagram(packet.frame(), local)?;
                frame.fill(payload).then_some(Event::Datagram { underlay, from, ecn, frame })
            }
        }
    }
}

/// Sender, congestion mark and payload of a datagram to `local`.
fn datagram(frame: &[u8], local: Endpoint) -> Option<(Endpoint, Ecn, &[u8])> {
    let headers = Headers::parse(frame).ok()?;
    let l4_ports = headers.l4_ports.filter(|_| headers.protocol == PROTOCOL_UDP)?;
    let is_ours = headers.dst(frame) == Some(local.address) && l4_ports.dst == local.l4_port;
    if !is_ours || headers.fragment != Fragment::Whole {
        return None;
    }
    let from = Endpoint { address: headers.src(frame)?, l4_port: l4_ports.src };
    Some((from, Ecn::of_frame(frame).unwrap_or_default(), frame.get(headers.payload..headers.end)?))
}
