//! Modes that ask the daemon: each is one or two requests and an answer shown.

use std::io::{self, Write as _};

use hyper::Method;
use serde::Serialize;

use super::check::read_configuration;
use super::client::{Client, path, query};
use super::options::{NetworkOptions, PortOptions};
use super::{
    Common, DropsArgs, DropsCommand, EventsArgs, Failure, FdbCommand, FileArgs, FilterArgs, NetworkCommand,
    PortCommand, RemoveArgs, show,
};
use crate::api::{
    ApiError, Applied, DropInfo, ErrorKind, NetworkInfo, PeerInfo, PortInfo, StationFilter, StationInfo,
    StationSpec, Status,
};

/// `tapestry status`
pub fn ask_status(common: &Common) -> Result<(), Failure> {
    let status: Status = Client::new(&common.socket)?.get("/v1/status")?;
    answer(common, &status, show::status)
}

/// `tapestry network …`
pub fn ask_network(command: NetworkCommand, common: &Common) -> Result<(), Failure> {
    let client = Client::new(&common.socket)?;
    match command {
        NetworkCommand::Ls => {
            let networks: Vec<NetworkInfo> = client.get("/v1/networks")?;
            answer(common, &networks, |networks| show::networks(networks))
        }
        NetworkCommand::Create { name, options } => {
            let spec = NetworkOptions::apply(*options, config::NetworkSpec::default())?;
            client.change(Method::POST, &path(&["networks", &name]), &spec)
        }
        NetworkCommand::Set { name, options } => {
            let path = path(&["networks", &name]);
            let network: NetworkInfo = client.get(&path)?;
            client.change(Method::PUT, &path, &NetworkOptions::apply(*options, network.spec)?)
        }
        NetworkCommand::Rm(args) => remove(&client, "networks", &args),
        NetworkCommand::Inspect { name } => {
            let network: NetworkInfo = client.get(&path(&["networks", &name]))?;
            print(&json(&network))
        }
    }
}

/// `tapestry port …`
pub fn ask_port(command: PortCommand, common: &Common) -> Result<(), Failure> {
    let client = Client::new(&common.socket)?;
    match command {
        PortCommand::Ls => {
            let ports: Vec<PortInfo> = client.get("/v1/ports")?;
            answer(common, &ports, |ports| show::ports(ports))
        }
        PortCommand::Add { name, options } => {
            let spec = PortOptions::apply(*options, config::PortSpec::default())?;
            client.change(Method::POST, &path(&["ports", &name]), &spec)
        }
        PortCommand::Set { name, options } => {
            let path = path(&["ports", &name]);
            let port: PortInfo = client.get(&path)?;
            client.change(Method::PUT, &path, &PortOptions::apply(*options, port.spec)?)
        }
        PortCommand::Rm(args) => remove(&client, "ports", &args),
        PortCommand::Inspect { name } => {
            let port: PortInfo = client.get(&path(&["ports", &name]))?;
            print(&json(&port))
        }
    }
}

fn remove(client: &Client<'_>, kind: &str, args: &RemoveArgs) -> Result<(), Failure> {
    for name in &args.names {
        match client.delete(&path(&[kind, name])) {
            Err(Failure::Refused(error)) if error.kind == ErrorKind::NotFound && args.if_exists => {}
            other => other?,
        }
    }
    Ok(())
}

/// `tapestry fdb …`
pub fn ask_fdb(command: FdbCommand, common: &Common) -> Result<(), Failure> {
    let client = Client::new(&common.socket)?;
    match command {
        FdbCommand::Ls(FilterArgs { network, port, mac }) => {
            let mac = mac.map(|mac| mac.to_string());
            let pairs = [("network", network.as_deref()), ("port", port.as_deref()), ("mac", mac.as_deref())];
            let stations: Vec<StationInfo> = client.get(&query("/v1/stations", &pairs))?;
            answer(common, &stations, |stations| show::stations(stations))
        }
        FdbCommand::Add { mac, network, port } => {
            client.change(Method::POST, "/v1/stations", &StationSpec { network, mac, port })
        }
        FdbCommand::Del { mac, network } => client.delete(&path(&["stations", &network, &mac.to_string()])),
        FdbCommand::Flush(FilterArgs { network, port, mac }) => {
            client.change(Method::POST, "/v1/stations/flush", &StationFilter { network, port, mac })
        }
    }
}

