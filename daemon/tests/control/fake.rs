//! A switch that remembers what it is told and does nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tapestry::api::*;
use tapestry::control::{Limits, ServerHandle, serve_with};
use tapestry::events::{Event, EventLog, Subscription};
use tempfile::TempDir;

/// What the fake remembers.
#[derive(Default)]
pub(crate) struct Switch {
    networks: Mutex<BTreeMap<String, NetworkSpec>>,
    ports: Mutex<BTreeMap<String, PortSpec>>,
    pub(crate) stations: Mutex<Vec<StationInfo>>,
    pub(crate) configuration: Mutex<String>,
    pub(crate) router: crate::fake_router::Entries,
    log: Arc<EventLog>,
}

/// A fake switch behind a real socket in a directory of its own.
pub(crate) struct World {
    pub(crate) switch: Arc<Switch>,
    pub(crate) log: Arc<EventLog>,
    pub(crate) socket: PathBuf,
    pub(crate) directory: TempDir,
    server: Option<ServerHandle>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s.sock");
        let log = Arc::new(EventLog::default());
        let switch = Arc::new(Switch { log: Arc::clone(&log), ..Switch::default() });
        let server = serve_with(&socket, switch.clone(), limits).unwrap();
        Self { switch, log, socket, directory, server: Some(server) }
    }

    pub(crate) fn stop(&mut self) {
        self.server.take().expect("stopped once").stop();
    }
}

/// A station as a list shows it.
pub(crate) fn station(mac: &str, port: &str) -> StationInfo {
    StationInfo {
        network: "a".to_owned(),
        mac: mac.to_owned(),
        port: port.to_owned(),
        kind: StationKind::Learned,
        age_ms: Some(1_500),
    }
}

pub(crate) fn missing(kind: &str, name: &str) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("{kind} {name:?}"), "there is none")
}

pub(crate) fn taken(kind: &str, name: &str) -> ApiError {
    ApiError::new(ErrorKind::Conflict, format!("{kind} {name:?}"), "the name is taken").next("choose another")
}

fn insert<T>(map: &Mutex<BTreeMap<String, T>>, kind: &str, name: &str, spec: T) -> Result<(), ApiError> {
    let mut map = map.lock().unwrap();
    if map.contains_key(name) {
        return Err(taken(kind, name));
    }
    map.insert(name.to_owned(), spec);
    Ok(())
}

fn replace<T>(map: &Mutex<BTreeMap<String, T>>, kind: &str, name: &str, spec: T) -> Result<(), ApiError> {
    *map.lock().unwrap().get_mut(name).ok_or_else(|| missing(kind, name))? = spec;
    Ok(())
}

fn remove<T>(map: &Mutex<BTreeMap<String, T>>, kind: &str, name: &str) -> Result<(), ApiError> {
    map.lock().unwrap().remove(name).map(drop).ok_or_else(|| missing(kind, name))
}

impl Operations for Switch {
    fn status(&self) -> Result<Status, ApiError> {
        let ports = BTreeMap::from([(PortState::Up, 2), (PortState::Failed, 1)]);
        let totals = Totals { received: 1_234_567, forwarded: 1_234_566, dropped: 1, ..Totals::default() };
        let workers = vec![WorkerInfo {
            state: "running".to_owned(),
            frames: 30,
            batches: 10,
            ..WorkerInfo::default()
        }];
        let warnings = vec![Warning { text: "it pretends".to_owned(), next: "use a real one".to_owned() }];
        let recording = |number, destination, octets_max| RecordingInfo {
            number,
            destination,
            since: "2026-01-02T03:04:05.678Z".to_owned(),
            octets: 3 << 20,
            octets_max,
            missed: 1_234 * (2 - number),
            failed: 0,
        };
        let recordings = vec![
            recording(1, Destination::FlightRecorder, Some(64 << 20)),
            recording(2, Destination::Reader, None),
        ];
        Ok(Status {
            version: "0".to_owned(),
            pid: 7,
            ports,
            totals,
            workers,
            recordings,
            warnings,
            ..Status::default()
        })
    }

    fn networks(&self) -> Result<Vec<NetworkInfo>, ApiError> {
        let info = |(name, spec): (&String, &NetworkSpec)| NetworkInfo {
            name: name.clone(),
            subnet: spec.subnet.iter().map(ToString::to_string).collect(),
            gateway: Vec::new(),
            mtu: spec.mtu.into(),
            icc: spec.icc,
            ageing_s: spec.ageing.into(),
            ports: Vec::new(),
            stations: 0,
            stations_max: spec.stations_max.into(),
            spec: spec.clone(),
        };
        Ok(self.networks.lock().unwrap().iter().map(info).collect())
    }

