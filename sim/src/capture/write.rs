//! Writing: little-endian pcapng with nanoseconds, the same octets on every machine.
//!
//! A capture has an interface with the port's name for Ethernet, and as soon as a packet needs it a second one for
//! Ethernet behind a virtio header. The file is open only while a full buffer is written to it, so that a thousand
//! ports need no thousand descriptors.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::ENHANCED_PACKET_BLOCK;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{Endianness, PcapError};
use wire::{FrameBuf, Instant, Offload};

use super::{CaptureError, Link};

/// Octets kept before they are written.
const BUFFER_MAX: usize = 64 * 1024;
/// `if_tsresol`: 10⁻⁹ seconds.
const NANOSECONDS: u8 = 9;

/// Octets of an Enhanced Packet Block beside the packet and what pads it.
const BLOCK_OVERHEAD: u32 = 32;

/// A capture being written.
pub struct CaptureWriter {
    path: PathBuf,
    name: String,
    blocks: PcapNgWriter<Vec<u8>>,
    interfaces: [Option<u32>; 2],
}

impl CaptureWriter {
    /// Creates `path`, or empties it, for the packets of the interface `name`.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path, name: &str) -> Result<Self, CaptureError> {
        File::create(path).map_err(|error| CaptureError::io(path, "create it", &error))?;
        let blocks = PcapNgWriter::with_endianness(Vec::new(), Endianness::Little);
        let blocks = blocks.expect("memory takes any header");
        let mut writer = Self { path: path.to_owned(), name: name.to_owned(), blocks, interfaces: [None; 2] };
        writer.interface(Link::Ethernet);
        Ok(writer)
    }

    /// Appends a frame as it leaves, behind its virtio header if something about it is unfinished.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_frame(&mut self, at: Instant, frame: &mut FrameBuf) -> Result<(), CaptureError> {
        if frame.offload == Offload::NONE {
            self.write(at, Link::Ethernet, frame.bytes())
        } else {
            self.write(at, Link::VirtioEthernet, frame.send_area())
        }
    }

    /// Appends a packet.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, at: Instant, link: Link, bytes: &[u8]) -> Result<(), CaptureError> {
        let interface = self.interface(link);
        packet_block(self.blocks.get_mut(), interface, at.as_nanos(), bytes);
        if self.blocks.get_ref().len() >= BUFFER_MAX { self.flush() } else { Ok(()) }
    }

    /// Writes what has been kept back.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        let kept = self.blocks.get_mut();
        let written =
            OpenOptions::new().append(true).open(&self.path).and_then(|mut file| file.write_all(kept));
        kept.clear();
        written.map_err(|error| CaptureError::io(&self.path, "write it", &error))
    }

    /// Octets kept back.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.blocks.get_ref().len()
    }

    /// The number of the interface for `link`, described if it is the first time.
    fn interface(&mut self, link: Link) -> u32 {
        let described = self.interfaces.iter().flatten().count();
        let slot = &mut self.interfaces[link as usize];
        *slot.get_or_insert_with(|| {
            let options = vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(self.name.as_str())),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ];
            let interface = InterfaceDescriptionBlock { linktype: link.data_link(), snaplen: 0, options };
            expect_written(self.blocks.write_pcapng_block(interface));
            u32::try_from(described).expect("there are two")
        })
    }
}

/// Appends an Enhanced Packet Block without options (draft-ietf-opsawg-pcapng §4.3). `pcap-file` writes the same, a word
/// at a time, and once more before to know how long it will be; here a capture's rate is decided.
fn packet_block(to: &mut Vec<u8>, interface: u32, nanos: u64, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("a frame is far shorter than 2^32 octets");
    let padding = len.wrapping_neg() % 4;
    let block_len = (BLOCK_OVERHEAD + len + padding).to_le_bytes();
    let [a, b, c, d, e, f, g, h] = nanos.to_le_bytes();
    let (low, high) = ([a, b, c, d], [e, f, g, h]);
    let mut header = [0; 28];
    let words = [
        ENHANCED_PACKET_BLOCK.to_le_bytes(),
        block_len,
        interface.to_le_bytes(),
        high,
        low,
        len.to_le_bytes(),
        len.to_le_bytes(),
    ];
    header.chunks_exact_mut(4).zip(words).for_each(|(to, word)| to.copy_from_slice(&word));
    to.extend_from_slice(&header);
    to.extend_from_slice(bytes);
    to.extend_from_slice(&[0; 3][..padding as usize]);
    to.extend_from_slice(&block_len);
}

fn expect_written(written: Result<usize, PcapError>) {
    written.expect("memory takes any block, and each names an interface that was described");
}
