//! `tapestry run`: the switch process.

use std::path::Path;
use std::process::ExitCode;

/// Runs the switch in the foreground until SIGTERM.
pub fn run(config: Option<&Path>, socket: &Path) -> ExitCode {
    let _ = (config, socket);
    eprintln!("error: run: the supervisor is not here yet");
    ExitCode::FAILURE
}
