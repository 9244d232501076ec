//! Overlays: a subnet for each host, routed through a tunnel or past it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sim::craft::{Addresses, TCP, UDP, arp_question, icmpv6, ip, neighbour, station, tcp, udp};
use wire::Mac;

use super::offload::segments;
use super::routing::says;
use crate::case::Case;

/// This host's pod network, of which station 1 is a pod, and two other hosts.
fn hosts(backend: &str, more: &str) -> String {
    format!(
        r#"[network.pod]
subnet = ["10.244.1.0/24"]
gateway = ["10.244.1.254"]
masquerade = true
mtu = 1450

[port.p]
network = "pod"
mac = "02:00:00:00:00:01"

[overlay]
backend = "{backend}"
local = "192.168.77.1"
mac = "0e:2a:00:00:00:01"
network = "pod"
{more}
[[overlay.peer]]
subnet = "10.244.2.0/24"
endpoint = "192.168.77.2"
mac = "0e:2a:00:00:00:02"

[[overlay.peer]]
subnet = "10.244.3.0/24"
endpoint = "192.168.77.3"
mac = "0e:2a:00:00:00:03"
"#
    )
}

const UPLINK: &str = r#"
[uplink]
kind = "nic"
ifname = "eth0"
address = ["192.168.77.1/24"]
gateway = ["192.168.77.254"]
"#;

/// Hosts that are joined by IPv6 and whose pods speak it.
const SIX: &str = r#"[network.pod]
subnet = ["fd01::/64"]
gateway = ["fd01::fe"]
advertise = false

[port.p]
network = "pod"
mac = "02:00:00:00:00:01"

[overlay]
backend = "vxlan"
local = "2001:db8::1"
mac = "0e:2a:00:00:00:01"
network = "pod"

[[overlay.peer]]
subnet = "fd02::/64"
endpoint = "2001:db8::2"
mac = "0e:2a:00:00:00:02"
"#;

const HOST_2: &str = "overlay.192.168.77.2";
const P: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 254);
const FROM_P: Addresses = (Mac([2, 0x42, 10, 244, 1, 254]), station(1));
/// A pod of host 2, and one of host 3.
const POD_2: Ipv4Addr = Ipv4Addr::new(10, 244, 2, 9);
const POD_3: Ipv4Addr = Ipv4Addr::new(10, 244, 3, 9);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
/// From host 2's tunnel end to ours.
const FROM_HOST_2: Addresses = (end(1), end(2));

const fn end(number: u8) -> Mac {
    Mac([0x0e, 0x2a, 0, 0, 0, number])
}

fn vxlan(frame: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0, 0, 0, 1, 0][..], frame].concat()
}

fn from_pod_2(dst: Ipv4Addr) -> Vec<u8> {
    says(FROM_HOST_2, (POD_2, 5), (dst, 7))
}

/// The pod asks for its gateway's MAC address, which makes it known.
fn with_pod(name: &'static str, shows: &'static str, toml: impl Into<String>) -> Case {
    Case::new(name, shows, toml).send("p", arp_question((station(1), P), GATEWAY))
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = tunnelled();
    cases.extend(sized());
    cases.extend(direct());
    cases.extend(refused());
    cases
}

fn tunnelled() -> Vec<Case> {
    let (p, pod) = (Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 9));
    let gateway = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0xfe);
    let asks = icmpv6(p.into(), gateway.into(), &neighbour(135, gateway, station(1)));
    let all_routers = Mac([0x33, 0x33, 0xff, 0, 0, 0xfe]);
    let six = (IpAddr::from(pod), IpAddr::from(p));
    vec![
        with_pod(
            "overlay-vxlan",
            "Pods of two hosts talk through VXLAN: tunnel ends' MAC addresses inside, one hop less at each router, nobody \
             translated although the network masquerades, no question asked.",
            hosts("vxlan", ""),
        )
        .send("p", says(FROM_P, (P, 5), (POD_2, 7)))
        .send("p", says(FROM_P, (P, 5), (POD_3, 7)))
        .send(HOST_2, vxlan(&from_pod_2(P))),
        with_pod(
            "overlay-udp",
            "The same by flannel's UDP format: bare packets in both directions.",
            hosts("udp", ""),
        )
        .send("p", says(FROM_P, (P, 5), (POD_2, 7)))
        .send(HOST_2, &from_pod_2(P)[14..]),
        Case::new("overlay-ipv6", "IPv6 inside, and outside.", SIX)
            .send("p", ip((all_routers, station(1)), p.into(), gateway.into(), 58, &asks))
            .send(
                "overlay.2001:db8::2",
                vxlan(&ip(FROM_HOST_2, six.0, six.1, UDP, &udp((six.0, 5), (six.1, 7), b"hello"))),
            ),
    ]
}

