//! `tapestry replay`: captures through a switch under a virtual clock.

use std::process::ExitCode;

use crate::cli::ReplayArgs;

/// Replays, and compares with what was expected if that was given.
pub fn run(args: &ReplayArgs) -> ExitCode {
    let _ = args;
    eprintln!("error: replay: the simulator is not here yet");
    ExitCode::FAILURE
}
