//! Each law bites: the node gets one frame or plan, and the laws are told of another.

use node::Event;
use wire::Instant;
use wire::offload::NEEDS_CSUM;

use super::*;
use crate::craft::{ethernet, says, station, tagged};
use crate::testing::{TOML, plan};

/// What the node does: a plan, and frames that enter port 0 of it; what the laws are told: a plan, and the last frame.
struct Told<'a> {
    node_plan: &'a str,
    laws_plan: &'a str,
    frames: &'a [Vec<u8>],
    laws_port: Option<u16>,
    laws_frame: Vec<u8>,
}

/// An honest report; tests change one thing.
fn honest(frames: &[Vec<u8>]) -> Told<'_> {
    let laws_frame = frames.last().expect("there is a frame").clone();
    Told { node_plan: TOML, laws_plan: TOML, frames, laws_port: Some(0), laws_frame }
}

fn filled(out: &mut Outbox, bytes: &[u8]) -> FrameBuf {
    let mut frame = out.pool.take();
    assert!(frame.fill(bytes));
    frame
}

fn verdict(told: &Told<'_>) -> Verdict {
    let (mut node, mut out, mut laws) = (Node::new(0), Outbox::default(), Laws::default());
    node.handle(Instant::ZERO, Event::Configure(plan(told.node_plan)), &mut out);
    laws.configured(&plan(told.laws_plan));
    for (index, bytes) in told.frames.iter().enumerate() {
        if index + 1 == told.frames.len() {
            let seen = filled(&mut out, &told.laws_frame);
            laws.before(&node, &out, told.laws_port.map(|port| Arrives::Frame(PortId(port), &seen)));
        }
        let frame = filled(&mut out, bytes);
        node.handle(Instant::ZERO, Event::Frame { port: PortId(0), frame }, &mut out);
    }
    laws.after(&node, &mut out)
}

#[track_caller]
fn breaks(told: &Told<'_>, law: &str) {
    let verdict = verdict(told);
    assert!(verdict.as_ref().is_err_and(|what| what.contains(law)), "{verdict:?}");
}

fn frame() -> Vec<u8> {
    says((station(2), station(1)), "hello")
}

#[test]
fn an_honest_node_keeps_them() {
    assert_eq!(verdict(&honest(&[frame()])), Ok(()));
    assert_eq!(verdict(&honest(&[frame()[..13].to_vec()])), Ok(()), "a drop");
}

#[test]
fn a_walk_without_a_frame() {
    breaks(&Told { laws_port: None, ..honest(&[frame()]) }, "no frame came in");
}

#[test]
fn a_leak_into_another_domain() {
    breaks(&Told { laws_port: Some(2), ..honest(&[frame()]) }, "leaves into");
    breaks(&Told { laws_frame: tagged(7, &frame()), ..honest(&[frame()]) }, "leaves into");
}

#[test]
fn a_return_through_the_ingress_port() {
    breaks(&Told { laws_port: Some(1), ..honest(&[frame()]) }, "returns through its ingress port");
}

#[test]
fn a_way_between_isolated_ports() {
    let isolated = TOML.replace("[network.a]\n", "[network.a]\nicc = false\n");
    breaks(&Told { laws_plan: &isolated, ..honest(&[frame()]) }, "between two isolated ports");
}

#[test]
fn other_octets() {
    breaks(
        &Told { laws_frame: says((station(2), station(1)), "other"), ..honest(&[frame()]) },
        "other octets",
    );
    assert_eq!(
        verdict(&Told { laws_frame: tagged(0, &frame()), ..honest(&[frame()]) }),
        Ok(()),
        "but for the tag"
    );
}

#[test]
fn more_than_the_mtu() {
    let long = ethernet((station(2), station(1)), 0x88b5, &[0x11; 1000]);
    let narrow = TOML.replace("[port.c2]\n", "[port.c2]\nmtu = 999\n");
    breaks(&Told { laws_plan: &narrow, ..honest(std::slice::from_ref(&long)) }, "where the MTU is 999");
}

#[test]
fn more_stations_than_the_limit() {
    let frames: Vec<_> = (1..=3).map(|n| says((station(9), station(n)), "me")).collect();
    let small = TOML.replace("stations_max = 3", "stations_max = 2");
    breaks(&Told { laws_plan: &small, ..honest(&frames) }, "domain 0 has 3 stations and may have 2");
    let port = TOML.replace("[port.c1]\n", "[port.c1]\nstations_max = 2\n");
    breaks(&Told { laws_plan: &port, ..honest(&frames) }, "port 0 has 3 stations and may have 2");
}

