//! Where the demo plays: the namespaces, the cable to the outside, and the switch's configuration.

use std::io;

use crate::link::{self, End, Namespace};

/// The stations: name, network, address and prefix length, IPv6 address if the network has IPv6.
const STATIONS: [(&str, &str, &[&str]); 4] = [
    ("blue1", "blue", &["172.16.0.2/16", "fd00:16::2/64"]),
    ("blue2", "blue", &["172.16.0.3/16", "fd00:16::3/64"]),
    ("red1", "red", &["172.17.0.2/16"]),
    ("red2", "red", &["172.17.0.3/16"]),
];

/// Everybody's namespace.
pub(super) struct Stage {
    pub(super) blue1: Namespace,
    pub(super) blue2: Namespace,
    pub(super) red1: Namespace,
    pub(super) red2: Namespace,
    /// Where the switch runs, with an interface to the outside.
    pub(super) host: Namespace,
    /// Somebody outside.
    pub(super) outside: Namespace,
}

impl Stage {
    /// Makes the namespaces and the cable.
    ///
    /// # Errors
    /// With what was tried.
    pub(super) fn build() -> io::Result<Self> {
        let [blue1, blue2, red1, red2] = STATIONS.map(|(name, ..)| Namespace::anonymous(name));
        let stage = Self {
            blue1: blue1?,
            blue2: blue2?,
            red1: red1?,
            red2: red2?,
            host: Namespace::anonymous("the host")?,
            outside: Namespace::anonymous("outside")?,
        };
        let end = |namespace, address: &str| {
            let address = address.parse().expect("the demo's addresses are addresses");
            End { namespace, ifname: "eth0", address }
        };
        link::plug(end(&stage.host, "192.0.2.2/24"), end(&stage.outside, "192.0.2.1/24"))?;
        // Whoever is outside may know where the networks are: it helps him nothing.
        let blue = ("172.16.0.0/16".parse(), "192.0.2.7".parse());
        let (Ok(blue), Ok(uplink)) = blue else { unreachable!("the demo's addresses are addresses") };
        link::reroute(&stage.outside, "eth0", &[], &[(blue, uplink)])?;
        Ok(stage)
    }

    /// What the switch is to be.
    pub(super) fn configuration(&self) -> String {
        let mut text = String::from(
            r#"
            [network.blue]
            subnet = ["172.16.0.0/16", "fd00:16::/64"]
            gateway = ["172.16.0.1", "fd00:16::1"]
            masquerade = true
            [network.red]
            subnet = ["172.17.0.0/16"]
            gateway = ["172.17.0.1"]
            masquerade = true
            [port.host]
            network = "blue"
            ifname = "blue0"
            address = ["172.16.0.254/16"]
            [uplink]
            kind = "nic"
            ifname = "eth0"
            address = ["192.0.2.7/24"]
            gateway = ["192.0.2.1"]
            [[publish]]
            listen = "0.0.0.0:8080"
            to = "red1:80"
            "#,
        );
        let namespaces = [&self.blue1, &self.blue2, &self.red1, &self.red2];
        for ((name, network, addresses), namespace) in STATIONS.iter().zip(namespaces) {
            let path = namespace.path();
            text += &format!(
                "[port.{name}]\nnetwork = {network:?}\nnetns = {path:?}\nifname = \"eth0\"\naddress = {addresses:?}\n"
            );
        }
        text
    }
}
