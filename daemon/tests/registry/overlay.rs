//! `tapestry run` with `registry = "etcd"`: three hosts whose subnets are leased, and `tapestry flanneld` in the same
//! cluster. What is known holds while etcd is away, what is lost is told, and everything converges.

use rustix::process::Signal;
use serde_json::Value;
use tapestry::link::Namespace;

use crate::etcd::{PREFIX, VXLAN, lease_of};
use crate::lan::{Flanneld, Lan, Machine, able, output, reaches, run, until};

const VXLAN_DUAL: &str =
    r#"{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}"#;

/// A host with a switch and a pod.
struct Host {
    // First: its log is in the machine's directory.
    switch: Flanneld,
    machine: Machine,
    pod: Namespace,
}

impl Host {
    fn new(lan: &Lan, number: u8, backend: &str) -> Self {
        Self::with(lan, number, |machine, pod| config(machine, pod, backend))
    }

    fn with(lan: &Lan, number: u8, config: impl Fn(&Machine, &Namespace) -> String) -> Self {
        let machine = lan.machine(number);
        let pod = Namespace::anonymous(&format!("pod {number}")).unwrap();
        let switch = machine.switch(&config(&machine, &pod));
        Self { machine, pod, switch }
    }

    fn ready(lan: &Lan, number: u8, backend: &str) -> Self {
        let host = Self::new(lan, number, backend);
        host.switch.is_ready();
        host
    }

    fn registry(&self) -> Value {
        self.machine.ask(&["status"])["registry"].clone()
    }

    fn is(&self, state: &str, peers: u64) -> bool {
        let registry = self.registry();
        registry["state"] == state && registry["peers"] == peers
    }

    /// Our subnet, as etcd names it.
    fn key(&self) -> String {
        self.registry()["subnet"].as_str().unwrap().replace('/', "-")
    }

    fn address(&self) -> String {
        self.address_at(0).replace("/24", "")
    }

    fn address_v6(&self) -> String {
        self.address_at(1).replace("/64", "")
    }

    fn address_at(&self, index: usize) -> String {
        let ports = self.machine.ask(&["port", "ls"]);
        let of_pod = ports.as_array().unwrap().iter().find(|port| port["name"] == "p").unwrap();
        of_pod["address"][index].as_str().unwrap().to_owned()
    }

    fn reaches(&self, other: &str) -> bool {
        reaches(&self.pod, &self.address(), other, "56")
    }

    fn has_told(&self, kind: &str) -> bool {
        self.machine.lines(&["events"]).iter().any(|event| event["kind"] == kind)
    }
}

fn config(machine: &Machine, pod: &Namespace, backend: &str) -> String {
    format!(
        r#"
        [network.pod]
        mtu = 1450
        [port.p]
        network = "pod"
        netns = "{}"
        ifname = "eth0"
        address = "auto"
        [overlay]
        backend = "{backend}"
        local = "192.168.77.{}"
        network = "pod"
        registry = "etcd"
        [overlay.etcd]
        endpoints = ["http://192.168.77.254:2379"]
        "#,
        pod.path().display(),
        machine.number
    )
}

/// With a second end, for IPv6.
fn dual(machine: &Machine, pod: &Namespace) -> String {
    let second = format!("local_v6 = \"2001:db8:77::{}\"\n        local = ", machine.number);
    config(machine, pod, "vxlan").replace("local = ", &second)
}

fn all_reach_all(hosts: &[Host]) {
    for from in hosts {
        for to in hosts.iter().filter(|to| to.machine.number != from.machine.number) {
            let to = to.address();
            until(&format!("way to {to}: {}\n{}", from.registry(), from.switch.log()), || from.reaches(&to));
        }
    }
}

