//! The server, spoken to octet by octet.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tapestry::api::ErrorKind;
use tapestry::control::{Limits, claim};
use tapestry::events::{Event, EventKind};

use crate::fake::{World, station};

/// Short enough for a test to wait for.
const SOON: Limits =
    Limits { request_timeout: Duration::from_millis(50), body_max: 1 << 20, connections_max: 64 };

fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    // Only so that a broken server fails the test instead of hanging it.
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Status and body of the answer to one request; the status is 0 if there is no answer.
fn exchange(socket: &Path, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = connect(socket);
    let head =
        format!("{head} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    answer(stream)
}

fn answer(mut stream: UnixStream) -> (u16, String) {
    let mut octets = Vec::new();
    // A connection that is cut may end in an error; what came before it counts.
    drop(stream.read_to_end(&mut octets));
    let text = String::from_utf8(octets).unwrap();
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn error(body: &str) -> Value {
    serde_json::from_str::<Value>(body).unwrap()["error"].clone()
}

fn value(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[test]
fn every_verb_goes_there_and_back() {
    let world = World::new();
    let ask = |head: &str, body: &str| exchange(&world.socket, head, body.as_bytes());
    assert_eq!(value(&ask("GET /v1/status", "").1)["pid"], 7);

    for kind in ["networks", "ports"] {
        assert_eq!(ask(&format!("POST /v1/{kind}/x%20y"), r#"{"mtu": 9000}"#).0, 204);
        assert_eq!(ask(&format!("POST /v1/{kind}/x%20y"), "{}").0, 409);
        assert_eq!(value(&ask(&format!("GET /v1/{kind}/x%20y"), "").1)["spec"]["mtu"], 9000);
        assert_eq!(ask(&format!("PUT /v1/{kind}/x%20y"), r#"{"mtu": 1400}"#).0, 204);
        assert_eq!(value(&ask(&format!("GET /v1/{kind}"), "").1)[0]["spec"]["mtu"], 1400);
        assert_eq!(ask(&format!("DELETE /v1/{kind}/x%20y"), "").0, 204);
        for head in ["GET", "DELETE"] {
            assert_eq!(ask(&format!("{head} /v1/{kind}/x%20y"), "").0, 404);
        }
        assert_eq!(ask(&format!("PUT /v1/{kind}/x%20y"), "{}").0, 404);
        assert_eq!(value(&ask(&format!("GET /v1/{kind}"), "").1), json!([]));
    }

    let spec = r#"{"network": "a", "mac": "02:00:00:00:00:01", "port": "c1"}"#;
    assert_eq!(ask("POST /v1/stations", spec).0, 204);
    assert_eq!(value(&ask("GET /v1/stations?port=c1", "").1)[0]["kind"], "static");
    assert_eq!(value(&ask("GET /v1/stations?mac=02:00:00:00:00:02", "").1), json!([]));
    world.switch.stations.lock().unwrap().push(station("02:00:00:00:00:03", "c2"));
    assert_eq!(ask("POST /v1/stations/flush", r#"{"port": "c2"}"#).0, 204);
    assert_eq!(ask("DELETE /v1/stations/a/02:00:00:00:00:01", "").0, 204);
    assert_eq!(ask("DELETE /v1/stations/a/02:00:00:00:00:01", "").0, 404);
    assert_eq!(value(&ask("GET /v1/stations", "").1), json!([]));

    assert_eq!(value(&ask("GET /v1/drops", "").1)[0]["reason"], "admit.runt");
    assert_eq!(value(&ask("PUT /v1/config", "# as it is").1)["changes"][0], "+ network a");
    assert_eq!(ask("GET /v1/config", ""), (200, "# as it is".to_owned()));
}

#[test]
fn malformed_requests_are_told_why() {
    let world = World::new();
    let ask = |head: &str, body: &[u8]| exchange(&world.socket, head, body);
    let cases: [(&str, &[u8], u16, &str); 9] = [
        ("POST /v1/networks/a", b"{", 400, "EOF"),
        ("POST /v1/networks/a", b"{\"mtuu\": 1}", 400, "mtuu"),
        ("POST /v1/stations", b"{\"network\": \"a\", \"mac\": \"x\", \"port\": \"p\"}", 400, "x"),
        ("POST /v1/stations/flush", b"{\"mac\": \"x\"}", 400, "not a MAC address"),
        ("GET /v1/stations?colour=red", b"", 400, "colour"),
        ("DELETE /v1/stations/a/x", b"", 400, "not a MAC address"),
        ("PUT /v1/config", b"\xff", 400, "UTF-8"),
        ("GET /v2", b"", 404, "none of this name"),
        ("POST /v1/status", b"", 405, "method"),
    ];
    for (head, body, status, why) in cases {
        let (got, body) = ask(head, body);
        assert_eq!(got, status, "{head}: {body}");
        let said = error(&body);
        assert!(said["why"].as_str().unwrap().contains(why), "{head}: {said}");
        assert!(!said["what"].as_str().unwrap().is_empty(), "{head}: {said}");
    }
    let mut stream = connect(&world.socket);
    stream.write_all(b"\x16\x03\x01\x02\x00not HTTP at all\r\n\r\n").unwrap();
    assert_eq!(answer(stream).0, 400);
    assert_eq!(ask("GET /v1/status", b"").0, 200);
}

#[test]
fn a_huge_body_is_refused_and_the_answer_arrives() {
    let world = World::new();
    let (status, body) = exchange(&world.socket, "PUT /v1/config", &vec![b'#'; 3 << 20]);
    assert_eq!(status, 413);
    assert!(error(&body)["why"].as_str().unwrap().contains("1048576"), "{body}");
    assert_eq!(exchange(&world.socket, "PUT /v1/config", &vec![b'#'; 1 << 20]).0, 200);
}

#[test]
fn slow_requests_are_cut() {
    let world = World::with(SOON);
    let silent = connect(&world.socket);
    assert_eq!(answer(silent), (0, String::new()));
    let mut half_head = connect(&world.socket);
    half_head.write_all(b"GET /v1/status HTTP/1.1\r\nhos").unwrap();
    answer(half_head);
    let mut half_body = connect(&world.socket);
    half_body.write_all(b"PUT /v1/config HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nhalf").unwrap();
    assert_eq!(answer(half_body).0, 408);
    let mut idle = connect(&world.socket);
    idle.write_all(b"GET /v1/status HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert_eq!(answer(idle).0, 200, "and then the connection ends though nobody asked for it");
    assert!(world.switch.configuration.lock().unwrap().is_empty());
}

/// A client that asks for much and reads nothing loses its place.
#[test]
fn readers_that_do_not_read_are_cut() {
    let world = World::with(Limits { connections_max: 1, ..SOON });
    *world.switch.configuration.lock().unwrap() = "#".repeat(8 << 20);
    let mut lazy = connect(&world.socket);
    lazy.write_all(b"GET /v1/config HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    while exchange(&world.socket, "GET /v1/status", b"").0 != 200 {
        std::thread::yield_now();
    }
    let mut got = Vec::new();
    drop(lazy.read_to_end(&mut got));
    assert!(got.len() < 8 << 20);
}

#[test]
fn too_many_connections_are_refused_at_once() {
    let world = World::with(Limits { connections_max: 1, ..Limits::default() });
    let first = follow(&world.socket);
    let (status, body) = exchange(&world.socket, "GET /v1/status", b"");
    assert_eq!(status, 503);
    assert_eq!(error(&body)["kind"], "unavailable");
    drop(first);
    while exchange(&world.socket, "GET /v1/status", b"").0 != 200 {
        std::thread::yield_now();
    }
}

/// A stream of events whose answer has begun.
fn follow(socket: &Path) -> BufReader<UnixStream> {
    let mut stream = connect(socket);
    stream.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the head ends");
    }
    reader
}

#[test]
fn events_stream_until_the_server_stops() {
    let mut world = World::new();
    world.log.publish(Event::new(EventKind::DaemonReady, "past"));
    let reader = follow(&world.socket);
    world.log.publish(Event::new(EventKind::PortAdded, "future").port("c1"));
    let mut lines = reader.lines().map(Result::unwrap).filter(|line| line.starts_with('{'));
    assert_eq!(value(&lines.next().unwrap())["text"], "past");
    let future = value(&lines.next().unwrap());
    assert_eq!(
        (&future["kind"], &future["port"], &future["seq"]),
        (&json!("port.added"), &json!("c1"), &json!(2))
    );
    let (_, recent) = exchange(&world.socket, "GET /v1/events", b"");
    assert_eq!(recent.lines().count(), 2);
    world.log.publish(Event::new(EventKind::DaemonStopping, "the last one"));
    world.stop();
    assert_eq!(value(&lines.next().unwrap())["text"], "the last one", "what was published before is told");
    assert_eq!(lines.next(), None);
    assert!(std::fs::read_dir(world.directory.path()).unwrap().next().is_none(), "nothing is left behind");
}

#[test]
fn a_panic_costs_one_request() {
    let world = World::new();
    let (status, body) = exchange(&world.socket, "POST /v1/networks/panic", b"{}");
    assert_eq!(status, 500, "{body}");
    assert_eq!(exchange(&world.socket, "GET /v1/status", b"").0, 200);
}

#[test]
fn one_socket_has_one_daemon() {
    let world = World::new();
    assert_eq!(std::fs::metadata(&world.socket).unwrap().mode() & 0o7777, 0o660);
    let error = claim(&world.socket).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.why.contains("pid"), "{error}");
    assert_eq!(exchange(&world.socket, "GET /v1/status", b"").0, 200, "the first goes on");
}
