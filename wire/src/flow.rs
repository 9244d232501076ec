//! Flow hash: which worker a frame belongs to, the same for both directions of a conversation.
//!
//! The algorithm is a contract: a steering program in the kernel computes the same value from the same octets, so that
//! a frame arrives on its owner's queue. It is kept to loads, XOR and one multiplication. Numbers are big-endian loads
//! of `n` bits from octet `at`, written `load(n, at)`; a load past the end of the frame ends the computation with hash
//! 0 (as the instruction `LD_ABS` of BPF does).
//!
//! ```text
//!  type = load(16, 12); l3 = 14
//!  if type == 0x8100:  type = load(16, 16); l3 = 18                    one VLAN tag is looked through
//!
//!  if type == 0x0800:                                                  IPv4
//!      fold = load(32, l3 + 12) ^ load(32, l3 + 16)                    addresses
//!      next = load(8, l3 + 9); l4 = l3 + 4 * (load(8, l3) & 15)
//!      if load(16, l3 + 6) & 0x3fff != 0: next = 0                     any fragment, the first included
//!  else if type == 0x86dd:                                             IPv6
//!      fold = load(32, l3 + 8) ^ load(32, l3 + 12) ^ … ^ load(32, l3 + 36)
//!      next = load(8, l3 + 6); l4 = l3 + 40                            extension headers: addresses only
//!  else: hash = 0, done                                                ARP and everything else
//!
//!  if next == 6 or next == 17:                                         TCP, UDP
//!      fold = fold ^ (load(16, l4) << 16) ^ (load(16, l4 + 2) << 16)   L4 ports
//!
//!  hash = (fold * 0x9e3779b97f4a7c15 mod 2^64) >> 32                   multiply-shift
//!  owner = hash mod workers
//! ```
//!
//! The L4 ports go to the upper half because the upper halves of two addresses of one network cancel out. All
//! fragments of a packet, and all of a frame's copies with and without a tag, have one owner; so have a request and its
//! answer. An attacker who chooses addresses can choose the owner: the hash spreads load, it keeps nobody out.
//! The steering program returns `owner`, not the hash: tun cuts the result to 16 bits before it takes its modulus (Linux
//! drivers/net/tun.c, `tun_ebpf_select_queue`).

use crate::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, HEADER_LEN, TAG_LEN};
use crate::headers::{PROTOCOL_TCP, PROTOCOL_UDP};

/// 2^64 divided by the golden ratio, made odd (Knuth, The Art of Computer Programming, volume 3, §6.4).
pub const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of the conversation that a frame belongs to; 0 for what is not IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FlowHash(pub u32);

impl FlowHash {
    /// The hash of a frame given from its destination address on.
    pub fn of(frame: &[u8]) -> Self {
        fold(frame).map_or(Self(0), |fold| Self((u64::from(fold).wrapping_mul(MULTIPLIER) >> 32) as u32))
    }

    /// The worker, of `workers`, that owns the flow; 0 if there are none.
    pub const fn owner(self, workers: usize) -> usize {
        if workers == 0 { 0 } else { self.0 as usize % workers }
    }
}

/// Addresses and L4 ports folded into one word; `None` if the frame is not IP or ends too early.
fn fold(frame: &[u8]) -> Option<u32> {
    let (ethertype, l3) = match load16(frame, 12)? {
        ETHERTYPE_VLAN => (load16(frame, 16)?, HEADER_LEN + TAG_LEN),
        ethertype => (ethertype, HEADER_LEN),
    };
    let packet = frame.get(l3..)?;
    let (mut fold, next, l4) = match ethertype {
        ETHERTYPE_IPV4 => fold_ipv4(packet)?,
        ETHERTYPE_IPV6 => fold_ipv6(packet)?,
        _ => return None,
    };
    if next == PROTOCOL_TCP || next == PROTOCOL_UDP {
        fold ^= u32::from(load16(packet, l4)? ^ load16(packet, l4 + 2)?) << 16;
    }
    Some(fold)
}

/// Folded addresses, protocol (0 for a fragment) and where L4 starts.
fn fold_ipv4(packet: &[u8]) -> Option<(u32, u8, usize)> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let fold = load32(header, 12)? ^ load32(header, 16)?;
    let is_fragment = load16(header, 6)? & 0x3fff != 0; // More fragments, or an offset.
    Some((fold, if is_fragment { 0 } else { header[9] }, usize::from(header[0] & 15) * 4))
}

/// Folded addresses, next header and where it starts.
fn fold_ipv6(packet: &[u8]) -> Option<(u32, u8, usize)> {
    let header: &[u8; 40] = packet.first_chunk()?;
    let mut fold = 0;
    for at in (8..40).step_by(4) {
        fold ^= load32(header, at)?;
    }
    Some((fold, header[6], 40))
}

