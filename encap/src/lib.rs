//! Tunnel headers: what stands between an outer UDP header and the frame or packet inside.
//!
//! At admit a datagram loses its header and becomes a frame of the port that its sender is; at deliver a frame for a
//! tunnel port gains one. The outer IP and UDP headers belong to the shell's socket and are never seen here, but for
//! two things: who has sent a datagram, and the congestion marks ([`ecn`]). [`plan`] says what the shell has to open.
//!
//! A new encapsulation is a file with its `push` and `pop`, and a variant of [`Encapsulation`]; the compiler then lists
//! the matches, all in `plan.rs` and `tunnels.rs`. Missing: Geneve, IPIP, VXLAN's extensions (GPE, group policy).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bare;
pub mod ecn;
pub mod injection;
pub mod join;
pub mod nesting;
pub mod plan;
mod tunnels;
pub mod vxlan;

pub use join::Joiner;
pub use plan::{Encapsulation, Endpoint, Format, TunnelPlan, UnderlayId, UnderlayPlan};
pub use tunnels::{Carrier, Refused, Tunnels, Way};
pub use vxlan::Vni;

#[cfg(test)]
mod tests {
    use wire::{FrameBuf, FramePool};

    /// A buffer that holds `bytes`.
    pub(crate) fn buffer(bytes: &[u8]) -> FrameBuf {
        let mut frame = FramePool::default().take();
        assert!(frame.fill(bytes));
        frame
    }
}
