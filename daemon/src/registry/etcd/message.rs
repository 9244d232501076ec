//! etcd's messages in the JSON of its gateway: octets in base64, 64-bit integers as strings, zeros left out.
//!
//! Source: etcd api/etcdserverpb/rpc.proto, api/mvccpb/kv.proto, and the proto3 JSON mapping. Unknown fields are ignored,
//! so answers of every 3.x server are understood.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

/// Octets in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Octets(pub(super) Vec<u8>);

impl Serialize for Octets {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

impl From<&str> for Octets {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

/// A 64-bit integer: a string, or a number from a writer that knows no better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Int(pub(super) i64);

impl Serialize for Int {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            Number(i64),
            Text(String),
        }
        match Spelling::deserialize(deserializer)? {
            Spelling::Number(number) => Ok(Self(number)),
            Spelling::Text(text) => text.parse().map(Self).map_err(D::Error::custom),
        }
    }
}

/// Of every answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    /// Names the cluster; as text, because it is 64 bits without a sign.
    pub(super) cluster_id: serde_json::Value,
    pub(super) revision: Int,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    pub(super) key: Octets,
    pub(super) value: Octets,
    pub(super) create_revision: Int,
    pub(super) mod_revision: Int,
    pub(super) lease: Int,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct RangeRequest {
    pub(super) key: Octets,
    pub(super) range_end: Octets,
    pub(super) limit: Int,
    /// 0: as it is now.
    pub(super) revision: Int,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RangeAnswer {
    pub(super) header: Header,
    pub(super) kvs: Vec<KeyValue>,
    pub(super) more: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct GrantRequest {
    #[serde(rename = "TTL")]
    pub(super) ttl: Int,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct LeaseId {
    #[serde(rename = "ID")]
    pub(super) id: Int,
}

/// What a transaction expects of a key: the revision at which it was created or written last, 0 if it must not exist.
#[derive(Debug, Serialize)]
pub(super) struct Compare {
    pub(super) result: &'static str,
    pub(super) target: &'static str,
    pub(super) key: Octets,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<Int>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mod_revision: Option<Int>,
}

#[derive(Debug, Serialize)]
pub(super) struct Put {
    pub(super) key: Octets,
    pub(super) value: Octets,
    pub(super) lease: Int,
}

#[derive(Debug, Serialize)]
pub(super) struct DeleteRange {
    pub(super) key: Octets,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    RequestPut(Put),
    RequestDeleteRange(DeleteRange),
}

#[derive(Debug, Serialize)]
pub(super) struct Txn {
    pub(super) compare: [Compare; 1],
    pub(super) success: [Operation; 1],
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TxnAnswer {
    pub(super) header: Header,
    pub(super) succeeded: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct AuthenticateRequest<'a> {
    pub(super) name: &'a str,
    pub(super) password: &'a str,
}

#[derive(Debug, Deserialize)]
pub(super) struct AuthenticateAnswer {
    pub(super) token: String,
}

#[derive(Debug, Serialize)]
pub(super) struct WatchRequest {
    pub(super) create_request: WatchCreate,
}

#[derive(Debug, Serialize)]
pub(super) struct WatchCreate {
    pub(super) key: Octets,
    pub(super) range_end: Octets,
    pub(super) start_revision: Int,
}

/// A line of a watch.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchLine {
    pub(super) result: Option<WatchAnswer>,
    pub(super) error: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchAnswer {
    pub(super) header: Header,
    pub(super) created: bool,
    pub(super) canceled: bool,
    pub(super) compact_revision: Int,
    pub(super) cancel_reason: String,
    pub(super) events: Vec<Event>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    /// Absent: PUT.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) kv: KeyValue,
}

/// Why the gateway refuses: `error` and `message` say the same, `code` is gRPC's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refusal {
    pub(super) error: String,
    pub(super) message: String,
    pub(super) code: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_a_server_are_read() {
        let text = r#"{"header":{"cluster_id":"14841639068965178418","member_id":"10276657743932975437","revision":"7","raft_term":"2"},
            "kvs":[{"key":"YS9i","create_revision":"5","mod_revision":"7","version":"2","value":"e30=","lease":"7587862014150021379"}],"count":"1"}"#;
        let answer: RangeAnswer = serde_json::from_str(text).unwrap();
        assert_eq!((answer.header.revision, answer.more), (Int(7), false));
        assert_eq!(answer.kvs[0].key, Octets(b"a/b".to_vec()));
        assert_eq!(answer.kvs[0].lease, Int(7_587_862_014_150_021_379));
        let deleted = r#"{"result":{"header":{"revision":"9"},"events":[{"type":"DELETE","kv":{"key":"YQ==","mod_revision":"9"}}]}}"#;
        let line: WatchLine = serde_json::from_str(deleted).unwrap();
        assert_eq!(line.result.unwrap().events[0].kind, "DELETE");
        for nonsense in [r#"{"kvs":[{"key":"%"}]}"#, r#"{"header":{"revision":"x"}}"#, r#"{"kvs":7}"#] {
            assert!(serde_json::from_str::<RangeAnswer>(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn requests_are_what_the_gateway_expects() {
        let key = Octets::from("/coreos.com/network/subnets/10.5.52.0-24");
        let compare = Compare {
            result: "EQUAL",
            target: "VERSION",
            key: key.clone(),
            version: Some(Int(0)),
            mod_revision: None,
        };
        let put = Operation::RequestPut(Put { key, value: Octets::from("{}"), lease: Int(7587) });
        let text = serde_json::to_string(&Txn { compare: [compare], success: [put] }).unwrap();
        let encoded = "L2NvcmVvcy5jb20vbmV0d29yay9zdWJuZXRzLzEwLjUuNTIuMC0yNA==";
        assert_eq!(
            text,
            format!(
                r#"{{"compare":[{{"result":"EQUAL","target":"VERSION","key":"{encoded}","version":"0"}}],"success":[{{"request_put":{{"key":"{encoded}","value":"e30=","lease":"7587"}}}}]}}"#
            )
        );
    }
}