fn load16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|&octets| u16::from_be_bytes(octets))
}

fn load32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|&octets| u32::from_be_bytes(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// 10.0.0.1:4660 to 10.0.0.2:80, TCP; only the octets that the hash reads are not zero.
    fn tcp4() -> Vec<u8> {
        let mut frame = std::vec![0; 54];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[14] = 0x45;
        frame[23] = PROTOCOL_TCP;
        frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        frame[34..38].copy_from_slice(&[0x12, 0x34, 0, 80]);
        frame
    }

    fn udp6() -> Vec<u8> {
        let mut frame = std::vec![0; 62];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[14] = 0x60;
        frame[20] = PROTOCOL_UDP;
        for (at, octet) in frame[22..54].iter_mut().enumerate() {
            *octet = u8::try_from(at * 7).unwrap();
        }
        frame[54..58].copy_from_slice(&[0x12, 0x34, 0, 53]);
        frame
    }

    /// The same frame in the other direction.
    fn reversed(frame: &[u8], src: usize, len: usize, l4: usize) -> Vec<u8> {
        let mut back = frame.to_vec();
        back[src..src + len].copy_from_slice(&frame[src + len..src + 2 * len]);
        back[src + len..src + 2 * len].copy_from_slice(&frame[src..src + len]);
        back[l4..l4 + 2].copy_from_slice(&frame[l4 + 2..l4 + 4]);
        back[l4 + 2..l4 + 4].copy_from_slice(&frame[l4..l4 + 2]);
        back
    }

    #[test]
    fn the_value_is_the_one_written_in_the_contract() {
        // Folded by hand: 10.0.0.1 ^ 10.0.0.2 = 3; (0x1234 ^ 0x0050) << 16 = 0x1264_0000.
        let expected = (0x1264_0003_u64.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) & 0xffff_ffff;
        assert_eq!(u64::from(FlowHash::of(&tcp4()).0), expected);
    }

    #[test]
    fn both_directions_agree() {
        assert_eq!(FlowHash::of(&reversed(&tcp4(), 26, 4, 34)), FlowHash::of(&tcp4()));
        assert_eq!(FlowHash::of(&reversed(&udp6(), 22, 16, 54)), FlowHash::of(&udp6()));
        assert_ne!(FlowHash::of(&udp6()), FlowHash(0));
    }

    #[test]
    fn a_tag_changes_nothing() {
        for frame in [tcp4(), udp6()] {
            let mut tagged = frame.clone();
            tagged.splice(12..12, [0x81, 0x00, 0x20, 0x07]);
            assert_eq!(FlowHash::of(&tagged), FlowHash::of(&frame));
        }
    }

    #[test]
    fn fragments_of_one_packet_agree_whatever_they_carry() {
        let (mut first, mut later) = (tcp4(), tcp4());
        first[20] = 0x20; // More fragments.
        later[21] = 185; // Offset 1480.
        later[34..38].fill(0x77); // Payload where the L4 ports would be.
        assert_eq!(FlowHash::of(&first), FlowHash::of(&later));
        assert_ne!(FlowHash::of(&first), FlowHash::of(&tcp4()));
        let mut unfragmented = tcp4();
        unfragmented[20] = 0x40; // Don't fragment is no fragment.
        assert_eq!(FlowHash::of(&unfragmented), FlowHash::of(&tcp4()));
    }

    #[test]
    fn options_move_the_l4_ports() {
        let mut frame = tcp4();
        frame[14] = 0x46;
        frame.splice(34..34, [1, 1, 1, 1]);
        assert_eq!(FlowHash::of(&frame), FlowHash::of(&tcp4()));
    }

    #[test]
    fn what_is_cut_short_or_not_ip_belongs_to_worker_0() {
        for frame in [tcp4(), udp6()] {
            for len in 0..(if frame[14] == 0x45 { 38 } else { 58 }) {
                assert_eq!(FlowHash::of(&frame[..len]), FlowHash(0), "len={len}");
            }
        }
        let mut arp = tcp4();
        arp[13] = 0x06;
        assert_eq!(FlowHash::of(&arp), FlowHash(0));
        assert_eq!(FlowHash(7).owner(0), 0);
    }

    #[test]
    fn neighbouring_flows_spread_evenly() {
        for workers in [2, 3, 4, 7] {
            let mut load = std::vec![0_u32; workers];
            let mut frame = tcp4();
            for l4_port in 32_768_u16..36_864 {
                frame[34..36].copy_from_slice(&l4_port.to_be_bytes());
                load[FlowHash::of(&frame).owner(workers)] += 1;
            }
            let fair = 4096 / u32::try_from(workers).unwrap();
            assert!(load.iter().all(|&flows| flows.abs_diff(fair) < fair / 5), "{workers} workers: {load:?}");
        }
    }
}
