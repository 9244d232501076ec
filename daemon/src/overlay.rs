//! The overlay of `tapestry run` with `registry = "etcd"`: this host's subnet is leased by flannel's keys, and the peers
//! follow from the others' leases.
//!
//! ```text
//!  PREFIX/config ──▶ does it agree with [overlay]? ──▶ lease ──▶ (the switch starts) ──▶ keep ──▶ peers, one plan each
//!       ▲                                                ▲                                 │
//!       └──────────── asked again each second            └──── the same subnet again ◀──── lost
//! ```
//!
//! A network without a subnet waits for its lease, and the switch with it. With one given, the switch starts at once and
//! the lease is got beside it: that subnet and no other.
//!
//! etcd may be away for as long as it likes: the peers that were known last stay. A lease whose key is gone is wanted
//! again, the same subnet; peers stay until etcd says otherwise. If the subnet is another host's, nothing is sent to
//! peers any more and nothing taken from them, for answers would not come here; what goes on inside of this host, and
//! over its uplink, goes on. Addresses of stations are never changed.
//!
//! What the document says of backend, L4 port and VNI must be what [overlay] says, and so must whether there are IPv6 subnets
//! (`EnableIPv6`), which travel between the hosts' `local_v6`. Each is told and asked again. Only the newest list of peers counts:
//! while one becomes a plan, those between are skipped. The lease stays when we go, so that the next start has it again.
//! Clock: tokio's and CLOCK_MONOTONIC.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use config::{Backend, Config, EtcdSpec, OverlaySpec, PeerSpec, Registry};
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use wire::UnicastMac;

use crate::api::{ApiError, ErrorKind, RefusedKey, RegistryInfo, RegistryState};
use crate::events::{Event, EventKind};
use crate::registry::acquire::{Acquired, Failed, Wish};
use crate::registry::etcd::{Client, Endpoint, Tls};
use crate::registry::lease::{Holder, Subnets, Vtep, part_of_key};
use crate::registry::network::{Backend as Kind, Network};
use crate::registry::roster::{NAMED_MAX, Peer, Roster, View};
use crate::registry::session::{ASK_AGAIN, Report, Session, contested};
use crate::registry::tenure::{Loss, Tenure};
use crate::supervisor::Supervisor;
use crate::sys::clock;

/// How long a lease that could not be had is not asked for again.
const RETRY: Duration = Duration::from_secs(10);
/// The name of the reason for peers that the configuration has no room for.
const UNFIT: &str = "registry.unfit";

/// An overlay that is joined, or is to be.
#[derive(Debug)]
pub struct Overlay {
    session: Arc<Session>,
    spec: OverlaySpec,
    etcd: EtcdSpec,
    holder: Holder,
    /// No other subnet will do.
    only: Option<Subnets>,
    held: Option<Held>,
}

/// A lease and what it is of.
#[derive(Clone, Debug)]
struct Held {
    network: Network,
    acquired: Acquired,
}

/// Why there is no lease.
enum NotJoined {
    /// The document does not agree with the configuration.
    Disagreement(String),
    /// No subnet can be had.
    Failed(Failed),
}

/// An overlay that is being kept; dropping it does not end it.
#[derive(Debug)]
pub struct Handle {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Ends it. The lease stays.
    pub fn stop(self) {
        drop(self.stop); // Hears of it.
        drop(self.thread.join());
    }
}

impl Overlay {
    /// The overlay of a configuration, if it is one whose hosts learn of each other from etcd. Reads the files that the
    /// configuration names.
    ///
    /// # Errors
    /// If one of them is of no use.
    pub fn of(config: &Config) -> Result<Option<Self>, ApiError> {
        let Some(spec) = config.overlay.as_ref().filter(|overlay| overlay.registry == Registry::Etcd) else {
            return Ok(None);
        };
        let etcd = spec.etcd.clone().unwrap_or_default();
        let client = client(&etcd).map_err(|why| ApiError::new(ErrorKind::Invalid, "overlay.etcd", why))?;
        let IpAddr::V4(public_ip) = spec.local else { unreachable!("it is checked to be of IPv4") };
        let vtep = |is_v4: bool| {
            let mac = spec.tunnel_mac(is_v4).filter(|_| spec.backend == Backend::Vxlan)?;
            let mac = UnicastMac::new(mac).expect("MAC addresses are checked to be stations'");
            Some(Vtep { vni: spec.vni, mac })
        };
        let holder = Holder {
            public_ip,
            public_ipv6: spec.local_v6,
            backend: lease_type(spec.backend).to_owned(),
            data: vtep(true),
            data_v6: vtep(false),
        };
        let given = &config.network[&spec.network].subnet;
        let of_family =
            |is_v4: bool| given.iter().copied().find(|subnet| subnet.address().is_ipv4() == is_v4);
        let only = of_family(true).filter(|_| !config.lacks_subnet());
        let only = only.map(|v4| Subnets { v4, v6: of_family(false) });
        let session = Arc::new(Session::new(client, &etcd.prefix));
        Ok(Some(Self { session, spec: spec.clone(), etcd, holder, only, held: None }))
    }