#[test]
fn subnets_are_leased_and_peers_followed() {
    if !able() {
        return;
    }
    let mut lan = Lan::new();
    // The first waits for the network's configuration, and is not ready without a subnet.
    let first = Host::new(&lan, 1, "vxlan");
    assert!(first.switch.message().contains("flannel config not found"), "{}", first.switch.log());
    lan.configure(VXLAN);
    first.switch.is_ready();
    let mut hosts = vec![first];
    hosts.extend([2, 3].map(|number| Host::ready(&lan, number, "vxlan")));
    let fourth = lan.machine(4);
    let flanneld = fourth.join(&[]);
    for host in &hosts {
        until("peers", || host.is("held", 3));
        let value = lan.ctl(&["get", &format!("{PREFIX}/subnets/{}", host.key()), "--print-value-only"]);
        assert!(value.contains(&format!("\"PublicIP\":\"192.168.77.{}\"", host.machine.number)), "{value}");
        assert!(host.has_told("registry.leased") && host.has_told("registry.peers"));
    }
    all_reach_all(&hosts);
    until("way to flanneld's host", || hosts[0].reaches(&fourth.gateway()));
    until("way from flanneld's host", || {
        reaches(&fourth.space, &fourth.gateway(), &hosts[1].address(), "1422")
    });

    hosts[0].machine.checks("socket", "192.168.77.2");
    hosts[0].machine.checks("socket", "192.168.77.4");
    fourth.checks("run/tapestry.sock", "192.168.77.1");

    // What the file says of the registry holds to the end; all else may change.
    let another = config(&hosts[0].machine, &hosts[0].pod, "vxlan").replace("254:2379", "253:2379");
    let file = hosts[0].machine.directory.path().join("other.toml");
    std::fs::write(&file, another).unwrap();
    let socket = hosts[0].machine.directory.path().join("socket");
    let mut apply = std::process::Command::new(env!("CARGO_BIN_EXE_tapestry"));
    let refused = apply.arg("--socket").arg(&socket).arg("apply").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("from the start of the switch to its end"), "{said}");

    lan.kill_etcd();
    for host in &hosts {
        until("the report", || host.is("away", 3));
    }
    all_reach_all(&hosts);
    lan.start_etcd();
    for host in &hosts {
        until("the return", || host.is("held", 3));
    }

    drop(flanneld);
    lan.ctl(&["del", &format!("{PREFIX}/subnets/{}-24", fourth.own())]);
    until("the peer's end", || hosts[0].is("held", 2));

    // The lease outlives the process: the next start has it again.
    let key = hosts[2].key();
    assert_eq!(hosts[2].switch.signal(Signal::TERM).code(), Some(0));
    let host = &mut hosts[2];
    host.switch = host.machine.switch(&config(&host.machine, &host.pod, "vxlan"));
    host.switch.is_ready();
    until("the lease again", || host.is("held", 2));
    assert_eq!(host.key(), key);
    all_reach_all(&hosts);
}

/// The first address of the subnet in which a station has the second.
fn first_of(second: &str, before: &str) -> String {
    let subnet = second.strip_suffix(&format!("{before}2")).unwrap_or_else(|| panic!("{second}"));
    format!("{subnet}{before}1")
}

#[test]
fn a_lost_lease_is_told_and_got_again_or_its_tunnels_stop() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    lan.configure(VXLAN);
    let hosts: Vec<Host> = [1, 2, 3].map(|number| Host::ready(&lan, number, "vxlan")).into();
    all_reach_all(&hosts);
    let own = hosts[0].key();
    let path = format!("{PREFIX}/subnets/{own}");

    // Deleted: the same subnet is got again.
    lan.ctl(&["del", &path]);
    until("the loss", || hosts[0].registry()["lost"] == 1);
    until("the lease again", || hosts[0].is("held", 2));
    assert_eq!(hosts[0].key(), own);
    all_reach_all(&hosts);

    // Another machine with our address: told, and written over at once, for peers would send to its MAC address.
    let same = r#"{"PublicIP":"192.168.77.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:77:77"}}"#;
    lan.ctl(&["put", &path, same]);
    until("the contest", || hosts[0].has_told("registry.contested"));
    until("our own again", || !lan.ctl(&["get", &path, "--print-value-only"]).contains("77:77"));
    assert!(hosts[0].is("held", 2), "{}", hosts[0].registry());
    all_reach_all(&hosts);

    // Another host's: tunnels stop, the host's own network goes on.
    lan.ctl(&["put", &path, &lease_of(9)]);
    until("the end of tunnels", || hosts[0].is("lost", 0));
    assert!(hosts[0].has_told("registry.lost"));
    assert!(!hosts[0].reaches(&hosts[1].address()));
    assert!(hosts[0].reaches(&first_of(&hosts[0].address(), ".")), "the gateway answers");
    let warnings = hosts[0].machine.ask(&["status"])["warnings"].to_string();
    assert!(warnings.contains("etcd: lost"), "{warnings}");
    lan.ctl(&["del", &path]);
    until("the lease again", || hosts[0].is("held", 2));
    all_reach_all(&hosts);
}

