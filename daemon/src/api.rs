//! What the control socket speaks: the words that the daemon and the command line share.
//!
//! The daemon serves these values as JSON over HTTP on a UNIX socket (`control`), the command line reads them (`cli`),
//! and the supervisor answers for them ([`Operations`]). Field names are snake_case, numbers are raw integers (frames,
//! octets, milliseconds), times are RFC 3339 in UTC. Fields may be added; they are never renamed or given another
//! meaning.

use std::collections::BTreeMap;

pub use config::{NetworkSpec, PortSpec, StationSpec};
use serde::{Deserialize, Serialize};
use wire::Mac;

use crate::events::{Event, Subscription};

mod fault;
mod investigate;
mod overlay;
mod router;

pub use fault::*;
pub use investigate::*;
pub use overlay::*;
pub use router::*;

/// What the control socket may ask of the switch. The supervisor implements it; tests use a fake.
///
/// Calls block until the change holds on every worker or has been refused whole; the server runs each on a thread of
/// its own. A call may come while another runs, so the implementation orders them.
pub trait Operations: RouterOperations + OverlayOperations + Investigation + FaultOperations {
    /// The switch on one screen.
    fn status(&self) -> Result<Status, ApiError>;

    /// Every network, by name.
    fn networks(&self) -> Result<Vec<NetworkInfo>, ApiError>;
    /// Adds a network. [`ErrorKind::Conflict`] if the name is taken.
    fn create_network(&self, name: &str, spec: NetworkSpec) -> Result<(), ApiError>;
    /// Gives an existing network another specification, whole. [`ErrorKind::NotFound`] if there is none.
    fn set_network(&self, name: &str, spec: NetworkSpec) -> Result<(), ApiError>;
    /// Removes a network. [`ErrorKind::Conflict`] while ports belong to it.
    fn remove_network(&self, name: &str) -> Result<(), ApiError>;

    /// Every port, by name.
    fn ports(&self) -> Result<Vec<PortInfo>, ApiError>;
    /// Adds a port and waits until its device is attached. [`ErrorKind::Conflict`] if the name is taken.
    fn add_port(&self, name: &str, spec: PortSpec) -> Result<(), ApiError>;
    /// Gives an existing port another specification, whole. [`ErrorKind::NotFound`] if there is none.
    fn set_port(&self, name: &str, spec: PortSpec) -> Result<(), ApiError>;
    /// Removes a port and the device that was made for it.
    fn remove_port(&self, name: &str) -> Result<(), ApiError>;

    /// The stations that match `filter`, by network and address.
    fn stations(&self, filter: &StationFilter) -> Result<Vec<StationInfo>, ApiError>;
    /// Binds a station to a port: it neither ages nor moves.
    fn add_station(&self, station: &StationSpec) -> Result<(), ApiError>;
    /// Forgets one station, static or learned. [`ErrorKind::NotFound`] if nobody knows it.
    fn remove_station(&self, network: &str, mac: Mac) -> Result<(), ApiError>;
    /// Forgets the learned stations that match `filter`; static ones stay.
    fn flush_stations(&self, filter: &StationFilter) -> Result<(), ApiError>;

    /// Every drop reason whose counter is not zero, in table order.
    fn drops(&self) -> Result<Vec<DropInfo>, ApiError>;

    /// The events that are still remembered, oldest first.
    fn recent_events(&self) -> Vec<Event>;
    /// The remembered events and all that follow.
    fn subscribe(&self) -> Subscription;

    /// Makes the switch equal to this configuration text, or changes nothing. An unchanged port loses no frame.
    fn apply(&self, config_text: &str) -> Result<Applied, ApiError>;
    /// The running configuration as TOML; [`Operations::apply`] of it changes nothing.
    fn configuration(&self) -> Result<String, ApiError>;
}

/// A refusal: what was asked, why it cannot be, what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// Which kind of refusal; decides the HTTP status and the exit code.
    pub kind: ErrorKind,
    /// What did not work, without a full stop: `port "c1"`.
    pub what: String,
    /// Why, without a full stop: `namespace "ns1" does not exist`.
    pub why: String,
    /// What the user can do, or nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request itself is wrong: HTTP 400, exit code 2.
    Invalid,
    /// It names something that does not exist: HTTP 404, exit code 3.
    NotFound,
    /// It contradicts what exists: HTTP 409, exit code 2.
    Conflict,
    /// The switch cannot do it at the moment: HTTP 503, exit code 1.
    Unavailable,
    /// The operating system or our own mistake: HTTP 500, exit code 1.
    Internal,
}

impl ApiError {
    /// A refusal of `kind` without advice.
    pub fn new(kind: ErrorKind, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { kind, what: what.into(), why: why.into(), next: String::new() }
    }

    /// The same refusal with advice.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.why)?;
        if !self.next.is_empty() {
            write!(f, "\n  next: {}", self.next)?;
        }
        Ok(())
    }
}

