//! Many worlds by chance, on several threads: `cargo xtask swarm`.
//!
//! `swarm [WORLDS] [--from SEED] [--threads COUNT]` lets the worlds SEED, SEED + 1, … live. One that breaks a law is made
//! small and written to `target/swarm/SEED.toml`, and a line says how to live through it again. `swarm --show SEED`
//! prints a world's file. Exit code 0 if none failed, 1 if some did, 2 if it was asked wrongly.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use sim::swarm;

const USAGE: &str = "usage: swarm [WORLDS] [--from SEED] [--threads COUNT] | swarm --show SEED";
/// Failures that are made small and written down. Further ones are counted.
const FAILURES_MAX: u64 = 20;
/// Where small failing worlds go.
const FOLDER: &str = "target/swarm";

struct Asked {
    worlds: u64,
    from: u64,
    threads: usize,
    show: Option<u64>,
}

fn main() -> ExitCode {
    let Some(asked) = asked() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(seed) = asked.show {
        print!("{}", swarm::text(&swarm::world(seed)));
        return ExitCode::SUCCESS;
    }
    // What panics is told with its seed, once.
    std::panic::set_hook(Box::new(|_| {}));
    let begun = Instant::now();
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..asked.threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= asked.worlds {
                        break;
                    }
                    if number > 0 && number.is_multiple_of(10_000) {
                        eprintln!("swarm: {number} worlds, {} failed", failed.load(Ordering::Relaxed));
                    }
                    live(asked.from + number, &failed);
                }
            });
        }
    });
    let failed = failed.into_inner();
    let took = begun.elapsed().as_secs_f32();
    println!("swarm: {} worlds from seed {} in {took:.1} s, {failed} failed", asked.worlds, asked.from);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn live(seed: u64, failed: &AtomicU64) {
    let spec = swarm::world(seed);
    let Err(failure) = swarm::trial(&spec, seed) else { return };
    println!("seed {seed}: {}: {}", failure.rule, failure.what);
    if failed.fetch_add(1, Ordering::Relaxed) >= FAILURES_MAX {
        return;
    }
    let small = swarm::minimise(&spec, seed, &failure);
    let path = Path::new(FOLDER).join(format!("{seed}.toml"));
    match fs::create_dir_all(FOLDER).and_then(|()| fs::write(&path, swarm::text(&small))) {
        Ok(()) => println!("again: tapestry sim {} --seed {seed}", path.display()),
        Err(error) => eprintln!("swarm: cannot write {}: {error}", path.display()),
    }
}

fn asked() -> Option<Asked> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let mut asked = Asked { worlds: 1_000, from: 0, threads, show: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--from" => asked.from = words.next()?.parse().ok()?,
            "--threads" => {
                asked.threads = words.next()?.parse().ok().filter(|count| (1..=256).contains(count))?;
            }
            "--show" => asked.show = Some(words.next()?.parse().ok()?),
            worlds => asked.worlds = worlds.parse().ok()?,
        }
    }
    asked.from.checked_add(asked.worlds)?;
    Some(asked)
}
