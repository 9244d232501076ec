//! Three hosts and one etcd: two run `tapestry flanneld`, the third is built with a kernel VXLAN device from the same keys,
//! as flanneld would build it. What is cut heals, and etcd's absence is not noticed by packets.

use tapestry::link::Namespace;

use crate::etcd::{PREFIX, VXLAN};
use crate::lan::{Flanneld, Lan, Machine, able, output, run, until};

const KERNELS_MAC: &str = "0e:2a:00:00:00:03";
const KERNELS_GATEWAY: &str = "10.5.203.1";

/// Two hosts of ours and the kernel's.
struct Cluster {
    lan: Lan,
    hosts: [Machine; 3],
    running: Vec<Flanneld>,
}

impl Cluster {
    fn new() -> Self {
        let lan = Lan::new();
        lan.configure(VXLAN);
        let hosts = [1, 2, 3].map(|number| lan.machine(number));
        let value = format!(
            r#"{{"PublicIP":"192.168.77.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{KERNELS_MAC}"}}}}"#
        );
        lan.ctl(&["put", &format!("{PREFIX}/subnets/10.5.203.0-24"), &value]);
        let running = hosts[..2].iter().map(|host| host.join(&["-ip-masq"])).collect();
        let cluster = Self { lan, hosts, running };
        cluster.build_kernel();
        cluster
    }

    /// The kernel's device and what it has to know, from the keys that ours have written.
    fn build_kernel(&self) {
        let space = &self.hosts[2].space;
        run(
            space,
            &format!(
                "ip link add flannel.1 address {KERNELS_MAC} type vxlan id 1 dev eth0 local 192.168.77.3 dstport 8472 nolearning
                 ip addr add 10.5.203.0/32 dev flannel.1
                 ip link set flannel.1 mtu 1450 up
                 ip addr add {KERNELS_GATEWAY}/24 dev cni0"
            ),
        );
        for host in &self.hosts[..2] {
            let own = host.own();
            let key = format!("{PREFIX}/subnets/{own}-24");
            let value = self.lan.ctl(&["get", &key, "--print-value-only"]);
            let lease: serde_json::Value = serde_json::from_str(&value).unwrap();
            let (mac, public) = (&lease["BackendData"]["VtepMAC"], &lease["PublicIP"]);
            let (mac, public) = (mac.as_str().unwrap(), public.as_str().unwrap());
            run(
                space,
                &format!(
                    "ip neigh add {own} lladdr {mac} dev flannel.1 nud permanent
                     bridge fdb append {mac} dev flannel.1 dst {public}
                     ip route add {own}/24 via {own} dev flannel.1 onlink"
                ),
            );
        }
    }

    fn gateways(&self) -> [String; 3] {
        [self.hosts[0].gateway(), self.hosts[1].gateway(), KERNELS_GATEWAY.to_owned()]
    }

    fn space(&self, host: usize) -> &Namespace {
        &self.hosts[host].space
    }

    /// Whether a pod of one host reaches one of another, with a packet so long.
    fn reaches(&self, from: usize, to: usize, len: &str) -> bool {
        let gateways = self.gateways();
        let words =
            ["ping", "-c", "1", "-W", "1", "-M", "do", "-s", len, "-I", &gateways[from], &gateways[to]];
        let mut command = std::process::Command::new(words[0]);
        command.args(&words[1..]);
        self.space(from).run(|| command.output()).unwrap().unwrap().status.success()
    }

    fn all_reach_all(&self) {
        for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
            until(&format!("way from {from} to {to}: {}", self.logs()), || self.reaches(from, to, "56"));
        }
    }

    fn logs(&self) -> String {
        self.running.iter().map(Flanneld::log).collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn pods_of_three_hosts_reach_each_other_the_kernels_too() {
    if !able() {
        return;
    }
    let cluster = Cluster::new();
    cluster.all_reach_all();
    for (from, to) in [(0, 1), (0, 2), (2, 0)] {
        assert!(cluster.reaches(from, to, "1422"), "as long as the device says, from {from} to {to}");
    }
    assert!(!cluster.reaches(0, 1, "1423"), "and no longer");
}

#[test]
fn what_was_cut_heals_and_etcd_is_not_missed() {
    if !able() {
        return;
    }
    let mut cluster = Cluster::new();
    cluster.all_reach_all();
    cluster.lan.wire(2, "down");
    until("the cut", || !cluster.reaches(0, 1, "56"));
    assert!(cluster.reaches(0, 2, "56"), "the others are not concerned");
    cluster.lan.wire(2, "up");
    cluster.all_reach_all();

    cluster.lan.kill_etcd();
    until("the report", || cluster.running[0].log().contains("etcd cannot be reached"));
    cluster.all_reach_all();
    cluster.lan.start_etcd();
    // A host joins after all that, and what happened before is forgotten.
    let fields = cluster.lan.ctl(&["get", "x", "--write-out=fields"]);
    let revision = fields.lines().find_map(|line| line.strip_prefix("\"Revision\" : ")).unwrap();
    cluster.lan.ctl(&["compact", revision]);
    let fourth = cluster.lan.machine(4);
    let _joined = fourth.join(&[]);
    let (own, gateway) = (fourth.own(), fourth.gateway());
    until("the fourth host", || {
        output(cluster.space(0), &["ip", "route"])
            .contains(&format!("{own}/24 via {own} dev flannel.1 onlink"))
    });
    let from = cluster.gateways()[0].clone();
    let ping = ["ping", "-c", "1", "-W", "1", "-I", &from, &gateway];
    until("a way to the fourth host", || {
        let mut command = std::process::Command::new(ping[0]);
        command.args(&ping[1..]);
        cluster.space(0).run(|| command.output()).unwrap().unwrap().status.success()
    });
}

#[test]
fn ipv6_travels_beside_ipv4_over_an_underlay_of_its_own() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    lan.configure(
        r#"{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}"#,
    );
    let hosts = [1, 2].map(|number| lan.machine(number));
    let running: Vec<Flanneld> = hosts.iter().map(|host| host.join(&["-ip-masq"])).collect();
    for host in &hosts {
        let gateway = host.env("FLANNEL_IPV6_SUBNET");
        run(
            &host.space,
            &format!("ip addr add {gateway} dev cni0 nodad\nsysctl -qw net.ipv6.conf.all.forwarding=1"),
        );
    }
    let pairs = [(&hosts[0], &hosts[1]), (&hosts[1], &hosts[0])];
    for (from, to) in pairs {
        let v6 = |host: &Machine| host.env("FLANNEL_IPV6_SUBNET").replace("/64", "");
        for (source, target) in [(from.gateway(), to.gateway()), (v6(from), v6(to))] {
            let pings = || {
                let mut command = std::process::Command::new("ping");
                command.args(["-c", "1", "-W", "1", "-I", &source, &target]);
                from.space.run(|| command.output()).unwrap().unwrap().status.success()
            };
            until(&format!("way from {source} to {target}: {}", running[0].log()), pings);
        }
    }
    hosts[0].checks("run/tapestry.sock", "192.168.77.2");
    hosts[0].checks("run/tapestry.sock", "2001:db8:77::2");
    let device = output(&hosts[0].space, &["ip", "addr", "show", "dev", "flannel-v6.1"]);
    assert!(
        device.contains("/128 scope global") && device.contains("link/ether 0e:2b:c0:a8:4d:01"),
        "{device}"
    );
}
