//! Recordings of a small switch: replayed, cut off, damaged.

use std::sync::Arc;

use node::{Event, Flush, Gossip, Node, Outbox, Plan};
use proptest::prelude::*;
use vrouter::Protocol;
use vrouter::nat::{SessionFilter, SessionId};
use wire::{DomainId, Instant, PortId};

use super::*;
use crate::craft::{arp_question, says, station};
use crate::testing::{TOML, compiled};

/// How much of the events is recorded, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// From the node's first event on.
    Start,
    /// From its tenth on, with what it knew by then.
    Middle,
    /// From the first on, but for some in the middle, which could not be kept.
    Twice,
}

/// A recording of a few frames, and how many events it has.
fn recorded(seed: u64) -> (Vec<u8>, u64) {
    recorded_from(seed, 0, From::Start)
}

fn recorded_from(seed: u64, index: u16, from: From) -> (Vec<u8>, u64) {
    let plan = Arc::new(compiled(TOML).plan);
    let (mut node, mut out) = (Node::new(seed).with_replicas(usize::from(index)), Outbox::default());
    let mut recorder = Recorder::new(index);
    let begins = Begins {
        seed,
        index,
        replicas: 2,
        since_1970_ns: 1_700_000_000_000_000_000,
        missed: 0,
        has_state: from == From::Middle,
    };
    let origin = origin_records(index, 3, &origin());
    let mut octets = header().to_vec();
    let mut events = events(&mut out, &plan);
    let mut count = events.len() as u64;
    if from == From::Middle {
        for (at, event) in (0..).zip(events.drain(..10)) {
            node.handle(Instant::from_secs(at), event, &mut out);
        }
        out.clear_sends();
        out.gossip.clear();
        count -= 10;
    }
    recorder.begin(&begins);
    octets.extend(recorder.take(Vec::new()));
    octets.extend(origin.clone());
    if from == From::Middle {
        octets.extend(state_records(index, 3, &node));
    }
    let first = 10 * u64::from(from == From::Middle);
    for (at, event) in (first..).zip(events) {
        let is_kept = from != From::Twice || !(9..15).contains(&at);
        let now = Instant::from_secs(at);
        if at == 15 && from == From::Twice {
            recorder.forget();
            recorder.begin(&Begins { missed: 6, has_state: true, ..begins });
            octets.extend(recorder.take(Vec::new()));
            octets.extend(state_records(index, 3, &node));
            count -= 6;
        }
        if is_kept {
            match &event {
                Event::Configure(_) => recorder.configure(now, 3),
                Event::Frame { .. }
                | Event::Datagram { .. }
                | Event::Wake
                | Event::Flush(_)
                | Event::KillSessions(_)
                | Event::FlushNeighbours { .. }
                | Event::Gossip(_) => recorder.event(now, &event),
            }
        }
        node.handle(now, event, &mut out);
        if now.as_nanos().is_multiple_of(3) || !is_kept || at == 8 {
            if is_kept {
                recorder.outputs(&mut out);
            }
            out.clear_sends();
            out.gossip.clear();
        }
        if at == 8 {
            octets.extend(recorder.take(Vec::new()));
        }
    }
    recorder.outputs(&mut out);
    octets.extend(recorder.take(Vec::new()));
    octets.extend(end_of(index, 0));
    (octets, count)
}

fn origin() -> Origin {
    let compiled = compiled(TOML);
    let ports = compiled.ports.iter().map(|(name, port)| (name.clone(), port.id)).collect();
    Origin { plan: Arc::new(compiled.plan), ports, text: TOML.to_owned() }
}

fn events(out: &mut Outbox, plan: &Arc<Plan>) -> Vec<Event> {
    let mut events = vec![Event::Configure(Arc::clone(plan)), Event::Wake];
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
    events
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
    let [worker] = &outcome.workers[..] else { panic!("{outcome:?}") };
    assert_eq!((worker.events, worker.verified, worker.frames_in, worker.seed), (events, events, 19, 7));
    assert!(worker.frames_out > 5, "{outcome:?}");
    let both = ["c1.pcapng", "c1.pcapng", "c2.pcapng", "c2.pcapng", "c3.pcapng", "c3.pcapng"];
    assert_eq!(files, [&both[..3], &both[3..], &["config.toml", "in"]].concat());
}

