//! What the tests of the whole switch share: a network of stations, and numbered datagrams between them.

use std::net::UdpSocket;

use tapestry::link::Namespace;

use crate::daemon::PATIENCE;

/// Stations .2, .3, … of network "a", each port named after its position.
pub(crate) fn configuration(head: &str, stations: &[&Namespace]) -> String {
    let mut text = format!("{head}\n[network.a]\nsubnet = [\"172.16.0.0/16\"]\ngateway = [\"172.16.0.1\"]\n");
    for (index, station) in stations.iter().enumerate() {
        let host = index + 2;
        text += &format!(
            "[port.p{index}]\nnetwork = \"a\"\nnetns = {:?}\nifname = \"eth0\"\naddress = [\"172.16.0.{host}/16\"]\n",
            station.path()
        );
    }
    text
}

/// The same network with IPv6 beside it: stations fd00:16::2, ::3, …
pub(crate) fn dual_stack(head: &str, stations: &[&Namespace]) -> String {
    let subnet = "subnet = [\"172.16.0.0/16\", \"fd00:16::/64\"]\ngateway = [\"172.16.0.1\", \"fd00:16::1\"]";
    let text = configuration(head, stations)
        .replace("subnet = [\"172.16.0.0/16\"]\ngateway = [\"172.16.0.1\"]", subnet);
    (0..stations.len()).map(|index| index + 2).fold(text, |text, host| {
        let both = format!("[\"172.16.0.{host}/16\", \"fd00:16::{host}/64\"]");
        text.replace(&format!("[\"172.16.0.{host}/16\"]"), &both)
    })
}

/// The second station of [`dual_stack`], by either family.
pub(crate) const SECOND: [&str; 2] = ["172.16.0.3", "fd00:16::3"];

/// Sends numbered datagrams on each of several flows and checks that every one arrives, each flow in order. At most a
/// window of them is under way, so that no buffer can be blamed for a loss.
pub(crate) fn numbered(
    from: &Namespace,
    towards: &Namespace,
    to: &str,
    flows: usize,
    count: u32,
    mut between: impl FnMut(u32),
) {
    const WINDOW: u32 = 32;
    let bind = |namespace: &Namespace, address: &str| -> UdpSocket {
        let socket = namespace.run(|| UdpSocket::bind((address, 0))).unwrap().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let pairs: Vec<(UdpSocket, UdpSocket)> = (0..flows)
        .map(|_| {
            let any = if to.contains(':') { "::" } else { "0.0.0.0" };
            let (sender, receiver) = (bind(from, any), bind(towards, to));
            sender.connect(receiver.local_addr().unwrap()).unwrap();
            (sender, receiver)
        })
        .collect();
    let mut expected = 0;
    for sequence in 0..count {
        for (sender, _) in &pairs {
            sender.send(&sequence.to_be_bytes()).unwrap();
        }
        between(sequence);
        // The first is waited for: until the neighbour is resolved the sender's own stack keeps few, and drops the oldest.
        let window = if sequence == 0 { 1 } else { WINDOW };
        while sequence + 1 - expected >= window || (sequence + 1 == count && expected < count) {
            for (_, receiver) in &pairs {
                let mut bytes = [0; 4];
                receiver
                    .recv(&mut bytes)
                    .unwrap_or_else(|error| panic!("datagram {expected} is lost: {error}"));
                assert_eq!(u32::from_be_bytes(bytes), expected, "out of order");
            }
            expected += 1;
        }
    }
}

/// Frames that a worker, as `status` tells of it, has taken from devices and other workers.
pub(crate) fn taken(worker: &serde_json::Value) -> u64 {
    ["frames", "joined"].iter().map(|count| worker[count].as_u64().unwrap()).sum()
}
