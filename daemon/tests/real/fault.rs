//! Faults on live ports: what they do is counted, TCP survives them, and when they are cleared nothing of them stays.

use std::net::UdpSocket;

use crate::daemon::Daemon;
use crate::record::transfer;
use crate::support::{able, namespace};
use crate::uplink::until;

#[test]
fn faults_do_what_is_asked_and_end_when_they_are_cleared() {
    if !able() {
        return;
    }
    let [one, two] = ["one", "two"].map(namespace);
    let port = |name: &str, netns: &str, number: u8| {
        format!(
            "[port.{name}]\nnetwork = \"a\"\nnetns = {netns:?}\nifname = \"eth0\"\naddress = [\"172.16.0.{number}/16\"]\n"
        )
    };
    let paths = [&one, &two].map(|netns| netns.path().display().to_string());
    let config = format!(
        "workers = 2\n[network.a]\nsubnet = [\"172.16.0.0/16\"]\n{}{}",
        port("c1", &paths[0], 2),
        port("c2", &paths[1], 3)
    );
    let daemon = Daemon::start(&config);
    transfer(&one, &two, "172.16.0.3:0");
    assert_eq!(daemon.json(&["fault", "ls"]).as_array().unwrap().len(), 0);

    // Everything is lost on the way to c2, by name, and it is told.
    daemon.order(&["fault", "set", "c2", "--out", "--loss", "100%", "--seed", "7"]);
    let sender = one.run(|| UdpSocket::bind("172.16.0.2:0")).unwrap().unwrap();
    for _ in 0..20 {
        sender.send_to(b"lost", "172.16.0.3:9").unwrap();
    }
    let lost = || {
        let told = daemon.json(&["fault", "ls"]);
        (told[0]["outwards"]["lost"].as_u64().unwrap(), told[0]["inwards"]["offered"].as_u64().unwrap())
    };
    until("the loss of 20 frames", || lost().0 >= 20);
    assert_eq!(lost().1, 0, "the other direction is untouched");
    let drops = daemon.json(&["drops"]);
    let ids: Vec<&str> =
        drops.as_array().unwrap().iter().filter_map(|drop| drop["reason"].as_str()).collect();
    assert!(ids.contains(&"deliver.fault"), "{drops}");
    let text = String::from_utf8(daemon.ask(&["status"]).stdout).unwrap();
    assert!(text.contains("fault clear c2") && text.contains("frames lost on leaving"), "{text}");
    let ports = daemon.json(&["port", "ls"]);
    assert_eq!((&ports[0]["faults"], &ports[1]["faults"]), (&false.into(), &true.into()), "{ports}");

    losses_on_entering_are_traced_and_accounted_for(&daemon, &sender);

    // A bad wire both ways: TCP gets through all the same, and every kind has happened.
    let order = "fault set c2 --loss 1% --delay 1ms --jitter 1ms --duplicate 5% --reorder 5% --reorder-by 2ms --corrupt 1% --rate 500mbit";
    daemon.order(&order.split(' ').collect::<Vec<_>>());
    transfer(&one, &two, "172.16.0.3:0");
    let told = daemon.json(&["fault", "ls"]);
    assert!(told[0]["inwards"]["offered"].as_u64().unwrap() > 0, "{told}");
    for kind in ["lost", "duplicated", "reordered", "corrupted"] {
        let both = [&told[0]["inwards"], &told[0]["outwards"]].map(|lane| lane[kind].as_u64().unwrap());
        assert!(both.iter().sum::<u64>() > 0, "{kind}: {told}");
    }

    let cleared = daemon.ask(&["fault", "clear", "c1", "nobody", "c2"]);
    assert_eq!(cleared.status.code(), Some(3), "c1 has none");
    let said = String::from_utf8(cleared.stderr).unwrap();
    assert!(said.contains("c1") && !said.contains("nobody"), "{said}");
    assert_eq!(daemon.json(&["fault", "ls"]).as_array().unwrap().len(), 0, "c2 has had its turn");
    assert!(!daemon.ask(&["fault", "clear", "c2"]).status.success(), "there are none any more");
    assert_eq!(daemon.ask(&["fault", "set", "nobody", "--loss", "1%"]).status.code(), Some(3));
    transfer(&one, &two, "172.16.0.3:0");
    let text = String::from_utf8(daemon.ask(&["status"]).stdout).unwrap();
    assert!(!text.contains("fault clear"), "{text}");
}

/// While c2 loses all that leaves by it, c1 loses all that comes, for a while: `trace` knows, and what came adds up.
fn losses_on_entering_are_traced_and_accounted_for(daemon: &Daemon, sender: &UdpSocket) {
    daemon.order(&["fault", "set", "c1", "--in", "--up", "false"]);
    let packet = ["trace", "--in", "c1", "udp 172.16.0.2:5 > 172.16.0.3:9"];
    let told = daemon.ask(&packet);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.code() == Some(10) && text.contains("verdict: DROP admit.fault"), "{text}");
    sender.send_to(b"lost", "172.16.0.3:9").unwrap();
    let dropped = || {
        let drops = daemon.json(&["drops", "--reason", "admit.fault"]);
        drops[0]["count"].as_u64().unwrap_or_default()
    };
    until("a loss on entering", || dropped() > 0);
    let totals = &daemon.json(&["status"])["totals"];
    let count = |name: &str| totals[name].as_u64().unwrap();
    let ended = count("forwarded") + count("consumed") + count("parked") + count("dropped");
    assert_eq!(count("received"), ended, "{totals}");
    assert!(count("dropped") >= dropped() && count("lost_leaving") >= 20, "{totals}");
    daemon.order(&["fault", "set", "c1", "--up", "true"]);
    assert_eq!(daemon.json(&["fault", "ls"]).as_array().unwrap().len(), 1, "c1 has none that does anything");
    let told = daemon.ask(&packet);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.code() == Some(10) && text.contains("verdict: DROP deliver.fault"), "{text}");
}
