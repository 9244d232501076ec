//! The fake switch's router: it remembers entries and knows one connection and one neighbour.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::{AclSpec, Listen, Proto, PublishSpec, RouteSpec};
use sim::capture::Interface;
use tapestry::api::*;
use tapestry::worker::tap::{Place, Wanted, tap};
use wire::{Cidr, DropReason, Instant, PortId};

use crate::fake::{Switch, missing, taken};

/// What the fake router remembers.
#[derive(Default)]
pub(crate) struct Entries {
    routes: Mutex<Vec<RouteSpec>>,
    publishes: Mutex<Vec<PublishSpec>>,
    acl: Mutex<Vec<AclSpec>>,
    /// The filters that connections and neighbours were asked for with.
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Entries {
    fn note(&self, filter: &impl std::fmt::Debug) {
        self.asked.lock().unwrap().push(format!("{filter:?}"));
    }
}

/// One port has faults.
impl FaultOperations for Switch {
    fn faults(&self) -> Result<Vec<FaultInfo>, ApiError> {
        let lane = FaultLane::default;
        Ok(vec![FaultInfo { port: "c1".to_owned(), seed: 7, inwards: lane(), outwards: lane() }])
    }

    fn set_faults(&self, port: &str, change: &FaultChange) -> Result<(), ApiError> {
        self.router.note(change);
        if port == "c1" { Ok(()) } else { Err(missing("port", port)) }
    }

    fn clear_faults(&self, port: &str) -> Result<(), ApiError> {
        if port == "c1" { Ok(()) } else { Err(missing("port", port)) }
    }
}

impl Investigation for Switch {
    fn trace(&self, question: &Question) -> Result<Vec<Explained>, ApiError> {
        if question.port != "c1" {
            return Err(missing("port", &question.port));
        }
        let line = Line {
            room: "admit".to_owned(),
            text: "comes in".to_owned(),
            source: Some("t.toml:3".to_owned()),
        };
        let dropped = question.packet.as_deref() == Some("arp 10.0.0.1 > 10.0.0.2");
        Ok(vec![Explained {
            port: question.port.clone(),
            packet: question.packet.clone().or(question.frame.clone()).unwrap_or_default(),
            steps: vec![line],
            verdict: if dropped { Verdict::Drop } else { Verdict::Forward },
            reason: dropped.then(|| "admit.runt".to_owned()),
            advice: None,
            leaves: Vec::new(),
        }])
    }

    /// One frame of each kind, and then the switch ends.
    fn watch(&self, request: &WatchRequest) -> Result<Watch, ApiError> {
        if request.ports.iter().any(|port| port != "c1") {
            return Err(missing("port", &request.ports[0]));
        }
        let filter = request.filter.parse().map_err(|error: sim::filter::NotAFilter| {
            ApiError::new(ErrorKind::Invalid, "filter", error.to_string())
        })?;
        let (tap, sightings) = tap(Wanted { ports: None, drops: request.drops, filter, snap_len: 1_500 });
        let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x88, 0xb5], b"hello"].concat();
        let place = Place { port: PortId(0), serial: Some(0) };
        for way in [Way::In, Way::Out, Way::Dropped(DropReason::NoReceiver), Way::Dropped(DropReason::Runt)] {
            tap.show(Instant::from_secs(1), place, way, &frame);
        }
        let reason = request.reason.as_deref().and_then(DropReason::from_id);
        let interface = Interface { name: "c1".to_owned(), description: "port c1 of network a".to_owned() };
        Ok(Watch {
            sightings,
            ports: vec![(place, interface)],
            origins: Arc::default(),
            since_1970_ns: 1_700_000_000_000_000_000,
            reason,
        })
    }

    fn record(&self, _: Box<OpenSink>) -> Result<Arc<Recording>, ApiError> {
        Err(ApiError::new(ErrorKind::Unavailable, "the recording", "this switch moves no frames"))
    }

    fn end_recording(&self, _: &Recording) {}

    /// A piece that says how much was asked for.
    fn recorded_lately(&self, last: Duration) -> Result<Lately, ApiError> {
        let pieces = vec![b"the last ".to_vec(), format!("{last:?}").into_bytes()];
        Ok(Lately { pieces, reach: Reach { reaches_ms: 200, has_forgotten: true, octets_max: 16 << 20 } })
    }
}

impl OverlayOperations for Switch {
    fn peers(&self) -> Result<Vec<PeerInfo>, ApiError> {
        Ok(vec![PeerInfo {
            name: "overlay.192.0.2.2".to_owned(),
            subnet: Some("10.244.2.0/24".to_owned()),
            remote: "192.0.2.2:8472".to_owned(),
            mode: "vxlan".to_owned(),
            vni: Some(1),
            mtu: 1450,
            state: PeerState::Up,
            last_seen_ms: Some(1_500),
            ..PeerInfo::default()
        }])
    }

    /// A station behind the peer makes it answer.
    fn check_peer(&self, question: &PeerQuestion) -> Result<PeerReport, ApiError> {
        if question.peer != "192.0.2.2" {
            return Err(missing("peer", &question.peer));
        }
        let judgement = if question.inner.is_some() { Judgement::Good } else { Judgement::Unknown };
        let finding = Finding {
            check: "answers".to_owned(),
            judgement,
            text: "seen".to_owned(),
            next: "do".to_owned(),
        };
        let remote = "192.0.2.2:8472".to_owned();
        Ok(PeerReport { peer: question.peer.clone(), remote, findings: vec![finding] })
    }
}