/// `tapestry drops …`
pub fn ask_drops(args: &DropsArgs, common: &Common) -> Result<(), Failure> {
    if let Some(DropsCommand::Explain { reason }) = &args.command {
        return explain(reason.as_deref(), common);
    }
    if args.follow {
        return super::capture::follow(args, common);
    }
    args.reason.as_deref().map(reason).transpose()?;
    let client = Client::new(&common.socket)?;
    let mut drops: Vec<DropInfo> = client.get("/v1/drops")?;
    if let Some(port) = &args.port {
        if !drops.iter().any(|info| info.ports.contains_key(port)) {
            expect_port(&client, port)?;
        }
        for info in &mut drops {
            info.ports.retain(|name, _| name == port);
            info.count = info.ports.values().sum();
        }
        drops.retain(|info| info.count > 0);
    }
    drops.retain(|info| args.reason.as_ref().is_none_or(|reason| *reason == info.reason));
    answer(common, &drops, |drops| show::drops(drops))
}

/// The port exists: one of the switch's own, or a tunnel's end.
fn expect_port(client: &Client<'_>, port: &str) -> Result<(), Failure> {
    let peers: Vec<PeerInfo> = client.get("/v1/peers")?;
    match peers.iter().any(|peer| peer.name == port) {
        true => Ok(()),
        false => client.get::<PortInfo>(&path(&["ports", port])).map(drop),
    }
}

/// The reason of this id.
fn reason(id: &str) -> Result<wire::DropReason, Failure> {
    wire::DropReason::from_id(id).ok_or_else(|| {
        let what = format!("drop reason {id:?}");
        let error = ApiError::new(ErrorKind::NotFound, what, "there is none of this name");
        Failure::Refused(error.next("`tapestry drops explain` lists every reason"))
    })
}

/// Explains from the table that the daemon is built from too.
fn explain(id: Option<&str>, common: &Common) -> Result<(), Failure> {
    let reasons = match id {
        None => wire::DropReason::ALL.to_vec(),
        Some(id) => vec![reason(id)?],
    };
    let infos: Vec<DropInfo> =
        reasons.into_iter().map(|reason| DropInfo::of(reason, Default::default())).collect();
    answer(common, &infos, |infos| show::explanations(infos))
}

/// `tapestry events`
pub fn ask_events(args: &EventsArgs, common: &Common) -> Result<(), Failure> {
    Client::new(&common.socket)?.events(args.follow, |event| {
        // A gap is told whatever is asked for: what was lost may have been it.
        let lost = event.kind == crate::events::EventKind::EventsLost;
        if !args.kinds.is_empty() && !args.kinds.contains(&event.kind) && !lost {
            return Ok(());
        }
        match common.json {
            true => print(&(serde_json::to_string(&event).expect("an event has only string keys") + "\n")),
            false => print(&show::event(&event)),
        }
    })
}

/// `tapestry apply FILE`
pub fn ask_apply(args: &FileArgs, common: &Common) -> Result<(), Failure> {
    // Checked here first: only we know the file's name, which the daemon could not put before the line.
    let (text, _) = read_configuration(&args.file, common)?;
    let applied: Applied = Client::new(&common.socket)?.put_text("/v1/config", text)?;
    answer(common, &applied, show::applied)
}

/// `tapestry config`
pub fn ask_config(common: &Common) -> Result<(), Failure> {
    let text = Client::new(&common.socket)?.get_text("/v1/config")?;
    if !common.json {
        return print(&text);
    }
    let config = config::check("the daemon's configuration", &text).map_err(|report| {
        Failure::Refused(ApiError::new(ErrorKind::Internal, "the daemon's configuration", report.to_string()))
    })?;
    print(&json(&config))
}

/// Prints `value` as the user wants it.
pub(crate) fn answer<T: Serialize>(
    common: &Common,
    value: &T,
    show: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    print(&if common.json { json(value) } else { show(value) })
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("answers have only string keys") + "\n"
}

/// Writes to stdout without panicking if nobody reads any more.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)
}
