//! Super-segments that leave a tunnel whole: written to a TAP of ours with the outer headers in front and described in the
//! virtio header (UDP-tunnel GSO, Linux 6.17), so that this host's kernel cuts them as late as it can, or nobody does.
//!
//! ```text
//!  payload ─▶ [virtio header][Ethernet, IP, UDP] payload ─▶ TAP ─▶ program at its ingress: which way? ─▶ interface
//! ```
//!
//! The program asks the kernel's routing table where the outer destination is and hands the frame to that interface and its
//! neighbours (`bpf_fib_lookup`, `bpf_redirect_neigh`; include/uapi/linux/bpf.h), as a socket would have done: no
//! forwarding, no source check and no filter of the host lies in between. Whether the neighbour is known does not matter: the
//! kernel asks for it, and the frame waits. Without a route the frame is dropped, like a datagram for which a socket says
//! ENETUNREACH, and counted ([`TunnelGso::unrouted`]).
//!
//! Only TCP takes this way, in VXLAN, untagged inside, to a place of which nobody has said that its path is narrower;
//! everything else, and what a [`TunnelGso`] refuses, goes by sockets. The outer source L4 port is a socket's, so that what
//! ICMP says of it is heard there. The outer UDP checksum is described too, and computed by who cuts.
//!
//! The device (`tapestry0`, say) has no address, nobody reads it, and it goes with us. IPv4 and IPv6 forwarding is switched
//! on for this one device, without which the kernel looks up nothing for it.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use encap::plan::OUTER_TTL;
use encap::vxlan;
use wire::checksum::{Sum, checksum};
use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, HEADER_LEN as ETHERNET};
use wire::offload::{Gso, NEEDS_CSUM, Offload, VNET_HDR_LEN};
use wire::{Ecn, FrameBuf};

use crate::link::{self, Interface, Namespace};
use crate::port::tap::{Tap, TapQueue};
use crate::port::{PortIo, exact_header_len};
use crate::sys::bpf::assembly::{
    Assembly, BYTE, HALF, JUMP, JUMP_IF_EQUAL, JUMP_UNLESS_EQUAL, MOVE, R0, R1, R2, R3, R4, R6, WORD,
};
use crate::sys::bpf::{self, Counter, Instruction, Kind};
use crate::sys::{tried, tun};

const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;
const HEAD_MAX: usize = VNET_HDR_LEN + ETHERNET + IPV6 + UDP;
/// Octets of a payload in front of the packet inside.
const INNER_L3: usize = vxlan::HEADER_LEN + ETHERNET;
const PROTOCOL_UDP: u8 = 17;

/// `VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM`, `VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4` and `_IPV6` (include/uapi/linux/virtio_net.h).
const OUTER_CHECKSUM: u8 = 8;
const OUTER_IPV4: u8 = 0x20;
const OUTER_IPV6: u8 = 0x40;
/// Where `struct virtio_net_hdr_v1_hash_tunnel` has the outer transport header's place, and the inner network header's.
const OUTER_TH_AT: usize = 20;
const INNER_NH_AT: usize = 22;
const _: () = assert!(INNER_NH_AT + 2 == VNET_HDR_LEN, "they end it");

/// A way for super-segments.
#[derive(Debug)]
pub(super) struct TunnelGso {
    queue: TapQueue,
    unrouted: Counter,
    /// The program decides as long as this is open.
    _program: OwnedFd,
}

/// The two ends of the outer datagram, and its mark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outside {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) ecn: Ecn,
}

