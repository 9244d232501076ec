//! Where the objects and keys of a configuration stand in its text, for whoever explains what the switch does by it.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::report::At;

/// The lines of a text by the path of what stands there: `port.c1`, `port.c1.guard`, `acl[0].to`. A text that is no TOML
/// has the lines of what could be read.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// Looks through a text.
    pub fn of(text: &str) -> Self {
        let (root, _) = DeTable::parse_recoverable(text);
        let mut starts = BTreeMap::new();
        collect(root.get_ref(), &At::default(), &mut starts);
        let line = |start: usize| crate::position(text, start).0;
        Self(starts.into_iter().map(|(path, start)| (path, line(start))).collect())
    }

    /// The line of `path`, from 1; if nothing stands there, that of the object around it.
    pub fn find(&self, path: &str) -> Option<usize> {
        let around = || path.rfind(['.', '[']).and_then(|end| self.find(&path[..end]));
        self.0.get(path).copied().or_else(around)
    }
}

fn collect(table: &DeTable<'_>, at: &At, starts: &mut BTreeMap<String, usize>) {
    for (key, value) in table.iter() {
        let at = at.key(key.get_ref());
        starts.insert(at.to_string(), key.span().start);
        collect_value(value, &at, starts);
    }
}

fn collect_value(value: &Spanned<DeValue<'_>>, at: &At, starts: &mut BTreeMap<String, usize>) {
    match value.get_ref() {
        DeValue::Table(table) => collect(table, at, starts),
        DeValue::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                let at = at.index(index);
                let Range { start, .. } = value.span();
                starts.insert(at.to_string(), start);
                collect_value(value, &at, starts);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_text_is_found() {
        let text = "workers = 2\n\n[network.a]\nmtu = 1400\n\n[[acl]]\naction = \"deny\"\n\n[[acl]]\naction = \"allow\"\n";
        let lines = Lines::of(text);
        let found = [
            "workers",
            "network.a",
            "network.a.mtu",
            "acl[0]",
            "acl[1].action",
            "network.a.icc",
            "acl[7]",
            "x",
        ]
        .map(|path| lines.find(path));
        assert_eq!(
            found,
            [Some(1), Some(3), Some(4), Some(6), Some(10), Some(3), Some(6), None],
            "the nearest around what is missing"
        );
    }
}
