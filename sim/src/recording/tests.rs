//! Recordings of a small switch: replayed, cut off, damaged.

use std::sync::Arc;

use node::{Event, Flush, Gossip, Node, Outbox};
use proptest::prelude::*;
use vrouter::Protocol;
use vrouter::nat::{SessionFilter, SessionId};
use wire::{DomainId, Instant, PortId};

use super::*;
use crate::craft::{arp_question, says, station};
use crate::testing::{TOML, compiled};

/// A recording of a few frames, and how many events it has.
fn recorded(seed: u64) -> (Vec<u8>, u64) {
    let plan = Arc::new(compiled(TOML).plan);
    let (mut node, mut out) = (Node::new(seed).with_replicas(0), Outbox::default());
    let mut recorder = Recorder::new(seed, 0, 2, 1_700_000_000_000_000_000);
    recorder.plan(plan_digest(&plan), TOML, &[]);
    let mut events = vec![Event::Configure(Arc::clone(&plan)), Event::Wake];
    for n in 1..20 {
        let mut frame = out.pool.take();
        let bytes = match n % 3 {
            0 => arp_question((station(n), [10, 0, 0, n].into()), [10, 0, 0, 1].into()),
            _ => says((station(n % 4), station(n)), "hello"),
        };
        assert!(frame.fill(&bytes));
        events.push(Event::Frame { port: PortId(u16::from(n % 2)), frame });
    }
    events.push(Event::Gossip(Gossip::Station { domain: DomainId(0), mac: station(3), port: PortId(1) }));
    events.push(Event::Flush(Flush { mac: Some(station(1)), ..Flush::default() }));
    let filter = SessionFilter {
        id: Some(SessionId::from_number(7 << 32 | 9)),
        protocol: Some(Protocol::Udp),
        address: Some("10.0.0.0/8".parse().unwrap()),
        l4_port: Some(53),
        publish: Some(3),
    };
    events.extend([Event::KillSessions(filter), Event::KillSessions(SessionFilter::default())]);
    events.push(Event::FlushNeighbours { domain: Some(DomainId(0)), address: Some([10, 0, 0, 9].into()) });
    events.push(Event::FlushNeighbours { domain: None, address: None });
    events.push(Event::Wake);
    let count = events.len() as u64;
    for (at, event) in (0..).zip(events) {
        let at = Instant::from_secs(at);
        recorder.event(at, &event);
        node.handle(at, event, &mut out);
        if at.as_nanos().is_multiple_of(3) {
            recorder.outputs(&mut out);
            out.clear_sends();
            out.gossip.clear();
        }
    }
    recorder.outputs(&mut out);
    recorder.end(true);
    (recorder.take(Vec::new()), count)
}

fn replayed(octets: &[u8], out: bool) -> (Result<Replayed, String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.rec");
    std::fs::write(&path, octets).unwrap();
    let to = folder.path().join("out");
    let outcome = replay(&path, out.then_some(to.as_path())).map_err(|error| error.to_string());
    let names = |folder: &std::path::Path| {
        std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
    };
    let mut files: Vec<String> = names(&to).chain(names(&to.join("in"))).collect();
    files.sort();
    (outcome, files)
}

#[test]
fn a_recording_is_replayed_to_the_same() {
    let (octets, events) = recorded(7);
    let (outcome, files) = replayed(&octets, true);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.difference.as_deref(), outcome.ended), (None, Ended::Whole), "{outcome:?}");
    assert_eq!((outcome.events, outcome.verified, outcome.frames_in, outcome.seed), (events, events, 19, 7));
    assert!(outcome.frames_out > 5, "{outcome:?}");
    let both = ["c1.pcapng", "c1.pcapng", "c2.pcapng", "c2.pcapng", "c3.pcapng", "c3.pcapng"];
    assert_eq!(files, [&both[..3], &both[3..], &["config.toml", "in"]].concat());
}

#[test]
fn another_run_is_told_from_it() {
    let (octets, _) = recorded(7);
    // A frame to a station that nobody knows is flooded: its text is changed, and its record's checksum made right again.
    let mut other = octets.clone();
    let is_flooded = |at: &usize| octets[*at..].starts_with(b"hello") && octets[at - 9] == 0;
    let at = (53..octets.len()).rev().find(is_flooded).unwrap();
    other[at] = b'j';
    let start = at - (4 + 1 + 8 + 2 + 24 + 14); // Length, kind, time, port, virtio and Ethernet header.
    let len = u32::from_le_bytes(other[start..start + 4].try_into().unwrap()) as usize;
    let end = start + 4 + 1 + len;
    let sum = super::write::checksum(&other[start + 4..end]);
    other[end..end + 4].copy_from_slice(&sum.to_le_bytes());
    let outcome = replayed(&other, false).0.unwrap();
    let difference = outcome.difference.expect("another frame came in");
    assert!(difference.contains("is not what was recorded"), "{difference}");
    assert!(outcome.verified > 0, "what came before was the same");
}

#[test]
fn what_is_no_recording_is_told() {
    assert!(replayed(b"", false).0.unwrap_err().contains("is no recording"));
    assert!(replayed(b"PCAPNG..", false).0.unwrap_err().contains("is no recording"));
    assert!(replayed(b"TAPREC\x09\x00", false).0.unwrap_err().contains("version 9"));
    assert!(replayed(b"TAPREC\x01\x00", false).0.unwrap_err().contains("ends before it has begun"));
    let huge = [&b"TAPREC\x01\x00"[..], &[0xff; 40]].concat();
    assert!(replayed(&huge, false).0.unwrap_err().contains("ends before it has begun"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Cut off anywhere, or with any bit flipped, a recording ends at its last whole record, and nothing before differs.
    #[test]
    fn a_damaged_recording_ends_cleanly(cut in 40..2_000_usize, flip in any::<bool>(), bit in 0..8_u8) {
        let (mut octets, events) = recorded(3);
        let at = cut.min(octets.len() - 1);
        if flip {
            octets[at] ^= 1 << bit;
        } else {
            octets.truncate(at);
        }
        let (outcome, _) = replayed(&octets, false);
        let outcome = outcome.unwrap();
        prop_assert_eq!(outcome.difference, None);
        prop_assert!(outcome.ended == Ended::CutOff || (flip && outcome.events == events), "{:?}", outcome.ended);
        prop_assert!(outcome.verified <= outcome.events && outcome.events <= events);
    }
}
