//! `tapestry flanneld`: flanneld's place on a host, with flanneld's flags, keys, files and exit codes.
//!
//! ```text
//!  flags ─▶ /healthz ─▶ PREFIX/config (until it is there) ─▶ external interface ─▶ lease ─▶ device
//!        ─▶ firewall table ─▶ subnet.env ─▶ /readyz, READY=1 ─▶ peers come and go ─▶ until a signal or the lease is lost
//! ```
//!
//! The host's own stack routes, as with flanneld: containers keep their bridge, and this process is a switch between
//! `flannel.VNI` and the peers' tunnels ([`switch`]) that keeps addresses, routes and neighbours ([`host`]) and the
//! firewall table ([`masq`]) as the registry wants them. A control socket beside the subnet file shows the
//! switch (`tapestry --socket /run/flannel/tapestry.sock status`). What works, differs and is refused stands in
//! `docs/flanneld.md`.
//!
//! Exit codes: 0 after SIGTERM or SIGINT and when the lease is lost, 1 if something refused, 2 for a wrong command
//! line. The lease stays when we go, so that the next start gets the same subnet. Clock: tokio's and CLOCK_MONOTONIC.

mod backend;
mod external;
mod flags;
mod health;
mod host;
mod masq;
mod nft;
mod subnet_file;
mod switch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::registry::acquire::Wish;
use crate::registry::etcd::{Client, Endpoint, Tls};
use crate::registry::lease::Subnets;
use crate::registry::network::Network;
use crate::registry::roster::{Roster, View};
use crate::registry::session::{ASK_AGAIN, Report, Session, contested};
use crate::registry::tenure::Tenure;
use crate::sys::clock;
use crate::{log, notify};
use backend::Backend;
use external::External;
use flags::{Options, Parsed};

/// Runs in the foreground until the end. `words` is what follows the command's name; `socket` where the control socket
/// is to be, if not beside the subnet file.
pub fn run(words: &[String], socket: Option<PathBuf>) -> ExitCode {
    let options = match flags::parse(words, |name| std::env::var(name).ok()) {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Version) => {
            eprintln!("tapestry {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Help) => {
            eprint!("{}", flags::usage());
            return ExitCode::SUCCESS;
        }
        Err(refused) => {
            eprintln!("{refused}\n{}", flags::usage());
            return ExitCode::from(2);
        }
    };
    log::init();
    let outcome = client(&options).and_then(|client| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
        runtime.block_on(serve(&options, client, socket))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The registry's client, unless the flags ask for what there is not.
fn client(options: &Options) -> Result<Client, String> {
    if options.kube_subnet_mgr {
        let why =
            "-kube-subnet-mgr: subnets from Kubernetes are not supported; keep them in etcd, or run flanneld";
        return Err(why.to_owned());
    }
    let endpoints =
        options.etcd_endpoints.iter().map(|url| url.parse::<Endpoint>()).collect::<Result<Vec<_>, _>>();
    let endpoints = endpoints.map_err(|error| error.to_string())?;
    let client = Client::new(endpoints, options.etcd_credentials.clone());
    if !options.etcd_endpoints.iter().any(|url| url.starts_with("https://")) {
        return Ok(client);
    }
    let ca = options.etcd_ca.as_ref().ok_or(
        "-etcd-endpoints: https:// needs -etcd-cafile, the authorities that servers' certificates are to be of",
    )?;
    let own = options.etcd_pair.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    Ok(client.with_tls(Tls::from_files(ca, own)?))
}

/// Everything, until its end or a signal.
async fn serve(options: &Options, client: Client, socket: Option<PathBuf>) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut backend = None;
    let outcome = tokio::select! {
        outcome = work(options, client, socket, &mut backend) => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    tracing::info!("stopping");
    notify::stopping();
    if let Some(backend) = backend {
        backend.stop();
    }
    outcome
}

async fn work(
    options: &Options,
    client: Client,
    socket: Option<PathBuf>,
    running: &mut Option<Backend>,
) -> Result<(), String> {
    let ready = health::Ready::default();
    let (address, l4_port) = options.healthz;
    let listening = health::serve(options.healthz, Arc::clone(&ready)).await;
    listening.map_err(|error| format!("start healthz server on {address}:{l4_port} error: {error}"))?;

    let session = Arc::new(Session::new(client, &options.etcd_prefix));
    let network = session.network_or_fault(|why| {
        tracing::error!("couldn't fetch network config: {why}; asked again every {ASK_AGAIN:?}");
        notify::status(why);
    });
    let network = network.await.map_err(|invalid| invalid.to_string())?;
    let handle = netlink()?;
    let facts = external::look(&handle, options.iface_can_reach).await.map_err(|error| error.to_string())?;
    let external = external::choose(&facts, options, network.v6.is_some())
        .map_err(|why| format!("failed to find any valid interface to use: {why}"))?;
    tracing::info!(
        "using interface {} with address {}, known to others as {}",
        external.name,
        external.v4,
        external.public_v4
    );
    let previous = subnet_file::read(&options.subnet_file);
    let holder = backend::holder(&network, &external)?;
    backend::can_listen(&network, &external)?;
    let wish =
        Wish { network: network.clone(), holder: holder.clone(), previous: previous.subnets, only: None };
    let seed = clock::now().as_nanos() ^ u64::from(external.public_v4.to_bits()) << 32;
    let mut said = String::new();
    let told = session.acquire(wish, seed, |error| {
        if said != error.to_string() {
            said = error.to_string();
            tracing::error!("acquiring a lease: {said}; it is tried again");
        }
    });
    let acquired = told.await.map_err(|failed| format!("failed to acquire lease: {failed}"))?;
    let tenure = Tenure::new(acquired, holder, options.renew_margin, clock::now());
    let again = if acquired.reused { "again " } else { "" };
    tracing::info!("lease {again}acquired: {}", acquired.subnets);

    let socket = socket.unwrap_or_else(|| options.subnet_file.with_file_name("tapestry.sock"));
    let mtu = backend::mtu(&network, &external);
    let backend = Backend::start(&network, acquired.subnets, &external, handle, options, &socket).await?;
    let backend = running.insert(backend);
    firewall(&network, acquired.subnets, options, previous.network).await?;
    announce(options, &network, acquired.subnets, mtu, &external, &ready);
    let locals = [Some(external.v4.into()), external.v6.map(Into::into)].into_iter().flatten().collect();
    follow(session, tenure, Roster::new(network).with_locals(locals), backend).await;
    Ok(())
}

fn netlink() -> Result<rtnetlink::Handle, String> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|error| format!("opening netlink: {error}"))?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Sets the firewall's table up and leaves it to a task that keeps it.
async fn firewall(
    network: &Network,
    own: Subnets,
    options: &Options,
    previous: Option<wire::Cidr>,
) -> Result<(), String> {
    let pool = network.v4.as_ref().or(network.v6.as_ref()).map(crate::registry::pool::Pool::network);
    if let Some(previous) = previous.filter(|previous| Some(*previous) != pool) {
        let removed = nft::Nft::open().and_then(|mut nft| nft.remove(&masq::name(previous)));
        if let Err(error) = removed {
            tracing::warn!("the rules of network {previous} stay: {error}");
        }
    }
    let wish = masq::Wish {
        masquerade: options.ip_masq,
        random_fully: options.random_fully,
        forward: options.forward_rules,
    };
    let Some(table) = masq::table(network, own, wish) else { return Ok(()) };
    let (made, first) = tokio::sync::oneshot::channel();
    let resync = options.resync;
    let tell_made = move || made.send(()).expect("who waits for it is below");
    let keeping = tokio::spawn(masq::keep(table, resync, tell_made));
    if first.await.is_ok() {
        return Ok(());
    }
    let why = match keeping.await {
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(())) | Err(_) => "it ended".to_owned(),
    };
    if options.ip_masq {
        return Err(format!("failed to set up masquerading: {why}"));
    }
    tracing::warn!("forward rules are not set: {why}");
    Ok(())
}

