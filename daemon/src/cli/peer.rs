//! Tunnels' part of the command line: who is at their other ends, and whether they work.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::ask::answer;
use super::client::Client;
use super::table::{Align, Table, Tone, octets, span};
use super::{Common, Failure};
use crate::api::{Judgement, PeerInfo, PeerQuestion, PeerReport, PeerState};

use Align::{Left, Right};

/// `tapestry peer …`
#[derive(Debug, Subcommand)]
pub enum PeerCommand {
    /// List the other ends of tunnels, and the overlay's hosts that need none
    Ls,
}

/// `tapestry overlay …`
#[derive(Debug, Subcommand)]
pub enum OverlayCommand {
    /// Speak to a peer and say what works and what does not; exit 10 if something is wrong or nothing answers
    #[command(long_about = CHECK_HELP)]
    Check(CheckArgs),
}

const CHECK_HELP: &str = "Speak to a peer and say what works and what does not; exit 10 if something is wrong or nothing answers.

Questions are sent into the tunnel from a socket beside the one that forwards: to a host of an overlay an echo request \
for its subnet's first addresses that ends there, into a stretched network an IPv6 echo request for all stations and ARP \
requests for those the router knows. What comes back is read before the switch reads it. It takes up to ten seconds \
and needs the daemon to have CAP_NET_RAW.

What cannot be told: Linux drops a VXLAN of an unknown VNI, and a firewall what it likes, without a word. So silence is a \
wrong VNI there, a firewall, or nobody behind the peer who answers; --inner names somebody who should. That the peer's \
own datagrams carry another VNI is seen, if it sends any. A path that loses long datagrams silently is told from one that \
refuses them, but not where. A peer of the overlay's that is routed without a tunnel is not asked: see \
`tapestry neigh ls`.";

/// `tapestry overlay check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Its name or address, as `tapestry peer ls` lists it
    pub peer: String,
    /// The address of a station behind it that answers pings or ARP
    #[arg(long, value_name = "ADDRESS")]
    pub inner: Option<IpAddr>,
}

/// `tapestry peer …`
pub fn ask_peer(command: &PeerCommand, common: &Common) -> Result<(), Failure> {
    match command {
        PeerCommand::Ls => {
            let peers: Vec<PeerInfo> = Client::new(&common.socket)?.get("/v1/peers")?;
            answer(common, &peers, |peers| show_peers(peers))
        }
    }
}

/// `tapestry overlay …`
pub fn ask_overlay(command: &OverlayCommand, common: &Common) -> Result<(), Failure> {
    match command {
        OverlayCommand::Check(CheckArgs { peer, inner }) => {
            let question = PeerQuestion { peer: peer.clone(), inner: *inner };
            let report: PeerReport = Client::new(&common.socket)?.post("/v1/peers/check", &question)?;
            answer(common, &report, show_report)?;
            if report.is_good() { Ok(()) } else { Err(Failure::Said(10)) }
        }
    }
}

fn show_peers(peers: &[PeerInfo]) -> String {
    let columns = [
        ("PEER", Left),
        ("SUBNET", Left),
        ("UNDERLAY", Left),
        ("REMOTE", Left),
        ("MODE", Left),
        ("MTU", Right),
        ("TX", Right),
        ("RX", Right),
        ("SEEN", Right),
        ("STATE", Left),
        ("WHY", Left),
    ];
    let mut table = Table::new(&columns);
    for peer in peers {
        let tone = match peer.state {
            PeerState::Up => Tone::Good,
            PeerState::Unreachable => Tone::Bad,
            PeerState::Silent | PeerState::Unheard | PeerState::Routed => Tone::Plain,
        };
        let plain = |text: String| (text, Tone::Plain);
        let has_tunnel = peer.state != PeerState::Routed;
        let sum = |number: u64| plain(if has_tunnel { octets(number) } else { "-".to_owned() });
        table.toned_row([
            plain(peer.name.clone()),
            plain(peer.subnet.clone().unwrap_or_else(|| "-".to_owned())),
            plain(peer.underlay.clone()),
            plain(peer.remote.clone()),
            plain(peer.vni.map_or_else(|| peer.mode.clone(), |vni| format!("{} {vni}", peer.mode))),
            plain(peer.mtu.to_string()),
            sum(peer.tx_bytes),
            sum(peer.rx_bytes),
            plain(peer.last_seen_ms.map_or_else(|| "-".to_owned(), span)),
            (peer.state.as_str().to_owned(), tone),
            plain(peer.why.clone()),
        ]);
    }
    let mut text = table.render();
    for peer in peers {
        if let Some(detail) = &peer.detail {
            text += &format!("peer {}: {detail}\n", peer.name);
        }
    }
    text
}

fn show_report(report: &PeerReport) -> String {
    let mut text = format!("peer {} at {}\n", report.peer, report.remote);
    for finding in &report.findings {
        let mark = match finding.judgement {
            Judgement::Good => "ok",
            Judgement::Bad => "BAD",
            Judgement::Unknown => "?",
        };
        text += &format!("  {mark:<4}{:<9} {}\n", finding.check, finding.text);
        if !finding.next.is_empty() {
            text += &format!("{:16}next: {}\n", "", finding.next);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Finding;

    #[test]
    fn a_peer_has_a_line_and_what_is_wrong_another() {
        let peers = [
            PeerInfo {
                name: "overlay.192.0.2.2".to_owned(),
                mode: "vxlan".to_owned(),
                vni: Some(1),
                rx_bytes: 10,
                state: PeerState::Unreachable,
                detail: Some("Connection refused".to_owned()),
                ..PeerInfo::default()
            },
            PeerInfo {
                name: "overlay.192.0.2.3".to_owned(),
                state: PeerState::Routed,
                ..PeerInfo::default()
            },
        ];
        let text = show_peers(&peers);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("vxlan 1") && lines[1].contains("unreachable"), "{text}");
        assert!(lines[2].contains("routed") && !lines[2].contains("10"), "{text}");
        assert_eq!(lines[3], "peer overlay.192.0.2.2: Connection refused");
    }

    #[test]
    fn a_report_is_good_if_the_peer_has_answered_and_nothing_is_wrong() {
        let finding = |check: &str, judgement| Finding {
            check: check.to_owned(),
            judgement,
            text: "seen".to_owned(),
            next: "do".to_owned(),
        };
        let report = |findings| PeerReport { peer: String::new(), remote: String::new(), findings };
        let answers = |judgement| finding("answers", judgement);
        let mtu = |judgement| finding("mtu", judgement);
        for (findings, is_good) in [
            (vec![answers(Judgement::Good), mtu(Judgement::Unknown)], true),
            (vec![answers(Judgement::Good), mtu(Judgement::Bad)], false),
            (vec![answers(Judgement::Unknown)], false),
            (vec![], false),
        ] {
            assert_eq!(report(findings.clone()).is_good(), is_good, "{findings:?}");
        }
        let text = show_report(&report(vec![mtu(Judgement::Bad)]));
        assert!(text.ends_with("  BAD mtu       seen\n                next: do\n"), "{text}");
    }
}
