//! Where stations live: learning, ageing, moving, and their limits.

use std::time::Duration;

use sim::craft::{Addresses, says, station};
use wire::Mac;

use super::{LAN, from_to, to_all};
use crate::case::Case;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = learned();
    cases.extend(moving());
    cases.extend(limits());
    cases
}

fn learned() -> Vec<Case> {
    vec![
        Case::new(
            "learn-and-flood",
            "A frame to an unknown station is flooded; once that station has spoken, frames to it reach its port alone.",
            LAN,
        )
        .send("c1", says(from_to(1, 2), "unknown: to c2 and c3"))
        .send("c2", says(from_to(2, 1), "to c1 alone"))
        .send("c1", says(from_to(1, 2), "to c2 alone"))
        .send("c3", says((Mac([1, 0, 0x5e, 0, 0, 1]), station(3)), "a multicast: to c1 and c2"))
        .send("c3", says(to_all(3), "a broadcast: to c1 and c2")),
        Case::new(
            "age",
            "A station that has been silent for 300 seconds is forgotten, and frames to it are flooded again.",
            LAN,
        )
        .send("c1", says(to_all(1), "here I am"))
        .wait(Duration::from_secs(200))
        .send("c2", says(from_to(2, 1), "known: to c1 alone"))
        .wait(Duration::from_secs(105))
        .send("c2", says(from_to(2, 1), "forgotten: flooded")),
        Case::new(
            "age-refreshed",
            "Each frame of a station starts its time anew.",
            LAN.replace("[network.lan]\n", "[network.lan]\nageing = 10\n"),
        )
        .send("c1", says(to_all(1), "here I am"))
        .wait(Duration::from_secs(8))
        .send("c1", says(to_all(1), "still here"))
        .wait(Duration::from_secs(8))
        .send("c2", says(from_to(2, 1), "known: to c1 alone")),
        Case::new(
            "age-never",
            "With `ageing = 0` a station is remembered for ever.",
            LAN.replace("[network.lan]\n", "[network.lan]\nageing = 0\n"),
        )
        .send("c1", says(to_all(1), "here I am"))
        .wait(Duration::from_secs(1_000_000))
        .send("c2", says(from_to(2, 1), "known: to c1 alone")),
    ]
}

fn moving() -> Vec<Case> {
    let roams = |turn: u8| if turn.is_multiple_of(2) { "c3" } else { "c1" };
    let flap = Case::new(
        "station-flap",
        "A station that moves five times within ten seconds flaps, and that is told; the move itself is told each time.",
        LAN,
    );
    let moved = Case::new(
        "station-move",
        "A station that appears behind another port lives there from its first frame on.",
        LAN,
    );
    vec![
        moved
            .send("c1", says(to_all(1), "at c1"))
            .send("c2", says(from_to(2, 1), "to c1"))
            .send("c3", says(to_all(1), "at c3 now"))
            .send("c2", says(from_to(2, 1), "to c3")),
        (1..=7).fold(flap, |case, turn| {
            case.send(roams(turn), says(to_all(1), "a loop?")).wait(Duration::from_secs(1))
        }),
        Case::new(
            "station-static",
            "A configured station does not move, whoever claims its address: the frame passes, and answers go to its \
             own port. It does not age either.",
            format!("{LAN}\n[[station]]\nnetwork = \"lan\"\nmac = \"02:00:00:00:00:01\"\nport = \"c1\"\n"),
        )
        .send("c2", says(from_to(2, 1), "never heard, known: to c1"))
        .send("c3", says(from_to(1, 2), "an impostor"))
        .wait(Duration::from_secs(1_000))
        .send("c2", says(from_to(2, 1), "still to c1")),
    ]
}

/// Station `n` of many that nobody has seen before, to everybody.
fn crowd(n: u16) -> Addresses {
    let [high, low] = n.to_be_bytes();
    (station(2), Mac([6, 0, 0, 1, high, low]))
}

fn limits() -> Vec<Case> {
    let flood = || (0..300).map(|n| says(crowd(n), "flood"));
    vec![
        Case::new(
            "mac-flood",
            "A port that invents 300 addresses fills its own share of 64 and no more: the others' stations stay known, \
             and the port's own traffic still passes.",
            LAN.replace("[port.c1]\n", "[port.c1]\nstations_max = 64\n"),
        )
        .send("c2", says(to_all(2), "here I am"))
        .send("c3", says(to_all(3), "me too"))
        .send_all("c1", flood())
        .send("c3", says(from_to(3, 2), "to c2 alone, as before"))
        .send("c2", says(from_to(2, 3), "to c3 alone, as before"))
        .send("c3", says((crowd(63).1, station(3)), "to c1: the last that was learned"))
        .send("c3", says((crowd(64).1, station(3)), "the first that was not: flooded")),
        Case::new(
            "mac-flood-of-a-network",
            "A network that has its 32 stations learns no more; who is known stays known.",
            LAN.replace("[network.lan]\n", "[network.lan]\nstations_max = 32\n"),
        )
        .send("c2", says(to_all(2), "here I am"))
        .send_all("c1", flood())
        .send("c3", says(from_to(3, 2), "to c2; station 3 is not learned"))
        .send("c2", says(from_to(2, 3), "flooded")),
    ]
}
