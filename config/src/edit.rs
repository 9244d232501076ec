//! Changes of a running configuration, one object at a time.
//!
//! An [`Edit`] is applied to a copy, the copy is checked whole like a file, and only then is it the configuration: a
//! refused edit changes nothing. What other objects depend on cannot be taken away: a network goes after its ports, a
//! port after its static stations and published L4 ports, both after the access rules that name them.

use std::fmt;

use serde::{Deserialize, Serialize};
use wire::Mac;

use crate::ends::{AclEnd, Inside};
use crate::leases::Leases;
use crate::report::Report;
use crate::spec::{Document, NetworkSpec, PortSpec, StationSpec};
use crate::{Config, derive, text};

mod router;

pub use router::RouterEdit;

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
    /// A change of what the router is told.
    Router(RouterEdit),
}

/// Why an edit was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// There is one of this kind and name already.
    Exists(&'static str, String),
    /// There is none of this kind and name.
    Missing(&'static str, String),
    /// The list of this kind has no such position, because it has only so many entries.
    Beyond(&'static str, usize, usize),
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
            Self::Beyond(kind, position, len) => {
                write!(f, "the {kind} list has {len} entries, and no position {position}")
            }
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
        self.apply_leased(edit, &Leases::default()).map(|(config, _)| config)
    }

    /// [`Config::apply`] where ports with "auto" get again what they had, and with the leases that hold from then on.
    ///
    /// # Errors
    /// As [`Config::apply`].
    pub fn apply_leased(&self, edit: &Edit, leases: &Leases) -> Result<(Self, Leases), EditError> {
        let mut document = self.0.clone();
        change(&mut document, edit)?;
        Self::new_leased(document, leases).map_err(EditError::Refused)
    }
}

fn change(document: &mut Document, edit: &Edit) -> Result<(), EditError> {
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
            expect_unused(users_of_network(document, name), "network", name)?;
        }
        Edit::AddPort { name, spec } => {
            let taken = document.port.insert(name.clone(), spec.clone()).is_some();
            expect_free(taken, "port", name)?;
        }
        Edit::ReplacePort { name, spec } => {
            expect_own(document, name)?;
            let found = document.port.insert(name.clone(), spec.clone()).is_some();
            expect_found(found, "port", name)?;
        }
        Edit::RemovePort { name } => {
            expect_own(document, name)?;
            let found = document.port.remove(name).is_some();
            expect_found(found, "port", name)?;
            expect_unused(users_of_port(document, name), "port", name)?;
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
        Edit::Router(edit) => router::change(document, edit)?,
    }
    Ok(())
}

/// Takes the elements that are meant out of the list; whether there were any.
fn take<T>(list: &mut Vec<T>, is_meant: impl Fn(&T) -> bool) -> bool {
    let before = list.len();
    list.retain(|element| !is_meant(element));
    list.len() != before
}

fn remove_station(stations: &mut Vec<StationSpec>, network: &str, mac: Mac) -> bool {
    take(stations, |station| station.network == network && station.mac == mac)
}

fn expect_free(taken: bool, kind: &'static str, name: &impl ToString) -> Result<(), EditError> {
    if taken { Err(EditError::Exists(kind, name.to_string())) } else { Ok(()) }
}

fn expect_found(found: bool, kind: &'static str, name: &impl ToString) -> Result<(), EditError> {
    if found { Ok(()) } else { Err(EditError::Missing(kind, name.to_string())) }
}

/// The uplink's port is listed among the others and belongs to [uplink].
fn expect_own(document: &Document, port: &str) -> Result<(), EditError> {
    let is_uplink = port == derive::UPLINK && document.uplink.is_some();
    let users = is_uplink.then(|| "[uplink] of the configuration".to_owned());
    expect_unused(users.into_iter().collect(), "port", port)
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
    let rules = users_in_acl(document, &AclEnd::Network(network.to_owned()));
    ports.chain(stations).chain(overlay).chain(rules).collect()
}

/// What names the port.
fn users_of_port(document: &Document, port: &str) -> Vec<String> {
    let stations = document.station.iter().filter(|station| station.port == port);
    let stations = stations.map(|station| format!("station \"{}\"", station.mac));
    let published = document.publish.iter().filter(|publish| publish.to.port == port);
    let published = published.map(|publish| format!("what is published at {}", publish.listen));
    let inside = Inside::Port(port.to_owned());
    let pairs = document.one_to_one.iter().filter(|pair| pair.inside == inside);
    let pairs = pairs.map(|pair| format!("the one-to-one translation of {}", pair.outside));
    let rules = users_in_acl(document, &AclEnd::Port(port.to_owned()));
    stations.chain(published).chain(pairs).chain(rules).collect()
}

/// The rules in which the end stands.
fn users_in_acl(document: &Document, end: &AclEnd) -> Vec<String> {
    let rules = document.acl.iter().enumerate().filter(|(_, rule)| rule.from == *end || rule.to == *end);
    rules.map(|(index, _)| format!("access rule {index}")).collect()
}