impl TunnelGso {
    /// Makes the device, in the namespace of the calling thread.
    ///
    /// # Errors
    /// EINVAL if the kernel is older than 6.17; otherwise as [`Tap::create`].
    pub(super) fn open() -> io::Result<Self> {
        let tap = Tap::create(1)?;
        let name = tap.name()?;
        let interface = Interface {
            name: name.clone(),
            namespace: None,
            mac: None,
            mtu: 1_500, // Of no weight: nothing is sent to it.
            addresses: Vec::new(),
            gateways: Vec::new(),
            routes: Vec::new(),
        };
        let tap = link::establish(tap, &interface)?;
        for family in ["ipv4", "ipv6"] {
            let setting = format!("/proc/sys/net/{family}/conf/{name}/forwarding");
            match std::fs::write(&setting, "1") {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // Without IPv6, say.
                written => written.map_err(tried(format!("writing {setting}")))?,
            }
        }
        let queue = tap.into_queues().remove(0);
        // Nobody reads, so what is offered here matters to nobody: the kernel says what it knows.
        let mask = tun::TUN_F_CSUM | tun::TUN_F_TSO4 | tun::TUN_F_TSO6 | tun::TUN_F_UDP_TUNNEL_GSO;
        tun::set_offload(queue.fd(), mask | tun::TUN_F_UDP_TUNNEL_GSO_CSUM)
            .map_err(tried("asking the kernel for UDP-tunnel GSO (Linux 6.17 has it)"))?;
        let unrouted =
            Counter::new("tapestry_lost").map_err(tried("making a counter for the routing program"))?;
        let program = bpf::load(Kind::Classifier, "tapestry_route", &program(unrouted.number()))
            .map_err(tried("loading the routing program"))?;
        let index = link::find(&Namespace::current()?, &name)?.map_or(0, |link| link.index);
        let link = bpf::attach_to_ingress(program.as_fd(), index)
            .map_err(tried(format!("attaching the routing program to {name}")))?;
        Ok(Self { queue, unrouted, _program: link })
    }

    /// How many frames had no route, since it was made.
    pub(super) fn unrouted(&self) -> u64 {
        self.unrouted.read().unwrap_or(0)
    }

    /// Whether this payload can go this way.
    pub(super) fn takes(outside: &Outside, payload: &FrameBuf) -> bool {
        let room = usize::from(u16::MAX) - UDP - if outside.to.is_ipv4() { IPV4 } else { 0 };
        let ethertype = match payload.offload.gso {
            Gso::TcpV4 => ETHERTYPE_IPV4,
            Gso::TcpV6 => ETHERTYPE_IPV6,
            Gso::UdpL4 | Gso::None => return false,
        };
        payload.offload.needs_checksum()
            && payload.len() <= room
            && payload.bytes().get(INNER_L3 - 2..INNER_L3) == Some(&ethertype.to_be_bytes())
            && usize::from(payload.offload.csum_start) > INNER_L3
    }

    /// Sends the payload, which [`TunnelGso::takes`].
    ///
    /// # Errors
    /// EINVAL if the kernel finds the description wrong; EIO if somebody has taken the device down; as write(2) says.
    pub(super) fn send(&self, outside: &Outside, payload: &FrameBuf) -> io::Result<()> {
        let mut head = [0; HEAD_MAX];
        let len = write_head(outside, payload, &mut head);
        rustix::io::writev(self.queue.fd(), &[IoSlice::new(&head[..len]), IoSlice::new(payload.bytes())])?;
        Ok(())
    }
}

