//! Whether an interface that the host uses can be an uplink's, before anything is opened on it.

use std::io;

use wire::{Cidr, Mac};

use super::{Layer, LinkState, Namespace, list};

/// The interface of this name, if a station with these addresses of its own can be on it.
///
/// # Errors
/// InvalidInput, with the reason and what to do: there is none of this name, it is the loopback interface or not an
/// Ethernet one, it belongs to a bridge or the like, or the host has one of the addresses.
pub fn survey(namespace: &Namespace, name: &str, mac: Mac, addresses: &[Cidr]) -> io::Result<LinkState> {
    let links = list(namespace)?;
    match unfit(&links, name, mac).or_else(|| taken(&links, addresses)) {
        Some(why) => Err(io::Error::new(io::ErrorKind::InvalidInput, why)),
        None => Ok(links.into_iter().find(|link| link.name == name).expect("it was found fit")),
    }
}

/// Which of these addresses the host has meanwhile, in words; `None`: none.
///
/// # Errors
/// As [`list`].
pub fn conflict(namespace: &Namespace, addresses: &[Cidr]) -> io::Result<Option<String>> {
    Ok(taken(&list(namespace)?, addresses))
}

fn unfit(links: &[LinkState], name: &str, mac: Mac) -> Option<String> {
    let Some(link) = links.iter().find(|link| link.name == name) else {
        let names: Vec<&str> = links
            .iter()
            .filter(|link| link.layer == Layer::Ethernet)
            .map(|link| link.name.as_str())
            .collect();
        return Some(format!(
            "there is no interface {name}; make it first, or give one that exists: {}",
            if names.is_empty() { "there is none".to_owned() } else { names.join(", ") }
        ));
    };
    match link.layer {
        Layer::Ethernet => {}
        Layer::Loopback => {
            return Some(format!("{name} leads nowhere but back; give an interface that leads outside"));
        }
        Layer::Other => {
            return Some(format!("{name} carries no Ethernet frames; give an Ethernet interface"));
        }
    }
    let master = link.master.and_then(|index| links.iter().find(|other| other.index == index));
    // A VRF only chooses the routing table of what the host receives.
    if let Some(master) = master.filter(|master| master.kind.as_deref() != Some("vrf")) {
        let kind = master.kind.as_deref().unwrap_or("master");
        return Some(format!(
            "{name} belongs to {kind} {0}, which takes its frames; give {0}, or take {name} out of it",
            master.name
        ));
    }
    (link.mac == Some(mac)).then(|| {
        format!(
            "{mac} is the address of {name} itself, and its frames the host's; give another `mac`, or none"
        )
    })
}

fn taken(links: &[LinkState], addresses: &[Cidr]) -> Option<String> {
    let of = |address: &Cidr| {
        let holds = |link: &&LinkState| link.addresses.iter().any(|own| own.address() == address.address());
        links.iter().find(holds).map(|link| (address.address(), link))
    };
    addresses.iter().find_map(of).map(|(address, link)| {
        format!(
            "{address} is the host's own, on {}, and two cannot answer for it; give the uplink another address",
            link.name
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, layer: Layer) -> LinkState {
        LinkState {
            index,
            name: name.to_owned(),
            kind: None,
            mac: Some(Mac([2, 0, 0, 0, 0, index.to_le_bytes()[0]])),
            mtu: 1500,
            up: true,
            running: true,
            carrier_changes: 0,
            tx_queue_len: 0,
            layer,
            master: None,
            addresses: Vec::new(),
        }
    }

    #[test]
    fn what_cannot_be_an_uplink_is_told_with_the_way_out() {
        let kind = |kind: &str, link| LinkState { kind: Some(kind.to_owned()), ..link };
        let links = [
            link(1, "lo", Layer::Loopback),
            link(2, "eth0", Layer::Ethernet),
            link(3, "wg0", Layer::Other),
            kind("bridge", link(4, "br0", Layer::Ethernet)),
            LinkState { master: Some(4), ..link(5, "eth1", Layer::Ethernet) },
            kind("vrf", link(6, "blue", Layer::Other)),
            LinkState { master: Some(6), ..link(7, "eth2", Layer::Ethernet) },
        ];
        let ours = Mac([2, 0x42, 0, 0, 0, 1]);
        for (name, mac, words) in [
            ("lo", ours, "leads nowhere"),
            ("wg0", ours, "no Ethernet"),
            ("eth1", ours, "belongs to bridge br0"),
            ("eth9", ours, "exists: eth0, br0, eth1, eth2"),
            ("eth0", Mac([2, 0, 0, 0, 0, 2]), "is the address of eth0 itself"),
        ] {
            let why = unfit(&links, name, mac).unwrap();
            assert!(why.contains(words) && why.contains("; "), "{why}");
        }
        for name in ["eth0", "br0", "eth2"] {
            assert_eq!(unfit(&links, name, ours), None);
        }
        assert!(unfit(&[], "eth0", ours).unwrap().ends_with("there is none"));
    }

    #[test]
    fn an_address_of_any_interface_of_the_host_is_taken() {
        let cidr = |text: &str| text.parse::<Cidr>().unwrap();
        let addresses = vec![cidr("192.0.2.1/24"), cidr("fd00::1/64")];
        let links = [LinkState { addresses, ..link(2, "eth0", Layer::Ethernet) }];
        assert!(taken(&links, &[cidr("192.0.2.7/24"), cidr("fd00::1/128")]).unwrap().contains("fd00::1"));
        assert_eq!(taken(&links, &[cidr("192.0.2.7/24")]), None);
    }
}