#[test]
fn a_recording_may_begin_in_the_middle() {
    let (octets, events) = recorded_from(7, 0, From::Middle);
    let outcome = replayed(&octets, false).0.unwrap();
    assert_eq!((outcome.difference.as_deref(), outcome.ended), (None, Ended::Whole), "{outcome:?}");
    assert_eq!((outcome.sum(|worker| worker.verified), outcome.workers[0].segments), (events, 1));
}

#[test]
fn two_workers_share_a_recording_and_a_gap_is_told() {
    let (first, events) = recorded_from(7, 0, From::Twice);
    let (second, others) = recorded_from(9, 1, From::Middle);
    let octets = [&first[..], &second[header().len()..]].concat();
    let outcome = replayed(&octets, true).0.unwrap();
    assert_eq!((outcome.difference.as_deref(), outcome.ended), (None, Ended::Overrun), "{outcome:?}");
    let told: Vec<_> =
        outcome.workers.iter().map(|it| (it.worker, it.seed, it.segments, it.missed, it.verified)).collect();
    assert_eq!(told, [(0, 7, 2, 6, events), (1, 9, 1, 0, others)]);
    // Without the second worker's end it was cut off.
    let outcome = replayed(&octets[..octets.len() - 10], false).0.unwrap();
    assert_eq!(outcome.ended, Ended::CutOff);
}

#[test]
fn a_recording_becomes_a_golden() {
    let folder = tempfile::tempdir().unwrap();
    let (file, case) = (folder.path().join("a.rec"), folder.path().join("case"));
    std::fs::write(&file, recorded(7).0).unwrap();
    let made = golden(&file, &case).unwrap();
    assert_eq!((made.replayed.difference.as_deref(), &made.lacks[..]), (None, &[][..]));
    assert_eq!(made.frames_in, made.replayed.sum(|worker| worker.frames_in));
    let read = |name: &str| std::fs::read(case.join(name)).unwrap();
    assert_eq!(read("case.toml"), TOML.as_bytes());
    assert!(String::from_utf8(read("case.md")).unwrap().contains("--in c1=in/c1.pcapng"));
    // It began with an empty node and one configuration, and nothing but frames came in: live and golden are the same but
    // for what the recording's flush and gossip did.
    assert_eq!(read("out/c1.pcapng"), read("live/c1.pcapng"));
    assert!(read("in/c1.pcapng").len() > 200 && !read("out/counters.txt").is_empty());
    assert!(golden(&file, &case).unwrap_err().to_string().contains("exists"), "nothing is written over");
}

/// A case of a run that had begun before says what it lacks; one that fails leaves nothing behind.
#[test]
fn a_golden_says_what_it_cannot_have() {
    let folder = tempfile::tempdir().unwrap();
    let (file, case) = (folder.path().join("a.rec"), folder.path().join("case"));
    std::fs::write(&file, b"no recording").unwrap();
    golden(&file, &case).unwrap_err();
    assert!(!case.exists());
    std::fs::write(&file, header()).unwrap();
    assert!(golden(&file, &case).unwrap_err().to_string().contains("before it has begun"));
    assert!(!case.exists());
    std::fs::write(&file, recorded_from(7, 0, From::Middle).0).unwrap();
    let made = golden(&file, &case).unwrap();
    let [lack] = &made.lacks[..] else { panic!("{made:?}") };
    assert!(lack.contains("in the middle"), "{lack}");
    let about = std::fs::read_to_string(case.join("case.md")).unwrap();
    let left = made.replayed.sum(|worker| worker.frames_out);
    assert!(
        about.ends_with(&format!("- {lack}\n")) && about.contains(&format!("and {left} left")),
        "{about}"
    );
}

