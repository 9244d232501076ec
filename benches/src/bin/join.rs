//! How long it takes until a cluster of many hosts has seen one more, on one machine:
//!
//! ```text
//!  etcd (a process) ◀─ grant, write ─ the newcomer
//!     └─ a watch each ─▶ 1,000 registries (sessions, rosters, as `tapestry run` and `tapestry flanneld` have them)
//! ```
//!
//! `cargo run --release -p benches --bin join -- --hosts 1000`. Each registry is a real client: a connection of its own, a watch, its
//! own copy of every lease, and the list of peers worked out anew. They share a process and its cores with each other and
//! with etcd, so every one of them is slower than a host of its own would be; a thousand processes would be slower yet. What a
//! host does with its list is measured apart, once: the configuration with one more peer, checked and compiled to a plan.
//!
//! Needs Debian's etcd-server. Nothing is left behind.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use clap::Parser;
use config::{Config, PeerSpec};
use tapestry::registry::acquire::{Acquired, Wish};
use tapestry::registry::etcd::{Client, Expected};
use tapestry::registry::lease::{Holder, Subnets};
use tapestry::registry::network::Network;
use tapestry::registry::roster::Roster;
use tapestry::registry::session::{Report, Session};
use tapestry::registry::tenure::Tenure;
use tapestry::sys::clock;
use tokio::runtime::{Builder, Runtime};