#[test]
fn a_claim_past_the_end() {
    let (mut node, mut out, mut laws) = (Node::new(0), Outbox::default(), Laws::default());
    node.handle(Instant::ZERO, Event::Configure(plan(TOML)), &mut out);
    laws.configured(&plan(TOML));
    let arriving = filled(&mut out, &frame());
    laws.before(&node, &out, Some(Arrives::Frame(PortId(0), &arriving)));
    node.handle(Instant::ZERO, Event::Frame { port: PortId(0), frame: arriving }, &mut out);
    let send = out.sends()[0];
    out.frame(send).offload.flags = NEEDS_CSUM;
    out.frame(send).offload.csum_start = 1000;
    let verdict = laws.after(&node, &mut out);
    assert!(verdict.as_ref().is_err_and(|what| what.contains("claim more")), "{verdict:?}");
}

/// Two stations, and remote ends of one tunnel.
fn tunnelled(vni: u32, remotes: &str) -> String {
    format!(
        "[network.a]\n[network.a.vxlan]\nvni = {vni}\nlocal = \"192.0.2.1\"\nremotes = [{remotes}]\n\
         [port.c1]\nnetwork = \"a\"\n[port.c2]\nnetwork = \"a\"\n"
    )
}

/// What the laws say of a datagram, or of a frame from c1, that the node gets; they are told of another plan, and where
/// there is a second remote end of a datagram from there.
fn tunnel_verdict(plans: [&str; 2], from: Option<u8>, told: Option<u8>) -> Verdict {
    let [node_plan, laws_plan] = plans.map(plan);
    let (mut node, mut out, mut laws) = (Node::new(0), Outbox::default(), Laws::default());
    node.handle(Instant::ZERO, Event::Configure(Arc::clone(&node_plan)), &mut out);
    laws.configured(&laws_plan);
    let underlay = node_plan.underlays[0].id;
    let datagram = [&[8, 0, 0, 0, 0, 0, 42, 0][..], &frame()].concat();
    let end = |last: u8| Endpoint { address: [192, 0, 2, last].into(), l4_port: 50_000 };
    let station = |plan: &Plan| {
        let port = plan.switch.ports.iter().find(|port| port.horizon.is_none());
        port.expect("c1 is no tunnel's").id
    };
    let bytes = |from: Option<u8>| if from.is_some() { datagram.clone() } else { frame() };
    let seen = filled(&mut out, &bytes(told));
    let arrives = match told {
        Some(last) => Arrives::Datagram(underlay, end(last), Ecn::NotEct, &seen),
        None => Arrives::Frame(station(&laws_plan), &seen),
    };
    laws.before(&node, &out, Some(arrives));
    let frame = filled(&mut out, &bytes(from));
    let event = match from {
        Some(last) => Event::Datagram { underlay, from: end(last), ecn: Ecn::NotEct, frame },
        None => Event::Frame { port: station(&node_plan), frame },
    };
    node.handle(Instant::ZERO, event, &mut out);
    laws.after(&node, &mut out)
}

#[test]
fn what_tunnels_let_through() {
    let (one, other) = (tunnelled(42, "\"192.0.2.3\""), tunnelled(43, "\"192.0.2.3\""));
    let two = tunnelled(42, "\"192.0.2.2\", \"192.0.2.3\"");
    assert_eq!(tunnel_verdict([&one, &one], Some(3), Some(3)), Ok(()), "in");
    assert_eq!(tunnel_verdict([&two, &two], None, None), Ok(()), "out");
    assert_eq!(tunnel_verdict([&one, &one], Some(9), Some(9)), Ok(()), "a stranger's is dropped");
    for (plans, from, told, law) in [
        ([&one, &one], Some(3), Some(9), "what no tunnel admits goes on"),
        ([&one, &two], None, Some(3), "between two ends of one tunnel"),
        ([&one, &one], None, Some(3), "returns through its ingress port"),
        ([&one, &other], None, None, "no VXLAN header of its network"),
    ] {
        let verdict = tunnel_verdict(plans.map(String::as_str), from, told);
        assert!(verdict.as_ref().is_err_and(|what| what.contains(law)), "{law}: {verdict:?}");
    }
}

#[test]
fn two_frames_at_once() {
    let (mut node, mut out, mut laws) = (Node::new(0), Outbox::default(), Laws::default());
    node.handle(Instant::ZERO, Event::Configure(plan(TOML)), &mut out);
    laws.configured(&plan(TOML));
    let seen = filled(&mut out, &frame());
    laws.before(&node, &out, Some(Arrives::Frame(PortId(0), &seen)));
    for _ in 0..2 {
        let frame = filled(&mut out, &frame());
        node.handle(Instant::ZERO, Event::Frame { port: PortId(0), frame }, &mut out);
    }
    let verdict = laws.after(&node, &mut out);
    assert!(verdict.as_ref().is_err_and(|what| what.contains("grew by [2, 2, 0, 0, 0]")), "{verdict:?}");
}
