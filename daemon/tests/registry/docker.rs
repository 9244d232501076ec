//! Docker on two hosts: `dockerd --bip --mtu` from our subnet file, as mk-docker-opts.sh would call it, and a container on
//! one that fetches a page from a container on the other. Nothing of Docker knows of us.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::etcd::VXLAN;
use crate::lan::{Lan, Machine, able, output, run, until};

/// The engine of one host, with everything that it keeps.
struct Docker {
    child: Child,
    directory: tempfile::TempDir,
}

/// Whether the engine is there; if not, says so where a test run shows it.
fn has_docker() -> bool {
    let is_there = |program| {
        Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let has_cgroups = std::path::Path::new("/sys/fs/cgroup/devices").exists()
        || std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let refusal = if !["dockerd", "docker", "busybox"].into_iter().all(is_there) {
        "no dockerd, docker or busybox; `cargo xtask test` installs them"
    } else if !has_cgroups {
        "no cgroups, without which dockerd does not start"
    } else {
        return true;
    };
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "SKIPPED {test}: {refusal}").expect("standard error is open");
    false
}

impl Docker {
    /// An engine in the host's network namespace, with an image of one static program.
    fn start(host: &Machine) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut command = Command::new("dockerd");
        command.args(["--bip", &host.env("FLANNEL_SUBNET"), "--mtu", &host.env("FLANNEL_MTU")]);
        // flanneld's masquerading is on, so Docker's is off.
        command.args(["--ip-masq=false", "--storage-driver=vfs"]);
        command.arg("--data-root").arg(path("data")).arg("--exec-root").arg(path("exec"));
        command
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("--host")
            .arg(format!("unix://{}", path("sock").display()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(path("log")).unwrap());
        let child = host.space.run(|| command.spawn()).unwrap().unwrap();
        let docker = Self { child, directory };
        until(&format!("answer of dockerd: {}", docker.log()), || docker.asks(&["version"]).status.success());
        docker.import();
        docker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    fn asks(&self, words: &[&str]) -> std::process::Output {
        let mut command = Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", self.path("sock").display())).args(words);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// What a command that must work prints.
    fn orders(&self, words: &[&str]) -> String {
        let output = self.asks(words);
        assert!(
            output.status.success(),
            "{words:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn import(&self) {
        let root = self.path("image");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::create_dir_all(root.join("www")).unwrap();
        let busybox =
            ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| std::fs::exists(path).unwrap());
        std::fs::copy(busybox.unwrap(), root.join("bin/busybox")).unwrap();
        std::fs::write(root.join("www/index.html"), "woven").unwrap();
        let archive = self.path("image.tar");
        let made =
            Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(made.success());
        self.orders(&["import", archive.to_str().unwrap(), "woven"]);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        drop(self.asks(&["rm", "-f", "server"]));
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _sent = kill_process(pid, Signal::TERM); // It takes containerd along.
        }
        drop(self.child.wait());
    }
}

#[test]
fn containers_of_two_engines_reach_each_other() {
    if !able() || !has_docker() {
        return;
    }
    let lan = Lan::new();
    lan.configure(VXLAN);
    let hosts = [1, 2].map(|number| lan.machine(number));
    let running = hosts.each_ref().map(|host| host.start(&["-ip-masq"]));
    running.iter().for_each(|flanneld| flanneld.is_ready());
    let engines = hosts.each_ref().map(Docker::start);
    for host in &hosts {
        // dockerd's policy for forwarding is DROP, and no table of ours overrules that of another.
        run(
            &host.space,
            "iptables -I FORWARD -s 10.5.0.0/16 -j ACCEPT\niptables -I FORWARD -d 10.5.0.0/16 -j ACCEPT",
        );
        let bridge = output(&host.space, &["ip", "addr", "show", "dev", "docker0"]);
        assert!(bridge.contains(&format!("inet {}", host.env("FLANNEL_SUBNET"))), "{bridge}");
    }
    let busybox = "/bin/busybox";
    engines[0].orders(&[
        "run", "-d", "--name", "server", "woven", busybox, "httpd", "-f", "-p", "80", "-h", "/www",
    ]);
    let address = engines[0].orders(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "server"]);
    assert!(hosts[0].env("FLANNEL_SUBNET").starts_with(address.rsplit_once('.').unwrap().0), "{address}");
    // Not wget: a static one looks up names in libraries that are not there.
    let ask = format!(r#"printf "GET / HTTP/1.0\r\n\r\n" | {busybox} nc -w 2 {address} 80"#);
    let fetch = ["run", "--rm", "woven", busybox, "sh", "-c", &ask];
    until(&format!("page: {}", running[1].log()), || {
        let output = engines[1].asks(&fetch);
        output.stdout.ends_with(b"woven")
    });
    let mtu = engines[1].orders(&["run", "--rm", "woven", busybox, "cat", "/sys/class/net/eth0/mtu"]);
    assert_eq!(mtu, "1450");
    // The longest packet gets through, and the server sees the container itself, not its host.
    engines[1]
        .orders(&["run", "--rm", "woven", busybox, "ping", "-c", "1", "-W", "5", "-s", "1422", &address]);
}