/// Tells everybody that the subnet can be used.
fn announce(
    options: &Options,
    network: &Network,
    subnets: Subnets,
    mtu: u16,
    external: &External,
    ready: &health::Ready,
) {
    let contents = subnet_file::contents(network, subnets, mtu, options.ip_masq);
    let path = options.subnet_file.display();
    match subnet_file::write(&options.subnet_file, &contents) {
        Ok(()) => {
            tracing::info!("wrote subnet file to {path}");
            ready.store(true, Ordering::Release);
        }
        Err(error) => tracing::warn!("failed to write subnet file {path}: {error}"),
    }
    let backend = network.backend.name();
    notify::ready(&format!("{subnets} by {backend} over {} ({})", external.name, external.public_v4));
}

/// Keeps the lease and tells the backend of peers, until the lease is lost.
async fn follow(session: Arc<Session>, tenure: Tenure, roster: Roster, backend: &mut Backend) {
    // One news is as long as the list of peers; older ones do not matter, so only the last is kept.
    let (sender, mut views) = tokio::sync::watch::channel(None::<View>);
    let (ended, mut end) = mpsc::channel(1);
    let keeping = tokio::spawn(async move {
        let loss = session.keep(tenure, roster, |report| tell(report, &sender)).await;
        let _nobody_waits = ended.send(loss).await;
    });
    let mut assert = tokio::time::interval(host::ASSERT_EVERY);
    loop {
        tokio::select! {
            changed = views.changed() => {
                let view = views.borrow_and_update().clone();
                if let (Ok(()), Some(view)) = (changed, view) {
                    backend.update(view.peers).await;
                }
            }
            _ = assert.tick() => backend.assert().await,
            loss = end.recv() => {
                let why = loss.map_or_else(|| "the registry's session ended".to_owned(), |loss| loss.to_string());
                tracing::error!("Lease has been revoked. Shutting down daemon. ({why})");
                break;
            }
        }
    }
    keeping.abort();
}

/// What happens, as log lines; what has to be done, to who does it.
fn tell(report: Report, peers: &tokio::sync::watch::Sender<Option<View>>) {
    match report {
        Report::Peers(view) => {
            tracing::info!("{} peers", view.peers.len());
            for (broken, count) in &view.refused {
                tracing::warn!("{}: {count} keys are not used: {broken}", broken.name());
            }
            for (key, broken) in &view.named {
                tracing::warn!("key {key:?} is not used: {broken}");
            }
            peers.send_replace(Some(view));
        }
        Report::Away(why) => tracing::warn!("{why}; forwarding goes on with the peers that are known"),
        Report::Back => tracing::info!("etcd answers again"),
        Report::Renewed(_) => tracing::info!("lease renewed"),
        Report::NotRenewed(why) => tracing::warn!("the lease could not be renewed: {why}; it is tried again"),
        Report::Contested(pause) => tracing::error!("{}", contested(pause)),
        Report::Restored => tracing::info!("our lease is again as we have written it"),
    }
}