/// Writes what stands in front of the payload; its length.
fn write_head(outside: &Outside, payload: &FrameBuf, head: &mut [u8; HEAD_MAX]) -> usize {
    let short = |len: usize| u16::try_from(len).expect("a payload that is taken has room for its headers");
    let (vnet, frame) = head.split_at_mut(VNET_HDR_LEN);
    let datagram = short(UDP + payload.len());
    let l3 = &mut frame[ETHERNET..];
    // The program gives the frame its Ethernet addresses; the stack wants to know what is inside.
    let (kind, ip_len, pseudo, ethertype) = match (outside.from.ip(), outside.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = (datagram + short(IPV4)).to_be_bytes();
            let tos = outside.ecn.bits();
            l3[..12].copy_from_slice(&[0x45, tos, high, low, 0, 0, 0x40, 0, OUTER_TTL, PROTOCOL_UDP, 0, 0]);
            l3[12..16].copy_from_slice(&from.octets());
            l3[16..20].copy_from_slice(&to.octets());
            let sum = checksum(&l3[..IPV4]);
            l3[10..12].copy_from_slice(&sum.to_be_bytes());
            (
                OUTER_IPV4,
                IPV4,
                Sum::pseudo_v4(from.octets(), to.octets(), PROTOCOL_UDP, datagram),
                ETHERTYPE_IPV4,
            )
        }
        (from, to) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            let [high, low] = datagram.to_be_bytes();
            l3[..8].copy_from_slice(&[
                0x60,
                outside.ecn.bits() << 4,
                0,
                0,
                high,
                low,
                PROTOCOL_UDP,
                OUTER_TTL,
            ]);
            l3[8..24].copy_from_slice(&octets(from));
            l3[24..40].copy_from_slice(&octets(to));
            let pseudo = Sum::pseudo_v6(octets(from), octets(to), PROTOCOL_UDP, u32::from(datagram));
            (OUTER_IPV6, IPV6, pseudo, ETHERTYPE_IPV6)
        }
    };
    let udp = &mut l3[ip_len..];
    udp[0..2].copy_from_slice(&outside.from.port().to_be_bytes());
    udp[2..4].copy_from_slice(&outside.to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&datagram.to_be_bytes());
    udp[6..8].copy_from_slice(&pseudo.folded().to_be_bytes());
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
    let outer = short(ETHERNET + ip_len + UDP);
    let inner = payload.offload;
    let hdr_len = exact_header_len(inner, payload.bytes()) + outer;
    let described = Offload { flags: NEEDS_CSUM, hdr_len, csum_start: inner.csum_start + outer, ..inner };
    described.emit(vnet.first_chunk_mut().expect("it was split there"));
    vnet[0] |= OUTER_CHECKSUM;
    vnet[1] |= kind;
    vnet[OUTER_TH_AT..][..2].copy_from_slice(&(outer - short(UDP)).to_le_bytes());
    vnet[INNER_NH_AT..][..2].copy_from_slice(&(outer + short(INNER_L3)).to_le_bytes());
    VNET_HDR_LEN + usize::from(outer)
}

/// Where the program's jumps lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Ipv4,
    LookUp,
    Drop,
}

/// Helpers of the kernel, and what they are told (include/uapi/linux/bpf.h).
const SKB_LOAD_BYTES: i32 = 26;
const FIB_LOOKUP: i32 = 69;
const REDIRECT_NEIGH: i32 = 152;
/// `BPF_FIB_LOOKUP_SKIP_NEIGH`: a way is one though its neighbour has not been asked for yet.
const SKIP_NEIGH: i32 = 4;
/// `TC_ACT_SHOT` (include/uapi/linux/pkt_cls.h).
const SHOT: i32 = 2;
/// `struct __sk_buff`: the interface on which the frame is.
const IFINDEX: i16 = 40;
/// `struct bpf_fib_lookup`, at the stack's end: its octets, and where it has what.
const LOOKUP: i16 = 64;
const LOOKUP_IFINDEX: i16 = 8 - LOOKUP;
const LOOKUP_FROM: i32 = 16 - LOOKUP as i32;
const LOOKUP_TO: i32 = 32 - LOOKUP as i32;
/// The address families as the kernel numbers them.
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;

/// Asks the routing table about the packet's addresses and hands it to the interface that it names. What has no way is
/// counted.
fn program(unrouted: i32) -> Vec<Instruction> {
    let mut code = Assembly::default();
    code.copy(R6, R1);
    for at in (-LOOKUP..0).step_by(4) {
        code.fill_stack(WORD, at, 0);
    }
    code.load_field(R1, IFINDEX);
    code.store_stack(LOOKUP_IFINDEX, R1);
    code.load_absolute(HALF, 12);
    code.jump(JUMP_IF_EQUAL, R0, i32::from(ETHERTYPE_IPV4), Label::Ipv4);
    code.jump(JUMP_UNLESS_EQUAL, R0, i32::from(ETHERTYPE_IPV6), Label::Drop);
    code.fill_stack(BYTE, -LOOKUP, AF_INET6);
    copy_octets(&mut code, 22, LOOKUP_FROM, 16);
    copy_octets(&mut code, 38, LOOKUP_TO, 16);
    code.jump(JUMP, R0, 0, Label::LookUp);

    code.label(Label::Ipv4);
    code.fill_stack(BYTE, -LOOKUP, AF_INET);
    copy_octets(&mut code, 26, LOOKUP_FROM, 4);
    copy_octets(&mut code, 30, LOOKUP_TO, 4);

    code.label(Label::LookUp);
    code.copy(R1, R6);
    code.point_to_stack(R2, -i32::from(LOOKUP));
    code.immediate(MOVE, R3, i32::from(LOOKUP));
    code.immediate(MOVE, R4, SKIP_NEIGH);
    code.call(FIB_LOOKUP);
    code.jump(JUMP_UNLESS_EQUAL, R0, 0, Label::Drop);
    code.load_stack(R1, LOOKUP_IFINDEX);
    for argument in [R2, R3, R4] {
        code.immediate(MOVE, argument, 0);
    }
    code.call(REDIRECT_NEIGH);
    code.exit();

    code.label(Label::Drop);
    code.point_to_value(R1, unrouted);
    code.immediate(MOVE, R2, 1);
    code.count_up(R1, R2);
    code.immediate(MOVE, R0, SHOT);
    code.exit();
    code.finish()
}

