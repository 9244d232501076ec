//! Backend `udp`: bare packets, flanneld's default. On the wire, on the host, and between both programs.

use std::net::UdpSocket;

use crate::etcd::PATIENCE;
use crate::etcd::PREFIX;
use crate::lan::{Lan, able, output, reaches, run, until};

/// What flanneld makes `udp` of.
const DEFAULT: &str = r#"{"Network":"10.5.0.0/16"}"#;

#[test]
fn hosts_reach_each_other_by_bare_packets() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    lan.configure(DEFAULT);
    let hosts = [1, 2].map(|number| lan.machine(number));
    let running = hosts.each_ref().map(|host| host.join(&["-ip-masq"]));
    let (one, two) = (hosts[0].gateway(), hosts[1].gateway());
    let logs = || running.each_ref().map(|flanneld| flanneld.log()).join("\n");
    until(&format!("a way: {}", logs()), || reaches(&hosts[0].space, &one, &two, "56"));
    until("the way back", || reaches(&hosts[1].space, &two, &one, "56"));
    assert!(reaches(&hosts[0].space, &one, &two, "1444"), "as long as the device says");
    assert!(!reaches(&hosts[0].space, &one, &two, "1445"), "and no longer");

    hosts[0].checks("run/tapestry.sock", "192.168.77.2");

    let own = hosts[0].own();
    assert_eq!(hosts[0].env("FLANNEL_MTU"), "1472");
    let value = lan.ctl(&["get", &format!("{PREFIX}/subnets/{own}-24"), "--print-value-only"]);
    assert_eq!(value.trim_end(), r#"{"PublicIP":"192.168.77.1","PublicIPv6":null}"#);
    let device = output(&hosts[0].space, &["ip", "-d", "addr", "show", "dev", "flannel0"]);
    for words in ["mtu 1472", "tun type tun", &format!("inet {own}/32 scope global flannel0")] {
        assert!(device.contains(words), "{words}: {device}");
    }
    let routes = output(&hosts[0].space, &["ip", "route"]);
    assert!(routes.contains("10.5.0.0/16 dev flannel0"), "{routes}");

    // The proxies take one from TTL at each end.
    let answered = output(&hosts[0].space, &["ping", "-c", "1", "-W", "5", "-I", &one, &two]);
    assert!(answered.contains("ttl=62"), "{answered}");
    // What the host says itself has the subnet's own address, which is answered.
    let answered = output(&hosts[0].space, &["ping", "-c", "1", "-W", "5", &two]);
    assert!(answered.contains("ttl=62"), "{answered}");
    // Nobody has this subnet, and the sender is told.
    let mut nowhere = std::process::Command::new("ping");
    nowhere.args(["-c", "1", "-W", "2", "-I", &one, "10.5.250.250"]);
    let told = hosts[0].space.run(|| nowhere.output()).unwrap().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("Destination Net Unreachable"), "{told}");

    // Deleted routes come back, and a device that was deleted is made anew.
    run(&hosts[0].space, "ip link del flannel0");
    until("the device again", || reaches(&hosts[0].space, &one, &two, "56"));
}

#[test]
fn a_datagram_is_the_packet_and_nothing_else() {
    if !able() {
        return;
    }
    let lan = Lan::new();
    lan.configure(r#"{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":7890}}"#);
    let host = lan.machine(1);
    let flanneld = host.join(&[]);
    let stranger = lan.machine(9);
    let socket = stranger.space.run(|| UdpSocket::bind("192.168.77.9:7890")).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let value = r#"{"PublicIP":"192.168.77.9","PublicIPv6":null}"#;
    lan.ctl(&["put", &format!("{PREFIX}/subnets/10.5.209.0-24"), value]);
    until("the tunnel", || flanneld.log().contains("1 peers"));
    let mut ping = std::process::Command::new("ping");
    ping.args(["-c", "1", "-W", "10", "-s", "8", "-I", &host.gateway(), "10.5.209.3"]);
    ping.stdout(std::process::Stdio::piped());
    let asking = host.space.run(|| ping.spawn()).unwrap().unwrap();
    let mut octets = [0; 2048];
    let (len, from) = socket.recv_from(&mut octets).unwrap();
    assert_eq!((len, from.to_string().as_str()), (36, "192.168.77.1:7890"));
    assert_eq!((octets[0], octets[8], octets[9]), (0x45, 63, 1), "version, TTL less one, ICMP");
    assert_eq!(octets[16..20], [10, 5, 209, 3]);

    // The same packet, answered as flanneld would send it.
    let mut answer = octets[..len].to_vec();
    answer.copy_within(12..16, 16);
    answer[12..16].copy_from_slice(&octets[16..20]);
    answer[20] = 0; // Echo reply.
    let sum = u32::from(u16::from_be_bytes([answer[22], answer[23]])) + 0x0800;
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    answer[22..24].copy_from_slice(&sum.to_be_bytes());
    socket.send_to(&answer, from).unwrap();
    let said = String::from_utf8(asking.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("ttl=62"), "{said}\n{}", flanneld.log());
}
