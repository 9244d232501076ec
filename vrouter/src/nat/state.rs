//! How far a connection has come, followed from the packets of both directions.
//!
//! ```text
//!             SYN ▶               ◀ SYN               ACK ▶
//!  (nothing) ───────▶ SynSent ───────────▶ SynReceived ─────▶ Established ◀───────────────┐
//!      │                 ▲                                     │  ▲  │ FIN of one side      │ segment from where
//!      │ other ▶         │ SYN ▶      FIN of the other side    │  │  ▼                      │ the RST came from
//!      ├──────▶ Picked ──┼────────────── ◀ segment ────────────┼──┘ FinFrom… ────▶ ResetFrom…
//!      │                 └─ Closing ◀──────────────────────────┴─────┘       RST    (4 minutes, then gone)
//!      └ UDP, echo ▶  Unanswered ── ◀ packet ──▶ Answered ── packet ▶ ──▶ Assured
//! ```
//!
//! After RFC 6146 §3.5.2 as RFC 7857 §2 has it. An RST may be forged, so it ends nothing: it starts the transitory
//! timeout, and a segment other than RST from the side that the RST claims to be from, which a station that has reset a
//! connection does not send, shows that the connection lives. A SYN of the side that began restarts a closing
//! connection, whose L4 ports the station uses anew (RFC 9293 §3.6.1). No state depends on sequence numbers.
//!
//! *Picked* is a connection that is older than the table: the switch has been restarted. Its first segment here is no
//! SYN. It lives for the transitory timeout until the other side answers.
//!
//! Where room is short, what is over yields, and what nobody has confirmed ([`State::yields`]): one packet with a forged
//! source and the answer to it make no connection, neither does a forged handshake that the other side resets. *Assured*
//! is Linux's word for the others (IPS_ASSURED, include/uapi/linux/netfilter/nf_conntrack_common.h).

use serde::{Deserialize, Serialize};

use crate::nat::Direction;
use crate::plan::{Protocol, Timeouts};

use super::clock::Ticks;

/// Flags of a TCP segment, as in octet 13 of its header (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TcpFlags(u8);

impl TcpFlags {
    /// From octet 13 of the header.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    const fn has(self, flags: u8) -> bool {
        self.0 & flags != 0
    }

    /// Whether it begins a connection: SYN without ACK or RST.
    pub const fn is_first(self) -> bool {
        self.has(wire::tcp::SYN) && !self.has(wire::tcp::ACK | wire::tcp::RST)
    }
}

/// How far a connection has come. "Began" is the side that sent its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// UDP or echo, from one side only.
    Unanswered,
    /// UDP or echo, from both sides; the side that began has not gone on yet.
    Answered,
    /// UDP or echo: the side that began has gone on after an answer.
    Assured,
    /// TCP: a SYN, no answer.
    SynSent,
    /// TCP: a SYN from both sides.
    SynReceived,
    /// TCP: seen first in its middle, from one side only.
    Picked,
    /// TCP: open both ways.
    Established,
    /// TCP: the side that began has sent its FIN.
    FinFromOrigin,
    /// TCP: the other side has sent its FIN.
    FinFromReply,
    /// TCP: FINs from both.
    Closing,
    /// TCP: an RST that claims to be from the side that began.
    ResetFromOrigin,
    /// TCP: an RST that claims to be from the other side.
    ResetFromReply,
}

impl State {
    /// After a connection's first packet.
    pub(super) fn first(protocol: Protocol, tcp: Option<TcpFlags>) -> Self {
        match protocol {
            Protocol::Udp | Protocol::Echo => Self::Unanswered,
            Protocol::Tcp if tcp.is_some_and(TcpFlags::is_first) => Self::SynSent,
            Protocol::Tcp => Self::Picked,
        }
    }

    /// After another packet.
    #[inline]
    pub(super) fn after(self, direction: Direction, tcp: Option<TcpFlags>) -> Self {
        match (self, direction) {
            (Self::Unanswered, Direction::Original) => Self::Unanswered,
            (Self::Unanswered | Self::Answered, Direction::Reply) => Self::Answered,
            (Self::Answered, Direction::Original) | (Self::Assured, _) => Self::Assured,
            _ => match tcp {
                Some(flags) => self.after_segment(direction, flags),
                None => self, // A later fragment.
            },
        }
    }

