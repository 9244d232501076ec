//! `tapestry flanneld` as a host's service: flags, files, health, exits, and what it makes on the host.

use rustix::process::Signal;

use crate::etcd::{PREFIX, VXLAN, lease_of};
use crate::lan::{Lan, able, output, run, until};

#[test]
fn a_host_is_ready_when_its_subnet_file_says_so() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    let host = lan.machine(1);
    let health = ["-healthz-ip=127.0.0.1", "-healthz-port=8471", "-ip-masq", "--ip-blackhole-route"];
    let mut flanneld = host.start(&health);
    // Nothing is configured yet, and it waits.
    until("health server", || host.asks("/healthz").ends_with("flanneld is running"));
    let unready = host.asks("/readyz");
    assert!(
        unready.starts_with("HTTP/1.1 503") && unready.ends_with("flanneld is not ready yet"),
        "{unready}"
    );
    assert!(flanneld.message().contains("flannel config not found in etcd store"));
    lan.configure(VXLAN);
    flanneld.is_ready();
    assert!(host.asks("/readyz").ends_with("flanneld is ready"));

    let text = std::fs::read_to_string(host.subnet_file()).unwrap();
    let subnet = host.env("FLANNEL_SUBNET");
    assert!(subnet.starts_with("10.5.") && subnet.ends_with(".1/24"), "{subnet}");
    assert_eq!(
        text,
        format!(
            "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET={subnet}\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
        )
    );
    let own = host.own();
    let key = format!("{PREFIX}/subnets/{own}-24");
    let lease = r#"{"PublicIP":"192.168.77.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0e:2a:c0:a8:4d:01"}}"#;
    assert_eq!(lan.ctl(&["get", &key, "--print-value-only"]).trim_end(), lease);

    let device = output(&host.space, &["ip", "addr", "show", "dev", "flannel.1"]);
    for words in ["mtu 1450", "link/ether 0e:2a:c0:a8:4d:01", &format!("inet {own}/32 scope global"), "UP"] {
        assert!(device.contains(words), "{words}: {device}");
    }
    let routes = output(&host.space, &["ip", "route"]);
    assert!(routes.contains(&format!("blackhole {own}/24")), "{routes}");

    // A clean end leaves the lease, and the next start takes it again.
    assert_eq!(flanneld.signal(Signal::TERM).code(), Some(0));
    assert!(!lan.ctl(&["get", &key]).is_empty());
    std::fs::remove_file(host.subnet_file()).unwrap();
    let mut again = host.start(&[]);
    again.is_ready();
    assert_eq!(host.env("FLANNEL_SUBNET"), subnet);

    // A lost lease ends it, and that is no failure.
    lan.ctl(&["del", &key]);
    assert_eq!(again.ends().code(), Some(0));
    assert!(again.log().contains("Lease has been revoked. Shutting down daemon."), "{}", again.log());
}

/// The bridge that pods are at has a route to the same subnet. It counts, whether it was there first or came later.
#[test]
fn the_blackhole_is_behind_the_bridges_own_route() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    lan.configure(VXLAN);
    let host = lan.machine(1);
    let flanneld = host.start(&["--ip-blackhole-route"]);
    flanneld.is_ready();
    let (own, subnet) = (host.own(), host.env("FLANNEL_SUBNET"));
    let routes = || output(&host.space, &["ip", "route"]);
    let blackhole = format!("blackhole {own}/24");
    until("the blackhole", || routes().contains(&blackhole));
    run(&host.space, "ip link add docker0 type bridge\nip link set docker0 up");
    run(&host.space, &format!("ip addr add {subnet} dev docker0"));
    let bridges = format!("{own}/24 dev docker0");
    let leads_to_the_bridge = || {
        let pod = subnet.replace(".1/24", ".2");
        let is_there = routes().contains(&bridges) && routes().contains(&blackhole);
        is_there && output(&host.space, &["ip", "route", "get", &pod]).contains("dev docker0")
    };
    assert!(leads_to_the_bridge(), "{}", routes());
    run(&host.space, &format!("ip route del {blackhole}"));
    until("the blackhole again", || routes().contains(&blackhole));
    assert!(leads_to_the_bridge(), "{}", routes());
}

