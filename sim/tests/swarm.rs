//! A bounded swarm: a thousand worlds by chance, none of which breaks a law. `cargo xtask swarm` goes on from there.

use std::num::NonZero;
use std::thread;

use sim::swarm;

const WORLDS: u64 = 1_000;

#[test]
fn a_thousand_worlds_keep_the_laws() {
    let threads = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let runs: Vec<_> = (0..threads)
        .map(|thread| {
            thread::spawn(move || {
                let mut frames = 0;
                for seed in (0..WORLDS).filter(|seed| seed % threads == thread) {
                    match swarm::trial(&swarm::world(seed), seed) {
                        Ok(report) => frames += report.frames,
                        Err(failure) => panic!(
                            "seed {seed}: {}: {}\nagain, and made small: cargo xtask swarm 1 --from {seed}",
                            failure.rule, failure.what
                        ),
                    }
                }
                frames
            })
        })
        .collect();
    let frames: u64 = runs.into_iter().map(|run| run.join().unwrap()).sum();
    assert!(frames > WORLDS * 100, "{frames} frames are too few to show anything");
}
