//! The clock and the drain.

use std::convert::Infallible;

use wire::DropReason;

use super::*;
use crate::craft::{says, station};
use crate::testing::{TOML, arrives, driver, plan};

/// What has left: time in nanoseconds and port, or that it was a notice.
fn drained(driver: &mut Driver) -> Vec<(u64, Option<u16>)> {
    let mut left = Vec::new();
    let outcome: Result<(), Infallible> = driver.drain(|at, departure| {
        left.push(match departure {
            Departure::Frame { port, .. } => (at.as_nanos(), Some(port.0)),
            Departure::Notice(_) => (at.as_nanos(), None),
        });
        Ok(())
    });
    assert_eq!(outcome, Ok(()));
    left
}

#[test]
fn what_leaves_has_the_time_of_its_event_whenever_it_is_drained() {
    let frame = says((station(2), station(1)), "hello");
    let (mut often, mut once) = (driver(), driver());
    let mut left = Vec::new();
    for at in [5, 6, 7] {
        arrives(&mut often, Instant::from_nanos(at), 0, &frame);
        left.extend(drained(&mut often));
        arrives(&mut once, Instant::from_nanos(at), 0, &frame);
    }
    assert_eq!(left, [(5, Some(1)), (5, None), (6, Some(1)), (7, Some(1))]);
    assert_eq!(drained(&mut once), left);
    assert!(drained(&mut once).is_empty());
}

#[test]
fn the_node_is_woken_at_its_deadlines_and_not_before() {
    let mut driver = driver();
    arrives(&mut driver, Instant::from_secs(1), 0, &says((station(2), station(1)), "hello"));
    let (deadline, _) = driver.node().next_deadline().expect("the station will age");
    driver.advance(Instant::from_nanos(deadline.as_nanos() - 1));
    assert_eq!(driver.counters().stations_aged, 0);
    driver.advance(deadline);
    assert_eq!(driver.counters().stations_aged, 1);
    assert_eq!(driver.now(), deadline);
}

#[test]
fn a_frame_of_a_port_that_has_just_gone_is_dropped() {
    let mut driver = driver();
    driver.handle(Instant::ZERO, Event::Configure(plan(&TOML.replace("[port.c3]\nnetwork = \"b\"\n", ""))));
    arrives(&mut driver, Instant::ZERO, 2, &says((station(2), station(1)), "too late"));
    assert_eq!(driver.counters().drops()[DropReason::NoPort.index()], 1);
    assert!(drained(&mut driver).is_empty());
}

#[test]
fn the_end_of_time_comes_once() {
    let mut driver = driver();
    for _ in 0..2 {
        arrives(&mut driver, END_OF_TIME, 0, &says((station(2), station(1)), "at last"));
    }
    assert_eq!(driver.counters().forwarded, 2);
}
