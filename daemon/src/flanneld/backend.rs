//! How packets get from host to host: what each backend publishes, makes on the host, and does with a list of peers.
//!
//! `vxlan` starts a switch ([`super::switch`]) whose TAP device stands where the kernel's VXLAN device would; one that
//! an earlier flanneld has left under that name is removed. `udp` starts a router behind a TUN device called as
//! flanneld calls it, the first of `flannel0` to `flannel9` that is free. `host-gw` has no device of its own, `alloc`
//! nothing at all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path as FilePath;
use std::sync::Arc;

use config::Config;
use rtnetlink::Handle;
use wire::UnicastMac;

use super::external::{self, External};
use super::flags::Options;
use super::host::{self, Host, Route, Ways};
use super::switch::{self, Packets, Tunnel};
use crate::control::{self, ServerHandle};
use crate::link::{self, Namespace};
use crate::registry::lease::{Holder, Subnets, Vtep};
use crate::registry::network::{Backend as Kind, Network, Vxlan};
use crate::registry::roster::Peer;
use crate::supervisor::{self, Supervisor};

/// Octets around an inner packet. flanneld takes as many over IPv6, and so does the subnet file; the device for that is given
/// [`V6_MORE`] less, and the host's stack tells senders.
const VXLAN_OVERHEAD: u16 = 50;
/// What an IPv6 header is longer than an IPv4 one.
const V6_MORE: u16 = 20;

/// A running backend.
pub(super) struct Backend {
    host: Host,
    handle: Handle,
    ways: Ways,
    direct_routing: bool,
    /// Whether peers mean anything.
    uses_peers: bool,
    switch: Option<Switch>,
    peers: Vec<Peer>,
}

/// How packets get through the switch.
enum Path {
    /// Switched, each family by a device of its own.
    Vxlan(Vec<Tunnel>),
    /// Routed.
    Udp(Packets),
}

impl Path {
    fn document(&self, peers: &[Peer]) -> config::Document {
        match self {
            Self::Vxlan(tunnels) => switch::document(tunnels, peers),
            Self::Udp(packets) => packets.document(peers),
        }
    }

    /// The devices' names, the longest packets on them, and whether they are IPv4's.
    fn devices(&self) -> Vec<(String, u16, bool)> {
        match self {
            Self::Vxlan(tunnels) => {
                let device = |tunnel: &Tunnel| (tunnel.device(), tunnel.mtu, tunnel.local.is_ipv4());
                tunnels.iter().map(device).collect()
            }
            Self::Udp(packets) => vec![(packets.device.clone(), packets.mtu, true)],
        }
    }
}

/// The switch between devices and tunnels.
struct Switch {
    supervisor: Arc<Supervisor>,
    server: Option<ServerHandle>,
    path: Path,
    /// Whether super-segments leave tunnels whole.
    tunnel_gso: bool,
    /// Why the last list of peers is not in force, if it is not.
    refused: Option<String>,
    /// The subnet's own address on each device.
    own: Vec<IpAddr>,
    here: Namespace,
    /// The devices' indexes as they were found last.
    found: Vec<u32>,
}

/// Longest packet of a pod.
pub(super) fn mtu(network: &Network, external: &External) -> u16 {
    match network.backend {
        Kind::Vxlan(vxlan) => vxlan.mtu.unwrap_or(external.mtu).saturating_sub(VXLAN_OVERHEAD),
        Kind::Udp { .. } => external.mtu.saturating_sub(28),
        Kind::HostGw | Kind::Alloc => external.mtu,
    }
}

