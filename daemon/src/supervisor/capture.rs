//! Captures of the running switch: every worker gets a tap, whoever asked gets what they see.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sim::capture::Interface;
use sim::filter::{Filter, NotAFilter};
use wire::DropReason;

use super::{State, Supervisor};
use crate::api::{ApiError, ErrorKind, SNAP_LEN_MAX, Watch, WatchRequest};
use crate::sys::clock;
use crate::worker::tap::{Place, Wanted, tap};

pub(super) fn watch(supervisor: &Supervisor, request: &WatchRequest) -> Result<Watch, ApiError> {
    let filter: Filter = request.filter.parse().map_err(|error: NotAFilter| {
        ApiError::new(ErrorKind::Invalid, format!("filter {:?}", request.filter), error.to_string())
    })?;
    let reason = request.reason.as_ref().map(|id| {
        DropReason::from_id(id).ok_or_else(|| {
            ApiError::new(ErrorKind::NotFound, format!("drop reason {id:?}"), "there is none of this name")
                .next("`tapestry drops explain` lists every reason")
        })
    });
    let ports = interfaces(&supervisor.state(), &request.ports)?;
    let places = ports.iter().map(|(place, _)| *place).collect();
    let wanted = Wanted {
        // What is dropped because it has no port is seen too if nobody asks for ports.
        ports: (!request.ports.is_empty()).then_some(places),
        drops: request.drops,
        filter,
        snap_len: request.snap_len.unwrap_or(SNAP_LEN_MAX).min(SNAP_LEN_MAX),
    };
    let (tap, sightings) = tap(wanted);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let wall_ns = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
    let watch = Watch {
        sightings,
        ports,
        origins: Arc::clone(&supervisor.origins),
        since_1970_ns: wall_ns.saturating_sub(clock::now().as_nanos()),
        reason: reason.transpose()?,
    };
    supervisor.workers.tap(&tap);
    Ok(watch)
}

/// The named ports, or all.
fn interfaces(state: &State, names: &[String]) -> Result<Vec<(Place, Interface)>, ApiError> {
    let known = &state.compiled.ports;
    if let Some(missing) = names.iter().find(|name| !known.contains_key(*name)) {
        return Err(ApiError::new(ErrorKind::NotFound, format!("port {missing:?}"), "there is none")
            .next("see `tapestry port ls`; the uplink's port is called uplink"));
    }
    let listed = known.iter().filter(|(name, _)| names.is_empty() || names.contains(name));
    let interface = |(name, port): (&String, &config::CompiledPort)| {
        let network = state.config.port.get(name).and_then(|spec| spec.network.clone());
        let description = match network {
            Some(network) => format!("port {name} of network {network}"),
            None => format!("port {name}"),
        };
        let place = Place { port: port.id, serial: Some(port.serial) };
        (place, Interface { name: name.clone(), description })
    };
    Ok(listed.map(interface).collect())
}
