//! A server for a test, what an operator does to it, and hosts that share it.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tapestry::registry::acquire::{Acquired, Wish};
use tapestry::registry::etcd::Client;
use tapestry::registry::lease::Holder;
use tapestry::registry::network::Network;
use tapestry::registry::roster::{Roster, View};
use tapestry::registry::session::{Report, Session};
use tapestry::registry::tenure::{Loss, Tenure};
use tokio::sync::mpsc;

/// Long enough for any machine; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const VXLAN: &str = r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}"#;
pub(crate) const PREFIX: &str = "/coreos.com/network";

/// A server that is killed when this is dropped, with everything that it knows.
pub(crate) struct Etcd {
    directory: tempfile::TempDir,
    address: Ipv4Addr,
    child: Child,
}

impl Etcd {
    /// Starts one and waits until it answers; `None` if it is not installed, and says so.
    pub(crate) async fn start() -> Option<Self> {
        let address = Self::free_address();
        let client = Client::new(vec![format!("http://{address}:2379").parse().unwrap()], None);
        Self::start_with(address, "http", &[], &client).await
    }

    /// No two tests, and no two runs at the same time, have the same.
    pub(crate) fn free_address() -> Ipv4Addr {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        Ipv4Addr::new(127, high.max(1), low, COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// The same at this address, with more words on its command line, asked by this client.
    pub(crate) async fn start_with(
        address: Ipv4Addr,
        scheme: &'static str,
        words: &[String],
        client: &Client,
    ) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let is_there =
            |(program, word)| Command::new(program).arg(word).stdout(Stdio::null()).status().is_ok();
        if ![("etcd", "--version"), ("etcdctl", "version")].into_iter().all(is_there) {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            let why = "no etcd and etcdctl; `cargo xtask test` installs them";
            // Straight to the descriptor: the harness keeps what `eprintln!` prints in tests that pass.
            writeln!(std::io::stderr(), "SKIPPED {test}: {why}").expect("standard error is open");
            return None;
        }
        let child = spawn(&directory, address, scheme, words);
        let etcd = Self { directory, address, child };
        answers(client).await;
        Some(etcd)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}:2379", self.address)
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(vec![self.url().parse().unwrap()], None)
    }

    /// Ends it as a power cut does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after [`Etcd::kill`].
    pub(crate) async fn again(&mut self) {
        self.child = spawn(&self.directory, self.address, "http", &[]);
        answers(&self.client()).await;
    }

    /// Everything that it knew is lost.
    pub(crate) fn empty(&self) {
        std::fs::remove_dir_all(self.directory.path().join("data")).unwrap();
    }

    /// What the operator does, and what is printed.
    pub(crate) fn ctl(&self, words: &[&str]) -> String {
        let mut command = Command::new("etcdctl");
        let output =
            command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url()]).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Writes a lease as another host's flanneld would.
    pub(crate) fn put(&self, key: &str, value: &str) {
        self.ctl(&["put", &format!("{PREFIX}/subnets/{key}"), value]);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ended = self.child.kill();
        self.child.wait().unwrap();
    }
}

async fn answers(client: &Client) {
    let mut interval = tokio::time::interval(Duration::from_millis(50));
    let answers = async {
        while client.get("x").await.is_err() {
            interval.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, answers).await.expect("etcd answers");
}

fn spawn(directory: &tempfile::TempDir, address: Ipv4Addr, scheme: &str, words: &[String]) -> Child {
    let (clients, peers) = (format!("{scheme}://{address}:2379"), format!("http://{address}:2380"));
    let mut command = Command::new("etcd");
    command.args(["--name", "test", "--data-dir"]).arg(directory.path().join("data"));
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    command.args(["--initial-cluster", &format!("test={peers}"), "--heartbeat-interval", "50"]);
    command.args(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// What host number `host` writes into its lease.
pub(crate) fn lease_of(host: u16) -> String {
    let [high, low] = host.to_be_bytes();
    format!(
        r#"{{"PublicIP":"192.0.{high}.{low}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"02:00:00:00:{high:02x}:{low:02x}"}}}}"#
    )
}

pub(crate) fn wish(host: u16, previous: Option<&str>) -> Wish {
    Wish {
        network: Network::parse(VXLAN.as_bytes()).unwrap(),
        holder: Holder::parse(lease_of(host).as_bytes()).unwrap(),
        previous: previous.map(|key| key.parse().unwrap()),
        only: None,
    }
}

/// A host that holds a lease and hears of others.
pub(crate) struct Host {
    pub(crate) acquired: Acquired,
    reports: mpsc::UnboundedReceiver<Report>,
    unread: VecDeque<Report>,
    ended: tokio::task::JoinHandle<Loss>,
}

impl Host {
    pub(crate) async fn join(client: Client, host: u16, previous: Option<&str>) -> Self {
        let session = Arc::new(Session::new(client, PREFIX));
        let wish = wish(host, previous);
        let (network, holder) = (wish.network.clone(), wish.holder.clone());
        let acquired = session.acquire(wish, u64::from(host), |error| panic!("{error}")).await.unwrap();
        let margin = Duration::from_secs(3600);
        let tenure = Tenure::new(acquired, holder, margin, tapestry::sys::clock::now());
        let (sender, reports) = mpsc::unbounded_channel();
        let report = move |report| drop(sender.send(report));
        let ended = tokio::spawn(session.keep(tenure, Roster::new(network), report));
        Self { acquired, reports, unread: VecDeque::new(), ended }
    }

    /// The key of what it holds.
    pub(crate) fn key(&self) -> String {
        self.acquired.subnets.to_string()
    }

    /// Waits for a report of which `wanted` makes something; those before are gone.
    pub(crate) async fn hears<T>(&mut self, what: &str, wanted: impl Fn(&Report) -> Option<T>) -> T {
        loop {
            let report = match self.unread.pop_front() {
                Some(report) => report,
                None => tokio::time::timeout(PATIENCE, self.reports.recv())
                    .await
                    .unwrap_or_else(|_| panic!("no {what}"))
                    .unwrap_or_else(|| panic!("the session has ended without {what}")),
            };
            if let Some(found) = wanted(&report) {
                return found;
            }
        }
    }

    /// Waits until it knows exactly these subnets.
    pub(crate) async fn sees(&mut self, subnets: &[&str]) -> View {
        let mut wanted: Vec<String> = subnets.iter().map(|key| key.replacen('-', "/", 1)).collect();
        wanted.sort();
        self.hears(&format!("{wanted:?}"), |report| {
            let Report::Peers(view) = report else { return None };
            let mut seen: Vec<String> = view.peers.iter().map(|peer| peer.subnet.to_string()).collect();
            seen.sort();
            (seen == wanted).then(|| view.clone())
        })
        .await
    }

    /// Waits until its lease is lost.
    pub(crate) async fn ends(&mut self) -> Loss {
        tokio::time::timeout(PATIENCE, &mut self.ended).await.expect("the lease is lost").unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.ended.abort();
    }
}