/// What our lease says.
///
/// # Errors
/// If the backend cannot work here.
pub(super) fn holder(network: &Network, external: &External) -> Result<Holder, String> {
    let vtep = |vxlan: Vxlan, is_v4: bool| {
        let mac =
            UnicastMac::new(switch::mac(external.public_v4, is_v4)).expect("0e is no group's first octet");
        Vtep { vni: vxlan.vni, mac }
    };
    let (data, data_v6) = match network.backend {
        Kind::Vxlan(vxlan) => (Some(vtep(vxlan, true)), network.v6.map(|_| vtep(vxlan, false))),
        Kind::HostGw if external.public_v4 != external.v4 || external.public_v6 != external.v6 => {
            return Err("your PublicIP differs from interface IP, meaning that probably you're on a NAT, which is not \
                        supported by host-gw backend"
                .to_owned());
        }
        Kind::Udp { .. } | Kind::HostGw | Kind::Alloc => (None, None),
    };
    Ok(Holder {
        public_ip: external.public_v4,
        public_ipv6: external.public_v6,
        backend: network.backend.lease_type().unwrap_or_default().to_owned(),
        data,
        data_v6,
    })
}

/// Whether the L4 ports of our ends are to be had. To be asked before there is a lease, which would be left behind.
///
/// # Errors
/// Who may have one, and what to do.
pub(super) fn can_listen(network: &Network, external: &External) -> Result<(), String> {
    let (ends, devices): (Vec<SocketAddr>, Vec<String>) = match network.backend {
        Kind::Vxlan(vxlan) => tunnels(network, vxlan, external)
            .iter()
            .map(|tunnel| (SocketAddr::new(tunnel.local, tunnel.l4_port), tunnel.device()))
            .unzip(),
        Kind::Udp { l4_port } => (vec![SocketAddr::new(external.v4.into(), l4_port)], Vec::new()),
        Kind::HostGw | Kind::Alloc => return Ok(()),
    };
    let here = Namespace::current().map_err(|error| error.to_string())?;
    let is_in_our_place = |device: &String| link::find(&here, device).is_ok_and(is_kernels);
    if devices.iter().any(is_in_our_place) {
        return Ok(()); // It has the L4 port, and goes.
    }
    for end in ends {
        // Any other refusal is told when the switch is made.
        if UdpSocket::bind(end).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse) {
            let l4_port = end.port();
            return Err(format!(
                "UDP port {l4_port} is another program's (another flanneld or VXLAN device?); give this network another \
                 Backend.Port"
            ));
        }
    }
    Ok(())
}

/// Whether it is a VXLAN device of the kernel's.
fn is_kernels(found: Option<link::LinkState>) -> bool {
    found.is_some_and(|state| state.kind.as_deref() == Some("vxlan"))
}

impl Backend {
    /// Makes the devices and what is there whoever the peers are.
    ///
    /// # Errors
    /// What could not be made, and why.
    pub(super) async fn start(
        network: &Network,
        own: Subnets,
        external: &External,
        handle: Handle,
        options: &Options,
        socket: &FilePath,
    ) -> Result<Self, String> {
        let always =
            own.iter().filter(|_| options.blackhole).map(|subnet| (subnet, Route::Blackhole)).collect();
        let mut ways = Ways {
            tunnel_v4: None,
            tunnel_v6: None,
            is_each: true,
            whole: network.v4.map(|pool| pool.network()),
            external: external.index,
            direct: BTreeMap::new(),
            always,
        };
        let mut switch = None;
        let mut direct_routing = false;
        let path = match network.backend {
            Kind::Vxlan(vxlan) => {
                direct_routing = vxlan.direct_routing;
                Some(Path::Vxlan(tunnels(network, vxlan, external)))
            }
            Kind::Udp { l4_port } => {
                ways.is_each = false;
                Some(Path::Udp(packets(network, l4_port, own, external)?))
            }
            Kind::HostGw | Kind::Alloc => None,
        };
        if let Some(path) = path {
            let mut made = Switch::start(path, own, options.tunnel_gso, socket)?;
            made.address(&handle).await?;
            made.lead(&mut ways);
            switch = Some(made);
        }
        let uses_peers = network.backend != Kind::Alloc;
        let mut host = Host::new(handle.clone());
        if !ways.is_each {
            complain(&host.apply(host::wanted(&[], &ways)).await); // Whoever the peers will be.
        }
        Ok(Self { host, handle, ways, direct_routing, uses_peers, switch, peers: Vec::new() })
    }