    #[inline]
    fn after_segment(self, direction: Direction, flags: TcpFlags) -> Self {
        use wire::tcp::{ACK, FIN, RST, SYN};
        if self == Self::Established && !flags.has(FIN | RST) {
            return self;
        }
        let opened = |is_open: bool| match (is_open, flags.has(FIN), direction) {
            (false, _, _) => self,
            (true, false, _) => Self::Established,
            (true, true, Direction::Original) => Self::FinFromOrigin,
            (true, true, Direction::Reply) => Self::FinFromReply,
        };
        let is_reset = flags.has(RST);
        let reset = match direction {
            Direction::Original => Self::ResetFromOrigin,
            Direction::Reply => Self::ResetFromReply,
        };
        let restarts = direction == Direction::Original && flags.is_first();
        match (self, direction) {
            (Self::Unanswered | Self::Answered | Self::Assured, _) => self,
            (Self::SynSent, Direction::Reply) if flags.has(SYN) && !is_reset => Self::SynReceived,
            (Self::SynReceived, Direction::Original) => {
                opened(flags.has(ACK) && !flags.has(SYN) && !is_reset)
            }
            (Self::Picked, Direction::Reply) => opened(!is_reset),
            (Self::SynSent | Self::SynReceived | Self::Picked, _) => self,
            (Self::Established | Self::FinFromOrigin | Self::FinFromReply, _) if is_reset => reset,
            (Self::Established, _) => opened(true),
            (Self::FinFromOrigin, Direction::Reply) | (Self::FinFromReply, Direction::Original)
                if flags.has(FIN) =>
            {
                Self::Closing
            }
            (Self::FinFromOrigin | Self::FinFromReply, _) => self,
            (Self::Closing | Self::ResetFromOrigin | Self::ResetFromReply, _) if restarts => Self::SynSent,
            (Self::ResetFromOrigin | Self::ResetFromReply, _) if is_reset => reset,
            (Self::ResetFromOrigin, Direction::Original) | (Self::ResetFromReply, Direction::Reply) => {
                opened(!flags.has(SYN))
            }
            (Self::Closing | Self::ResetFromOrigin | Self::ResetFromReply, _) => self,
        }
    }

    /// Whether the session yields when room is needed: nobody has confirmed it, or it is over.
    #[inline]
    pub(super) const fn yields(self) -> bool {
        !matches!(self, Self::Assured | Self::Established | Self::FinFromOrigin | Self::FinFromReply)
    }

    /// Whether a packet that leaves the state as it is keeps the session alive. A connection that is ending ends.
    #[inline]
    pub(super) const fn is_refreshed(self) -> bool {
        !matches!(self, Self::Closing | Self::ResetFromOrigin | Self::ResetFromReply)
    }
}

/// The timeouts in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spans {
    tcp_established: Ticks,
    tcp_transitory: Ticks,
    udp: Ticks,
    udp_unanswered: Ticks,
    icmp: Ticks,
}

impl Spans {
    pub(super) fn new(timeouts: &Timeouts) -> Self {
        Self {
            tcp_established: Ticks::covering(timeouts.tcp_established),
            tcp_transitory: Ticks::covering(timeouts.tcp_transitory),
            udp: Ticks::covering(timeouts.udp),
            udp_unanswered: Ticks::covering(timeouts.udp_unanswered),
            icmp: Ticks::covering(timeouts.icmp),
        }
    }

    /// How long a session in a state lives without a packet.
    #[inline]
    pub(super) const fn of(&self, protocol: Protocol, state: State) -> Ticks {
        match (protocol, state) {
            (Protocol::Echo, _) => self.icmp,
            (Protocol::Udp, State::Unanswered) => self.udp_unanswered,
            (Protocol::Udp, _) => self.udp,
            (Protocol::Tcp, State::Established | State::FinFromOrigin | State::FinFromReply) => {
                self.tcp_established
            }
            (Protocol::Tcp, _) => self.tcp_transitory,
        }
    }
}