#[test]
fn peers_become_routes_and_neighbours_and_come_back_when_deleted() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    lan.configure(VXLAN);
    let host = lan.machine(1);
    // What an earlier flanneld has left stands in the way, and goes.
    run(&host.space, "ip link add flannel.1 type vxlan id 1 dev eth0 dstport 8472 nolearning");
    let flanneld = host.join(&["-iface=192.168.77.1"]);
    lan.ctl(&["put", &format!("{PREFIX}/subnets/10.5.200.0-24"), &lease_of(9)]);
    let route = "10.5.200.0/24 via 10.5.200.0 dev flannel.1 onlink";
    let routes = || output(&host.space, &["ip", "route"]);
    let neighbours = || output(&host.space, &["ip", "neigh", "show", "dev", "flannel.1"]);
    until("route", || routes().contains(route));
    let wanted = "10.5.200.0 lladdr 02:00:00:00:00:09 PERMANENT";
    assert!(neighbours().contains(wanted), "{}\n{}", neighbours(), flanneld.log());
    // Somebody cleans up.
    run(&host.space, "ip route del 10.5.200.0/24\nip neigh flush dev flannel.1 nud all");
    until("route again", || routes().contains(route));
    until("neighbour again", || neighbours().contains(wanted));
    // The same subnet, another host: its VTEP is corrected.
    lan.ctl(&["put", &format!("{PREFIX}/subnets/10.5.200.0-24"), &lease_of(10)]);
    until("the other VTEP", || neighbours().contains("10.5.200.0 lladdr 02:00:00:00:00:0a PERMANENT"));
    lan.ctl(&["del", &format!("{PREFIX}/subnets/10.5.200.0-24")]);
    until("the route's end", || !routes().contains("10.5.200.0"));
    assert!(!neighbours().contains("10.5.200.0"), "{}", neighbours());
}

/// Behind a NAT we listen at another address than the one we are known by. A lease that names that one, our own of before, say,
/// is refused alone.
#[test]
fn a_lease_at_our_local_address_takes_no_tunnel_away() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    lan.configure(VXLAN);
    let host = lan.machine(1);
    let stale = lease_of(9).replace("192.0.0.9", "192.168.77.1");
    lan.ctl(&["put", &format!("{PREFIX}/subnets/10.5.200.0-24"), &stale]);
    let flanneld = host.join(&["-iface=eth0", "-public-ip=203.0.113.1"]);
    lan.ctl(&["put", &format!("{PREFIX}/subnets/10.5.201.0-24"), &lease_of(10)]);
    let ends = || host.lines_at("run/tapestry.sock", &["peer", "ls"]);
    until("a tunnel", || ends().iter().any(|end| end.to_string().contains("192.0.0.10")));
    assert_eq!(ends().len(), 1, "{:?}", ends());
    assert!(flanneld.log().contains("registry.our-address"), "{}", flanneld.log());
}

#[test]
fn what_is_known_stays_while_etcd_is_away() {
    if !able() {
        return;
    }
    let mut lan = Lan::new();
    lan.configure(VXLAN);
    let host = lan.machine(1);
    let flanneld = host.join(&[]);
    let routes = || output(&host.space, &["ip", "route"]);
    lan.ctl(&["put", &format!("{PREFIX}/subnets/10.5.200.0-24"), &lease_of(9)]);
    until("route", || routes().contains("10.5.200.0/24 via"));
    lan.kill_etcd();
    until("the report", || flanneld.log().contains("forwarding goes on with the peers that are known"));
    assert!(routes().contains("10.5.200.0/24 via"));
    lan.start_etcd();
    lan.ctl(&["put", &format!("{PREFIX}/subnets/10.5.201.0-24"), &lease_of(10)]);
    until("another route", || routes().contains("10.5.201.0/24 via"));
    assert!(routes().contains("10.5.200.0/24 via"));
}

#[test]
fn masquerading_is_a_table_of_ours_that_comes_back() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    lan.configure(VXLAN);
    let host = lan.machine(1);
    let flanneld = host.join(&["-ip-masq"]);
    let table = "tapestry-flannel-10.5.0.0-16";
    let list = || output(&host.space, &["nft", "list", "table", "inet", table]);
    let (own, listed) = (host.own(), list());
    for words in [
        "type nat hook postrouting priority srcnat; policy accept;",
        "meta mark & 0x00004000 == 0x00004000 return comment \"flanneld masq\"",
        &format!("ip saddr {own}/24 ip daddr 10.5.0.0/16 return comment \"flanneld masq\""),
        &format!("ip saddr 10.5.0.0/16 ip daddr {own}/24 return"),
        &format!("ip saddr != 10.5.0.0/16 ip daddr {own}/24 return"),
        "ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random",
        "ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade fully-random",
        "type filter hook forward priority filter; policy accept;",
        "ip saddr 10.5.0.0/16 accept comment \"flanneld forward\"",
    ] {
        assert!(listed.contains(words), "{words}\n{listed}\n{}", flanneld.log());
    }
    let numbered = output(&host.space, &["nft", "-a", "list", "table", "inet", table]);
    let rule = numbered.lines().find(|line| line.contains("!= 224.0.0.0/4 masquerade")).unwrap();
    let handle = rule.rsplit(' ').next().unwrap();
    for change in [
        format!("nft replace rule inet {table} postrtg handle {handle} accept"),
        "nft flush ruleset".to_owned(),
        format!("nft flush chain inet {table} postrtg"),
        format!("nft add table inet {table} {{ flags dormant ; }}"),
    ] {
        run(&host.space, &change);
        until("the table again", || {
            output(&host.space, &["nft", "list", "tables"]).contains(table) && list() == listed
        });
    }
}