fn info(route: &RouteSpec) -> RouteInfo {
    let hop = |hop: &IpAddr| NextHopInfo { address: hop.to_string(), network: "uplink".to_owned() };
    RouteInfo {
        to: route.to.to_string(),
        kind: if route.via.is_empty() { "blackhole" } else { "via" }.to_owned(),
        via: route.via.iter().map(hop).collect(),
        network: None,
        source: "static".to_owned(),
    }
}

fn neighbour() -> NeighbourInfo {
    NeighbourInfo {
        network: "a".to_owned(),
        address: "172.16.0.2".to_owned(),
        mac: Some("02:42:ac:10:00:02".to_owned()),
        state: "reachable".to_owned(),
        age_ms: 1_500,
        parked: 0,
    }
}

impl RouterOperations for Switch {
    fn routes(&self) -> Result<Vec<RouteInfo>, ApiError> {
        Ok(self.router.routes.lock().unwrap().iter().map(info).collect())
    }

    fn explain_route(&self, to: IpAddr, from: Option<IpAddr>) -> Result<RouteAnswer, ApiError> {
        let routes = self.router.routes.lock().unwrap();
        let route = routes.iter().find(|route| route.to.contains(to));
        let denied = from.filter(|from| from.is_loopback()).map(|_| "route.internal".to_owned());
        let hop = |hop: &IpAddr| HopInfo {
            address: hop.to_string(),
            network: "uplink".to_owned(),
            neighbour: Some(neighbour()),
        };
        Ok(RouteAnswer {
            to: to.to_string(),
            from: from.map(|from| from.to_string()),
            own: None,
            reachable: route.is_some_and(|route| !route.via.is_empty()) && denied.is_none(),
            hops: route.iter().flat_map(|route| route.via.iter().map(hop)).collect(),
            route: route.map(info),
            denied,
            notes: vec!["it pretends".to_owned()],
        })
    }

    fn add_route(&self, route: RouteSpec) -> Result<(), ApiError> {
        let mut routes = self.router.routes.lock().unwrap();
        if routes.iter().any(|other| other.to == route.to) {
            return Err(taken("route", &route.to.to_string()));
        }
        routes.push(route);
        Ok(())
    }

    fn remove_route(&self, to: Cidr) -> Result<(), ApiError> {
        let mut routes = self.router.routes.lock().unwrap();
        let index = routes.iter().position(|route| route.to == to);
        routes.remove(index.ok_or_else(|| missing("route", &to.to_string()))?);
        Ok(())
    }

    fn publishes(&self) -> Result<Vec<PublishInfo>, ApiError> {
        let info = |publish: &PublishSpec| PublishInfo {
            listen: publish.listen.to_string(),
            proto: format!("{:?}", publish.proto).to_lowercase(),
            to: publish.to.to_string(),
            address: "172.16.0.2".to_owned(),
            sessions: 3,
        };
        Ok(self.router.publishes.lock().unwrap().iter().map(info).collect())
    }

    fn add_publish(&self, publish: PublishSpec) -> Result<(), ApiError> {
        self.router.publishes.lock().unwrap().push(publish);
        Ok(())
    }

    fn remove_publish(&self, listen: Listen, proto: Proto) -> Result<(), ApiError> {
        let mut publishes = self.router.publishes.lock().unwrap();
        let index = publishes.iter().position(|entry| entry.listen == listen && entry.proto == proto);
        publishes.remove(index.ok_or_else(|| missing("publish", &listen.to_string()))?);
        Ok(())
    }

    fn acl(&self) -> Result<Vec<AclInfo>, ApiError> {
        let rules = self.router.acl.lock().unwrap().clone();
        let info = |(position, rule)| AclInfo { position, hits: 1_000 + position as u64, rule };
        Ok(rules.into_iter().enumerate().map(info).collect())
    }

    fn add_acl(&self, position: Option<usize>, rule: AclSpec) -> Result<(), ApiError> {
        let mut rules = self.router.acl.lock().unwrap();
        let position = position.unwrap_or(rules.len());
        rules.insert(position, rule);
        Ok(())
    }

    fn remove_acl(&self, position: usize) -> Result<(), ApiError> {
        let mut rules = self.router.acl.lock().unwrap();
        if position >= rules.len() {
            return Err(missing("acl", &position.to_string()));
        }
        rules.remove(position);
        Ok(())
    }

    fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionInfo>, ApiError> {
        self.router.note(filter);
        Ok(vec![SessionInfo {
            id: 7,
            proto: "tcp".to_owned(),
            src: "172.16.0.2:41000".to_owned(),
            dst: "192.0.2.1:80".to_owned(),
            reply_src: "192.0.2.1:80".to_owned(),
            reply_dst: "192.0.2.7:41000".to_owned(),
            state: "established".to_owned(),
            origin: "plain".to_owned(),
            remaining_ms: 60_000,
            packets: 1_234,
            reply_packets: 5,
        }])
    }

    fn kill_sessions(&self, filter: &SessionFilter) -> Result<Ended, ApiError> {
        self.router.note(filter);
        Ok(Ended { count: 2 })
    }

    fn nat(&self) -> Result<NatInfo, ApiError> {
        let in_use = L4PortsInfo { outside: "192.0.2.7".to_owned(), proto: "tcp".to_owned(), in_use: 9 };
        Ok(NatInfo { sessions: 1, sessions_max: 262_144, l4_ports: vec![in_use], ..NatInfo::default() })
    }

    fn neighbours(&self, filter: &NeighbourFilter) -> Result<Vec<NeighbourInfo>, ApiError> {
        self.router.note(filter);
        Ok(vec![neighbour()])
    }

    fn flush_neighbours(&self, filter: &NeighbourFilter) -> Result<Ended, ApiError> {
        self.router.note(filter);
        Ok(Ended { count: 1 })
    }
}
