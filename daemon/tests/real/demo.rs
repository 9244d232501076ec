//! `tapestry demo`, as a newcomer runs it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use crate::daemon::tapestry;
use crate::support::{able, start};

#[test]
fn the_demo_works_twice_in_a_row() {
    if !able() {
        return;
    }
    for _ in 0..2 {
        let mut command = tapestry("/nowhere".as_ref());
        // Nothing but the binary: no `ip`, `ping` or `iperf3` to be found.
        command.arg("demo").env("PATH", "/nowhere").stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = start(&mut command).wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("Gbit/s") && text.contains("route.unsolicited"), "{text}");
        assert!(!text.contains("FAIL"), "{text}");
    }
}

#[test]
fn the_demo_ends_quietly_when_nobody_reads_any_more() {
    if !able() {
        return;
    }
    let mut command = tapestry("/nowhere".as_ref());
    let mut demo = start(command.arg("demo").stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut first = String::new();
    BufReader::new(demo.stdout.take().unwrap()).read_line(&mut first).unwrap(); // And closes the pipe.
    assert!(first.starts_with("Two networks"), "{first}");
    let output = demo.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn the_demo_says_that_it_needs_root() {
    if !able() {
        return;
    }
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    // A copy that everybody may run, wherever this one was built.
    let copy = directory.path().join("tapestry");
    std::fs::copy(env!("CARGO_BIN_EXE_tapestry"), &copy).unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    let mut command = std::process::Command::new(&copy);
    command.arg("demo").uid(65534).gid(65534).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = start(&mut command).wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("CAP_SYS_ADMIN") && text.contains("as root"), "{text}");
}
