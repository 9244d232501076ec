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
