//! Reading, on top of the `pcap-file` crate.
//!
//! The crate cuts files into blocks; what the blocks mean is decided here, because version 2.0 takes every time in a
//! pcapng file for nanoseconds, refuses pcap files whose packets were longer than the snap length, and refuses options
//! without an end mark. Its buffer is 8 MB; [`Sips`] keeps it from filling more of that than needed, so that a hundred
//! open captures cost a few megabytes.
//!
//! A pcapng file may hold more than what came in at one port: [`CaptureReader::entering`].

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::{
    ENHANCED_PACKET_BLOCK, INTERFACE_DESCRIPTION_BLOCK, PACKET_BLOCK, SIMPLE_PACKET_BLOCK,
};
use pcap_file::{Endianness, PcapError, TsResolution};
use wire::Instant;
use wire::frame::FRAME_MAX;
use wire::offload::VNET_HDR_LEN;

use super::{CaptureError, Link, Packet};

/// Interfaces that one section of a pcapng file may describe. A file with more is refused: they are kept in memory.
pub const INTERFACES_MAX: usize = 4_096;

/// Octets that one of these descriptions may have. A file with a longer one is refused likewise.
const INTERFACE_LEN_MAX: usize = 64 * 1024;
/// `if_tsresol` of an interface that does not say: microseconds.
const RESOLUTION_DEFAULT: u8 = 6;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Octets asked of the file at a time.
const SIP_MAX: usize = 128 * 1024;

const SECTION_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const PCAP_MAGICS: [u32; 4] = [0xa1b2_c3d4, 0xd4c3_b2a1, 0xa1b2_3c4d, 0x4d3c_b2a1];

/// The packets of one file, in its order.
pub struct CaptureReader {
    path: PathBuf,
    source: Source,
    /// Packets read.
    number: u64,
    latest: Instant,
    late: u64,
    entering: Option<Entering>,
}

/// What of a capture enters a port.
struct Entering {
    port: String,
    /// Whether an interface of the section has the port's name.
    is_named: bool,
    /// By interface, whether it has.
    has_name: Vec<bool>,
    left: u64,
    elsewhere: u64,
}

type Input = Sips<io::Chain<Cursor<Vec<u8>>, File>>;

enum Source {
    Pcap(PcapReader<Input>),
    PcapNg(PcapNgReader<Input>),
}

/// What a file says of a packet beside its octets.
struct Found {
    /// Link type, as a number if it is foreign.
    link: Result<Link, u32>,
    /// Nanoseconds since 1970; `None`: beyond what 64 bits hold.
    nanos: Option<u64>,
    original_len: u32,
    /// Of which interface.
    interface: usize,
    /// Whether it was seen leaving.
    has_left: bool,
    /// Whether interfaces have been described since the packet before.
    is_news: bool,
}

