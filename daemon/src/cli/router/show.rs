//! The router's answers as people read them.

use config::AclProto;

use super::super::table::{Align, Table, count, span};
use crate::api::{
    AclInfo, Ended, HopInfo, NatInfo, NeighbourInfo, NextHopInfo, PublishInfo, RouteAnswer, RouteInfo,
    SessionInfo,
};

use Align::{Left, Right};

/// `route ls`
pub(super) fn routes(routes: &[RouteInfo]) -> String {
    let mut table = Table::new(&[("TO", Left), ("KIND", Left), ("THROUGH", Left), ("SOURCE", Left)]);
    for route in routes {
        table.row([route.to.clone(), route.kind.clone(), through(route), route.source.clone()]);
    }
    table.render()
}

/// The network of a connected route, or the next routers.
fn through(route: &RouteInfo) -> String {
    let hop = |hop: &NextHopInfo| format!("{} ({})", hop.address, hop.network);
    let hops: Vec<String> = route.via.iter().map(hop).collect();
    route.network.clone().unwrap_or_else(|| if hops.is_empty() { "-".to_owned() } else { hops.join(", ") })
}

/// `route get`
pub(super) fn route(answer: &RouteAnswer) -> String {
    let from = answer.from.as_ref().map_or_else(String::new, |from| format!(" from {from}"));
    let verdict = if answer.reachable { "" } else { ": goes nowhere" };
    let mut text = format!("{}{from}{verdict}\n", answer.to);
    if let Some(network) = &answer.own {
        text += &format!("  own       the router's own address in {network}\n");
    }
    match &answer.route {
        Some(route) => {
            text +=
                &format!("  route     {}, {} {}, {}\n", route.to, route.kind, through(route), route.source);
        }
        None if answer.own.is_none() => text += "  route     none is for it\n",
        None => {}
    }
    for hop in &answer.hops {
        text += &format!("  next hop  {} in {}, {}\n", hop.address, hop.network, known(hop));
    }
    if let Some(reason) = &answer.denied {
        text += &format!("  denied    {reason} (`tapestry drops explain {reason}`)\n");
    }
    for note in &answer.notes {
        text += &format!("  note      {note}\n");
    }
    text
}

fn known(hop: &HopInfo) -> String {
    match &hop.neighbour {
        Some(NeighbourInfo { mac: Some(mac), state, .. }) => format!("{state} at {mac}"),
        Some(NeighbourInfo { mac: None, state, .. }) => state.clone(),
        None => "not asked for yet".to_owned(),
    }
}

/// `publish ls`
pub(super) fn publishes(publishes: &[PublishInfo]) -> String {
    let columns =
        [("LISTEN", Left), ("PROTO", Left), ("TO", Left), ("ADDRESS", Left), ("CONNECTIONS", Right)];
    let mut table = Table::new(&columns);
    for PublishInfo { listen, proto, to, address, sessions } in publishes {
        table.row([listen.clone(), proto.clone(), to.clone(), address.clone(), count(*sessions)]);
    }
    table.render()
}

/// `acl ls`
pub(super) fn acl(rules: &[AclInfo]) -> String {
    let columns = [
        ("POSITION", Right),
        ("ACTION", Left),
        ("FROM", Left),
        ("TO", Left),
        ("PROTO", Left),
        ("L4 PORTS", Left),
        ("HITS", Right),
    ];
    let mut table = Table::new(&columns);
    for AclInfo { position, hits, rule } in rules {
        let action = match rule.action {
            config::AclAction::Allow => "allow",
            config::AclAction::Deny => "deny",
            config::AclAction::Log => "log",
        };
        table.row([
            position.to_string(),
            action.to_owned(),
            rule.from.to_string(),
            rule.to.to_string(),
            rule.proto.map_or("any", proto).to_owned(),
            rule.l4_ports.map_or_else(|| "any".to_owned(), |l4_ports| l4_ports.to_string()),
            count(*hits),
        ]);
    }
    table.render()
}

pub(super) const fn proto(proto: AclProto) -> &'static str {
    match proto {
        AclProto::Tcp => "tcp",
        AclProto::Udp => "udp",
        AclProto::Icmp => "icmp",
    }
}

/// `nat ls`
pub(super) fn sessions(sessions: &[SessionInfo]) -> String {
    let columns = [
        ("ID", Right),
        ("PROTO", Left),
        ("FROM", Left),
        ("TO", Left),
        ("ANSWERS FROM", Left),
        ("ANSWERS TO", Left),
        ("STATE", Left),
        ("ORIGIN", Left),
        ("REMAINING", Right),
        ("PACKETS", Right),
        ("BACK", Right),
    ];
    let mut table = Table::new(&columns);
    for session in sessions {
        table.row([
            session.id.to_string(),
            session.proto.clone(),
            session.src.clone(),
            session.dst.clone(),
            session.reply_src.clone(),
            session.reply_dst.clone(),
            session.state.clone(),
            session.origin.clone(),
            span(session.remaining_ms),
            count(session.packets),
            count(session.reply_packets),
        ]);
    }
    table.render()
}

/// `nat kill`, `neigh flush`
pub(super) fn ended(ended: Ended, what: &str, became: &str) -> String {
    let plural = if ended.count == 1 { "" } else { "s" };
    format!("{} {what}{plural} {became}\n", count(ended.count))
}

/// `nat stats`
pub(super) fn nat(nat: &NatInfo) -> String {
    let mut text = format!(
        "connections  {} of {} at most, {} mappings\nopened       {}\nover         {} by silence, {} yielded, {} ended\nrefused      {} for want of room, {} beyond their host's share, {} without an outside L4 port\n",
        count(nat.sessions),
        count(nat.sessions_max),
        count(nat.mappings),
        count(nat.opened),
        count(nat.expired),
        count(nat.evicted),
        count(nat.ended),
        count(nat.refused_max),
        count(nat.refused_share),
        count(nat.refused_l4_ports),
    );
    if !nat.l4_ports.is_empty() {
        let mut table = Table::new(&[("OUTSIDE", Left), ("PROTO", Left), ("L4 PORTS IN USE", Right)]);
        for l4_ports in &nat.l4_ports {
            table.row([l4_ports.outside.clone(), l4_ports.proto.clone(), count(l4_ports.in_use)]);
        }
        text += &format!("\n{}", table.render());
    }
    text
}

/// `neigh ls`
pub(super) fn neighbours(neighbours: &[NeighbourInfo]) -> String {
    let columns = [
        ("NETWORK", Left),
        ("ADDRESS", Left),
        ("MAC", Left),
        ("STATE", Left),
        ("AGE", Right),
        ("PARKED", Right),
    ];
    let mut table = Table::new(&columns);
    for neighbour in neighbours {
        table.row([
            neighbour.network.clone(),
            neighbour.address.clone(),
            neighbour.mac.clone().unwrap_or_else(|| "-".to_owned()),
            neighbour.state.clone(),
            span(neighbour.age_ms),
            count(neighbour.parked),
        ]);
    }
    table.render()
}