#[test]
fn an_emptied_slow_and_littered_etcd_is_outlived() {
    if !able() {
        return;
    }
    let mut lan = Lan::new();
    lan.configure(VXLAN);
    let hosts: Vec<Host> = [1, 2, 3].map(|number| Host::ready(&lan, number, "vxlan")).into();
    for host in &hosts {
        until("peers", || host.is("held", 2));
    }
    let keys: Vec<String> = hosts.iter().map(Host::key).collect();
    let put = |key: &str, value: &str| drop(lan.ctl(&["put", &format!("{PREFIX}/subnets/{key}"), value]));
    // Broken, foreign, with our address, around ours, and outside.
    put("ten", &lease_of(11));
    put("10.5.240.0-24", "{");
    put("10.5.241.0-24", r#"{"PublicIP":"192.0.2.11","BackendType":"host-gw"}"#);
    put("10.5.242.0-24", &lease_of(12).replace("192.0.0.12", "192.168.77.1"));
    put("10.5.0.0-16", &lease_of(13));
    put("10.6.1.0-24", &lease_of(14));
    let named = ["key", "value", "backend", "our-address", "overlaps-ours", "outside"];
    until("names", || {
        let refused = hosts[0].registry()["refused"].clone();
        named.iter().all(|name| refused[format!("registry.{name}")] == 1)
    });
    assert!(hosts[0].is("held", 2), "{}", hosts[0].registry());
    // To the others the newer lease of our address is where we are.
    lan.ctl(&["del", &format!("{PREFIX}/subnets/10.5.242.0-24")]);
    all_reach_all(&hosts);

    // It stands still, and goes on.
    lan.signal_etcd(Signal::STOP);
    all_reach_all(&hosts);
    lan.signal_etcd(Signal::CONT);

    // A peer that comes and goes, and stays in the end.
    for _ in 0..20 {
        lan.ctl(&["put", &format!("{PREFIX}/subnets/10.5.243.0-24"), &lease_of(15)]);
        lan.ctl(&["del", &format!("{PREFIX}/subnets/10.5.243.0-24")]);
    }
    lan.ctl(&["put", &format!("{PREFIX}/subnets/10.5.243.0-24"), &lease_of(15)]);
    until("the peer", || hosts[1].is("held", 3));
    let registry = hosts[1].registry();
    assert!(registry["came"].as_u64() >= Some(3), "{registry}");
    all_reach_all(&hosts);

    // Everything is lost, the configuration, too. Peers stay until somebody says otherwise.
    lan.kill_etcd();
    lan.empty_etcd();
    lan.start_etcd();
    until("the loss", || hosts.iter().all(|host| host.registry()["state"] == "lost"));
    all_reach_all(&hosts);
    lan.configure(VXLAN);
    for (host, key) in hosts.iter().zip(&keys) {
        until("the same again", || host.is("held", 2));
        assert_eq!(host.key(), *key);
    }
    all_reach_all(&hosts);
}

#[test]
fn what_is_lost_one_way_heals() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    lan.configure(VXLAN);
    let hosts: Vec<Host> = [1, 2].map(|number| Host::ready(&lan, number, "vxlan")).into();
    all_reach_all(&hosts);
    // Datagrams from the second do not reach the first; etcd's answers do not, either.
    let rules = "nft add table inet cut
         nft add chain inet cut in { type filter hook input priority 0 ; }
         nft add rule inet cut in ip saddr 192.168.77.2 udp dport 8472 drop
         nft add rule inet cut in tcp sport 2379 drop";
    run(&hosts[0].machine.space, rules);
    assert!(!hosts[0].reaches(&hosts[1].address()));
    lan.ctl(&["put", &format!("{PREFIX}/subnets/10.5.243.0-24"), &lease_of(15)]);
    until("the other's sight of it", || hosts[1].is("held", 2));
    until("the report", || hosts[0].is("away", 1));
    output(&hosts[0].machine.space, &["nft", "delete", "table", "inet", "cut"]);
    until("the return", || hosts[0].is("held", 2));
    all_reach_all(&hosts);
}

