//! What a configuration may ask for that this version reads and checks but does not do: a sentence for each.

use crate::derive;
use crate::spec::Document;

/// The sentences, in a fixed order. `tapestry run` warns with them and `status` shows them.
pub(crate) fn not_in_force(document: &Document) -> Vec<String> {
    let mut sentences = Vec::new();
    let gateways = document.network.values().filter(|network| !network.gateway.is_empty()).count();
    if gateways > 0 {
        sentences.push(
            "gateways answer ARP, neighbour solicitations and echo requests; packets between networks are not routed in this version"
                .to_owned(),
        );
    }
    let masqueraded =
        names(document.network.iter().filter(|(_, network)| network.masquerade).map(|(name, _)| name));
    if let Some(networks) = masqueraded {
        sentences.push(format!("masquerade of {networks} is not done in this version"));
    }
    if let Some(uplink) = &document.uplink {
        sentences.push(format!("the uplink {:?} is not used in this version", uplink.ifname));
    }
    for publish in &document.publish {
        sentences.push(format!("{} is not published at {} in this version", publish.to, publish.listen));
    }
    for (network, _, _) in derive::tunnels(document) {
        sentences.push(format!("network {network:?} is not stretched over VXLAN in this version"));
    }
    if let Some(overlay) = &document.overlay {
        sentences.push(format!("the overlay of network {:?} is not joined in this version", overlay.network));
    }
    for (name, port) in &document.port {
        if port.vlan != 0 && !port.address.is_empty() {
            sentences.push(format!(
                "the address of port {name:?} is not put on its device, whose network has tag {}: make a VLAN interface for it",
                port.vlan
            ));
        }
    }
    sentences
}

/// `network "a"`, `networks "a", "b"`; nothing for none.
fn names<'a>(names: impl Iterator<Item = &'a String>) -> Option<String> {
    let quoted: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    match quoted.as_slice() {
        [] => None,
        [one] => Some(format!("network {one}")),
        many => Some(format!("networks {}", many.join(", "))),
    }
}
