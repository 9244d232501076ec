//! `cargo xtask …`: set-up and test entry points, nothing else.
//!
//! What a check finds belongs into a test (`xtask/tests/tidy`), so that `cargo test` alone is the gate; this binary
//! only runs commands that a person could type, in order, and stops at the first that fails.

mod fuzz;
mod packages;
mod step;

use std::process::ExitCode;

use step::{Failed, Step};

const USAGE: &str = "\
usage: cargo xtask <verb>

  test             install the Debian packages that tests need, then run every check, test and bench assertion
  tidy             the checks of how the repository is written, alone
  bless            rewrite the goldens from what the code does; read the diff
  swarm [WORLDS] [--from SEED] [--threads COUNT]
                   let worlds by chance live (default 1000); one that breaks a law is made small and kept
  fuzz [SECONDS]   fuzz every target for so long (default 60); needs a C++ compiler, works on stable Rust
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["test"] => test(),
        ["tidy"] => tidy().run(),
        ["bless"] => Step::cargo(&["test", "--package", "sim"]).env("TAPESTRY_BLESS", "1").run(),
        ["swarm", ref rest @ ..] => {
            let command = ["run", "--release", "--package", "sim", "--bin", "swarm", "--"];
            Step::cargo(&[&command[..], rest].concat()).run()
        }
        ["fuzz"] => fuzz::run(60),
        ["fuzz", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::run(seconds),
            Err(_) => return usage(),
        },
        _ => return usage(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(what)) => {
            eprintln!("xtask: failed: {what}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}

/// Everything, cheapest first, so that a slip shows early.
fn test() -> Result<(), Failed> {
    packages::install_missing()?;
    Step::cargo(&["fmt", "--all", "--check"]).run()?;
    tidy().run()?;
    Step::cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]).run()?;
    // An optimised build lives the same worlds to the octet: the digests are those that the debug build is held to.
    Step::cargo(&["test", "--profile", "optimised", "--package", "sim", "--test", "worlds"]).run()?;
    // With the benches, whose own assertions need no optimised build: `--test` runs each body once. One selection of
    // packages, so that nothing is built twice with other features. Last, so that the output ends with what tests said.
    Step::cargo(&["test", "--workspace", "--doc"]).run()?;
    Step::cargo(&["test", "--workspace", "--all-targets", "--", "--test"]).run()
}

fn tidy() -> Step {
    Step::cargo(&["test", "--package", "xtask"])
}
