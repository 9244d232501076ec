//! From a fresh TAP to an interface that somebody asked for, and back to nothing when a step fails.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use tapestry::link::{self, Interface, Namespace, TX_QUEUE_LEN};
use tapestry::port::{Tap, TapQueue};
use wire::Mac;

use crate::support::{able, eth0, hold, names, namespace, nothing_starts, role, second_process};

const MAC: Mac = Mac([0x02, 0x42, 0xac, 0x10, 0, 2]);

fn establish(home: &Namespace, interface: &Interface) -> io::Result<Vec<TapQueue>> {
    home.run(|| link::establish(Tap::create(1)?, interface).map(Tap::into_queues))?
}

fn refusal(home: &Namespace, interface: &Interface) -> io::Error {
    let _quiet = nothing_starts();
    establish(home, interface).map(drop).expect_err("it is refused")
}

/// The address from which the namespace would talk to `peer`: what its routes say.
fn source_towards(namespace: &Namespace, peer: &str) -> io::Result<IpAddr> {
    namespace.run(|| {
        let peer: SocketAddr = peer.parse().expect("an address and a port");
        let socket = UdpSocket::bind(if peer.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.connect(peer)?;
        Ok(socket.local_addr()?.ip())
    })?
}

#[test]
fn an_interface_may_keep_the_name_that_it_has_for_the_time_being() {
    if !able() {
        return;
    }
    let home = namespace("home");
    let stays = Interface { name: "tapestry0".to_owned(), namespace: None, ..eth0(&home, &[]) };
    let _queues = establish(&home, &stays).unwrap();
    assert_eq!(names(&home), ["tapestry0"]);
    let moved = Interface { name: "tapestry0".to_owned(), ..eth0(&home, &[]) };
    assert_eq!(refusal(&home, &moved).kind(), ErrorKind::AlreadyExists, "another has it");
}

#[test]
fn an_interface_is_named_placed_addressed_raised_and_routed() {
    if !able() {
        return;
    }
    let (home, ns1) = (namespace("home"), namespace("ns1"));
    let interface = Interface {
        mac: Some(MAC),
        mtu: 1400,
        gateways: vec!["172.16.0.1".parse().unwrap(), "fd00:16::1".parse().unwrap()],
        ..eth0(&ns1, &["172.16.0.2/16", "fd00:16::2/64"])
    };
    let queues = establish(&home, &interface).unwrap();

    let state = link::find(&ns1, "eth0").unwrap().unwrap();
    assert_eq!((state.mac, state.mtu, state.up, state.running), (Some(MAC), 1400, true, true));
    assert_eq!((state.kind.as_deref(), state.tx_queue_len), (Some("tun"), TX_QUEUE_LEN));
    for address in &interface.addresses {
        assert!(state.addresses.contains(address), "{address} in {:?}", state.addresses);
    }
    assert_eq!(source_towards(&ns1, "198.51.100.1:9").unwrap(), interface.addresses[0].address());
    assert_eq!(source_towards(&ns1, "[2001:db8::1]:9").unwrap(), interface.addresses[1].address());
    // Usable at once: no duplicate address detection is waited for.
    ns1.run(|| UdpSocket::bind("[fd00:16::2]:0")).unwrap().unwrap();

    assert_eq!(names(&home), Vec::<String>::new());
    let _quiet = nothing_starts();
    drop(queues);
    assert_eq!(names(&ns1), Vec::<String>::new());
}

#[test]
fn an_interface_that_stays_gets_no_default_route() {
    if !able() {
        return;
    }
    let home = namespace("home");
    let interface = Interface {
        name: "tdocker0".to_owned(),
        namespace: None,
        gateways: vec!["172.17.0.254".parse().unwrap()],
        ..eth0(&home, &["172.17.0.1/16"])
    };
    let _queues = establish(&home, &interface).unwrap();
    assert_eq!(names(&home), ["tdocker0"]);
    assert_eq!(source_towards(&home, "172.17.0.9:9").unwrap(), interface.addresses[0].address());
    assert_eq!(source_towards(&home, "198.51.100.1:9").unwrap_err().kind(), ErrorKind::NetworkUnreachable);
}

#[test]
fn an_interface_with_ipv4_alone_keeps_silent_about_ipv6() {
    if !able() {
        return;
    }
    let (home, ns1) = (namespace("home"), namespace("ns1"));
    let _queues = establish(&home, &eth0(&ns1, &["172.16.0.2/16"])).unwrap();
    let state = link::find(&ns1, "eth0").unwrap().unwrap();
    assert!(state.addresses.iter().all(|address| address.address().is_ipv4()), "{:?}", state.addresses);
}

#[test]
fn a_taken_name_is_refused_with_what_took_it() {
    if !able() {
        return;
    }
    let (home, ns1) = (namespace("home"), namespace("ns1"));
    let _first = establish(&home, &eth0(&ns1, &["172.16.0.2/16"])).unwrap();
    let error = refusal(&home, &eth0(&ns1, &["172.16.0.3/16"]));
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let text = error.to_string();
    let who =
        format!("namespace ns1 has an interface eth0 already, held by process {} (", std::process::id());
    assert!(text.starts_with(&who) && text.ends_with("): end that, or choose another ifname"), "{text}");
    assert_eq!(names(&ns1), ["eth0"]);
    let error = refusal(&home, &Interface { name: "lo".to_owned(), ..eth0(&ns1, &["172.16.0.3/16"]) });
    assert_eq!(
        error.to_string(),
        "namespace ns1 has an interface lo already: remove that, or choose another ifname"
    );
    assert_eq!(names(&home), Vec::<String>::new());
}

#[test]
fn a_step_that_fails_late_leaves_nothing() {
    if !able() {
        return;
    }
    let (home, ns1) = (namespace("home"), namespace("ns1"));
    let twice = refusal(&home, &eth0(&ns1, &["172.16.0.2/16", "172.16.0.2/16"]));
    assert_eq!(twice.to_string(), "interface eth0 in namespace ns1: it has 172.16.0.2/16 already");
    let elsewhere =
        Interface { gateways: vec!["10.9.9.9".parse().unwrap()], ..eth0(&ns1, &["172.16.0.2/16"]) };
    let error = refusal(&home, &elsewhere).to_string();
    assert!(error.contains("default route via 10.9.9.9 (a gateway has to be inside"), "{error}");
    let error = refusal(&home, &Interface { mac: Some(Mac::BROADCAST), ..eth0(&ns1, &[]) }).to_string();
    assert!(error.contains("setting MTU 1500, address ff:ff:ff:ff:ff:ff"), "{error}");
    let error = refusal(&home, &Interface { mtu: 20, ..eth0(&ns1, &[]) }).to_string();
    assert!(error.contains("setting MTU 20"), "{error}");
    assert_eq!(names(&ns1), Vec::<String>::new());
    assert_eq!(names(&home), Vec::<String>::new());
}

#[test]
fn a_killed_process_leaves_no_interface() {
    if let Some(path) = role() {
        let ns1 = Namespace::open(&path).unwrap();
        let _queues = establish(&namespace("home"), &eth0(&ns1, &["172.16.0.2/16"])).unwrap();
        return hold();
    }
    if !able() {
        return;
    }
    let ns1 = namespace("ns1");
    let path = ns1.path();
    let mut child = second_process("link::a_killed_process_leaves_no_interface", path.to_str().unwrap());
    assert_eq!(names(&ns1), ["eth0"]);
    child.kill().unwrap();
    child.wait().unwrap(); // A process is not reaped before its descriptors are closed.
    assert_eq!(names(&ns1), Vec::<String>::new());
}
