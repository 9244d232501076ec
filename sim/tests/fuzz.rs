//! The fuzz target's body on stable Rust: the committed corpus, and histories by seeded chance.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sim::fuzz::{Lived, Traced};
use wire::{DropReason, Rng};

/// Histories by chance.
const HISTORIES: u64 = 4_000;
/// Octets of the longest.
const HISTORY_LEN_MAX: u64 = 3_000;

/// What no history can cause: it is too short for a flood of questions or of connections, the headroom holds whatever a
/// plan asks for, only an operating system loses or refuses frames, and what aims at a tunnel's end or has tunnels inside
/// takes more octets in their place than chance finds (goldens have it, and the codecs' corpus).
const OUT_OF_REACH: &[DropReason] = &[
    DropReason::Unreadable,
    DropReason::Overrun,
    DropReason::FaultIn,
    DropReason::TunnelInjection,
    DropReason::AnswerRate,
    DropReason::SourceRouted,
    DropReason::FragmentTiny,
    DropReason::FragmentOverlap,
    DropReason::FragmentLimit,
    DropReason::FragmentTimeout,
    DropReason::MartianDestination,
    DropReason::NoRoute,
    DropReason::Blackhole,
    DropReason::RouteUnreachable,
    DropReason::RouteProhibited,
    DropReason::TtlExpired,
    DropReason::Unsolicited,
    DropReason::Internal,
    DropReason::IsolatedNetworks,
    DropReason::OverlayTransit,
    DropReason::AclDenied,
    DropReason::SessionsMax,
    DropReason::L4PortsExhausted,
    DropReason::NatProtocol,
    DropReason::BadQuote,
    DropReason::RouteMtu,
    DropReason::NeighbourUnreachable,
    DropReason::NeighbourQueue,
    DropReason::NeighboursMax,
    DropReason::Headroom,
    DropReason::NestedTunnel,
    DropReason::QueueFull,
    DropReason::DeviceRefused,
    DropReason::UnderlayMtu,
    DropReason::UnderlayUnreachable,
    DropReason::FaultOut,
    DropReason::PortDown,
];

/// Of the router's reasons, what its corpus does not cause: a history is too short for a flood of questions, and has too
/// few addresses to fill the neighbours of a network; that many pieces of one packet, and a table full of connections that all go on
/// after an answer, chance has not hit upon; its plans have no overlay.
const OUT_OF_THE_ROUTERS_REACH: &[DropReason] = &[
    DropReason::AnswerRate,
    DropReason::FragmentLimit,
    DropReason::OverlayTransit,
    DropReason::SessionsMax,
    DropReason::NeighboursMax,
];

/// A corpus that reaches little finds little: it has to cause every drop that there is.
#[test]
fn the_corpus_breaks_no_law_and_reaches_every_drop() {
    let reached = reached("node", sim::fuzz::run);
    let missed: Vec<_> = DropReason::ALL.iter().filter(|reason| !reached.contains(reason)).collect();
    assert_eq!(missed, OUT_OF_REACH.iter().collect::<Vec<_>>());
}

#[test]
fn the_routers_corpus_breaks_no_law_and_reaches_every_drop_of_the_router() {
    let reached = reached("router", sim::fuzz::run_router);
    let is_missed = |reason: &&DropReason| reason.id().starts_with("route.") && !reached.contains(*reason);
    let missed: Vec<_> = DropReason::ALL.iter().filter(is_missed).collect();
    assert_eq!(missed, OUT_OF_THE_ROUTERS_REACH.iter().collect::<Vec<_>>());
}

/// What refuses a datagram without knowing ports, and lets some pass.
#[test]
fn the_codecs_corpus_reaches_every_refusal() {
    let mut reached = BTreeSet::new();
    let mut passed = 0;
    for (name, octets) in corpus("codecs") {
        println!("{name}"); // Shown if it panics.
        match sim::fuzz::run_codecs(&octets) {
            Some(reason) => drop(reached.insert(reason)),
            None => passed += 1,
        }
    }
    let expected = [
        DropReason::EncapTruncated,
        DropReason::EncapFlags,
        DropReason::UnknownVni,
        DropReason::UnlistedPeer,
        DropReason::InnerMac,
        DropReason::InnerSource,
        DropReason::EncapEcn,
        DropReason::NestedTunnel,
    ];
    assert_eq!(reached, BTreeSet::from(expected));
    assert!(passed > 0);
}

/// The committed corpus of a target, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).expect("the corpus is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.sort();
    let read = |file: &PathBuf| (file.display().to_string(), fs::read(file).expect("it can be read"));
    files.iter().map(read).collect()
}

/// What the committed corpus of a target causes.
fn reached(target: &str, run: fn(&[u8]) -> Lived) -> BTreeSet<DropReason> {
    let mut reached = BTreeSet::new();
    for (name, octets) in corpus(target) {
        println!("{name}"); // Shown if it panics.
        let drops = run(&octets).counters.drops();
        reached.extend(DropReason::ALL.iter().filter(|reason| drops[reason.index()] > 0));
    }
    reached
}

/// Octets by chance are hardly ever a packet: the same behind headers that are.
fn run_codecs(octets: &[u8]) {
    const VXLAN: &[u8] = &[8, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let octets = &octets[..octets.len().min(200)];
    let Some((&first, rest)) = octets.split_first() else { return };
    let len = u16::try_from(20 + rest.len()).expect("it is short").to_be_bytes();
    let packet = [&[0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, 17], rest].concat();
    let (vxlan, bare) = (first & 0xf8, first & 0xf8 | 1);
    sim::fuzz::run_codecs(octets);
    sim::fuzz::run_codecs(&[&[vxlan], VXLAN, &packet].concat());
    sim::fuzz::run_codecs(&[&[bare], &packet[..], &[0; 10]].concat());
}

#[test]
fn histories_by_chance_break_no_law() {
    let mut traced = Traced::default();
    for seed in 0..HISTORIES {
        let mut rng = Rng::seeded(seed);
        let len = usize::try_from(rng.below(HISTORY_LEN_MAX)).expect("it is small");
        let octets: Vec<u8> =
            std::iter::repeat_with(|| rng.next_u64().to_le_bytes()).flatten().take(len).collect();
        println!("seed {seed}"); // Shown if it panics.
        traced += sim::fuzz::run(&octets).traced;
        traced += sim::fuzz::run_router(&octets).traced;
        run_codecs(&octets);
    }
    // Traces were held to all that may happen with tunnels.
    let Traced { frames, datagrams, datagrams_dropped, into_tunnels } = traced;
    assert!(
        [frames, datagrams, datagrams_dropped, into_tunnels].iter().all(|count| *count > 0),
        "{traced:?}"
    );
}
