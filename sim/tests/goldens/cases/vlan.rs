//! VLAN tags: which domain a frame is in, and with which tag it leaves.

use sim::craft::{EXPERIMENTAL, ethernet, says, tagged, tagged_as};

use super::{LAN, from_to, to_all};
use crate::case::Case;

/// Two networks, an access port in each, and a trunk that carries both; station 5 lives behind it.
const TRUNK: &str = r#"[network.a]

[network.b]

[port.c1]
network = "a"

[port.c2]
network = "b"

[port.c5]
trunk = { 10 = "a", 20 = "b" }
"#;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = carried();
    cases.extend(refused());
    cases
}

fn carried() -> Vec<Case> {
    vec![
        Case::new(
            "vlan-trunk-and-access",
            "Two networks share a trunk under their tags: a broadcast stays in its network, the tag goes on and comes \
             off at the edges, and one address may live in both networks at different ports.",
            TRUNK,
        )
        .send("c1", says(to_all(1), "to all of a"))
        .send("c2", says(to_all(2), "to all of b"))
        .send("c5", tagged(10, &says(from_to(5, 1), "to c1 in a")))
        .send("c5", tagged(20, &says(from_to(5, 1), "unknown in b: flooded there")))
        .send("c1", says(from_to(1, 5), "to the trunk under 10"))
        .send("c5", tagged(20, &says(from_to(1, 2), "station 1 of b is another")))
        .send("c2", says(from_to(2, 1), "to the trunk under 20"))
        .send("c5", tagged(10, &says(from_to(5, 1), "station 1 of a is still at c1"))),
        Case::new(
            "vlan-native",
            "The trunk's native network is untagged on its wire; the other keeps its tag.",
            TRUNK.replace("[port.c5]\ntrunk = { 10 = \"a\", 20 = \"b\" }", "[port.c5]\nnetwork = \"a\"\ntrunk = { 20 = \"b\" }"),
        )
        .send("c5", says(to_all(5), "untagged: a"))
        .send("c5", tagged(20, &says(to_all(5), "20: b")))
        .send("c1", says(from_to(1, 5), "back untagged"))
        .send("c2", says(from_to(2, 5), "back under 20")),
        Case::new(
            "vlan-tagged-network",
            "A port with `vlan = 100` has its one network under that tag.",
            "[network.a]\n\n[port.c1]\nnetwork = \"a\"\n\n[port.c2]\nnetwork = \"a\"\nvlan = 100\n",
        )
        .send("c1", says(to_all(1), "leaves under 100"))
        .send("c2", tagged(100, &says(from_to(2, 1), "leaves untagged"))),
        Case::new(
            "vlan-priority",
            "A priority tag (VLAN 0) is no VLAN; its priority and drop eligibility go on in the tag that the frame \
             leaves with, and vanish where it leaves without one. Priorities of a real tag go along too.",
            TRUNK,
        )
        .send("c1", tagged(0xb000, &says(to_all(1), "priority 5, drop eligible")))
        .send("c5", tagged(0xe00a, &says(from_to(5, 1), "priority 7 comes off")))
        .send("c1", tagged(0xe000, &says(from_to(1, 5), "priority 7"))),
        Case::new(
            "vlan-trunk-to-trunk",
            "Between two trunks a network changes its tag: what is 10 here is 11 there.",
            "[network.a]\n\n[port.c1]\ntrunk = { 10 = \"a\" }\n\n[port.c2]\ntrunk = { 11 = \"a\" }\n\n[port.c3]\nnetwork = \"a\"\n",
        )
        .send("c1", tagged(0x600a, &says(to_all(1), "under 11 and untagged")))
        .send("c2", tagged(0x200b, &says(from_to(2, 1), "under 10"))),
    ]
}

fn refused() -> Vec<Case> {
    let frame = says(from_to(1, 2), "tagged");
    vec![
        Case::new(
            "drop-admit-vlan-not-allowed",
            "A tag on an access port, a VLAN that the trunk does not carry, and the reserved VLAN 4095 are dropped.",
            TRUNK,
        )
        .send("c1", tagged(10, &frame))
        .send("c5", tagged(30, &frame))
        .send("c5", tagged(4095, &frame)),
        Case::new(
            "drop-admit-untagged-not-allowed",
            "Without a tag, or with a priority tag only, a trunk without a native network takes nothing.",
            TRUNK,
        )
        .send("c5", frame.clone())
        .send("c5", tagged(0x6000, &frame)),
        Case::new(
            "drop-admit-double-tag",
            "A second tag, whichever the first, and provider tags (802.1ad, and the older 0x9100) are dropped: VLAN \
             hopping does not work.",
            TRUNK,
        )
        .send("c5", tagged(10, &tagged(20, &frame)))
        .send("c5", tagged_as(0x88a8, 10, &frame))
        .send("c5", tagged(10, &tagged_as(0x88a8, 20, &frame)))
        .send("c1", tagged(0, &tagged(20, &frame)))
        .send("c1", tagged_as(0x9100, 10, &frame)),
        Case::new(
            "vlan-other-type-passes",
            "What looks like a tag behind another type is payload.",
            LAN,
        )
        .send("c1", ethernet(from_to(1, 2), EXPERIMENTAL, &[0x81, 0, 0, 10, 0x88, 0xa8])),
    ]
}
