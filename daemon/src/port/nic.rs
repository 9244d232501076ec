//! The driver of uplinks: a station of our own, with its own MAC address, on an interface that the host keeps using.
//!
//! ```text
//!  the wire ─▶ interface ─┬▶ filter ─▶ socket buffer (full: dropped, counted) ─▶ receive: one call, one frame
//!                         └▶ the host's stack, as ever
//!  the wire ◀─ interface ◀─ queueing discipline ◀──────────────────────────────── send: one call, one frame
//! ```
//!
//! A packet socket with the kernel's offload metadata, so that super-segments (from GRO, or the other end of a veth pair)
//! pass both ways whole; what the interface cannot cut or sum, the kernel does for it. The metadata are the first 10
//! octets of what TAP devices have, in the machine's order; the other 14 are zero.
//!
//! The filter lets in frames to our address and to groups, and is there before the socket hears anything: not what the
//! host sends and receives itself. The interface is asked to receive our address beside its own, and the groups by
//! which IPv6 neighbours ask for us; one that cannot filter becomes promiscuous. All of that ends with the socket, so
//! with the process. As with macvlan, the host and this station cannot reach each other over the interface: what
//! either sends goes to the wire.
//!
//! Refuses, in the filter: frames with a VLAN tag other than 0, because the interface's VLANs are the host's. A card
//! that joins segments itself (LRO) vouches for their checksums; [`wire::segment::reopen`] makes them like the others.
//! Frames longer than 64 KiB (where somebody has allowed those, `gro_max_size`) and what else the metadata cannot describe
//! are errors of [`PortIo::receive`], frame by frame.
//!
//! One queue, whatever the number of workers: it is for the router, which is worker 0's. Limits: `RECEIVE_BUFFER`,
//! `SEND_BUFFER`. While the interface is down or without carrier, sending says so; it recovers by itself.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use wire::offload::{NEEDS_CSUM, VNET_HDR_LEN};
use wire::{Cidr, FrameBuf, Mac, UnicastMac, segment};

use super::{PortIo, exact_header_len};
use crate::sys::station::{self, HEADER_LEN, Membership};
use crate::sys::tried;

/// Octets that may wait for the worker, half of what the kernel then reckons its own structures in: some thousand frames
/// or a hundred super-segments. Beyond it the kernel drops, counted.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;
/// Octets that may wait in the interface, likewise. Beyond it sending says "no room".
const SEND_BUFFER: usize = 4 * 1024 * 1024;

/// Where the short header starts in the room that a frame has for the long one: so that the frame follows it.
const SHORT_HEADER_AT: usize = VNET_HDR_LEN - HEADER_LEN;

/// Whether the interface can carry frames, told by whoever watches it: the kernel takes frames for an interface without
/// carrier and silently throws them away.
#[derive(Clone, Debug)]
pub struct Link(Arc<AtomicBool>);

impl Link {
    /// The interface can (`true`) or cannot carry frames from now on.
    pub fn set(&self, carries: bool) {
        self.0.store(carries, Ordering::Relaxed);
    }

