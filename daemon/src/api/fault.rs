//! What the control socket speaks of faults on live ports.

use serde::{Deserialize, Serialize};
pub use sim::world::FaultSpec;

use super::ApiError;

/// What the control socket may ask about faults. As with [`super::Operations`], calls block and may come at once.
pub trait FaultOperations: Send + Sync + 'static {
    /// Every port with faults, by name.
    fn faults(&self) -> Result<Vec<FaultInfo>, ApiError>;
    /// Changes what is given of a port's faults and keeps the rest. [`super::ErrorKind::NotFound`] if there is no such
    /// port, [`super::ErrorKind::Invalid`] if it has no device of its own.
    fn set_faults(&self, port: &str, change: &FaultChange) -> Result<(), ApiError>;
    /// The port is as good as its device again. [`super::ErrorKind::NotFound`] if it has no faults.
    fn clear_faults(&self, port: &str) -> Result<(), ApiError>;
}

/// What is to change of a port's faults.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultChange {
    /// Of frames from the station to the switch.
    #[serde(skip_serializing_if = "FaultSpec::is_empty")]
    pub inwards: FaultSpec,
    /// Of frames from the switch to the station.
    #[serde(skip_serializing_if = "FaultSpec::is_empty")]
    pub outwards: FaultSpec,
    /// Where chance comes from, from now on; absent: as before, at first a random number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// A port with faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultInfo {
    /// Its name.
    pub port: String,
    /// Where chance comes from.
    pub seed: u64,
    /// Frames from the station to the switch.
    pub inwards: FaultLane,
    /// Frames from the switch to the station.
    pub outwards: FaultLane,
}

/// One direction of a port with faults. Super-segments count as the packets they are cut into.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FaultLane {
    /// What is asked for.
    pub faults: FaultSpec,
    /// Frames that met it.
    pub offered: u64,
    /// Lost because it was down.
    pub down: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because its queue was full.
    pub overflowed: u64,
    /// Lost because more octets waited to arrive than the switch keeps.
    pub no_room: u64,
    /// That arrived twice.
    pub duplicated: u64,
    /// That were held back.
    pub reordered: u64,
    /// That arrived with a flipped bit.
    pub corrupted: u64,
    /// Octets that wait to arrive.
    pub waiting_bytes: u64,
}

/// The faults in the words of the command line.
pub fn words(faults: &FaultSpec) -> String {
    let json = serde_json::to_value(faults).expect("faults have only string keys");
    let fields = json.as_object().into_iter().flatten();
    let word = |(key, value): (&String, &serde_json::Value)| {
        let text = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Object(fields) => {
                let text = |(key, value): (&String, &serde_json::Value)| {
                    format!("{key} {}", value.as_str().unwrap_or_default())
                };
                fields.iter().map(text).collect::<Vec<_>>().join(" ")
            }
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Array(_) => value.to_string(),
        };
        format!("{key} {text}")
    };
    let words: Vec<String> = fields.map(word).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}
