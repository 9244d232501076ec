//! What the control socket may ask, answered: each edit is a change of the whole configuration, each question a view.

use config::{Edit, EditError, Report};
use node::Flush;
use wire::Mac;

use super::{Supervisor, view};
use crate::api::{
    ApiError, Applied, DropInfo, ErrorKind, NetworkInfo, NetworkSpec, Operations, PortInfo, PortSpec,
    StationFilter, StationInfo, StationSpec, Status,
};
use crate::events::{Event, EventKind, Subscription};

impl Operations for Supervisor {
    fn status(&self) -> Result<Status, ApiError> {
        Ok(view::status(self))
    }

    fn networks(&self) -> Result<Vec<NetworkInfo>, ApiError> {
        Ok(view::networks(self))
    }

    fn create_network(&self, name: &str, spec: NetworkSpec) -> Result<(), ApiError> {
        self.edit(&Edit::AddNetwork { name: name.to_owned(), spec })?;
        let event = Event::new(EventKind::NetworkAdded, format!("network {name:?} was created"));
        self.events.publish(event.network(name));
        Ok(())
    }

    fn set_network(&self, name: &str, spec: NetworkSpec) -> Result<(), ApiError> {
        self.edit(&Edit::ReplaceNetwork { name: name.to_owned(), spec })
    }

    fn remove_network(&self, name: &str) -> Result<(), ApiError> {
        self.edit(&Edit::RemoveNetwork { name: name.to_owned() })?;
        let event = Event::new(EventKind::NetworkRemoved, format!("network {name:?} was removed"));
        self.events.publish(event.network(name));
        Ok(())
    }

    fn ports(&self) -> Result<Vec<PortInfo>, ApiError> {
        Ok(view::ports(self))
    }

    fn add_port(&self, name: &str, spec: PortSpec) -> Result<(), ApiError> {
        self.edit(&Edit::AddPort { name: name.to_owned(), spec })?;
        self.events.publish(Event::new(EventKind::PortAdded, format!("port {name:?} was added")).port(name));
        Ok(())
    }

    fn set_port(&self, name: &str, spec: PortSpec) -> Result<(), ApiError> {
        self.edit(&Edit::ReplacePort { name: name.to_owned(), spec })
    }

    fn remove_port(&self, name: &str) -> Result<(), ApiError> {
        self.edit(&Edit::RemovePort { name: name.to_owned() })?;
        self.events
            .publish(Event::new(EventKind::PortRemoved, format!("port {name:?} was removed")).port(name));
        Ok(())
    }

    fn stations(&self, filter: &StationFilter) -> Result<Vec<StationInfo>, ApiError> {
        let criteria = self.criteria(filter)?;
        Ok(view::stations(self, criteria))
    }

    fn add_station(&self, station: &StationSpec) -> Result<(), ApiError> {
        self.edit(&Edit::AddStation(station.clone()))
    }

    fn remove_station(&self, network: &str, mac: Mac) -> Result<(), ApiError> {
        let removed = self.edit(&Edit::RemoveStation { network: network.to_owned(), mac });
        let filter = StationFilter { network: Some(network.to_owned()), port: None, mac: Some(mac) };
        match removed {
            // Not a static one: perhaps it was learned.
            Err(error) if error.kind == ErrorKind::NotFound => {
                if self.stations(&filter)?.is_empty() {
                    Err(error)
                } else {
                    self.flush_stations(&filter)
                }
            }
            other => other,
        }
    }

    fn flush_stations(&self, filter: &StationFilter) -> Result<(), ApiError> {
        let criteria = self.criteria(filter)?;
        self.workers.handle(|| node::Event::Flush(criteria));
        Ok(())
    }

    fn drops(&self) -> Result<Vec<DropInfo>, ApiError> {
        Ok(view::drops(self))
    }

    fn recent_events(&self) -> Vec<Event> {
        self.events.recent()
    }

    fn subscribe(&self) -> Subscription {
        self.events.subscribe()
    }

    fn apply(&self, config_text: &str) -> Result<Applied, ApiError> {
        let config = config::check("configuration", config_text).map_err(|report| {
            self.events.publish(Event::new(EventKind::ConfigRejected, report.to_string()));
            invalid("configuration", &report)
        })?;
        let changes = self.change(|before| {
            if config.workers != before.workers {
                let why = format!("`workers` is {}, and {} need a new start", before.workers, config.workers);
                return Err(ApiError::new(ErrorKind::Conflict, "configuration", why)
                    .next("restart the switch, or leave `workers` as it is"));
            }
            Ok(config)
        })?;
        let changes = view::changes(&changes);
        if !changes.is_empty() {
            self.events.publish(Event::new(EventKind::ConfigApplied, changes.join(", ")));
        }
        Ok(Applied { changes, warnings: view::warnings(&self.state()) })
    }

    fn configuration(&self) -> Result<String, ApiError> {
        Ok(self.state().config.to_toml())
    }
}

impl Supervisor {
    fn edit(&self, edit: &Edit) -> Result<(), ApiError> {
        self.change(|config| config.apply(edit).map_err(|error| refusal(edit, &error))).map(drop)
    }

    /// The filter with ids for names.
    fn criteria(&self, filter: &StationFilter) -> Result<Flush, ApiError> {
        let state = self.state();
        let missing = |kind: &str, name: &str| {
            ApiError::new(ErrorKind::NotFound, format!("{kind} {name:?}"), "there is none")
                .next(format!("see `tapestry {kind} ls`"))
        };
        let domain = filter
            .network
            .as_ref()
            .map(|name| state.compiled.networks.get(name).copied().ok_or_else(|| missing("network", name)));
        let port = filter.port.as_ref().map(|name| {
            state.compiled.ports.get(name).map(|port| port.id).ok_or_else(|| missing("port", name))
        });
        Ok(Flush { domain: domain.transpose()?, port: port.transpose()?, mac: filter.mac })
    }
}

/// An edit's refusal as an answer: what was asked, why not, what next.
fn refusal(edit: &Edit, error: &EditError) -> ApiError {
    let what = match edit {
        Edit::AddNetwork { name, .. } | Edit::ReplaceNetwork { name, .. } | Edit::RemoveNetwork { name } => {
            format!("network {name:?}")
        }
        Edit::AddPort { name, .. } | Edit::ReplacePort { name, .. } | Edit::RemovePort { name } => {
            format!("port {name:?}")
        }
        Edit::AddStation(station) | Edit::ReplaceStation(station) => {
            format!("station {} in network {:?}", station.mac, station.network)
        }
        Edit::RemoveStation { network, mac } => format!("station {mac} in network {network:?}"),
    };
    match error {
        EditError::Exists(..) => ApiError::new(ErrorKind::Conflict, what, "it exists already")
            .next("change the one that exists, or choose another name"),
        EditError::Missing(kind, _) => {
            let listing = if *kind == "station" { "fdb" } else { kind };
            ApiError::new(ErrorKind::NotFound, what, "there is none")
                .next(format!("see `tapestry {listing} ls`"))
        }
        EditError::InUse(_, _, users) => {
            ApiError::new(ErrorKind::Conflict, what, format!("it is used by {}", users.join(", ")))
                .next("remove or change what uses it first")
        }
        EditError::Refused(report) => invalid(what, report),
    }
}

fn invalid(what: impl Into<String>, report: &Report) -> ApiError {
    ApiError::new(ErrorKind::Invalid, what, report.to_string())
}
