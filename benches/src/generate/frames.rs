//! 64-byte frames: one core in `a` sends all it can, and what counts is what came up to `b`'s socket.
//!
//! A frame is 60 octets here, 64 on a wire: a TAP and a veth carry no frame check sequence. It is a UDP datagram from
//! a raw packet socket that goes straight to the driver (PACKET_QDISC_BYPASS), 64 frames a system call. It is
//! addressed to `b` (on a routed path by way of the router's MAC address) and to a socket there that is bound and never read: every subject's receiver pays for one walk
//! up to that socket, whose buffer is full, and no process is woken. (An address that `b` does not own would cost it
//! a route lookup and an error each; a closed port an ICMP answer; an unknown EtherType would spare the Linux bridge
//! the netfilter hooks that it pays for in docker0's state.) Datagrams are counted and not the frames of `b`'s interface,
//! because a subject may hand over several datagrams as one frame (GRO).
//!
//! Offered and delivered are both reported. Where the subject is a process, offered exceeds delivered, and the
//! difference was dropped at the sender's full queue. The bridge runs in the sender's own calls: both are equal.

use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::Instant;

use tapestry::sys::burst::BurstSocket;
use wire::Mac;

use super::Spans;
use super::sender::Sender;
use crate::interrupt;
use crate::site::{Endpoint, Site};

/// Octets of a frame without its frame check sequence: 64 on a wire.
pub const FRAME_LEN: usize = 60;
/// Frames a system call sends.
const BURST: usize = 64;

/// What went through.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    /// Came out at `b`, thousands a second.
    pub delivered_kfps: f64,
    /// Were sent, or refused by a full queue, at `a`, thousands a second.
    pub offered_kfps: f64,
}

/// Sends from `a` to `b` as fast as one core can.
///
/// # Errors
/// If sockets cannot be made, nothing arrives, or on interruption.
pub fn measure(site: &Site, spans: Spans) -> io::Result<Frames> {
    let sink = site.b.within(|| UdpSocket::bind((site.b.address, 0)))?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&sink, 1)?; // The kernel makes it its least.
    let std::net::SocketAddr::V4(address) = sink.local_addr()? else {
        unreachable!("it was bound to an IPv4 address")
    };
    let (socket, frame) = (site.a.within(|| BurstSocket::open(Endpoint::IFNAME))?, datagram(site, address));
    // A full queue refuses a frame, and with it the rest of the burst: that one was offered, too.
    let generator = Sender::start(move || Ok((socket.send_copies(&frame, BURST)? + 1).min(BURST) as u64));
    interrupt::sleep(spans.warm_up)?;
    let (delivered_before, offered_before, began) =
        (site.b.datagrams_received()?, generator.offered(), Instant::now());
    interrupt::sleep(spans.measured)?;
    let (delivered, offered, took) = (site.b.datagrams_received()?, generator.offered(), began.elapsed());
    generator.stop()?;
    let kfps = |frames: u64| frames as f64 / took.as_secs_f64() / 1e3;
    let (delivered, offered) = (delivered - delivered_before, offered - offered_before);
    if delivered == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "not one of the small frames arrived"));
    }
    Ok(Frames { delivered_kfps: kfps(delivered), offered_kfps: kfps(offered) })
}

fn datagram(site: &Site, to: SocketAddrV4) -> [u8; FRAME_LEN] {
    udp_frame(site.a.mac, site.next_mac(), SocketAddrV4::new(site.a.address, 9), to)
}

/// A whole frame with one UDP datagram of zeros, checksums and all.
pub fn udp_frame(src: Mac, dst: Mac, from: SocketAddrV4, to: SocketAddrV4) -> [u8; FRAME_LEN] {
    const IP_LEN: u16 = 46;
    const UDP_LEN: u16 = 26;
    let mut frame = [0; FRAME_LEN];
    frame[0..6].copy_from_slice(&dst.0);
    frame[6..12].copy_from_slice(&src.0);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&IP_LEN.to_be_bytes());
    frame[20] = 0x40; // Don't fragment.
    frame[22] = 64;
    frame[23] = 17;
    frame[26..30].copy_from_slice(&from.ip().octets());
    frame[30..34].copy_from_slice(&to.ip().octets());
    seal(&mut frame);
    frame[34..36].copy_from_slice(&from.port().to_be_bytes());
    frame[36..38].copy_from_slice(&to.port().to_be_bytes());
    frame[38..40].copy_from_slice(&UDP_LEN.to_be_bytes());
    // Summed over addresses, L4 ports and length; the pseudo-header has protocol and length once more (RFC 768).
    let mut summed = [0; 18];
    summed[..14].copy_from_slice(&frame[26..40]);
    summed[14..16].copy_from_slice(&17_u16.to_be_bytes());
    summed[16..].copy_from_slice(&UDP_LEN.to_be_bytes());
    frame[40..42].copy_from_slice(&checksum(&summed).to_be_bytes());
    frame
}

/// Makes the IP header's checksum right.
pub(super) fn seal(frame: &mut [u8; FRAME_LEN]) {
    frame[24..26].fill(0);
    let checksum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
}

/// RFC 1071, in its plainest form, of whole words: the packet path's own is what other benches measure.
pub(super) fn checksum(octets: &[u8]) -> u16 {
    let sum: u32 = octets.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("so few words carry at most once more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_a_datagram_with_true_checksums() {
        let address = |text: &str| text.parse().unwrap();
        let frame = udp_frame(Mac([2; 6]), Mac([4; 6]), address("10.0.0.1:9"), address("10.0.0.2:7"));
        assert_eq!(checksum(&frame[14..34]), 0, "a header with its checksum sums to zero");
        assert_eq!(usize::from(u16::from_be_bytes([frame[16], frame[17]])) + 14, FRAME_LEN);
        assert_eq!(frame[36..38], [0, 7]);
        let headers = wire::Headers::parse(&frame).unwrap();
        let udp = &frame[headers.l4..headers.end];
        let pseudo = headers.pseudo_sum(&frame, 26).unwrap();
        assert!((pseudo + wire::checksum::Sum::of(udp)).is_intact());
    }
}
