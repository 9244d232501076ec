//! Forwarding and delivery between ordinary ports.

use sim::craft::{ethernet, says};

use super::{LAN, from_to, to_all};
use crate::case::Case;

/// Two isolated ports, and one that is open.
const ISOLATED: &str = r#"[network.lan]
icc = false

[port.c1]
network = "lan"

[port.c2]
network = "lan"

[port.c3]
network = "lan"
isolated = false
"#;

pub(crate) fn cases() -> Vec<Case> {
    let of = |len: usize| ethernet(from_to(1, 2), 0x88b5, &vec![0x11; len]);
    let isolated_alone = ISOLATED.replace("isolated = false\n", "");
    vec![
        Case::new(
            "drop-forward-same-port",
            "Two stations behind one port hear each other without us: a frame between them goes no further.",
            LAN,
        )
        .send("c1", says(to_all(1), "here I am"))
        .send("c1", says(from_to(4, 1), "my neighbour behind c1")),
        Case::new(
            "drop-forward-isolated",
            "With `icc = false` neither a frame to a known station nor a flooded one passes between two ports of the \
             network.",
            isolated_alone,
        )
        .send("c1", says(to_all(1), "does anybody hear me?"))
        .send("c2", says(from_to(2, 1), "I do not")),
        Case::new(
            "isolated-and-open",
            "Isolated ports reach an open one and are reached by it, with broadcasts and with frames to one station.",
            ISOLATED,
        )
        .send("c1", says(to_all(1), "c3 hears me"))
        .send("c3", says(to_all(3), "c1 and c2 hear me"))
        .send("c3", says(from_to(3, 1), "to c1"))
        .send("c2", says(from_to(2, 1), "not to c1")),
        Case::new(
            "drop-forward-no-receiver",
            "In a network of one port there is nobody to flood to.",
            "[network.lan]\n\n[port.c1]\nnetwork = \"lan\"\n",
        )
        .send("c1", says(to_all(1), "hello?"))
        .send("c1", says(from_to(1, 2), "anybody?")),
        Case::new(
            "drop-deliver-over-mtu",
            "A frame that c1 may send and c2 cannot take is dropped there; flooded, it still reaches c3, and is counted \
             as dropped at c2.",
            LAN.replace("[network.lan]\n", "[network.lan]\nmtu = 9000\n")
                .replace("[port.c2]\n", "[port.c2]\nmtu = 1500\n"),
        )
        .send("c1", of(1501))
        .send("c2", says(from_to(2, 1), "here I am"))
        .send("c1", of(1501))
        .send("c1", of(1500)),
    ]
}
