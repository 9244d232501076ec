//! What the control socket may ask, answered: each edit is a change of the whole configuration, each question a view.

use config::{Config, Edit, EditError, Leases, Report, RouterEdit};
use node::Flush;
use wire::Mac;

use super::{Supervisor, view};
use crate::api::{
    ApiError, Applied, DropInfo, ErrorKind, NetworkInfo, NetworkSpec, Operations, PortInfo, PortSpec,
    StationFilter, StationInfo, StationKind, StationSpec, Status,
};
use crate::events::{Event, Subscription};

impl Operations for Supervisor {
    fn status(&self) -> Result<Status, ApiError> {
        Ok(view::status(self))
    }

    fn networks(&self) -> Result<Vec<NetworkInfo>, ApiError> {
        Ok(view::networks(self))
    }

    fn create_network(&self, name: &str, spec: NetworkSpec) -> Result<(), ApiError> {
        self.edit(&Edit::AddNetwork { name: name.to_owned(), spec })
    }

    fn set_network(&self, name: &str, spec: NetworkSpec) -> Result<(), ApiError> {
        self.edit(&Edit::ReplaceNetwork { name: name.to_owned(), spec })
    }

    fn remove_network(&self, name: &str) -> Result<(), ApiError> {
        self.edit(&Edit::RemoveNetwork { name: name.to_owned() })
    }

    fn ports(&self) -> Result<Vec<PortInfo>, ApiError> {
        Ok(view::ports(self))
    }

    fn add_port(&self, name: &str, spec: PortSpec) -> Result<(), ApiError> {
        self.edit(&Edit::AddPort { name: name.to_owned(), spec })
    }

    fn set_port(&self, name: &str, spec: PortSpec) -> Result<(), ApiError> {
        self.edit(&Edit::ReplacePort { name: name.to_owned(), spec })
    }

    fn remove_port(&self, name: &str) -> Result<(), ApiError> {
        self.edit(&Edit::RemovePort { name: name.to_owned() })
    }

    fn stations(&self, filter: &StationFilter) -> Result<Vec<StationInfo>, ApiError> {
        let criteria = self.criteria(filter)?;
        Ok(view::stations(self, criteria))
    }

    fn add_station(&self, station: &StationSpec) -> Result<(), ApiError> {
        self.edit(&Edit::AddStation(station.clone()))
    }

    fn remove_station(&self, network: &str, mac: Mac) -> Result<(), ApiError> {
        let filter = StationFilter { network: Some(network.to_owned()), port: None, mac: Some(mac) };
        let is_learned = |station: &StationInfo| station.kind == StationKind::Learned;
        if self.stations(&filter).is_ok_and(|known| known.iter().any(is_learned)) {
            return self.flush_stations(&filter);
        }
        self.edit(&Edit::RemoveStation { network: network.to_owned(), mac })
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
        self.apply_text("configuration", Ok(config_text.to_owned()))
    }

    fn configuration(&self) -> Result<String, ApiError> {
        Ok(self.state().config.to_toml())
    }
}

impl Supervisor {
    /// Makes the switch equal to this configuration text, which errors call `name`, or changes nothing. That there is no
    /// text is told to those who listen, as all refusals are.
    ///
    /// # Errors
    /// The refusal, old or new.
    pub fn apply_text(&self, name: &str, text: Result<String, ApiError>) -> Result<Applied, ApiError> {
        let changes = self.change(|old, leases| {
            let share = old.share();
            let next = config::check_shared(name, &text?, leases, share.as_ref())
                .map_err(|report| invalid("configuration", &report))?;
            self.check_registry(old, &next.0)?;
            Ok(next)
        })?;
        Ok(Applied { changes: view::changes(&changes), warnings: view::warnings(self, &self.state()) })
    }

    pub(super) fn edit(&self, edit: &Edit) -> Result<(), ApiError> {
        let change = |config: &Config, leases: &Leases| {
            let next = config.apply_leased(edit, leases).map_err(|error| refusal(edit, &error))?;
            self.check_registry(config, &next.0)?;
            Ok(next)
        };
        self.change(change).map(drop)
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
        Edit::Router(edit) => router_entry(edit),
    };
    match error {
        EditError::Exists(..) => ApiError::new(ErrorKind::Conflict, what, "it exists already")
            .next("change the one that exists, or choose another name"),
        EditError::Missing(kind, _) => {
            let listing = if *kind == "station" { "fdb" } else { kind };
            ApiError::new(ErrorKind::NotFound, what, "there is none")
                .next(format!("see `tapestry {listing} ls`"))
        }
        EditError::Beyond(_, position, len) => {
            let why = match len {
                0 => "there are no rules yet".to_owned(),
                1 => "there is only 1 rule".to_owned(),
                len => format!("there are only {len} rules"),
            };
            ApiError::new(ErrorKind::Invalid, format!("--position {position}"), why)
                .next("without it a rule comes behind all others; see `tapestry acl ls`")
        }
        EditError::InUse(_, _, users) => {
            ApiError::new(ErrorKind::Conflict, what, format!("it is used by {}", users.join(", ")))
                .next("remove or change what uses it first")
        }
        EditError::Refused(report) => invalid(what, report),
    }
}

/// What an edit of the router is about.
fn router_entry(edit: &RouterEdit) -> String {
    match edit {
        RouterEdit::AddRoute(route) => format!("route to {}", route.to),
        RouterEdit::RemoveRoute { to } => format!("route to {to}"),
        RouterEdit::AddPublish(publish) => format!("publishing {} at {}", publish.to, publish.listen),
        RouterEdit::RemovePublish { listen, proto } => {
            let proto = match proto {
                config::Proto::Tcp => "TCP",
                config::Proto::Udp => "UDP",
            };
            format!("what is published at {listen} for {proto}")
        }
        RouterEdit::AddAcl { rule, .. } => format!("access rule from {} to {}", rule.from, rule.to),
        RouterEdit::RemoveAcl { position } => format!("access rule {position}"),
    }
}

pub(super) fn invalid(what: impl Into<String>, report: &Report) -> ApiError {
    ApiError::new(ErrorKind::Invalid, what, report.to_string())
}