/// A port that is removed may leave its id to another one; what that says is not the first one's.
#[test]
fn captures_follow_names_and_not_ids() {
    let text =
        |port: &str| format!("[network.a]\n[port.b]\nnetwork = \"a\"\n[port.{port}]\nnetwork = \"a\"\n");
    let mut ids = config::Ids::default();
    let mut origin = |text: &str| {
        let compiled = config::compile(&config::check("t.toml", text).unwrap(), &mut ids);
        let ports = compiled.ports.iter().map(|(name, port)| (name.clone(), port.id)).collect();
        Origin { plan: Arc::new(compiled.plan), ports, text: text.to_owned() }
    };
    let origins =
        [origin(&text("c9")), origin("[network.a]\n[port.b]\nnetwork = \"a\"\n"), origin(&text("d1"))];
    assert_eq!(origins[0].ports[1].1, origins[2].ports[1].1, "d1 has c9's id");
    let port = origins[0].ports[1].1;
    let (mut node, mut out) = (Node::new(1), Outbox::default());
    let mut recorder = Recorder::new(0);
    let begins = Begins { seed: 1, index: 0, replicas: 1, since_1970_ns: 0, missed: 0, has_state: false };
    recorder.begin(&begins);
    let mut octets = [&header()[..], &recorder.take(Vec::new())].concat();
    for (number, origin) in (0..).zip(&origins) {
        octets.extend(origin_records(0, number, origin)); // All are known before the last holds.
    }
    let mut handle = |node: &mut Node, event: Event, number: Option<u32>| {
        let now = Instant::from_secs(1);
        match number {
            Some(number) => recorder.configure(now, number),
            None => recorder.event(now, &event),
        }
        node.handle(now, event, &mut out);
        recorder.outputs(&mut out);
        out.clear_sends();
        octets.extend(recorder.take(Vec::new()));
    };
    for (number, origin) in (0_u8..).zip(&origins) {
        handle(&mut node, Event::Configure(Arc::clone(&origin.plan)), Some(number.into()));
        if number != 1 {
            let mut frame = wire::FramePool::default().take();
            assert!(frame.fill(&says((station(40), station(number)), "hello")));
            handle(&mut node, Event::Frame { port, frame }, None);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.rec");
    std::fs::write(&path, [octets, end_of(0, 0)].concat()).unwrap();
    assert_eq!(replay(&path, Some(&folder.path().join("out"))).unwrap().difference, None);
    for (name, number) in [("c9", 0), ("d1", 2)] {
        let path = folder.path().join(format!("out/in/{name}.pcapng"));
        let mut reader = crate::capture::CaptureReader::open(&path).unwrap();
        let mut packet = crate::capture::Packet::empty();
        assert!(reader.read(&mut packet).unwrap(), "{name}");
        assert_eq!(packet.frame()[6..12], station(number).0, "{name}");
        assert!(!reader.read(&mut packet).unwrap(), "{name}");
    }
}

/// A state is written in this version's own form. Whoever changes a table changes the form: let [`VERSION`] grow with it,
/// and put the new digest here.
#[test]
fn the_form_of_states_has_this_version() {
    let (octets, _) = recorded_from(7, 0, From::Twice);
    let mut digest = Digest::default();
    digest.octets(&octets);
    assert_eq!((VERSION, digest.value()), (3, 0x7b07_fecd_3913_8635), "the form has changed");
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
    assert!(outcome.workers[0].verified > 0, "what came before was the same");
}

#[test]
fn what_is_no_recording_is_told() {
    assert!(replayed(b"", false).0.unwrap_err().contains("is no recording"));
    assert!(replayed(b"PCAPNG..", false).0.unwrap_err().contains("is no recording"));
    assert!(replayed(b"TAPREC\x09\x00", false).0.unwrap_err().contains("version 9"));
    assert!(
        replayed(b"TAPREC\x01\x00", false).0.unwrap_err().contains("replay it with the program that made it")
    );
    assert!(replayed(b"TAPREC\x03\x00", false).0.unwrap_err().contains("ends before it has begun"));
    let huge = [&b"TAPREC\x03\x00"[..], &[0xff; 40]].concat();
    assert!(replayed(&huge, false).0.unwrap_err().contains("ends before it has begun"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Cut off anywhere, or with any bit flipped, a recording ends at its last whole record, and nothing before differs.
    #[test]
    fn a_damaged_recording_ends_cleanly(
        cut in 60..9_000_usize,
        flip in any::<bool>(),
        bit in 0..8_u8,
        from in proptest::sample::select(vec![From::Start, From::Middle, From::Twice]),
    ) {
        let (mut octets, events) = recorded_from(3, 0, from);
        let at = cut.min(octets.len() - 1);
        if flip {
            octets[at] ^= 1 << bit;
        } else {
            octets.truncate(at);
        }
        let (outcome, _) = replayed(&octets, false);
        let outcome = outcome.unwrap();
        prop_assert_eq!(&outcome.difference, &None);
        let (seen, verified) = (outcome.sum(|worker| worker.events), outcome.sum(|worker| worker.verified));
        prop_assert!(outcome.ended == Ended::CutOff, "{:?}", outcome.ended);
        prop_assert!(verified <= seen && seen <= events);
    }
}
