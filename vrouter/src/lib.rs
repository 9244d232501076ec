//! The router: questions that it answers itself. It owns addresses in domains (gateways) and speaks for them.
//!
//! One room of the corridor is here, [`Router::route`], called once per frame after learning. A frame that is no
//! business of the router passes untouched. An answer is a *new frame that leaves forwards*: the question's buffer is
//! rewritten into it, with the gateway as source and the questioner as destination.
//!
//! Answered: ARP requests (`arp`), IPv6 neighbour solicitations (`nd`), ICMP and ICMPv6 echo requests (`echo`).
//! Not done: routing between networks, reassembly of fragments that are addressed to the router, router
//! advertisements, ICMP errors. What would need them is dropped under a name.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod echo;
pub mod fib;
pub mod fragment;
mod hash;
pub mod icmp;
mod ip;
pub mod mtu;
pub mod nat;
pub mod neighbour;
pub mod packet;
pub mod plan;
pub mod router;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
pub mod turn;

pub use neighbour::{
    Heard, NeighbourInfo, NeighbourName, NeighbourState, NeighbourStats, Neighbours, Resolution,
};
use neighbour::{arp, nd};
pub use packet::{Endpoint, Flow, Packet};
pub use plan::{
    AclAction, AclEnd, AclRule, Filtering, Gateway, NatPlan, NetworkPolicy, OneToOne, PlanError, Protocol,
    Publish, RouterPlan, Side, Timeouts,
};
pub use router::{Routed, Router};
pub use turn::{Made, Notice, Turn};
