//! The control socket and the command line, against a switch that is only pretended: no device, no privilege.

#![expect(clippy::unwrap_used, reason = "a test that does not get what it needs has failed")]

mod command;
mod fake;
mod fake_router;
mod investigate;
mod router;
mod server;
