//! The shell around the node: everything that touches the operating system.
//!
//! The rooms decide; this crate carries. It holds no protocol logic. From the outside in:
//!
//! - [`api`]: what the control socket speaks, shared by the daemon and the command line.
//! - [`events`]: what a person may want to know, as it happens.

pub mod api;
pub mod events;