    /// Gets the lease, however long that takes, and what is leased. `on_trouble` is told why it takes long.
    pub async fn lease(&mut self, mut on_trouble: impl FnMut(&str)) -> Subnets {
        loop {
            match self.join(&mut on_trouble).await {
                Ok(held) => return self.held.insert(held).acquired.subnets,
                Err(not_joined) => {
                    on_trouble(&not_joined.why());
                    tokio::time::sleep(not_joined.pause()).await;
                }
            }
        }
    }

    /// Keeps the lease and tells the switch of peers, on a thread of its own.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(self, supervisor: &Arc<Supervisor>) -> Result<Handle, ApiError> {
        let refused =
            |error: std::io::Error| ApiError::new(ErrorKind::Internal, "overlay", error.to_string());
        let runtime = Builder::new_current_thread().enable_all().build().map_err(refused)?;
        let (stop, stopped) = oneshot::channel();
        supervisor.note_registry(|info| {
            *info = RegistryInfo {
                kind: "etcd".to_owned(),
                endpoints: self.etcd.endpoints.clone(),
                prefix: self.etcd.prefix.clone(),
                subnet: self.only.map(|only| only.v4.to_string()),
                subnet_v6: self.only.and_then(|only| only.v6).map(|v6| v6.to_string()),
                why: "etcd has not been asked yet".to_owned(),
                ..RegistryInfo::default()
            };
        });
        let supervisor = Arc::clone(supervisor);
        let body = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = self.serve(supervisor) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("overlay".to_owned()).spawn(body).map_err(refused)?;
        Ok(Handle { stop, thread })
    }

    /// For ever.
    async fn serve(mut self, supervisor: Arc<Supervisor>) {
        loop {
            let held = match self.held.take() {
                Some(held) => held,
                None => self.join_again(&supervisor).await,
            };
            let subnets = held.acquired.subnets;
            self.only = Some(subnets);
            let named = in_words(subnets);
            let how = if held.acquired.reused { "was ours and is again" } else { "is leased to us" };
            supervisor.events().publish(Event::new(EventKind::RegistryLeased, format!("{named} {how}")));
            supervisor.note_registry(|info| {
                info.state = RegistryState::Held;
                info.why.clear();
                info.subnet = Some(subnets.v4.to_string());
                info.subnet_v6 = subnets.v6.map(|v6| v6.to_string());
            });
            let loss = self.keep(held, &supervisor).await;
            supervisor.events().publish(Event::new(EventKind::RegistryLost, format!("{named}: {loss}")));
            supervisor.note_registry(|info| {
                info.state = RegistryState::Lost;
                info.why = loss.to_string();
                info.lost += 1;
            });
            tracing::error!("{loss}; {named} is wanted again");
            if loss == Loss::Taken {
                set_peers(&supervisor, View::default()).await;
            }
        }
    }

    /// Gets the lease beside a running switch.
    async fn join_again(&self, supervisor: &Arc<Supervisor>) -> Held {
        let note = |why: &str| {
            tracing::warn!("no lease of a subnet: {why}; it is tried again");
            supervisor.note_registry(|info| why.clone_into(&mut info.why));
        };
        loop {
            match self.join(note).await {
                Ok(held) => return held,
                Err(not_joined) => {
                    note(&not_joined.why());
                    if let NotJoined::Failed(_) = &not_joined {
                        // Whoever has it now must not get packets that are for us, nor we theirs.
                        set_peers(supervisor, View::default()).await;
                    }
                    tokio::time::sleep(not_joined.pause()).await;
                }
            }
        }
    }

    async fn join(&self, mut on_trouble: impl FnMut(&str)) -> Result<Held, NotJoined> {
        let network = self.session.network(&mut on_trouble).await;
        if let Some(why) = self.disagreement(&network) {
            return Err(NotJoined::Disagreement(why));
        }
        let wish =
            Wish { network: network.clone(), holder: self.holder.clone(), previous: None, only: self.only };
        let seed = clock::now().as_nanos() ^ u64::from(self.holder.public_ip.to_bits()) << 32;
        let mut said = String::new();
        let acquired = self.session.acquire(wish, seed, |error| {
            if said != error.to_string() {
                said = error.to_string();
                on_trouble(&said);
            }
        });
        Ok(Held { acquired: acquired.await.map_err(NotJoined::Failed)?, network })
    }

    /// What the document says otherwise than the configuration.
    fn disagreement(&self, network: &Network) -> Option<String> {
        let differs = |key: &str, theirs: &dyn Display, own: &str, ours: &dyn Display| {
            let why = format!(
                "{key} of the configuration in etcd is {theirs}, and {own} of [overlay] is {ours}; make them equal"
            );
            Some(why)
        };
        match (network.v6, self.spec.local_v6) {
            (Some(_), None) => {
                let why = "EnableIPv6 of the configuration in etcd is true, and [overlay] has no local_v6, which IPv6 is sent \
                           from; add it";
                return Some(why.to_owned());
            }
            (None, Some(_)) => {
                let why = "EnableIPv6 of the configuration in etcd is not true, and [overlay] has local_v6; drop it";
                return Some(why.to_owned());
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        let theirs = network.backend.name();
        let l4_port = self.spec.tunnel_port();
        match (network.backend, self.spec.backend) {
            (Kind::Vxlan(vxlan), Backend::Vxlan) if vxlan.vni != self.spec.vni => {
                differs("Backend.VNI", &vxlan.vni, "vni", &self.spec.vni)
            }
            (Kind::Vxlan(vxlan), Backend::Vxlan) if vxlan.l4_port != l4_port => {
                differs("Backend.Port", &vxlan.l4_port, "port", &l4_port)
            }
            (Kind::Udp { l4_port: theirs }, Backend::Udp) if theirs != l4_port => {
                differs("Backend.Port", &theirs, "port", &l4_port)
            }
            (Kind::Vxlan(_), Backend::Vxlan)
            | (Kind::Udp { .. }, Backend::Udp)
            | (Kind::HostGw, Backend::HostGw) => None,
            (Kind::Udp { .. } | Kind::Vxlan(_) | Kind::HostGw | Kind::Alloc, ours) => {
                differs("Backend.Type", &theirs, "backend", &backend_name(ours))
            }
        }
    }

    /// Tells the switch of peers until the lease is lost.
    async fn keep(&self, held: Held, supervisor: &Arc<Supervisor>) -> Loss {
        let margin = Duration::from_secs(60 * u64::from(self.etcd.renew_margin));
        let tenure = Tenure::new(held.acquired, self.holder.clone(), margin, clock::now());
        let (sender, mut views) = watch::channel(None::<View>);
        let told = Arc::clone(supervisor);
        let keeping = Arc::clone(&self.session)
            .keep(tenure, Roster::new(held.network), move |report| tell(report, &told, &sender));
        // A task of its own: it goes on reading while a plan is made.
        let mut keeping = AbortOnDrop(tokio::spawn(keeping));
        loop {
            tokio::select! {
                loss = &mut keeping.0 => return loss.unwrap_or(Loss::Revoked),
                changed = views.changed() => {
                    let view = views.borrow_and_update().clone();
                    if let (Ok(()), Some(view)) = (changed, view) {
                        set_peers(supervisor, view).await;
                    }
                }
            }
        }
    }
}

/// A task that ends with whoever waits for it.
struct AbortOnDrop(tokio::task::JoinHandle<Loss>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl NotJoined {
    fn why(&self) -> String {
        match self {
            Self::Disagreement(why) => why.clone(),
            Self::Failed(failed) => failed.to_string(),
        }
    }

    const fn pause(&self) -> Duration {
        match self {
            Self::Disagreement(_) => ASK_AGAIN,
            Self::Failed(_) => RETRY,
        }
    }
}

fn in_words(subnets: Subnets) -> String {
    subnets.iter().map(|subnet| subnet.to_string()).collect::<Vec<_>>().join(" and ")
}

/// What a lease says of the backend: flannel leaves `udp` out.
fn lease_type(backend: Backend) -> &'static str {
    if backend == Backend::Udp { "" } else { backend_name(backend) }
}

const fn backend_name(backend: Backend) -> &'static str {
    match backend {
        Backend::Udp => "udp",
        Backend::Vxlan => "vxlan",
        Backend::HostGw => "host-gw",
    }
}

