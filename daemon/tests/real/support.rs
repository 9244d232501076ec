//! What the tests share: whether they can run, small talk with the kernel, and a second process.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use tapestry::link::{Interface, Namespace};

/// Whether this process may make devices and namespaces. If not, says so where a test run shows it.
#[must_use]
pub(crate) fn able() -> bool {
    let refusal = if !rustix::process::geteuid().is_root() {
        "not root"
    } else if File::open("/dev/net/tun").is_err() {
        "no /dev/net/tun"
    } else {
        return true;
    };
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Straight to the descriptor: the harness keeps what `eprintln!` prints in tests that pass.
    writeln!(std::io::stderr(), "SKIPPED {test}: {refusal}").expect("standard error is open");
    false
}

/// A throw-away namespace.
pub(crate) fn namespace(label: &str) -> Namespace {
    Namespace::anonymous(label).expect("root may make namespaces")
}

/// `eth0` in the namespace, with these addresses.
pub(crate) fn eth0(namespace: &Namespace, addresses: &[&str]) -> Interface {
    Interface {
        name: "eth0".to_owned(),
        namespace: Some(namespace.clone()),
        mac: None,
        mtu: 1500,
        addresses: addresses.iter().map(|text| text.parse().expect("a prefix")).collect(),
        gateways: Vec::new(),
        routes: Vec::new(),
    }
}

/// The names of the namespace's interfaces, loopback left out.
pub(crate) fn names(namespace: &Namespace) -> Vec<String> {
    let links = tapestry::link::list(namespace).expect("netlink answers");
    links.into_iter().map(|link| link.name).filter(|name| name != "lo").collect()
}

/// While a process is being started it has copies of all our descriptors, and devices live as long as those.
static STARTING: RwLock<()> = RwLock::new(());

/// Nothing is being started as long as this is held: a device is gone when its last queue is dropped.
pub(crate) fn nothing_starts() -> RwLockReadGuard<'static, ()> {
    STARTING.read().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a process. In this binary [`Command::spawn`] itself is for nobody else to call.
pub(crate) fn start(command: &mut Command) -> Child {
    let _starting = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    command.spawn().expect("the program can be run")
}

/// What `ip` says in the namespace; `None` if it is not installed, and says so.
pub(crate) fn ip(space: &Namespace, words: &[&str]) -> Option<String> {
    let mut command = Command::new("ip");
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| start(&mut command)));
    let Ok(child) = space.run(run).expect("the namespace can be entered") else {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        writeln!(std::io::stderr(), "SKIPPED {test}: no ip; `cargo xtask test` installs it")
            .expect("standard error is open");
        return None;
    };
    let output = child.wait_with_output().expect("ip ends");
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("ip writes text"))
}

const ROLE: &str = "TAPESTRY_TEST_ROLE";

/// Runs `test` of this binary in a second process, in which [`role`] gives `value`; returns once that has called
/// [`hold`].
pub(crate) fn second_process(test: &str, value: &str) -> Child {
    let binary = std::env::current_exe().expect("this binary has a path");
    let mut command = Command::new(binary);
    command.args(["--exact", test, "--nocapture"]).env(ROLE, value);
    let mut child = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let lines = BufReader::new(child.stdout.as_mut().expect("it is piped")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.ends_with("HOLDING")), "the second process failed");
    child
}

/// What [`second_process`] was given, in the second process.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// In the second process: all is set up; waits to be killed, or for the first process to end.
pub(crate) fn hold() {
    println!("HOLDING");
    let _ended = std::io::stdin().read_to_end(&mut Vec::new());
}
