//! Any octets as the payload of a datagram: it is refused, or what is inside goes back into the tunnel and comes out again.
//!
//! The first octet chooses the format (1), the sender (2, 4: one of two peers, or a stranger) and the outer congestion mark
//! (8, 16). One peer of each format may say anything, the other what belongs to 10.0.0.0/8 or `fd00::/8`, for our MAC address.

use std::net::IpAddr;

use encap::{Encapsulation, Endpoint, Format, TunnelPlan, Tunnels, UnderlayId, UnderlayPlan, Vni};
use wire::segment::Egress;
use wire::{DropReason, Ecn, FramePool, PortId, UnicastMac};

use crate::craft::station;

/// The peer that may say anything.
const FREE: u8 = 2;
/// The one that may not. Higher numbers are strangers.
const BOUND: u8 = 3;

/// Reads a datagram, holds the codecs to each other's word, and says what it was refused for.
pub(super) fn run(data: &[u8]) -> Option<DropReason> {
    let (&choice, payload) = data.split_first()?;
    let tunnels = tunnels();
    let (underlay, from) = (UnderlayId(u16::from(choice & 1)), end(2 + (choice >> 1 & 3), 50_000));
    let (mut pool, outer) = (FramePool::default(), Ecn::of(choice >> 3));
    let mut datagram = pool.take();
    if !datagram.fill(payload) {
        return None;
    }
    let port = match tunnels.admit(underlay, from, outer, &mut datagram) {
        Ok(port) => port,
        Err(refused) => return Some(refused.reason),
    };
    tunnels.ends().are_reached_by(datagram.bytes());
    let inside = datagram.bytes().to_vec();
    let way = tunnels.way(port).expect("who is admitted has a way back");
    match tunnels.deliver(way, &mut datagram) {
        Ok(_) => {}
        Err(DropReason::NestedTunnel) => return Some(DropReason::NestedTunnel),
        Err(reason) => panic!("what was admitted cannot leave: {}", reason.id()),
    }
    let again = tunnels.admit(underlay, way.remote, Ecn::NotEct, &mut datagram);
    assert_eq!(again, Ok(port), "what leaves is admitted at the same port");
    assert_eq!(datagram.bytes(), inside, "and is what it was");
    None
}

fn end(last: u8, l4_port: u16) -> Endpoint {
    Endpoint { address: IpAddr::from([192, 0, 2, last]), l4_port }
}

/// An underlay of each format, each with a tunnel to either peer.
fn tunnels() -> Tunnels {
    let mac = |number| UnicastMac::new(station(number)).expect("stations are unicast");
    let underlays = [(0, Format::Vxlan), (1, Format::BareIp)].map(|(id, format)| UnderlayPlan {
        id: UnderlayId(id),
        local: end(1, 8472 + id),
        format,
        takes: Egress::NONE,
    });
    let all = [(0, FREE), (0, BOUND), (1, FREE), (1, BOUND)];
    let plans = all.map(|(underlay, peer)| {
        let is_bound = peer == BOUND;
        let bounds = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect("it is a prefix"));
        TunnelPlan {
            port: PortId(underlay * 2 + u16::from(peer - FREE)),
            underlay: UnderlayId(underlay),
            remote: end(peer, 8472 + underlay),
            encapsulation: match underlay {
                0 => Encapsulation::Vxlan(Vni::new(1).expect("it has 24 bits")),
                _ => Encapsulation::BareIp { local: mac(1), remote: mac(peer) },
            },
            sources: if is_bound { bounds.to_vec() } else { Vec::new() },
            inner_dst: is_bound.then_some(mac(1)),
        }
    });
    assert_eq!(encap::plan::check(&underlays, &plans), Ok(()));
    let mut tunnels = Tunnels::new();
    tunnels.configure(&underlays, &plans);
    tunnels
}
