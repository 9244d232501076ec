//! Swarm: small worlds by chance, each with its own subset of features and faults, until one of them breaks a law.
//!
//! A seed is a world: [`world`] writes it, [`trial`] lets it live. Which features and which faults a world has at all is
//! drawn first, and only then how much of each, so that rare combinations and their absence both come up (Groce and
//! others, "Swarm Testing", 2012). Whatever a script breaks it heals before the end, so that everything that should
//! work must work again.
//!
//! A world goes through the text of its file on its way to life. So a failure is a file and a seed, which `tapestry sim`
//! lives through again to the octet. [`minimise`] makes that file small: it leaves out flows, changes, hosts, switches
//! and faults, one at a time, as long as the same rule is broken.

mod draw;
mod minimise;

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use draw::world;
pub use minimise::minimise;

use crate::world::{Finding, Options, Report, World, WorldSpec, check};

/// A world that broke a law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which law: that of a [`Finding`], `panic`, or `refused` if the world could not even be made.
    pub rule: String,
    /// Who, and how.
    pub what: String,
}

/// Lets the world live with this seed.
///
/// # Errors
/// The first thing that is wrong.
pub fn trial(spec: &WorldSpec, seed: u64) -> Result<Report, Failure> {
    let text = text(spec);
    let fail = |rule: &str, what: String| Failure { rule: rule.to_owned(), what };
    let topology = check("world.toml", &text).map_err(|report| fail("refused", report.to_string()))?;
    let options = Options { seed, life: spec.life.0, batch: 1, out: None };
    let lived = catch_unwind(AssertUnwindSafe(|| {
        World::new(topology, options)?.run(&mut |_| ControlFlow::Continue(()))
    }));
    let report = match lived {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => return Err(fail("files", error.to_string())),
        Err(panic) => {
            let what = panic.downcast_ref::<String>().cloned();
            let what = what.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            return Err(fail("panic", what.unwrap_or_else(|| "a panic without words".to_owned())));
        }
    };
    match report.findings.first() {
        None => Ok(report),
        Some(Finding { rule, what, at_ns }) => {
            Err(fail(rule, format!("at {} ms: {what}", at_ns / 1_000_000)))
        }
    }
}

/// The world as a file.
pub fn text(spec: &WorldSpec) -> String {
    toml::to_string_pretty(spec).expect("a world has nothing that TOML has not")
}

#[cfg(test)]
mod tests;
