//! Tunnel headers: what stands between an outer UDP header and the frame or packet inside.
//!
//! At admit a tunnel port's datagram loses its header; at deliver a frame for a tunnel port gains one. The outer IP
//! and UDP headers belong to the kernel's socket and are never seen here.
//!
//! A new encapsulation is a file with its `push` and `pop`, and a variant of [`TunnelPlan`]; the compiler then lists
//! the matches, all in `tunnels.rs`. Missing: Geneve, IPIP, the tunnel table by subnet (overlay). [`udp`] has the check
//! of flannel's format; no port carries it yet.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod tunnels;
pub mod udp;
pub mod vxlan;

pub use tunnels::{TunnelPlan, Tunnels};
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
