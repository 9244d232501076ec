//! Things kept: a node and its plan as octets, so that a recording may begin in the middle of a node's life.
//!
//! The form is postcard's: fields in their order, integers short, no names. So it is this version's alone, and a change of
//! any table of the node changes it: the test beside this file holds a digest of the form, and asks for another
//! [`VERSION`](super::VERSION) when it moves. Octets that were made by somebody else make a node that may be wrong, never
//! one that is unsafe; a replay contains its panic.

use std::sync::Arc;

use node::{Node, Plan};
use serde::{Deserialize, Serialize};
use wire::PortId;

/// A plan, and what it was compiled from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The names of its ports, in their order.
    pub ports: Vec<(String, PortId)>,
    /// The configuration.
    pub text: String,
}

/// A node as octets, without its plan.
pub fn keep(node: &Node) -> Vec<u8> {
    postcard::to_stdvec(node).expect("memory takes all that a node is")
}

/// The node that was kept while `plan` held; `None` if the octets say no node.
pub fn restore(octets: &[u8], plan: Arc<Plan>) -> Option<Node> {
    let (node, rest) = postcard::take_from_bytes::<Node>(octets).ok()?;
    rest.is_empty().then(|| node.rejoin(plan))
}

impl Origin {
    /// As octets.
    pub fn keep(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("memory takes any plan")
    }

    /// From octets; `None` if they say no plan.
    pub fn restore(octets: &[u8]) -> Option<Self> {
        let (origin, rest) = postcard::take_from_bytes(octets).ok()?;
        rest.is_empty().then_some(origin)
    }
}