impl std::error::Error for ApiError {}

/// The switch on one screen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// How long it has been forwarding, in milliseconds.
    pub uptime_ms: u64,
    /// Where it listens.
    pub socket: String,
    /// The configuration file it was started with, if any.
    pub config_file: Option<String>,
    /// How many networks there are.
    pub networks: u64,
    /// How many ports there are in each state; states without ports are absent.
    pub ports: BTreeMap<PortState, u64>,
    /// How many stations are known.
    pub stations: u64,
    /// Frames and octets over all ports.
    pub totals: Totals,
    /// One entry a worker thread.
    pub workers: Vec<WorkerInfo>,
    /// The reasons most frames were dropped for, most first, at most five.
    pub top_drops: Vec<DropCount>,
    /// The sockets that tunnels speak through.
    #[serde(default)]
    pub underlays: Vec<UnderlayInfo>,
    /// The recordings that run, in the order in which they began.
    #[serde(default)]
    pub recordings: Vec<RecordingInfo>,
    /// Where the overlay's hosts learn of each other, if not from the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryInfo>,
    /// What is not as the configuration says, or not in force.
    pub warnings: Vec<Warning>,
}

/// Sums over all ports; `received = forwarded + consumed + parked + dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Frames that came, those that a fault on a port then lost (`admit.fault`) among them and among `dropped`.
    pub received: u64,
    /// Of these: sent on to at least one port.
    pub forwarded: u64,
    /// Of these: taken by the router itself.
    pub consumed: u64,
    /// Of these: kept by the router until it knew the next hop; those that went on count as `originated`.
    #[serde(default)]
    pub parked: u64,
    /// Of these: dropped.
    pub dropped: u64,
    /// Frames that were sent, and that a fault on the port then lost (`deliver.fault`).
    #[serde(default)]
    pub lost_leaving: u64,
    /// Frames that the router made.
    pub originated: u64,
    /// Questions answered in a station's name instead of being flooded (`arp_suppression`), among `consumed`.
    #[serde(default)]
    pub answered: u64,
    /// Octets that entered.
    pub rx_bytes: u64,
    /// Octets that left.
    pub tx_bytes: u64,
}

/// One worker thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its number, from 0.
    pub worker: u32,
    /// Whether it runs, and what it is doing otherwise: `running`, or why it stopped.
    pub state: String,
    /// Frames it has handled.
    pub frames: u64,
    /// Batches it has handled.
    pub batches: u64,
    /// How often it found work by spinning.
    pub spins: u64,
    /// How often it slept until there was work.
    pub sleeps: u64,
    /// Frames it read that became part of a super-segment with others; `frames`, and the counters of ports, count that
    /// super-segment once.
    #[serde(default)]
    pub joined: u64,
    /// Frames it handed to the worker that owns their flow.
    pub handed_off: u64,
    /// What its node is waiting for, if it is waiting for a point in time.
    #[serde(default)]
    pub deadline: Option<String>,
    /// What it has learned and could not tell the other workers, which flood until they learn it themselves.
    #[serde(default)]
    pub gossip_lost: u64,
    /// Notices that did not fit the way to the event log: events that nobody has seen.
    #[serde(default)]
    pub notices_lost: u64,
    /// Notices that it did not give because it had given too many in that second: also events that nobody has seen.
    #[serde(default)]
    pub notices_suppressed: u64,
}

/// Something that is not as the user asked, in plain words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What.
    pub text: String,
    /// What the user can do, or nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
}

/// One network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInfo {
    /// Its name.
    pub name: String,
    /// Its subnets, `172.16.0.0/16`.
    pub subnet: Vec<String>,
    /// The addresses that the switch itself owns in it.
    pub gateway: Vec<String>,
    /// Longest packet.
    pub mtu: u32,
    /// Whether its ports may talk to each other.
    pub icc: bool,
    /// How long a silent station is remembered, in seconds; 0: for ever.
    pub ageing_s: u64,
    /// Its ports, by name.
    pub ports: Vec<String>,
    /// How many stations are known in it.
    pub stations: u64,
    /// How many may be learned.
    pub stations_max: u64,
    /// All that the configuration says about it.
    pub spec: NetworkSpec,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// How it is doing.
    pub state: PortState,
    /// What went wrong, if something did.
    pub error: Option<String>,
    /// Whether somebody has set faults on it.
    #[serde(default)]
    pub faults: bool,
    /// The networks it carries.
    pub networks: Vec<Membership>,
    /// The namespace its interface is in; absent: the daemon's own.
    pub netns: Option<String>,
    /// The interface's name there.
    pub ifname: String,
    /// The station's MAC address.
    pub mac: Option<String>,
    /// The station's addresses, with prefix length.
    pub address: Vec<String>,
    /// Longest packet.
    pub mtu: u32,
    /// What the device does for us: `csum`, `tso`, `uso`.
    pub offloads: Vec<String>,
    /// How many queues the device has, one a worker.
    pub queues: u32,
    /// Whether the device was there before the switch and stays after it.
    #[serde(default)]
    pub adopted: bool,
    /// Frames that came from the station.
    pub rx_frames: u64,
    /// Octets that came from the station.
    pub rx_bytes: u64,
    /// Frames that went to the station.
    pub tx_frames: u64,
    /// Octets that went to the station.
    pub tx_bytes: u64,
    /// Frames dropped: for `deliver.*` those that should have left here, for all other reasons those that entered here.
    pub drops: u64,
    /// How many stations are known behind it.
    pub stations: u64,
    /// All that the configuration says about it.
    pub spec: PortSpec,
}

