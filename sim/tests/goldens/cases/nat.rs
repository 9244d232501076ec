//! Translation: what the RFCs ask of a NAT, one behaviour a case, and what it refuses.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use sim::craft::{ICMP, UDP, echo_request, ip, udp, unfinish, virtio};
use wire::Offload;
use wire::offload::NEEDS_CSUM;

use super::routing::{
    A1, B2, FROM_A1, FROM_B2, FROM_UP, OUTSIDE, ROUTED, UPLINK, altered, introduced, says, segment,
};
use crate::case::Case;

const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const SYN: u8 = 2;
const SYN_ACK: u8 = 18;
const ACK: u8 = 16;
const RST: u8 = 4;

/// Both networks hide behind the uplink.
fn masquerade() -> String {
    ROUTED.replace("advertise = false\n", "advertise = false\nmasquerade = true\n")
}

fn with(more: &str) -> String {
    format!("{}\n{more}\n", masquerade())
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = mappings();
    cases.extend(tcp());
    cases.extend(icmp());
    cases.extend(published());
    cases.extend(refused());
    cases
}

fn mappings() -> Vec<Case> {
    vec![
        introduced(
            "nat-endpoint-independent-mapping",
            "One inside endpoint has one outside L4 port, its own where that is free, whoever it talks to \
             (RFC 4787 REQ-1, REQ-3).",
            masquerade(),
        )
        .send("a1", says(FROM_A1, (A1, 5000), (OUTSIDE, 53)))
        .send("a1", says(FROM_A1, (A1, 5000), (OTHER, 54)))
        .send("uplink", says(FROM_UP, (OUTSIDE, 53), (UPLINK, 5000)))
        .send("uplink", says(FROM_UP, (OTHER, 54), (UPLINK, 5000))),
        introduced(
            "nat-two-stations-one-l4-port",
            "Two stations with one L4 port get two outside; each hears its own answers (RFC 4787 REQ-3).",
            masquerade(),
        )
        .send("a1", says(FROM_A1, (A1, 5000), (OUTSIDE, 53)))
        .send("b2", says(FROM_B2, (B2, 5000), (OUTSIDE, 53)))
        .send("uplink", says(FROM_UP, (OUTSIDE, 53), (UPLINK, 5000))),
        introduced(
            "nat-filtering-by-address-and-port",
            "By default only who was talked to is heard, from the L4 port it was talked to at (RFC 4787 REQ-8).",
            masquerade(),
        )
        .send("a1", says(FROM_A1, (A1, 5000), (OUTSIDE, 53)))
        .send("uplink", says(FROM_UP, (OUTSIDE, 54), (UPLINK, 5000)))
        .send("uplink", says(FROM_UP, (OTHER, 53), (UPLINK, 5000))),
        introduced(
            "nat-filtering-by-address",
            "With address-dependent filtering an address that was talked to is heard from any L4 port (RFC 4787 REQ-8).",
            with("[nat]\nfiltering = \"address-dependent\""),
        )
        .send("a1", says(FROM_A1, (A1, 5000), (OUTSIDE, 53)))
        .send("uplink", says(FROM_UP, (OUTSIDE, 54), (UPLINK, 5000)))
        .send("uplink", says(FROM_UP, (OTHER, 53), (UPLINK, 5000))),
        introduced(
            "nat-filtering-endpoint-independent",
            "With endpoint-independent filtering everybody is heard at a mapped L4 port (RFC 4787 REQ-8).",
            with("[nat]\nfiltering = \"endpoint-independent\""),
        )
        .send("a1", says(FROM_A1, (A1, 5000), (OUTSIDE, 53)))
        .send("uplink", says(FROM_UP, (OTHER, 99), (UPLINK, 5000))),
        introduced(
            "nat-udp-timeout",
            "A UDP mapping that was answered lives for five minutes of silence (RFC 4787 REQ-5), and no longer.",
            masquerade(),
        )
        .send("a1", says(FROM_A1, (A1, 5000), (OUTSIDE, 53)))
        .send("uplink", says(FROM_UP, (OUTSIDE, 53), (UPLINK, 5000)))
        .wait(Duration::from_secs(290))
        .send("uplink", says(FROM_UP, (OUTSIDE, 53), (UPLINK, 5000)))
        .wait(Duration::from_secs(320))
        .send("uplink", says(FROM_UP, (OUTSIDE, 53), (UPLINK, 5000))),
        introduced(
            "nat-unfinished-checksum",
            "A checksum that the station's device left to us stays left: its field holds the new pseudo-header's sum.",
            masquerade(),
        )
        .send_virtio("a1", unfinished().0, &unfinished().1),
    ]
}

