//! Round trips of small UDP requests: 64 octets of payload there and back, answered by an echo thread in `b`.
//!
//! Two ways of asking, because they show different things:
//! - *closed loop*: the next request leaves when the last is answered. Shows the path's own delay; hides stalls, since
//!   nothing is asked during one.
//! - *fixed rate*: requests leave by the clock, and each is timed from the moment it was *due*, however late it was
//!   sent. A stall of 1 ms at 5,000/s then counts five times, as five users would have felt it (no coordinated
//!   omission).
//!
//! Times go into a histogram of three significant digits.

use std::io;
use std::net::UdpSocket;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::Spans;
use crate::interrupt;
use crate::site::{Endpoint, Site};

/// Octets of UDP payload in a request and in its answer.
const REQUEST_LEN: usize = 64;
/// A request not answered by then is lost.
const LOST_AFTER: Duration = Duration::from_millis(200);
/// Longest time the histogram tells apart; more is recorded as this.
const TIME_MAX_NS: u64 = 10_000_000_000;

/// What the round trips were.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrips {
    /// Median, microseconds.
    pub p50: f64,
    /// 99th percentile, microseconds.
    pub p99: f64,
    /// 99.9th percentile, microseconds.
    pub p999: f64,
    /// Requests answered.
    pub answered: u64,
    /// Requests never answered.
    pub lost: u64,
}

impl RoundTrips {
    fn of(times_ns: &Histogram<u64>, lost: u64) -> io::Result<Self> {
        if times_ns.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "not one request was answered"));
        }
        let micros = |quantile| times_ns.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Self { p50: micros(0.5), p99: micros(0.99), p999: micros(0.999), answered: times_ns.len(), lost })
    }
}

/// Asks until `b` answers: the subject is up and has learned both stations.
///
/// # Errors
/// If there is no answer within [`Endpoint::PATIENCE`], or on interruption.
pub fn until_answered(site: &Site) -> io::Result<()> {
    let until = Instant::now() + Endpoint::PATIENCE;
    loop {
        // Addresses and routes may be missing for the moment, or frames lost while links come up.
        let refused = match answered_once(site) {
            Ok(true) => return Ok(()),
            Ok(false) => None,
            Err(error) => Some(error),
        };
        if Instant::now() > until {
            let silence = || io::Error::new(io::ErrorKind::TimedOut, "the endpoints cannot reach each other");
            return Err(refused.unwrap_or_else(silence));
        }
        interrupt::sleep(Duration::from_millis(5))?;
    }
}

fn answered_once(site: &Site) -> io::Result<bool> {
    let (_echo, client) = Echo::start(site)?;
    client.set_read_timeout(Some(Duration::from_millis(100)))?;
    ask(&client, 0)
}

/// One request at a time.
///
/// # Errors
/// If no request is answered, or on interruption.
pub fn closed_loop(site: &Site, spans: Spans) -> io::Result<RoundTrips> {
    let (_echo, client) = Echo::start(site)?;
    client.set_read_timeout(Some(LOST_AFTER))?;
    let (mut times, mut lost) = (histogram(), 0);
    let counts_from = Instant::now() + spans.warm_up;
    let ends_at = counts_from + spans.measured;
    for number in 0_u64.. {
        interrupt::check()?;
        let sent_at = Instant::now();
        if sent_at >= ends_at {
            break;
        }
        let answered = ask(&client, number)?;
        if sent_at < counts_from {
            continue;
        }
        if answered {
            times.saturating_record(nanoseconds(sent_at.elapsed()));
        } else {
            lost += 1;
        }
    }
    RoundTrips::of(&times, lost)
}

/// `rate` requests a second, each timed from when it was due.
///
/// # Errors
/// If no request is answered, or on interruption.
pub fn fixed_rate(site: &Site, rate: u32, spans: Spans) -> io::Result<RoundTrips> {
    let (_echo, client) = Echo::start(site)?;
    let period = Duration::from_secs(1) / rate;
    let first_counted = count_within(spans.warm_up, period);
    let count = first_counted + count_within(spans.measured, period);
    let began = Instant::now();
    let due = move |number: u64| began + period * u32::try_from(number).unwrap_or(u32::MAX);

    let reader = client.try_clone()?;
    let receiver = std::thread::spawn(move || receive_paced(&reader, first_counted, count, due));
    let sent = send_paced(&client, count, due);
    let times = receiver.join().expect("the receiver does not panic")?;
    sent?;
    RoundTrips::of(&times, (count - first_counted).saturating_sub(times.len()))
}