#[test]
fn both_families_are_leased_and_reached() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    lan.configure(VXLAN_DUAL);
    let mut hosts: Vec<Host> = [1, 2].map(|number| Host::with(&lan, number, dual)).into();
    hosts.iter().for_each(|host| host.switch.is_ready());
    let flannel = lan.machine(3);
    let flanneld = flannel.join(&[]);
    let gateway_v6 = flannel.env("FLANNEL_IPV6_SUBNET").replace("/64", "");
    run(
        &flannel.space,
        &format!("sysctl -qw net.ipv6.conf.all.forwarding=1\nip addr add {gateway_v6}/64 dev cni0 nodad"),
    );
    for host in &hosts {
        until(&format!("peers of both families: {}", host.registry()), || host.is("held", 4));
        let registry = host.registry();
        let [v4, v6] = ["subnet", "subnet_v6"].map(|key| registry[key].as_str().unwrap().replace('/', "-"));
        let value = lan.ctl(&["get", &format!("{PREFIX}/subnets/{v4}&{v6}"), "--print-value-only"]);
        let number = host.machine.number;
        assert!(value.contains(&format!("\"PublicIPv6\":\"2001:db8:77::{number}\"")), "{value}");
        assert!(value.contains("\"BackendV6Data\":{\"VNI\":1,\"VtepMAC\":\""), "{value}");
    }
    all_reach_all(&hosts);
    let all_reach_all_v6 = |hosts: &[Host]| {
        for (from, to) in [(0, 1), (1, 0)] {
            let (from, to) = (&hosts[from], hosts[to].address_v6());
            until(&format!("way to {to}: {}", from.switch.log()), || {
                reaches(&from.pod, &from.address_v6(), &to, "1382")
            });
            assert!(
                !reaches(&from.pod, &from.address_v6(), &to, "1383"),
                "an IPv6 underlay takes 20 octets more"
            );
        }
    };
    all_reach_all_v6(&hosts);
    for host in &hosts {
        until("way to flanneld's host", || reaches(&host.pod, &host.address_v6(), &gateway_v6, "1382"));
        until("way from flanneld's host", || reaches(&flannel.space, &gateway_v6, &host.address_v6(), "56"));
    }
    drop(flanneld);

    // The lease outlives the process, both of its halves; with subnets in the file those are asked for.
    let registry = hosts[1].registry();
    let subnets = ["subnet", "subnet_v6"].map(|key| registry[key].as_str().unwrap().to_owned());
    let addresses = (hosts[1].address(), hosts[1].address_v6());
    assert_eq!(hosts[1].switch.signal(Signal::TERM).code(), Some(0));
    let gateways = [first_of(&addresses.0, "."), first_of(&addresses.1, "::")];
    let host = &mut hosts[1];
    let given = format!("[network.pod]\nsubnet = {subnets:?}\ngateway = {gateways:?}");
    host.switch = host.machine.switch(&dual(&host.machine, &host.pod).replace("[network.pod]", &given));
    host.switch.is_ready();
    until("the lease again", || host.is("held", 4));
    assert_eq!((host.registry()["subnet_v6"].as_str(), host.address_v6()), (Some(&*subnets[1]), addresses.1));
    all_reach_all(&hosts);
    all_reach_all_v6(&hosts);
}

#[test]
fn a_configuration_that_differs_is_told_and_waited_for() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    lan.configure(r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":7}}"#);
    let host = Host::new(&lan, 1, "vxlan");
    assert!(
        host.switch.message().contains("Backend.VNI of the configuration in etcd is 7"),
        "{}",
        host.switch.log()
    );
    lan.configure(VXLAN_DUAL);
    until("the other word", || host.switch.log().contains("EnableIPv6 of the configuration in etcd is true"));
    lan.configure(VXLAN);
    host.switch.is_ready();
}