#[test]
fn host_gw_needs_no_device() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    lan.configure(r#"{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}"#);
    let hosts = [lan.machine(1), lan.machine(2)];
    let running: Vec<_> = hosts.iter().map(|host| host.join(&["-iface-regex", "^eth"])).collect();
    assert_eq!(hosts[0].env("FLANNEL_MTU"), "1500");
    for (host, other) in [(&hosts[0], &hosts[1]), (&hosts[1], &hosts[0])] {
        let route = format!("{}/24 via 192.168.77.{} dev eth0", other.own(), other.number);
        until(&route, || output(&host.space, &["ip", "route"]).contains(&route));
    }
    let (from, to) = (hosts[0].gateway(), hosts[1].gateway());
    output(&hosts[0].space, &["ping", "-c", "1", "-W", "5", "-I", &from, &to]);
    drop(running);
}

#[test]
fn with_direct_routing_neighbours_need_no_tunnel() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    lan.configure(r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","DirectRouting":true}}"#);
    let hosts = [lan.machine(1), lan.machine(2)];
    let running: Vec<_> = hosts.iter().map(|host| host.join(&[])).collect();
    // A neighbour, too, but not by the interface to the others.
    run(
        &hosts[0].space,
        "ip link add eth1 type bridge\nip link set eth1 up\nip addr add 192.0.1.1/24 dev eth1",
    );
    lan.ctl(&["put", &format!("{PREFIX}/subnets/10.5.201.0-24"), &lease_of(0x0109)]);
    let far = lease_of(9); // Behind the default route.
    lan.ctl(&["put", &format!("{PREFIX}/subnets/10.5.200.0-24"), &far]);
    let routes = || output(&hosts[0].space, &["ip", "route"]);
    let near = format!("{}/24 via 192.168.77.2 dev eth0", hosts[1].own());
    for route in
        [&near, "10.5.200.0/24 via 10.5.200.0 dev flannel.1 onlink", "10.5.201.0/24 via 192.0.1.9 dev eth1"]
    {
        until(route, || routes().contains(route));
    }
    let (from, to) = (hosts[0].gateway(), hosts[1].gateway());
    output(&hosts[0].space, &["ping", "-c", "1", "-W", "5", "-I", &from, &to]);
    drop(running);
}

#[test]
fn what_cannot_work_is_refused_with_the_reason() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    let host = lan.machine(1);
    let refused = |document: &str, flags: &[&str], code: i32, words: &str| {
        lan.configure(document);
        let mut flanneld = host.start(flags);
        let status = flanneld.ends();
        let log = flanneld.log();
        assert!(status.code() == Some(code) && log.contains(words), "{status} {flags:?}: {log}");
    };
    refused(VXLAN, &["-nonsense"], 2, "flag provided but not defined: -nonsense");
    refused(VXLAN, &["-kube-subnet-mgr"], 1, "subnets from Kubernetes are not supported");
    let https = "-etcd-endpoints=https://192.168.77.254:2379";
    refused(VXLAN, &[https, "-etcd-keyfile=k", "-etcd-certfile=c"], 1, "https:// needs -etcd-cafile");
    refused(VXLAN, &[https, "-etcd-cafile=/nowhere.pem"], 1, "/nowhere.pem: ");
    refused(VXLAN, &["-etcd-endpoints=unix:///run/etcd"], 1, "neither http:// nor https://");
    refused(VXLAN, &["-iface=eth9"], 1, "failed to find any valid interface to use");
    refused(VXLAN, &["-public-ip=203.0.113.1"], 1, "behind a NAT, say which with -iface");
    let host_gw = r#"{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}"#;
    refused(
        host_gw,
        &["-iface=eth0", "-public-ip=203.0.113.1"],
        1,
        "your PublicIP differs from interface IP",
    );
    for (backend, words) in [
        (r#"{"Type":"wireguard"}"#, "is a backend of flanneld that Tapestry does not have"),
        (r#"{"Type":"nonsense"}"#, "unknown backend type"),
        (r#"{"VNI":1}"#, "unknown backend type"),
        (r#"{"Type":"vxlan","GBP":true}"#, "Backend.GBP"),
        (r#"{"Type":"vxlan","VNI":"one"}"#, "VNI"),
    ] {
        refused(&format!(r#"{{"Network":"10.5.0.0/16","Backend":{backend}}}"#), &[], 1, words);
    }
    let leases = || lan.ctl(&["get", "--prefix", &format!("{PREFIX}/subnets/"), "--keys-only"]);
    let before = leases();
    run(&host.space, "ip link add other type vxlan id 9 dev eth0 dstport 8472\nip link set other up");
    refused(VXLAN, &[], 1, "UDP port 8472 is another program's (another flanneld or VXLAN device?)");
    run(&host.space, "ip link del other");
    assert_eq!(leases(), before, "nothing is leased for that");
    // All subnets are taken.
    for (number, key) in ["10.5.0.64-26", "10.5.0.128-26", "10.5.0.192-26"].into_iter().enumerate() {
        let host = u16::try_from(number).unwrap() + 20;
        lan.ctl(&["put", &format!("{PREFIX}/subnets/{key}"), &lease_of(host)]);
    }
    let small = r#"{"Network":"10.5.0.0/24","SubnetLen":26,"Backend":{"Type":"vxlan"}}"#;
    refused(small, &[], 1, "failed to acquire lease: out of subnets");
}
