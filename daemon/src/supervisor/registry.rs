//! What a registry of hosts has to say to a running switch: its peers, and how it stands with the registry.
//!
//! A list of peers is a change like others, a new plan as one event; what it comes to is one event of the log, however
//! many peers it is about. Our subnet is none: it holds from the start of the switch to its end.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::PoisonError;

use config::{Config, OverlaySpec, PeerSpec};

use super::Supervisor;
use super::operations::invalid;
use crate::api::{ApiError, ErrorKind, RegistryInfo, RegistryState, Warning};
use crate::events::{Event, EventKind};

/// Peers that an event names; all are counted.
const NAMED_MAX: usize = 5;

/// What became of a list of peers.
#[derive(Debug)]
pub(crate) struct Joined {
    /// How many are new, or are reached otherwise.
    pub(crate) came: u64,
    /// How many are no more.
    pub(crate) went: u64,
    /// How many there are.
    pub(crate) peers: u64,
    /// Those that cannot be, and why.
    pub(crate) refused: Vec<(PeerSpec, String)>,
}

impl Supervisor {
    /// These are the overlay's other hosts from now on, but for those that cannot be.
    ///
    /// # Errors
    /// If the change is refused. The old ones stay then.
    pub(crate) fn set_peers(&self, peers: Vec<PeerSpec>) -> Result<Joined, ApiError> {
        let mut joined = Joined { came: 0, went: 0, peers: 0, refused: Vec::new() };
        let (mut came, mut went) = (Vec::new(), Vec::new());
        let edit = |config: &Config, leases: &config::Leases| {
            let (next, refused) = config.with_peers(peers).map_err(|report| invalid("overlay", &report))?;
            let (before, after) = (by_endpoint(config), by_endpoint(&next));
            came = after
                .iter()
                .filter(|(end, peer)| before.get(*end) != Some(peer))
                .map(|(_, peer)| named(peer))
                .collect();
            went = before
                .iter()
                .filter(|(end, _)| !after.contains_key(*end))
                .map(|(_, peer)| named(peer))
                .collect();
            joined.peers = after.len() as u64;
            joined.refused = refused;
            Ok((next, leases.clone()))
        };
        self.change_telling(edit, |_| Vec::new())?;
        joined.came = came.len() as u64;
        joined.went = went.len() as u64;
        if !came.is_empty() || !went.is_empty() {
            let parts = [("came or changed", &came), ("went", &went)];
            let parts = parts.into_iter().filter(|(_, peers)| !peers.is_empty());
            let text: Vec<String> = parts.map(|(what, peers)| sentence(what, peers)).collect();
            self.events.publish(Event::new(EventKind::RegistryPeers, text.join("; ")));
        }
        Ok(joined)
    }

    /// Notes how we stand with the registry.
    pub(crate) fn note_registry(&self, note: impl FnOnce(&mut RegistryInfo)) {
        note(self.registry.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default());
    }

    /// How we stand with the registry, if there is one.
    pub(super) fn registry(&self) -> Option<RegistryInfo> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// That a running switch would get another registry, which it cannot.
    pub(super) fn check_registry(&self, old: &Config, new: &Config) -> Result<(), ApiError> {
        let Some(why) = old.registry_fault(new) else { return Ok(()) };
        Err(ApiError::new(ErrorKind::Conflict, "overlay", why)
            .next("end the switch and start it with the new file"))
    }
}

fn by_endpoint(config: &Config) -> BTreeMap<IpAddr, &PeerSpec> {
    let peers = config.overlay.as_ref().map_or(&[][..], |overlay: &OverlaySpec| &overlay.peer);
    peers.iter().map(|peer| (peer.endpoint, peer)).collect()
}

fn named(peer: &PeerSpec) -> String {
    format!("{} at {}", peer.subnet, peer.endpoint)
}

fn sentence(what: &str, peers: &[String]) -> String {
    let count = peers.len();
    let named = peers[..count.min(NAMED_MAX)].join(", ");
    let rest = if count > NAMED_MAX { format!(" and {} more", count - NAMED_MAX) } else { String::new() };
    format!("{count} peer{} {what}: {named}{rest}", if count == 1 { "" } else { "s" })
}

/// What is worse than it could be.
pub(super) fn warnings(info: Option<&RegistryInfo>) -> Option<Warning> {
    let info = info?;
    let next = match info.state {
        RegistryState::Held => return None,
        RegistryState::Waiting => "peers are reached as soon as there is a lease",
        RegistryState::Away => {
            "forwarding goes on with the peers that are known; see whether its servers run"
        }
        RegistryState::Lost => "what goes on inside of this host is not concerned; it is tried again",
    };
    let text = format!("the overlay's registry, etcd: {}: {}", info.state.as_str(), info.why);
    Some(Warning { text, next: next.to_owned() })
}
