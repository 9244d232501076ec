//! Storm control: how often a port may say what everybody hears.

use std::time::Duration;

use sim::craft::{says, station};
use wire::Mac;

use super::{LAN, from_to, to_all};
use crate::case::Case;

pub(crate) fn cases() -> Vec<Case> {
    let limited = |storm: &str| LAN.replace("[port.c1]\n", &format!("[port.c1]\nstorm = {{ {storm} }}\n"));
    let group = (Mac([0x33, 0x33, 0, 0, 0, 1]), station(1));
    vec![
        Case::new(
            "drop-admit-storm-broadcast",
            "With `storm.broadcast = 2` the third broadcast within a second is dropped, a second later two more pass, \
             and multicasts are not counted in.",
            limited("broadcast = 2"),
        )
        .send_all("c1", ["one", "two", "three"].map(|text| says(to_all(1), text)))
        .send("c1", says(group, "a multicast"))
        .wait(Duration::from_secs(1))
        .send_all("c1", ["four", "five", "six"].map(|text| says(to_all(1), text)))
        .send("c2", says(to_all(2), "c2 is not limited")),
        Case::new(
            "drop-admit-storm-multicast",
            "With `storm.multicast = 1` the second multicast within a second is dropped, and broadcasts are not.",
            limited("multicast = 1"),
        )
        .send_all("c1", ["one", "two"].map(|text| says(group, text)))
        .send("c1", says(to_all(1), "a broadcast"))
        .wait(Duration::from_secs(1))
        .send("c1", says(group, "three")),
        Case::new(
            "drop-forward-storm-unknown",
            "With `storm.unknown = 1` the second frame to a station that nobody knows is dropped, and those to a known \
             station are not.",
            limited("unknown = 1"),
        )
        .send("c2", says(to_all(2), "here I am"))
        .send_all("c1", [10, 11].map(|dst| says(from_to(1, dst), "who are you?")))
        .send_all("c1", [2, 2].map(|dst| says(from_to(1, dst), "I know you"))),
    ]
}