/// A UDP packet outwards whose checksum is not computed yet.
fn unfinished() -> ([u8; 24], Vec<u8>) {
    let (from, to) = ((IpAddr::from(A1), 5000), (IpAddr::from(OUTSIDE), 53));
    let mut frame = ip(FROM_A1, from.0, to.0, UDP, &udp(from, to, b"hello"));
    let (csum_start, csum_offset) = unfinish(&mut frame, from.0, to.0, UDP);
    (virtio(Offload { flags: NEEDS_CSUM, csum_start, csum_offset, ..Offload::NONE }), frame)
}

fn tcp() -> Vec<Case> {
    let inside = (A1, 5000);
    let server = (OUTSIDE, 80);
    let mapped = (UPLINK, 5000);
    vec![
        introduced(
            "nat-tcp-established",
            "An established connection outlives two hours of silence (RFC 5382 REQ-5).",
            masquerade(),
        )
        .send("a1", segment(FROM_A1, inside, server, SYN))
        .send("uplink", segment(FROM_UP, server, mapped, SYN_ACK))
        .send("a1", segment(FROM_A1, inside, server, ACK))
        .wait(Duration::from_secs(7_400))
        .send("uplink", segment(FROM_UP, server, mapped, ACK)),
        introduced(
            "nat-tcp-half-open",
            "An unanswered SYN is forgotten after four minutes (RFC 5382 REQ-5).",
            masquerade(),
        )
        .send("a1", segment(FROM_A1, inside, server, SYN))
        .wait(Duration::from_secs(260))
        .send("uplink", segment(FROM_UP, server, mapped, SYN_ACK)),
        introduced(
            "nat-tcp-reset",
            "An RST that may be forged does not end a connection at once: data that follows goes on (RFC 7857 §2.2).",
            masquerade(),
        )
        .send("a1", segment(FROM_A1, inside, server, SYN))
        .send("uplink", segment(FROM_UP, server, mapped, SYN_ACK))
        .send("a1", segment(FROM_A1, inside, server, ACK))
        .send("uplink", segment(FROM_UP, server, mapped, RST))
        .send("a1", segment(FROM_A1, inside, server, ACK))
        .send("uplink", segment(FROM_UP, server, mapped, ACK)),
        introduced(
            "nat-tcp-picked-up",
            "A connection older than the switch is taken up from inside, never from outside.",
            masquerade(),
        )
        .send("uplink", segment(FROM_UP, server, mapped, ACK))
        .send("a1", segment(FROM_A1, inside, server, ACK))
        .send("uplink", segment(FROM_UP, server, mapped, ACK)),
    ]
}

fn icmp() -> Vec<Case> {
    let quote = altered(says(FROM_UP, (UPLINK, 5000), (OUTSIDE, 53)), &[(8, 1)])[14..].to_vec();
    let error = [&[11, 0, 0, 0, 0, 0, 0, 0][..], &quote].concat();
    vec![
        introduced(
            "nat-echo",
            "Pings are told apart by their identifier and answered to who asked (RFC 5508 REQ-1).",
            masquerade(),
        )
        .send("a1", ip(FROM_A1, A1.into(), OUTSIDE.into(), ICMP, &echo_request(A1.into(), OUTSIDE.into(), b"ping")))
        .send("uplink", ip(FROM_UP, OUTSIDE.into(), UPLINK.into(), ICMP, &reply())),
        introduced(
            "nat-icmp-error",
            "An ICMP error about a translated packet reaches who sent it, and quotes what that sent (RFC 5508 REQ-3, REQ-4).",
            masquerade(),
        )
        .send("a1", says(FROM_A1, (A1, 5000), (OUTSIDE, 53)))
        .send("uplink", ip(FROM_UP, OTHER.into(), UPLINK.into(), ICMP, &sealed(error))),
    ]
}

/// The answer to [`echo_request`] with the data "ping".
fn reply() -> Vec<u8> {
    let mut message = echo_request(OUTSIDE.into(), UPLINK.into(), b"ping");
    message[0] = 0;
    sealed(message)
}