fn send_paced(client: &UdpSocket, count: u64, due: impl Fn(u64) -> Instant) -> io::Result<()> {
    // By default the kernel may wake a sleeper 50 µs late, to save wake-ups: as much as is being measured.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    for number in 0..count {
        interrupt::check()?;
        let wait = due(number).saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        client.send(&request(number))?;
    }
    Ok(())
}

fn receive_paced(
    client: &UdpSocket,
    first_counted: u64,
    count: u64,
    due: impl Fn(u64) -> Instant,
) -> io::Result<Histogram<u64>> {
    client.set_read_timeout(Some(LOST_AFTER))?;
    let mut times = histogram();
    let ends_at = due(count) + LOST_AFTER;
    let mut answer = [0; REQUEST_LEN];
    while Instant::now() < ends_at {
        match client.recv(&mut answer) {
            Ok(_) => {}
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error),
        }
        let number = number_of(&answer);
        if number >= first_counted {
            times.saturating_record(nanoseconds(due(number).elapsed()));
        }
        if number + 1 == count {
            break;
        }
    }
    Ok(times)
}

/// Sends request `number` and waits for its answer; `false` if there is none in time.
fn ask(client: &UdpSocket, number: u64) -> io::Result<bool> {
    client.send(&request(number))?;
    let mut answer = [0; REQUEST_LEN];
    loop {
        match client.recv(&mut answer) {
            Ok(_) if number_of(&answer) == number => return Ok(true),
            Ok(_) => {} // The late answer to a request given up on.
            Err(error) if is_timeout(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn request(number: u64) -> [u8; REQUEST_LEN] {
    let mut request = [0; REQUEST_LEN];
    request[..8].copy_from_slice(&number.to_be_bytes());
    request
}

fn number_of(answer: &[u8; REQUEST_LEN]) -> u64 {
    u64::from_be_bytes(*answer.first_chunk().expect("an answer is longer than its number"))
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, TIME_MAX_NS, 3).expect("the bounds are valid")
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn count_within(span: Duration, period: Duration) -> u64 {
    u64::try_from(span.as_nanos() / period.as_nanos().max(1)).unwrap_or(u64::MAX)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The thread in `b` that sends back what it gets; ends when dropped.
struct Echo {
    socket: UdpSocket,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts it, and makes the one socket in `a` that it answers: whom it hears first, whatever address that has
    /// become on its way.
    fn start(site: &Site) -> io::Result<(Self, UdpSocket)> {
        let socket = site.b.within(|| UdpSocket::bind((site.b.address, 0)))?;
        let client = site.a.within(|| UdpSocket::bind((site.a.address, 0)))?;
        client.connect(socket.local_addr()?)?;
        let server = socket.try_clone()?;
        let thread = std::thread::spawn(move || answer(&server));
        Ok((Self { socket, thread: Some(thread) }, client))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // A blocked receive then wakes and finds nothing (Linux, for UDP too).
        rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both).ok();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(server: &UdpSocket) {
    let mut request = [0; REQUEST_LEN];
    // Nobody, if the socket has been shut down meanwhile: then there is nothing to receive below either.
    if let Ok((_, client)) = server.peek_from(&mut request) {
        drop(server.connect(client));
    }
    loop {
        match server.recv(&mut request) {
            // Shut down: no request is empty.
            Ok(0) => return,
            // A lost answer is a lost request: the client counts it.
            Ok(len) => drop(server.send(&request[..len])),
            // What an earlier answer met (ICMP); a shut-down socket says it no more.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_out_in_microseconds() {
        let mut times = histogram();
        for micros in 1..=1000 {
            times.record(micros * 1000).unwrap();
        }
        let trips = RoundTrips::of(&times, 3).unwrap();
        for (found, expected) in [(trips.p50, 500.0), (trips.p99, 990.0), (trips.p999, 999.0)] {
            assert!((found - expected).abs() / expected < 0.002, "{found} is not {expected}");
        }
        assert_eq!((trips.answered, trips.lost), (1000, 3));
    }

    #[test]
    fn silence_is_an_error_not_a_zero() {
        assert!(RoundTrips::of(&histogram(), 10).is_err());
    }

    #[test]
    fn a_request_carries_its_number() {
        assert_eq!(number_of(&request(0x0123_4567_89ab_cdef)), 0x0123_4567_89ab_cdef);
    }

    #[test]
    fn a_span_holds_whole_periods() {
        assert_eq!(count_within(Duration::from_secs(2), Duration::from_micros(200)), 10_000);
        assert_eq!(count_within(Duration::from_micros(399), Duration::from_micros(200)), 1);
    }
}