impl CaptureReader {
    /// Opens a capture of either format.
    ///
    /// # Errors
    /// The file cannot be read, or is neither pcap nor pcapng.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let error = |error| CaptureError::io(path, "open it", &error);
        let mut file = File::open(path).map_err(error)?;
        if file.metadata().map_err(error)?.is_dir() {
            return Err(CaptureError::of_file(path, "is a directory; name a capture in it"));
        }
        let mut magic = Vec::new();
        file.by_ref().take(4).read_to_end(&mut magic).map_err(error)?;
        let is_pcapng = magic == SECTION_MAGIC;
        let is_pcap = PCAP_MAGICS.iter().any(|known| known.to_be_bytes() == *magic);
        if !is_pcap && !is_pcapng {
            return Err(CaptureError::of_file(path, foreign(&magic)));
        }
        let broken = |error| CaptureError::of_file(path, broken(&error, "its header"));
        let input = Sips(Cursor::new(magic).chain(file));
        let source = if is_pcapng {
            Source::PcapNg(PcapNgReader::new(input).map_err(broken)?)
        } else {
            Source::Pcap(PcapReader::new(input).map_err(broken)?)
        };
        let (latest, late) = (Instant::ZERO, 0);
        Ok(Self { path: path.to_owned(), source, number: 0, latest, late, entering: None })
    }

    /// The packets that came in at this port: those that are said to have left are passed over, and those of other
    /// interfaces if one has the port's name.
    #[must_use]
    pub fn entering(mut self, port: &str) -> Self {
        let (port, has_name) = (port.to_owned(), Vec::new());
        self.entering = Some(Entering { port, is_named: false, has_name, left: 0, elsewhere: 0 });
        self
    }

    /// Packets passed over so far because they had left, and because they were of other interfaces.
    pub fn passed_over(&self) -> (u64, u64) {
        self.entering.as_ref().map_or((0, 0), |entering| (entering.left, entering.elsewhere))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Packets read so far that were earlier than the one before them.
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// Reads the next packet into `packet`; `false` after the last.
    ///
    /// # Errors
    /// The packet cannot be replayed truthfully, or the file is broken.
    pub fn read(&mut self, packet: &mut Packet) -> Result<bool, CaptureError> {
        let mut number = self.number;
        let found = loop {
            number += 1;
            let found = match &mut self.source {
                Source::Pcap(reader) => next_of_pcap(reader, &mut packet.bytes),
                Source::PcapNg(reader) => next_of_pcapng(reader, &mut packet.bytes),
            };
            let found = found.map_err(|what| CaptureError::of_packet(&self.path, number, what))?;
            let Some(found) = found else { return Ok(false) };
            if !self.passes_over(&found) {
                break found;
            }
        };
        let refused = |what| CaptureError::of_packet(&self.path, number, what);
        packet.link = found.link.map_err(|link| refused(wrong_link(link)))?;
        check_len(packet, found.original_len).map_err(refused)?;
        let nanos = found.nanos.ok_or_else(|| refused("its time is before 1970 or past 2554".to_owned()))?;
        let at = Instant::from_nanos(nanos);
        self.late += u64::from(at < self.latest);
        self.latest = self.latest.max(at);
        self.number = number;
        packet.number = number;
        packet.at = self.latest;
        Ok(true)
    }

    fn passes_over(&mut self, found: &Found) -> bool {
        let (Some(entering), Source::PcapNg(reader)) = (&mut self.entering, &self.source) else {
            return false;
        };
        if found.is_news {
            let has_name =
                reader.interfaces().iter().map(|interface| name(interface) == Some(&entering.port));
            entering.has_name = has_name.collect();
            entering.is_named = entering.has_name.contains(&true);
        }
        let is_elsewhere = entering.is_named && entering.has_name.get(found.interface) != Some(&true);
        entering.elsewhere += u64::from(is_elsewhere);
        entering.left += u64::from(found.has_left && !is_elsewhere);
        is_elsewhere || found.has_left
    }
}

fn name<'a>(interface: &'a InterfaceDescriptionBlock<'_>) -> Option<&'a str> {
    interface.options.iter().find_map(|option| {
        if let InterfaceDescriptionOption::IfName(name) = option { Some(&**name) } else { None }
    })
}

fn foreign(magic: &[u8]) -> String {
    match magic {
        [] => "is empty; a capture has at least a header".to_owned(),
        [0x1f, 0x8b, ..] => "is compressed; decompress it with gunzip first".to_owned(),
        [0x28, 0xb5, 0x2f, 0xfd] => "is compressed; decompress it with unzstd first".to_owned(),
        _ => format!("is neither pcap nor pcapng: it starts with {magic:02x?}"),
    }
}

/// What `pcap-file` found wrong, in a sentence.
fn broken(error: &PcapError, with: &str) -> String {
    match error {
        PcapError::IncompleteBuffer => format!("the file ends within {with}"),
        PcapError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("the file ends within {with}, or says that it is longer than anything may be")
        }
        PcapError::IoError(error) => format!("cannot read {with}: {error}"),
        PcapError::InvalidField(field) => format!("{with} is broken ({field})"),
        PcapError::Utf8Error(error) => format!("{with} is broken ({error})"),
        PcapError::FromUtf8Error(error) => format!("{with} is broken ({error})"),
        PcapError::InvalidInterfaceId(id) => {
            format!("{with} names interface {id}, which the file does not describe")
        }
    }
}

