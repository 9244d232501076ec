//! Events: what a person may want to know, as it happens, told to everybody who listens.
//!
//! The supervisor publishes, the control socket subscribes. Publishing never waits: the log remembers the newest
//! [`RECENT_MAX`] events, and a subscriber that falls more than [`BEHIND_MAX`] behind misses the oldest and is told how
//! many (`events.lost`). The clock is the wall clock, because people compare events with other logs.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// Events remembered for those who come later. The newest replaces the oldest.
pub const RECENT_MAX: usize = 256;
/// Events a subscriber may be behind. At the limit it loses the oldest, counted.
pub const BEHIND_MAX: usize = 1_024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up from 1 without gaps; 0 for `events.lost`, which each subscriber gets for itself.
    pub seq: u64,
    /// When, RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// What kind.
    pub kind: EventKind,
    /// The port it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The network it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The station it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The whole story in one sentence.
    pub text: String,
}

/// Builds the enum, its JSON and its ids from one table.
macro_rules! event_kinds {
    ($($(#[doc = $doc:literal])* $variant:ident => $id:literal;)*) => {
        /// The kinds of event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum EventKind {
            $($(#[doc = $doc])* #[serde(rename = $id)] $variant,)*
        }

        impl EventKind {
            /// Every kind, in table order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name that users see and filter by.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }
        }
    };
}

event_kinds! {
    /// The switch forwards.
    DaemonReady => "daemon.ready";
    /// The switch drains and ends.
    DaemonStopping => "daemon.stopping";
    /// A port was added.
    PortAdded => "port.added";
    /// A port was removed.
    PortRemoved => "port.removed";
    /// A port's device vanished or refused.
    PortFailed => "port.failed";
    /// A port's interface, which is not ours, went down or lost its carrier.
    PortDown => "port.down";
    /// It carries frames again, or there is one of its name again.
    PortUp => "port.up";
    /// A network was added.
    NetworkAdded => "network.added";
    /// A network was removed.
    NetworkRemoved => "network.removed";
    /// A configuration change took effect.
    ConfigApplied => "config.applied";
    /// A configuration change was refused whole.
    ConfigRejected => "config.rejected";
    /// The registry of the overlay has given this host its subnet.
    RegistryLeased => "registry.leased";
    /// This host's lease is lost.
    RegistryLost => "registry.lost";
    /// Another machine says that it has our public address.
    RegistryContested => "registry.contested";
    /// The registry does not answer; what was known last holds.
    RegistryAway => "registry.away";
    /// It answers again.
    RegistryBack => "registry.back";
    /// Other hosts came, went or changed.
    RegistryPeers => "registry.peers";
    /// The state file is of no use, or cannot be written.
    StateFailed => "state.failed";
    /// A station was learned.
    StationLearned => "fdb.learned";
    /// A station appeared behind another port.
    StationMoved => "fdb.moved";
    /// A station keeps moving between ports.
    StationFlapping => "fdb.flap";
    /// A network remembers as many stations as it may.
    NetworkFull => "fdb.full";
    /// A port has as many stations as it may.
    PortFull => "fdb.port-full";
    /// A station uses an address of the router's.
    AddressConflict => "neigh.conflict";
    /// A neighbour's MAC address changed.
    NeighbourMoved => "neigh.moved";
    /// A network has as many neighbours as it may.
    NeighboursFull => "neigh.full";
    /// The table of connections is full.
    SessionsFull => "nat.full";
    /// A host has as many connections as one may.
    ShareFull => "nat.share-full";
    /// An outside address has no L4 port left.
    L4PortsExhausted => "nat.exhausted";
    /// A logging rule of the access list matched.
    AclLogged => "acl.logged";
    /// A worker stopped unexpectedly.
    WorkerFailed => "worker.failed";
    /// Events were lost on the way to this subscriber. Those that were lost before they were published are counted in
    /// `notices_lost` and `notices_suppressed` of `tapestry status --json`.
    EventsLost => "events.lost";
}

impl Event {
    /// An event that happens now. [`EventLog::publish`] numbers it.
    pub fn new(kind: EventKind, text: impl Into<String>) -> Self {
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        Self { seq: 0, time, kind, port: None, network: None, mac: None, text: text.into() }
    }

    /// The same event, about this port.
    #[must_use]
    pub fn port(mut self, name: impl Into<String>) -> Self {
        self.port = Some(name.into());
        self
    }

    /// The same event, about this network.
    #[must_use]
    pub fn network(mut self, name: impl Into<String>) -> Self {
        self.network = Some(name.into());
        self
    }

    /// The same event, about this station.
    #[must_use]
    pub fn mac(mut self, mac: impl Into<String>) -> Self {
        self.mac = Some(mac.into());
        self
    }

    fn lost(count: u64) -> Self {
        Self::new(
            EventKind::EventsLost,
            format!("{count} events were lost because they were read too slowly"),
        )
    }
}

/// Remembers the newest events and tells subscribers of each.
#[derive(Debug)]
pub struct EventLog {
    recent: Mutex<Recent>,
    sender: broadcast::Sender<Event>,
}

#[derive(Debug, Default)]
struct Recent {
    published: u64,
    events: VecDeque<Event>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { recent: Mutex::default(), sender: broadcast::Sender::new(BEHIND_MAX) }
    }
}

impl EventLog {
    /// Numbers, remembers and tells. Never waits for a subscriber.
    pub fn publish(&self, mut event: Event) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.published += 1;
        event.seq = recent.published;
        if recent.events.len() == RECENT_MAX {
            recent.events.pop_front();
        }
        recent.events.push_back(event.clone());
        // Told under the lock, so that numbers and order agree. An error only means that nobody listens.
        drop(self.sender.send(event));
    }

    /// The remembered events, oldest first.
    pub fn recent(&self) -> Vec<Event> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).events.iter().cloned().collect()
    }

    /// The remembered events and all that follow, without a gap between them.
    pub fn subscribe(&self) -> Subscription {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        Subscription { past: recent.events.clone(), receiver: self.sender.subscribe() }
    }
}

