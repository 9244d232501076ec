//! The command line: what can be typed, and what comes of it.
//!
//! [`Cli`] is the grammar. Modes that need no daemon (`check`, `drops explain`) work here; all others that are not a
//! process of their own ask the daemon over its socket ([`client`]) and show the answer ([`show`]). Output goes to
//! stdout, as tables or with `--json` as one value (JSON lines for events); errors go to stderr and say what, why and
//! what to do next ([`failure`]). Exit codes: 0 done, 1 failed or differs, 2 usage or bad input, 3 not found, 4 daemon
//! unreachable, 10 a negative verdict.

mod ask;
mod capture;
mod check;
mod client;
mod failure;
mod fault;
mod interrupt;
mod options;
mod peer;
mod record;
pub mod router;
mod show;
mod table;
mod trace;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use sim::world::Span;
use wire::Mac;

pub(crate) use ask::answer;
pub use ask::{ask_apply, ask_config, ask_drops, ask_events, ask_fdb, ask_network, ask_port, ask_status};
pub use capture::{CaptureArgs, capture};
pub use check::check;
pub(crate) use check::{fail, read_configuration};
pub use failure::{Failure, finish};
pub use fault::{FaultCommand, fault};
pub(crate) use interrupt::Interrupts;
pub use peer::{CheckArgs, OverlayCommand, PeerCommand, ask_overlay, ask_peer};
pub use record::{RecordArgs, record};
pub use trace::{TraceArgs, trace};

use options::{NetworkOptions, PortOptions};
use router::{AclCommand, NatCommand, NeighCommand, PublishCommand, RouteCommand};

/// A userspace virtual switch over TAP devices.
#[derive(Debug, Parser)]
#[command(name = "tapestry", version, max_term_width = 110, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What every mode understands.
    #[command(flatten)]
    pub common: Common,
}

/// Options of every mode.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Where the daemon listens
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "TAPESTRY_SOCKET",
        default_value = crate::control::SOCKET_DEFAULT,
        help_heading = "Common options"
    )]
    pub socket: PathBuf,
    /// Print JSON: one array for lists, one object a line for events
    #[arg(long, global = true, help_heading = "Common options")]
    pub json: bool,
}

/// The modes.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the switch in the foreground until SIGTERM
    Run(RunArgs),
    /// Validate a configuration file: exit 0 or 2
    Check(FileArgs),
    /// Build two networks in throw-away namespaces and send real traffic through the switch (as root)
    Demo,
    /// The switch on one screen
    Status,
    /// Networks: broadcast domains
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Ports: TAP devices, each in a namespace or in the daemon's own
    #[command(subcommand)]
    Port(PortCommand),
    /// The forwarding database: which station lives behind which port
    #[command(subcommand)]
    Fdb(FdbCommand),
    /// Routes: which way packets go
    #[command(subcommand)]
    Route(RouteCommand),
    /// Published L4 ports: connections to the router that are passed on to a station
    #[command(subcommand)]
    Publish(PublishCommand),
    /// The access list: which connections may be
    #[command(subcommand)]
    Acl(AclCommand),
    /// Connections and their translation
    #[command(subcommand)]
    Nat(NatCommand),
    /// The router's neighbours: who has which address
    #[command(subcommand)]
    Neigh(NeighCommand),
    /// The other ends of tunnels
    #[command(subcommand)]
    Peer(PeerCommand),
    /// Whether tunnels work
    #[command(subcommand)]
    Overlay(OverlayCommand),
    /// Why frames were dropped, how often and where
    Drops(DropsArgs),
    /// What has happened, and with --follow what happens
    Events(EventsArgs),
    /// Make the running switch equal to a configuration file, or change nothing
    Apply(FileArgs),
    /// Print the running configuration as TOML
    Config,
    /// Stand in flanneld's place on a host, with its flags, keys and files; --help lists them
    #[command(disable_help_flag = true)]
    Flanneld(FlanneldArgs),
    /// Frames as they come, leave and are dropped, into a capture file
    Capture(CaptureArgs),
    /// What enters the running switch and what it is, into a file that `tapestry replay` has again
    Record(RecordArgs),
    /// What a bad wire would do to a live port's frames, on purpose
    #[command(subcommand)]
    Fault(FaultCommand),
    /// What the switch would do with a packet, and why: exit 0, or 10 if it goes no further
    Trace(TraceArgs),
    /// Send captures through a switch under a virtual clock: same input, same output
    Replay(ReplayArgs),
    /// Let a world of switches, hosts and imperfect wires live under virtual time: same file and seed, same octets
    Sim(SimArgs),
}

/// `tapestry run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Configuration file; without one the switch starts empty
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where leases of automatic addresses are kept; default: /var/lib/tapestry/state.json for root with the default
    /// socket, otherwise nowhere
    #[arg(long, value_name = "PATH")]
    pub state: Option<PathBuf>,
    /// Record everything that enters the switch from its start, a file for each worker, for `tapestry replay`
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Keep what entered last in so much memory, as in 64MiB, for `tapestry record --last`; default: nothing is kept
    #[arg(long, value_name = "SIZE", value_parser = options::memory)]
    pub flight_recorder: Option<usize>,
}

/// `tapestry flanneld`: the words are Go's flags, not ours.
#[derive(Debug, Args)]
pub struct FlanneldArgs {
    /// flanneld's flags
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    pub words: Vec<String>,
}

/// A mode that reads one file.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Configuration file
    pub file: PathBuf,
}

