//! A `tapestry run` of a test's own: in a namespace, with a directory, watched by its sd_notify messages.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;
use tapestry::link::Namespace;

use crate::support::{namespace, start};

/// Long enough for any machine; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running switch and the namespace that is its host.
pub(crate) struct Daemon {
    pub(crate) host: Namespace,
    pub(crate) directory: tempfile::TempDir,
    child: Child,
    manager: UnixDatagram,
}

impl Daemon {
    /// Starts a switch in a fresh namespace and waits until it is ready.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_in(namespace("host"), config)
    }

    pub(crate) fn start_in(host: Namespace, config: &str) -> Self {
        Self::start_with(host, config, &[])
    }

    /// The same, and what enters its nodes is recorded in the folder `rec` of its directory.
    pub(crate) fn start_recorded(host: Namespace, config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("rec").display().to_string();
        Self::launch(host, config, directory, &["--record", &folder])
    }

    /// The same with flags of `tapestry run`.
    pub(crate) fn start_with(host: Namespace, config: &str, flags: &[&str]) -> Self {
        Self::launch(host, config, tempfile::tempdir().unwrap(), flags)
    }

    fn launch(host: Namespace, config: &str, directory: tempfile::TempDir, flags: &[&str]) -> Self {
        fs::write(directory.path().join("config.toml"), config).unwrap();
        let notify = directory.path().join("notify");
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = tapestry(&directory.path().join("socket"));
        command.args(["run", "-c"]).arg(directory.path().join("config.toml")).env("NOTIFY_SOCKET", &notify);
        command.args(flags);
        command.stderr(fs::File::create(directory.path().join("log")).unwrap());
        let child = host.run(|| start(&mut command)).unwrap();
        let daemon = Self { host, directory, child, manager };
        let message = daemon.message();
        assert!(message.starts_with("READY=1"), "{message}\n{}", daemon.log());
        daemon
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_none())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// What it tells its service manager next.
    pub(crate) fn message(&self) -> String {
        let mut buffer = [0; 512];
        let read = self.manager.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}: {}", self.log()));
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    }

    /// Runs the command line against it.
    pub(crate) fn ask(&self, words: &[&str]) -> Output {
        start(tapestry(&self.socket()).args(words).stdout(Stdio::piped()).stderr(Stdio::piped()))
            .wait_with_output()
            .unwrap()
    }

    /// The same with `--json`; the answer of a command that must work.
    pub(crate) fn json(&self, words: &[&str]) -> serde_json::Value {
        let output = self.ask(&[words, &["--json"]].concat());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must work.
    pub(crate) fn order(&self, words: &[&str]) {
        let output = self.ask(words);
        assert!(
            output.status.success(),
            "{words:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Runs `meanwhile` while no thread of the daemon does: what is sent to it then waits for it together.
    pub(crate) fn held<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        self.signal(Signal::STOP);
        let process = Pid::from_raw(self.child.id().cast_signed()).map(WaitId::Pid).unwrap();
        waitid(process, WaitIdOptions::STOPPED).unwrap();
        let done = meanwhile();
        self.signal(Signal::CONT);
        done
    }

    /// Sends the signal and waits for the end.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.child.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            let status = self.end(Signal::TERM);
            assert!(
                status.success() || std::thread::panicking(),
                "{status} {:?}\n{}",
                status.signal(),
                self.log()
            );
        }
    }
}

/// The binary under test.
pub(crate) fn tapestry(socket: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapestry"));
    command.arg("--socket").arg(socket).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// `tapestry events --follow --json`.
pub(crate) struct Events {
    child: Child,
    lines: mpsc::Receiver<Value>,
}

impl Events {
    pub(crate) fn of(daemon: &Daemon) -> Self {
        let mut command = tapestry(&daemon.socket());
        let mut child = start(command.args(["events", "--follow", "--json"]).stdout(Stdio::piped()));
        let output = BufReader::new(child.stdout.take().unwrap());
        let (line, lines) = mpsc::channel();
        // Ends with the process. A thread, because a pipe cannot be read with a time limit.
        std::thread::spawn(move || {
            for text in output.lines().map_while(Result::ok) {
                let _nobody_listens = line.send(serde_json::from_str(&text).expect("a line is JSON"));
            }
        });
        Self { child, lines }
    }

    fn find(&self, wanted: impl Fn(&str) -> bool, what: &str) -> Value {
        loop {
            let event =
                self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("no {what}: {error}"));
            if wanted(event["kind"].as_str().expect("an event has a kind")) {
                return event;
            }
        }
    }

    /// Reads until an event of this kind comes.
    pub(crate) fn next(&self, kind: &str) -> Value {
        self.find(|is| is == kind, kind)
    }

    /// Reads the next one, whatever it is about, but for what workers notice.
    pub(crate) fn next_change(&self) -> (String, String) {
        let event = self.find(|is| !is.starts_with("fdb."), "change");
        let text = |key: &str| event[key].as_str().expect("it is text").to_owned();
        (text("kind"), text("text"))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // It may have ended by itself, with the daemon.
        let _ended = self.child.kill();
        self.child.wait().unwrap();
    }
}
