//! From text to a document: every syntax and type error with its place, and where each key stands.
//!
//! The text is parsed once into a tree with spans. A faulty tree would only give the first type error away, so the
//! entry that a type error points at is taken out of (a copy of) the tree and the rest is tried again, until nothing
//! is faulty or [`FAULTS_MAX`] is reached. What is taken out is remembered: faults of its object that a later check
//! finds may only follow from its absence.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::explain;
use crate::report::{At, FAULTS_MAX, Finding, Step};
use crate::spec::Document;

/// A text as far as it could be understood.
pub(crate) struct Parsed<'t> {
    pub(crate) document: Document,
    pub(crate) places: Places<'t>,
    /// Type errors with their spans.
    pub(crate) faults: Vec<(Range<usize>, Finding)>,
}

/// Where a document's keys stand. The tree is what was left of the text, so that its indexes are the document's.
pub(crate) struct Places<'t> {
    root: Spanned<DeTable<'t>>,
}

/// Parses `text`; syntax errors, as spans and messages, leave nothing else to look at.
pub(crate) fn parse(text: &str) -> Result<Parsed<'_>, Vec<(Range<usize>, Finding)>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let fault = |error: &toml::de::Error| {
            let message = format!("this is no TOML: {}", error.message());
            (error.span().unwrap_or(0..0), Finding { at: At::default(), message })
        };
        return Err(errors.iter().map(fault).collect());
    }
    let mut faults = Vec::new();
    let mut tree = root;
    let mut damaged: Vec<Range<usize>> = Vec::new();
    let document = loop {
        let error = match Document::deserialize(toml::Deserializer::from(tree.clone())) {
            Ok(document) => break document,
            Err(error) => error,
        };
        let span = error.span().unwrap_or(0..0);
        let at = innermost(tree.get_ref(), &At::default(), &span).map_or_else(At::default, |(at, _)| at);
        // A key that is missing because it was faulty, or was meant by an unknown one, is no second fault.
        if !(explain::is_missing_key(error.message()) && damaged.contains(&span)) {
            let message = explain::explain_at(error.message(), &at);
            faults.push((span, Finding { at: at.clone(), message }));
        }
        damaged.extend(parent_span(tree.get_ref(), &at.0));
        if !remove(tree.get_mut(), &at.0) || faults.len() >= FAULTS_MAX {
            break Document::default();
        }
    };
    Ok(Parsed { document, places: Places { root: tree }, faults })
}

impl Places<'_> {
    /// Where `at` stands: its value; without one its key; without that what is nearest around it.
    pub(crate) fn span(&self, at: &At) -> Range<usize> {
        let mut span = 0..0;
        let mut table = Some(self.root.get_ref());
        let mut list = None;
        for step in &at.0 {
            let value = match step {
                Step::Key(key) => {
                    let Some((key, value)) = table.and_then(|table| table.get_key_value(key.as_str())) else {
                        break;
                    };
                    span = key.span();
                    value
                }
                Step::Index(index) => {
                    let Some(value) = list.and_then(|list: &DeArray<'_>| list.get(*index)) else { break };
                    value
                }
            };
            table = value.get_ref().as_table();
            list = value.get_ref().as_array();
            let is_element = matches!(step, Step::Index(_));
            if is_element || table.is_none() {
                span = value.span();
            }
        }
        span
    }

    /// The names of the ports in the order of the text.
    pub(crate) fn ports(&self) -> Vec<String> {
        let Some(ports) = self.root.get_ref().get("port").and_then(|value| value.get_ref().as_table()) else {
            return Vec::new();
        };
        let mut names: Vec<(usize, String)> =
            ports.iter().map(|(key, _)| (key.span().start, key.get_ref().to_string())).collect();
        names.sort();
        names.into_iter().map(|(_, name)| name).collect()
    }
}

/// The smallest entry whose key is `span` or whose value contains it, and how long it is.
fn innermost(table: &DeTable<'_>, at: &At, span: &Range<usize>) -> Option<(At, usize)> {
    let mut best: Option<(At, usize)> = None;
    let mut offer = |candidate: Option<(At, usize)>| {
        if let Some((at, len)) = candidate
            && best.as_ref().is_none_or(|(_, best)| len <= *best)
        {
            best = Some((at, len));
        }
    };
    for (key, value) in table.iter() {
        let at = at.key(key.get_ref());
        if key.span() == *span {
            offer(Some((at.clone(), 0)));
        }
        offer(innermost_value(value, &at, span));
    }
    best
}

fn innermost_value(value: &Spanned<DeValue<'_>>, at: &At, span: &Range<usize>) -> Option<(At, usize)> {
    let own = value.span();
    let inner = match value.get_ref() {
        DeValue::Table(table) => innermost(table, at, span),
        DeValue::Array(list) => {
            let elements = list.iter().enumerate();
            elements
                .filter_map(|(index, value)| innermost_value(value, &at.index(index), span))
                .min_by_key(|(_, len)| *len)
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    };
    let contains = own.start <= span.start && span.end <= own.end;
    inner.or_else(|| contains.then(|| (at.clone(), own.len())))
}

/// The span of the table or list that has the entry.
fn parent_span(table: &DeTable<'_>, at: &[Step]) -> Option<Range<usize>> {
    let [Step::Key(key), steps @ .., _] = at else { return None };
    let mut value = table.get(key.as_str())?;
    for step in steps {
        value = match (step, value.get_ref()) {
            (Step::Key(key), DeValue::Table(table)) => table.get(key.as_str())?,
            (Step::Index(index), DeValue::Array(list)) => list.get(*index)?,
            (
                Step::Key(_) | Step::Index(_),
                DeValue::Table(_)
                | DeValue::Array(_)
                | DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_),
            ) => return None,
        };
    }
    Some(value.span())
}

/// Takes the entry out; whether there was one.
fn remove(table: &mut DeTable<'_>, at: &[Step]) -> bool {
    match at {
        [] | [Step::Index(_), ..] => false,
        [Step::Key(key)] => table.remove(key.as_str()).is_some(),
        [Step::Key(key), rest @ ..] => {
            table.get_mut(key.as_str()).is_some_and(|value| remove_within(value.get_mut(), rest))
        }
    }
}

fn remove_within(value: &mut DeValue<'_>, at: &[Step]) -> bool {
    match (value, at) {
        (DeValue::Table(table), at) => remove(table, at),
        (DeValue::Array(list), [Step::Index(index)]) if *index < list.len() => {
            let mut rest = DeArray::new();
            let others = list.iter().enumerate().filter(|(position, _)| position != index);
            others.for_each(|(_, value)| rest.push(value.clone()));
            *list = rest;
            true
        }
        (DeValue::Array(list), [Step::Index(index), rest @ ..]) => {
            list.get_mut(*index).is_some_and(|value| remove_within(value.get_mut(), rest))
        }
        (
            DeValue::Array(_)
            | DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_),
            _,
        ) => false,
    }
}
