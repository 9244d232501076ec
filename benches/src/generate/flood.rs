//! Round trips of an innocent flow while somebody floods the router.
//!
//! Round trips go from `a` to `b` and back, the next when the last is answered: by turns undisturbed and under each
//! [`Flood`], out of `c`, who has a network and an interface of his own, or from outside over the uplink that the
//! answers come by. What counts is how much longer the 99th percentile becomes than just before.
//!
//! Floods have a fixed rate. At full speed the sender alone takes one of two cores, and what is measured then is how the
//! scheduler shares the other. Frames are sound but for what makes them hostile: right checksums, sources that the
//! network may have, each frame another connection. Who is attacked answers as a host does that has had enough: a
//! listener with a full queue, which drops without a word, so that connections stay half open.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tapestry::sys::burst::BurstSocket;
use wire::Mac;

use super::Spans;
use super::frames::{FRAME_LEN, checksum, seal, udp_frame};
use super::round_trip::{self, RoundTrips};
use super::sender::Sender;
use crate::interrupt;
use crate::metric::Metric;
use crate::site::{Endpoint, Site, mac_of};

/// Frames a second, by default.
pub const RATE: u32 = 50_000;
/// Frames a system call sends: at the default rate one each 320 µs.
const BURST: usize = 16;
/// A sender that is late by more gives up what it has missed.
const LATE_MAX: Duration = Duration::from_millis(10);
/// Where the one listens who drops connections from `c`.
const SILENT_L4_PORT: u16 = 7;
/// What is published of `a`, and where it listens there.
const PUBLISHED: (u16, u16) = (8_080, 80);

/// What is sent in masses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// SYNs from inside to one outside listener, each from another endpoint, never answered.
    SynInside,
    /// SYNs from outside to a published port, likewise.
    SynOutside,
    /// From inside to every L4 port of the router's addresses.
    ScanInside,
    /// From outside to every L4 port of the uplink's address, TCP and UDP by turns.
    ScanOutside,
    /// First fragments of datagrams whose rest never comes.
    HalfDatagrams,
    /// To every address of the networks of `a` and `c`, where nobody lives.
    ScanSubnets,
}

impl Flood {
    /// All of them, in the order they run.
    pub const ALL: [Self; 6] = [
        Self::SynInside,
        Self::SynOutside,
        Self::ScanInside,
        Self::ScanOutside,
        Self::HalfDatagrams,
        Self::ScanSubnets,
    ];

    /// What says how much longer round trips take under it.
    pub fn metric(self) -> Metric {
        match self {
            Self::SynInside => Metric::FloodSynInside,
            Self::SynOutside => Metric::FloodSynOutside,
            Self::ScanInside => Metric::FloodScanInside,
            Self::ScanOutside => Metric::FloodScanOutside,
            Self::HalfDatagrams => Metric::FloodHalfDatagrams,
            Self::ScanSubnets => Metric::FloodScanSubnets,
        }
    }

    /// Who sends it.
    fn origin(self, site: &Site) -> io::Result<&Endpoint> {
        match self {
            Self::SynInside | Self::ScanInside | Self::HalfDatagrams | Self::ScanSubnets => site.disturber(),
            Self::SynOutside | Self::ScanOutside => Ok(&site.b),
        }
    }

    /// The frame with this number.
    fn frame(self, own: Mac, number: u64) -> [u8; FRAME_LEN] {
        // Neighbouring numbers become far apart ones: what is flooded is no neat row.
        let [spread, low, ..] = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let count = u16::try_from(number & 0xffff).expect("16 bits");
        let inside = SocketAddrV4::new(Ipv4Addr::new(10, 97, 0, 2 + spread % 250), count);
        let outside = SocketAddrV4::new(Ipv4Addr::new(10, 98, 0, 3 + spread % 250), count | 1);
        let (c, b) = (mac_of(Site::C_GATEWAY), mac_of(Site::B_GATEWAY));
        let host = |network, number| Ipv4Addr::new(10, network, 0, number);
        match self {
            Self::SynInside => syn(own, c, inside, SocketAddrV4::new(host(98, 2), SILENT_L4_PORT)),
            Self::SynOutside => syn(own, b, outside, SocketAddrV4::new(Site::B_GATEWAY, PUBLISHED.0)),
            Self::ScanInside => {
                let router = if number & 1 == 0 { Site::C_GATEWAY } else { Site::B_GATEWAY };
                syn(own, c, inside, SocketAddrV4::new(router, count))
            }
            Self::ScanOutside => {
                let to = SocketAddrV4::new(Site::B_GATEWAY, count);
                if low & 1 == 0 { syn(own, b, outside, to) } else { udp_frame(own, b, outside, to) }
            }
            Self::HalfDatagrams => {
                let whole = udp_frame(own, c, inside, SocketAddrV4::new(host(98, 2), SILENT_L4_PORT));
                first_fragment(whole, count)
            }
            Self::ScanSubnets => {
                let network = if low & 1 == 0 { 97 } else { 99 };
                let nobody = host(network, 3 + u8::try_from(number % 250).expect("below 250"));
                udp_frame(own, c, inside, SocketAddrV4::new(nobody, count | 1))
            }
        }
    }
}

/// Round trips without and under one flood.
#[derive(Clone, Copy, Debug)]
pub struct Flooded {
    /// Which.
    pub flood: Flood,
    /// Just before it.
    pub quiet: RoundTrips,
    /// Under it.
    pub trips: RoundTrips,
    /// Hostile frames a second that were sent, thousands.
    pub offered_kfps: f64,
}

