//! Tunnel headers: what stands between an outer UDP header and the frame or packet inside.
//!
//! At admit a tunnel port's datagram loses its header; at deliver a frame for a tunnel port gains one. The outer IP
//! and UDP headers belong to the kernel's socket and are never seen here.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

/// How the frames of a tunnel port travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelPlan {
    /// VXLAN (RFC 7348) with this network identifier.
    Vxlan(Vni),
}

/// A VXLAN network identifier, 24 bits (RFC 7348 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(u32);

impl Vni {
    /// `None` above 2²⁴ − 1.
    pub const fn new(vni: u32) -> Option<Self> {
        if vni < 1 << 24 { Some(Self(vni)) } else { None }
    }

    /// The identifier as a number.
    pub const fn number(self) -> u32 {
        self.0
    }
}