/// How a port is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortState {
    /// The device is attached.
    Up,
    /// The device is there, but somebody took its interface down. `status` does not look and says `up`.
    Down,
    /// The device has vanished or refused; [`PortInfo::error`] says more.
    Failed,
}

impl PortState {
    /// As JSON and tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Failed => "failed",
        }
    }
}

/// A network that a port carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Its name.
    pub network: String,
    /// Its VLAN tag on this port; absent: untagged.
    pub vlan: Option<u16>,
}

/// One station of the forwarding database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StationInfo {
    /// Its network.
    pub network: String,
    /// Its address, lower case with colons.
    pub mac: String,
    /// The port it lives behind, by name.
    pub port: String,
    /// How it is known.
    pub kind: StationKind,
    /// How long ago it was last heard, in milliseconds; absent for static ones.
    pub age_ms: Option<u64>,
}

/// How a station is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StationKind {
    /// Its frames were seen.
    Learned,
    /// It was configured.
    Static,
    /// It is the switch's own router.
    Own,
}

impl StationKind {
    /// As JSON and tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Static => "static",
            Self::Own => "own",
        }
    }
}

/// Which stations: those that match every given criterion. Empty: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationFilter {
    /// Of this network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Behind this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// With this address.
    #[serde(default, with = "mac_text", skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}

/// A MAC address that may be absent, as text.
mod mac_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use wire::Mac;

    pub(super) fn serialize<S: Serializer>(mac: &Option<Mac>, serializer: S) -> Result<S::Ok, S::Error> {
        match mac {
            Some(mac) => serializer.collect_str(mac),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Mac>, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Some).map_err(|_| D::Error::custom(format_args!("{text:?} is not a MAC address")))
    }
}

/// One drop reason and what it has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropInfo {
    /// Its stable id, `room.what`; never empty.
    pub reason: String,
    /// Frames dropped for it.
    pub count: u64,
    /// The same by port, ports without any are absent: for `deliver.*` the port where the frames should have left, for
    /// all other reasons the one where they entered.
    pub ports: BTreeMap<String, u64>,
    /// What happened.
    pub sentence: String,
    /// What usually causes it.
    pub cause: String,
    /// What the user can do.
    pub advice: String,
}

impl DropInfo {
    /// `reason` with its texts from the table.
    pub fn of(reason: wire::DropReason, ports: BTreeMap<String, u64>) -> Self {
        Self {
            reason: reason.id().to_owned(),
            count: ports.values().sum(),
            ports,
            sentence: reason.sentence().to_owned(),
            cause: reason.cause().to_owned(),
            advice: reason.advice().to_owned(),
        }
    }
}

/// A drop reason and its counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    /// Its id.
    pub reason: String,
    /// Frames dropped for it.
    pub count: u64,
}

/// What [`Operations::apply`] changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// One line a change, `+ port c1`, `~ network a`, `- port c2`; empty: the switch was equal to the file already.
    pub changes: Vec<String>,
    /// What the file asks for and is not in force.
    pub warnings: Vec<Warning>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_json_and_in_tables_are_the_same() {
        for state in [PortState::Up, PortState::Down, PortState::Failed] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for destination in [Destination::Reader, Destination::Folder, Destination::FlightRecorder] {
            assert_eq!(serde_json::to_value(destination).unwrap(), destination.as_str());
        }
        for kind in [StationKind::Learned, StationKind::Static, StationKind::Own] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn an_error_says_what_why_and_next() {
        let error = ApiError::new(ErrorKind::NotFound, "port \"x\"", "there is none");
        assert_eq!(error.to_string(), "port \"x\": there is none");
        assert_eq!(error.next("look").to_string(), "port \"x\": there is none\n  next: look");
    }

    #[test]
    fn drop_info_sums_its_ports() {
        let ports = BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 3)]);
        let info = DropInfo::of(wire::DropReason::Runt, ports);
        assert_eq!((info.reason.as_str(), info.count), ("admit.runt", 5));
    }
}
