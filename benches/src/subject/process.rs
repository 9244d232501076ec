//! Children: started inside a namespace, their complaints kept, stopped politely and then firmly.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tapestry::link::Namespace;
use tapestry::sys::tried;
use tempfile::TempDir;

use crate::interrupt;
use crate::site::Endpoint;

/// A running program with a directory of its own. Dropping it ends it and removes the directory.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    directory: TempDir,
}

impl Process {
    /// Starts `program` in the namespace. `arguments` is told the process's own directory. Its standard input stays
    /// open as long as this value lives: some programs end when it closes, which is right.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn start<A: AsRef<OsStr>>(
        namespace: &Namespace,
        program: &Path,
        arguments: impl FnOnce(&Path) -> Vec<A>,
    ) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("tapestry-bench-").tempdir()?;
        let mut command = Command::new(program);
        command
            .args(arguments(directory.path()))
            .env("OVS_RUNDIR", directory.path())
            .env("OVS_LOGDIR", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.path().join(COMPLAINTS))?);
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        // A child belongs to the namespace of the thread that starts it.
        let child =
            namespace.run(|| command.spawn())?.map_err(tried(format!("running {}", program.display())))?;
        Ok(Self { child, name, directory })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its own directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The first line the program prints.
    ///
    /// # Errors
    /// If it ends without one; with what it complained about.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        let stdout: ChildStdout = self.child.stdout.take().expect("it was piped, and a line is read once");
        if BufReader::new(stdout).read_line(&mut line)? == 0 {
            return Err(self.failed("ended at once"));
        }
        Ok(line.trim().to_owned())
    }

    /// Waits until `ready`, as long as the program runs.
    ///
    /// # Errors
    /// If it ends or takes longer than [`Endpoint::PATIENCE`]; with what it complained about.
    pub fn until(&mut self, what: &str, mut ready: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
        let patience_ends = Instant::now() + Endpoint::PATIENCE;
        while !ready()? {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failed(&format!("ended ({status}) before there was {what}")));
            }
            if Instant::now() > patience_ends {
                return Err(self.failed(&format!("took too long to make {what}")));
            }
            interrupt::sleep(Duration::from_millis(5))?;
        }
        Ok(())
    }

    fn failed(&self, how: &str) -> io::Error {
        io::Error::other(format!("{} {how}{}", self.name, self.complaints()))
    }

    /// The last lines on standard error, as an appendix to a sentence.
    pub fn complaints(&self) -> String {
        const LINES_MAX: usize = 12;
        let text = fs::read_to_string(self.directory.path().join(COMPLAINTS)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LINES_MAX)..];
        if last.is_empty() { String::new() } else { format!("; it said:\n  {}", last.join("\n  ")) }
    }

    fn stop(&mut self) -> io::Result<()> {
        const GRACE: Duration = Duration::from_secs(3);
        if self.child.try_wait()?.is_none() {
            kill_process(pid_of(&self.child)?, Signal::TERM)?;
        }
        let grace_ends = Instant::now() + GRACE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > grace_ends {
                eprintln!("{} did not end on SIGTERM and is killed", self.name);
                self.child.kill()?;
                self.child.wait()?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

const COMPLAINTS: &str = "complaints";

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{} (process {}) could not be ended: {error}", self.name, self.pid());
        }
    }
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    let raw = i32::try_from(child.id()).map_err(io::Error::other)?;
    Pid::from_raw(raw).ok_or_else(|| io::Error::other("a child has a process id"))
}

/// Where a program is, by PATH and where Debian puts those for root.
///
/// # Errors
/// If it is not installed.
pub(super) fn find(program: &str) -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{program} is not installed")))
}

/// Runs a program to its end.
///
/// # Errors
/// If it fails; with what it said.
pub(super) fn run(program: &Path, arguments: &[&OsStr]) -> io::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(tried(format!("running {}", program.display())))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("{} failed ({}): {said}", program.display(), output.status)));
    }
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The first line that a program prints when asked something.
///
/// # Errors
/// As [`run`].
pub(super) fn first_line(program: &Path, question: &str) -> io::Result<String> {
    let text = run(program, &[OsStr::new(question)])?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_installed_is_said_by_name() {
        let error = find("a-switch-nobody-has").unwrap_err();
        assert_eq!(error.to_string(), "a-switch-nobody-has is not installed");
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let error =
            run(Path::new("/bin/sh"), &["-c", "echo no such port >&2; exit 3"].map(OsStr::new)).unwrap_err();
        assert!(error.to_string().contains("no such port"), "{error}");
    }
}