fn client(etcd: &EtcdSpec) -> Result<Client, String> {
    let endpoints = etcd.endpoints.iter().map(|url| url.parse::<Endpoint>()).collect::<Result<Vec<_>, _>>();
    let password = |path: &String| {
        let text = std::fs::read_to_string(path).map_err(|error| format!("password_file {path}: {error}"))?;
        Ok::<_, String>(text.lines().next().unwrap_or_default().to_owned())
    };
    let password = etcd.password_file.as_ref().map(password).transpose()?;
    let client =
        Client::new(endpoints.map_err(|error| error.to_string())?, etcd.username.clone().zip(password));
    let Some(ca) = &etcd.cafile else { return Ok(client) };
    let own = etcd.certfile.as_ref().zip(etcd.keyfile.as_ref());
    let own = own.map(|(certificate, key)| (Path::new(certificate), Path::new(key)));
    Ok(client.with_tls(Tls::from_files(Path::new(ca), own)?))
}

/// Makes the peers the switch's, off the thread that listens to etcd.
async fn set_peers(supervisor: &Arc<Supervisor>, view: View) {
    let supervisor = Arc::clone(supervisor);
    let work = move || {
        let peers =
            view.peers.iter().map(|&Peer { subnet, endpoint, mac }| PeerSpec { subnet, endpoint, mac });
        match supervisor.set_peers(peers.collect()) {
            Ok(joined) => supervisor.note_registry(|info| {
                info.peers = joined.peers;
                info.came += joined.came;
                info.went += joined.went;
                (info.refused, info.refused_keys) = refused(&view, &joined.refused);
            }),
            Err(error) => {
                tracing::error!("the peers stay as they were: {error}");
                supervisor
                    .note_registry(|info| info.why = format!("the peers stay as they were: {}", error.why));
            }
        }
    };
    drop(tokio::task::spawn_blocking(work).await);
}

