//! Captures written by hand, by this module, and by chance.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;
use wire::offload::NEEDS_CSUM;
use wire::{FramePool, Instant, Offload};

use super::*;

const FRAME: [u8; 16] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5, 0xaa, 0xbb];

/// A pcap file in either byte order, of one packet with `fraction` in its second 7.
fn pcap(magic: u32, big: bool, link: u32, fraction: u32, original_len: u32) -> Vec<u8> {
    let len = u32::try_from(FRAME.len()).unwrap();
    let versions = if big { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
    let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut file = word(magic).to_vec();
    file.extend(versions);
    for value in [0, 0, 96, link, 7, fraction, len, original_len] {
        file.extend(word(value));
    }
    file.extend(FRAME);
    file
}

/// A pcapng file in either byte order: a section, an interface with these option octets, one packet at `time`.
fn pcapng(big: bool, link: u16, options: &[u8], interface: u32, time: u64) -> Vec<u8> {
    let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let block = |kind: u32, body: &[u8]| {
        let len = word(u32::try_from(body.len() + 12).unwrap());
        [&word(kind)[..], &len, body, &len].concat()
    };
    let section = [&word(0x1a2b_3c4d)[..], &half(1), &half(0), &[0xff; 8]].concat();
    let described = [&half(link)[..], &[0, 0], &word(0), options].concat();
    let [high, low] = [time >> 32, time & 0xffff_ffff].map(|part| word(u32::try_from(part).unwrap()));
    let len = word(u32::try_from(FRAME.len()).unwrap());
    let packet = [&word(interface)[..], &high, &low, &len, &len, &FRAME].concat();
    let unknown = block(0xbad, &[1, 2, 3, 4]);
    [block(0x0a0d_0d0a, &section), block(1, &described), unknown, block(6, &packet)].concat()
}

fn file_of(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pcap");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read_all(bytes: &[u8]) -> Result<Vec<Packet>, String> {
    let (_folder, path) = file_of(bytes);
    let error = |error: CaptureError| {
        let text = error.to_string();
        text.strip_prefix(&format!("{}: ", path.display())).expect("errors name the file").to_owned()
    };
    let mut reader = CaptureReader::open(&path).map_err(error)?;
    let (mut packets, mut packet) = (Vec::new(), Packet::empty());
    while reader.read(&mut packet).map_err(error)? {
        packets.push(packet.clone());
    }
    Ok(packets)
}

fn packet(nanos: u64, link: Link) -> Packet {
    Packet { number: 1, at: Instant::from_nanos(nanos), link, bytes: FRAME.to_vec() }
}

#[test]
fn pcap_is_read_in_both_orders_and_resolutions() {
    for big in [false, true] {
        let micros = read_all(&pcap(0xa1b2_c3d4, big, 1, 5, 16));
        assert_eq!(micros, Ok(vec![packet(7_000_005_000, Link::Ethernet)]));
        let nanos = read_all(&pcap(0xa1b2_3c4d, big, 1, 5, 16));
        assert_eq!(nanos, Ok(vec![packet(7_000_000_005, Link::Ethernet)]));
    }
}

#[test]
fn pcapng_is_read_in_both_orders_and_any_resolution() {
    let option = |big: bool, value: u8| {
        let head = if big { [0, 9, 0, 1] } else { [9, 0, 1, 0] };
        [&head[..], &[value, 0, 0, 0], &[0; 4]].concat()
    };
    let at =
        |big, options: &[u8], time| read_all(&pcapng(big, 1, options, 0, time)).unwrap()[0].at.as_nanos();
    for big in [false, true] {
        assert_eq!(at(big, &[], 7_000_005), 7_000_005_000, "microseconds unless it says otherwise");
        assert_eq!(at(big, &option(big, 9), 7_000_000_005), 7_000_000_005);
        assert_eq!(at(big, &option(big, 0), 7), 7_000_000_000);
        assert_eq!(at(big, &option(big, 12), 7_999), 7, "finer than nanoseconds");
        assert_eq!(at(big, &option(big, 0x81), 3), 1_500_000_000, "halves of a second");
        assert_eq!(at(big, &option(big, 127), 7), 0);
    }
    let offset = [14, 0, 8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(at(false, &offset, 3_000_000), 2_000_000_000, "an offset of one second back");
    assert!(read_all(&pcapng(false, 1, &offset, 0, 0)).unwrap_err().contains("before 1970"));
    assert!(read_all(&pcapng(false, 1, &option(false, 0), 0, u64::MAX)).unwrap_err().contains("past 2554"));
}

#[test]
fn what_cannot_be_replayed_truthfully_is_named() {
    let says = |bytes: &[u8], what: &str| {
        let error = read_all(bytes).unwrap_err();
        assert!(error.contains(what), "{error}");
    };
    let good = pcap(0xa1b2_c3d4, false, 1, 5, 16);
    says(&pcap(0xa1b2_c3d4, false, 1, 5, 1514), "packet 1: was captured in part, 16 of 1514 octets");
    says(&pcap(0xa1b2_c3d4, false, 113, 5, 16), "packet 1: link type 113 cannot enter a port");
    says(&pcap(0xa1b2_c3d4, false, 147, 5, 16), "packet 1: has 16 octets, and its virtio header has 24");
    says(&good[..good.len() - 1], "packet 1: the file ends within it");
    says(&good[..20], "the file ends within its header");
    says(&[], "is empty");
    says(&[0x1f, 0x8b, 8, 0], "gunzip");
    says(b"hello", "is neither pcap nor pcapng");
    says(&pcapng(false, 1, &[], 3, 0), "packet 1: belongs to interface 3, which the file does not describe");
    let mut simple = pcapng(false, 1, &[], 0, 0);
    let at = simple.len() - 12 - 20 - 16;
    simple[at] = 3;
    says(&simple, "packet 1: has no time");
    let folder = tempfile::tempdir().unwrap();
    let error = CaptureReader::open(folder.path()).err().expect("a directory is no capture").to_string();
    assert!(error.contains("is a directory"), "{error}");
    let error = CaptureReader::open(&folder.path().join("no")).err().expect("it is not there").to_string();
    assert!(error.contains("cannot open it"), "{error}");
}

/// What a file says of lengths is believed as far as octets come.
#[test]
fn gigantic_packets_and_blocks_are_refused() {
    let says = |bytes: &[u8], what: &str| {
        let error = read_all(bytes).unwrap_err();
        assert!(error.contains(what), "{error}");
    };
    let longer = "says that it is longer than anything may be";
    let mut pcap_file = pcap(0xa1b2_c3d4, false, 1, 5, u32::MAX);
    pcap_file[32..36].fill(0xff);
    says(&pcap_file, longer);
    let whole = pcapng(false, 1, &[], 0, 0);
    let (described, packet) = (28, whole.len() - 12 - 20 - 16);
    for block in [described, packet] {
        let mut file = whole.clone();
        file[block + 4..block + 8].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
        says(&file, longer);
    }
    let len = 2_000_000_u32;
    let mut long = pcap(0xa1b2_c3d4, false, 1, 5, len);
    long[32..36].copy_from_slice(&len.to_le_bytes());
    long.resize(24 + 16 + len as usize, 0);
    says(&long, "packet 1: has 2000000 octets, and a port takes 65553 at most");
}

#[test]
fn a_late_packet_keeps_its_place_and_takes_the_latest_time() {
    let mut file = pcap(0xa1b2_c3d4, false, 1, 5, 16);
    let packet = file[24..].to_vec();
    file.extend_from_slice(&packet);
    file.extend_from_slice(&packet);
    let second = 24 + packet.len();
    file[second + 4] = 4; // One microsecond earlier.
    let (_folder, path) = file_of(&file);
    let mut reader = CaptureReader::open(&path).unwrap();
    let mut packet = Packet::empty();
    let mut times = Vec::new();
    while reader.read(&mut packet).unwrap() {
        times.push((packet.number, packet.at.as_nanos()));
    }
    assert_eq!(times, [(1, 7_000_005_000), (2, 7_000_005_000), (3, 7_000_005_000)]);
    assert_eq!(reader.late(), 1);
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c1.pcapng");
    let mut writer = CaptureWriter::create(&path, "c1").unwrap();
    let mut frame = FramePool::default().take();
    assert!(frame.fill(&FRAME));
    writer.write_frame(Instant::from_nanos(1), &mut frame).unwrap();
    frame.offload = Offload { flags: NEEDS_CSUM, csum_start: 14, ..Offload::NONE };
    writer.write_frame(Instant::from_nanos(u64::MAX), &mut frame).unwrap();
    writer.flush().unwrap();

    let mut reader = CaptureReader::open(&path).unwrap();
    let mut packet = Packet::empty();
    assert!(reader.read(&mut packet).unwrap());
    assert_eq!((packet.number, packet.at.as_nanos(), packet.link), (1, 1, Link::Ethernet));
    assert_eq!(packet.bytes, FRAME);
    assert!(reader.read(&mut packet).unwrap());
    assert_eq!((packet.number, packet.at.as_nanos(), packet.link), (2, u64::MAX, Link::VirtioEthernet));
    assert_eq!(packet.frame(), FRAME);
    let mut delivered = FramePool::default().take();
    packet.deliver(&mut delivered);
    assert_eq!(delivered.parse_offload(), Ok(()));
    assert_eq!((delivered.bytes(), delivered.offload), (&FRAME[..], frame.offload));
    assert!(!reader.read(&mut packet).unwrap());
}

#[test]
fn a_capture_is_written_in_pieces_and_read_in_sips() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c1.pcapng");
    let mut writer = CaptureWriter::create(&path, "c1").unwrap();
    let bytes: Vec<u8> = (0..60_000_u32).map(|octet| octet.to_le_bytes()[0]).collect();
    for at in 0..20 {
        writer.write(Instant::from_nanos(at), Link::Ethernet, &bytes).unwrap();
        assert!(writer.kept() < 2 * 65_536, "memory does not grow with the file");
    }
    writer.flush().unwrap();
    let mut reader = CaptureReader::open(&path).unwrap();
    let mut packet = Packet::empty();
    for at in 0..20 {
        assert!(reader.read(&mut packet).unwrap());
        assert_eq!((packet.at.as_nanos(), packet.bytes.len()), (at, 60_000));
    }
    assert!(!reader.read(&mut packet).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever a file holds, it gives packets or an error, and no panic.
    #[test]
    fn broken_files_are_errors(kind in 0..4, changes in prop::collection::vec((any::<u16>(), any::<u8>()), 0..6), cut in any::<u16>()) {
        let mut bytes = match kind {
            0 => pcap(0xa1b2_c3d4, false, 1, 5, 16),
            1 => pcap(0xa1b2_3c4d, true, 147, 5, 16),
            2 => pcapng(false, 1, &[9, 0, 1, 0, 9, 0, 0, 0, 2, 0, 2, 0, b'c', b'1', 0, 0, 0, 0, 0, 0], 0, 1),
            _ => pcapng(true, 147, &[0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0], 0, 1),
        };
        for (at, value) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = value;
        }
        if cut % 2 == 0 {
            bytes.truncate(usize::from(cut) % (bytes.len() + 1));
        }
        match read_all(&bytes) {
            Ok(packets) => prop_assert!(packets.len() <= 1),
            Err(what) => prop_assert!(!what.is_empty()),
        }
    }
}
