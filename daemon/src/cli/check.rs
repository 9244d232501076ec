//! `tapestry check`: whether a configuration file is right, without a daemon.

use std::fs;
use std::path::Path;

use config::Config;
use serde::Serialize;

use super::{Common, Failure, FileArgs, ask};

/// What is said about a file that is right.
#[derive(Serialize)]
struct Verdict {
    file: String,
    networks: usize,
    ports: usize,
    /// What the file asks for and this version does not do.
    not_in_force: Vec<String>,
    /// What is allowed and yet against the standards.
    advice: Vec<String>,
}

/// Reads the file and says either what is wrong with it, line by line, or what it amounts to.
pub fn check(args: &FileArgs, common: &Common) -> Result<(), Failure> {
    let (_, config) = read_configuration(&args.file, common)?;
    let verdict = Verdict {
        networks: config.network.len(),
        ports: config.port.len(),
        not_in_force: config::compile(&config, &mut config::Ids::default()).not_in_force,
        advice: config.advice(),
        file: args.file.display().to_string(),
    };
    ask::answer(common, &verdict, show)
}

/// The text of a configuration file and what it says. What is wrong with it has been said if this fails.
pub(crate) fn read_configuration(file: &Path, common: &Common) -> Result<(String, Config), Failure> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| Failure::invalid(&name, error.to_string()))?;
    match config::check(&name, &text) {
        Ok(config) => Ok((text, config)),
        Err(report) => Err(fail(&report, common)),
    }
}

/// Says what is wrong: on stderr for people, with `--json` as JSON on stdout.
pub(crate) fn fail(report: &config::Report, common: &Common) -> Failure {
    if common.json {
        if let Err(failure) = ask::answer(common, report, ToString::to_string) {
            return failure;
        }
    } else {
        eprintln!("{report}");
    }
    Failure::Said(2)
}

fn show(verdict: &Verdict) -> String {
    let mut text = format!("{}: ok, {} networks, {} ports\n", verdict.file, verdict.networks, verdict.ports);
    for sentence in verdict.not_in_force.iter().chain(&verdict.advice) {
        text += &format!("warning: {sentence}\n");
    }
    text
}
