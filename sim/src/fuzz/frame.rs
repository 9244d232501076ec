//! Frames by choice: mostly what stations say, sometimes damaged, sometimes anything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::{Result, Unstructured};
use encap::Encapsulation;
use node::Plan;
use wire::offload::{Gso, NEEDS_CSUM, VNET_HDR_LEN};
use wire::{Ecn, Mac, Offload, PortId};

use super::plan::{self, GATEWAY, addresses};
use crate::capture::{Link, Packet};
use crate::craft::{self, ICMP, ICMPV6, TCP, UDP, ethernet, station};
use crate::entrance::Entrance;

/// What a device delivers at `port`, or a datagram that may be the tunnel's of this port.
pub(super) fn any(choices: &mut Unstructured<'_>, plan: &Plan, port: PortId) -> Result<(Entrance, Packet)> {
    let (mut offload, mut bytes) = well_formed(choices)?;
    for _ in 0..choices.int_in_range(0..=2_u8)? {
        if choices.ratio(1, 3)? {
            bytes = craft::tagged(tci(choices, plan, port)?, &bytes);
            offload.shift(4);
        }
    }
    let mut header = craft::virtio(offload);
    if choices.ratio(1, 6)? {
        damage(choices, &mut header[..10])?;
    }
    if choices.ratio(1, 4)? {
        damage(choices, &mut bytes)?;
    }
    if choices.ratio(1, 8)? {
        bytes.truncate(choices.int_in_range(0..=80)?);
    }
    let mut entrance = Entrance::of_port(plan, port);
    if let Entrance::Tunnel(_, from, ecn) = &mut entrance
        && choices.ratio(7, 8)?
    {
        *ecn = Ecn::of(choices.arbitrary()?);
        if choices.ratio(1, 8)? {
            *from = plan::far_end(choices.int_in_range(1..=6)?, choices.arbitrary()?);
        }
        encapsulate(plan, port, &mut bytes);
    }
    bytes.splice(0..0, header);
    bytes.truncate(wire::frame::FRAME_MAX + VNET_HDR_LEN);
    Ok((entrance, Packet { link: Link::VirtioEthernet, bytes, ..Packet::empty() }))
}

/// Makes the tunnel's payload of a frame.
fn encapsulate(plan: &Plan, port: PortId, bytes: &mut Vec<u8>) {
    let tunnel = plan.tunnels.iter().find(|tunnel| tunnel.port == port);
    match tunnel.map(|tunnel| tunnel.encapsulation) {
        Some(Encapsulation::Vxlan(vni)) => {
            let [_, a, b, c] = vni.number().to_be_bytes();
            bytes.splice(0..0, [8, 0, 0, 0, a, b, c, 0]);
        }
        Some(Encapsulation::BareIp { .. }) => {
            bytes.drain(..bytes.len().min(14));
        }
        None => {}
    }
}

/// Somebody's address: a station's, the gateway's, or a group's.
pub(super) fn mac(choices: &mut Unstructured<'_>) -> Result<Mac> {
    Ok(match choices.int_in_range(0..=15_u8)? {
        0 => Mac::BROADCAST,
        1 => Mac([1, 0, 0x5e, 0, 0, 1]),
        2 => Mac([1, 0x80, 0xc2, 0, 0, choices.int_in_range(0..=16)?]),
        3 => station(GATEWAY),
        4 => Mac(choices.arbitrary()?),
        5 => Mac([0; 6]),
        number => station(number - 5),
    })
}

/// A tag that may be the port's.
fn tci(choices: &mut Unstructured<'_>, plan: &Plan, port: PortId) -> Result<u16> {
    let known = plan.switch.ports.iter().find(|known| known.id == port);
    let vids: Vec<u16> = known
        .into_iter()
        .flat_map(|port| &port.memberships)
        .filter_map(|member| Some(member.vid?.number()))
        .collect();
    let priority = choices.int_in_range(0..=15_u16)? << 12;
    Ok(priority
        | if vids.is_empty() || choices.ratio(1, 4)? {
            choices.int_in_range(0..=4095)?
        } else {
            *choices.choose(&vids)?
        })
}

