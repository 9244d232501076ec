//! A small switch for the unit tests of this crate.

use std::sync::Arc;

use config::{Compiled, Ids};
use node::{Event, Plan};
use wire::{Instant, PortId};

use crate::Driver;

/// Ports c1 and c2 (ids 0 and 1) in network `a`, c3 (id 2) in network `b`.
pub(crate) const TOML: &str = "[network.a]\nstations_max = 3\n\n[network.b]\n\n[port.c1]\nnetwork = \"a\"\n\n\
    [port.c2]\nnetwork = \"a\"\n\n[port.c3]\nnetwork = \"b\"\n";

pub(crate) fn compiled(toml: &str) -> Compiled {
    let config = config::check("test.toml", toml).unwrap();
    config::compile(&config, &mut Ids::default())
}

pub(crate) fn plan(toml: &str) -> Arc<Plan> {
    Arc::new(compiled(toml).plan)
}

pub(crate) fn driver() -> Driver {
    Driver::new(0, Instant::ZERO, plan(TOML))
}

/// A frame with these octets arrives.
pub(crate) fn arrives(driver: &mut Driver, at: Instant, port: u16, bytes: &[u8]) {
    let mut frame = driver.buffer();
    assert!(frame.fill(bytes));
    driver.handle(at, Event::Frame { port: PortId(port), frame });
}
