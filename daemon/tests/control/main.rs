//! The control socket and the command line, against a switch that is only pretended: no device, no privilege.

mod command;
mod fake;
mod server;
