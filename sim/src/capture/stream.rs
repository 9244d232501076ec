//! A live capture: pcapng octets of several interfaces, to be written wherever somebody listens.
//!
//! ```text
//!  section ─▶ an interface for each port (name, description, filter) ─▶ packets …  ─▶ statistics, when something was lost
//!             packets: direction in `epb_flags`, why it was dropped in `opt_comment`
//! ```
//!
//! Packets are as on the port's wire: without virtio header, so that every reader understands them; a super-segment is
//! one long packet and an unfinished checksum is wrong, as in any capture on a machine that offloads. The octets given
//! out end at a block's end each time, so a file that is cut off between two of them is a whole one.

use std::borrow::Cow;
use std::time::Duration;

use pcap_file::Endianness;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::{DataLink, PcapError};
use wire::Instant;

/// `if_tsresol`: 10⁻⁹ seconds.
const NANOSECONDS: u8 = 9;

/// A live capture's octets, as far as they have not been taken yet.
pub struct CaptureStream {
    blocks: PcapNgWriter<Vec<u8>>,
    filter: String,
}

/// An interface of a live capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub description: String,
}

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It came in.
    In,
    /// It left.
    Out,
}

/// A packet of a live capture.
#[derive(Clone, Copy, Debug)]
pub struct Caught<'a> {
    /// Since 1970.
    pub at: Instant,
    /// Index of its interface.
    pub interface: u32,
    /// Which way it went; `None` if it went no further.
    pub direction: Option<Direction>,
    /// How long it is, of which `bytes` are the beginning.
    pub original_len: u32,
    /// Its octets, from the destination address on.
    pub bytes: &'a [u8],
    /// What there is to say about it.
    pub comment: Option<&'a str>,
}

impl CaptureStream {
    /// A capture at these interfaces, whose packets have passed `filter`.
    pub fn new(interfaces: &[Interface], filter: &str) -> Self {
        let blocks = PcapNgWriter::with_endianness(Vec::new(), Endianness::Little);
        let blocks = blocks.expect("memory takes any header");
        let mut stream = Self { blocks, filter: filter.to_owned() };
        interfaces.iter().for_each(|interface| stream.interface(interface));
        stream
    }

    /// Another interface, whose index is the next.
    pub fn interface(&mut self, interface: &Interface) {
        let mut options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(interface.name.as_str())),
            InterfaceDescriptionOption::IfDescription(Cow::Borrowed(interface.description.as_str())),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        if !self.filter.is_empty() {
            // The first octet says that the filter is text.
            let text = [&[0][..], self.filter.as_bytes()].concat();
            options.push(InterfaceDescriptionOption::IfFilter(Cow::Owned(text)));
        }
        let block = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: 0, options };
        expect_written(self.blocks.write_pcapng_block(block));
    }

    /// Appends a packet.
    pub fn packet(&mut self, caught: &Caught<'_>) {
        let mut options = Vec::new();
        let flags = match caught.direction {
            Some(Direction::In) => Some(1),
            Some(Direction::Out) => Some(2),
            None => None,
        };
        options.extend(flags.map(EnhancedPacketOption::Flags));
        options.extend(caught.comment.map(|comment| EnhancedPacketOption::Comment(Cow::Borrowed(comment))));
        let block = EnhancedPacketBlock {
            interface_id: caught.interface,
            timestamp: Duration::from_nanos(caught.at.as_nanos()),
            original_len: caught.original_len,
            data: Cow::Borrowed(caught.bytes),
            options,
        };
        expect_written(self.blocks.write_pcapng_block(block));
    }

    /// Says at the interface that so many packets could not be kept, since the beginning.
    pub fn lost(&mut self, at: Instant, interface: u32, lost: u64) {
        let block = InterfaceStatisticsBlock {
            interface_id: interface,
            timestamp: at.as_nanos().rotate_left(32), // pcap-file 2.0 writes the halves in the wrong order.
            options: vec![InterfaceStatisticsOption::IsbIfDrop(lost)],
        };
        expect_written(self.blocks.write_pcapng_block(block));
    }

    /// Octets that have not been taken.
    pub fn len(&self) -> usize {
        self.blocks.get_ref().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what there is, whole blocks.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.blocks.get_mut())
    }
}

fn expect_written(written: Result<usize, PcapError>) {
    written.expect("memory takes any block, and each names an interface that was described");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{CaptureReader, Packet};
    use std::path::Path;

    fn times(path: &Path, port: &str) -> (Vec<u64>, (u64, u64)) {
        let mut reader = CaptureReader::open(path).unwrap().entering(port);
        let (mut packet, mut times) = (Packet::empty(), Vec::new());
        while reader.read(&mut packet).unwrap() {
            times.push(packet.at.as_nanos());
        }
        (times, reader.passed_over())
    }

    #[test]
    fn what_is_caught_is_read_again() {
        let interfaces = ["c1", "uplink"]
            .map(|name| Interface { name: name.to_owned(), description: format!("port {name}") });
        let mut stream = CaptureStream::new(&interfaces, "tcp");
        let bytes = [7; 60];
        let caught = |at, interface, direction, comment| Caught {
            at: Instant::from_nanos(at),
            interface,
            direction,
            original_len: 60,
            bytes: &bytes,
            comment,
        };
        stream.packet(&caught(1, 0, Some(Direction::In), None));
        let mut file = stream.take();
        assert!(stream.is_empty());
        stream.packet(&caught(2, 1, None, Some("dropped: admit.runt")));
        stream.lost(Instant::from_nanos(3), 1, 9);
        file.extend(stream.take());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcapng");
        std::fs::write(&path, &file).unwrap();
        let mut reader = CaptureReader::open(&path).unwrap();
        let mut packet = Packet::empty();
        for at in 1..3 {
            assert!(reader.read(&mut packet).unwrap());
            assert_eq!((packet.at.as_nanos(), packet.frame()), (at, &bytes[..]));
        }
        assert!(!reader.read(&mut packet).unwrap());

        // What enters a port has not left it, and was at no other, if one is its.
        stream.packet(&caught(4, 0, Some(Direction::Out), None));
        stream.packet(&caught(5, 1, Some(Direction::Out), None));
        stream.packet(&caught(6, 1, Some(Direction::In), None));
        let path = folder.path().join("b.pcapng");
        std::fs::write(&path, [&file[..], &stream.take()].concat()).unwrap();
        assert_eq!(times(&path, "c1"), (vec![1], (1, 3)));
        assert_eq!(times(&path, "uplink"), (vec![2, 6], (1, 2)));
        assert_eq!(times(&path, "c7"), (vec![1, 2, 6], (2, 0)));
        let has = |text: &str| file.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has("uplink") && has("port c1") && has("\0tcp") && has("dropped: admit.runt"));
    }
}
