//! Configuration: text in, plan out. Nothing is opened here; whoever calls has read the file.
//!
//! ```text
//!  text ──check──▶ Config ──compile──▶ Compiled { plan, ports, networks, not_in_force }
//!                  ▲    │                             │
//!        Edit ─────┘    └──to_toml──▶ text            └──diff──▶ what a change comes to
//! ```
//!
//! - [`check`] reads strict TOML. Every fault is reported with file, line and column, the reason and what to do; unknown
//!   keys are faults, with the nearest match.
//! - A [`Config`] has passed every check, whether it came from a file or by an [`Edit`] of the control API. It
//!   dereferences to its [`Document`], whose types are also the API's JSON.
//! - [`compile`] turns it into the node's plan and what the shell must open. It cannot fail. [`Ids`] keeps ids stable
//!   from one configuration to the next, and [`diff`] tells what changed between two.
//!
//! What this version reads and checks but does not do (tunnels, overlays) is listed in [`Compiled::not_in_force`]; what
//! is in force and yet against the standards, in [`Config::advice`].
//!
//! Addresses that are "auto" are chosen before the checks, from what ports had before ([`Leases`]): whoever keeps the
//! leases gives a port the same addresses again.
#![forbid(unsafe_code)]

mod address;
mod compile;
mod derive;
mod diff;
mod edit;
mod ends;
mod etcd;
mod explain;
mod force;
mod guard;
mod ids;
mod leases;
mod lines;
mod parse;
mod pool;
mod publish;
mod report;
mod share;
mod spec;
mod text;
mod validate;

use std::ops::{Deref, Range};

use serde::Serialize;

pub use address::Addresses;
pub use compile::{Compiled, CompiledPort, Device, Nic, PortKind, Tunnel, compile};
pub use derive::{OVERLAY, OVERLAY_V6, UPLINK};
pub use diff::{Change, Changes, diff};
pub use edit::{Edit, EditError, RouterEdit};
pub use ends::{AclEnd, Inside, NotAnEnd, Prefix};
pub use etcd::{EtcdEndpoint, NotAnEtcdEndpoint};
pub use explain::explain;
pub use ids::Ids;
pub use leases::{LEASES_MAX, Lease, Leases};
pub use lines::Lines;
pub use publish::{L4Ports, Listen, NotPublishable, Target};
pub use report::{FAULTS_MAX, Fault, Report};
pub use share::Share;
pub use spec::{
    AclAction, AclProto, AclSpec, Backend, Document, EtcdSpec, Filtering, Guard, NatSpec, NetworkSpec,
    OneToOneSpec, OverlaySpec, PeerSpec, PortSpec, Proto, PublishSpec, Registry, RouteKind, RouteSpec,
    StationSpec, StormSpec, TimeoutsSpec, UplinkKind, UplinkSpec, VxlanSpec,
};
pub use validate::{
    NAME_LEN_MAX, PEERS_MAX, PUBLISH_MAX, ROUTES_MAX, SPIN_US_MAX, STATIONS_LIMIT_MAX, TIMEOUT_MAX,
    WORKERS_MAX,
};

use report::Finding;

/// A configuration that has passed every check. Its addresses are settled: none is "auto".
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Config(Document);

impl Deref for Config {
    type Target = Document;

    fn deref(&self) -> &Document {
        &self.0
    }
}

/// Reads the configuration `text`, which errors call `path`. Ports with "auto" get the lowest free addresses.
///
/// # Errors
/// Everything that is wrong with it. Where the text is no TOML at all, only that.
pub fn check(path: &str, text: &str) -> Result<Config, Report> {
    check_leased(path, text, &Leases::default()).map(|(config, _)| config)
}

/// [`check`] where ports with "auto" get again what they had, and with the leases that hold from then on.
///
/// # Errors
/// As [`check`].
pub fn check_leased(path: &str, text: &str, leases: &Leases) -> Result<(Config, Leases), Report> {
    check_shared(path, text, leases, None)
}

/// [`check_leased`] with what is known of the overlay that the configuration takes from a registry. Without, a network
/// whose subnet is yet to be leased has one that stands in for it ([`Config::lacks_subnet`]).
///
/// # Errors
/// As [`check`].
pub fn check_shared(
    path: &str,
    text: &str,
    leases: &Leases,
    share: Option<&Share>,
) -> Result<(Config, Leases), Report> {
    let parsed = match parse::parse(text) {
        Ok(parsed) => parsed,
        Err(faults) => return Err(report(path, text, faults)),
    };
    let mut document = parsed.document;
    let mut faults = parsed.faults;
    let explicit = share::fault(&document);
    share::fill(&mut document, share);
    let leases = leases::settle(&mut document, &parsed.places.ports(), leases);
    let objects: Vec<Vec<report::Step>> =
        faults.iter().map(|(_, fault)| fault.at.object().to_vec()).collect();
    for finding in explicit.into_iter().chain(validate::validate(&document)) {
        if !objects.iter().any(|object| object == finding.at.object()) {
            faults.push((parsed.places.span(&finding.at), finding));
        }
    }
    if faults.is_empty() { Ok((Config(document), leases)) } else { Err(report(path, text, faults)) }
}

impl Config {
    /// Checks a document that is no text, such as one that the control API received. Addresses that are "auto" are
    /// settled in the order of the ports' names.
    ///
    /// # Errors
    /// Everything that is wrong with it, by the names of objects.
    pub fn new(document: Document) -> Result<Self, Report> {
        Self::new_leased(document, &Leases::default()).map(|(config, _)| config)
    }

    /// [`Config::new`] where ports with "auto" get again what they had, and with the leases that hold from then on.
    ///
    /// # Errors
    /// As [`Config::new`].
    pub fn new_leased(mut document: Document, leases: &Leases) -> Result<(Self, Leases), Report> {
        let ports: Vec<String> = document.port.keys().cloned().collect();
        let mut findings = share::fault(&document);
        share::fill(&mut document, None);
        let leases = leases::settle(&mut document, &ports, leases);
        findings.extend(validate::validate(&document));
        if findings.is_empty() { Ok((Self(document), leases)) } else { Err(Report::without_text(findings)) }
    }

    /// What is allowed and yet shorter than the standards ask for, a sentence each.
    pub fn advice(&self) -> Vec<String> {
        validate::nat_advice(&self.0.nat)
    }

    /// The configuration as a file that reads back as an equal one.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.0).expect("every document can be written as TOML")
    }
}

fn report(path: &str, text: &str, mut faults: Vec<(Range<usize>, Finding)>) -> Report {
    faults.sort_by_key(|(span, _)| span.start);
    let located = |(span, finding): (Range<usize>, Finding)| {
        let (line, column) = position(text, span.start);
        Fault { line: Some(line), column: Some(column), at: finding.at.to_string(), message: finding.message }
    };
    Report { file: Some(path.to_owned()), faults: faults.into_iter().take(FAULTS_MAX).map(located).collect() }
}

/// Line and column (in characters) of an offset, both counted from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
