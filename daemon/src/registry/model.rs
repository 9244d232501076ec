//! A registry in memory, for tests: what etcd does with [`Request`]s, one after the other.

use std::collections::BTreeMap;

use super::acquire::{Answer, Request};
use super::roster::Entry;

/// Keys, revisions and etcd leases.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) entries: BTreeMap<String, Entry>,
    revision: i64,
    leases: i64,
}

impl Store {
    pub(super) fn handle(&mut self, request: &Request) -> Answer {
        let is_at = |store: &Self, key: &str, written: &i64| {
            store.entries.get(key).is_some_and(|entry| entry.written == *written)
        };
        match request {
            Request::List => Answer::Listed(self.entries.values().cloned().collect()),
            Request::Grant => {
                self.leases += 1;
                Answer::Granted(self.leases)
            }
            Request::Create { key, .. } if self.entries.contains_key(key) => Answer::Unexpected,
            Request::Create { key, value, lease } => Answer::Done(self.write(key, value, *lease)),
            Request::Replace { key, value, lease, written } if is_at(self, key, written) => {
                Answer::Done(self.write(key, value, *lease))
            }
            Request::Delete { key, written } if is_at(self, key, written) => {
                self.revision += 1;
                self.entries.remove(key);
                Answer::Done(self.revision)
            }
            Request::Replace { .. } | Request::Delete { .. } => Answer::Unexpected,
            Request::Revoke { lease } => {
                self.expire(*lease);
                Answer::Revoked
            }
        }
    }

    /// Writes a key whatever is there.
    pub(super) fn write(&mut self, key: &str, value: &str, lease: i64) -> i64 {
        self.revision += 1;
        let created = self.entries.get(key).map_or(self.revision, |old| old.created);
        let entry = Entry {
            key: key.to_owned(),
            value: value.as_bytes().to_vec(),
            created,
            written: self.revision,
            lease,
        };
        self.entries.insert(key.to_owned(), entry);
        self.revision
    }

    /// The etcd lease ends, and its keys with it.
    pub(super) fn expire(&mut self, lease: i64) {
        self.revision += 1;
        self.entries.retain(|_, entry| entry.lease != lease || lease == 0);
    }
}