const PREFIX: &str = "/coreos.com/network";
const NETWORK: &str = r#"{"Network":"10.0.0.0/8","SubnetLen":24,"Backend":{"Type":"vxlan"}}"#;
const ADDRESS: &str = "127.77.0.1";
/// Longer than any step takes; at it something is wrong.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long it takes until a cluster of many hosts has seen one more.
#[derive(Parser)]
struct Arguments {
    /// Hosts that are there already, 1 to 60,000.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=60_000))]
    hosts: u16,
    /// How often one more joins and leaves.
    #[arg(long, default_value_t = 5)]
    repeat: u32,
    /// Threads that the registries share.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// An etcd that ends with this.
struct Etcd {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Etcd {
    fn start() -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| format!("a directory for etcd: {error}"))?;
        let (clients, peers) = (format!("http://{ADDRESS}:2379"), format!("http://{ADDRESS}:2380"));
        let mut command = Command::new("etcd");
        command.args(["--name", "bench", "--data-dir"]).arg(directory.path().join("data"));
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("bench={peers}")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("etcd: {error}; `apt-get install etcd-server`"))?;
        Ok(Self { child, _directory: directory })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a registry tells: how many peers it knows, and since when.
type Told = (u16, usize, Instant);

fn measure(arguments: &Arguments) -> Result<(), String> {
    let _etcd = Etcd::start()?;
    let runtime = runtime()?;
    runtime.block_on(answers())?;
    let (sender, told) = channel();
    let hosts = arguments.hosts;
    let begin = Instant::now();
    for thread in 0..arguments.threads {
        let mine: Vec<u16> = (0..hosts).filter(|host| host % arguments.threads == thread).collect();
        let sender = sender.clone();
        std::thread::spawn(move || crowd(&mine, &sender)); // Ends with the process.
    }
    settle(&told, hosts, usize::from(hosts) - 1)?;
    println!(
        "{hosts} hosts have a lease each and know each other after {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    println!("one more joins (from its first question to etcd on), ms:   written   median     last");
    let mut lasts = Vec::new();
    for _ in 0..arguments.repeat {
        let begin = Instant::now();
        let session = Session::new(client(), PREFIX);
        let acquired = runtime.block_on(lease(&session, hosts))?;
        let written = begin.elapsed();
        let mut times: Vec<Duration> =
            settle(&told, hosts, usize::from(hosts))?.into_iter().map(|at| at - begin).collect();
        times.sort_unstable();
        let last = times[times.len() - 1];
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("{:>66.0} {:>8.0} {:>8.0}", ms(written), ms(times[times.len() / 2]), ms(last));
        lasts.push(last);
        let key = format!("{PREFIX}/subnets/{}", acquired.subnets);
        runtime
            .block_on(client().delete(&key, Expected::WrittenAt(acquired.written)))
            .map_err(|error| error.to_string())?;
        settle(&told, hosts, usize::from(hosts) - 1)?;
    }
    lasts.sort_unstable();
    println!(
        "all have seen it after {:.0} ms (median of {})",
        lasts[lasts.len() / 2].as_secs_f64() * 1e3,
        lasts.len()
    );
    plan(hosts)
}

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

fn client() -> Client {
    Client::new(vec![format!("http://{ADDRESS}:2379").parse().expect("it is an endpoint")], None)
}

async fn answers() -> Result<(), String> {
    let begin = Instant::now();
    while client().get("x").await.is_err() {
        if begin.elapsed() > PATIENCE {
            return Err("etcd does not answer".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn holder(host: u16) -> Holder {
    let [high, low] = host.to_be_bytes();
    let value = format!(
        r#"{{"PublicIP":"198.18.{high}.{low}","BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"02:00:00:00:{high:02x}:{low:02x}"}}}}"#
    );
    Holder::parse(value.as_bytes()).expect("it is a lease")
}

fn network() -> Network {
    Network::parse(NETWORK.as_bytes()).expect("it is a configuration")
}

async fn lease(session: &Session, host: u16) -> Result<Acquired, String> {
    let [high, low] = host.to_be_bytes();
    let v4 = wire::Cidr::new(IpAddr::V4(Ipv4Addr::new(10, 1 + high, low, 0)), 24).expect("24 bits fit");
    let only = Some(Subnets { v4, v6: None });
    let wish = Wish { network: network(), holder: holder(host), previous: None, only };
    let acquired = session.acquire(wish, u64::from(host), |error| eprintln!("{error}; tried again")).await;
    acquired.map_err(|failed| failed.to_string())
}

/// Hosts that hold a lease and hear of the others, on a thread of their own.
fn crowd(hosts: &[u16], told: &Sender<Told>) {
    let runtime = runtime().expect("there is a thread, so there is a runtime");
    runtime.block_on(async {
        let mut held = Vec::new();
        for &host in hosts {
            let session = Arc::new(Session::new(client(), PREFIX));
            let acquired = lease(&session, host).await.expect("everybody asks for a subnet of his own");
            held.push((host, session, acquired));
        }
        let keeping = held.into_iter().map(|(host, session, acquired)| {
            let tenure = Tenure::new(acquired, holder(host), Duration::from_secs(3600), clock::now());
            let told = told.clone();
            let report = move |report| {
                if let Report::Peers(view) = report {
                    told.send((host, view.peers.len(), Instant::now())).unwrap_or_default(); // Nobody listens at the end.
                }
            };
            tokio::spawn(session.keep(tenure, Roster::new(network()), report))
        });
        for keeping in keeping.collect::<Vec<_>>() {
            let loss = keeping.await.expect("it does not panic");
            eprintln!("{loss}");
        }
    });
}

/// Waits until every host knows so many peers; since when.
fn settle(told: &Receiver<Told>, hosts: u16, peers: usize) -> Result<Vec<Instant>, String> {
    let mut since: Vec<Option<Instant>> = vec![None; usize::from(hosts)];
    let mut missing = usize::from(hosts);
    while missing > 0 {
        let heard = told.recv_timeout(PATIENCE);
        let (host, count, at) = heard.map_err(|_| format!("{missing} hosts do not know {peers} peers"))?;
        let known = &mut since[usize::from(host)];
        match (known.is_some(), count == peers) {
            (false, true) => {
                *known = Some(at);
                missing -= 1;
            }
            (true, false) => {
                *known = None;
                missing += 1;
            }
            (true, true) | (false, false) => {}
        }
    }
    Ok(since.into_iter().flatten().collect())
}

/// What one host does with its list.
fn plan(hosts: u16) -> Result<(), String> {
    let text = "[network.pod]\nsubnet = [\"172.31.0.0/24\"]\ngateway = [\"172.31.0.1\"]\n[overlay]\nbackend = \"vxlan\"\n\
                local = \"192.0.2.1\"\nnetwork = \"pod\"\n";
    let config = config::check("bench", text).map_err(|report| report.to_string())?;
    let peer = |host: u16| {
        let [high, low] = host.to_be_bytes();
        let subnet = wire::Cidr::new([10, 1 + high, low, 0].into(), 24).expect("24 bits fit");
        let mac = Some(wire::Mac([2, 0, 0, 0, high, low]));
        PeerSpec { subnet, endpoint: [198, 18, high, low].into(), mac }
    };
    let hosts = hosts.min(u16::try_from(config::PEERS_MAX).expect("they are few") - 1);
    let peers = |count: u16| (0..count).map(peer).collect::<Vec<_>>();
    let mut ids = config::Ids::default();
    let with = |count| -> Result<Config, String> {
        Ok(config.with_peers(peers(count)).map_err(|report| report.to_string())?.0)
    };
    config::compile(&with(hosts)?, &mut ids);
    let begin = Instant::now();
    let compiled = config::compile(&with(hosts + 1)?, &mut ids);
    compiled.plan.check().map_err(|error| format!("{error:?}"))?;
    let took = begin.elapsed().as_secs_f64() * 1e3;
    println!("a plan of {} peers, checked and compiled: {took:.1} ms", compiled.plan.tunnels.len());
    Ok(())
}