fn wrong_link(link: u32) -> String {
    format!(
        "link type {link} cannot enter a port; Ethernet (1) can, and USER0 (147) as Ethernet behind a virtio header. \
         Capture on one interface, not on `any`"
    )
}

fn check_len(packet: &Packet, original_len: u32) -> Result<(), String> {
    let len = packet.bytes.len();
    if len < original_len as usize {
        return Err(format!(
            "was captured in part, {len} of {original_len} octets; capture whole packets (tcpdump -s 0)"
        ));
    }
    let (least, most) = match packet.link {
        Link::Ethernet => (0, FRAME_MAX),
        Link::VirtioEthernet => (VNET_HDR_LEN, FRAME_MAX + VNET_HDR_LEN),
    };
    if len < least {
        return Err(format!("has {len} octets, and its virtio header has {least}"));
    }
    if len > most {
        return Err(format!("has {len} octets, and a port takes {most} at most"));
    }
    Ok(())
}

/// The next packet, its octets into `bytes`.
fn next_of_pcap(reader: &mut PcapReader<Input>, bytes: &mut Vec<u8>) -> Result<Option<Found>, String> {
    let header = reader.header();
    let Some(packet) = reader.next_raw_packet() else { return Ok(None) };
    let packet = packet.map_err(|error| broken(&error, "it"))?;
    bytes.clear();
    bytes.extend_from_slice(&packet.data);
    let nanos_per_unit = match header.ts_resolution {
        TsResolution::MicroSecond => 1_000,
        TsResolution::NanoSecond => 1,
    };
    let nanos = u64::from(packet.ts_sec) * NANOS_PER_SECOND + u64::from(packet.ts_frac) * nanos_per_unit;
    let link = Link::of(header.datalink.into());
    let (nanos, original_len) = (Some(nanos), packet.orig_len);
    Ok(Some(Found { link, nanos, original_len, interface: 0, has_left: false, is_news: false }))
}

/// The next packet, its octets into `bytes`; blocks that are no packets are passed over.
fn next_of_pcapng(reader: &mut PcapNgReader<Input>, bytes: &mut Vec<u8>) -> Result<Option<Found>, String> {
    let mut is_news = false;
    loop {
        let endianness = reader.section().endianness;
        let Some(block) = reader.next_raw_block() else { return Ok(None) };
        let block = block.map_err(|error| broken(&error, "it or what stands before it"))?;
        match block.type_ {
            ENHANCED_PACKET_BLOCK => {
                let header =
                    EnhancedHeader::parse(endianness, &block.body).ok_or("its block is too short")?;
                let (data, options) = block.body[EnhancedHeader::LEN..]
                    .split_at_checked(header.captured_len as usize)
                    .ok_or("is longer than its block")?;
                bytes.clear();
                bytes.extend_from_slice(data);
                let options = options.get(data.len().wrapping_neg() % 4..).unwrap_or_default();
                let has_left = has_left(endianness, options);
                let found = found_by(&header, reader.interfaces())?;
                return Ok(Some(Found { has_left, is_news, ..found }));
            }
            SIMPLE_PACKET_BLOCK => return Err("has no time (a Simple Packet Block)".to_owned()),
            PACKET_BLOCK => {
                return Err("stands in an obsolete Packet Block; rewrite the file with editcap".to_owned());
            }
            INTERFACE_DESCRIPTION_BLOCK => {
                is_news = true;
                let len = block.body.len();
                if len > INTERFACE_LEN_MAX || reader.interfaces().len() > INTERFACES_MAX {
                    return Err("stands behind more interface descriptions than fit memory".to_owned());
                }
            }
            _ => {}
        }
    }
}

