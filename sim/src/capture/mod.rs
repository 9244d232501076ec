//! Captures: packets with their times, from pcap or pcapng and to pcapng.
//!
//! A file is read and written one packet at a time, so memory does not grow with it. Two link types are understood:
//! Ethernet (1), and USER0 (147), which here is Ethernet behind the 24 octets of a virtio-net header, so that
//! super-segments, unfinished checksums and lying headers can be recorded and replayed.
//!
//! Times are nanoseconds, whatever the file's resolution. A packet that is earlier than the one before it in its file,
//! as multi-queue captures have them, keeps its place and takes the time of the latest before it: the order of a file
//! is the order on its wire. What cannot be replayed truthfully is an error with file and packet number: a packet that
//! was captured in part, another link type, a packet without a time, a file that ends within a packet.

mod read;
mod stream;
mod write;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use pcap_file::DataLink;
use wire::offload::VNET_HDR_LEN;
use wire::{FrameBuf, Instant};

pub use read::{CaptureReader, INTERFACES_MAX};
pub use stream::{CaptureStream, Caught, Direction, Interface};
pub use write::CaptureWriter;

/// What a packet of a capture starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The Ethernet header.
    Ethernet,
    /// A virtio-net header of 24 octets, then the Ethernet header.
    VirtioEthernet,
}

impl Link {
    /// The meaning of a link type, or the number itself if it is foreign.
    const fn of(link_type: u32) -> Result<Self, u32> {
        match link_type {
            1 => Ok(Self::Ethernet),
            147 => Ok(Self::VirtioEthernet),
            foreign => Err(foreign),
        }
    }

    const fn data_link(self) -> DataLink {
        match self {
            Self::Ethernet => DataLink::ETHERNET,
            Self::VirtioEthernet => DataLink::USER0,
        }
    }
}

/// One packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its place in the file, from 1, as other tools count.
    pub number: u64,
    /// When.
    pub at: Instant,
    /// What its octets start with.
    pub link: Link,
    /// Its octets.
    pub bytes: Vec<u8>,
}

impl Packet {
    /// An empty packet for [`CaptureReader::read`] to fill.
    pub const fn empty() -> Self {
        Self { number: 0, at: Instant::ZERO, link: Link::Ethernet, bytes: Vec::new() }
    }

    /// The octets from the destination address on.
    pub fn frame(&self) -> &[u8] {
        match self.link {
            Link::Ethernet => &self.bytes,
            Link::VirtioEthernet => self.bytes.get(VNET_HDR_LEN..).unwrap_or_default(),
        }
    }

    /// Puts the packet into `frame` as a device would deliver it. The reader has seen to it that it fits.
    pub fn deliver(&self, frame: &mut FrameBuf) {
        match self.link {
            Link::Ethernet => {
                assert!(frame.fill(&self.bytes), "the reader refuses packets that are too long");
            }
            Link::VirtioEthernet => {
                frame.receive_area()[..self.bytes.len()].copy_from_slice(&self.bytes);
                frame.received(self.bytes.len());
            }
        }
    }
}

/// A capture could not be read or written.
#[derive(Debug)]
pub struct CaptureError {
    /// The file.
    pub path: PathBuf,
    /// The packet, from 1; absent if the trouble is the file's.
    pub packet: Option<u64>,
    /// What is wrong, and what to do if something can be done.
    pub what: String,
}

impl CaptureError {
    fn of_file(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), packet: None, what: what.into() }
    }

    fn of_packet(path: &Path, number: u64, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), packet: Some(number), what: what.into() }
    }

    /// The operating system said no to `tried`.
    pub(crate) fn io(path: &Path, tried: &str, error: &io::Error) -> Self {
        Self::of_file(path, format!("cannot {tried}: {error}"))
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        if let Some(number) = self.packet {
            write!(f, "packet {number}: ")?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for CaptureError {}

#[cfg(test)]
mod tests;