/// Copies octets of the frame to a place below the stack's end.
fn copy_octets(code: &mut Assembly<Label>, from: i32, to: i32, count: i32) {
    code.copy(R1, R6);
    code.immediate(MOVE, R2, from);
    code.point_to_stack(R3, to);
    code.immediate(MOVE, R4, count);
    code.call(SKB_LOAD_BYTES);
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::FramePool;

    /// The header as the kernel's `virtio_net_hdr_tnl_to_skb` wants it, for a payload of 8 + 14 + 20 + 20 + 3,000 octets.
    #[test]
    fn the_head_describes_what_is_inside() {
        let mut payload = FramePool::default().take();
        let mut octets = vec![0; 62 + 3_000];
        octets[20..22].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
        octets[22] = 0x45;
        octets[42 + 12] = 0x50;
        assert!(payload.fill(&octets));
        payload.offload = Offload {
            flags: NEEDS_CSUM,
            gso: Gso::TcpV4,
            ecn: false,
            hdr_len: 62,
            gso_size: 1_400,
            csum_start: 42,
            csum_offset: 16,
        };
        for (from, to, outer) in
            [("192.0.2.1:9", "192.0.2.2:4789", 42), ("[fd00::1]:9", "[fd00::2]:4789", 62)]
        {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let outside = Outside { from, to, ecn: Ecn::Ect0 };
            assert!(TunnelGso::takes(&outside, &payload));
            let mut head = [0; HEAD_MAX];
            let len = write_head(&outside, &payload, &mut head);
            assert_eq!(len, VNET_HDR_LEN + outer);
            let le = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
            assert_eq!((head[0], head[1]), (9, 1 | if outer == 42 { 0x20 } else { 0x40 }));
            assert_eq!((le(2), le(4), le(6), le(8)), (outer + 62, 1_400, outer + 42, 16));
            assert_eq!((le(OUTER_TH_AT), le(INNER_NH_AT)), (outer - 8, outer + 22));
        }
    }

    #[test]
    fn what_it_cannot_describe_goes_by_sockets() {
        let outside = Outside {
            from: "192.0.2.1:9".parse().unwrap(),
            to: "192.0.2.2:9".parse().unwrap(),
            ecn: Ecn::NotEct,
        };
        let mut octets = vec![0; 65_000];
        octets[20..22].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
        let mut payload = FramePool::default().take();
        let whole =
            Offload { flags: NEEDS_CSUM, gso: Gso::TcpV4, gso_size: 1_400, csum_start: 42, ..Offload::NONE };
        let mut is_taken = |octets: &[u8], offload: Offload| {
            assert!(payload.fill(octets));
            payload.offload = offload;
            TunnelGso::takes(&outside, &payload)
        };
        assert!(is_taken(&octets, whole));
        assert!(!is_taken(&octets, Offload { gso: Gso::UdpL4, ..whole }));
        assert!(!is_taken(&octets, Offload { gso: Gso::TcpV6, ..whole }), "it contradicts the frame");
        assert!(!is_taken(&octets, Offload { csum_start: 22, ..whole }));
        assert!(!is_taken(&octets, Offload::NONE));
        octets[20..22].copy_from_slice(&[0x81, 0]);
        assert!(!is_taken(&octets, whole), "a tag inside");
        let long = [&octets[..20], &ETHERTYPE_IPV4.to_be_bytes(), &[0; 65_510 - 22]].concat();
        assert!(!is_taken(&long, whole), "with its headers it would be longer than a packet");
    }
}
