//! The shell around the node: everything that touches the operating system.
//!
//! The rooms decide; this crate carries. It opens TAP devices, moves them into namespaces, reads frames, hands them to
//! [`node`] and writes what comes back. It holds no protocol logic. From the outside in:
//!
//! - [`api`]: what the control socket speaks, shared by the daemon and the command line.
//! - [`cli`]: the command line, which asks the daemon over its socket.
//! - [`control`]: the control socket, HTTP over a UNIX socket.
//! - [`demo`], [`replay`], [`run`], [`simulate`]: the modes that are a process of their own.
//! - [`flanneld`]: flanneld's place on a host.
//! - [`events`]: what a person may want to know, as it happens.
//! - [`link`]: interfaces, addresses, routes and namespaces, by netlink. The control plane's tool, off the packet path.
//! - [`log`], [`notify`]: what is told to people who read logs, and to the service manager.
//! - [`overlay`]: the subnet and the peers that a switch has from a registry.
//! - [`port`]: one queue of one device as a [`port::PortIo`], and the TAP driver behind it. The packet path's only door.
//! - `reach`: asking a tunnel's other end whether it works.
//! - [`registry`]: which hosts there are and which subnet each has, kept in etcd as flannel keeps it.
//! - [`worker`]: the threads that move frames: read, hand to the node, write.
//! - [`supervisor`]: what the switch is at the moment, and the only one who changes it.
//! - [`state`]: the file in which leases of automatic addresses outlive the process.
//! - [`sys`]: the system calls the standard library lacks. The only module with `unsafe`.

pub mod api;
pub mod cli;
pub mod control;
pub mod demo;
pub mod events;
pub mod flanneld;
pub mod link;
pub mod log;
pub mod notify;
pub mod overlay;
pub mod port;
mod reach;
pub mod registry;
pub mod replay;
pub mod run;
pub mod simulate;
pub mod state;
pub mod supervisor;
pub mod sys;
pub mod worker;
