//! Asking a tunnel's other end whether it works, from beside the packet path.
//!
//! ```text
//!  a UDP socket of our own ─▶ questions in the tunnel's format ─▶ peer's tunnel ─▶ who is behind it
//!   ▲ ICMP errors about them (error queue)                                             │
//!  a raw socket, hearing what the peer sends to the tunnel's L4 port  ◀── answers ◀────┘
//! ```
//!
//! Peers know each other by address, not by source L4 port (`encap`, the kernel's VXLAN, flannel's), so a question from
//! another socket is as good as one of the tunnel's. Its answer comes to the tunnel's socket, where the corridor treats it
//! as whatever it is; the raw socket gets a copy, before the kernel looks at its checksum.
//!
//! Owns its sockets for as long as one [`check`] takes. Clock: deadlines ([`PATIENCE`] for each attempt), about ten seconds
//! in all at most. Limits: [`ATTEMPTS`], [`QUESTIONS_MAX`] questions at a time, [`NARROWINGS`] sizes; a raw socket that
//! overflows loses answers, which is why there are several attempts.

mod check;
mod probe;

pub(crate) use check::check;
pub(crate) use probe::{Framing, Question};

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long answers to one attempt may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the same is asked before silence counts as an answer.
const ATTEMPTS: u16 = 3;
/// Questions of one attempt. Further ones are not asked.
const QUESTIONS_MAX: usize = 8;
/// Sizes that are tried between one that passes and one that does not.
const NARROWINGS: u32 = 6;

/// A remote end, and what may be asked there.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The tunnel's own end; questions come from its address.
    pub(crate) local: SocketAddr,
    /// The other end.
    pub(crate) remote: SocketAddr,
    pub(crate) framing: Framing,
    /// In the order in which they are likely to be answered.
    pub(crate) questions: Vec<Question>,
    /// Longest packet that the tunnel's port lets pass.
    pub(crate) mtu: u16,
    /// Octets that a datagram has beside that packet, its IP header included.
    pub(crate) overhead: u16,
}

impl Target {
    fn local_ip(&self) -> IpAddr {
        self.local.ip()
    }
}
