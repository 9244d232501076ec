//! One command: shown, run, timed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The command line that failed, and how.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

/// A command on its way to be run in the repository's root.
pub(crate) struct Step {
    command: Command,
}

impl Step {
    pub(crate) fn new(program: impl AsRef<Path>, arguments: &[&str]) -> Self {
        let mut command = Command::new(program.as_ref());
        command.args(arguments).current_dir(root());
        Self { command }
    }

    /// The cargo that runs us, so that a toolchain chosen on the command line stays chosen.
    pub(crate) fn cargo(arguments: &[&str]) -> Self {
        Self::new(std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from), arguments)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn run(mut self) -> Result<(), Failed> {
        println!("xtask: {self}");
        let started = Instant::now();
        let status = self.command.status().map_err(|error| Failed(format!("{self}: {error}")))?;
        println!("xtask: {status} after {:.1} s", started.elapsed().as_secs_f32());
        if status.success() { Ok(()) } else { Err(Failed(format!("{self} ({status})"))) }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = Path::new(self.command.get_program());
        write!(f, "{}", program.file_name().unwrap_or_default().display())?;
        self.command.get_args().try_for_each(|argument| write!(f, " {}", argument.display()))
    }
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}
