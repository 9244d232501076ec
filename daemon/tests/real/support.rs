//! What the tests share: whether they can run, and small talk with the kernel.

use std::fs::File;
use std::io::Write;

use tapestry::link::Namespace;

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
