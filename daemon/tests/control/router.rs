//! The router's verbs: from the command line to the switch and back.

use serde_json::{Value, json};

use crate::command::{done, fails, parsed};
use crate::fake::World;

/// The filter that the switch was asked for with last.
fn asked(world: &World) -> String {
    world.switch.router.asked.lock().unwrap().pop().unwrap()
}

#[test]
fn routes_come_and_go_and_are_explained() {
    let world = World::new();
    done(&world, "route add 10.0.0.0/8 --via 192.0.2.253,192.0.2.254");
    done(&world, "route add 10.66.0.0/16 --kind blackhole");
    assert!(fails(&world.socket, "route add 10.0.0.0/8 --via 192.0.2.1", 2).contains("taken"));
    let list = parsed(&done(&world, "route ls --json"));
    assert_eq!(
        (&list[0]["to"], &list[0]["via"][1]["address"]),
        (&json!("10.0.0.0/8"), &json!("192.0.2.254"))
    );
    assert!(
        done(&world, "route ls")
            .contains("10.0.0.0/8    via        192.0.2.253 (uplink), 192.0.2.254 (uplink)")
    );

    let way = done(&world, "route get 10.0.0.1 --from 172.16.0.2");
    for part in [
        "10.0.0.1 from 172.16.0.2\n",
        "route     10.0.0.0/8, via",
        "reachable at 02:42:ac:10:00:02",
        "note  ",
    ] {
        assert!(way.contains(part), "{part:?} in {way}");
    }
    assert_eq!(parsed(&done(&world, "route get 10.0.0.1 --json"))["reachable"], true);
    fails(&world.socket, "route get 10.0.0.1 --from 127.0.0.1", 10);
    fails(&world.socket, "route get 1.1.1.1", 10);

    done(&world, "route del 10.66.0.0/16");
    fails(&world.socket, "route del 10.66.0.0/16", 3);
    done(&world, "route rm 10.0.0.0/8");
    assert_eq!(parsed(&done(&world, "route ls --json")), json!([]));
}

#[test]
fn l4_ports_are_published_and_withdrawn() {
    let world = World::new();
    done(&world, "publish add 0.0.0.0:8080 web:80");
    done(&world, "publish add [::]:53-54 dns:53-54 --proto udp");
    assert!(done(&world, "publish ls").contains("[::]:53-54    udp    dns:53-54  172.16.0.2            3"));
    assert_eq!(parsed(&done(&world, "publish ls --json"))[0]["to"], "web:80");
    fails(&world.socket, "publish rm [::]:53-54", 3);
    done(&world, "publish rm [::]:53-54 --proto udp");
    done(&world, "publish rm 0.0.0.0:8080");
    assert_eq!(parsed(&done(&world, "publish ls --json")), json!([]));
}

#[test]
fn access_rules_have_an_order_and_hits() {
    let world = World::new();
    done(&world, "acl add deny --from network:a --to 10.0.0.0/8 --proto tcp --l4-ports 80-90");
    done(&world, "acl add log --to port:c1 --position 0");
    let text = done(&world, "acl ls");
    assert!(text.contains("1  deny    network:a  10.0.0.0/8  tcp    80-90     1,001"), "{text}");
    let rules = parsed(&done(&world, "acl ls --json"));
    assert_eq!(
        (&rules[0]["action"], &rules[0]["to"], &rules[0]["hits"]),
        (&json!("log"), &json!("port:c1"), &json!(1000))
    );
    done(&world, "acl rm 0");
    fails(&world.socket, "acl rm 1", 3);
    assert_eq!(parsed(&done(&world, "acl ls --json"))[0]["action"], "deny");
}

#[test]
fn connections_are_listed_counted_and_ended() {
    let world = World::new();
    let text = done(&world, "nat ls --proto tcp --address 172.16.0.0/16 --l4-port 80 --id 7");
    assert!(text.contains("172.16.0.2:41000  192.0.2.1:80") && text.contains("1,234"), "{text}");
    let filter = "SessionFilter { id: Some(7), proto: Some(Tcp), address: Some(\"172.16.0.0/16\"), l4_port: Some(80) }";
    assert_eq!(asked(&world), filter);
    assert_eq!(parsed(&done(&world, "nat ls --json"))[0]["id"], 7);

    assert_eq!(done(&world, "nat kill --address 172.16.0.2"), "2 connections ended\n");
    assert!(asked(&world).contains("address: Some(\"172.16.0.2\")"));
    assert_eq!(parsed(&done(&world, "nat kill --all --json")), json!({"count": 2}));
    assert!(fails(&world.socket, "nat kill", 2).contains("--all"));
    fails(&world.socket, "nat kill --all --id 7", 2);

    let text = done(&world, "nat stats");
    assert!(text.contains("1 of 262,144 at most") && text.contains("192.0.2.7  tcp"), "{text}");
    assert_eq!(parsed(&done(&world, "nat stats --json"))["l4_ports"][0]["in_use"], 9);
}

#[test]
fn neighbours_are_listed_and_forgotten() {
    let world = World::new();
    let text = done(&world, "neigh ls --network a --address 172.16.0.2");
    assert!(text.contains("a        172.16.0.2  02:42:ac:10:00:02  reachable"), "{text}");
    assert_eq!(asked(&world), "NeighbourFilter { network: Some(\"a\"), address: Some(172.16.0.2) }");
    assert_eq!(parsed(&done(&world, "neigh ls --json"))[0]["state"], "reachable");
    assert_eq!(done(&world, "neigh flush --network a"), "1 neighbour forgotten\n");
}

#[test]
fn nonsense_is_refused_before_anybody_is_asked() {
    let world = World::new();
    for line in [
        "route add 10.0.0.0/8",
        "route add 10.0.0.0/8 --via 192.0.2.1 --kind blackhole",
        "route add 10.0.0.0/8 --kind reject",
        "route add 10.0.0.0 --via 192.0.2.1",
        "route get somewhere",
        "publish add 8080 web:80",
        "publish add 0.0.0.0:8080 web",
        "publish add 0.0.0.0:8080 web:80 --proto sctp",
        "acl add drop",
        "acl add deny --from nobody",
        "acl add deny --l4-ports 90-80",
        "acl rm first",
        "nat ls --proto sctp",
        "nat ls --address everywhere",
        "neigh ls --address here",
    ] {
        fails(&world.socket, line, 2);
    }
    assert!(world.switch.router.asked.lock().unwrap().is_empty());
    assert_eq!(parsed(&done(&world, "route ls --json")), Value::Array(Vec::new()));
}

#[test]
fn peers_are_listed_and_asked() {
    let world = World::new();
    let list = done(&world, "peer ls");
    assert!(list.contains("overlay.192.0.2.2  10.244.2.0/24") && list.contains("vxlan 1"), "{list}");
    assert_eq!(parsed(&done(&world, "peer ls --json"))[0]["last_seen_ms"], 1_500);
    let told = done(&world, "overlay check 192.0.2.2 --inner 10.244.2.9");
    assert!(told.contains("ok  answers   seen\n"), "{told}");
    fails(&world.socket, "overlay check 192.0.2.2", 10);
    fails(&world.socket, "overlay check 192.0.2.3", 3);
    fails(&world.socket, "overlay check 192.0.2.2 --inner nobody", 2);
}