/// An ICMP message with the checksum that its other octets ask for.
fn sealed(mut message: Vec<u8>) -> Vec<u8> {
    message[2..4].fill(0);
    let words = message.chunks(2);
    let sum: u32 =
        words.map(|word| u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).expect("two folds leave 16 bits");
    message[2..4].copy_from_slice(&(!sum).to_be_bytes());
    message
}

fn published() -> Vec<Case> {
    let publish = with("[[publish]]\nlisten = \"0.0.0.0:8000-8009\"\nto = \"b2:80-89\"")
        .replace("[port.b2]\n", "[port.b2]\naddress = [\"10.0.1.2/24\"]\n");
    let web = (B2, 83);
    vec![
        introduced(
            "publish",
            "What is published is reached from outside with the source kept, from another network at any address of the \
             router, and from its own network, which sees the gateway (RFC 4787 REQ-9).",
            publish.clone(),
        )
        .send("uplink", segment(FROM_UP, (OUTSIDE, 4000), (UPLINK, 8003), SYN))
        .send("b2", segment(FROM_B2, web, (OUTSIDE, 4000), SYN_ACK))
        .send("a1", segment(FROM_A1, (A1, 4000), (Ipv4Addr::new(10, 0, 0, 254), 8003), SYN))
        .send("b2", segment(FROM_B2, web, (A1, 4000), SYN_ACK))
        .send("b2", segment(FROM_B2, (B2, 4000), (UPLINK, 8003), SYN))
        .send("b2", segment(FROM_B2, web, (Ipv4Addr::new(10, 0, 1, 254), 4000), SYN_ACK))
        .send("uplink", segment(FROM_UP, (OUTSIDE, 4001), (UPLINK, 8010), SYN)),
        introduced(
            "one-to-one",
            "An outside address that is one station's as a whole: both ways, L4 ports kept.",
            with("[[one_to_one]]\noutside = \"192.0.2.8\"\ninside = \"10.0.0.1\"")
                .replace("[\"192.0.2.7/24\"]", "[\"192.0.2.7/24\", \"192.0.2.8/24\"]"),
        )
        .send("uplink", segment(FROM_UP, (OUTSIDE, 4000), (Ipv4Addr::new(192, 0, 2, 8), 22), SYN))
        .send("a1", segment(FROM_A1, (A1, 22), (OUTSIDE, 4000), SYN_ACK))
        .send("a1", says(FROM_A1, (A1, 5000), (OUTSIDE, 53))),
    ]
}

fn refused() -> Vec<Case> {
    let quote = says(FROM_UP, (UPLINK, 5001), (OUTSIDE, 53))[14..].to_vec();
    let lie = sealed([&[3, 3, 0, 0, 0, 0, 0, 0][..], &quote].concat());
    let cut = sealed([&[3, 3, 0, 0, 0, 0, 0, 0][..], &quote[..20]].concat());
    vec![
        introduced(
            "drop-route-bad-quote",
            "An ICMP error from outside about a packet that nobody sent goes nowhere (RFC 5508 §7.1).",
            masquerade(),
        )
        .send("a1", says(FROM_A1, (A1, 5000), (OUTSIDE, 53)))
        .send("uplink", ip(FROM_UP, OUTSIDE.into(), UPLINK.into(), ICMP, &lie))
        .send("uplink", ip(FROM_UP, OUTSIDE.into(), UPLINK.into(), ICMP, &cut)),
        introduced(
            "drop-route-nat-protocol",
            "A protocol without L4 ports cannot hide behind an address of many.",
            masquerade(),
        )
        .send("a1", ip(FROM_A1, A1.into(), OUTSIDE.into(), 47, &[0; 8])),
        introduced(
            "drop-route-sessions-max",
            "In a full table a connection that goes on after an answer yields to nobody.",
            with("[nat]\nsessions_max = 1"),
        )
        .send("a1", says(FROM_A1, (A1, 5000), (OUTSIDE, 53)))
        .send("uplink", says(FROM_UP, (OUTSIDE, 53), (UPLINK, 5000)))
        .send("a1", says(FROM_A1, (A1, 5000), (OUTSIDE, 53)))
        .send("a1", says(FROM_A1, (A1, 5001), (OUTSIDE, 53))),
    ]
}
