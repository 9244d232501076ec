//! Answers as people read them.

use super::table::{Align, Table, Tone, count, octets, span};
use crate::api::{
    Applied, DropInfo, NetworkInfo, PortInfo, PortState, RecordingInfo, RefusedKey, RegistryInfo,
    StationInfo, Status, Warning,
};
use crate::events::Event;

use Align::{Left, Right};

/// The switch on one screen.
pub(super) fn status(status: &Status) -> String {
    let ports: u64 = status.ports.values().sum();
    let states: Vec<String> =
        status.ports.iter().map(|(state, count)| format!("{count} {}", state.as_str())).collect();
    let mut text = format!(
        "tapestry {}, pid {}, up {}\n  socket    {}\n  config    {}\n  networks  {}\n  ports     {ports}{}\n  stations  {}\n",
        status.version,
        status.pid,
        span(status.uptime_ms),
        status.socket,
        status.config_file.as_deref().unwrap_or("none"),
        status.networks,
        if states.is_empty() { String::new() } else { format!(" ({})", states.join(", ")) },
        count(status.stations),
    );
    let totals = &status.totals;
    text += &format!(
        "  frames    {} received = {} forwarded + {} consumed + {} parked + {} dropped; {} made by the router\n  octets    {} in, {} out\n",
        count(totals.received),
        count(totals.forwarded),
        count(totals.consumed),
        count(totals.parked),
        count(totals.dropped),
        count(totals.originated),
        octets(totals.rx_bytes),
        octets(totals.tx_bytes),
    );
    if totals.lost_leaving > 0 {
        text += &format!(
            "  faults    {} frames lost on leaving, by faults set on ports (deliver.fault)\n",
            count(totals.lost_leaving)
        );
    }
    if totals.answered > 0 {
        text +=
            &format!("  answers   {} questions for known stations, not flooded\n", count(totals.answered));
    }
    text += &status.registry.as_ref().map(registry).unwrap_or_default();
    text.push('\n');
    text += &workers(status);
    if !status.recordings.is_empty() {
        text += &format!("\n{}", recordings(&status.recordings));
    }
    if !status.top_drops.is_empty() {
        let mut table = Table::new(&[("DROPS", Left), ("COUNT", Right)]);
        for drop in &status.top_drops {
            table.row([drop.reason.clone(), count(drop.count)]);
        }
        text += &format!(
            "\n{}(`tapestry drops` says where, `tapestry drops explain REASON` why)\n",
            table.render()
        );
    }
    if !status.warnings.is_empty() {
        text.push('\n');
        text += &warnings(&status.warnings);
    }
    text
}

/// Where the overlay's hosts learn of each other.
fn registry(info: &RegistryInfo) -> String {
    let refused: u64 = info.refused.values().sum();
    let refused = if refused == 0 { String::new() } else { format!(", {} keys not used", count(refused)) };
    let v6 = info.subnet_v6.as_ref().map(|v6| format!(" and {v6}")).unwrap_or_default();
    let mut text = format!(
        "  registry  {} {}, {}{v6}, {} peers{refused}\n",
        info.kind,
        info.state.as_str(),
        info.subnet.as_deref().unwrap_or("no subnet"),
        count(info.peers),
    );
    for RefusedKey { key, reason, why } in &info.refused_keys {
        text += &format!("              {key}: {reason}, {why}\n");
    }
    text
}

fn workers(status: &Status) -> String {
    let columns = [
        ("WORKER", Right),
        ("STATE", Left),
        ("FRAMES", Right),
        ("JOINED", Right),
        ("PER BATCH", Right),
        ("SPINS", Right),
        ("SLEEPS", Right),
    ];
    let mut table = Table::new(&columns);
    for worker in &status.workers {
        let tone = if worker.state == "running" { Tone::Good } else { Tone::Bad };
        let plain = |text: String| (text, Tone::Plain);
        table.toned_row([
            plain(worker.worker.to_string()),
            (worker.state.clone(), tone),
            plain(count(worker.frames)),
            plain(count(worker.joined)),
            plain(per(worker.frames, worker.batches)),
            plain(count(worker.spins)),
            plain(count(worker.sleeps)),
        ]);
    }
    table.render()
}

fn recordings(recordings: &[RecordingInfo]) -> String {
    let columns =
        [("RECORDING", Right), ("INTO", Left), ("SINCE", Left), ("OCTETS", Right), ("NOT KEPT", Right)];
    let mut table = Table::new(&columns);
    for recording in recordings {
        let room = recording.octets_max.map(|max| format!(" of {}", octets(max))).unwrap_or_default();
        table.row([
            recording.number.to_string(),
            recording.destination.as_str().to_owned(),
            recording.since.clone(),
            octets(recording.octets) + &room,
            count(recording.missed),
        ]);
    }
    table.render()
}