/// `tapestry network …`
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// List networks
    Ls,
    /// Add a network
    Create {
        /// Its name
        name: String,
        /// Its keys.
        #[command(flatten)]
        options: Box<NetworkOptions>,
    },
    /// Change what is named of a network and keep the rest
    Set {
        /// Its name
        name: String,
        /// Its keys.
        #[command(flatten)]
        options: Box<NetworkOptions>,
    },
    /// Remove networks
    Rm(RemoveArgs),
    /// Everything about one network, as JSON
    Inspect {
        /// Its name
        name: String,
    },
}

/// `tapestry port …`
#[derive(Debug, Subcommand)]
pub enum PortCommand {
    /// List ports
    Ls,
    /// Add a port and its device
    Add {
        /// Its name
        name: String,
        /// Its keys.
        #[command(flatten)]
        options: Box<PortOptions>,
    },
    /// Change what is named of a port and keep the rest
    Set {
        /// Its name
        name: String,
        /// Its keys.
        #[command(flatten)]
        options: Box<PortOptions>,
    },
    /// Remove ports and their devices
    Rm(RemoveArgs),
    /// Everything about one port, as JSON
    Inspect {
        /// Its name
        name: String,
    },
}

/// `tapestry network rm`, `tapestry port rm`
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Do not mind one that does not exist
    #[arg(long)]
    pub if_exists: bool,
}

/// `tapestry fdb …`
#[derive(Debug, Subcommand)]
pub enum FdbCommand {
    /// List stations
    Ls(FilterArgs),
    /// Bind a station to a port: it neither ages nor moves
    Add {
        /// Its address
        mac: Mac,
        /// Its network
        #[arg(long)]
        network: String,
        /// The port it lives behind
        #[arg(long)]
        port: String,
    },
    /// Forget one station, static or learned
    Del {
        /// Its address
        mac: Mac,
        /// Its network
        #[arg(long)]
        network: String,
    },
    /// Forget learned stations; static ones stay
    Flush(FilterArgs),
}

/// Which stations: those that match every given criterion.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Only stations of this network
    #[arg(long)]
    pub network: Option<String>,
    /// Only stations behind this port
    #[arg(long)]
    pub port: Option<String>,
    /// Only the station with this address
    #[arg(long)]
    pub mac: Option<Mac>,
}

/// `tapestry drops`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DropsArgs {
    /// What to do beside listing
    #[command(subcommand)]
    pub command: Option<DropsCommand>,
    /// Only drops of frames that came in through this port, or for `deliver.*` that should have left through it
    #[arg(long)]
    pub port: Option<String>,
    /// Only drops for this reason, as in `admit.runt`
    #[arg(long)]
    pub reason: Option<String>,
    /// Show frames as they are dropped, until interrupted
    #[arg(long, short)]
    pub follow: bool,
    /// With --follow: end after so many
    #[arg(long, value_name = "COUNT", requires = "follow", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// `tapestry drops …`
#[derive(Debug, Subcommand)]
pub enum DropsCommand {
    /// What a reason means, what causes it and what to do; needs no daemon
    Explain {
        /// Its id, as in `admit.runt`; without it every reason is explained
        reason: Option<String>,
    },
}

/// `tapestry events`
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on with what happens from now on, until interrupted
    #[arg(long, short)]
    pub follow: bool,
    /// Only these kinds, as in `port.failed,fdb.flap`
    #[arg(long = "type", value_name = "KIND", value_delimiter = ',', value_parser = options::event_kind)]
    pub kinds: Vec<crate::events::EventKind>,
}

/// `tapestry replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A recording of `tapestry record` or `tapestry run --record`, to be replayed and verified: exit 1 if anything differs
    #[arg(conflicts_with_all = ["config", "inputs", "expect", "seed", "batch"])]
    pub recording: Option<PathBuf>,
    /// Configuration file
    #[arg(short, long, value_name = "FILE", required_unless_present = "recording")]
    pub config: Option<PathBuf>,
    /// A capture (pcap or pcapng) that enters a port; may be given several times
    #[arg(long = "in", value_name = "PORT=CAPTURE", required_unless_present = "recording", value_parser = options::port_and_file)]
    pub inputs: Vec<(String, PathBuf)>,
    /// Where the captures of what leaves each port and the counters go
    #[arg(long, value_name = "DIR", required_unless_present_any = ["expect", "recording"])]
    pub out: Option<PathBuf>,
    /// Make a golden of the recording in this new directory: configuration, captures in and out, counters
    #[arg(long, value_name = "DIR", requires = "recording", conflicts_with = "out")]
    pub golden: Option<PathBuf>,
    /// What must come out; exit 1 with the first difference otherwise
    #[arg(long, value_name = "DIR")]
    pub expect: Option<PathBuf>,
    /// Seed of the node's chance
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
    /// Frames handled before the outbox is drained; never changes the result
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,
}

/// `tapestry sim`
#[derive(Debug, Args)]
pub struct SimArgs {
    /// The world's file
    #[arg(value_name = "TOPOLOGY")]
    pub file: PathBuf,
    /// Where all chance comes from; default: what the file says
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// How long it lives, as in 60s; default: what the file says
    #[arg(long = "for", value_name = "TIME")]
    pub life: Option<Span>,
    /// Where the report goes, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Where captures of every port and host, counters and events go
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Events of a switch handled before its outbox is drained; never changes the result
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,
}
