//! Tapestry itself: the built binary, configured by a file, as a user would run it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use tapestry::link::Namespace;

use super::Running;
use super::process::Process;
use crate::site::{Endpoint, Site};

/// With further flags of `tapestry run`.
pub(super) fn start(site: &Site, program: &Path, flags: &[&str]) -> io::Result<Running> {
    let mut text = "workers = 1\n\n[network.bench]\nsubnet = [\"10.99.0.0/24\"]\n".to_owned();
    for (endpoint, name) in site.ends(["a", "b"]) {
        text += &port(endpoint, name, "bench");
    }
    let mut switch = run_in(&site.middle, program, &text, flags)?;
    has_port(&mut switch, &site.b)?;
    Ok(Running::of(vec![switch]))
}

/// The same as a router: `a` and `c` in networks that masquerade, `b` behind the uplink, a veth pair.
pub(super) fn start_nat(site: &Site, program: &Path) -> io::Result<Running> {
    const UPLINK: &str = "pb";
    site.connect_one(&site.b, UPLINK)?;
    let text = format!(
        "workers = 1\n\n[network.bench]\nsubnet = [\"10.99.0.0/24\"]\ngateway = [\"{}\"]\nmasquerade = true\n\
         \n[network.other]\nsubnet = [\"10.97.0.0/24\"]\ngateway = [\"{}\"]\nmasquerade = true\n\
         \n[[publish]]\nlisten = \"0.0.0.0:8080\"\nto = \"a:80\"\n\
         \n[uplink]\nkind = \"nic\"\nifname = \"{UPLINK}\"\naddress = [\"{}/{}\"]\n{}{}",
        Site::A_GATEWAY,
        Site::C_GATEWAY,
        Site::B_GATEWAY,
        Endpoint::PREFIX_LEN,
        port(&site.a, "a", "bench"),
        port(site.disturber()?, "c", "other"),
    );
    let mut switch = run(site, program, &text)?;
    has_port(&mut switch, site.disturber()?)?;
    Ok(Running::of(vec![switch]))
}

/// How two hosts are joined.
pub(super) struct Overlay {
    backend: &'static str,
    l4_port: u16,
    tunnel_gso: bool,
}

pub(super) const VXLAN: Overlay = Overlay { backend: "vxlan", l4_port: 8472, tunnel_gso: false };
pub(super) const TUNNEL_GSO: Overlay = Overlay { tunnel_gso: true, ..VXLAN };
pub(super) const UDP: Overlay = Overlay { backend: "udp", l4_port: 8285, tunnel_gso: false };

/// Two hosts with a switch each, joined by an overlay.
pub(super) fn start_overlay(site: &Site, program: &Path, overlay: &Overlay) -> io::Result<Running> {
    let Overlay { backend, l4_port, tunnel_gso } = overlay;
    let mut switches = Vec::new();
    for (number, (host, local, pod)) in (1_u8..).zip(site.hosts()) {
        let other = 3 - number;
        let remote = Site::HOSTS[usize::from(other) - 1];
        let text = format!(
            "workers = 1\ntunnel_gso = {tunnel_gso}\n\n[network.bench]\nsubnet = [\"10.244.{number}.0/24\"]\ngateway = [\"10.244.{number}.1\"]\n\
             mtu = {}\n{}\n[overlay]\nbackend = \"{backend}\"\nvni = 1\nport = {l4_port}\nlocal = \"{local}\"\n\
             mac = \"0e:2a:00:00:00:0{number}\"\nregistry = \"static\"\nnetwork = \"bench\"\n\n[[overlay.peer]]\n\
             subnet = \"10.244.{other}.0/24\"\nendpoint = \"{remote}\"\nmac = \"0e:2a:00:00:00:0{other}\"\n",
            Site::TUNNELLED_MTU,
            port(pod, "pod", "bench"),
        );
        let mut switch = run_in(host, program, &text, &[])?;
        has_port(&mut switch, pod)?;
        switches.push(switch);
    }
    Ok(Running::of(switches))
}

fn port(endpoint: &Endpoint, name: &str, network: &str) -> String {
    format!(
        "\n[port.{name}]\nnetwork = \"{network}\"\nnetns = \"{}\"\nifname = \"{}\"\naddress = [\"{}/{}\"]\n",
        endpoint.namespace.path().display(),
        Endpoint::IFNAME,
        endpoint.address,
        Endpoint::PREFIX_LEN,
    )
}

fn has_port(switch: &mut Process, endpoint: &Endpoint) -> io::Result<()> {
    switch.until("its ports", || endpoint.within(|| crate::counters::interface_exists(Endpoint::IFNAME)))
}

/// Starts the switch with `ports` ports and nobody behind them.
///
/// # Errors
/// If it ends, or does not make its ports in time.
pub fn idle(site: &Site, program: &Path, ports: usize) -> io::Result<Process> {
    let mut text = "workers = 1\n\n[network.bench]\nsubnet = [\"10.99.0.0/16\"]\n".to_owned();
    for number in 0..ports {
        let (high, low) = (number / 250 + 1, number % 250 + 1);
        write!(
            text,
            "\n[port.p{number}]\nnetwork = \"bench\"\nifname = \"p{number}\"\naddress = [\"10.99.{high}.{low}/16\"]\n"
        )
        .expect("writing to a string does not fail");
    }
    let mut switch = run(site, program, &text)?;
    let last = format!("p{}", ports - 1);
    switch.until("its ports", || site.middle_has(&last))?;
    Ok(switch)
}

fn run(site: &Site, program: &Path, configuration: &str) -> io::Result<Process> {
    run_in(&site.middle, program, configuration, &[])
}

fn run_in(host: &Namespace, program: &Path, configuration: &str, flags: &[&str]) -> io::Result<Process> {
    let mut written = Ok(());
    let switch = Process::start(host, program, |directory| {
        let file = directory.join("bench.toml");
        written = fs::write(&file, configuration);
        let socket = directory.join("tapestry.sock");
        let mut arguments: Vec<OsString> =
            vec!["run".into(), "-c".into(), file.into(), "--socket".into(), socket.into()];
        arguments.extend(flags.iter().map(OsString::from));
        arguments
    })?;
    written?;
    Ok(switch)
}
