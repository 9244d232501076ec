//! Traces of the running switch: the packet is asked about where it would be handled, at the worker that owns it.

use std::sync::Arc;
use std::time::Duration;

use config::Lines;
use sim::trace::{Explained, Question, Scene, Unanswerable};

use super::{Supervisor, capture, fault, record};
use crate::api::{ApiError, ErrorKind, Investigation, Lately, OpenSink, Recording, Watch, WatchRequest};

impl Investigation for Supervisor {
    fn trace(&self, question: &Question) -> Result<Vec<Explained>, ApiError> {
        let stage = Arc::new(Stage::of(self));
        let (asked, about) = (Arc::clone(&stage), question.clone());
        let replicas = self.workers.count();
        // The first worker's node routes, so it knows the MAC addresses.
        // It also receives what comes by tunnels, and hands none of it over.
        let found = self.workers.ask(0, move |_, node| {
            let is_tunnel = |port| asked.compiled.plan.tunnels.iter().any(|tunnel| tunnel.port == port);
            asked.scene().frame(node, &about).map(|(port, frame)| {
                let owner = if is_tunnel(port) { 0 } else { node.owner(&frame, replicas) };
                (owner, frame)
            })
        });
        let (owner, frame) = found.ok_or_else(stopping)?.map_err(|error| refusal(question, &error))?;
        let digits = frame.iter().map(|octet| format!("{octet:02x}")).collect();
        let about = Question { packet: None, frame: Some(digits), ..question.clone() };
        let told = self.workers.ask(owner, move |now, node| stage.scene().ask(node, now, &about));
        let told = told.ok_or_else(stopping)?.map_err(|error| refusal(question, &error))?;
        // A fault is the shell's; the node, whose decisions those are, knows of none.
        Ok(fault::interfere(told, &fault::of_ports(&self.state())))
    }

    fn watch(&self, request: &WatchRequest) -> Result<Watch, ApiError> {
        capture::watch(self, request)
    }

    fn record(&self, open: Box<OpenSink>) -> Result<Arc<Recording>, ApiError> {
        record::record(self, open)
    }

    fn end_recording(&self, recording: &Recording) {
        record::end_recording(self, recording);
    }

    fn recorded_lately(&self, last: Duration) -> Result<Lately, ApiError> {
        record::recorded_lately(self, last)
    }
}

/// What a scene borrows.
struct Stage {
    config: config::Config,
    compiled: config::Compiled,
    name: String,
    lines: Lines,
}

impl Stage {
    /// The configuration that holds. Lines are those of the file that it came from, if that still says the same, and
    /// otherwise those of what `tapestry config` prints.
    fn of(supervisor: &Supervisor) -> Self {
        let state = supervisor.state();
        let (config, compiled, leases) = (state.config.clone(), state.compiled.clone(), state.leases.clone());
        drop(state);
        let file = supervisor.options.config_file.as_ref().and_then(|file| {
            let (name, text) = (file.display().to_string(), std::fs::read_to_string(file).ok()?);
            let (read, _) = config::check_leased(&name, &text, &leases).ok()?;
            (read == config).then_some((name, text))
        });
        let (name, text) = file.unwrap_or_else(|| ("`tapestry config`".to_owned(), config.to_toml()));
        Self { lines: Lines::of(&text), config, compiled, name }
    }

    fn scene(&self) -> Scene<'_> {
        Scene { config: &self.config, compiled: &self.compiled, name: &self.name, lines: &self.lines }
    }
}

fn stopping() -> ApiError {
    ApiError::new(ErrorKind::Unavailable, "the trace", "the switch is stopping")
}

/// Why a question cannot be answered, as an answer.
pub(crate) fn refusal(question: &Question, error: &Unanswerable) -> ApiError {
    match error {
        Unanswerable::NoPort(port) => {
            ApiError::new(ErrorKind::NotFound, format!("port {port:?}"), "there is none")
                .next("see `tapestry port ls`; the uplink's port is called uplink")
        }
        Unanswerable::Packet(why) => {
            let what = question.packet.as_ref().or(question.frame.as_ref());
            ApiError::new(ErrorKind::Invalid, format!("packet {:?}", what.map_or("", String::as_str)), why)
        }
    }
}
