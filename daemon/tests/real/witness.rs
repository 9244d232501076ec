//! Independent witnesses: iproute2 and iputils, as a user has them, with namespaces by name.

use std::process::{Command, Output, Stdio};

use crate::daemon::Daemon;
use crate::support::{able, start};

/// A namespace that `ip netns` made, and removes with this value.
struct Space(String);

impl Space {
    fn new(role: &str) -> Self {
        let name = format!("ty-{role}-{}", std::process::id());
        succeeds("ip", &["netns", "add", &name]);
        Self(name)
    }

    fn exec(&self, words: &[&str]) -> Output {
        run("ip", &[&["netns", "exec", &self.0], words].concat())
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        run("ip", &["netns", "del", &self.0]);
    }
}

fn run(program: &str, words: &[&str]) -> Output {
    start(Command::new(program).args(words).stdout(Stdio::piped()).stderr(Stdio::piped()))
        .wait_with_output()
        .unwrap()
}

fn succeeds(program: &str, words: &[&str]) -> String {
    let output = run(program, words);
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether the witnesses are installed; says so if not.
fn witnesses() -> bool {
    let there = ["ip", "ping"].iter().all(|program| {
        let found =
            start(Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()))
                .wait();
        found.is_ok_and(|status| status.success())
    });
    if !there {
        use std::io::Write;
        writeln!(std::io::stderr(), "SKIPPED witness: no ip or ping; `cargo xtask test` installs them")
            .expect("standard error is open");
    }
    there
}

#[test]
fn ip_and_ping_see_what_docker0_would_give() {
    if !able() || !witnesses() {
        return;
    }
    let (ns1, ns2) = (Space::new("w1"), Space::new("w2"));
    let config = format!(
        r#"
        [network.a]
        subnet = ["172.16.0.0/16", "fd00:16::/64"]
        gateway = ["172.16.0.1", "fd00:16::1"]
        [port.c1]
        network = "a"
        netns = "{}"
        ifname = "eth0"
        address = ["172.16.0.2/16", "fd00:16::2/64"]
        [port.c2]
        network = "a"
        netns = "{}"
        ifname = "eth0"
        address = ["172.16.0.3/16", "fd00:16::3/64"]
        "#,
        ns1.0, ns2.0
    );
    let daemon = Daemon::start(&config);
    let shown = |words: &[&str]| String::from_utf8(ns1.exec(words).stdout).unwrap();
    assert!(shown(&["ip", "route"]).contains("default via 172.16.0.1"));
    assert!(shown(&["ip", "-6", "route"]).contains("default via fd00:16::1"));
    let link = shown(&["ip", "addr", "show", "eth0"]);
    assert!(
        link.contains("02:42:ac:10:00:02") && link.contains("172.16.0.2/16") && link.contains("UP"),
        "{link}"
    );
    for (whom, size) in
        [("172.16.0.1", "1472"), ("172.16.0.3", "1472"), ("fd00:16::1", "1452"), ("fd00:16::3", "1452")]
    {
        let output = ns1.exec(&["ping", "-c", "3", "-i", "0.01", "-W", "5", "-M", "do", "-s", size, whom]);
        assert!(output.status.success(), "{whom}: {output:?}");
    }
    assert_eq!(daemon.json(&["drops"]), serde_json::json!([]), "nothing of this is refused");
}

#[test]
fn a_port_narrower_than_its_network_is_told_of() {
    if !able() {
        return;
    }
    let (ns1, ns2) = (Space::new("n1"), Space::new("n2"));
    let config = format!(
        r#"
        [network.a]
        subnet = ["172.16.0.0/16", "fd00:16::/64"]
        gateway = ["172.16.0.1", "fd00:16::1"]
        [network.b]
        subnet = ["172.17.0.0/16", "fd00:17::/64"]
        gateway = ["172.17.0.1", "fd00:17::1"]
        [port.c1]
        network = "a"
        netns = "{}"
        ifname = "eth0"
        address = ["172.16.0.2/16", "fd00:16::2/64"]
        [port.c2]
        network = "b"
        netns = "{}"
        ifname = "eth0"
        mtu = 1400
        address = ["172.17.0.2/16", "fd00:17::2/64"]
        "#,
        ns1.0, ns2.0
    );
    let _daemon = Daemon::start(&config);
    for (whom, size, told) in [
        ("172.17.0.2", "1472", "Frag needed and DF set (mtu = 1400)"),
        ("fd00:17::2", "1452", "Packet too big: mtu=1400"),
    ] {
        let ping = |words: &[&str]| ns1.exec(&[&["ping", "-c", "1", "-W", "5"], words, &[whom]].concat());
        assert!(ping(&["-s", "100"]).status.success(), "{whom}");
        let refused = String::from_utf8(ping(&["-M", "do", "-s", size]).stdout).unwrap();
        assert!(refused.contains(told), "{refused}");
        let cut = ping(&["-M", "dont", "-s", size]);
        assert!(cut.status.success(), "in fragments: {cut:?}");
    }
}
