//! A family's own numbers: where its plain packets keep what, and what an interface is in it.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use wire::FrameBuf;
use wire::checksum::{Delta, Sum, TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET};
use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, HEADER_LEN};
use wire::headers::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, PROTOCOL_TCP, PROTOCOL_UDP};

use crate::fib::{Fib, Resolved};
use crate::interface::Interface;
use crate::nat::{Address, TcpFlags, Tuple};
use crate::plan::{Gateway, Protocol};

const L3: usize = HEADER_LEN;
/// Smallest data offset of a TCP header, in its upper four bits: 20 octets (RFC 9293 §3.1).
const TCP_DATA_OFFSET_MIN: u8 = 5 << 4;

/// A plain packet at a glance.
pub(crate) struct Glance<A> {
    pub(super) tuple: Tuple<A>,
    /// TCP or UDP.
    pub(super) protocol: Protocol,
    /// Of a TCP segment.
    pub(super) tcp: Option<TcpFlags>,
    /// Octets from the IP header on; of a super-segment, of all its segments together.
    pub(super) l3_len: usize,
}

/// An address as the short way uses it.
pub(crate) trait Lane: Address {
    /// Where the L4 header of a plain packet stands in the frame.
    const L4: usize;

    /// Reads a plain packet whose hop limit lets it go on; `None` if it is not one.
    fn glance(bytes: &[u8]) -> Option<Glance<Self>>;

    /// What is probably the flow of a frame, unchecked.
    fn guess(bytes: &[u8]) -> Option<(Protocol, Tuple<Self>)>;

    /// What the interface is in this family.
    fn link(interface: &Interface) -> &Link<Self>;

    fn lookup(self, fib: &Fib) -> Option<Resolved<'_>>;

    /// Whether it is an address as stations have them: neither a group's nor special in any way. (Some that are not
    /// are a station's all the same; the walk knows them.)
    fn is_ordinary(self) -> bool;

    /// What a checksum that covers the address sees when it becomes another.
    fn becomes(self, new: Self, delta: Delta) -> Delta;

    /// Writes both addresses.
    fn write(bytes: &mut [u8], src: Self, dst: Self);

    /// Takes one from the hop limit, which is above 1; a header checksum learns of that and of the addresses.
    fn hop(bytes: &mut [u8], addresses: Delta);
}

impl Lane for Ipv4Addr {
    const L4: usize = L3 + IPV4_HEADER_LEN;

    #[inline]
    fn glance(bytes: &[u8]) -> Option<Glance<Self>> {
        let header: &[u8; IPV4_HEADER_LEN] = behind_ethernet(bytes, ETHERTYPE_IPV4)?;
        let &[version, _, len_a, len_b, _, _, offset_a, offset_b, ttl, protocol, _, _, ref addresses @ ..] =
            header;
        let is_whole = u16::from_be_bytes([offset_a, offset_b]) & 0x3fff == 0;
        if version != 0x45 || !is_whole || ttl <= 1 || !Sum::of(header).is_intact() {
            return None;
        }
        let [a, b, c, d, e, f, g, h] = *addresses;
        let (src, dst) = (Self::new(a, b, c, d), Self::new(e, f, g, h));
        let end = L3 + usize::from(u16::from_be_bytes([len_a, len_b]));
        l4(bytes, end, protocol, src, dst)
    }

    #[inline]
    fn guess(bytes: &[u8]) -> Option<(Protocol, Tuple<Self>)> {
        let frame: &[u8; 38] = bytes.first_chunk()?;
        let &[a, b, c, d, e, f, g, h, ref l4_ports @ ..] = frame.last_chunk::<12>()?;
        let protocol = protocol_of(frame[L3 + 9])?;
        let (src, dst) = (Self::new(a, b, c, d), Self::new(e, f, g, h));
        (be16(bytes, 12) == ETHERTYPE_IPV4).then(|| (protocol, tuple(src, dst, *l4_ports)))
    }

    #[inline]
    fn link(interface: &Interface) -> &Link<Self> {
        &interface.v4
    }

