//! Changes of a running configuration, one object at a time.
//!
//! An [`Edit`] is applied to a copy, the copy is checked whole like a file, and only then is it the configuration: a
//! refused edit changes nothing. What other objects depend on cannot be taken away: a network goes after its ports, a
//! port after its static stations and published L4 ports.

use std::fmt;

use serde::{Deserialize, Serialize};
use wire::Mac;

use crate::report::Report;
use crate::spec::{Document, NetworkSpec, PortSpec, StationSpec};
use crate::{Config, derive, text};

/// A change of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Edit {
    /// A new network.
    AddNetwork {
        /// Its name.
        name: String,
        /// What it is to be.
        spec: NetworkSpec,
    },
    /// A network that exists becomes another.
    ReplaceNetwork {
        /// Its name.
        name: String,
        /// What it is to be.
        spec: NetworkSpec,
    },
    /// A network goes.
    RemoveNetwork {
        /// Its name.
        name: String,
    },
    /// A new port.
    AddPort {
        /// Its name.
        name: String,
        /// What it is to be.
        spec: PortSpec,
    },
    /// A port that exists becomes another.
    ReplacePort {
        /// Its name.
        name: String,
        /// What it is to be.
        spec: PortSpec,
    },
    /// A port goes.
    RemovePort {
        /// Its name.
        name: String,
    },
    /// A new static station.
    AddStation(StationSpec),
    /// A static station that exists, by network and MAC address, lives elsewhere.
    ReplaceStation(StationSpec),
    /// A static station goes.
    RemoveStation {
        /// Its network.
        network: String,
        /// Its address.
        #[serde(with = "text::one")]
        mac: Mac,
    },
}

/// Why an edit was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// There is one of this kind and name already.
    Exists(&'static str, String),
    /// There is none of this kind and name.
    Missing(&'static str, String),
    /// Others need the one of this kind and name.
    InUse(&'static str, String, Vec<String>),
    /// The configuration that would result does not pass the checks.
    Refused(Report),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(kind, name) => {
                write!(f, "{kind} {name:?} exists already; replace it, or choose another name")
            }
            Self::Missing(kind, name) => write!(f, "there is no {kind} {name:?}"),
            Self::InUse(kind, name, users) => {
                write!(f, "{kind} {name:?} is used by {}; remove or change that first", users.join(", "))
            }
            Self::Refused(report) => report.fmt(f),
        }
    }
}

impl std::error::Error for EditError {}

impl Config {
    /// The configuration after `edit`. Addresses that are "auto" in it are settled.
    ///
    /// # Errors
    /// Why the edit is refused; `self` is as it was in any case.
    pub fn apply(&self, edit: &Edit) -> Result<Self, EditError> {
        let mut document = self.0.clone();
        match edit {
            Edit::AddNetwork { name, spec } => {
                let taken = document.network.insert(name.clone(), spec.clone()).is_some();
                expect_free(taken, "network", name)?;
            }
            Edit::ReplaceNetwork { name, spec } => {
                let found = document.network.insert(name.clone(), spec.clone()).is_some();
                expect_found(found, "network", name)?;
            }
            Edit::RemoveNetwork { name } => {
                let found = document.network.remove(name).is_some();
                expect_found(found, "network", name)?;
                expect_unused(users_of_network(&document, name), "network", name)?;
            }
            Edit::AddPort { name, spec } => {
                let taken = document.port.insert(name.clone(), spec.clone()).is_some();
                expect_free(taken, "port", name)?;
            }
            Edit::ReplacePort { name, spec } => {
                let found = document.port.insert(name.clone(), spec.clone()).is_some();
                expect_found(found, "port", name)?;
            }
            Edit::RemovePort { name } => {
                let found = document.port.remove(name).is_some();
                expect_found(found, "port", name)?;
                expect_unused(users_of_port(&document, name), "port", name)?;
            }
            Edit::AddStation(station) => {
                let taken = remove_station(&mut document.station, &station.network, station.mac);
                expect_free(taken, "station", &station.mac)?;
                document.station.push(station.clone());
            }
            Edit::ReplaceStation(station) => {
                let found = remove_station(&mut document.station, &station.network, station.mac);
                expect_found(found, "station", &station.mac)?;
                document.station.push(station.clone());
            }
            Edit::RemoveStation { network, mac } => {
                let found = remove_station(&mut document.station, network, *mac);
                expect_found(found, "station", mac)?;
            }
        }
        Self::new(document).map_err(EditError::Refused)
    }
}

fn remove_station(stations: &mut Vec<StationSpec>, network: &str, mac: Mac) -> bool {
    let before = stations.len();
    stations.retain(|station| station.network != network || station.mac != mac);
    stations.len() != before
}

fn expect_free(taken: bool, kind: &'static str, name: &impl ToString) -> Result<(), EditError> {
    if taken { Err(EditError::Exists(kind, name.to_string())) } else { Ok(()) }
}

fn expect_found(found: bool, kind: &'static str, name: &impl ToString) -> Result<(), EditError> {
    if found { Ok(()) } else { Err(EditError::Missing(kind, name.to_string())) }
}

fn expect_unused(users: Vec<String>, kind: &'static str, name: &str) -> Result<(), EditError> {
    if users.is_empty() { Ok(()) } else { Err(EditError::InUse(kind, name.to_owned(), users)) }
}

/// What names the network.
fn users_of_network(document: &Document, network: &str) -> Vec<String> {
    let on = |port: &PortSpec| derive::memberships(port).any(|(_, member)| member == network);
    let ports = document.port.iter().filter(|(_, port)| on(port)).map(|(name, _)| format!("port {name:?}"));
    let stations = document.station.iter().filter(|station| station.network == network);
    let stations = stations.map(|station| format!("station \"{}\"", station.mac));
    let overlay = document
        .overlay
        .iter()
        .filter(|overlay| overlay.network == network)
        .map(|_| "the overlay".to_owned());
    ports.chain(stations).chain(overlay).collect()
}

/// What names the port.
fn users_of_port(document: &Document, port: &str) -> Vec<String> {
    let stations = document.station.iter().filter(|station| station.port == port);
    let stations = stations.map(|station| format!("station \"{}\"", station.mac));
    let published = document.publish.iter().filter(|publish| publish.to.port == port);
    stations.chain(published.map(|publish| format!("what is published at {}", publish.listen))).collect()
}
