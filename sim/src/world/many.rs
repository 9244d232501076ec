//! Many alike, written once: `count = N` on a switch, host, wire or flow stands for N of them.
//!
//! In names, ends and configurations of such an entry `{n}` is the number, from 1 to N, and `{n+K}` the number K further,
//! beginning again at 1 after N. So a hundred hosts, each with a flow to the seventh after it, are two entries.
//!
//! An entry without `count` stays as it is written, braces and all. Limits are those of the world: no table grows
//! beyond its own, whatever a file asks for.

use std::collections::BTreeMap;

use super::spec::{FlowSpec, HostSpec, LinkSpec, NodeSpec, WorldSpec};
use super::topology::{FLOWS_MAX, HOSTS_MAX, LINKS_MAX, NODES_MAX, Step};

/// Which entry of the file stands for what.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// By name: the key in the file.
    node: BTreeMap<String, String>,
    host: BTreeMap<String, String>,
    /// By number: the index in the file.
    link: Vec<usize>,
    flow: Vec<usize>,
}

/// What cannot be: table, key or index there, and why.
pub(super) type Fault = (&'static str, Where, String);

/// Which entry of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Key(String),
    Index(usize),
}

impl Written {
    /// The step from the table `table` as the file has it.
    pub(super) fn step<'a>(&'a self, table: Option<&Step<'_>>, step: Step<'a>) -> Step<'a> {
        let (Some(Step::Key(table)), step) = (table, step) else { return step };
        match (*table, step) {
            ("node", Step::Key(name)) => Step::Key(self.node.get(name).map_or(name, String::as_str)),
            ("host", Step::Key(name)) => Step::Key(self.host.get(name).map_or(name, String::as_str)),
            ("link", Step::Index(number)) => Step::Index(self.link.get(number).copied().unwrap_or(number)),
            ("flow", Step::Index(number)) => Step::Index(self.flow.get(number).copied().unwrap_or(number)),
            (_, step) => step,
        }
    }
}

/// The world with every entry written out, and where each is in the file.
pub(super) fn expand(spec: WorldSpec) -> (WorldSpec, Written, Vec<Fault>) {
    let (mut written, mut faults) = (Written::default(), Vec::new());
    let WorldSpec { node, host, link, flow, .. } = spec;
    let node = table(("node", NODES_MAX), node, &mut written.node, &mut faults);
    let host = table(("host", HOSTS_MAX), host, &mut written.host, &mut faults);
    let link = list(("link", LINKS_MAX), link, &mut written.link, &mut faults);
    let flow = list(("flow", FLOWS_MAX), flow, &mut written.flow, &mut faults);
    (WorldSpec { node, host, link, flow, ..spec }, written, faults)
}

/// What may stand for many.
trait Entry: Clone {
    fn count(&self) -> Option<u16>;

    /// The one with this number.
    fn numbered(&self, number: Number) -> Self;
}

impl Entry for NodeSpec {
    fn count(&self) -> Option<u16> {
        self.count
    }

    fn numbered(&self, number: Number) -> Self {
        Self { config: number.fill(&self.config), count: None }
    }
}

impl Entry for HostSpec {
    fn count(&self) -> Option<u16> {
        self.count
    }

    fn numbered(&self, _: Number) -> Self {
        Self { count: None, ..self.clone() }
    }
}

impl Entry for LinkSpec {
    fn count(&self) -> Option<u16> {
        self.count
    }

    fn numbered(&self, number: Number) -> Self {
        Self {
            between: self.between.clone().map(|end| number.fill(&end)),
            name: self.name.as_ref().map(|name| number.fill(name)),
            count: None,
            ..self.clone()
        }
    }
}

impl Entry for FlowSpec {
    fn count(&self) -> Option<u16> {
        self.count
    }

    fn numbered(&self, number: Number) -> Self {
        Self {
            from: number.fill(&self.from),
            to: number.fill(&self.to),
            served_by: self.served_by.as_ref().map(|host| number.fill(host)),
            count: None,
            ..self.clone()
        }
    }
}

fn table<T: Entry>(
    (name, max): (&'static str, usize),
    entries: BTreeMap<String, T>,
    written: &mut BTreeMap<String, String>,
    faults: &mut Vec<Fault>,
) -> BTreeMap<String, T> {
    let mut all = BTreeMap::new();
    for (key, entry) in entries {
        let mut fault = |what: String| faults.push((name, Where::Key(key.clone()), what));
        for number in numbers(&entry, max, &mut fault) {
            let (own, one) = match number {
                Some(number) => (number.fill(&key), entry.numbered(number)),
                None => (key.clone(), entry.clone()),
            };
            written.insert(own.clone(), key.clone());
            if all.insert(own.clone(), one).is_some() {
                fault(format!("there is more than one {name} {own:?}; put {{n}} into the name"));
                break;
            }
        }
    }
    all
}

fn list<T: Entry>(
    (name, max): (&'static str, usize),
    entries: Vec<T>,
    written: &mut Vec<usize>,
    faults: &mut Vec<Fault>,
) -> Vec<T> {
    let mut all = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let mut fault = |what: String| faults.push((name, Where::Index(index), what));
        // Once there are too many, the world is refused for it, and nobody needs the others.
        let max = max.saturating_sub(all.len()).max(1);
        for number in numbers(&entry, max, &mut fault) {
            all.push(number.map_or_else(|| entry.clone(), |number| entry.numbered(number)));
            written.push(index);
        }
    }
    all
}

/// The numbers that an entry stands for; one `None` for an entry that stands for itself.
fn numbers<T: Entry>(entry: &T, max: usize, fault: &mut dyn FnMut(String)) -> Vec<Option<Number>> {
    match entry.count() {
        None => vec![None],
        Some(count) if count == 0 || usize::from(count) > max => {
            fault(format!("count is {count}; there may be 1 to {max} of these"));
            Vec::new()
        }
        Some(count) => (1..=count).map(|number| Some(Number { number, count })).collect(),
    }
}

/// One of `count`.
#[derive(Clone, Copy, Debug)]
struct Number {
    number: u16,
    count: u16,
}

impl Number {
    /// The text with its numbers filled in. Braces that hold none stay.
    fn fill(self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{n") {
            filled += before;
            let number =
                after.split_once('}').and_then(|(inside, after)| Some((self.further(inside)?, after)));
            rest = match number {
                Some((number, after)) => {
                    filled += &number.to_string();
                    after
                }
                None => {
                    filled += "{n";
                    after
                }
            };
        }
        filled + rest
    }

    /// What `{n` with `inside` and `}` stands for.
    fn further(self, inside: &str) -> Option<u32> {
        let by: u16 = if inside.is_empty() { 0 } else { inside.strip_prefix('+')?.parse().ok()? };
        Some((u32::from(self.number) - 1 + u32::from(by)) % u32::from(self.count) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_filled_in_and_other_braces_stay() {
        let number = Number { number: 9, count: 10 };
        for (text, filled) in [
            ("n{n}", "n9"),
            ("{n}.{n+1}.{n+2}.{n+10}", "9.10.1.9"),
            ("trunk = { 10 = \"a\" }", "trunk = { 10 = \"a\" }"),
            ("{n-1}{name}{n+x}{n", "{n-1}{name}{n+x}{n"),
            ("", ""),
        ] {
            assert_eq!(number.fill(text), filled);
        }
    }
}