/// Measures round trips without and under every flood.
///
/// # Errors
/// If sockets cannot be made, no round trip succeeds, or on interruption.
pub fn measure(site: &Site, rate: u32, spans: Spans) -> io::Result<Vec<Flooded>> {
    let _listeners = (silent(&site.b, SILENT_L4_PORT)?, silent(&site.a, PUBLISHED.1)?);
    Flood::ALL.into_iter().map(|flood| under(site, flood, rate, spans)).collect()
}

fn under(site: &Site, flood: Flood, rate: u32, spans: Spans) -> io::Result<Flooded> {
    let quiet = round_trip::closed_loop(site, spans)?;
    let origin = flood.origin(site)?;
    let (socket, own) = (origin.within(|| BurstSocket::open(Endpoint::IFNAME))?, origin.mac);
    let mut pace = Pace::new(rate);
    let mut number = 0;
    let sender = Sender::start(move || {
        pace.wait()?;
        let burst: [[u8; FRAME_LEN]; BURST] =
            std::array::from_fn(|index| flood.frame(own, number + index as u64));
        number += BURST as u64;
        socket.send(burst.iter().map(<[u8; FRAME_LEN]>::as_slice))?;
        Ok(BURST as u64)
    });
    let began = Instant::now();
    let trips = round_trip::closed_loop(site, spans)?;
    let offered_kfps = sender.offered() as f64 / began.elapsed().as_secs_f64() / 1e3;
    sender.stop()?;
    Ok(Flooded { flood, quiet, trips, offered_kfps })
}

/// When the next burst is due.
struct Pace {
    due: Instant,
    period: Duration,
}

impl Pace {
    fn new(rate: u32) -> Self {
        Self { due: Instant::now(), period: Duration::from_secs(BURST as u64) / rate }
    }

    /// Waits for it.
    fn wait(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if now > self.due + LATE_MAX {
            self.due = now;
        }
        let left = self.due.saturating_duration_since(now);
        if !left.is_zero() {
            interrupt::check()?;
            std::thread::sleep(left);
        }
        self.due += self.period;
        Ok(())
    }
}

/// A listener whose queue is full: whoever knocks hears nothing.
fn silent(at: &Endpoint, l4_port: u16) -> io::Result<(OwnedFd, std::net::TcpStream)> {
    let address = SocketAddrV4::new(at.address, l4_port);
    at.within(|| {
        let listener =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&listener, &address)?;
        rustix::net::listen(&listener, 0)?;
        // One connection fits a queue of none; nobody accepts it.
        let only = std::net::TcpStream::connect_timeout(&address.into(), Endpoint::PATIENCE)?;
        Ok((listener, only))
    })
}

/// A TCP SYN without options, both checksums right, padded to the least length of a frame.
pub(crate) fn syn(src: Mac, dst: Mac, from: SocketAddrV4, to: SocketAddrV4) -> [u8; FRAME_LEN] {
    let mut frame = udp_frame(src, dst, from, to);
    frame[16..18].copy_from_slice(&40_u16.to_be_bytes());
    frame[23] = 6;
    seal(&mut frame);
    frame[38..FRAME_LEN].fill(0);
    frame[46..48].copy_from_slice(&[0x50, 2]); // Five words, SYN.
    frame[48..50].copy_from_slice(&[0xff, 0xff]);
    // Behind the pseudo-header: addresses, protocol, length.
    let covered = [&frame[26..54], &[0, 6, 0, 20]].concat();
    frame[50..52].copy_from_slice(&checksum(&covered).to_be_bytes());
    frame
}

/// The first 24 octets behind the IP header as the first fragment of a longer datagram.
pub(crate) fn first_fragment(mut frame: [u8; FRAME_LEN], id: u16) -> [u8; FRAME_LEN] {
    frame[16..18].copy_from_slice(&44_u16.to_be_bytes());
    frame[18..20].copy_from_slice(&id.to_be_bytes());
    frame[20] = 0x20; // More fragments.
    frame[38..40].copy_from_slice(&1_000_u16.to_be_bytes());
    seal(&mut frame);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::headers::{Fragment, Headers};

    #[test]
    fn every_flood_is_of_sound_packets_to_the_router() {
        for flood in Flood::ALL {
            for number in [0, 1, 2, 65_535, 65_536, 1_000_000] {
                let frame = flood.frame(Mac([2; 6]), number);
                let headers = Headers::parse(&frame).unwrap();
                assert_eq!(checksum(&frame[14..34]), 0, "{flood:?} {number}");
                let is_half = flood == Flood::HalfDatagrams;
                assert_eq!(headers.fragment == Fragment::First, is_half, "{flood:?} {number}");
                if headers.protocol == 6 {
                    let covered = [&frame[26..54], &[0, 6, 0, 20]].concat();
                    assert_eq!(checksum(&covered), 0, "{flood:?} {number}");
                }
                let [first, second] =
                    if matches!(flood, Flood::SynOutside | Flood::ScanOutside) { [98, 98] } else { [97, 97] };
                assert_eq!([frame[3], frame[27]], [first, second], "{flood:?} {number}");
            }
        }
    }

    #[test]
    fn a_flood_is_of_many_endpoints() {
        let sources: std::collections::BTreeSet<Vec<u8>> =
            (0..10_000).map(|number| Flood::SynInside.frame(Mac([2; 6]), number)[26..36].to_vec()).collect();
        assert_eq!(sources.len(), 10_000);
    }
}