fn well_formed(choices: &mut Unstructured<'_>) -> Result<(Offload, Vec<u8>)> {
    let link = (mac(choices)?, mac(choices)?);
    let (src, dst) = (some_address(choices)?, some_address(choices)?);
    Ok(match choices.int_in_range(0..=8_u8)? {
        0 => (Offload::NONE, ethernet(link, choices.arbitrary()?, &data(choices)?)),
        1 => {
            let (sender, target) = (v4(src), v4(dst));
            let operation = choices.int_in_range(0..=3)?;
            let arp = craft::Arp { operation, sender: (link.1, sender), target: (Mac([0; 6]), target) };
            (Offload::NONE, craft::arp(link, arp))
        }
        2 => {
            let (src, dst) = (v6(src), v6(dst));
            let kind = choices.int_in_range(133..=137)?;
            let message = craft::icmpv6(src.into(), dst.into(), &craft::neighbour(kind, dst, link.1));
            (Offload::NONE, craft::ip(link, src.into(), dst.into(), ICMPV6, &message))
        }
        3 => {
            let dst = like(src, dst);
            let protocol = if src.is_ipv4() { ICMP } else { ICMPV6 };
            let echo = craft::echo_request(src, dst, &data(choices)?);
            (Offload::NONE, craft::ip(link, src, dst, protocol, &echo))
        }
        number => {
            let from = (src, l4_port(choices)?);
            let to = (like(src, dst), l4_port(choices)?);
            datagram(choices, link, from, to, if number <= 5 { UDP } else { TCP })?
        }
    })
}

fn l4_port(choices: &mut Unstructured<'_>) -> Result<u16> {
    Ok(*choices.choose(&[53, 67, 68, 546, 547, 4789])?)
}

/// TCP or UDP, finished, with an unfinished checksum, or as a super-segment.
pub(super) fn datagram(
    choices: &mut Unstructured<'_>,
    link: craft::Addresses,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    protocol: u8,
) -> Result<(Offload, Vec<u8>)> {
    let ((src, _), (dst, _)) = (from, to);
    let data = data(choices)?;
    let l4 = if protocol == TCP { craft::tcp(from, to, &data) } else { craft::udp(from, to, &data) };
    let mut frame = craft::ip(link, src, dst, protocol, &l4);
    if choices.ratio(1, 3)? {
        return Ok((Offload::NONE, frame));
    }
    let (csum_start, csum_offset) = craft::unfinish(&mut frame, src, dst, protocol);
    let gso_size = *choices.choose(&[0, 1, 16, 536, 1448, 8948])?;
    let gso = match (gso_size, protocol, src) {
        (0, _, _) => Gso::None,
        (_, UDP, _) => Gso::UdpL4,
        (_, _, IpAddr::V4(_)) => Gso::TcpV4,
        (_, _, IpAddr::V6(_)) => Gso::TcpV6,
    };
    let l4_header_len = if protocol == TCP { 20 } else { 8 };
    let hdr_len = if gso == Gso::None { 0 } else { csum_start + l4_header_len };
    let offload = Offload { flags: NEEDS_CSUM, gso, ecn: false, hdr_len, gso_size, csum_start, csum_offset };
    Ok((offload, frame))
}

fn data(choices: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    // Long ones take long, and say little more than short ones.
    let lens: &[usize] =
        if choices.ratio(1, 8)? { &[1_460, 1_501, 4_000, 9_000, 65_000] } else { &[0, 1, 8, 40, 100] };
    Ok(vec![choices.arbitrary()?; *choices.choose(lens)?])
}

/// Overwrites a few octets.
pub(super) fn damage(choices: &mut Unstructured<'_>, bytes: &mut [u8]) -> Result<()> {
    for _ in 0..choices.int_in_range(1..=3_u8)? {
        // Headers matter more than payload.
        let end = bytes.len().min(80);
        if end > 0 {
            bytes[choices.int_in_range(0..=end - 1)?] = choices.arbitrary()?;
        }
    }
    Ok(())
}

fn some_address(choices: &mut Unstructured<'_>) -> Result<IpAddr> {
    let number = *choices.choose(&[1, 2, 3, GATEWAY])?;
    let [v4, v6] = [addresses(number)[0], addresses(number)[1]];
    Ok(match choices.int_in_range(0..=7_u8)? {
        0 => IpAddr::from(Ipv4Addr::BROADCAST),
        1 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        2..=4 => v4,
        _ => v6,
    })
}

/// `dst`, or somebody of the other's family.
fn like(src: IpAddr, dst: IpAddr) -> IpAddr {
    match src {
        IpAddr::V4(_) => v4(dst).into(),
        IpAddr::V6(_) => v6(dst).into(),
    }
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(v6) => Ipv4Addr::new(10, 0, 0, v6.octets()[15]),
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(v4.octets()[3])),
        IpAddr::V6(v6) => v6,
    }
}
