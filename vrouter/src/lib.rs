//! The router: one station in each domain that has a gateway, and the way between them.
//!
//! One room of the corridor is here, [`Router::route`], called once per frame after learning. A frame that is no
//! business of the router passes untouched. What is for it is answered, routed to another domain, parked until the next
//! hop is known, or dropped under a name. An answer is a *new frame that leaves forwards*: the question's buffer is
//! rewritten into it, with the gateway as source and the questioner as destination.
//!
//! - [`fib`]: which way (longest prefix, ECMP).
//! - [`neighbour`]: whose MAC (ARP, neighbour discovery), and router advertisements.
//! - [`nat`]: connections, their translation and their end.
//! - [`icmp`]: echo, errors, and what errors quote.
//! - `fragment`, `mtu`: packets in pieces, and what fits.
//! - `policy`: what may be at all.
//! - `walk`: all of a packet's way; `shortcut`: the same in few steps for what most packets are.
//!
//! Not done: multicast routing, dynamic routing protocols, reassembly of what is addressed to the router itself.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod fib;
pub mod fragment;
mod hash;
pub mod icmp;
mod interface;
pub mod mtu;
pub mod nat;
pub mod neighbour;
mod note;
pub mod packet;
pub mod plan;
mod policy;
pub mod router;
#[cfg(test)]
mod samples;
mod shortcut;
#[cfg(test)]
mod tests;
pub mod turn;
mod walk;

pub use neighbour::{
    Heard, NeighbourInfo, NeighbourName, NeighbourState, NeighbourStats, Neighbours, Resolution,
};
pub use note::Note;
pub use packet::{Endpoint, Flow, Packet};
pub use plan::{
    AclAction, AclEnd, AclRule, Filtering, Gateway, NatPlan, NetworkPolicy, OneToOne, OverlayPolicy,
    PlanError, Protocol, Publish, RouterPlan, Side, Timeouts,
};
pub use router::{Routed, Router};
pub use turn::{Links, Made, Notice, Turn};
