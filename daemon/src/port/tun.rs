//! The TUN driver: IP packets of a network interface as Ethernet frames, so that the corridor knows one thing only.
//!
//! ```text
//!  host's stack ─▶ packet ─▶ receive: [router's MAC][station's MAC][type by the packet's version] packet
//!  host's stack ◀─ packet ◀─ send:    header taken away; what is no IP is refused
//! ```
//!
//! The virtio header counts from where the packet begins, so its positions are moved by the Ethernet header's length. The
//! packet is read into its place behind the header and written from there: nothing is copied. Packets of no known version
//! keep an EtherType that nobody takes, and are dropped by name further on. One queue; offloads as a TAP's.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;

use wire::offload::VNET_HDR_LEN;
use wire::{FrameBuf, UnicastMac};

use super::tap::TapQueue;
use super::{PortIo, exact_header_len};

/// Octets of an untagged Ethernet header.
const ETHERNET: usize = 14;
/// The same, as positions move.
const ETHERNET_SHIFT: u16 = 14;
/// In a virtio header: where the octets of headers are counted, and where the checksum's start is.
const HDR_LEN_AT: usize = 2;
const CSUM_START_AT: usize = 6;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// IEEE 802's first experimental number, which stands for none.
const ETHERTYPE_NONE: [u8; 2] = [0x88, 0xb5];

/// The queue of a TUN device.
#[derive(Debug)]
pub struct TunQueue {
    queue: TapQueue,
    router: UnicastMac,
    station: UnicastMac,
}

impl TunQueue {
    /// Of a device made by [`super::Tap::create_tun`]. Packets are the station's, for the router.
    pub const fn new(queue: TapQueue, router: UnicastMac, station: UnicastMac) -> Self {
        Self { queue, router, station }
    }
}

impl PortIo for TunQueue {
    fn receive(&mut self, frame: &mut FrameBuf) -> io::Result<()> {
        let (header, rest) = frame.receive_area().split_at_mut(VNET_HDR_LEN);
        let (ethernet, packet) = rest.split_at_mut(ETHERNET);
        let mut places = [IoSliceMut::new(header), IoSliceMut::new(packet)];
        let read = rustix::io::readv(self.queue.fd(), &mut places)?;
        if read <= VNET_HDR_LEN {
            frame.received(read);
            return Ok(());
        }
        ethernet[..6].copy_from_slice(&self.router.mac().0);
        ethernet[6..12].copy_from_slice(&self.station.mac().0);
        ethernet[12..].copy_from_slice(match packet[0] >> 4 {
            4 => &ETHERTYPE_IPV4,
            6 => &ETHERTYPE_IPV6,
            _ => &ETHERTYPE_NONE,
        });
        shift(header, |position| position.saturating_add(ETHERNET_SHIFT));
        frame.received(read + ETHERNET);
        Ok(())
    }

    fn send(&mut self, frame: &mut FrameBuf) -> io::Result<()> {
        frame.offload.hdr_len = exact_header_len(frame.offload, frame.bytes());
        let area = frame.send_area();
        let (header, rest) = area.split_at(VNET_HDR_LEN);
        let Some((ethernet, packet)) = rest.split_at_checked(ETHERNET) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        if ethernet[12..] != ETHERTYPE_IPV4 && ethernet[12..] != ETHERTYPE_IPV6 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL)); // ARP, say.
        }
        let mut own: [u8; VNET_HDR_LEN] = *header.first_chunk().expect("it was split there");
        shift(&mut own, |position| position.saturating_sub(ETHERNET_SHIFT));
        rustix::io::writev(self.queue.fd(), &[IoSlice::new(&own), IoSlice::new(packet)])?;
        Ok(())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.queue.fd()
    }
}

/// Moves the positions of a virtio header that has some.
fn shift(header: &mut [u8], by: impl Fn(u16) -> u16) {
    if header[0] == 0 && header[1] == 0 {
        return; // Nothing is left to do with the packet.
    }
    for at in [HDR_LEN_AT, CSUM_START_AT] {
        let position = u16::from_le_bytes([header[at], header[at + 1]]);
        header[at..at + 2].copy_from_slice(&by(position).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_move_and_nothing_else_does() {
        let mut header = [0; VNET_HDR_LEN];
        shift(&mut header, |position| position + 14);
        assert_eq!(header, [0; VNET_HDR_LEN], "a finished packet has no positions");
        header[..10].copy_from_slice(&[1, 1, 40, 0, 0x78, 5, 20, 0, 16, 0]);
        shift(&mut header, |position| position + 14);
        assert_eq!(header[..10], [1, 1, 54, 0, 0x78, 5, 34, 0, 16, 0]);
        shift(&mut header, |position| position.saturating_sub(14));
        assert_eq!(header[..10], [1, 1, 40, 0, 0x78, 5, 20, 0, 16, 0]);
    }
}