/// What of the leases is not used: for itself or beside others, and in this host's configuration.
fn refused(
    view: &View,
    unfit: &[(PeerSpec, String)],
) -> (std::collections::BTreeMap<String, u64>, Vec<RefusedKey>) {
    let mut counts: std::collections::BTreeMap<String, u64> =
        view.refused.iter().map(|(broken, count)| (broken.name().to_owned(), *count)).collect();
    if !unfit.is_empty() {
        counts.insert(UNFIT.to_owned(), unfit.len() as u64);
    }
    let broken = view.named.iter().map(|(key, broken)| RefusedKey {
        key: key.clone(),
        reason: broken.name().to_owned(),
        why: broken.to_string(),
    });
    let unfit = unfit.iter().map(|(peer, why)| RefusedKey {
        key: part_of_key(peer.subnet),
        reason: UNFIT.to_owned(),
        why: why.clone(),
    });
    (counts, broken.chain(unfit).take(NAMED_MAX).collect())
}

/// What happens, as events; what has to be done, to who does it.
fn tell(report: Report, supervisor: &Supervisor, peers: &watch::Sender<Option<View>>) {
    let publish = |kind, text: String| supervisor.events().publish(Event::new(kind, text));
    match report {
        Report::Peers(view) => drop(peers.send_replace(Some(view))),
        Report::Away(why) => {
            tracing::warn!("{why}; forwarding goes on with the peers that are known");
            supervisor.note_registry(|info| {
                // Another reason is not another absence.
                info.away += u64::from(info.state != RegistryState::Away);
                info.state = RegistryState::Away;
                info.why.clone_from(&why);
            });
            publish(EventKind::RegistryAway, why);
        }
        Report::Back => {
            tracing::info!("etcd answers again");
            supervisor.note_registry(|info| {
                info.state = RegistryState::Held;
                info.why.clear();
            });
            publish(EventKind::RegistryBack, "etcd answers again".to_owned());
        }
        Report::Renewed(_) => supervisor.note_registry(|info| info.renewals += 1),
        Report::NotRenewed(why) => {
            tracing::warn!("the lease could not be renewed: {why}; it is tried again");
            supervisor.note_registry(|info| info.renewals_failed += 1);
        }
        Report::Contested(pause) => {
            let text = contested(pause);
            tracing::error!("{text}");
            supervisor.note_registry(|info| info.contested += 1);
            publish(EventKind::RegistryContested, text);
        }
        Report::Restored => tracing::info!("our lease is again as we have written it"),
    }
}
