//! Tunnels, reckoned from the plan alone: whose a datagram is, and what is inside.

use std::net::IpAddr;

use encap::{Encapsulation, Format, TunnelPlan};
use node::{Plan, UnderlayId};

const VXLAN_HEADER_LEN: usize = 8;

/// The tunnel that a datagram belongs to.
pub(super) fn of_datagram<'a>(
    plan: &'a Plan,
    underlay: UnderlayId,
    from: IpAddr,
    payload: &[u8],
) -> Option<&'a TunnelPlan> {
    let format = plan.underlays.iter().find(|known| known.id == underlay)?.format;
    let is_its = |tunnel: &&TunnelPlan| {
        let is_its_network = match (format, tunnel.encapsulation, payload) {
            (Format::Vxlan, Encapsulation::Vxlan(vni), [flags, _, _, _, a, b, c, _, ..]) => {
                flags & 8 != 0 && vni.number() == u32::from_be_bytes([0, *a, *b, *c])
            }
            (Format::BareIp, Encapsulation::BareIp { .. }, _) => true,
            (Format::Vxlan | Format::BareIp, Encapsulation::Vxlan(_) | Encapsulation::BareIp { .. }, _) => {
                false
            }
        };
        tunnel.underlay == underlay && tunnel.remote.address == from && is_its_network
    };
    plan.tunnels.iter().find(is_its)
}

/// The frame inside a datagram of the tunnel that has come in.
pub(super) fn inner_received(tunnel: &TunnelPlan, payload: &[u8]) -> Option<Vec<u8>> {
    match tunnel.encapsulation {
        Encapsulation::Vxlan(_) => payload.get(VXLAN_HEADER_LEN..).map(<[u8]>::to_vec),
        Encapsulation::BareIp { local, remote } => {
            let packet = payload.get(..packet_len(payload)?)?;
            Some(dressed(packet, &[local.mac().0, remote.mac().0].concat()))
        }
    }
}

/// Whether the frame inside may come in through the tunnel: whom it is for, and where its packet is from.
pub(super) fn admits(tunnel: &TunnelPlan, frame: &[u8]) -> bool {
    let is_for = tunnel.inner_dst.is_none_or(|dst| frame.starts_with(&dst.mac().0));
    let src = match frame.get(12..14) {
        Some([0x08, 0x00]) => {
            frame.get(26..30).and_then(|it| it.first_chunk::<4>()).copied().map(IpAddr::from)
        }
        Some([0x86, 0xdd]) => {
            frame.get(22..38).and_then(|it| it.first_chunk::<16>()).copied().map(IpAddr::from)
        }
        Some(_) | None => None,
    };
    let is_from = tunnel.sources.is_empty()
        || src.is_some_and(|src| tunnel.sources.iter().any(|its| its.contains(src)));
    is_for && is_from
}

/// The frame inside a datagram of the tunnel that leaves.
pub(super) fn inner_sent(tunnel: &TunnelPlan, payload: &[u8]) -> Result<Vec<u8>, String> {
    match tunnel.encapsulation {
        Encapsulation::Vxlan(vni) => {
            let [_, a, b, c] = vni.number().to_be_bytes();
            match payload.split_first_chunk::<VXLAN_HEADER_LEN>() {
                Some((header, inner)) if *header == [8, 0, 0, 0, a, b, c, 0] => Ok(inner.to_vec()),
                Some(_) | None => Err("what leaves has no VXLAN header of its network".to_owned()),
            }
        }
        Encapsulation::BareIp { local, remote } => match packet_len(payload) {
            Some(_) => Ok(dressed(payload, &[remote.mac().0, local.mac().0].concat())),
            None => Err("what leaves is no packet".to_owned()),
        },
    }
}

/// How far positions in a payload are from those in the frame inside.
pub(super) fn inner_shift(tunnel: &TunnelPlan) -> i16 {
    match tunnel.encapsulation {
        Encapsulation::Vxlan(_) => -8,
        Encapsulation::BareIp { .. } => 14,
    }
}

fn dressed(packet: &[u8], addresses: &[u8]) -> Vec<u8> {
    let is_v4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let ethertype = if is_v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [addresses, &ethertype, packet].concat()
}

fn packet_len(packet: &[u8]) -> Option<usize> {
    let at = |at: usize| packet.get(at).copied();
    match at(0)? >> 4 {
        4 => Some(usize::from(u16::from_be_bytes([at(2)?, at(3)?]))),
        6 => Some(usize::from(u16::from_be_bytes([at(4)?, at(5)?])) + 40),
        _ => None,
    }
}

/// Takes the ECN bits out of an untagged frame, and the checksum over them.
pub(super) fn forget_ecn(frame: &mut [u8]) {
    if frame.len() < 26 {
        return;
    }
    match [frame[12], frame[13]] {
        [0x08, 0x00] => {
            frame[15] &= !3;
            frame[24..26].fill(0);
        }
        [0x86, 0xdd] => frame[15] &= !0x30,
        _ => {}
    }
}