    #[inline]
    fn lookup(self, fib: &Fib) -> Option<Resolved<'_>> {
        fib.lookup_v4(self)
    }

    #[inline]
    fn is_ordinary(self) -> bool {
        let [first, second, ..] = self.octets();
        (1..224).contains(&first) && first != 127 && (first, second) != (169, 254)
    }

    #[inline]
    fn becomes(self, new: Self, delta: Delta) -> Delta {
        delta.replace32(self.to_bits(), new.to_bits())
    }

    #[inline]
    fn write(bytes: &mut [u8], src: Self, dst: Self) {
        bytes[L3 + 12..L3 + 16].copy_from_slice(&src.octets());
        bytes[L3 + 16..L3 + 20].copy_from_slice(&dst.octets());
    }

    #[inline]
    fn hop(bytes: &mut [u8], addresses: Delta) {
        let old = be16(bytes, L3 + 8);
        let new = old - 0x100;
        let checksum = addresses.replace16(old, new).apply(be16(bytes, L3 + 10));
        bytes[L3 + 8..L3 + 10].copy_from_slice(&new.to_be_bytes());
        bytes[L3 + 10..L3 + 12].copy_from_slice(&checksum.to_be_bytes());
    }
}

impl Lane for Ipv6Addr {
    const L4: usize = L3 + IPV6_HEADER_LEN;

    #[inline]
    fn glance(bytes: &[u8]) -> Option<Glance<Self>> {
        let header: &[u8; IPV6_HEADER_LEN] = behind_ethernet(bytes, ETHERTYPE_IPV6)?;
        let &[version, _, _, _, len_a, len_b, next_header, hop_limit, ref addresses @ ..] = header;
        if version >> 4 != 6 || hop_limit <= 1 {
            return None;
        }
        let (src, dst): (&[u8; 16], &[u8; 16]) = (addresses.first_chunk()?, addresses.last_chunk()?);
        let end = Self::L4 + usize::from(u16::from_be_bytes([len_a, len_b]));
        l4(bytes, end, next_header, Self::from(*src), Self::from(*dst))
    }

    #[inline]
    fn guess(bytes: &[u8]) -> Option<(Protocol, Tuple<Self>)> {
        let frame: &[u8; 58] = bytes.first_chunk()?;
        let protocol = protocol_of(frame[L3 + 6])?;
        let (src, rest) = frame[L3 + 8..].split_first_chunk::<16>()?;
        let (dst, l4_ports) = rest.split_first_chunk::<16>()?;
        let flow = tuple(Self::from(*src), Self::from(*dst), *l4_ports.first_chunk()?);
        (be16(bytes, 12) == ETHERTYPE_IPV6).then_some((protocol, flow))
    }

    #[inline]
    fn link(interface: &Interface) -> &Link<Self> {
        &interface.v6
    }

    #[inline]
    fn lookup(self, fib: &Fib) -> Option<Resolved<'_>> {
        fib.lookup_v6(self)
    }

    #[inline]
    fn is_ordinary(self) -> bool {
        let first = self.to_bits() >> 112;
        (0x0001..0xfe00).contains(&first)
    }

    #[inline]
    fn becomes(self, new: Self, delta: Delta) -> Delta {
        delta.replace128(self.to_bits(), new.to_bits())
    }

    #[inline]
    fn write(bytes: &mut [u8], src: Self, dst: Self) {
        bytes[L3 + 8..L3 + 24].copy_from_slice(&src.octets());
        bytes[L3 + 24..L3 + 40].copy_from_slice(&dst.octets());
    }

    #[inline]
    fn hop(bytes: &mut [u8], _addresses: Delta) {
        bytes[L3 + 7] -= 1;
    }
}

/// What stands behind an untagged Ethernet header of this type.
#[inline]
fn behind_ethernet<const LEN: usize>(bytes: &[u8], ethertype: u16) -> Option<&[u8; LEN]> {
    (be16(bytes.first_chunk::<L3>()?, 12) == ethertype).then(|| bytes[L3..].first_chunk())?
}

