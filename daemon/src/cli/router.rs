//! The router's part of the command line: routes, published L4 ports, access rules, connections, neighbours.
//!
//! Entries are written as in the configuration file, and what is added here stands in `tapestry config`.

mod ask;
mod show;

use std::net::IpAddr;

use clap::{Args, Subcommand};
use config::{AclEnd, L4Ports, Listen, Target};
use wire::Cidr;

pub use ask::{ask_acl, ask_nat, ask_neigh, ask_publish, ask_route};

/// `tapestry route …`
#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// List routes, those to the networks and the uplink's among them
    Ls,
    /// Add a route
    Add {
        /// The destinations
        #[arg(value_name = "PREFIX")]
        to: Cidr,
        /// The next routers, at most 16; with several each flow keeps to one
        #[arg(long, value_name = "ADDRESS", value_delimiter = ',', required_unless_present = "kind")]
        via: Vec<IpAddr>,
        /// What becomes of packets that go nowhere
        #[arg(long, value_name = "KIND", value_parser = kind, conflicts_with = "via")]
        kind: Option<config::RouteKind>,
    },
    /// Remove a route that was added or configured
    #[command(visible_alias = "rm")]
    Del {
        /// Its destinations
        #[arg(value_name = "PREFIX")]
        to: Cidr,
    },
    /// Which way packets to an address go, and why; exit 10 if they go nowhere
    Get {
        /// The destination
        #[arg(value_name = "ADDRESS")]
        to: IpAddr,
        /// Say also whether packets from this station may
        #[arg(long, value_name = "ADDRESS")]
        from: Option<IpAddr>,
    },
}

/// `tapestry publish …`
#[derive(Debug, Subcommand)]
pub enum PublishCommand {
    /// List what is published
    Ls,
    /// Pass connections to L4 ports of the router on to a station
    Add {
        /// Where, as in 0.0.0.0:8080 or [::]:10000-10999
        listen: Listen,
        /// To whom, as in c1:80 or c1:10000-10999
        to: Target,
        /// For which protocol
        #[arg(long, value_name = "tcp|udp", default_value = "tcp", value_parser = proto)]
        proto: config::Proto,
    },
    /// Publish no more, and end the connections
    Rm {
        /// Where it listens
        listen: Listen,
        /// For which protocol
        #[arg(long, value_name = "tcp|udp", default_value = "tcp", value_parser = proto)]
        proto: config::Proto,
    },
}

/// `tapestry acl …`
#[derive(Debug, Subcommand)]
pub enum AclCommand {
    /// List access rules in their order, with how many connections matched
    Ls,
    /// Add an access rule; the first one that allows or denies a new connection decides
    Add {
        /// What a match means: allow, deny or log
        #[arg(value_parser = action)]
        action: config::AclAction,
        /// Who begins the connection: any, uplink, network:NAME, port:NAME, an address or a prefix
        #[arg(long, value_name = "END", default_value = "any")]
        from: AclEnd,
        /// Whom it is for, behind what is published
        #[arg(long, value_name = "END", default_value = "any")]
        to: AclEnd,
        /// Its protocol: tcp, udp or icmp (echo)
        #[arg(long, value_parser = acl_proto)]
        proto: Option<config::AclProto>,
        /// L4 ports of whom it is for, as in 80 or 80-90
        #[arg(long, value_name = "L4-PORTS")]
        l4_ports: Option<L4Ports>,
        /// How many rules come before it; default: all
        #[arg(long, value_name = "COUNT")]
        position: Option<usize>,
    },
    /// Remove the access rule that `acl ls` shows at a position
    Rm {
        /// Its position
        position: usize,
    },
}

/// `tapestry nat …`
#[derive(Debug, Subcommand)]
pub enum NatCommand {
    /// List connections
    Ls(SessionArgs),
    /// End the connections that match every given criterion
    Kill {
        /// Which.
        #[command(flatten)]
        which: SessionArgs,
        /// All of them
        #[arg(long, conflicts_with_all = ["id", "proto", "address", "l4_port"])]
        all: bool,
    },
    /// How many connections there are, were, and were refused
    Stats,
}

/// Which connections: those that match every given criterion.
#[derive(Debug, Args)]
pub struct SessionArgs {
    /// Only the connection with this number
    #[arg(long, value_name = "NUMBER")]
    pub id: Option<u64>,
    /// Only this protocol: tcp, udp or icmp
    #[arg(long, value_parser = acl_proto)]
    pub proto: Option<config::AclProto>,
    /// Only those with an end here, before or after translation
    #[arg(long, value_name = "ADDRESS|PREFIX")]
    pub address: Option<config::Prefix>,
    /// Only those with this L4 port at an end, before or after translation
    #[arg(long, value_name = "L4-PORT")]
    pub l4_port: Option<u16>,
}

/// `tapestry neigh …`
#[derive(Debug, Subcommand)]
pub enum NeighCommand {
    /// List the router's neighbours
    Ls(NeighbourArgs),
    /// Forget neighbours; who is needed is asked for again
    Flush(NeighbourArgs),
}

/// Which neighbours: those that match every given criterion.
#[derive(Debug, Args)]
pub struct NeighbourArgs {
    /// Only those in this network, or uplink
    #[arg(long)]
    pub network: Option<String>,
    /// Only the one with this address
    #[arg(long)]
    pub address: Option<IpAddr>,
}

/// A word of the configuration as what it means there.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    let value = serde_json::Value::String(text.to_owned());
    serde_json::from_value(value).map_err(|error| config::explain(&error.to_string()))
}

fn kind(text: &str) -> Result<config::RouteKind, String> {
    word(text)
}

fn proto(text: &str) -> Result<config::Proto, String> {
    word(text)
}

fn action(text: &str) -> Result<config::AclAction, String> {
    word(text)
}

fn acl_proto(text: &str) -> Result<config::AclProto, String> {
    word(text)
}