fn sized() -> Vec<Case> {
    let ends = [IpAddr::from(P), IpAddr::from(POD_2)];
    let mut tso = segments(ends, TCP, 3_000, 1_200);
    tso.1[..12].copy_from_slice(&[FROM_P.0.0, FROM_P.1.0].concat());
    let long = |len: usize| {
        let (from, to) = ((IpAddr::from(P), 5), (IpAddr::from(POD_2), 7));
        ip(FROM_P, from.0, to.0, UDP, &udp(from, to, &vec![0x77; len - 28]))
    };
    let narrow = || hosts("vxlan", "underlay_mtu = 1400\n");
    vec![
        with_pod(
            "overlay-too-big",
            "A packet that does not fit a datagram of the underlay (1,400 octets less 50) is reported to its sender with \
             the tunnel's MTU; one that just fits passes.",
            narrow(),
        )
        .send("p", long(1_350))
        .send("p", long(1_351)),
        with_pod(
            "overlay-mss-clamp",
            "A SYN that goes through the tunnel asks for segments that fit it (RFC 4459 §3.2).",
            narrow(),
        )
        .send("p", syn()),
        with_pod(
            "overlay-cuts-super-segments",
            "A super-segment is routed whole and cut for the tunnel.",
            hosts("vxlan", ""),
        )
        .send_virtio("p", tso.0, &tso.1),
    ]
}

/// A SYN with an MSS option of 1,460: what stands behind a header of 20 octets becomes part of it.
fn syn() -> Vec<u8> {
    let (from, to) = ((IpAddr::from(P), 5), (IpAddr::from(POD_2), 7));
    let mut frame = ip(FROM_P, from.0, to.0, TCP, &tcp(from, to, &[2, 4, 0x05, 0xb4]));
    let (old, new) = (0x5010_u16, 0x6002_u16);
    frame[46..48].copy_from_slice(&new.to_be_bytes());
    let checksum = u16::from_be_bytes([frame[50], frame[51]]);
    // RFC 1624 equation 3.
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).expect("two folds leave 16 bits");
    frame[50..52].copy_from_slice(&(!sum).to_be_bytes());
    frame
}

fn direct() -> Vec<Case> {
    let near_2 = (Mac([2, 0x42, 192, 168, 77, 1]), station(2));
    let asks = arp_question((station(2), Ipv4Addr::new(192, 168, 77, 2)), Ipv4Addr::new(192, 168, 77, 1));
    let passes = |case: Case| {
        case.send("uplink", asks.clone())
            .send("p", says(FROM_P, (P, 5), (POD_2, 7)))
            .send("uplink", says(near_2, (POD_2, 9), (P, 9)))
            .send("uplink", says(near_2, (OUTSIDE, 9), (P, 9)))
    };
    vec![
        passes(with_pod(
            "overlay-host-gw",
            "Hosts that are neighbours on the uplink are next hops there: untranslated both ways and unasked, while strangers \
             stay outside.",
            hosts("host-gw", "") + UPLINK,
        )),
        passes(with_pod(
            "overlay-direct-routing",
            "The same for neighbours of an overlay of tunnels with `direct_routing`.",
            hosts("vxlan", "direct_routing = true\n") + UPLINK,
        )),
    ]
}

fn refused() -> Vec<Case> {
    let mut strange = from_pod_2(P);
    strange[..6].copy_from_slice(&end(9).0);
    let mut liar = from_pod_2(P);
    liar[6..12].copy_from_slice(&end(3).0);
    let six = ["fd01::1", "2001:db8::2"].map(|text| text.parse::<IpAddr>().expect("it is an address"));
    let mut asks = arp_question((end(2), POD_2), P);
    asks[..6].copy_from_slice(&end(1).0);
    let case = |name, shows| with_pod(name, shows, hosts("vxlan", ""));
    vec![
        case(
            "drop-admit-inner-source",
            "What host 2 sends has to come from host 2's subnet, by either backend.",
        )
        .send(HOST_2, vxlan(&says(FROM_HOST_2, (POD_3, 5), (P, 7))))
        .send(HOST_2, vxlan(&asks)),
        case("drop-admit-inner-mac", "A frame inside the tunnel has to be for our tunnel end.")
            .send(HOST_2, vxlan(&strange))
            .send(HOST_2, vxlan(&arp_question((end(2), POD_2), P))),
        Case::new(
            "overlay-ipv6-tunnel-injection",
            "A pod's datagram to the IPv6 tunnel end of another host is refused.",
            SIX,
        )
        .send("p", ip(FROM_P, six[0], six[1], UDP, &udp((six[0], 5), (six[1], 8472), b"as if"))),
        case("overlay-spoofed-mac", "And it has to be from the tunnel end that has sent it.")
            .send(HOST_2, vxlan(&liar)),
        case(
            "drop-route-overlay-transit",
            "Nobody is reached through us but our own pods: neither another host's pods nor the outside. The sender is \
             told.",
        )
        .send(HOST_2, vxlan(&from_pod_2(POD_3))),
    ]
}