/// `frames / batches` with one decimal; `-` if there was none.
fn per(frames: u64, batches: u64) -> String {
    let Some(tenths) = frames.saturating_mul(10).checked_div(batches) else { return "-".to_owned() };
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn warnings(warnings: &[Warning]) -> String {
    let mut text = String::new();
    for warning in warnings {
        text += &format!("warning: {}\n", warning.text);
        if !warning.next.is_empty() {
            text += &format!("  next: {}\n", warning.next);
        }
    }
    text
}

/// `network ls`
pub(super) fn networks(networks: &[NetworkInfo]) -> String {
    let columns = [
        ("NETWORK", Left),
        ("SUBNET", Left),
        ("GATEWAY", Left),
        ("MTU", Right),
        ("ICC", Left),
        ("PORTS", Right),
        ("STATIONS", Right),
    ];
    let mut table = Table::new(&columns);
    for network in networks {
        table.row([
            network.name.clone(),
            list(&network.subnet),
            list(&network.gateway),
            network.mtu.to_string(),
            if network.icc { "yes" } else { "no" }.to_owned(),
            network.ports.len().to_string(),
            count(network.stations),
        ]);
    }
    table.render()
}

/// `port ls`
pub(super) fn ports(ports: &[PortInfo]) -> String {
    let columns = [
        ("PORT", Left),
        ("STATE", Left),
        ("NETWORK", Left),
        ("NETNS", Left),
        ("IFNAME", Left),
        ("ADDRESS", Left),
        ("MTU", Right),
        ("RX", Right),
        ("TX", Right),
        ("DROPS", Right),
    ];
    let mut table = Table::new(&columns);
    for port in ports {
        let tone = match port.state {
            PortState::Up => Tone::Good,
            PortState::Failed => Tone::Bad,
            PortState::Down => Tone::Plain,
        };
        let plain = |text: String| (text, Tone::Plain);
        table.toned_row([
            plain(port.name.clone()),
            (port.state.as_str().to_owned(), tone),
            plain(memberships(port)),
            plain(port.netns.clone().unwrap_or_else(|| "-".to_owned())),
            plain(port.ifname.clone()),
            plain(list(&port.address)),
            plain(port.mtu.to_string()),
            plain(octets(port.rx_bytes)),
            plain(octets(port.tx_bytes)),
            plain(count(port.drops)),
        ]);
    }
    let mut text = table.render();
    for port in ports {
        if let Some(error) = &port.error {
            text += &format!("port {}: {error}\n", port.name);
        }
        if port.faults {
            text += &format!("port {}: has faults, set on purpose (`tapestry fault ls`)\n", port.name);
        }
    }
    text
}

/// The port's networks, tagged ones with their tag: `a,10=b`.
fn memberships(port: &PortInfo) -> String {
    let words: Vec<String> = port
        .networks
        .iter()
        .map(|membership| match membership.vlan {
            Some(vlan) => format!("{vlan}={}", membership.network),
            None => membership.network.clone(),
        })
        .collect();
    list(&words)
}

/// `fdb ls`
pub(super) fn stations(stations: &[StationInfo]) -> String {
    let mut table =
        Table::new(&[("NETWORK", Left), ("MAC", Left), ("PORT", Left), ("KIND", Left), ("AGE", Right)]);
    for station in stations {
        table.row([
            station.network.clone(),
            station.mac.clone(),
            station.port.clone(),
            station.kind.as_str().to_owned(),
            station.age_ms.map_or_else(|| "-".to_owned(), span),
        ]);
    }
    table.render()
}

/// `drops`
pub(super) fn drops(drops: &[DropInfo]) -> String {
    let mut table =
        Table::new(&[("REASON", Left), ("PORT", Left), ("COUNT", Right), ("WHAT HAPPENED", Left)]);
    for drop in drops {
        for (index, (port, number)) in drop.ports.iter().enumerate() {
            let sentence = if index == 0 { drop.sentence.clone() } else { String::new() };
            table.row([drop.reason.clone(), port.clone(), count(*number), sentence]);
        }
        let elsewhere = drop.count.saturating_sub(drop.ports.values().sum());
        if elsewhere > 0 {
            table.row([drop.reason.clone(), "-".to_owned(), count(elsewhere), drop.sentence.clone()]);
        }
    }
    table.render()
}

/// `drops explain`
pub(super) fn explanations(infos: &[DropInfo]) -> String {
    let paragraphs: Vec<String> = infos
        .iter()
        .map(|info| {
            format!(
                "{}\n  what   {}\n  cause  {}\n  next   {}\n",
                info.reason, info.sentence, info.cause, info.advice
            )
        })
        .collect();
    paragraphs.join("\n")
}

/// One line of `events`.
pub(super) fn event(event: &Event) -> String {
    format!("{}  {:<16}  {}\n", event.time, event.kind.id(), event.text)
}

/// `apply`
pub(super) fn applied(applied: &Applied) -> String {
    let mut text = match applied.changes.as_slice() {
        [] => "nothing to change\n".to_owned(),
        changes => changes.iter().map(|change| format!("{change}\n")).collect(),
    };
    text += &warnings(&applied.warnings);
    text
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn drops_have_a_line_for_each_port_and_one_sentence() {
        let ports = BTreeMap::from([("a".to_owned(), 1_000), ("b".to_owned(), 2)]);
        let text = drops(&[DropInfo::of(wire::DropReason::Runt, ports)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("admit.runt  a     1,000  The frame"), "{text}");
        assert_eq!(lines[2], "admit.runt  b         2");
    }

    #[test]
    fn a_reason_explains_itself() {
        let text = explanations(&[DropInfo::of(wire::DropReason::Runt, BTreeMap::new())]);
        assert!(text.contains("  cause  ") && text.contains("  next   "), "{text}");
    }

    #[test]
    fn batches_may_be_none() {
        assert_eq!((per(10, 4), per(0, 0)), ("2.5".to_owned(), "-".to_owned()));
    }
}