/// The start of an Enhanced Packet Block's body (draft-ietf-opsawg-pcapng §4.3).
struct EnhancedHeader {
    interface: u32,
    /// In the interface's unit.
    time: u64,
    captured_len: u32,
    original_len: u32,
}

impl EnhancedHeader {
    const LEN: usize = 20;

    fn parse(endianness: Endianness, body: &[u8]) -> Option<Self> {
        let body: &[u8; Self::LEN] = body.first_chunk()?;
        let word = |index: usize| {
            let octets = [body[index * 4], body[index * 4 + 1], body[index * 4 + 2], body[index * 4 + 3]];
            match endianness {
                Endianness::Big => u32::from_be_bytes(octets),
                Endianness::Little => u32::from_le_bytes(octets),
            }
        };
        let time = u64::from(word(1)) << 32 | u64::from(word(2));
        Some(Self { interface: word(0), time, captured_len: word(3), original_len: word(4) })
    }
}

/// Whether a packet's options say that it was seen leaving (draft-ietf-opsawg-pcapng §4.3.1, `epb_flags`).
fn has_left(endianness: Endianness, mut options: &[u8]) -> bool {
    const FLAGS: u16 = 2;
    const OUTBOUND: u32 = 2;
    let half = |octets: [u8; 2]| match endianness {
        Endianness::Big => u16::from_be_bytes(octets),
        Endianness::Little => u16::from_le_bytes(octets),
    };
    while let Some(([a, b, c, d], rest)) = options.split_first_chunk() {
        let (code, len) = (half([*a, *b]), usize::from(half([*c, *d])));
        if let (FLAGS, Some(&octets)) = (code, rest.first_chunk::<4>()) {
            let flags = match endianness {
                Endianness::Big => u32::from_be_bytes(octets),
                Endianness::Little => u32::from_le_bytes(octets),
            };
            return flags & 3 == OUTBOUND;
        }
        options = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

fn found_by(header: &EnhancedHeader, interfaces: &[InterfaceDescriptionBlock<'_>]) -> Result<Found, String> {
    let interface = interfaces.get(header.interface as usize).ok_or_else(|| {
        format!("belongs to interface {}, which the file does not describe", header.interface)
    })?;
    let (mut resolution, mut offset_secs) = (RESOLUTION_DEFAULT, 0);
    for option in &interface.options {
        if let InterfaceDescriptionOption::IfTsResol(given) = option {
            resolution = *given;
        } else if let InterfaceDescriptionOption::IfTsOffset(given) = option {
            // Two's complement, which pcap-file does not know.
            offset_secs = given.cast_signed();
        }
    }
    let link = Link::of(interface.linktype.into());
    Ok(Found {
        link,
        nanos: nanos(header.time, resolution, offset_secs),
        original_len: header.original_len,
        interface: header.interface as usize,
        has_left: false,
        is_news: false,
    })
}

/// A time of `if_tsresol` units and `if_tsoffset` seconds as nanoseconds, rounded down.
fn nanos(time: u64, resolution: u8, offset_secs: i64) -> Option<u64> {
    let exponent = u32::from(resolution & 0x7f);
    let time = u128::from(time);
    let nanos = if resolution & 0x80 != 0 {
        // Units of 2⁻ᵉ seconds; 64 and 30 bits fit 128.
        (time * u128::from(NANOS_PER_SECOND)) >> exponent
    } else if exponent <= 9 {
        time * 10_u128.pow(9 - exponent)
    } else {
        10_u128.checked_pow(exponent - 9).map_or(0, |units| time / units)
    };
    let nanos = i128::try_from(nanos).ok()?;
    u64::try_from(nanos + i128::from(offset_secs) * i128::from(NANOS_PER_SECOND)).ok()
}

/// A file that gives little at a time.
struct Sips<R>(R);

impl<R: Read> Read for Sips<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let sip = buffer.len().min(SIP_MAX);
        self.0.read(&mut buffer[..sip])
    }
}
