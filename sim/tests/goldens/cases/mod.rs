//! The tables, a file for each room's matters. Stations are numbered like the ports they live behind.

mod admit;
mod guard;
mod nat;
mod offload;
mod overlay;
mod route;
mod routing;
mod station;
mod storm;
mod switch;
mod tunnel;
mod vlan;

use sim::craft::{Addresses, station};
use wire::Mac;

use crate::case::Case;

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    let rooms: [fn() -> Vec<Case>; 12] = [
        admit::cases,
        vlan::cases,
        guard::cases,
        storm::cases,
        station::cases,
        route::cases,
        routing::cases,
        nat::cases,
        switch::cases,
        offload::cases,
        tunnel::cases,
        overlay::cases,
    ];
    rooms.iter().flat_map(|cases| cases()).collect()
}

/// Three ports of one network.
const LAN: &str = r#"[network.lan]

[port.c1]
network = "lan"

[port.c2]
network = "lan"

[port.c3]
network = "lan"
"#;

/// Destination and source: from station `src` to station `dst`.
fn from_to(src: u8, dst: u8) -> Addresses {
    (station(dst), station(src))
}

/// From station `src` to everybody.
fn to_all(src: u8) -> Addresses {
    (Mac::BROADCAST, station(src))
}
