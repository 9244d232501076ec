//! What the control socket speaks about tunnels: who is at their other ends, and whether they work.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ApiError;

/// What the control socket may ask about remote ends. As with [`super::Operations`], calls block and may come at once.
pub trait OverlayOperations: Send + Sync + 'static {
    /// Every remote end, by name.
    fn peers(&self) -> Result<Vec<PeerInfo>, ApiError>;
    /// Whether a remote end can be spoken to, found out by speaking to it: takes seconds.
    /// [`super::ErrorKind::NotFound`] if there is none of the name, [`super::ErrorKind::Conflict`] if it names several.
    fn check_peer(&self, question: &PeerQuestion) -> Result<PeerReport, ApiError>;
}

/// A remote end: another host of the overlay, or one that a network is stretched to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its name: `overlay.ADDRESS` or `NETWORK.vxlan.ADDRESS`.
    pub name: String,
    /// The network that goes on there; `overlay` for the overlay.
    pub network: String,
    /// The subnet behind it; absent where a network is stretched.
    pub subnet: Option<String>,
    /// The socket that reaches it, by its address and L4 port; `uplink` if there is no tunnel.
    pub underlay: String,
    /// Its address, and its L4 port if there is a tunnel.
    pub remote: String,
    /// How packets travel: `vxlan`, `udp`, or `routed` without a tunnel.
    pub mode: String,
    /// Why so.
    pub why: String,
    /// The network's identifier on the wire.
    pub vni: Option<u32>,
    /// Longest packet inside.
    pub mtu: u32,
    /// Frames that came from it; 0 without a tunnel, as all that follows.
    pub rx_frames: u64,
    /// Octets likewise.
    pub rx_bytes: u64,
    /// Frames that went to it.
    pub tx_frames: u64,
    /// Octets likewise.
    pub tx_bytes: u64,
    /// Frames dropped on the way in or out.
    pub drops: u64,
    /// How long ago it was last heard, in milliseconds; absent: never, or without a tunnel.
    pub last_seen_ms: Option<u64>,
    /// How it is doing, as far as that is known without asking it.
    pub state: PeerState,
    /// What is behind the state, if it is worth saying.
    pub detail: Option<String>,
}

/// How a remote end is doing, as far as that is known without asking it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// It was heard a short while ago.
    Up,
    /// It was heard, but not lately: nobody may have had anything to say.
    Silent,
    /// It was never heard.
    #[default]
    Unheard,
    /// The network, or its own host, has said since that it is not reached.
    Unreachable,
    /// There is no tunnel; what is known of the next hop is in the detail.
    Routed,
}

impl PeerState {
    /// As JSON and tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Silent => "silent",
            Self::Unheard => "unheard",
            Self::Unreachable => "unreachable",
            Self::Routed => "routed",
        }
    }
}

/// Which remote end, and how to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerQuestion {
    /// Its name or its address.
    pub peer: String,
    /// An address of a station behind it that answers; absent: what can be guessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<std::net::IpAddr>,
}

/// What asking a remote end came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Its name.
    pub peer: String,
    /// Its address and L4 port.
    pub remote: String,
    /// What was looked at, in order.
    pub findings: Vec<Finding>,
}

impl PeerReport {
    /// Whether nothing is known to be wrong, and the tunnel has answered.
    pub fn is_good(&self) -> bool {
        let answered = |finding: &Finding| finding.check == "answers" && finding.judgement == Judgement::Good;
        self.findings.iter().any(answered)
            && self.findings.iter().all(|finding| finding.judgement != Judgement::Bad)
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What: `route`, `answers`, `l4-port`, `vni`, `checksum`, `mtu`.
    pub check: String,
    /// What came of it.
    pub judgement: Judgement,
    /// What was seen.
    pub text: String,
    /// What the user can do, or nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
}

/// What came of looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// It is as it has to be.
    Good,
    /// It is not.
    Bad,
    /// It cannot be told.
    Unknown,
}

impl Judgement {
    /// As JSON and tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }
}

/// The registry that this host's subnet and its peers come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryInfo {
    /// What it is: `etcd`.
    pub kind: String,
    /// Its servers.
    pub endpoints: Vec<String>,
    /// What its keys begin with.
    pub prefix: String,
    /// How we stand with it.
    pub state: RegistryState,
    /// Why it is not `held`, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What is leased to this host, or was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// The IPv6 subnet beside it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_v6: Option<String>,
    /// How many other hosts packets are sent to; one that has an end of each family counts twice.
    pub peers: u64,
    /// How many of them came or changed, since the start.
    pub came: u64,
    /// How many went.
    pub went: u64,
    /// How many keys are not used, by the name of the reason.
    pub refused: BTreeMap<String, u64>,
    /// The first of them, with what is wrong.
    pub refused_keys: Vec<RefusedKey>,
    /// How often the lease was renewed.
    pub renewals: u64,
    /// How often a renewal failed.
    pub renewals_failed: u64,
    /// How often it was lost.
    pub lost: u64,
    /// How often another machine wrote to our key.
    pub contested: u64,
    /// How often the registry went away.
    pub away: u64,
}

/// How we stand with a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegistryState {
    /// There is no lease yet.
    #[default]
    Waiting,
    /// The lease is ours.
    Held,
    /// The lease was ours when the registry answered last. Forwarding goes on.
    Away,
    /// The lease is lost, and wanted again.
    Lost,
}

impl RegistryState {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Away => "away",
            Self::Lost => "lost",
        }
    }
}

/// A key of a registry that is not used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedKey {
    /// What follows the prefix and `/subnets/`.
    pub key: String,
    /// The name of the reason.
    pub reason: String,
    /// What is wrong.
    pub why: String,
}

/// A socket that tunnels speak through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderlayInfo {
    /// Its address and L4 port.
    pub local: String,
    /// What its datagrams carry: `vxlan`, or `udp` for bare packets as flannel's UDP backend has them.
    pub format: String,
    /// How datagrams leave: `tunnel-gso`, super-segments whole; `gso`, many a message that the kernel cuts; or `single`,
    /// because the kernel refused to.
    pub send: String,
    /// How they come: `gro`, many a message that the kernel has joined, or `single`.
    pub receive: String,
    /// How many remote ends are reached by it.
    pub remotes: u64,
    /// Longest packet inside its tunnels; absent without any.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// What the network, or this host, has said of datagrams to them; nothing if all is well.
    pub troubles: Vec<TroubleInfo>,
}

/// What was said of datagrams to one remote end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubleInfo {
    /// Its address and L4 port.
    pub remote: String,
    /// How often that it is not reached.
    pub unreachable: u64,
    /// The last time in the operating system's words: "Connection refused" if nobody listens there.
    pub error: Option<String>,
    /// How often that a datagram was too long for the path.
    pub too_long: u64,
    /// The octets of an IP packet that the path takes, if that was said.
    pub path_mtu: Option<u32>,
}
