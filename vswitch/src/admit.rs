//! ADMIT: is the frame well formed, which domain does it belong to, may this port say that, and how often?
//!
//! A frame leaves this room untagged. Its priority is remembered for the egress tag; a priority tag (VLAN 0) is no
//! tag. At most one tag is understood: a second one, or a provider's, is refused, because behind it the rules below
//! would be asked about a frame that the receiver reads differently.

use wire::ethernet::{ETHERTYPE_QINQ, ETHERTYPE_VLAN, EthernetHeader, HEADER_LEN, Tci, pop_tag};
use wire::{DomainId, DropReason, FrameBuf, Instant, Mac, PortId, UnicastMac};

use crate::guard;
use crate::switch::{Port, Switch};

/// Tag types of early 802.1ad devices.
const ETHERTYPE_OLD_QINQ: u16 = 0x9100;
/// 01:80:c2:00:00:00, the first of 16 addresses that bridges keep to themselves (IEEE 802.1Q-2018 table 8-1).
const RESERVED_GROUP: u64 = 0x0180_c200_0000;

/// What is known of a frame that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Where it came in.
    pub port: PortId,
    /// Which domain it belongs to.
    pub domain: DomainId,
    /// Its header, with the tag taken off.
    pub header: EthernetHeader,
    /// Priority and drop eligibility of the tag it had; VLAN 0.
    pub priority: Tci,
    /// Octets of its L3 packet; of a super-segment, of the longest segment. What an MTU is compared with.
    pub packet_len: usize,
}

impl Switch {
    /// Lets a frame in, or says why not. Takes the tag off. The caller has parsed and checked the virtio header
    /// ([`FrameBuf::parse_offload`]).
    ///
    /// # Errors
    /// Any of the `admit.` reasons but those of tunnels, and of the virtio header only `admit.vnet-csum`;
    /// `forward.no-port` if the port does not exist.
    #[inline]
    pub fn admit(
        &mut self,
        now: Instant,
        port: PortId,
        frame: &mut FrameBuf,
    ) -> Result<Admitted, DropReason> {
        let Self { ports, domains, .. } = self;
        let state = ports.get_mut(port.index()).and_then(Option::as_mut).ok_or(DropReason::NoPort)?;
        let mut header = EthernetHeader::parse(frame.bytes()).ok_or(DropReason::Runt)?;
        let domain = domain_of(state, &header)?;
        let priority = Tci(match header.tag.take() {
            None => 0,
            Some(tag) => {
                pop_tag(frame);
                // A checksum that starts within the tag, or before it, is none any more.
                frame.offload.check(frame.len())?;
                tag.0 & 0xf000
            }
        });
        let packet_len = frame.segment_len().saturating_sub(HEADER_LEN);
        if packet_len > usize::from(state.mtu) {
            return Err(DropReason::Overlong);
        }
        if UnicastMac::new(header.src).is_none() {
            let is_zero = header.src.is_zero();
            return Err(if is_zero { DropReason::ZeroSource } else { DropReason::GroupSource });
        }
        if header.dst.is_group() {
            let domain = domains.get(domain.index()).and_then(Option::as_ref);
            let reserved_forward = domain.map_or(0, |domain| domain.reserved_forward);
            if is_reserved(header.dst, reserved_forward) {
                return Err(DropReason::ReservedMulticast);
            }
        }
        if let Some(watch) = &mut state.watch {
            guard::check(watch, &header, frame.bytes())?;
            if header.dst.is_group() && !watch.storm.group(now, header.dst) {
                let to_all = header.dst.is_broadcast();
                return Err(if to_all { DropReason::StormBroadcast } else { DropReason::StormMulticast });
            }
        }
        Ok(Admitted { port, domain, header, priority, packet_len })
    }
}

/// The domain that the port gives the frame to.
#[inline]
fn domain_of(port: &Port, header: &EthernetHeader) -> Result<DomainId, DropReason> {
    let is_double = header.tag.is_some() && header.ethertype == ETHERTYPE_VLAN;
    if is_double || matches!(header.ethertype, ETHERTYPE_QINQ | ETHERTYPE_OLD_QINQ) {
        return Err(DropReason::DoubleTag);
    }
    let Some(tag) = header.tag.filter(|tag| tag.0 & 0x0fff != 0) else {
        return port.native.ok_or(DropReason::UntaggedNotAllowed);
    };
    let vid = tag.vid().ok_or(DropReason::VlanNotAllowed)?;
    let found = port.tagged.binary_search_by_key(&vid, |&(carried, _)| carried);
    found.map(|at| port.tagged[at].1).map_err(|_| DropReason::VlanNotAllowed)
}

/// Whether `dst` is one of the reserved group addresses and not let through.
fn is_reserved(dst: Mac, let_through: u16) -> bool {
    let last_digit = dst.to_bits() ^ RESERVED_GROUP;
    last_digit < 16 && let_through >> last_digit & 1 == 0
}

#[cfg(test)]
mod tests;
