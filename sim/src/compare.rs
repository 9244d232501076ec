//! Compare: the first difference between what a replay came to and what was expected.
//!
//! Captures are compared packet by packet (time, octets, virtio header) while both are read; how they are cut into
//! blocks, and whether they are pcap or pcapng, makes no difference. Counters and events are compared line by line.
//! A capture that is not among the expected ones must be empty; a text that is not expected is not compared.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::capture::{CaptureError, CaptureReader, Link, Packet};
use crate::describe;
use crate::replay::{COUNTERS_FILE, EVENTS_FILE};

/// Rows of octets shown of a difference, at most.
const ROWS_MAX: usize = 6;
/// Octets in such a row.
const ROW_LEN: usize = 16;

/// The first difference found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A packet differs, or only one side has it.
    Packet {
        /// The file that came out.
        file: PathBuf,
        /// What was expected; absent: nothing more.
        expected: Option<Packet>,
        /// What came out.
        found: Option<Packet>,
    },
    /// A line differs, or only one side has it.
    Line {
        /// The file that came out.
        file: PathBuf,
        /// Its number, from 1.
        number: usize,
        /// What was expected.
        expected: Option<String>,
        /// What came out.
        found: Option<String>,
    },
    /// A capture is expected of a port that nothing came out for.
    NoSuchPort(PathBuf),
}

/// Compares two directories as [`crate::Replay`] writes them: counters first, because they say most.
///
/// # Errors
/// A file cannot be read.
pub fn compare(out: &Path, expect: &Path) -> Result<Option<Difference>, CaptureError> {
    for file in [COUNTERS_FILE, EVENTS_FILE] {
        if let Some(difference) = compare_text(&out.join(file), &expect.join(file))? {
            return Ok(Some(difference));
        }
    }
    let (found, expected) = (captures_in(out)?, captures_in(expect)?);
    for (port, file) in &expected {
        if !found.iter().any(|(known, _)| known == port) {
            return Ok(Some(Difference::NoSuchPort(file.clone())));
        }
    }
    for (port, file) in &found {
        let other = expected.iter().find(|(known, _)| known == port).map(|(_, file)| file.as_path());
        if let Some(difference) = compare_captures(file, other)? {
            return Ok(Some(difference));
        }
    }
    Ok(None)
}

/// Ports with their captures, by name.
fn captures_in(folder: &Path) -> Result<BTreeSet<(String, PathBuf)>, CaptureError> {
    let error = |error| CaptureError::io(folder, "list it", &error);
    let mut captures = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let is_capture =
            path.extension().is_some_and(|extension| extension == "pcapng" || extension == "pcap");
        if let (true, Some(port)) = (is_capture, path.file_stem()) {
            captures.insert((port.to_string_lossy().into_owned(), path));
        }
    }
    Ok(captures)
}

fn compare_captures(found: &Path, expected: Option<&Path>) -> Result<Option<Difference>, CaptureError> {
    let mut found_reader = CaptureReader::open(found)?;
    let mut expected_reader = expected.map(CaptureReader::open).transpose()?;
    let (mut found_packet, mut expected_packet) = (Packet::empty(), Packet::empty());
    loop {
        let is_found = found_reader.read(&mut found_packet)?;
        let is_expected = match &mut expected_reader {
            Some(reader) => reader.read(&mut expected_packet)?,
            None => false,
        };
        if !is_found && !is_expected {
            return Ok(None);
        }
        if is_found != is_expected || found_packet != expected_packet {
            return Ok(Some(Difference::Packet {
                file: found.to_owned(),
                expected: is_expected.then_some(expected_packet),
                found: is_found.then_some(found_packet),
            }));
        }
    }
}

fn compare_text(found: &Path, expected: &Path) -> Result<Option<Difference>, CaptureError> {
    let error = |path: &Path, error: &io::Error| CaptureError::io(path, "read it", error);
    let expected = match fs::read_to_string(expected) {
        Ok(text) => text,
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(problem) => return Err(error(expected, &problem)),
    };
    let text = fs::read_to_string(found).map_err(|problem| error(found, &problem))?;
    let (mut found_lines, mut expected_lines) = (text.lines(), expected.lines());
    for number in 1.. {
        let (found_line, expected_line) = (found_lines.next(), expected_lines.next());
        if found_line != expected_line {
            return Ok(Some(Difference::Line {
                file: found.to_owned(),
                number,
                expected: expected_line.map(str::to_owned),
                found: found_line.map(str::to_owned),
            }));
        }
        if found_line.is_none() {
            break;
        }
    }
    Ok(None)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchPort(expected) => write!(
                f,
                "{} is expected, and the configuration has no port {:?}",
                expected.display(),
                expected.file_stem().unwrap_or_default()
            ),
            Self::Line { file, number, expected, found } => {
                let shown = |line: &Option<String>| line.clone().unwrap_or_else(|| "(the end)".to_owned());
                writeln!(f, "{}: line {number} differs", file.display())?;
                writeln!(f, "  expected  {}", shown(expected))?;
                write!(f, "  found     {}", shown(found))
            }
            Self::Packet { file, expected, found } => {
                let number = found.as_ref().or(expected.as_ref()).map_or(0, |packet| packet.number);
                let how = match (expected, found) {
                    (Some(_), None) => "is missing",
                    (None, Some(_)) => "is one too many",
                    (Some(_) | None, _) => "differs",
                };
                writeln!(f, "{}: packet {number} {how}", file.display())?;
                writeln!(f, "  expected  {}", summary(expected.as_ref()))?;
                write!(f, "  found     {}", summary(found.as_ref()))?;
                if let (Some(expected), Some(found)) = (expected, found) {
                    write!(f, "{}", octets(&expected.bytes, &found.bytes))?;
                }
                Ok(())
            }
        }
    }
}

