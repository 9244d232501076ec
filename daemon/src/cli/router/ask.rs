//! Modes that ask the daemon about its router.

use config::{AclSpec, PublishSpec, RouteSpec};
use hyper::Method;

use super::super::client::{Client, path, query};
use super::super::{Common, Failure, ask::answer};
use super::{
    AclCommand, NatCommand, NeighCommand, NeighbourArgs, PublishCommand, RouteCommand, SessionArgs, show,
};
use crate::api::{
    AclInfo, Ended, NatInfo, NeighbourFilter, NeighbourInfo, NewAcl, PublishInfo, RouteAnswer, RouteInfo,
    SessionFilter, SessionInfo,
};

/// Exit code of a negative verdict.
const NEGATIVE: u8 = 10;

/// `tapestry route …`
pub fn ask_route(command: RouteCommand, common: &Common) -> Result<(), Failure> {
    let client = Client::new(&common.socket)?;
    match command {
        RouteCommand::Ls => {
            let routes: Vec<RouteInfo> = client.get("/v1/routes")?;
            answer(common, &routes, |routes| show::routes(routes))
        }
        RouteCommand::Add { to, via, kind } => {
            client.change(Method::POST, "/v1/routes", &RouteSpec { to, via, kind })
        }
        RouteCommand::Del { to } => client.delete(&path(&["routes", &to.to_string()])),
        RouteCommand::Get { to, from } => {
            let (to, from) = (to.to_string(), from.map(|from| from.to_string()));
            let pairs = [("to", Some(to.as_str())), ("from", from.as_deref())];
            let way: RouteAnswer = client.get(&query("/v1/route", &pairs))?;
            answer(common, &way, show::route)?;
            if way.reachable { Ok(()) } else { Err(Failure::Said(NEGATIVE)) }
        }
    }
}

/// `tapestry publish …`
pub fn ask_publish(command: PublishCommand, common: &Common) -> Result<(), Failure> {
    let client = Client::new(&common.socket)?;
    match command {
        PublishCommand::Ls => {
            let published: Vec<PublishInfo> = client.get("/v1/publishes")?;
            answer(common, &published, |published| show::publishes(published))
        }
        PublishCommand::Add { listen, to, proto } => {
            client.change(Method::POST, "/v1/publishes", &PublishSpec { listen, proto, to })
        }
        PublishCommand::Rm { listen, proto } => {
            let proto = match proto {
                config::Proto::Tcp => "tcp",
                config::Proto::Udp => "udp",
            };
            client.delete(&path(&["publishes", proto, &listen.to_string()]))
        }
    }
}

/// `tapestry acl …`
pub fn ask_acl(command: AclCommand, common: &Common) -> Result<(), Failure> {
    let client = Client::new(&common.socket)?;
    match command {
        AclCommand::Ls => {
            let rules: Vec<AclInfo> = client.get("/v1/acl")?;
            answer(common, &rules, |rules| show::acl(rules))
        }
        AclCommand::Add { action, from, to, proto, l4_ports, position } => {
            let rule = AclSpec { action, from, to, proto, l4_ports };
            client.change(Method::POST, "/v1/acl", &NewAcl { position, rule })
        }
        AclCommand::Rm { position } => client.delete(&path(&["acl", &position.to_string()])),
    }
}

/// `tapestry nat …`
pub fn ask_nat(command: NatCommand, common: &Common) -> Result<(), Failure> {
    let client = Client::new(&common.socket)?;
    match command {
        NatCommand::Ls(which) => {
            let SessionFilter { id, proto, address, l4_port } = filter(&which);
            let id = id.map(|id| id.to_string());
            let l4_port = l4_port.map(|l4_port| l4_port.to_string());
            let pairs = [
                ("id", id.as_deref()),
                ("proto", proto.map(show::proto)),
                ("address", address.as_deref()),
                ("l4_port", l4_port.as_deref()),
            ];
            let sessions: Vec<SessionInfo> = client.get(&query("/v1/sessions", &pairs))?;
            answer(common, &sessions, |sessions| show::sessions(sessions))
        }
        NatCommand::Kill { which, all } => {
            let filter = filter(&which);
            if !all && filter == SessionFilter::default() {
                let why = "no criterion is given; say which connections, or --all";
                return Err(Failure::invalid("nat kill", why));
            }
            let ended: Ended = client.post("/v1/sessions/kill", &filter)?;
            answer(common, &ended, |ended| show::ended(*ended, "connection", "ended"))
        }
        NatCommand::Stats => {
            let nat: NatInfo = client.get("/v1/nat")?;
            answer(common, &nat, show::nat)
        }
    }
}

fn filter(which: &SessionArgs) -> SessionFilter {
    let SessionArgs { id, proto, address, l4_port } = which;
    let address = address.map(|address| address.to_string());
    SessionFilter { id: *id, proto: *proto, address, l4_port: *l4_port }
}

/// `tapestry neigh …`
pub fn ask_neigh(command: NeighCommand, common: &Common) -> Result<(), Failure> {
    let client = Client::new(&common.socket)?;
    match command {
        NeighCommand::Ls(NeighbourArgs { network, address }) => {
            let address = address.map(|address| address.to_string());
            let pairs = [("network", network.as_deref()), ("address", address.as_deref())];
            let neighbours: Vec<NeighbourInfo> = client.get(&query("/v1/neighbours", &pairs))?;
            answer(common, &neighbours, |neighbours| show::neighbours(neighbours))
        }
        NeighCommand::Flush(NeighbourArgs { network, address }) => {
            let ended: Ended = client.post("/v1/neighbours/flush", &NeighbourFilter { network, address })?;
            answer(common, &ended, |ended| show::ended(*ended, "neighbour", "forgotten"))
        }
    }
}