/// One subscriber's view of an [`EventLog`].
#[derive(Debug)]
pub struct Subscription {
    past: VecDeque<Event>,
    receiver: broadcast::Receiver<Event>,
}

impl Subscription {
    /// The next event; `None` once the log is gone. Cancelling the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.past.pop_front() {
            return Some(event);
        }
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Event::lost(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The same for a thread without a runtime: waits. Not to be called from asynchronous code.
    pub fn next_blocking(&mut self) -> Option<Event> {
        if let Some(event) = self.past.pop_front() {
            return Some(event);
        }
        match self.receiver.blocking_recv() {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Event::lost(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(count: usize) -> EventLog {
        let log = EventLog::default();
        for number in 1..=count {
            log.publish(Event::new(EventKind::PortAdded, number.to_string()));
        }
        log
    }

    #[test]
    fn a_subscriber_gets_the_past_and_the_future_without_a_gap() {
        let log = published(3);
        let mut subscription = log.subscribe();
        log.publish(Event::new(EventKind::PortRemoved, "4").port("c1"));
        for seq in 1..=4 {
            assert_eq!(subscription.next_blocking().map(|event| event.seq), Some(seq));
        }
        drop(log);
        assert_eq!(subscription.next_blocking(), None);
    }

    #[test]
    fn the_newest_events_are_remembered() {
        let recent = published(RECENT_MAX + 5).recent();
        assert_eq!(recent.len(), RECENT_MAX);
        assert_eq!(recent.first().map(|event| event.seq), Some(6));
    }

    #[test]
    fn a_slow_subscriber_is_told_what_it_lost() {
        let log = EventLog::default();
        let mut subscription = log.subscribe();
        for _ in 0..BEHIND_MAX + 7 {
            log.publish(Event::new(EventKind::PortAdded, ""));
        }
        let first = subscription.next_blocking().expect("the log lives");
        assert_eq!((first.kind, first.seq), (EventKind::EventsLost, 0));
        assert!(first.text.starts_with("7 events"), "{}", first.text);
        assert_eq!(subscription.next_blocking().map(|event| event.seq), Some(8));
    }

    #[test]
    fn kinds_have_one_id_each() {
        for &kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.id());
            assert!(kind.id().contains('.'), "{}", kind.id());
        }
    }
}
