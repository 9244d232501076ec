//! The `tapestry` binary: what was typed, and the mode it names. Everything is in the library beside it.

use std::process::ExitCode;

use clap::Parser as _;
use tapestry::cli::{self, Cli, Command};
use tapestry::{demo, replay, run};

fn main() -> ExitCode {
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
        Command::Drops(args) => cli::finish(cli::ask_drops(&args, &common)),
        Command::Events(args) => cli::finish(cli::ask_events(&args, &common)),
        Command::Apply(args) => cli::finish(cli::ask_apply(&args, &common)),
        Command::Config => cli::finish(cli::ask_config(&common)),
        Command::Replay(args) => replay::run(&args, &common),
    }
}
