//! What a configuration may ask for that this version reads and checks but does not do: a sentence for each.

use crate::spec::Document;

/// The sentences, in a fixed order. `tapestry run` warns with them and `status` shows them.
pub(crate) fn not_in_force(document: &Document) -> Vec<String> {
    let mut sentences = Vec::new();
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