    /// These are the peers from now on. What cannot be done is logged, and tried again with [`Backend::assert`].
    pub(super) async fn update(&mut self, peers: Vec<Peer>) {
        self.peers = if self.uses_peers { peers } else { Vec::new() };
        self.find_direct().await;
        // First the tunnels, then the routes into them; when peers go the other way round would lose nothing either.
        let through = self.through();
        if let Some(switch) = &mut self.switch {
            switch.update(&through);
        }
        let failures = self.host.apply(host::wanted(&self.peers, &self.ways)).await;
        complain(&failures);
    }

    /// Puts back what somebody has taken away.
    pub(super) async fn assert(&mut self) {
        let through = self.through();
        if let Some(switch) = &mut self.switch
            && switch.refused.is_some()
        {
            switch.update(&through);
        }
        if let Some(switch) = &mut self.switch
            && switch.was_lost()
        {
            tracing::warn!("the device is gone; it is made anew");
            switch.update(&through);
            match switch.address(&self.handle).await {
                Ok(()) => {
                    switch.lead(&mut self.ways);
                    let failures = self.host.apply(host::wanted(&self.peers, &self.ways)).await;
                    complain(&failures);
                }
                Err(why) => tracing::error!("{why}; it is tried again"),
            }
        }
        complain(&self.host.assert().await);
    }

    /// Ends the switch, and its devices with it. Routes through them go with the devices; others stay, as flanneld's do.
    pub(super) fn stop(self) {
        let Some(switch) = self.switch else { return };
        switch.supervisor.announce_end();
        if let Some(server) = switch.server {
            server.stop();
        }
        switch.supervisor.stop();
    }

    /// Who is reached through the switch.
    fn through(&self) -> Vec<Peer> {
        let is_direct = |peer: &&Peer| self.ways.direct.contains_key(&peer.endpoint);
        self.peers.iter().filter(|peer| !is_direct(peer)).copied().collect()
    }

    /// Which endpoints are on a network of our own.
    async fn find_direct(&mut self) {
        self.ways.direct.clear();
        if !self.direct_routing {
            return;
        }
        for endpoint in self.peers.iter().map(|peer| peer.endpoint).collect::<BTreeSet<_>>() {
            match external::route_to(&self.handle, endpoint).await {
                Ok(Some(way)) if way.gateway.is_none() && !way.is_local => {
                    self.ways.direct.insert(endpoint, way.interface);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!("the way to {endpoint} cannot be asked for: {error}"),
            }
        }
    }
}

fn complain(failures: &[String]) {
    /// Failures that are told of one attempt; there may be one for each of a thousand peers.
    const TOLD_MAX: usize = 5;
    failures.iter().take(TOLD_MAX).for_each(|failure| tracing::error!("{failure}"));
    if failures.len() > TOLD_MAX {
        tracing::error!("and {} failures more", failures.len() - TOLD_MAX);
    }
}

fn tunnels(network: &Network, vxlan: Vxlan, external: &External) -> Vec<Tunnel> {
    let tunnel = |local: IpAddr| Tunnel {
        vni: vxlan.vni,
        l4_port: vxlan.l4_port,
        local,
        mac: switch::mac(external.public_v4, local.is_ipv4()),
        mtu: mtu(network, external).saturating_sub(if local.is_ipv4() { 0 } else { V6_MORE }),
    };
    let v6 = external.v6.filter(|_| network.v6.is_some());
    [Some(IpAddr::V4(external.v4)), v6.map(IpAddr::V6)].into_iter().flatten().map(tunnel).collect()
}

/// Where bare packets go.
fn packets(network: &Network, l4_port: u16, own: Subnets, external: &External) -> Result<Packets, String> {
    let here = Namespace::current().map_err(|error| error.to_string())?;
    let is_free = |name: &String| link::find(&here, name).is_ok_and(|found| found.is_none());
    let device = (0..10).map(|number| format!("flannel{number}")).find(is_free);
    let device = device.ok_or("flannel0 to flannel9 are taken; remove the interfaces that nobody uses")?;
    Ok(Packets { device, local: external.v4, l4_port, own: own.v4, mtu: mtu(network, external) })
}

impl Switch {
    fn start(path: Path, own: Subnets, tunnel_gso: bool, socket: &FilePath) -> Result<Self, String> {
        let here = Namespace::current().map_err(|error| error.to_string())?;
        for (device, ..) in path.devices() {
            let old = link::find(&here, &device).map_err(|error| error.to_string())?;
            if is_kernels(old) {
                tracing::info!("removing the kernel's {device}, to stand in its place");
                link::remove(&here, &device).map_err(|error| error.to_string())?;
            }
        }
        let document = config::Document { tunnel_gso, ..path.document(&[]) };
        let config = Config::new(document).map_err(|report| report.to_string())?;
        // The subnet file's directory, which is made only when that is written; `claim` says what is wrong.
        drop(socket.parent().map(std::fs::create_dir_all));
        let claimed = control::claim(socket)
            .inspect_err(|error| tracing::warn!("there is no control socket: {error}"))
            .ok();
        let options = supervisor::Options { socket: socket.to_owned(), ..supervisor::Options::default() };
        let supervisor = Supervisor::start(config, options).map_err(|error| error.to_string())?;
        let server = claimed.map(|claimed| claimed.serve(Arc::clone(&supervisor) as _));
        let server = server.transpose().map_err(|error| error.to_string())?;
        let own = own.iter().map(|subnet| subnet.address()).collect();
        Ok(Self { supervisor, server, path, tunnel_gso, refused: None, own, here, found: Vec::new() })
    }