    /// What was told last.
    pub fn carries(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An interface on which we are a station.
#[derive(Debug)]
pub struct Nic {
    queue: NicQueue,
    /// Whether the interface had to become promiscuous because it refused another address.
    pub is_promiscuous: bool,
}

impl Nic {
    /// Becomes a station with these addresses on the interface of this index in the namespace of the calling thread.
    /// Neither the interface nor the host gets any of the addresses.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW and CAP_NET_ADMIN; ENODEV without such an interface.
    pub fn open(index: u32, mac: UnicastMac, addresses: &[Cidr]) -> io::Result<Self> {
        let socket = station::open().map_err(tried("opening a packet socket (this needs CAP_NET_RAW)"))?;
        let on = socket.as_fd();
        station::set_header(on).map_err(tried("asking for offload metadata"))?;
        station::ignore_outgoing(on).map_err(tried("leaving out what the host sends"))?;
        station::set_buffers(on, RECEIVE_BUFFER, SEND_BUFFER).map_err(tried("setting socket buffers"))?;
        station::attach_filter(on, &filter(mac.mac())).map_err(tried("attaching the filter"))?;
        let is_promiscuous = match station::join(on, index, Membership::Unicast(mac.mac().0)) {
            Ok(()) => false,
            Err(_) => {
                station::join(on, index, Membership::Promiscuous).map_err(tried("receiving its address"))?;
                true
            }
        };
        for group in groups(mac.mac(), addresses) {
            station::join(on, index, Membership::Group(group.0))
                .map_err(tried(format!("receiving group {group}")))?;
        }
        station::bind(on, index).map_err(tried("binding a packet socket"))?;
        let queue = NicQueue { socket, link: Link(Arc::new(AtomicBool::new(true))) };
        Ok(Self { queue, is_promiscuous })
    }

    /// Where to tell that the interface's state has changed; it carries frames to begin with.
    pub fn link(&self) -> Link {
        self.queue.link.clone()
    }

    /// The one queue.
    pub fn into_queue(self) -> NicQueue {
        self.queue
    }
}

/// Our end of the interface.
#[derive(Debug)]
pub struct NicQueue {
    socket: OwnedFd,
    link: Link,
}

impl PortIo for NicQueue {
    fn receive(&mut self, frame: &mut FrameBuf) -> io::Result<()> {
        let area = frame.receive_area();
        let room = area.len() - SHORT_HEADER_AT;
        let mut take = || rustix::net::recv(&self.socket, &mut area[SHORT_HEADER_AT..], RecvFlags::TRUNC);
        let taken = match take() {
            // That the interface has gone down is said once; frames that came before may still be waiting.
            Err(Errno::NETDOWN) => take(),
            taken => taken,
        };
        let (_, octets) = taken?;
        if octets > room {
            return Err(Errno::MSGSIZE.into());
        }
        let is_joined = lengthen(area);
        frame.received(SHORT_HEADER_AT + octets);
        // A claim that stays wrong is the node's to refuse: it reads the same header.
        if is_joined && frame.parse_offload().is_err() && segment::reopen(frame) {
            frame.send_area(); // Writes the header.
        }
        Ok(())
    }

    fn send(&mut self, frame: &mut FrameBuf) -> io::Result<()> {
        if !self.link.carries() {
            return Err(Errno::NETDOWN.into());
        }
        frame.offload.hdr_len = exact_header_len(frame.offload, frame.bytes());
        let area = frame.send_area();
        let mut header = *area.first_chunk().expect("the long header is in front");
        swap(&mut header);
        rustix::io::writev(&self.socket, &[IoSlice::new(&header), IoSlice::new(&area[VNET_HDR_LEN..])])?;
        Ok(())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn error_is_the_end(&self) -> bool {
        false // It is about the link, and sending says it again.
    }

    fn is_only_queue(&self) -> bool {
        true
    }

    fn take_overruns(&mut self) -> u64 {
        station::take_drops(self.socket.as_fd()).map_or(0, u64::from)
    }
}

/// Makes the short header that was received in the last octets of the room for the long one a long one. Returns whether
/// it is a super-segment whose checksum is not asked for.
fn lengthen(area: &mut [u8]) -> bool {
    let short = area[SHORT_HEADER_AT..].first_chunk().expect("there is room for a frame");
    let mut octets: [u8; HEADER_LEN] = *short;
    swap(&mut octets);
    area[..HEADER_LEN].copy_from_slice(&octets);
    area[HEADER_LEN..VNET_HDR_LEN].fill(0);
    octets[1] != 0 && octets[0] & NEEDS_CSUM == 0
}

/// Packet sockets have numbers in the machine's order, `wire` little-endian. Nothing to do on most machines.
fn swap(header: &mut [u8; HEADER_LEN]) {
    for number in header[2..].as_chunks_mut::<2>().0 {
        *number = u16::from_ne_bytes(*number).to_le_bytes();
    }
}

/// The groups that a station with these addresses has to hear: for each IPv6 address, and for the link-local one that
/// belongs to the MAC address, the solicited-node group (RFC 4291 §2.7.1), and all nodes.
fn groups(mac: Mac, addresses: &[Cidr]) -> Vec<Mac> {
    let [.., x, y, z] = mac.0;
    let mut tails = vec![[0, 0, 0, 1], [0xff, x, y, z]];
    for address in addresses {
        if let IpAddr::V6(v6) = address.address() {
            let [.., x, y, z] = v6.octets();
            tails.push([0xff, x, y, z]);
        }
    }
    tails.into_iter().map(|[a, b, c, d]| Mac([0x33, 0x33, a, b, c, d])).collect()
}

/// The frames that are for this station, as a program of classic BPF (Documentation/networking/filter.rst).
fn filter(mac: Mac) -> Vec<libc::sock_filter> {
    const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    const LOAD_OCTET: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const IF_SET: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    /// Where the kernel's knowledge about the frame is loaded from.
    const fn known(what: libc::c_int) -> u32 {
        (libc::SKF_AD_OFF + what).cast_unsigned()
    }
    let [a, b, c, d, e, f] = mac.0;
    // Operation, operand, and how many instructions to skip if so and if not.
    let program: [(u32, u32, u8, u8); 12] = [
        (LOAD_OCTET, 0, 0, 0),
        (IF_SET, 1, 4, 0), // To a group.
        (LOAD_WORD, 0, 0, 0),
        (IF_EQUAL, u32::from_be_bytes([a, b, c, d]), 0, 7),
        (LOAD_HALF, 4, 0, 0),
        (IF_EQUAL, u32::from(u16::from_be_bytes([e, f])), 0, 5),
        (LOAD_OCTET, known(libc::SKF_AD_VLAN_TAG_PRESENT), 0, 0),
        (IF_EQUAL, 0, 4, 0),
        (LOAD_HALF, known(libc::SKF_AD_VLAN_TAG), 0, 0),
        (AND, 0xfff, 0, 0), // Without priority.
        (IF_EQUAL, 0, 1, 0),
        (RETURN, 0, 0, 0),
    ];
    let accept = (RETURN, u32::MAX, 0, 0);
    let instruction = |(code, k, jt, jf)| libc::sock_filter {
        code: u16::try_from(code).expect("operation codes have 16 bits"),
        jt,
        jf,
        k,
    };
    program.into_iter().chain([accept]).map(instruction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::offload::{DATA_VALID, Gso};
    use wire::{FramePool, Offload};

    #[test]
    fn a_short_header_becomes_a_long_one() {
        let mut frame = FramePool::default().take();
        let area = frame.receive_area();
        area[..VNET_HDR_LEN].fill(0xa5);
        // NEEDS_CSUM, TSO4, 66 octets of headers, MSS 1448, checksum at 34 + 16.
        let numbers = [66_u16, 1448, 34, 16].map(u16::to_ne_bytes).concat();
        area[SHORT_HEADER_AT..VNET_HDR_LEN].copy_from_slice(&[&[1, 1], numbers.as_slice()].concat());
        assert!(!lengthen(area));
        frame.received(VNET_HDR_LEN + 1000);
        frame.parse_offload().unwrap();
        let expected = Offload {
            flags: NEEDS_CSUM,
            gso: Gso::TcpV4,
            hdr_len: 66,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
            ..Offload::NONE
        };
        assert_eq!(frame.offload, expected);
        let area = frame.receive_area();
        area[SHORT_HEADER_AT..VNET_HDR_LEN].copy_from_slice(&[&[DATA_VALID, 1], numbers.as_slice()].concat());
        assert!(lengthen(area), "the card has joined it");
    }

    #[test]
    fn the_groups_of_neighbour_discovery_are_heard() {
        let addresses: Vec<Cidr> =
            ["192.0.2.7/24", "2001:db8::12:3456/64"].map(|text| text.parse().unwrap()).into();
        let groups = groups(Mac([2, 0, 0, 0xaa, 0xbb, 0xcc]), &addresses);
        let text: Vec<String> = groups.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["33:33:00:00:00:01", "33:33:ff:aa:bb:cc", "33:33:ff:12:34:56"]);
    }

    /// Every way through the program, walked by a machine of a few lines.
    #[test]
    fn the_filter_lets_in_our_address_and_groups_without_a_vlan() {
        let mac = Mac([2, 0x42, 0xc0, 0, 2, 7]);
        let groups = [[0xff; 6], [0x33, 0x33, 0, 0, 0, 1], [1, 0x80, 0xc2, 0, 0, 0]];
        let others = [[2, 0x42, 0xc0, 0, 2, 8], [2, 0x42, 0xc0, 1, 2, 7], [0; 6]];
        for tag in [None, Some(0), Some(0xe000)] {
            assert!(heard(mac, mac.0, tag) && groups.iter().all(|group| heard(mac, *group, tag)));
            assert!(!others.iter().any(|other| heard(mac, *other, tag)));
        }
        for tag in [Some(1), Some(0xefff)] {
            assert!(!heard(mac, mac.0, tag) && !groups.iter().any(|group| heard(mac, *group, tag)));
        }
    }

    fn heard(mac: Mac, dst: [u8; 6], tag: Option<u16>) -> bool {
        let program = filter(mac);
        let (mut at, mut a) = (0, 0);
        loop {
            let libc::sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let known = k.cast_signed() - libc::SKF_AD_OFF;
            let jumps = match u32::from(code) & 7 {
                libc::BPF_LD if known == libc::SKF_AD_VLAN_TAG_PRESENT => {
                    a = u32::from(tag.is_some());
                    continue;
                }
                libc::BPF_LD if known == libc::SKF_AD_VLAN_TAG => {
                    a = u32::from(tag.unwrap());
                    continue;
                }
                libc::BPF_LD => {
                    let width = match u32::from(code) & 0x18 {
                        libc::BPF_W => 4,
                        libc::BPF_H => 2,
                        _ => 1,
                    };
                    let from = usize::try_from(k).unwrap();
                    a = dst[from..from + width].iter().fold(0, |sum, octet| sum << 8 | u32::from(*octet));
                    continue;
                }
                libc::BPF_ALU => {
                    a &= k;
                    continue;
                }
                libc::BPF_RET => return k != 0,
                _ if u32::from(code) & 0xf0 == libc::BPF_JSET => a & k != 0,
                _ => a == k,
            };
            at += usize::from(if jumps { jt } else { jf });
        }
    }
}
