//! Hosts as namespaces on one wire with an etcd, and `tapestry flanneld` on them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tapestry::link::Namespace;

use crate::etcd::{PATIENCE, PREFIX};

/// Where etcd is.
const SERVER: &str = "192.168.77.254";

/// A wire with an etcd on it.
pub(crate) struct Lan {
    pub(crate) hub: Namespace,
    directory: tempfile::TempDir,
    etcd: Child,
}

/// A host on the wire.
pub(crate) struct Machine {
    pub(crate) space: Namespace,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) number: u8,
}

/// A running `tapestry flanneld` or `tapestry run`.
pub(crate) struct Flanneld {
    child: Child,
    manager: UnixDatagram,
    log: PathBuf,
}

/// Whether there are all programs and the right to make namespaces. If not, says so where a test run shows it.
pub(crate) fn able() -> bool {
    let is_there = |(program, word)| {
        Command::new(program).arg(word).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let programs = [("etcd", "--version"), ("etcdctl", "version"), ("ip", "-V"), ("nft", "-v")];
    let refusal = if !rustix::process::geteuid().is_root() {
        "not root"
    } else if std::fs::File::open("/dev/net/tun").is_err() {
        "no /dev/net/tun"
    } else if !programs.into_iter().all(is_there) {
        "no etcd, etcdctl, ip or nft; `cargo xtask test` installs them"
    } else {
        return true;
    };
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "SKIPPED {test}: {refusal}").expect("standard error is open");
    false
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "no {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// What a program prints in a namespace.
pub(crate) fn output(space: &Namespace, words: &[&str]) -> String {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("ETCDCTL_API", "3");
    let output = space.run(|| command.output()).unwrap().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether one packet of so many octets gets from one address to another and back.
pub(crate) fn reaches(space: &Namespace, from: &str, to: &str, len: &str) -> bool {
    let mut command = Command::new("ping");
    command.args(["-c", "1", "-W", "1", "-M", "do", "-s", len, "-I", from, to]);
    space.run(|| command.output()).unwrap().unwrap().status.success()
}

/// Runs commands, a line each.
pub(crate) fn run(space: &Namespace, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        output(space, &line.split_whitespace().collect::<Vec<_>>());
    }
}

impl Lan {
    pub(crate) fn new() -> Self {
        let hub = Namespace::anonymous("hub").unwrap();
        run(&hub, "ip link add br0 type bridge forward_delay 0\nip link set br0 up");
        run(&hub, &format!("ip addr add {SERVER}/24 dev br0"));
        let directory = tempfile::tempdir().unwrap();
        let etcd = etcd(&hub, &directory);
        let lan = Self { hub, directory, etcd };
        lan.answers();
        lan
    }

    fn answers(&self) {
        let connects = || {
            let connect = || TcpStream::connect((SERVER, 2379)).is_ok();
            self.hub.run(connect).unwrap()
        };
        until("etcd", connects);
    }

    /// What the operator does to etcd.
    pub(crate) fn ctl(&self, words: &[&str]) -> String {
        let endpoint = format!("http://{SERVER}:2379");
        output(&self.hub, &[&["etcdctl", "--endpoints", &endpoint], words].concat())
    }

    pub(crate) fn configure(&self, document: &str) {
        self.ctl(&["put", &format!("{PREFIX}/config"), document]);
    }

    /// Stops etcd in its tracks, or lets it go on.
    pub(crate) fn signal_etcd(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.etcd.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// Everything that etcd knew is lost.
    pub(crate) fn empty_etcd(&self) {
        std::fs::remove_dir_all(self.directory.path().join("data")).unwrap();
    }

    pub(crate) fn kill_etcd(&mut self) {
        self.etcd.kill().unwrap();
        self.etcd.wait().unwrap();
    }

    pub(crate) fn start_etcd(&mut self) {
        self.etcd = etcd(&self.hub, &self.directory);
        self.answers();
    }

    /// The host 192.168.77.`number` with interface eth0, which has the default route.
    pub(crate) fn machine(&self, number: u8) -> Machine {
        let space = Namespace::anonymous(&format!("host {number}")).unwrap();
        let path = space.path();
        run(
            &self.hub,
            &format!(
                "ip link add h{number} type veth peer name eth0 netns {}\nip link set h{number} master br0 up",
                path.display()
            ),
        );
        run(
            &space,
            &format!(
                "ip addr add 192.168.77.{number}/24 dev eth0
                 ip addr add 2001:db8:77::{number}/64 dev eth0 nodad
                 ip link set eth0 up
                 ip route add default via {SERVER}
                 sysctl -qw net.ipv4.ip_forward=1
                 ip link add cni0 type bridge
                 ip link set cni0 up"
            ),
        );
        Machine { space, directory: tempfile::tempdir().unwrap(), number }
    }

    /// Cuts the host's wire, or mends it.
    pub(crate) fn wire(&self, number: u8, state: &str) {
        run(&self.hub, &format!("ip link set h{number} {state}"));
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ended = self.etcd.kill();
        self.etcd.wait().unwrap();
    }
}

fn etcd(hub: &Namespace, directory: &tempfile::TempDir) -> Child {
    let (clients, peers) = (format!("http://{SERVER}:2379"), format!("http://{SERVER}:2380"));
    let mut command = Command::new("etcd");
    command.args(["--name", "test", "--data-dir"]).arg(directory.path().join("data"));
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    command.args(["--initial-cluster", &format!("test={peers}")]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    hub.run(|| command.spawn()).unwrap().unwrap()
}

impl Machine {
    pub(crate) fn subnet_file(&self) -> PathBuf {
        self.directory.path().join("run/subnet.env")
    }

    /// A value of the subnet file.
    pub(crate) fn env(&self, key: &str) -> String {
        let text = std::fs::read_to_string(self.subnet_file()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{key} in {text}")).to_owned()
    }

    /// The subnet's own address.
    pub(crate) fn own(&self) -> String {
        self.env("FLANNEL_SUBNET").replace(".1/24", ".0")
    }

    /// The address that pods are behind.
    pub(crate) fn gateway(&self) -> String {
        self.env("FLANNEL_SUBNET").replace("/24", "")
    }

    /// Starts flanneld with these flags beside those that every test needs.
    pub(crate) fn start(&self, flags: &[&str]) -> Flanneld {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapestry"));
        command.args(["flanneld", "-etcd-endpoints", &format!("http://{SERVER}:2379")]);
        command.arg("--subnet-file").arg(self.subnet_file()).args(flags);
        self.launch(command)
    }

    /// Starts `tapestry run` with this configuration.
    pub(crate) fn switch(&self, config: &str) -> Flanneld {
        let file = self.directory.path().join("config.toml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapestry"));
        command.arg("--socket").arg(self.directory.path().join("socket")).args(["run", "-c"]).arg(file);
        self.launch(command)
    }

    /// What `tapestry run` answers on this host.
    pub(crate) fn ask(&self, words: &[&str]) -> serde_json::Value {
        self.lines(words).into_iter().next().unwrap()
    }

    /// The same where the answer is a line for each.
    pub(crate) fn lines(&self, words: &[&str]) -> Vec<serde_json::Value> {
        self.lines_at("socket", words)
    }

    /// The same of what has its control socket there.
    pub(crate) fn lines_at(&self, socket: &str, words: &[&str]) -> Vec<serde_json::Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapestry"));
        command.arg("--socket").arg(self.directory.path().join(socket)).args(words).arg("--json");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let values = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
        values.collect::<Result<_, _>>().unwrap()
    }

    /// Asks whether a peer answers, through this control socket of ours, and finds it well.
    pub(crate) fn checks(&self, socket: &str, peer: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapestry"));
        command.arg("--socket").arg(self.directory.path().join(socket));
        let output = command.args(["overlay", "check", peer]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{peer}: {}", String::from_utf8_lossy(&said));
    }

    fn launch(&self, mut command: Command) -> Flanneld {
        let notify = self.directory.path().join("notify");
        drop(std::fs::remove_file(&notify));
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let log = self.directory.path().join("log");
        command.env("NOTIFY_SOCKET", &notify).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log).unwrap());
        let child = self.space.run(|| command.spawn()).unwrap().unwrap();
        Flanneld { child, manager, log }
    }

    /// Starts it and waits until it is ready; a pod's gateway is made then, as dockerd does.
    pub(crate) fn join(&self, flags: &[&str]) -> Flanneld {
        let flanneld = self.start(flags);
        flanneld.is_ready();
        let gateway = self.env("FLANNEL_SUBNET");
        run(&self.space, &format!("ip addr replace {gateway} dev cni0"));
        flanneld
    }

    /// What a health check is answered.
    pub(crate) fn asks(&self, path: &str) -> String {
        let exchange = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", 8471))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        self.space.run(exchange).unwrap().unwrap_or_default()
    }
}

impl Flanneld {
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// What it tells its service manager next.
    pub(crate) fn message(&self) -> String {
        let mut buffer = [0; 512];
        let read = self.manager.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}: {}", self.log()));
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    }

    pub(crate) fn is_ready(&self) {
        while !self.message().starts_with("READY=1") {}
    }

    /// Waits for its end by itself.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        until("end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_raw(self.child.id().try_into().unwrap()).unwrap(), signal).unwrap();
        self.ends()
    }
}

impl Drop for Flanneld {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ended = self.child.kill();
            self.child.wait().unwrap();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}
