//! What the control socket speaks about tunnels: who is at their other ends, and whether they work.

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
