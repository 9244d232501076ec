//! The router: questions that it answers itself. It owns addresses in domains (gateways) and speaks for them.
//!
//! One room of the corridor is here, [`Router::route`], called once per frame after learning. A frame that is no
//! business of the router passes untouched. An answer is a *new frame that leaves forwards*: the question's buffer is
//! rewritten into it, with the gateway as source and the questioner as destination.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod plan;

pub use plan::{Gateway, PlanError, RouterPlan};
