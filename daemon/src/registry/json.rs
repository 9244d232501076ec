//! JSON as Go's `encoding/json` reads it, because that is what wrote and reads everything in flannel's registry.
//!
//! Keys match whatever their case, unknown ones are ignored, and `null` is the same as an absent key. Of two keys that
//! differ in their case only, the one that is written as documented counts. Nesting is limited to 128 levels by
//! `serde_json`, size by what etcd takes for one value (1.5 MiB by default).

use serde_json::{Map, Value};

/// An object of such a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object(Map<String, Value>);

impl Object {
    /// The object that `text` is; `None` if it is something else or nothing at all.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        Self::of(serde_json::from_slice(text).ok()?)
    }

    /// The object that `value` is; `None` if it is something else.
    pub(super) fn of(value: Value) -> Option<Self> {
        if let Value::Object(map) = value { Some(Self(map)) } else { None }
    }

    /// What stands at `key`; `None` also for `null`.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let folded =
            || self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
        self.0.get(key).or_else(folded).filter(|value| !value.is_null())
    }

    /// Whether there is such a key, with `null` or otherwise.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.keys().any(|name| name.eq_ignore_ascii_case(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_whatever_their_case() {
        let object = Object::parse(br#"{"network": 1, "Network": 2, "vni": 3, "Port": null}"#).unwrap();
        assert_eq!(object.get("Network"), Some(&Value::from(2)), "as documented wins");
        assert_eq!(object.get("VNI"), Some(&Value::from(3)));
        assert_eq!(object.get("Port"), None);
        assert!(object.has("port") && !object.has("MTU"));
        for nonsense in ["", "[]", "null", "{", "\u{1}"] {
            assert_eq!(Object::parse(nonsense.as_bytes()), None, "{nonsense:?}");
        }
    }
}
