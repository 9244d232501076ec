//! The `tapestry` binary: what was typed, and the mode it names. Everything is in the library beside it.

use std::process::ExitCode;

use clap::Parser as _;
use tapestry::cli::{self, Cli, Command};
use tapestry::{demo, flanneld, replay, run, simulate};

fn main() -> ExitCode {
    // flanneld's flags are Go's, and some have names of ours: they are not ours to parse.
    if let Some(words) = flanneld_words() {
        return flanneld::run(&words, std::env::var_os("TAPESTRY_SOCKET").map(Into::into));
    }
    let Cli { command, common } = Cli::parse();
    match command {
        Command::Run(args) => run::run(&args, &common.socket),
        Command::Check(args) => cli::finish(cli::check(&args, &common)),
        Command::Demo => demo::run(),
        Command::Status => cli::finish(cli::ask_status(&common)),
        Command::Network(command) => cli::finish(cli::ask_network(command, &common)),
        Command::Port(command) => cli::finish(cli::ask_port(command, &common)),
        Command::Fdb(command) => cli::finish(cli::ask_fdb(command, &common)),
        Command::Route(command) => cli::finish(cli::router::ask_route(command, &common)),
        Command::Publish(command) => cli::finish(cli::router::ask_publish(command, &common)),
        Command::Acl(command) => cli::finish(cli::router::ask_acl(command, &common)),
        Command::Nat(command) => cli::finish(cli::router::ask_nat(command, &common)),
        Command::Neigh(command) => cli::finish(cli::router::ask_neigh(command, &common)),
        Command::Peer(command) => cli::finish(cli::ask_peer(&command, &common)),
        Command::Overlay(command) => cli::finish(cli::ask_overlay(&command, &common)),
        Command::Drops(args) => cli::finish(cli::ask_drops(&args, &common)),
        Command::Events(args) => cli::finish(cli::ask_events(&args, &common)),
        Command::Apply(args) => cli::finish(cli::ask_apply(&args, &common)),
        Command::Config => cli::finish(cli::ask_config(&common)),
        Command::Flanneld(args) => flanneld::run(&args.words, Some(common.socket)),
        Command::Capture(args) => cli::finish(cli::capture(&args, &common)),
        Command::Record(args) => cli::finish(cli::record(&args, &common)),
        Command::Fault(command) => cli::finish(cli::fault(&command, &common)),
        Command::Trace(args) => cli::finish(cli::trace(&args, &common)),
        Command::Replay(args) => replay::run(&args, &common),
        Command::Sim(args) => simulate::run(&args, &common),
    }
}

/// What follows `tapestry flanneld`, or the name of a link to this program that is called `flanneld`.
fn flanneld_words() -> Option<Vec<String>> {
    let mut words = std::env::args();
    let name = words.next()?;
    let is_link = std::path::Path::new(&name).file_name().is_some_and(|name| name == "flanneld");
    (is_link || words.next()? == "flanneld").then(|| words.collect())
}