    /// Gives the devices their addresses.
    async fn address(&mut self, handle: &Handle) -> Result<(), String> {
        self.found.clear();
        for ((device, mtu, _), own) in self.path.devices().into_iter().zip(&self.own) {
            let failed = |error: std::io::Error| format!("device {device}: {error}");
            let state = link::find(&self.here, &device).map_err(failed)?;
            let state = state.ok_or_else(|| format!("device {device} is not there"))?;
            // Nobody advertises anything there. Without IPv6 there is no such file.
            drop(std::fs::write(format!("/proc/sys/net/ipv6/conf/{device}/accept_ra"), "0"));
            host::address(handle, state.index, *own, mtu).await.map_err(failed)?;
            self.found.push(state.index);
        }
        Ok(())
    }

    /// Says by which devices peers are reached.
    fn lead(&self, ways: &mut Ways) {
        let devices = self.path.devices();
        let index = |wanted: bool| {
            let at = devices.iter().position(|&(.., is_v4)| is_v4 == wanted)?;
            self.found.get(at).copied()
        };
        match self.path {
            Path::Vxlan(_) => (ways.tunnel_v4, ways.tunnel_v6) = (index(true), index(false)),
            Path::Udp(_) => {
                if let (Some(whole), Some(device)) = (ways.whole, index(true)) {
                    ways.always.insert(whole, Route::Through { device });
                }
            }
        }
    }

    fn was_lost(&self) -> bool {
        let index = |(device, ..): &(String, u16, bool)| {
            link::find(&self.here, device).ok().flatten().map(|state| state.index)
        };
        let there: Vec<Option<u32>> = self.path.devices().iter().map(index).collect();
        let known: Vec<Option<u32>> = self.found.iter().copied().map(Some).collect();
        there != known
    }

    /// These are the peers behind tunnels. A refusal is told once, and kept.
    fn update(&mut self, peers: &[Peer]) {
        let document = config::Document { tunnel_gso: self.tunnel_gso, ..self.path.document(peers) };
        let applied = match Config::new(document) {
            Ok(config) => {
                self.supervisor.apply_text("peers", Ok(config.to_toml())).map_err(|error| error.to_string())
            }
            Err(report) => Err(report.to_string()),
        };
        let refused = applied.err();
        if let Some(why) = refused.as_ref().filter(|why| self.refused.as_ref() != Some(why)) {
            tracing::error!("the tunnels stay as they were: {why}; it is tried again");
        }
        self.refused = refused;
    }
}