/// The L4 half of a glance: the header is whole, and the segment begins no connection.
#[inline]
fn l4<A: Lane>(bytes: &[u8], end: usize, protocol: u8, src: A, dst: A) -> Option<Glance<A>> {
    let segment = bytes.get(A::L4..end)?;
    let (protocol, tcp) = match protocol {
        PROTOCOL_TCP => {
            let header: &[u8; 20] = segment.first_chunk()?;
            let (data_offset, flags) = (header[12] & 0xf0, header[13]);
            let has_header =
                data_offset >= TCP_DATA_OFFSET_MIN && usize::from(data_offset >> 4) * 4 <= segment.len();
            if !has_header || flags & wire::tcp::SYN != 0 {
                return None;
            }
            (Protocol::Tcp, Some(TcpFlags::from_bits(flags)))
        }
        PROTOCOL_UDP if segment.len() >= 8 => (Protocol::Udp, None),
        _ => return None,
    };
    let tuple = tuple(src, dst, *segment.first_chunk()?);
    Some(Glance { tuple, protocol, tcp, l3_len: end - L3 })
}

#[inline]
fn tuple<A>(src: A, dst: A, [a, b, c, d]: [u8; 4]) -> Tuple<A> {
    let (src_l4_port, dst_l4_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Tuple { src, dst, src_l4_port, dst_l4_port }
}

#[inline]
const fn protocol_of(number: u8) -> Option<Protocol> {
    match number {
        PROTOCOL_TCP => Some(Protocol::Tcp),
        PROTOCOL_UDP => Some(Protocol::Udp),
        _ => None,
    }
}

/// Writes what a packet becomes on its way out: endpoints, hop limit, and the sums that cover them. The rules of the sums
/// are those of [`crate::nat::rewrite`].
#[inline]
pub(super) fn pass_on<A: Lane>(frame: &mut FrameBuf, protocol: Protocol, old: &Tuple<A>, new: &Tuple<A>) {
    let offload = frame.offload;
    let bytes = frame.bytes_mut();
    if old == new {
        return A::hop(bytes, Delta::default());
    }
    let addresses = old.dst.becomes(new.dst, old.src.becomes(new.src, Delta::default()));
    A::write(bytes, new.src, new.dst);
    A::hop(bytes, addresses);
    let [a, b] = new.src_l4_port.to_be_bytes();
    let [c, d] = new.dst_l4_port.to_be_bytes();
    bytes[A::L4..A::L4 + 4].copy_from_slice(&[a, b, c, d]);
    let is_udp = protocol == Protocol::Udp;
    let offset = if is_udp { UDP_CHECKSUM_OFFSET } else { TCP_CHECKSUM_OFFSET };
    let is_partial =
        offload.needs_checksum() && (usize::from(offload.csum_start), offload.csum_offset) == (A::L4, offset);
    let at = A::L4 + usize::from(offset);
    let checksum = be16(bytes, at);
    let all =
        addresses.replace16(old.src_l4_port, new.src_l4_port).replace16(old.dst_l4_port, new.dst_l4_port);
    let checksum = match (is_partial, is_udp) {
        (true, _) => addresses.apply_partial(checksum),
        (false, true) => all.apply_udp(checksum),
        (false, false) => all.apply(checksum),
    };
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

#[inline]
fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// What an interface is in one family.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Link<A> {
    /// The router's own addresses here.
    pub(super) addresses: Vec<A>,
    subnets: Vec<Subnet<A>>,
}

/// A subnet as ranges.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Subnet<A> {
    /// All its addresses.
    all: (A, A),
    /// Those that stations may have.
    hosts: (A, A),
}

impl<A: Lane> Link<A> {
    pub(crate) fn new(gateway: &Gateway) -> Self {
        let subnet = |subnet: &wire::Cidr| {
            let (first, last) = subnet.range();
            let (first_host, last_host) = subnet.host_range();
            let of = |first: IpAddr, last: IpAddr| Some((A::of(first)?, A::of(last)?));
            Some(Subnet { all: of(first, last)?, hosts: of(first_host, last_host)? })
        };
        Self {
            addresses: gateway.addresses.iter().filter_map(|&address| A::of(address)).collect(),
            subnets: gateway.subnets.iter().filter_map(subnet).collect(),
        }
    }

    /// Whether a station here may have the address; `None` if it is in none of the subnets.
    #[inline]
    pub(super) fn has_host(&self, address: A) -> Option<bool> {
        let mut is_here = false;
        for &Subnet { all, hosts } in &self.subnets {
            if hosts.0 <= address && address <= hosts.1 {
                return Some(true);
            }
            is_here |= all.0 <= address && address <= all.1;
        }
        is_here.then_some(false)
    }
}
