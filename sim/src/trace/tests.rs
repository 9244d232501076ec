//! One switch, asked about packets of every fate.

use super::*;

const TOML: &str = "\
[network.a]
subnet = [\"10.0.0.0/24\", \"fd00::/64\"]
gateway = [\"10.0.0.1\", \"fd00::1\"]
masquerade = true

[network.b]
subnet = [\"10.1.0.0/24\"]
gateway = [\"10.1.0.1\"]
internal = true

[port.c1]
network = \"a\"
address = [\"10.0.0.2/24\", \"fd00::2/64\"]
guard = [\"mac\"]

[port.c2]
network = \"a\"
address = [\"10.0.0.3/24\"]

[port.c3]
network = \"b\"
address = [\"10.1.0.2/24\"]

[uplink]
kind = \"nic\"
ifname = \"eth0\"
address = [\"192.0.2.7/24\"]
gateway = [\"192.0.2.1\"]

[[publish]]
listen = \"0.0.0.0:8080\"
proto = \"tcp\"
to = \"c1:80\"

[[acl]]
action = \"deny\"
from = \"network:a\"
to = \"network:b\"
proto = \"udp\"
";

/// What the switch of [`TOML`] says about a packet: a line for each decision, and the verdict.
fn ask(port: &str, packet: &str, both: bool) -> Vec<Explained> {
    ask_of(TOML, port, packet, both)
}

fn ask_of(text: &str, port: &str, packet: &str, both: bool) -> Vec<Explained> {
    let config = config::check("t.toml", text).unwrap();
    let compiled = config::compile(&config, &mut config::Ids::default());
    let lines = Lines::of(text);
    let scene = Scene { config: &config, compiled: &compiled, name: "t.toml", lines: &lines };
    let node = scene.warm(Instant::from_secs(1));
    let question = Question { port: port.to_owned(), packet: Some(packet.to_owned()), frame: None, both };
    scene.ask(&node, Instant::from_secs(2), &question).unwrap()
}

/// The verdict, the port that the first frame leaves through, and every cited line.
fn told(port: &str, packet: &str) -> (String, Option<String>, Vec<String>) {
    let explained = ask(port, packet, false).remove(0);
    let verdict = explained.reason.unwrap_or_else(|| explained.verdict.as_str().to_owned());
    let cited = explained.steps.iter().filter_map(|line| line.source.clone());
    (verdict, explained.leaves.first().map(|leaving| leaving.port.clone()), cited.collect())
}

#[test]
fn each_decision_names_its_line() {
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    for (port, packet, verdict, leaves, cited) in [
        ("c1", "tcp 10.0.0.2:1 > 10.0.0.3:2", "FORWARD", Some("c2"), &[11, 16][..]),
        ("c1", "tcp 10.0.0.2:1 > 10.1.0.2:2", "FORWARD", Some("c3"), &[11, 7, 1, 20]),
        ("c1", "udp 10.0.0.2:1 > 10.1.0.2:2", "route.acl-denied", Some("c1"), &[11, 7, 1, 35, 35, 11]),
        ("c1", "tcp 10.0.0.2:1 > 198.51.100.1:2", "FORWARD", Some("uplink"), &[11, 28, 1, 4, 24]),
        ("c3", "tcp 10.1.0.2:1 > 198.51.100.1:2", "route.internal", Some("c3"), &[20, 28, 6, 9, 20]),
        ("c1", "tcp 10.0.0.2:1 > 10.0.0.3:2 src=02:00:00:00:00:09", "admit.spoofed-mac", None, &[14]),
        ("uplink", "tcp 198.51.100.1:1 > 192.0.2.7:8080", "FORWARD", Some("c1"), &[24, 30, 2, 24, 30, 11]),
        ("uplink", "tcp 198.51.100.1:1 > 192.0.2.7:22", "route.unsolicited", None, &[24, 24]),
        ("c1", "icmp 10.0.0.2 > 10.0.0.1", "CONSUME", Some("c1"), &[11, 11]),
        ("c1", "icmp fd00::2 > fd00::1", "CONSUME", Some("c1"), &[11, 11]),
        ("c1", "tcp 10.0.0.2:1 > 10.1.0.9:2", "PARK", Some("c3"), &[11, 7, 1, 20]),
        ("c1", "icmp 10.0.0.2 > 10.1.0.2 ttl=1", "route.ttl-expired", Some("c1"), &[11, 7, 1, 11]),
    ] {
        let cited: Vec<String> = cited.iter().map(|line| format!("t.toml:{line}")).collect();
        expected.push((packet, (verdict.to_owned(), leaves.map(str::to_owned), cited)));
        found.push((packet, told(port, packet)));
    }
    assert_eq!(found, expected, "found: {found:#?}");
}

#[test]
fn the_answer_is_followed_through_the_translation() {
    let both = ask("c1", "tcp 10.0.0.2:4000 > 198.51.100.1:443", true);
    let [there, back] = &both[..] else { panic!("{both:#?}") };
    assert!(there.leaves[0].packet.contains("192.0.2.7 > 198.51.100.1, TCP 4000 > 443"), "{there:#?}");
    assert_eq!((back.port.as_str(), back.verdict), ("uplink", Verdict::Forward), "{back:#?}");
    assert!(back.leaves[0].packet.contains("198.51.100.1 > 10.0.0.2, TCP 443 > 4000"), "{back:#?}");
    assert!(back.steps.iter().any(|line| line.text.contains("belongs to connection")), "{back:#?}");
    let waits = ask("c1", "tcp 10.0.0.2:1 > 10.1.0.9:2", true);
    assert_eq!((waits.len(), waits[0].verdict), (1, Verdict::Park), "what waits has no answer");
    let said = &waits[0].steps.last().unwrap().text;
    assert_eq!(said, "no answer can be followed: the packet waits for 10.1.0.9's MAC address");
}

#[test]
fn a_connection_outlives_the_widening_of_the_run_that_it_was_published_by() {
    let (mut ids, now) = (config::Ids::default(), Instant::from_secs(1));
    let compiled = |text: &str, ids: &mut config::Ids| {
        let config = config::check("t.toml", text).unwrap();
        let compiled = config::compile(&config, ids);
        (config, compiled, Lines::of(text))
    };
    fn scene((config, compiled, lines): &(Config, Compiled, Lines)) -> Scene<'_> {
        Scene { config, compiled, name: "t.toml", lines }
    }
    let before = compiled(TOML, &mut ids);
    let mut node = scene(&before).warm(now);
    let mut out = Outbox::default();
    let question = Question {
        port: "uplink".to_owned(),
        packet: Some("tcp 198.51.100.1:4000 > 192.0.2.7:8080".to_owned()),
        frame: None,
        both: false,
    };
    let (port, bytes) = scene(&before).frame(&node, &question).unwrap();
    let mut frame = out.pool.take();
    assert!(frame.fill(&bytes));
    node.handle(now, Event::Frame { port, frame }, &mut out);
    let mut follows = |text: &str| {
        let after = compiled(text, &mut ids);
        node.handle(now, Event::Configure(Arc::new(after.1.plan.clone())), &mut out);
        let told = scene(&after).ask(&node, now, &question).unwrap();
        told[0].steps.iter().any(|line| line.text.contains("belongs to connection"))
    };
    let widened = TOML.replace("0.0.0.0:8080", "0.0.0.0:8079-8081").replace("c1:80", "c1:79-81");
    assert!(follows(TOML) && follows(&widened) && follows(TOML));
    let elsewhere = TOML.replace("0.0.0.0:8080", "0.0.0.0:8079-8081").replace("c1:80", "c1:80-82");
    assert!(!follows(&elsewhere), "8080 leads to 81 then");
}

/// An overlay with one peer.
const PODS: &str = "\
[network.pods]
subnet = [\"10.244.1.0/24\"]
gateway = [\"10.244.1.1\"]

[port.p1]
network = \"pods\"
address = [\"10.244.1.2/24\"]

[overlay]
backend = \"vxlan\"
local = \"192.0.2.1\"
network = \"pods\"

[[overlay.peer]]
subnet = \"10.244.2.0/24\"
endpoint = \"192.0.2.2\"
mac = \"0e:2a:00:00:00:02\"
";

#[test]
fn packets_are_followed_into_tunnels_and_out_of_them() {
    let udp = PODS.replace("vxlan", "udp").replace("mac = \"0e:2a:00:00:00:02\"\n", "");
    let peer = "overlay.192.0.2.2";
    for (text, by) in [(PODS, "by VXLAN 1 to 192.0.2.2:8472: "), (&udp, "by UDP to 192.0.2.2:8285: ")] {
        let told = ask_of(text, "p1", "tcp 10.244.1.2:1 > 10.244.2.3:80", true);
        let [there, back] = &told[..] else { panic!("{told:?}") };
        let [leaving] = &there.leaves[..] else { panic!("{there:?}") };
        assert!(leaving.packet.starts_with(by), "{there:?}");
        assert!(leaving.packet.ends_with("10.244.1.2 > 10.244.2.3, TCP 1 > 80"), "{there:?}");
        assert_eq!((there.verdict, leaving.port.as_str()), (Verdict::Forward, peer));
        assert_eq!((back.verdict, back.port.as_str(), back.leaves.len()), (Verdict::Forward, peer, 1));
        assert_eq!(back.leaves[0].port, "p1", "{back:?}");

        let fate = |packet: &str| {
            let explained = ask_of(text, peer, packet, false).remove(0);
            explained.reason.unwrap_or_else(|| explained.verdict.as_str().to_owned())
        };
        assert_eq!(fate("tcp 10.244.2.3:80 > 10.244.1.2:1"), "FORWARD");
        assert_eq!(fate("tcp 10.9.9.9:80 > 10.244.1.2:1"), "admit.inner-source");
    }
    let arp = "arp 10.244.2.3 > 10.244.1.2 dst=ff:ff:ff:ff:ff:ff";
    let config = config::check("t.toml", &udp).unwrap();
    let compiled = config::compile(&config, &mut config::Ids::default());
    let scene = Scene { config: &config, compiled: &compiled, name: "t.toml", lines: &Lines::of(&udp) };
    let (node, now) = (scene.warm(Instant::ZERO), Instant::from_secs(1));
    let question = Question { port: peer.to_owned(), packet: Some(arp.to_owned()), frame: None, both: false };
    let Err(Unanswerable::Packet(why)) = scene.ask(&node, now, &question) else { panic!("{arp}") };
    assert!(why.contains("bare packets"), "{why}");
}

#[test]
fn what_cannot_be_asked_is_told() {
    let config = config::check("t.toml", TOML).unwrap();
    let compiled = config::compile(&config, &mut config::Ids::default());
    let lines = Lines::of(TOML);
    let scene = Scene { config: &config, compiled: &compiled, name: "t.toml", lines: &lines };
    let node = scene.warm(Instant::ZERO);
    let refused = |port: &str, packet: Option<&str>, frame: Option<&str>| {
        let [packet, frame] = [packet, frame].map(|text| text.map(str::to_owned));
        let question = Question { port: port.to_owned(), packet, frame, both: false };
        scene.frame(&node, &question).unwrap_err()
    };
    assert_eq!(refused("c9", Some("arp 1.1.1.1 > 2.2.2.2"), None), Unanswerable::NoPort("c9".to_owned()));
    let why = |packet, frame| match refused("c1", packet, frame) {
        Unanswerable::Packet(why) => why,
        Unanswerable::NoPort(port) => panic!("{port}"),
    };
    assert!(why(None, None).contains("either"));
    assert!(why(None, Some("0x0")).contains("even number"));
    assert!(why(None, Some("zz")).contains("hexadecimal"));
    assert!(
        why(Some("icmp 10.0.0.2 > 10.0.0.77"), None).contains("nobody knows the MAC address of 10.0.0.77")
    );
    assert!(why(Some("icmp 10.0.0.2 > 10.0.0.3 vlan=9"), None).contains("no network with this tag"));
}