    fn create_network(&self, name: &str, spec: NetworkSpec) -> Result<(), ApiError> {
        assert_ne!(name, "panic", "asked for");
        insert(&self.networks, "network", name, spec)
    }

    fn set_network(&self, name: &str, spec: NetworkSpec) -> Result<(), ApiError> {
        replace(&self.networks, "network", name, spec)
    }

    fn remove_network(&self, name: &str) -> Result<(), ApiError> {
        remove(&self.networks, "network", name)
    }

    fn ports(&self) -> Result<Vec<PortInfo>, ApiError> {
        let info = |(name, spec): (&String, &PortSpec)| PortInfo {
            faults: false,
            name: name.clone(),
            state: PortState::Failed,
            error: Some("it pretends".to_owned()),
            networks: vec![Membership { network: "a".to_owned(), vlan: Some(10) }],
            netns: spec.netns.clone(),
            ifname: "eth0".to_owned(),
            mac: None,
            address: Vec::new(),
            mtu: 1500,
            offloads: Vec::new(),
            queues: 1,
            adopted: false,
            rx_frames: 0,
            rx_bytes: 2_048,
            tx_frames: 0,
            tx_bytes: 0,
            drops: 0,
            stations: 0,
            spec: spec.clone(),
        };
        Ok(self.ports.lock().unwrap().iter().map(info).collect())
    }

    fn add_port(&self, name: &str, spec: PortSpec) -> Result<(), ApiError> {
        insert(&self.ports, "port", name, spec)
    }

    fn set_port(&self, name: &str, spec: PortSpec) -> Result<(), ApiError> {
        replace(&self.ports, "port", name, spec)
    }

    fn remove_port(&self, name: &str) -> Result<(), ApiError> {
        remove(&self.ports, "port", name)
    }

    fn stations(&self, filter: &StationFilter) -> Result<Vec<StationInfo>, ApiError> {
        let mut stations = self.stations.lock().unwrap().clone();
        stations.retain(|station| filter.port.as_ref().is_none_or(|port| *port == station.port));
        stations.retain(|station| filter.mac.is_none_or(|mac| mac.to_string() == station.mac));
        Ok(stations)
    }

    fn add_station(&self, spec: &StationSpec) -> Result<(), ApiError> {
        let info = StationInfo {
            kind: StationKind::Static,
            age_ms: None,
            ..station(&spec.mac.to_string(), &spec.port)
        };
        self.stations.lock().unwrap().push(info);
        Ok(())
    }

    fn remove_station(&self, _network: &str, mac: wire::Mac) -> Result<(), ApiError> {
        let mut stations = self.stations.lock().unwrap();
        let before = stations.len();
        stations.retain(|station| station.mac != mac.to_string());
        if stations.len() < before { Ok(()) } else { Err(missing("station", &mac.to_string())) }
    }

    fn flush_stations(&self, filter: &StationFilter) -> Result<(), ApiError> {
        let matches = |port: &str| filter.port.as_ref().is_none_or(|wanted| wanted == port);
        self.stations
            .lock()
            .unwrap()
            .retain(|station| station.kind == StationKind::Static || !matches(&station.port));
        Ok(())
    }

    fn drops(&self) -> Result<Vec<DropInfo>, ApiError> {
        let ports = BTreeMap::from([("c1".to_owned(), 3), ("c2".to_owned(), 4)]);
        Ok(vec![DropInfo::of(wire::DropReason::Runt, ports)])
    }

    fn recent_events(&self) -> Vec<Event> {
        self.log.recent()
    }

    fn subscribe(&self) -> Subscription {
        self.log.subscribe()
    }

    fn apply(&self, config_text: &str) -> Result<Applied, ApiError> {
        if config_text.contains("workers = 2") {
            return Err(ApiError::new(
                ErrorKind::Conflict,
                "workers",
                "they cannot change while the switch runs",
            ));
        }
        config_text.clone_into(&mut self.configuration.lock().unwrap());
        Ok(Applied { changes: vec!["+ network a".to_owned()], warnings: Vec::new() })
    }

    fn configuration(&self) -> Result<String, ApiError> {
        Ok(self.configuration.lock().unwrap().clone())
    }
}