fn summary(packet: Option<&Packet>) -> String {
    let Some(packet) = packet else { return "(the end)".to_owned() };
    let header = match packet.link {
        Link::Ethernet => "",
        Link::VirtioEthernet => "virtio header, ",
    };
    format!("{}  {header}{}", describe::time(packet.at), describe::frame(packet.frame()))
}

/// The rows in which two packets differ, side by side, each differing octet marked below.
fn octets(expected: &[u8], found: &[u8]) -> String {
    let mut text = String::new();
    let rows = expected.len().max(found.len()).div_ceil(ROW_LEN);
    let row_of = |bytes: &[u8], row: usize| {
        let start = (row * ROW_LEN).min(bytes.len());
        bytes[start..(start + ROW_LEN).min(bytes.len())].to_vec()
    };
    let differing: Vec<usize> =
        (0..rows).filter(|&row| row_of(expected, row) != row_of(found, row)).collect();
    for &row in differing.iter().take(ROWS_MAX) {
        let (left, right) = (row_of(expected, row), row_of(found, row));
        let hex = |bytes: &[u8]| bytes.iter().map(|octet| format!("{octet:02x} ")).collect::<String>();
        let marks = |bytes: &[u8]| {
            let differs = |index: usize| left.get(index) != right.get(index);
            (0..bytes.len()).map(|index| if differs(index) { "^^ " } else { "   " }).collect::<String>()
        };
        let width = 3 * ROW_LEN;
        let _ = write!(text, "\n  {:04x}  {:width$} | {}", row * ROW_LEN, hex(&left), hex(&right));
        let _ = write!(text, "\n        {:width$} | {}", marks(&left), marks(&right));
    }
    if differing.len() > ROWS_MAX {
        let _ = write!(text, "\n  … and {} more rows", differing.len() - ROWS_MAX);
    }
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::CaptureWriter;
    use tempfile::TempDir;
    use wire::Instant;

    /// A directory with one capture `c1` of these packets, and counters.
    fn outcome(packets: &[(u64, &[u8])], counters: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = CaptureWriter::create(&folder.path().join("c1.pcapng"), "c1").unwrap();
        for (at, bytes) in packets {
            writer.write(Instant::from_nanos(*at), Link::Ethernet, bytes).unwrap();
        }
        writer.flush().unwrap();
        fs::write(folder.path().join(COUNTERS_FILE), counters).unwrap();
        fs::write(folder.path().join(EVENTS_FILE), "").unwrap();
        folder
    }

    /// What is said of the difference, without the path of the scratch directory.
    fn difference(found: &TempDir, expected: &TempDir) -> Option<String> {
        let difference = compare(found.path(), expected.path()).unwrap()?.to_string();
        Some(difference.replace(&format!("{}/", found.path().display()), ""))
    }

    const FRAME: [u8; 18] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, 1, 2, 3, 4];

    #[test]
    fn equal_outcomes_do_not_differ() {
        let outcome = || outcome(&[(1, &FRAME)], "node.received 1\n");
        assert_eq!(difference(&outcome(), &outcome()), None);
    }

    #[test]
    fn a_differing_octet_is_marked() {
        let mut other = FRAME;
        other[17] = 0xff;
        let (found, expected) =
            (outcome(&[(1, &FRAME), (2, &other)], ""), outcome(&[(1, &FRAME), (2, &FRAME)], ""));
        let text = difference(&found, &expected).unwrap();
        let right = |row: &str| format!("{row:48} | {row}");
        assert_eq!(
            text,
            [
                "c1.pcapng: packet 2 differs",
                "  expected  0.000000002  18 octets, 02:00:00:00:00:01 > 02:00:00:00:00:02, type 0x88b5",
                "  found     0.000000002  18 octets, 02:00:00:00:00:01 > 02:00:00:00:00:02, type 0x88b5",
                &format!("  0010  {:48} | 03 ff", "03 04"),
                &format!("        {}", right("   ^^")),
            ]
            .join("\n")
        );
    }

    #[test]
    fn a_packet_too_many_or_too_few_or_at_another_time_is_told() {
        let (one, two) = (outcome(&[(1, &FRAME)], ""), outcome(&[(1, &FRAME), (2, &FRAME)], ""));
        assert!(difference(&two, &one).unwrap().contains("packet 2 is one too many"));
        assert!(difference(&one, &two).unwrap().contains("packet 2 is missing"));
        let late = outcome(&[(9, &FRAME)], "");
        let text = difference(&late, &one).unwrap();
        assert!(text.contains("expected  0.000000001") && text.contains("found     0.000000009"), "{text}");
    }

    #[test]
    fn counters_and_ports_are_compared() {
        let (one, two) = (outcome(&[], "node.received 1\n"), outcome(&[], "node.received 2\n"));
        let text = difference(&one, &two).unwrap();
        assert_eq!(
            text,
            "counters.txt: line 1 differs\n  expected  node.received 2\n  found     node.received 1"
        );
        let other = outcome(&[], "node.received 1\n");
        fs::rename(other.path().join("c1.pcapng"), other.path().join("c9.pcapng")).unwrap();
        assert!(difference(&one, &other).unwrap().contains("no port \"c9\""));
        fs::remove_file(other.path().join("c9.pcapng")).unwrap();
        assert_eq!(difference(&one, &other), None, "an empty capture need not be expected");
        let full = outcome(&[(1, &FRAME)], "node.received 1\n");
        assert!(difference(&full, &other).unwrap().contains("packet 1 is one too many"));
    }
}
